"""The brush: the left button adds what a disc covers to an outline, the eraser takes it away; Alt or Ctrl changes them. A stroke is one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Points

from napari_deepspace._napari.canvas import Canvas
from napari_deepspace._napari.outline_layers import BRUSHES, OUTLINES
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.training import Say
from napari_deepspace.annotating import brushed, changed, drawn, locked_words, stroke, under_brush
from napari_deepspace.layers import stroke_layer
from napari_deepspace.outlines import MADE, Outline, class_colour

STROKE = "brush stroke"
_ERASED = (255, 255, 255)


class Brush:
    """Paints on ``session.outlines``. A stroke that begins in the chosen outline, or in another, changes that one; elsewhere it begins a new one."""

    def __init__(self, session: Session, canvas: Canvas, say: Say):
        self._session, self._canvas, self._say = session, canvas, say

    def drag(self, event: Any) -> Iterator[None]:
        """What one drag of the left button does while brush or eraser is the tool."""
        session, section = self._session, self._session.section
        if event.button != 1 or section is None or session.tool not in BRUSHES:
            return
        held = {str(getattr(key, "name", key)) for key in event.modifiers}
        grow = (session.tool == "brush") != bool(held & {"Alt", "Control"})
        radius = session.brush_um / 2 / section.mpp
        path = [np.asarray(event.position[-2:]) / section.mpp]
        event.handled = True
        self._preview(path, radius, grow)
        yield
        while event.type == "mouse_move":
            path.append(np.asarray(event.position[-2:]) / section.mpp)
            self._preview(path, radius, grow)
            event.handled = True
            yield
        self._take_away()
        if session.section is section:
            self.paint(np.array(path)[:, ::-1], radius, grow)

    def paint(self, path_xy: np.ndarray, radius_px: float, grow: bool) -> None:
        """Add a stroke along ``path_xy`` (m, 2), full-resolution px, to an outline, or take it away."""
        session = self._session
        seen = tuple(one for one in session.outlines if not (session.blind and one.origin == MADE))
        outline = under_brush(seen, stroke(path_xy[:1], radius_px), session.chosen_outline)
        if outline is None:
            self._begin(seen, path_xy, radius_px, grow)
            return
        geometry = brushed(outline.geometry, stroke(path_xy, radius_px), grow)
        if geometry is None:
            session.outlines = tuple(one for one in session.outlines if one.id != outline.id)
        else:
            session.outlines = changed(session.outlines, outline.id, session.blind, geometry=geometry)
            session.chosen_outline = outline.id

    def _begin(self, seen: tuple[Outline, ...], path_xy: np.ndarray, radius_px: float, grow: bool) -> None:
        """A stroke that begins in no outline that may be changed: a new one, unless it would erase, or begins in a locked one."""
        session, start = self._session, stroke(path_xy[:1], radius_px)
        locked = under_brush([replace(one, locked=False) for one in seen if one.locked], start, session.chosen_outline)
        if locked is not None:
            self._say(locked_words(locked), "warning")
        elif grow:
            new = drawn(stroke(path_xy, radius_px), session.outline_class, session.author, session.blind)
            session.outlines = (*session.outlines, new)
            session.chosen_outline = new.id

    def _preview(self, path_yx: list[np.ndarray], radius_px: float, grow: bool) -> None:
        layer, section = self._canvas.layer(STROKE), self._session.section
        assert section is not None
        if layer is not None:
            layer.data = np.array(path_yx)
            return
        colour = class_colour(self._session.outline_class) if grow else _ERASED
        data, kwargs, _ = stroke_layer(section, np.array(path_yx), 2 * radius_px, colour, STROKE)
        active = self._canvas.layer(OUTLINES)
        self._canvas.viewer.add_layer(Points(data, **kwargs))
        if active is not None:
            self._canvas.viewer.layers.selection.active = active

    def _take_away(self) -> None:
        layer = self._canvas.layer(STROKE)
        if layer is not None:
            self._canvas.viewer.layers.remove(layer)
