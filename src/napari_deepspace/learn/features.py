"""Hand-made features of tiles: colour, stain and texture, within the spot and within the whole tile.

The filters run once over the slide, block by block, at a fixed number of um per pixel, so that features mean the same on every slide; each tile
then takes its averages from integral images (Crow 1984), so that overlapping tiles cost little. What counts for a tile lies within it, to a pixel:
averages of a filter's output leave out the margin of the tile where the filter reaches beyond.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy import sparse
from skimage.color import hed_from_rgb

from napari_deepspace.analyse.baselines import standardise
from napari_deepspace.tiles import mirrored, whole

BLOCK_PX = 768  #: side of a block, in pixels of the features; memory is that of one block
FINEST_SIGMA_PX = 0.8
REACH = 2.5  #: sigmas after which a Gaussian is cut off
OCTAVES = 2  #: beyond the first two bands
SHARES = (1.0, 0.4)  #: of the tile's side: the whole tile, and its middle, which is the spot itself at the paper's tile size
QUANTILES = (0.1, 0.5, 0.9)
DIFFERENCE = np.array([[-1, 0, 1]], dtype=np.float32)
STAIN_RANGE = (-0.5, 3.0)  #: densities between which quantiles are told apart


def slide_features(levels: Sequence[Any], centres_yx: np.ndarray, radius_px: int, tile_px: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of (indices into ``centres_yx``, float32 (n, n_features)); every index comes exactly once.

    ``levels`` are those of a slide, each (h, w, 3) uint8, the first at full resolution; read is the next finer one. A tile is that of
    :func:`napari_deepspace.tiles.cut_tiles`: ``radius_px`` full-resolution pixels to each side of the centre, seen at ``tile_px`` a side, and
    mirrored beyond the image. Features depend neither on the other centres nor on where blocks end. The first three are the tile's mean R, G and B
    in 0..1. Colours and stains (haematoxylin, eosin and residual by colour deconvolution, Ruifrok and Johnston 2001) give mean, SD and quantiles;
    texture is the energy, skewness and sparseness of difference-of-Gaussian bands, gradient energy, the coherence of the structure tensor, and how
    far the bands of haematoxylin and eosin go together. Raises ValueError where a centre is not finite.
    """
    for indices, image, tiles in tile_blocks(levels, centres_yx, radius_px, tile_px):
        yield indices, np.concatenate(_features(image, tiles), axis=1).astype(np.float32)


def tile_blocks(levels: Sequence[Any], centres_yx: np.ndarray, radius_px: int, tile_px: int) -> Iterator[tuple[np.ndarray, np.ndarray, Tiles]]:
    """The slide block by block: which of ``centres_yx`` have their tile there, its pixels float32 (h, w, 3) in 0..1, and where the tiles lie in it.

    The arguments are those of :func:`slide_features`.
    """
    step = 2 * radius_px / tile_px
    corners = (whole(centres_yx) - radius_px) / step  # of tiles, in pixels of the features
    block = np.floor((corners + tile_px / 2) / BLOCK_PX).astype(np.int64)
    coarsest = 2**OCTAVES
    for which in np.unique(block, axis=0):
        indices = np.flatnonzero((block == which).all(axis=1))
        first = np.floor(corners[indices].min(axis=0) / coarsest).astype(np.int64) * coarsest  # pixels of all octaves lie the same in every block
        last = np.ceil(corners[indices].max(axis=0)).astype(np.int64) + tile_px + 1
        yield indices, resampled(levels, step, first, last), Tiles(corners[indices] - first, tile_px)


def quick_inputs(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """What Quick's linear maps look at, float32 (n, 2 n_features): each feature's z-score by ``reference`` (the section's own spots on tissue; images
    only, no counts), and how far it is from usual to either side, both levelled off by a hyperbolic tangent.

    So a gene may be high where a feature is either high or low, and rare artefacts do not rule.
    """
    z = standardise(features, reference) / 2
    return np.asarray(2 * np.tanh(np.concatenate([z, np.abs(z)], axis=1)), dtype=np.float32)


@dataclass
class Tiles:
    """Where the tiles of a block begin, float64 (n, 2) in pixels of the block, and their side."""

    corners: np.ndarray
    side: int

    def box(self, share: float, margin: float) -> tuple[np.ndarray, float]:
        """Corners and side of the middle ``share`` of the tiles, or of what a margin leaves of the tile where that is less."""
        side = max(min(share * self.side, self.side - 2 * margin), 4)
        return self.corners + (self.side - side) / 2, side


def stain_density(rgb: np.ndarray) -> np.ndarray:
    """Haematoxylin, eosin and residual density of (h, w, 3) RGB in 0..1, float32, by Ruifrok and Johnston's matrix as scikit-image has it."""
    density = -np.log(np.maximum(rgb, np.float32(1 / 255)))
    return np.asarray(cv2.transform(density, np.ascontiguousarray(hed_from_rgb.T, dtype=np.float32)))


def _features(image: np.ndarray, tiles: Tiles) -> list[np.ndarray]:
    """Each (n, k), of the tiles of a block, float32 (h, w, 3)."""
    stains = cv2.split(stain_density(image))
    grey = -np.log(np.maximum(image.mean(axis=2), np.float32(1 / 255)))
    parts = [_colour(plane, tiles, (0.0, 1.0)) for plane in cv2.split(image)] + [_colour(plane, tiles, STAIN_RANGE) for plane in stains]
    mean = np.concatenate([part[:, :1] for part in parts], axis=1)
    rest = np.concatenate([part[:, 1:] for part in parts], axis=1)
    return [mean, rest, *_bands([stains[0], stains[1], grey], tiles)]  # haematoxylin, eosin, overall density


def _colour(plane: np.ndarray, tiles: Tiles, limits: tuple[float, float]) -> np.ndarray:
    """Means, SDs and quantiles of one colour for the whole tile and its middle, the tile's mean first: (n, 2 * (2 + quantiles))."""
    mean, square = means(plane, tiles), means(plane * plane, tiles)
    quantiles = [_quantiles(plane, tiles, share, *limits) for share in SHARES]
    return np.concatenate([mean, np.sqrt(np.maximum(square - mean * mean, 0)), *quantiles], axis=1)


def _bands(channels: list[np.ndarray], tiles: Tiles) -> list[np.ndarray]:
    """Statistics of band-pass images.

    The bands are those of a Gaussian pyramid: blurred to twice the sigma, every second pixel then serves the next octave.
    """
    fine, twice = ([_blur(plane, times * FINEST_SIGMA_PX) for plane in channels] for times in (1, 2))
    reach = _reach(2 * FINEST_SIGMA_PX)
    out = _band(channels, fine, tiles, 0, _reach(FINEST_SIGMA_PX)) + _band(fine, twice, tiles, 0, reach)
    further = math.sqrt(3) * FINEST_SIGMA_PX  # from sigma s to 2 s takes sqrt(3) s; both count in pixels of the finer image
    for octave in range(1, OCTAVES + 1):
        half = [np.ascontiguousarray(plane[::2, ::2]) for plane in twice]
        twice = [_blur(plane, further) for plane in half]
        reach += _reach(further) * 2**octave
        out += _band(half, twice, tiles, octave, reach)
    return out


def _band(sharp: list[np.ndarray], smooth: list[np.ndarray], tiles: Tiles, octave: int, reach: int) -> list[np.ndarray]:
    """Energy, skewness and sparseness of the band between two blurs, gradient energy and coherence of the smoother, and the correlation of the
    bands of haematoxylin and eosin: each (n, 2), for the whole tile and its middle."""
    margin, out, bands, energies = reach + 2**octave, [], [], []
    for before, after in zip(sharp, smooth, strict=True):
        band = before - after
        dy, dx = cv2.filter2D(after, -1, DIFFERENCE.T), cv2.filter2D(after, -1, DIFFERENCE)
        square, yy, xx = band * band, dy * dy, dx * dx
        energy, cube, size, trace, across, xy = (
            means(plane, tiles, margin, octave) for plane in (square, square * band, np.abs(band), yy + xx, yy - xx, dy * dx)
        )
        energy = np.maximum(energy, 0)  # sums of an integral image may fall below 0 where a tile is all one colour
        out += [
            np.log(energy + 1e-6),
            cube / (energy**1.5 + 1e-6),
            size / np.sqrt(energy + 1e-6),
            np.log(trace + 1e-6),
            np.sqrt(across**2 + 4 * xy * xy) / (trace + 1e-6),
        ]
        bands.append(band)
        energies.append(energy)
    return [*out, means(bands[0] * bands[1], tiles, margin, octave) / np.sqrt(energies[0] * energies[1] + 1e-8)]


def _blur(plane: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (h, w), cut off after :func:`_reach`."""
    size = 2 * _reach(sigma) + 1
    return cv2.GaussianBlur(plane, (size, size), sigma, borderType=cv2.BORDER_REFLECT_101)


def _reach(sigma: float) -> int:
    """How many pixels a blur looks to each side."""
    return math.ceil(REACH * sigma)


def means(plane: np.ndarray, tiles: Tiles, margin: float = 0, octave: int = 0) -> np.ndarray:
    """Means of (h, w) over each share of each tile, float64 (n, shares); ``plane`` holds every 2**octave-th pixel.

    Interpolated in an integral image, so that a pixel half within counts half.
    """
    table = cv2.integral(plane, sdepth=cv2.CV_64F)
    means = []
    for share in SHARES:
        corners, side = tiles.box(share, margin)
        start, side = (corners - 0.5) / 2**octave + 0.5, side / 2**octave
        (top, left), (bottom, right) = start.T, (start + side).T
        sums = _at(table, bottom, right) - _at(table, top, right) - _at(table, bottom, left) + _at(table, top, left)
        means.append(sums / side**2)
    return np.stack(means, axis=1)


def _at(table: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bilinear interpolation, (n,)."""
    i, j = (np.clip(np.floor(at).astype(np.int64), 0, size - 2) for at, size in ((y, table.shape[0]), (x, table.shape[1])))
    v, u = y - i, x - j
    return np.asarray(
        (1 - v) * ((1 - u) * table[i, j] + u * table[i, j + 1]) + v * ((1 - u) * table[i + 1, j] + u * table[i + 1, j + 1]), dtype=np.float64
    )


def _quantiles(plane: np.ndarray, tiles: Tiles, share: float, low: float, high: float) -> np.ndarray:
    """QUANTILES of (h, w) over the whole pixels of each tile's middle ``share``, from histograms of 256 bins: float64 (n, quantiles)."""
    levels = np.rint(np.clip((plane - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)
    corners, side = tiles.box(share, 0)
    starts, size = np.rint(corners).astype(np.int64), round(side)
    out = np.empty((len(starts), len(QUANTILES)))
    for number, (y, x) in enumerate(starts):
        counts = cv2.calcHist([levels[y : y + size, x : x + size]], [0], None, [256], [0, 256]).ravel()
        below = np.concatenate([[0], np.cumsum(counts, dtype=np.float64)]) / size**2
        out[number] = np.interp(QUANTILES, below, np.arange(257) - 0.5)
    return out * ((high - low) / 255) + low


def resampled(levels: Sequence[Any], step: float, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Rows and columns ``first`` to ``last`` of the slide at ``step`` full-resolution pixels a pixel, float32 (h, w, 3) in 0..1.

    Area averages of the next finer level, bilinear where there is none; on one grid for the whole slide.
    """
    full = np.array(levels[0].shape[:2])
    level = [one for one in levels if (full / np.array(one.shape[:2]) <= step * 1.001).all()] or [levels[0]]
    ratio = step * np.array(level[-1].shape[:2]) / full
    rows, columns = (_weights(first[axis], last[axis], ratio[axis], level[-1].shape[axis]) for axis in (0, 1))
    pixels = np.asarray(level[-1][rows[0] : rows[0] + rows[1].shape[1], columns[0] : columns[0] + columns[1].shape[1]], dtype=np.float32) / 255
    shrunk = (rows[1] @ pixels.reshape(len(pixels), -1)).reshape(-1, *pixels.shape[1:]).transpose(1, 0, 2)
    shrunk = (columns[1] @ np.ascontiguousarray(shrunk).reshape(len(shrunk), -1)).reshape(-1, *shrunk.shape[1:])
    return np.ascontiguousarray(shrunk.transpose(1, 0, 2))


def _weights(first: int, last: int, ratio: float, size: int) -> tuple[int, sparse.csr_array]:
    """Where to start reading, and the weights of what is read there: (last - first, n_read), float32; mirrored beyond 0..size."""
    wanted = np.arange(first, last)
    if ratio >= 1:
        source = np.floor(wanted * ratio).astype(np.int64)[:, None] + np.arange(math.ceil(ratio) + 1)
        share = (np.minimum((wanted[:, None] + 1) * ratio, source + 1) - np.maximum(wanted[:, None] * ratio, source)).clip(0) / ratio
    else:
        centre = (wanted + 0.5) * ratio - 0.5
        source = np.floor(centre).astype(np.int64)[:, None] + np.arange(2)
        share = np.abs(1 - np.arange(2) - (centre - source[:, 0])[:, None])
    folded = mirrored(source.ravel(), size)
    used = share.ravel() > 0
    start = int(folded[used].min())
    rows = np.repeat(np.arange(len(wanted)), source.shape[1])
    shape = (len(wanted), int(folded[used].max()) + 1 - start)
    return start, sparse.csr_array((share.ravel()[used].astype(np.float32), (rows[used], folded[used] - start)), shape=shape)
