"""Numbers on a page: measured against predicted, the table of genes, and the confusion of clusters."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from napari_deepspace.colour_scale import colours, table
from napari_deepspace.comparison import comparable
from napari_deepspace.errors import SettingsError
from napari_deepspace.figure_material import Material, counts_at_spots, footer_of, size_of, titled
from napari_deepspace.figure_parts import (
    BAR_MM,
    GAP,
    PT_PER_MM,
    SMALL_PT,
    TEXT_PT,
    Box,
    along,
    colour_bar,
    line_mm,
    make_page,
    short,
    text_mm,
)
from napari_deepspace.figure_settings import FigureSettings
from napari_deepspace.gene_scores import BEST, GeneScore, Scores, in_interval
from napari_deepspace.layers import Maps
from napari_deepspace.verdicts import SHOWN_WAYS, WAYS


def draw_scatter(material: Material, settings: FigureSettings) -> Figure:
    maps, view, gene = material.maps, material.views["predicted"], settings.gene
    assert maps is not None
    at = comparable(maps, np.isfinite(view.measured) & np.isfinite(view.predicted))
    if not at.any():
        raise SettingsError(f"{gene}: there is no spot that was measured, predicted and not trained on. Nothing can be set against each other.")
    title = titled(material, f"{gene}: measured against predicted")
    page = make_page(size_of(settings), title, footer_of(material, settings, "predicted"))
    body, words = page.body, _score_lines(maps, gene, int(at.sum()))
    beside = max(text_mm(line, TEXT_PT) for line in words) + 2 * GAP
    left, below = 15.0, 11.0
    side = min(body.width - left - beside, body.height - below)
    if side < 20:
        raise SettingsError("The figure is too narrow for a scatter with its numbers. Give more width.")
    ax = page.axes(Box(body.left + left, body.bottom + body.height - side, side, side))
    measured, predicted = view.measured[at], view.predicted[at]
    ax.scatter(measured, predicted, s=7, color="#2257c4", alpha=0.45, linewidths=0, rasterized=len(measured) > 5000)
    if not view.relative:
        low, high = float(min(measured.min(), predicted.min())), float(max(measured.max(), predicted.max()))
        low, high = settings.limits or (low - 0.03 * (high - low), high + 0.03 * (high - low))
        ax.plot([low, high], [low, high], color="#808080", linewidth=0.8, linestyle="--", zorder=0)
        ax.set(xlim=(low, high), ylim=(low, high))
    for axis, what, unit in ((ax.xaxis, "measured", maps.unit if view.relative else view.unit), (ax.yaxis, "predicted", view.unit)):
        label, size = along(f"{what}, {unit}", side)
        axis.set_label_text(label, size)
    ax.tick_params(labelsize=SMALL_PT)
    ax.spines[["top", "right"]].set_visible(False)
    page.text(body.left + left + side + GAP, body.bottom + body.height - 1, words, TEXT_PT)
    return page.figure


def _score_lines(maps: Maps, gene: str, n: int) -> list[str]:
    """r with all that belongs to it, a line each."""
    one = maps.score_of(gene)
    if maps.scores is None or not math.isfinite(one.r):
        return [f"n = {n:,} spots", "not scored"]
    score, best = maps.scores.score, [f"{BEST}: {one.ceiling:.2f}"] if math.isfinite(one.ceiling) else []
    ways = [f"{WAYS.get(way, way)}: {r:.2f}" for way, r in one.ways.items() if math.isfinite(r)]
    interval = [f"95 %: {one.interval[0]:.2f} to {one.interval[1]:.2f}"] if in_interval(one.interval) else []
    return [f"{score} = {one.r:.2f}", *interval, f"n = {n:,} spots", "not trained on", "", *ways, *best]


def draw_table(material: Material, settings: FigureSettings) -> Figure:
    scores = material.maps.scores if material.maps is not None else None
    if scores is None or not scores.genes:
        raise SettingsError("This run has no scores for the section: there is no table to draw.")
    genes = scores.ordered()
    rows, columns = genes[: settings.rows], _columns(scores)
    notes = [scores.summary(), f"Scored at {scores.where()}. {scores.panel}."]
    title = titled(material, f"{len(genes):,} outputs and how far to trust them")
    width, height = size_of(settings)
    if settings.size_mm is None:
        height = min(height, 48 + (len(rows) + 3) * line_mm(TEXT_PT))
    page = make_page((width, height), title, [*notes, *footer_of(material, settings, "table")])
    height, points = page.body.height, TEXT_PT
    needed = len(rows) + (len(rows) < len(genes))  # and a line that says how many there are
    while (fit := int(height / line_mm(points)) - 2) < needed and points > 5.5:
        points -= 0.25
    cells = [[cell(one) for _, cell in columns] for one in rows[: len(rows) if fit >= needed else max(fit - 1, 0)]]
    if not cells:
        raise SettingsError("The figure is too low for a table. Give more height.")
    heads = [head for head, _ in columns]

    def widths(size: float) -> list[float]:
        columns = zip(heads, *cells, strict=True)
        return [max(text_mm(text, size, "normal" if row else "bold") for row, text in enumerate(column)) for column in columns]

    while sum(widths(points)) + 3.0 * len(heads) > page.body.width:
        if points > 5.5:
            points -= 0.25
        elif len(heads) > 4:  # output, verdict, score and interval stay; simple ways go first, the last before the others
            heads, cells = heads[:-1], [line[:-1] for line in cells]
        else:
            raise SettingsError(f"{settings.width_mm:g} mm are too narrow for the table. Give more width.")
    left, top = page.body.left, page.body.bottom + height
    for number, (head, width) in enumerate(zip(heads, widths(points), strict=True)):
        right = number > 1  # numbers stand under one another
        for row, text in enumerate([head, *(line[number] for line in cells)]):
            weight = "normal" if row else "bold"
            x = left + (width - text_mm(text, points, weight) if right else 0)
            page.text(x, top - (row + (row > 0) * 0.3) * line_mm(points), [text], points, weight)
        left += width + 3.0
    if len(cells) < len(genes):
        page.text(page.body.left, top - (len(cells) + 1.4) * line_mm(points), [f"The first {len(cells):,} of {len(genes):,}, best first."], points)
    return page.figure


def _columns(scores: Scores) -> list[tuple[str, Callable[[GeneScore], str]]]:
    def of(number: float) -> str:
        return f"{number:.2f}" if math.isfinite(number) else "–"

    def way_of(way: str) -> Callable[[GeneScore], str]:
        return lambda one: of(one.ways.get(way, math.nan))

    def interval(one: GeneScore) -> str:
        return f"{of(one.interval[0])} to {of(one.interval[1])}"

    ways = [way for way in (*SHOWN_WAYS, *(way for way in WAYS if way not in SHOWN_WAYS)) if any(way in one.ways for one in scores.genes.values())]
    first: list[tuple[str, Callable[[GeneScore], str]]] = [("output", lambda one: one.name), ("verdict", lambda one: one.verdict or "–")]
    first += [(scores.score, lambda one: of(one.r)), ("95 % interval", interval), ("best possible", lambda one: of(one.ceiling))]
    return [*first, *((WAYS[way], way_of(way)) for way in ways[:4])]


def draw_confusion(material: Material, settings: FigureSettings) -> Figure:
    maps = material.maps
    if maps is None or maps.kind != "clusters" or maps.measured is None:
        raise SettingsError("This run predicts no clusters: there is no confusion to draw. Train one with target.kind: clusters.")
    counts = counts_at_spots(maps)
    if counts is None or not counts.sum():
        raise SettingsError("No spot has a measured cluster and was not trained on: there is no confusion to draw.")
    page = make_page(size_of(settings), titled(material, "Measured cluster and likeliest predicted one"), footer_of(material, settings, "class"))
    names, k, body = [short(name, 22) for name in maps.genes], len(maps.genes), page.body
    longest = max(text_mm(name, SMALL_PT) for name in names)
    left, below, bar = longest + 9, longest + 9, BAR_MM
    side = min(body.width - left - bar - GAP, body.height - below)
    if side < 20:
        raise SettingsError("The figure is too small for a confusion with its names. Give more width and height.")
    box = Box(body.left + left, body.bottom + body.height - side, side, side)
    ax = page.axes(box)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    lut = table(settings.colours)
    ax.imshow(colours(shares.ravel(), (0, 1), lut).reshape(k, k, 4), interpolation="nearest")
    points = min(SMALL_PT, 0.55 * side / k * PT_PER_MM)
    if points >= 3:
        for (row, column), count in np.ndenumerate(counts):
            dark = float(lut[round(shares[row, column] * 255), :3] @ (0.299, 0.587, 0.114)) < 0.5
            fits = min(points, points * 0.9 * side / k / max(text_mm(f"{count:,}", points), 0.1))
            ax.text(column, row, f"{count:,}", ha="center", va="center", fontsize=fits, color="white" if dark else "black")
    ax.set_xticks(range(k), names, rotation=90, fontsize=SMALL_PT, parse_math=False)
    ax.set_yticks(range(k), names, fontsize=SMALL_PT, parse_math=False)
    ax.tick_params(length=2)
    ax.set_xlabel("likeliest cluster, predicted", fontsize=TEXT_PT)
    ax.set_ylabel("measured cluster", fontsize=TEXT_PT)
    colour_bar(page, Box(box.left + side + GAP, box.bottom, bar, side), (0, 1), lut, "share of the measured cluster's spots")
    return page.figure
