"""The figure of a profile across a border: mean of measured and predicted values by signed distance, with intervals, a panel a gene."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_deepspace.errors import SettingsError
from napari_deepspace.figure_parts import GAP, SMALL_PT, TEXT_PT, Box, along, line_mm, make_page

MEASURED, PREDICTED, DENSER = "measured", "predicted, out of fold", "denser map (predicted)"
MOST_GENES = 6
WIDTH_MM, PANEL_MM = 130.0, 58.0
LOOKS = {MEASURED: ("#202020", "-", "o"), PREDICTED: ("#2257c4", "--", "s"), DENSER: ("#c05800", ":", "^")}


def draw_front(profiles: pd.DataFrame, title: str, footer: Sequence[str]) -> Figure:
    """Draw profiles: the columns of :data:`napari_deepspace.analyse.front.COLUMNS`, and gene, unit and source (MEASURED, PREDICTED or DENSER).

    Raises
    ------
    SettingsError
        There are more than six genes.
    """
    genes = list(dict.fromkeys(profiles["gene"]))
    if len(genes) > MOST_GENES:
        raise SettingsError(f"A figure of a front holds {MOST_GENES} genes at most; found {len(genes)}. Name fewer (--gene).")
    page = make_page((WIDTH_MM, PANEL_MM * len(genes) + 30), title, footer)
    left, below = 16.0, 12.0
    high = page.body.height / len(genes)
    for number, gene in enumerate(genes):
        bottom = page.body.bottom + page.body.height - (number + 1) * high
        ax = page.axes(Box(page.body.left + left, bottom + below, page.body.width - left - GAP, high - below - line_mm(TEXT_PT) - GAP))
        some = profiles[profiles["gene"] == gene]
        for source in dict.fromkeys(some["source"]):
            _draw_line(ax, some[some["source"] == source], source)
        ax.axvspan(some["from_um"].min(), 0, color="#f0ece4", zorder=-1)
        ax.axvline(0, color="#606060", linewidth=0.7)
        ax.set_xlim(some["from_um"].min(), some["to_um"].max())
        ax.set_title(gene, fontsize=TEXT_PT, loc="left", pad=3)
        ax.set_xlabel("inside  ←  distance from the border, um  →  outside", fontsize=TEXT_PT)
        label, size = along(f"mean, {some['unit'].iloc[0]}", high - below - 6)
        ax.set_ylabel(label, fontsize=size["fontsize"])
        ax.tick_params(labelsize=SMALL_PT)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(fontsize=SMALL_PT, frameon=False, loc="best")
    return page.figure


def _draw_line(ax: Axes, some: pd.DataFrame, source: str) -> None:
    colour, line, marker = LOOKS[source]
    middle = (some["from_um"] + some["to_um"]) / 2
    ax.fill_between(middle, some["low"], some["high"], color=colour, alpha=0.15, linewidth=0)
    ax.plot(middle, some["mean"], color=colour, linestyle=line, marker=marker, markersize=2.5, linewidth=1, label=source)
