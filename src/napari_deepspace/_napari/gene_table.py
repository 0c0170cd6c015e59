"""All numbers behind the gene panel: one row a gene, sorted by any of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QDialog, QLineEdit, QTableView, QVBoxLayout, QWidget

from napari_deepspace._napari.tables import Table
from napari_deepspace._napari.widgets import label
from napari_deepspace.gene_names import GeneNames
from napari_deepspace.gene_scores import Scores
from napari_deepspace.glossary import TERMS

TIPS = {"from": "Lower end of the 95 % interval.", "to": "Upper end of the 95 % interval."}


class GeneTableDialog(QDialog):
    """The table in a window of its own; a double click shows the gene on the slide."""

    picked = Signal(str)

    def __init__(self, scores: Scores, title: str, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWindowTitle(title)
        self.resize(1180, 560)
        self.model = Table(scores.table(), _words, lambda column: TIPS.get(column) or TERMS.get(column.casefold()))
        self._names = GeneNames(list(scores.genes))
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
        self.search.textChanged.connect(self._filter)
        self.table.doubleClicked.connect(lambda index: self.picked.emit(str(self.model.rows["gene"].iat[index.row()])))

    def _filter(self, text: str) -> None:
        """Only genes whose name ``text`` may mean."""
        rows = self.model.whole
        self.model.show(rows[rows["gene"].isin({match.name for match in self._names.find(text)})] if text.strip() else rows)

    def _shown(self, column: int) -> list[str]:
        return [str(self.model.data(self.model.index(number, column))) for number in range(min(self.model.rowCount(), 60))]


def _words(value: Any, column: str) -> str:
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return "–"
        return f"{value:.0%}" if column == "detected" or column.endswith("/ best") else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, (int, np.integer)) else str(value)
