"""The scatter of measured against predicted values, drawn as one picture, so that 50,000 spots stay quick; dragging a rectangle selects spots."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_deepspace._napari.style import Palette, palette
from napari_deepspace.cluster_colours import hex_rgba
from napari_deepspace.comparison import CHOSEN, Comparison, in_rectangle

LEFT, RIGHT, TOP, BOTTOM = 62, 14, 10, 46  #: room for the axes, px
RADIUS, RIM = 2.5, 1.6  #: of a dot and of the rim of a selected one, px
LIVE = 10_000  #: spots; painting more of them on the slide takes longer than the mouse moves
EMPTY = "No prediction of this gene at spots that were not trained on."


class Scatter(QWidget):
    """Shows a :class:`Comparison`; ``brushed`` carries the spots in the rectangle, bool (n,): while it is drawn, or of many spots once it is."""

    brushed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.found: Comparison | None = None
        self.axes: tuple[str, str] | None = None  #: what stands along x and y; None: the gene, measured and predicted
        self._selected: np.ndarray | None = None  #: bool (n,); None: no selection at all
        self._palette = palette()
        self._cloud: QImage | None = None
        self._corners: tuple[QPointF, QPointF] | None = None
        self.setMinimumSize(300, 240)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setCursor(Qt.CursorShape.CrossCursor)

    def sizeHint(self) -> QSize:
        return QSize(520, 400)

    def show_points(self, found: Comparison | None, selected: np.ndarray | None) -> None:
        """Draw these spots; ``selected`` is bool (n,) or None."""
        self.found, self._selected, self._cloud = found, selected, None
        self.update()

    def restyle(self, p: Palette) -> None:
        """Follow napari's theme."""
        self._palette, self._cloud = p, None
        self.update()

    def limits(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """What the axes span: the same for both, since equal lengths shall mean equal values, unless predicted levels are relative."""
        if self.found is None or not len(self.found.spots):
            return (0.0, 1.0), (0.0, 1.0)
        x, y = _padded(self.found.measured), _padded(self.found.predicted)
        both = min(x[0], y[0]), max(x[1], y[1])
        return (x, y) if self.found.relative else (both, both)

    def area(self) -> QRectF:
        """Where the spots are drawn: a square if both axes span the same."""
        width, height = self.width() - LEFT - RIGHT, self.height() - TOP - BOTTOM
        if self.found is None or not self.found.relative:
            width = height = max(min(width, height), 10)
        return QRectF((self.width() - LEFT - RIGHT - width) / 2 + LEFT, TOP, width, height)

    def at(self, x: Any, y: Any) -> np.ndarray:
        """Where values are drawn, px within the widget: (n, 2)."""
        area, (x0, x1), (y0, y1) = self.area(), *self.limits()
        across = area.left() + (np.asarray(x, dtype=float) - x0) / (x1 - x0) * area.width()
        down = area.bottom() - (np.asarray(y, dtype=float) - y0) / (y1 - y0) * area.height()
        return np.stack([across, down], axis=-1)

    # -- drawing ---------------------------------------------------------------------------------------------------------------------------

    def paintEvent(self, event: Any) -> None:
        painter, p, area = QPainter(self), self._palette, self.area()
        painter.fillRect(area, QColor(p.raised))
        if self.found is None or not len(self.found.spots):
            painter.setPen(QColor(p.dim))
            painter.drawText(area, int(Qt.AlignmentFlag.AlignCenter) | int(Qt.TextFlag.TextWordWrap), EMPTY)
            painter.end()
            return
        self._draw_axes(painter, self.found)
        if self._cloud is None:
            self._cloud = self._draw_cloud(self.found)
        painter.drawImage(QPointF(0, 0), self._cloud)
        if not self.found.relative:  # equal values
            first, last = self.at(*self.limits())
            painter.setPen(QPen(QColor(p.text), 1.2, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(*first), QPointF(*last))
        if self._corners is not None:
            painter.setPen(QPen(QColor(p.text), 1, Qt.PenStyle.DashLine))
            painter.drawRect(QRectF(*self._corners).normalized())
        painter.end()

    def resizeEvent(self, event: Any) -> None:
        self._cloud = None
        super().resizeEvent(event)

    def _draw_axes(self, painter: QPainter, found: Comparison) -> None:
        p, area, (x_limits, y_limits) = self._palette, self.area(), self.limits()
        line = painter.fontMetrics().height()
        for value in ticks(*x_limits):
            x = float(self.at(value, y_limits[0])[0])
            painter.setPen(QColor(p.dim))
            painter.drawLine(QPointF(x, area.bottom()), QPointF(x, area.bottom() + 4))
            painter.setPen(QColor(p.text))
            painter.drawText(QRectF(x - 40, area.bottom() + 4, 80, line), int(Qt.AlignmentFlag.AlignHCenter), f"{value:g}")
        for value in ticks(*y_limits):
            y = float(self.at(x_limits[0], value)[1])
            painter.setPen(QColor(p.dim))
            painter.drawLine(QPointF(area.left() - 4, y), QPointF(area.left(), y))
            painter.setPen(QColor(p.text))
            right = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            painter.drawText(QRectF(area.left() - 46, y - line, 40, 2 * line), right, f"{value:g}")
        painter.setPen(QColor(p.dim))
        painter.drawRect(area)
        painter.setPen(QColor(p.text))
        below = QRectF(0, area.bottom() + 6 + line, self.width(), line + 4)
        painter.drawText(below, int(Qt.AlignmentFlag.AlignHCenter), self.axes[0] if self.axes else f"{found.gene} measured, {found.unit}")
        painter.save()
        painter.translate(area.left() - 58, area.center().y())
        painter.rotate(-90)
        words = "predicted, relative within this slide" if found.relative else "predicted, out-of-fold"
        words = self.axes[1] if self.axes else words
        painter.drawText(QRectF(-area.height() / 2, 0, area.height(), line + 4), int(Qt.AlignmentFlag.AlignHCenter), words)
        painter.restore()

    def _draw_cloud(self, found: Comparison) -> QImage:
        """All dots as one picture; where many lie upon each other it is denser."""
        ratio = self.devicePixelRatioF()
        size = (round(self.height() * ratio), round(self.width() * ratio))
        xy = self.at(found.measured, found.predicted) * ratio
        alone = self._selected is None
        one = min(max(20 / math.sqrt(len(xy)), 0.12), 0.75) * (1 if alone else 0.45)
        colour = hex_rgba(self._palette.accent if alone else self._palette.dim)[:3]
        picture = np.zeros((*size, 4), dtype=np.float32)
        picture[..., :3] = colour
        picture[..., 3] = 1 - (1 - one) ** dots(xy, size, RADIUS * ratio)
        if self._selected is not None:
            for radius, paint in ((RADIUS + RIM, "#101010"), (RADIUS, CHOSEN)):
                there = dots(xy[self._selected], size, radius * ratio) > 0
                picture[there] = hex_rgba(paint)
        pixels = np.ascontiguousarray((picture * 255).round().astype(np.uint8))
        image = QImage(pixels.tobytes(), size[1], size[0], 4 * size[1], QImage.Format.Format_RGBA8888).copy()
        image.setDevicePixelRatio(ratio)
        return image

    # -- the mouse -------------------------------------------------------------------------------------------------------------------------

    def mousePressEvent(self, event: Any) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self.found is not None:
            self._corners = (event.position(), event.position())

    def mouseMoveEvent(self, event: Any) -> None:
        if self._corners is not None:
            self._corners = (self._corners[0], event.position())
            self._brush(done=False)

    def mouseReleaseEvent(self, event: Any) -> None:
        if self._corners is not None:
            self._corners = (self._corners[0], event.position())
            self._brush(done=True)
            self._corners = None

    def _brush(self, done: bool) -> None:
        if self.found is None or self._corners is None:
            return
        first, last = ((point.x(), point.y()) for point in self._corners)
        inside = in_rectangle(self.at(self.found.measured, self.found.predicted), first, last)
        self.show_points(self.found, inside if inside.any() else None)
        if done or len(inside) <= LIVE:
            self.brushed.emit(inside)


def dots(xy: np.ndarray, size: tuple[int, int], radius: float) -> np.ndarray:
    """How many discs of that radius lie on each pixel of a picture of ``size`` (rows, columns); ``xy`` (n, 2) px: int (rows, columns)."""
    reach = np.arange(-math.ceil(radius), math.ceil(radius) + 1)
    dy, dx = (part[np.hypot(*np.meshgrid(reach, reach, indexing="ij")) <= radius] for part in np.meshgrid(reach, reach, indexing="ij"))
    column, row = (np.round(xy[:, axis]).astype(int)[:, None] for axis in (0, 1))
    row, column = row + dy, column + dx
    inside = (row >= 0) & (row < size[0]) & (column >= 0) & (column < size[1])
    return np.bincount(row[inside] * size[1] + column[inside], minlength=size[0] * size[1]).reshape(size)


def ticks(low: float, high: float, about: int = 5) -> np.ndarray:
    """Round numbers from ``low`` to ``high``, about so many."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    return np.round(np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step, 10)


def _padded(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    edge = 0.04 * (high - low) or 0.5
    return low - edge, high + edge
