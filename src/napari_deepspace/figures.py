"""Figures for publication: any map, plot or table as PNG, SVG or PDF, with all that has to stand beside it. See ``docs/figures.md``."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd

from napari_deepspace.analyse.super_resolution_figure import draw as draw_between
from napari_deepspace.cluster_colours import cluster_colours, known_as
from napari_deepspace.denser import DenserMap
from napari_deepspace.denser_layers import denser_values
from napari_deepspace.errors import SettingsError
from napari_deepspace.events import Event, Progress, result_of
from napari_deepspace.figure_maps import draw_denser, draw_map, draw_side_by_side
from napari_deepspace.figure_material import Material, class_entries
from napari_deepspace.figure_parts import save
from napari_deepspace.figure_plots import draw_confusion, draw_scatter, draw_table
from napari_deepspace.figure_settings import FigureSettings, require_format
from napari_deepspace.figure_sources import denser_map, drawn_of, maps_at_spots, require_output
from napari_deepspace.layers import Maps
from napari_deepspace.painted import classes_view, gene_view
from napari_deepspace.preprocess.clusters import given_clusters
from napari_deepspace.preprocess.filters import STEPS, SpotFilter
from napari_deepspace.preprocess.normalise import fit_normaliser
from napari_deepspace.preprocess.prepare import prepare_section, tile_side_um, with_clusters
from napari_deepspace.results import CLUSTER
from napari_deepspace.runs import SETTINGS, best_run
from napari_deepspace.section import Section
from napari_deepspace.settings import NORMALISATIONS, FilterSettings, TileSettings, load_run_settings
from napari_deepspace.views import REASON_COLOURS, Show, View, cluster_view, likeliest, removed_view

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWN = {
    "map": draw_map, "side-by-side": draw_side_by_side, "scatter": draw_scatter, "table": draw_table, "confusion": draw_confusion,
    "denser": draw_denser,
}  # fmt: skip


def write(section: Section, settings: FigureSettings, out: Path, run_dir: Path | None = None) -> Generator[Event, None, None]:
    """Draw a figure of ``section`` and write ``out`` (.png, .svg or .pdf); ``run_dir`` is the run whose predictions it shows, if it shows any.

    Raises
    ------
    SettingsError
        The figure cannot be drawn from what there is, or ``out`` is no figure.
    ModelError, DataError
        The run, a denser map or the section cannot be used.
    """
    require_format(out)
    material = yield from gather(section, settings, run_dir)
    yield Progress("drawing", 0, 1)
    save(draw(material, settings), out, settings.dpi)
    yield Progress("drawing", 1, 1)


def make(section: Section, settings: FigureSettings, run_dir: Path | None = None) -> Generator[Event, None, Figure]:
    """As :func:`write`, but the figure is handed back and not written."""
    return draw((yield from gather(section, settings, run_dir)), settings)


def draw(material: Material, settings: FigureSettings) -> Figure:
    """The figure that ``settings`` ask for.

    Raises
    ------
    SettingsError
        It cannot be drawn from what there is, or at that size.
    """
    if settings.kind == "between":
        assert material.drawn is not None
        return draw_between(material.drawn, settings.region_um, (settings.width_mm, settings.height_mm), settings.limits, settings.scale)
    return _DRAWN[settings.kind](material, settings)


def gather(section: Section, settings: FigureSettings, run_dir: Path | None = None) -> Generator[Event, None, Material]:
    """Read, and predict where it has to be, all that the figure shows; raises as :func:`write` does."""
    measured = settings.kind == "map" and settings.show in ("measured", "clusters", "removed")
    if run_dir is None and not measured:
        raise SettingsError(
            "Without a run a figure is a map of what was measured, of clusters or of removed spots. Give the folder of a finished run first."
        )
    if run_dir is None:
        return material_of(section, settings, (yield from _judged(section, settings, None)))
    run_dir, dmap, kept = best_run(run_dir), None, None
    if settings.kind in ("denser", "between"):
        dmap = yield from denser_map(run_dir, section, settings.denser)
        if settings.gene:
            require_output(run_dir, dmap.outputs, settings.gene)
    maps = yield from maps_at_spots(run_dir, section)
    if settings.gene and not measured:
        require_output(run_dir, maps.genes, settings.gene)
    if settings.kind not in ("table", "confusion", "between"):
        kept = yield from _judged(section, settings, run_dir)
    return material_of(section, settings, kept, maps, run_dir.name, dmap=dmap)


def material_of(
    section: Section,
    settings: FigureSettings,
    kept: SpotFilter | None,
    maps: Maps | None = None,
    run: str = "",
    clusters: pd.Series | None = None,
    dmap: DenserMap | None = None,
) -> Material:
    """What the figure is drawn from, where all is at hand; ``kept`` says which spots stay, and may be None where none are painted.

    ``clusters`` left out are those that came with the section.

    Raises
    ------
    SettingsError
        There is nothing of the kind to show.
    """
    if settings.kind == "between" and maps is not None and dmap is not None:
        return Material(section, maps=maps, run=run, drawn=drawn_of(section, maps, settings.gene, dmap))
    if kept is None or settings.kind in ("table", "confusion"):
        return Material(section, maps=maps, run=run)
    material = spots_material(section, settings, kept, maps, run, clusters)
    return material if dmap is None else with_denser(material, settings, dmap)


def spots_material(
    section: Section, settings: FigureSettings, kept: SpotFilter, maps: Maps | None, run: str, clusters: pd.Series | None = None
) -> Material:
    """The spots as the window paints them; ``clusters`` left out are those that came with the section.

    Raises
    ------
    SettingsError
        There is nothing of the kind to show.
    """
    if settings.show == "clusters" and clusters is None:
        clusters = given_clusters(section.adata)
        if clusters is None:
            raise SettingsError(f"{section.library_id} has no clusters. Give a CSV of them (--clusters), or show something else.")
    if settings.show == "class" and (maps is None or maps.kind != "clusters"):
        raise SettingsError("This run predicts no clusters: there is no likeliest one. Train one with target.kind: clusters.")
    measured, unit = _measured(section, settings, kept, maps)
    shows: tuple[str, ...] = {"map": (settings.show,), "side-by-side": ("measured", "predicted")}.get(settings.kind, ("predicted",))
    colours = _cluster_colours(section, settings, maps, clusters)
    views = {show: _view(show, settings, kept, maps, measured, unit, clusters, colours) for show in shows}
    return Material(section, views, _entries(settings, kept, maps, clusters, colours), colours, maps, run)


def with_denser(material: Material, settings: FigureSettings, dmap: DenserMap) -> Material:
    """``material`` with what ``dmap`` shows; raises SettingsError where it shows nothing of the kind."""
    if settings.show == "class" and dmap.kind != "clusters":
        raise SettingsError("This map predicts no clusters: there is no likeliest one. Show predicted, interval or disagreement.")
    found = denser_values(dmap, settings.gene or dmap.outputs[0], settings.show)  # type: ignore[arg-type]
    if not np.isfinite(found).any():
        raise SettingsError(f"{dmap.folder.name} says nothing of the {settings.show}: the model has one member, or no band. Show predicted.")
    entries = class_entries(material.colours, found, settings.hidden) if settings.show == "class" else ()
    return replace(material, dmap=dmap, found=found, entries=entries)


def _cluster_colours(section: Section, settings: FigureSettings, maps: Maps | None, clusters: pd.Series | None) -> dict[str, str]:
    """``#rrggbb`` of each cluster that is drawn, as the section keeps them; none where no clusters are."""
    own = clusters if clusters is not None else given_clusters(section.adata)
    if settings.show == "clusters" and own is not None:
        names = [str(name) for name in own.cat.categories]
    elif settings.show == "class" and maps is not None:
        names = list(maps.genes)
    else:
        return {}
    found = cluster_colours(section.adata, *known_as(own, names, CLUSTER))
    return {name: found[name] for name in names}


def _view(
    show: str,
    settings: FigureSettings,
    kept: SpotFilter,
    maps: Maps | None,
    measured: np.ndarray,
    unit: str,
    clusters: pd.Series | None,
    colours: dict[str, str],
) -> View:
    view = gene_view(
        settings.gene,
        show if show in get_args(Show) else "measured",  # type: ignore[arg-type]
        measured,
        unit,
        kept,
        maps,
        settings.scale,
        shared=settings.shared,
        limits=settings.limits,
        grey=not settings.show_anyway,
    )
    if settings.show == "removed":
        return removed_view(view, kept)
    if settings.show == "class" and maps is not None and settings.kind == "map":
        return classes_view(view, maps, kept, colours, settings.hidden)
    if settings.show == "clusters" and clusters is not None:
        counted = len(kept.spots) and kept.spots["umi"].any()
        return cluster_view(view, clusters, kept.keep if counted else np.ones(len(measured), dtype=bool), colours, settings.hidden)
    if settings.kind != "denser" and not np.isfinite(view.values).any():
        raise SettingsError(f"{settings.gene}: there is nothing {show} to show. Choose something else (--show), or another gene.")
    return view


def _measured(section: Section, settings: FigureSettings, kept: SpotFilter, maps: Maps | None) -> tuple[np.ndarray, str]:
    """Measured values of the gene, float32 (n_spots,), and their unit: the run's for a gene it predicts."""
    own = maps.measured_of(settings.gene) if maps is not None else None
    if own is not None and maps is not None:
        return own, maps.unit
    names = section.adata.var_names
    if settings.gene not in names or not kept.keep.any():
        if settings.gene and maps is None:
            raise SettingsError(f"{section.library_id} has no gene {settings.gene}, or no spot that stays. Name another, or lower the thresholds.")
        return np.full(section.adata.n_obs, np.nan, dtype=np.float32), maps.unit if maps is not None else NORMALISATIONS["log"]
    totals, column = kept.spots["umi"].to_numpy(dtype=np.float64), names.get_indexer([settings.gene])
    depth = (maps.target_sum if maps is not None else None) or float(np.median(totals[kept.keep])) or 1.0
    normaliser = result_of(fit_normaliser(section.adata.X[np.flatnonzero(kept.keep)], settings.normalisation, target_sum=depth))
    counts = section.adata.X[:, column].toarray()
    return normaliser.values(counts, totals, column)[:, 0], NORMALISATIONS[normaliser.kind]


def _judged(section: Section, settings: FigureSettings, run_dir: Path | None) -> Generator[Event, None, SpotFilter]:
    """Which spots stay: by the figure's own filter, else by the run's, else by the usual one."""
    own = run_dir / SETTINGS if run_dir is not None else None
    run = load_run_settings(own) if own is not None and own.is_file() else None
    wanted = settings.filter or (run.filter if run is not None else FilterSettings())
    prepared = yield from prepare_section(section, wanted, tile_side_um(section, run.tile if run is not None else TileSettings()))
    clusters = given_clusters(section.adata)
    if wanted.exclude_cluster is not None and clusters is not None:
        prepared = with_clusters(prepared, clusters, wanted)
    return prepared.filter


def _entries(
    settings: FigureSettings, kept: SpotFilter, maps: Maps | None, clusters: pd.Series | None, colours: dict[str, str]
) -> list[tuple[str, str]]:
    if settings.show == "clusters" and clusters is not None:
        return class_entries(colours, clusters.cat.codes.to_numpy(), settings.hidden)
    if settings.show == "class" and maps is not None:
        return class_entries(colours, np.where(kept.predictable, likeliest(maps.predicted), np.nan), settings.hidden)
    first, show = kept.first, settings.show
    removed = {step: int((first == number).sum()) for number, step in enumerate(STEPS)} if show == "removed" else {}
    return [(f"{kept.words[step]} ({count:,})", REASON_COLOURS[step]) for step, count in removed.items() if count]
