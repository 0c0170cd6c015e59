"""Weights that a trunk starts from: files of the user, torchvision's, and those of the Hugging Face hub or its cache."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from napari_deepspace.errors import TrainingError
from napari_deepspace.learn.backbones import TIMM, encoder_of, hub_id, require_timm

State = Mapping[str, torch.Tensor]
SCRATCH_WORDS = "on her2st a network from scratch reaches a mean r of 0.20 where Quick reaches 0.31"


def load_weights(trunk: nn.Module, backbone: str, weights: str) -> None:
    """Give ``trunk`` the ``weights``: "pretrained", or the path of a .safetensors or .pth file. A last layer among them is left out.

    Raises
    ------
    TrainingError
        The weights cannot be had, could run code, or do not fit. There is no silent fall to random weights.
    """
    if weights == "pretrained":
        fill(trunk, _pretrained(backbone), backbone, f"the pretrained weights of {backbone}")
    else:
        fill(trunk, read_weights(Path(weights)), backbone, f"the weights in {weights}")


def fill(trunk: nn.Module, state: State, backbone: str, where: str) -> None:
    """Copy ``state`` into ``trunk``, whatever prefix its keys have (``module.``, ``visual.trunk.`` ...); raises TrainingError if it does not fit."""
    wanted = {key: value for key, value in trunk.state_dict().items() if not key.endswith("num_batches_tracked")}
    state = _without_prefix(state, wanted)
    misfits = _misfits(state, wanted)
    convert = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)  # timm's, by convention one in each of its modules
    if misfits and convert is not None:
        try:
            state = dict(convert(dict(state), trunk))  # keys of a model's authors to timm's; positions to another number of patches
            misfits = _misfits(state, wanted)
        except (KeyError, IndexError, RuntimeError, ValueError, AttributeError, TypeError, AssertionError):
            pass  # weights of some other network
    if misfits:
        raise TrainingError(
            f"{where[0].upper()}{where[1:]} do not fit {backbone}: {misfits[0]} is missing or has another shape. "
            f"Give weights of {backbone} (model.weights), or name the backbone they belong to (model.backbone)."
        )
    trunk.load_state_dict({key: state[key] for key in trunk.state_dict() if key in state}, strict=False)


def read_weights(path: Path) -> State:
    """The tensors of a .safetensors file, or of a state dict saved by torch, nested or not; nothing in the file is run.

    Raises
    ------
    TrainingError
        There is no such file, or it is not plain weights.
    """
    if not path.is_file():
        raise TrainingError(f"No file of weights at {path}. Set model.weights to pretrained, scratch, or an existing .safetensors or .pth file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)  # weights_only: a file cannot run code
    except (OSError, RuntimeError, SafetensorError, ValueError, KeyError, EOFError, TypeError) as error:
        raise TrainingError(
            f"{path} could not be read as weights ({type(error).__name__}). Give a .safetensors file or a plain state dict saved by torch."
        ) from error
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":
            raise
        raise TrainingError(f"{path} holds more than plain weights and was not opened, since it could run code. Give a .safetensors file.") from error
    state = _largest_state(found)
    if not state:
        raise TrainingError(f"{path} holds no state dict. Give a .safetensors file or a plain state dict saved by torch.")
    return state


def _pretrained(backbone: str) -> State:
    try:
        if not backbone.startswith(TIMM):
            state = torchvision.models.get_model_weights(backbone).DEFAULT.get_state_dict(progress=False, check_hash=True)
            # densenet's file has the layers' names of 2017
            return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key): value for key, value in state.items()}
        timm = require_timm(backbone)
        if encoder_of(backbone):
            return timm.models.load_state_dict_from_hf(hub_id(backbone), weights_only=True)
        return timm.create_model(backbone.removeprefix(TIMM), pretrained=True).state_dict()  # with its own classifier, so that timm is strict
    except (OSError, RuntimeError, ValueError) as error:  # no network, a proxy, a broken download, a gate without a key
        gated = " Its authors ask for a consent first: log in with `hf auth login` once it is given." if "gated" in str(error).lower() else ""
        cache = f", or fill the hub's cache (HF_HOME) on a computer with a connection.{gated}" if backbone.startswith(TIMM) else "."
        raise TrainingError(
            f"The pretrained weights of {backbone} could not be downloaded ({(str(error).splitlines() or [''])[0]}). "
            f"Give a file (model.weights: FILE.safetensors or FILE.pth){cache} "
            f"Or start from scratch (model.weights: scratch), but {SCRATCH_WORDS}."
        ) from error


def _largest_state(found: Any) -> State:
    """The tensors of a state dict, or of the largest one in a checkpoint that also holds other things."""
    if not isinstance(found, Mapping):
        return {}
    own = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    return max([own, *(_largest_state(value) for value in found.values())], key=len)


def _without_prefix(state: State, wanted: State) -> State:
    """``state`` with the prefix taken off under which most of the ``wanted`` keys are found; keys without it are left out."""
    prefixes = {key.removesuffix(name) for name in list(wanted)[:10] for key in state if key.endswith(f".{name}")} | {""}

    def found(prefix: str) -> int:
        return sum(prefix + name in state for name in wanted)

    best = max(sorted(prefixes), key=found)
    return {key.removeprefix(best): value for key, value in state.items() if key.startswith(best)}


def _misfits(state: State, wanted: State) -> list[str]:
    return [key for key, value in wanted.items() if key not in state or state[key].shape != value.shape]
