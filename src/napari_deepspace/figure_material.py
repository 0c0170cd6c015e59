"""What a figure is drawn from, and the words that stand beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_deepspace.cluster_colours import counts_of
from napari_deepspace.comparison import confusion
from napari_deepspace.denser import DenserMap
from napari_deepspace.figure_parts import short
from napari_deepspace.figure_settings import FigureSettings
from napari_deepspace.layers import HOLLOW, Maps
from napari_deepspace.section import Section
from napari_deepspace.verdicts import SHOWN_WAYS
from napari_deepspace.views import View

if TYPE_CHECKING:
    from napari_deepspace.analyse.super_resolution_figure import Drawn

NO_SLIDE = "The H&E image is not there."


@dataclass(frozen=True)
class Material:
    """All that a figure is drawn from.

    ``views`` are the spots as the window paints them, by what they show. ``entries`` is the legend, (words, ``#rrggbb``), where colours are
    categories, ``colours`` those of the classes by name. ``run`` is the run's name, "" where nothing is predicted. ``found`` (n_points,) are values
    of ``dmap``, ``drawn`` all of figure 3.
    """

    section: Section
    views: dict[str, View] = field(default_factory=dict)
    entries: Sequence[tuple[str, str]] = ()
    colours: dict[str, str] = field(default_factory=dict)
    maps: Maps | None = None
    run: str = ""
    dmap: DenserMap | None = None
    found: np.ndarray | None = None
    drawn: Drawn | None = None


def counts_at_spots(maps: Maps) -> np.ndarray | None:
    """How often a spot of each measured cluster (row) was likeliest in each predicted one (column), int (k, k), at spots not trained on."""
    found = confusion(maps, np.ones(len(maps.source), dtype=bool))
    return None if found is None else found.counts


def right_words(maps: Maps) -> str:
    """How often the likeliest cluster is the measured one, beside always naming the commonest; "" where nothing tells."""
    counts = counts_at_spots(maps)
    n = 0 if counts is None else int(counts.sum())
    if counts is None or not n:
        return ""
    split = f", {maps.scores.split}" if maps.scores is not None and maps.scores.split else ""
    return (
        f"The likeliest cluster is right at {counts.trace() / n:.0%} of {n:,} spots not trained on{split} (always naming the commonest: "
        f"{counts.sum(axis=1).max() / n:.0%})."
    )


def class_entries(colours: dict[str, str], found: np.ndarray, hidden: Collection[str] = ()) -> list[tuple[str, str]]:
    """Legend of the classes ``colours``: each with how many of ``found`` (n,), indices or NaN and -1 where there is none, it has, and its colour."""
    counts = counts_of(found, len(colours))
    return [(f"{short(name)} ({counts[number]:,})", colour) for number, (name, colour) in enumerate(colours.items()) if name not in hidden]


def titled(material: Material, words: str) -> str:
    return f"{words} –\u00a0SYNTHETIC" if material.section.synthetic else words


def size_of(settings: FigureSettings) -> tuple[float, float]:
    return settings.width_mm, settings.height_mm


def footer_of(material: Material, settings: FigureSettings, show: str) -> list[str]:
    """What stands beneath: verdict and scores of what is predicted, where it comes from, and what it is not."""
    section, maps, gene = material.section, material.maps, settings.gene
    lines = ["SYNTHETIC data, nothing here was measured on tissue."] if section.synthetic else []
    if maps is not None and gene in maps.genes and show in ("predicted", "difference", "interval", *SHOWN_WAYS):
        verdict = maps.score_of(gene).verdict
        lines += [f"{gene}: {verdict}." if verdict and show not in SHOWN_WAYS else "", maps.scores.numbers(gene) if maps.scores is not None else ""]
    lines += [right_words(maps)] if maps is not None and show == "class" else []
    predicted = material.run and show not in ("measured", "clusters", "removed")
    made = f"Run {material.run} ({maps.model if maps is not None else ''}). " if predicted else ""
    where = f"{section.library_id}: {section.adata.n_obs:,} spots, {section.platform.name}, {section.platform.spot_diameter_um:g} um across."
    denser = " The map is predicted from the H&E, not measured; no single cells." if settings.kind == "denser" else ""
    hollow = " Grey rings: spots without a value." if any((view.border == HOLLOW).all(axis=1).any() for view in material.views.values()) else ""
    hollow = hollow if settings.kind in ("map", "side-by-side") else ""
    missing = f" {NO_SLIDE}" if section.slide is None and settings.kind not in ("table", "confusion") else ""
    return [line for line in (*lines, f"{made}{where}{hollow}{denser}{missing} Research use only.") if line]
