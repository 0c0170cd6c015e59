"""All that is known of one spot: where it is, what was measured and predicted there and around it, and where each value comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from napari_deepspace.causes import CAUSE
from napari_deepspace.layers import Maps
from napari_deepspace.preprocess.normalise import PEARSON_THETA
from napari_deepspace.section import Section

TOP = 5  #: genes of a spot that are named
LEAST_UMI = 3  #: of a gene that is named as high: one or two counts are chance
SAMPLED = 2000  #: spots that mean and SD of the predictions are taken from, at most twice as many
STEPS = {
    "hexagonal": ((0, -2), (0, 2), (-1, -1), (-1, 1), (1, -1), (1, 1)),
    "square": ((0, -1), (0, 1), (-1, 0), (1, 0)),
}
"""From a spot to those beside it: steps of (array_row, array_col)."""
HOW_TOP = "UMI here against what a spot of its depth would have on this section; most surprising first (analytic Pearson residual)"
HOW_PREDICTED = "predicted value here against the section's predictions, in standard deviations; highest first"


@dataclass(frozen=True)
class Known:
    """One gene on one section as it is looked at; arrays are in the section's order of spots, values NaN where there are none.

    ``umi`` int (n,), ``reasons`` object (n,) why each was removed or "", ``keep`` bool (n,), ``clusters`` a Series of n or None.
    """

    section: Section
    gene: str
    unit: str
    measured: np.ndarray
    predicted: np.ndarray
    umi: np.ndarray
    reasons: np.ndarray
    keep: np.ndarray
    clusters: pd.Series | None = None
    maps: Maps | None = None


@dataclass(frozen=True)
class Neighbour:
    """A spot beside the one that is looked at."""

    barcode: str
    measured: float
    predicted: float


@dataclass(frozen=True)
class SpotFacts:
    """What a card says of a spot. ``yx_um`` is (row, column); values are NaN where there are none."""

    library_id: str
    barcode: str
    index: int
    array_row: int
    array_col: int
    yx_um: tuple[float, float]
    umi: int
    cluster: str
    removed: str
    gene: str
    unit: str
    measured: float
    predicted: float
    source: str
    neighbours: tuple[Neighbour, ...]
    neighbours_measured: float
    neighbours_predicted: float
    cause: str
    synthetic: bool


@dataclass(frozen=True)
class TopGene:
    """A gene that is high at a spot: its UMI and those expected at that depth, or its predicted value and the SD that it lies above the mean."""

    gene: str
    value: float
    beside: float

    def words(self, predicted: bool) -> str:
        return f"{self.gene} {self.value:.2f} ({self.beside:+.1f} SD)" if predicted else f"{self.gene} {self.value:.0f} ({self.beside:.1f} expected)"


def facts_of(known: Known, index: int) -> SpotFacts:
    """What is known of the spot in row ``index``."""
    section, obs = known.section, known.section.adata.obs
    beside = neighbours_of(section, index)
    row, col = obs[["array_row", "array_col"]].iloc[index]
    y, x = section.adata.obsm["spatial"][index][::-1] * section.mpp
    cluster: Any = None if known.clusters is None else known.clusters.iat[index]
    cause = obs[CAUSE].iat[index] if CAUSE in obs else None
    return SpotFacts(
        library_id=section.library_id,
        barcode=str(section.adata.obs_names[index]),
        index=int(index),
        array_row=int(row),
        array_col=int(col),
        yx_um=(float(y), float(x)),
        umi=int(known.umi[index]),
        cluster="" if cluster is None or pd.isna(cluster) else str(cluster),
        removed=str(known.reasons[index]),
        gene=known.gene,
        unit=known.unit,
        measured=float(known.measured[index]),
        predicted=float(known.predicted[index]),
        source=source_words(known, index),
        neighbours=tuple(Neighbour(str(section.adata.obs_names[one]), float(known.measured[one]), float(known.predicted[one])) for one in beside),
        neighbours_measured=_mean(known.measured[beside]),
        neighbours_predicted=_mean(known.predicted[beside]),
        cause="" if cause is None or pd.isna(cause) else str(cause),
        synthetic=section.synthetic,
    )


def source_words(known: Known, index: int) -> str:
    """Where the predicted value of a spot comes from, or why there is none."""
    maps = known.maps
    if maps is None:
        return "no prediction: no run is shown"
    if known.gene not in maps.genes:
        return f"no prediction: the run does not predict {known.gene}"
    source, split = str(maps.source[index]), str(maps.split[index])
    words = {
        "out-of-fold": "out-of-fold: the model was not trained on this spot",
        "imputed": "imputed: there is no usable measurement here",
        "removed": "no prediction: no tissue to look at, or an exclude outline",
        "training": "guard band: not predicted" if split == "guard" else "training spot: not scored, its prediction proves nothing",
        "not yet": "no prediction yet: still training",
    }
    return words.get(source, "no prediction") + (f"; {maps.relative}" if maps.relative and np.isfinite(known.predicted[index]) else "")


def neighbours_of(section: Section, index: int) -> np.ndarray:
    """Rows of the spots beside the one in row ``index``: at most six on a hexagonal lattice, four on a square one; int (k,)."""
    at = section.adata.obs[["array_row", "array_col"]].to_numpy(dtype=np.int64)
    beside = np.array(STEPS[section.platform.lattice]) + at[index]
    near = np.flatnonzero((np.abs(at - at[index]) <= 2).all(axis=1))  # at most 25: the rest needs no comparison
    return near[(at[near][:, None] == beside[None]).all(axis=2).any(axis=1)]


def gene_shares(section: Section, keep: np.ndarray) -> np.ndarray:
    """Each gene's share of the counts of the spots of ``keep`` (bool, n_spots): float64 (n_genes,)."""
    sums = np.asarray(section.adata.X.T @ keep.astype(np.float32)).astype(np.float64)  # without a copy of the matrix
    return np.asarray(sums / max(sums.sum(), 1.0))


def top_measured(section: Section, index: int, shares: np.ndarray, top: int = TOP) -> list[TopGene]:
    """Genes of a spot that are high for this section, as :data:`HOW_TOP` says; ``shares`` is from :func:`gene_shares`."""
    if section.sealed[index] and not section.seal_opened:
        return []  # put away unseen
    counts = sparse.csr_matrix(section.adata.X[index])
    found, umi = counts.indices, counts.data.astype(np.float64)
    expected = umi.sum() * shares[found]
    surprise = (umi - expected) / np.sqrt(np.maximum(expected + expected**2 / PEARSON_THETA, 1e-9))
    high = np.flatnonzero((umi >= LEAST_UMI) & (umi > expected) & (expected > 0))
    order = high[np.argsort(-surprise[high], kind="stable")][:top]
    return [TopGene(str(section.adata.var_names[found[one]]), float(umi[one]), float(expected[one])) for one in order]


def top_predicted(maps: Maps | None, index: int, top: int = TOP) -> list[TopGene]:
    """Outputs of a run that are predicted high at a spot, as :data:`HOW_PREDICTED` says; empty where there is no prediction."""
    if maps is None or not np.isfinite(maps.predicted[index]).any():
        return []
    known = np.flatnonzero(np.isfinite(maps.predicted).any(axis=1))
    values = maps.predicted[known[:: 1 + len(known) // SAMPLED]].astype(np.float64)  # a whole table of many genes would not fit twice
    spread = np.nanstd(values, axis=0)
    above = (maps.predicted[index] - np.nanmean(values, axis=0)) / np.where(spread > 0, spread, np.nan)
    order = np.argsort(-np.nan_to_num(above, nan=-np.inf), kind="stable")[:top]
    return [TopGene(maps.genes[one], float(maps.predicted[index, one]), float(above[one])) for one in order if np.isfinite(above[one])]


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
