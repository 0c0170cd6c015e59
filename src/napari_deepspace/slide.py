"""The H&E image of a section: a pyramid read lazily, file tile by file tile.

A tiled TIFF (SVS, OME-TIFF, BigTIFF, pyramidal or not), an OME-Zarr image and what OpenSlide knows (:mod:`napari_deepspace.slide_readers`) are
read where they lie; any other image is decoded once into a tiled TIFF (:mod:`napari_deepspace.slide_cache`). Decoded file tiles are kept in a cache
of bounded size, so that neighbouring regions decode nothing twice. tifffile decodes the file tiles directly: going through its zarr store costs twice
the time per tile.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import tifffile

from napari_deepspace import slide_cache
from napari_deepspace.errors import DataError
from napari_deepspace.slide_cache import Progress
from napari_deepspace.slide_flat import flat_size
from napari_deepspace.slide_formats import DAMAGED_PIXELS, damaged, open_tiff, planes_of, readable_series, size_of, tiff_mpp, tiled_levels
from napari_deepspace.slide_readers import OPENSLIDE_ONLY, ChunkCache, Pieces, bits_above_8, is_zarr, kept, to_rgb, with_openslide, with_zarr

CACHE_BYTES = 256 * 1024**2
OVERVIEW_ABOVE_PX = 4096  #: a slide whose smallest level is larger than this gets smaller ones, in the cache folder


class Level:
    """One level of a pyramid, array-like: (height, width, 3) uint8; slices read only the file tiles they touch."""

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, shape: tuple[int, int], chunk: tuple[int, int], read_chunk: Callable[[int, int], np.ndarray]):
        self.shape = (*shape, 3)
        self.chunks = (min(chunk[0], shape[0]), min(chunk[1], shape[1]), 3)
        self._read_chunk = read_chunk

    def region(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """Rows [top, bottom) and columns [left, right) as a new array; must lie inside."""
        out = np.empty((bottom - top, right - left, 3), dtype=np.uint8)
        if out.size == 0:
            return out
        height, width = self.chunks[:2]
        for i in range(top // height, (bottom - 1) // height + 1):
            for j in range(left // width, (right - 1) // width + 1):
                y0, y1 = max(top, i * height), min(bottom, (i + 1) * height)
                x0, x1 = max(left, j * width), min(right, (j + 1) * width)
                chunk = self._read_chunk(i, j)
                out[y0 - top : y1 - top, x0 - left : x1 - left] = chunk[y0 - i * height : y1 - i * height, x0 - j * width : x1 - j * width]
        return out

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns, *channels = (*(key if isinstance(key, tuple) else (key,)), *(slice(None),) * 3)[:3]
        (top, bottom, down), (left, right, across) = rows.indices(self.shape[0]), columns.indices(self.shape[1])
        if down < 1 or across < 1:
            raise IndexError("a slide is read by slices with steps of at least 1")
        return self.region(top, left, max(top, bottom), max(left, right))[::down, ::across, channels[0]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


class Slide:
    """A lazily read RGB image with its reduced levels. Use as a context manager, or call :meth:`close`.

    ``path`` is the user's file; ``shape`` = (height, width) in full-resolution px; ``levels`` from full resolution downwards, each
    array-like (h, w, 3) uint8; ``mpp`` = um per full-resolution px as the file states it, or None. May be read from several threads.
    """

    def __init__(self, path: Path, levels: list[Level], mpp: float | None, files: Sequence[Any]):
        self.path = path
        self.levels = levels
        self.mpp = mpp
        self._files = files

    @property
    def shape(self) -> tuple[int, int]:
        return self.levels[0].shape[0], self.levels[0].shape[1]

    @property
    def cache_bytes(self) -> int:
        """How much decoded image is kept in memory at most."""
        return CACHE_BYTES

    def read_region(self, y: int, x: int, height: int, width: int, level: int = 0) -> np.ndarray:
        """Pixels of a region: uint8 (height, width, 3); ``y`` and ``x`` count pixels of ``level``.

        Raises
        ------
        ValueError
            The region does not lie inside the image.
        DataError
            The file is damaged there.
        """
        source = self.levels[level]
        if y < 0 or x < 0 or height < 0 or width < 0 or y + height > source.shape[0] or x + width > source.shape[1]:
            raise ValueError(f"rows {y} to {y + height}, columns {x} to {x + width} lie outside {source.shape[0]} x {source.shape[1]} px")
        return source.region(y, x, y + height, x + width)

    def dask_levels(self) -> list[Any]:
        """The levels as dask arrays for a napari multiscale layer; blocks are whole file tiles, about 1024 px a side."""
        import dask.array as da  # over a second to import: only when shown

        def blocks(level: Level) -> tuple[int, int, int]:
            height, width = level.chunks[:2]
            return height * max(1, 1024 // height), width * max(1, 1024 // width), 3

        meta = np.empty((0, 0, 0), dtype=np.uint8)
        return [da.from_array(level, chunks=blocks(level), name=False, meta=meta) for level in self.levels]

    def thumbnail(self, max_px: int) -> np.ndarray:
        """The whole slide, at most ``max_px`` a side, area-averaged: uint8 (h, w, 3). Never enlarged."""
        enough = [level for level in self.levels if max(level.shape[:2]) >= max_px]
        image = (enough[-1] if enough else self.levels[0])[:]
        share = min(1.0, max_px / max(self.shape))
        height, width = (max(1, round(size * share)) for size in self.shape)
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(f"{self.shape[0]}x{self.shape[1]}".encode(), digest_size=16)
        digest.update(self.levels[-1][:].tobytes())
        return digest.hexdigest()

    def fingerprint(self) -> str:
        """32 hexadecimal digits that depend on the size and on the pixels of the smallest level, not on name or place of the file."""
        return self._fingerprint

    def close(self) -> None:
        """Close the file; the slide cannot be read any more."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Slide {self.path.name}: {self.shape[0]} x {self.shape[1]} px, {len(self.levels)} levels>"


def open_slide(path: str | Path, progress: Progress | None = None) -> Slide:
    """Open an image of any size: grey, RGB or RGBA of 8 or 16 bits, which is read as 8-bit RGB.

    A tiled TIFF, an OME-Zarr folder and, by OpenSlide, MRXS, NDPI and the like are read where they lie. JPEG, PNG and TIFF without tiles are decoded
    once into a tiled file in the cache folder; what memory that takes is logged beforehand: little for a TIFF in strips, height x width x 4 bytes
    and more for the others. ``progress(doing, share)`` follows that, with words and a number from 0 to 1; what it raises ends it, leaving nothing
    half-written.

    Raises
    ------
    DataError
        The file is missing, damaged, of another kind, too large for the free memory, or needs OpenSlide, which is not installed.
    """
    path = Path(path)
    if is_zarr(path):
        return _of_pieces(path, *with_zarr(path), [], progress)
    tiff, other = _tiff_or_other(path)
    if other is not None:
        return _of_pieces(path, other[0], other[1], [other[2]], progress)
    files = [tiff] if tiff else []
    try:
        mpp = tiff_mpp(tiff) if tiff else None
        if not tiff or not tiled_levels(tiff, path):
            files.append(tifffile.TiffFile(slide_cache.flat_image(path, tiff, mpp, progress)))
            mpp = tiff_mpp(files[-1])
        cache = ChunkCache(CACHE_BYTES)
        return _with_overview(path, _tiff_levels(files[-1], path, cache), mpp, files, cache, progress)
    except BaseException:
        for file in files:
            file.close()
        raise


def _of_pieces(path: Path, pieces: list[Pieces], mpp: float | None, files: list[Any], progress: Progress | None) -> Slide:
    cache = ChunkCache(CACHE_BYTES)
    levels = [Level(one.shape, one.chunk, kept(one, number, cache)) for number, one in enumerate(pieces)]
    try:
        return _with_overview(path, levels, mpp, files, cache, progress)
    except BaseException:
        for file in files:
            file.close()
        raise


def _with_overview(path: Path, levels: list[Level], mpp: float | None, files: list[Any], cache: ChunkCache, progress: Progress | None) -> Slide:
    """The slide, with smaller levels from the cache folder where its own end too early; its file is added to ``files``."""
    if max(levels[-1].shape[:2]) > OVERVIEW_ABOVE_PX:
        files.append(tifffile.TiffFile(slide_cache.overview(path, levels[-1], progress)))
        levels += _tiff_levels(files[-1], path, cache)
    return Slide(path, levels, mpp, files)


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image that :func:`open_slide` would open, from its header alone; raises DataError as it does."""
    path = Path(path)
    if is_zarr(path):
        return with_zarr(path)[0][0].shape
    tiff, other = _tiff_or_other(path)
    if other is not None:
        other[2].close()
        return other[0][0].shape
    if tiff is None:
        return flat_size(path)
    with tiff:
        return size_of(readable_series(tiff, path))


def _existing(path: Path) -> Path:
    if not os.path.isfile(path):  # unlike Path.is_file, False where a parent may not be read
        raise DataError(f"{path}: there is no such image file. Choose the full-resolution H&E (TIFF, SVS, JPEG, PNG or OME-Zarr).")
    return path


def _tiff_or_other(path: Path) -> tuple[tifffile.TiffFile | None, tuple[list[Pieces], float | None, Any] | None]:
    """The open TIFF, else what OpenSlide makes of the file: of what it alone reads, and of a scanner's TIFF that is not understood here."""
    tiff = None if _existing(path).suffix.lower() in OPENSLIDE_ONLY else open_tiff(path)
    if tiff is None:
        return None, with_openslide(path)
    try:
        readable_series(tiff, path)
    except DataError:
        tiff.close()
        other = with_openslide(path, scanners_only=True)
        if other is None:
            raise
        return None, other
    return tiff, None


def _tiff_levels(file: tifffile.TiffFile, path: Path, cache: ChunkCache) -> list[Level]:
    levels = tiled_levels(file, path)
    shift = 0
    if levels[0].dtype != np.uint8:  # how bright its brightest pixels are says a small level; a large one is taken at its word
        shift = bits_above_8(levels[-1].asarray()) if max(size_of(levels[-1])) <= OVERVIEW_ABOVE_PX else 8
    return [_tiff_level(file, level, path, cache, shift) for level in levels]


def _tiff_level(file: tifffile.TiffFile, level: tifffile.TiffPageSeries, path: Path, cache: ChunkCache, shift: int) -> Level:
    keyframe = level.keyframe
    (height, width), tile = size_of(level), (keyframe.tilelength, keyframe.tilewidth)
    across = -(-width // tile[1])
    planes = [(page, plane * across * -(-height // tile[0])) for page, plane in planes_of(level)]
    inverted = keyframe.photometric == tifffile.PHOTOMETRIC.MINISWHITE

    decode = keyframe.decode  # made here: tifffile looks into the file for it, which must not happen while another thread reads

    def read_tile(page: Any, index: int, i: int, j: int) -> np.ndarray | None:
        with cache.reading:
            file.filehandle.seek(page.dataoffsets[index])
            data = file.filehandle.read(page.databytecounts[index])
        try:
            found = decode(data or None, index, jpegtables=page.jpegtables, jpegheader=keyframe.jpegheader)[0]
        except DAMAGED_PIXELS as error:
            raise damaged(path, f"the part at row {i * tile[0]}, column {j * tile[1]} cannot be decoded ({error})") from error
        return None if found is None else np.asarray(found[0])

    def read_chunk(i: int, j: int) -> np.ndarray:
        index = i * across + j
        key = (id(planes[0][0]), index)
        chunk = cache.get(key)
        if chunk is None:
            parts = [read_tile(page, first + index, i, j) for page, first in planes]
            chunk = _as_rgb(parts, tile, inverted, shift)
            cache.put(key, chunk)
        return chunk

    return Level((height, width), tile, read_chunk)


def _as_rgb(parts: list[np.ndarray | None], tile: tuple[int, int], inverted: bool, shift: int) -> np.ndarray:
    there = [part for part in parts if part is not None]
    if len(there) < len(parts):  # a tile that the file leaves out is background
        return np.full((*tile, 3), 255, dtype=np.uint8)
    chunk = to_rgb(there[0] if len(there) == 1 else np.concatenate(there, axis=2), shift)
    return 255 - chunk if inverted else chunk
