"""Comparing on the slide: the window, the keys, and what the mouse does with Shift held down or at the line of the swipe."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from napari_deepspace._napari.canvas import Canvas
from napari_deepspace._napari.compare_dialog import CompareDialog
from napari_deepspace._napari.session import HIDDEN, Session
from napari_deepspace._napari.style import Palette, palette
from napari_deepspace._napari.training import Say
from napari_deepspace.comparison import BRUSH, LINE, brush_layer, chosen, in_lasso, line_x, selection_words, share_at

GRASP_PX = 6  #: how near to the line the mouse takes hold of it

BELOW_CAPTION = 76  #: px; what is said on the slide stays legible where a small screen lets the window cover a part of it


class Compare(QObject):
    """Owns the window "Measured against predicted" and carries out what keys and mouse ask for."""

    def __init__(self, session: Session, canvas: Canvas, parent: QWidget, say: Say):
        super().__init__(parent)
        self._session, self._canvas, self._parent, self._say = session, canvas, parent, say
        self._palette = palette()
        self.dialog: CompareDialog | None = None
        events = session.events
        events.loaded.connect(self.clear)
        events.blind.connect(self._hide)
        for signal in (events.loaded, events.show, events.paint, events.side_by_side):
            signal.connect(self._other_map)
        values = (events.gene, events.maps, events.loaded, events.filter, events.outlines, events.colours, events.clusters, events.normalisation)
        for signal in (*values, events.selected, events.swipe):
            signal.connect(self._changed)

    def open(self) -> None:
        """Show the window, the same one each time."""
        if self._session.blind:
            self._say(HIDDEN, "info")
            return
        if self.dialog is None:
            self.dialog = CompareDialog(self._session, self._parent)
            self.dialog.restyle(self._palette)
            self.dialog.flip.clicked.connect(self.flip)
            window = self._parent.window()
            if window is not None:  # to the left of the slide, which shall stay in view
                screen, napari = window.screen(), window.frameGeometry()
                left = screen.availableGeometry().left() if screen is not None else 0
                self.dialog.move(max(napari.left() - self.dialog.width(), left), napari.top() + BELOW_CAPTION)
        self.dialog.show()
        self.dialog.raise_()

    def flip(self) -> None:
        """Measured for predicted, and back: the spots' colours change and nothing else, with the same limits."""
        session = self._session
        if not self._has_both():
            return
        limits = None if session.maps is not None and session.maps.relative else session.limits
        session.paint, session.side_by_side, session.swipe, session.shared_limits = "gene", False, None, True
        session.show = "measured" if session.show == "predicted" else "predicted"
        session.limits = limits

    def toggle_swipe(self) -> None:
        """The line with measured to its left and predicted to its right, or one map again."""
        session = self._session
        if session.swipe is not None:
            session.swipe = None
        elif self._has_both():
            session.paint, session.side_by_side = "gene", False
            session.swipe = 0.5

    def _has_both(self) -> bool:
        """Whether there are two maps to compare; says so where there are not."""
        both = {"measured", "predicted"} <= set(self._session.showable())
        if not both:
            missing = f"{self._session.gene or 'The gene'} has no measured and predicted map to compare. Train, or choose a predicted gene."
            self._say(HIDDEN if self._session.blind else missing, "info")
        return both

    def clear(self, *_: Any) -> None:
        """No spot is selected."""
        self._session.selected = None

    def restyle(self, p: Palette) -> None:
        """Follow napari's theme."""
        self._palette = p
        if self.dialog is not None:
            self.dialog.restyle(p)

    def shut(self) -> None:
        """The dock was closed: its window goes with it."""
        if self.dialog is not None:
            with contextlib.suppress(RuntimeError):  # at the very end Qt has taken it away already
                self.dialog.close()
                self.dialog.deleteLater()
            self.dialog = None

    def _hide(self, blind: bool) -> None:
        """Nothing of expression is seen while somebody draws blind."""
        self._session.swipe = None
        if blind and self.dialog is not None:
            self.dialog.close()
        self._changed()

    def _changed(self, *_: Any) -> None:
        if self.dialog is not None:
            self.dialog.later()

    def _other_map(self, *_: Any) -> None:
        """Whoever asks for one map, or two side by side, wants no line."""
        self._session.swipe = None

    # -- the mouse on the slide ------------------------------------------------------------------------------------------------------------

    def drag(self, event: Any) -> Iterator[None]:
        """What one drag of the left button does: Shift selects, the line of the swipe moves; everything else is the camera's or a layer's."""
        active = self._canvas.viewer.layers.selection.active
        if event.button != 1 or self._session.section is None or self._session.tool or str(getattr(active, "mode", "pan_zoom")) != "pan_zoom":
            return
        held = {str(getattr(key, "name", key)) for key in event.modifiers}
        if held == {"Shift"}:
            yield from self._lasso(event)
        elif not held and self._at_line(event):
            yield from self._move_line(event)

    def _place(self, event: Any) -> np.ndarray:
        """Row and column, full-resolution px."""
        assert self._session.section is not None
        return np.asarray(event.position[-2:]) / self._session.section.mpp

    def _lasso(self, event: Any) -> Iterator[None]:
        section, kept = self._session.section, self._session.kept()
        assert section is not None and kept is not None
        path = [self._place(event)]
        event.handled = True
        yield
        while event.type == "mouse_move":
            path.append(self._place(event))
            self._canvas.set_drawn(BRUSH, brush_layer(section, np.array(path)))
            event.handled = True
            yield
        self._canvas.set_drawn(BRUSH, None)
        if self._session.section is section:
            self._session.selected = chosen(np.flatnonzero(kept.keep & in_lasso(section.centres_yx, np.array(path))))
            if self._session.selected is not None and (self.dialog is None or not self.dialog.isVisible()):
                self._say(selection_words(self._session.comparison(), self._session.selected), "info")

    def _at_line(self, event: Any) -> bool:
        section, swipe = self._session.section, self._session.swipe
        if section is None or swipe is None or self._canvas.layer(LINE) is None:
            return False
        away_um = abs(float(event.position[-1]) - line_x(section, swipe) * section.mpp)
        return away_um * float(event.camera_zoom) <= GRASP_PX

    def _move_line(self, event: Any) -> Iterator[None]:
        event.handled = True
        yield
        while event.type == "mouse_move" and self._session.section is not None:
            self._session.swipe = share_at(self._session.section, self._place(event)[1])
            event.handled = True
            yield
