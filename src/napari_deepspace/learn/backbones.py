"""Trunks of networks, that is everything but the last layer: torchvision's, and those of timm with facts about pathology encoders."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType, ModuleType
from typing import Any

import torch
import torchvision
from torch import nn

from napari_deepspace.errors import TrainingError
from napari_deepspace.settings import BACKBONES

Colour = tuple[float, float, float]
IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_SD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BIOPTIMUS_MEAN, BIOPTIMUS_SD = (0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)
OWN_PX = 224  #: side of the tiles that torchvision's networks were trained on
TIMM, HUB = "timm/", ("hf-hub:", "hf_hub:")

HEADS = {
    "vgg16": "classifier.6", "densenet121": "classifier", "resnet18": "fc", "resnet50": "fc", "mobilenet_v3_small": "classifier.3",
    "mobilenet_v3_large": "classifier.3", "efficientnet_b0": "classifier.1", "convnext_tiny": "classifier.2",
}  # fmt: skip
"""Where torchvision's networks have their last layer."""
assert set(HEADS) == set(BACKBONES)


@dataclass(frozen=True)
class Encoder:
    """How timm has to build an encoder so that its published weights fit, and what its input was normalised by.

    With the argument ``global_pool=""`` the features are the class token and the mean of the patch tokens, without the register tokens.
    """

    architecture: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    mean: Colour = IMAGENET_MEAN
    sd: Colour = IMAGENET_SD
    swiglu: bool = False  #: SwiGLU layers with SiLU


_VIRCHOW = {"img_size": 224, "init_values": 1e-5, "mlp_ratio": 5.3375, "global_pool": "", "dynamic_img_size": True}
_OPTIMUS = {"img_size": 224, "init_values": 1e-5, "dynamic_img_size": False}
_UNI2 = {
    "img_size": 224, "patch_size": 14, "depth": 24, "num_heads": 24, "init_values": 1e-5, "embed_dim": 1536, "mlp_ratio": 2.66667 * 2,
    "no_embed_class": True, "reg_tokens": 8, "dynamic_img_size": True,
}  # fmt: skip
_GIGAPATH = {"img_size": 224, "patch_size": 16, "embed_dim": 1536, "depth": 40, "num_heads": 24, "init_values": 1e-5, "mlp_ratio": 5.33334}
ENCODERS: Mapping[str, Encoder] = MappingProxyType(
    {
        "mahmoodlab/uni": Encoder("vit_large_patch16_224", {"img_size": 224, "init_values": 1e-5, "dynamic_img_size": True}),
        "mahmoodlab/uni2-h": Encoder("vit_giant_patch14_224", _UNI2, swiglu=True),
        "paige-ai/virchow": Encoder("vit_huge_patch14_224", _VIRCHOW, swiglu=True),
        "paige-ai/virchow2": Encoder("vit_huge_patch14_224", {**_VIRCHOW, "reg_tokens": 4}, swiglu=True),
        "bioptimus/h-optimus-0": Encoder("vit_giant_patch14_reg4_dinov2", _OPTIMUS, BIOPTIMUS_MEAN, BIOPTIMUS_SD),
        "bioptimus/h-optimus-1": Encoder("vit_giant_patch14_reg4_dinov2", _OPTIMUS, BIOPTIMUS_MEAN, BIOPTIMUS_SD),
        "prov-gigapath/prov-gigapath": Encoder("vit_giant_patch14_dinov2", {**_GIGAPATH, "dynamic_img_size": True}),
        # the image encoder without CONCH's own attentional pooling, whose layers timm does not have
        "mahmoodlab/conch": Encoder("vit_base_patch16_224", {"img_size": 448, "dynamic_img_size": True, "global_pool": ""}, CLIP_MEAN, CLIP_SD),
    }
)
"""Pathology encoders by their name on the Hugging Face hub, in lower case; facts from their model cards."""


@dataclass(frozen=True)
class Facts:
    """What is known of a trunk: ``n_features`` a tile, mean and SD of its input in 0..1, and the tile side in px that it was trained on."""

    n_features: int
    mean: Colour
    sd: Colour
    own_px: int


def make_trunk(backbone: str) -> nn.Module:
    """A trunk with random weights: float (n, 3, h, w) to features (n, f), or to tokens (n, t, f) where :func:`pooled` has to follow.

    Raises
    ------
    TrainingError
        timm is not installed, has no such model, or the hub does not say how it is built.
    """
    if backbone.startswith(TIMM):
        return _timm_trunk(backbone)
    network = torchvision.models.get_model(backbone, weights=None)
    network.set_submodule(HEADS[backbone], nn.Identity())
    return network


@lru_cache(maxsize=16)
def facts_of(backbone: str, tile_px: int | None = None) -> Facts:
    """Look at a backbone without making its weights; ``tile_px``: the side that tiles will have, None: the backbone's own.

    Raises
    ------
    TrainingError
        As :func:`make_trunk`, or the backbone cannot take tiles of that side.
    """
    if not backbone.startswith(TIMM):
        with torch.device("meta"):
            head = torchvision.models.get_model(backbone, weights=None).get_submodule(HEADS[backbone])
        assert isinstance(head, nn.Linear)
        return Facts(head.in_features, IMAGENET_MEAN, IMAGENET_SD, OWN_PX)
    encoder = encoder_of(backbone)
    with torch.device("meta"), torch.inference_mode():
        trunk = _timm_trunk(backbone).eval()
        config: dict[str, Any] = trunk.pretrained_cfg  # type: ignore[assignment]
        own_px = int(encoder.arguments["img_size"]) if encoder else int(config["input_size"][-1])
        side = tile_px or own_px
        try:
            n_features = pooled(trunk(torch.zeros(1, 3, side, side)), trunk).shape[1]
        except (RuntimeError, AssertionError, ValueError) as error:
            raise TrainingError(
                f"{backbone} cannot take tiles of {side} x {side} px ({_first_line(error)}). Set model.tile_px to the {own_px} it is made for."
            ) from error
    mean, sd = (encoder.mean, encoder.sd) if encoder else (config["mean"], config["std"])
    return Facts(n_features, tuple(mean), tuple(sd), own_px)


def pooled(features: torch.Tensor, trunk: nn.Module) -> torch.Tensor:
    """Features (n, f) as they are; of tokens (n, t, f) the class token and the mean of the patch tokens: (n, 2 f)."""
    if features.ndim == 2:
        return features
    special = int(getattr(trunk, "num_prefix_tokens", 1))  # class and register tokens
    return torch.cat([features[:, 0], features[:, special:].mean(dim=1)], dim=1)


def encoder_of(backbone: str) -> Encoder | None:
    """The facts about a pathology encoder, where ``backbone`` names one."""
    return ENCODERS.get(hub_id(backbone).partition("@")[0].lower())


def hub_id(backbone: str) -> str:
    """``timm/hf-hub:OWNER/NAME`` -> ``OWNER/NAME``; "" for other names."""
    name = backbone.removeprefix(TIMM)
    return name[len(HUB[0]) :] if name.startswith(HUB) else ""


def require_timm(backbone: str) -> ModuleType:
    """The module timm; raises TrainingError where it is not installed or has no model of this name."""
    try:
        import timm
    except ImportError as error:
        raise TrainingError(
            f"{backbone} is a model of timm, which is not installed. Install it with `pip install 'napari-deepspace[timm]'`, "
            f"or choose another model.backbone: {', '.join(BACKBONES)}."
        ) from error
    name = backbone.removeprefix(TIMM)
    if ":" not in name and not timm.is_model(timm.models.split_model_name_tag(name)[0]):
        near = difflib.get_close_matches(name, timm.list_models(), 3)
        raise TrainingError(
            f"timm {timm.__version__} has no model {name!r}. " + (f"Near it: {', '.join(near)}." if near else "See timm.list_models().")
        )
    return timm


def _timm_trunk(backbone: str) -> nn.Module:
    """timm's model without its classifier; one for tiles of a fixed size takes others too, where timm can interpolate its positions."""
    timm = require_timm(backbone)
    name, encoder = backbone.removeprefix(TIMM), encoder_of(backbone)
    try:
        if encoder:
            layers = {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": nn.SiLU} if encoder.swiglu else {}
            return timm.create_model(encoder.architecture, num_classes=0, **encoder.arguments, **layers)
        try:
            return timm.create_model(name, num_classes=0, dynamic_img_size=True)
        except TypeError:  # a model that knows no such argument: any size will do, or one alone
            return timm.create_model(name, num_classes=0)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise TrainingError(
            f"timm could not make {name} ({_first_line(error)}). A model of the hub needs its config.json in the hub's cache (HF_HOME), "
            "or a connection; of timm's own models `timm.list_models()` gives the names."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
