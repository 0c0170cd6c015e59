"""From sections to arrays: what every kind of model is trained on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_deepspace.analyse.baselines import standardise
from napari_deepspace.errors import TrainingError
from napari_deepspace.events import Event, Progress
from napari_deepspace.learn.features import tile_features
from napari_deepspace.learn.splits import Split, make_split
from napari_deepspace.learn.targets import choose_genes, gene_counts
from napari_deepspace.preprocess.filters import filter_spots
from napari_deepspace.section import Section
from napari_deepspace.settings import NetworkSettings, RunSettings
from napari_deepspace.tiles import iter_tiles, tile_radius_px

BATCH = 64


@dataclass
class TrainingData:
    """All spots of all sections, one section after another.

    ``counts`` float32 (n, n_genes), ``totals`` (n,) UMI over all genes, ``filters`` one table per section, ``section_of`` int (n,).
    """

    sections: Sequence[Section]
    genes: tuple[str, ...]
    panel: str
    counts: np.ndarray
    totals: np.ndarray
    filters: list[pd.DataFrame]
    centres_um: list[np.ndarray]
    section_of: np.ndarray
    split: Split
    tile_um: float
    tile_px: int

    @property
    def keep(self) -> np.ndarray:
        """bool (n,): spots that passed the filter."""
        return np.concatenate([table["keep"].to_numpy() for table in self.filters])

    def rows(self, number: int) -> np.ndarray:
        """Rows of one section, in its own order."""
        return np.flatnonzero(self.section_of == number)


def gather(sections: Sequence[Section], settings: RunSettings) -> TrainingData:
    """Filter spots, choose genes, split.

    Raises
    ------
    DataError
        A section lacks counts or its slide.
    SettingsError
        An unknown gene.
    TrainingError
        No spot left, or sections of different platforms.
    """
    adatas = [section.require_counts() for section in sections]
    for section in sections:
        section.require_slide()
    if len({section.platform.name for section in sections}) > 1:
        found = ", ".join(f"{section.library_id}: {section.platform.name}" for section in sections)
        raise TrainingError(f"Sections of different platforms cannot be trained together ({found}). Train one model a platform.")
    filters = [filter_spots(adata, settings.filter) for adata in adatas]
    for section, table in zip(sections, filters, strict=True):
        if not table["keep"].any():
            raise TrainingError(
                f"{section.library_id}: no spot is left after filtering (UMI >= {settings.filter.min_umi}, genes >= {settings.filter.min_genes}; "
                f"the median spot has {table['umi'].median():.0f} UMI and {table['n_genes'].median():.0f} genes). Lower the thresholds."
            )
    genes, panel = choose_genes(adatas, [table["keep"].to_numpy() for table in filters], settings.genes)
    counted = [gene_counts(adata, genes) for adata in adatas]
    tile_um = sections[0].platform.spot_diameter_um * (1 + settings.tile.extra_percent / 100)
    centres_um = [section.centres_yx * section.mpp for section in sections]
    split = make_split(centres_um, [table["keep"].to_numpy() for table in filters], settings.split, tile_um, sections[0].platform.pitch_um)
    return TrainingData(
        sections=sections,
        genes=genes,
        panel=panel,
        counts=np.concatenate([counts for counts, _ in counted]),
        totals=np.concatenate([totals for _, totals in counted]),
        filters=filters,
        centres_um=centres_um,
        section_of=np.repeat(np.arange(len(sections)), [adata.n_obs for adata in adatas]),
        split=split,
        tile_um=tile_um,
        tile_px=tile_side_px(settings, tile_um),
    )


def tile_side_px(settings: RunSettings, tile_um: float) -> int:
    """Pixels a side that tiles are resized to."""
    if isinstance(settings.model, NetworkSettings):
        return settings.model.tile_px
    return min(512, max(32, round(tile_um / settings.model.um_per_px / 2) * 2))


def section_tiles(section: Section, centres_yx: np.ndarray, tile_um: float, tile_px: int) -> Generator[Event, None, np.ndarray]:
    """All tiles at ``centres_yx`` (n, 2), uint8 (n, tile_px, tile_px, 3), with progress."""
    tiles = np.empty((len(centres_yx), tile_px, tile_px, 3), dtype=np.uint8)
    done = 0
    for index, batch in iter_tiles(section.require_slide(), centres_yx, tile_radius_px(tile_um, section.mpp), tile_px, BATCH):
        tiles[index] = batch
        done += len(batch)
        yield Progress(f"cutting tiles of {section.library_id}", done, len(tiles))
    return tiles


def section_features(section: Section, centres_yx: np.ndarray, tile_um: float, tile_px: int) -> Generator[Event, None, np.ndarray]:
    """Quick's features at ``centres_yx`` (n, 2), float32 (n, n_features), not standardised; memory does not grow with the slide."""
    parts: list[np.ndarray] = []
    order: list[np.ndarray] = []
    done = 0
    for index, batch in iter_tiles(section.require_slide(), centres_yx, tile_radius_px(tile_um, section.mpp), tile_px, BATCH):
        parts.append(tile_features(batch))
        order.append(index)
        done += len(batch)
        yield Progress(f"measuring colour and texture of {section.library_id}", done, len(centres_yx))
    features = np.empty((len(centres_yx), parts[0].shape[1]), dtype=np.float32)
    features[np.concatenate(order)] = np.concatenate(parts)
    return features


def standardised(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """z-scores by the section's own spots (images only, no counts): evens out stain and scanner between sections."""
    return np.clip(standardise(features, reference), -6, 6)


def mean_rgb(tiles: np.ndarray) -> np.ndarray:
    """Mean R, G, B in 0..1 of uint8 tiles (n, s, s, 3): float64 (n, 3)."""
    return tiles.reshape(len(tiles), -1, 3).mean(axis=1) / 255
