"""Slides that are no TIFF: OpenSlide's formats (extra [openslide]) and OME-Zarr, each as levels that are read piece by piece."""

from __future__ import annotations

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_deepspace.errors import DataError
from napari_deepspace.slide_formats import damaged, sensible_mpp

CHUNK_PX = 512  #: side of what is read from OpenSlide at once
OPENSLIDE_ONLY = (".mrxs", ".ndpi", ".vms", ".vmu", ".bif", ".svslide", ".dcm")
"""Formats that need OpenSlide to be read piece by piece."""
_LAYOUT = "bioformats2raw.layout"
_UM = {"micrometer": 1.0, "micron": 1.0, "nanometer": 1e-3, "millimeter": 1e3, None: None}


@dataclass(frozen=True)
class Pieces:
    """One level: size and piece in px, (height, width), and what reads the piece at (row, column) of pieces, uint8 (h, w, 3) of at most that size."""

    shape: tuple[int, int]
    chunk: tuple[int, int]
    read: Callable[[int, int], np.ndarray]


class ChunkCache:
    """Decoded file tiles, the least recently used dropped first."""

    def __init__(self, max_bytes: int):
        self._chunks: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._bytes, self._max_bytes = 0, max_bytes
        self._lock = threading.Lock()
        self.reading = threading.Lock()  #: held while a file is moved to a place and read

    def get(self, key: tuple[int, int]) -> np.ndarray | None:
        with self._lock:
            if key in self._chunks:
                self._chunks.move_to_end(key)
            return self._chunks.get(key)

    def put(self, key: tuple[int, int], chunk: np.ndarray) -> None:
        with self._lock:
            if key not in self._chunks:
                self._chunks[key] = chunk
                self._bytes += chunk.nbytes
            while self._bytes > self._max_bytes and len(self._chunks) > 1:
                self._bytes -= self._chunks.popitem(last=False)[1].nbytes


def kept(pieces: Pieces, number: int, cache: ChunkCache) -> Callable[[int, int], np.ndarray]:
    """What reads a piece of level ``number``, once while the cache holds it."""

    def read_chunk(i: int, j: int) -> np.ndarray:
        key = (-1 - number, i * (1 << 24) + j)
        chunk = cache.get(key)
        if chunk is None:
            chunk = pieces.read(i, j)
            cache.put(key, chunk)
        return chunk

    return read_chunk


def is_zarr(path: Path) -> bool:
    """Whether ``path`` is a folder with the metadata of a Zarr group."""
    return any((path / name).is_file() for name in ("zarr.json", ".zattrs"))


def is_image_zarr(path: Path) -> bool:
    """Whether ``path`` is the folder of an OME-Zarr image, also as bioformats2raw writes it; a SpatialData store is none: it holds images."""
    for name in ("zarr.json", ".zattrs"):
        try:
            said = json.loads((path / name).read_text(encoding="utf-8"))
            said = said.get("attributes", {}) if name == "zarr.json" else said
            return _LAYOUT in said.get("ome", said) or "multiscales" in said.get("ome", said)
        except (OSError, ValueError, AttributeError, TypeError):
            continue
    return False


def with_openslide(path: Path, scanners_only: bool = False) -> tuple[list[Pieces], float | None, Any] | None:
    """Levels, um per px and the open file by OpenSlide; None where it does not know the format, or where it is no scanner's (``scanners_only``).

    Only the scanned part is taken where the file states one (``openslide.bounds-x`` and the like), as QuPath does: the rest was never imaged.

    Raises
    ------
    DataError
        The format needs OpenSlide, which is not installed, or the file is damaged.
    """
    try:
        import openslide
    except (ImportError, OSError) as error:  # OSError: its library is missing
        if path.suffix.lower() not in OPENSLIDE_ONLY:
            return None
        raise DataError(
            f"{path}: {path.suffix.upper()[1:]} slides are read by OpenSlide, which is not installed. "
            "Install it with `pip install 'napari-deepspace[openslide]'`, or export the slide as a tiled TIFF."
        ) from error
    if openslide.OpenSlide.detect_format(str(path)) in ((None, "generic-tiff") if scanners_only else (None,)):
        return None
    try:
        slide = openslide.OpenSlide(str(path))
        said = slide.properties
        left, top = (int(said.get(f"openslide.bounds-{axis}", 0)) for axis in "xy")
        width, height = (int(said.get(f"openslide.bounds-{side}", full)) for side, full in zip(("width", "height"), slide.dimensions, strict=True))
        levels = []
        for number, down in enumerate(slide.level_downsamples):
            shape = (max(1, math.floor(height / down)), max(1, math.floor(width / down)))
            levels.append(Pieces(shape, (CHUNK_PX, CHUNK_PX), _openslide_piece(slide, path, number, shape, (left, top), float(down))))
        return levels, sensible_mpp(said.get("openslide.mpp-x", "")), slide
    except (openslide.OpenSlideError, ValueError) as error:
        raise damaged(path, f"OpenSlide cannot read it ({error})") from error


def _openslide_piece(
    slide: Any, path: Path, level: int, shape: tuple[int, int], origin: tuple[int, int], down: float
) -> Callable[[int, int], np.ndarray]:
    def read(i: int, j: int) -> np.ndarray:
        import openslide

        y, x = i * CHUNK_PX, j * CHUNK_PX
        size = (min(CHUNK_PX, shape[1] - x), min(CHUNK_PX, shape[0] - y))
        try:
            pixels = np.asarray(slide.read_region((origin[0] + round(x * down), origin[1] + round(y * down)), level, size))
        except openslide.OpenSlideError as error:
            raise damaged(path, f"the part at row {y}, column {x} cannot be decoded ({error})") from error
        alpha = pixels[..., 3:].astype(np.uint16)
        return np.asarray((pixels[..., :3] * alpha + 255 * (255 - alpha)) // 255, dtype=np.uint8)  # what was not scanned is glass

    return read


def with_zarr(path: Path) -> tuple[list[Pieces], float | None]:
    """Levels and um per px of an OME-Zarr image; of several times, depths the first is taken.

    Raises
    ------
    DataError
        The folder holds no OME-Zarr image, it is no grey or RGB one, or it is damaged.
    """
    import zarr  # slow to import: only where there is one

    try:
        group: Any = zarr.open_group(str(path), mode="r")
        attributes = _ome_attributes(group)
        if _LAYOUT in attributes and "multiscales" not in attributes:  # of a series of images the first, as elsewhere
            group = group["0"]
            attributes = _ome_attributes(group)
        scales = attributes["multiscales"][0]
        axes = [axis["name"] if isinstance(axis, dict) else axis for axis in scales.get("axes", "tczyx")]
        arrays: list[Any] = [group[one["path"]] for one in scales["datasets"]]
    except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
        if (path / "images").is_dir():
            held = ", ".join(sorted(one.name for one in (path / "images").iterdir() if is_zarr(one))) or "none"
            raise DataError(
                f"{path} is a SpatialData store, not an image. Open it as the section, or choose the folder of one image in images/ (found: {held})."
            ) from error
        raise DataError(f"{path} is no OME-Zarr image (no multiscales: {error}). Choose the folder of one image, or a TIFF.") from error
    if not {"y", "x"} <= set(axes) or not arrays:
        raise DataError(f"{path}: its axes {', '.join(axes)} are not those of an image. Choose the folder of one image, or a TIFF.")
    y, x, c = axes.index("y"), axes.index("x"), axes.index("c") if "c" in axes else None
    first = arrays[0]
    channels = 1 if c is None else first.shape[c]
    if channels not in (1, 3, 4) or first.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: {channels} channels of {first.dtype} are no H&E image. Export it as 8- or 16-bit RGB.")
    shift = 0
    if first.dtype == np.uint16:
        shift = bits_above_8(np.asarray(arrays[-1][:]))
    return [_zarr_pieces(path, array, y, x, c, shift) for array in arrays], _zarr_mpp(scales, axes, x)


def _ome_attributes(group: Any) -> dict[str, Any]:
    said = json.loads(json.dumps(dict(group.attrs)))
    return dict(said.get("ome") or said)


def _zarr_pieces(path: Path, array: Any, y: int, x: int, c: int | None, shift: int) -> Pieces:
    chunk = array.chunks[y], array.chunks[x]

    def read(i: int, j: int) -> np.ndarray:
        key: list[Any] = [0] * array.ndim
        key[y], key[x] = slice(i * chunk[0], (i + 1) * chunk[0]), slice(j * chunk[1], (j + 1) * chunk[1])
        if c is not None:
            key[c] = slice(0, 3)
        try:
            pixels = np.asarray(array[tuple(key)])
        except (OSError, RuntimeError, ValueError) as error:
            raise damaged(path, f"the part at row {key[y].start}, column {key[x].start} cannot be decoded ({error})") from error
        pixels = pixels[..., None] if c is None else np.moveaxis(pixels, sum(axis < c for axis in (y, x)), -1)
        if x < y:
            pixels = pixels.swapaxes(0, 1)
        return to_rgb(pixels, shift)

    return Pieces((array.shape[y], array.shape[x]), chunk, read)


def _zarr_mpp(scales: dict[str, Any], axes: list[str], x: int) -> float | None:
    try:
        unit = scales["axes"][x].get("unit")
        scale = next(one["scale"] for one in scales["datasets"][0]["coordinateTransformations"] if one["type"] == "scale")[x]
    except (KeyError, IndexError, AttributeError, StopIteration, TypeError):
        return None
    factor = _UM.get(unit)
    return sensible_mpp(scale, factor) if factor else None


def bits_above_8(pixels: np.ndarray) -> int:
    """How many bits of 16-bit pixels are more than 8, from the brightest: cameras of 10 or 12 bits write files of 16."""
    return max(0, int(pixels.max(initial=0)).bit_length() - 8)


def to_rgb(pixels: np.ndarray, shift: int = 0) -> np.ndarray:
    """Grey, RGB or RGBA pixels (h, w, 1, 3 or 4), of 8 bits or of 8 + ``shift``, as uint8 (h, w, 3)."""
    if pixels.dtype != np.uint8:
        pixels = np.minimum(pixels >> shift, 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3])
