"""The simple ways of a run: fitted on the same training parts as the model, and scored before it, so that one sees when waiting is idle."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from napari_deepspace.analyse.baselines import interpolate
from napari_deepspace.events import BaselinesScored, Event
from napari_deepspace.learn.data import TrainingData, values_fitted_on
from napari_deepspace.learn.neighbouring import copied
from napari_deepspace.learn.run_state import RunState
from napari_deepspace.learn.simple import fit_ways, predict_ways
from napari_deepspace.learn.splits import TEST
from napari_deepspace.learn.targets import fit_target, score

KEPT_VALUES = 50_000_000  #: scaled values of all folds together that are kept in memory; beyond, each fold computes its own again


def fold_values(state: RunState, fold: int) -> Generator[Event, None, np.ndarray]:
    """Values of the fold's own training part, on a scale fitted to it alone: float32 (n_learned, n_outputs)."""
    learned = state.learned_on(fold)
    depth = float(np.median(state.data.totals[learned]))
    return (yield from values_fitted_on(state.data, learned, depth, state.settings.threads))[learned]


def score_baselines(state: RunState) -> Generator[Event, None, None]:
    """Fit every fold's target and the simple ways, and score them on the spots the model will be scored on."""
    data, folds, shown_sum = state.data, state.data.split.n_folds, state.data.target.target_sum
    for fold in range(folds):
        learned, tested = state.learned_on(fold), state.tested(fold)
        values = yield from fold_values(state, fold)
        fitted = fit_target(data.target, values, float(np.median(data.totals[learned])))
        scaled = fitted.scale(values)
        ways = fit_ways(data.target, state.simple[learned], scaled, data.split.groups[learned])
        state.fitted.append(fitted)
        state.ways.append(ways)
        if scaled.size * folds <= KEPT_VALUES:
            state.scaled[fold] = scaled
        for name, outputs in predict_ways(ways, state.simple[tested]).items():
            state.by_way[name][tested] = fitted.shown(outputs, shown_sum)
        if (data.split.home >= 0).any():
            state.by_way["interpolation"][tested] = _interpolated(state, learned, tested)[tested]
            state.by_way["neighbouring section"][tested] = copies(state, learned, tested)
    scored = scored_spots(data)
    mean = {
        name: score(data.target, state.measured[scored], values[scored])
        for name, values in state.by_way.items()
        if scored.any() and np.isfinite(values[scored]).any()
    }
    yield BaselinesScored(mean, int(scored.sum()), state.write_map(state.measured, "measured"))


def _interpolated(state: RunState, learned: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Six nearest training spots of the same section, float32 (n, n_outputs); NaN where it has none."""
    data, out = state.data, np.full(state.measured.shape, np.nan, dtype=np.float32)
    for number, centres in enumerate(data.centres_um):
        rows = data.rows(number)
        known, wanted = learned[rows], tested[rows]
        if known.any() and wanted.any():
            out[rows[wanted]] = interpolate(centres[known], state.measured[rows[known]], centres[wanted])
    return out


def copies(state: RunState, learned: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What was measured at the nearest spots of ``learned`` (bool, n) in other sections of the same frame, at spots of ``wanted`` (bool, n):
    float32 (n_wanted, n_outputs), NaN where sections are not aligned."""
    data, out = state.data, np.full(state.measured.shape, np.nan, dtype=np.float32)
    for number, section in enumerate(data.sections):
        rows = data.rows(number)[wanted[data.rows(number)]]
        others = [other for other, one in enumerate(data.sections) if other != number and one.patient == section.patient]
        known = [learned & (data.section_of == other) for other in others]
        if others:
            out[rows] = copied([(state.aligned[spots], state.measured[spots]) for spots in known], state.aligned[rows])
    return out[wanted]


def scored_spots(data: TrainingData) -> np.ndarray:
    """bool (n,): spots that some member tests and that passed the filter."""
    return np.asarray((data.split.parts == TEST).any(axis=1))
