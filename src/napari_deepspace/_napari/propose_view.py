"""Propose outlines: from which map, above which threshold, all pieces or the one that is clicked."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QPushButton, QSlider

from napari_deepspace._napari.widgets import Collapsible, label, row
from napari_deepspace.glossary import term

STEPS = 1000


class ProposeView(Collapsible):
    """Asks; :class:`~napari_deepspace._napari.proposing.Proposing` looks and draws."""

    source_chosen = Signal()
    level_changed = Signal(float)
    propose_requested = Signal()
    preview_toggled = Signal(bool)
    wand_toggled = Signal(bool)

    def __init__(self) -> None:
        super().__init__("Propose outlines", level=2, open_=False)
        self.source = QComboBox()
        self.source.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.source.setMinimumContentsLength(18)
        self.slider, self.level = QSlider(Qt.Orientation.Horizontal), QDoubleSpinBox()
        self.slider.setRange(0, STEPS)
        self.level.setDecimals(2)
        self.level.setSingleStep(0.05)
        self.level.setObjectName("threshold")
        self.slider.setToolTip(term("proposed outline"))
        self.count = label("", wrap=True)
        self.preview, self.propose, self.wand = QCheckBox("Show on the slide"), QPushButton("Propose"), QPushButton("Wand")
        self.preview.setToolTip("What lies above the threshold, in yellow.")
        self.propose.setToolTip("An outline round each piece above the threshold, without a class: only you give it one.")
        self.wand.setToolTip(term("wand"))
        self.wand.setCheckable(True)
        chosen = row(label("From", "proposed outline"))
        chosen.addWidget(self.source, 1)
        threshold = row(label("Above"))
        threshold.addWidget(self.slider, 1)
        threshold.addWidget(self.level)
        self.content.addLayout(chosen)
        self.content.addLayout(threshold)
        self.content.addWidget(self.count)
        self.content.addLayout(row(self.propose, self.wand, 1, self.preview))
        self.source.activated.connect(lambda _: self.source_chosen.emit())
        self.slider.valueChanged.connect(self._slid)
        self.level.valueChanged.connect(self._typed)
        self.propose.clicked.connect(self.propose_requested)
        self.preview.toggled.connect(self.preview_toggled)
        self.wand.clicked.connect(self.wand_toggled)

    def show_sources(self, found: Sequence[tuple[str, str]]) -> None:
        """What can be outlined now: (key, words); the one that was chosen stays where it can."""
        chosen = self.source.currentData()
        with QSignalBlocker(self.source):
            self.source.clear()
            for key, words in found:
                self.source.addItem(words, key)
            self.source.setCurrentIndex(max(self.source.findData(chosen), 0) if found else -1)

    def show_range(self, low: float, high: float, level: float, free: bool) -> None:
        """The values of the map, and the threshold; not ``free``: nobody may choose one."""
        with QSignalBlocker(self.level):
            self.level.setRange(low, high)
            self.level.setValue(level)
        self._place()
        for widget in (self.slider, self.level):
            widget.setEnabled(free)

    def show_count(self, words: str, possible: bool) -> None:
        """How much lies above the threshold, or why nothing can be proposed."""
        self.count.setText(words)
        for widget in (self.propose, self.wand, self.preview):
            widget.setEnabled(possible)

    def _place(self) -> None:
        low, high = self.level.minimum(), self.level.maximum()
        with QSignalBlocker(self.slider):
            self.slider.setValue(round(STEPS * (self.level.value() - low) / (high - low)) if high > low else 0)

    def _slid(self, at: int) -> None:
        low, high = self.level.minimum(), self.level.maximum()
        self.level.setValue(low + (high - low) * at / STEPS)

    def _typed(self, value: float) -> None:
        self._place()
        self.level_changed.emit(value)
