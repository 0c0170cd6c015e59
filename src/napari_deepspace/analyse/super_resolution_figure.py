"""The figure of super-resolution, after the paper's Figure 3: measured spots, points between them and both, beside and over the H&E, and enlarged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from napari_deepspace.denser import BETWEEN_SIZE, DenserMap, to_image
from napari_deepspace.errors import SettingsError
from napari_deepspace.outlines import Outline
from napari_deepspace.runs import write_figure
from napari_deepspace.section import Section

FORMATS = (".png", ".svg", ".pdf")
COLOURS = "viridis"
OVERVIEW_PX = 1200  #: most pixels a side that the H&E is drawn with
COLUMNS = ("H&E", "spots", "between", "both")


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


def draw(drawn: Drawn, region_um: tuple[float, float, float] | None = None) -> Figure:
    """The figure. ``region_um`` (row, column, width in um) is enlarged; left out: around the smallest outline, else where most is predicted."""
    finite = np.concatenate([values[np.isfinite(values)] for values in (drawn.at_spots, drawn.at_points)])
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
    norm = Normalize(low, high if high > low else low + 1)
    figure = Figure(figsize=(13, 10.4), layout="constrained", facecolor="white")
    axes = figure.subplots(3, 4)
    whole, part = _whole(drawn), _region(drawn, region_um)
    pictures = [_picture(drawn.section, window) for window in (whole, part)]
    for row, (window, picture, over) in enumerate([(whole, pictures[0], False), (whole, pictures[0], True), (part, pictures[1], True)]):
        for ax, column in zip(axes[row], COLUMNS, strict=True):
            if over or column == "H&E":
                _show_picture(ax, *picture)
            _show_values(ax, drawn, column, norm)
            if row == 2:
                _show_outlines(ax, drawn)
            elif over:
                top, left, side = part[0], part[1], part[2] - part[0]
                ax.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor="black", linewidth=1))
            _frame(ax, window, _title(drawn, column) if row == 0 else "")
    for ax, words in zip(axes[:, 0], ("beside the H&E", "over the H&E", "the box, enlarged"), strict=True):
        ax.set_ylabel(words, fontsize=10)
    _scale_bar(axes[0, 0], whole)
    _scale_bar(axes[2, 0], part)
    bar = figure.colorbar(ScalarMappable(norm, COLOURS), ax=axes, shrink=0.5, aspect=30)
    bar.set_label(f"{drawn.output}, {drawn.unit}")
    figure.supxlabel(drawn.footer, fontsize=8, x=0.01, ha="left", wrap=True)
    return figure


def save(figure: Figure, out: Path) -> None:
    """Write the figure beside ``out`` and rename it.

    Raises
    ------
    SettingsError
        ``out`` is no .png, .svg or .pdf.
    """
    if out.suffix not in FORMATS:
        raise SettingsError(f"--out {out}: a figure is {', '.join(FORMATS)}; give a name that ends so.")
    write_figure(out, figure, dpi=150)


def _title(drawn: Drawn, column: str) -> str:
    n = int(np.isfinite(drawn.at_points).sum())
    between = f"points between: {n:,}, predicted" if drawn.dmap.at == "between-spots" else f"denser map (predicted), {drawn.dmap.spacing_um:g} um"
    return {"H&E": "H&E", "spots": drawn.spots, "between": between, "both": "both"}[column]


def _whole(drawn: Drawn) -> tuple[float, float, float, float]:
    """Top, left, bottom and right of the tissue, in um."""
    centres = drawn.section.centres_yx[np.isfinite(drawn.at_spots)] if np.isfinite(drawn.at_spots).any() else drawn.dmap.centres_yx
    margin = 1.5 * drawn.section.pitch_px
    (top, left), (bottom, right) = (centres.min(axis=0) - margin) * drawn.section.mpp, (centres.max(axis=0) + margin) * drawn.section.mpp
    return float(top), float(left), float(bottom), float(right)


def _region(drawn: Drawn, wanted: tuple[float, float, float] | None) -> tuple[float, float, float, float]:
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
    return row - side / 2, column - side / 2, row + side / 2, column + side / 2


def _picture(section: Section, window: tuple[float, float, float, float]) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """The H&E of a window, and its extent in um (left, right, bottom, top), from the coarsest level that is fine enough."""
    slide = section.require_slide()
    height, width = slide.shape[:2]
    top, left, bottom, right = (np.array(window) / section.mpp).round().astype(int)
    top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, height), min(right, width)
    enough = [number for number, level in enumerate(slide.levels) if (bottom - top) * level.shape[0] / height >= OVERVIEW_PX]
    number = max(enough, default=0)
    share = slide.levels[number].shape[0] / height
    rows, columns = (slice(math.floor(a * share), math.ceil(b * share)) for a, b in ((top, bottom), (left, right)))
    step = max(1, math.ceil(max(rows.stop - rows.start, columns.stop - columns.start) / OVERVIEW_PX))
    pixels = np.asarray(slide.levels[number][rows, columns])[::step, ::step]
    return pixels, tuple(at / share * section.mpp for at in (columns.start, columns.stop, rows.stop, rows.start))


def _show_picture(ax: Axes, pixels: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    ax.imshow(pixels, extent=extent, interpolation="antialiased")


def _show_values(ax: Axes, drawn: Drawn, column: str, norm: Normalize) -> None:
    section, dmap = drawn.section, drawn.dmap
    diameter = section.platform.spot_diameter_um
    if column in ("between", "both"):
        if dmap.at == "grid" and dmap.step_px is not None and dmap.origin_yx_px is not None:
            image, step = to_image(dmap, drawn.at_points), dmap.step_px * section.mpp
            top, left = (at * section.mpp - step / 2 for at in dmap.origin_yx_px)
            extent = (left, left + image.shape[1] * step, top + image.shape[0] * step, top)
            ax.imshow(image, extent=extent, cmap=COLOURS, norm=norm, interpolation="nearest", alpha=0.85)
        else:
            _discs(ax, dmap.centres_yx * section.mpp, drawn.at_points, BETWEEN_SIZE * diameter, norm)
    if column in ("spots", "both"):
        _discs(ax, section.centres_yx * section.mpp, drawn.at_spots, diameter, norm)


def _discs(ax: Axes, centres_um: np.ndarray, values: np.ndarray, diameter_um: float, norm: Normalize) -> None:
    known = np.isfinite(values)
    discs = EllipseCollection(
        np.full(known.sum(), diameter_um),
        np.full(known.sum(), diameter_um),
        np.zeros(known.sum()),
        units="xy",
        offsets=centres_um[known][:, ::-1],
        transOffset=ax.transData,
        cmap=COLOURS,
        norm=norm,
        linewidths=0,
    )
    discs.set_array(values[known])
    ax.add_collection(discs)


def _show_outlines(ax: Axes, drawn: Drawn) -> None:
    for outline in drawn.outlines:
        for part in getattr(outline.geometry, "geoms", [outline.geometry]):
            xy = np.asarray(part.exterior.coords) * drawn.section.mpp
            ax.plot(xy[:, 0], xy[:, 1], color="black", linewidth=1.8)
            ax.plot(xy[:, 0], xy[:, 1], color="white", linewidth=0.8)


def _frame(ax: Axes, window: tuple[float, float, float, float], title: str) -> None:
    top, left, bottom, right = window
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)


def _scale_bar(ax: Axes, window: tuple[float, float, float, float]) -> None:
    top, left, bottom, right = window
    width = right - left
    length = max(one for one in (50, 100, 200, 500, 1000, 2000, 5000) if one <= max(width / 3, 50))
    y, x = bottom - 0.04 * (bottom - top), left + 0.05 * width
    ax.plot([x, x + length], [y, y], color="black", linewidth=3, solid_capstyle="butt")
    ax.text(x + length / 2, y - 0.02 * (bottom - top), f"{length:,} um" if length < 1000 else f"{length / 1000:g} mm", ha="center", fontsize=8)


def footer(about: dict[str, Any], numbers: str, verdict: str, synthetic: bool) -> str:
    """What stands beneath the figure: verdict, scores with all that belongs to them, run, and what the map is not."""
    parts = ["SYNTHETIC data, nothing here was measured on tissue." if synthetic else "", verdict, numbers]
    parts.append(
        f"Run {about.get('run', '')} ({about.get('model', '')}); points between spots are predicted from the H&E, not measured; no single cells."
    )
    return " ".join(part.strip() for part in (*parts, "Research use only.") if part.strip())
