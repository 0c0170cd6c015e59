"""Outlines as editable Shapes layers: what is drawn in napari is what the session holds, and the other way round."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import shapely
from napari.layers import Shapes
from shapely.geometry import MultiPolygon, Polygon

from napari_deepspace._napari.canvas import Canvas
from napari_deepspace._napari.outline_shapes import area_of, outlines_of, shape_key, without_shapes
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.training import Say
from napari_deepspace.annotating import drawn, locked_words, settled
from napari_deepspace.errors import DataError
from napari_deepspace.layers import outline_colours, outlines_layer
from napari_deepspace.outlines import FAILED, MADE, UNCLEAR, Outline

OUTLINES, PROPOSALS = "outlines", "proposals"
NAMES = {OUTLINES: "outlines", PROPOSALS: "proposed regions"}
MODES = {
    "": "pan_zoom",
    "select": "select",
    "vertices": "direct",
    "polygon": "add_polygon",
    "freehand": "add_polygon_lasso",
    "rectangle": "add_rectangle",
    "ellipse": "add_ellipse",
    "brush": "pan_zoom",
    "eraser": "pan_zoom",
    "wand": "pan_zoom",
}
"""napari's mode of each tool; brush, eraser and wand work beside it, see :mod:`napari_deepspace._napari.brush` and ``proposing``."""
BRUSHES = ("brush", "eraser")
CHANGING = ("select", "vertices", *BRUSHES)  #: tools that act on the selected outline
_DRAWING = ("polygon", "freehand", "rectangle", "ellipse")
_ENDED = ("added", "removed", "changed")  # napari also tells the beginning of each


class OutlineLayers:
    """``session.outlines`` and ``session.proposals`` as a layer each; there is no layer without an outline, but for one to draw in.

    What is drawn new gets class, author and date from the session, whatever napari's own defaults have become by then.
    """

    def __init__(self, session: Session, canvas: Canvas, say: Say):
        self._session, self._canvas, self._say = session, canvas, say
        self._listening = True
        self._draft: Outline | None = None  #: the shape that is being drawn
        session.events.outlines.connect(lambda: self._show(OUTLINES))
        session.events.proposals.connect(lambda: self._show(PROPOSALS))
        session.events.blind.connect(self._blind_changed)
        for signal in (session.events.tool, session.events.brush_um):
            signal.connect(self.use_tool)
        session.events.outline_class.connect(self._colour_new)
        session.events.chosen_outline.connect(self._select_chosen)

    def use_tool(self, *_: Any) -> None:
        """Let the mouse do what the session's tool says, or move the camera again."""
        tool, layer = self._session.tool, self._canvas.layer(OUTLINES)
        if self._session.section is None:
            return
        if tool:
            layer = layer or self._add(OUTLINES, self._shown(OUTLINES))
            layer.visible = True
            self._canvas.viewer.layers.selection.active = layer
            layer.mode = MODES[tool]
            if tool in BRUSHES:
                layer.mouse_pan, layer.cursor, layer.cursor_size = False, "circle", round(self._session.brush_um)
            self._colour_new()
            self._select_chosen()
        else:
            if layer is not None:
                layer.mode, layer.mouse_pan, layer.cursor = "pan_zoom", True, "standard"
                layer.selected_data = set()
                if not self._shown(OUTLINES):
                    self._canvas.viewer.layers.remove(layer)
            self._canvas.activate()

    def use_again(self) -> None:
        """Draw the session's outlines anew; a shape that is not finished goes."""
        self._show(OUTLINES)

    def unfinished(self) -> tuple[Outline, ...]:
        """The shape that is being drawn right now, as far as it is: it is no outline of the session yet."""
        layer = self._canvas.layer(OUTLINES)
        parts = sum(len(shapely.get_parts(one.geometry)) for one in self._shown(OUTLINES))
        if layer is None or self._session.tool not in _DRAWING or layer.nshapes <= parts:
            self._draft = None
            return ()
        kind = str(layer.shape_type[-1])
        area = area_of(np.asarray(layer.data[-1])[:, -2:], "polygon" if kind == "path" else kind)
        if area is None:
            return ()
        draft = self._draft or replace(self._new(area), note="unfinished")
        self._draft = draft if draft.geometry == area else replace(draft, geometry=area)
        return (self._draft,)

    def accept(self, outline_id: str) -> None:
        """A proposed region becomes a failed region."""
        outline = _by_id(self._session.proposals, outline_id)
        if outline is not None:
            self._session.outlines = (*self._session.outlines, replace(outline, classification=FAILED))
            self._session.proposals = tuple(o for o in self._session.proposals if o.id != outline_id)

    def reject(self, outline_id: str) -> None:
        """A proposal, or an accepted region, goes; raises DataError if it is locked."""
        for name in (OUTLINES, PROPOSALS):
            outline = _by_id(getattr(self._session, name), outline_id)
            if outline is not None and outline.locked:
                raise DataError(locked_words(outline))
            if outline is not None:
                setattr(self._session, name, tuple(o for o in getattr(self._session, name) if o.id != outline_id))

    def go_to(self, *outline_ids: str) -> None:
        """Move the camera so that these outlines together fill a third of the view."""
        found, section = [one for one in (*self._session.outlines, *self._session.proposals) if one.id in outline_ids], self._session.section
        if not found or section is None:
            return
        x0, y0, x1, y1 = (value * section.mpp for value in shapely.total_bounds([one.geometry for one in found]))
        camera = self._canvas.viewer.scene.camera
        height, width = self._canvas.viewer.canvas.size
        camera.center = (0.0, (y0 + y1) / 2, (x0 + x1) / 2)
        camera.zoom = min(height / (y1 - y0), width / (x1 - x0)) / 3

    def _new(self, area: Polygon | MultiPolygon) -> Outline:
        s = self._session
        return drawn(area, s.outline_class, s.author, s.blind)

    def _shown(self, role: str) -> tuple[Outline, ...]:
        """The outlines that are drawn: while somebody draws blind, none that was made from a gene."""
        return tuple(one for one in getattr(self._session, role) if not (self._session.blind and (one.origin == MADE or role == PROPOSALS)))

    def _show(self, role: str) -> None:
        if not self._listening:
            return
        layer, outlines = self._canvas.layer(role), self._shown(role)
        drawing = role == OUTLINES and bool(self._session.tool)
        if layer is not None and (outlines or drawing) and not self.unfinished():
            self._match(layer, role, outlines)
            return
        if layer is not None:
            self._canvas.viewer.layers.remove(layer)
        if outlines and self._session.section is not None:
            self._add(role, outlines)
            self._canvas.activate()
        if self._session.tool:
            self.use_tool()

    def _match(self, layer: Shapes, role: str, outlines: tuple[Outline, ...]) -> None:
        """Change those shapes of ``layer`` that differ from ``outlines``: to make a layer anew takes napari half a second."""
        section = self._session.section
        assert section is not None
        data, kwargs, _ = outlines_layer(section, outlines, role, NAMES[role])
        wanted = [shape_key(*one) for one in zip(kwargs["features"]["id"], data, strict=True)]
        have = [shape_key(*one) for one in zip(layer.features["id"], layer.data, strict=True)] if layer.nshapes else []
        gone = [number for number, one in enumerate(have) if one not in set(wanted)]
        new = [number for number, one in enumerate(wanted) if one not in set(have)]
        ids = [one[0] for number, one in enumerate(have) if number not in set(gone)] + [wanted[number][0] for number in new]
        self._listening = False
        try:
            layer.remove(gone)
            layer.add([data[number] for number in new], shape_type="polygon", edge_width=kwargs["edge_width"])
        finally:
            self._listening = True
        if ids:
            layer.features["id"] = ids
        self._colour(layer, outlines)
        self._select_chosen()

    def _blind_changed(self, *_: Any) -> None:
        for role in (OUTLINES, PROPOSALS):
            self._show(role)

    def _add(self, role: str, outlines: Iterable[Outline]) -> Shapes:
        section = self._session.section
        assert section is not None
        data, kwargs, _ = outlines_layer(section, tuple(outlines), role, NAMES[role])
        layer = Shapes(data or None, ndim=2, **kwargs) if data else Shapes(ndim=2, **without_shapes(kwargs))
        layer.feature_defaults = {"id": "", "class": ""}
        self._canvas.viewer.add_layer(layer)
        layer.events.data.connect(lambda event: self._edited(layer, role, event))
        if role == OUTLINES:
            layer.selected_data.events.items_changed.connect(lambda: self._selected(layer))
        return layer

    def _edited(self, layer: Shapes, role: str, event: Any) -> None:
        if str(getattr(event, "action", "")).lower() not in _ENDED or self._session.section is None or not self._listening:
            return
        if layer not in self._canvas.viewer.layers:
            return
        before, everything = self._shown(role), getattr(self._session, role)
        new = self._new if role == OUTLINES else partial(Outline, classification=UNCLEAR)
        shown = {one.id for one in before}
        hidden = tuple(one for one in everything if one.id not in shown)
        after, refused = settled(everything, (*hidden, *outlines_of(layer, before, new)), self._session.blind)
        self._listening = False
        try:
            setattr(self._session, role, after)
        finally:
            self._listening = True
        if refused:
            self._say(locked_words(refused[0]), "warning")
            self._show(role)
        elif len(after) > len(everything):
            self._colour(layer, after)

    # -- colours and selection: napari gives what is drawn next the colours of what is selected, and the session takes them back --------------

    def _colour(self, layer: Shapes, outlines: Iterable[Outline]) -> None:
        """Each shape in the colour of its outline."""
        by_id = {one.id: one for one in outlines}
        drawn_ = [by_id.get(str(one)) for one in layer.features["id"]]
        if layer.nshapes and all(drawn_):
            edge, face = outline_colours([one for one in drawn_ if one is not None])
            layer.edge_color, layer.face_color = edge, face
            layer.features["class"] = [one.classification for one in drawn_ if one is not None]
            self._colour_new()

    def _colour_new(self, *_: Any) -> None:
        """What is drawn next has the colour of its class; what is selected keeps its own."""
        layer, section = self._canvas.layer(OUTLINES), self._session.section
        if layer is None or section is None:
            return
        edge, face = outline_colours([Outline(Polygon(), self._session.outline_class)])
        with layer.block_update_properties():
            layer.current_edge_color, layer.current_face_color = edge[0], face[0]
            layer.current_edge_width = section.spot_diameter_px / 4

    def _select_chosen(self, *_: Any) -> None:
        """Select the outline of the list on the slide too, where the tool works on what is selected."""
        layer, chosen = self._canvas.layer(OUTLINES), _by_id(self._session.outlines, self._session.chosen_outline)
        if layer is None or self._session.tool not in CHANGING or not layer.nshapes:
            return
        wanted = {number for number, one in enumerate(layer.features["id"]) if chosen is not None and not chosen.locked and one == chosen.id}
        if set(layer.selected_data) != wanted:
            layer.selected_data = wanted

    def _selected(self, layer: Shapes) -> None:
        """What is selected on the slide is chosen in the list; a locked outline is chosen, and cannot be taken hold of."""
        if self._session.tool not in CHANGING or layer not in self._canvas.viewer.layers:
            return
        ids = {number: str(layer.features["id"].iloc[number]) for number in layer.selected_data if number < len(layer.features)}
        outlines = {number: outline for number, one in ids.items() if (outline := _by_id(self._session.outlines, one)) is not None}
        locked = [number for number, outline in outlines.items() if outline.locked]
        if outlines:
            self._session.chosen_outline = next(iter(outlines.values())).id
        if locked:
            layer.selected_data.difference_update(locked)
            self._say(locked_words(outlines[locked[0]]), "info")
        self._colour_new()
        layer.events.highlight()  # napari draws the frame before it forgets the one of the last selection


def _by_id(outlines: Iterable[Outline], outline_id: str) -> Outline | None:
    return next((outline for outline in outlines if outline.id == outline_id), None)
