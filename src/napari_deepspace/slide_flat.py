"""Flat images, which cannot be read piece by piece where they lie: decoded here into bands of RGB from top to bottom.

A TIFF in strips is decoded strip by strip. A JPEG, a PNG or a TIFF of one compressed strip has to be decoded at once; what memory that takes is
said, and compared with what is free, before it begins.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile
from PIL import Image, UnidentifiedImageError

from napari_deepspace.errors import DataError
from napari_deepspace.slide_formats import DAMAGED_PIXELS, check_whole, damaged, planes_of, readable_series, sensible_mpp, size_of
from napari_deepspace.slide_readers import bits_above_8, to_rgb

Told = Callable[[float], None]  #: called with the share that is done, 0 to 1; what it raises ends the work

MAX_FLAT_PX = 2_000_000_000  #: largest image that is decoded at once
BAND_PX = 512  #: rows of what is handed on at once
OWN_BYTES = 150_000_000  #: what packing the tiles takes beside the image

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Flat:
    """A flat image that is about to be decoded.

    ``size`` = (height, width) px; ``doing`` says in words what is done and which memory it needs; ``mpp`` = um per px as the file states it, or
    None; ``decode`` takes what is to be known before the first band (all of an image that is decoded at once), telling how far it is;
    ``bands`` then gives uint8 (rows, width, 3), from the top.
    """

    size: tuple[int, int]
    doing: str
    mpp: float | None
    decode: Callable[[Told], None] | None
    bands: Callable[[], Iterator[np.ndarray]]


def flat_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image that is no TIFF, from its header; raises DataError if it is none."""
    with _opened(path) as (image, _):
        return image.height, image.width


@contextmanager
def flat_other(path: Path) -> Iterator[Flat]:
    """A JPEG, PNG or the like.

    Raises
    ------
    DataError
        It is no image, damaged, too large for the memory, or not 8-bit colours or 16-bit grey.
    """
    with _opened(path) as (image, file):
        grey16 = image.mode.startswith("I;16")
        if not grey16 and image.mode not in ("L", "LA", "P", "PA", "RGB", "RGBA", "1", "CMYK", "YCbCr"):
            raise DataError(f"{path}: its pixels are of kind {image.mode}, not 8-bit colours. Export the H&E again as 8-bit RGB.")
        bytes_per_px = 2 if grey16 else 1 if image.mode in ("L", "P", "1") else 4  # as PIL keeps them
        if image.info.get("progressive"):  # of such a JPEG all coefficients are held as well
            layers = [across * down for _, across, down, _ in getattr(image, "layer", [])]
            bytes_per_px += 2 * sum(layers) / max(layers, default=1)
        size = image.height, image.width
        doing = _announced(path, size, image.format or "image", size, bytes_per_px)
        shift = 0

        def decode(told: Told) -> None:
            nonlocal shift
            file.told = told
            image.load()
            if grey16:
                shift = bits_above_8(np.asarray(image.getextrema(), dtype=np.int64))

        def bands() -> Iterator[np.ndarray]:
            for top in range(0, image.height, BAND_PX):
                band = image.crop((0, top, image.width, min(image.height, top + BAND_PX)))
                yield to_rgb(np.asarray(band, dtype=np.uint16)[..., None], shift) if grey16 else np.asarray(band.convert("RGB"))

        dpi = image.info.get("dpi", (0, 0))[0]
        yield Flat(size, doing, sensible_mpp(25400 / float(dpi)) if dpi else None, decode, bands)


@contextmanager
def flat_tiff(path: Path, tiff: tifffile.TiffFile) -> Iterator[Flat]:
    """A TIFF without tiles, read strip by strip; pixels that are not packed in any way are read without regard to strips.

    Raises
    ------
    DataError
        It is cut short, its strips are too large for the memory, or it cannot be read as RGB.
    """
    series = readable_series(tiff, path)
    keyframe = series.keyframe
    size = size_of(series)
    rows = BAND_PX if keyframe.is_final else min(size[0], keyframe.rowsperstrip)
    deep = series.dtype != np.uint8
    samples = series.size // (size[0] * size[1])
    doing = _announced(path, size, "TIFF", (min(rows, size[0]), size[1]), 2 * samples * series.dtype.itemsize)
    inverted = keyframe.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    shift = 0

    def decode(told: Told) -> None:
        nonlocal shift
        done = 0
        for count, strip in _strips(path, tiff, series, rows):
            shift = max(shift, 0 if strip is None else bits_above_8(strip))
            done += count
            told(done / size[0])

    def bands() -> Iterator[np.ndarray]:
        for count, strip in _strips(path, tiff, series, rows):
            for top in range(0, count, BAND_PX):
                if strip is None:
                    yield np.full((min(BAND_PX, count - top), size[1], 3), 255, dtype=np.uint8)
                else:
                    rgb = to_rgb(strip[top : top + BAND_PX], shift)
                    yield 255 - rgb if inverted else rgb

    yield Flat(size, doing, None, decode if deep else None, bands)


def _strips(path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, rows: int) -> Iterator[tuple[int, np.ndarray | None]]:
    """The strips of a TIFF as they are stored, at most ``rows`` high, each with its rows: (rows, width, samples), colour planes put together.

    None is a strip that the file leaves out: background.
    """
    height, width = size_of(series)
    keyframe, file = series.keyframe, tiff.filehandle
    contiguous = 1 if series.axes != "YXS" else series.shape[2]
    stored = series.dtype.newbyteorder(tiff.byteorder)
    per_plane = -(-height // rows)

    def unpacked(page: Any, plane: int, number: int) -> np.ndarray:
        first = (plane * height + number * rows) * width * contiguous
        count = min(rows, height - number * rows)
        pixels = file.read_array(stored, count * width * contiguous, page.dataoffsets[0] + first * stored.itemsize)
        return pixels.reshape(count, width, contiguous).astype(series.dtype, copy=False)

    def packed(page: Any, plane: int, number: int) -> np.ndarray | None:
        index = plane * per_plane + number
        file.seek(page.dataoffsets[index])
        data = file.read(page.databytecounts[index])
        found = keyframe.decode(data or None, index, jpegtables=page.jpegtables, jpegheader=keyframe.jpegheader)
        return None if found[0] is None else np.asarray(found[0][0, : height - number * rows])

    check_whole(tiff, series, path, per_plane=1 if keyframe.is_final else per_plane)
    for number in range(per_plane):
        try:
            parts = [(unpacked if keyframe.is_final else packed)(page, plane, number) for page, plane in planes_of(series)]
        except DAMAGED_PIXELS as error:
            raise damaged(path, f"the part from row {number * rows} on cannot be decoded ({error})") from error
        there = [part for part in parts if part is not None]
        whole = None if len(there) < len(parts) else there[0] if len(there) == 1 else np.concatenate(there, axis=2)
        yield min(rows, height - number * rows), whole


def _announced(path: Path, size: tuple[int, int], kind: str, at_once: tuple[int, int], bytes_per_px: float) -> str:
    """What decoding an image takes, in words, logged before it starts; refuses what the memory does not hold. Sizes are (height, width)."""
    px = at_once[0] * at_once[1]
    what = f"{size[1]:,} x {size[0]:,} px"
    instead = "Save it as a tiled pyramidal TIFF, for example with `vips tiffsave IN OUT.tif --tile --pyramid`, and open that"
    if px > MAX_FLAT_PX:
        raise DataError(f"{path}: {what} cannot be decoded at once (at most {MAX_FLAT_PX // 1_000_000} megapixels). {instead}.")
    needed = OWN_BYTES + 6 * BAND_PX * size[1] + px * bytes_per_px
    free = free_memory()
    if needed > free:
        raise DataError(f"{path}: to decode {what} needs {needed / 1e9:.1f} GB of memory, of which {free / 1e9:.1f} GB are free. {instead}.")
    whole = "decoded once" if at_once == size else "read strip by strip, once,"
    doing = f"{path.name}, {what} {kind}: {whole} into a tiled copy; needs {needed / 1e9:.1f} GB of memory"
    _log.info(doing)
    return doing


def free_memory() -> int:
    """Bytes that can be taken without pushing others out."""
    return int(psutil.virtual_memory().available)


class _ToldFile(io.FileIO):
    """A file that tells how much of it was read, as a share; 200 times in all."""

    told: Told = staticmethod(lambda share: None)
    _last = -1

    def readinto(self, buffer: Any) -> int | None:
        share = self.tell() / max(1, os.fstat(self.fileno()).st_size)
        if int(200 * share) != self._last:
            self._last = int(200 * share)
            self.told(share)
        return super().readinto(buffer)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, _ToldFile]]:
    """The image as PIL opens it, whatever its size, and its file; all that goes wrong with it inside becomes a DataError."""
    try:
        with _no_pixel_limit(), _ToldFile(path) as file, io.BufferedReader(file, 1 << 16) as buffered, Image.open(buffered) as image:
            yield image, file
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is no image that can be read. Choose the full-resolution H&E (TIFF, SVS, JPEG or PNG).") from error
    except (*DAMAGED_PIXELS, SyntaxError, EOFError) as error:  # PIL raises SyntaxError for broken PNG chunks
        raise damaged(path, f"it cannot be decoded ({error})") from error


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
