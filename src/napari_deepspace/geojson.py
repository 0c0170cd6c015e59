"""QuPath's GeoJSON as it lies in the file: features one after another, and what their properties mean in every form QuPath has written.

Coordinates are full-resolution px, (x, y). A file of this program also says on which slide it was drawn, in a member ``napari_deepspace`` of its own,
which QuPath passes over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely
from pydantic_core import from_json

from napari_deepspace.errors import DataError

if TYPE_CHECKING:
    from napari_deepspace.slide import Slide

MEMBER = "napari_deepspace"  #: of the file: the slide, and for tiles what they are
ANNOTATION, DETECTION, CELL, TILE, CORE, ROOT = "annotation", "detection", "cell", "tile", "tma core", "root"
NEEDED = "Export it from QuPath as GeoJSON again."
FAULTS = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError, shapely.errors.ShapelyError)
"""What a damaged feature ends in while it is taken apart."""

_LEGACY = {
    "PathAnnotationObject": ANNOTATION,
    "PathDetectionObject": DETECTION,
    "PathCellObject": CELL,
    "PathTileObject": TILE,
    "TMACoreObject": CORE,
    "PathRootObject": ROOT,
}
"""QuPath 0.2 wrote these into "id", where all features of a kind shared one."""
_KINDS = _LEGACY | {"tmaCore": CORE, "tma_core": CORE} | {kind: kind for kind in (ANNOTATION, DETECTION, CELL, TILE, ROOT)}
_BORDER = re.compile(r'\}\s*,\s*\{\s*"type"\s*:\s*"Feature"')
_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True)
class SlideStamp:
    """The slide that a file was drawn on: file name, size in full-resolution px, and fingerprint of its pixels ("": not known).

    ``offset_xy`` is where its first pixel lies in the whole scanned area (the bounds of OpenSlide), (x, y) in px.
    """

    name: str
    width: int
    height: int
    offset_xy: tuple[float, float] = (0.0, 0.0)
    hash: str = ""

    def is_same(self, other: SlideStamp) -> bool:
        """Whether both are one slide. Scans of one kind often share their size, so without fingerprints the name must agree as well."""
        if self.offset_xy != other.offset_xy:  # another part of the scan: neither size nor pixels can agree
            return self.name == other.name
        if self.hash and other.hash:
            return self.hash == other.hash
        return (self.name, self.width, self.height) == (other.name, other.width, other.height)

    def member(self) -> dict[str, Any]:
        """What the file says of it, fit for JSON."""
        return {"slide": self.name, "width": self.width, "height": self.height, "offset": list(self.offset_xy), "hash": self.hash}


def stamp_of(slide: Slide, offset_xy: tuple[float, float] = (0.0, 0.0)) -> SlideStamp:
    """The stamp of an open slide; reads its smallest level."""
    return SlideStamp(slide.path.name, slide.shape[1], slide.shape[0], offset_xy, slide.fingerprint())


def stamp_in(members: Mapping[str, Any], path: Path) -> SlideStamp | None:
    """The slide that the file at ``path`` says it was drawn on, from its top-level ``members``; None where it says nothing.

    Raises DataError where that is damaged.
    """
    said = members.get(MEMBER)
    if not isinstance(said, dict) or "slide" not in said:
        return None
    try:
        x, y = said.get("offset") or (0, 0)
        return SlideStamp(str(said["slide"]), int(said["width"]), int(said["height"]), (float(x), float(y)), str(said.get("hash") or ""))
    except FAULTS as error:
        raise DataError(f"{path} does not say rightly which slide it was drawn on ({type(error).__name__}: {error}). {NEEDED}") from error


def shift_onto(slide: SlideStamp, drawn_on: SlideStamp | None, path: Path) -> tuple[float, float]:
    """By how much (x, y) what was drawn on ``drawn_on`` has to move to lie on ``slide``, in px; 0, 0 where the file does not say its slide.

    Raises
    ------
    DataError
        It was drawn on another slide.
    """
    if drawn_on is None:
        return 0.0, 0.0
    if not drawn_on.is_same(slide):
        names = [f"{one.name} ({one.width:,} x {one.height:,} px)" for one in (drawn_on, slide)]
        raise DataError(f"{path} was drawn on {names[0]}, not on {names[1]}. Take the file of this slide, or open the slide it was drawn on.")
    return drawn_on.offset_xy[0] - slide.offset_xy[0], drawn_on.offset_xy[1] - slide.offset_xy[1]


def read_features(path: Path, members: dict[str, Any] | None = None) -> Iterator[Any]:
    """What a file holds, one feature (or bare geometry) after another: of a FeatureCollection, an array, one Feature or one geometry.

    ``members`` receives the other top-level members of the file, as far as they were read. Only the text of the file is kept in memory.

    Raises
    ------
    DataError
        The file is missing, is no JSON, or no GeoJSON.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist. Choose a GeoJSON file of outlines.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as GeoJSON ({error}). {NEEDED}") from error
    try:
        yield from _stream(text, {} if members is None else members, path)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as GeoJSON ({error}). {NEEDED}") from error


def _stream(text: str, members: dict[str, Any], path: Path) -> Iterator[Any]:
    at, listed = _space(text, 0), False
    if text[at : at + 1] == "[":
        at, listed = (yield from _array(text, at)), True
    elif text[at : at + 1] == "{":
        at = _space(text, at + 1)
        while text[at : at + 1] != "}":
            key, at = _decode(text, at)
            at = _after(text, at, ":")
            if key == "features" and text[at : at + 1] == "[":
                at, listed = (yield from _array(text, at)), True
            else:
                members[str(key)], at = _decode(text, at)
            at = _space(text, at)
            if text[at : at + 1] != "}":
                at = _after(text, at, ",")
        at += 1
    else:
        at = _decode(text, at)[1]
    if _space(text, at) != len(text):
        raise json.JSONDecodeError("Extra data", text, at)
    if listed:
        return
    if not (members.get("type") == "Feature" or "coordinates" in members):
        raise DataError(f"{path} holds no GeoJSON features. {NEEDED}")
    yield members


def _array(text: str, at: int) -> Generator[Any, None, int]:
    """The items of the array that begins at ``at``; returns where it ends."""
    at = _space(text, at + 1)
    if text[at : at + 1] == "]":
        return at + 1
    while True:
        item, at = _item(text, at)
        yield item
        at = _space(text, at)
        if text[at : at + 1] == "]":
            return at + 1
        at = _after(text, at, ",")


def _item(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at ``at``, and where it ends.

    pydantic's decoder takes a quarter of the time of the standard one, but has to be told where a value ends. What comes before the next feature is
    this one, if it is a whole value; it is not where a child object, or a name, holds such a border.
    """
    border = _BORDER.search(text, at)
    if border is not None:
        try:
            return from_json(text[at : border.start() + 1]), border.start() + 1
        except ValueError:
            pass
    return _decode(text, at)


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _after(text: str, at: int, mark: str) -> int:
    at = _space(text, at)
    if text[at : at + 1] != mark:
        raise json.JSONDecodeError(f"Expecting '{mark}'", text, at)
    return _space(text, at + 1)


def with_children(features: Iterable[Any]) -> Iterator[tuple[int, Any, str]]:
    """(number of the feature in the file, feature, id of its parent) of all ``features`` and of their child objects, parents first."""
    for number, feature in enumerate(features, start=1):
        waiting = [(feature, "")]
        while waiting:
            one, parent = waiting.pop()
            yield number, one, parent
            properties = one.get("properties") if isinstance(one, dict) else None
            if isinstance(properties, dict):
                children = properties.get("childObjects", properties.get("children"))
                if isinstance(children, list):
                    waiting += [(child, str(one.get("id") or "")) for child in reversed(children)]


def kind_of(feature: Mapping[str, Any]) -> str:
    """``annotation``, ``detection``, ``cell``, ``tile``, ``tma core`` or ``root``; a bare geometry and what QuPath does not know are annotations."""
    properties = feature.get("properties") or {}
    said = properties.get("objectType") or properties.get("object_type") or properties.get("type") or feature.get("id")
    return _KINDS.get(said, ANNOTATION) if isinstance(said, str) else ANNOTATION


def id_of(feature: Mapping[str, Any]) -> str:
    """The id of a feature, "" where it has none of its own."""
    said = feature.get("id")
    return "" if said is None or said in _LEGACY else str(said)


def class_of(value: Any) -> str:
    """QuPath's classification: null, a bare string, or an object with "name" or, for derived classes, "names" or a "parentClass"."""
    if isinstance(value, dict):
        names = value.get("names")
        own = ": ".join(map(str, names)) if isinstance(names, list) else str(value.get("name") or "")
        return ": ".join(filter(None, [class_of(value.get("parentClass")), own]))
    return "" if value is None else str(value)


def colour_of(value: Any) -> tuple[int, int, int] | None:
    """A colour as [r, g, b] or as QuPath's older packed integer; None where it is neither."""
    if isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**32:
        return (value >> 16) & 255, (value >> 8) & 255, value & 255
    if isinstance(value, list) and len(value) == 3 and all(isinstance(part, (int, float)) and 0 <= part <= 255 for part in value):
        return int(value[0]), int(value[1]), int(value[2])
    return None


def measurements_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Measurements by name, from an object or from an array of {"name", "value"}; values as the file gives them."""
    found = properties.get("measurements") or {}
    return found if isinstance(found, dict) else {str(one["name"]): one["value"] for one in found}
