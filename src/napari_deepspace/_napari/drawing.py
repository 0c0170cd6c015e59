"""Drawing on the tissue for one dock: undo and redo, drawing blind, and the outlines of before. What is drawn is the session's."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_deepspace._napari.brush import Brush
from napari_deepspace._napari.canvas import Canvas, bind_drag
from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.outline_keeper import OutlineKeeper
from napari_deepspace._napari.outline_layers import OutlineLayers
from napari_deepspace._napari.preferences import preferred_author
from napari_deepspace._napari.project_view import Projects
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.training import Say
from napari_deepspace.annotating import changed, give_up_blind, lock_blind, os_user, title_of, unlocked_blind, without
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.geojson import SlideStamp, stamp_of
from napari_deepspace.outline_history import History, push, redo, undo
from napari_deepspace.outlines import BLIND, EXCLUDE, Outline, read_outlines
from napari_deepspace.section import Section

Leave = Literal["lock", "open", "stay"]


class Drawing(QObject):
    """Carries out what the Outlines step, keys and the brush ask for."""

    stepped = Signal()  #: what can be undone and redone has changed

    def __init__(
        self,
        session: Session,
        canvas: Canvas,
        layers: OutlineLayers,
        projects: Projects,
        parent: QWidget,
        say: Say,
        fail: Callable[[Exception], None],
    ):
        super().__init__(parent)
        self._session, self._layers, self._say, self._fail = session, layers, say, fail
        self.ask: Callable[[int], Leave] = lambda n: ask_to_leave(parent, n)
        self.history = History()
        self.keeper = OutlineKeeper(session, projects, layers.unfinished, self, say)
        projects.keep_first = self.keeper.keep
        self.brush = Brush(session, canvas, say)
        self._release = bind_drag(canvas.viewer, self.brush.drag)
        self._stepping = False
        self._accepted: dict[str, Outline] = {}  #: proposed regions as they were before they were accepted, by id
        session.author = preferred_author() or os_user()
        session.events.outlines.connect(self._push)
        session.events.busy.connect(self._loading)

    def draw_exclude(self, on: bool) -> None:
        """Let the mouse draw exclude outlines, as the Quality step asks, or let it move the camera again."""
        if on:
            self._session.outline_class = EXCLUDE
        if on or self._session.tool:
            self._session.tool = "freehand" if on else ""

    def read(self, path: Path) -> None:
        """Add the outlines of a GeoJSON file to those of the section; it is read in a thread, for QuPath's files may be large."""
        section = self._session.section
        stamp = stamp_of(section.slide) if section is not None and section.slide is not None else None
        start_job(partial(_read, path, stamp), on_return=partial(self._add, section), on_error=self._fail)

    def _add(self, section: Section | None, found: list[Outline]) -> None:
        session = self._session
        if session.section is not section:  # another was opened meanwhile
            return
        known = {outline.id for outline in session.outlines}
        new = [outline for outline in found if outline.id not in known]
        session.outlines = (*session.outlines, *new)
        session.paint = "removed"
        acting = sum(outline.excludes for outline in new), sum(outline.failed for outline in new)
        self._say(f"{len(new)} outlines imported: {acting[0]} exclude tiles, {acting[1]} are failed regions; others are shown only.", "info")

    def change(self, outline_id: str, **changes: Any) -> None:
        """Change fields of an outline; says so where it is locked."""
        before = self._session.outlines
        self._try(lambda: changed(before, outline_id, self._session.blind, **changes))
        lost = [one for one, old in zip(self._session.outlines, before, strict=True) if old.origin == BLIND and one.origin != BLIND]
        if lost:
            words = "counts as drawn by hand now, for it is unlocked while expression is shown. Undo takes this back."
            self._say(f"“{title_of(lost[0])}” {words}", "warning")

    def delete(self, outline_id: str) -> None:
        """Take an outline away; says so where it is locked."""
        self._try(lambda: without(self._session.outlines, outline_id))

    def accept(self, outline_id: str) -> None:
        """A proposed region becomes a failed region; Undo makes it a proposal again."""
        self._accepted |= {one.id: one for one in self._session.proposals if one.id == outline_id}
        self._layers.accept(outline_id)

    def reject(self, outline_id: str) -> None:
        """A proposed region goes, or an accepted one; says so where it is locked."""
        try:
            self._layers.reject(outline_id)
        except DeepSpaceError as error:
            self._fail(error)

    def undo(self) -> None:
        """One step back; of a shape that is being drawn, all of it."""
        if self._layers.unfinished():
            self._layers.use_again()
        else:
            self._step(undo(self.history), "Nothing to undo.")

    def redo(self) -> None:
        """One step on again."""
        self._step(redo(self.history), "Nothing to redo.")

    def set_blind(self, on: bool) -> None:
        """Hide expression, or show it again: once all that was drawn blind is locked, or counts as drawn by hand."""
        session = self._session
        if on or not session.blind:
            session.blind = on
            return
        still = unlocked_blind(session.outlines)
        answer = self.ask(len(still)) if still else "open"
        if answer == "stay":
            session.events.blind.emit(True, True)  # the box that was clicked stands as it was
            return
        session.outlines = lock_blind(session.outlines) if answer == "lock" else give_up_blind(session.outlines)
        session.blind = False
        if still and answer == "open":
            self._say(f"{_n(len(still))} not locked: as expression is shown now, drawn by hand, not blind.", "warning")

    def _try(self, make: Callable[[], Any]) -> None:
        try:
            self._session.outlines = make()
        except DeepSpaceError as error:
            self._fail(error)

    def _push(self, *_: Any) -> None:
        if not self._stepping and self._session.busy != "loading":
            self.history = push(self.history, self._session.outlines)
        self.stepped.emit()

    def _step(self, history: History, nothing: str) -> None:
        if history is self.history:
            self._say(nothing, "info")
            return
        if not self._session.blind:
            history = replace(history, now=give_up_blind(history.now))  # expression is seen: an undo does not make it unseen
        self.history, self._stepping = history, True
        try:
            self._session.outlines = history.now
            there = {one.id for one in history.now}
            back = {key: one for key, one in self._accepted.items() if key not in there}
            offered = {one.id: one for one in self._session.proposals if one.id not in there} | back
            if set(offered) != {one.id for one in self._session.proposals}:
                self._session.proposals = tuple(offered.values())
        finally:
            self._stepping = False

    def _loading(self, busy: str) -> None:
        """Another section: what was drawn is on disk before, and nothing of it can be undone after."""
        session = self._session
        if busy == "loading":
            self.keeper.keep()
            session.tool, session.chosen_outline = "", ""
            self._accepted = {}
        elif not busy and session.loaded is not None and self.keeper.is_new(session.loaded):
            words = self.keeper.opened()
            self.history = History(session.outlines)
            self.stepped.emit()
            session.blind = bool(unlocked_blind(session.outlines))
            if session.blind:
                words += " Expression stays hidden: some were drawn blind and are not locked yet."
            if words:
                self._say(words.strip(), "warning" if self.keeper.doubted else "info")

    def shut(self) -> None:
        """Nothing is lost, and no callback stays behind."""
        self.keeper.shut()
        self._release()


def _read(path: Path, stamp: SlideStamp | None) -> Generator[None, None, list[Outline]]:
    yield None
    return read_outlines(path, stamp)


def _n(count: int) -> str:
    return f"{count} outline that was" if count == 1 else f"{count} outlines that were"


def ask_to_leave(parent: QWidget, n: int) -> Leave:
    """What becomes of ``n`` outlines that were drawn blind and are not locked, now that expression is to be shown."""
    text = f"{_n(n).capitalize()} drawn blind {'is' if n == 1 else 'are'} not locked."
    box = QMessageBox(QMessageBox.Icon.Question, "Show expression", text, parent=parent)
    box.setInformativeText(
        "Locked now, they stay marked as drawn blind. Not locked, they count as drawn by hand, for expression is seen before they are final."
    )
    lock = box.addButton("Lock, then show", QMessageBox.ButtonRole.AcceptRole)
    open_ = box.addButton("Show without locking", QMessageBox.ButtonRole.DestructiveRole)
    box.setDefaultButton(lock)
    box.addButton("Stay blind", QMessageBox.ButtonRole.RejectRole)
    box.exec()
    return "lock" if box.clickedButton() is lock else "open" if box.clickedButton() is open_ else "stay"
