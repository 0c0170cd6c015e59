"""Changes of tiles while training, in batches: the paper's groups, in the order of :data:`~napari_deepspace.settings.AUGMENTATIONS`.

| group | content | apart from the program of the paper |
|---|---|---|
| flip | quarter turn p 0.5; vertical, horizontal or both p 0.5; transposed p 0.5 | |
| crop | 0.5 to 1 of the area, ratio 3/4 to 4/3, resized back, p 0.5 | |
| noise | one of: Gaussian, SD 2.55 to 12.75, channels alike; Gaussian, variance 10 to 50 | cut from a fixed field of 4 million numbers (CPU) |
| blur | one of: motion, median, box; 3, 5 or 7 pixels | motion is a line through the middle of the kernel |
| dist | one of: optical (0.05), grid (5 steps, 0.3), piecewise affine (0.03 to 0.05, 4 x 4), shift-scale-rotate (0.0625, 0.1, 45 degrees) | what |
| | | lies beyond the border is a mirror image, not black; no optical shift; piecewise bilinear between the 4 x 4 points, not on triangles |
| contrast | contrast (0.2), gamma (80 to 120), brightness (0.2), each p 0.5 | |
| color | hue, saturation, value (20, 30, 20), channels shuffled, channels shifted (20), each p 0.5 | |
| random | exactly one of noise, blur, dist | |

What is done to each tile is drawn first, on the CPU, from the seed alone (:func:`draw`). On a CPU OpenCV carries it out tile by tile on bytes, on
another device torch does it in batches; both do the same. Tests compare with albumentations (:mod:`~napari_deepspace.learn.augment_reference`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch

from napari_deepspace.learn.networks import each_view
from napari_deepspace.settings import AUGMENTATIONS, NetworkSettings

NOISES, BLURS, DISTORTIONS = ("noise alike", "noise"), ("motion", "median", "box"), ("optical", "grid", "piecewise", "affine")
GRID_STEPS, PIECES = 5, 4
Draws = dict[str, np.ndarray]


def augmented(tiles: torch.Tensor, settings: NetworkSettings, seed: int) -> torch.Tensor:
    """uint8 ``tiles`` (n, s, s, 3), or two views of each (n, 2, s, s, 3), changed as ``settings`` say; both views of a tile alike."""
    if not settings.augment:
        return tiles
    if settings.augment_with == "albumentations":
        from napari_deepspace.learn.augment_reference import albumentations_augment

        return each_view(lambda view: torch.from_numpy(albumentations_augment(view.cpu().numpy(), settings.augment, seed)).to(view.device), tiles)
    return each_view(lambda view: augment(view, settings.augment, seed), tiles)


def augment(tiles: torch.Tensor, groups: Sequence[str], seed: int) -> torch.Tensor:
    """uint8 ``tiles`` (n, s, s, 3) with ``groups`` of changes, on their device; the same seed gives the same tiles."""
    draws = draw(len(tiles), groups, seed, tiles.shape[1])
    if tiles.device.type == "cpu":
        from napari_deepspace.learn.augment_cpu import apply

        return torch.from_numpy(apply(tiles.numpy(), draws))
    from napari_deepspace.learn.augment_torch import apply as apply_on_device

    return apply_on_device(tiles, draws, seed)


def draw(n: int, groups: Sequence[str], seed: int, side: int) -> Draws:
    """What is done to each of ``n`` tiles of ``side`` px: arrays of n rows by name. A change that is not drawn for a tile is marked by NaN or -1.

    "mirror" bool, then "turn" 0..3 quarter turns; "box" (top, left, height, width) px; "contrast", "gamma", "brightness"; "hsv" (3), "order" (3),
    "shift" (3); and for each of the groups noise, blur and dist that is drawn, "GROUP" the number of its way and "GROUP values" its parameters.
    "random" adds one of these three once more, at the end, as "random" 0..2 and "random GROUP ...".
    """
    rng = np.random.default_rng((seed, 1))
    out: Draws = {}
    for group in AUGMENTATIONS:
        if group not in groups:
            continue
        if group == "random":
            out["random"] = rng.integers(3, size=n)
            for number, one in enumerate(("noise", "blur", "dist")):
                out |= {f"random {key}": values for key, values in _WAYS[one](rng, n, side).items()}
                out[f"random {one}"][out["random"] != number] = -1
        else:
            out |= _WAYS[group](rng, n, side)
    return out


def _often(rng: np.random.Generator, values: np.ndarray, absent: Any = np.nan) -> np.ndarray:
    """``values`` with half of its rows ``absent``."""
    off = rng.random(len(values)) < 0.5
    values[off] = absent
    return values


def _flip(rng: np.random.Generator, n: int, side: int) -> Draws:
    turn = np.where(rng.random(n) < 0.5, rng.integers(4, size=n), 0)
    flip = np.where(rng.random(n) < 0.5, rng.integers(1, 4, size=n), 0)
    transposed = (rng.random(n) < 0.5).astype(int)
    mirror, together = _symmetries()[turn, flip, transposed].T
    return {"turn": together, "mirror": mirror.astype(bool)}


@cache
def _symmetries() -> np.ndarray:
    """Quarter turns, then flipped (no, vertically, horizontally, both), then transposed, as one: (mirrored left to right, quarter turns after it)."""
    image = np.arange(9).reshape(3, 3)
    known = {np.rot90(image[:, ::-1] if mirror else image, turn).tobytes(): (mirror, turn) for mirror in (0, 1) for turn in range(4)}
    table = np.zeros((4, 4, 2, 2), dtype=int)
    for turn, flip, transposed in np.ndindex(4, 4, 2):
        turned = np.rot90(image, turn)
        turned = turned[:: -1 if flip in (1, 3) else 1, :: -1 if flip in (2, 3) else 1]
        table[turn, flip, transposed] = known[(turned.T if transposed else turned).tobytes()]
    return table


def _crop(rng: np.random.Generator, n: int, side: int) -> Draws:
    """As RandomResizedCrop: the first of ten tries that fits, else the whole."""
    area = side * side * rng.uniform(0.5, 1, (n, 10))
    ratio = np.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3), (n, 10)))
    width, height = np.rint(np.sqrt(area * ratio)).astype(int), np.rint(np.sqrt(area / ratio)).astype(int)
    fits = (width <= side) & (height <= side) & (width > 0) & (height > 0)
    first = fits.argmax(axis=1)
    rows = np.arange(n)
    width, height = (np.where(fits.any(axis=1), values[rows, first], side) for values in (width, height))
    top, left = rng.integers(side - height + 1), rng.integers(side - width + 1)
    return {"box": _often(rng, np.stack([top, left, height, width], axis=1), -1)}


def _noise(rng: np.random.Generator, n: int, side: int) -> Draws:
    way = rng.integers(2, size=n)
    sd = np.where(way == 0, rng.uniform(2.55, 12.75, n), np.sqrt(rng.uniform(10, 50, n)))
    return {"noise": way, "noise values": np.stack([sd, rng.random(n)], axis=1)}


def _blur(rng: np.random.Generator, n: int, side: int) -> Draws:
    return {"blur": rng.integers(3, size=n), "blur values": np.stack([rng.choice([3, 5, 7], n), rng.uniform(0, math.pi, n)], axis=1)}


def _dist(rng: np.random.Generator, n: int, side: int) -> Draws:
    """Parameters of one of four ways a row: optical k; grid 2 x 5 widths of cells; 2 x 16 shifts of points in px; shift x and y, scale, angle."""
    way = rng.integers(4, size=n)
    values = np.zeros((n, 2 * PIECES * PIECES))
    values[:, 0] = rng.uniform(-0.05, 0.05, n)
    grid = 1 + rng.uniform(-0.3, 0.3, (n, 2 * GRID_STEPS))
    points = rng.normal(size=(n, 2 * PIECES * PIECES)) * rng.uniform(0.03, 0.05, (n, 1)) * side
    affine = np.stack([*rng.uniform(-0.0625, 0.0625, (2, n)), rng.uniform(0.9, 1.1, n), rng.uniform(-45, 45, n)], axis=1)
    for number, drawn in ((1, grid), (2, points), (3, affine)):
        values[way == number, : drawn.shape[1]] = drawn[way == number]
    return {"dist": way, "dist values": values}


def _contrast(rng: np.random.Generator, n: int, side: int) -> Draws:
    return {
        "contrast": _often(rng, rng.uniform(0.8, 1.2, n)),
        "gamma": _often(rng, rng.uniform(0.8, 1.2, n)),
        "brightness": _often(rng, rng.uniform(-0.2, 0.2, n) * 255),
    }


def _color(rng: np.random.Generator, n: int, side: int) -> Draws:
    return {
        "hsv": _often(rng, rng.uniform(-1, 1, (n, 3)) * np.array([20, 30, 20])),
        "order": _often(rng, rng.permuted(np.tile(np.arange(3), (n, 1)), axis=1), -1),
        "shift": _often(rng, rng.uniform(-20, 20, (n, 3))),
    }


_WAYS = {"flip": _flip, "crop": _crop, "noise": _noise, "blur": _blur, "dist": _dist, "contrast": _contrast, "color": _color}


def sampling_map(way: int, values: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a distorted tile takes each pixel from: float32 x and y (side, side), px; both may lie beyond the tile."""
    values = values.astype(np.float32)
    x, y, lens_x, lens_y, between = _places(side)
    if DISTORTIONS[way] == "optical":  # the lens of OpenCV's camera model, focal length and centre those of the tile: r = r (1 + k r^2 + k r^4)
        return x + values[0] * lens_x, y + values[0] * lens_y
    if DISTORTIONS[way] == "grid":
        cell = side / GRID_STEPS
        ends = [np.concatenate([[0], np.cumsum(widths)]) * cell for widths in values[: 2 * GRID_STEPS].reshape(2, -1)]
        along = [np.interp(x[0], np.arange(GRID_STEPS + 1) * cell, places).astype(np.float32) for places in ends]
        return np.tile(along[0], (side, 1)), np.repeat(along[1], side).reshape(side, side)
    if DISTORTIONS[way] == "piecewise":
        points = values.reshape(2, PIECES, PIECES)
        return x + between @ points[0] @ between.T, y + between @ points[1] @ between.T
    (a, b, c), (d, e, f) = affine_matrix(values, side)
    return a * x + b * y + c, d * x + e * y + f


def affine_matrix(values: np.ndarray, side: int) -> np.ndarray:
    """Of shift x and y (shares of the side), scale and angle (degrees) about the middle: from the new tile to the old, float32 (2, 3), px."""
    dx, dy, scale, angle = map(float, values[:4])
    half, turn = (side - 1) / 2, math.radians(angle)
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    u, v = half + dx * side, half + dy * side
    return np.array([[cos, -sin, half - cos * u + sin * v], [sin, cos, half - sin * u - cos * v]], dtype=np.float32)


@cache
def _places(side: int) -> tuple[np.ndarray, ...]:
    """x and y of the pixels, what an optical distortion of 1 adds to them, all (side, side), and the weights of PIECES points along a side."""
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    u, v = (x - side / 2) / side, (y - side / 2) / side
    r2 = u * u + v * v
    at = np.arange(side) * ((PIECES - 1) / (side - 1))
    between = np.maximum(1 - np.abs(at[:, None] - np.arange(PIECES)), 0)
    return x, y, u * side * r2 * (1 + r2), v * side * r2 * (1 + r2), between.astype(np.float32)


@cache
def motion_kernel(size: int, angle_deg: int) -> np.ndarray:
    """A line of ``size`` px through the middle, its weights sum to 1: float32 (size, size)."""
    kernel, half = np.zeros((size, size), dtype=np.float32), size // 2
    dx, dy = half * math.cos(math.radians(angle_deg)), half * math.sin(math.radians(angle_deg))
    cv2.line(kernel, (round(half - dx), round(half - dy)), (round(half + dx), round(half + dy)), 1.0)
    return kernel / kernel.sum()
