"""What an image file says of itself: is it a TIFF, can it be read as RGB, how many micrometres is a pixel."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, RESUNIT

from napari_deepspace.errors import DataError

_OTHER_FORMATS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_UM_PER_UNIT = {"µm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}
_PLANAR = ("SYX", "CYX")  #: colours one after the other, in one page of the file or in a page each (OME-TIFF of bioformats2raw)
_TIFF_ERRORS = (tifffile.TiffFileError, OSError, ValueError, KeyError, IndexError, TypeError, struct.error, ZeroDivisionError, OverflowError)
"""What tifffile raises on damaged files; it has no one type for it."""
DAMAGED_PIXELS = (RuntimeError, *_TIFF_ERRORS)
"""What decoding raises; the errors of imagecodecs are RuntimeErrors."""


def damaged(path: Path, found: str) -> DataError:
    return DataError(f"{path}: {found}. The file is damaged or incomplete: copy or export it again.")


def open_tiff(path: Path) -> tifffile.TiffFile | None:
    """The open file, or None for one that does not claim to be a TIFF; raises DataError for a damaged TIFF."""
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Check that the file is there and that you may read it.") from error
    if magic[:2] not in (b"II", b"MM") or path.suffix.lower() in _OTHER_FORMATS:
        return None
    try:
        return tifffile.TiffFile(path)
    except _TIFF_ERRORS as error:
        raise damaged(path, f"it cannot be read as TIFF ({error})") from error


def readable_series(file: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """The largest image of the file, once it is known to be grey, RGB or RGBA of 8 or 16 bits; raises DataError otherwise."""
    try:
        series = max(file.series, key=lambda s: s.size, default=None)
        if series is None:
            raise damaged(path, "no image is in it")
        keyframe = series.keyframe
        planes_of(series)
    except (NotImplementedError, *_TIFF_ERRORS) as error:
        raise damaged(path, f"it holds no readable image ({error})") from error
    needed = "An H&E slide is needed as 8- or 16-bit RGB (or grey): export it again as RGB TIFF."
    if series.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: its pixels are {series.dtype}, not 8- or 16-bit. {needed}")
    colours = [size for axis, size in zip(series.axes, series.shape, strict=True) if axis not in "YX"]
    if series.axes not in ("YX", "YXS", *_PLANAR) or any(size not in (3, 4) for size in colours):
        size = " x ".join(str(size) for size in series.shape)
        raise DataError(f"{path}: its largest image is {size} with axes {series.axes}, not one image in colours. {needed}")
    usual = (PHOTOMETRIC.RGB, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
    as_jpeg = keyframe.photometric == PHOTOMETRIC.YCBCR and keyframe.compression not in (COMPRESSION.NONE, COMPRESSION.LZW)
    if keyframe.photometric not in usual and not as_jpeg:
        raise DataError(f"{path}: its colours are stored as {keyframe.photometric!s}. {needed}")
    return series


def size_of(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    """(height, width), whether colours are interleaved or lie in planes."""
    y = series.axes.index("Y")
    return series.shape[y], series.shape[y + 1]


def tiled_levels(file: tifffile.TiffFile, path: Path) -> list[tifffile.TiffPageSeries]:
    """The levels that can be read tile by tile, largest first; empty for a file without tiles.

    Levels that are no reduction of the first (labels, macro pictures) are left out. Raises DataError for an image that cannot be read as
    RGB, and where pixel data would lie beyond the end of the file.
    """
    series = readable_series(file, path)
    try:
        levels = [level for level in series.levels if level.keyframe.tilewidth > 0 and level.keyframe.tilelength > 0 and _reduces(level, series)]
        for level in levels:
            check_whole(file, level, path)
    except _TIFF_ERRORS as error:
        raise damaged(path, f"its list of tiles cannot be read ({error})") from error
    return levels if levels and levels[0].shape == series.shape else []


def _reduces(level: tifffile.TiffPageSeries, series: tifffile.TiffPageSeries) -> bool:
    if level.axes != series.axes:
        return False
    scale_y, scale_x = (whole / part for whole, part in zip(size_of(series), size_of(level), strict=True))
    return abs(scale_y / scale_x - 1) < 0.01 + 2 / min(size_of(level))


def check_whole(file: tifffile.TiffFile, level: tifffile.TiffPageSeries, path: Path, per_plane: int | None = None) -> None:
    """Raise DataError where pixel data would lie beyond the end of the file; ``per_plane``: how many strips an image without tiles has."""
    keyframe = level.keyframe
    height, width = size_of(level)
    if per_plane is None:
        per_plane = -(-height // keyframe.tilelength) * -(-width // keyframe.tilewidth)
    for page, plane in planes_of(level):
        if len(page.dataoffsets) != len(page.databytecounts) or len(page.dataoffsets) < per_plane * (plane + 1):
            raise damaged(path, "parts of its list of tiles are missing")
        end = max((offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
        if end > file.filehandle.size:
            raise damaged(path, f"it is cut short ({file.filehandle.size} bytes of at least {end})")


def is_whole(path: Path) -> bool:
    """Whether ``path`` is there and is a tiled TIFF with all its data: what the cache holds may have been cut short."""
    try:
        with tifffile.TiffFile(path) as file:
            return bool(tiled_levels(file, path))
    except (DataError, *_TIFF_ERRORS):
        return False


def planes_of(level: tifffile.TiffPageSeries) -> list[tuple[tifffile.TiffPage | tifffile.TiffFrame, int]]:
    """Where the colours of a level lie: page of the file and number of the plane in it, of which there is one where colours are interleaved."""
    number = min(3, level.shape[0]) if level.axes in _PLANAR else 1
    pages = [level.pages[plane] for plane in range(number)] if level.axes == "CYX" else [level.pages[0]] * number
    there = [page for page in pages if page is not None]
    if len(there) < number:
        raise IndexError("a level of the file has no page")
    return [(page, plane if level.axes == "SYX" else 0) for plane, page in enumerate(there)]


def tiff_mpp(file: tifffile.TiffFile) -> float | None:
    """Micrometres per full-resolution pixel as the file states it (Aperio, OME, resolution tags), if between 0.05 and 5."""
    try:
        return _stated_mpp(file)
    except _TIFF_ERRORS:  # a damaged tag: as if it were not there
        return None


def _stated_mpp(file: tifffile.TiffFile) -> float | None:
    first = file.pages.first
    aperio = re.search(r"\bMPP\s*=\s*([0-9.]+)", first.description) if file.is_svs else None
    ome = re.search(r'PhysicalSizeX="([0-9.eE+-]+)"', file.ome_metadata or "")
    unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', file.ome_metadata or "")
    if aperio:
        return sensible_mpp(aperio[1])
    if ome:
        factor = _UM_PER_UNIT.get(unit[1] if unit else "µm")
        return sensible_mpp(ome[1], factor) if factor else None
    um = {RESUNIT.INCH: 25400.0, RESUNIT.CENTIMETER: 10000.0, RESUNIT.MILLIMETER: 1000.0, RESUNIT.MICROMETER: 1.0}.get(RESUNIT(first.resolutionunit))
    tag = first.tags.get("XResolution")
    if um is None or tag is None or not isinstance(tag.value, tuple) or not tag.value[0]:
        return None
    return sensible_mpp(tag.value[1] / tag.value[0], um)


def sensible_mpp(value: float | str, factor: float = 1.0) -> float | None:
    """``value`` x ``factor`` if it can be the pixel size of a slide, 0.05 to 5 um, else None."""
    try:
        mpp = float(value) * factor
    except ValueError:
        return None
    return mpp if 0.05 <= mpp <= 5 else None
