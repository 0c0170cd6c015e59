"""One run at a time, in a child process: from the request to the painted predictions. And the trial that tells its cost."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs
from qtpy.QtCore import QObject, Signal

from napari_deepspace._napari.jobs import Child, answer, follow_run, start_job
from napari_deepspace._napari.loading import read_maps
from napari_deepspace._napari.run_view import score_words
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.train_panel import TrainPanel
from napari_deepspace._napari.widgets import one_shot
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.events import BaselinesScored, Event, Finished, Noted, Started
from napari_deepspace.layers import Maps, live_maps
from napari_deepspace.outlines import write_outlines
from napari_deepspace.project import RUNS
from napari_deepspace.runs import LOG, SETTINGS, new_run_dir, write_atomic
from napari_deepspace.section import Section
from napari_deepspace.settings import RunSettings, SectionSettings, dump_yaml

logger = logging.getLogger(__name__)
Say = Callable[[str, str], None]
OUTLINES_FILE, CLUSTERS_FILE = "outlines.geojson", "clusters.csv"  #: in a run's folder


def runs_folder(session: Session) -> Path:
    """Where runs are kept: in the project; without one in ``session.runs``, ``NAPARI_DEEPSPACE_RUNS`` or the user's data folder."""
    if session.project is not None:
        return session.project / RUNS
    own = session.runs or os.environ.get("NAPARI_DEEPSPACE_RUNS")
    return Path(own) if own else Path(platformdirs.user_data_dir("napari-deepspace")) / RUNS


class Training(QObject):
    """Starts, follows and stops the child process; paints what it has so far through ``session.maps``."""

    started = Signal()
    done = Signal()

    def __init__(self, session: Session, panel: TrainPanel, say: Say, fail: Callable[[Exception], None]):
        super().__init__(panel)
        self._session, self._panel, self._say, self._fail = session, panel, say, fail
        self.child: Child | None = None
        self._started: Started | None = None
        self._measured: Any = None  #: on the scale of the run that goes on, once it is known

    def start(self, settings: RunSettings) -> None:
        """Begin the run that ``settings`` describe. One job at a time: does nothing while another works."""
        section = self._session.section
        if self._session.busy or section is None:
            return
        run_dir = new_run_dir(runs_folder(self._session), settings.name)
        settings = with_what_is_shown(settings, self._session, run_dir)
        write_atomic(run_dir / SETTINGS, dump_yaml(settings))
        self._session.busy = "training"
        self._started = self._measured = None
        self._panel.run.begin("Starting…")
        self.child = Child(["train", str(run_dir / SETTINGS), "--out", str(run_dir), "--background"], run_dir / LOG)
        start_job(
            partial(_run, self.child, run_dir, section),
            on_yield=partial(self._event, section),
            on_return=partial(self._ended, run_dir),
            on_error=self._failed,
            on_stop=self.child.stop,
            on_finish=self._finished,
        )
        self.started.emit()

    def stop(self) -> None:
        """End the run and its process now."""
        if self.child is not None and self.child.alive():
            self._panel.run.end("Stopping…")
            self.child.stop()

    def shut(self) -> None:
        """Leave no process behind."""
        if self.child is not None:
            self.child.stop_and_wait()

    def _event(self, section: Section, item: tuple[Event, Any] | None) -> None:
        if item is None or (self.child is not None and self.child.stopping):
            return
        event, values = item
        self._panel.run.show_event(event)
        if isinstance(event, Started):
            self._started = event
            self._panel.show_device(event.device, event.device_reason)
            self._say(f"Training {event.model}: {len(event.genes)} genes, {event.n_spots:,} spots, {event.split}.", "info")
        if isinstance(event, Noted):
            self._say(event.message, "warning")
        if isinstance(event, BaselinesScored):
            self._measured = values
        elif values is not None and self._started is not None and section is self._session.section:
            maps = live_maps(section, self._started.genes, values, self._started.model, self._started.unit, self._measured)
            if maps is not None:
                self._session.maps = maps

    def _ended(self, run_dir: Path, result: tuple[Event, Maps | None]) -> None:
        event, maps = result
        if not isinstance(event, Finished):
            self._panel.run.end(f"Stopped. What was finished is in {run_dir}.")
            self._say("Training stopped.", "info")
            self._drop_live_maps()
            return
        words = score_words(event.scores, event)
        self._panel.run.finish(words)
        if maps is not None and self._session.section is not None and maps.library_id == self._session.section.library_id:
            self._session.run_dir = run_dir
            self._session.maps = maps
        self._say(f"Done. Predictions are in {run_dir}.", "info")
        self.done.emit()

    def _failed(self, error: Exception) -> None:
        self._panel.run.end("The training did not finish: see below.")
        self._drop_live_maps()
        self._fail(error)

    def _drop_live_maps(self) -> None:
        """A half-trained map must not stand there as if it were a result."""
        if self._session.maps is not None and self._session.maps.live:
            self._session.maps = None

    def _finished(self) -> None:
        self.child = None
        self._session.busy = ""


def with_what_is_shown(settings: RunSettings, session: Session, folder: Path) -> RunSettings:
    """``settings`` of one section with its outlines and clusters as they are now, which are written into ``folder``.

    Clusters that were computed are handed on, not computed again: on other spots they would come out with other names.
    """
    outlines = clusters = None
    if session.outlines:
        outlines = folder / OUTLINES_FILE
        write_outlines(outlines, session.outlines)
    own = session.own_clusters()
    if own is not None:
        clusters = folder / CLUSTERS_FILE
        write_atomic(clusters, own.rename("cluster").to_csv(index_label="barcode"))
    section = settings.sections[0].model_copy(update={"outlines": outlines, "clusters": clusters})
    return settings.model_copy(update={"sections": (section,)})


def _run(child: Child, run_dir: Path, section: Section) -> Generator[Any, None, tuple[Event, Maps | None]]:
    last = yield from follow_run(child, run_dir)
    if not isinstance(last, Finished) or not last.predictions:
        return last, None
    return last, read_maps(run_dir / last.predictions[0], section, last.scores)


class Estimates(QObject):
    """Asks for the cost of the present choices, a moment after the last change, and never while something else works."""

    WAIT_MS = 1200

    def __init__(self, session: Session, panel: TrainPanel, opened: Callable[[], SectionSettings | None]):
        super().__init__(panel)
        self._session, self._panel, self._opened = session, panel, opened
        self.child: Child | None = None
        self._known: dict[str, dict[str, Any]] = {}  #: answers by the settings they are for
        self._folder = Path(tempfile.mkdtemp(prefix="deepspace-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._timer = one_shot(self, self.WAIT_MS)
        self._timer.timeout.connect(self._ask)
        panel.changed.connect(self.later)
        session.events.busy.connect(self.later)

    def later(self) -> None:
        """The choices changed: stop a trial that goes on, and ask again soon."""
        self.cancel()
        if self._session.section is not None and not self._session.busy:
            self._timer.start()

    def cancel(self) -> None:
        """Stop a trial that goes on; what it would have said is asked again later."""
        self._timer.stop()
        if self.child is not None:
            self.child.stop()
            self.child = None
            self._panel.say_cost("")

    def shut(self) -> None:
        """Leave no process behind."""
        if self.child is not None:
            self.child.stop_and_wait()

    def _ask(self) -> None:
        opened, section = self._opened(), self._session.section
        if opened is None or section is None or section.slide is None or not section.adata.n_vars:
            return
        try:
            text = dump_yaml(self._panel.settings(opened))
        except DeepSpaceError:
            return  # the same is said when Start is pressed
        if text in self._known:
            self._panel.show_costs(self._known[text])
            return
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        write_atomic(folder / SETTINGS, text)
        self._panel.say_cost("Cost: trying each choice for a moment…")
        out, errors = folder / "out.json", folder / "errors.txt"
        self.child = child = Child(["estimate", str(folder / SETTINGS), "--json", "--background"], out, errors)
        start_job(partial(answer, child, out, errors), on_return=partial(self._tell, child, text), on_error=self._unknown)

    def _tell(self, child: Child, text: str, costs: dict[str, Any] | None) -> None:
        if costs is None or child is not self.child:
            return
        self.child = None
        self._known[text] = costs
        self._panel.show_costs(costs)

    def _unknown(self, error: Exception) -> None:
        logger.info("no estimate", exc_info=error)
        self.child = None
        self._panel.say_cost(f"Cost unknown: {error}")
