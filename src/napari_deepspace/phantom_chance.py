"""Fields of the phantom that nothing visible relates to, not even by chance.

Two smooth random fields on one section are seldom uncorrelated, and neither are a random field and the many features of some hundred tiles: an
out-of-fold r of two or three times 1/sqrt(n) comes about with nothing behind it. Hence hidden fields are first made uncorrelated with the
visible fields in every neighbourhood, and of many such fields those few are taken that a ridge regression on a tile's looks predicts least.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_deepspace.phantom_tissue import CELL_UM, GRID, MPP, Tissue, band_field, blur, disc_means

N_HIDDEN = 8
WAVELENGTH_UM = (280.0, 380.0)

_COARSE = 6
_COARSE_UM = CELL_UM * _COARSE
_CANDIDATES = 320


def hidden_fields(tissue: Tissue, image: np.ndarray) -> np.ndarray:
    """Smooth fields of unit variance that ``image`` (uint8, the slide) does not show: float32 (N_HIDDEN, GRID, GRID)."""
    rng = np.random.default_rng([tissue.seed, 5])
    where = _coarse(tissue.solid & ~tissue.failed)
    others = [_coarse(field) for field in (*(blur(f, 45) for f in (tissue.tumour, tissue.invasive)), tissue.eosin, tissue.size, tissue.spacing, tissue.coherence)]
    candidates = [band_field(rng, where.shape, _COARSE_UM, *WAVELENGTH_UM) for _ in range(_CANDIDATES)]
    fields = _locally_uncorrelated(candidates, others, where, 220)
    good = tissue.good_spots
    at = (tissue.centres_yx[good] * MPP / _COARSE_UM - 0.5).T
    values = np.stack([ndimage.map_coordinates(field, at, order=1, mode="nearest") for field in fields], 1)
    relation = chance_relation(values, _looks(tissue, image)[good], tissue.centres_yx[good] * MPP)
    chosen = _distinct(fields[np.argsort(relation, kind="stable")], where)
    large = np.stack([ndimage.zoom(field, _COARSE, order=3, mode="nearest", grid_mode=True) for field in chosen])
    inside = tissue.solid & ~tissue.failed
    return np.asarray((large - large[:, inside].mean(1)[:, None, None]) / large[:, inside].std(1)[:, None, None], dtype=np.float32)


def chance_relation(values: np.ndarray, looks: np.ndarray, centres_um: np.ndarray) -> np.ndarray:
    """|r| between each column of ``values`` (n, m) and what a ridge on ``looks`` (n, d) predicts of it from far spots alone, the worst of some penalties: (m,)."""
    centred = values - values.mean(0)
    scaled = (looks - looks.mean(0)) / (looks.std(0) + 1e-9)
    u, s, _ = np.linalg.svd(np.clip(scaled, -6, 6), full_matrices=False)
    distance = np.hypot(*(centres_um[:, None] - centres_um[None]).T)
    far = np.clip((distance - 137.5) / 500, 0, 1)
    worst = np.zeros(values.shape[1])
    for penalty in (0.02, 0.1, 0.5, 2.0):  # in units of the number of spots
        gain = s**2 / (s**2 + penalty * len(values))
        predicted = ((u * gain) @ u.T * far) @ centred
        r = (predicted * centred).sum(0) / np.linalg.norm(predicted, axis=0) / np.linalg.norm(centred, axis=0)
        worst = np.maximum(worst, np.abs(r))
    return worst


def _looks(tissue: Tissue, image: np.ndarray) -> np.ndarray:
    """Colour and texture round every lattice spot, over the spot and over a tile: float (n_lattice, n)."""
    half = image[::2, ::2].astype(np.float32)
    size = half.shape[0] // GRID
    density = -np.log((half + 1) / 256)

    def cells(pixels: np.ndarray) -> np.ndarray:
        return pixels.reshape(GRID, size, GRID, size).mean((1, 3))

    maps = [cells(half[..., i]) for i in range(3)]
    for channel in (density[..., 0], density[..., 1]):
        smooth = [channel, *(ndimage.gaussian_filter(channel, sigma, truncate=3) for sigma in (0.8, 1.6, 3.2))]
        for fine, coarse in zip(smooth, smooth[1:], strict=False):
            band = fine - coarse
            maps += [np.log(blur(cells(band * band), 30) + 1e-5), cells(band**3)]
        maps += [cells(channel * channel), cells(np.maximum(channel - 0.7, 0)), cells(np.maximum(0.15 - channel, 0))]
    return np.concatenate([disc_means(np.stack(maps), tissue.centres_yx, width) for width in (55.0, 140.0)], 1)


def _distinct(fields: np.ndarray, where: np.ndarray, most: float = 0.3) -> list[np.ndarray]:
    """The first N_HIDDEN of ``fields`` that correlate with none before them by more than ``most``."""
    weight = np.sqrt(where)
    chosen: list[np.ndarray] = []
    for field in fields:
        if all(abs(np.corrcoef((field * weight).ravel(), (other * weight).ravel())[0, 1]) < most for other in chosen):
            chosen.append(field)
        if len(chosen) == N_HIDDEN:
            break
    return chosen


def _coarse(field: np.ndarray) -> np.ndarray:
    n = GRID // _COARSE
    return np.asarray(field, dtype=np.float32).reshape(n, _COARSE, n, _COARSE).mean((1, 3))


def _locally_uncorrelated(fields: list[np.ndarray], others: list[np.ndarray], where: np.ndarray, sigma_um: float) -> np.ndarray:
    """Each of ``fields`` less its regression on ``others`` within a Gaussian window round every coarse cell, weighted by ``where``."""

    def window_mean(field: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(field, sigma_um / _COARSE_UM, mode="nearest", truncate=3)

    basis = np.stack([np.ones_like(where), *others])
    n = len(basis)
    gram = np.empty((*where.shape, n, n), np.float32)
    for i in range(n):
        for j in range(i, n):
            gram[..., i, j] = gram[..., j, i] = window_mean(where * basis[i] * basis[j])
    ridge = 1e-3 * np.einsum("yxii->yx", gram)[..., None, None] / n + 1e-5
    right = np.stack([np.stack([window_mean(where * b * field) for b in basis], -1) for field in fields], -1)
    weights = np.linalg.solve(gram + ridge * np.eye(n, dtype=np.float32), right)
    return np.asarray(np.stack(fields) - np.einsum("yxif,iyx->fyx", weights, basis), dtype=np.float32)
