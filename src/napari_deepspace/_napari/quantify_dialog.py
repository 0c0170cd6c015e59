"""The window "Measure the stain": how much of it each spot holds, against the gene that is looked at; what is brushed there is selected."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QDialog, QHeaderView, QPushButton, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_deepspace._napari.scatter import Scatter
from napari_deepspace._napari.widgets import Segmented, Wrapped, label, row
from napari_deepspace.align.quantify import CELL_WAYS, WAYS
from napari_deepspace.analyse.agreement import Agreement
from napari_deepspace.comparison import Comparison
from napari_deepspace.glossary import term

OF = {"measured": "Measured", "predicted": "Predicted"}
COLUMNS = {"What": "quantify a stain", "r": "r", "95 % interval": "", "P": "shifted-map null", "Spearman": "", "n": "spot"}  #: and their words


class QuantifyDialog(QDialog):
    """Asks for a measurement; shows what came out. ``name`` is the neighbour's."""

    asked = Signal(str, str)  #: way, and measured or predicted

    def __init__(self, name: str, parent: QWidget):
        super().__init__(parent)
        self.setWindowTitle(f"Measure the stain of {name}")
        self.resize(560, 690)
        self.way = QComboBox()
        for key in (key for key in WAYS if key not in CELL_WAYS):
            self.way.addItem(WAYS[key], key)
        self.of = Segmented(OF, {key: term(key) for key in OF})
        self.of.setMinimumWidth(200)
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
        self.bottom = row(1)
        layout = QVBoxLayout(self)
        layout.addLayout(row(label("Way", "quantify a stain"), self.way, 1, self.of, self.run))
        layout.addWidget(self.heading)
        layout.addWidget(self.scatter, 1)
        layout.addWidget(self.table)
        layout.addWidget(self.words)
        layout.addLayout(self.bottom)
        self.run.clicked.connect(lambda: self.asked.emit(str(self.way.currentData()), self.of.value()))

    def refuse(self, words: str) -> None:
        """Why nothing is measured."""
        self.heading.setText(f"<b>{escape(words)}</b>")
        self.scatter.show_points(None, None)
        self.table.setRowCount(0)
        self.words.setText("")

    def show_found(self, heading: str, found: Comparison, axes: tuple[str, str], rows: Sequence[Agreement], words: str) -> None:
        """The scatter of one gene and the rows beside it."""
        self.heading.setText(heading)
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


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"


def p_words(one: Agreement) -> str:
    """P as it is written; never below what so many moves can tell."""
    return "–" if not np.isfinite(one.p) else f"{'≤ ' if one.p * (1 + one.moves) < 1.5 else ''}{one.p:.3f}"
