"""A slide in a plain Qt widget, read in a thread as the view moves, with numbered landmarks. A second canvas of napari's would share its OpenGL."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPen, QTransform
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.widgets import one_shot
from napari_deepspace.neighbours import Near, Pair, near_landmark
from napari_deepspace.slide import Level, Slide

GRASP_PX = 10  #: how near to a landmark the mouse takes hold of it
STILL_PX = 4  #: a press that moves no farther is a click
PLAIN, CHOSEN = "#ffe14d", "#00f0ff"
Picture = tuple[QImage, tuple[int, int], float]  #: pixels, row and column of their corner in the level, um per px of it


class SlideView(QWidget):
    """``centre_yx`` (um of the world) is in the middle, ``zoom`` is px of the screen per um; ``affine`` turns the slide's um to the world."""

    clicked = Signal(object)  #: (row, column), um of the slide
    moved = Signal(object, object, bool)  #: Near, (row, column), um of the slide, and whether the drag is over
    travelled = Signal()  #: the view was moved here, with the mouse

    def __init__(self, slide: Slide, mpp: float, fixed: bool):
        super().__init__()
        self._slide, self._mpp, self._fixed = slide, mpp, fixed
        self.affine = np.eye(3)
        self.centre_yx, self.zoom = np.zeros(2), 0.1
        self.pairs: tuple[Pair, ...] = ()
        self.chosen = -1
        self._overview: Picture | None = None
        self._near_by: Picture | None = None
        self._asked: Any = None
        self._pressed: tuple[QPointF, np.ndarray, Near | None, np.ndarray] | None = None
        self._still = True
        self._soon = one_shot(self, 40)
        self._soon.timeout.connect(self._read)
        self.setMinimumSize(260, 220)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setCursor(Qt.CursorShape.CrossCursor)

    # -- what is seen ----------------------------------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """The whole slide is in view."""
        height, width = (size * self._mpp for size in self._slide.shape)
        corners = np.array([self.world((y, x)) for y in (0.0, height) for x in (0.0, width)])
        low, high = corners.min(axis=0), corners.max(axis=0)
        self.look_at((low + high) / 2, 0.96 * min(self.height() / (high - low)[0], self.width() / (high - low)[1]))

    def look_at(self, centre_yx: Sequence[float] | np.ndarray, zoom: float | None = None) -> None:
        """Put a place of the world in the middle."""
        self.centre_yx, self.zoom = np.asarray(centre_yx, dtype=float), zoom or self.zoom
        self._soon.start()
        self.update()

    def place(self, affine: np.ndarray) -> None:
        """Turn the slide."""
        self.affine = np.asarray(affine, dtype=float)
        self._soon.start()
        self.update()

    def show_pairs(self, pairs: Sequence[Pair], chosen: int) -> None:
        """Draw the landmarks of this side; the chosen pair in another colour."""
        self.pairs, self.chosen = tuple(pairs), chosen
        self.update()

    def world(self, yx_um: Sequence[float] | np.ndarray) -> np.ndarray:
        """A place of the slide in the world of the view."""
        return (self.affine @ [*yx_um, 1.0])[:2]

    def on_screen(self, yx_um: Sequence[float] | np.ndarray) -> QPointF:
        """Where a place of the slide is drawn, px of the widget."""
        y, x = (self.world(yx_um) - self.centre_yx) * self.zoom
        return QPointF(self.width() / 2 + x, self.height() / 2 + y)

    def place_at(self, point: QPointF) -> np.ndarray:
        """The place of the slide under a point of the widget: (row, column), um."""
        world = self.centre_yx + np.array([point.y() - self.height() / 2, point.x() - self.width() / 2]) / self.zoom
        return (np.linalg.inv(self.affine) @ [*world, 1.0])[:2]

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("#f4f2f4"))
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        for picture in (self._overview, self._near_by):
            if picture is not None:
                image, (row, column), um = picture
                painter.setTransform(self._to_screen(um))
                painter.drawImage(QPointF(column, row), image)
        painter.resetTransform()
        for number, pair in enumerate(self.pairs):
            side = pair.fixed_yx_um if self._fixed else pair.moving_yx_um
            if side is not None:
                self._draw_landmark(painter, self.on_screen(side), number)
        painter.setPen(QColor("#808080"))
        painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        painter.end()

    def _draw_landmark(self, painter: QPainter, at: QPointF, number: int) -> None:
        arm, colour = 8, CHOSEN if number == self.chosen else PLAIN
        for width, paint in ((4.5, "#101010"), (2.0, colour)):
            painter.setPen(QPen(QColor(paint), width))
            painter.drawLine(at - QPointF(arm, 0), at + QPointF(arm, 0))
            painter.drawLine(at - QPointF(0, arm), at + QPointF(0, arm))
        box = QRectF(at.x() + 6, at.y() - 22, 22, 17)
        painter.fillRect(box, QColor("#101010"))
        painter.setPen(QColor(colour))
        painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), str(number + 1))

    def _to_screen(self, um: float) -> QTransform:
        """From (x, y) px of a level to px of the widget."""
        a, z = self.affine, self.zoom
        (cy, cx), k = self.centre_yx, z * um
        dx, dy = self.width() / 2 + (a[1, 2] - cx) * z, self.height() / 2 + (a[0, 2] - cy) * z
        return QTransform(a[1, 1] * k, a[0, 1] * k, a[1, 0] * k, a[0, 0] * k, dx, dy)

    # -- reading ---------------------------------------------------------------------------------------------------------------------------

    def resizeEvent(self, event: Any) -> None:
        self._soon.start()
        super().resizeEvent(event)

    def _read(self) -> None:
        """Read what is in view, in a thread; only what was asked for last is taken."""
        corners = [self.place_at(QPointF(x, y)) for x in (0, self.width()) for y in (0, self.height())]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        finest = 0.7 / (self.zoom * float(np.sqrt(abs(np.linalg.det(self.affine[:2, :2])))))
        levels = [(level, self._mpp * self._slide.shape[0] / level.shape[0]) for level in self._slide.levels]
        level, um = next(((level, um) for level, um in reversed(levels) if um <= max(finest, self._mpp)), levels[0])
        top, left = np.clip(np.floor(low / um).astype(int), 0, level.shape[:2])
        bottom, right = np.clip(np.ceil(high / um).astype(int) + 1, 0, level.shape[:2])
        overview = levels[-1] if self._overview is None else None
        self._asked = asked = start_job(
            partial(_pictures, level, um, (int(top), int(left), int(bottom), int(right)), overview),
            on_return=lambda found: self._take(found, asked),
            on_error=lambda error: None,  # a damaged part of the file stays blank; the layer on the canvas tells it
        )

    def _take(self, found: tuple[Picture, Picture | None], asked: Any) -> None:
        self._overview = found[1] or self._overview
        if asked is self._asked:
            self._near_by = found[0]
            self.update()

    def shut(self) -> None:
        """Nothing is read for it any more."""
        self._soon.stop()
        self._asked = None

    # -- the mouse -------------------------------------------------------------------------------------------------------------------------

    def mousePressEvent(self, event: Any) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            place = self.place_at(event.position())
            um = GRASP_PX / self.zoom / float(np.sqrt(abs(np.linalg.det(self.affine[:2, :2]))))
            self._pressed, self._still = (event.position(), place, near_landmark(self.pairs, place, self._fixed, um), self.centre_yx), True

    def mouseMoveEvent(self, event: Any) -> None:
        if self._pressed is None:
            return
        begin, _, near, centre = self._pressed
        by = event.position() - begin
        self._still = self._still and max(abs(by.x()), abs(by.y())) <= STILL_PX
        if self._still:
            return
        if near is not None:
            self.moved.emit(near, self.place_at(event.position()), False)
        else:
            self.look_at(centre - np.array([by.y(), by.x()]) / self.zoom)
            self.travelled.emit()

    def mouseReleaseEvent(self, event: Any) -> None:
        if self._pressed is None or event.button() != Qt.MouseButton.LeftButton:
            return
        _, place, near, _ = self._pressed
        self._pressed = None
        if near is not None and not self._still:
            self.moved.emit(near, self.place_at(event.position()), True)
        elif near is None and self._still:
            self.clicked.emit(place)

    def wheelEvent(self, event: Any) -> None:
        at = np.array([event.position().y() - self.height() / 2, event.position().x() - self.width() / 2])
        zoom = float(np.clip(self.zoom * 1.0015 ** event.angleDelta().y(), 1e-3, 20))
        self.look_at(self.centre_yx + at / self.zoom - at / zoom, zoom)
        self.travelled.emit()


def _pictures(level: Level, um: float, part: tuple[int, int, int, int], overview: tuple[Level, float] | None) -> Generator[None, None, Any]:
    yield None
    whole = None if overview is None else (_image(overview[0][:]), (0, 0), overview[1])
    return (_image(level.region(*part)), part[:2], um), whole


def _image(pixels: np.ndarray) -> QImage:
    pixels = np.ascontiguousarray(pixels)
    return QImage(pixels.tobytes(), pixels.shape[1], pixels.shape[0], 3 * pixels.shape[1], QImage.Format.Format_RGB888).copy()
