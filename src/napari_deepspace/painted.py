"""What is painted of a run's maps at the spots: one way for the window and for figures, so that both always show the same. Plain arrays, no Qt."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from napari_deepspace.analyse.bands import band_width
from napari_deepspace.colour_scale import ColourScale
from napari_deepspace.layers import Maps
from napari_deepspace.preprocess.filters import SpotFilter
from napari_deepspace.views import Show, View, class_view, likeliest, make_view


def where_predictable(values: np.ndarray, kept: SpotFilter) -> np.ndarray:
    """``values`` (n_spots,) float32, NaN where nothing may be predicted by now: excluded since the run, or on glass."""
    return np.where(kept.predictable, values, np.nan).astype(np.float32)


def ways_of(maps: Maps | None, gene: str, kept: SpotFilter) -> dict[str, np.ndarray]:
    """What the simple ways predict of ``gene``, float32 (n_spots,) by name, where the model's prediction may be shown too."""
    found = maps.ways_of(gene) if maps is not None else {}
    return {way: where_predictable(values, kept) for way, values in found.items()}


def gene_view(
    gene: str,
    show: Show,
    measured: np.ndarray,
    unit: str,
    kept: SpotFilter,
    maps: Maps | None,
    scale: ColourScale,
    *,
    shared: bool,
    limits: tuple[float, float] | None,
    grey: bool,
) -> View:
    """``gene`` as ``show`` asks; ``measured`` is float32 (n_spots,) in ``unit``, the rest as of :func:`napari_deepspace.views.make_view`."""
    predicted = maps.of(gene) if maps is not None else None
    interval = band_width(maps, gene) if maps is not None and show == "interval" else None
    return make_view(
        gene,
        show,
        measured,
        np.full(len(measured), np.nan, dtype=np.float32) if predicted is None else where_predictable(predicted, kept),
        kept.keep,
        scale,
        shared=shared,
        limits=limits,
        model=maps.model if maps is not None else "",
        live=maps is not None and maps.live,
        unit=unit,
        ways=ways_of(maps, gene, kept),
        interval=None if interval is None else where_predictable(interval, kept),
        doubt=maps.score_of(gene).doubt if maps is not None else "",
        grey=grey,
        relative=maps.relative if maps is not None and predicted is not None else "",
    )


def classes_view(view: View, maps: Maps, kept: SpotFilter, colours: dict[str, str], hidden: Collection[str] = ()) -> View:
    """``view`` with the likeliest cluster of each spot painted in place of its gene."""
    return class_view(view, maps.genes, where_predictable(likeliest(maps.predicted), kept), kept.keep, maps.model, colours, hidden)
