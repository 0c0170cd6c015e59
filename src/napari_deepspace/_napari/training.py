"""The run that works, in a child process: from the request to the painted predictions, through pause, queue and a closed window."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_deepspace._napari.jobs import Child, follow_run, past_events, start_job
from napari_deepspace._napari.long_jobs import at_work
from napari_deepspace._napari.run_view import score_words
from napari_deepspace._napari.runs_dialogs import Choice, ask_what_becomes
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.train_panel import TrainPanel
from napari_deepspace.causes import write_causes
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.events import BaselinesScored, Event, Finished, Noted, Paused, Started
from napari_deepspace.layers import Maps, live_maps
from napari_deepspace.outlines import write_outlines
from napari_deepspace.project import RUNS
from napari_deepspace.run_list import first_section, own_runs_folder, run_info, run_name
from napari_deepspace.run_maps import maps_of_run
from napari_deepspace.run_queue import add_to_queue, leave_queue, queued_runs, take_next
from napari_deepspace.runs import EVENTS, LOG, SETTINGS, can_resume, new_run_dir, request_pause, write_atomic
from napari_deepspace.section import Section
from napari_deepspace.settings import RunSettings, dump_yaml

logger = logging.getLogger(__name__)
Say = Callable[[str, str], None]
OUTLINES_FILE, CLUSTERS_FILE, CAUSES_FILE = "outlines.geojson", "clusters.csv", "causes.csv"  #: in a run's folder


def runs_folder(session: Session) -> Path:
    """Where runs are kept: in the project; without one in ``session.runs`` or the window's own folder."""
    if session.project is not None:
        return session.project / RUNS
    return session.runs or own_runs_folder()


class Training(QObject):
    """Starts, follows, pauses and stops one run at a time; the others wait in the queue. Paints what it has through ``session.maps``."""

    started = Signal()
    done = Signal()
    changed = Signal()  #: the runs on disk are others than before

    def __init__(self, session: Session, panel: TrainPanel, say: Say, fail: Callable[[Exception], None]):
        super().__init__(panel)
        self._session, self._panel, self._say, self._fail = session, panel, say, fail
        self.ask: Callable[[str], Choice] = partial(ask_what_becomes, panel)  #: what becomes of the run when the window closes
        self.child: Child | None = None
        self.painting = False  #: what the run has so far is painted, unless the user looks at another run
        self._worker: Any = None
        self._choice: Choice | None = None
        self._started: Started | None = None
        self._measured: Any = None  #: on the scale of the run that goes on, once it is known
        self._latest: Any = None  #: its newest map
        session.events.loaded.connect(self.paint)

    # -- beginning ---------------------------------------------------------------------------------------------------------------------

    def start(self, settings: RunSettings) -> None:
        """Begin the run that ``settings`` describe, or let it wait while another works. What is drawn later does not change it."""
        if self._session.section is None:
            return
        run_dir = new_run_dir(runs_folder(self._session), settings.name)
        write_atomic(run_dir / SETTINGS, dump_yaml(with_what_is_shown(settings, self._session, run_dir)))
        if self._session.running is None:
            self._begin(run_dir)
            return
        self._wait(run_dir)

    def resume(self, run_dir: Path) -> None:
        """Go on with a run that was paused or interrupted, or let it wait while another works."""
        if not can_resume(run_dir):
            self._fail(DeepSpaceError(f"{run_name(run_dir)} cannot be resumed: it is finished, or it is running already."))
        elif self._session.running is None:
            self._begin(run_dir)
        else:
            self._wait(run_dir)

    def start_next(self) -> None:
        """Begin the next run of the queue, if none works and one waits: of this folder first, then of the one the last run was in."""
        folders = dict.fromkeys([runs_folder(self._session), *([self._run_dir.parent] if self._run_dir is not None else [])])
        for folder in folders:
            run_dir = take_next(folder) if self._session.running is None else None
            if run_dir is not None:
                self._begin(run_dir, painting=self._session.maps is None or self._session.maps.live)
                return

    def follow_running(self) -> bool:
        """Follow the run of this folder that works without this window, if there is one, from its beginning."""
        if self._session.running is not None:
            return False
        for child, run_dir in at_work(runs_folder(self._session)):
            self._follow(child, run_dir, "Found at work…")
            return True
        return False

    _run_dir: Path | None = None  #: the run that works, or the last one that did

    def _wait(self, run_dir: Path) -> None:
        add_to_queue(run_dir)
        number = len(queued_runs(run_dir.parent))
        self._say(f"{run_name(run_dir)} waits, number {number} in the queue. It is trained with the outlines and thresholds of this moment.", "info")
        self.changed.emit()

    def _begin(self, run_dir: Path, painting: bool = True) -> None:
        leave_queue(run_dir)
        begun = (run_dir / EVENTS).exists()
        arguments = ["--resume", str(run_dir)] if begun else [str(run_dir / SETTINGS), "--out", str(run_dir)]
        past = past_events(run_dir)
        child = Child(["train", *arguments, "--background"], run_dir / LOG)
        self._follow(child, run_dir, "Resuming…" if begun else "Starting…", past, painting)

    def _follow(self, child: Child, run_dir: Path, words: str, past: Any = None, painting: bool = True) -> None:
        self.child, self._run_dir, self.painting = child, run_dir, painting
        self._started = self._measured = self._latest = None
        self._session.running = run_dir
        run = run_info(run_dir)
        self._panel.set_pausable(run is not None and run.model != "quick")
        self._panel.run.begin(words)
        self._worker = start_job(
            partial(_run, child, run_dir, past),
            on_yield=partial(self._heard, child),
            on_return=partial(self._ended, child, run_dir),
            on_error=partial(self._failed, child),
        )
        self.started.emit()

    # -- while it works ----------------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Ask the run to write a checkpoint after its present step and to end."""
        if self.child is not None and self._run_dir is not None and self.child.alive():
            request_pause(self._run_dir)
            self._panel.run.say("Pausing: the present step and a checkpoint are finished first…")

    def stop(self) -> None:
        """End the run and its process now."""
        if self.child is not None and self.child.alive():
            self._panel.run.end("Stopping…")
            self.child.stop()

    def paint(self, *_: Any) -> None:
        """Paint the newest map of the run, where it belongs to the section that is shown."""
        section, s = self._session.section, self._started
        if s is None or self._latest is None or section is None or not self.painting or not self._belongs(section):
            return
        maps = live_maps(section, s.genes, self._latest, s.model, s.unit, self._measured)
        if maps is not None:
            self._session.run_dir = None
            self._session.maps = maps

    def _belongs(self, section: Section) -> bool:
        """Whether the maps of the run, which are of its first section, are of ``section``."""
        return self._run_dir is not None and is_of(section, first_section(self._run_dir))

    def _heard(self, child: Child, items: list[tuple[Event, Any]] | None) -> None:
        if items is None or child is not self.child or child.stopping:
            return
        for event, values in items:
            self._panel.run.show_event(event)
            if isinstance(event, Started):
                self._started = event
                self._panel.show_device(event.device, event.device_reason)
                self._say(f"Training {event.model}: {len(event.genes)} genes, {event.n_spots:,} spots, {event.split}.", "info")
            if isinstance(event, Noted) and len(items) == 1:  # what was said before this window opened is not said again
                self._say(event.message, "warning")
            if isinstance(event, BaselinesScored):
                self._measured = values
            elif values is not None:
                self._latest = values
                self.paint()

    # -- its end -----------------------------------------------------------------------------------------------------------------------

    def _ended(self, child: Child, run_dir: Path, event: Event) -> None:
        if child is not self.child:
            return
        section = self._session.section
        if isinstance(event, Finished):
            self._panel.run.finish(score_words(event.scores, event))
            self._say(f"Done. Predictions are in {run_dir}.", "info")
            if section is not None and self.painting and event.predictions:
                work = partial(_read, run_dir, section)
                start_job(work, on_return=partial(self._show, run_dir, section), on_error=self._fail, on_finish=partial(self._finished, child))
                return
        elif isinstance(event, Paused):
            self._panel.run.end(f"Paused at fold {event.fold + 1}, epoch {event.epoch}. Resume it whenever you like, after napari was closed too.")
            self._say(f"{run_name(run_dir)} is paused.", "info")
            self._drop_live_maps()
        else:
            self._panel.run.end(f"Stopped. What was finished is in {run_dir}.")
            self._say("Training stopped.", "info")
            self._drop_live_maps()
        self._finished(child, go_on=not isinstance(event, Paused))

    def _show(self, run_dir: Path, section: Section, maps: Maps | None) -> None:
        if maps is not None and section is self._session.section and self.painting:
            self._session.run_dir = run_dir
            self._session.maps = maps

    def _failed(self, child: Child, error: Exception) -> None:
        if child is not self.child:
            return
        self._panel.run.end("The training did not finish: see below.")
        self._drop_live_maps()
        self._fail(error)
        self._finished(child)

    def _drop_live_maps(self) -> None:
        """A half-trained map must not stand there as if it were a result."""
        self._latest = None
        if self._session.maps is not None and self._session.maps.live:
            self._session.maps = None

    def _finished(self, child: Child, go_on: bool = True) -> None:
        if child is not self.child:
            return
        self.child = self._worker = None
        self._session.running = None
        self.done.emit()
        if go_on:  # who pauses a run wants the computer for something else: the queue waits too
            self.start_next()

    # -- the window closes -------------------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """The window closes: ask what becomes of the run that works, and do so. Quick takes seconds and just ends."""
        if self.child is not None and self.child.alive() and self._run_dir is not None:
            run = run_info(self._run_dir)
            if run is None or run.model == "quick":
                self._choice = "stop"
            else:
                self._choice = self.ask(f"{run.name} is training" + (f" ({run.at})" if run.at else "") + ". What shall become of it?")
        self.shut()

    def shut(self) -> None:
        """Follow the run no longer. Without an answer it is paused: nothing is lost and nothing goes on unseen."""
        child, self.child = self.child, None
        if child is None:
            return
        self._worker.quit()
        self._worker = None
        choice = self._choice or ("pause" if self._panel.pausable else "stop")
        if choice == "stop":
            child.stop_and_wait()
        else:
            child.detach()
            if choice == "pause" and self._run_dir is not None:
                request_pause(self._run_dir)
        self._session.running = None


def is_of(section: Section, place: tuple[Path, str | None] | None) -> bool:
    """Whether ``section`` was read from ``place``, as :func:`napari_deepspace.run_list.first_section` tells it."""
    if place is None or section.path is None:
        return False
    path, library_id = place
    return library_id in (None, section.library_id) and section.path.resolve() in (path.resolve(), path.resolve().parent, path.resolve() / "outs")


def with_what_is_shown(settings: RunSettings, session: Session, folder: Path) -> RunSettings:
    """``settings`` of one section with its outlines, clusters and causes as they are now, which are written into ``folder``.

    Clusters that were computed are handed on, not computed again: on other spots they would come out with other names.
    """
    outlines = clusters = causes = None
    if session.outlines:
        outlines = folder / OUTLINES_FILE
        write_outlines(outlines, session.outlines)
    own = session.own_clusters()
    if own is not None:
        clusters = folder / CLUSTERS_FILE
        write_atomic(clusters, own.rename("cluster").to_csv(index_label="barcode"))
    if len(session.causes):
        causes = folder / CAUSES_FILE
        write_causes(causes, session.causes)
    section = settings.sections[0].model_copy(update={"outlines": outlines, "clusters": clusters, "causes": causes})
    return settings.model_copy(update={"sections": (section,)})


def _run(child: Child, run_dir: Path, past: tuple[list[Any], int] | None) -> Generator[Any, None, Event]:
    """What was told before, at once, then every event as it comes; returns the last one. ``past``: as it was before the process began."""
    told, position = past if past is not None else past_events(run_dir)
    if told:
        yield told
    events = follow_run(child, run_dir, position)
    while True:
        try:
            item = next(events)
        except StopIteration as end:
            return end.value
        yield None if item is None else [item]


def _read(run_dir: Path, section: Section) -> Generator[None, None, Maps | None]:
    yield None
    return maps_of_run(run_dir, section)
