"""The simple ways of a run: fitted on the same training parts as the model, and scored before it, so that one sees when waiting is idle."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from napari_deepspace.analyse.baselines import interpolate
from napari_deepspace.analyse.ceiling import ceiling
from napari_deepspace.analyse.copies import copied
from napari_deepspace.events import BaselinesScored, Event
from napari_deepspace.learn.data import TrainingData, values_fitted_on
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
            state.add(name, tested, fitted.shown(outputs, shown_sum))
        if (data.split.home >= 0).any():
            state.add("interpolation", tested, _interpolated(state, learned, tested))
            state.add("neighbouring section", tested, copies(state, learned, tested))
    scored = scored_spots(data)
    mean = {name: score(data.target, state.measured[scored], values[scored]) for name, values in state.by_way.items() if scored.any()}
    mean = {name: value for name, value in mean.items() if np.isfinite(state.by_way[name][scored]).any()}
    yield BaselinesScored(mean, int(scored.sum()), state.write_map(state.measured, "measured"), _mean_ceiling(data, scored))


def _mean_ceiling(data: TrainingData, scored: np.ndarray) -> float:
    """The best r that the counts of the scored spots allow, the mean over outputs and sections that have one; NaN without any."""
    found = [ceiling(section.adata, np.flatnonzero(scored[data.rows(number)]), data.target) for number, section in enumerate(data.sections)]
    means = [float(np.nanmean(r)) for r in found if r is not None and np.isfinite(r).any()]
    return float(np.mean(means)) if means else float("nan")


def _interpolated(state: RunState, learned: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Six nearest spots of ``learned`` in the same section, at spots of ``wanted`` (bool, n): float32 (n_wanted, n_outputs), NaN without any."""
    data, out = state.data, np.full((int(wanted.sum()), state.measured.shape[1]), np.nan, dtype=np.float32)
    section_of = data.section_of[wanted]
    for number, centres in enumerate(data.centres_um):
        rows = data.rows(number)
        known, here = learned[rows], section_of == number
        if known.any() and here.any():
            out[here] = interpolate(centres[known], state.measured[rows[known]], centres[wanted[rows]])
    return out


def copies(state: RunState, learned: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What was measured at the nearest spots of ``learned`` (bool, n) in other sections of the same frame, at spots of ``wanted`` (bool, n):
    float32 (n_wanted, n_outputs), NaN where sections are not aligned."""
    data, out = state.data, np.full((int(wanted.sum()), state.measured.shape[1]), np.nan, dtype=np.float32)
    section_of, places = data.section_of[wanted], state.aligned[wanted]
    for number, section in enumerate(data.sections):
        here = section_of == number
        others = [other for other, one in enumerate(data.sections) if other != number and one.patient == section.patient]
        known = [learned & (data.section_of == other) for other in others]
        if others and here.any():
            out[here] = copied([(state.aligned[spots], state.measured[spots]) for spots in known], places[here])
    return out


def scored_spots(data: TrainingData) -> np.ndarray:
    """bool (n,): spots that some member tests and that passed the filter."""
    return np.asarray((data.split.parts == TEST).any(axis=1))
