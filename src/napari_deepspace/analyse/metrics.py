"""Numbers that compare measured with predicted values."""

from __future__ import annotations

import numpy as np


def pearson(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Pearson's r per column of two (n, n_genes) arrays, float64 (n_genes,).

    Rows with a NaN in either are left out, column by column; a constant column or fewer than three rows gives NaN.
    """
    measured, predicted = np.asarray(measured, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    both = np.isfinite(measured) & np.isfinite(predicted)
    n = both.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        a = np.where(both, measured - np.where(both, measured, 0).sum(axis=0) / n, 0)
        b = np.where(both, predicted - np.where(both, predicted, 0).sum(axis=0) / n, 0)
        spread = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
        flat = (a * a).sum(axis=0) < 1e-12 * n
        flat |= (b * b).sum(axis=0) < 1e-12 * n
        r = (a * b).sum(axis=0) / spread
    return np.where((n >= 3) & ~flat, r, np.nan)


def rmse(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Root mean squared error per column of two (n, n_genes) arrays; NaN rows are left out."""
    error = np.asarray(measured, dtype=np.float64) - np.asarray(predicted, dtype=np.float64)
    n = np.isfinite(error).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(np.nansum(error * error, axis=0) / np.where(n > 0, n, np.nan))


def mean_r(r: np.ndarray) -> float:
    """Mean over genes; an undefined r (a constant prediction, a gene never seen) counts as 0, so that it cannot be hidden."""
    r = np.asarray(r, dtype=np.float64)
    return float(np.nan_to_num(r, nan=0.0).mean()) if r.size else float("nan")


def chance_r(n: int) -> float:
    """3 / sqrt(n): an r beyond it is unlikely by chance alone, if spots were independent."""
    return float(3 / np.sqrt(n)) if n > 0 else float("nan")
