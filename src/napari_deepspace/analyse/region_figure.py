"""Figures of outlines: distributions of what was measured and predicted inside and outside, and the outlines of two observers on the H&E."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from napari_deepspace.analyse.front_figure import LOOKS, MEASURED, MOST_GENES, PREDICTED
from napari_deepspace.errors import SettingsError
from napari_deepspace.figure_parts import (
    GAP,
    SMALL_PT,
    TEXT_PT,
    Box,
    Window,
    along,
    fitted,
    frame,
    legend,
    line_mm,
    make_page,
    picture,
    scale_bar,
    short,
    show_picture,
    whole_window,
)
from napari_deepspace.outlines import Outline
from napari_deepspace.section import Section

MOST_REGIONS = 12
LEAST_MM, REGION_MM, PANEL_MM = 110.0, 24.0, 62.0
BOXES = ((MEASURED, True), (MEASURED, False), (PREDICTED, True), (PREDICTED, False))  #: source, and whether inside; left to right
ONE, OTHER = "#ffe000", "#00e0ff"  #: of two observers: told apart from the tissue and from each other


def draw_distributions(values: pd.DataFrame, title: str, footer: Sequence[str]) -> Figure:
    """Draw boxes of ``values``: columns region, gene, unit, source (MEASURED or PREDICTED), inside (bool) and value, a row a spot.

    A box holds the quartiles and the median; whiskers reach to the last spot within 1.5 interquartile ranges.

    Raises
    ------
    SettingsError
        There are more than six genes, or more than twelve regions.
    """
    genes, regions = list(dict.fromkeys(values["gene"])), list(dict.fromkeys(values["region"]))
    for found, most, what in ((genes, MOST_GENES, "genes"), (regions, MOST_REGIONS, "outlines")):
        if len(found) > most:
            fewer = "Name fewer (--gene)" if what == "genes" else "Describe them by class (--by class), or give a file with fewer"
            raise SettingsError(f"A figure of distributions holds {most} {what} at most; found {len(found)}. {fewer}.")
    page = make_page((max(LEAST_MM, 30 + REGION_MM * len(regions)), PANEL_MM * len(genes) + 36), title, footer)
    left, below, high = 16.0, 9.0, page.body.height / len(genes)
    for number, gene in enumerate(genes):
        bottom = page.body.bottom + page.body.height - (number + 1) * high
        ax = page.axes(Box(page.body.left + left, bottom + below, page.body.width - left - GAP, high - below - 4 * line_mm(TEXT_PT) - GAP))
        some = values[values["gene"] == gene]
        sources = [one for one in BOXES if (some["source"] == one[0]).any()]
        for at, region in enumerate(regions):
            _draw_boxes(ax, some[some["region"] == region], at, sources)
        ax.set_xlim(-0.5, len(regions) - 0.5)
        ax.set_xticks(range(len(regions)), [short(name, max(8, 96 // len(regions))) for name in regions], fontsize=SMALL_PT)
        label, size = along(str(some["unit"].iloc[0]), high - below - 4 * line_mm(TEXT_PT))
        ax.set_ylabel(label, fontsize=size["fontsize"])
        ax.tick_params(labelsize=SMALL_PT)
        ax.tick_params(axis="x", length=0)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_title(gene, fontsize=TEXT_PT, loc="left", pad=23)
        keys = [Patch(facecolor=LOOKS[one][0] if inner else "none", edgecolor=LOOKS[one][0], alpha=0.55 if inner else 1) for one, inner in sources]
        words = [f"{one}, {'inside' if inner else 'outside'}" for one, inner in sources]
        ax.legend(keys, words, fontsize=SMALL_PT, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 0.99), borderpad=0, handlelength=1.2)
    return page.figure


def _draw_boxes(ax: Axes, some: pd.DataFrame, at: int, sources: Sequence[tuple[str, bool]]) -> None:
    step = 0.8 / len(sources)
    for number, (source, inner) in enumerate(sources):
        values = some.loc[(some["source"] == source) & (some["inside"] == inner), "value"].to_numpy()
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        colour, where = LOOKS[source][0], at + (number - (len(sources) - 1) / 2) * step
        line = {"color": colour, "linewidth": 0.8}
        found = ax.boxplot(
            values, positions=[where], widths=0.75 * step, patch_artist=True, manage_ticks=False,
            boxprops={"edgecolor": colour, "linewidth": 0.8}, medianprops={"color": colour, "linewidth": 1.6}, whiskerprops=line, capprops=line,
            flierprops={"marker": ".", "markersize": 2, "markerfacecolor": colour, "markeredgecolor": "none", "alpha": 0.5},
        )  # fmt: skip
        found["boxes"][0].set_facecolor((*_rgb(colour), 0.45 if inner else 0.0))


def _rgb(colour: str) -> tuple[float, float, float]:
    return tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))  # type: ignore[return-value]


def draw_observers(section: Section, other: Sequence[Outline], title: str, footer: Sequence[str]) -> Figure:
    """The outlines of the section and those of another observer on the H&E, around all of them.

    Raises
    ------
    DataError
        The section has no slide.
    """
    drawn = [*section.outlines, *other]
    x0, y0, x1, y1 = (value * section.mpp for value in shapely.total_bounds([one.geometry for one in drawn]))
    edge = 0.15 * max(x1 - x0, y1 - y0)
    whole = whole_window(section, section.centres_yx)
    window: Window = (max(y0 - edge, whole[0]), max(x0 - edge, whole[1]), min(y1 + edge, whole[2]), min(x1 + edge, whole[3]))
    page = make_page((130.0, 120.0), title, footer)
    box = fitted(Box(page.body.left, page.body.bottom + 5, page.body.width, page.body.height - 5), window)
    ax = page.axes(box)
    show_picture(ax, *picture(section, window))
    for outlines, colour, style in ((section.outlines, ONE, "-"), (other, OTHER, "--")):
        for outline in outlines:
            for part in shapely.get_parts(outline.geometry):
                for ring in (part.exterior, *part.interiors):
                    xy = np.asarray(ring.coords) * section.mpp
                    ax.plot(xy[:, 0], xy[:, 1], color="black", linewidth=2.4)
                    ax.plot(xy[:, 0], xy[:, 1], color=colour, linewidth=1.2, linestyle=style)
    frame(ax, window)
    scale_bar(ax, window)
    legend(page, Box(page.body.left, page.body.bottom, page.body.width / 2, 3.5), [("outlines of this section", ONE)])
    legend(page, Box(page.body.left + page.body.width / 2, page.body.bottom, page.body.width / 2, 3.5), [("those of the other observer", OTHER)])
    return page.figure
