"""The question of a square lattice in step 1: legacy ST, or which pitch? Asked until somebody answers, never in a window of its own."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QPushButton, QVBoxLayout, QWidget

from napari_deepspace._napari.widgets import label, row
from napari_deepspace.section import PLATFORMS, Section, lattice_step_px

PITCH, MPP = "um pitch", "um per px"


class LatticeQuestion(QWidget):
    """Shown for a section that :attr:`napari_deepspace.section.Section.asks_lattice`; either answer is one that its settings keep."""

    is_st = Signal(str)  #: it is legacy ST: the platform's key
    has_mpp = Signal(float)  #: it is not, and this is um per px

    def __init__(self) -> None:
        super().__init__()
        self._step_px = float("nan")
        self.words = label("", "platform", wrap=True)
        self.yes, self.use = QPushButton("Yes, legacy ST"), QPushButton("Use")
        self.yes.setToolTip("Spots of 100 um, 200 um apart, as the first Spatial Transcriptomics had them. It will not be asked again.")
        self.use.setToolTip("Read the section with this scale; spots are half as wide as their pitch where nothing states their size.")
        self.number, self.unit = QDoubleSpinBox(), QComboBox()
        self.number.setRange(0.01, 10_000)
        self.number.setDecimals(3)
        self.number.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.number.setMinimumWidth(120)
        self.number.setToolTip("The distance between the centres of neighbouring spots, or how wide a pixel of the image is.")
        self.unit.addItems([PITCH, MPP])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.words)
        layout.addLayout(row(self.yes, 1))
        layout.addLayout(row(label("No, it is"), self.number, self.unit, self.use, 1))
        self.yes.clicked.connect(lambda: self.is_st.emit("st"))
        self.use.clicked.connect(lambda: self.has_mpp.emit(self.mpp()))
        self.unit.currentIndexChanged.connect(self._other_unit)

    def ask(self, section: Section | None) -> None:
        """Ask of ``section``, or of none."""
        asks = section is not None and section.asks_lattice
        self.setVisible(asks)
        if section is None or not asks:
            return
        places = section.lattice_rc_yx
        self._step_px = lattice_step_px(places[:, :2], places[:, :1:-1], "square")
        st = PLATFORMS["st"]
        pitch = section.mpp * self._step_px
        by_image = f" {section.mpp_from[0].upper()}{section.mpp_from[1:]} it is {pitch:.0f} um." if abs(pitch / st.pitch_um - 1) > 0.05 else ""
        self.words.setText(f"Square lattice: is it legacy ST, with a pitch of {st.pitch_um:g}\u00a0um?{by_image}")
        self.number.setValue(pitch if self.unit.currentText() == PITCH else section.mpp)

    def mpp(self) -> float:
        """What the field says, as um per px."""
        value = self.number.value()
        return float(np.round(value / self._step_px if self.unit.currentText() == PITCH else value, 6))

    def _other_unit(self) -> None:
        other = self.number.value()
        self.number.setValue(other / self._step_px if self.unit.currentText() == MPP else other * self._step_px)
