"""What is predicted: genes, on which scale, and the scaling that belongs to one training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from anndata import AnnData

from napari_deepspace.errors import SettingsError
from napari_deepspace.preprocess.normalise import spot_totals
from napari_deepspace.settings import GeneSettings

UNIT = "log1p(counts per median depth)"


@dataclass(frozen=True)
class GeneTarget:
    """Genes with the depth and the min-max scaling fitted on one training part.

    ``low`` and ``high`` are float32 (n_genes,); values are log1p(count / spot total * target_sum).
    """

    genes: tuple[str, ...]
    target_sum: float
    low: np.ndarray
    high: np.ndarray

    def scale(self, values: np.ndarray) -> np.ndarray:
        """(n, n_genes) values to 0..1 over the training part."""
        return ((values - self.low) / (self.high - self.low)).astype(np.float32)

    def unscale(self, scaled: np.ndarray) -> np.ndarray:
        """Back from 0..1; never below 0, since a logarithm of 1 + count is not."""
        return np.maximum(scaled * (self.high - self.low) + self.low, 0).astype(np.float32)


def fit_target(counts: np.ndarray, totals: np.ndarray, genes: Sequence[str]) -> GeneTarget:
    """Depth and min-max scaling of one training part: ``counts`` (n, n_genes), ``totals`` (n,) UMI over all genes of the matrix."""
    target_sum = float(np.median(totals))
    values = log_values(counts, totals, target_sum)
    low, high = values.min(axis=0), values.max(axis=0)
    high = np.where(high > low, high, low + 1)  # a gene that is constant in the training part stays constant
    return GeneTarget(tuple(genes), target_sum, low, high)


def log_values(counts: np.ndarray, totals: np.ndarray, target_sum: float) -> np.ndarray:
    """log1p(count / total * target_sum), float32 (n, n_genes)."""
    return np.log1p(counts / np.maximum(totals, 1)[:, None] * target_sum).astype(np.float32)


def change_depth(values: np.ndarray, old_sum: float, new_sum: float) -> np.ndarray:
    """The same expression counted per another depth."""
    return np.log1p(np.expm1(values) * (new_sum / old_sum)).astype(np.float32)


def gene_counts(adata: AnnData, genes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Counts of ``genes``, float32 (n_spots, n_genes) with NaN for a gene the matrix lacks, and every spot's total over all genes."""
    columns = adata.var_names.get_indexer(list(genes))
    found = columns >= 0
    counts = np.full((adata.n_obs, len(columns)), np.nan, dtype=np.float32)
    if found.any():
        counts[:, found] = adata.X.tocsc()[:, columns[found]].toarray()
    return counts, spot_totals(adata.X)


def choose_genes(adatas: Sequence[AnnData], keep: Sequence[np.ndarray], settings: GeneSettings) -> tuple[tuple[str, ...], str]:
    """The genes to predict and the rule in words.

    Named genes must be in every section. Without names: the ``top`` genes of highest mean count among those detected in at least
    ``min_detected`` of the spots of every section (``keep`` bool (n_spots,) per section).

    Raises
    ------
    SettingsError
        A named gene is in none or not in all of the sections, or no gene passes.
    """
    if settings.names:
        return _named_genes(adatas, settings.names)
    shared = adatas[0].var_names
    for adata in adatas[1:]:
        shared = shared.intersection(adata.var_names)
    mean = np.zeros(len(shared))
    passes = np.ones(len(shared), dtype=bool)
    for adata, kept in zip(adatas, keep, strict=True):
        counts = adata.X[kept][:, adata.var_names.get_indexer(shared)]
        mean += np.asarray(counts.mean(axis=0)).ravel()
        passes &= np.asarray((counts > 0).mean(axis=0)).ravel() >= settings.min_detected
    order = np.argsort(-mean, kind="stable")
    chosen = tuple(shared[i] for i in order if passes[i])[: settings.top]
    if not chosen:
        raise SettingsError(f"No gene is detected in {settings.min_detected:.0%} of the spots that pass. Name genes, or lower genes.min_detected.")
    return chosen, f"the {len(chosen)} genes of highest mean detected in at least {settings.min_detected:.0%} of spots"


def _named_genes(adatas: Sequence[AnnData], names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    names = tuple(dict.fromkeys(names))
    for adata in adatas:
        missing = [name for name in names if name not in adata.var_names]
        if missing:
            folded = {str(name).casefold(): str(name) for name in adata.var_names}
            near = [folded[name.casefold()] for name in missing if name.casefold() in folded]
            hint = f"Did you mean {', '.join(near[:5])}?" if near else f"Its names look like {', '.join(map(str, adata.var_names[:3]))}."
            raise SettingsError(f"Unknown gene: {', '.join(missing[:5])} is not among the {adata.n_vars} genes of the section. {hint}")
    return names, f"{len(names)} named genes"
