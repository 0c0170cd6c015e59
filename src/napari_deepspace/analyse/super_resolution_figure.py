"""The figure of super-resolution, after the paper's Figure 3: measured spots, points between them and both, beside and over the H&E, and enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from napari_deepspace.colour_scale import ColourScale, limits_of, spread, table
from napari_deepspace.denser import BETWEEN_SIZE, DenserMap, to_image
from napari_deepspace.figure_parts import (
    MM,
    Window,
    discs,
    frame,
    picture,
    scale_bar,
    show_outlines,
    show_picture,
    square_window,
    whole_window,
)
from napari_deepspace.figure_settings import SIZES_MM
from napari_deepspace.outlines import Outline
from napari_deepspace.section import Section

COLUMNS = ("H&E", "spots", "between", "both")


DEFAULT = ColourScale()


@dataclass(frozen=True)
class Drawn:
    """What the figure shows of one output: values at the spots (n_spots,) and at the points of ``dmap`` (n_points,), NaN where there are none.

    ``spots`` says in words what the values at the spots are, ``footer`` everything that has to stand beside the map.
    """

    section: Section
    output: str
    unit: str
    at_spots: np.ndarray
    spots: str
    dmap: DenserMap
    at_points: np.ndarray
    outlines: Sequence[Outline] = ()
    footer: str = ""


def draw(
    drawn: Drawn,
    region_um: tuple[float, float, float] | None = None,
    size_mm: tuple[float, float] = SIZES_MM["between"],
    limits: tuple[float, float] | None = None,
    scale: ColourScale = DEFAULT,
) -> Figure:
    """The figure. ``region_um`` (row, column, width in um) is enlarged; left out: around the smallest outline, else where most is predicted.

    ``limits`` left out: by the percentiles of ``scale``.
    """
    limits = limits or limits_of(drawn.at_spots, drawn.at_points, percentiles=scale.percentiles)
    norm, cmap = Normalize(*limits), ListedColormap(spread(table(scale.map), limits, scale.log))
    letters = min(1.0, max(0.75, size_mm[0] / SIZES_MM["between"][0]))
    figure = Figure(figsize=(size_mm[0] / MM, size_mm[1] / MM), layout="constrained", facecolor="white")
    axes = figure.subplots(3, 4)
    whole, part = _whole(drawn), _region(drawn, region_um)
    pictures = [picture(drawn.section, window) for window in (whole, part)]
    for row, (window, shown, over) in enumerate([(whole, pictures[0], False), (whole, pictures[0], True), (part, pictures[1], True)]):
        for ax, column in zip(axes[row], COLUMNS, strict=True):
            if over or column == "H&E":
                show_picture(ax, *shown)
            _show_values(ax, drawn, column, norm, cmap)
            if row == 2:
                show_outlines(ax, drawn.outlines, drawn.section.mpp)
            elif over:
                top, left, side = part[0], part[1], part[2] - part[0]
                ax.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor="black", linewidth=1))
            frame(ax, window, _title(drawn, column) if row == 0 else "", 9 * letters)
    for ax, words in zip(axes[:, 0], ("beside the H&E", "over the H&E", "the box, enlarged"), strict=True):
        ax.set_ylabel(words, fontsize=10 * letters)
    scale_bar(axes[0, 0], whole, 8 * letters)
    scale_bar(axes[2, 0], part, 8 * letters)
    bar = figure.colorbar(ScalarMappable(norm, cmap), ax=axes, shrink=0.5, aspect=30)
    bar.set_label(f"{drawn.output}, {drawn.unit}", fontsize=10 * letters)
    bar.ax.tick_params(labelsize=10 * letters)
    figure.supxlabel(drawn.footer, fontsize=8 * letters, x=0.01, ha="left", wrap=True)
    return figure


def _title(drawn: Drawn, column: str) -> str:
    n = int(np.isfinite(drawn.at_points).sum())
    between = f"points between: {n:,}, predicted" if drawn.dmap.at == "between-spots" else f"denser map (predicted), {drawn.dmap.spacing_um:g} um"
    return {"H&E": "H&E", "spots": drawn.spots, "between": between, "both": "both"}[column]


def _whole(drawn: Drawn) -> Window:
    """Top, left, bottom and right of the tissue, in um."""
    centres = drawn.section.centres_yx[np.isfinite(drawn.at_spots)] if np.isfinite(drawn.at_spots).any() else drawn.dmap.centres_yx
    return whole_window(drawn.section, centres)


def _region(drawn: Drawn, wanted: tuple[float, float, float] | None) -> Window:
    mpp = drawn.section.mpp
    if wanted is not None:
        row, column, side = wanted
    elif drawn.outlines:
        x0, y0, x1, y1 = np.array([outline.geometry.bounds for outline in drawn.outlines]).T
        first = int(np.argmin((x1 - x0) * (y1 - y0)))  # the smallest: what spots are most likely to miss
        row, column = (y0[first] + y1[first]) / 2 * mpp, (x0[first] + x1[first]) / 2 * mpp
        side = max(2.5 * max(x1[first] - x0[first], y1[first] - y0[first]) * mpp, 6 * drawn.section.platform.pitch_um)
    else:
        row, column = drawn.dmap.centres_yx[int(np.nanargmax(drawn.at_points))] * mpp
        side = 8 * drawn.section.platform.pitch_um
    return square_window((row, column, side))


def _show_values(ax: Axes, drawn: Drawn, column: str, norm: Normalize, cmap: Colormap) -> None:
    section, dmap = drawn.section, drawn.dmap
    diameter = section.platform.spot_diameter_um
    if column in ("between", "both"):
        if dmap.at == "grid" and dmap.step_px is not None and dmap.origin_yx_px is not None:
            image, step = to_image(dmap, drawn.at_points), dmap.step_px * section.mpp
            top, left = (at * section.mpp - step / 2 for at in dmap.origin_yx_px)
            extent = (left, left + image.shape[1] * step, top + image.shape[0] * step, top)
            ax.imshow(image, extent=extent, cmap=cmap, norm=norm, interpolation="nearest", alpha=0.85)
        else:
            discs(ax, dmap.centres_yx * section.mpp, _rgba(drawn.at_points, norm, cmap), BETWEEN_SIZE * diameter)
    if column in ("spots", "both"):
        discs(ax, section.centres_yx * section.mpp, _rgba(drawn.at_spots, norm, cmap), diameter)


def _rgba(values: np.ndarray, norm: Normalize, cmap: Colormap) -> np.ndarray:
    """Colours (n, 4) of ``values`` (n,), transparent where there is none."""
    rgba = np.asarray(cmap(norm(np.nan_to_num(values))))
    return np.where(np.isfinite(values)[:, None], rgba, 0.0)


def footer(about: dict[str, Any], numbers: str, verdict: str, synthetic: bool) -> str:
    """What stands beneath the figure: verdict, scores with all that belongs to them, run, and what the map is not."""
    parts = ["SYNTHETIC data, nothing here was measured on tissue." if synthetic else "", verdict, numbers]
    parts.append(
        f"Run {about.get('run', '')} ({about.get('model', '')}); points between spots are predicted from the H&E, not measured; no single cells."
    )
    return " ".join(part.strip() for part in (*parts, "Research use only.") if part.strip())
