"""Putting counts of spots of different depth on one scale."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def spot_totals(counts: sparse.csr_matrix) -> np.ndarray:
    """Total count of each spot over all genes of the matrix: float64 (n_spots,)."""
    return np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()


def log_per_depth(counts: sparse.csr_matrix, target_sum: float, totals: np.ndarray | None = None) -> sparse.csr_matrix:
    """log(1 + count / total of the spot x ``target_sum``): CSR float32, spots x genes.

    ``target_sum`` is the median total of the training spots, so that the value reads as log(1 + counts at median depth). ``totals`` (n_spots,)
    are the spots' totals over *all* genes; left out, they are taken from ``counts``, which must then hold all genes. Spots without counts
    stay 0.

    Raises
    ------
    ValueError
        ``target_sum`` is not above 0.
    """
    if not target_sum > 0:
        raise ValueError(f"target_sum must be above 0, not {target_sum}")
    counts = sparse.csr_matrix(counts)
    depth = spot_totals(counts) if totals is None else np.asarray(totals, dtype=np.float64)
    factor = np.divide(target_sum, depth, out=np.zeros_like(depth), where=depth > 0)
    values = np.log1p(counts.data * np.repeat(factor, np.diff(counts.indptr))).astype(np.float32)
    return sparse.csr_matrix((values, counts.indices.copy(), counts.indptr.copy()), shape=counts.shape)
