"""What the user does with runs: the list is read in a thread, and every wish is carried out here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from qtpy.QtCore import QObject, QTimer

from napari_deepspace._napari.jobs import past_events, start_job
from napari_deepspace._napari.runs_dialogs import CompareDialog, ask_delete, ask_name
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.train_panel import TrainPanel
from napari_deepspace._napari.training import Training, is_of, runs_folder
from napari_deepspace._napari.widgets import one_shot
from napari_deepspace.errors import DataError, DeepSpaceError
from napari_deepspace.layers import Maps
from napari_deepspace.run_comparison import compare_runs
from napari_deepspace.run_list import RunInfo, delete_run, first_section, frozen_settings, list_runs, rename_run, score_words
from napari_deepspace.run_maps import maps_of_run
from napari_deepspace.run_queue import leave_queue, move_in_queue
from napari_deepspace.runs import EVENTS
from napari_deepspace.section import Section
from napari_deepspace.settings import SectionSettings

logger = logging.getLogger(__name__)

LOOK_MS = 4000
"""Between two looks at the folder while the list is unfolded: other windows and the command line train too."""


class Runs(QObject):
    """Keeps the list up to date and offers a run that was cut short.

    ``open_section(settings, run_dir=...)`` reads a section and a run's predictions.
    """

    def __init__(
        self,
        session: Session,
        panel: TrainPanel,
        training: Training,
        open_section: Callable[..., None],
        say: Callable[..., None],
        fail: Callable[[Exception], None],
    ):
        super().__init__(panel)
        self._session, self._panel, self._training = session, panel, training
        self._open_section, self._say, self._fail = open_section, say, fail
        self.ask_name: Callable[[RunInfo], str | None] = partial(ask_name, panel)
        self.ask_delete: Callable[[list[RunInfo]], bool] = partial(ask_delete, panel)
        self.unseal: Callable[[RunInfo], None] = lambda run: None  #: the dock says what opens a seal
        self.runs: list[RunInfo] = []
        self._declined: set[Path] = set()  #: runs that were offered and not wanted now
        self._worker: Any = None
        self._again = self._gone = False
        self._soon = one_shot(self, 50)
        self._soon.timeout.connect(self._look)
        self._look_again = QTimer(self)
        self._look_again.setInterval(LOOK_MS)
        self._look_again.timeout.connect(self._look_if_seen)
        self._look_again.start()
        view = panel.runs
        view.wanted.connect(self._do)
        view.unfolded.connect(self.refresh)
        training.changed.connect(self.refresh)
        for signal in (session.events.running, session.events.project):
            signal.connect(self.refresh)
        panel.resume_offered.connect(training.resume)
        panel.offer_declined.connect(self._decline)

    def refresh(self, *_: Any) -> None:
        """Read the list again soon."""
        if not self._gone:
            self._soon.start()

    def shut(self) -> None:
        """Leave no thread and no timer behind."""
        self._gone = True
        for timer in (self._soon, self._look_again):
            timer.stop()
        if self._worker is not None:
            self._worker.quit()

    def _look_if_seen(self) -> None:
        if self._panel.runs.list.isVisible():
            self._look()

    def _look(self) -> None:
        if self._worker is not None:
            self._again = True
            return
        self._worker = start_job(
            partial(_list, runs_folder(self._session)), on_return=self._show, on_error=lambda error: logger.info("no list of runs", exc_info=error),
            on_finish=self._looked,
        )  # fmt: skip

    def _looked(self) -> None:
        self._worker = None
        again, self._again = self._again, False
        if again:
            self.refresh()

    def _show(self, runs: list[RunInfo]) -> None:
        if self._gone:
            return
        running = self._session.running
        runs = [replace(run, state="running", resumable=False) if run.run_dir == running else run for run in runs]  # before it has said so itself
        self.runs = runs
        self._panel.runs.show_runs(runs, running is not None)
        short = [run for run in runs if run.state in ("paused", "interrupted") and run.resumable and run.run_dir not in self._declined]
        newest = max(short, key=lambda run: run.started, default=None) if running is None else None
        self._panel.show_offer(newest)

    def _decline(self, run_dir: Path) -> None:
        self._declined.add(run_dir)
        self.refresh()

    def _do(self, action: str, runs: list[RunInfo]) -> None:
        try:
            self._done(action, runs)
        except DeepSpaceError as error:
            self._fail(error)
        self.refresh()

    def _done(self, action: str, runs: list[RunInfo]) -> None:
        if action == "next":
            self._training.start_next()
        elif action == "open":
            self.open(runs[0])
        elif action == "resume":
            self._training.resume(runs[0].run_dir)
        elif action in ("up", "down"):
            move_in_queue(runs[0].run_dir, -1 if action == "up" else 1)
        elif action == "leave":
            self._leave(runs)
        elif action == "rename":
            name = self.ask_name(runs[0])
            if name is not None:
                rename_run(runs[0].run_dir, name)
        elif action == "unseal":
            self.unseal(runs[0])
        elif action == "delete":
            self._delete(runs)
        elif action == "compare":
            start_job(partial(_compare, runs), on_return=partial(self._show_comparison, any(run.synthetic for run in runs)), on_error=self._fail)

    def open(self, run: RunInfo) -> None:
        """Show the predictions of a run, of one that trains what it has so far; its section is opened if another one is shown.

        Raises
        ------
        DataError
            The run is gone.
        """
        place, section, training = first_section(run.run_dir), self._session.section, self._training
        if place is None:
            raise DataError(f"{run.run_dir} holds no run any more.")
        training.painting = run.run_dir == self._session.running
        if section is None or not is_of(section, place):
            values = (frozen_settings(run.run_dir) or {})["sections"][0] | {"path": place[0]}
            self._open_section(SectionSettings.model_validate(values), run_dir=None if training.painting else run.run_dir)
        elif training.painting:
            training.paint()
        else:
            start_job(partial(_read, run.run_dir, section), on_return=partial(self._opened, run, section), on_error=self._fail)

    def _opened(self, run: RunInfo, section: Section, read: tuple[Maps | None, list[Any]]) -> None:
        maps, told = read
        if section is not self._session.section:
            return
        if maps is None:
            self._fail(DataError(f"{run.name} holds no predictions for {section.library_id}."))
            return
        self._session.run_dir = run.run_dir
        self._session.maps = maps
        if self._session.running is None:
            self._panel.run.replay([event for event, _ in told], run.rank)
        self._say(f"{run.name}: {score_words(run) or 'not scored'}.")

    def _leave(self, runs: list[RunInfo]) -> None:
        """Out of the queue. A run that was never begun holds nothing but its settings and goes; one that was paused stays."""
        for run in runs:
            leave_queue(run.run_dir)
            if not (run.run_dir / EVENTS).exists():
                delete_run(run.run_dir)

    def _delete(self, runs: list[RunInfo]) -> None:
        if not self.ask_delete(runs):
            return
        if self._session.run_dir in [run.run_dir for run in runs]:
            self._session.run_dir = self._session.maps = None
        words = "1 run was deleted." if len(runs) == 1 else f"{len(runs)} runs were deleted."
        start_job(partial(_delete, runs), on_return=lambda _: self._say(words), on_error=self._fail, on_finish=self.refresh)

    def _show_comparison(self, synthetic: bool, frame: pd.DataFrame) -> None:
        self.compared = CompareDialog(frame, synthetic, self._panel)
        self.compared.show()


def _read(run_dir: Path, section: Section) -> Generator[None, None, tuple[Maps | None, list[Any]]]:
    yield None
    return maps_of_run(run_dir, section), past_events(run_dir)[0]


def _compare(runs: list[RunInfo]) -> Generator[None, None, pd.DataFrame]:
    yield None
    return compare_runs([run.run_dir for run in runs])


def _delete(runs: list[RunInfo]) -> Generator[None, None, None]:
    for run in runs:
        yield None
        delete_run(run.run_dir)


def _list(folder: Path) -> Generator[None, None, list[RunInfo]]:
    yield None
    return list_runs(folder)
