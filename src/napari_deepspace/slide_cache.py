"""Tiled pyramids in the cache folder, for images that cannot be read piece by piece. Each is written beside and renamed: never half a file."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import imagecodecs
import numpy as np
import platformdirs
import tifffile
from PIL import Image, UnidentifiedImageError

from napari_deepspace.errors import DataError
from napari_deepspace.slide_formats import DAMAGED_PIXELS, damaged, is_whole, readable_series, sensible_mpp, size_of
from napari_deepspace.slide_readers import bits_above_8, to_rgb

if TYPE_CHECKING:
    from napari_deepspace.slide import Level

Progress = Callable[[int, int], None]  #: called with (done, total)

VERSION = 1  #: of what is written here; part of the key
MAX_FLAT_PX = 2_000_000_000  #: largest image that is decoded at once: 6 GB of memory
TILE_PX = 512
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
        The image is damaged, too large to be decoded at once, or no 8-bit grey, RGB or RGBA image.
    """
    cached = _cached_name(path, "flat")
    if not is_whole(cached):
        image, stated_mpp = _decode_tiff(path, tiff) if tiff else _decode_other(path)
        _write_pyramid(cached, image, mpp or stated_mpp, progress)
        _log.info("%s: kept as %s (%.0f MB)", path.name, cached, cached.stat().st_size / 1e6)
    return cached


def overview(path: Path, level: Level, progress: Progress | None = None) -> Path:
    """A pyramid of the reduced levels that a large slide lacks, made by reading ``level`` once, band by band."""
    cached = _cached_name(path, "overview")
    if not is_whole(cached):
        height, width = level.shape[0] // OVERVIEW_STEP, level.shape[1] // OVERVIEW_STEP
        _log.info("%s has no small levels: reading it once to make an overview", path.name)
        reduced = np.empty((height, width, 3), dtype=np.uint8)
        rows = max(1, level.chunks[0] // OVERVIEW_STEP)
        for top in range(0, height, rows):
            bottom = min(height, top + rows)
            band = level[top * OVERVIEW_STEP : bottom * OVERVIEW_STEP, : width * OVERVIEW_STEP]
            reduced[top:bottom] = cv2.resize(band, (width, bottom - top), interpolation=cv2.INTER_AREA)
            if progress is not None:
                progress(bottom, height)
        _write_pyramid(cached, reduced, None)
    return cached


def _cached_name(path: Path, kind: str) -> Path:
    """Where the pyramid of this very file lies: another size or time of change gives another name."""
    status = path.stat()
    key = f"{VERSION} {kind} {path.resolve()} {status.st_size} {status.st_mtime_ns}"
    return cache_dir() / "slides" / f"{path.stem[:40]}-{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}.tif"


def _decode_tiff(path: Path, tiff: tifffile.TiffFile) -> tuple[np.ndarray, float | None]:
    series = readable_series(tiff, path)
    _announce(path, *size_of(series)[::-1])
    try:
        image = series.levels[0].asarray()
    except DAMAGED_PIXELS as error:
        raise damaged(path, f"it cannot be decoded ({error})") from error
    image = image[..., None] if series.axes == "YX" else np.moveaxis(image, 0, -1) if series.axes == "SYX" else image
    image = to_rgb(image, bits_above_8(image) if image.dtype != np.uint8 else 0)
    return (255 - image if series.keyframe.photometric == tifffile.PHOTOMETRIC.MINISWHITE else image), None


def flat_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image that is no TIFF, from its header; raises DataError if it is none."""
    with _opened(path) as image:
        return image.height, image.width


def _decode_other(path: Path) -> tuple[np.ndarray, float | None]:
    with _opened(path) as image:
        _announce(path, *image.size)
        if image.mode.startswith("I;16"):  # grey PNG of 16 bits
            grey = np.asarray(image, dtype=np.uint16)[..., None]
            return to_rgb(grey, bits_above_8(grey)), mpp_of(image)
        if image.mode not in ("L", "LA", "P", "PA", "RGB", "RGBA", "1", "CMYK", "YCbCr"):
            raise DataError(f"{path}: its pixels are of kind {image.mode}, not 8-bit colours. Export the H&E again as 8-bit RGB.")
        mpp = mpp_of(image)
        if image.format == "JPEG" and image.mode == "RGB":
            return _decode_jpeg(path), mpp
        return np.asarray(image.convert("RGB")), mpp


def mpp_of(image: Image.Image) -> float | None:
    """Um per px that an image states by its dots per inch, if they can be a slide's."""
    dpi = image.info.get("dpi", (0, 0))[0]
    return sensible_mpp(25400 / float(dpi)) if dpi else None


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image as PIL opens it, whatever its size; all that goes wrong with it inside becomes a DataError."""
    try:
        with _no_pixel_limit(), Image.open(path) as image:
            yield image
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is no image that can be read. Choose the full-resolution H&E (TIFF, SVS, JPEG or PNG).") from error
    except (*DAMAGED_PIXELS, SyntaxError, EOFError) as error:  # PIL raises SyntaxError for broken PNG chunks
        raise damaged(path, f"it cannot be decoded ({error})") from error


def _decode_jpeg(path: Path) -> np.ndarray:
    """With a third of the memory that PIL takes; but this decoder fills up a file cut short, so look for its end mark after its last scan."""
    data = path.read_bytes()
    if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise damaged(path, "it is cut short")
    return imagecodecs.jpeg8_decode(data)


def _announce(path: Path, width: int, height: int) -> None:
    """Say what decoding takes, before it starts; refuse what is beyond the bound."""
    if width * height > MAX_FLAT_PX:
        raise DataError(
            f"{path}: {width} x {height} px cannot be decoded at once (at most {MAX_FLAT_PX // 1_000_000} megapixels). "
            "Save it as a tiled pyramidal TIFF, for example with `vips tiffsave --tile --pyramid`."
        )
    memory = width * height * 3 * 1.4 / 1e9  # the image, its halvings and what is being compressed
    _log.info("%s: %d x %d px, decoded once into a tiled copy; this takes %.1f GB of memory", path.name, width, height, memory)


@contextmanager
def _no_pixel_limit() -> Iterator[None]:
    """PIL refuses slides as decompression bombs; the bound that counts here is :data:`MAX_FLAT_PX`."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _tiles(image: np.ndarray, told: Callable[[int], None]) -> Iterator[np.ndarray]:
    """The tiles of an image row by row, each whole; ``told`` is called with the rows that are done."""
    for top in range(0, image.shape[0], TILE_PX):
        for left in range(0, image.shape[1], TILE_PX):
            tile = image[top : top + TILE_PX, left : left + TILE_PX]
            if left + TILE_PX >= image.shape[1]:  # before the last one is handed on: nobody asks for more after it
                told(min(image.shape[0], top + TILE_PX))
            short = [(0, TILE_PX - size) for size in tile.shape[:2]]
            yield np.pad(tile, (*short, (0, 0))) if any(more for _, more in short) else np.ascontiguousarray(tile)


def _write_pyramid(path: Path, image: np.ndarray, mpp: float | None, progress: Progress | None = None) -> None:
    """Write ``image`` and its halvings, lossless, tiled; atomically. What ``progress`` raises ends it and leaves nothing."""
    count = 0
    while max(image.shape[:2]) >> count >= SMALLEST_PX and min(image.shape[:2]) >> (count + 1):
        count += 1
    resolution = (1e4 / mpp, 1e4 / mpp) if mpp else None
    rows = sum(image.shape[0] >> number for number in range(count + 1))
    before = 0

    def told(done: int) -> None:
        if progress is not None:
            progress(before + done, rows)

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with tifffile.TiffWriter(beside, bigtiff=image.nbytes > 2_000_000_000) as file:
            for number in range(count + 1):
                if number:  # an odd last row or column is left out, so that the step stays exactly two
                    height, width = image.shape[0] // 2, image.shape[1] // 2
                    image = cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
                file.write(
                    _tiles(image, told),
                    shape=image.shape,
                    dtype=image.dtype,
                    tile=(TILE_PX, TILE_PX),
                    photometric="rgb",
                    compression="zstd",
                    compressionargs={"level": 1},
                    predictor=True,
                    subifds=0 if number else count,
                    subfiletype=1 if number else 0,
                    resolution=None if number else resolution,
                    resolutionunit="CENTIMETER" if resolution and not number else None,
                    metadata=None,
                )
                before += image.shape[0]
        os.replace(beside, path)
    except OSError as error:
        raise DataError(f"{path.parent} cannot be written ({error}). Free space there, or set NAPARI_DEEPSPACE_CACHE to another folder.") from error
    finally:
        beside.unlink(missing_ok=True)
