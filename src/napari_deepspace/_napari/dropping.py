"""A folder, a table, a project or an image dropped on the dock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QMimeData, QObject

from napari_deepspace._napari.section_panel import is_image
from napari_deepspace._napari.widgets import restyle
from napari_deepspace.project import is_project

if TYPE_CHECKING:
    from napari_deepspace._napari.dock import DeepSpaceDock


class Dropping(QObject):
    """Opens what is dropped: a project, a section, or an image for the section that is open."""

    def __init__(self, dock: DeepSpaceDock):
        super().__init__(dock)
        self._dock = dock
        dock.setAcceptDrops(True)
        dock.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take drags of one local file or folder; everything else goes its way."""
        kind = None if event is None else event.type()
        if kind not in (QEvent.Type.DragEnter, QEvent.Type.DragLeave, QEvent.Type.Drop):
            return False
        dropped: Any = event
        path = None if kind == QEvent.Type.DragLeave else _dropped(dropped.mimeData())
        self._mark(kind == QEvent.Type.DragEnter and path is not None)
        if path is None:
            return False
        dropped.acceptProposedAction()
        if kind == QEvent.Type.Drop:
            self.open(path)
        return True

    def open(self, path: Path) -> None:
        """Open ``path`` as what it is."""
        if is_project(path):
            self._dock.open_project(path)
        elif self._dock.opened is not None and is_image(path):
            self._dock.section_panel.image_chosen.emit(path)
        else:
            self._dock.open_section(path)

    def _mark(self, over: bool) -> None:
        drop = self._dock.section_panel.drop
        drop.setProperty("over", over)
        restyle(drop)


def _dropped(mime: QMimeData | None) -> Path | None:
    urls = [url for url in (mime.urls() if mime is not None else []) if url.isLocalFile()]
    return Path(urls[0].toLocalFile()) if urls else None
