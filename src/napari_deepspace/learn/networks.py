"""Networks: a trunk with a new last layer, their starting weights, and the device they run on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_deepspace.errors import SettingsError
from napari_deepspace.learn.backbones import HEADS, IMAGENET_MEAN, IMAGENET_SD, facts_of, make_trunk, pooled
from napari_deepspace.learn.pool import Stacked
from napari_deepspace.learn.weights import load_weights
from napari_deepspace.settings import NetworkSettings


class Network(nn.Module):
    """A trunk and a linear last layer: float (n, 3, h, w) to (n, n_outputs).

    With a context it takes two views of a spot, (n, 2, 3, h, w): the tile and a wider field of view. One trunk, with the same weights, looks at
    both, and the last layer sees the features of both side by side: the context costs a second pass, but no second set of weights.
    ``mean`` and ``sd`` are those of the trunk's input (buffers, stored with the weights).
    """

    mean: torch.Tensor
    sd: torch.Tensor

    def __init__(self, trunk: nn.Module, head: nn.Linear, mean: Sequence[float], sd: Sequence[float], plain_head: str = ""):
        super().__init__()
        self.trunk, self.head = trunk, head
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("sd", torch.tensor(sd))
        self._plain_head = plain_head
        self.register_load_state_dict_pre_hook(_rename_plain_keys)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the last layer sees: (n, n_features), with a context (n, 2 n_features)."""
        one_view = pooled(self.trunk(images.flatten(0, -4)), self.trunk)
        return one_view.reshape(len(images), -1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


def _rename_plain_keys(network: Network, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """The keys of a whole network of torchvision, its last layer among the others, are understood too."""
    if not network._plain_head or f"{prefix}head.weight" in state:
        return
    for key in [key for key in state if key.startswith(prefix)]:
        name = key.removeprefix(prefix)
        last = name.removeprefix(f"{network._plain_head}.")
        state[f"{prefix}head.{last}" if last != name else f"{prefix}trunk.{name}"] = state.pop(key)
    state |= {f"{prefix}mean": network.mean, f"{prefix}sd": network.sd}


def build_network(settings: NetworkSettings | str, n_outputs: int) -> Network:
    """A network with random weights and ``n_outputs`` outputs, of the ``settings`` or of a backbone's name.

    Raises
    ------
    TrainingError
        timm is not installed, has no such model, or the model cannot take tiles of this size.
    """
    named = isinstance(settings, str)
    settings = NetworkSettings(backbone=settings) if isinstance(settings, str) else settings
    facts = facts_of(settings.backbone, None if named else settings.tile_px)
    trunk = make_trunk(settings.backbone)
    views = 1 if settings.context is None else 2
    return Network(trunk, nn.Linear(views * facts.n_features, n_outputs), facts.mean, facts.sd, HEADS.get(settings.backbone, ""))


def starting_network(settings: NetworkSettings, n_outputs: int, head_bias: np.ndarray | torch.Tensor | None = None) -> Network:
    """A network with the weights that ``settings.weights`` names and a fresh last layer, whose bias (n_outputs,) is ``head_bias`` if given.

    Raises
    ------
    TrainingError
        The weights cannot be had or do not fit the backbone. There is no silent fall to random weights.
    """
    network = build_network(settings, n_outputs)
    if settings.weights != "scratch":
        load_weights(network.trunk, settings.backbone, settings.weights)
    if head_bias is not None:
        with torch.no_grad():
            network.head.bias.copy_(torch.as_tensor(head_bias))
    if settings.train == "head":
        network.trunk.requires_grad_(False)
    return network


def set_training_mode(network: Network, settings: NetworkSettings) -> None:
    """Training mode; a trunk that does not train stays in evaluation mode, so that its batch statistics do not move and nothing drops out."""
    network.train()
    if settings.train == "head":
        network.trunk.eval()


def choose_device(wanted: str) -> tuple[torch.device, str]:
    """The device and, in words, why it is that one.

    Raises
    ------
    SettingsError
        A device was asked for that this computer does not have, or the name is unknown.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        for name in ("cuda", "mps"):
            if available[name]:
                return torch.device(name), f"{torch.cuda.get_device_name() if name == 'cuda' else 'Apple GPU'} found"
        return torch.device("cpu"), "no GPU was found" if torch.version.cuda else "the installed torch has no GPU support"
    if wanted not in available:
        raise SettingsError(f"Unknown device {wanted!r}. Choose auto, cpu, cuda or mps.")
    if not available[wanted]:
        raise SettingsError(f"Device {wanted} was asked for, but torch finds none on this computer. Choose auto or cpu.")
    return torch.device(wanted), "as set"


def to_input(tiles: torch.Tensor, network: nn.Module | None = None) -> torch.Tensor:
    """uint8 tiles (n, s, s, 3) to the normalised float (n, 3, s, s), and two views (n, 2, s, s, 3) to (n, 2, 3, s, s), on the tiles' device.

    By the mean and SD of ``network``; without one, ImageNet's.
    """
    mean = getattr(network, "mean", None)
    sd = getattr(network, "sd", None)
    mean = torch.tensor(IMAGENET_MEAN) if mean is None else mean
    sd = torch.tensor(IMAGENET_SD) if sd is None else sd
    shape = (3, 1, 1)
    return (tiles.movedim(-1, -3).float() / 255 - mean.to(tiles.device).view(shape)) / sd.to(tiles.device).view(shape)


def turned(images: torch.Tensor, k: int) -> torch.Tensor:
    """One of the eight symmetries of square images (..., s, s, 3), ``k`` = 0..7: quarter turns, then mirrored."""
    image = torch.rot90(images, k % 4, (-3, -2))
    return torch.flip(image, (-3,)) if k >= 4 else image


def network_features(
    network: nn.Module, tiles: np.ndarray, device: torch.device, rows: np.ndarray | None = None, symmetries: bool = False, batch: int = 32
) -> np.ndarray:
    """What the last layer sees of uint8 ``tiles`` (n, ...), or of some ``rows``: float32 (n, n_features), or its mean over the eight symmetries."""
    with torch.inference_mode():
        return torch.cat([features.float().cpu() for features in features_of(network, tiles, device, rows, symmetries, batch)]).numpy()


def features_of(
    network: nn.Module, tiles: np.ndarray | Stacked, device: torch.device, rows: np.ndarray | None, symmetries: bool, batch: int
) -> Iterator[torch.Tensor]:
    """The same batch by batch, on the ``device``."""
    network.eval()
    features: Any = network.features
    rows = np.arange(len(tiles)) if rows is None else rows
    for start in range(0, len(rows), batch):
        images = torch.from_numpy(tiles[rows[start : start + batch]]).to(device)
        views = [turned(images, k) for k in range(8)] if symmetries else [images]
        yield sum(features(to_input(view, network)) for view in views) / len(views)
