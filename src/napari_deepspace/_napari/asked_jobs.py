"""Long jobs that a dialog of their own asks for and shows: the parameter search and students, in a folder beside the runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from napari_deepspace._napari import style
from napari_deepspace._napari.copying import CopyButton, put_beside, section_now
from napari_deepspace._napari.job_dialog import JobDialog
from napari_deepspace._napari.jobs import Child, past_events, start_job
from napari_deepspace._napari.long_jobs import LongJob, at_work, events_of
from napari_deepspace._napari.runs_dialogs import Choice
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.train_panel import TrainPanel
from napari_deepspace._napari.training import Say, runs_folder, with_what_is_shown
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.events import BatchEnded, Event, Finished, Noted, Progress
from napari_deepspace.recipes import Recipe
from napari_deepspace.runs import LOG, new_run_dir, running_pid, write_atomic
from napari_deepspace.search_choices import REQUEST, newest_search
from napari_deepspace.settings import RunSettings


@dataclass(frozen=True)
class Shown:
    """The job in the dialog: ``found`` is what came out so far, ``done`` of ``total`` parts."""

    folder: Path
    found: Any = None
    done: int = 0
    total: int = 0


class AskedJob(LongJob):
    """One job at a time of its kind; the subclass says what is asked for, what comes out, and the words."""

    command: str  #: of the command line
    kept_in: str  #: folder of jobs, beside the runs
    begun: str  #: file of a job that has begun
    parts: str  #: what a job consists of, as its Progress says
    part_ended: type[Event]
    name: str
    what: str
    busy: str  #: why another one cannot start while it works
    leaving: str  #: the question when the window closes, with {} where it says how far the job is
    stopped: str
    failed: str
    question: Callable[[Any, str], Choice]

    def __init__(
        self,
        session: Session,
        panel: TrainPanel,
        run_settings: Callable[[], RunSettings],
        seconds: Callable[[], float],
        say: Say,
        fail: Callable[[Exception], None],
    ):
        super().__init__(panel, session, fail)
        self._panel, self._run_settings, self._seconds, self._say = panel, run_settings, seconds, say
        self.ask: Callable[[str], Choice] = partial(self.question, panel)  #: what becomes of the job when the window closes
        self.dialog: JobDialog | None = None
        self.shown: Shown | None = None
        self._palette = style.palette()
        self._at = ""  #: which part works, in words
        self.done.connect(self._show)
        for signal in (panel.changed, panel.costs_shown, session.events.running, session.events.loaded, session.events.busy):
            signal.connect(self._offer)

    @staticmethod
    @abstractmethod
    def read(folder: Path, event: Any = None) -> Shown:
        """The job in ``folder``; ``event`` is that of a part that ended just now."""

    @abstractmethod
    def _new_dialog(self) -> JobDialog:
        """The dialog of this kind of job."""

    @abstractmethod
    def _asked(self, run: RunSettings) -> tuple[Callable[[RunSettings], dict[str, Any]], int]:
        """What the dialog asks for: the values of the request with a run, and how many parts the job has; raises SettingsError."""

    @abstractmethod
    def recipe(self) -> Recipe:
        """The job that the dialog asks for, as text; raises DeepSpaceError where it asks for none."""

    def _run_now(self) -> tuple[RunSettings, dict[str, str]]:
        """The run of the job with what is drawn on its section, and the texts of the files it names."""
        run = self._run_settings()
        section, files = section_now(self._session, run.sections[0])
        return run.model_copy(update={"sections": (section,)}), files

    @abstractmethod
    def _show_found(self, found: Any) -> None:
        """Show what came out so far."""

    @abstractmethod
    def _part(self, event: Progress) -> str:
        """Which part begins, in words."""

    @abstractmethod
    def _where(self, event: Event) -> str:
        """Which part ``event`` is of, in words."""

    @abstractmethod
    def _result(self, scores: dict[str, Any]) -> Sequence[str]:
        """What came out in the end, in sentences."""

    def folder(self) -> Path:
        """Where jobs are kept."""
        return runs_folder(self._session) / self.kept_in

    def open(self) -> None:
        """Show the dialog, with the job that works, or else the one that was asked for last."""
        if self.dialog is None:
            self.dialog = self._new_dialog()
            self.dialog.restyle(self._palette)
            self.dialog.start_requested.connect(self.start)
            self.dialog.stop_requested.connect(self.stop)
            self.dialog.resume_requested.connect(self.resume)
            put_beside(self.dialog.resume, CopyButton(self.recipe, lambda text: self._say(text, "info"), self._fail))
        self._show()
        self.dialog.show()
        self.dialog.raise_()
        self._offer()
        newest = newest_search(self.folder()) if self.child is None else None
        if newest is not None and (self.shown is None or newest != self.shown.folder):
            start_job(partial(_read, self.read, newest), on_return=self._found, on_error=self._fail)

    def start(self) -> None:
        """Begin the job that the dialog asks for."""
        if self.dialog is None or self._session.running is not None:
            return
        try:
            run = self._run_settings()
            values, total = self._asked(run)
        except DeepSpaceError as error:
            self._fail(error)
            return
        folder = new_run_dir(self.folder(), run.name)
        run = with_what_is_shown(run, self._session, folder)
        write_atomic(folder / REQUEST, yaml.safe_dump(values(run), sort_keys=False, allow_unicode=True))
        self.shown = Shown(folder, total=total)
        self._begin(folder)

    def resume(self) -> None:
        """Go on with the job that is shown, after a stop, a crash or a closed window."""
        if self.shown is not None and self._session.running is None and running_pid(self.shown.folder) is None:
            self._begin(self.shown.folder)

    def follow_running(self) -> bool:
        """Follow the job of this folder that works without this window, if there is one."""
        for child, folder in at_work(self.folder()) if self._session.running is None else ():
            if (folder / REQUEST).exists():
                self.shown = Shown(folder)
                self._follow_parts(child, folder)
                return True
        return False

    def leave(self) -> None:
        """The window closes: ask what becomes of the job that works, and do so."""
        choice: Choice = "stop"
        if self.child is not None and self.child.alive() and self.shown is not None:
            choice = self.ask(self.leaving.format(f"{self.shown.done} of {self.shown.total} {self.parts}"))
        self.shut(choice)

    def shut(self, choice: Choice = "stop") -> None:
        """Follow the job no longer, and end it unless it shall go on; its folder holds all that going on needs."""
        if self.dialog is not None:
            self.dialog.close()
        super().shut(choice)

    def restyle(self, palette: style.Palette) -> None:
        """Follow napari's theme."""
        self._palette = palette
        if self.dialog is not None:
            self.dialog.restyle(palette)

    def _begin(self, folder: Path) -> None:
        past = past_events(folder)[1]  # of an earlier process: its last word is not this one's
        resume = ["--resume"] if (folder / self.begun).exists() else []
        child = Child([self.command, str(folder / REQUEST), "--out", str(folder), *resume, "--background"], folder / LOG)
        self._follow_parts(child, folder, past)

    def _follow_parts(self, child: Child, folder: Path, past: int | None = None) -> None:
        self._follow(child, folder, partial(events_of, child, folder, past, self.read, self.part_ended))

    def _working(self, on: bool) -> None:
        if on:
            self._at = ""
            self._panel.set_pausable(False)
            self._panel.run.begin(f"{self.name}: starting…")
            self._show()

    def _heard(self, told: Event | Shown) -> None:
        if isinstance(told, Shown):
            self.shown = told
            self._show()
        elif isinstance(told, Progress) and told.stage == self.parts:
            self._at = self._part(told)
            self._tell(self._at, told.done / told.total)
            self._panel.run.show_event(told)
        elif isinstance(told, Progress):
            self._tell(f"{self._where(told)} · {told.stage}: {told.done:,} of {told.total:,}")
        elif isinstance(told, BatchEnded):
            self._tell(f"{self._where(told)} · fold {told.fold + 1}, epoch {told.epoch}")
        elif isinstance(told, Noted):
            self._tell(f"{self._where(told)} · {told.message}")

    def _ended(self, event: Event | None) -> None:
        if isinstance(event, Finished):
            self._panel.run.finish(f"{self.name}. " + "<br>".join(self._result(event.scores)))
        else:
            self._panel.run.end(self.failed if event is None else self.stopped)

    def _found(self, shown: Shown) -> None:
        if self.child is None:
            self.shown = shown
            self._show()

    def _show(self) -> None:
        if self.dialog is None:
            return
        shown = self.shown
        self.dialog.folder = shown.folder if shown is not None else None
        self._show_found(shown.found if shown is not None else None)
        if self.child is not None:
            self._tell(self._at or "Starting…")
        elif shown is not None:
            self._tell(f"{shown.folder.name}: {shown.done} of {shown.total} {self.parts} are done.")
        self._offer()

    def _tell(self, words: str, share: float | None = None) -> None:
        shown = self.shown
        if self.dialog is None or shown is None:
            return
        if share is None and shown.total and not (self.child is not None and self.child.stopping):
            share = shown.done / shown.total
        self.dialog.show_work(words, share, self.child is not None, resumable=shown.done < shown.total)

    def _offer(self, *_: Any) -> None:
        if self.dialog is None or not self.dialog.isVisible():
            return
        try:
            run, why_not = self._run_settings(), ""
        except DeepSpaceError as error:
            run, why_not = None, str(error)
        if self.child is not None:
            why_not = self.busy
        elif self._session.running is not None:
            why_not = f"A run is training, one job at a time: wait for its end, or stop it, then start {self.what}."
        self.dialog.offer(run, self._seconds() if run is not None else float("nan"), why_not)


def _read(read: Callable[[Path], Shown], folder: Path) -> Generator[None, None, Shown]:
    yield None
    return read(folder)
