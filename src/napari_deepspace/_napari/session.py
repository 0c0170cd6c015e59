"""The state of one dock: what is loaded, what is chosen, what is shown. No Qt here.

Panels read and set fields; whoever cares listens to ``session.events.<field>``. What can be recomputed is not stored.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from psygnal import SignalGroupDescriptor
from scipy import sparse

from napari_deepspace.layers import Maps, Show, View, make_view, measured_values
from napari_deepspace.section import Section
from napari_deepspace.settings import FilterSettings


@dataclass(frozen=True)
class Loaded:
    """A section with what is computed from its counts once: totals over all genes and detected genes a spot, and counts by gene."""

    section: Section
    totals: np.ndarray
    n_genes: np.ndarray
    in_tissue: np.ndarray
    by_gene: sparse.csc_matrix

    @classmethod
    def of(cls, section: Section) -> Loaded:
        counts = sparse.csr_matrix(section.adata.X) if section.adata.n_vars else sparse.csr_matrix(section.adata.shape, dtype=np.float32)
        obs = section.adata.obs
        return cls(
            section=section,
            totals=np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel(),
            n_genes=np.asarray((counts > 0).sum(axis=1)).ravel(),
            in_tissue=obs["in_tissue"].to_numpy(dtype=bool) if "in_tissue" in obs else np.ones(len(obs), dtype=bool),
            by_gene=counts.tocsc(),
        )

    def counts_of(self, gene: str) -> np.ndarray | None:
        """Raw counts of ``gene``, (n_spots,), or None."""
        names = self.section.adata.var_names
        if gene not in names:
            return None
        return self.by_gene[:, names.get_loc(gene)].toarray().ravel()


@dataclass(frozen=True)
class Kept:
    """The verdict of the spot filter: masks (n_spots,) and the number each threshold removes."""

    keep: np.ndarray
    by_umi: int
    by_genes: int
    outside: int
    reasons: np.ndarray

    @classmethod
    def of(cls, loaded: Loaded, settings: FilterSettings) -> Kept:
        few_umi = loaded.in_tissue & (loaded.totals < settings.min_umi)
        few_genes = loaded.in_tissue & (loaded.n_genes < settings.min_genes)
        keep = loaded.in_tissue & ~few_umi & ~few_genes
        words = pd.DataFrame(
            {
                "a": np.where(loaded.in_tissue, "", "not in tissue"),
                "b": np.where(few_umi, f"UMI < {settings.min_umi}", ""),
                "c": np.where(few_genes, f"genes < {settings.min_genes}", ""),
            }
        )
        reasons = np.array(["; ".join(w for w in row if w) for row in words.itertuples(index=False)], dtype=object)
        return cls(keep, int(few_umi.sum()), int(few_genes.sum()), int((~loaded.in_tissue).sum()), reasons)


@dataclass
class Session:
    """One dock's state; every field has an event of its name."""

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor(
        equality_operators={"loaded": operator.is_, "maps": operator.is_, "filter": operator.eq}
    )

    loaded: Loaded | None = None
    filter: FilterSettings = field(default_factory=FilterSettings)
    maps: Maps | None = None
    gene: str = ""
    show: Show = "measured"
    shared_limits: bool = True
    limits: tuple[float, float] | None = None  #: colour limits the user set; None: from the values
    spot_percent: int = 100
    slide_percent: int = 100  #: opacity of the slide
    side_by_side: bool = False
    busy: str = ""  #: "" or what the one job does: "loading", "training"
    run_dir: Path | None = None  #: the run whose predictions are shown
    project: Path | None = None
    runs: Path | None = None  #: where runs are kept without a project; None: the user's own folder

    @property
    def section(self) -> Section | None:
        return self.loaded.section if self.loaded else None

    def __post_init__(self) -> None:
        self._verdict: tuple[Loaded, FilterSettings, Kept] | None = None

    def kept(self) -> Kept | None:
        """The filter's verdict on the section's spots."""
        if self.loaded is None:
            return None
        if self._verdict is None or self._verdict[0] is not self.loaded or self._verdict[1] != self.filter:
            self._verdict = (self.loaded, self.filter, Kept.of(self.loaded, self.filter))
        return self._verdict[2]

    def target_sum(self) -> float:
        """The depth that values refer to: the model's, or the median total of the spots that stay."""
        if self.maps is not None and self.maps.target_sum:
            return self.maps.target_sum
        kept = self.kept()
        if self.loaded is None or kept is None or not kept.keep.any():
            return 1.0
        return float(np.median(self.loaded.totals[kept.keep])) or 1.0

    def view(self, luts: dict[str, np.ndarray], show: Show | None = None) -> View | None:
        """What is painted now; ``show`` overrides the toggle. None without a section or a gene."""
        kept = self.kept()
        if self.loaded is None or kept is None or not self.gene:
            return None
        nothing = np.full(len(kept.keep), np.nan, dtype=np.float32)
        counts = self.loaded.counts_of(self.gene)
        measured = nothing if counts is None else measured_values(counts, self.loaded.totals, self.target_sum())
        predicted = self.maps.of(self.gene) if self.maps else None
        return make_view(
            self.gene,
            show or self.show,
            measured,
            nothing if predicted is None else predicted,
            kept.keep,
            luts,
            shared=self.shared_limits or self.side_by_side,
            limits=self.limits,
            model=self.maps.model if self.maps else "",
            live=bool(self.maps and self.maps.live),
        )
