"""All numbers behind the gene panel: one row a gene, sorted by any of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtWidgets import QDialog, QLineEdit, QTableView, QVBoxLayout, QWidget

from napari_deepspace._napari.tables import Table
from napari_deepspace._napari.widgets import label
from napari_deepspace.gene_names import GeneNames
from napari_deepspace.gene_scores import Scores
from napari_deepspace.glossary import TERMS

TIPS = {
    "from": "Lower end of the 95 % interval.",
    "to": "Upper end of the 95 % interval.",
    "Moran's I difference": "Predicted less measured: 0 is agreement, above 0 the map is smoother than what was measured.",
}


class GeneTableDialog(QDialog):
    """The table in a window of its own; a click, or the arrow keys, show the gene on the slide. ``gene`` is the one that is shown already."""

    picked = Signal(str)

    def __init__(self, scores: Scores, title: str, parent: QWidget | None = None, gene: str = ""):
        super().__init__(parent)
        self._gene = gene
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
        self.table.setSelectionMode(QTableView.SelectionMode.SingleSelection)
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
        self.model.modelReset.connect(self._mark)
        selection = self.table.selectionModel()
        if selection is not None:
            selection.currentRowChanged.connect(self._pick)
        self._mark()

    def show_gene(self, gene: str) -> None:
        """Mark the row of ``gene``, which was chosen elsewhere."""
        self._gene = gene
        self._mark()

    def _mark(self) -> None:
        """The gene that is shown stays marked when the rows are sorted or searched."""
        row = (self.model.rows["gene"] == self._gene).to_numpy()
        now = self.table.currentIndex()
        if row.any() and now.row() != row.argmax():
            self.table.setCurrentIndex(self.model.index(int(row.argmax()), max(now.column(), 0)))

    def _pick(self, index: QModelIndex) -> None:
        gene = str(self.model.rows["gene"].iat[index.row()]) if index.isValid() else self._gene
        if gene != self._gene:
            self._gene = gene
            self.picked.emit(gene)

    def _filter(self, text: str) -> None:
        """Only genes whose name ``text`` may mean."""
        rows = self.model.whole
        self.model.show(rows[rows["gene"].isin({match.name for match in self._names.find(text)})] if text.strip() else rows)

    def _shown(self, column: int) -> list[str]:
        return [str(self.model.data(self.model.index(number, column))) for number in range(min(self.model.rowCount(), 60))]


def _words(value: Any, column: str) -> str:
    if value is None or isinstance(value, (float, np.floating)):
        if value is None or not math.isfinite(value):
            return "–"
        return f"{value:.0%}" if column == "detected" or column.endswith("/ best") else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, (int, np.integer)) else str(value)
