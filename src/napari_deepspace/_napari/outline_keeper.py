"""Outlines are on disk at most two seconds after a change: in the open project, else in the user's own folder, where they are found again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import QObject, QTimer, Signal

from napari_deepspace._napari.project_view import Projects
from napari_deepspace._napari.session import Loaded, Session
from napari_deepspace._napari.training import Say
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.geojson import SlideStamp, stamp_of
from napari_deepspace.outline_files import doubt, kept_on, own_outlines_path, read_kept, set_aside
from napari_deepspace.outlines import Outline
from napari_deepspace.project import keep_outlines, outlines_path
from napari_deepspace.run_list import own_runs_folder

PERIOD_MS = 1000


class OutlineKeeper(QObject):
    """Looks once a second whether there is anything new to keep, a shape that is still being drawn included (``unfinished`` tells it)."""

    found = Signal(str, bool)  #: words on outlines of before, and whether they are on the slide already; "" for none

    def __init__(self, session: Session, projects: Projects, unfinished: Callable[[], tuple[Outline, ...]], parent: QObject, say: Say):
        super().__init__(parent)
        self._session, self._projects, self._unfinished, self._say = session, projects, unfinished, say
        self._of: Loaded | None = None  #: the section whose outlines are kept
        self._own: Path | None = None  #: its file in the user's own folder
        self._kept: tuple[Path | None, tuple[Outline, ...], SlideStamp | None] = (
            None,
            (),
            None,
        )  #: project, what is on disk, its slide
        self._before: tuple[Outline, ...] = ()  #: those of an earlier time that are spoken of
        self._shown = False  #: whether they are on the slide
        self._failed = ""
        self._timer = QTimer(self)
        self._timer.setInterval(PERIOD_MS)
        self._timer.timeout.connect(self.keep)
        self._timer.start()

    @property
    def path(self) -> Path | None:
        """Where the outlines of the open section are kept; None without one."""
        if self._of is None:
            return None
        project = self._projects.of_section()  # raises DataError where the project's file is damaged
        return self._own if project is None else outlines_path(project, self._of.section.library_id)

    def keep(self) -> None:
        """Write what is not on disk yet, now."""
        if self._of is None or self._session.loaded is not self._of:
            return
        wanted = (self._session.project, (*self._session.outlines, *self._unfinished()), self._session.drawn_on)
        if wanted == self._kept:
            return
        try:
            path = self.path
            assert path is not None
            if path == self._own and self._before and not self._shown and path.is_file():
                self._say(f"The outlines that were drawn here before lie in {set_aside(path)} now.", "info")
                self._offer()
            keep_outlines(path, wanted[1], self._session.drawn_on)
            self._kept, self._failed = wanted, ""
        except (DeepSpaceError, OSError) as error:
            words = f"The outlines could not be kept ({error}). Make room, or save the project elsewhere."
            if words != self._failed:  # once, not every second
                self._say(words, "warning")
            self._failed = words

    def is_new(self, loaded: Loaded) -> bool:
        """Whether that section was read just now."""
        return loaded is not self._of

    def opened(self) -> str:
        """A section was read: take up what was drawn on it before, if it brings no outlines itself. Returns what there is to say, or ""."""
        session = self._session
        if session.loaded is None:
            return ""
        self._of = session.loaded
        self._own = own_outlines_path(session.runs or own_runs_folder(), self._of.section, self._of.spots["umi"].to_numpy())
        self._offer()
        with contextlib.suppress(DeepSpaceError):  # of a damaged project the next change speaks
            if self.path == self._own and self._own.is_file():
                return self._take_up(self._own)
        self._kept = (session.project, session.outlines, session.drawn_on)
        return self._doubt()

    def answer(self, restore: bool) -> None:
        """Put the outlines of before on the slide, or take them away again; both can be undone."""
        known = {one.id for one in self._before}
        others = tuple(one for one in self._session.outlines if one.id not in known)
        self._trust()
        self._session.outlines = (*others, *self._before) if restore else others
        self._offer()

    def dismiss(self) -> None:
        """They stay as they are, and are not spoken of again: from now on they are of this slide."""
        self._trust()
        self._offer()

    def _stamp(self) -> SlideStamp | None:
        slide = self._of.section.slide if self._of is not None else None
        return stamp_of(slide) if slide is not None else None

    def _trust(self) -> None:
        """What was in doubt has been looked at: it is of this slide, or gone."""
        self._session.drawn_on = self._stamp()

    @property
    def doubted(self) -> bool:
        """Whether the outlines were drawn on another slide, and nobody has looked at them yet."""
        return bool(doubt(self._session.drawn_on, self._stamp()))

    def _doubt(self) -> str:
        """Say that the outlines are of another slide; where they are not, they are of this one."""
        words = doubt(self._session.drawn_on, self._stamp()) if self._session.outlines else ""
        if words:
            self._offer(self._session.outlines, words, shown=True)
        else:
            self._trust()
        return words

    def _take_up(self, path: Path) -> str:
        session = self._session
        self._kept = (session.project, session.outlines, session.drawn_on)
        try:
            kept, date = read_kept(path, self._stamp()), kept_on(path)
            before = kept.outlines
        except (DeepSpaceError, OSError) as error:
            with contextlib.suppress(OSError):
                set_aside(path)
            self._trust()
            return f"The outlines of before could not be read: {error}"
        known = {one.id for one in session.outlines}
        if {one.id for one in before} <= known:
            session.drawn_on = session.drawn_on or kept.drawn_on
            return self._doubt()
        n = f"{len(before)} outline{'' if len(before) == 1 else 's'} of {date}"
        if session.outlines:
            self._trust()
            self._offer(before, f"{n} were drawn on this section before, and are not shown.")
            return ""
        session.outlines, session.drawn_on = before, kept.drawn_on
        self._kept = (session.project, before, kept.drawn_on)
        words = f"{n} {'was' if len(before) == 1 else 'were'} restored." + f" {self._doubt()}".rstrip()
        self._offer(before, words, shown=True)
        return words

    def _offer(self, before: tuple[Outline, ...] = (), words: str = "", shown: bool = False) -> None:
        self._before, self._shown = before, shown
        self.found.emit(words, shown)

    def shut(self) -> None:
        """Nothing is lost when the dock closes."""
        self.keep()
        with contextlib.suppress(RuntimeError):  # at the very end Qt has taken it away already
            self._timer.stop()
