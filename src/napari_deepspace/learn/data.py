"""From sections to arrays: what every kind of model is trained on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from napari_deepspace.errors import DataError, TrainingError
from napari_deepspace.events import Event, Progress
from napari_deepspace.learn.features import slide_features
from napari_deepspace.learn.frozen import backbone_features, backbone_px
from napari_deepspace.learn.splits import Split, make_split
from napari_deepspace.preprocess.filters import SpotFilter
from napari_deepspace.preprocess.prepare import prepare, tile_side_um
from napari_deepspace.section import Section, spot_fingerprints
from napari_deepspace.settings import NetworkSettings, QuickSettings, RunSettings
from napari_deepspace.stain import Stain, find_stain, stained
from napari_deepspace.target import Target, choose_target, measured
from napari_deepspace.tiles import coarsest_level, edge_px, iter_tiles, tile_radius_px

BATCH = 64


@dataclass
class TrainingData:
    """All spots of all sections, one section after another.

    ``totals`` (n,) are UMI over all genes; ``filters`` one verdict and ``clusters`` perhaps the spots' clusters per section.
    """

    sections: Sequence[Section]
    target: Target
    totals: np.ndarray
    filters: list[SpotFilter]
    clusters: list[pd.Series | None]
    centres_um: list[np.ndarray]
    section_of: np.ndarray
    tile_um: float
    tile_px: int
    stain: Stain | None = None  #: that all slides are brought to
    split: Split = field(init=False)

    @property
    def keep(self) -> np.ndarray:
        """bool (n,): spots that passed the filter."""
        return np.concatenate([verdict.keep for verdict in self.filters])

    @property
    def predictable(self) -> np.ndarray:
        """bool (n,): spots whose tile shows tissue."""
        return np.concatenate([verdict.predictable for verdict in self.filters])

    @property
    def sealed(self) -> np.ndarray:
        """bool (n,): spots of a sealed hold-out."""
        return np.concatenate([section.sealed for section in self.sections])

    def rows(self, number: int) -> np.ndarray:
        """Rows of one section, in its own order."""
        return np.flatnonzero(self.section_of == number)


def gather(sections: Sequence[Section], settings: RunSettings) -> Generator[Event, None, TrainingData]:
    """Filter spots, choose the target, split.

    Raises
    ------
    DataError
        A section lacks counts, its slide, or clusters or numbers that are asked for.
    SettingsError
        An unknown gene, column or cluster.
    TrainingError
        No spot left, sections of different platforms, the same section twice, or too little for the split.
    """
    adatas = [section.require_counts() for section in sections]
    for section in sections:
        section.require_slide()
    if len({section.platform.name for section in sections}) > 1:
        found = ", ".join(f"{section.library_id}: {section.platform.name}" for section in sections)
        raise TrainingError(f"Sections of different platforms cannot be trained together ({found}). Train one model a platform.")
    _require_different(sections)
    prepared = yield from prepare(sections, settings)
    filters, clusters = [one.filter for one in prepared], [one.clusters for one in prepared]
    names = [section.library_id for section in sections]
    for name, verdict in zip(names, filters, strict=True):
        if not verdict.keep.any():
            if verdict.removed["sealed"].any():
                raise TrainingError(f"{name}: no spot is left beside those that are sealed. Leave the section out of this run.")
            raise TrainingError(verdict.nothing_left(name))
    keep = [verdict.keep for verdict in filters]
    target = choose_target(adatas, keep, settings, clusters, names)
    tile_um = tile_side_um(sections[0], settings.tile)
    sections, stain = _stained([*sections], settings, [verdict.predictable for verdict in filters])
    centres_um = [section.centres_yx * section.mpp for section in sections]
    data = TrainingData(
        sections=sections,
        target=target,
        totals=np.concatenate([verdict.spots["umi"].to_numpy() for verdict in filters]).astype(np.float64),
        filters=filters,
        clusters=clusters,
        centres_um=centres_um,
        section_of=np.repeat(np.arange(len(sections)), [adata.n_obs for adata in adatas]),
        tile_um=tile_um,
        tile_px=tile_side_px(settings, tile_um),
        stain=stain,
    )
    usable = data.keep & (yield from _known(data))
    parts = [usable[data.rows(number)] for number in range(len(sections))]
    data.split = make_split(
        centres_um,
        parts,
        settings.split,
        widest_view_um(settings, tile_um),
        sections[0].platform.pitch_um,
        edge_um=max(edge_um(section, settings, tile_um) for section in sections),
        origins=[section.origin for section in sections],
        sealed=[section.sealed for section in sections],
        lattice=[section.adata.obs[["array_row", "array_col"]].to_numpy() for section in sections],
    )
    return data


def _stained(sections: list[Section], settings: RunSettings, tissue: list[np.ndarray]) -> tuple[list[Section], Stain | None]:
    """The sections as a model sees them, all in the stain of the first where that is asked for; that stain."""
    if settings.tile.stain == "none":
        return sections, None
    own = [find_stain(section, spots) for section, spots in zip(sections, tissue, strict=True)]
    return [stained(section, one, own[0]) for section, one in zip(sections, own, strict=True)], own[0]


def _require_different(sections: Sequence[Section]) -> None:
    """Raise TrainingError where a section is there twice, under whatever name: one would be scored by a model that learned from the other."""
    spots = [np.unique(spot_fingerprints(section.adata)) for section in sections]
    for number, mine in enumerate(spots):
        for other in range(number):
            if len(np.intersect1d(mine, spots[other])) > len(mine) / 2:
                pair = f"{sections[other].library_id} and {sections[number].library_id}"
                raise TrainingError(f"{pair} hold the same spots: a section may be there only once. Take one of them out.")


def _known(data: TrainingData) -> Generator[Event, None, np.ndarray]:
    """Spots that have a value: those with counts, or with the number or the cluster that is asked for; bool (n,)."""
    if data.target.kind in ("genes", "signatures"):
        return data.totals > 0
    values = yield from values_fitted_on(data, data.keep, data.target.target_sum)
    return np.isfinite(values).all(axis=1)


def values_fitted_on(data: TrainingData, fit_on: np.ndarray, depth: float, threads: int | None = None) -> Generator[Event, None, np.ndarray]:
    """The target's values at every spot, float32 (n, n_outputs), on a scale fitted section by section to the spots of ``fit_on`` (bool, n) alone.

    ``depth`` is that of logarithmic values of genes.

    Raises
    ------
    TrainingError
        A section has too few spots for the scale that is asked for.
    """
    parts = []
    for number, section in enumerate(data.sections):
        rows, of = data.rows(number), section.library_id
        try:
            values = yield from measured(
                data.target, section.adata, fit_on[rows], depth=depth, clusters=data.clusters[number], threads=threads, of=of
            )
        except DataError as error:
            raise TrainingError(f"{error}") from error
        parts.append(values)
    return np.concatenate(parts)


def tile_side_px(settings: RunSettings, tile_um: float) -> int:
    """Pixels a side that tiles are resized to."""
    if isinstance(settings.model, NetworkSettings):
        return settings.model.tile_px
    if settings.model.features != "handmade":
        return backbone_px(settings.model.features)
    return min(512, max(32, round(tile_um / settings.model.um_per_px / 2) * 2))


def widest_view_um(settings: RunSettings, tile_um: float) -> float:
    """Side in um of the widest square that the model looks at around a spot: the tile, or its context."""
    context = settings.model.context if isinstance(settings.model, NetworkSettings) else None
    return tile_um * (context or 1)


def edge_um(section: Section, settings: RunSettings, tile_um: float) -> float:
    """What whole pixels, of the slide or of the features, add to the widest view of a spot of ``section``, in um."""
    slide, view_um = section.require_slide(), widest_view_um(settings, tile_um)
    if not isinstance(settings.model, NetworkSettings) and settings.model.features == "handmade":
        step = 2 * tile_radius_px(tile_um, section.mpp) / tile_side_px(settings, tile_um)
        return (edge_px(view_um, section.mpp) + 2 * step + 1) * section.mpp  # pixels of the features that the tile's edges cut
    context = settings.model.context if isinstance(settings.model, NetworkSettings) else None
    level = 0 if context is None else coarsest_level(slide, tile_radius_px(view_um, section.mpp), tile_side_px(settings, tile_um))
    return edge_px(view_um, section.mpp, round(slide.shape[0] / slide.levels[level].shape[0])) * section.mpp


def section_tiles(
    section: Section, centres_yx: np.ndarray, tile_um: float, tile_px: int, context: float | None = None
) -> Generator[Event, None, np.ndarray]:
    """All tiles at ``centres_yx`` (n, 2), uint8 (n, tile_px, tile_px, 3), with progress.

    With a ``context`` both views of a spot, (n, 2, tile_px, tile_px, 3): the tile, and the square ``context`` times as wide around the same centre,
    resized to as many pixels. It is read from the coarsest level of the slide that has them: at full resolution 4 times the width would be 16 times
    the work.
    """
    slide, n = section.require_slide(), len(centres_yx)
    multiples = (1.0,) if context is None else (1.0, context)
    tiles = np.empty((n, len(multiples), tile_px, tile_px, 3), dtype=np.uint8)
    done = 0
    for view, multiple in enumerate(multiples):
        radius = tile_radius_px(tile_um * multiple, section.mpp)
        level = coarsest_level(slide, radius, tile_px) if view else 0
        for index, batch in iter_tiles(slide, centres_yx, radius, tile_px, BATCH, level):
            tiles[index, view] = batch
            done += len(batch)
            yield Progress(f"cutting tiles of {section.library_id}", done, n * len(multiples))
    return tiles if context is not None else tiles[:, 0]


def section_features(section: Section, centres_yx: np.ndarray, tile_um: float, tile_px: int) -> Generator[Event, None, np.ndarray]:
    """Quick's features at ``centres_yx`` (n, 2), float32 (n, n_features), not standardised; memory does not grow with the slide."""
    parts: list[np.ndarray] = []
    order: list[np.ndarray] = []
    done = 0
    for index, batch in slide_features(section.require_slide().levels, centres_yx, tile_radius_px(tile_um, section.mpp), tile_px):
        parts.append(batch)
        order.append(index)
        done += len(batch)
        yield Progress(f"measuring colour and texture of {section.library_id}", done, len(centres_yx))
    features = np.empty((len(centres_yx), parts[0].shape[1]), dtype=np.float32)
    features[np.concatenate(order)] = np.concatenate(parts)
    return features


def section_looks(
    section: Section, centres_yx: np.ndarray, tile_um: float, tile_px: int, model: QuickSettings | NetworkSettings
) -> Generator[Event, None, np.ndarray]:
    """What a model looks at around ``centres_yx`` (n, 2): tiles for a network, else Quick's features, not standardised."""
    if isinstance(model, NetworkSettings):
        return (yield from section_tiles(section, centres_yx, tile_um, tile_px, model.context))
    if model.features == "handmade":
        return (yield from section_features(section, centres_yx, tile_um, tile_px))
    return (yield from backbone_features(section, centres_yx, tile_um, tile_px, model))
