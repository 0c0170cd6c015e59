"""The training loop of one network: one readable loop, no trainer class."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from napari_deepspace.errors import RunPaused, TrainingError
from napari_deepspace.events import BatchEnded, EpochEnded, Event, Noted, Paused
from napari_deepspace.learn.augment import augmented
from napari_deepspace.learn.checkpoint import Checkpoints, Position, restore
from napari_deepspace.learn.model import network_outputs
from napari_deepspace.learn.networks import set_training_mode, starting_network, to_input
from napari_deepspace.learn.pool import Stacked
from napari_deepspace.learn.targets import FittedTarget, Loss
from napari_deepspace.settings import NetworkSettings

PLATEAU = 2  #: epochs without a better one after which the learning rate is lowered, where it follows a plateau


@dataclass(frozen=True)
class FoldData:
    """What one fold's network is trained on.

    uint8 ``tiles`` (n, ...) of all spots, scaled ``values`` float32 (n, n_outputs), and the parts of the spots, bool (n,). The tiles of a pool, and
    their values, stand behind those of the spots, in training only.
    """

    fold: int
    tiles: np.ndarray | Stacked
    values: np.ndarray | Stacked
    training: np.ndarray
    validation: np.ndarray
    fitted: FittedTarget


def train_network(
    data: FoldData,
    settings: NetworkSettings,
    device: torch.device,
    seed: int,
    micro_batch: int,
    checkpoints: Checkpoints,
    live_map: Callable[[nn.Module, int], str],
) -> Generator[Event, None, nn.Module]:
    """Train one network, from its checkpoint if there is one, and return that of the best epoch.

    The loss of a batch is summed over outputs and averaged over its spots; it is computed ``micro_batch`` tiles at a time, which add up to the
    batch. Order, augmentation and dropout come from (seed, fold, epoch, step) alone. ``live_map(network, epoch)`` writes a map and returns its file.

    Raises
    ------
    RunPaused
        Somebody asked for it; the checkpoint is written.
    TrainingError
        The loss is not finite, the weights cannot be had, or memory or the disk ends.
    """
    torch.manual_seed(mix(seed, data.fold))  # initial weights
    rows, held = np.flatnonzero(data.training), np.flatnonzero(data.validation)
    bias = data.values[rows].mean(axis=0) if settings.start_at_mean else None
    network = starting_network(settings, data.values.shape[1], bias).to(device)
    if device.type == "cuda":
        network = network.to(memory_format=torch.channels_last)
    optimiser = make_optimiser(network, settings)
    at = Position(data.fold, micro_batch=micro_batch)
    known = checkpoints.state(data.fold)
    if known is not None:
        at = known[0]
        restore(network, optimiser, known[1])
        del known
    loss_of = data.fitted.loss(device)
    while not _ended(at, settings):
        began = time.perf_counter()
        order = np.random.default_rng((seed, data.fold, at.epoch)).permutation(rows)
        # of like size: a last batch of one tile would break batch normalisation
        batches = np.array_split(order, -(-len(order) // settings.batch_size))
        set_learning_rate(optimiser, settings, at)
        set_training_mode(network, settings)
        for batch in batches[at.step :]:
            loss = yield from _step(network, optimiser, data, batch, settings, loss_of, at, mix(seed, data.fold, at.epoch, at.step + 1))
            if not np.isfinite(loss):
                raise TrainingError(_not_finite(f"The loss became {loss} in epoch {at.epoch}", at, checkpoints, settings))
            at.step, at.total = at.step + 1, at.total + loss * len(batch)
            yield BatchEnded(data.fold, at.epoch, at.step, len(batches), loss)
            if checkpoints.pause_asked():
                checkpoints.write_state(at, network, optimiser)
                checkpoints.pause_done()
                yield Paused(data.fold, at.epoch, at.step)
                raise RunPaused(f"The run in {checkpoints.run_dir} was paused. Go on with: napari-deepspace train --resume {checkpoints.run_dir}")
            if checkpoints.due():
                checkpoints.write_state(at, network, optimiser)
        outputs = network_outputs(network, data.tiles, device, rows=held)
        validation_loss = float(loss_of(torch.from_numpy(outputs).to(device), torch.from_numpy(data.values[held]).to(device))) / len(held)
        if not math.isfinite(validation_loss):
            raise TrainingError(_not_finite(f"The validation loss became {validation_loss} in epoch {at.epoch}", at, checkpoints, settings))
        score = data.fitted.score(data.values[held], outputs)
        better = _take_score(at, -validation_loss if settings.best == "loss" else float(np.nan_to_num(score, nan=-1.0)))
        if better:
            checkpoints.write_best(at, network)
        ended = EpochEnded(
            data.fold, at.epoch, settings.epochs, at.total / len(order), validation_loss, score, better,
            time.perf_counter() - began, live_map(network, at.epoch),
        )  # fmt: skip
        at.epoch, at.step, at.total = at.epoch + 1, 0, 0.0
        if not _ended(at, settings):  # else the fold itself is written down next
            checkpoints.write_state(at, network, optimiser)
        yield ended
    checkpoints.load_best(at, network)
    return network.eval()


def _ended(at: Position, settings: NetworkSettings) -> bool:
    return at.epoch > settings.epochs or at.waited >= settings.patience


def _take_score(at: Position, score: float) -> bool:
    """Note the score of the epoch that has ended; whether it is the best so far."""
    if at.best is None or score > at.best:
        at.best, at.best_epoch, at.waited = score, at.epoch, 0
        return True
    at.waited += 1
    if at.waited % PLATEAU == 0:
        at.lowered += 1
    return False


def make_optimiser(network: nn.Module, settings: NetworkSettings) -> torch.optim.Optimizer:
    """Adam, or SGD with momentum 0.9, over the weights that train; fused on a GPU. On a CPU fused steps round otherwise than plain ones."""
    weights = [p for p in network.parameters() if p.requires_grad]
    fused = weights[0].device.type == "cuda"
    if settings.optimiser == "sgd":
        return torch.optim.SGD(weights, lr=settings.learning_rate, momentum=0.9, weight_decay=settings.weight_decay, fused=fused)
    return torch.optim.Adam(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=fused)


def set_learning_rate(optimiser: torch.optim.Optimizer, settings: NetworkSettings, at: Position) -> None:
    """That of ``at.epoch``: constant, half a cosine down to 0 over all epochs, or a tenth for each time it was lowered."""
    rate = settings.learning_rate
    if settings.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * (at.epoch - 1) / settings.epochs)) / 2
    elif settings.schedule == "plateau":
        rate *= 0.1**at.lowered
    for group in optimiser.param_groups:
        group["lr"] = rate


def _step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    data: FoldData,
    batch: np.ndarray,
    settings: NetworkSettings,
    loss_of: Loss,
    at: Position,
    seed: int,
) -> Generator[Event, None, float]:
    """One step of the optimiser; where memory ends, with fewer tiles at a time from now on."""
    while True:
        try:
            return training_step(network, optimiser, data.tiles[batch], data.values[batch], settings, loss_of, at.micro_batch, seed)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            device = next(network.parameters()).device
            if min(at.micro_batch, len(batch)) == 1:
                raise TrainingError(
                    f"The memory of {device} does not hold a single tile with {settings.backbone}. Lower model.tile_px, or choose a smaller backbone."
                ) from error
        at.micro_batch = (min(at.micro_batch, len(batch)) + 1) // 2
        optimiser.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        yield Noted(
            f"The memory of {device} was too small: from now on {at.micro_batch} tiles are computed at a time, which add up to the same batch of "
            f"{settings.batch_size}."
        )


def training_step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    tiles: np.ndarray,
    values: np.ndarray,
    settings: NetworkSettings,
    loss_of: Loss,
    micro_batch: int,
    seed: int,
) -> float:
    """One step of ``optimiser`` on uint8 ``tiles`` (n, ...) and scaled ``values`` (n, n_outputs); the loss averaged over tiles.

    ``micro_batch`` tiles are computed at a time and their gradients added up. Layers that look at the batch (batch normalisation) see a micro-batch.
    """
    device = next(network.parameters()).device
    torch.manual_seed(seed)  # dropout
    images = augmented(torch.from_numpy(tiles).to(device), settings, seed)
    wanted = torch.from_numpy(values).to(device)
    optimiser.zero_grad(set_to_none=True)
    total = torch.zeros((), device=device)
    count = -(-len(tiles) // micro_batch)
    for part, of in zip(images.tensor_split(count), wanted.tensor_split(count), strict=True):
        with precision(settings, device):
            outputs = network(to_input(part, network))
        loss = loss_of(outputs.float(), of) / len(tiles)
        loss.backward()
        total += loss.detach()
    optimiser.step()
    return float(total)


def precision(settings: NetworkSettings, device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where it is asked for, or where the GPU has it; else nothing."""
    half = settings.precision == "bfloat16" or (settings.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported())
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _not_finite(found: str, at: Position, checkpoints: Checkpoints, settings: NetworkSettings) -> str:
    kept = f"the weights of epoch {at.best_epoch}, the best so far, are kept in {checkpoints.folder}" if at.best_epoch else "no epoch was finished"
    return f"{found}; {kept}. Lower the learning rate (now {settings.learning_rate:g}) and start again."


def mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
