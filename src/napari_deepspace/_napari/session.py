"""The state of one dock: what is loaded, what is chosen, what is shown. No Qt here.

Panels read and set fields; whoever cares listens to ``session.events.<field>``. What can be recomputed is not stored.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from psygnal import SignalGroupDescriptor
from scipy import sparse

from napari_deepspace.analyse.bands import no_band_words
from napari_deepspace.causes import filed, set_causes
from napari_deepspace.cluster_colours import cluster_colours, known_as, recolour, usual_colours
from napari_deepspace.colour_scale import ColourScale
from napari_deepspace.comparison import Comparison, compare
from napari_deepspace.denser import DenserMap
from napari_deepspace.denser_layers import DenserShow
from napari_deepspace.events import result_of
from napari_deepspace.geojson import SlideStamp
from napari_deepspace.layers import Maps
from napari_deepspace.neighbours import Neighbour
from napari_deepspace.outlines import EXCLUDE, Outline
from napari_deepspace.painted import classes_view, gene_view, ways_of
from napari_deepspace.preprocess.clusters import COMPUTED, GIVEN
from napari_deepspace.preprocess.filters import SpotFilter, filter_spots, spot_table
from napari_deepspace.preprocess.normalise import Normaliser, fit_normaliser
from napari_deepspace.preprocess.prepare import judge, mark_outlines
from napari_deepspace.preprocess.white_tiles import TileColours
from napari_deepspace.results import CLUSTER
from napari_deepspace.section import Section
from napari_deepspace.settings import NORMALISATIONS, FilterSettings, TileSettings
from napari_deepspace.views import Show, View, cluster_view, hidden_view, removed_view

HIDDEN = "Expression is hidden while you draw blind. Lock what you drew, then end Draw blind in step 7."
Paint = Literal["gene", "removed", "clusters", "classes"]


@dataclass(frozen=True)
class Loaded:
    """A section with what is computed from its counts once: the table of its spots, and counts by gene."""

    section: Section
    spots: pd.DataFrame  #: as from :func:`napari_deepspace.preprocess.filters.spot_table`
    by_gene: sparse.csc_matrix

    @classmethod
    def of(cls, section: Section) -> Loaded:
        counts = section.adata.X if section.adata.n_vars else sparse.csr_matrix(section.adata.shape, dtype=np.float32)
        return cls(section, spot_table(section.adata), sparse.csc_matrix(counts))

    @property
    def totals(self) -> np.ndarray:
        """UMI of each spot, float64 (n_spots,)."""
        return self.spots["umi"].to_numpy(dtype=np.float64)

    def counts_of(self, gene: str) -> np.ndarray | None:
        """Raw counts of ``gene``, (n_spots,), or None."""
        names = self.section.adata.var_names
        if gene not in names:
            return None
        return self.by_gene[:, names.get_loc(gene)].toarray().ravel()


@dataclass
class Session:
    """One dock's state; every field has an event of its name."""

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor(
        equality_operators=dict.fromkeys(
            ("loaded", "maps", "denser", "reach", "colours", "clusters", "sctransform", "outlines", "proposals", "selected", "causes"), operator.is_
        )
    )

    loaded: Loaded | None = None
    filter: FilterSettings = field(default_factory=FilterSettings)
    tile: TileSettings = field(default_factory=TileSettings)
    colours: TileColours | None = None  #: of the spots' tiles; None: not looked at yet
    outlines: tuple[Outline, ...] = ()  #: drawn, imported or accepted
    drawn_on: SlideStamp | None = None  #: the slide that the outlines are said to be drawn on
    proposals: tuple[Outline, ...] = ()  #: low regions that wait for the user's word
    tool: str = ""  #: what the mouse does with outlines, of :data:`napari_deepspace._napari.outline_layers.MODES`; "": it moves the camera
    outline_class: str = EXCLUDE  #: of what is drawn next
    author: str = ""  #: of what is drawn next
    brush_um: float = 150.0  #: diameter of the brush
    chosen_outline: str = ""  #: id of the one that is looked at in the list and on the slide
    blind: bool = False  #: expression is hidden while somebody draws
    clusters: pd.Series | None = None
    causes: pd.Series = field(default_factory=lambda: pd.Series(dtype=object))  #: why spots disagree, by barcode, as the user filed it
    normalisation: str = "log"
    sctransform: Normaliser | None = None  #: fitted to the spots that stay; None: not fitted yet
    paint: Paint = "gene"  #: what the spots' colours mean
    maps: Maps | None = None
    gene: str = ""
    show: Show = "measured"
    shared_limits: bool = True
    limits: tuple[float, float] | None = None  #: colour limits the user set; None: from the values
    scale: ColourScale = field(default_factory=ColourScale)
    spot_percent: int = 100
    slide_percent: int = 100  #: opacity of the slide
    side_by_side: bool = False
    hidden_clusters: frozenset[str] = frozenset()  #: names of clusters that are not painted
    recoloured: int = 0  #: counts changes of the clusters' colours, which ``uns`` of the section holds
    swipe: float | None = None  #: where the line stands that has measured to its left and predicted to its right, 0 to 1 of the spots; None: no line
    selected: np.ndarray | None = None  #: spots chosen by hand, int (n,), ascending; None: none are
    reach: Any = None  #: how far each gene can be predicted, as of :class:`napari_deepspace._napari.reach.Reach`; None: not computed yet
    denser: DenserMap | None = None  #: the denser map that is looked at
    denser_show: DenserShow = "predicted"
    neighbours: tuple[Neighbour, ...] = ()  #: slides of neighbouring sections that are laid over this one
    chosen_neighbour: str = ""  #: id of the one that is looked at
    show_anyway: bool = False  #: maps that are not better than every simple way are not greyed
    busy: str = ""  #: "" or what the one job does that changes the section: "loading", "checking"
    running: Path | None = None  #: the run that is followed while it trains; drawing and looking go on beside it
    run_dir: Path | None = None  #: the run whose predictions are shown
    project: Path | None = None
    runs: Path | None = None  #: where runs are kept without a project; None: the user's own folder

    @property
    def section(self) -> Section | None:
        return self.loaded.section if self.loaded else None

    def __post_init__(self) -> None:
        self.events.clusters.connect(self._show_all_clusters)
        self._acting: tuple[Outline, ...] = ()
        self._verdict: tuple[tuple[Any, ...], SpotFilter] | None = None
        self._fitted: tuple[tuple[Any, ...], Normaliser] | None = None

    def kept(self) -> SpotFilter | None:
        """The filter's verdict on the section's spots; white tiles count from when they have been looked at."""
        if self.loaded is None:
            return None
        acting = tuple(one for one in self.outlines if one.excludes or one.failed)
        self._acting = self._acting if acting == self._acting else acting  # another name or another stroma changes nothing about spots
        key = (self.loaded, self.filter, self.colours, self._acting, self.clusters)
        if self._verdict is None or not _same(self._verdict[0], key):
            self._verdict = (key, self._judge(self.loaded))
        return self._verdict[1]

    def _judge(self, loaded: Loaded) -> SpotFilter:
        spots = mark_outlines(loaded.spots, self.outlines, loaded.section)
        if self.clusters is not None:
            spots["cluster"] = self.clusters.astype(object).to_numpy()
        if self.colours is None or len(self.colours.mean_rgb) != len(spots):
            return filter_spots(spots, self.filter)
        return judge(spots, self.colours, self.filter).filter

    def file_cause(self, barcode: str, cause: str) -> None:
        """File a cause at a spot, in ``obs`` of the section too; the same one again takes it back."""
        assert self.section is not None
        causes = filed(self.causes, barcode, cause)
        set_causes(self.section.adata, causes)
        self.causes = causes

    def own_clusters(self) -> pd.Series | None:
        """The clusters, where they did not come with the section's own folder."""
        return self.clusters if self.clusters is not None and self.clusters.name in (COMPUTED, GIVEN[0]) else None

    def cluster_colours(self, names: Sequence[str]) -> dict[str, str]:
        """``#rrggbb`` of each of these clusters, at the spots or predicted: one name has one colour."""
        if self.section is None:
            return usual_colours(names)
        found = cluster_colours(self.section.adata, *known_as(self.clusters, names, CLUSTER))
        return {name: found[name] for name in names}

    def recolour(self, name: str, colour: str, names: Sequence[str]) -> None:
        """Another colour (``#rrggbb``) for one of the clusters ``names``, kept in ``uns`` of the section as scanpy does."""
        if self.section is not None:
            recolour(self.section.adata, *known_as(self.clusters, names, CLUSTER), name, colour)
            self.recoloured += 1

    def _show_all_clusters(self, *_: Any) -> None:
        """Other clusters: a name means another one now."""
        self.hidden_clusters = frozenset()

    def target_sum(self) -> float:
        """The depth that values refer to: the model's, or the median total of the spots that stay."""
        if self.maps is not None and self.maps.target_sum:
            return self.maps.target_sum
        kept = self.kept()
        if self.loaded is None or kept is None or not kept.keep.any():
            return 1.0
        return float(np.median(self.loaded.totals[kept.keep])) or 1.0

    def normaliser(self) -> Normaliser | None:
        """The scale that measured values are shown on: the chosen one, the logarithm while SCTransform is not fitted yet."""
        kept = self.kept()
        if self.loaded is None or kept is None:
            return None
        if self.normalisation == "sctransform" and self.sctransform is not None:
            return self.sctransform
        kind = "log" if self.normalisation == "sctransform" else self.normalisation
        if not kept.keep.any():
            return None
        key = (self.loaded, kept, kind, self.maps)
        if self._fitted is None or not _same(self._fitted[0], key):
            counts = self.loaded.section.adata.X[np.flatnonzero(kept.keep)]
            self._fitted = key, result_of(fit_normaliser(counts, kind, target_sum=self.target_sum()))
        return self._fitted[1]

    def measured(self) -> tuple[np.ndarray, str]:
        """Measured values of the gene, float32 (n_spots,), NaN where there are none, and their unit: the model's for a gene it predicts."""
        assert self.loaded is not None
        nothing = np.full(len(self.loaded.spots), np.nan, dtype=np.float32)
        own = self.maps.measured_of(self.gene) if self.maps is not None else None
        if own is not None and self.maps is not None:
            return own, self.maps.unit
        counts, normaliser = self.loaded.counts_of(self.gene), self.normaliser()
        if counts is None or normaliser is None:
            return nothing, NORMALISATIONS["log"]
        column = self.loaded.section.adata.var_names.get_indexer([self.gene])
        return normaliser.values(counts[:, None], self.loaded.totals, column)[:, 0], NORMALISATIONS[normaliser.kind]

    def showable(self) -> tuple[Show, ...]:
        """What can be painted of the gene."""
        if self.blind:
            return ()
        kept = self.kept()
        counts = self.loaded is not None and bool(self.loaded.section.adata.n_vars)
        predicted = self.maps is not None and self.gene in self.maps.genes
        difference = counts and predicted and self.maps is not None and not self.maps.relative
        shows: dict[Show, bool] = {"measured": counts, "predicted": predicted, "difference": difference}
        shows["interval"] = predicted and self.maps is not None and not no_band_words(self.maps)
        return (*(show for show, possible in shows.items() if possible), *(ways_of(self.maps, self.gene, kept) if kept is not None else ()))

    def comparison(self) -> Comparison | None:
        """Measured and predicted values of the gene at spots not trained on; None where it is not predicted."""
        kept = self.kept()
        if self.maps is None or kept is None or self.gene not in self.maps.genes or self.blind:
            return None
        measured, unit = self.measured()
        return compare(self.maps, self.gene, measured, kept.keep, unit)

    def view(self, show: Show | None = None) -> View | None:
        """What is painted now; ``show`` overrides the toggle. None without a section or a gene."""
        kept = self.kept()
        if self.loaded is not None and self.blind:
            return hidden_view(len(self.loaded.spots), self.gene)
        if self.loaded is None or kept is None or not (self.gene or self.paint == "clusters"):
            return None
        measured, unit = self.measured()
        view = gene_view(
            self.gene,
            show or self.show,
            measured,
            unit,
            kept,
            self.maps,
            self.scale,
            shared=self.shared_limits or self.side_by_side or self.swipe is not None,
            limits=self.limits,
            grey=not self.show_anyway,
        )
        if self.paint == "removed":
            return removed_view(view, kept)
        if self.paint == "classes" and self.maps is not None and self.maps.kind == "clusters":
            return classes_view(view, self.maps, kept, self.cluster_colours(self.maps.genes), self.hidden_clusters)
        if self.paint == "clusters" and self.clusters is not None:
            counted = self.loaded.section.adata.n_vars > 0
            colours = self.cluster_colours([str(name) for name in self.clusters.cat.categories])
            return cluster_view(view, self.clusters, kept.keep if counted else np.ones(len(measured), dtype=bool), colours, self.hidden_clusters)
        return view


def _same(old: tuple[Any, ...], new: tuple[Any, ...]) -> bool:
    return all(a is b for a, b in zip(old, new, strict=True))
