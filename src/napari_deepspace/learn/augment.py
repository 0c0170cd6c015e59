"""Changes of tiles while training."""

from __future__ import annotations

import torch

from napari_deepspace.learn.networks import augment
from napari_deepspace.settings import NetworkSettings


def augmented(tiles: torch.Tensor, settings: NetworkSettings, seed: int) -> torch.Tensor:
    """uint8 ``tiles`` (n, s, s, 3) changed as ``settings`` say."""
    return augment(tiles, torch.Generator().manual_seed(seed)) if settings.augment else tiles
