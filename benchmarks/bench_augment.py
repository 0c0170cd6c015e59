"""Cutting and changing tiles beside albumentations: tiles a second of processor time on one core, with the paper's default groups at 224 px."""

from __future__ import annotations

import time

import cv2
import numpy as np
import torch

from napari_deepspace.events import result_of
from napari_deepspace.learn.augment import augment
from napari_deepspace.learn.augment_reference import albumentations_augment
from napari_deepspace.learn.data import section_tiles
from napari_deepspace.settings import NetworkSettings

GROUPS = NetworkSettings().augment
OURS, THEIRS = 3000, 240


def spent(call) -> float:
    """Seconds of processor time, which other programs on the machine hardly change."""
    began = time.process_time()
    call()
    return time.process_time() - began


def test_tiles_a_second(phantom):
    """One core; albumentations on enough tiles that its piecewise affine, one in twelve, comes as often as it should."""
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        centres = phantom.centres_yx[:256]
        cutting = spent(lambda: result_of(section_tiles(phantom, centres, 137.5, 224))) / len(centres)
        tiles = result_of(section_tiles(phantom, centres, 137.5, 224))
        batch = torch.from_numpy(tiles[:32])
        augment(batch, GROUPS, 0)
        ours = spent(lambda: [augment(batch, GROUPS, seed) for seed in range(OURS // 32)]) / (OURS // 32 * 32)
        albumentations_augment(tiles[:2], GROUPS, 1)
        theirs = spent(lambda: albumentations_augment(np.resize(tiles, (THEIRS, *tiles.shape[1:])), GROUPS, 0)) / THEIRS
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])
    print(f"\n224 px, groups {', '.join(GROUPS)}, one core, processor time a tile:")
    print(f"    cutting {cutting * 1e3:.2f} ms; changes: ours {ours * 1e3:.2f} ms ({1 / ours:,.0f} tiles/s), albumentations {theirs * 1e3:.1f} ms")
    print(f"    changes alone {theirs / ours:.0f} x albumentations; cutting and changes together {1 / (cutting + ours):,.0f} tiles/s")
