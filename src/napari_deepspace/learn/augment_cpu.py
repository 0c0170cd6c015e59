"""Augmentation on the processor: cv2, tile by tile, in uint8; a tile pays only for the changes drawn for it.

Every function takes one tile uint8 (s, s, 3) and returns one. cv2 gives the same pixels with any number of its threads.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from napari_deepspace.learn.augment_draws import DISTORTIONS, Values
from napari_deepspace.learn.augment_tables import affine_matrix, contrast_table, distortion_map, hsv_table, normal_numbers
from napari_deepspace.learn.median import median7

CPU = torch.device("cpu")


def augment_on_cpu(tiles: np.ndarray, steps: dict[str, Values]) -> np.ndarray:
    """Tiles uint8 (n, s, s, 3) after the steps of ``draw``; the tiles given are left as they are."""
    changed = np.empty_like(tiles)
    for row, tile in enumerate(tiles):
        new = tile
        for step, values in steps.items():
            new = _CHANGES[step.removeprefix("random.")](new, values, row)
        changed[row] = new
    return changed


def _flip(tile: np.ndarray, values: Values, row: int) -> np.ndarray:
    symmetry = int(values["symmetry"][row])
    if symmetry & 4:
        tile = cv2.transpose(tile)
    if symmetry & 3:
        tile = cv2.flip(tile, (1, 0, -1)[(symmetry & 3) - 1])
    return tile


def _crop(tile: np.ndarray, values: Values, row: int) -> np.ndarray:
    y, x, height, width = values["box"][row].tolist()
    if height == width == len(tile):
        return tile
    return cv2.resize(tile[y : y + height, x : x + width], tile.shape[:2], interpolation=cv2.INTER_LINEAR)


def _noise(tile: np.ndarray, values: Values, row: int) -> np.ndarray:
    kind, start, side = values["kind"][row], int(values["start"][row]), len(tile)
    if kind < 0:
        return tile
    shape = (side, side) if kind == 0 else (side, side, 3)
    noise = normal_numbers()[start : start + int(np.prod(shape))].reshape(shape)
    return cv2.addWeighted(tile, 1, cv2.merge([noise] * 3) if kind == 0 else noise, float(values["sd"][row]), 0, dtype=cv2.CV_8U)


def _blur(tile: np.ndarray, values: Values, row: int) -> np.ndarray:
    kind, size = values["kind"][row], int(values["size"][row])
    if kind == 0:
        return cv2.filter2D(tile, -1, values["kernel"][row], borderType=cv2.BORDER_REFLECT_101)
    if kind == 1:
        return median7(tile) if size == 7 else cv2.medianBlur(tile, size)
    return cv2.blur(tile, (size, size), borderType=cv2.BORDER_REFLECT_101) if kind == 2 else tile


def _dist(tile: np.ndarray, values: Values, row: int) -> np.ndarray:
    kind, side = values["kind"][row], len(tile)
    if kind < 0:
        return tile
    if DISTORTIONS[kind] == "shift_scale_rotate":
        matrix = affine_matrix(values, np.array([row]), side)[0]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(tile, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    rows, columns = distortion_map(values, np.array([row]), side, CPU)[0].numpy()
    whole, part = cv2.convertMaps(columns, rows, cv2.CV_16SC2)  # in 1/32 px: faster than leaving it to remap
    return cv2.remap(tile, whole, part, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _contrast(tile: np.ndarray, values: Values, row: int) -> np.ndarray:
    factor, gamma, added = (values[name][row : row + 1] for name in ("factor", "gamma", "added"))
    if factor == 1 and gamma == 1 and added == 0:
        return tile
    return cv2.LUT(tile, contrast_table(factor, gamma, added)[0])


def _color(tile: np.ndarray, values: Values, row: int) -> np.ndarray:
    hsv, channels, rgb = values["hsv"][row], values["channels"][row], values["rgb"][row]
    if hsv.any():
        planes = cv2.split(cv2.cvtColor(tile, cv2.COLOR_RGB2HSV))  # three tables of one channel are faster than one of three
        tile = cv2.cvtColor(cv2.merge([cv2.LUT(*pair) for pair in zip(planes, hsv_table(hsv).T, strict=True)]), cv2.COLOR_HSV2RGB)
    if rgb.any() or channels[0] != 0 or channels[1] != 1:
        tile = cv2.transform(tile, np.column_stack([np.eye(3)[channels], rgb]))
    return tile


_CHANGES = {"flip": _flip, "crop": _crop, "noise": _noise, "blur": _blur, "dist": _dist, "contrast": _contrast, "color": _color}
