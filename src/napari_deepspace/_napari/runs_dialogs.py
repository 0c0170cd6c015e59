"""What the user is asked about runs, and the table in which runs are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtWidgets import QDialog, QFileDialog, QHeaderView, QInputDialog, QMessageBox, QPushButton, QTableView, QVBoxLayout, QWidget

from napari_deepspace._napari.widgets import label, row
from napari_deepspace.run_list import RunInfo
from napari_deepspace.runs import write_atomic

Choice = Literal["keep", "pause", "stop"]
CHOICES: dict[Choice, str] = {"keep": "Keep training", "pause": "Pause", "stop": "Stop"}


def ask_what_becomes(parent: QWidget, text: str) -> Choice:
    """Ask what becomes of a run when the window closes; the Escape key keeps it, so that nothing is lost by accident."""
    return _ask(
        parent,
        "A run is training",
        text,
        "Keep training: it goes on without napari, and is found again when the dock is opened.\n"
        "Pause: it finishes its present step, writes a checkpoint and ends; resume it later.\n"
        "Stop: it ends now; its last checkpoint stays.",
        CHOICES,
    )


def ask_about_search(parent: QWidget, text: str) -> Choice:
    """Ask what becomes of a parameter search when the window closes; the Escape key keeps it."""
    return _ask(
        parent,
        "A parameter search is at work",
        text,
        "Keep searching: it goes on without napari, and is found again when the dock is opened.\n"
        "Stop: it ends now; finished trials stay, and its window can resume it.",
        {"keep": "Keep searching", "stop": "Stop"},
    )


def ask_about_students(parent: QWidget, text: str) -> Choice:
    """Ask what becomes of a job of students when the window closes; the Escape key keeps it."""
    return _ask(
        parent,
        "Students are at work",
        text,
        "Keep training: they go on without napari, and are found again when the dock is opened.\n"
        "Stop: they end now; finished rounds stay, and their window can resume them.",
        {"keep": "Keep training", "stop": "Stop"},
    )


def _ask(parent: QWidget, title: str, text: str, more: str, choices: dict[Choice, str]) -> Choice:
    box = QMessageBox(QMessageBox.Icon.Question, title, text, parent=parent)
    box.setInformativeText(more)
    buttons = {choice: box.addButton(words, QMessageBox.ButtonRole.ActionRole) for choice, words in choices.items()}
    box.setDefaultButton(buttons["keep"])
    box.setEscapeButton(buttons["keep"])
    box.exec()
    return next((choice for choice, button in buttons.items() if button is box.clickedButton()), "keep")


def ask_name(parent: QWidget, run: RunInfo) -> str | None:
    """A new name for a run; None if the user leaves it."""
    name, given = QInputDialog.getText(parent, "Rename the run", "Name", text=run.name)
    return name if given and name.strip() else None


def ask_delete(parent: QWidget, runs: list[RunInfo]) -> bool:
    """Whether the folders of ``runs`` shall be deleted."""
    names = "\n".join(f"{run.name}  ({run.size / 1e6:,.1f} MB, {run.run_dir})" for run in runs[:8])
    more = f"\nand {len(runs) - 8} more" if len(runs) > 8 else ""
    question = "Delete this run with its model and predictions?" if len(runs) == 1 else f"Delete these {len(runs)} runs with models and predictions?"
    box = QMessageBox(QMessageBox.Icon.Warning, "Delete", f"{question} This cannot be undone.\n\n{names}{more}", parent=parent)
    delete = box.addButton("Delete", QMessageBox.ButtonRole.DestructiveRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    return box.clickedButton() is delete


class FrameModel(QAbstractTableModel):
    """A pandas table as Qt sees it: row names on the left, numbers with two digits."""

    def __init__(self, frame: pd.DataFrame):
        super().__init__()
        self.frame = frame

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return len(self.frame)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return self.frame.shape[1]

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        value: Any = self.frame.iat[index.row(), index.column()]
        number = isinstance(value, (float, np.floating))
        words = "–" if value is None or (number and np.isnan(value)) else f"{value:.2f}" if number else str(value)
        if role == Qt.ItemDataRole.DisplayRole:
            return words
        if role == Qt.ItemDataRole.ToolTipRole and isinstance(value, str):
            return words
        if role == Qt.ItemDataRole.TextAlignmentRole and not isinstance(value, str):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        names = self.frame.columns if orientation == Qt.Orientation.Horizontal else self.frame.index
        if section >= len(names):  # a header asks for those of the table before
            return None
        return str(names[section]) if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole) else None


class CompareDialog(QDialog):
    """Genes x runs of r, below what the scores are of; the note above says whether they may be compared at all."""

    def __init__(self, frame: pd.DataFrame, synthetic: bool, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWindowTitle("Compare runs")
        self.resize(min(900, 300 + 150 * frame.shape[1]), 520)
        self.frame = frame
        words = f"{'SYNTHETIC data. ' if synthetic else ''}{frame.attrs['note']} Research use only."
        self.note = label(words, "r", wrap=True)
        self.table = QTableView()
        self.table.setModel(FrameModel(frame))
        header = self.table.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        save = QPushButton("Save as CSV…")
        save.clicked.connect(self._save)
        layout = QVBoxLayout(self)
        layout.addWidget(self.note)
        layout.addWidget(self.table)
        layout.addLayout(row(1, save))

    def _save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the comparison", "comparison.csv", "CSV (*.csv)")
        if path:
            write_atomic(Path(path), self.frame.to_csv())
