"""What the simple ways look at: a tile's mean colour, its brightness and its nuclei, and how many counts the spot has. Nothing else is cheaper."""

from __future__ import annotations

from collections.abc import Generator

import cv2
import numpy as np

from napari_deepspace.analyse.baselines import fit_simple, predict_simple, standardise
from napari_deepspace.events import Event, Progress
from napari_deepspace.learn.features import means, stain_density, tile_blocks
from napari_deepspace.learn.linear import fit_logistic
from napari_deepspace.section import Section
from napari_deepspace.target import Target
from napari_deepspace.tiles import tile_radius_px

UM_PER_PX = 1.0
NUCLEUS_UM = 2.5  #: sigma of the blur that leaves a nucleus one hill of haematoxylin; the background is twice as wide
LEAST_DENSITY = 0.12  #: how far a hill stands out, as density of haematoxylin

COLUMNS = {"mean RGB": [0, 1, 2], "brightness": [3], "nuclear density": [4], "log UMI": [5]}
"""Which columns of :func:`simple_table` each simple way sees."""


def simple_looks(section: Section, centres_yx: np.ndarray, tile_um: float) -> Generator[Event, None, np.ndarray]:
    """Mean R, G, B in 0..1, brightness (their mean) and nuclei per mm2 of the tiles at ``centres_yx`` (n, 2): float64 (n, 5), not standardised.

    The slide is read once, block by block, at 1 um a pixel.
    """
    looks = np.empty((len(centres_yx), 5))
    side = min(512, max(32, round(tile_um / UM_PER_PX / 2) * 2))
    done = 0
    for index, image, tiles in tile_blocks(section.require_slide().levels, centres_yx, tile_radius_px(tile_um, section.mpp), side):
        looks[index, :3] = np.concatenate([means(plane, tiles)[:, :1] for plane in cv2.split(image)], axis=1)
        looks[index, 4] = means(nuclei(image, tile_um / side), tiles)[:, 0] * (side / tile_um * 1000) ** 2
        done += len(index)
        yield Progress(f"measuring colour and nuclei of {section.library_id}", done, len(centres_yx))
    looks[:, 3] = looks[:, :3].mean(axis=1)
    return looks


def nuclei(image: np.ndarray, um_per_px: float) -> np.ndarray:
    """1 at the middle of each nucleus of ``image`` (h, w, 3) in 0..1, else 0: float32 (h, w).

    A nucleus is a hill of haematoxylin that stands out of its surroundings: a local maximum of the difference of two Gaussian blurs. Good enough to
    say where nuclei are dense; it is no segmentation.
    """
    density = np.ascontiguousarray(stain_density(image)[:, :, 0])
    sigma = NUCLEUS_UM / um_per_px
    hill = cv2.GaussianBlur(density, (0, 0), sigma) - cv2.GaussianBlur(density, (0, 0), 2 * sigma)
    reach = 2 * max(1, round(sigma)) + 1
    top = cv2.dilate(hill, np.ones((reach, reach), dtype=np.uint8))
    return np.asarray((hill >= top) & (hill > LEAST_DENSITY), dtype=np.float32)


def simple_table(looks: np.ndarray, totals: np.ndarray | None, reference: np.ndarray | None = None) -> np.ndarray:
    """What the simple ways see, float64 (n, 6): ``looks`` (n, 5) and the logarithm of ``totals`` (n,) UMI, as z-scores.

    By the section's own spots on tissue, or by the looks of ``reference`` (m, 5). Without counts the last column is NaN.
    """
    table = np.full((len(looks), 6), np.nan)
    table[:, :5] = np.clip(standardise(looks, looks if reference is None else reference), -6, 6)
    if totals is not None and (totals > 0).any():
        counted = totals > 0
        depth = np.log(totals[counted])[:, None]
        table[counted, 5] = np.clip(standardise(depth, depth), -6, 6)[:, 0]
    return table


def fit_ways(target: Target, table: np.ndarray, scaled: np.ndarray, groups: np.ndarray) -> dict[str, np.ndarray]:
    """Each simple way fitted on one training part: coefficients float64 (k + 1, n_outputs), the intercept last.

    ``table`` (n, 6) of :func:`simple_table` and ``scaled`` values (n, n_outputs) of the part's spots, ``groups`` (n,) their neighbourhoods.
    """
    ways = {}
    for name, columns in COLUMNS.items():
        known = np.isfinite(table[:, columns]).all(axis=1)
        x, y = table[known][:, columns], scaled[known]
        if target.kind == "clusters":
            fitted = fit_logistic(x, y, groups[known], len(columns), (1.0,))
            ways[name] = np.vstack([fitted.coefficients, fitted.intercept])
        else:
            ways[name] = fit_simple(x, y)
    return ways


def predict_ways(ways: dict[str, np.ndarray], table: np.ndarray) -> dict[str, np.ndarray]:
    """Scaled outputs (n, n_outputs) of each simple way at spots of ``table`` (n, 6); NaN where what it sees is not known."""
    return {name: predict_simple(coefficients, table[:, COLUMNS[name]]) for name, coefficients in ways.items()}
