"""Quick's features from a backbone that does not train: what its last layer would see, computed once a tile."""

from __future__ import annotations

from collections.abc import Generator
from functools import lru_cache

import numpy as np
import torch

from napari_deepspace.events import Event, Progress
from napari_deepspace.learn.backbones import facts_of
from napari_deepspace.learn.networks import Network, choose_device, starting_network, to_input
from napari_deepspace.section import Section
from napari_deepspace.settings import NetworkSettings, QuickSettings
from napari_deepspace.tiles import iter_tiles, tile_radius_px

BATCH = 32
MOST_PX = 512  #: the widest tile that settings allow


def backbone_px(backbone: str) -> int:
    """Pixels a side of the tiles that a backbone was trained on; raises TrainingError where timm does not know it."""
    return min(MOST_PX, facts_of(backbone).own_px)


def backbone_features(
    section: Section, centres_yx: np.ndarray, tile_um: float, tile_px: int, quick: QuickSettings
) -> Generator[Event, None, np.ndarray]:
    """Frozen features at ``centres_yx`` (n, 2): float32 (n, 3 + n_features), not standardised; memory does not grow with the slide.

    The first three columns are the tile's mean R, G and B in 0..1; the others are what ``quick.features`` computes of the tile before its last
    layer, in evaluation mode, without augmentation.

    Raises
    ------
    TrainingError
        The backbone or its weights cannot be had.
    """
    network = _frozen(quick.features, quick.weights, tile_px)
    device, _ = choose_device("auto")
    network.to(device)
    width = network.head.in_features
    features = np.empty((len(centres_yx), 3 + width), dtype=np.float32)
    done = 0
    for index, tiles in iter_tiles(section.require_slide(), centres_yx, tile_radius_px(tile_um, section.mpp), tile_px, BATCH):
        with torch.inference_mode():
            frozen = network.features(to_input(torch.from_numpy(tiles).to(device), network))
        features[index, :3] = tiles.mean(axis=(1, 2)) / 255
        features[index, 3:] = frozen.float().cpu().numpy()
        done += len(tiles)
        yield Progress(f"looking at {section.library_id} with {quick.features}", done, len(centres_yx))
    return features


@lru_cache(maxsize=1)  # every section of a run asks for the same one
def _frozen(backbone: str, weights: str, tile_px: int) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a backbone from scratch (a control) is the same one again when its model predicts
        return starting_network(NetworkSettings(backbone=backbone, weights=weights, tile_px=tile_px), 1).eval()
