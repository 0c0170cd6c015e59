"""A slide as it lies on another, computed piece by piece as it is looked at: what a thin plate needs, which no layer's affine can show."""

from __future__ import annotations

import cv2
import numpy as np

from napari_deepspace.align.transform import Transform
from napari_deepspace.slide import Level, Slide

CHUNK_PX = 512
_MESH_PX = 32  #: the transform is computed at every so many px, and in a straight line between
_SMALLEST_PX = 512


def warped_slide(moving: Slide, moving_mpp: float, transform: Transform, fixed_shape: tuple[int, int], fixed_mpp: float) -> Slide:
    """The ``moving`` slide on the area of the fixed one, ``fixed_shape`` full-resolution px of ``fixed_mpp`` um: a pyramid of its own, white outside.

    Its pixels are as large as the finer of both slides has them (``mpp`` says how large). Nothing is read before it is asked for, and then only what
    lies beneath a chunk. ``moving`` must stay open.
    """
    mpp = min(moving_mpp * transform.scale, fixed_mpp)
    shape = tuple(max(1, round(size * fixed_mpp / mpp)) for size in fixed_shape)
    levels: list[Level] = []
    while True:
        levels.append(
            _level(moving, moving_mpp, transform, mpp, 2 ** len(levels), (-(-shape[0] // 2 ** len(levels)), -(-shape[1] // 2 ** len(levels))))
        )
        if max(levels[-1].shape[:2]) <= _SMALLEST_PX:
            return Slide(moving.path, levels, mpp, [])


def warped_region(
    moving: Slide, moving_mpp: float, transform: Transform, top_left_um: tuple[float, float], um: float, shape: tuple[int, int]
) -> np.ndarray:
    """The ``moving`` slide on a grid of the fixed one, uint8 (h, w, 3): ``shape`` px of ``um``, the first centred at ``top_left_um``; else white."""
    height, width = shape
    rows, columns = (np.linspace(0, n - 1, max(2, -(-n // _MESH_PX) + 1)) for n in shape)
    mesh = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    there = transform.inverse_points(mesh.reshape(-1, 2) * um + top_left_um) / moving_mpp
    number = _level_for(moving, um / (moving_mpp * transform.scale))
    level = moving.levels[number]
    step = np.array([moving.shape[axis] / level.shape[axis] for axis in (0, 1)])
    at = ((there + 0.5) / step - 0.5).reshape(mesh.shape)
    low = np.clip(np.floor(at.min(axis=(0, 1))).astype(int) - 2, 0, level.shape[:2])
    high = np.clip(np.ceil(at.max(axis=(0, 1))).astype(int) + 3, 0, level.shape[:2])
    out = np.full((height, width, 3), 255, dtype=np.uint8)
    if (high <= low).any():
        return out
    source = level.region(low[0], low[1], high[0], high[1])
    # between the points of the mesh: opencv's resize has no way to keep the corners in place, remap has
    down, across = np.meshgrid(
        np.linspace(0, len(rows) - 1, height, dtype=np.float32), np.linspace(0, len(columns) - 1, width, dtype=np.float32), indexing="ij"
    )
    maps = [cv2.remap((at[..., axis] - low[axis]).astype(np.float32), across, down, cv2.INTER_LINEAR) for axis in (0, 1)]
    return np.asarray(cv2.remap(source, maps[1], maps[0], cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_CONSTANT, borderValue=(255, 255, 255)))


def _level(moving: Slide, moving_mpp: float, transform: Transform, mpp: float, factor: int, shape: tuple[int, int]) -> Level:
    def read_chunk(i: int, j: int) -> np.ndarray:
        top_left = tuple(((at * CHUNK_PX + 0.5) * factor - 0.5) * mpp for at in (i, j))
        size = tuple(min(CHUNK_PX, total - at * CHUNK_PX) for at, total in zip((i, j), shape, strict=True))
        return warped_region(moving, moving_mpp, transform, (top_left[0], top_left[1]), mpp * factor, (size[0], size[1]))

    return Level(shape, (CHUNK_PX, CHUNK_PX), read_chunk)


def _level_for(slide: Slide, factor: float) -> int:
    """The coarsest level that is not coarser than one of ``factor``."""
    steps = [slide.shape[0] / level.shape[0] for level in slide.levels]
    return max(number for number, step in enumerate(steps) if number == 0 or step <= factor * 1.1)
