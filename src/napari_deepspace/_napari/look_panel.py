"""Step 4: which gene is painted, measured or predicted, and what its colours mean."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QPushButton, QSlider

from napari_deepspace._napari.actions import key_tip, keys
from napari_deepspace._napari.gene_chooser import GeneChooser
from napari_deepspace._napari.gene_search import GeneSearch
from napari_deepspace._napari.legend import Legend
from napari_deepspace._napari.scale_view import ScaleView
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.widgets import Collapsible, ColourBar, Segmented, Wrapped, label, row
from napari_deepspace.analyse.bands import no_band_words
from napari_deepspace.cluster_colours import counts_of
from napari_deepspace.glossary import term
from napari_deepspace.verdicts import SHOWN_WAYS, WAYS
from napari_deepspace.views import CYCLE, View, likeliest

SHOWS = {"measured": "Measured", "predicted": "Predicted", "difference": "Difference", "interval": "Interval"}
SHOWS |= {way: WAYS[way].capitalize() for way in SHOWN_WAYS}
TIPS = {name: term(WAYS.get(name, name)) for name in SHOWS}


class LookPanel(Collapsible):
    """Writes gene, toggle, limits and spot size into the session; shows the colour bar of what is painted."""

    def __init__(self, session: Session):
        super().__init__("4  Look")
        self._session = session
        self.chooser = GeneChooser()
        self.message = self.chooser.message
        self.search = GeneSearch("Search a gene to look at…", height=104)
        bound = keys()
        through = f" {bound['show_next_map']} on the slide goes through the maps." if "show_next_map" in bound else ""
        self.toggle = Segmented(SHOWS, {name: tip + (through if name in CYCLE else "") for name, tip in TIPS.items()}, per_row=3)
        pair = [bound[name] for name in ("previous_gene", "next_gene") if name in bound]
        self.chooser.box.setToolTip(term("offered genes") + (f" {' and '.join(pair)} on the slide go through them." if pair else ""))
        self.bar = ColourBar()
        self.shared = QCheckBox("Same limits for measured and predicted")
        self.shared.setToolTip(term("shared limits"))
        self.low, self.high = _limit_box(), _limit_box()
        self.automatic = QPushButton("Auto")
        self.scale = ScaleView(session)
        self.spot_size = QSlider(Qt.Orientation.Horizontal)
        self.spot_size.setRange(40, 200)
        self.size_text = label()
        self.slide = QSlider(Qt.Orientation.Horizontal)
        self.slide.setRange(0, 100)
        self.slide_text = label()
        self.beside = QPushButton("Measured and predicted side by side")
        self.beside.setCheckable(True)
        self.beside.setToolTip(term("side by side"))
        self.against = QPushButton("Measured against predicted…")
        self.against.setToolTip(term("measured against predicted"))
        self.tour = QPushButton("Look through the largest differences")
        self.tour.setToolTip(term("tour") + key_tip("next_stop"))
        self.classes = QCheckBox("The likeliest cluster of each spot")
        self.classes.setToolTip(term("likeliest cluster"))
        self.legend = Legend(session)
        self.verdict = label("", "verdict", wrap=True)
        self.anyway = QCheckBox("Show anyway")
        self.anyway.setToolTip(term("show anyway"))
        self.score = label("", "r", wrap=True)
        self.hover = Wrapped(lines=2)
        self._offered: tuple[Any, ...] = (None, (), {})
        self._limits = (0.0, 1.0)
        self._build()
        self._connect()
        self.refresh_names()
        self._refresh()

    def _build(self) -> None:
        self.content.addWidget(self.chooser)
        self.content.addWidget(self.search)
        self.content.addWidget(self.toggle)
        self.content.addWidget(self.classes)
        self.content.addWidget(self.legend)
        self.content.addWidget(self.bar)
        self.content.addWidget(self.verdict)
        self.content.addWidget(self.anyway)
        self.content.addWidget(self.score)
        self.content.addLayout(row(label("Limits", "colour limits"), self.low, label("–"), self.high, self.automatic, 1))
        self.content.addWidget(self.shared)
        self.content.addWidget(self.scale)
        self.content.addWidget(self.hover)
        self.content.addLayout(row(label("Spot size", "spot size"), self.spot_size, self.size_text))
        self.content.addLayout(row(label("Slide", "slide"), self.slide, self.slide_text))
        self.content.addWidget(self.beside)
        self.content.addWidget(self.against)
        self.content.addWidget(self.tour)
        self.hover.setAlignment(Qt.AlignmentFlag.AlignTop)

    def _connect(self) -> None:
        s = self._session
        self.search.picked.connect(self._picked)
        self.chooser.changed.connect(self._offer)
        self.toggle.changed.connect(self._toggled)
        self.shared.toggled.connect(lambda on: setattr(s, "shared_limits", on))
        self.spot_size.valueChanged.connect(lambda value: setattr(s, "spot_percent", value))
        self.slide.valueChanged.connect(lambda value: setattr(s, "slide_percent", value))
        self.anyway.toggled.connect(lambda on: setattr(s, "show_anyway", on))
        self.beside.toggled.connect(lambda on: setattr(s, "side_by_side", on))
        self.classes.toggled.connect(lambda on: setattr(s, "paint", "classes" if on else "gene"))
        self.automatic.clicked.connect(lambda: setattr(s, "limits", None))
        for box in (self.low, self.high):
            box.editingFinished.connect(self._limits_edited)
        for signal in (s.events.loaded, s.events.maps):
            signal.connect(self.refresh_names)
        s.events.reach.connect(lambda _: self.search.set_remark(self._remark))
        s.events.connect(self._refresh)

    def refresh_names(self) -> None:
        """Predicted genes first, best first; then every other gene of the section. Behind each: in how many spots, and its best r."""
        section, maps = self._session.section, self._session.maps
        if section is None:
            self.search.set_names([])
            self.chooser.set_names(self.search.model.all, ())
            return
        offered = (section, maps.genes if maps else (), dict(maps.r) if maps else {})
        if offered[0] is self._offered[0] and offered[1:] == self._offered[1:]:
            return  # a live map changes with every epoch, its genes do not
        self._offered = offered
        predicted = sorted(maps.genes, key=lambda gene: -_score(maps.r.get(gene))) if maps else []
        ids = section.adata.var.get("gene_ids", section.adata.var_names.to_series())
        by_name = dict(zip(map(str, section.adata.var_names), map(str, ids), strict=True))
        names = list(dict.fromkeys([*predicted, *by_name]))
        self.search.set_names(names, [by_name.get(name, name) for name in names])
        self.search.set_remark(self._remark)
        self.chooser.set_names(self.search.model.all, predicted)
        self._offer()

    def _offer(self) -> None:
        """Other genes in the list; the one that is looked at stays."""
        self.search.set_within(self.chooser.genes())
        self.search.show_current(self._session.gene)

    def step_gene(self, step: int) -> None:
        """The gene that many places further in the list as it is shown, or back."""
        gene = self.search.neighbour(self._session.gene, step)
        if gene is not None:
            self._picked(gene)

    def _remark(self, gene: str) -> str:
        reach, maps = self._session.reach, self._session.maps
        predicted = "predicted" if maps is not None and gene in maps.genes else ""
        return " · ".join(words for words in (reach.words(gene) if reach is not None else "", predicted) if words)

    def show_view(self, view: View | None, right: View | None) -> None:
        """Say what is painted now: gene, origin, unit, limits; ``right`` is the second map where two stand side by side."""
        self.bar.setVisible(view is not None and not view.title)
        if view is None or view.title:
            return
        synthetic = " · SYNTHETIC" if self._session.section is not None and self._session.section.synthetic else ""
        caption = view.caption if right is None else f"left: {view.caption}, right: {right.caption}"
        doubt = (right or view).doubt
        caption += f", <b>{doubt}</b>" if doubt else ""
        self._limits = view.limits
        unit = view.unit if right is None or right.unit == view.unit else f"left: {view.unit}; right: {right.unit}"
        if view.lut is not None:
            self.bar.set(f"<b>{view.gene}</b> – {caption}{synthetic}", unit, view.limits, view.lut, view.relative, view.log)
        for box, value in ((self.low, view.limits[0]), (self.high, view.limits[1])):
            box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(False)

    def show_hover(self, text: str) -> None:
        """The line of the spot under the cursor."""
        self.hover.setText(text or "Point at a spot to read its values; click it for its card.")

    def _picked(self, gene: str) -> None:
        self._session.paint = "gene"
        self._session.gene = gene

    def _toggled(self, key: str) -> None:
        """One map again, and this one."""
        self._session.paint = "gene"
        self._session.side_by_side, self._session.swipe = False, None
        self._session.show = key  # type: ignore[assignment]

    def _limits_edited(self) -> None:
        limits = (self.low.value(), self.high.value())
        if limits[1] > limits[0] and (self._session.limits or self.limits_shown()) != limits:
            self._session.limits = limits

    def limits_shown(self) -> tuple[float, float]:
        """Of the map that is painted."""
        return round(self._limits[0], 2), round(self._limits[1], 2)

    def _refresh(self, *_: Any) -> None:
        s = self._session
        counts = s.section is not None and bool(s.section.adata.n_vars)
        predicted = s.maps is not None and s.gene in s.maps.genes
        possible = s.showable()
        for key, button in self.toggle.buttons.items():
            button.setEnabled(key in possible)
        why_not = no_band_words(s.maps) if predicted and s.maps is not None else ""
        self.toggle.buttons["interval"].setToolTip(" ".join(words for words in (TIPS["interval"], why_not) if words))
        self.toggle.set_value(s.show if s.paint == "gene" else "")
        self.automatic.setToolTip("Colour limits from percentile {:g} to {:g} of the values.".format(*s.scale.percentiles))
        for button in (self.beside, self.against):
            button.setEnabled(counts and predicted)
        self.tour.setEnabled("difference" in possible)
        for widget, value in ((self.shared, s.shared_limits), (self.beside, s.side_by_side), (self.anyway, s.show_anyway)):
            if widget.isChecked() != value:
                widget.setChecked(value)
        clusters = s.maps is not None and s.maps.kind == "clusters"
        self.classes.setVisible(clusters)
        self.classes.blockSignals(True)
        self.classes.setChecked(s.paint == "classes")
        self.classes.blockSignals(False)
        self._show_legend()
        self.spot_size.setValue(s.spot_percent)
        self.size_text.setText(f"{s.spot_percent} %")
        self.slide.setValue(s.slide_percent)
        self.slide_text.setText(f"{s.slide_percent} %")
        self.search.show_current(s.gene)
        self.chooser.show_gene(s.gene)
        score = s.maps.score_of(s.gene) if predicted and s.maps is not None else None
        own = score is not None and score.verdict and s.show not in WAYS  # the verdict is the model's, not that of a simple way
        self.verdict.setText(f"<b>{s.gene}: {score.verdict}</b>" if own and score is not None else "")
        self.score.setText(self._score_line())
        for line in (self.verdict, self.score):
            line.setVisible(bool(line.text()) and s.paint == "gene")
        self.anyway.setVisible(score is not None and bool(score.doubt))
        if s.section is None:
            self.bar.setVisible(False)
        if not self.hover.text():
            self.show_hover("")

    def _show_legend(self) -> None:
        """The clusters that are painted, at the spots or the likeliest."""
        s = self._session
        if s.paint == "clusters" and s.clusters is not None:
            self.legend.show_clusters(s.clusters.cat.categories, counts_of(s.clusters.cat.codes.to_numpy(), len(s.clusters.cat.categories)))
        elif s.paint == "classes" and s.maps is not None and s.maps.kind == "clusters":
            self.legend.show_clusters(s.maps.genes, counts_of(likeliest(s.maps.predicted), len(s.maps.genes)))
        self.legend.setVisible(s.paint in ("clusters", "classes") and s.section is not None and bool(self.legend.rows))

    def _score_line(self) -> str:
        maps, gene = self._session.maps, self._session.gene
        if maps is None or gene not in maps.genes:
            return f"{gene} is measured only: the model does not predict it." if gene and maps is not None else ""
        if maps.live:
            return "Still training: this map improves while you look."
        if maps.scores is None or not maps.scores.n:
            return f"{gene}: nothing to score it by."
        if self._session.show in WAYS:
            own = maps.score_of(gene).ways.get(self._session.show, math.nan)
            of = f"{maps.scores.score} {own:.2f} at {maps.scores.where()}" if math.isfinite(own) else "not scored"
            return f"{gene}, {WAYS[self._session.show]}: {of}. A simple way, no model."
        numbers = maps.scores.numbers(gene)
        return f"{gene}: {numbers}" if numbers else f"{gene}: r is undefined here (no variation)."


def _score(r: float | None) -> float:
    return r if r is not None and math.isfinite(r) else -2.0


def _limit_box() -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(-100, 100)
    box.setDecimals(2)
    box.setSingleStep(0.1)
    box.setToolTip(term("colour limits"))
    box.setFixedWidth(98)
    return box
