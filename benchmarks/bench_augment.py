"""Tiles a second that one core augments with the paper's groups: ours against albumentations 2.0.8. `make bench ARGS="-k augment"`.

The paper's program is albumentations, tile by tile, with flip, crop, color, random. Its piecewise affine takes most of the time but comes to one
tile in twelve: so each of its transforms is timed apart, on as many tiles as take some tenths of a second, and counted with its probability.
Times are those of the processor (CPU seconds of this process, one thread), so that what else the computer does does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from napari_deepspace.learn.augment import augment
from napari_deepspace.learn.augment_reference import apply_to_tiles, group_steps, import_albumentations, one_of
from napari_deepspace.settings import AUGMENTATIONS, NetworkSettings
from napari_deepspace.tiles import cut_tiles, tile_radius_px

PAPER = NetworkSettings().augment
BATCH, SIDE = NetworkSettings().batch_size, NetworkSettings().tile_px


@pytest.fixture
def one_core():
    """torch and cv2 on one thread."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def cpu_ms(call: Callable[[int], object], least: float = 0.4) -> float:
    """CPU milliseconds of ``call(0)``, ``call(1)``, ... on average, over at least ``least`` seconds, after one call that does not count."""
    call(0)
    done, began = 0, time.process_time()
    while time.process_time() - began < least:
        call(done)
        done += 1
    return (time.process_time() - began) / done * 1000


def ours_ms(tiles: torch.Tensor, groups: tuple[str, ...]) -> float:
    batches = tiles.split(BATCH)
    return cpu_ms(lambda call: augment(batches[call % len(batches)], groups, call), least=1.0) / BATCH


def albumentations_ms(tiles: np.ndarray, transforms: list) -> float:
    changes = import_albumentations().Compose(transforms)
    return cpu_ms(lambda call: apply_to_tiles(changes, tiles[8 * call % len(tiles) :][:8], call)) / 8


def test_augmentation_of_one_core(phantom, one_core):
    """The tile and augmentation path alone."""
    section = phantom
    some = section.centres_yx[np.linspace(0, section.adata.n_obs - 1, 16 * BATCH).astype(int)]
    slide, radius = section.require_slide(), tile_radius_px(137.5, section.mpp)
    cut_tiles(slide, some, radius, SIDE)  # the slide's tiles are decoded once
    began = time.process_time()
    tiles = cut_tiles(slide, some, radius, SIDE)
    cutting = (time.process_time() - began) / len(tiles) * 1000
    batches = torch.from_numpy(tiles)

    print(f"\n{SIDE} px tiles, CPU ms a tile\n{'group':<12}{'ours':>8}{'albumentations':>16}")
    members = {group: [albumentations_ms(tiles, [each]) for each in one_of(group)] for group in ("noise", "blur", "dist")}
    theirs = {group: float(np.mean(times)) for group, times in members.items()}
    theirs["random"] = float(np.mean([theirs[group] for group in members]))
    for group in AUGMENTATIONS:
        if group not in theirs:
            theirs[group] = albumentations_ms(tiles, group_steps(group, SIDE))
        print(f"{group:<12}{ours_ms(batches, (group,)):8.3f}{theirs[group]:16.3f}")
    print(f"(members of dist in albumentations: {', '.join(f'{ms:.2f}' for ms in members['dist'])} ms)")

    fast, slow = ours_ms(batches, PAPER), sum(theirs[group] for group in PAPER)
    for name, extra in (("augmentation", 0.0), ("cutting + augmentation", cutting)):
        print(
            f"{name:<24} ours {1000 / (fast + extra):7.0f} tiles/s, albumentations {1000 / (slow + extra):6.1f} tiles/s, "
            f"ratio {(slow + extra) / (fast + extra):.0f} (goal: at least 100)"
        )
    print(f"cutting from a slide in memory: {cutting:.3f} ms a tile, once a run: tiles stay in memory over the epochs")
