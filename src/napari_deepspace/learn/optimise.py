"""The training loop of one network: one readable loop, no trainer class."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Generator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from napari_deepspace.analyse.metrics import mean_r, pearson
from napari_deepspace.errors import TrainingError
from napari_deepspace.events import BatchEnded, EpochEnded, Event
from napari_deepspace.learn.model import network_outputs
from napari_deepspace.learn.networks import augment, each_view, set_training_mode, starting_network, to_input
from napari_deepspace.settings import NetworkSettings


def train_network(
    tiles: np.ndarray,
    values: np.ndarray,
    training: np.ndarray,
    validation: np.ndarray,
    settings: NetworkSettings,
    device: torch.device,
    seed: tuple[int, int],
    fold: int,
    live_map: Callable[[nn.Module, int], str],
) -> Generator[Event, None, nn.Module]:
    """Train on ``tiles`` uint8 (n, s, s, 3) and scaled ``values`` float32 (n, g); ``training`` and ``validation`` are bool (n,).

    SmoothL1 (beta 1) summed over genes, averaged over spots; Adam; stops after ``patience`` epochs without a lower validation loss, and
    returns the network of the lowest. Randomness comes from (seed, step) alone. ``live_map(network, epoch)`` writes a map and returns its file.

    Raises
    ------
    TrainingError
        The loss is not finite, the weights cannot be had, or memory ends.
    """
    torch.manual_seed(_mix(*seed, 0))  # initial weights and dropout
    network = starting_network(settings, values.shape[1]).to(device)
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=settings.learning_rate, weight_decay=settings.weight_decay)
    rows, held = np.flatnonzero(training), np.flatnonzero(validation)
    best_loss, best_state, waited = float("inf"), copy.deepcopy(network.state_dict()), 0
    for epoch in range(1, settings.epochs + 1):
        began = time.perf_counter()
        order = np.random.default_rng((*seed, epoch)).permutation(rows)
        # a last batch of one tile would break batch normalisation: it joins the batch before it
        steps = max(1, round(len(order) / settings.batch_size))
        total = 0.0
        set_training_mode(network, settings)
        for step, batch in enumerate(np.array_split(order, steps), start=1):
            loss = _step(network, optimiser, tiles[batch], values[batch], settings, device, _mix(*seed, epoch * 100_000 + step))
            if not np.isfinite(loss):
                raise TrainingError(f"The loss became {loss} in epoch {epoch}. Lower the learning rate (now {settings.learning_rate:g}).")
            total += loss * len(batch)
            yield BatchEnded(fold, epoch, step, steps, loss)
        outputs = network_outputs(network, tiles[held], device)
        validation_loss = float(F.smooth_l1_loss(torch.from_numpy(outputs), torch.from_numpy(values[held]), reduction="sum")) / len(held)
        better = validation_loss < best_loss
        if better:
            best_loss, best_state, waited = validation_loss, copy.deepcopy(network.state_dict()), 0
        else:
            waited += 1
        file = live_map(network, epoch)
        yield EpochEnded(
            fold, epoch, settings.epochs, total / len(order), validation_loss, mean_r(pearson(values[held], outputs)), better,
            time.perf_counter() - began, file,
        )  # fmt: skip
        if waited >= settings.patience:
            break
    network.load_state_dict(best_state)
    return network.eval()


def _step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    tiles: np.ndarray,
    values: np.ndarray,
    settings: NetworkSettings,
    device: torch.device,
    seed: int,
) -> float:
    try:
        images = torch.from_numpy(tiles).to(device)
        if settings.augment:
            images = each_view(lambda view: augment(view, torch.Generator().manual_seed(seed)), images)
        loss = F.smooth_l1_loss(network(to_input(images, network)), torch.from_numpy(values).to(device), reduction="sum") / len(tiles)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return float(loss.detach())
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"The memory of {device} does not hold a batch of {len(tiles)} tiles. Lower the batch size (model.batch_size)."
        ) from error


def _mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
