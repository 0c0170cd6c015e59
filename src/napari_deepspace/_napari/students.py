"""The job of students that works, in a child process: asked for in its dialog, followed, stopped and resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari_deepspace._napari.asked_jobs import AskedJob, Shown
from napari_deepspace._napari.runs_dialogs import ask_about_students
from napari_deepspace._napari.students_dialog import StudentsDialog
from napari_deepspace.events import Event, Progress, StudentEnded
from napari_deepspace.recipes import Recipe, students_recipe
from napari_deepspace.search_choices import REQUEST
from napari_deepspace.settings import RunSettings
from napari_deepspace.students import JOB
from napari_deepspace.students_results import Outcome, read_outcome
from napari_deepspace.students_settings import load_students, students_values


class Students(AskedJob):
    """One job of students at a time, and none beside a training."""

    command, kept_in, begun, parts, part_ended = "students", "students", JOB, "rounds", StudentEnded
    name, what = "Students", "the students"
    busy = "The students below are at work. Others can start when they have ended."
    leaving = "Students are at work ({}). What shall become of them?"
    stopped = "The students were stopped. Finished rounds stay; their window can resume them."
    failed = "The students did not finish: see below."
    question = staticmethod(ask_about_students)
    dialog: StudentsDialog | None

    @staticmethod
    def read(folder: Path, event: StudentEnded | None = None) -> Shown:
        """What came out so far of the job in ``folder``; ``event`` is that of a round that ended just now. The teacher's is a round too."""
        rounds = event.rounds if event is not None else load_students(folder / REQUEST)[1].rounds
        outcome = read_outcome(folder)
        return Shown(folder, outcome, len(outcome.rounds) if outcome is not None else 0, 1 + rounds)

    def _new_dialog(self) -> StudentsDialog:
        return StudentsDialog(self._panel)

    def _asked(self, run: RunSettings) -> tuple[Callable[[RunSettings], dict[str, Any]], int]:
        assert self.dialog is not None
        asked = self.dialog.asked()
        return lambda run: students_values(run, asked, None), 1 + asked.rounds

    def recipe(self) -> Recipe:
        """The students that the dialog asks for, as text."""
        assert self.dialog is not None
        run, files = self._run_now()
        return students_recipe(run, self.dialog.asked(), files)

    def _show_found(self, found: Outcome | None) -> None:
        assert self.dialog is not None
        self.dialog.show_outcome(found)

    def _working(self, on: bool) -> None:
        self._panel.set_studying(on)
        super()._working(on)

    def _part(self, event: Progress) -> str:
        return f"Student {event.done} of {event.total - 1}"

    def _where(self, event: Event) -> str:
        return self._at or "Teacher"

    def _result(self, scores: dict[str, Any]) -> Sequence[str]:
        return scores["words"]
