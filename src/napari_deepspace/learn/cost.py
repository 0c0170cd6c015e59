"""What a run will cost on this computer, from a trial of a few seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F

from napari_deepspace.errors import TrainingError
from napari_deepspace.events import result_of
from napari_deepspace.learn.data import gather, section_tiles
from napari_deepspace.learn.features import BLOCK_PX, slide_features
from napari_deepspace.learn.model import network_outputs
from napari_deepspace.learn.networks import Network, build_network, choose_device, set_training_mode, to_input
from napari_deepspace.learn.optimise import make_optimiser, training_step
from napari_deepspace.learn.splits import TEST, TRAINING, VALIDATION
from napari_deepspace.section import Section
from napari_deepspace.settings import NetworkSettings, QuickSettings, RunSettings
from napari_deepspace.tiles import tile_radius_px

TRIAL_TILES = 32
CPU_TILES = 4
PAPER = NetworkSettings()


@dataclass(frozen=True)
class Cost:
    """Time and memory of one choice: ``seconds`` for all folds and epochs at most, ``memory_gb`` at the peak, ``device`` and why that one.

    Both are NaN for a choice that this computer has no memory for; ``words`` then say so.
    """

    label: str
    seconds: float
    memory_gb: float
    device: str
    device_reason: str
    words: str


def estimate(sections: Sequence[Section], settings: RunSettings) -> dict[str, Any]:
    """Try each choice for a moment: Quick, the network as set (if one is), and the paper's settings.

    Returns ``{"choices": [Cost as dict, ...], "device", "device_reason", "memory_available_gb"}``. Raises what ``gather`` raises.
    """
    torch.set_num_threads(settings.threads or torch.get_num_threads())
    chosen = settings.model if isinstance(settings.model, NetworkSettings) else None
    models: list[tuple[str, QuickSettings | NetworkSettings]] = [
        ("Quick", settings.model if isinstance(settings.model, QuickSettings) else QuickSettings())
    ]
    if chosen is not None and chosen != PAPER:
        models.append((f"{chosen.backbone} as set", chosen))
    models.append(("paper's settings", PAPER))
    choices = [_estimate_one(label, sections, settings.model_copy(update={"model": model})) for label, model in models]
    device, reason = choose_device(chosen.device if chosen else "auto")
    return {
        "choices": [asdict(choice) for choice in choices],
        "device": str(device),
        "device_reason": reason,
        "memory_available_gb": psutil.virtual_memory().available / 1e9,
    }


def _estimate_one(label: str, sections: Sequence[Section], settings: RunSettings) -> Cost:
    # the trial stays short: it neither looks for white tiles nor computes clusters
    counts_only = settings.filter.model_copy(update={"white_percentile": 100, "exclude_cluster": None})
    data = result_of(gather(sections, settings.model_copy(update={"filter": counts_only})))
    n, section = len(data.section_of), sections[0]
    base_gb = psutil.Process().memory_info().rss / 1e9
    if isinstance(settings.model, QuickSettings):
        looking, looking_gb = _looking_cost(settings.model, section, data.tile_um, data.tile_px)
        seconds = looking * n + _ridge_seconds(data.split.parts, len(data.target.names))
        device, reason, memory = torch.device("cpu"), "Quick needs no GPU", base_gb + looking_gb
    else:
        cutting, tiles = _cut_some(section, data.tile_um, data.tile_px, settings.model.context)
        device, reason = choose_device(settings.model.device)
        try:
            seconds_network, memory_gb = _network_cost(settings.model, tiles, len(data.target.names), data.split.parts, data.split.home, device)
        except TrainingError as error:  # it does not fit; the other choices are told all the same
            return Cost(label, math.nan, math.nan, str(device), reason, f"{label}: {error}")
        seconds, memory = cutting * n + seconds_network, base_gb + n * tiles[0].nbytes / 1e9 + memory_gb
    return Cost(label, seconds, memory, str(device), reason, f"{label}: about {duration(seconds)}, {memory:.1f} GB")


def _looking_cost(quick: QuickSettings, section: Section, tile_um: float, tile_px: int) -> tuple[float, float]:
    """Seconds a spot, and GB, of what Quick looks at: features by hand, or of a backbone (random weights cost the same)."""
    if quick.features == "handmade":
        return _features_seconds(section, tile_um, tile_px), 0.4
    cutting, tiles = _cut_some(section, tile_um, tile_px, None)
    device, _ = choose_device("auto")
    network = build_network(quick.features, 1).to(device).eval()
    images = torch.from_numpy(tiles[:8]).to(device)
    with torch.inference_mode():
        seconds = _seconds(lambda: network.features(to_input(images, network)), device)
    weights_gb = sum(p.numel() for p in network.parameters()) * 4 / 1e9
    return cutting + seconds / len(images), weights_gb + _activations_gb(network, to_input(images[:1], network)) * len(images)


def _cut_some(section: Section, tile_um: float, tile_px: int, context: float | None) -> tuple[float, np.ndarray]:
    """Seconds a tile of cutting, and some tiles from all over the section."""
    some = section.centres_yx[np.linspace(0, section.adata.n_obs - 1, min(TRIAL_TILES, section.adata.n_obs)).astype(int)]
    began = time.perf_counter()
    tiles = result_of(section_tiles(section, some, tile_um, tile_px, context))
    return (time.perf_counter() - began) / len(tiles), tiles


def _features_seconds(section: Section, tile_um: float, tile_px: int) -> float:
    """Seconds a spot of Quick's features, from the block that holds most spots: spots far apart would share nothing."""
    radius, centres = tile_radius_px(tile_um, section.mpp), section.centres_yx
    _, block, spots = np.unique(centres // (BLOCK_PX * 2 * radius / tile_px), axis=0, return_inverse=True, return_counts=True)
    some = centres[block.ravel() == spots.argmax()]
    began = time.perf_counter()
    for _ in slide_features(section.require_slide().levels, some, radius, tile_px):
        pass
    return (time.perf_counter() - began) / len(some)


def _ridge_seconds(parts: np.ndarray, genes: int) -> float:
    """Time of one PCA and its ridge on numbers of the size of a fold's training part, times those that a run makes."""
    folds, n = parts.shape[1], round(np.isin(parts, (TRAINING, VALIDATION)).sum(axis=0).mean())
    rng = np.random.default_rng(0)
    features, values = rng.standard_normal((n, 382), dtype=np.float32), rng.standard_normal((n, genes), dtype=np.float32)
    began = time.perf_counter()
    u, _, _ = np.linalg.svd(features, full_matrices=False)
    u.T @ values
    return (time.perf_counter() - began) * folds * 4  # four inner folds on three quarters of the spots each, and the final fit


def _network_cost(
    settings: NetworkSettings, tiles: np.ndarray, n_outputs: int, parts: np.ndarray, home: np.ndarray, device: torch.device
) -> tuple[float, float]:
    """Seconds of all folds and epochs, and GB beyond what is already in use, from real steps on a few tiles."""
    network = build_network(settings, n_outputs).to(device)
    network.trunk.requires_grad_(settings.train == "all")
    set_training_mode(network, settings)
    micro_batch = choose_micro_batch(settings, n_outputs, 0, settings.tile_px, device)
    batch = max(2, min(settings.batch_size, len(tiles), 8 if settings.tile_px > 128 else 32))
    wanted = np.zeros((batch, n_outputs), dtype=np.float32)
    optimiser = make_optimiser(network, settings)

    def loss(outputs: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
        return F.smooth_l1_loss(outputs, of, reduction="sum")

    def step() -> None:
        training_step(network, optimiser, tiles[:batch], wanted, settings, loss, micro_batch, 0)

    train_s = _seconds(step, device)
    update_s = _seconds(optimiser.step, device)  # per step, whatever the batch
    network.eval()
    predict_s = _seconds(lambda: network_outputs(network, tiles[:batch], device), device)
    per_tile, per_predicted = max(train_s - update_s, 0) / batch, predict_s / batch
    seconds = 0.0
    for fold in range(parts.shape[1]):
        trained, held = (parts[:, fold] == TRAINING).sum(), (parts[:, fold] == VALIDATION).sum()
        tested = (home == fold).sum() if (parts[:, fold] == TEST).any() else 0
        steps = -(-trained // settings.batch_size)
        seconds += settings.epochs * (trained * per_tile + steps * update_s + (held + tested) * per_predicted)
    return seconds, network_gb(settings, n_outputs, settings.tile_px, micro_batch)


def choose_micro_batch(settings: NetworkSettings, n_outputs: int, n_spots: int, tile_px: int, device: torch.device) -> int:
    """How many tiles are computed at once: what is set; else the whole batch on a GPU and for networks with batch normalisation, and CPU_TILES on a
    CPU, where more are not faster; fewer where memory is short.

    Raises
    ------
    TrainingError
        Not even one tile fits beside the ``n_spots`` tiles of ``tile_px``. A CPU would not fail but swap for ever.
    """
    free_gb = torch.cuda.mem_get_info(device)[0] / 1e9 if device.type == "cuda" else psutil.virtual_memory().available / 1e9
    views = 1 if settings.context is None else 2
    tiles_gb = 0.0 if device.type == "cuda" else n_spots * views * tile_px * tile_px * 3 / 1e9
    usual = settings.batch_size if device.type == "cuda" or _looks_at_the_batch(settings, n_outputs) else CPU_TILES
    count = min(settings.micro_batch or usual, settings.batch_size)
    while (needed := tiles_gb + network_gb(settings, n_outputs, tile_px, count)) > free_gb and count > 1 and settings.micro_batch is None:
        count = (count + 1) // 2
    if needed > free_gb:
        raise TrainingError(
            f"Training {settings.backbone} with tiles of {tile_px} px needs about {needed:.1f} GB of memory, and {free_gb:.1f} GB are free. "
            "Close other programs, lower model.tile_px or model.micro_batch, take a smaller backbone, or choose Quick."
        )
    return count


def network_gb(settings: NetworkSettings, n_outputs: int, tile_px: int, micro_batch: int) -> float:
    """GB of training beyond the tiles: weights, gradients, the optimiser's moments, and what the backward pass keeps of a micro-batch.

    Three copies of the largest layer come and go: its next gradient, and two of Adam's steps, which is not fused on a CPU.
    """
    network, image = _sketch(settings, n_outputs, tile_px)
    weights = sum(p.numel() for p in network.parameters()) * 4 / 1e9
    training = sum(p.numel() for p in network.parameters() if p.requires_grad) * 4 / 1e9
    moments = 1 if settings.optimiser == "sgd" else 2
    largest = max(p.numel() for p in network.parameters() if p.requires_grad) * 4 / 1e9
    return weights + training * (1 + moments) + 3 * largest + _activations_gb(network, image) * micro_batch


def _looks_at_the_batch(settings: NetworkSettings, n_outputs: int) -> bool:
    network, _ = _sketch(settings, n_outputs, settings.tile_px)
    return any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in network.modules())


def _sketch(settings: NetworkSettings, n_outputs: int, tile_px: int) -> tuple[Network, torch.Tensor]:
    """The network and one input without any numbers in them: shapes are enough to tell their size."""
    views = () if settings.context is None else (2,)
    with torch.device("meta"):
        network = build_network(settings, n_outputs)
        network.trunk.requires_grad_(settings.train == "all")
        return network, torch.zeros((1, *views, 3, tile_px, tile_px))


def _activations_gb(network: torch.nn.Module, image: torch.Tensor) -> float:
    """GB that the backward pass keeps for one tile: what autograd saves, weights left out."""
    own = {id(p) for p in network.parameters()}
    saved: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in own and (tensor._base is None or id(tensor._base) not in own):
            saved[id(tensor if tensor._base is None else tensor._base)] = tensor
        return tensor

    network.eval()  # batch normalisation in training mode refuses a single value; what is saved is the same
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(image).sum()
    return sum(tensor.numel() * tensor.element_size() for tensor in saved.values()) * 1.3 / 1e9  # the passing gradients of the largest layers


def _seconds(call: Any, device: torch.device, least: float = 0.6) -> float:
    """Median time of ``call`` after one warm-up, repeated for at least ``least`` seconds."""
    call()
    times: list[float] = []
    while sum(times) < least or len(times) < 2:
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def duration(seconds: float) -> str:
    """Seconds in plain words: "40 s", "12 min", "3.5 h", "2 days"."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds / 5) * 5 if seconds > 10 else math.ceil(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    if seconds < 172800:
        return f"{seconds / 3600:.2g} h"
    return f"{round(seconds / 86400)} days"
