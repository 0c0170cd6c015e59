"""Which spots are good enough to learn from, and why the others are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_deepspace.preprocess.white_tiles import MOST_WHITE
from napari_deepspace.settings import FilterSettings

STEPS = ("in_tissue", "sealed", "excluded", "failed", "cluster", "umi", "genes", "mitochondrial", "white")
"""Steps of the filter in their order: what somebody decided comes before what was measured. Only the first is judged outside the tissue."""
WITHOUT_TILE = ("in_tissue", "sealed", "excluded", "white")
"""Steps after which a spot is not predicted either: there is no tissue to look at, or its prediction would tell what is sealed."""


@dataclass(frozen=True)
class SpotFilter:
    """The filter's verdict on the spots of a section.

    ``spots`` is what was judged (see :func:`spot_table`); ``removed`` maps a step to bool (n_spots,), the spots it removes by itself;
    ``words`` maps a step to its reason in words ("UMI < 1000").
    """

    spots: pd.DataFrame
    removed: dict[str, np.ndarray]
    words: dict[str, str]

    @cached_property
    def keep(self) -> np.ndarray:
        """bool (n_spots,): no step removes the spot."""
        return ~np.any(list(self.removed.values()), axis=0)

    @property
    def predictable(self) -> np.ndarray:
        """bool (n_spots,): the spot has a tile to predict from, whatever was measured there."""
        return ~np.any([self.removed[step] for step in WITHOUT_TILE], axis=0)

    @property
    def first(self) -> np.ndarray:
        """Index into STEPS of the first step that removes each spot, -1 for a spot that stays: int (n_spots,)."""
        masks = np.stack([self.removed[step] for step in STEPS], axis=1)
        return np.where(masks.any(axis=1), masks.argmax(axis=1), -1)

    @property
    def reasons(self) -> np.ndarray:
        """Every step that removes a spot, in words: "UMI < 1000; genes < 1000"; empty for a spot that stays. object (n_spots,)."""
        return self.reasons_of(STEPS)

    def reasons_of(self, steps: tuple[str, ...]) -> np.ndarray:
        """As :attr:`reasons`, for some of the steps."""
        reasons = np.full(len(self.spots), "", dtype=object)
        for step in steps:
            mask = self.removed[step]
            reasons[mask] = [f"{before}; {self.words[step]}" if before else self.words[step] for before in reasons[mask]]
        return reasons

    def nothing_left(self, name: str) -> str:
        """What to say where no spot of the section ``name`` stays."""
        step, most = max(self.counts().items(), key=lambda item: item[1])
        umi, genes = self.spots["umi"].median(), self.spots["n_genes"].median()
        return (
            f"{name}: no spot is left after filtering ({self.words[step]} alone removes {most} of {len(self.spots)}; "
            f"the median spot has {umi:.0f} UMI and {genes:.0f} genes). Lower the thresholds."
        )

    def counts(self) -> dict[str, int]:
        """How many spots each step removes by itself."""
        return {step: int(self.removed[step].sum()) for step in STEPS}


def is_mitochondrial(names: pd.Index) -> np.ndarray:
    """Which genes are of the mitochondrion by their symbol (MT-CO1, mt-Co1): bool (n_genes,). Ensembl ids do not tell."""
    return np.asarray(names.astype(str).str.casefold().str.startswith("mt-"), dtype=bool)


def spot_table(adata: AnnData) -> pd.DataFrame:
    """What raw counts in ``adata.X`` (spots x genes) say of each spot; one row a spot, index ``obs_names``.

    ``umi`` (total count), ``n_genes`` (genes with a count), ``mitochondrial`` (their share of the UMIs, 0 to 1), ``in_tissue``. Further columns
    are judged where a caller adds them: ``white`` (share of white pixels of the tile, above MOST_WHITE removed), ``excluded`` and ``failed``
    (bool: within an outline that says so), ``sealed`` (bool: of a sealed hold-out), ``cluster`` (name, or NaN).
    """
    counts = sparse.csr_matrix(adata.X) if adata.n_vars else sparse.csr_matrix(adata.shape, dtype=np.float32)
    umi = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel().astype(np.int64)
    mitochondrial = np.asarray(counts[:, np.flatnonzero(is_mitochondrial(adata.var_names))].sum(axis=1, dtype=np.float64)).ravel()
    in_tissue = np.asarray(adata.obs["in_tissue"], dtype=bool) if "in_tissue" in adata.obs else np.ones(adata.n_obs, dtype=bool)
    return pd.DataFrame(
        {
            "umi": umi,
            "n_genes": np.asarray((counts > 0).sum(axis=1)).ravel().astype(np.int64),
            "mitochondrial": mitochondrial / np.maximum(umi, 1),
            "in_tissue": in_tissue,
        },
        index=adata.obs_names,
    )


def filter_spots(spots: pd.DataFrame, settings: FilterSettings) -> SpotFilter:
    """Judge the rows of a :func:`spot_table`. Thresholds are inclusive: a spot of exactly ``min_umi`` stays. A spot without counts never does."""
    n = len(spots)
    tissue = spots["in_tissue"].to_numpy()

    def column(name: str, test: Callable[[pd.Series], pd.Series]) -> np.ndarray:
        return np.asarray(test(spots[name]), dtype=bool) if name in spots else np.zeros(n, dtype=bool)

    removed = {
        "umi": spots["umi"].to_numpy() < max(settings.min_umi, 1),
        "genes": spots["n_genes"].to_numpy() < settings.min_genes,
        "mitochondrial": spots["mitochondrial"].to_numpy() > settings.max_mitochondrial,
        "white": column("white", lambda share: share > MOST_WHITE),
        "sealed": column("sealed", lambda hit: hit),
        "excluded": column("excluded", lambda hit: hit),
        "failed": column("failed", lambda hit: hit),
        "cluster": column("cluster", lambda name: name.astype(object) == settings.exclude_cluster),
    }
    words = {
        "in_tissue": "not in tissue",
        "umi": f"UMI < {max(settings.min_umi, 1)}",
        "genes": f"genes < {settings.min_genes}",
        "mitochondrial": f"mitochondrial > {settings.max_mitochondrial:.0%}",
        "white": "white tile",
        "sealed": "sealed",
        "excluded": "exclude outline",
        "failed": "failed region",
        "cluster": f"cluster {settings.exclude_cluster}",
    }
    return SpotFilter(spots, {"in_tissue": ~tissue} | {step: mask & tissue for step, mask in removed.items()}, words)
