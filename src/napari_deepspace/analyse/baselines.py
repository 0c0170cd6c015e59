"""The simple ways that a model must beat: a tile's mean colour, and the neighbours without any image."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

NEIGHBOURS = 6


def fit_mean_rgb(rgb: np.ndarray, values: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """Ridge on a tile's mean colour: float64 (4, n_genes), three slopes and the intercept.

    ``rgb`` (n, 3) is standardised by the caller (per section), so one small ``alpha`` serves every slide; ``values`` is (n, n_genes).
    """
    centre, mean = rgb.mean(axis=0), values.mean(axis=0)
    x = rgb - centre
    slopes = np.linalg.solve(x.T @ x + alpha * np.eye(3), x.T @ (values - mean))
    return np.vstack([slopes, mean - centre @ slopes])


def predict_mean_rgb(coefficients: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Values (n, n_genes) at standardised mean colours ``rgb`` (n, 3)."""
    return rgb @ coefficients[:3] + coefficients[3]


def standardise(features: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """z-scores of ``features`` (n, f) by the mean and SD of ``reference`` (default: themselves); constant columns become 0."""
    reference = features if reference is None else reference
    spread = reference.std(axis=0)
    return (features - reference.mean(axis=0)) / np.where(spread > 1e-8, spread, np.inf)


def interpolate(known_um: np.ndarray, values: np.ndarray, wanted_um: np.ndarray) -> np.ndarray:
    """Inverse distance over the six nearest measured spots, no image: (n_wanted, n_genes).

    ``known_um`` (n, 2) are the spots that may be used (never the test part), ``values`` (n, n_genes) their measurements.
    """
    count = min(NEIGHBOURS, len(known_um))
    distance, index = cKDTree(known_um).query(wanted_um, k=count)
    distance, index = distance.reshape(len(wanted_um), count), index.reshape(len(wanted_um), count)
    weight = 1 / np.maximum(distance, 1e-6)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.einsum("nk,nkg->ng", weight, values[index])
