"""The one seam to albumentations, which is no longer developed: the paper's groups tile by tile, as its program has them, slow.

What its version 2 has no more is replaced by its equal: ``Flip`` by its three parts, the additive noise of imgaug by ``AdditiveNoise``, contrast and
brightness by ``RandomBrightnessContrast`` with the other limit 0. Borders of distortions are mirrored, not black.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from napari_deepspace.errors import SettingsError
from napari_deepspace.settings import AUGMENTATIONS


def albumentations_augment(tiles: np.ndarray, groups: Sequence[str], seed: int) -> np.ndarray:
    """uint8 ``tiles`` (n, s, s, 3) with ``groups`` of changes, one tile after another.

    Raises
    ------
    SettingsError
        albumentations is not installed.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it looks for its newest version on the network when it is imported
    try:
        import albumentations
    except ImportError as error:
        raise SettingsError(
            'model.augment_with: albumentations is not installed. Install it with: pip install "napari-deepspace[albumentations]", or take torch.'
        ) from error
    changes = [_group(albumentations, name, tiles.shape[1]) for name in AUGMENTATIONS if name in groups]
    whole = albumentations.Compose(changes, seed=seed)
    return np.stack([whole(image=tile)["image"] for tile in tiles])


def _group(a: Any, name: str, side: int) -> Any:
    border = cv2.BORDER_REFLECT_101
    if name == "flip":
        both = a.Sequential([a.HorizontalFlip(p=1), a.VerticalFlip(p=1)], p=1)
        flips = a.OneOf([a.VerticalFlip(p=1), a.HorizontalFlip(p=1), both], p=0.5)
        return a.Sequential([a.RandomRotate90(p=0.5), flips, a.Transpose(p=0.5)], p=1)
    if name == "crop":
        return a.RandomResizedCrop((side, side), scale=(0.5, 1), ratio=(3 / 4, 4 / 3), p=0.5)
    if name == "noise":
        alike = a.AdditiveNoise(noise_type="gaussian", spatial_mode="shared", noise_params={"mean_range": (0, 0), "std_range": (0.01, 0.05)}, p=1)
        return a.OneOf([alike, a.GaussNoise(std_range=(10**0.5 / 255, 50**0.5 / 255), p=1)], p=1)
    if name == "blur":
        return a.OneOf([a.MotionBlur(blur_limit=7, p=1), a.MedianBlur(blur_limit=7, p=1), a.Blur(blur_limit=7, p=1)], p=1)
    if name == "dist":
        return a.OneOf(
            [
                a.OpticalDistortion(distort_limit=0.05, border_mode=border, p=1),
                a.GridDistortion(num_steps=5, distort_limit=0.3, normalized=False, border_mode=border, p=1),
                a.PiecewiseAffine(scale=(0.03, 0.05), nb_rows=4, nb_cols=4, border_mode=border, p=1),
                a.ShiftScaleRotate(shift_limit=0.0625, scale_limit=0.1, rotate_limit=45, border_mode=border, p=1),
            ],
            p=1,
        )
    if name == "contrast":
        contrast = a.RandomBrightnessContrast(brightness_limit=0, contrast_limit=0.2, p=0.5)
        brightness = a.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0, p=0.5)
        return a.Sequential([contrast, a.RandomGamma(gamma_limit=(80, 120), p=0.5), brightness], p=1)
    if name == "color":
        hsv = a.HueSaturationValue(20, 30, 20, p=0.5)
        return a.Sequential([hsv, a.ChannelShuffle(p=0.5), a.RGBShift(20, 20, 20, p=0.5)], p=1)
    return a.OneOf([_group(a, one, side) for one in ("noise", "blur", "dist")], p=1)
