"""What is predicted: genes, on which scale, and the scaling that belongs to one training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from anndata import AnnData

from napari_deepspace.errors import SettingsError
from napari_deepspace.preprocess.normalise import NEVER_NEGATIVE
from napari_deepspace.settings import GeneSettings


@dataclass(frozen=True)
class GeneTarget:
    """Genes with the min-max scaling fitted on one training part.

    ``low`` and ``high`` are float32 (n_genes,), in the unit of ``normalisation``; ``target_sum`` is the depth that the values of ``log`` count per.
    """

    genes: tuple[str, ...]
    normalisation: str
    target_sum: float
    low: np.ndarray
    high: np.ndarray

    def scale(self, values: np.ndarray) -> np.ndarray:
        """(n, n_genes) values to 0..1 over the training part."""
        return ((values - self.low) / (self.high - self.low)).astype(np.float32)

    def unscale(self, scaled: np.ndarray) -> np.ndarray:
        """Back from 0..1; never below 0 where the unit is a logarithm of 1 + count."""
        values = scaled * (self.high - self.low) + self.low
        return (np.maximum(values, 0) if self.normalisation in NEVER_NEGATIVE else values).astype(np.float32)

    def shown(self, scaled: np.ndarray, target_sum: float) -> np.ndarray:
        """Back from 0..1, as values of ``log`` per the depth ``target_sum``; on other scales there is no depth to change."""
        values = self.unscale(scaled)
        return change_depth(values, self.target_sum, target_sum) if self.normalisation == "log" else values


def fit_target(values: np.ndarray, genes: Sequence[str], normalisation: str, target_sum: float) -> GeneTarget:
    """Min-max scaling of one training part: ``values`` (n, n_genes) of its spots alone."""
    low, high = values.min(axis=0), values.max(axis=0)
    high = np.where(high > low, high, low + 1)  # a gene that is constant in the training part stays constant
    return GeneTarget(tuple(genes), normalisation, target_sum, low.astype(np.float32), high.astype(np.float32))


def change_depth(values: np.ndarray, old_sum: float, new_sum: float) -> np.ndarray:
    """log1p(counts per ``old_sum``) as log1p(counts per ``new_sum``)."""
    return np.log1p(np.expm1(values) * (new_sum / old_sum)).astype(np.float32)


def choose_genes(adatas: Sequence[AnnData], keep: Sequence[np.ndarray], settings: GeneSettings) -> tuple[tuple[str, ...], str]:
    """The genes to predict and the rule in words.

    Named genes must be in every section; one detected in fewer spots is taken all the same (see :func:`seldom_detected`). Without names: the
    ``top`` genes of highest mean count among those detected in at least ``min_detected`` of the spots of every section (``keep`` bool
    (n_spots,) per section).

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
        raise SettingsError(f"No gene is detected in {settings.min_detected:.0%} of the spots that pass. Name genes, or lower target.min_detected.")
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


def seldom_detected(adatas: Sequence[AnnData], keep: Sequence[np.ndarray], genes: Sequence[str], least: float) -> dict[str, float]:
    """Those of ``genes`` detected in less than ``least`` of the spots of some section, with the smallest such share."""
    smallest = np.ones(len(genes))
    for adata, kept in zip(adatas, keep, strict=True):
        share = np.asarray((adata.X[np.flatnonzero(kept)][:, adata.var_names.get_indexer(list(genes))] > 0).mean(axis=0)).ravel()
        smallest = np.minimum(smallest, share)
    return {gene: float(share) for gene, share in zip(genes, smallest, strict=True) if share < least}
