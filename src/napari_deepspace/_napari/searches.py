"""The parameter search that works, in a child process: asked for in its dialog, followed, stopped, resumed, and its best settings taken over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from napari_deepspace._napari.asked_jobs import AskedJob, Shown
from napari_deepspace._napari.runs_dialogs import ask_about_search
from napari_deepspace._napari.search_dialog import SearchDialog
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.events import Event, Progress, TrialEnded
from napari_deepspace.recipes import Recipe, search_recipe
from napari_deepspace.search import SEARCH
from napari_deepspace.search_choices import REQUEST
from napari_deepspace.search_results import BEGUN, BEST, Trial, in_words, read_trials
from napari_deepspace.search_settings import load_search, number_of_trials, search_values
from napari_deepspace.settings import RunSettings, load_run_settings


class Searches(AskedJob):
    """One search at a time, and none beside a training."""

    command, kept_in, begun, parts, part_ended = "search", "searches", SEARCH, "trials", TrialEnded
    name, what = "Parameter search", "the search"
    busy = "The search below is at work. Another one can start when it has ended."
    leaving = "A parameter search is at work ({}). What shall become of it?"
    stopped = "The parameter search was stopped. What is finished stays; its window can resume it."
    failed = "The parameter search did not finish: see below."
    question = staticmethod(ask_about_search)
    dialog: SearchDialog | None

    @staticmethod
    def read(folder: Path, event: TrialEnded | None = None) -> Shown:
        """The trials of the search in ``folder``; ``event`` is that of one that ended just now."""
        total = event.trials if event is not None else number_of_trials(load_search(folder / REQUEST)[1])
        trials = read_trials(folder)
        return Shown(folder, tuple(trials), sum(trial.state != BEGUN for trial in trials), total)

    def use_best(self) -> None:
        """Put the settings of the best trial into the panels."""
        if self.shown is None:
            return
        try:
            self._panel.take_over(load_run_settings(self.shown.folder / BEST))
        except DeepSpaceError as error:
            self._fail(error)
            return
        self._say("The best settings of the search are in the panels. Its score is too high by having been chosen: train and score anew.", "info")

    def _new_dialog(self) -> SearchDialog:
        dialog = SearchDialog(self._panel)
        dialog.use_requested.connect(self.use_best)
        return dialog

    def _asked(self, run: RunSettings) -> tuple[Callable[[RunSettings], dict[str, Any]], int]:
        assert self.dialog is not None
        search = self.dialog.asked(run)
        return partial(search_values, search=search), number_of_trials(search)

    def recipe(self) -> Recipe:
        """The search that the dialog asks for, as text."""
        assert self.dialog is not None
        run, files = self._run_now()
        return search_recipe(run, self.dialog.asked(run), files)

    def _show_found(self, found: tuple[Trial, ...] | None) -> None:
        assert self.dialog is not None
        self.dialog.show_trials(found or ())

    def _working(self, on: bool) -> None:
        self._panel.set_searching(on)
        super()._working(on)

    def _part(self, event: Progress) -> str:
        return f"Trial {event.done + 1} of {event.total}"

    def _where(self, event: Event) -> str:
        return self._at or ("Before the first trial" if isinstance(event, Progress) else "")

    def _result(self, scores: dict[str, Any]) -> Sequence[str]:
        return in_words(scores)
