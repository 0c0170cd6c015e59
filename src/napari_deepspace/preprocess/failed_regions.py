"""Contiguous regions of few counts: did the assay fail there, or is the tissue truly low?

The H&E decides, as far as it can. A region whose tiles look like tissue that measured well elsewhere has probably failed for technical reasons:
there, a prediction fills in what was lost. A region unlike anything that measured well may be fat, necrosis or glass, whose few counts are the
truth: filling it in would be invention, so nothing is said about it.

*Alike* is measured against the section itself. For every tile of a region, the distance in the space of image features to its nearest well
measured look-alikes, away from the region; the median over the region is compared with that of equally large patches of well measured tissue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from shapely.geometry import MultiPolygon, Polygon

Verdict = Literal["technical", "cannot tell"]

WORDS: dict[str, str] = {
    "technical": "looks like tissue that measured well elsewhere: probably technical",
    "cannot tell": "unlike anything that measured well: cannot tell",
}

MIN_SPOTS = 7  #: a spot and its six neighbours; fewer spots are chance
REACH = 1.5  #: spots nearer than this many pitches are neighbours, on the hexagonal and the square lattice
LOOKALIKES = 3
COMPONENTS = 16
PATCHES = 200  #: patches of well measured tissue that a region is compared with, at most
TYPICAL = 95.0  #: a region is alike if at least 5 % of the patches are as far from the rest as it is
MIN_WELL = 30  #: well measured spots without which nothing can be said
MOSTLY_WELL = 0.5  #: share of a region's look-alikes, low ones counted, that must have measured well
NEIGHBOURS = 15


@dataclass(frozen=True)
class LowRegion:
    """A contiguous region of few counts.

    ``outline`` in full-resolution px, (x, y); ``spots`` int (n,) are its low spots; ``unlike`` is how far its tiles are from well measured
    look-alikes, in units of what 95 % of well measured patches stay below (NaN: too little tissue measured well to compare with).
    """

    outline: Polygon | MultiPolygon
    spots: np.ndarray
    median_umi: float
    unlike: float
    verdict: Verdict

    @property
    def words(self) -> str:
        return WORDS[self.verdict]


def low_regions(
    centres_yx: np.ndarray, umi: np.ndarray, low: np.ndarray, in_tissue: np.ndarray, looks: np.ndarray, pitch_px: float, guard_px: float
) -> list[LowRegion]:
    """Regions of at least MIN_SPOTS adjoining low spots in tissue, with a verdict on each; the largest first.

    Parameters
    ----------
    centres_yx
        Spot centres (n, 2), full-resolution px.
    umi, low, in_tissue
        (n,): total counts; whether the spot filter finds them too few; whether the spot lies on tissue that has a tile.
    looks
        Image features of the tiles, (n, n_features), of any scale.
    pitch_px, guard_px
        Distance of neighbouring spots; well measured spots nearer than ``guard_px`` to a region share pixels with it and are left out.
    """
    low, well = low & in_tissue, ~low & in_tissue
    space = _look_space(looks, well) if well.any() else looks
    regions = []
    for spots in components(centres_yx, low, REACH * pitch_px):
        if len(spots) >= MIN_SPOTS:
            unlike = _unlike(centres_yx, spots, well, space, guard_px)
            alike = unlike <= 1 and _mostly_well(centres_yx, spots, well, in_tissue, space, guard_px)
            outline = _outline(centres_yx[spots], pitch_px)
            regions.append(LowRegion(outline, spots, float(np.median(umi[spots])), unlike, "technical" if alike else "cannot tell"))
    return sorted(regions, key=lambda region: -len(region.spots))


def _look_space(looks: np.ndarray, well: np.ndarray) -> np.ndarray:
    """Principal components of well measured tissue, softly whitened, for every spot: (n, at most COMPONENTS)."""
    centre, spread = looks[well].mean(axis=0), looks[well].std(axis=0)
    scaled = np.clip((looks - centre) / np.where(spread > 1e-8, spread, np.inf), -6, 6).astype(np.float64)
    middle = scaled[well].mean(axis=0)
    _, s, vt = np.linalg.svd(scaled[well] - middle, full_matrices=False)
    kept = int(min(COMPONENTS, (s > s[0] * 1e-6).sum())) if len(s) and s[0] > 0 else 0
    return np.asarray((scaled - middle) @ vt[:kept].T / np.sqrt(s[:kept] / np.sqrt(well.sum())))


def components(centres_yx: np.ndarray, member: np.ndarray, reach_px: float) -> list[np.ndarray]:
    """The rows of each group of ``member`` spots (bool, n) that hang together, neighbours being nearer than ``reach_px``."""
    rows = np.flatnonzero(member)
    if not len(rows):
        return []
    tree = cKDTree(centres_yx[rows])
    count, label = connected_components(tree.sparse_distance_matrix(tree, reach_px), directed=False)
    return [rows[label == number] for number in range(count)]


def _unlike(centres_yx: np.ndarray, spots: np.ndarray, well: np.ndarray, space: np.ndarray, guard_px: float) -> float:
    """The region's distance to its look-alikes, over that of the TYPICAL percentile of patches; NaN where too little measured well."""
    own = _distance(centres_yx, spots, well, space, guard_px)
    rows = np.flatnonzero(well)
    if np.isnan(own) or len(rows) < MIN_WELL:
        return float("nan")
    size = min(len(spots), len(rows) // 4)
    seeds = rows[np.unique(np.linspace(0, len(rows) - 1, PATCHES).astype(int))]
    _, nearest = cKDTree(centres_yx[rows]).query(centres_yx[seeds], k=size)
    patches = [_distance(centres_yx, rows[patch], well, space, guard_px) for patch in nearest.reshape(len(seeds), size)]
    typical = [distance for distance in patches if np.isfinite(distance)]
    return own / float(np.percentile(typical, TYPICAL)) if typical else float("nan")


def _distance(centres_yx: np.ndarray, spots: np.ndarray, well: np.ndarray, space: np.ndarray, guard_px: float) -> float:
    """Median over ``spots`` of the mean distance to the LOOKALIKES nearest well measured tiles away from them."""
    others = np.flatnonzero(well & _away(centres_yx, spots, guard_px))
    if len(others) < LOOKALIKES:
        return float("nan")
    distance, _ = cKDTree(space[others]).query(space[spots], k=LOOKALIKES)
    return float(np.median(distance.mean(axis=1)))


def _mostly_well(centres_yx: np.ndarray, spots: np.ndarray, well: np.ndarray, in_tissue: np.ndarray, space: np.ndarray, guard_px: float) -> bool:
    """Whether most tissue of the same look, low or not, measured well: else the look itself goes with few counts."""
    others = np.flatnonzero(in_tissue & _away(centres_yx, spots, guard_px))
    _, nearest = cKDTree(space[others]).query(space[spots], k=min(NEIGHBOURS, len(others)))
    return bool(well[others[nearest]].mean() >= MOSTLY_WELL)


def _away(centres_yx: np.ndarray, spots: np.ndarray, guard_px: float) -> np.ndarray:
    distance, _ = cKDTree(centres_yx[spots]).query(centres_yx, distance_upper_bound=guard_px)
    return np.isinf(distance)


def _outline(centres_yx: np.ndarray, pitch_px: float) -> Polygon | MultiPolygon:
    """Round the lattice cells of the spots; gaps of single spots are closed, and the line is simplified so that it can be edited."""
    discs = shapely.buffer(shapely.points(centres_yx[:, ::-1]), pitch_px / np.sqrt(3))
    return shapely.union_all(discs).buffer(pitch_px / 2).buffer(-pitch_px / 2).simplify(pitch_px / 20)
