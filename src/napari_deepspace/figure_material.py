"""What a figure is drawn from, and the words that stand beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_deepspace.analyse.super_resolution_figure import Drawn
from napari_deepspace.denser import DenserMap
from napari_deepspace.figure_settings import FigureSettings
from napari_deepspace.layers import Maps
from napari_deepspace.section import Section
from napari_deepspace.verdicts import SHOWN_WAYS
from napari_deepspace.views import View, cluster_colour

NO_SLIDE = "The H&E image is not there."


@dataclass(frozen=True)
class Material:
    """All that a figure is drawn from.

    ``views`` are the spots as the window paints them, by what they show. ``entries`` is the legend, (words, ``#rrggbb``), where colours are
    categories. ``run`` is the run's name, "" where nothing is predicted. ``found`` (n_points,) are values of ``dmap``, ``drawn`` all of figure 3.
    """

    section: Section
    views: dict[str, View] = field(default_factory=dict)
    entries: Sequence[tuple[str, str]] = ()
    maps: Maps | None = None
    run: str = ""
    dmap: DenserMap | None = None
    found: np.ndarray | None = None
    drawn: Drawn | None = None


def class_entries(names: Sequence[str], found: np.ndarray) -> list[tuple[str, str]]:
    """Legend of classes: each with how many of ``found`` (n,), indices or NaN and -1 where there is none, it has, and its colour."""
    counts = np.bincount(found[np.isfinite(found) & (found >= 0)].astype(int), minlength=len(names))
    return [(f"{name} ({counts[number]:,})", cluster_colour(number)) for number, name in enumerate(names)]


def titled(material: Material, words: str) -> str:
    return f"{words} – SYNTHETIC" if material.section.synthetic else words


def size_of(settings: FigureSettings) -> tuple[float, float]:
    return settings.width_mm, settings.height_mm


def footer_of(material: Material, settings: FigureSettings, show: str) -> list[str]:
    """What stands beneath: verdict and scores of what is predicted, where it comes from, and what it is not."""
    section, maps, gene = material.section, material.maps, settings.gene
    lines = ["SYNTHETIC data, nothing here was measured on tissue."] if section.synthetic else []
    if maps is not None and gene in maps.genes and show in ("predicted", "difference", "denser", *SHOWN_WAYS):
        verdict = maps.score_of(gene).verdict
        lines += [f"{gene}: {verdict}." if verdict else "", maps.scores.numbers(gene) if maps.scores is not None else ""]
    predicted = material.run and show not in ("measured", "clusters", "removed")
    made = f"Run {material.run} ({maps.model if maps is not None else ''}). " if predicted else ""
    where = f"{section.library_id}: {section.adata.n_obs:,} spots, {section.platform.name}, {section.platform.spot_diameter_um:g} um across."
    denser = " The map is predicted from the H&E, not measured; no single cells." if show == "denser" else ""
    missing = f" {NO_SLIDE}" if section.slide is None and show not in ("table", "confusion") else ""
    return [line for line in (*lines, f"{made}{where}{denser}{missing} Research use only.") if line]
