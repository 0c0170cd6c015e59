"""All numbers behind the gene panel: one row a gene, sorted by any of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import QDialog, QLineEdit, QTableView, QVBoxLayout, QWidget

from napari_deepspace._napari.widgets import label
from napari_deepspace.gene_names import GeneNames
from napari_deepspace.gene_scores import Scores
from napari_deepspace.glossary import TERMS

TIPS = {"from": "Lower end of the 95 % interval.", "to": "Upper end of the 95 % interval."}


class GeneTable(QAbstractTableModel):
    """A pandas table of scores; 18,000 rows are sorted in milliseconds, and only those in view are drawn."""

    def __init__(self, frame: pd.DataFrame):
        super().__init__()
        self._whole = self.rows = frame
        self._names = GeneNames(list(frame["gene"]) if len(frame) else [])
        self._order: tuple[str, bool] | None = None

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return self._whole.shape[1]

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role == Qt.ItemDataRole.DisplayRole:
            return _words(self.rows.iat[index.row(), index.column()], str(self._whole.columns[index.column()]))
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() > 1:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        column = str(self._whole.columns[section])
        if role == Qt.ItemDataRole.DisplayRole:
            return column
        return TIPS.get(column) or TERMS.get(column.casefold()) if role == Qt.ItemDataRole.ToolTipRole else None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        if column < 0:  # as the header stands before the first click: the order of the panel
            return
        self._order = (str(self._whole.columns[column]), order == Qt.SortOrder.AscendingOrder)
        self._show(self.rows)

    def filter(self, text: str) -> None:
        """Only genes whose name ``text`` may mean."""
        wanted = {match.name for match in self._names.find(text)} if text.strip() else None
        self._show(self._whole if wanted is None else self._whole[self._whole["gene"].isin(wanted)])

    def _show(self, rows: pd.DataFrame) -> None:
        self.beginResetModel()
        self.rows = rows if self._order is None else rows.sort_values(self._order[0], ascending=self._order[1], kind="stable")
        self.endResetModel()


class GeneTableDialog(QDialog):
    """The table in a window of its own; a double click shows the gene on the slide."""

    picked = Signal(str)

    def __init__(self, scores: Scores, title: str, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWindowTitle(title)
        self.resize(1180, 560)
        self.model = GeneTable(scores.table())
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search a gene…")
        self.table = QTableView()
        self.table.setModel(self.model)
        header = self.table.horizontalHeader()
        if header is not None:
            header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.table.setSortingEnabled(True)
        self.table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        widths = self.fontMetrics().horizontalAdvance
        for number in range(self.model.columnCount()):
            longest = max([str(self.model.headerData(number, Qt.Orientation.Horizontal)) + "  ▾", *self._shown(number)], key=len)
            self.table.setColumnWidth(number, widths(longest) + 22)
        synthetic = "SYNTHETIC data. " if scores.synthetic else ""
        note = label(f"{synthetic}{scores.summary()} Scored at {scores.where()}. Panel: {scores.panel}. Research use only.", wrap=True, dim=True)
        layout = QVBoxLayout(self)
        for widget in (self.search, self.table, note):
            layout.addWidget(widget)
        self.search.textChanged.connect(self.model.filter)
        self.table.doubleClicked.connect(lambda index: self.picked.emit(str(self.model.rows["gene"].iat[index.row()])))

    def _shown(self, column: int) -> list[str]:
        return [str(self.model.data(self.model.index(number, column))) for number in range(min(self.model.rowCount(), 60))]


def _words(value: Any, column: str) -> str:
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return "–"
        return f"{value:.0%}" if column == "detected" or column.endswith("/ best") else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, (int, np.integer)) else str(value)
