"""What changes across a border: the mean of measured and predicted values in bands of signed distance from an outline."""

from __future__ import annotations

import numpy as np
import pandas as pd
import shapely
from scipy.spatial import cKDTree
from scipy.stats import t as student
from shapely.geometry.base import BaseGeometry

from napari_deepspace.analyse.blocks import Blocks
from napari_deepspace.analyse.bootstrap import LEAST_BLOCKS, RESAMPLES
from napari_deepspace.errors import SettingsError

REACH_UM = 500.0
LEAST_BAND_UM, BAND_UM = 10.0, 50.0
COLUMNS = ("from_um", "to_um", "n", "blocks", "mean", "low", "high")


def signed_distance_um(geometry: BaseGeometry, points_yx: np.ndarray, mpp: float) -> np.ndarray:
    """Distance of points (n, 2), (row, column) in px, from the border of ``geometry``, negative inside: float64 (n,), um."""
    points = shapely.points(np.asarray(points_yx, dtype=np.float64).reshape(-1, 2)[:, ::-1])
    shapely.prepare(geometry)
    distance = shapely.distance(points, geometry.boundary) * mpp
    return np.asarray(np.where(shapely.covers(geometry, points), -distance, distance))


def blocks_at(points: np.ndarray, spots: np.ndarray, blocks: Blocks) -> np.ndarray:
    """The block of the nearest of ``spots`` (n_spots, 2) for each of ``points`` (n, 2): int (n,). However dense points are, they add no tissue."""
    return np.asarray(blocks.of_spot[cKDTree(spots).query(points)[1]])


def profile(
    distance_um: np.ndarray, values: np.ndarray, block: np.ndarray, band_um: float = BAND_UM, *, reach_um: float = REACH_UM, seed: int = 0
) -> pd.DataFrame:
    """Mean of ``values`` in bands of ``distance_um`` from -``reach_um`` to ``reach_um``, each (n,), NaN values left out; columns as in COLUMNS.

    0 is always an edge, and a band holds its lower edge. The 95 % interval is mean +- t * s: s is the spread of the band's mean when whole blocks
    (``block`` (n,), of the whole section) are drawn with replacement, t Student's for the blocks that lie in the band; NaN for fewer than four.

    Raises
    ------
    SettingsError
        ``band_um`` is below 10 or above ``reach_um``.
    """
    if not LEAST_BAND_UM <= band_um <= reach_um:
        raise SettingsError(f"Bands are {LEAST_BAND_UM:g} to {reach_um:g} um wide; found {band_um:g} um. Give another width (--band-um).")
    there = np.isfinite(values) & np.isfinite(distance_um)
    each_side = int(np.ceil(reach_um / band_um - 1e-9))
    band = np.floor(distance_um[there] / band_um).astype(int) + each_side
    there[there] = near = (band >= 0) & (band < 2 * each_side)
    _, block = np.unique(block, return_inverse=True)
    n_blocks = int(block.max()) + 1 if len(block) else 1
    at = block[there], band[near]
    n, total = np.zeros((n_blocks, 2 * each_side)), np.zeros((n_blocks, 2 * each_side))
    np.add.at(n, at, 1)
    np.add.at(total, at, np.asarray(values, dtype=np.float64)[there])
    weights = np.random.default_rng(seed).multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=RESAMPLES).astype(np.float64)
    count = n.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total.sum(axis=0) / count
        spread = np.nanstd(np.where(count > 0, (weights @ total) / (weights @ n), 0), axis=0, ddof=1) * np.sqrt(n_blocks / max(n_blocks - 1, 1))
        effective = np.where(count > 0, count**2 / (n**2).sum(axis=0), 0)
    enough = effective >= LEAST_BLOCKS
    reach = np.where(enough, student.ppf(0.975, np.where(enough, effective - 1, 1)) * spread, np.nan)
    start = (np.arange(2 * each_side) - each_side) * band_um
    columns = (start, start + band_um, count.astype(int), (n > 0).sum(axis=0), mean, mean - reach, mean + reach)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
