"""A small histogram with a threshold that can be dragged; what it removes is drawn in the colour that removed spots have on the slide."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt, Signal

from napari_deepspace._napari.run_view import small_plot
from napari_deepspace._napari.style import Palette, palette

BINS = 48
HEIGHT = 62


class Histogram(pg.PlotWidget):
    """Bars of one quantity of the spots; ``removes`` says which side of the threshold goes. With ``log`` the axis is logarithmic."""

    moved = Signal(float)  #: the threshold while it is dragged, in the quantity's own unit

    def __init__(self, colour: str, removes: Literal["below", "above"], *, log: bool = False):
        super().__init__()
        small_plot(self, HEIGHT)
        self.setMouseEnabled(x=False, y=False)
        self.hideAxis("left")
        self.setMinimumWidth(120)
        self.getAxis("bottom").setHeight(18)
        self._colour, self._removes, self._log = colour, removes, log
        self._edges, self._counts = np.zeros(2), np.zeros(1)
        self._range = (0.0, 1.0)
        self._bars = pg.BarGraphItem(x0=[], x1=[], height=[])
        self._gone = pg.BarGraphItem(x0=[], x1=[], height=[])
        self.line = pg.InfiniteLine(0, angle=90, movable=True)
        self.line.addMarker("v", 1.0, 9)
        self.line.setCursor(Qt.CursorShape.SizeHorCursor)
        for item in (self._bars, self._gone, self.line):
            self.addItem(item)
        self.line.sigDragged.connect(lambda line: self.moved.emit(self._from_axis(float(line.value()))))
        self.setToolTip("Drag the line to move the threshold; coloured spots are removed.")
        self.restyle(palette())

    def set_values(self, values: np.ndarray) -> None:
        """Show the distribution of ``values`` (n_spots,); values that are not finite are left out."""
        shown = self._to_axis(np.asarray(values, dtype=np.float64))
        shown = shown[np.isfinite(shown)]
        low, high = (float(shown.min()), float(shown.max())) if len(shown) else (0.0, 1.0)
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        self._counts, self._edges = np.histogram(shown, BINS, (low, high))
        self._range = (low, high)
        self.setXRange(low, high, padding=0.02)
        self.setYRange(0, max(1, self._counts.max()) * 1.05, padding=0)
        if self._log:
            decades = [(exponent, f"{10**exponent:,}") for exponent in range(int(np.floor(low)), int(np.ceil(high)) + 1)]
            halves = [(exponent + np.log10(3), f"{3 * 10**exponent:,}") for exponent, _ in decades]
            self.getAxis("bottom").setTicks([decades, halves])
        self._draw()

    def set_threshold(self, value: float) -> None:
        """Put the line at ``value``, at the edge of the picture if it lies outside; ``moved`` is not emitted."""
        self.line.setValue(float(np.clip(self._to_axis(np.array([value]))[0], *self._range)))
        self._draw()

    def threshold(self) -> float:
        """Where the line is."""
        return self._from_axis(float(self.line.value()))

    def restyle(self, p: Palette) -> None:
        """Follow napari's theme."""
        self.setBackground(p.raised)
        axis = self.getAxis("bottom")
        axis.setPen(p.dim)
        axis.setTextPen(p.text)
        self.line.setPen(pg.mkPen(p.text, width=2))
        self.line.setHoverPen(pg.mkPen(p.accent, width=3))
        self._stay = p.dim
        self._draw()

    def _draw(self) -> None:
        at = float(self.line.value())
        left, right, height = self._edges[:-1], self._edges[1:], self._counts
        gone = np.maximum(left, at) < right if self._removes == "above" else left < np.minimum(right, at)
        cut_left = np.maximum(left, at) if self._removes == "above" else left
        cut_right = right if self._removes == "above" else np.minimum(right, at)
        pen = pg.mkPen(None)
        self._bars.setOpts(x0=left, x1=right, height=height, brush=self._stay, pen=pen)
        self._gone.setOpts(x0=cut_left[gone], x1=cut_right[gone], height=height[gone], brush=self._colour, pen=pen)

    def _to_axis(self, values: np.ndarray) -> np.ndarray:
        return np.log10(np.maximum(values, 1)) if self._log else values

    def _from_axis(self, value: float) -> float:
        return 10**value if self._log else value
