"""Step 2: which spots are good enough to learn from, with what each step removes: as a number, in a histogram, and on the slide."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from qtpy.QtWidgets import QComboBox

from napari_deepspace._napari.clusters_view import ClustersView
from napari_deepspace._napari.histogram import Histogram
from napari_deepspace._napari.outlines_view import OutlinesView, RegionsView
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.steps import Step, count_box, percent_box
from napari_deepspace._napari.style import Palette
from napari_deepspace._napari.widgets import Collapsible, Segmented, label, row
from napari_deepspace.glossary import term
from napari_deepspace.preprocess.filters import SpotFilter
from napari_deepspace.preprocess.white_tiles import white_threshold
from napari_deepspace.views import REASON_COLOURS

NORMALISATION_TITLES = {
    "log": "Logarithm per depth",
    "sctransform": "SCTransform (the paper's)",
    "pearson": "Analytic Pearson residuals",
    "stnet": "ST-Net's logarithm",
}


class QualityPanel(Collapsible):
    """The filter as a wizard: every threshold is a number, a line in a histogram and colours on the slide, and all three are one."""

    def __init__(self, session: Session):
        super().__init__("2  Quality")
        self._session = session
        self.stay = label("", "spot filter", wrap=True)
        self.show_on_slide = Segmented(
            {"gene": "Gene", "removed": "Removed spots", "clusters": "Clusters"},
            {"gene": "Colours are a gene's values.", "removed": term("removed spot"), "clusters": term("cluster")},
        )
        self.outside = Step("in_tissue", "Outside the tissue", "in tissue")
        self.umi = Step("umi", "UMI at least", "UMI", count_box(), Histogram(REASON_COLOURS["umi"], "below", log=True))
        self.genes = Step("genes", "Genes at least", "detected genes", count_box(), Histogram(REASON_COLOURS["genes"], "below", log=True))
        self.mitochondrial = Step(
            "mitochondrial", "Mitochondrial at most, %", "mitochondrial share", percent_box(), Histogram(REASON_COLOURS["mitochondrial"], "above")
        )
        self.white = Step("white", "White above percentile", "white tile", percent_box(), Histogram(REASON_COLOURS["white"], "above"))
        self.steps = (self.umi, self.genes, self.mitochondrial, self.white)
        self.outlines, self.regions, self.clusters = OutlinesView(session), RegionsView(session), ClustersView(session)
        self.normalisation = QComboBox()
        for kind, title in NORMALISATION_TITLES.items():
            self.normalisation.addItem(title, kind)
        self.normalisation.setToolTip(term("normalisation"))
        self.scale = label("", wrap=True, dim=True)
        self._build()
        self._connect()
        self._refresh()

    def restyle(self, p: Palette) -> None:
        """Follow napari's theme."""
        for step in self.steps:
            step.histogram.restyle(p)

    def say_tiles(self, done: int, total: int) -> None:
        """How far the look at the tiles is."""
        self.white.removes.setText(f"looking… {done / total:.0%}" if total else "")

    def say_scale(self, text: str) -> None:
        """How far SCTransform's fit is."""
        self.scale.setText(text)
        self.scale.setVisible(bool(text))

    def _build(self) -> None:
        add = self.content.addWidget
        add(self.stay)
        add(self.show_on_slide)
        for step in (self.outside, *self.steps):
            add(step)
        for view in (self.outlines, self.regions, self.clusters):
            add(view)
        self.content.addLayout(row(label("Normalisation", "normalisation"), self.normalisation, stretch=True))
        add(self.scale)
        self.say_scale("")

    def _connect(self) -> None:
        s = self._session

        def whole(value: float) -> int:
            return max(0, math.ceil(value - 1e-6))

        self._edits(self.umi, "min_umi", whole, whole)
        self._edits(self.genes, "min_genes", whole, whole)
        self._edits(
            self.mitochondrial, "max_mitochondrial", lambda percent: percent / 100, lambda percent: round(min(max(percent, 0.0), 100.0) / 100, 4)
        )
        self._edits(self.white, "white_percentile", float, self._percentile_at)
        self.show_on_slide.changed.connect(lambda key: setattr(s, "paint", key))
        self.normalisation.activated.connect(lambda _: setattr(s, "normalisation", self.normalisation.currentData()))
        for signal in (s.events.loaded, s.events.colours):
            signal.connect(self._fill)
        for name in ("loaded", "filter", "busy", "colours", "outlines", "clusters", "paint", "normalisation"):
            getattr(s.events, name).connect(self._refresh)

    def _edits(self, step: Step, name: str, from_box: Callable[[float], float], from_line: Callable[[float], float]) -> None:
        """Box and line of ``step`` change the setting ``name``."""

        def edit(value: float) -> None:
            if getattr(self._session.filter, name) != value:
                self._session.filter = self._session.filter.model_copy(update={name: value})
                self._session.paint = "removed"

        step.box.valueChanged.connect(lambda number: edit(from_box(number)))
        step.histogram.moved.connect(lambda line: edit(from_line(line)))

    def _percentile_at(self, level: float) -> float:
        """The percentile that puts the white threshold at ``level`` of mean RGB."""
        values = np.sort(self._mean_rgb())
        if not len(values) or level >= values[-1]:
            return 100.0
        return round(float(np.interp(level, values, np.linspace(0, 100, len(values)))), 1)

    def _mean_rgb(self) -> np.ndarray:
        """Of the tiles of spots in tissue; empty before they have been looked at."""
        loaded, colours = self._session.loaded, self._session.colours
        if colours is None or loaded is None or len(colours.mean_rgb) != len(loaded.spots):
            return np.zeros(0)
        return colours.mean_rgb[loaded.spots["in_tissue"].to_numpy()]

    def _fill(self) -> None:
        """The section or its tiles changed: new values in the histograms."""
        if self._session.loaded is not None:
            spots = self._session.loaded.spots
            spots = spots[spots["in_tissue"]]
            self.umi.histogram.set_values(spots["umi"].to_numpy())
            self.genes.histogram.set_values(spots["n_genes"].to_numpy())
            self.mitochondrial.histogram.set_values(100 * spots["mitochondrial"].to_numpy())
            self.white.histogram.set_values(self._mean_rgb())

    def _refresh(self, *_: object) -> None:
        s, kept = self._session, self._session.kept()
        section = s.section
        counted = kept is not None and section is not None and section.adata.n_vars > 0
        for key, possible in {"gene": counted, "removed": counted, "clusters": s.clusters is not None}.items():
            self.show_on_slide.buttons[key].setEnabled(possible)
        self.show_on_slide.set_value("clusters" if s.paint == "classes" else s.paint)  # those that are predicted are clusters too
        for step in self.steps:
            step.setVisible(counted)
        for widget in (self.outlines, self.regions, self.clusters):
            widget.setVisible(counted)
        self.outside.setVisible(False)
        self.normalisation.setEnabled(counted)
        self.normalisation.setCurrentIndex(self.normalisation.findData(s.normalisation))
        if kept is None or section is None or not counted:
            self.stay.setText("Open a section to see how many spots stay." if section is None else "This section has no counts to judge spots by.")
            return
        self._show_thresholds()
        self._show_counts(kept)
        self.white.setVisible(section.slide is not None)

    def _show_thresholds(self) -> None:
        f = self._session.filter
        self.umi.show_threshold(f.min_umi, f.min_umi)
        self.genes.show_threshold(f.min_genes, f.min_genes)
        self.mitochondrial.show_threshold(100 * f.max_mitochondrial, 100 * f.max_mitochondrial)
        self.white.show_threshold(f.white_percentile, white_threshold(self._mean_rgb(), f.white_percentile))

    def _show_counts(self, kept: SpotFilter) -> None:
        counts = kept.counts()
        for step in (self.outside, self.umi, self.genes, self.mitochondrial):
            step.say(counts[step.key])
        if self._session.colours is not None:
            self.white.say(counts["white"])
        self.outside.setVisible(counts["in_tissue"] > 0)
        self.mitochondrial.setVisible(bool((kept.spots["mitochondrial"] > 0).any()))
        stay = int(kept.keep.sum())
        self.stay.setText(f"<b>{stay:,} of {len(kept.keep):,} spots stay.</b>" + ("" if stay else " Lower the thresholds."))
