"""The sealed hold-out in the dock: made for the open section before its first run, opened once with a run of the list; in a child process."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QMessageBox, QRadioButton, QSpinBox, QVBoxLayout, QWidget

from napari_deepspace._napari.jobs import Child, answer, start_job
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.train_panel import TrainPanel
from napari_deepspace._napari.training import runs_folder
from napari_deepspace._napari.widgets import label, row
from napari_deepspace.errors import DataError
from napari_deepspace.glossary import term
from napari_deepspace.project import SEALED, file_stem
from napari_deepspace.recipes import READ_AS, reading_options
from napari_deepspace.run_list import RunInfo, frozen_settings, own_runs_folder
from napari_deepspace.seal import Seal, read_seal
from napari_deepspace.settings import SectionSettings
from napari_deepspace.verdicts import WAYS

Choice = tuple[str, int]  #: "spots", "block" or "whole", and per cent
EXPLAINED = (
    "Sealed spots are put away before the first run: no run learns from them, and none shows a prediction there. "
    "At the very end you open the seal once, with the run you have chosen; its score then owes nothing to having tried often."
)


def seal_folders(session: Session, project: Path | None = None) -> list[Path]:
    """Where seals are kept: in the project, and beside the window's own runs; new ones in the first."""
    project = project or session.project
    window = (session.runs or own_runs_folder()).parent / SEALED
    return [window] if project is None else [project / SEALED, window]


class Seals(QObject):
    """Makes and opens seals. ``opened()`` is how the open section was read; ``reopen(sealed=...)`` reads it again, with its seal."""

    def __init__(
        self,
        session: Session,
        panel: TrainPanel,
        opened: Callable[[], SectionSettings | None],
        reopen: Callable[..., None],
        say: Callable[..., None],
        fail: Callable[[Exception], None],
    ):
        super().__init__(panel)
        self._opened_as = opened
        self._session, self._panel, self._reopen, self._say, self._fail = session, panel, reopen, say, fail
        self.ask: Callable[[], Choice | None] = partial(ask_what_to_seal, panel)
        self.ask_open: Callable[[RunInfo, Seal], bool] = partial(ask_to_open, panel)
        self.child: Child | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="deepspace-seal-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._path: Path | None = None  #: the seal of the open section
        panel.seal.clicked.connect(self.make)

    def show(self, path: Path | None) -> None:
        """Say in the panel how the open section is sealed."""
        self._path = path
        self._panel.show_seal(read_seal(path).words if path is not None else "")

    def make(self) -> None:
        """Ask what to seal of the open section, and seal it."""
        section, opened = self._session.section, self._opened_as()
        if section is None or opened is None or self.child is not None:
            return
        choice = self.ask()
        if choice is None:
            return
        out = _free(seal_folders(self._session)[0], file_stem(section.library_id))
        kind = {"block": ["--block"], "whole": ["--whole"]}.get(choice[0], [])
        runs = [argument for folder in {runs_folder(self._session), self._session.runs or own_runs_folder()} for argument in ("--runs", str(folder))]
        reading = reading_options(opened, READ_AS)
        self._ask(["seal", str(opened.path), *reading, "--out", str(out), "--share", str(choice[1] / 100), *kind, *runs], partial(self._made, out))
        self._say("Sealing…")

    def open(self, run: RunInfo) -> None:
        """Ask once more, then open the seal that ``run`` kept, with it.

        Raises
        ------
        DataError
            The run kept no seal, or the seal's file is gone.
        """
        sections = (frozen_settings(run.run_dir) or {}).get("sections") or []
        section = next((one for one in sections if isinstance(one, dict) and one.get("sealed")), None)
        if section is None:
            raise DataError(f"{run.name} was trained without a seal: there is nothing to open with it.")
        seal = read_seal(run.run_dir / section["sealed"])
        if self.child is not None or not self.ask_open(run, seal):
            return
        given = reading_options(SectionSettings.model_validate(section), (*READ_AS, "patient", "block"))
        place = [str(run.run_dir), str(run.run_dir / section["path"]), "--seal", str(run.run_dir / section["sealed"])]
        self._ask(["unseal", *place, *given], partial(self._opened, run))
        self._say(f"Opening the seal with {run.name}…")

    def shut(self) -> None:
        """Leave no process behind."""
        if self.child is not None:
            self.child.stop_and_wait()

    def _ask(self, arguments: list[str], then: Callable[[dict[str, Any]], None]) -> None:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        out, errors = folder / "out.json", folder / "errors.txt"
        self.child = child = Child([*arguments, "--json"], out, errors)
        start_job(partial(answer, child, out, errors), on_return=lambda told: then(told) if told else None, on_error=self._fail, on_finish=self._done)

    def _done(self) -> None:
        self.child = None

    def _made(self, out: Path, told: dict[str, Any]) -> None:
        self._say(f"Sealed: {told['words']}. The seal is {out}.")
        self._reopen(sealed=out)

    def _opened(self, run: RunInfo, scores: dict[str, Any]) -> None:
        mean = dict(scores["mean"])
        r = mean.pop(scores["score"])
        beside = "; ".join(f"{WAYS.get(name, name)} {value:.2f}" for name, value in mean.items() if value is not None)
        synthetic = "SYNTHETIC data. " if scores["synthetic"] else ""
        self._say(
            f"{synthetic}The seal is open. {run.name}: mean {scores['score']} {r:.2f} at {scores['n_spots']:,} sealed spots, {scores['split']}; "
            f"beside it: {beside}. Panel: {scores['panel']}."
        )
        self.show(self._path)


def _free(folder: Path, stem: str) -> Path:
    """``stem.json`` in ``folder``, with a number where another section of that name has its seal there."""
    names = (folder / (f"{stem}-{number}.json" if number else f"{stem}.json") for number in range(1000))
    return next(path for path in names if not path.exists())


def ask_what_to_seal(parent: QWidget) -> Choice | None:
    """Spots, a block or the whole section, and how much of it; None if the user leaves it."""
    dialog = SealDialog(parent)
    return dialog.choice() if dialog.exec() else None


class SealDialog(QDialog):
    """What is sealed, in two sentences and three choices."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWindowTitle("Seal a hold-out")
        self.kinds = {
            "block": QRadioButton("A square block of the tissue"),
            "spots": QRadioButton("Single spots all over – the spots around each of them do not train either"),
            "whole": QRadioButton("The whole section – no run trains on it"),
        }
        self.kinds["block"].setChecked(True)
        self.share = QSpinBox()
        self.share.setRange(1, 90)
        self.share.setValue(20)
        self.share.setSuffix(" % of the spots")
        self.kinds["whole"].toggled.connect(lambda on: self.share.setEnabled(not on))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        seal = buttons.addButton("Seal", QDialogButtonBox.ButtonRole.AcceptRole)
        if seal is not None:
            seal.setDefault(True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(label(EXPLAINED, "sealed hold-out", wrap=True))
        for kind in self.kinds.values():
            layout.addWidget(kind)
        layout.addLayout(row(self.share, 1))
        layout.addWidget(buttons)
        self.resize(460, 240)

    def choice(self) -> Choice:
        return next(kind for kind, button in self.kinds.items() if button.isChecked()), self.share.value()


def ask_to_open(parent: QWidget, run: RunInfo, seal: Seal) -> bool:
    """Whether the seal shall be opened with this run: it cannot be closed again."""
    text = f"Open the seal of {seal.library_id} ({seal.words}) with {run.name}?"
    box = QMessageBox(QMessageBox.Icon.Question, "Open the seal", text, parent=parent)
    box.setInformativeText(f"A seal is opened once, and the date, the run and its scores are kept with it. {term('sealed hold-out')}")
    yes = box.addButton("Open it now", QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    return box.clickedButton() is yes
