"""SCTransform (vst, flavour v1): counts freed of the spots' depth by a regularised negative binomial regression.

Source of the method: Hafemeister and Satija, Genome Biology 20:296 (2019). Equal to R's sctransform 0.3.5 to the digits its tables print, given
the genes that R draws at random; by default nothing is drawn here: every gene and, up to 5,000, every spot takes part in the fit, so that the
result does not depend on the order of genes or spots.

Counts come as sparse spots x genes; inside, genes are rows and are worked on in blocks small enough for the processor's cache, in threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import sparse

from napari_deepspace.errors import DataError
from napari_deepspace.events import Progress
from napari_deepspace.preprocess.bandwidth import sheather_jones
from napari_deepspace.preprocess.negative_binomial import fit_theta, poisson_regression

MIN_SPOTS = 5
"""A gene seen in fewer spots takes no part and gets no values, unless it is asked for by name."""
MAX_FIT_SPOTS = 5000
N_VARIABLE = 3000
MIN_THETA = 1e-7

Result = TypeVar("Result")

_BLOCK_VALUES = 131_072  # of one genes x spots block: 1 MB in double precision
_EPS = float(np.finfo(float).eps)
_OUTLIER_SCORE = 10.0
_KERNEL_SIGMA = 0.3706506  # of R's ksmooth: quartiles at a quarter of the bandwidth
_KERNEL_REACH = 4.0


@dataclass(frozen=True)
class SCTransform:
    """The regularised regression of each gene's counts on depth: mean = exp(intercept + slope * log10(total)), dispersion theta.

    Arrays are float64 (n_kept,) in the order of ``genes``, the columns of the counts that got a model. ``fitted`` (bool) are genes of the first
    step, ``outlier`` (bool) those of them that the curves left out. A gene without any neighbour on the curves has NaN parameters.
    """

    genes: np.ndarray
    theta: np.ndarray
    intercept: np.ndarray
    slope: np.ndarray
    log_gmean: np.ndarray
    fitted: np.ndarray
    outlier: np.ndarray
    median_log_depth: float
    n_spots: int

    def rows(self, columns: np.ndarray) -> np.ndarray:
        """Row of each of ``columns`` in these arrays, int (n,); -1 where a gene has no model."""
        at = np.searchsorted(self.genes, columns).clip(max=max(0, len(self.genes) - 1))
        return np.where(self.genes[at] == columns, at, -1) if len(self.genes) else np.full(len(columns), -1)

    def residuals(self, counts: np.ndarray, log_depth: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Pearson residuals of ``counts`` (n_genes, n_spots) with ``log_depth`` (n_spots,) = log10(total); ``rows`` as from :meth:`rows`."""
        mean = np.exp(self.intercept[rows, None] + self.slope[rows, None] * log_depth)
        return np.asarray((counts - mean) / np.sqrt(mean * (1 + mean / self.theta[rows, None])))

    def corrected(self, residuals: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Counts that a spot of median depth would have given: whole numbers >= 0, float64 of the shape of ``residuals``."""
        mean = np.exp(self.intercept[rows] + self.slope[rows] * self.median_log_depth)
        deviation = np.sqrt(mean * (1 + mean / self.theta[rows]))
        return np.asarray(np.maximum(np.rint(mean[:, None] + residuals * deviation[:, None]), 0))


@dataclass(frozen=True)
class Transformed:
    """What a model makes of its counts: ``corrected`` CSC float32 (n_spots, n_kept); ``residual_mean`` and ``residual_variance`` (n_kept,)
    of the residuals clipped at +-sqrt(n_spots)."""

    model: SCTransform
    corrected: sparse.csc_matrix
    residual_mean: np.ndarray
    residual_variance: np.ndarray

    def variable(self, n: int = N_VARIABLE) -> np.ndarray:
        """Rows of the ``n`` genes of highest residual variance, highest first."""
        order = np.argsort(-self.residual_variance, kind="stable")
        return order[np.isfinite(self.residual_variance[order])][:n]


def fit_sctransform(
    counts: sparse.spmatrix,
    *,
    step1_genes: np.ndarray | None = None,
    always: Iterable[int] = (),
    threads: int | None = None,
    of: str = "counts",
) -> Generator[Progress, None, SCTransform]:
    """Fit to raw ``counts`` (n_spots, n_genes); closing the generator cancels.

    Parameters
    ----------
    step1_genes
        Columns whose own fits make the curves; left out: every gene seen in at least MIN_SPOTS spots. Give the genes that R drew to get R's digits.
    always
        Columns that get a model even if they are seen in fewer spots; their parameters are read off the curves.
    of
        Name of what is transformed, for the words of the progress.

    Raises
    ------
    DataError
        Too few spots or genes, a spot without counts, or a value that is no count.
    """
    by_gene = _checked(counts, of)
    n_spots = by_gene.shape[0]
    log_depth = np.log10(_totals(by_gene))
    seen = np.diff(by_gene.indptr)
    genes = np.flatnonzero((seen >= MIN_SPOTS) | (np.isin(np.arange(len(seen)), list(always)) & (seen > 0)))
    log_gmean = _log_gmean(by_gene, genes)
    spots = _fit_spots(by_gene, log_depth)
    candidates = _step1(by_gene, genes, spots, step1_genes)
    if len(candidates) < 10:
        raise DataError(
            f"{of}: only {len(candidates)} genes are counted in at least {MIN_SPOTS} of {len(spots)} spots; SCTransform needs at least 10. "
            "Choose the normalisation log."
        )
    fits = np.full((3, len(genes)), np.nan)  # theta, intercept, slope
    stage = f"SCTransform of {of}"
    x = log_depth[spots]
    part = by_gene[spots] if len(spots) < n_spots else by_gene

    def fit_block(rows: np.ndarray) -> np.ndarray:
        y = _dense(part, genes[rows])
        intercept, slope, mean = poisson_regression(y, x)
        fits[:, rows] = fit_theta(y, mean), intercept, slope
        return rows

    done, total = 0, len(candidates) + len(genes)
    for rows in _in_threads(fit_block, _blocks(candidates, len(spots)), threads):
        done += len(rows)
        yield Progress(stage, done, total)
    usable = candidates[np.isfinite(fits[:, candidates]).all(axis=0)]
    fits[0, usable] = np.maximum(fits[0, usable], MIN_THETA)
    outlier = np.zeros(len(genes), dtype=bool)
    curves = np.stack([np.log10(1 + 10 ** log_gmean[usable] / fits[0, usable]), fits[1, usable], fits[2, usable]])
    outlier[usable] = np.any([_is_outlier(curve, log_gmean[usable]) for curve in curves], axis=0)
    good = ~outlier[usable]
    smooth = yield from _smooth(curves[:, good], log_gmean[usable][good], log_gmean, threads, stage, (done, total))
    fitted = np.zeros(len(genes), dtype=bool)
    fitted[usable] = True
    with np.errstate(over="ignore"):
        theta = 10**log_gmean / (10 ** smooth[0] - 1)
    return SCTransform(genes, theta, smooth[1], smooth[2], log_gmean, fitted, outlier, float(np.median(log_depth)), n_spots)


def transform(
    counts: sparse.spmatrix, model: SCTransform, *, fit_on: np.ndarray | None = None, threads: int | None = None, of: str = "counts"
) -> Generator[Progress, None, Transformed]:
    """Corrected counts and residual variances of ``counts`` (n_spots, n_genes).

    ``fit_on`` (bool) are the spots that ``model`` was fitted to, all by default: the residuals' mean and variance are theirs. Spots without
    counts have none afterwards.
    """
    by_gene = sparse.csc_matrix(counts)
    totals = _totals(by_gene)
    log_depth, limit = np.log10(np.maximum(totals, 1)), np.sqrt(model.n_spots)
    fitted = np.ones(len(totals), dtype=bool) if fit_on is None else fit_on
    mean, variance = np.full(len(model.genes), np.nan), np.full(len(model.genes), np.nan)

    def work(rows: np.ndarray) -> tuple[int, sparse.csr_matrix]:
        residuals = model.residuals(_dense(by_gene, model.genes[rows]), log_depth, rows)
        corrected = np.nan_to_num(model.corrected(residuals, rows)).astype(np.float32)
        corrected[:, totals == 0] = 0
        residuals = np.clip(residuals[:, fitted], -limit, limit)
        mean[rows] = residuals.mean(axis=1)
        variance[rows] = residuals.var(axis=1, ddof=1)
        return len(rows), sparse.csr_matrix(corrected)

    parts, done = [], 0
    for n, part in _in_threads(work, _blocks(np.arange(len(model.genes)), len(log_depth)), threads):
        parts.append(part)
        done += n
        yield Progress(f"correcting {of} for depth", done, len(model.genes))
    stacked = sparse.vstack(parts, format="csr")
    corrected = sparse.csc_matrix((stacked.data, stacked.indices, stacked.indptr), shape=(len(log_depth), len(model.genes)))
    return Transformed(model, corrected, mean, variance)


def scale_data(counts: sparse.spmatrix, model: SCTransform, rows: np.ndarray) -> np.ndarray:
    """Seurat's ``scale.data`` of the genes in ``rows``: residuals clipped at +-sqrt(n / 30), less each gene's mean; float64 (n_spots, n_rows)."""
    by_gene = sparse.csc_matrix(counts)
    log_depth, limit = np.log10(_totals(by_gene)), np.sqrt(model.n_spots)
    narrow = limit / np.sqrt(30)
    out = np.empty((len(log_depth), len(rows)))
    for at in _blocks(np.arange(len(rows)), len(log_depth)):
        residuals = model.residuals(_dense(by_gene, model.genes[rows[at]]), log_depth, rows[at]).clip(-limit, limit).clip(-narrow, narrow)
        out[:, at] = np.nan_to_num(residuals - residuals.mean(axis=1, keepdims=True)).T
    return out


def _checked(counts: sparse.spmatrix, of: str) -> sparse.csc_matrix:
    by_gene = sparse.csc_matrix(counts)
    if by_gene.nnz and by_gene.data.min() <= 0:
        by_gene = by_gene.copy()
        by_gene.eliminate_zeros()
    if by_gene.nnz and (by_gene.data.min() < 0 or not np.isfinite(by_gene.data).all() or (by_gene.data % 1 != 0).any()):
        raise DataError(f"{of}: SCTransform needs raw counts, but there are negative or fractional values. Give the matrix before normalisation.")
    empty = int((_totals(by_gene) == 0).sum())
    if empty:
        raise DataError(f"{of}: {empty} of {by_gene.shape[0]} spots hold no counts at all; SCTransform cannot take them. Filter spots first.")
    if by_gene.shape[0] < 2 * MIN_SPOTS:
        raise DataError(f"{of}: SCTransform needs at least {2 * MIN_SPOTS} spots, not {by_gene.shape[0]}. Lower the thresholds.")
    return by_gene


def _totals(by_gene: sparse.csc_matrix) -> np.ndarray:
    return np.asarray(by_gene.sum(axis=1, dtype=np.float64)).ravel()


def _log_gmean(by_gene: sparse.csc_matrix, genes: np.ndarray) -> np.ndarray:
    """log10 of the geometric mean of each gene, with 1 added before and taken off after."""
    sums = np.add.reduceat(np.append(np.log1p(by_gene.data, dtype=np.float64), 0), by_gene.indptr[:-1])[genes]  # every gene here has a count
    return np.asarray(np.log10(np.expm1(sums / by_gene.shape[0])))


def _fit_spots(by_gene: sparse.csc_matrix, log_depth: np.ndarray) -> np.ndarray:
    """Spots of the first step: all, or MAX_FIT_SPOTS of them, evenly from the shallowest to the deepest."""
    n = len(log_depth)
    if n <= MAX_FIT_SPOTS:
        return np.arange(n)
    detected = np.asarray((by_gene > 0).sum(axis=1)).ravel()
    order = np.lexsort((detected, log_depth))
    return np.sort(order[np.linspace(0, n - 1, MAX_FIT_SPOTS).round().astype(int)])


def _step1(by_gene: sparse.csc_matrix, genes: np.ndarray, spots: np.ndarray, asked: np.ndarray | None) -> np.ndarray:
    """Rows of ``genes`` that are fitted on their own."""
    seen = np.diff((by_gene[spots] if len(spots) < by_gene.shape[0] else by_gene).indptr)[genes]
    enough = seen >= MIN_SPOTS
    return np.flatnonzero(enough if asked is None else enough & np.isin(genes, asked))


def _blocks(rows: np.ndarray, n_spots: int) -> list[np.ndarray]:
    size = max(1, _BLOCK_VALUES // n_spots)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _dense(by_gene: sparse.csc_matrix, columns: np.ndarray) -> np.ndarray:
    """Counts of some genes, float64 (n_columns, n_spots)."""
    out = np.zeros((len(columns), by_gene.shape[0]))
    starts, lengths = by_gene.indptr[columns], np.diff(by_gene.indptr)[columns]
    rows = np.repeat(np.arange(len(columns)), lengths)
    at = np.arange(lengths.sum()) + np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    out[rows, by_gene.indices[at]] = by_gene.data[at]
    return out


def _in_threads(work: Callable[[np.ndarray], Result], blocks: list[np.ndarray], threads: int | None) -> Iterator[Result]:
    """Results of ``work`` on each block, in order. A generator that is closed early drops the blocks that wait."""
    from threadpoolctl import threadpool_limits

    # blocks are spread over threads already: within one, BLAS takes a single thread
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool, threadpool_limits(1, user_api="blas"):
        futures = [pool.submit(work, block) for block in blocks]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _is_outlier(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Far from the median of its neighbours along ``x``, whichever of two shifted binnings is kinder."""
    width = float(np.ptp(x)) * sheather_jones(x) / 2
    first = x.min() - 10 * _EPS
    return np.minimum(*(np.abs(_binned_score(y, x, start, width)) for start in (first, first - width / 2))) > _OUTLIER_SCORE


def _binned_score(y: np.ndarray, x: np.ndarray, first: float, width: float) -> np.ndarray:
    """(y - median) / MAD within bins (left, right] of ``x``."""
    last = x.max() + width
    steps = int(np.floor((last - first) / width + 1e-10))
    breaks = np.minimum(first + np.arange(steps + 1) * width, last)
    bins = np.searchsorted(breaks, x, side="left")
    score = np.zeros(len(y))
    for members in np.split(np.argsort(bins, kind="stable"), np.flatnonzero(np.diff(np.sort(bins))) + 1):
        centred = y[members] - np.median(y[members])
        score[members] = centred / (1.4826 * np.median(np.abs(centred)) + _EPS)
    return score


def _smooth(
    curves: np.ndarray, x: np.ndarray, log_gmean: np.ndarray, threads: int | None, stage: str, progress: tuple[int, int]
) -> Generator[Progress, None, np.ndarray]:
    """Kernel means of ``curves`` (3, n) over ``x`` (n,) at every gene's ``log_gmean``: (3, n_genes); NaN out of reach."""
    order = np.argsort(x, kind="stable")
    x, values = x[order], np.concatenate([curves[:, order], np.ones((1, len(x)))]).T
    sigma = _KERNEL_SIGMA * 3 * sheather_jones(x)
    points, back = np.unique(log_gmean.clip(x[0], x[-1]), return_inverse=True)
    out = np.full((3, len(points)), np.nan)

    def work(block: np.ndarray) -> int:
        p = points[block]
        left = np.searchsorted(x, p[0] - _KERNEL_REACH * sigma, side="left")
        right = np.searchsorted(x, p[-1] + _KERNEL_REACH * sigma, side="right")
        z = (x[left:right] - p[:, None]) / sigma
        z *= z
        weight = np.exp(-0.5 * z)
        weight[z > _KERNEL_REACH**2] = 0
        sums = weight @ values[left:right]
        with np.errstate(invalid="ignore", divide="ignore"):
            out[:, block] = (sums[:, :3] / sums[:, 3:]).T
        return len(block)

    done, total = progress
    for n in _in_threads(work, _blocks(np.arange(len(points)), len(x)), threads):
        done += n
        yield Progress(stage, done, total)
    return out[:, back.ravel()]
