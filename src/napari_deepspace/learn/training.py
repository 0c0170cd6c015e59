"""Training as a generator of events: the same for a script, the command line and the dock."""

from __future__ import annotations

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
from napari_deepspace.analyse.metrics import mean_r, pearson
from napari_deepspace.events import BaselinesScored, Event, Finished, FoldEnded, Noted, Started
from napari_deepspace.learn.data import TrainingData, gather, section_looks, standardised, values_fitted_on
from napari_deepspace.learn.model import Member, SeenSpots, TrainedModel, network_outputs
from napari_deepspace.learn.networks import choose_device
from napari_deepspace.learn.optimise import train_network
from napari_deepspace.learn.ridge import fit_ridge
from napari_deepspace.learn.splits import PART_NAMES, TEST, TRAINING, VALIDATION
from napari_deepspace.learn.targets import GeneTarget, fit_target, seldom_detected
from napari_deepspace.results import write_result
from napari_deepspace.runs import MAPS, METRICS, PREDICTIONS, SETTINGS, safe_name, write_atomic, write_json
from napari_deepspace.section import Section, spot_fingerprints
from napari_deepspace.settings import NORMALISATIONS, NetworkSettings, QuickSettings, RunSettings, dump_yaml

log = logging.getLogger(__name__)


def fit(sections: Sequence[Section], settings: RunSettings, run_dir: Path) -> Generator[Event, None, TrainedModel]:
    """Train on ``sections`` and leave everything in ``run_dir`` (see :mod:`napari_deepspace.runs`).

    What an event announces is on disk already. The generator returns the model; its predictions at the sections' spots are out of fold.

    Raises
    ------
    DataError, SettingsError, TrainingError
        Before ``Started``, if the sections or settings cannot be used; TrainingError later if the loss is not finite or memory ends.
    """
    began = time.perf_counter()
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    threads = settings.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    settings = settings.model_copy(update={"threads": threads})
    data = yield from gather(sections, settings)
    network = settings.model if isinstance(settings.model, NetworkSettings) else None
    device, reason = choose_device(network.device) if network else (torch.device("cpu"), "Quick needs no GPU")
    write_atomic(run_dir / SETTINGS, dump_yaml(settings))
    yield Started(
        settings.name, network.backbone if network else "quick", data.genes, int(data.keep.sum()), data.split.n_folds,
        network.epochs if network else 0, str(device), reason, data.split.words, NORMALISATIONS[settings.normalisation], os.getpid(),
    )  # fmt: skip
    yield from _warn_of_seldom_detected(data, settings)
    inputs, rgb = yield from _inputs(data, network)
    # the scale of what is shown and scored; nothing is learned from it
    target_sum = float(np.median(data.totals[data.keep]))
    measured = yield from values_fitted_on(data, data.keep, settings.normalisation, target_sum, threads)
    state = _State(data, settings, inputs, rgb, measured, target_sum, device, run_dir)
    yield from _baselines(state)
    for fold in range(data.split.n_folds):
        yield from _fold(state, fold)
    model = _model(state)
    yield from _finish(state, model, began)
    return model


class _State:
    """What the folds of one run share, and what they have predicted so far (float32 (n, n_genes), NaN where nothing yet)."""

    def __init__(
        self,
        data: TrainingData,
        settings: RunSettings,
        inputs: np.ndarray,
        rgb: np.ndarray,
        measured: np.ndarray,
        target_sum: float,
        device: torch.device,
        run_dir: Path,
    ):
        self.data, self.settings, self.inputs, self.rgb = data, settings, inputs, rgb
        self.measured, self.target_sum, self.device, self.run_dir = measured, target_sum, device, run_dir
        shape = measured.shape
        self.predicted = np.full(shape, np.nan, dtype=np.float32)
        self.by_rgb = np.full(shape, np.nan, dtype=np.float32)
        self.by_neighbours = np.full(shape, np.nan, dtype=np.float32)
        self.targets: list[GeneTarget] = []
        self.scaled: list[np.ndarray] = []  #: per fold: the target's values of its own training part, float32 (n_learned, n_genes)
        self.rgb_fits: list[np.ndarray] = []
        self.members: list[Member] = []

    def learned_on(self, fold: int) -> np.ndarray:
        return np.isin(self.data.split.parts[:, fold], (TRAINING, VALIDATION))

    def tested(self, fold: int) -> np.ndarray:
        """Spots with a tile that this fold's member never saw, those that failed the filter included; every one where nothing is held out."""
        home = self.data.split.home
        return self.data.predictable & ((home == fold) if (home >= 0).any() else True)

    def write_map(self, predicted: np.ndarray, name: str) -> str:
        """Save the first section's rows of ``predicted`` for the live map; "" where nothing is held out."""
        if (self.data.split.home < 0).all():
            return ""
        (self.run_dir / MAPS).mkdir(exist_ok=True)
        file = f"{MAPS}/{name}.npy"
        np.save(self.run_dir / f"{MAPS}/.part.npy", predicted[self.data.rows(0)])
        os.replace(self.run_dir / f"{MAPS}/.part.npy", self.run_dir / file)
        return file


def _inputs(data: TrainingData, network: NetworkSettings | None) -> Generator[Event, None, tuple[np.ndarray, np.ndarray]]:
    """The model's input per spot (tiles, or standardised features) and the standardised mean colour, all sections; 0 where there is no tissue."""
    inputs, colours = [], []
    for section, verdict in zip(data.sections, data.filters, strict=True):
        rows = np.flatnonzero(verdict.predictable)
        looks, rgb = yield from section_looks(section, section.centres_yx[rows], data.tile_um, data.tile_px, network is not None)
        inputs.append(_at_rows(looks if network is not None else standardised(looks, looks), rows, section.adata.n_obs))
        colours.append(_at_rows(standardised(rgb, rgb), rows, section.adata.n_obs))
    return np.concatenate(inputs), np.concatenate(colours)


def _at_rows(values: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    out = np.zeros((n, *values.shape[1:]), dtype=values.dtype)
    out[rows] = values
    return out


def _warn_of_seldom_detected(data: TrainingData, settings: RunSettings) -> Generator[Event, None, None]:
    """Named genes are never dropped; the user hears which of them are hardly there."""
    keep = [verdict.keep for verdict in data.filters]
    seldom = seldom_detected([section.adata for section in data.sections], keep, data.genes, settings.gene_rule.min_detected)
    if seldom:
        found = ", ".join(f"{gene} ({share:.0%})" for gene, share in sorted(seldom.items(), key=lambda item: item[1]))
        yield Noted(
            f"Detected in fewer than {settings.gene_rule.min_detected:.0%} of the spots: {found}. They are predicted as asked, but hardly can be: "
            "there is little to learn from."
        )


def _baselines(state: _State) -> Generator[Event, None, None]:
    """Fit every fold's target and the simple ways, and score them on the spots the model will be scored on."""
    data, kind = state.data, state.settings.normalisation
    for fold in range(data.split.n_folds):
        learned, tested = state.learned_on(fold), state.tested(fold)
        target_sum = float(np.median(data.totals[learned]))
        values = (yield from values_fitted_on(data, learned, kind, target_sum, state.settings.threads))[learned]
        target = fit_target(values, data.genes, kind, target_sum)
        scaled = target.scale(values)
        coefficients = fit_mean_rgb(state.rgb[learned], scaled)
        state.targets.append(target)
        state.scaled.append(scaled)
        state.rgb_fits.append(coefficients)
        state.by_rgb[tested] = target.shown(predict_mean_rgb(coefficients, state.rgb[tested]), state.target_sum)
        if (data.split.home >= 0).any():
            _interpolate_fold(state, learned, tested)
    scored = _scored(data)
    r = {
        "mean RGB": pearson(state.measured[scored], state.by_rgb[scored]),
        "interpolation": pearson(state.measured[scored], state.by_neighbours[scored]),
    }
    mean = {name: mean_r(values) if scored.any() else float("nan") for name, values in r.items()}
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
    """Train one member and predict the spots it never saw."""
    data, settings, target = state.data, state.settings, state.targets[fold]
    learned, tested = state.learned_on(fold), state.tested(fold)
    member = Member(target, state.rgb_fits[fold].astype(np.float32))
    validation_r = float("nan")
    if isinstance(settings.model, QuickSettings):
        quick, groups = settings.model, data.split.groups[learned]
        member.ridge = fit_ridge(state.inputs[learned], state.scaled[fold], groups, quick.components, quick.alphas)
        outputs = member.ridge.predict(state.inputs[tested])
        validation_r = _quick_validation_r(state, fold, quick)
    else:
        parts = data.split.parts[:, fold]
        scaled = np.zeros(state.measured.shape, dtype=np.float32)  # rows of other parts are never read
        scaled[learned] = state.scaled[fold]

        def live_map(network: torch.nn.Module, epoch: int) -> str:
            if (data.split.home < 0).all():
                return ""
            so_far = state.predicted.copy()
            so_far[tested] = target.shown(network_outputs(network, state.inputs[tested], state.device), state.target_sum)
            return state.write_map(so_far, f"fold{fold + 1}-epoch{epoch}")

        member.network = yield from train_network(
            state.inputs, scaled, parts == TRAINING, parts == VALIDATION, settings.model, state.device, (settings.seed, fold), fold, live_map
        )
        outputs = network_outputs(member.network, state.inputs[tested], state.device)
        member.network.cpu()
    state.predicted[tested] = target.shown(outputs, state.target_sum)
    state.members.append(member)
    scored = data.split.parts[:, fold] == TEST
    r = mean_r(pearson(state.measured[scored], state.predicted[scored])) if scored.any() else float("nan")
    yield FoldEnded(fold, data.split.n_folds, r, state.write_map(state.predicted, f"fold{fold + 1}"), validation_r)


def _quick_validation_r(state: _State, fold: int, quick: QuickSettings) -> float:
    """Mean r on the validation part of a fit to the rest of the training part; Quick itself learns from both."""
    learned = state.learned_on(fold)
    held = state.data.split.parts[learned, fold] == VALIDATION
    inputs, values, groups = state.inputs[learned], state.scaled[fold], state.data.split.groups[learned]
    ridge = fit_ridge(inputs[~held], values[~held], groups[~held], quick.components, quick.alphas)
    return mean_r(pearson(values[held], ridge.predict(inputs[held])))


def _model(state: _State) -> TrainedModel:
    data = state.data
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
        settings=state.settings, genes=data.genes, panel=data.panel, split=data.split.words, target_sum=state.target_sum, tile_um=data.tile_um,
        tile_px=data.tile_px, members=state.members, seen=seen, synthetic=any(section.synthetic for section in data.sections),
    )  # fmt: skip


def _finish(state: _State, model: TrainedModel, began: float) -> Generator[Event, None, None]:
    """Write the model, the predictions at the training sections' spots and their scores; then announce them."""
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
        write_result(adata, state.run_dir / file)
        files.append(file)
        scores[section.library_id] = evaluate(adata)
    first = scores[data.sections[0].library_id]
    scored = _scored(data)
    overall = mean_r(pearson(state.measured[scored], state.predicted[scored])) if scored.any() else float("nan")
    model.scores = {name: {key: s[key] for key in ("n_spots", "mean", "split", "panel")} for name, s in scores.items()}
    model.save(state.run_dir)
    write_json(
        state.run_dir / METRICS,
        {"research_use_only": True, "synthetic": model.synthetic, "mean_r": overall, "n_spots": int(scored.sum()), "sections": scores},
    )
    log.info("run %s: parts %s", state.run_dir.name, dict(zip(PART_NAMES, np.bincount(data.split.parts[:, 0], minlength=5).tolist(), strict=True)))
    yield Finished(overall, int(scored.sum()), time.perf_counter() - began, tuple(files), first)
