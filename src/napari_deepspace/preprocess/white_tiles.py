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
from napari_deepspace.tiles import iter_tiles, over_border

MOST_WHITE = 0.5
"""A tile with a larger share of white pixels is dropped."""
NO_FILTER = 255.0  #: the threshold of the 100th percentile, which no pixel exceeds
_BATCH = 16  # tiles of full resolution are large


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
