"""Numbers that compare measured with predicted values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree
from scipy.stats import rankdata


def in_chunks(number: Callable[..., np.ndarray], *arrays: np.ndarray, entries: int = 4_000_000) -> np.ndarray:
    """``number`` of arrays (n, n_genes), taken over some columns at a time, so that memory stays bounded for 18,000 genes: (n_genes,)."""
    width = max(entries // max(len(arrays[0]), 1), 1)
    found = [number(*(values[:, start : start + width] for values in arrays)) for start in range(0, arrays[0].shape[1], width)]
    return np.concatenate(found) if found else np.zeros(0)


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


def spearman(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation per column of two (n, n_genes) arrays, float64 (n_genes,): Pearson's r of the ranks, ties get their mean rank.

    NaN as for :func:`pearson`.
    """
    measured, predicted = np.asarray(measured, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    both = np.isfinite(measured) & np.isfinite(predicted)
    rows = both.any(axis=1)
    found = np.full(measured.shape[1], np.nan)
    whole = both[rows].all(axis=0)
    for part in np.array_split(np.flatnonzero(whole), max(measured.size // 5_000_000, 1)):
        if len(part) and rows.any():
            found[part] = pearson(rankdata(measured[rows][:, part], axis=0), rankdata(predicted[rows][:, part], axis=0))
    for k in np.flatnonzero(~whole):
        ranks = (rankdata(values[both[:, k], k])[:, None] for values in (measured, predicted))
        found[k] = pearson(*ranks)[0]
    return found


def neighbour_weights(centres: np.ndarray, neighbours: int = 6) -> sparse.csr_matrix:
    """Weights of the ``neighbours`` nearest other spots of each spot at ``centres`` (n, 2), each row sums to 1: CSR (n, n)."""
    n = len(centres)
    count = min(neighbours, n - 1)
    if count < 1:
        return sparse.csr_matrix((n, n))
    index = cKDTree(centres).query(centres, k=count + 1)[1]
    own = index == np.arange(n)[:, None]
    own[~own.any(axis=1), -1] = True  # many spots at one place: the spot itself may be missing among them
    return sparse.csr_matrix((np.full(n * count, 1 / count), index[~own], np.arange(0, n * count + 1, count)), shape=(n, n))


def moran(values: np.ndarray, weights: sparse.csr_matrix) -> np.ndarray:
    """Moran's I per column of ``values`` (n, n_genes) for row-standardised ``weights`` (n, n): how far neighbours resemble each other.

    Float64 (n_genes,); I = sum(z W z) / sum(z z) with z the values less their mean (Moran 1950). A gap counts as the mean; NaN for a constant column.
    """
    values = np.asarray(values, dtype=np.float64)
    there = np.isfinite(values)
    z = np.where(there, values, 0)
    z = np.where(there, z - z.sum(axis=0) / np.maximum(there.sum(axis=0), 1), 0)
    square = (z * z).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(square > 1e-12 * len(values), (z * (weights @ z)).sum(axis=0) / square, np.nan)


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


def auc(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Area under the ROC curve per column: float64 (n_classes,), NaN for a class that all or none of the spots have.

    ``measured`` (n, n_classes) is 1 for the spot's own class, else 0; ``predicted`` any score that is higher for likelier spots. Rows with a NaN
    are left out. By ranks (Mann and Whitney 1947), ties count half.
    """
    measured, predicted = np.asarray(measured, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    rows = np.isfinite(measured).all(axis=1) & np.isfinite(predicted).all(axis=1)
    positive = measured[rows] > 0.5
    n1 = positive.sum(axis=0)
    n0 = len(positive) - n1
    ranks = rankdata(predicted[rows], axis=0) if rows.any() else predicted[rows]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np.where(positive, ranks, 0).sum(axis=0) - n1 * (n1 + 1) / 2) / np.where(n0 * n1 > 0, n0 * n1, np.nan)


def macro_auc(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Mean of :func:`auc` over the classes that are there; NaN without any."""
    values = auc(measured, predicted)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def classification(measured: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """How well the likeliest class of each spot is the right one: accuracy, per class recall, precision and F1, and the table.

    ``macro`` are the means over classes, ``micro`` the same counted over all spots and classes at once: recall, precision and F1 are then the
    accuracy, and the AUC compares every (spot, class) pair that is right with every one that is wrong.

    ``measured`` and ``predicted`` as for :func:`auc`; ``confusion`` (n_classes, n_classes) counts spots, rows are measured. A class that is never
    predicted has precision 0; a class without a spot counts in no mean. "majority class" is the accuracy of always naming the commonest.
    """
    rows = np.isfinite(measured).all(axis=1) & np.isfinite(predicted).all(axis=1)
    true, named = np.argmax(measured[rows], axis=1), np.argmax(predicted[rows], axis=1)
    n = measured.shape[1]
    table = np.zeros((n, n), dtype=int)
    np.add.at(table, (true, named), 1)
    hit, of, said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    recall, precision = hit / np.maximum(of, 1), hit / np.maximum(said, 1)
    f1 = 2 * hit / np.maximum(of + said, 1)
    there = of > 0
    by_class = {"recall": recall, "precision": precision, "F1": f1}
    total = max(int(of.sum()), 1)
    macro = {name: float(values[there].mean()) for name, values in by_class.items()} | {"AUC": macro_auc(measured, predicted)}
    pairs = auc(measured[rows].reshape(-1, 1), predicted[rows].reshape(-1, 1))[0]
    micro = dict.fromkeys(by_class, float(hit.sum() / total)) | {"AUC": float(pairs)}
    return {
        "accuracy": float(hit.sum() / total),
        "majority class": float(of.max(initial=0) / total),
        "macro": macro if there.any() else {},
        "micro": micro if there.any() else {},
        "recall": recall.tolist(),
        "precision": precision.tolist(),
        "F1": f1.tolist(),
        "n": of.tolist(),
        "confusion": table.tolist(),
    }
