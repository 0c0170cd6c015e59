"""The window "Measure the stain": how much of it each spot holds, against the gene that is looked at; what is brushed there is selected."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QDialog, QFileDialog, QHeaderView, QPushButton, QTableView, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_deepspace._napari.scatter import Scatter
from napari_deepspace._napari.tables import Table
from napari_deepspace._napari.widgets import Segmented, Wrapped, label, row
from napari_deepspace.align.quantify import CELL_WAYS, WAYS
from napari_deepspace.analyse.agreement import Agreement
from napari_deepspace.comparison import Comparison
from napari_deepspace.glossary import term

SHORT = {
    "dab": "DAB",
    "h-score": "H-score",
    "positive-cells": "Positive cells",
    "positive-share": "Positive pixels",
    "cells": "Cells",
    "tissue": "Tissue",
    "inverted-rgb": "Inverted RGB",
}
OUTLINE_TIPS = {"dab": term("DAB"), "positive-share": term("positive share"), "h-score": term("H-score")} | {
    "tissue": "The share of its pixels on the neighbouring slide that is tissue; below a half nothing is measured.",
    "cells": "Cells with their centre in it.",
    "inverted-rgb": "255 less the mean of red, green and blue.",
    "positive-cells": "The share of its cells that QuPath calls positive.",
}
OF = {"measured": "Measured", "predicted": "Predicted"}
AT = {"spots": "At spots", "outlines": "In outlines"}
COLUMNS = {"What": "quantify a stain", "r": "r", "95 % interval": "", "P": "shifted-map null", "Spearman": "", "n": "spot"}  #: and their words


class QuantifyDialog(QDialog):
    """Asks for a measurement; shows what came out. ``name`` is the neighbour's."""

    asked = Signal(str, str)  #: way, and measured or predicted
    cells_chosen = Signal(Path)
    save_requested = Signal()

    def __init__(self, name: str, parent: QWidget):
        super().__init__(parent)
        self.setWindowTitle(f"Measure the stain of {name}")
        self.resize(640, 690)
        self.way = QComboBox()
        for key in (key for key in WAYS if key not in CELL_WAYS):
            self.way.addItem(WAYS[key], key)
        self.of = Segmented(OF, {key: term(key) for key in OF})
        self.of.setMinimumWidth(200)
        self.at = Segmented(AT, {"outlines": "The stain of each outline as a whole, drawn or proposed in step 7. Expression plays no part."})
        self.at.setMinimumWidth(200)
        self.choose_cells = QPushButton("Cells…")
        self.choose_cells.setToolTip("Cells that QuPath detected on this slide, as GeoJSON: for the positive share of cells and the H-score.")
        self.cells = label("no cells", "H-score", dim=True)
        self.save = QPushButton("Save table…")
        self.save.setToolTip("A row a spot, or a row an outline, with all that was measured (.csv).")
        self.save.setEnabled(False)
        self.outlines = QTableView()
        self.outlines.setSortingEnabled(True)
        beside = self.outlines.verticalHeader()
        assert beside is not None
        beside.hide()
        self.run = QPushButton("Measure")
        self.run.setObjectName("main")
        self.heading = label("", wrap=True)
        self.heading.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.scatter = Scatter()
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        for column, word in enumerate(COLUMNS.values()):
            item = self.table.horizontalHeaderItem(column)
            if item is not None and word:
                item.setToolTip(term(word))
        head, side = self.table.horizontalHeader(), self.table.verticalHeader()
        assert head is not None and side is not None
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        side.hide()
        side.setDefaultSectionSize(22)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setFixedHeight(128)
        self.words = Wrapped()
        self.words.setProperty("dim", True)
        self.bottom = row(1, self.save)
        self.spots = QWidget()
        inner = QVBoxLayout(self.spots)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addWidget(self.scatter, 1)
        inner.addWidget(self.table)
        layout = QVBoxLayout(self)
        layout.addLayout(row(label("Way", "quantify a stain"), self.way, 1, self.of, self.run))
        layout.addLayout(row(self.at, 1, self.cells, self.choose_cells))
        layout.addWidget(self.heading)
        layout.addWidget(self.spots, 1)
        layout.addWidget(self.outlines, 1)
        layout.addWidget(self.words)
        layout.addLayout(self.bottom)
        self.run.clicked.connect(lambda: self.asked.emit(str(self.way.currentData()), self.of.value()))
        self.at.changed.connect(self._turn)
        self.choose_cells.clicked.connect(self._ask_cells)
        self.save.clicked.connect(self.save_requested)
        self._turn()

    @property
    def in_outlines(self) -> bool:
        """Whether outlines are measured, not spots."""
        return self.at.value() == "outlines"

    def _turn(self, *_: Any) -> None:
        """Spots or outlines; what is known of neither is shown beside the other."""
        self.spots.setVisible(not self.in_outlines)
        self.outlines.setVisible(self.in_outlines)
        for widget in (self.way, self.of):
            widget.setEnabled(not self.in_outlines)

    def _ask_cells(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Cells that QuPath detected on this slide", "", "GeoJSON (*.geojson *.json)")
        if path:
            self.cells_chosen.emit(Path(path))

    def show_cells(self, words: str, ways: Sequence[str]) -> None:
        """What was read of cells; ``ways`` that they allow can be chosen."""
        self.cells.setText(words)
        for key in ways:
            if self.way.findData(key) < 0:
                self.way.addItem(WAYS[key], key)

    def show_outlines(self, heading: str, found: pd.DataFrame, words: str) -> None:
        """The stain of each outline, of :func:`napari_deepspace.align.quantify.outline_table`."""
        self.heading.setText(heading)
        shown = found[["name", "class", *(key for key in SHORT if key in found and found[key].notna().any())]]
        self.outlines.setModel(Table(shown, _cell, OUTLINE_TIPS.get, {"name": "Outline", "class": "Class"} | SHORT))
        self.outlines.resizeColumnsToContents()
        self.outlines.setColumnWidth(0, min(self.outlines.columnWidth(0), 140))
        self.words.setText(words)
        self.save.setEnabled(True)

    def refuse(self, words: str) -> None:
        """Why nothing is measured."""
        self.heading.setText(f"<b>{escape(words)}</b>")
        self.scatter.show_points(None, None)
        self.table.setRowCount(0)
        self.outlines.setModel(None)
        self.words.setText("")
        self.save.setEnabled(False)

    def show_found(self, heading: str, found: Comparison, axes: tuple[str, str], rows: Sequence[Agreement], words: str) -> None:
        """The scatter of one gene and the rows beside it."""
        self.heading.setText(heading)
        self.save.setEnabled(True)
        self.scatter.axes = axes
        self.scatter.show_points(found, None)
        self.table.setRowCount(len(rows))
        for line, one in enumerate(rows):
            texts = (
                one.name,
                _number(one.r),
                f"{_number(one.interval[0])} to {_number(one.interval[1])}",
                p_words(one),
                _number(one.rho),
                f"{one.n:,}",
            )
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(one.words)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(line, column, item)
        self.words.setText(words)

    def select(self, selected: np.ndarray | None) -> None:
        """The spots that are selected stand out."""
        found = self.scatter.found
        if found is not None:
            self.scatter.show_points(found, None if selected is None else found.among(selected))

    def put_below(self, button: Any) -> None:
        """A button at the foot."""
        self.bottom.insertWidget(0, button)


def _cell(value: Any, column: str) -> str:
    if isinstance(value, str):
        return value
    return "–" if not np.isfinite(value) else f"{value:,.0f}" if column in ("cells", "h-score", "inverted-rgb") else f"{value:.3f}"


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"


def p_words(one: Agreement) -> str:
    """P as it is written; never below what so many moves can tell."""
    return "–" if not np.isfinite(one.p) else f"{'≤ ' if one.p * (1 + one.moves) < 1.5 else ''}{one.p:.3f}"
