"""The window "Measured against predicted": scatter and confusion matrix, what is selected, and the swipe. It stays open beside the slide."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QCheckBox, QDialog, QPushButton, QSlider, QTabWidget, QVBoxLayout, QWidget

from napari_deepspace._napari.actions import key_tip
from napari_deepspace._napari.confusion_table import ConfusionTable
from napari_deepspace._napari.scatter import Scatter
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.style import Palette
from napari_deepspace._napari.widgets import Wrapped, label, one_shot, row
from napari_deepspace.comparison import Confusion, chosen, confusion, heading, selection_words
from napari_deepspace.glossary import term

TITLE = "Measured against predicted"
HINT = "Drag a rectangle here, or draw round spots on the slide with Shift held down. Escape clears. Research use only."


class CompareDialog(QDialog):
    """Follows the session's gene and writes the spots that are brushed into ``session.selected``."""

    def __init__(self, session: Session, parent: QWidget | None = None):
        super().__init__(parent)
        self._session = session
        self.setWindowTitle(TITLE)
        self.resize(440, 680)
        self.heading = label("", "r", wrap=True)
        self.heading.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.scatter, self.matrix = Scatter(), ConfusionTable()
        self.tabs = QTabWidget()
        self.tabs.addTab(self.scatter, "Scatter")
        self.tabs.addTab(self.matrix, "Confusion matrix")
        self.selection = Wrapped(lines=3)  # always, so that the scatter keeps its size while a rectangle is drawn
        self.selection.setToolTip(term("selected spots"))
        self.clear = QPushButton("Clear")
        self.clear.setToolTip("No spot is selected any more (Escape).")
        self.flip = QPushButton("Flip")
        self.flip.setToolTip(term("flip") + key_tip("flip"))
        self.swipe = QCheckBox("Swipe")
        self.swipe.setToolTip(term("swipe") + key_tip("swipe"))
        self.line = QSlider(Qt.Orientation.Horizontal)
        self.line.setRange(0, 1000)
        self.line.setValue(500)
        self.line.setToolTip("Where the line stands; it can be dragged on the slide too.")
        for button in (self.clear, self.flip):
            button.setAutoDefault(False)
        layout = QVBoxLayout(self)
        layout.addWidget(self.heading)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.selection)
        layout.addLayout(row(self.swipe, self.line, self.flip, self.clear))
        layout.addWidget(label(HINT, wrap=True, dim=True))
        self._soon = one_shot(self, 0)
        self._soon.timeout.connect(self.refresh)
        self._connect()

    def _connect(self) -> None:
        s = self._session
        self.scatter.brushed.connect(self._brushed)
        self.matrix.picked.connect(self._picked)
        self.clear.clicked.connect(lambda: setattr(s, "selected", None))
        self.swipe.toggled.connect(self._swipe_toggled)
        self.line.valueChanged.connect(self._line_moved)

    def restyle(self, p: Palette) -> None:
        """Follow napari's theme."""
        self.scatter.restyle(p)
        self.matrix.restyle(p)

    def later(self) -> None:
        """The session has changed: show it once the change is complete."""
        if self.isVisible():
            self._soon.start()

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self.refresh()

    def refresh(self) -> None:
        """Show what the session says, now."""
        s = self._session
        found, kept = s.comparison(), s.kept()
        selected = s.selected
        self.scatter.show_points(found, None if found is None or selected is None else found.among(selected))
        if s.maps is None or found is None:
            self.heading.setText(f"<b>{escape(s.gene) or 'No gene'}: no prediction yet</b><br>Train, or open a finished run.")
        else:
            synthetic = s.section is not None and bool(s.section.synthetic)
            first, *rest = map(escape, heading(s.maps, s.gene, len(found.spots), synthetic))
            self.heading.setText("<br>".join([f"<b>{first}</b>", *rest]))
        clusters = None if s.maps is None or kept is None else confusion(s.maps, kept.keep)
        self.tabs.setTabVisible(1, clusters is not None)
        self.matrix.show_matrix(clusters, "" if clusters is None else self._matrix_words(clusters))
        self.selection.setText(selection_words(found, selected) or "No spot is selected.")
        self.clear.setEnabled(selected is not None)
        for widget in (self.swipe, self.line, self.flip):
            widget.setEnabled(found is not None)
        with QSignalBlocker(self.swipe), QSignalBlocker(self.line):
            self.swipe.setChecked(s.swipe is not None)
            if s.swipe is not None:
                self.line.setValue(round(1000 * s.swipe))

    def _matrix_words(self, found: Confusion) -> str:
        """The whole in one sentence: how many lie on the diagonal, of how many, kept back how, and what naming the commonest alone would give."""
        maps = self._session.maps
        n, right, most = int(found.counts.sum()), int(found.counts.trace()), int(found.counts.sum(axis=1).max(initial=0))
        split = maps.scores.split if maps is not None and maps.scores is not None and maps.scores.split else "split not told"
        synthetic = "SYNTHETIC data. " if self._session.section is not None and self._session.section.synthetic else ""
        shares = f": {right / n:.0%} of them on the diagonal; the commonest cluster alone would give {most / n:.0%}" if n else ""
        told = f"{synthetic}{n:,} spots not trained on; {split}{shares}."
        return f"{told} Rows: measured; columns: likeliest predicted. A click selects the spots of a cell."

    def _brushed(self, inside: np.ndarray) -> None:
        found = self.scatter.found
        if found is not None:
            self._session.selected = chosen(found.spots[inside])

    def _picked(self, line: int, column: int) -> None:
        if self.matrix.found is not None:
            self._session.selected = self.matrix.found.cell(line, column)

    def _swipe_toggled(self, on: bool) -> None:
        self._session.swipe = self.line.value() / 1000 if on else None

    def _line_moved(self, value: int) -> None:
        self._session.swipe = value / 1000

    def keyPressEvent(self, event: Any) -> None:
        """Escape clears the selection first, and closes the window when there is none."""
        if event.key() == Qt.Key.Key_Escape and self._session.selected is not None:
            self._session.selected = None
        else:
            super().keyPressEvent(event)
