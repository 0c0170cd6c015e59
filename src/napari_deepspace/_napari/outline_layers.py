"""Outlines as editable Shapes layers: what is drawn in napari is what the session holds, and the other way round."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from napari.layers import Shapes
from shapely import affinity
from shapely.geometry import MultiPolygon, Point, Polygon

from napari_deepspace._napari.canvas import Canvas
from napari_deepspace._napari.session import Session
from napari_deepspace.layers import outlines_layer
from napari_deepspace.outlines import EXCLUDE, FAILED, UNCLEAR, Outline

OUTLINES, PROPOSALS = "outlines", "proposals"
NAMES = {OUTLINES: "outlines", PROPOSALS: "proposed regions"}
NEW = {OUTLINES: EXCLUDE, PROPOSALS: UNCLEAR}
"""The class of what is drawn new in each layer."""
_ENDED = ("added", "removed", "changed")  # napari also tells the beginning of each


class OutlineLayers:
    """``session.outlines`` and ``session.proposals`` as a layer each; there is no layer without an outline, but for one to draw in."""

    def __init__(self, session: Session, canvas: Canvas):
        self._session, self._canvas = session, canvas
        self._listening, self._drawing = True, False
        session.events.outlines.connect(lambda: self._show(OUTLINES))
        session.events.proposals.connect(lambda: self._show(PROPOSALS))

    def draw(self, on: bool) -> None:
        """Let the mouse draw exclude outlines, or let it move the camera again."""
        self._drawing = on
        if self._session.section is None:
            return
        if on:
            layer = self._canvas.layer(OUTLINES) or self._add(OUTLINES, self._session.outlines)
            colour = outlines_layer(self._session.section, [Outline(shapely.box(0, 0, 1, 1), EXCLUDE)], OUTLINES, "")[1]
            layer.current_edge_color, layer.current_face_color = colour["edge_color"][0], colour["face_color"][0]
            layer.current_edge_width = colour["edge_width"]
            self._canvas.viewer.layers.selection.active = layer
            layer.mode = "add_polygon_lasso"
        else:
            layer = self._canvas.layer(OUTLINES)
            if layer is not None:
                layer.mode = "pan_zoom"
                if not self._session.outlines:
                    self._canvas.viewer.layers.remove(layer)
            self._canvas.activate()

    def accept(self, outline_id: str) -> None:
        """A proposed region becomes a failed region."""
        outline = _by_id(self._session.proposals, outline_id)
        if outline is not None:
            self._session.outlines = (*self._session.outlines, replace(outline, classification=FAILED))
            self._session.proposals = tuple(o for o in self._session.proposals if o.id != outline_id)

    def reject(self, outline_id: str) -> None:
        """A proposal, or an accepted region, goes."""
        for name in (OUTLINES, PROPOSALS):
            outlines = getattr(self._session, name)
            if _by_id(outlines, outline_id) is not None:
                setattr(self._session, name, tuple(o for o in outlines if o.id != outline_id))

    def go_to(self, outline_id: str) -> None:
        """Move the camera so that the outline fills a third of the view."""
        outline, section = _by_id((*self._session.outlines, *self._session.proposals), outline_id), self._session.section
        if outline is None or section is None:
            return
        x0, y0, x1, y1 = (value * section.mpp for value in outline.geometry.bounds)
        camera = self._canvas.viewer.scene.camera
        height, width = self._canvas.viewer.canvas.size
        camera.center = (0.0, (y0 + y1) / 2, (x0 + x1) / 2)
        camera.zoom = min(height / (y1 - y0), width / (x1 - x0)) / 3

    def _show(self, role: str) -> None:
        if not self._listening:
            return
        layer = self._canvas.layer(role)
        if layer is not None:
            self._canvas.viewer.layers.remove(layer)
        outlines = getattr(self._session, role)
        if outlines and self._session.section is not None:
            self._add(role, outlines)
            self._canvas.activate()
        if self._drawing:
            self.draw(True)

    def _add(self, role: str, outlines: Iterable[Outline]) -> Shapes:
        section = self._session.section
        assert section is not None
        data, kwargs, _ = outlines_layer(section, tuple(outlines), role, NAMES[role])
        layer = Shapes(data or None, ndim=2, **kwargs) if data else Shapes(ndim=2, **_without_shapes(kwargs))
        layer.feature_defaults = {"id": "", "class": NEW[role]}
        self._canvas.viewer.add_layer(layer)
        layer.events.data.connect(lambda event: self._edited(layer, role, event))
        return layer

    def _edited(self, layer: Shapes, role: str, event: Any) -> None:
        if str(getattr(event, "action", "")).lower() not in _ENDED or self._session.section is None or layer not in self._canvas.viewer.layers:
            return
        self._listening = False
        try:
            setattr(self._session, role, outlines_of(layer, getattr(self._session, role), NEW[role]))
        finally:
            self._listening = True


def outlines_of(layer: Shapes, before: tuple[Outline, ...], new: str) -> tuple[Outline, ...]:
    """What is drawn in ``layer``, px (x, y). Shapes of one id are parts of one outline; lines are no outlines.

    A shape is new, and gets an id of its own in the layer too, if it has none, one that nobody knows, or one of which there were fewer parts
    before: napari gives a new shape the features of the one that was selected last. Its class is ``new``.
    """
    ids = [str(value) if isinstance(value, str) else "" for value in layer.features["id"]] if layer.nshapes else []
    old = {outline.id: outline for outline in before}
    parts: dict[str, list[Polygon | MultiPolygon]] = {}
    found: dict[str, Outline] = {}
    for number, (vertices, kind) in enumerate(zip(layer.data, layer.shape_type, strict=True)):
        area = _area(np.asarray(vertices)[:, -2:], kind)
        if area is None:
            continue
        outline = old.get(ids[number])
        if outline is None or len(parts.get(outline.id, ())) == len(shapely.get_parts(outline.geometry)):
            outline = Outline(area, new)
            ids[number] = outline.id
        found[outline.id] = outline
        parts.setdefault(outline.id, []).append(area)
    if layer.nshapes and ids != list(layer.features["id"]):
        layer.features["id"] = ids
    return tuple(_changed(found[one], areas) for one, areas in parts.items())


def _changed(outline: Outline, areas: list[Polygon | MultiPolygon]) -> Outline:
    """``outline`` with its parts where they lie now. A part that was moved as a whole takes its holes with it; else holes stay where they were."""
    old = shapely.get_parts(outline.geometry)
    moved = [_moved(part, area) for part, area in zip(old, areas, strict=False)]
    if len(moved) == len(old) == len(areas) and all(part is not None for part in moved):
        geometry = shapely.union_all(moved)
    else:
        holes = [Polygon(ring) for part in old for ring in part.interiors]
        geometry = shapely.union_all(areas).difference(shapely.union_all(holes)) if holes else shapely.union_all(areas)
    return outline if geometry.equals(outline.geometry) or geometry.is_empty else replace(outline, geometry=geometry)


def _moved(part: Polygon, area: Polygon | MultiPolygon) -> Polygon | None:
    """``part`` with its holes at the place of ``area``, if that is its outer line moved as a whole."""
    if not isinstance(area, Polygon):
        return None
    before, after = np.asarray(part.exterior.coords), np.asarray(area.exterior.coords)
    if before.shape != after.shape:
        return None
    shift = after - before
    return affinity.translate(part, *shift[0]) if np.allclose(shift, shift[0], atol=1e-6) else None


def _area(vertices_yx: np.ndarray, kind: str) -> Polygon | MultiPolygon | None:
    """The polygon of one shape in (x, y); None for lines and paths."""
    xy = vertices_yx[:, ::-1]
    if kind in ("line", "path") or len(xy) < 3:
        return None
    if kind == "ellipse":  # napari gives the corners of its box
        centre, a, b = xy.mean(axis=0), (xy[1] - xy[0]) / 2, (xy[3] - xy[0]) / 2
        return affinity.affine_transform(Point(0, 0).buffer(1, 32), [a[0], b[0], a[1], b[1], *centre])
    polygon = Polygon(xy)
    polygon = polygon if polygon.is_valid else shapely.make_valid(polygon, method="structure")
    return polygon if polygon.area > 0 else None


def _by_id(outlines: Iterable[Outline], outline_id: str) -> Outline | None:
    return next((outline for outline in outlines if outline.id == outline_id), None)


def _without_shapes(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments for a layer to draw in: what describes single shapes is left out, what describes every shape stays."""
    own = {"edge_color", "face_color", "features", "shape_type"}
    features = kwargs["features"].reindex(columns=["id", "class"])
    return {key: value for key, value in kwargs.items() if key not in own} | {"features": features}
