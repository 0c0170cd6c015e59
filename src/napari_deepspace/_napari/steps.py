"""One step of the spot filter as a row: its colour on the slide, its threshold, what it removes, and a histogram."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QDoubleSpinBox, QFrame, QSpinBox, QVBoxLayout, QWidget

from napari_deepspace._napari.histogram import Histogram
from napari_deepspace._napari.widgets import label, row
from napari_deepspace.views import REASON_COLOURS


class Swatch(QFrame):
    """A small square of one colour: the legend of what is painted on the slide."""

    def __init__(self, colour: str):
        super().__init__()
        self.colour = colour
        self.setFixedSize(12, 12)

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setBrush(QColor(self.colour))
        painter.setPen(QColor(128, 128, 128))
        painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        painter.end()


class Step(QWidget):
    """``key`` is one of ``preprocess.filters.STEPS``; ``box`` holds the threshold as a number, ``histogram`` as a line, where there is one."""

    def __init__(self, key: str, title: str, tip: str, box: QSpinBox | QDoubleSpinBox | None = None, histogram: Histogram | None = None):
        super().__init__()
        self.key = key
        self.removes = label(dim=True)
        self.removes.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        widgets: list[QWidget | int] = [Swatch(REASON_COLOURS[key]), label(title, tip)]
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 2, 0, 2)
        layout.setSpacing(2)
        self.top = row(*widgets, 1, self.removes)
        layout.addLayout(self.top)
        if box is not None and histogram is not None:
            self.box, self.histogram = box, histogram
            layout.addLayout(row(histogram, box))

    def show_threshold(self, number: float, line: float) -> None:
        """The threshold as ``number`` in the box and at ``line`` in the histogram, without telling anybody."""
        self.box.blockSignals(True)
        self.box.setValue(number)  # type: ignore[arg-type]
        self.box.blockSignals(False)
        self.histogram.set_threshold(line)

    def say(self, count: int) -> None:
        """How many spots the step removes by itself."""
        self.removes.setText(f"removes {count:,}" if count else "removes none")


def count_box() -> QSpinBox:
    """A number of molecules or genes."""
    box = QSpinBox()
    box.setRange(0, 10_000_000)
    box.setSingleStep(100)
    box.setObjectName("threshold")  # its width is the style sheet's
    return box


def percent_box() -> QDoubleSpinBox:
    """A number of per cent, or a percentile."""
    box = QDoubleSpinBox()
    box.setRange(0, 100)
    box.setDecimals(1)
    box.setObjectName("threshold")  # its width is the style sheet's
    return box
