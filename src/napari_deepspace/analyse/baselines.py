"""The simple ways that a model must beat: a few numbers of a tile, the neighbouring spots, and the neighbouring section."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

NEIGHBOURS = 6


def fit_simple(columns: np.ndarray, values: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """Ridge on a few numbers of each spot, a tile's mean colour say: float64 (k + 1, n_outputs), slopes and the intercept.

    ``columns`` (n, k) are standardised by the caller (per section), so one small ``alpha`` serves every slide; ``values`` is (n, n_outputs).
    """
    centre, mean = columns.mean(axis=0), values.mean(axis=0)
    x = columns - centre
    slopes = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ (values - mean))
    return np.vstack([slopes, mean - centre @ slopes])


def predict_simple(coefficients: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values (n, n_outputs) at standardised ``columns`` (n, k)."""
    return np.asarray(columns @ coefficients[:-1] + coefficients[-1])


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
