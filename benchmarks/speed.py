"""Training and prediction beside the bare network, on any device; shared by ``gpu_check.py`` and ``bench_training.py``.

*Bare* is what no training can beat: the network's own step or forward, fed with float images that lie in the device's memory already, in the same
precision and memory format as ours. Ours begins with uint8 tiles in the computer's memory and has the paper's augmentation.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from napari_deepspace.events import Event
from napari_deepspace.settings import NetworkSettings

N_OUTPUTS, BATCH = 24, 32
PAPER = ("flip", "crop", "color", "random")

# ---- The seam: the only place that knows the functions of learn/. -------------------------------------------------------------------------------


def our_network(settings: NetworkSettings, device: torch.device) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Network and optimiser as a training makes them, from scratch."""
    from napari_deepspace.learn.networks import starting_network
    from napari_deepspace.learn.optimise import make_optimiser

    network = starting_network(settings, N_OUTPUTS).to(device)
    if device.type == "cuda":
        network = network.to(memory_format=torch.channels_last)
    return network, make_optimiser(network, settings)


def our_precision(settings: NetworkSettings, device: torch.device) -> AbstractContextManager[object]:
    """The precision that our step computes in."""
    from napari_deepspace.learn.optimise import precision

    return precision(settings, device)


def our_step(
    network: nn.Module, optimiser: torch.optim.Optimizer, tiles: np.ndarray, values: np.ndarray, settings: NetworkSettings, seed: int
) -> float:
    """One step of a training on uint8 ``tiles`` (n, s, s, 3) and ``values`` (n, N_OUTPUTS), augmentation included."""
    from napari_deepspace.learn.optimise import training_step

    def loss(outputs: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return F.smooth_l1_loss(outputs, wanted, reduction="sum")

    return training_step(network, optimiser, tiles, values, settings, loss, settings.micro_batch or len(tiles), seed)


def our_augmented(tiles: torch.Tensor, settings: NetworkSettings, seed: int) -> torch.Tensor:
    """uint8 tiles changed as a training changes them, on their device."""
    from napari_deepspace.learn.augment import augmented

    return augmented(tiles, settings, seed)


def our_input(tiles: torch.Tensor, network: nn.Module) -> torch.Tensor:
    """Normalised float images in the memory format that our network is fed with."""
    from napari_deepspace.learn.networks import to_input

    return to_input(tiles, network).contiguous(memory_format=torch.channels_last)


def our_outputs(network: nn.Module, tiles: np.ndarray, device: torch.device) -> np.ndarray:
    """Predictions as our prediction computes them."""
    from napari_deepspace.learn.model import network_outputs

    return network_outputs(network, tiles, device)


def our_training(tiles: np.ndarray, values: np.ndarray, settings: NetworkSettings, device: torch.device) -> list[Event]:
    """The events of a training on three quarters of the tiles, the rest for validation."""
    from napari_deepspace.learn.checkpoint import Checkpoints
    from napari_deepspace.learn.optimise import FoldData, train_network
    from napari_deepspace.learn.targets import fit_target
    from napari_deepspace.target import Target

    training = np.arange(len(tiles)) % 4 > 0
    fitted = fit_target(Target("obs", tuple(f"column{i}" for i in range(N_OUTPUTS)), ""), values, 1.0)
    data = FoldData(0, tiles, values, training, ~training, fitted)
    with tempfile.TemporaryDirectory() as folder:
        return list(train_network(data, settings, device, 0, settings.micro_batch or BATCH, Checkpoints(Path(folder), 5), lambda network, epoch: ""))


# ---- The bare network. --------------------------------------------------------------------------------------------------------------------------


def bare_step(
    network: nn.Module, optimiser: torch.optim.Optimizer, images: torch.Tensor, values: torch.Tensor, precision: AbstractContextManager[object]
) -> torch.Tensor:
    """Forward, SmoothL1 summed over outputs, backward, step; nothing is waited for."""
    with precision:
        outputs = network(images)
    loss = F.smooth_l1_loss(outputs.float(), values, reduction="sum") / len(images)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss


def settings_of(backbone: str, batch: int, **more: Any) -> NetworkSettings:
    return NetworkSettings(backbone=backbone, weights="scratch", batch_size=batch, augment=PAPER, **more)


def load_tiles(path: Path, count: int, side: int) -> np.ndarray:
    """The first ``count`` tiles of a mosaic of 224 px tiles, uint8 (count, side, side, 3)."""
    picture = np.asarray(Image.open(path).convert("RGB"))
    rows, columns = picture.shape[0] // 224, picture.shape[1] // 224
    tiles = picture.reshape(rows, 224, columns, 224, 3).swapaxes(1, 2).reshape(-1, 224, 224, 3)
    tiles = tiles[np.arange(count) % len(tiles)]
    if side == 224:
        return tiles
    return np.stack([np.asarray(Image.fromarray(tile).resize((side, side))) for tile in tiles])


def values_for(tiles: np.ndarray) -> np.ndarray:
    """Something to learn: float32 (n, N_OUTPUTS) in 0..1 from the tiles' mean colour."""
    colour = tiles.reshape(len(tiles), -1, 3).mean(axis=1) / 255
    return (colour @ np.random.default_rng(0).dirichlet((1, 1, 1), N_OUTPUTS).T).astype(np.float32)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call: Callable[[], object], times: int, device: torch.device) -> float:
    """Seconds a call, the device's work done."""
    wait(device)
    began = time.perf_counter()
    for _ in range(times):
        call()
    wait(device)
    return (time.perf_counter() - began) / times


def side_by_side(calls: dict[str, Callable[[], object]], device: torch.device, times: int, rounds: int) -> dict[str, float]:
    """Median seconds a call, the calls taking turns so that a busy computer disturbs them alike; after one call of each to warm up."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(seconds_of(call, times, device))
    return {name: statistics.median(found) for name, found in seconds.items()}


def training_rates(backbone: str, tiles: np.ndarray, device: torch.device, batch: int, times: int, rounds: int, **more: Any) -> dict[str, float]:
    """Images/s of the bare step and of ours, which begins with tiles in memory and has the paper's augmentation."""
    settings, tiles = settings_of(backbone, batch, **more), tiles[:batch]
    values = values_for(tiles)
    network, optimiser = our_network(settings, device)
    network.train()
    images = our_input(torch.from_numpy(tiles).to(device), network)
    wanted = torch.from_numpy(values).to(device)
    count = iter(range(1_000_000))
    seconds = side_by_side(
        {
            "bare": lambda: bare_step(network, optimiser, images, wanted, our_precision(settings, device)),
            "ours": lambda: our_step(network, optimiser, tiles, values, settings, next(count)),
        },
        device, times, rounds,
    )  # fmt: skip
    return {name: batch / found for name, found in seconds.items()}


def prediction_rates(backbone: str, tiles: np.ndarray, device: torch.device, times: int, rounds: int) -> dict[str, float]:
    """Images/s of the bare forward in batches of 32, and of our prediction of the same tiles from memory."""
    network, _ = our_network(settings_of(backbone, 32), device)
    network.eval()
    images = our_input(torch.from_numpy(tiles).to(device), network)

    def bare() -> None:
        with torch.inference_mode():
            for start in range(0, len(images), 32):
                network(images[start : start + 32])

    seconds = side_by_side({"bare": bare, "ours": lambda: our_outputs(network, tiles, device)}, device, times, rounds)
    return {name: len(tiles) / found for name, found in seconds.items()}


def augmentation_rate(tiles: np.ndarray, device: torch.device, times: int) -> float:
    """Tiles/s of the paper's augmentation alone, tiles on the device."""
    settings, images = settings_of("vgg16", len(tiles)), torch.from_numpy(tiles).to(device)
    count = iter(range(1_000_000))
    return len(tiles) / side_by_side({"ours": lambda: our_augmented(images, settings, next(count))}, device, times, 3)["ours"]


def format_rates(backbone: str, tiles: np.ndarray, device: torch.device, batch: int, times: int) -> dict[str, float]:
    """Images/s of the bare step in each precision and memory format."""
    rates = {}
    for name, half, memory in (
        ("float32", False, torch.contiguous_format),
        ("float32, channels last", False, torch.channels_last),
        ("bfloat16", True, torch.contiguous_format),
        ("bfloat16, channels last", True, torch.channels_last),
    ):
        network, optimiser = our_network(settings_of(backbone, batch), device)
        network = network.to(memory_format=memory).train()
        images = our_input(torch.from_numpy(tiles[:batch]).to(device), network).contiguous(memory_format=memory)
        wanted = torch.from_numpy(values_for(tiles[:batch])).to(device)

        def step(network=network, optimiser=optimiser, images=images, wanted=wanted, half=half) -> None:
            bare_step(network, optimiser, images, wanted, torch.autocast(device.type, torch.bfloat16) if half else nullcontext())

        rates[name] = batch / side_by_side({name: step}, device, times, 3)[name]
    return rates
