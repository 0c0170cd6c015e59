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

from napari_deepspace.events import result_of
from napari_deepspace.learn.data import gather, section_tiles, tile_side_px
from napari_deepspace.learn.features import tile_features
from napari_deepspace.learn.networks import Network, augment, build_network, choose_device, each_view, set_training_mode, to_input
from napari_deepspace.learn.splits import TEST, TRAINING, VALIDATION
from napari_deepspace.section import Section
from napari_deepspace.settings import NetworkSettings, QuickSettings, RunSettings

TRIAL_TILES = 32
PAPER = NetworkSettings()


@dataclass(frozen=True)
class Cost:
    """Time and memory of one choice: ``seconds`` for all folds and epochs at most, ``memory_gb`` at the peak, ``device`` and why that one."""

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
    n = len(data.section_of)
    section = sections[0]
    some = section.centres_yx[np.linspace(0, section.adata.n_obs - 1, min(TRIAL_TILES, section.adata.n_obs)).astype(int)]
    began = time.perf_counter()
    context = settings.model.context if isinstance(settings.model, NetworkSettings) else None
    tiles = result_of(section_tiles(section, some, data.tile_um, tile_side_px(settings, data.tile_um), context))
    cutting = (time.perf_counter() - began) / len(tiles) * n
    base_gb = psutil.Process().memory_info().rss / 1e9
    tiles_gb = n * tiles[0].nbytes / 1e9
    if isinstance(settings.model, QuickSettings):
        looking, looking_gb = _looking_cost(settings.model, tiles)
        seconds = cutting + looking * n + _ridge_seconds(data.split.parts, len(data.genes))
        device, reason, memory = torch.device("cpu"), "Quick needs no GPU", base_gb + looking_gb
    else:
        device, reason = choose_device(settings.model.device)
        seconds_network, network_gb = _network_cost(settings.model, tiles, len(data.genes), data.split.parts, data.split.home, device)
        seconds, memory = cutting + seconds_network, base_gb + tiles_gb + network_gb
    return Cost(label, seconds, memory, str(device), reason, f"{label}: about {duration(seconds)}, {memory:.1f} GB")


def _looking_cost(quick: QuickSettings, tiles: np.ndarray) -> tuple[float, float]:
    """Seconds a tile, and GB, of Quick's features: by hand, or of a backbone (random weights cost the same)."""
    if quick.features == "handmade":
        tile_features(tiles[:4])  # the first call also sets things up
        began = time.perf_counter()
        tile_features(tiles)
        return (time.perf_counter() - began) / len(tiles), 0.4
    device, _ = choose_device("auto")
    network = build_network(quick.features, 1).to(device).eval()
    images = torch.from_numpy(tiles[:8]).to(device)
    with torch.inference_mode():
        seconds = _seconds(lambda: network.features(to_input(images, network)), device)
    return seconds / len(images), sum(p.numel() for p in network.parameters()) * 4 / 1e9 + _activations_gb(network, images[:1]) * len(images)


def _ridge_seconds(parts: np.ndarray, genes: int) -> float:
    """Time of one PCA and its ridge on numbers of the size of a fold's training part, times those that a run makes."""
    folds, n = parts.shape[1], round(np.isin(parts, (TRAINING, VALIDATION)).sum(axis=0).mean())
    rng = np.random.default_rng(0)
    features, values = rng.standard_normal((n, 218), dtype=np.float32), rng.standard_normal((n, genes), dtype=np.float32)
    began = time.perf_counter()
    u, _, _ = np.linalg.svd(features, full_matrices=False)
    u.T @ values
    return (time.perf_counter() - began) * folds * 4  # four inner folds on three quarters of the spots each, and the final fit


def _network_cost(
    settings: NetworkSettings, tiles: np.ndarray, n_genes: int, parts: np.ndarray, home: np.ndarray, device: torch.device
) -> tuple[float, float]:
    """Seconds of all folds and epochs, and GB beyond what is already in use, from real steps on a few tiles."""
    network = build_network(settings, n_genes).to(device)
    network.trunk.requires_grad_(settings.train == "all")
    set_training_mode(network, settings)
    weights_gb = sum(p.numel() for p in network.parameters()) * 4 / 1e9
    batch = max(2, min(settings.batch_size, len(tiles), 8 if settings.tile_px > 128 else 32))
    images = torch.from_numpy(tiles[:batch]).to(device)
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-4)

    def step() -> None:
        changed = each_view(lambda view: augment(view, torch.Generator().manual_seed(0)), images) if settings.augment else images
        inputs = to_input(changed, network)
        loss = F.smooth_l1_loss(network(inputs), torch.zeros((len(images), n_genes), device=device), reduction="sum")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    train_s = _seconds(step, device)
    update_s = _seconds(optimiser.step, device)  # per step, whatever the batch
    network.eval()
    with torch.inference_mode():
        predict_s = _seconds(lambda: network(to_input(images, network)), device)
    per_tile, per_predicted = max(train_s - update_s, 0) / batch, predict_s / batch
    seconds = 0.0
    for fold in range(parts.shape[1]):
        trained, held = (parts[:, fold] == TRAINING).sum(), (parts[:, fold] == VALIDATION).sum()
        tested = (home == fold).sum() if (parts[:, fold] == TEST).any() else 0
        steps = max(1, round(trained / settings.batch_size))
        seconds += settings.epochs * (trained * per_tile + steps * update_s + (held + tested) * per_predicted)
    activations_gb = _activations_gb(network, images[:1]) * settings.batch_size
    # three copies of the best weights live with gradients and Adam's two moments; a finished fold keeps its weights
    return seconds, weights_gb * (5 + parts.shape[1]) + activations_gb


def _activations_gb(network: Network, image: torch.Tensor) -> float:
    """GB that the backward pass keeps for one tile: what autograd saves, weights left out."""
    own = {p.data_ptr() for p in network.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            saved[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    network.eval()  # batch normalisation in training mode refuses a single value; what is saved is the same
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(to_input(image, network)).sum()
    return sum(saved.values()) * 1.3 / 1e9  # the passing gradients of the largest layers


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
