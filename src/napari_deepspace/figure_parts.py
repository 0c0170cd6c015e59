"""What all figures share: a page of a chosen size with title and footer, the H&E beneath, spots as discs, scale bar, colour bar, legend, saving.

Lengths on the page are mm from its lower left corner; lengths on a map are um, (row, column). matplotlib without pyplot, so that any thread may draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

from napari_deepspace.errors import SettingsError
from napari_deepspace.figure_settings import require_format
from napari_deepspace.outlines import Outline
from napari_deepspace.runs import write_figure
from napari_deepspace.section import Section

Window = tuple[float, float, float, float]  #: top, left, bottom and right, in um
MM, PT_PER_MM = 25.4, 72 / 25.4
OVERVIEW_PX = 1200  #: pixels a side of the H&E where nobody says how many
MOST_PX = 6000
TITLE_PT, TEXT_PT, SMALL_PT = 9.0, 7.5, 6.5
MARGIN, GAP = 4.0, 2.0  #: mm
BAR_MM = 19.0  #: width of a colour bar with its numbers and words
BARS_UM = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
AS_TEXT: Any = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "napari-deepspace"}


@dataclass(frozen=True)
class Box:
    """A part of the page, in mm from its lower left corner."""

    left: float
    bottom: float
    width: float
    height: float


@dataclass(frozen=True)
class Page:
    """A figure with its title and footer written; ``body`` is what is left between them."""

    figure: Figure
    body: Box

    def axes(self, box: Box) -> Axes:
        """Axes that fill ``box``."""
        width, height = (side * MM for side in self.figure.get_size_inches())
        return self.figure.add_axes((box.left / width, box.bottom / height, box.width / width, box.height / height))

    def text(self, left: float, top: float, lines: Sequence[str], points: float, weight: str = "normal") -> None:
        """Lines of text whose first begins at ``left`` and hangs from ``top``."""
        width, height = (side * MM for side in self.figure.get_size_inches())
        for number, line in enumerate(lines):
            y = top - number * line_mm(points)
            self.figure.text(left / width, y / height, line, fontsize=points, weight=weight, va="top", ha="left", parse_math=False)


def make_page(size_mm: tuple[float, float], title: str, footer: Sequence[str]) -> Page:
    """A white page with ``title`` above and every sentence of ``footer`` beneath, broken to its width; small pages get smaller letters.

    Raises
    ------
    SettingsError
        The words leave no room for what they are about.
    """
    width, height = size_mm
    figure = Figure(figsize=(width / MM, height / MM), facecolor="white")
    share = min(1.0, max(0.75, width / 110))
    inner = width - 2 * MARGIN
    words = 0.96 * inner  # letters of a coarse PNG are a little wider than they should be
    above = broken(title, words, TITLE_PT * share, "bold")
    beneath = [line for sentence in footer if sentence for line in broken(sentence, words, SMALL_PT * share)]
    top = height - MARGIN - len(above) * line_mm(TITLE_PT * share) - (GAP if above else 0)
    bottom = MARGIN + len(beneath) * line_mm(SMALL_PT * share) + GAP
    if top - bottom < 20:
        raise SettingsError(
            f"{width:g} x {height:g} mm is too small for what has to stand beside the figure. "
            f"Give at least {math.ceil(height + 20 - (top - bottom))} mm of height, or more width."
        )
    page = Page(figure, Box(MARGIN, bottom, inner, top - bottom))
    page.text(MARGIN, height - MARGIN, above, TITLE_PT * share, "bold")
    page.text(MARGIN, bottom - GAP, beneath, SMALL_PT * share)
    return page


def line_mm(points: float) -> float:
    """Height of a line of text."""
    return 1.3 * points / PT_PER_MM


def text_mm(text: str, points: float, weight: str = "normal") -> float:
    """Width of ``text``."""
    font = FontProperties(family="DejaVu Sans", size=points, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / PT_PER_MM


def broken(text: str, width_mm: float, points: float, weight: str = "normal") -> list[str]:
    """``text`` in lines that are no wider than ``width_mm``; a word that is wider is broken too."""
    lines: list[str] = []
    for word in text.split(" "):
        both = f"{lines[-1]} {word}" if lines else word
        if lines and text_mm(both, points, weight) <= width_mm:
            lines[-1] = both
            continue
        rest = word
        while len(rest) > 1 and text_mm(rest, points, weight) > width_mm:
            fits = max(1, int(len(rest) * width_mm / text_mm(rest, points, weight)))
            lines.append(rest[:fits])
            rest = rest[fits:]
        lines.append(rest)
    return lines


def short(name: str, most: int = 28) -> str:
    """``name``, cut where it has more than ``most`` letters."""
    return name if len(name) <= most else f"{name[: most - 1].rstrip()}…"


def along(words: str, length_mm: float) -> tuple[str, dict[str, float]]:
    """``words`` for a label that is ``length_mm`` long: in smaller letters where that makes it one line, else broken; and its size."""
    points = TEXT_PT
    while points > 5 and text_mm(words, points) > length_mm:
        points -= 0.5
    return "\n".join(broken(words, length_mm, points)), {"fontsize": points}


def fitted(box: Box, window: Window, share: tuple[float, float] = (0.5, 0.5)) -> Box:
    """The largest part of ``box`` with the shape of ``window``, so that 1 um is as long upwards as sideways."""
    wide, high = window[3] - window[1], window[2] - window[0]
    scale = min(box.width / wide, box.height / high)
    width, height = wide * scale, high * scale
    return Box(box.left + share[0] * (box.width - width), box.bottom + share[1] * (box.height - height), width, height)


def whole_window(section: Section, centres_yx: np.ndarray) -> Window:
    """Around all ``centres_yx`` (n, 2), in px, with a margin."""
    margin = 1.5 * section.pitch_px
    (top, left), (bottom, right) = (centres_yx.min(axis=0) - margin) * section.mpp, (centres_yx.max(axis=0) + margin) * section.mpp
    return float(top), float(left), float(bottom), float(right)


def square_window(region_um: tuple[float, float, float]) -> Window:
    """Around a centre (row, column) as wide as the third number."""
    row, column, side = region_um
    return row - side / 2, column - side / 2, row + side / 2, column + side / 2


def picture(section: Section, window: Window, most_px: int = OVERVIEW_PX) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """The H&E of a window, and its extent in um (left, right, bottom, top), from the coarsest level that is fine enough.

    Raises
    ------
    SettingsError
        Nothing of the slide lies in the window.
    """
    slide = section.require_slide()
    most_px = max(1, min(most_px, MOST_PX))
    height, width = slide.shape[:2]
    top, left, bottom, right = (np.array(window) / section.mpp).round().astype(int)
    top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, height), min(right, width)
    if top >= bottom or left >= right:
        raise SettingsError(
            f"The region lies outside the slide, which is {height * section.mpp:,.0f} um high and {width * section.mpp:,.0f} um wide. "
            "Give row, column and width in um within it."
        )
    enough = [number for number, level in enumerate(slide.levels) if (bottom - top) * level.shape[0] / height >= most_px]
    number = max(enough, default=0)
    share = slide.levels[number].shape[0] / height
    rows, columns = (slice(math.floor(a * share), math.ceil(b * share)) for a, b in ((top, bottom), (left, right)))
    step = max(1, math.ceil(max(rows.stop - rows.start, columns.stop - columns.start) / most_px))
    pixels = np.asarray(slide.levels[number][rows, columns])[::step, ::step]
    return pixels, tuple(at / share * section.mpp for at in (columns.start, columns.stop, rows.stop, rows.start))


def show_picture(ax: Axes, pixels: np.ndarray, extent: tuple[float, float, float, float], percent: int = 100) -> None:
    """The H&E on ``ax``, at ``percent`` of its opacity."""
    ax.imshow(pixels, extent=extent, interpolation="antialiased", alpha=percent / 100)


def discs(ax: Axes, centres_um: np.ndarray, colour: np.ndarray, diameter_um: float, border: np.ndarray | None = None, border_pt: float = 0.0) -> None:
    """Discs of ``colour`` (n, 4), and rings of ``border`` (n, 4) where there are any; what is transparent is left out."""
    for rgba, line in ((colour, 0.0), (border, border_pt)):
        if rgba is None:
            continue
        seen = rgba[:, 3] > 0
        side = np.full(int(seen.sum()), diameter_um * (1.0 if line == 0 else 0.86))
        found = EllipseCollection(side, side, np.zeros_like(side), units="xy", offsets=centres_um[seen][:, ::-1], transOffset=ax.transData)
        found.set(facecolor=rgba[seen] if line == 0 else "none", edgecolor="none" if line == 0 else rgba[seen], linewidth=line)
        ax.add_collection(found)


def show_outlines(ax: Axes, outlines: Sequence[Outline], mpp: float) -> None:
    """The borders of ``outlines``, to be seen on light and dark."""
    for outline in outlines:
        for part in getattr(outline.geometry, "geoms", [outline.geometry]):
            xy = np.asarray(part.exterior.coords) * mpp
            ax.plot(xy[:, 0], xy[:, 1], color="black", linewidth=1.8)
            ax.plot(xy[:, 0], xy[:, 1], color="white", linewidth=0.8)


def frame(ax: Axes, window: Window, title: str = "", points: float = TEXT_PT) -> None:
    """Limits of a map, without ticks."""
    top, left, bottom, right = window
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
    ax.set_title(title, fontsize=points, pad=3)
    for spine in ax.spines.values():
        spine.set(linewidth=0.5, color="#606060")


def scale_bar(ax: Axes, window: Window, points: float = TEXT_PT) -> None:
    """A bar of a round length at the lower left, on a light ground so that it is legible on any tissue."""
    top, left, bottom, right = window
    width, height = right - left, bottom - top
    length = max((one for one in BARS_UM if one <= width / 3), default=BARS_UM[0])
    x, y = left + 0.04 * width, bottom - 0.04 * height
    words = f"{length:,} um" if length < 1000 else f"{length / 1000:g} mm"
    ax.text(
        x + length / 2, y - 0.012 * height, words, ha="center", va="bottom", fontsize=points, zorder=11,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0},
    )  # fmt: skip
    ax.plot([x, x + length], [y, y], color="white", linewidth=4.5, solid_capstyle="butt", zorder=10)
    ax.plot([x, x + length], [y, y], color="black", linewidth=2.5, solid_capstyle="butt", zorder=10)


def colour_bar(page: Page, box: Box, limits: tuple[float, float], lut: np.ndarray, words: str, ends: tuple[str, str] | None = None) -> None:
    """A colour bar at the left of ``box`` with ``words`` along it; ``ends`` stand in place of numbers that mean nothing."""
    ax = page.axes(Box(box.left, box.bottom, 3.0, box.height))
    bar = page.figure.colorbar(ScalarMappable(Normalize(*limits), ListedColormap(lut)), cax=ax)
    bar.outline.set_linewidth(0.5)
    label, size = along(words, box.height)
    bar.set_label(label, fontsize=size["fontsize"])
    if ends is not None:
        bar.set_ticks(list(limits), labels=list(ends))
    ax.tick_params(labelsize=SMALL_PT, width=0.5, length=2)


def legend_mm(names: Sequence[str], height_mm: float) -> float:
    """Width that :func:`legend` takes."""
    rows = max(1, int(height_mm / line_mm(SMALL_PT)))
    columns = [names[at : at + rows] for at in range(0, len(names), rows)]
    return sum(6.5 + max(text_mm(name, SMALL_PT) for name in column) for column in columns)


def legend(page: Page, box: Box, entries: Sequence[tuple[str, str]]) -> None:
    """Squares of colour (``#rrggbb``) with their names, in as many columns as the height asks for."""
    width, height = (side * MM for side in page.figure.get_size_inches())
    rows, left = max(1, int(box.height / line_mm(SMALL_PT))), box.left
    for at in range(0, len(entries), rows):
        column = entries[at : at + rows]
        for number, (_, colour) in enumerate(column):
            y = box.bottom + box.height - number * line_mm(SMALL_PT) - 2.2
            square = Rectangle((left / width, y / height), 2.0 / width, 2.0 / height, facecolor=colour, edgecolor="#606060", linewidth=0.3)
            square.set_transform(page.figure.transFigure)
            page.figure.add_artist(square)
        page.text(left + 3.0, box.bottom + box.height, [name for name, _ in column], SMALL_PT)
        left += legend_mm([name for name, _ in column], box.height)


def save(figure: Figure, out: Path, dpi: float = 150) -> None:
    """Write the figure beside ``out`` and rename it. Text stays text in SVG and PDF, and the same figure gives the same bytes.

    Raises
    ------
    SettingsError
        ``out`` is no .png, .svg or .pdf.
    """
    require_format(out)
    dates: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with mpl.rc_context(AS_TEXT):
        write_figure(out, figure, dpi, dates.get(out.suffix.casefold()))
