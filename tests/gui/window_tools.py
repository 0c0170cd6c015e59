"""What several tests of the window ask."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication


def spots(dock):
    """The layer of spots, found by what it is."""
    return dock.canvas.layer("spots")


def painted(dock) -> bool:
    """Whether any spot has a colour."""
    layer = spots(dock)
    return layer is not None and bool(np.any(layer.face_color[:, 3] > 0))


def drag(widget, points, modifiers=Qt.KeyboardModifier.NoModifier):
    """Press, move and release the left button; the canvas looks at moves as they come in the event loop."""
    QTest.mousePress(widget, Qt.MouseButton.LeftButton, modifiers, points[0])
    for point in points[1:]:
        move(widget, point, Qt.MouseButton.LeftButton, modifiers)
    QTest.mouseRelease(widget, Qt.MouseButton.LeftButton, modifiers, points[-1])
    QTest.qWait(20)


def move(widget, point, buttons=Qt.MouseButton.NoButton, modifiers=Qt.KeyboardModifier.NoModifier):
    """Move the mouse to a place of the widget, px; QTest's own move goes by way of the X server and comes late where that is busy."""
    at = QPointF(point)
    event = QMouseEvent(QEvent.Type.MouseMove, at, QPointF(widget.mapToGlobal(point)), Qt.MouseButton.NoButton, buttons, modifiers)
    QApplication.sendEvent(widget, event)
    QTest.qWait(25)


def canvas_of(viewer):
    """The widget that the mouse acts on."""
    return viewer.window._qt_viewer.canvas.native


def on_canvas(viewer, x_um: float, y_um: float) -> QPoint:
    """Where a place of the world lies on the canvas, px."""
    camera, canvas = viewer.scene.camera, canvas_of(viewer)
    y, x = camera.center[-2:]
    return canvas.rect().center() + QPoint(round((x_um - x) * camera.zoom), round((y_um - y) * camera.zoom))


def drop_on(dock, path) -> None:
    """Let a file or folder fall on the dock."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    none = Qt.KeyboardModifier.NoModifier
    QApplication.sendEvent(dock, QDragEnterEvent(QPoint(20, 20), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, none))
    event = QDropEvent(QPointF(20, 20), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, none)
    QApplication.sendEvent(dock, event)
    assert event.isAccepted()
