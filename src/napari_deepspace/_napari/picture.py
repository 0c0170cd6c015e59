"""A picture as large as its place allows: plots of a search, figures of outlines."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QScrollArea

from napari_deepspace._napari.widgets import label


class Picture(QScrollArea):
    """``empty`` stands where there is no picture yet; a picture is made smaller where it must, never larger, or can be scrolled (``whole`` False)."""

    def __init__(self, empty: str, whole: bool = True):
        super().__init__()
        self._empty, self._whole = empty, whole
        self.picture = label()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._pixmap = QPixmap()
        self.setWidget(self.picture)
        self.setWidgetResizable(True)

    def show_picture(self, pixmap: QPixmap | None, empty: str = "") -> None:
        """Show ``pixmap``; None: nothing, with ``empty`` in its place."""
        self._pixmap, self._empty = pixmap or QPixmap(), empty or self._empty
        self._fit()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        if self._pixmap.isNull():
            self.picture.setText(self._empty)
            return
        if not self._whole:
            self.picture.setPixmap(self._pixmap)
            return
        room = (self.maximumViewportSize() - QSize(8, 8)).boundedTo(self._pixmap.size())
        self.picture.setPixmap(self._pixmap.scaled(room, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation))
