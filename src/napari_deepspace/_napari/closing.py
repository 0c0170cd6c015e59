"""Hearing that napari's window is about to close, before it does, and whether it was not closed after all."""

from __future__ import annotations

import weakref
from typing import Any, cast

from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_deepspace._napari.widgets import one_shot


class Closing(QObject):
    """Watches the window that ``widget`` lies in, wherever it is docked or floating."""

    about_to = Signal()
    not_after_all = Signal()  #: napari asks too, and the user may have thought better of it

    def __init__(self, widget: QWidget):
        super().__init__(widget)
        self._window: weakref.ref[Any] | None = None
        self._soon = one_shot(self, 1500)
        self._soon.timeout.connect(self._look)
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        if watched is self.parent() and event.type() == QEvent.Type.Show:
            self._find_window(cast(QWidget, watched))
        elif self._window is not None and watched is self._window() and event.type() == QEvent.Type.Close:
            self.about_to.emit()
            self._soon.start()
        return False

    def _find_window(self, widget: QWidget) -> None:
        window: Any = widget.window()
        if isinstance(window, QDockWidget) and window.parent() is not None:  # floating
            window = window.parent()
        if window is not widget and (self._window is None or window is not self._window()):
            self._window = weakref.ref(window)
            window.installEventFilter(self)

    def _look(self) -> None:
        widget = self.parent()
        if isinstance(widget, QWidget) and widget.isVisible():
            self.not_after_all.emit()
