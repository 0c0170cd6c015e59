"""Outlines as a hand might draw them, for what must be told from chance. SYNTHETIC."""

from __future__ import annotations

import numpy as np
import shapely
from scipy.spatial import cKDTree
from shapely.geometry import Polygon


def blob(spots_yx: np.ndarray, rng: np.random.Generator) -> Polygon:
    """A wobbly round outline, (x, y), about a random spot, of 5 to 25 % of the area of all; it knows nothing of any gene."""
    centre = spots_yx[rng.integers(len(spots_yx))]
    radius = np.sqrt(rng.uniform(0.05, 0.25) * np.ptp(spots_yx, axis=0).prod() / np.pi)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    wobble = 1 + sum(rng.normal(0, 0.12) * np.cos(k * angle + rng.uniform(0, 6.28)) for k in (2, 3, 4))
    return Polygon(centre[::-1] + (radius * np.clip(wobble, 0.3, 2))[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)).buffer(0)


def round_the_top_quarter(spots_yx: np.ndarray, values: np.ndarray, neighbours: int = 7) -> shapely.MultiPolygon:
    """What somebody draws who sees a gene: round the spots whose neighbourhood is in the top quarter of ``values`` (n,)."""
    distance, index = cKDTree(spots_yx).query(spots_yx, k=neighbours)
    smooth = values[index].mean(axis=1)
    high = spots_yx[smooth >= np.quantile(smooth, 0.75)]
    return shapely.union_all(shapely.buffer(shapely.points(high[:, ::-1]), 0.6 * np.median(distance[:, 1])))
