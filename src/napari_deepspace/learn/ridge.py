"""PCA and ridge regression on features, the penalty chosen gene by gene within the training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

INNER_FOLDS = 4


@dataclass(frozen=True)
class RidgeModel:
    """Linear map from standardised features to scaled outputs: ``coefficients`` (n_features, n_outputs), ``intercept`` (n_outputs,)."""

    coefficients: np.ndarray
    intercept: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Scaled outputs float32 (n, n_outputs) of standardised ``features`` (n, n_features)."""
        return (features @ self.coefficients + self.intercept).astype(np.float32)


def fit_ridge(features: np.ndarray, values: np.ndarray, groups: np.ndarray, components: int, alphas: Sequence[float]) -> RidgeModel:
    """Fit on ``features`` (n, f) and ``values`` (n, g); ``groups`` (n,) are neighbourhoods kept together when penalties are compared.

    Each output takes the penalty of least squared error over inner folds; "no slope at all" is among the choices.
    """
    inner = _inner_folds(groups)
    penalties = np.array([*alphas, np.inf])
    error = np.zeros((len(penalties), values.shape[1]))
    for fold in range(INNER_FOLDS):
        test = inner == fold
        if test.any() and not test.all():
            basis = _Basis(features[~test], values[~test], components)
            for number, alpha in enumerate(penalties):
                residual = values[test] - basis.predict(features[test], alpha)
                error[number] += (residual * residual).sum(axis=0)
    best = penalties[error.argmin(axis=0)]
    return _Basis(features, values, components).model(best)


def _inner_folds(groups: np.ndarray) -> np.ndarray:
    """Groups dealt to INNER_FOLDS in a fixed shuffled order, so that neighbouring blocks seldom share a fold."""
    unique, number = np.unique(groups, return_inverse=True)
    if len(unique) < INNER_FOLDS:
        return np.arange(len(groups)) % INNER_FOLDS
    return (np.random.default_rng(0).permutation(len(unique)) % INNER_FOLDS)[number]


class _Basis:
    """Principal components of one training part, ready for any penalty."""

    def __init__(self, features: np.ndarray, values: np.ndarray, components: int):
        self.centre, self.mean = features.mean(axis=0), values.mean(axis=0)
        u, s, vt = np.linalg.svd(features - self.centre, full_matrices=False)
        count = min(components, int((s > s[0] * 1e-6).sum()) if len(s) else 0)
        self.s, self.vt = s[:count], vt[:count]
        self.projected = u[:, :count].T @ (values - self.mean)  # (components, n_outputs)

    def slopes(self, alpha: float | np.ndarray) -> np.ndarray:
        shrink = self.s[:, None] / (self.s[:, None] ** 2 + np.broadcast_to(alpha, (self.projected.shape[1],)))
        return shrink * self.projected

    def predict(self, features: np.ndarray, alpha: float) -> np.ndarray:
        return ((features - self.centre) @ self.vt.T) @ self.slopes(alpha) + self.mean

    def model(self, alphas: np.ndarray) -> RidgeModel:
        coefficients = self.vt.T @ self.slopes(alphas)
        return RidgeModel(coefficients.astype(np.float32), (self.mean - self.centre @ coefficients).astype(np.float32))
