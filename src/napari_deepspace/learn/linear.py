"""PCA and a linear map on features: ridge regression, or logistic regression of clusters. The penalty is chosen within the training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

INNER_FOLDS = 4
ABSENT = -20.0  #: log odds of a cluster that no spot of the training part belongs to
Extra = tuple[np.ndarray, np.ndarray]
"""Features and values of further tiles that are learned from, and not used to choose the penalty."""


@dataclass(frozen=True)
class LinearModel:
    """Linear map from standardised features to scaled outputs: ``coefficients`` (n_features, n_outputs), ``intercept`` (n_outputs,)."""

    coefficients: np.ndarray
    intercept: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Scaled outputs float32 (n, n_outputs) of standardised ``features`` (n, n_features)."""
        return (features @ self.coefficients + self.intercept).astype(np.float32)


def fit_ridge(
    features: np.ndarray, values: np.ndarray, groups: np.ndarray, components: int, alphas: Sequence[float], extra: Extra | None = None
) -> LinearModel:
    """Fit on ``features`` (n, f) and ``values`` (n, g); ``groups`` (n,) are neighbourhoods kept together when penalties are compared.

    One penalty serves all outputs, that of the least squared error over inner folds, each output's error counted in units of its variance:
    chosen gene by gene it follows noise (her2st C2 + C4 -> C3: mean r 0.24 in place of 0.29). It is chosen without the tiles of ``extra``: their
    labels come from a model that has seen the spots which the inner folds would test.
    """
    alpha = _inner(features, values, groups, components, alphas)[0]
    return _Basis(*_with(features, values, extra), components).model(alpha)


def _with(features: np.ndarray, values: np.ndarray, extra: Extra | None) -> Extra:
    return (features, values) if extra is None else (np.concatenate([features, extra[0]]), np.concatenate([values, extra[1]]))


def held_out_ridge(features: np.ndarray, values: np.ndarray, groups: np.ndarray, components: int, alphas: Sequence[float]) -> np.ndarray:
    """Outputs float32 (n, g) of :func:`fit_ridge` for spots of the training part itself, each by a fit to the inner folds without it."""
    alpha, parts = _inner(features, values, groups, components, alphas)
    out = np.full(values.shape, np.nan, dtype=np.float32)
    for test, basis in parts:
        out[test] = basis.predict(features[test], alpha)
    return out


def _inner(
    features: np.ndarray, values: np.ndarray, groups: np.ndarray, components: int, alphas: Sequence[float]
) -> tuple[float, list[tuple[np.ndarray, _Basis]]]:
    """The best penalty, and for each inner fold its spots (bool, n) and the fit to the others."""
    inner = _inner_folds(groups)
    variance = np.maximum(values.var(axis=0), 1e-12)
    error, parts = np.zeros(len(alphas)), []
    for fold in range(INNER_FOLDS):
        test = inner == fold
        if test.any() and not test.all():
            basis = _Basis(features[~test], values[~test], components)
            parts.append((test, basis))
            for number, alpha in enumerate(alphas):
                residual = values[test] - basis.predict(features[test], alpha)
                error[number] += float((residual * residual / variance).sum())
    return alphas[int(error.argmin())], parts


def fit_logistic(
    features: np.ndarray, values: np.ndarray, groups: np.ndarray, components: int, alphas: Sequence[float], extra: Extra | None = None
) -> LinearModel:
    """Multinomial logistic regression of clusters: ``values`` (n, k) are 1 for the spot's own cluster, else 0; outputs are log odds.

    The other arguments are those of :func:`fit_ridge`; the penalty is that of the highest likelihood over inner folds.
    """
    labels, inner = values.argmax(axis=1), _inner_folds(groups)
    loss = np.zeros(len(alphas))
    for fold in range(INNER_FOLDS):
        test = inner == fold
        if test.any() and not test.all():
            basis = _axes(features[~test], components)
            for number, alpha in enumerate(alphas):
                outputs = _logistic(features[~test], labels[~test], values.shape[1], basis, alpha).predict(features[test])
                loss[number] -= float((log_softmax(outputs, axis=1) * values[test]).sum())
    features, values = _with(features, values, extra)
    return _logistic(features, values.argmax(axis=1), values.shape[1], _axes(features, components), alphas[int(loss.argmin())])


def _axes(features: np.ndarray, components: int) -> np.ndarray:
    """Principal axes, (components, n_features)."""
    _, s, vt = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    return np.asarray(vt[: min(components, int((s > s[0] * 1e-6).sum()) if len(s) else 0)])


def _logistic(features: np.ndarray, labels: np.ndarray, n_outputs: int, axes: np.ndarray, alpha: float) -> LinearModel:
    from sklearn.linear_model import LogisticRegression

    centre, there = features.mean(axis=0), np.unique(labels)
    slopes, intercept = np.zeros((len(axes), n_outputs)), np.full(n_outputs, ABSENT)
    if len(there) > 1:
        found = LogisticRegression(C=1 / alpha, max_iter=500).fit((features - centre) @ axes.T, labels)
        if len(there) == 2:  # one row serves both
            slopes[:, there], intercept[there] = np.stack([-found.coef_[0], found.coef_[0]], axis=1) / 2, found.intercept_[0] * np.array([-0.5, 0.5])
        else:
            slopes[:, there], intercept[there] = found.coef_.T, found.intercept_
    else:
        intercept[there] = 0
    coefficients = axes.T @ slopes
    return LinearModel(coefficients.astype(np.float32), (intercept - centre @ coefficients).astype(np.float32))


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

    def slopes(self, alpha: float) -> np.ndarray:
        return (self.s / (self.s**2 + alpha))[:, None] * self.projected

    def predict(self, features: np.ndarray, alpha: float) -> np.ndarray:
        return ((features - self.centre) @ self.vt.T) @ self.slopes(alpha) + self.mean

    def model(self, alpha: float) -> LinearModel:
        coefficients = self.vt.T @ self.slopes(alpha)
        return LinearModel(coefficients.astype(np.float32), (self.mean - self.centre @ coefficients).astype(np.float32))
