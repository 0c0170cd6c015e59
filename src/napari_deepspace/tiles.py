"""Cutting square tiles around points, always in full-resolution pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from napari_deepspace.slide import Slide

Progress = Callable[[int, int], None]  #: called with (done, total)


def tile_radius_px(tile_um: float, mpp: float) -> int:
    """Half the side of a tile of ``tile_um`` micrometres, in whole pixels, rounded up."""
    return math.ceil(round(tile_um / 2 / mpp, 6))  # round: 137.5 / 2 / 0.6875 must stay 100


def edge_px(side_um: float, mpp: float, reduced: int = 1) -> float:
    """What whole pixels add to a square of ``side_um``, in full-resolution px, on a level of the slide that is ``reduced`` times smaller.

    Squares whose centres are ``side_um`` and this much apart share no pixel: the radius is rounded up, and both centres to the nearest pixel.
    """
    radius = tile_radius_px(side_um, mpp)
    if reduced > 1:
        radius = max(1, round(radius / reduced))
    return max((2 * radius + 1) * reduced - side_um / mpp, 0.0)


def over_border(shape: tuple[int, int], centres_yx: np.ndarray, radius_px: int) -> np.ndarray:
    """Which tiles reach beyond the image, bool (n,); ``shape`` is (height, width)."""
    centres = whole(centres_yx)
    return np.any((centres - radius_px < 0) | (centres + radius_px > np.asarray(shape[:2])), axis=1)


def cut_tiles(slide: Slide, centres_yx: np.ndarray, radius_px: int, out_px: int | None = None, progress: Progress | None = None) -> np.ndarray:
    """Tiles around points: uint8 (n, s, s, 3), RGB, in the order of ``centres_yx``.

    A tile is rows [y - r, y + r) and columns [x - r, x + r) with r = ``radius_px``; fractional centres (n, 2) = (row, column) are rounded
    to the nearest pixel first. What lies beyond the image is its mirror image (:func:`over_border` tells which tiles these are).
    s is 2 r, or ``out_px``, to which tiles are resized (area average when shrinking, bilinear when enlarging).

    Raises
    ------
    ValueError
        A centre is not finite, or the radius is below 1.
    DataError
        The slide's file is damaged.
    """
    centres = whole(centres_yx)
    side = out_px or 2 * radius_px
    tiles = np.empty((len(centres), side, side, 3), dtype=np.uint8)
    for done, index in enumerate(read_order(slide, centres, radius_px), start=1):
        tiles[index] = _cut(slide, centres[index], radius_px, side)
        if progress is not None:
            progress(done, len(centres))
    return tiles


def iter_tiles(
    slide: Slide, centres_yx: np.ndarray, radius_px: int, out_px: int | None = None, batch: int = 64, level: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of (indices into ``centres_yx``, tiles as from :func:`cut_tiles`), in the order that reads the file once.

    Memory is that of one batch, however large the slide; every index comes exactly once. Centres and radius count full-resolution pixels, whatever
    ``level`` of the slide is read; on a reduced level both are rounded to its pixels.
    """
    share = slide.levels[level].shape[0] / slide.shape[0]
    centres = whole(np.asarray(centres_yx, dtype=np.float64) * share)
    radius = radius_px if level == 0 else max(1, round(radius_px * share))
    order = read_order(slide, centres, radius, level)
    for start in range(0, len(order), batch):
        indices = order[start : start + batch]
        yield indices, np.stack([_cut(slide, centres[index], radius, out_px or 2 * radius, level) for index in indices])


def coarsest_level(slide: Slide, radius_px: int, out_px: int) -> int:
    """The smallest level of ``slide`` on which a tile of ``radius_px`` (full-resolution) is still at least ``out_px`` wide."""
    enough = [number for number, level in enumerate(slide.levels) if 2 * radius_px * level.shape[0] >= out_px * slide.shape[0]]
    return max(enough, default=0)


def read_order(slide: Slide, centres_yx: np.ndarray, radius_px: int, level: int = 0) -> np.ndarray:
    """Order in which to visit centres so that the slide's cache suffices to decode each file tile once: indices (n,).

    Along the rows of file tiles, always from left to right, so that what is needed soonest was used last; on slides so wide that the rows
    a tile touches exceed the cache, in vertical stripes (only file tiles where two stripes meet are then decoded twice).
    """
    corners = np.maximum(np.asarray(centres_yx) - radius_px, 0)
    height, width = slide.levels[level].chunks[:2]
    rows, columns = (-(-(2 * radius_px - 1) // size) + 1 for size in (height, width))  # of file tiles that one tile touches at most
    stripe = max(1, slide.cache_bytes // (height * width * 3 * (rows + 1)) - columns)
    return np.lexsort((corners[:, 1], corners[:, 0] // height, corners[:, 1] // width // stripe))


def lattice_triangles(array_rc: np.ndarray) -> np.ndarray:
    """All triangles of three adjacent spots of a hexagonal lattice, as rows of ``array_rc`` (n, 2) = (array_row, array_col): int (n_triangles, 3)."""
    where = {(int(r), int(c)): i for i, (r, c) in enumerate(array_rc)}
    corners = []
    for (r, c), i in where.items():
        for way in (-1, 1):
            pair = [where.get((r, c + 2)), where.get((r + way, c + 1))]
            if None not in pair:
                corners.append([i, *pair])
    return np.array(corners, dtype=np.int64).reshape(-1, 3)


def between_spots(array_rc: np.ndarray, centres_yx: np.ndarray) -> np.ndarray:
    """Points between every three adjacent spots of a hexagonal lattice: whole px as float64 (n, 2), (row, column).

    Their centroids, with the fraction of a pixel cut off as the original program does.
    """
    return np.floor(np.asarray(centres_yx, dtype=np.float64)[lattice_triangles(array_rc)].mean(axis=1) + 1e-9)


def cell_middles(array_rc: np.ndarray, centres_yx: np.ndarray) -> np.ndarray:
    """The middle of every cell of a square lattice with at least three of its four spots: whole px as float64 (n, 2), (row, column).

    It is the middle of the diagonals that are there, with the fraction of a pixel cut off as by :func:`between_spots`.
    """
    where = {(int(r), int(c)): i for i, (r, c) in enumerate(array_rc)}
    centres = np.asarray(centres_yx, dtype=np.float64)
    middles = []
    for r, c in sorted({(r - down, c - right) for r, c in where for down in (0, 1) for right in (0, 1)}):
        corners = [where.get((r + down, c + right)) for down, right in ((0, 0), (1, 1), (0, 1), (1, 0))]
        if sum(corner is not None for corner in corners) >= 3:
            diagonals = [(one, other) for one, other in (corners[:2], corners[2:]) if one is not None and other is not None]
            middles.append(centres[np.array(diagonals)].mean(axis=(0, 1)))
    return np.floor(np.array(middles, dtype=np.float64).reshape(-1, 2) + 1e-9)


def whole(centres_yx: np.ndarray) -> np.ndarray:
    """Centres (n, 2) rounded to whole pixels, int64; raises ValueError where one is not finite."""
    centres = np.asarray(centres_yx, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(centres).all():
        raise ValueError("tile centres must be finite numbers")
    return np.rint(centres).astype(np.int64)


def _cut(slide: Slide, centre: np.ndarray, radius: int, side: int, level: int = 0) -> np.ndarray:
    if radius < 1:
        raise ValueError(f"a tile needs a radius of at least 1 px, not {radius}")
    (height, width), (y, x) = slide.levels[level].shape[:2], (int(centre[0]), int(centre[1]))
    if radius <= y <= height - radius and radius <= x <= width - radius:
        tile = slide.read_region(y - radius, x - radius, 2 * radius, 2 * radius, level)
    else:
        rows, columns = mirrored(np.arange(y - radius, y + radius), height), mirrored(np.arange(x - radius, x + radius), width)
        top, left = int(rows.min()), int(columns.min())
        part = slide.read_region(top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1, level)
        tile = part[np.ix_(rows - top, columns - left)]
    if side == 2 * radius:
        return tile
    return cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA if side < 2 * radius else cv2.INTER_LINEAR)


def mirrored(indices: np.ndarray, size: int) -> np.ndarray:
    """Indices folded into 0..size-1 as by numpy's "reflect", for any distance beyond the border."""
    period = max(1, 2 * (size - 1))
    folded = indices % period
    return np.minimum(folded, period - folded) if size > 1 else np.zeros(len(indices), dtype=np.int64)
