"""Squares of neighbouring spots, the pieces that a section is resampled by: neighbouring spots repeat one another, distant squares hardly do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

PARTS = 3  #: a block is cut into PARTS x PARTS smaller ones, which show how much its neighbours have in common with it
BLOCKS = 13  #: of a section of 180 spots
_RASTER = 512  #: most cells a side of the picture in which the nearest spot is looked up


@dataclass(frozen=True)
class Blocks:
    """Spots in square blocks, and each block in up to nine smaller ones.

    ``small`` (n_spots,) numbers the small block of each spot, ``parent`` (n_small,) the block that a small block lies in; ``side_um`` is the
    usual side of a block. No block spans two sections.
    """

    small: np.ndarray
    parent: np.ndarray
    side_um: float

    @property
    def of_spot(self) -> np.ndarray:
        """The block of each spot, int (n_spots,)."""
        return np.asarray(self.parent[self.small])

    @property
    def number(self) -> int:
        return int(self.parent.max()) + 1 if len(self.parent) else 0

    @property
    def effective(self) -> float:
        """How many blocks of equal size would say as much: n**2 / sum of squares; smaller than ``number`` where a section's border cuts blocks."""
        size = np.bincount(self.of_spot).astype(np.float64)
        return float(size.sum() ** 2 / (size**2).sum()) if len(size) else 0.0


def spot_blocks(centres_um: np.ndarray, groups: np.ndarray | None = None) -> Blocks:
    """Blocks of the spots at ``centres_um`` (n, 2); ``groups`` (n,) tells sections or folds apart (default: all are one).

    A section of n spots is cut into about 13 (n / 180)**(1/3) blocks: 13 of 180 spots, 33 of 3,000. The side grows with the section (4 pitches to 10)
    and so does their number, as variances of block sums need; tests/acceptance/test_interval_coverage.py measured that few large blocks, with
    Student's t for their number, cover best. Blocks with less than half the usual number of spots are joined to the nearest.
    """
    centres_um = np.asarray(centres_um, dtype=np.float64).reshape(-1, 2)
    groups = np.zeros(len(centres_um), dtype=int) if groups is None else np.unique(groups, return_inverse=True)[1]
    small, parents, sides = np.zeros(len(centres_um), dtype=int), [], []
    n_small = n_blocks = 0
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        found, parent, side = _squares(centres_um[rows])
        small[rows] = found + n_small
        parents.append(parent + n_blocks)
        sides.append(side)
        n_small, n_blocks = n_small + len(parent), n_blocks + int(parent.max()) + 1
    return Blocks(small, np.concatenate(parents) if parents else np.zeros(0, dtype=int), float(np.median(sides)) if sides else float("nan"))


def _squares(centres: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Small block of each spot, the block of each small block, and the side, of one section."""
    wanted = max(BLOCKS * (len(centres) / 180) ** (1 / 3), 1.0)
    origin, extent = _frame(centres)
    side = float(np.sqrt(extent.prod() / wanted))
    for _ in range(60):  # tissue fills only a part of its frame: smaller squares until enough of them are filled
        blocks = _joined(_cells(centres, origin, extent, side, 1), centres)
        if len(np.unique(blocks)) >= 0.9 * wanted:
            break
        side *= 0.95
    cells = _cells(centres, origin, extent, side, PARTS)
    _, first, small = np.unique(cells, return_index=True, return_inverse=True)
    return small, blocks[first], side


def _frame(centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corner and extent (2,) of the rectangle round the spots, half a pitch beyond the outermost."""
    low, high = centres.min(axis=0), centres.max(axis=0)
    pitch = _pitch(centres)
    return low - pitch / 2, high - low + pitch


def _pitch(centres: np.ndarray) -> float:
    if len(centres) < 2:
        return 1.0
    distance = cKDTree(centres).query(centres, k=2)[0][:, 1]
    return float(np.median(distance)) or 1.0


def _cells(centres: np.ndarray, origin: np.ndarray, extent: np.ndarray, side: float, parts: int) -> np.ndarray:
    """Number of the cell of each spot in a grid that divides the frame evenly, each square of about ``side`` cut into parts x parts."""
    count = np.maximum(np.round(extent / side), 1).astype(int) * parts
    at = np.clip(((centres - origin) / (extent / count)).astype(int), 0, count - 1)
    return np.asarray(at[:, 0] * count[1] + at[:, 1])


def _joined(cells: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Cells numbered from 0, those with less than half the median number of spots joined to the nearest other."""
    labels = np.unique(cells, return_inverse=True)[1]
    while True:
        size = np.bincount(labels)
        least = int(np.argmin(size))
        if len(size) < 2 or size[least] >= np.median(size) / 2:
            return np.asarray(labels)
        middle = np.stack([np.bincount(labels, weights=axis) / size for axis in centres.T], axis=1)
        distance = ((middle - middle[least]) ** 2).sum(axis=1)
        distance[least] = np.inf
        labels[labels == least] = int(np.argmin(distance))
        labels = np.unique(labels, return_inverse=True)[1]


def moved_maps(centres_um: np.ndarray, moves: int, seed: int, groups: np.ndarray | None = None, *, gaps: bool = False) -> np.ndarray:
    """For each of ``moves`` random moves of a whole map, which spot's value comes to lie on each spot: int32 (moves, n_spots).

    The map is mirrored or not along each axis, continued beyond its frame by its own mirror image, shifted by a random distance, and read at the
    nearest spot, each section by itself. Unlike exchanged blocks, or a shift that comes in again on the other side, this makes no seams, which
    would make the moved map rougher than the map and p values too small: with smooth maps that have nothing to do with one another blocks gave
    p < 0.05 to up to 19 % of genes, shifts on a torus to 17 % (compared once), this to 3 to 7 % (tests/acceptance/test_interval_coverage.py).
    With ``gaps`` a spot that nothing of the map comes to lie on, because the tissue has no spot there, gets -1 and not the nearest one at the rim.
    """
    centres_um = np.asarray(centres_um, dtype=np.float64)
    groups = np.zeros(len(centres_um), dtype=int) if groups is None else np.asarray(groups)
    moved = np.empty((moves, len(centres_um)), dtype=np.int32)
    rng = np.random.default_rng(seed)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        origin, extent = _frame(centres_um[rows])
        nearest, step = _nearest_spots(centres_um[rows], origin, extent, gaps)
        for move in range(moves):
            at = (centres_um[rows] - origin + rng.random(2) * 2 * extent) % (2 * extent)
            at = np.where(rng.random(2) < 0.5, 2 * extent - at, at)
            at = np.where(at > extent, 2 * extent - at, at)
            cell = np.minimum((at / step).astype(int), np.array(nearest.shape) - 1)
            found = nearest[cell[:, 0], cell[:, 1]]
            moved[move, rows] = np.where(found < 0, -1, rows[found])
    return moved


def _nearest_spots(centres: np.ndarray, origin: np.ndarray, extent: np.ndarray, gaps: bool) -> tuple[np.ndarray, np.ndarray]:
    """The nearest spot at every cell of a picture of the frame, and the cells' sides (2,); with ``gaps`` -1 farther than 3/4 pitch from any."""
    count = np.clip(np.ceil(extent / (_pitch(centres) / 4)).astype(int), 1, _RASTER)
    step = extent / count
    middles = np.stack(np.meshgrid(*((np.arange(c) + 0.5) for c in count), indexing="ij"), axis=-1) * step + origin
    distance, nearest = cKDTree(centres).query(middles.reshape(-1, 2))
    return (np.where(distance > 0.75 * _pitch(centres), -1, nearest) if gaps else nearest).reshape(count), step
