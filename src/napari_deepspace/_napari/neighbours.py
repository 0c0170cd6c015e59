"""Neighbouring slides of one dock: opened and restored in threads, aligned, kept in the project. What there is of them is the session's."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_deepspace._napari.canvas import Canvas
from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.neighbours_panel import NeighboursPanel
from napari_deepspace._napari.overlays import Opened, Overlays
from napari_deepspace._napari.project_view import Projects
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.training import Say
from napari_deepspace._napari.widgets import one_shot
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.neighbours import Neighbour, read_neighbours, rescaled, write_neighbours
from napari_deepspace.project import neighbours_path
from napari_deepspace.slide import open_slide

KEEP_MS = 700  #: after the last change, until it is on disk
BLINK_MS = 600


class Neighbours(QObject):
    """Carries out what the step "Neighbouring slides" asks for."""

    stopped = Signal()  #: what was at work was told to stop

    def __init__(
        self,
        session: Session,
        canvas: Canvas,
        panel: NeighboursPanel,
        projects: Projects,
        parent: QWidget,
        say: Say,
        fail: Callable[[Exception], None],
    ):
        super().__init__(parent)
        self._session, self._canvas, self._panel, self._projects = session, canvas, panel, projects
        self._say, self._fail = say, fail
        self.overlays = Overlays(session, canvas)
        self._of: Any = None  #: the loaded section whose neighbours these are
        self._kept: tuple[Neighbour, ...] = ()
        self._worker: Any = None
        self._keep_soon = one_shot(self, KEEP_MS)
        self._keep_soon.timeout.connect(self.keep)
        self._opacity: tuple[str, float] = "", 1.0  #: of a neighbour, that the session does not have yet
        self._opacity_soon = one_shot(self, KEEP_MS // 2)
        self._opacity_soon.timeout.connect(lambda: self.change(self._opacity[0], {"opacity": self._opacity[1]}))
        self._blinker = QTimer(self)
        self._blinker.setInterval(BLINK_MS)
        self._blinker.timeout.connect(self.overlays.blink)
        panel.added.connect(self.add)
        panel.removed.connect(self.remove)
        panel.changed.connect(self.change)
        panel.stop_requested.connect(self.stop)
        panel.opacity_moved.connect(self.set_opacity)
        panel.cover_changed.connect(lambda key: self.set_cut(cover=key))
        panel.line_moved.connect(self._move_line)
        panel.square_changed.connect(lambda um: self.set_cut(square_um=um))
        panel.blinking.connect(self._set_blinking)
        session.events.loaded.connect(self._loaded)
        session.events.busy.connect(self._busy)
        session.events.neighbours.connect(self._changed)

    # -- which there are -------------------------------------------------------------------------------------------------------------------

    def one(self, neighbour_id: str = "") -> Neighbour | None:
        """The neighbour of that id, or the chosen one."""
        wanted = neighbour_id or self._session.chosen_neighbour
        return next((one for one in self._session.neighbours if one.id == wanted), None)

    def add(self, paths: Sequence[Path]) -> None:
        """Open images, or folders with counts, as neighbours; in a thread."""
        new = [Neighbour(path=Path(path).absolute(), name=Path(path).stem, counts=Path(path).is_dir()) for path in paths]
        self._open(new, self._added)

    def remove(self, neighbour_id: str) -> None:
        """Take one out of the list; its file stays as it is."""
        opened = self.overlays.files.pop(neighbour_id, None)
        self._session.neighbours = tuple(one for one in self._session.neighbours if one.id != neighbour_id)
        if self._session.chosen_neighbour == neighbour_id:
            self._session.chosen_neighbour = self._session.neighbours[0].id if self._session.neighbours else ""
        if opened is not None:
            opened.slide.close()

    def change(self, neighbour_id: str, fields: dict[str, Any]) -> None:
        """Change fields of one; another um per px takes its alignment away."""
        one = self.one(neighbour_id)
        if one is None:
            return
        if fields.get("mpp"):
            fields = dict(fields)
            if one.transform is not None:
                self._say("Another um per px: the alignment does not hold any more. Align again.", "info")
            one = rescaled(one, fields.pop("mpp"))
        self.put(Neighbour.model_validate(one.model_dump() | fields))

    def put(self, changed: Neighbour) -> None:
        """``changed`` takes the place of the neighbour of its id."""
        self._session.neighbours = tuple(changed if one.id == changed.id else one for one in self._session.neighbours)

    def start(self, work: Callable[[], Generator[Any, None, Any]], done: Callable[[Any], None], words: str, failed: Any = None) -> bool:
        """Do something of neighbours in a thread, one at a time; what it returns after another section was opened is not taken.

        False where something else is still at work.
        """
        if self._worker is not None:
            self._fail(DeepSpaceError("Something is still at work on neighbouring slides. Wait for it, or press Stop."))
            return False
        of = self._session.loaded

        def returned(found: Any) -> None:
            finished()  # so that what comes next can begin
            if self._session.loaded is of:
                done(found)

        def finished() -> None:
            if self._worker is worker:
                self._worker = None
                self._panel.tell("")

        def told(error: Exception) -> None:
            if self._worker is worker:
                (failed or self._fail)(error)

        def yielded(said: Any) -> None:
            if self._worker is worker and said is not None:
                words, share = said if isinstance(said, tuple) else (said, -1.0)
                self._panel.tell(words, share, working=True)

        worker = self._worker = start_job(work, on_yield=yielded, on_return=returned, on_error=told, on_finish=finished)
        self._panel.tell(words, -1.0, working=True)
        return True

    def stop(self) -> None:
        """Take nothing of what is at work any more; its thread ends at its next word."""
        if self._worker is not None:
            worker, self._worker = self._worker, None
            worker.quit()
            self._panel.tell("")
            self._say("Stopped. Nothing was changed.", "info")
            self.stopped.emit()

    def show_whole(self) -> None:
        """Everything is in view."""
        self._canvas.viewer.reset_view()

    # -- how they are seen -----------------------------------------------------------------------------------------------------------------

    def set_cut(self, **fields: Any) -> None:
        """Another cover, line or square; see :class:`napari_deepspace.neighbour_layers.Cut`."""
        for name, value in fields.items():
            setattr(self.overlays.cut, name, value)
        if fields.get("cover") == "swipe" and not self.overlays.cut.line_um:
            self._move_line(self._panel.line.value() / 1000)
            return
        self.overlays.refresh()

    def blink(self) -> None:
        """Hide the chosen neighbour, or show it again."""
        if self.one() is None:
            self._say("No neighbouring slide is chosen. Add one in step 8.", "info")
        self.overlays.blink()

    def set_opacity(self, opacity: float) -> None:
        """How far the chosen slide covers the section, 0 to 1: at once on the canvas, in the session when the slider rests."""
        self._opacity = self._session.chosen_neighbour, opacity
        self.overlays.set_opacity(*self._opacity)
        self._opacity_soon.start()

    def _set_blinking(self, on: bool) -> None:
        if on:
            self._blinker.start()
            return
        self._blinker.stop()
        self.overlays.sync()

    def _move_line(self, share: float) -> None:
        section = self._session.section
        if section is None:
            return
        width = section.slide.shape[1] if section.slide is not None else float(section.centres_yx[:, 1].max())
        self.set_cut(line_um=share * width * section.mpp)

    # -- opening, restoring, keeping -------------------------------------------------------------------------------------------------------

    def _open(self, wanted: list[Neighbour], done: Callable[[Any], None]) -> None:
        if self._session.section is None:
            self._fail(DeepSpaceError("Open a section first: neighbouring slides are laid over it."))
        elif wanted:
            self.start(partial(_open, wanted), done, "Opening…")

    def _added(self, found: list[tuple[Neighbour, Opened | None, Exception | None]]) -> None:
        for one, opened, error in found:
            if opened is None:
                self._fail(error or DeepSpaceError(f"{one.path} could not be opened."))
                continue
            self.overlays.files[one.id] = opened
            self._session.neighbours = (*self._session.neighbours, one)
            self._session.chosen_neighbour = one.id
            self._canvas.viewer.reset_view()

    def _restored(self, found: list[tuple[Neighbour, Opened | None, Exception | None]]) -> None:
        for one, opened, error in found:
            if opened is None:
                self._say(f"{one.name} is not shown: {error}", "warning")
            elif self.one(one.id) is not None:
                self.overlays.files[one.id] = opened
        self.overlays.sync()

    def _loaded(self, *_: Any) -> None:
        """Another section: what belongs to the one before goes, once it is on disk."""
        if self._session.loaded is not self._of:
            self.shut()

    def _busy(self, busy: str) -> None:
        session = self._session
        if busy == "loading":
            self.keep()
        elif not busy and session.loaded is not None and session.loaded is not self._of:
            self._of = session.loaded
            found: tuple[Neighbour, ...] = ()
            try:
                project = self._projects.of_section()
                if project is not None and session.section is not None:
                    found = read_neighbours(neighbours_path(project, session.section.library_id))
            except DeepSpaceError as error:
                self._fail(error)
            self._kept = session.neighbours = found
            session.chosen_neighbour = found[0].id if found else ""
            if found:
                self._open(list(found), self._restored)

    def _changed(self, *_: Any) -> None:
        self.overlays.sync()
        if self._of is not None:
            self._keep_soon.start()

    def keep(self) -> None:
        """Write what is not in the open project yet, now."""
        session = self._session
        if self._of is None or session.loaded is not self._of or session.section is None or session.neighbours == self._kept:
            return
        try:
            project = self._projects.of_section()
            if project is not None:
                write_neighbours(neighbours_path(project, session.section.library_id), session.neighbours)
                self._kept = session.neighbours
        except (DeepSpaceError, OSError) as error:
            self._say(f"Neighbouring slides could not be kept ({error}).", "warning")

    def shut(self) -> None:
        """No layer, no open file and no timer stays behind."""
        self.keep()
        self._of = None  # what comes now is no change of this section's
        self._keep_soon.stop()
        self._opacity_soon.stop()
        self._blinker.stop()
        if self._worker is not None:
            worker, self._worker = self._worker, None
            worker.quit()
        self._session.neighbours, self._session.chosen_neighbour = (), ""
        self.overlays.forget()


def _open(wanted: Sequence[Neighbour]) -> Generator[str, None, list[tuple[Neighbour, Opened | None, Exception | None]]]:
    """Each neighbour with its open file, or why it cannot be opened."""
    found: list[tuple[Neighbour, Opened | None, Exception | None]] = []
    for one in wanted:
        yield f"Opening {one.path.name}…"
        try:
            opened = _read(one.path) if one.counts else Opened(open_slide(one.path))
        except DeepSpaceError as error:
            found.append((one, None, error))
            continue
        mpp = one.mpp or (opened.section.mpp if opened.section is not None else opened.slide.mpp)
        name = opened.section.library_id if opened.section is not None and one.name == one.path.stem else one.name
        found.append((one.model_copy(update={"mpp": mpp, "name": name}), opened, None))
    return found


def _read(path: Path) -> Opened:
    """A section with counts; raises DataError where it has no image to align."""
    from napari_deepspace.read import read_section

    section = read_section(path)
    return Opened(section.require_slide(), section)
