"""The confusion matrix as a table: a click on a cell selects its spots."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_deepspace._napari.style import Palette, palette
from napari_deepspace._napari.widgets import label
from napari_deepspace.comparison import Confusion


class ConfusionTable(QWidget):
    """Shows a :class:`Confusion`; ``picked`` carries the row and the column of a cell."""

    picked = Signal(int, int)

    def __init__(self) -> None:
        super().__init__()
        self.found: Confusion | None = None
        self._palette = palette()
        self.words = label("", "confusion matrix", wrap=True)
        self.table = QTableWidget()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        for header in (self.table.horizontalHeader(), self.table.verticalHeader()):
            if header is not None:
                header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.words)
        layout.addWidget(self.table)
        self.table.cellClicked.connect(self.picked.emit)
        self.table.cellActivated.connect(self.picked.emit)

    def restyle(self, p: Palette) -> None:
        """Follow napari's theme."""
        self._palette = p
        self.show_matrix(self.found, self.words.text())

    def show_matrix(self, found: Confusion | None, words: str) -> None:
        """Show the counts with the share of each row below; ``words`` stand above."""
        self.found = found
        self.words.setText(words)
        names = found.names if found is not None else ()
        self.table.setRowCount(len(names))
        self.table.setColumnCount(len(names))
        if found is None:
            return
        self.table.setVerticalHeaderLabels([f"{name} measured ({total:,})" for name, total in zip(names, found.counts.sum(axis=1), strict=True)])
        self.table.setHorizontalHeaderLabels([f"{name}\npredicted" for name in names])
        shares = found.shares
        for row in range(len(names)):
            for column in range(len(names)):
                self.table.setItem(row, column, self._cell(int(found.counts[row, column]), float(shares[row, column])))

    def _cell(self, count: int, share: float) -> Any:
        known = math.isfinite(share)
        item = QTableWidgetItem(f"{count:,}\n{share:.0%}" if known else "–")
        item.setTextAlignment(int(Qt.AlignmentFlag.AlignCenter))
        shade = QColor(self._palette.accent)
        shade.setAlphaF(0.6 * share if known else 0)
        item.setBackground(shade)
        return item
