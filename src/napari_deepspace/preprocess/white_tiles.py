"""The white-tile filter of the paper: tiles that are mostly glass.

The mean RGB of a tile is the mean over its pixels and channels. The white threshold of a slide is a percentile of the mean RGB of its tissue
spots' tiles; a pixel is white if red, green and blue all exceed it, and a tile is dropped if more than half of its pixels are white. Points
between spots are judged by the threshold of the slide's spots.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import cv2
import numpy as np

from napari_deepspace.events import Progress
from napari_deepspace.slide import Slide
from napari_deepspace.tiles import iter_tiles, mirrored, over_border, whole

MOST_WHITE = 0.5
"""A tile with a larger share of white pixels is dropped."""
NO_FILTER = 255.0  #: the threshold of the 100th percentile, which no pixel exceeds
_BATCH = 16  # tiles of full resolution are large
_BLOCK_PX = 2048


@dataclass(frozen=True)
class TileColours:
    """What the filter needs of n tiles, so that its threshold can be moved without reading the slide again.

    ``mean_rgb`` float64 (n,), 0 to 255; ``darkest`` int64 (n, 256): how many pixels have each value as their darkest channel;
    ``over_border`` bool (n,): the tile reaches beyond the slide, where its pixels are mirrored.
    """

    mean_rgb: np.ndarray
    darkest: np.ndarray
    over_border: np.ndarray

    def white_share(self, threshold: float) -> np.ndarray:
        """Share of pixels whose three channels all exceed ``threshold``, float64 (n,)."""
        first = int(np.floor(threshold)) + 1
        return np.asarray(self.darkest[:, first:].sum(axis=1) / self.darkest.sum(axis=1))

    def is_white(self, threshold: float) -> np.ndarray:
        """Tiles that the filter drops, bool (n,)."""
        return self.white_share(threshold) > MOST_WHITE


def white_threshold(mean_rgb: np.ndarray, percentile: float) -> float:
    """The threshold of a slide from ``mean_rgb`` (n,) of its tissue spots' tiles; 255, so no filter, at 100 or without a tile."""
    if percentile >= 100 or not len(mean_rgb):
        return NO_FILTER
    return float(np.percentile(mean_rgb, percentile))


def tile_colours(slide: Slide, centres_yx: np.ndarray, radius_px: int, of: str = "the slide") -> Generator[Progress, None, TileColours]:
    """Look at the tiles around ``centres_yx`` (n, 2), full-resolution px; tiles as :func:`~napari_deepspace.tiles.cut_tiles` cuts them.

    Memory does not grow with the slide. ``of`` names it in the progress. Raises what ``cut_tiles`` raises.
    """
    n = len(centres_yx)
    mean, darkest = np.empty(n), np.empty((n, 256), dtype=np.int64)
    done = 0
    for indices, tiles in iter_tiles(slide, centres_yx, radius_px, batch=_BATCH):
        for index, tile in zip(indices, tiles, strict=True):
            mean[index] = np.mean(cv2.mean(tile)[:3])
            red, green, blue = cv2.split(tile)
            darkest[index] = cv2.calcHist([cv2.min(cv2.min(red, green), blue)], [0], None, [256], [0, 256]).ravel()
        done += len(indices)
        yield Progress(f"looking for white tiles of {of}", done, n)
    return TileColours(mean, darkest, over_border(slide.shape, centres_yx, radius_px))


def white_at(slide: Slide, centres_yx: np.ndarray, radius_px: int, threshold: float, of: str = "the slide") -> Generator[Progress, None, np.ndarray]:
    """Which tiles around ``centres_yx`` (n, 2) the filter drops at a ``threshold`` that is known: bool (n,), as :meth:`TileColours.is_white` says.

    Block by block with an integral image (Crow 1984) of white pixels, so that overlapping tiles cost little and each pixel is judged once a block.
    """
    corners = whole(centres_yx) - radius_px
    side, white, done = 2 * radius_px, np.zeros(len(corners), dtype=bool), 0
    block = corners // _BLOCK_PX
    for which in np.unique(block, axis=0):
        index = np.flatnonzero((block == which).all(axis=1))
        first, last = corners[index].min(axis=0), corners[index].max(axis=0) + side
        rows, columns = (mirrored(np.arange(first[axis], last[axis]), slide.shape[axis]) for axis in (0, 1))
        top, left = int(rows.min()), int(columns.min())
        pixels = slide.read_region(top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1)
        above = (pixels.min(axis=2) > threshold)[np.ix_(rows - top, columns - left)].astype(np.uint8)
        table = cv2.integral(above)
        y, x = (corners[index] - first).T
        inside = table[y + side, x + side] - table[y, x + side] - table[y + side, x] + table[y, x]
        white[index] = inside / side**2 > MOST_WHITE
        done += len(index)
        yield Progress(f"looking for white tiles of {of}, between spots", done, len(corners))
    return white
