"""Shapes of napari and outlines: what is drawn in a layer, px (x, y), and what of it is new or was changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from napari.layers import Shapes
from shapely import affinity
from shapely.geometry import MultiPolygon, Point, Polygon

from napari_deepspace.outlines import Outline


def outlines_of(layer: Shapes, before: tuple[Outline, ...], new: Callable[[Polygon | MultiPolygon], Outline]) -> tuple[Outline, ...]:
    """What is drawn in ``layer``, px (x, y). Shapes of one id are parts of one outline; lines are no outlines.

    A shape is new, and gets an id of its own in the layer too, if it has none, one that nobody knows, or one of which there were fewer parts
    before: napari may give a new shape the features of the one that was selected last. ``new`` makes its outline.
    """
    ids = [str(value) if isinstance(value, str) else "" for value in layer.features["id"]] if layer.nshapes else []
    old = {outline.id: outline for outline in before}
    parts: dict[str, list[Polygon | MultiPolygon]] = {}
    lines: dict[str, list[np.ndarray]] = {}
    found: dict[str, Outline] = {}
    for number, (vertices, kind) in enumerate(zip(layer.data, layer.shape_type, strict=True)):
        area = area_of(np.asarray(vertices)[:, -2:], kind)
        if area is None:
            continue
        outline = old.get(ids[number])
        if outline is None or len(parts.get(outline.id, ())) == len(shapely.get_parts(outline.geometry)):
            outline = new(area)
            ids[number] = outline.id
        found[outline.id] = outline
        parts.setdefault(outline.id, []).append(area)
        lines.setdefault(outline.id, []).append(np.asarray(vertices))
    if layer.nshapes and ids != list(layer.features["id"]):
        layer.features["id"] = ids
    return tuple(found[one] if _as_drawn(found[one], lines[one]) else _changed(found[one], areas) for one, areas in parts.items())


def _as_drawn(outline: Outline, lines: list[np.ndarray]) -> bool:
    """Whether shapes lie as ``outline`` was drawn; napari keeps 32 bits of each number, and an outline that nobody touched stays exact."""
    own = [np.asarray(part.exterior.coords)[:-1, ::-1] for part in shapely.get_parts(outline.geometry)]
    return [shape_key("", one) for one in own] == [shape_key("", one) for one in lines]


def shape_key(outline_id: Any, vertices_yx: np.ndarray) -> tuple[str, bytes]:
    """What tells one shape of a layer from another."""
    return str(outline_id), np.asarray(vertices_yx)[:, -2:].astype(np.float32).tobytes()


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
    return affinity.translate(part, *shift[0]) if np.allclose(shift, shift[0], atol=0.01) else None


def area_of(vertices_yx: np.ndarray, kind: str) -> Polygon | MultiPolygon | None:
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


def without_shapes(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments for a layer to draw in: what describes single shapes is left out, what describes every shape stays."""
    own = {"edge_color", "face_color", "features", "shape_type"}
    features = kwargs["features"].reindex(columns=["id", "class"])
    return {key: value for key, value in kwargs.items() if key not in own} | {"features": features}
