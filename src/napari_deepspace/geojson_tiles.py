"""Spots and points as QuPath's tiles: each with measurements, which QuPath's measurement maps paint, written to the file one after another."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_deepspace.geojson import MEMBER, TILE, SlideStamp

CORNERS = 24  #: of the polygon that stands for a disc
ROWS = 1000  #: turned into text at a time


def tiles_geojson(
    path: Path,
    centres_yx: np.ndarray,
    side_px: float,
    measurements: Mapping[str, np.ndarray],
    shape: Literal["disc", "square"] = "disc",
    names: Sequence[str] | None = None,
    metadata: Mapping[str, str | Sequence[str]] | None = None,
    slide: SlideStamp | None = None,
    about: Mapping[str, Any] | None = None,
) -> int:
    """Write tiles around ``centres_yx`` (n, 2), (row, column) in full-resolution px, for QuPath; returns how many. Written beside and renamed.

    ``side_px`` is the diameter of discs or the side of squares. ``measurements`` are numbers (n,) by name; a tile has no measurement where it is NaN,
    and a tile without any is left out. ``names`` (n,) are shown in QuPath, ``metadata`` are words for all tiles or for each (n,). ``slide`` and
    ``about`` say in the file on which slide the tiles lie and what they are. Every digit is kept, of float32 as of float64. Memory does not grow
    with n.
    """
    columns = {json.dumps(name, ensure_ascii=False): np.asarray(values) for name, values in measurements.items()}
    words = {str(key): value for key, value in (metadata or {}).items()}
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False) if shape == "disc" else np.pi / 4 + np.pi / 2 * np.arange(4)
    corners = np.column_stack([np.cos(angles), np.sin(angles)]) * (side_px / 2 if shape == "disc" else side_px / np.sqrt(2))
    corners = np.vstack([corners, corners[:1]])
    said = {**(slide.member() if slide is not None else {}), **(about or {})}
    head = {"type": "FeatureCollection"} | ({MEMBER: said} if said else {})
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    written = 0
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "features": [')
            for first in range(0, len(centres_yx), ROWS):
                rows = slice(first, first + ROWS)
                lines = np.round(np.asarray(centres_yx[rows], dtype=np.float64)[:, None, ::-1] + corners, 2).tolist()
                numbers = {name: _texts(values[rows]) for name, values in columns.items()}
                for row, line in enumerate(lines):
                    own = ", ".join(f"{name}: {texts[row]}" for name, texts in numbers.items() if texts[row] != "nan")
                    if not own:
                        continue
                    at = first + row
                    of_one = {key: value if isinstance(value, str) else str(value[at]) for key, value in words.items()}
                    properties = {
                        "objectType": TILE,
                        **({"name": str(names[at])} if names is not None else {}),
                        **({"metadata": {key: value for key, value in of_one.items() if value}} if words else {}),
                    }
                    geometry = {"type": "Polygon", "coordinates": [line]}
                    one = {"type": "Feature", "id": str(uuid.uuid4()), "geometry": geometry, "properties": properties}
                    text = json.dumps(one, ensure_ascii=False)[:-2]  # less the two braces that end it
                    file.write(f'{"," if written else ""}\n{text}, "measurements": {{{own}}}}}}}')
                    written += 1
            file.write("\n]}\n")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return written


def _texts(values: np.ndarray) -> list[str]:
    """The shortest words that give back each number; "nan" of what is none, infinity too."""
    values = values.astype(np.float64) if values.dtype.kind != "f" else values
    return [str(text) for text in np.where(np.isfinite(values), values, values.dtype.type(np.nan)).astype(str)]
