"""What a figure is drawn from, and the words that stand beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_deepspace.denser import DenserMap
from napari_deepspace.figure_parts import short
from napari_deepspace.figure_settings import FigureSettings
from napari_deepspace.layers import HOLLOW, HONEST, Maps
from napari_deepspace.section import Section
from napari_deepspace.verdicts import SHOWN_WAYS
from napari_deepspace.views import View, cluster_colour, likeliest

if TYPE_CHECKING:
    from napari_deepspace.analyse.super_resolution_figure import Drawn

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


def not_trained_on(maps: Maps, *values: np.ndarray) -> np.ndarray:
    """Spots that a score is computed from, bool (n_spots,): kept back or of another section, and all ``values`` (n_spots,) are known there."""
    known = np.isin(maps.source, HONEST) & np.isin(maps.split, ("test", "none"))
    for one in values:
        known &= np.isfinite(one)
    return np.asarray(known)


def confusion(maps: Maps) -> np.ndarray:
    """How often a spot of each measured cluster (row) was likeliest in each predicted one (column), int (k, k), at spots not trained on."""
    assert maps.measured is not None
    measured, predicted = likeliest(maps.measured), likeliest(maps.predicted)
    at, k = not_trained_on(maps, measured, predicted), len(maps.genes)
    return np.bincount(measured[at].astype(int) * k + predicted[at].astype(int), minlength=k * k).reshape(k, k)


def right_words(maps: Maps) -> str:
    """How often the likeliest cluster is the measured one, beside always naming the commonest; "" where nothing tells."""
    counts = confusion(maps) if maps.kind == "clusters" and maps.measured is not None else np.zeros((1, 1), dtype=int)
    n = int(counts.sum())
    if not n:
        return ""
    split = f", {maps.scores.split}" if maps.scores is not None and maps.scores.split else ""
    return (
        f"The likeliest cluster is right at {counts.trace() / n:.0%} of {n:,} spots not trained on{split} (always naming the commonest: "
        f"{counts.sum(axis=1).max() / n:.0%})."
    )


def class_entries(names: Sequence[str], found: np.ndarray) -> list[tuple[str, str]]:
    """Legend of classes: each with how many of ``found`` (n,), indices or NaN and -1 where there is none, it has, and its colour."""
    counts = np.bincount(found[np.isfinite(found) & (found >= 0)].astype(int), minlength=len(names))
    return [(f"{short(name)} ({counts[number]:,})", cluster_colour(number)) for number, name in enumerate(names)]


def titled(material: Material, words: str) -> str:
    return f"{words} –\u00a0SYNTHETIC" if material.section.synthetic else words


def size_of(settings: FigureSettings) -> tuple[float, float]:
    return settings.width_mm, settings.height_mm


def footer_of(material: Material, settings: FigureSettings, show: str) -> list[str]:
    """What stands beneath: verdict and scores of what is predicted, where it comes from, and what it is not."""
    section, maps, gene = material.section, material.maps, settings.gene
    lines = ["SYNTHETIC data, nothing here was measured on tissue."] if section.synthetic else []
    if maps is not None and gene in maps.genes and show in ("predicted", "difference", *SHOWN_WAYS):
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
