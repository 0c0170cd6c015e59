"""Denser maps are made here: predicted in a child process, into the run's folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from qtpy.QtCore import Signal

from napari_deepspace._napari.denser_panel import DenserPanel
from napari_deepspace._napari.jobs import Child
from napari_deepspace._napari.long_jobs import LongJob, events_of
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.training import Say
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.events import Event, Noted, Predicted, Progress
from napari_deepspace.outlines import write_outlines
from napari_deepspace.points import store_name
from napari_deepspace.recipes import reading_options
from napari_deepspace.runs import DENSER, EVENTS, LOG
from napari_deepspace.settings import SectionSettings


class DenserMaking(LongJob):
    """One denser map is made at a time, and none beside a training."""

    made = Signal(str)  #: the folder of the map

    def __init__(
        self,
        session: Session,
        panel: DenserPanel,
        opened: Callable[[], SectionSettings | None],
        say: Say,
        fail: Callable[[Exception], None],
    ):
        super().__init__(panel, session, fail)
        self._panel, self._opened, self._say = panel, opened, say
        panel.make_requested.connect(self.start)
        panel.stop_requested.connect(self.stop)

    def start(self) -> None:
        """Predict where the panel says, or show what was predicted there before."""
        path, opened, session = self._path(), self._opened(), self._session
        if path is None or opened is None or session.run_dir is None or session.running is not None:
            return
        try:
            path.parent.mkdir(exist_ok=True)
            arguments = ["predict", str(session.run_dir), *self._section(opened), "--out", str(path), "--at", self._panel.where.value()]
            arguments += ["--spacing-um", f"{self._panel.spacing.value():g}", "--background"]
            path.mkdir(exist_ok=True)
            (path / EVENTS).unlink(missing_ok=True)  # of a job that was stopped: its last word is not this one's
            child = Child(arguments, path / LOG)
        except OSError as error:
            self._fail(DeepSpaceError(f"{path.parent} cannot be written ({error}). Free space there."))
            return
        self._follow(child, path, partial(events_of, child, path))

    def _path(self) -> Path | None:
        folder, section = maps_folder(self._session), self._session.section
        if folder is None or section is None:
            return None
        return folder / store_name(section.library_id, self._panel.where.value(), self._panel.spacing.value(), self._session.outlines)

    def _section(self, opened: SectionSettings) -> list[str]:
        """The arguments that read the open section again, with what is drawn on it."""
        arguments = [str(opened.path), *reading_options(opened)]
        folder = maps_folder(self._session)
        if self._session.outlines and folder is not None:
            outlines = folder / "outlines.geojson"
            write_outlines(outlines, self._session.outlines)
            arguments += ["--outlines", str(outlines)]
        return arguments

    def _tell(self, words: str, share: float | None = None) -> None:
        self._panel.tell(words, share)

    def _working(self, on: bool) -> None:
        if on:
            self._tell("Starting…", 0.0)

    def _heard(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._tell(f"{event.stage}: {event.done:,} of {event.total:,}", event.done / max(event.total, 1))
        elif isinstance(event, Noted):
            self._say(event.message, "info")

    def _ended(self, event: Event | None) -> None:
        if isinstance(event, Predicted):
            self._tell("")
            self.made.emit(str(self._session.running))
        else:
            self._tell("The map was not finished: see below." if event is None else "Stopped. What is done stays: Predict goes on from there.")


def maps_folder(session: Session) -> Path | None:
    """Where maps of the run that is looked at are kept, each named by its section."""
    return session.run_dir / DENSER if session.run_dir is not None and session.section is not None else None
