"""Outlines on a section as QuPath's GeoJSON: full-resolution px, (x, y) order, polygons with holes and multi-polygons.

A class says what an outline does: ``Exclude``, and every class of QuPath that begins with ``Ignore``, takes the tiles under it out of training and
prediction; ``Failed region`` is never trained on, but predicted. Outlines of any other class are kept and do nothing here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon, mapping, shape
from shapely.geometry.base import BaseGeometry

from napari_deepspace.errors import DataError
from napari_deepspace.runs import write_atomic

EXCLUDE, FAILED, UNCLEAR = "Exclude", "Failed region", "Low, cannot tell"
HAND, BLIND, MADE = "hand", "hand, blind", "from gene"
COLOURS = {EXCLUDE: (17, 17, 17), FAILED: (255, 122, 0), UNCLEAR: (110, 110, 110)}


@dataclass(frozen=True)
class Outline:
    """One region on a section: ``geometry`` is a (multi-)polygon in full-resolution px, (x, y); ``notes`` are plain facts about it.

    ``origin`` says how it came about: HAND, BLIND (drawn while expression was hidden) or MADE, from ``gene`` of ``run``. ``locked`` outlines are not
    edited; ``date`` is ISO 8601, "" where it is not known.
    """

    geometry: Polygon | MultiPolygon
    classification: str
    name: str = ""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    notes: dict[str, Any] = field(default_factory=dict)
    colour: tuple[int, int, int] | None = None  #: None: that of its class
    locked: bool = False
    note: str = ""  #: free words of the author
    author: str = ""
    date: str = ""
    origin: str = HAND
    gene: str = ""
    run: str = ""

    @property
    def excludes(self) -> bool:
        """Whether it takes tiles out of training and prediction."""
        name = self.classification.strip().casefold()
        return name == EXCLUDE.casefold() or name.startswith("ignore")

    @property
    def failed(self) -> bool:
        """Whether the assay failed inside, as somebody decided."""
        return self.classification.strip().casefold() == FAILED.casefold()


def touched(outlines: Iterable[Outline], centres_yx: np.ndarray, radius_px: float) -> np.ndarray:
    """Which discs of ``radius_px`` around ``centres_yx`` (n, 2) some outline touches, bool (n,)."""
    points = shapely.points(np.asarray(centres_yx, dtype=np.float64).reshape(-1, 2)[:, ::-1])
    hit = np.zeros(len(points), dtype=bool)
    for outline in outlines:
        hit |= shapely.dwithin(points, outline.geometry, radius_px)
    return hit


def inside(outlines: Iterable[Outline], centres_yx: np.ndarray) -> np.ndarray:
    """Which points ``centres_yx`` (n, 2) lie within some outline, bool (n,); a point on a border counts as inside."""
    return touched(outlines, centres_yx, 0.0)


def read_outlines(path: Path) -> list[Outline]:
    """Read GeoJSON as QuPath writes it: a FeatureCollection, a list of features, one feature or a bare geometry.

    Geometries that are no areas (points, lines) are left out.

    Raises
    ------
    DataError
        The file is missing, is no GeoJSON, or holds a polygon that cannot be one.
    """
    needed = "Export the annotations from QuPath as GeoJSON again."
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist. Choose a GeoJSON file of outlines.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as GeoJSON ({error}). {needed}") from error
    found = []
    for number, feature in enumerate(_features(values, path, needed), start=1):
        try:
            outline = _outline(feature)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
            raise DataError(f"{path}: feature {number} is no outline ({type(error).__name__}: {error}). {needed}") from error
        if outline is not None:
            found.append(outline)
    return found


def _features(values: Any, path: Path, needed: str) -> list[Any]:
    if isinstance(values, dict) and values.get("type") == "FeatureCollection":
        values = values.get("features")
    if isinstance(values, dict) and (values.get("type") == "Feature" or "coordinates" in values):
        return [values]
    if isinstance(values, list):
        return values
    raise DataError(f"{path} holds no GeoJSON features. {needed}")


def _outline(feature: dict[str, Any]) -> Outline | None:
    bare = feature.get("type") != "Feature"
    geometry: BaseGeometry = shape(feature if bare else feature["geometry"])
    if not isinstance(geometry, (Polygon, MultiPolygon)):
        return None
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise ValueError("a coordinate is no number")
    if not geometry.is_valid:  # a line drawn by hand often crosses itself
        geometry = shapely.make_valid(geometry, method="structure")
    if geometry.is_empty or geometry.area == 0:
        raise ValueError("it has no area")
    properties = {} if bare else feature.get("properties") or {}
    notes = properties.get("metadata") or {}
    return Outline(
        geometry=geometry,
        classification=_class_name(properties.get("classification")),
        name=str(properties.get("name") or ""),
        id=str((not bare and feature.get("id")) or uuid.uuid4()),
        notes=dict(notes) if isinstance(notes, dict) else {},
    )


def _class_name(value: Any) -> str:
    """QuPath's classification: null, a bare string, or an object with "name" or, for derived classes, "names"."""
    if isinstance(value, dict):
        names = value.get("names")
        return ": ".join(map(str, names)) if isinstance(names, list) else str(value.get("name") or "")
    return "" if value is None else str(value)


def write_outlines(path: Path, outlines: Sequence[Outline]) -> None:
    """Write a FeatureCollection that QuPath reads, atomically."""
    write_atomic(Path(path), geojson_of(outlines))


def geojson_of(outlines: Sequence[Outline]) -> str:
    """The text of a FeatureCollection that QuPath reads."""
    features = [
        {
            "type": "Feature",
            "id": outline.id,
            "geometry": mapping(outline.geometry),
            "properties": {
                "objectType": "annotation",
                **({"name": outline.name} if outline.name else {}),
                "classification": {"name": outline.classification, "color": list(COLOURS.get(outline.classification, (120, 160, 220)))},
                "metadata": {str(key): str(value) for key, value in outline.notes.items()},
            },
        }
        for outline in outlines
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1) + "\n"
