"""Putting counts of spots of different depth on one scale.

| name | value | source |
|---|---|---|
| ``log`` | log(1 + count / total * target_sum), target_sum = the median total | as scanpy's ``normalize_total`` and ``log1p`` |
| ``sctransform`` | log10(1 + corrected count) | the paper; :mod:`~napari_deepspace.preprocess.sctransform` |
| ``pearson`` | (count - mean) / sqrt(mean + mean**2 / 100), clipped at +-sqrt(n), mean = total * share of the gene | as scanpy's, [1] |
| ``stnet`` | log((1 + count) / (genes + total)) | He et al., Nature Biomedical Engineering 4:827 (2020) |

[1] Lause, Berens and Kobak, Genome Biology 22:258 (2021).

A few genes can be brought to scale without the others, which scanpy's functions cannot: the window shows one gene at a time, and a fold of a
training needs its panel alone. Tests hold the values against scanpy's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from anndata import AnnData
from scipy import sparse

from napari_deepspace.events import Progress
from napari_deepspace.preprocess.sctransform import SCTransform, fit_sctransform

PEARSON_THETA = 100.0
NEVER_NEGATIVE = ("log", "sctransform")


@dataclass(frozen=True)
class Normaliser:
    """A scale fitted to some spots of one section; it can be applied to any spots of that section.

    ``target_sum`` is the median total of the spots it was fitted to, ``share`` (n_genes,) each gene's share of their counts.
    """

    kind: str
    n_spots: int
    target_sum: float
    share: np.ndarray
    sctransform: SCTransform | None = None

    def values(self, counts: np.ndarray, totals: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Bring raw ``counts`` (n_spots, k) of the genes in ``columns`` (k,) to scale: float32 (n_spots, k).

        ``totals`` (n_spots,) are the spots' totals over all genes. NaN at spots without any count, and for genes without a value: a column of
        -1, a gene that SCTransform never saw.
        """
        counts, total = np.asarray(counts, dtype=np.float64), np.asarray(totals, dtype=np.float64)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.kind == "log":
                values = np.log1p(counts / total * self.target_sum)
            elif self.kind == "stnet":
                values = np.log((1 + counts) / (len(self.share) + total))
            elif self.kind == "pearson":
                mean = total * self.share[columns]
                limit = np.sqrt(self.n_spots)
                values = np.clip(np.nan_to_num((counts - mean) / np.sqrt(mean + mean * mean / PEARSON_THETA)), -limit, limit)
            else:
                values = self._corrected(counts, total[:, 0], columns)
        values[total[:, 0] <= 0] = np.nan
        values[:, np.asarray(columns) < 0] = np.nan
        return values.astype(np.float32)

    def _corrected(self, counts: np.ndarray, totals: np.ndarray, columns: np.ndarray) -> np.ndarray:
        assert self.sctransform is not None
        rows = self.sctransform.rows(columns)
        found = rows >= 0
        values = np.where(counts == 0, 0.0, np.nan)  # a gene without a model was counted nowhere that the scale was fitted to
        log_depth = np.log10(np.maximum(totals, 1))
        residuals = self.sctransform.residuals(counts[:, found].T, log_depth, rows[found])
        values[:, found] = np.log10(1 + self.sctransform.corrected(residuals, rows[found])).T
        return values


def fit_normaliser(
    counts: sparse.csr_matrix,
    kind: str,
    *,
    target_sum: float | None = None,
    always: Iterable[int] = (),
    threads: int | None = None,
    of: str = "counts",
) -> Generator[Progress, None, Normaliser]:
    """Fit scale ``kind`` to raw ``counts`` (n_spots, n_genes) of one section; closing the generator cancels.

    ``target_sum`` replaces the median total (of several sections together, say); ``always`` are genes that SCTransform gives values however seldom
    they are seen; ``of`` names the section in the progress. Raises what :func:`fit_sctransform` raises.
    """
    totals = spot_totals(counts)
    by_gene = np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel()
    whole = by_gene.sum()
    model = None
    if kind == "sctransform":
        model = yield from fit_sctransform(counts[totals > 0], always=always, threads=threads, of=of)
    return Normaliser(
        kind=kind,
        n_spots=len(totals),
        target_sum=float(np.median(totals)) if target_sum is None else target_sum,
        share=by_gene / whole if whole else by_gene,
        sctransform=model,
    )


def spot_totals(counts: sparse.csr_matrix) -> np.ndarray:
    """Total count of each spot over all genes of the matrix: float64 (n_spots,)."""
    return np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()


def gene_counts(adata: AnnData, genes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Counts of ``genes``, float32 (n_spots, n_genes) with NaN for a gene the matrix lacks, and the genes' columns (-1: lacking)."""
    columns = adata.var_names.get_indexer(list(genes))
    found = columns >= 0
    counts = np.full((adata.n_obs, len(columns)), np.nan, dtype=np.float32)
    if found.any():
        counts[:, found] = adata.X.tocsc()[:, columns[found]].toarray()
    return counts, columns


def normalised(
    adata: AnnData,
    genes: Sequence[str],
    kind: str,
    fit_on: np.ndarray,
    *,
    target_sum: float | None = None,
    threads: int | None = None,
    of: str = "counts",
) -> Generator[Progress, None, np.ndarray]:
    """Values of ``genes`` at every spot of a section, on scale ``kind`` fitted to the spots of ``fit_on`` (bool): float32 (n_spots, n_genes)."""
    counts, columns = gene_counts(adata, genes)
    always = columns[columns >= 0]
    normaliser = yield from fit_normaliser(adata.X[np.flatnonzero(fit_on)], kind, target_sum=target_sum, always=always, threads=threads, of=of)
    return normaliser.values(counts, spot_totals(adata.X), columns)
