"""The paper's groups in albumentations 2.0.8, tile by tile: slow, and no longer developed; the reference that tests compare with.

The one module that knows albumentations, which is an optional extra. Its transforms that are gone (`Flip`, the two `IAA*`, `RandomContrast`,
`RandomBrightness`) are put together from those that are left; mirrored borders are asked for where its own default is black.
"""

from __future__ import annotations

import math
import os
import random
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from napari_deepspace.errors import SettingsError
from napari_deepspace.settings import AUGMENTATIONS


def albumentations_augment(tiles: np.ndarray, groups: Sequence[str], seed: int) -> np.ndarray:
    """Tiles uint8 (n, s, s, 3) after ``groups`` by albumentations, in the order of AUGMENTATIONS; the same seed gives the same tiles.

    Raises
    ------
    SettingsError
        albumentations is not installed.
    """
    changes = _pipeline(tuple(group for group in AUGMENTATIONS if group in groups), tiles.shape[1])
    return apply_to_tiles(changes, tiles, seed)


def apply_to_tiles(changes: Any, tiles: np.ndarray, seed: int) -> np.ndarray:
    """Tiles uint8 (n, s, s, 3) one after another through a ``Compose``, its randomness seeded.

    All transforms draw from the same generators. Its own ``seed`` gives each transform a generator of its own with the same seed: two
    transforms of probability 0.5 then always come together.
    """
    changes.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return np.stack([changes(image=tile)["image"] for tile in tiles])


def import_albumentations() -> Any:
    """The module, kept from asking the network for its newest version. Raises SettingsError where it is not installed."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    try:
        import albumentations
    except ImportError as error:
        raise SettingsError(
            'albumentations is not installed. Install it (pip install "napari-deepspace[albumentations]"), or set model.augment_with to torch.'
        ) from error
    return albumentations


@lru_cache(maxsize=8)
def _pipeline(groups: tuple[str, ...], side: int) -> Any:
    return import_albumentations().Compose([step for group in groups for step in group_steps(group, side)])


def group_steps(group: str, side: int) -> list[Any]:
    """The transforms of one group, to be applied one after another; side is the tiles', in px."""
    albumentations: Any = import_albumentations()
    if group in ("noise", "blur", "dist"):
        return [albumentations.OneOf(one_of(group), p=1)]
    if group == "random":
        return [albumentations.OneOf([albumentations.OneOf(one_of(each), p=1) for each in ("noise", "blur", "dist")], p=1)]
    if group == "flip":
        down, mirrored = albumentations.VerticalFlip(p=1), albumentations.HorizontalFlip(p=1)
        flips = albumentations.OneOf([down, mirrored, albumentations.Sequential([down, mirrored], p=1)], p=0.5)
        return [albumentations.RandomRotate90(p=0.5), flips, albumentations.Transpose(p=0.5)]
    if group == "crop":
        return [albumentations.RandomResizedCrop(size=(side, side), scale=(0.5, 1.0), ratio=(3 / 4, 4 / 3), p=0.5)]
    if group == "contrast":
        return [
            albumentations.RandomBrightnessContrast(brightness_limit=0, contrast_limit=0.2, p=0.5),
            albumentations.RandomGamma(gamma_limit=(80, 120), p=0.5),
            albumentations.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0, p=0.5),
        ]
    return [
        albumentations.HueSaturationValue(hue_shift_limit=20, sat_shift_limit=30, val_shift_limit=20, p=0.5),
        albumentations.ChannelShuffle(p=0.5),
        albumentations.RGBShift(r_shift_limit=20, g_shift_limit=20, b_shift_limit=20, p=0.5),
    ]


def one_of(group: str) -> list[Any]:
    """The transforms that noise, blur or dist chooses one of."""
    albumentations: Any = import_albumentations()
    mirrored = {"border_mode": cv2.BORDER_REFLECT_101, "p": 1}
    if group == "noise":
        shared = {"mean_range": (0.0, 0.0), "std_range": (0.01, 0.05)}
        return [
            albumentations.AdditiveNoise(noise_type="gaussian", spatial_mode="shared", noise_params=shared, p=1),
            albumentations.GaussNoise(std_range=(math.sqrt(10) / 255, math.sqrt(50) / 255), p=1),
        ]
    if group == "blur":
        return [kind(blur_limit=(3, 7), p=1) for kind in (albumentations.MotionBlur, albumentations.MedianBlur, albumentations.Blur)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that its piecewise affine is slow
        piecewise = albumentations.PiecewiseAffine(scale=(0.03, 0.05), nb_rows=4, nb_cols=4, **mirrored)
    shift = {"x": (-0.0625, 0.0625), "y": (-0.0625, 0.0625)}
    return [
        albumentations.OpticalDistortion(distort_limit=0.05, **mirrored),
        albumentations.GridDistortion(num_steps=5, distort_limit=0.3, **mirrored),
        piecewise,
        albumentations.Affine(scale=(0.9, 1.1), keep_ratio=True, translate_percent=shift, rotate=(-45, 45), **mirrored),
    ]
