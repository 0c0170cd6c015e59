"""How far to trust the points of a model: bands, the domain of its tiles, and how sharp an edge it draws; found once, at the end of a run."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from napari_deepspace.analyse.bands import find_bands
from napari_deepspace.events import Event, Progress
from napari_deepspace.learn.domain import distance, fit_domain, looked_at
from napari_deepspace.learn.model import TrainedModel
from napari_deepspace.learn.resolution import resolution
from napari_deepspace.learn.run_baselines import scored_spots
from napari_deepspace.learn.run_state import RunState
from napari_deepspace.learn.splits import TRAINING, VALIDATION
from napari_deepspace.settings import NetworkSettings

STAGE = "finding out how far to trust the model"


def find_trust(state: RunState, model: TrainedModel) -> Generator[Event, None, np.ndarray]:
    """Give ``model`` its bands, its domain and its resolution.

    Returns how far each spot lies from the training tiles, float32 (n,), NaN where there is no tile; a training spot without its own neighbourhood.
    """
    yield Progress(STAGE, 0, 3)
    scored, target = scored_spots(state.data), state.data.target
    if target.kind != "clusters":  # whose probabilities are no values with an error
        home = state.data.split.home[scored]
        model.bands = find_bands(state.measured[scored], state.predicted[scored], home, nonnegative=target.nonnegative)
    yield Progress(STAGE, 1, 3)
    distances = _find_domain(state, model)
    yield Progress(STAGE, 2, 3)
    first = state.data.rows(0)
    model.resolution_um = yield from resolution(model, state.data.sections[0], state.predicted[first], state.reference, state.device)
    yield Progress(STAGE, 3, 3)
    return distances


def _find_domain(state: RunState, model: TrainedModel) -> np.ndarray:
    data, distances = state.data, np.full(len(state.data.section_of), np.nan, dtype=np.float32)
    rows = np.flatnonzero(data.predictable)
    network = model.members[0].network
    symmetries = isinstance(state.settings.model, NetworkSettings) and state.settings.model.symmetries
    looks = looked_at(network, state.inputs, state.device, rows, symmetries)
    known = np.isin(data.split.parts[rows], (TRAINING, VALIDATION)).any(axis=1)
    # a network knows the tiles it learned from by heart: the others say what new ones look like to it
    judged = ~state.learned_on(0)[rows[known]] if network is not None else None
    found = fit_domain(looks[known], data.split.groups[rows[known]], judged)
    if found is not None:
        model.domain = found[0]
        distances[rows] = distance(found[0], looks)
        distances[rows[known]] = found[1]
    return distances
