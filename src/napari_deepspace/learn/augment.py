"""Changes of tiles while training: the paper's eight groups, in batches, each tile paying only for what was drawn for it.

``augment_draws.py`` draws, ``augment_cpu.py`` changes tiles with cv2, ``augment_device.py`` with torch on any other device; both get the same
draws and agree to a grey level or two at nearly all pixels. ``augment_reference.py`` is albumentations 2.0.8, tile by tile.

What the groups hold and how strong each change is, is in ``augment_draws.py``. What differs from the original program (albumentations and
imgaug of 2021) and from albumentations 2.0.8:

=================== ================================= ================================= =====================================================
change              original                          albumentations 2.0.8              here
=================== ================================= ================================= =====================================================
borders             mirrored; black for the           black unless asked; the           mirrored (BORDER_REFLECT_101) everywhere; the median
                    piecewise affine                  reference asks for mirrored       goes on with the border pixel, as cv2's in all three
GaussNoise          variance 10 to 50, uniform        SD uniform between the roots      as the original
noise               drawn for every pixel             drawn for every pixel             2^21 fixed normal numbers, from a random one on
motion blur         between two random px of the      random angle, length and place    as albumentations 2.0.8, angle in all directions
                    kernel
optical             shift of 0.05 px, which its       no shift but the half px          no shift: the middle stays in place
                    rounding makes 0; half a px off
                    since its middle is not the
                    tile's
grid                not normalised: the last 2 % of   normalised: corners stay          as albumentations 2.0.8
                    the tile are smeared
piecewise affine    triangles between 4 x 4 points,   no piecewise affine: weighted     as the original (each cell split along the same
                    SD 0.03 to 0.05 of the side       means of the moved points, which  diagonal; the original's depends on rounding)
                                                      folds the tile; SD a third of it
shift-scale-rotate  one scale for both axes           a scale an axis; the reference    as the original; a shift is no whole number of px
                                                      asks for one
contrast, gamma,    fractions cut off, three times    fractions cut off, three times    one table, rounded once
brightness
hue, saturation,    grey gets a hue                   grey stays grey                   grey stays grey; the numbers added are whole
value
=================== ================================= ================================= =====================================================
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from napari_deepspace.learn.augment_cpu import augment_on_cpu
from napari_deepspace.learn.augment_device import augment_on_device
from napari_deepspace.learn.augment_draws import draw
from napari_deepspace.learn.augment_reference import albumentations_augment
from napari_deepspace.settings import NetworkSettings


def augmented(tiles: torch.Tensor, settings: NetworkSettings, seed: int) -> torch.Tensor:
    """Tiles uint8 (n, s, s, 3) changed as ``settings.augment`` and ``settings.augment_with`` say, on their device.

    Of tiles (n, views, s, s, 3) all views undergo the same.

    Raises
    ------
    SettingsError
        albumentations was asked for and is not installed.
    """
    if not settings.augment:
        return tiles
    if tiles.ndim == 5:
        return torch.stack([augmented(view, settings, seed) for view in tiles.unbind(1)], dim=1)
    if settings.augment_with == "albumentations":
        return torch.from_numpy(albumentations_augment(tiles.cpu().numpy(), settings.augment, seed)).to(tiles.device)
    return augment(tiles, settings.augment, seed)


def augment(tiles: torch.Tensor, groups: Sequence[str], seed: int) -> torch.Tensor:
    """Tiles uint8 (n, s, s, 3) after ``groups``, applied in the order of AUGMENTATIONS whatever the order given, on the tiles' device.

    The same arguments give the same tiles; on the CPU bit by bit, with any number of threads. s is at most 512 px.

    Raises
    ------
    ValueError
        A group is unknown.
    """
    steps = draw(len(tiles), groups, seed, tiles.shape[1])
    if tiles.device.type == "cpu":
        return torch.from_numpy(augment_on_cpu(tiles.contiguous().numpy(), steps))
    return augment_on_device(tiles, steps)
