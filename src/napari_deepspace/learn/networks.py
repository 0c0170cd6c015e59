"""Backbones with a new last layer, their starting weights, and the device they run on."""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from napari_deepspace.errors import SettingsError, TrainingError
from napari_deepspace.settings import NetworkSettings

IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEAD = {"vgg16": "classifier.6", "densenet121": "classifier", "resnet18": "fc", "mobilenet_v3_small": "classifier.3"}


def build_network(backbone: str, n_outputs: int) -> nn.Module:
    """A torchvision network with random weights and ``n_outputs`` outputs: float (n, 3, h, w) to (n, n_outputs)."""
    network = torchvision.models.get_model(backbone, weights=None)
    head = network.get_submodule(HEAD[backbone])
    assert isinstance(head, nn.Linear)
    network.set_submodule(HEAD[backbone], nn.Linear(head.in_features, n_outputs))
    return network


def starting_network(settings: NetworkSettings, n_outputs: int) -> nn.Module:
    """A network with the weights that ``settings.weights`` names, its head fresh.

    Raises
    ------
    TrainingError
        The weights cannot be had or do not fit the backbone. There is no silent fall to random weights.
    """
    network = build_network(settings.backbone, n_outputs)
    if settings.weights != "scratch":
        state = _weights(settings)
        fresh = network.state_dict()
        head = HEAD[settings.backbone]
        kept = {key: value for key, value in state.items() if not key.startswith(head)}
        wrong = [key for key in fresh if not key.startswith(head) and (key not in kept or kept[key].shape != fresh[key].shape)]
        if wrong:
            raise TrainingError(f"The weights in {settings.weights} do not fit {settings.backbone} ({wrong[0]} is missing or has another shape).")
        network.load_state_dict({**fresh, **{key: kept[key] for key in fresh if not key.startswith(head)}})
    if settings.train == "head":
        for name, parameter in network.named_parameters():
            parameter.requires_grad = name.startswith(HEAD[settings.backbone])
    return network


def _weights(settings: NetworkSettings) -> dict[str, torch.Tensor]:
    if settings.weights == "pretrained":
        try:
            return torchvision.models.get_model_weights(settings.backbone).DEFAULT.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:  # no network, a proxy, a broken download
            raise TrainingError(
                f"The ImageNet weights of {settings.backbone} could not be downloaded ({error}). Give a file (model.weights: FILE.safetensors or "
                "FILE.pth), or start from scratch (model.weights: scratch); with few spots from scratch is usually worse than Quick."
            ) from error
    path = Path(settings.weights)
    if not path.is_file():
        raise TrainingError(f"No file of weights at {path}. Set model.weights to pretrained, scratch, or an existing .safetensors or .pth file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)  # weights_only: a file cannot run code
    except (OSError, RuntimeError, SafetensorError, ValueError, KeyError, EOFError, TypeError) as error:
        raise TrainingError(
            f"{path} could not be read as weights ({type(error).__name__}). Give a .safetensors file or a plain state dict saved by torch."
        ) from error
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":
            raise
        raise TrainingError(f"{path} holds more than plain weights and was not opened, since it could run code. Give a .safetensors file.") from error
    if not isinstance(state, dict):
        raise TrainingError(f"{path} holds no state dict. Give a .safetensors file or a plain state dict saved by torch.")
    return state


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


def to_input(tiles: torch.Tensor) -> torch.Tensor:
    """uint8 tiles (n, s, s, 3) to the normalised float (n, 3, s, s) that ImageNet networks expect, on the tiles' device."""
    mean = torch.tensor(IMAGENET_MEAN, device=tiles.device).view(1, 3, 1, 1)
    sd = torch.tensor(IMAGENET_SD, device=tiles.device).view(1, 3, 1, 1)
    return (tiles.permute(0, 3, 1, 2).float() / 255 - mean) / sd


def augment(tiles: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each uint8 tile (n, s, s, 3) turned by a random symmetry of the square, its brightness, contrast and channels changed by up to a tenth."""
    n = len(tiles)
    turned = tiles.clone()
    symmetry = torch.randint(8, (n,), generator=generator)
    for k in range(8):
        rows = torch.nonzero(symmetry == k).ravel().to(tiles.device)
        if len(rows):
            image = torch.rot90(tiles[rows], k % 4, (1, 2))
            turned[rows] = torch.flip(image, (1,)) if k >= 4 else image
    change = 0.9 + 0.2 * torch.rand((n, 1, 1, 3), generator=generator)  # one factor a channel
    contrast = 0.9 + 0.2 * torch.rand((n, 1, 1, 1), generator=generator)
    shift = 20 * (torch.rand((n, 1, 1, 1), generator=generator) - 0.5)
    change, contrast, shift = change.to(tiles.device), contrast.to(tiles.device), shift.to(tiles.device)
    mean = turned.float().mean(dim=(1, 2), keepdim=True)
    return (((turned.float() - mean) * contrast + mean) * change + shift).clamp(0, 255).round().to(torch.uint8)
