"""Maps on a page: the spots, two maps of them side by side, and a denser map."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_deepspace.cluster_colours import class_lut
from napari_deepspace.colour_scale import colours, spread, table
from napari_deepspace.denser import BETWEEN_SIZE, to_image
from napari_deepspace.denser_layers import NEAR_SHARE, TOO_NEAR, denser_caption, denser_colours, resolution_of
from napari_deepspace.figure_material import Material, footer_of, size_of, titled
from napari_deepspace.figure_parts import (
    BAR_MM,
    GAP,
    MM,
    PT_PER_MM,
    TEXT_PT,
    Box,
    Page,
    Window,
    broken,
    colour_bar,
    discs,
    fitted,
    frame,
    legend,
    legend_mm,
    line_mm,
    make_page,
    picture,
    scale_bar,
    show_picture,
    square_window,
    text_mm,
    whole_window,
)
from napari_deepspace.figure_settings import FigureSettings
from napari_deepspace.layers import RING
from napari_deepspace.section import Section
from napari_deepspace.views import View


def draw_map(material: Material, settings: FigureSettings) -> Figure:
    view = material.views[settings.show]
    shown = f"{view.title or view.gene}: {view.caption}" + (f"; {view.doubt}" if view.doubt else "")
    page = make_page(size_of(settings), titled(material, shown), footer_of(material, settings, settings.show))
    window = _window(material, settings)
    room = GAP + (legend_mm([name for name, _ in material.entries], page.body.height) if material.entries else BAR_MM)
    box = fitted(Box(page.body.left, page.body.bottom, page.body.width - room, page.body.height), window)
    _spots(page, box, window, material, settings, view)
    beside = Box(box.left + box.width + GAP, box.bottom, room, box.height)
    if material.entries:
        legend(page, Box(beside.left, page.body.bottom, room, page.body.height), material.entries)
    elif view.lut is not None:
        _bar(page, beside, view)
    return page.figure


def draw_side_by_side(material: Material, settings: FigureSettings) -> Figure:
    left, right = material.views["measured"], material.views["predicted"]
    shown = f"{right.gene}: measured and predicted" + (f"; {right.doubt}" if right.doubt else "")
    page = make_page(size_of(settings), titled(material, shown), footer_of(material, settings, "predicted"))
    window, body = _window(material, settings), page.body
    one_bar = left.limits == right.limits and left.unit == right.unit and np.array_equal(left.lut, right.lut)  # type: ignore[arg-type]
    above, bar = line_mm(TEXT_PT) + 1.5, BAR_MM + GAP
    beside = Box(0, 0, (body.width - GAP - bar * (1 if one_bar else 2)) / 2, body.height - above)
    stacked = Box(0, 0, body.width - bar, (body.height - GAP) / 2 - above)
    over = fitted(stacked, window).width > fitted(beside, window).width
    size = fitted(stacked if over else beside, window)
    x, top = body.left, body.bottom + body.height
    for number, view in enumerate((left, right)):
        y = top - above - size.height - (number * (size.height + above + GAP) if over else 0)
        box = Box(x, y, size.width, size.height)
        lines = broken(view.caption, size.width, TEXT_PT)[:1] if text_mm(view.caption, TEXT_PT) > size.width else [view.caption]
        page.text(x, top if not over else y + size.height + above, lines, TEXT_PT)
        _spots(page, box, window, material, settings, view)
        if number or over or not one_bar:
            _bar(page, Box(x + size.width + GAP, y, BAR_MM, size.height), view)
        x += 0 if over else size.width + GAP + (0 if one_bar else bar)
    return page.figure


def draw_denser(material: Material, settings: FigureSettings) -> Figure:
    dmap, found, view = material.dmap, material.found, material.views["predicted"]
    assert dmap is not None and found is not None
    show, section = settings.show, material.section
    painted, limits = denser_colours(dmap, found, show, view)  # type: ignore[arg-type]
    limits = settings.limits or limits if show != "class" else limits
    lut = view.lut if show == "predicted" and view.lut is not None else table(settings.colours)
    lut = class_lut(material.colours, settings.hidden) if show == "class" else lut
    lut = lut if show == "class" else spread(lut, limits, settings.log)
    doubt = f"; {view.doubt}" if view.doubt and show == "predicted" else ""
    caption = denser_caption(dmap, show)  # type: ignore[arg-type]
    window = _window(material, settings, dmap.centres_yx[np.isfinite(found)])
    near = f" {TOO_NEAR[0].upper()}{TOO_NEAR[1:]}." if resolution_of(dmap) > NEAR_SHARE * (window[3] - window[1]) else ""
    footer = footer_of(material, settings, "class" if show == "class" else "predicted")
    footer = [f"{line}{near}" if line.startswith("Run ") else line for line in footer]
    page = make_page(size_of(settings), titled(material, f"{settings.gene or 'Clusters'}: {caption}{doubt}"), footer)
    room = GAP + (legend_mm([name for name, _ in material.entries], page.body.height) if material.entries else BAR_MM)
    box = fitted(Box(page.body.left, page.body.bottom, page.body.width - room, page.body.height), window)
    ax = page.axes(box)
    _slide(ax, section, window, box, settings)
    if dmap.at == "grid" and dmap.step_px is not None and dmap.origin_yx_px is not None:
        step = dmap.step_px * section.mpp
        top, left = (at * section.mpp - step / 2 for at in dmap.origin_yx_px)
        image = to_image(dmap, painted)
        rgba = colours(image.ravel(), limits, lut).reshape(*image.shape, 4)
        extent = (left, left + image.shape[1] * step, top + image.shape[0] * step, top)
        ax.imshow(rgba, extent=extent, interpolation="nearest", alpha=0.85)
    else:
        discs(ax, dmap.centres_yx * section.mpp, colours(painted, limits, lut), BETWEEN_SIZE * section.platform.spot_diameter_um)
    frame(ax, window)
    scale_bar(ax, window)
    beside = Box(box.left + box.width + GAP, box.bottom, room, box.height)
    if material.entries:
        legend(page, Box(beside.left, page.body.bottom, room, page.body.height), material.entries)
    else:
        unit = f"SD of {view.unit}" if show == "disagreement" else f"width of the 90 % band, {view.unit}" if show == "interval" else view.unit
        colour_bar(page, beside, limits, lut, f"{settings.gene}, {unit}", ("low", "high") if view.relative and show == "predicted" else None)
    return page.figure


def _spots(page: Page, box: Box, window: Window, material: Material, settings: FigureSettings, view: View) -> None:
    section = material.section
    ax = page.axes(box)
    _slide(ax, section, window, box, settings)
    diameter = section.platform.spot_diameter_um * settings.spot_percent / 100
    ring = RING * diameter * box.width / (window[3] - window[1]) * PT_PER_MM
    discs(ax, section.centres_yx * section.mpp, view.face, diameter, view.border, ring)
    frame(ax, window)
    scale_bar(ax, window)


def _slide(ax: Axes, section: Section, window: Window, box: Box, settings: FigureSettings) -> None:
    if section.slide is not None and settings.slide_percent > 0:
        show_picture(ax, *picture(section, window, round(max(box.width, box.height) / MM * settings.dpi)), settings.slide_percent)


def _bar(page: Page, box: Box, view: View) -> None:
    assert view.lut is not None
    colour_bar(
        page, box, view.limits, spread(view.lut, view.limits, view.log), f"{view.gene}, {view.unit}", ("low", "high") if view.relative else None
    )


def _window(material: Material, settings: FigureSettings, centres_yx: np.ndarray | None = None) -> Window:
    if settings.region_um is not None:
        return square_window(settings.region_um)
    section = material.section
    return whole_window(section, section.centres_yx if centres_yx is None or not len(centres_yx) else centres_yx)
