"""Training as a generator of events: the same for a script, the command line and the dock."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_deepspace.analyse.copies import blended
from napari_deepspace.analyse.evaluate import evaluate
from napari_deepspace.analyse.holes import judge_holes
from napari_deepspace.analyse.judge import add_verdicts
from napari_deepspace.events import Event, Finished, FoldEnded, Noted, Resumed, Started
from napari_deepspace.learn.checkpoint import Checkpoints
from napari_deepspace.learn.cost import choose_micro_batch
from napari_deepspace.learn.data import TrainingData, gather
from napari_deepspace.learn.domain import unlike_columns
from napari_deepspace.learn.gene_notes import tell_of_genes
from napari_deepspace.learn.linear import LinearModel, fit_logistic, fit_ridge, held_out_ridge
from napari_deepspace.learn.model import Member, SeenSpots, TrainedModel, network_outputs
from napari_deepspace.learn.neighbouring import fit_blend
from napari_deepspace.learn.networks import choose_device
from napari_deepspace.learn.optimise import FoldData, train_network
from napari_deepspace.learn.pool import Pool, Stacked
from napari_deepspace.learn.run_baselines import copies, fold_values, score_baselines, scored_spots
from napari_deepspace.learn.run_state import RunState, run_state
from napari_deepspace.learn.splits import PART_NAMES, TEST, TRAINING, VALIDATION
from napari_deepspace.learn.targets import FittedTarget, score
from napari_deepspace.learn.tensorboard import with_curves
from napari_deepspace.learn.trust import find_trust
from napari_deepspace.results import write_result
from napari_deepspace.run_list import rank_among
from napari_deepspace.runs import METRICS, PREDICTIONS, SETTINGS, claim, safe_name, write_atomic, write_json
from napari_deepspace.section import Section, section_fingerprint, spot_fingerprints
from napari_deepspace.settings import NetworkSettings, QuickSettings, RunSettings, dump_yaml

log = logging.getLogger(__name__)


def fit(sections: Sequence[Section], settings: RunSettings, run_dir: Path, pool: Pool | None = None) -> Generator[Event, None, TrainedModel]:
    """Train on ``sections`` and leave everything in ``run_dir`` (see :mod:`napari_deepspace.runs`); go on where a checkpoint there ends.

    The tiles of a ``pool`` train beside the measured spots of every fold's training part (see :mod:`napari_deepspace.learn.students`); the validation
    part, the scaling of the target, the simple ways and all scores are of measured spots alone.
    What an event announces is on disk already. The generator returns the model; its predictions at the sections' spots are out of fold.

    Raises
    ------
    DataError, SettingsError, TrainingError
        Before ``Started``, if the sections or settings cannot be used; TrainingError later if the loss is not finite, or memory or the disk ends.
    RunPaused
        Somebody asked for it (:func:`napari_deepspace.runs.request_pause`).
    """
    job = _fit(sections, settings, Path(run_dir), pool)
    return (yield from with_curves(job, Path(run_dir)) if settings.tensorboard else job)


def _fit(sections: Sequence[Section], settings: RunSettings, run_dir: Path, pool: Pool | None) -> Generator[Event, None, TrainedModel]:
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
    at = checkpoints.begin(_fingerprint(data, settings, pool))
    write_atomic(run_dir / SETTINGS, dump_yaml(settings))
    if at is None:
        yield Started(
            settings.name, network.backbone if network else "quick", data.target.names, int(data.keep.sum()), data.split.n_folds,
            network.epochs if network else 0, str(device), reason, data.split.words, data.target.unit, os.getpid(), data.target.score,
        )  # fmt: skip
        for section in sections:
            if section.seal_opened:
                yield Noted(
                    f"The seal of {section.library_id} was {section.seal_opened}: a score at its spots is no longer that of a sealed hold-out."
                )
        yield from tell_of_genes(data, settings)
        if pool is not None:
            yield Noted(pool.words)
    else:
        yield Resumed(at.fold, at.epoch, at.step, os.getpid())
    state = yield from run_state(data, settings, device, run_dir, micro_batch, checkpoints, pool)
    yield from score_baselines(state)
    for fold in range(data.split.n_folds):
        yield from _fold(state, fold)
    model = _model(state)
    yield from _finish(state, model, began)
    checkpoints.end()
    return model


def _fingerprint(data: TrainingData, settings: RunSettings, pool: Pool | None) -> str:
    """Of everything that the weights depend on, but for what may be changed before a run goes on: rate, epochs, patience, device."""
    model = settings.model.model_dump(exclude={"learning_rate", "epochs", "patience", "device", "micro_batch"})
    rest = settings.model_dump_json(exclude={"name", "sections", "model", "checkpoint_minutes", "tensorboard"})
    digest = hashlib.sha256(f"{model}{rest}{data.target.to_json()}".encode())
    for section in data.sections:
        digest.update(spot_fingerprints(section.adata).tobytes())
        digest.update(section.require_slide().fingerprint().encode())
    digest.update(data.split.parts.tobytes())
    if pool is not None:
        digest.update(pool.fingerprint())
    return digest.hexdigest()


def _fold(state: RunState, fold: int) -> Generator[Event, None, None]:
    """Train one member and predict the spots it never saw, or take both from the checkpoint."""
    data, target = state.data, state.data.target
    finished, validation = state.checkpoints.member(fold), float("nan")
    if finished is not None:
        outputs = finished["outputs"].numpy()
    else:
        member, outputs = yield from _train_member(state, fold)
        if member.network is None:
            state.members.append(member)
            validation = _validation_score(state, fold, member)
        else:  # networks are large: they wait on the disk until all are there
            state.checkpoints.write_member(fold, {**member.tensors(), "outputs": outputs})
    state.predicted[state.tested(fold)] = state.fitted[fold].shown(outputs, target.target_sum)
    scored = data.split.parts[:, fold] == TEST
    r = score(target, state.measured[scored], state.predicted[scored]) if scored.any() else float("nan")
    yield FoldEnded(fold, data.split.n_folds, r, state.write_map(state.predicted, f"fold{fold + 1}"), validation)


def _train_member(state: RunState, fold: int) -> Generator[Event, None, tuple[Member, np.ndarray]]:
    """One member, and its scaled outputs at the spots of :meth:`RunState.tested`, float32 (n_tested, n_outputs)."""
    data, settings, fitted = state.data, state.settings, state.fitted[fold]
    learned, tested = state.learned_on(fold), np.flatnonzero(state.tested(fold))
    if fold not in state.scaled:
        state.scaled[fold] = fitted.scale((yield from fold_values(state, fold)))
    scaled = state.scaled[fold]
    member = Member(fitted, state.ways[fold])
    if isinstance(settings.model, QuickSettings):
        member.linear = _fit_quick(state, fold, learned)
        member.blend = _fit_blend(state, fitted, learned, learned, lambda: _held_out_quick(state, fold), scaled)
        return member, _blended(state, member, learned, tested, member.linear.predict(state.inputs[tested]))
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

    part = _with_pool(FoldData(fold, state.inputs, values, parts == TRAINING, parts == VALIDATION, fitted), state.pool)
    state.scaled.pop(fold)
    trained = yield from train_network(part, network, state.device, settings.seed, state.micro_batch, state.checkpoints, live_map)
    held = parts == VALIDATION
    member.blend = _fit_blend(
        state,
        fitted,
        learned,
        held,
        lambda: network_outputs(trained, state.inputs, state.device, np.flatnonzero(held), network.symmetries),
        values[held],
    )
    found = _blended(state, member, learned, tested, outputs(trained))
    member.network = trained.cpu()
    return member, found


def _with_pool(part: FoldData, pool: Pool | None) -> FoldData:
    """``part`` with the tiles of the pool behind the spots: for training only."""
    if pool is None:
        return part
    return FoldData(
        part.fold,
        Stacked((part.tiles, *pool.inputs.parts)),
        Stacked((part.values, *pool.values[part.fold].parts)),
        np.concatenate([part.training, pool.usable[part.fold]]),
        np.concatenate([part.validation, np.zeros(len(pool.inputs), dtype=bool)]),
        part.fitted,
    )


def _fit_blend(
    state: RunState, fitted: FittedTarget, learned: np.ndarray, on: np.ndarray, image: Callable[[], np.ndarray], scaled: np.ndarray
) -> np.ndarray | None:
    """How much the image and the copy of the neighbouring section count, from spots ``on`` (bool, n) that the ``image``'s outputs were not fitted to;
    None where nothing is aligned, or it is not asked for."""
    if not state.settings.neighbouring_section or state.data.target.kind == "clusters":
        return None
    copy = fitted.scale(copies(state, learned, on))
    return fit_blend(image(), copy, scaled, state.data.split.groups[on]) if np.isfinite(copy).any() else None


def _blended(state: RunState, member: Member, learned: np.ndarray, tested: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """The image's ``outputs`` at rows ``tested``, with the copy where there is one; scaled."""
    if member.blend is None:
        return outputs
    wanted = np.zeros(len(learned), dtype=bool)
    wanted[tested] = True
    return blended(member.blend, outputs, member.fitted.scale(copies(state, learned, wanted)))


def _fit_quick(state: RunState, fold: int, rows: np.ndarray, twin: bool = False) -> LinearModel:
    """Quick on the spots of ``rows`` (bool, n), which belong to the training part of ``fold``, and on the pool; a ``twin`` on labels of twins."""
    assert isinstance(state.settings.model, QuickSettings)
    quick, fit_linear = state.settings.model, fit_logistic if state.data.target.kind == "clusters" else fit_ridge
    scaled = state.scaled[fold][rows[state.learned_on(fold)]]
    extra = None if state.pool is None else state.pool.of_fold(fold, twin)
    return fit_linear(state.inputs[rows], scaled, state.data.split.groups[rows], quick.components, quick.alphas, extra)


def _held_out_quick(state: RunState, fold: int) -> np.ndarray:
    """Quick at the spots of its own training part, each by a fit without its neighbourhood."""
    assert isinstance(state.settings.model, QuickSettings)
    quick, learned = state.settings.model, state.learned_on(fold)
    return held_out_ridge(state.inputs[learned], state.scaled[fold], state.data.split.groups[learned], quick.components, quick.alphas)


def _validation_score(state: RunState, fold: int, member: Member) -> float:
    """On the validation part, of the member's twin, a fit to the rest of the training part; Quick itself learns from both."""
    parts = state.data.split.parts[:, fold]
    held = parts == VALIDATION
    member.twin = _fit_quick(state, fold, parts == TRAINING, twin=True)
    outputs = member.twin.predict(state.inputs[held])
    return score(state.data.target, state.scaled.pop(fold)[held[state.learned_on(fold)]], outputs)


def _model(state: RunState) -> TrainedModel:
    data = state.data
    saved = [state.checkpoints.member(fold) for fold in range(data.split.n_folds)] if not state.members else []
    members = state.members or [Member.from_tensors(tensors, data.target, state.settings) for tensors in saved if tensors is not None]
    seen = []
    aligned = np.isfinite(state.aligned).all(axis=1)
    learned = np.asarray(np.isin(data.split.parts, (TRAINING, VALIDATION)).any(axis=1, keepdims=True))
    values = np.where(learned, state.measured, np.float32(np.nan))  # what no member learned from stays out of the model
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
                state.aligned[rows].astype(np.float32) if aligned[rows].any() else np.zeros((0, 2), dtype=np.float32),
                values[rows] if aligned[rows].any() else values[:0],
                state.colours[number],
                section.patient,
                section.block,
                section.seal,
                tuple(np.flatnonzero(section.sealed).tolist()),
            )
        )
    return TrainedModel(
        settings=state.settings, target=data.target, split=data.split.words, tile_um=data.tile_um, tile_px=data.tile_px,
        members=members, seen=seen, synthetic=any(section.synthetic for section in data.sections), stain=data.stain,
    )  # fmt: skip


def _finish(state: RunState, model: TrainedModel, began: float) -> Generator[Event, None, None]:
    """Write the predictions at the training sections' spots, their scores and the model; then announce them."""
    from napari_deepspace.learn.inference import build_result, spot_table

    data, distances = state.data, (yield from find_trust(state, model))
    files: list[str] = []
    scores: dict[str, Any] = {}
    for number, section in enumerate(data.sections):
        rows = data.rows(number)
        spots = spot_table(section, model, data.filters[number]).assign(**unlike_columns(model.domain, distances[rows]))
        columns = {"predicted": state.predicted[rows], "measured": state.measured[rows]}
        columns |= {name: values[rows] for name, values in state.by_way.items() if np.isfinite(values[rows]).any()}
        adata = build_result(section, model, columns, spots, run=state.run_dir.name)
        judge_holes(adata)
        file = f"{PREDICTIONS}/{number + 1}-{safe_name(section.library_id)}.h5ad"
        scores[section.library_id] = evaluate(adata)
        add_verdicts(adata, scores[section.library_id])
        write_result(adata, state.run_dir / file)
        files.append(file)
    first = scores[data.sections[0].library_id]
    scored = scored_spots(data)
    overall = score(data.target, state.measured[scored], state.predicted[scored]) if scored.any() else float("nan")
    model.scores = {name: {key: s[key] for key in ("n_spots", "mean", "split", "panel")} for name, s in scores.items()}
    fingerprints = [section_fingerprint(section.adata) for section in data.sections]
    count, rank = rank_among(state.run_dir, overall, data.target.score, fingerprints)
    for one in scores.values():
        one["rank"] = rank
    metrics = {"research_use_only": True, "synthetic": model.synthetic, "mean_r": overall, "n_spots": int(scored.sum()), "sections": scores}
    write_json(state.run_dir / METRICS, metrics | {"runs_on_section": count, "section_fingerprints": fingerprints})
    model.save(state.run_dir)
    log.info("run %s: parts %s", state.run_dir.name, dict(zip(PART_NAMES, np.bincount(data.split.parts[:, 0], minlength=5).tolist(), strict=True)))
    yield Finished(overall, int(scored.sum()), time.perf_counter() - began, tuple(files), first)
