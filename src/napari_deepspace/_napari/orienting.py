"""Which way round the slide fits, in the dock: checked whenever a section was opened, shown before it is used."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, cast

from qtpy.QtCore import QObject

from napari_deepspace._napari.canvas import Canvas
from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.section_panel import SectionPanel
from napari_deepspace._napari.session import Session
from napari_deepspace.orientation import OrientationCheck, check_orientation, in_words, then, turned_slide
from napari_deepspace.section import Section
from napari_deepspace.settings import Orientation


def checking(section: Section) -> Generator[str, None, OrientationCheck]:
    """:func:`napari_deepspace.orientation.check_orientation` as a job."""
    yield f"{section.library_id}: checking which way round the slide fits…"
    return check_orientation(section)


class Orienting(QObject):
    """Asks what to do about a slide that fits better another way round. ``reopen(orientation=...)`` reads the open section again."""

    def __init__(self, session: Session, canvas: Canvas, panel: SectionPanel, reopen: Callable[..., None], fail: Callable[[Exception], None]):
        super().__init__(panel)
        self._session, self._canvas, self._panel, self._reopen, self._fail = session, canvas, panel, reopen, fail
        self.check: OrientationCheck | None = None  #: of the open section
        self._worker: Any = None
        self._kept: set[tuple[str, str]] = set()  #: sections and orientations that the user decided to keep
        session.events.loaded.connect(self._opened)
        panel.preview.toggled.connect(self._preview)
        panel.use.clicked.connect(self.use)
        panel.keep.clicked.connect(self.keep)

    def use(self) -> None:
        """Read the section again with the slide the way that fits."""
        section = self._session.section
        if section is not None and self.check is not None and self.check.better is not None:
            better, was = self.check.better, cast(Orientation, section.orientation)
            self._end()
            self._reopen(orientation=then(was, better))

    def keep(self) -> None:
        """Leave the slide as it lies and ask no more."""
        section = self._session.section
        if section is not None:
            self._kept.add((section.library_id, section.orientation))
        self._panel.preview.setChecked(False)
        self._panel.ask_orientation("", None)

    def shut(self) -> None:
        """The dock was closed: what is still being checked is heard no more."""
        self._worker = None
        self._session.events.loaded.disconnect(self._opened, missing_ok=True)

    def _opened(self) -> None:
        self._end()
        section = self._session.section
        if section is None or section.slide is None or (section.library_id, section.orientation) in self._kept:
            return
        self._worker = worker = start_job(
            partial(checking, section),
            on_return=lambda check: self._checked(worker, check),
            on_error=lambda error: self._fail(error) if worker is self._worker else None,  # the slide of another section may be closed by now
        )

    def _checked(self, worker: Any, check: OrientationCheck) -> None:
        if worker is self._worker:
            self.check = check
            self._panel.ask_orientation(check.words, None if check.better is None else in_words(check.better))

    def _preview(self, on: bool) -> None:
        section, check = self._session.section, self.check
        if section is None or section.slide is None or check is None or check.better is None:
            return
        self._canvas.show_slide(turned_slide(section.slide, check.better) if on else section.slide)

    def _end(self) -> None:
        self.check = self._worker = None
        self._panel.preview.blockSignals(True)
        self._panel.preview.setChecked(False)
        self._panel.preview.blockSignals(False)
        self._panel.ask_orientation("", None)
