"""From sections to the spots that train: counts, outlines, white tiles and clusters together decide."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from napari_deepspace.errors import SettingsError
from napari_deepspace.events import Event, Progress
from napari_deepspace.outlines import Outline, inside, touched
from napari_deepspace.preprocess.filters import SpotFilter, filter_spots, spot_table
from napari_deepspace.preprocess.white_tiles import NO_FILTER, TileColours, tile_colours, white_at, white_threshold
from napari_deepspace.section import Section
from napari_deepspace.settings import ClusterTargetSettings, FilterSettings, RunSettings, TileSettings
from napari_deepspace.tiles import tile_radius_px


@dataclass(frozen=True)
class Prepared:
    """One section's spots, judged. ``colours`` is None where white tiles were not looked for; ``clusters`` where none were asked for."""

    filter: SpotFilter
    colours: TileColours | None = None
    white_threshold: float = NO_FILTER
    clusters: pd.Series | None = None


def tile_side_um(section: Section, settings: TileSettings) -> float:
    """Width of the tile around a spot."""
    return section.platform.spot_diameter_um * (1 + settings.extra_percent / 100)


def prepare(sections: Sequence[Section], settings: RunSettings) -> Generator[Event, None, list[Prepared]]:
    """Judge the spots of every section by all steps of the filter, the cluster to leave out included; clusters too where they are the target.

    Raises
    ------
    DataError
        A section has no clusters though one is to be left out or they are the target, or its slide is damaged.
    SettingsError
        There is no cluster of the name that is to be left out.
    """
    without_cluster = settings.filter.model_copy(update={"exclude_cluster": None})
    prepared = []
    for section in sections:
        prepared.append((yield from prepare_section(section, without_cluster, tile_side_um(section, settings.tile))))
    leave_out = settings.filter.exclude_cluster
    if leave_out is None and not isinstance(settings.target, ClusterTargetSettings):
        return prepared
    from napari_deepspace.preprocess.clusters import find_clusters

    keep = [one.filter.keep for one in prepared]
    labels = yield from find_clusters([s.adata for s in sections], keep, settings.clusters, [s.library_id for s in sections])
    known = sorted({str(name) for series in labels for name in series.cat.categories})
    if leave_out is not None and leave_out not in known:
        raise SettingsError(f"There is no cluster {leave_out!r} to leave out (filter.exclude_cluster); found {', '.join(known)}.")
    return [with_clusters(one, series, settings.filter) for one, series in zip(prepared, labels, strict=True)]


def prepare_section(section: Section, settings: FilterSettings, tile_um: float) -> Generator[Progress, None, Prepared]:
    """Judge the spots of one section by its counts, outlines and white tiles; ``tile_um`` is the width of the tiles a model would see."""
    spots = spots_of(section)
    if section.slide is None or settings.white_percentile >= 100:
        return Prepared(filter_spots(spots, settings))
    colours = yield from tile_colours(section.slide, section.centres_yx, tile_radius_px(tile_um, section.mpp), section.library_id)
    return judge(spots, colours, settings)


def spots_of(section: Section) -> pd.DataFrame:
    """The table of :func:`spot_table` with what the section's outlines say of each spot."""
    return mark_outlines(spot_table(section.adata), section.outlines, section)


def mark_outlines(spots: pd.DataFrame, outlines: Sequence[Outline], section: Section) -> pd.DataFrame:
    """``spots`` with what ``outlines`` on ``section`` say of each: a spot is excluded if one touches it, and failed if its centre lies inside;
    and with what the section's seal says."""
    centres = section.centres_yx
    return spots.assign(
        sealed=section.sealed,
        excluded=touched([o for o in outlines if o.excludes], centres, section.spot_diameter_px / 2),
        failed=inside([o for o in outlines if o.failed], centres),
    )


def judge(spots: pd.DataFrame, colours: TileColours, settings: FilterSettings) -> Prepared:
    """The filter's verdict on ``spots`` whose tiles have these ``colours``, in the same order."""
    threshold = white_threshold(colours.mean_rgb[spots["in_tissue"].to_numpy()], settings.white_percentile)
    table = spots.assign(mean_rgb=colours.mean_rgb, white=colours.white_share(threshold))
    return Prepared(filter_spots(table, settings), colours, threshold)


def with_clusters(prepared: Prepared, clusters: pd.Series, settings: FilterSettings) -> Prepared:
    """``prepared`` judged again, now that each spot's cluster is known."""
    table = prepared.filter.spots.assign(cluster=clusters.astype(object).to_numpy())
    return replace(prepared, filter=filter_spots(table, settings), clusters=clusters)


def white_points(section: Section, prepared: Prepared, centres_yx: np.ndarray, tile_um: float) -> Generator[Progress, None, np.ndarray]:
    """Which points (n, 2) between spots have a white tile by the threshold of the section's spots, or lie in an exclude outline: bool (n,)."""
    out = touched([o for o in section.outlines if o.excludes], centres_yx, section.spot_diameter_px / 2)
    if prepared.colours is not None:
        radius = tile_radius_px(tile_um, section.mpp)
        out |= yield from white_at(section.require_slide(), centres_yx, radius, prepared.white_threshold, section.library_id)
    return out
