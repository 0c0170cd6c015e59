"""Aligning a neighbouring slide: by itself in a thread, or by landmarks in a window of their own. What comes out goes into the session."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_deepspace._napari.landmarks_dialog import LandmarksDialog
from napari_deepspace._napari.neighbours import Neighbours
from napari_deepspace._napari.neighbours_panel import NeighboursPanel
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.training import Say
from napari_deepspace.align.landmarks import LEAST
from napari_deepspace.align.outlines import move_outlines
from napari_deepspace.align.transform import Alignment
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.neighbour_fit import Fit, align_by_itself, fit_landmarks, fitted
from napari_deepspace.neighbour_measure import alignment_of
from napari_deepspace.neighbours import Kind, Near, Neighbour, Pair, complete, moved_landmark, with_landmark
from napari_deepspace.outline_history import History, push, redo, undo
from napari_deepspace.outlines import Outline, read_outlines, write_outlines

GEOJSON = "GeoJSON (*.geojson *.json);;All files (*)"


class Aligning(QObject):
    """Carries out "Align by itself" and "Landmarks…" of the step "Neighbouring slides"."""

    def __init__(
        self, session: Session, panel: NeighboursPanel, neighbours: Neighbours, parent: QWidget, say: Say, fail: Callable[[Exception], None]
    ):
        super().__init__(parent)
        self._session, self._neighbours, self._parent, self._say, self._fail = session, neighbours, parent, say, fail
        self.dialog: LandmarksDialog | None = None
        self.history = History()
        self._id = ""  #: of the neighbour in the window
        panel.align_requested.connect(self.align)
        panel.landmarks_requested.connect(self.open)
        panel.outlines_in_requested.connect(self._ask_in)
        panel.outlines_out_requested.connect(self._ask_out)
        session.events.loaded.connect(self.shut)
        session.events.neighbours.connect(self._gone)

    # -- by itself -------------------------------------------------------------------------------------------------------------------------

    def align(self) -> None:
        """Align the chosen slide, in a thread; a failure leaves everything as it was."""
        one, section = self._neighbours.one(), self._session.section
        opened = None if one is None else self._neighbours.overlays.files.get(one.id)
        if one is None or opened is None or section is None:
            return
        work = partial(align_by_itself, section, opened.slide, one.mpp, one.same_glass)
        self._neighbours.start(work, partial(self._aligned, one), "Aligning…")

    def _aligned(self, asked: Neighbour, found: Fit) -> None:
        one = self._neighbours.one(asked.id)
        if (
            one is None or one.mpp != asked.mpp or one.id not in self._neighbours.overlays.files
        ):  # taken away, or said to be of another size, meanwhile
            return
        self._neighbours.put(fitted(one, found, "automatic"))
        self._neighbours.show_whole()
        self._say(f"{one.name} is aligned. {found.note} Look at its edges with Checkerboard or Blink before you believe it.", "info")

    # -- two files of one glass --------------------------------------------------------------------------------------------------------------

    def take_outlines(self, path: Path) -> None:
        """Lay the outlines of a GeoJSON file, in px of the chosen slide, on the section; they are read in a thread."""
        one, section = self._neighbours.one(), self._session.section
        opened = None if one is None else self._neighbours.overlays.files.get(one.id)
        if one is not None and one.transform is not None and opened is not None and section is not None:
            work = partial(_outlines_from, path, alignment_of(one, section, opened.slide))
            self._neighbours.start(work, self._add_outlines, "Reading outlines…")

    def give_outlines(self, path: Path) -> None:
        """Write the outlines of the section in px of the chosen slide."""
        one, section = self._neighbours.one(), self._session.section
        opened = None if one is None else self._neighbours.overlays.files.get(one.id)
        if one is None or one.transform is None or opened is None or section is None:
            return
        try:
            alignment = alignment_of(one, section, opened.slide)
            moved = move_outlines(self._session.outlines, alignment, back=True)
            write_outlines(path, moved, alignment.moving.stamp)
        except (DeepSpaceError, OSError) as error:
            self._fail(error if isinstance(error, DeepSpaceError) else DeepSpaceError(f"{path} cannot be written ({error}). Choose another folder."))
            return
        self._say(f"{len(moved)} outlines written in the pixels of {one.path.name}.", "info")

    def _add_outlines(self, found: list[Outline]) -> None:
        known = {outline.id for outline in self._session.outlines}
        new = [outline for outline in found if outline.id not in known]
        self._session.outlines = (*self._session.outlines, *new)
        self._say(f"{len(new)} outlines laid on this section.", "info")

    def _ask_in(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self._parent, "Outlines of the neighbouring file", "", GEOJSON)
        if path:
            self.take_outlines(Path(path))

    def _ask_out(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self._parent, "Outlines for the neighbouring file", "outlines.geojson", GEOJSON)
        if path:
            self.give_outlines(Path(path))

    # -- by landmarks ----------------------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Show the window of landmarks for the chosen slide."""
        one, section = self._neighbours.one(), self._session.section
        opened = None if one is None else self._neighbours.overlays.files.get(one.id)
        if one is None or opened is None or one.mpp is None or section is None:
            return
        if section.slide is None:
            self._fail(DeepSpaceError(f"{section.library_id} has no image to click on. Choose it with Image… in step 1."))
            return
        self.shut()
        self._id, self.history = one.id, History(one.pairs)
        self.dialog = dialog = LandmarksDialog(section, opened.slide, one.mpp, one.name, self._parent)
        dialog.clicked.connect(self.click)
        dialog.moved.connect(self.move)
        dialog.deleted.connect(self.delete)
        dialog.undo_requested.connect(self.undo)
        dialog.redo_requested.connect(self.redo)
        dialog.kind_changed.connect(self.set_kind)
        dialog.finished.connect(lambda _: self.shut())
        self._show()
        dialog.show()

    def click(self, fixed: bool, place_um: Any) -> None:
        """One place more, (row, column) in um of the section (``fixed``) or of the slide."""
        self._take(with_landmark(self.history.now, place_um, fixed))

    def move(self, at: Near, place_um: Any, over: bool = True) -> None:
        """A landmark elsewhere; while it is dragged the alignment waits."""
        pairs = moved_landmark(self.history.now, at, place_um)
        if over:
            self._take(pairs)
        elif self.dialog is not None:
            self.dialog.fixed.show_pairs(pairs, at.pair)
            self.dialog.moving.show_pairs(pairs, at.pair)

    def delete(self, number: int) -> None:
        """Take a pair away."""
        if 0 <= number < len(self.history.now):
            self._take(self.history.now[:number] + self.history.now[number + 1 :])

    def undo(self) -> None:
        """One step back."""
        self.history = undo(self.history)
        self._fit(self.history.now)

    def redo(self) -> None:
        """One step on again."""
        self.history = redo(self.history)
        self._fit(self.history.now)

    def set_kind(self, kind: Kind) -> None:
        """Fit the landmarks another way."""
        one = self._neighbours.one(self._id)
        if one is not None:
            self._neighbours.put(one.model_copy(update={"kind": kind}))
            self._fit(self.history.now)

    def _take(self, pairs: tuple[Pair, ...]) -> None:
        self.history = push(self.history, pairs)
        self._fit(pairs)

    def _fit(self, pairs: tuple[Pair, ...]) -> None:
        """The alignment that the landmarks make; one of before stays while they are too few, unless it was made of landmarks."""
        one = self._neighbours.one(self._id)
        if one is None:
            return
        fresh = one.transform is None
        one = one.model_copy(update={"pairs": pairs})
        found, words = fit_landmarks(one)
        if found is not None:
            one = fitted(one, found, "landmarks")
        elif one.how != "automatic":
            one = fitted(one, None)
        self._neighbours.put(one)
        if fresh and one.transform is not None:
            self._neighbours.show_whole()
        self._show(found, words)

    def _show(self, found: Fit | None = None, words: str = "") -> None:
        """The window as the session has it."""
        dialog, one = self.dialog, self._neighbours.one(self._id)
        if dialog is None or one is None:
            return
        if found is None and not words:
            found, words = fit_landmarks(one)
        dialog.place(self._neighbours.overlays.turned(one))
        dialog.kind.set_value(one.kind)
        dialog.show_pairs(one.pairs, None if found is None else found.residual_um, None if found is None else found.left_out_um)
        n = len(complete(one.pairs)[0])
        least = LEAST[one.kind]
        more = f" At least {least} pairs are needed, best far apart." if n < least else ""
        dialog.words.setText(f"{n} complete pair{'' if n == 1 else 's'}. {words}{more}")
        dialog.undo.setEnabled(bool(self.history.past))
        dialog.redo.setEnabled(bool(self.history.future))

    def _gone(self, *_: Any) -> None:
        """The slide in the window was taken away."""
        if self.dialog is not None and self._neighbours.one(self._id) is None:
            self.shut()

    def shut(self, *_: Any) -> None:
        """No window stays behind."""
        dialog, self.dialog = self.dialog, None
        if dialog is not None:
            dialog.shut()
            dialog.close()
            dialog.deleteLater()


def _outlines_from(path: Path, alignment: Alignment) -> Generator[str, None, list[Outline]]:
    yield "Reading outlines…"
    return move_outlines(read_outlines(path, alignment.moving.stamp), alignment)
