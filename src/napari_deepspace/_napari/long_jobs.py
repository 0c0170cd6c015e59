"""Commands that work for long in a child process, beside training: what following, stopping, leaving and ending one has in common."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from qtpy.QtCore import QObject, Signal

from napari_deepspace._napari.jobs import Child, follow_run, past_events, start_job
from napari_deepspace._napari.runs_dialogs import Choice
from napari_deepspace._napari.session import Session
from napari_deepspace.events import Event
from napari_deepspace.runs import running_pid


class AbstractQObject(type(QObject), ABCMeta):  # type: ignore[misc] # Qt's classes have a metaclass of their own
    """Metaclass of Qt objects with abstract methods: who leaves one out cannot be made."""


class LongJob(QObject, metaclass=AbstractQObject):
    """One at a time, and none beside a training: ``session.running`` is its folder while it works, and runs that are started wait."""

    done = Signal()

    def __init__(self, parent: QObject, session: Session, fail: Callable[[Exception], None]):
        super().__init__(parent)
        self._session, self._fail = session, fail
        self.child: Child | None = None
        self._worker: Any = None

    def stop(self) -> None:
        """End the job and its process now; what is finished stays, and the job can go on from there."""
        if self.child is not None and self.child.alive():
            self._tell("Stopping…")
            self.child.stop()

    def shut(self, choice: Choice = "stop") -> None:
        """Follow the job no longer, and end it unless it shall go on; its folder holds all that going on needs."""
        child, self.child = self.child, None
        if child is None:
            return
        self._worker.quit()
        self._worker = None
        if choice == "keep":
            child.detach()
        else:
            child.stop_and_wait()
        self._working(False)
        self._session.running = None

    @abstractmethod
    def _tell(self, words: str, share: float | None = None) -> None:
        """Say how far the job is; ``share`` from 0 to 1."""

    @abstractmethod
    def _working(self, on: bool) -> None:
        """Show that the job begins, or that it works no longer."""

    @abstractmethod
    def _heard(self, told: Any) -> None:
        """Show what the job tells."""

    @abstractmethod
    def _ended(self, event: Event | None) -> None:
        """Say how the job ended; None: with an error, which is shown beside."""

    def _follow(self, child: Child, folder: Path, work: Callable[[], Generator[Any, None, Event]]) -> None:
        self.child = child
        self._session.running = folder
        self._working(True)
        self._worker = start_job(
            work,
            on_yield=partial(self._yielded, child),
            on_return=partial(self._returned, child),
            on_error=partial(self._failed, child),
        )

    def _yielded(self, child: Child, told: Any) -> None:
        if told is not None and child is self.child and not child.stopping:
            self._heard(told)

    def _returned(self, child: Child, event: Event) -> None:
        if child is self.child:
            self._ended(event)
            self._finished()

    def _failed(self, child: Child, error: Exception) -> None:
        if child is self.child:
            self._ended(None)
            self._fail(error)
            self._finished()

    def _finished(self) -> None:
        self.child = self._worker = None
        self._working(False)
        self._session.running = None
        self.done.emit()


def at_work(folder: Path) -> Iterator[tuple[Child, Path]]:
    """The jobs in ``folder`` that work without this window: each process, and the folder of its job."""
    for path in sorted(folder.glob("*/process.json")):
        pid = running_pid(path.parent)
        if pid is not None:
            try:
                child = Child.of(pid)
            except psutil.Error:  # it ended just now
                continue
            yield child, path.parent


def events_of(
    child: Child, folder: Path, past: int | None = 0, read: Callable[[Path, Any], Any] | None = None, part_ended: type[Event] = Event
) -> Generator[Any, None, Event]:
    """Yield every event as it comes; return the last one. ``past``: see ``follow_run``; None: what is there.

    With ``read``, yield what it makes of the folder too: at the beginning (of None), and of each event of the kind ``part_ended``.
    """
    if read is not None:
        yield read(folder, None)
    events = follow_run(child, folder, past_events(folder)[1] if past is None else past)
    while True:
        try:
            item = next(events)
        except StopIteration as end:
            return end.value
        event = item[0] if item is not None else None
        yield event
        if read is not None and isinstance(event, part_ended):
            yield read(folder, event)
