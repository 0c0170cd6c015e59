"""What the folds of one run share, and what they have predicted so far."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from napari_deepspace.events import Event
from napari_deepspace.learn.checkpoint import Checkpoints
from napari_deepspace.learn.data import TrainingData, section_looks, values_fitted_on
from napari_deepspace.learn.features import quick_inputs
from napari_deepspace.learn.model import Member
from napari_deepspace.learn.neighbouring import aligned_points
from napari_deepspace.learn.notice import colours_of
from napari_deepspace.learn.pool import Pool
from napari_deepspace.learn.simple import simple_looks, simple_table
from napari_deepspace.learn.splits import TRAINING, VALIDATION
from napari_deepspace.learn.targets import FittedTarget
from napari_deepspace.runs import MAPS
from napari_deepspace.settings import NetworkSettings, RunSettings

MAP_OUTPUTS = 100  #: outputs of which a live map is drawn


@dataclass
class RunState:
    """All spots of all sections, one after another.

    ``inputs`` (n, ...) are what the model looks at, ``simple`` float64 (n, 6) what the simple ways look at, ``measured`` float32 (n, n_outputs) the
    values that are shown and scored, ``aligned`` float64 (n, 2) the spots in the frame that sections share. Nothing is learned from ``measured``.
    """

    data: TrainingData
    settings: RunSettings
    inputs: np.ndarray
    simple: np.ndarray
    colours: list[np.ndarray]  #: of each section, see :func:`napari_deepspace.learn.notice.colours_of`
    reference: np.ndarray | None  #: Quick's looks at the first section's tissue, not standardised
    measured: np.ndarray
    aligned: np.ndarray
    device: torch.device
    run_dir: Path
    micro_batch: int
    checkpoints: Checkpoints
    predicted: np.ndarray = field(init=False)  #: float32 (n, n_outputs), NaN where nothing yet
    by_way: dict[str, np.ndarray] = field(default_factory=dict)  #: the same, of each simple way
    fitted: list[FittedTarget] = field(default_factory=list)
    scaled: dict[int, np.ndarray] = field(default_factory=dict)  #: by fold: values of its own training part, float32 (n_learned, n_outputs)
    ways: list[dict[str, np.ndarray]] = field(default_factory=list)  #: by fold: the simple ways fitted
    members: list[Member] = field(default_factory=list)  #: Quick's
    pool: Pool | None = None  #: labelled tiles that train beside the measured spots
    last_map: str = ""

    def __post_init__(self) -> None:
        self.predicted = np.full(self.measured.shape, np.nan, dtype=np.float32)

    def add(self, way: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Keep what a simple way says at ``rows`` (bool, n): (n_rows, n_outputs). A way that says nothing takes no memory."""
        if np.isfinite(values).any():
            self.by_way.setdefault(way, np.full(self.measured.shape, np.nan, dtype=np.float32))[rows] = values

    def learned_on(self, fold: int) -> np.ndarray:
        """bool (n,): the fold's training part, spots for early stopping included."""
        return np.isin(self.data.split.parts[:, fold], (TRAINING, VALIDATION))

    def tested(self, fold: int) -> np.ndarray:
        """Spots with a tile that this fold's member never saw, those that failed the filter included; every one where nothing is held out."""
        home = self.data.split.home
        return self.data.predictable & ((home == fold) if (home >= 0).any() else True)

    def write_map(self, predicted: np.ndarray, name: str, keep: bool = True) -> str:
        """Save the first section's rows of ``predicted`` for the live map; "" where nothing is held out. One not to ``keep`` goes with the next."""
        if (self.data.split.home < 0).all():
            return ""
        (self.run_dir / MAPS).mkdir(exist_ok=True)
        file = f"{MAPS}/{name}.npy"
        np.save(self.run_dir / f"{MAPS}/.part.npy", predicted[self.data.rows(0), :MAP_OUTPUTS])
        os.replace(self.run_dir / f"{MAPS}/.part.npy", self.run_dir / file)
        if self.last_map and self.last_map != file:
            (self.run_dir / self.last_map).unlink(missing_ok=True)
        self.last_map = "" if keep else file
        return file


def run_state(
    data: TrainingData,
    settings: RunSettings,
    device: torch.device,
    run_dir: Path,
    micro_batch: int,
    checkpoints: Checkpoints,
    pool: Pool | None = None,
) -> Generator[Event, None, RunState]:
    """Look at the slides, and bring the measured values to the scale that is shown and scored."""
    inputs, simple, colours, reference = yield from _inputs(data, settings)
    measured = yield from values_fitted_on(data, data.keep, data.target.target_sum, settings.threads)
    measured[data.sealed] = np.nan
    aligned = np.concatenate([aligned_points(section, section.centres_yx) for section in data.sections])
    return RunState(data, settings, inputs, simple, colours, reference, measured, aligned, device, run_dir, micro_batch, checkpoints, pool=pool)


def _inputs(data: TrainingData, settings: RunSettings) -> Generator[Event, None, tuple[np.ndarray, np.ndarray, list[np.ndarray], np.ndarray | None]]:
    """What the model and the simple ways look at, per spot of all sections; 0 where there is no tissue. Then each section's colours, and Quick's
    looks at the first section as they are."""
    network = isinstance(settings.model, NetworkSettings)
    inputs, simple, colours, reference = [], [], [], None
    for number, (section, verdict) in enumerate(zip(data.sections, data.filters, strict=True)):
        rows = np.flatnonzero(verdict.predictable)
        centres = section.centres_yx[rows]
        looks = yield from section_looks(section, centres, data.tile_um, data.tile_px, settings.model)
        plain = yield from simple_looks(section, centres, data.tile_um)
        table = simple_table(plain, data.totals[data.rows(number)[rows]])
        colours.append(colours_of(plain))
        reference = looks if reference is None and not network else reference
        inputs.append(_at_rows(looks if network else quick_inputs(looks, looks), rows, section.adata.n_obs))
        simple.append(_at_rows(table, rows, section.adata.n_obs))
    return np.concatenate(inputs), np.concatenate(simple), colours, reference


def _at_rows(values: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    out = np.zeros((n, *values.shape[1:]), dtype=values.dtype)
    out[rows] = values
    return out
