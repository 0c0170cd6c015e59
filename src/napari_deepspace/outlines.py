"""Outlines on a section as QuPath's GeoJSON: full-resolution px, (x, y) order, polygons with holes and multi-polygons.

Nothing of a file is lost: what has no field here stays in ``Outline.extra`` and is written again as it was.

A class says what an outline does: ``Exclude``, and every class of QuPath that begins with ``Ignore``, takes the tiles under it out of training and
prediction; ``Failed region`` is never trained on, but predicted. Outlines of any other class are kept and do nothing here.
"""

from __future__ import annotations

import json
import math
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import MultiPolygon, Polygon, mapping, shape
from shapely.geometry.base import BaseGeometry

from napari_deepspace.errors import DataError
from napari_deepspace.geojson import (
    ANNOTATION,
    FAULTS,
    MEMBER,
    NEEDED,
    SlideStamp,
    class_of,
    colour_of,
    id_of,
    kind_of,
    read_features,
    shift_onto,
    stamp_in,
    with_children,
)  # fmt: skip
from napari_deepspace.runs import write_atomic

EXCLUDE, FAILED, UNCLEAR = "Exclude", "Failed region", "Low, cannot tell"
HAND, BLIND, MADE = "hand", "hand, blind", "from gene"
RGB = tuple[int, int, int]
COLOURS: dict[str, RGB] = {EXCLUDE: (17, 17, 17), FAILED: (255, 122, 0), UNCLEAR: (110, 110, 110)}
_EARLIER = (120, 160, 220)  #: what files of earlier versions say of every other class
CLASSES: dict[str, RGB] = {
    "Invasive": (208, 28, 28),
    "In situ": (245, 205, 20),
    "Stroma": (60, 165, 70),
    "Immune": (35, 95, 235),
    "Normal": (0, 190, 200),
    "Necrosis": (130, 85, 35),
    EXCLUDE: COLOURS[EXCLUDE],
}
"""Classes that are always offered; told apart on pink and purple tissue."""
_OWN: tuple[RGB, ...] = ((150, 70, 210), (255, 110, 180), (160, 200, 40), (90, 90, 160), (230, 120, 90), (0, 120, 110), (200, 160, 230))


def class_colour(name: str) -> RGB:
    """The colour of a class; one of the user's own always gets the same."""
    return CLASSES.get(name) or COLOURS.get(name) or _OWN[crc32(name.encode()) % len(_OWN)]


IN_METADATA = {
    "note": "ANNOTATION_DESCRIPTION",  # which QuPath shows as the annotation's description
    "author": "deepspace_author",
    "date": "deepspace_date",
    "origin": "deepspace_origin",
    "gene": "deepspace_gene",
    "run": "deepspace_run",
}
"""Fields of an outline that a file keeps among its metadata, and their names there."""
_PARENT = "deepspace_parent"
_READ = ("objectType", "name", "color", "classification", "isLocked", "metadata", "childObjects", "children")
_STALE = ("isEllipse", "bbox")  #: would no longer fit once the outline is edited; QuPath draws an ellipse for the first whatever the polygon says


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
    extra: dict[str, Any] = field(default_factory=dict)  #: what else its feature in the file said, written again as it was

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


@dataclass(frozen=True)
class OutlineFile:
    """What a file holds: its outlines in their order, the slide it says it was drawn on, and how many features of which kind are no outlines.

    ``mended`` counts outlines whose line crossed itself, ``shift_xy`` is how far (px) all were moved because the bounds of the slide differ.
    """

    outlines: list[Outline]
    drawn_on: SlideStamp | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    mended: int = 0
    shift_xy: tuple[float, float] = (0.0, 0.0)


def read_outlines(path: Path, slide: SlideStamp | None = None) -> list[Outline]:
    """Read GeoJSON as QuPath writes it: a FeatureCollection, a list of features, one feature or a bare geometry.

    Child objects come after their parent. Geometries that are no areas (points, lines), and objects that are no annotations (cells, for which there
    is :func:`napari_deepspace.cells.read_cells`, other detections, tiles), are left out.

    ``slide`` is the one they are for (:func:`napari_deepspace.geojson.stamp_of`): outlines move where the file says that its slide had other bounds.

    Raises
    ------
    DataError
        The file is missing, is no GeoJSON, holds a polygon that cannot be one, or was drawn on another slide than ``slide``.
    """
    return read_outline_file(path, slide).outlines


def read_outline_file(path: Path, slide: SlideStamp | None = None, kinds: Collection[str] = (ANNOTATION,)) -> OutlineFile:
    """The same with all that there is to say of the file; ``kinds`` are the objects taken, of :func:`napari_deepspace.geojson.kind_of`."""
    members: dict[str, Any] = {}
    found: dict[str, Outline] = {}
    left_out: Counter[str] = Counter()
    mended = 0
    for number, feature, parent in with_children(read_features(path, members)):
        try:
            kind, geometry = kind_of(feature), feature["geometry"] if feature.get("type") == "Feature" else feature
            area, was_valid = _area(geometry) if kind in kinds else (None, True)
            if area is None:
                left_out[kind if kind not in kinds else (geometry or {}).get("type", "no geometry")] += 1
                continue
            outline = _outline(feature, area, parent)
        except FAULTS as error:
            raise DataError(f"{path}: feature {number} is no outline ({type(error).__name__}: {error}). {NEEDED}") from error
        mended += not was_valid
        one = outline if outline.id not in found else replace(outline, id=str(uuid.uuid4()))
        found[one.id] = one
    file = OutlineFile(list(found.values()), stamp_in(members, path), dict(left_out), mended)
    return on_slide(file, slide, path) if slide is not None else file


def on_slide(file: OutlineFile, slide: SlideStamp, path: Path) -> OutlineFile:
    """``file``, read from ``path``, as it lies on ``slide``.

    Raises
    ------
    DataError
        The file says that it was drawn on another one.
    """
    dx, dy = shift_onto(slide, file.drawn_on, path)
    if (dx, dy) == (0.0, 0.0):
        return file
    moved = [replace(one, geometry=affinity.translate(one.geometry, dx, dy)) for one in file.outlines]
    return replace(file, outlines=moved, shift_xy=(dx, dy))


def _area(geometry: dict[str, Any] | None) -> tuple[Polygon | MultiPolygon | None, bool]:
    """The polygon of a geometry, mended where its line crosses itself, and whether it was right as it was; None where it is no area."""
    area: BaseGeometry | None = None if geometry is None else shape(geometry)
    if not isinstance(area, (Polygon, MultiPolygon)):
        return None, True
    area = shapely.force_2d(area)
    if not np.isfinite(shapely.get_coordinates(area)).all():
        raise ValueError("a coordinate is no number")
    was_valid = area.is_valid
    if not was_valid:  # a line drawn by hand often crosses itself
        area = shapely.make_valid(area, method="structure", keep_collapsed=False)
    if not isinstance(area, (Polygon, MultiPolygon)) or area.is_empty or area.area == 0:
        raise ValueError("it has no area")
    return area, was_valid


def _outline(feature: dict[str, Any], area: Polygon | MultiPolygon, parent: str) -> Outline:
    if feature.get("type") != "Feature":
        return Outline(area, "")
    properties = feature.get("properties") or {}
    metadata, given = (value if isinstance(value := properties.get(key), dict) else {} for key in ("metadata", "classification"))
    name = class_of(properties.get("classification"))
    usual, own, of_class = class_colour(name), colour_of(properties.get("color")), colour_of(given.get("color", given.get("colorRGB")))
    kept = {key: value for key, value in properties.items() if key not in _READ}
    if (said := properties.get("objectType") or kind_of(feature)) != ANNOTATION:
        kept["objectType"] = said
    if properties.get("color") is not None and (own is None or (name and own != usual)):
        kept["color"] = list(own) if own else properties["color"]
    of_its_class = {key: value for key, value in given.items() if key not in ("name", "names", "parentClass", "color", "colorRGB")}
    if own and of_class and own != of_class:  # QuPath draws the object in its own colour, and others of the class in that of the class
        of_its_class["color"] = list(of_class)
    extra = {
        "feature": {key: value for key, value in feature.items() if key not in ("type", "id", "geometry", "properties", *_STALE)},
        "geometry": {key: value for key, value in feature["geometry"].items() if key not in ("type", "coordinates", *_STALE)},
        "properties": kept,
        "classification": of_its_class,
        "parent": metadata.get(_PARENT, parent),
    }
    return Outline(
        geometry=area,
        classification=name,
        name=str(properties.get("name") or ""),
        id=id_of(feature) or str(uuid.uuid4()),
        notes={key: value for key, value in metadata.items() if key not in (*IN_METADATA.values(), _PARENT)},
        colour=own or (None if of_class in (usual, _EARLIER) else of_class),
        locked=bool(properties.get("isLocked")),
        extra={key: value for key, value in extra.items() if value},
        **{one: str(metadata[key]) for one, key in IN_METADATA.items() if key in metadata},
    )


def write_outlines(path: Path, outlines: Sequence[Outline], slide: SlideStamp | None = None) -> None:
    """Write a FeatureCollection that QuPath reads, atomically; with ``slide`` the file says on which slide it was drawn."""
    write_atomic(Path(path), geojson_of(outlines, slide))


def geojson_of(outlines: Sequence[Outline], slide: SlideStamp | None = None) -> str:
    """The text of a FeatureCollection that QuPath reads, a feature a line."""
    head = {"type": "FeatureCollection"} | ({MEMBER: slide.member()} if slide is not None else {})
    features = ",\n".join(json.dumps(_feature(outline), default=str, ensure_ascii=False) for outline in outlines)
    return f'{json.dumps(head, ensure_ascii=False)[:-1]}, "features": [\n{features}\n]}}\n'


def _feature(outline: Outline) -> dict[str, Any]:
    extra, colour, name = outline.extra, outline.colour, outline.classification
    of_its_class, usual = extra.get("classification", {}), class_colour(name)
    properties: dict[str, Any] = {"objectType": ANNOTATION} | extra.get("properties", {})
    if outline.name:
        properties["name"] = outline.name
    had_own = colour_of(properties.get("color")) is not None
    own_colour = colour is not None and (not name or colour == usual or had_own)
    if colour is not None and own_colour:
        properties["color"] = list(colour)
    elif had_own:  # somebody took it away
        del properties["color"]
    if name:
        words = {"names": name.split(": ")} if ": " in name else {"name": name}
        shown = {"color": list(usual if colour is None else colour)}
        properties["classification"] = words | (of_its_class | shown if colour is not None and not own_colour else shown | of_its_class)
    elif of_its_class:
        properties["classification"] = of_its_class
    if outline.locked:
        properties["isLocked"] = True
    own = {key: getattr(outline, one) for one, key in IN_METADATA.items()} | {_PARENT: extra.get("parent", "")}
    own = {key: value for key, value in own.items() if value and (key, value) != (IN_METADATA["origin"], HAND)}
    metadata = {str(key): _plain(value) for key, value in outline.notes.items()} | own
    if metadata:
        properties["metadata"] = metadata
    geometry = mapping(outline.geometry) | extra.get("geometry", {})
    return {"type": "Feature", "id": outline.id} | {"geometry": geometry, "properties": properties} | extra.get("feature", {})


def _plain(value: Any) -> Any:
    """``value`` as JSON can hold it: what is no finite number is written in words."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
