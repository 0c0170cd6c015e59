"""The job of students that works, in a child process: asked for in its dialog, followed, stopped and resumed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import yaml
from qtpy.QtCore import QObject, Signal

from napari_deepspace._napari import style
from napari_deepspace._napari.jobs import Child, follow_run, past_events, start_job
from napari_deepspace._napari.runs_dialogs import Choice, ask_about_students
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.students_dialog import StudentsDialog
from napari_deepspace._napari.train_panel import TrainPanel
from napari_deepspace._napari.training import Say, runs_folder, with_what_is_shown
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.events import BatchEnded, Event, Finished, Noted, Progress, StudentEnded
from napari_deepspace.runs import LOG, new_run_dir, running_pid, write_atomic
from napari_deepspace.search_choices import REQUEST, newest_search
from napari_deepspace.settings import RunSettings
from napari_deepspace.students import JOB
from napari_deepspace.students_results import Outcome, read_outcome
from napari_deepspace.students_settings import load_students, students_values

STUDENTS = "students"  #: folder of jobs, beside the runs


@dataclass(frozen=True)
class Shown:
    """The job in the dialog."""

    folder: Path
    outcome: Outcome | None = None
    total: int = 0  #: rounds, the teacher's among them

    @property
    def done(self) -> int:
        return len(self.outcome.rounds) if self.outcome is not None else 0


class Students(QObject):
    """One job at a time, and none beside a training: ``session.running`` is its folder while it works, and runs that are started wait."""

    done = Signal()

    def __init__(
        self,
        session: Session,
        panel: TrainPanel,
        run_settings: Callable[[], RunSettings],
        seconds: Callable[[], float],
        say: Say,
        fail: Callable[[Exception], None],
    ):
        super().__init__(panel)
        self._session, self._panel, self._run_settings, self._seconds, self._say, self._fail = session, panel, run_settings, seconds, say, fail
        self.ask: Callable[[str], Choice] = partial(ask_about_students, panel)  #: what becomes of the job when the window closes
        self.child: Child | None = None
        self.dialog: StudentsDialog | None = None
        self.shown: Shown | None = None
        self._worker: Any = None
        self._palette = style.palette()
        self._at = ""  #: which round works, in words
        panel.students_requested.connect(self.open)
        for signal in (panel.changed, panel.costs_shown):
            signal.connect(self._offer)
        for signal in (session.events.running, session.events.loaded, session.events.busy):
            signal.connect(self._offer)

    def folder(self) -> Path:
        """Where jobs are kept."""
        return runs_folder(self._session) / STUDENTS

    def open(self) -> None:
        """Show the dialog, with the job that works, or else the one that was asked for last."""
        if self.dialog is None:
            self.dialog = dialog = StudentsDialog(self._panel)
            dialog.restyle(self._palette)
            dialog.start_requested.connect(self.start)
            dialog.stop_requested.connect(self.stop)
            dialog.resume_requested.connect(self.resume)
        self._show()
        self.dialog.show()
        self.dialog.raise_()
        self._offer()
        newest = newest_search(self.folder()) if self.child is None else None
        if newest is not None and (self.shown is None or newest != self.shown.folder):
            start_job(partial(_read, newest), on_return=self._found, on_error=self._fail)

    def _found(self, shown: Shown) -> None:
        if self.child is None:
            self.shown = shown
            self._show()

    def _offer(self, *_: Any) -> None:
        if self.dialog is None or not self.dialog.isVisible():
            return
        try:
            run, why_not = self._run_settings(), ""
        except DeepSpaceError as error:
            run, why_not = None, str(error)
        if self.child is not None:
            why_not = "The students below are at work. Others can start when they have ended."
        elif self._session.running is not None:
            why_not = "A run is training, one job at a time: wait for its end, or stop it, then start the students."
        self.dialog.offer(run, self._seconds() if run is not None else float("nan"), why_not)

    # -- what the user does ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the job that the dialog asks for."""
        if self.dialog is None or self._session.running is not None:
            return
        try:
            run = self._run_settings()
            asked = self.dialog.asked()
        except DeepSpaceError as error:
            self._fail(error)
            return
        folder = new_run_dir(self.folder(), run.name)
        run = with_what_is_shown(run, self._session, folder)
        write_atomic(folder / REQUEST, yaml.safe_dump(students_values(run, asked, None), sort_keys=False, allow_unicode=True))
        self.shown = Shown(folder, None, 1 + asked.rounds)
        self._begin(folder)

    def resume(self) -> None:
        """Go on with the job that is shown, after a stop, a crash or a closed window."""
        if self.shown is not None and self._session.running is None and running_pid(self.shown.folder) is None:
            self._begin(self.shown.folder)

    def stop(self) -> None:
        """End the job and its process now; finished rounds stay."""
        if self.child is not None and self.child.alive():
            self._tell("Stopping…", None)
            self.child.stop()

    # -- the process -------------------------------------------------------------------------------------------------------------------

    def follow_running(self) -> bool:
        """Follow the job of this folder that works without this window, if there is one."""
        for path in sorted(self.folder().glob("*/process.json")) if self._session.running is None else ():
            pid = running_pid(path.parent)
            if pid is not None and (path.parent / REQUEST).exists():
                try:
                    child = Child.of(pid)
                except psutil.Error:  # it ended just now
                    continue
                self.shown = Shown(path.parent)
                self._follow(child, path.parent)
                return True
        return False

    def _begin(self, folder: Path) -> None:
        past = past_events(folder)[1]  # of an earlier process: its last word is not this one's
        resume = ["--resume"] if (folder / JOB).exists() else []
        child = Child(["students", str(folder / REQUEST), "--out", str(folder), *resume, "--background"], folder / LOG)
        self._follow(child, folder, past)

    def _follow(self, child: Child, folder: Path, past: int | None = None) -> None:
        self.child, self._at = child, ""
        self._session.running = folder
        self._panel.set_pausable(False)
        self._panel.set_studying(True)
        self._panel.run.begin("Students: starting…")
        self._show()
        self._worker = start_job(
            partial(_run, child, folder, past),
            on_yield=partial(self._heard, child),
            on_return=partial(self._ended, child),
            on_error=partial(self._failed, child),
        )

    def _heard(self, child: Child, told: Event | Shown | None) -> None:
        if told is None or child is not self.child or child.stopping:
            return
        if isinstance(told, Shown):
            self.shown = told
            self._show()
        elif isinstance(told, Progress) and told.stage == "rounds":
            self._at = f"Student {told.done} of {told.total - 1}"
            self._tell(self._at, told.done / told.total)
            self._panel.run.show_event(told)
        elif isinstance(told, Progress):
            self._tell(f"{self._at or 'Teacher'} · {told.stage}: {told.done:,} of {told.total:,}")
        elif isinstance(told, BatchEnded):
            self._tell(f"{self._at or 'Teacher'} · fold {told.fold + 1}, epoch {told.epoch}")
        elif isinstance(told, Noted):
            self._tell(f"{self._at or 'Teacher'} · {told.message}")

    def _ended(self, child: Child, event: Event) -> None:
        if child is not self.child:
            return
        if isinstance(event, Finished):
            self._panel.run.finish("Students. " + "<br>".join(event.scores["words"]))
        else:
            self._panel.run.end("The students were stopped. Finished rounds stay; their window can resume them.")
        self._finished()

    def _failed(self, child: Child, error: Exception) -> None:
        if child is self.child:
            self._panel.run.end("The students did not finish: see below.")
            self._fail(error)
            self._finished()

    def _finished(self) -> None:
        self.child = self._worker = None
        self._panel.set_studying(False)
        self._session.running = None
        self._show()
        self.done.emit()

    # -- the dialog --------------------------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        if self.dialog is None:
            return
        shown = self.shown
        self.dialog.folder = shown.folder if shown is not None else None
        self.dialog.show_outcome(shown.outcome if shown is not None else None)
        if self.child is not None:
            self._tell(self._at or "Starting…")
        elif shown is not None:
            self._tell(f"{shown.folder.name}: {shown.done} of {shown.total} rounds are done.")
        self._offer()

    def _tell(self, words: str, share: float | None = None) -> None:
        shown = self.shown
        if self.dialog is None or shown is None:
            return
        working = self.child is not None
        if share is None and shown.total and not (self.child is not None and self.child.stopping):
            share = shown.done / shown.total
        self.dialog.show_work(words, share, working, resumable=shown.done < shown.total)

    def restyle(self, palette: style.Palette) -> None:
        """Follow napari's theme."""
        self._palette = palette
        if self.dialog is not None:
            self.dialog.restyle(palette)

    # -- the window closes -------------------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """The window closes: ask what becomes of the job that works, and do so."""
        choice: Choice = "stop"
        if self.child is not None and self.child.alive() and self.shown is not None:
            choice = self.ask(f"Students are at work ({self.shown.done} of {self.shown.total} rounds). What shall become of them?")
        self.shut(choice)

    def shut(self, choice: Choice = "stop") -> None:
        """Follow the job no longer, and end it unless it shall go on; its folder holds all that going on needs."""
        if self.dialog is not None:
            self.dialog.close()
        child, self.child = self.child, None
        if child is None:
            return
        self._worker.quit()
        self._worker = None
        if choice == "keep":
            child.detach()
        else:
            child.stop_and_wait()
        self._panel.set_studying(False)
        self._session.running = None


def _read(folder: Path) -> Generator[None, None, Shown]:
    yield None
    _, asked, _ = load_students(folder / REQUEST)
    return Shown(folder, read_outcome(folder), 1 + asked.rounds)


def _run(child: Child, folder: Path, past: int | None) -> Generator[Event | Shown | None, None, Event]:
    """Every event as it comes, and what came out whenever a round is done; returns the last one. ``past``: see ``follow_run``; None: as it is."""
    shown = yield from _read(folder)
    yield shown
    events = follow_run(child, folder, past_events(folder)[1] if past is None else past)
    while True:
        try:
            item = next(events)
        except StopIteration as end:
            return end.value
        event = item[0] if item is not None else None
        yield event
        if isinstance(event, StudentEnded):
            yield Shown(folder, read_outcome(folder), 1 + event.rounds)
