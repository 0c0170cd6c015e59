"""Tiled pyramids in the cache folder, for images that cannot be read piece by piece. Each is written beside and renamed: never half a file."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

import cv2
import numpy as np
import platformdirs
import tifffile

from napari_deepspace.errors import DataError
from napari_deepspace.slide_flat import Told, flat_other, flat_tiff
from napari_deepspace.slide_formats import is_whole

if TYPE_CHECKING:
    from napari_deepspace.slide import Level

Progress = Callable[[str, float], None]  #: called with what is done, in words, and how much of it is, 0 to 1; what it raises ends it

VERSION = 1  #: of what is written here; part of the key
TILE_PX = 512
BUFFER_BYTES = 32 * 1024**2  #: of tiles that are packed together
SMALLEST_PX = 1024  #: levels are added until the longer side is below this
OVERVIEW_STEP = 8  #: the overview of a slide without small levels starts at one eighth of it

_log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Folder for what can be made again: ``$NAPARI_DEEPSPACE_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("NAPARI_DEEPSPACE_CACHE") or platformdirs.user_cache_dir("napari-deepspace"))


def flat_image(path: Path, tiff: tifffile.TiffFile | None, mpp: float | None, progress: Progress | None = None) -> Path:
    """The tiled pyramid of a JPEG, PNG or TIFF without tiles (``tiff``), decoded now unless it was before.

    Raises
    ------
    DataError
        The image is damaged, too large for the memory, or no 8-bit grey, RGB or RGBA image.
    """
    cached = _cached_name(path, "flat")
    if is_whole(cached):
        return cached
    with flat_tiff(path, tiff) if tiff else flat_other(path) as flat:
        half = 0.0
        if flat.decode is not None:
            half = 0.5
            flat.decode(_part(progress, flat.doing, 0, half))
        _write_pyramid(cached, flat.size, flat.bands(), mpp or flat.mpp, _part(progress, flat.doing, half, 1))
    _log.info("%s: kept as %s (%.0f MB)", path.name, cached, cached.stat().st_size / 1e6)
    return cached


def overview(path: Path, level: Level, progress: Progress | None = None) -> Path:
    """A pyramid of the reduced levels that a large slide lacks, made by reading ``level`` once, band by band."""
    cached = _cached_name(path, "overview")
    if is_whole(cached):
        return cached
    height, width = level.shape[0] // OVERVIEW_STEP, level.shape[1] // OVERVIEW_STEP
    doing = f"{path.name}, {level.shape[1]:,} x {level.shape[0]:,} px without small levels: read once to make an overview"
    _log.info(doing)
    rows = max(1, level.chunks[0] // OVERVIEW_STEP)

    def bands() -> Iterator[np.ndarray]:
        for top in range(0, height, rows):
            bottom = min(height, top + rows)
            band = level[top * OVERVIEW_STEP : bottom * OVERVIEW_STEP, : width * OVERVIEW_STEP]
            yield cv2.resize(band, (width, bottom - top), interpolation=cv2.INTER_AREA)

    _write_pyramid(cached, (height, width), bands(), None, _part(progress, doing, 0, 1))
    return cached


def _part(progress: Progress | None, doing: str, begin: float, end: float) -> Told:
    """What tells ``progress`` of a part of the work, from ``begin`` to ``end``."""
    return lambda share: None if progress is None else progress(doing, begin + share * (end - begin))


def _cached_name(path: Path, kind: str) -> Path:
    """Where the pyramid of this very file lies: another size or time of change gives another name."""
    status = path.stat()
    key = f"{VERSION} {kind} {path.resolve()} {status.st_size} {status.st_mtime_ns}"
    return cache_dir() / "slides" / f"{path.stem[:40]}-{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}.tif"


def _whole_bands(parts: Iterable[np.ndarray], width: int) -> Iterator[np.ndarray]:
    """Parts of any height as bands of TILE_PX rows, the last one lower."""
    band, filled = np.empty((TILE_PX, width, 3), dtype=np.uint8), 0
    for part in parts:
        rest = part
        while len(rest):
            taken = rest[: TILE_PX - filled]
            band[filled : filled + len(taken)] = taken
            filled, rest = filled + len(taken), rest[len(taken) :]
            if filled == TILE_PX:
                yield band
                band, filled = np.empty_like(band), 0
    if filled:
        yield band[:filled]


def _halved(bands: Iterable[np.ndarray], spool: IO[bytes]) -> Iterator[np.ndarray]:
    """The bands themselves; half their size goes into ``spool``. An odd last row or column is left out, so that the step stays exactly two."""
    for band in bands:
        height, width = band.shape[0] // 2, band.shape[1] // 2
        if height:
            spool.write(cv2.resize(band[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA).tobytes())
        yield band


def _spooled(spool: IO[bytes], width: int) -> Iterator[np.ndarray]:
    """What :func:`_halved` put aside, from the top."""
    spool.seek(0)
    while data := spool.read(TILE_PX * width * 3):
        yield np.frombuffer(data, dtype=np.uint8).reshape(-1, width, 3)


def _tiles(bands: Iterable[np.ndarray], told: Callable[[int], None]) -> Iterator[np.ndarray]:
    """The tiles of bands of TILE_PX rows, each whole; ``told`` is called with the rows that are done."""
    done = 0
    for band in bands:
        done += len(band)
        for left in range(0, band.shape[1], TILE_PX):
            tile = band[:, left : left + TILE_PX]
            if left + TILE_PX >= band.shape[1]:  # before the last one is handed on: nobody asks for more after it
                told(done)
            short = [(0, TILE_PX - size) for size in tile.shape[:2]]
            yield np.pad(tile, (*short, (0, 0))) if any(more for _, more in short) else np.ascontiguousarray(tile)


def _write_pyramid(path: Path, size: tuple[int, int], parts: Iterable[np.ndarray], mpp: float | None, told: Told) -> None:
    """Write an image of ``size`` = (height, width) and its halvings, lossless, tiled; atomically. What ``told`` raises ends it and leaves nothing.

    ``parts`` are uint8 (rows, width, 3) from the top. Only a few bands are in memory; each halving waits in an unnamed file beside.
    """
    sizes = [size]
    while max(sizes[-1]) >= SMALLEST_PX and min(sizes[-1]) >= 2:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    resolution = (1e4 / mpp, 1e4 / mpp) if mpp else None
    rows = sum(height for height, _ in sizes)
    before = 0

    def tell(before: int, done: int) -> None:
        told((before + done) / rows)

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with ExitStack() as files:
            file = files.enter_context(tifffile.TiffWriter(beside, bigtiff=3 * size[0] * size[1] > 2_000_000_000))
            for number, (height, width) in enumerate(sizes):
                bands = _whole_bands(parts, width)
                if number + 1 < len(sizes):
                    spool = files.enter_context(TemporaryFile(dir=path.parent))
                    bands = _halved(bands, spool)
                    parts = _spooled(spool, width // 2)
                file.write(
                    _tiles(bands, partial(tell, before)),
                    shape=(height, width, 3),
                    dtype=np.uint8,
                    tile=(TILE_PX, TILE_PX),
                    photometric="rgb",
                    compression="zstd",
                    compressionargs={"level": 1},
                    predictor=True,
                    subifds=0 if number else len(sizes) - 1,
                    subfiletype=1 if number else 0,
                    resolution=None if number else resolution,
                    resolutionunit="CENTIMETER" if resolution and not number else None,
                    metadata=None,
                    buffersize=BUFFER_BYTES,
                )
                before += height
        os.replace(beside, path)
    except OSError as error:
        raise DataError(f"{path.parent} cannot be written ({error}). Free space there, or set NAPARI_DEEPSPACE_CACHE to another folder.") from error
    finally:
        beside.unlink(missing_ok=True)
