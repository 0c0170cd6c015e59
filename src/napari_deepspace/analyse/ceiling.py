"""The best r that counts allow: each spot's counts are split in two, and how far the halves agree says what no predictor can pass."""

from __future__ import annotations

import numpy as np
from anndata import AnnData
from scipy import sparse

from napari_deepspace.analyse.metrics import pearson
from napari_deepspace.preprocess.normalise import spot_totals
from napari_deepspace.target import Target, signature_scores

THINNINGS = 5
LEAST_SEEN = 10  #: spots that a gene must be detected in: how halves of a handful of molecules agree says nothing


def ceiling(counts: AnnData, rows: np.ndarray, target: Target, *, thinnings: int = THINNINGS, seed: int = 0) -> np.ndarray | None:
    """Highest r with the measured values that any prediction can reach, float64 (n_outputs,); None for what has no counts (clusters, numbers of obs).

    Every count of the spots ``rows`` is divided binomially, which gives two sections of half the depth whose errors are independent. With r between
    the two on the scale log(1 + count / total * target_sum), whatever the run's own normalisation, values of full depth agree with the truth by
    sqrt(2 r / (1 + r)) (Spearman and Brown 1910). r is the mean over ``thinnings``. NaN where it is not above 0, and for a gene detected in
    fewer than LEAST_SEEN of the spots: nothing can be told then.
    Signatures are scored in each half.
    """
    if target.kind not in ("genes", "signatures") or counts.X is None or counts.n_vars == 0 or len(rows) < 3:
        return None
    matrix = sparse.csr_matrix(counts.X[rows])
    rng = np.random.default_rng(seed)
    if target.kind == "genes":
        r = np.mean([_genes_once(matrix, counts, target, rng) for _ in range(thinnings)], axis=0)
    else:
        r = np.mean([_signatures_once(matrix, counts, target, rng) for _ in range(thinnings)], axis=0)
    with np.errstate(invalid="ignore"):
        return np.sqrt(np.where(r > 0, 2 * r / (1 + r), np.nan))


def _genes_once(matrix: sparse.csr_matrix, counts: AnnData, target: Target, rng: np.random.Generator) -> np.ndarray:
    """r between two halves, (n_genes,). Only the wanted genes are divided one by one; the rest of each spot's counts as a whole."""
    columns = counts.var_names.get_indexer(list(target.names))
    found = columns >= 0
    wanted = matrix[:, columns[found]].tocoo()
    whole = np.rint(wanted.data).astype(np.int64)
    rest = np.rint(spot_totals(matrix)).astype(np.int64)
    rest -= np.bincount(wanted.row, weights=whole, minlength=len(rest)).astype(np.int64)
    first, rest_first = rng.binomial(whole, 0.5), rng.binomial(np.maximum(rest, 0), 0.5)
    sides = []
    for part, other in ((first, rest_first), (whole - first, np.maximum(rest, 0) - rest_first)):
        total = other + np.bincount(wanted.row, weights=part, minlength=len(rest))
        sides.append(np.log1p(part * (target.target_sum / np.maximum(total, 1))[wanted.row]))
    r = np.full(len(columns), np.nan)
    seen = np.bincount(wanted.col[whole > 0], minlength=int(found.sum()))
    r[found] = np.where(seen >= LEAST_SEEN, _sparse_r(sides[0], sides[1], wanted.col, int(found.sum()), matrix.shape[0]), np.nan)
    return r


def _sparse_r(x: np.ndarray, y: np.ndarray, column: np.ndarray, n_columns: int, n: int) -> np.ndarray:
    """Pearson's r per column of two matrices of ``n`` rows that are 0 but for entries ``x`` and ``y`` in ``column``."""
    sx, sy, xx, yy, xy = (np.bincount(column, weights=values, minlength=n_columns) for values in (x, y, x * x, y * y, x * y))
    left, right = xx - sx * sx / n, yy - sy * sy / n
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((left > 1e-9) & (right > 1e-9), (xy - sx * sy / n) / np.sqrt(left * right), np.nan)


def _signatures_once(matrix: sparse.csr_matrix, counts: AnnData, target: Target, rng: np.random.Generator) -> np.ndarray:
    whole = np.rint(matrix.data).astype(np.int64)
    first = rng.binomial(whole, 0.5)
    halves = []
    for part in (first, whole - first):
        half = sparse.csr_matrix((part.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
        halves.append(signature_scores(AnnData(X=half, var=counts.var[[]]), target))
    return pearson(*halves)
