"""Looking for measured tiles like one spot's: in a thread from what is kept beside the run, which a child process with torch makes once."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_deepspace._napari.jobs import Child, answer, start_job
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.spot_card import LOOKING
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.look_alikes import LookAlike, kept_look_alikes, pictures
from napari_deepspace.model_view import view_of_run
from napari_deepspace.recipes import READ_AS, reading_options
from napari_deepspace.section import Section
from napari_deepspace.settings import SectionSettings

FIRST_TIME = f"{LOOKING} The first time for a run its training tiles are looked at, in the background."
BUSY = "Look-alikes are looked for when no training is at work: click the spot again then."
NO_RUN = "No run is shown: open one, or train."
NO_TILE = "There is no tile to compare here: no tissue."


@dataclass(frozen=True)
class Shown:
    """Look-alikes with their tiles, uint8 (s, s, 3) or None; ``words`` say why there are none yet, or at all."""

    words: str = ""
    found: list[LookAlike] = field(default_factory=list)
    tiles: list[np.ndarray | None] = field(default_factory=list)


class AlikeSearch:
    """One spot is looked for at a time, the last one asked for; ``show`` is told what there is to show."""

    def __init__(
        self, session: Session, opened: Callable[[], SectionSettings | None], show: Callable[[Shown], None], fail: Callable[[Exception], None]
    ):
        self._session, self._opened, self._show, self._fail = session, opened, show, fail
        self.shown = Shown()
        self.child: Child | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="deepspace-spot-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._asked: tuple[Any, ...] = ()
        self._made_for: tuple[Any, ...] = ()  #: what the last child was asked for: a second one would find no more

    def look(self, run_dir: Path | None, section: Section, barcode: str, gene: str) -> None:
        """Show the look-alikes of a spot, as soon as they are known."""
        self._asked = asked = (run_dir, section, barcode, gene)
        if run_dir is None:
            self._tell(Shown(NO_RUN))
            return
        self._tell(Shown(LOOKING))
        start_job(partial(_find, run_dir, section, barcode, gene), on_return=partial(self._found, asked), on_error=partial(self._failed, asked))

    def _tell(self, shown: Shown) -> None:
        self.shown = shown
        self._show(shown)

    def _found(self, asked: tuple[Any, ...], found: Shown | None) -> None:
        if not same(asked, self._asked):
            return
        if found is not None:
            self._tell(found)
        elif same(asked[:3], self._made_for):
            self._tell(Shown(NO_TILE))
        elif self._session.running is not None:
            self._tell(Shown(BUSY))
        else:
            self._tell(Shown(FIRST_TIME))
            if self.child is None or not self.child.alive():
                self._make(*asked[:3])

    def _make(self, run_dir: Path, section: Section, barcode: str) -> None:
        """Let a child process keep what look-alikes need; the spot that is asked for then is looked for again."""
        opened = self._opened()
        if opened is None:
            return
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        arguments = ["spot", str(run_dir), str(opened.path), barcode, *reading_options(opened, READ_AS)]
        out, errors = folder / "out.json", folder / "errors.txt"
        self.child = child = Child([*arguments, "--json", "--background"], out, errors)

        def made(told: Any) -> None:
            if child is self.child and told is not None:
                self.child, self._made_for = None, (run_dir, section, barcode)
                self.look(*self._asked)

        start_job(partial(answer, child, out, errors), on_return=made, on_error=lambda error: self._failed(self._asked, error))

    def _failed(self, asked: tuple[Any, ...], error: Exception) -> None:
        if not isinstance(error, DeepSpaceError):
            self._fail(error)
        elif same(asked, self._asked):
            self._tell(Shown(str(error)))

    def shut(self) -> None:
        """Leave no process behind."""
        child, self.child, self._asked = self.child, None, ()
        if child is not None:
            child.stop()


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two keys are of the same things; what is no word or path is the same only where it is the very object."""
    return len(one) == len(other) and all(a is b or (isinstance(a, (str, Path)) and a == b) for a, b in zip(one, other, strict=True))


def _find(run_dir: Path, section: Section, barcode: str, gene: str) -> Generator[None, None, Shown | None]:
    """What is kept tells; None where it has to be made first."""
    yield None
    view = view_of_run(run_dir)
    if view is None:
        return Shown("This run holds no model.")
    if section.slide is None:
        return Shown("Without an image nothing looks alike.")
    found = kept_look_alikes(run_dir, section.library_id, barcode, gene)
    yield None
    return None if found is None else Shown("", found, pictures(view, run_dir, found, (section.library_id, section.slide)))
