"""Training as a generator of events: the same for a script, the command line and the dock."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_deepspace.analyse.baselines import fit_mean_rgb, interpolate, predict_mean_rgb
from napari_deepspace.analyse.evaluate import evaluate
from napari_deepspace.analyse.judge import add_verdicts
from napari_deepspace.events import BaselinesScored, Event, Finished, FoldEnded, Resumed, Started
from napari_deepspace.learn.checkpoint import Checkpoints
from napari_deepspace.learn.cost import choose_micro_batch
from napari_deepspace.learn.data import TrainingData, gather, section_looks, standardised, values_fitted_on
from napari_deepspace.learn.features import quick_inputs
from napari_deepspace.learn.gene_notes import tell_of_genes
from napari_deepspace.learn.linear import LinearModel, fit_logistic, fit_ridge
from napari_deepspace.learn.model import Member, SeenSpots, TrainedModel, network_outputs
from napari_deepspace.learn.networks import choose_device
from napari_deepspace.learn.optimise import FoldData, train_network
from napari_deepspace.learn.splits import PART_NAMES, TEST, TRAINING, VALIDATION
from napari_deepspace.learn.targets import FittedTarget, fit_target, score
from napari_deepspace.learn.tensorboard import with_curves
from napari_deepspace.results import write_result
from napari_deepspace.runs import MAPS, METRICS, PREDICTIONS, SETTINGS, claim, safe_name, write_atomic, write_json
from napari_deepspace.section import Section, spot_fingerprints
from napari_deepspace.settings import NetworkSettings, QuickSettings, RunSettings, dump_yaml

log = logging.getLogger(__name__)

MAP_OUTPUTS = 100  #: outputs of which a live map is drawn
KEPT_VALUES = 50_000_000  #: scaled values of all folds together that are kept in memory; beyond, each fold computes its own again


def fit(sections: Sequence[Section], settings: RunSettings, run_dir: Path) -> Generator[Event, None, TrainedModel]:
    """Train on ``sections`` and leave everything in ``run_dir`` (see :mod:`napari_deepspace.runs`); go on where a checkpoint there ends.

    What an event announces is on disk already. The generator returns the model; its predictions at the sections' spots are out of fold.

    Raises
    ------
    DataError, SettingsError, TrainingError
        Before ``Started``, if the sections or settings cannot be used; TrainingError later if the loss is not finite, or memory or the disk ends.
    RunPaused
        Somebody asked for it (:func:`napari_deepspace.runs.request_pause`).
    """
    job = _fit(sections, settings, Path(run_dir))
    return (yield from with_curves(job, Path(run_dir)) if settings.tensorboard else job)


def _fit(sections: Sequence[Section], settings: RunSettings, run_dir: Path) -> Generator[Event, None, TrainedModel]:
    began = time.perf_counter()
    run_dir.mkdir(parents=True, exist_ok=True)
    claim(run_dir)
    threads = settings.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    settings = settings.model_copy(update={"threads": threads})
    data = yield from gather(sections, settings)
    network = settings.model if isinstance(settings.model, NetworkSettings) else None
    device, reason = choose_device(network.device) if network else (torch.device("cpu"), "Quick needs no GPU")
    micro_batch = choose_micro_batch(network, len(data.target.names), len(data.section_of), data.tile_px, device) if network else 0
    if network is not None:  # the run keeps it, like its threads: chosen anew by the memory of another day, the weights would be others
        settings = settings.model_copy(update={"model": network.model_copy(update={"micro_batch": micro_batch})})
    checkpoints = Checkpoints(run_dir, settings.checkpoint_minutes)
    at = checkpoints.begin(_fingerprint(data, settings))
    write_atomic(run_dir / SETTINGS, dump_yaml(settings))
    if at is None:
        yield Started(
            settings.name, network.backbone if network else "quick", data.target.names, int(data.keep.sum()), data.split.n_folds,
            network.epochs if network else 0, str(device), reason, data.split.words, data.target.unit, os.getpid(), data.target.score,
        )  # fmt: skip
        yield from tell_of_genes(data, settings)
    else:
        yield Resumed(at.fold, at.epoch, at.step, os.getpid())
    state = yield from _state(data, settings, device, run_dir, micro_batch, checkpoints)
    yield from _baselines(state)
    for fold in range(data.split.n_folds):
        yield from _fold(state, fold)
    model = _model(state)
    yield from _finish(state, model, began)
    checkpoints.end()
    return model


class _State:
    """What the folds of one run share, and what they have predicted so far (float32 (n, n_outputs), NaN where nothing yet)."""

    def __init__(
        self,
        data: TrainingData,
        settings: RunSettings,
        inputs: np.ndarray,
        rgb: np.ndarray,
        measured: np.ndarray,
        device: torch.device,
        run_dir: Path,
        micro_batch: int,
        checkpoints: Checkpoints,
    ):
        self.data, self.settings, self.inputs, self.rgb, self.measured = data, settings, inputs, rgb, measured
        self.device, self.run_dir, self.micro_batch, self.checkpoints = device, run_dir, micro_batch, checkpoints
        self.target = data.target
        shape = measured.shape
        self.predicted = np.full(shape, np.nan, dtype=np.float32)
        self.by_rgb = np.full(shape, np.nan, dtype=np.float32)
        self.by_neighbours = np.full(shape, np.nan, dtype=np.float32)
        self.fitted: list[FittedTarget] = []
        self.scaled: dict[int, np.ndarray] = {}  #: by fold: the values of its own training part, float32 (n_learned, n_outputs)
        self.rgb_fits: list[np.ndarray] = []
        self.members: list[Member] = []  #: Quick's
        self.last_map = ""

    def learned_on(self, fold: int) -> np.ndarray:
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


def _fingerprint(data: TrainingData, settings: RunSettings) -> str:
    """Of everything that the weights depend on, but for what may be changed before a run goes on: rate, epochs, patience, device."""
    model = settings.model.model_dump(exclude={"learning_rate", "epochs", "patience", "device", "micro_batch"})
    rest = settings.model_dump_json(exclude={"name", "sections", "model", "checkpoint_minutes", "tensorboard"})
    digest = hashlib.sha256(f"{model}{rest}{data.target.to_json()}".encode())
    for section in data.sections:
        digest.update(spot_fingerprints(section.adata).tobytes())
        digest.update(section.require_slide().fingerprint().encode())
    digest.update(data.split.parts.tobytes())
    return digest.hexdigest()


def _state(
    data: TrainingData, settings: RunSettings, device: torch.device, run_dir: Path, micro_batch: int, checkpoints: Checkpoints
) -> Generator[Event, None, _State]:
    """What the model looks at, and the measured values on the scale that is shown and scored; nothing is learned from it."""
    inputs, rgb = yield from _inputs(data, settings)
    measured = yield from values_fitted_on(data, data.keep, data.target.target_sum, settings.threads)
    return _State(data, settings, inputs, rgb, measured, device, run_dir, micro_batch, checkpoints)


def _inputs(data: TrainingData, settings: RunSettings) -> Generator[Event, None, tuple[np.ndarray, np.ndarray]]:
    """The model's input per spot (tiles, or standardised features) and the standardised mean colour, all sections; 0 where there is no tissue."""
    network = isinstance(settings.model, NetworkSettings)
    inputs, colours = [], []
    for section, verdict in zip(data.sections, data.filters, strict=True):
        rows = np.flatnonzero(verdict.predictable)
        looks, rgb = yield from section_looks(section, section.centres_yx[rows], data.tile_um, data.tile_px, settings.model)
        inputs.append(_at_rows(looks if network else quick_inputs(looks, looks), rows, section.adata.n_obs))
        colours.append(_at_rows(standardised(rgb, rgb), rows, section.adata.n_obs))
    return np.concatenate(inputs), np.concatenate(colours)


def _at_rows(values: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    out = np.zeros((n, *values.shape[1:]), dtype=values.dtype)
    out[rows] = values
    return out


def _fold_values(state: _State, fold: int) -> Generator[Event, None, np.ndarray]:
    """Values of the fold's own training part, on a scale fitted to it alone: float32 (n_learned, n_outputs)."""
    learned = state.learned_on(fold)
    depth = float(np.median(state.data.totals[learned]))
    return (yield from values_fitted_on(state.data, learned, depth, state.settings.threads))[learned]


def _baselines(state: _State) -> Generator[Event, None, None]:
    """Fit every fold's target and the simple ways, and score them on the spots the model will be scored on."""
    data, folds = state.data, state.data.split.n_folds
    for fold in range(folds):
        learned, tested = state.learned_on(fold), state.tested(fold)
        values = yield from _fold_values(state, fold)
        fitted = fit_target(data.target, values, float(np.median(data.totals[learned])))
        scaled = fitted.scale(values)
        if data.target.kind == "clusters":
            colour = fit_logistic(state.rgb[learned], scaled, data.split.groups[learned], 3, (1.0,))
            coefficients = np.vstack([colour.coefficients, colour.intercept])
        else:
            coefficients = fit_mean_rgb(state.rgb[learned], scaled)
        state.fitted.append(fitted)
        state.rgb_fits.append(coefficients)
        if scaled.size * folds <= KEPT_VALUES:
            state.scaled[fold] = scaled
        state.by_rgb[tested] = fitted.shown(predict_mean_rgb(coefficients, state.rgb[tested]), data.target.target_sum)
        if (data.split.home >= 0).any():
            _interpolate_fold(state, learned, tested)
    scored = _scored(data)
    ways = {"mean RGB": state.by_rgb, "interpolation": state.by_neighbours}
    mean = {name: score(data.target, state.measured[scored], values[scored]) if scored.any() else float("nan") for name, values in ways.items()}
    yield BaselinesScored(mean, int(scored.sum()), state.write_map(state.measured, "measured"))


def _interpolate_fold(state: _State, learned: np.ndarray, tested: np.ndarray) -> None:
    """Six nearest training spots of the same section."""
    data = state.data
    for number, centres in enumerate(data.centres_um):
        rows = data.rows(number)
        known, wanted = learned[rows], tested[rows]
        if known.any() and wanted.any():
            state.by_neighbours[rows[wanted]] = interpolate(centres[known], state.measured[rows[known]], centres[wanted])


def _scored(data: TrainingData) -> np.ndarray:
    """Spots that some member tests and that passed the filter."""
    return (data.split.parts == TEST).any(axis=1)


def _fold(state: _State, fold: int) -> Generator[Event, None, None]:
    """Train one member and predict the spots it never saw, or take both from the checkpoint."""
    data, target = state.data, state.data.target
    finished, validation = state.checkpoints.member(fold), float("nan")
    if finished is not None:
        outputs = finished["outputs"].numpy()
    else:
        member, outputs = yield from _train_member(state, fold)
        if member.network is None:
            state.members.append(member)
            validation = _validation_score(state, fold)
        else:  # networks are large: they wait on the disk until all are there
            state.checkpoints.write_member(fold, {**member.tensors(), "outputs": outputs})
    state.predicted[state.tested(fold)] = state.fitted[fold].shown(outputs, target.target_sum)
    scored = data.split.parts[:, fold] == TEST
    r = score(target, state.measured[scored], state.predicted[scored]) if scored.any() else float("nan")
    yield FoldEnded(fold, data.split.n_folds, r, state.write_map(state.predicted, f"fold{fold + 1}"), validation)


def _train_member(state: _State, fold: int) -> Generator[Event, None, tuple[Member, np.ndarray]]:
    """One member, and its scaled outputs at the spots of :meth:`_State.tested`, float32 (n_tested, n_outputs)."""
    data, settings, fitted = state.data, state.settings, state.fitted[fold]
    learned, tested = state.learned_on(fold), np.flatnonzero(state.tested(fold))
    if fold not in state.scaled:
        state.scaled[fold] = fitted.scale((yield from _fold_values(state, fold)))
    scaled = state.scaled[fold]
    member = Member(fitted, state.rgb_fits[fold].astype(np.float32))
    if isinstance(settings.model, QuickSettings):
        member.linear = _fit_quick(state, fold, learned)
        return member, member.linear.predict(state.inputs[tested])
    network = settings.model
    parts = data.split.parts[:, fold]
    values = np.zeros((len(parts), scaled.shape[1]), dtype=np.float32)  # rows of other parts are never read
    values[learned] = scaled

    def outputs(net: torch.nn.Module) -> np.ndarray:
        return network_outputs(net, state.inputs, state.device, tested, network.symmetries)

    def live_map(net: torch.nn.Module, epoch: int) -> str:
        if (data.split.home < 0).all():
            return ""
        so_far = state.predicted.copy()
        so_far[tested] = fitted.shown(outputs(net), data.target.target_sum)
        return state.write_map(so_far, f"fold{fold + 1}-epoch{epoch}", keep=False)

    part = FoldData(fold, state.inputs, values, parts == TRAINING, parts == VALIDATION, fitted)
    state.scaled.pop(fold)
    trained = yield from train_network(part, network, state.device, settings.seed, state.micro_batch, state.checkpoints, live_map)
    found = outputs(trained)
    member.network = trained.cpu()
    return member, found


def _fit_quick(state: _State, fold: int, rows: np.ndarray) -> LinearModel:
    """Quick on the spots of ``rows`` (bool, n), which belong to the training part of ``fold``."""
    assert isinstance(state.settings.model, QuickSettings)
    quick, fit_linear = state.settings.model, fit_logistic if state.target.kind == "clusters" else fit_ridge
    scaled = state.scaled[fold][rows[state.learned_on(fold)]]
    return fit_linear(state.inputs[rows], scaled, state.data.split.groups[rows], quick.components, quick.alphas)


def _validation_score(state: _State, fold: int) -> float:
    """On the validation part, of a fit to the rest of the training part; Quick itself learns from both."""
    parts = state.data.split.parts[:, fold]
    held = parts == VALIDATION
    outputs = _fit_quick(state, fold, parts == TRAINING).predict(state.inputs[held])
    return score(state.target, state.scaled.pop(fold)[held[state.learned_on(fold)]], outputs)


def _model(state: _State) -> TrainedModel:
    data = state.data
    saved = [state.checkpoints.member(fold) for fold in range(data.split.n_folds)] if not state.members else []
    members = state.members or [Member.from_tensors(tensors, data.target, state.settings) for tensors in saved if tensors is not None]
    seen = []
    for number, section in enumerate(data.sections):
        rows = data.rows(number)
        seen.append(
            SeenSpots(
                section.library_id,
                section.require_slide().fingerprint(),
                section.mpp,
                tuple(map(str, section.adata.obs_names)),
                spot_fingerprints(section.adata),
                section.centres_yx.astype(np.float32),
                data.split.home[rows].astype(np.int16),
                data.split.parts[rows],
            )
        )
    return TrainedModel(
        settings=state.settings, target=data.target, split=data.split.words, tile_um=data.tile_um, tile_px=data.tile_px,
        members=members, seen=seen, synthetic=any(section.synthetic for section in data.sections),
    )  # fmt: skip


def _finish(state: _State, model: TrainedModel, began: float) -> Generator[Event, None, None]:
    """Write the predictions at the training sections' spots, their scores and the model; then announce them."""
    from napari_deepspace.learn.inference import build_result, spot_table

    data = state.data
    files: list[str] = []
    scores: dict[str, Any] = {}
    for number, section in enumerate(data.sections):
        rows = data.rows(number)
        spots = spot_table(section, model, data.filters[number])
        columns = {"predicted": state.predicted[rows], "mean RGB": state.by_rgb[rows], "interpolation": state.by_neighbours[rows]}
        columns["measured"] = state.measured[rows]
        adata = build_result(section, model, columns, spots, run=state.run_dir.name)
        file = f"{PREDICTIONS}/{number + 1}-{safe_name(section.library_id)}.h5ad"
        scores[section.library_id] = evaluate(adata)
        add_verdicts(adata, scores[section.library_id])
        write_result(adata, state.run_dir / file)
        files.append(file)
    first = scores[data.sections[0].library_id]
    scored = _scored(data)
    overall = score(data.target, state.measured[scored], state.predicted[scored]) if scored.any() else float("nan")
    model.scores = {name: {key: s[key] for key in ("n_spots", "mean", "split", "panel")} for name, s in scores.items()}
    write_json(
        state.run_dir / METRICS,
        {"research_use_only": True, "synthetic": model.synthetic, "mean_r": overall, "n_spots": int(scored.sum()), "sections": scores},
    )
    model.save(state.run_dir)
    log.info("run %s: parts %s", state.run_dir.name, dict(zip(PART_NAMES, np.bincount(data.split.parts[:, 0], minlength=5).tolist(), strict=True)))
    yield Finished(overall, int(scored.sum()), time.perf_counter() - began, tuple(files), first)
