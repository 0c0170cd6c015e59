"""Fields of the phantom that nothing visible relates to, not even by chance.

Random fields on one section are seldom quite uncorrelated, and out of fold a model of a hundred features finds |r| of 2 to 3 / sqrt(n) in nothing
at all: predictions of i from j and of j from i are no independent draws, so that their r spreads by sqrt(2 / n). A control must do better than
that. Hence hidden fields are made uncorrelated with the visible fields in every neighbourhood, and of many such fields those are taken that
ridges on tile features, over several spatial splits, relate to the slide least. What leaks through a bad split still shows in them. The
shuffled section is no such choice: its spots change places at random, so that it shows what chance really does.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_deepspace.learn.features import quick_inputs, slide_features
from napari_deepspace.phantom_tissue import CELL_UM, GRID, MPP, N_HIDDEN, TILE_UM, Tissue, band_field
from napari_deepspace.settings import QuickSettings

WAVELENGTH_UM = (320.0, 430.0)

_COARSE = 6
_COARSE_UM = CELL_UM * _COARSE
_CANDIDATES = 600
_SPLITS, _FOLDS, _BLOCK_UM, _COMPONENTS = 12, 5, 500.0, 64  # as Quick is scored by default


def tile_looks(tissue: Tissue, image: np.ndarray) -> np.ndarray:
    """What Quick sees of the scored spots on ``image`` (uint8, the slide): float (n_scored, n_inputs)."""
    radius, side = round(TILE_UM / MPP / 2), round(TILE_UM / QuickSettings().um_per_px / 2) * 2
    batches = list(slide_features([image], np.round(_scored_centres(tissue)), radius, side))
    order = np.argsort(np.concatenate([indices for indices, _ in batches]))
    looks = np.concatenate([looks for _, looks in batches])[order].astype(np.float64)
    return quick_inputs(looks, looks).astype(np.float64)


def hidden_fields(tissue: Tissue, looks: np.ndarray) -> np.ndarray:
    """Smooth fields of unit variance that the slide does not show: float32 (N_HIDDEN, GRID, GRID); ``looks`` from :func:`tile_looks`."""
    rng = tissue.rng(5)
    inside = tissue.solid & ~tissue.failed
    where = _coarse(inside)
    candidates = np.stack([band_field(rng, where.shape, _COARSE_UM, *WAVELENGTH_UM) for _ in range(_CANDIDATES)])
    fields = _locally_uncorrelated(candidates, [_coarse(field) for field in tissue.visible], where, 220)
    centres = _scored_centres(tissue)
    at = (centres * MPP / _COARSE_UM - 0.5).T
    values = np.stack([ndimage.map_coordinates(field, at, order=1, mode="nearest") for field in fields], 1)
    relation = chance_relation(values, looks, centres * MPP, rng, (100, 300))
    chosen = _distinct(fields[np.argsort(relation, kind="stable")], where)
    large = np.stack([ndimage.zoom(field, _COARSE, order=3, mode="nearest", grid_mode=True) for field in chosen])
    mean, deviation = large[:, inside].mean(1), large[:, inside].std(1)
    return np.asarray((large - mean[:, None, None]) / deviation[:, None, None], dtype=np.float32)


def chance_relation(
    values: np.ndarray, looks: np.ndarray, centres_um: np.ndarray, rng: np.random.Generator, penalties: tuple[float, ...]
) -> np.ndarray:
    """How well ridges on ``looks`` (n, d) predict each column of ``values`` (n, m) out of fold: (m,).

    The root mean square of r over random spatial splits, for the worst of several regressions: all features with each of ``penalties``,
    and random halves of them.
    """
    looks = np.clip((looks - looks.mean(0)) / (looks.std(0) + 1e-9), -6, 6)
    n = looks.shape[1]
    halves = [looks[:, rng.permutation(n)[: n // 2]] for _ in range(2)]
    squares = np.zeros((len(penalties) + len(halves), values.shape[1]))
    for number in range(_SPLITS):
        shift = rng.uniform(0, _BLOCK_UM, 2) if number % 2 else 0  # every other split cuts its blocks where the default split does
        cell = np.floor((centres_um - centres_um.min(0) + shift) / _BLOCK_UM).astype(int)
        block = np.unique(cell, axis=0, return_inverse=True)[1].ravel()
        fold = (rng.permutation(block.max() + 1) % _FOLDS)[block]
        predictions = _out_of_fold(values, looks, centres_um, fold, penalties)
        predictions += [_out_of_fold(values, half, centres_um, fold, (50,))[0] for half in halves]
        squares += [_pearson(predicted, values) ** 2 for predicted in predictions]
    return np.asarray(np.sqrt(squares.max(0) / _SPLITS))


def _out_of_fold(values: np.ndarray, looks: np.ndarray, centres_um: np.ndarray, fold: np.ndarray, penalties: tuple[float, ...]) -> list[np.ndarray]:
    """Ridge predictions of ``values`` (n, m) at each fold's points from points of other folds farther than a tile, one (n, m) per penalty."""
    out = [np.empty_like(values) for _ in penalties]
    for k in range(fold.max() + 1):
        test = fold == k
        train = cKDTree(centres_um[test]).query(centres_um)[0] > TILE_UM
        middle, mean = looks[train].mean(0), values[train].mean(0)
        around = looks[train] - middle
        power, axes = np.linalg.eigh(around.T @ around)
        power, axes = power[-_COMPONENTS:, None], axes[:, -_COMPONENTS:]
        projected, inputs = axes.T @ (around.T @ (values[train] - mean)), (looks[test] - middle) @ axes
        for predicted, penalty in zip(out, penalties, strict=True):
            predicted[test] = inputs @ (projected / (power + penalty)) + mean
    return out


def _pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(0), b - b.mean(0)
    return np.asarray((a * b).sum(0) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0))


def _scored_centres(tissue: Tissue) -> np.ndarray:
    return tissue.centres_yx[tissue.in_tissue & tissue.scored]


def _distinct(fields: np.ndarray, where: np.ndarray, most: float = 0.25) -> list[np.ndarray]:
    """The first N_HIDDEN of ``fields`` that correlate with none before them by more than ``most``."""
    inside = where > 0.5
    chosen: list[np.ndarray] = []
    for field in fields:
        if all(abs(np.corrcoef(field[inside], other[inside])[0, 1]) < most for other in chosen):
            chosen.append(field)
        if len(chosen) == N_HIDDEN:
            break
    return chosen


def _coarse(field: np.ndarray) -> np.ndarray:
    n = GRID // _COARSE
    return np.asarray(field, dtype=np.float32).reshape(n, _COARSE, n, _COARSE).mean((1, 3))


def _locally_uncorrelated(fields: np.ndarray, others: list[np.ndarray], where: np.ndarray, sigma_um: float) -> np.ndarray:
    """Each of ``fields`` (n, y, x) less its regression on ``others`` within a Gaussian window round every cell, weighted by ``where``."""

    def window_mean(stack: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(stack, sigma_um / _COARSE_UM, mode="nearest", truncate=3, axes=(-2, -1))

    basis = np.stack([np.ones_like(where), *others])
    gram = window_mean(where * basis[:, None] * basis).transpose(2, 3, 0, 1)
    ridge = 1e-3 * np.einsum("yxii->yx", gram)[..., None, None] / len(basis) + 1e-5
    inverse = np.linalg.inv(gram + ridge * np.eye(len(basis), dtype=np.float32))
    projected = np.stack([window_mean(where * field * fields) for field in basis])
    return np.asarray(fields - np.einsum("yxij,jfyx,iyx->fyx", inverse, projected, basis, optimize=True), dtype=np.float32)
