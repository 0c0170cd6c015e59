"""What the steps of augmentation need beside the pixels, the same for cv2 and for torch: noise, tables of grey levels, maps of positions."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
import torch

from napari_deepspace.learn.augment_draws import DISTORTIONS, GRID_CELLS, NOISE_TABLE, PIECEWISE_POINTS, Values


@lru_cache(maxsize=1)
def normal_numbers() -> np.ndarray:
    """Normal numbers, float32 (NOISE_TABLE,): always the same; a tile's noise begins at a random one of them."""
    return np.random.default_rng(0).standard_normal(NOISE_TABLE, dtype=np.float32)


def contrast_table(factor: np.ndarray, gamma: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Grey level after contrast, gamma and brightness: uint8 (n, 256) for arguments (n,)."""
    grey = np.clip(np.arange(256) * factor[:, None], 0, 255)
    return np.clip(np.rint((grey / 255) ** gamma[:, None] * 255 + added[:, None]), 0, 255).astype(np.uint8)


def hsv_table(added: np.ndarray) -> np.ndarray:
    """Hue (of 180), saturation and value after ``added`` (3,): uint8 (256, 3). Hue goes round; grey stays grey."""
    table = np.arange(256)[:, None] + added
    table[:, 0] %= 180
    table[0, 1] = 0
    return np.clip(table, 0, 255).astype(np.uint8)


def crop_map(boxes: np.ndarray, side: int, device: torch.device) -> torch.Tensor:
    """Where in the tile the pixels of the crop resized to the tile come from: float32 (m, 2, side, side), (row, column) in px."""
    box = torch.from_numpy(boxes).to(device, torch.float32)
    start, size = box[:, :2, None], box[:, 2:, None]
    at = start + ((torch.arange(side, device=device) + 0.5) * size / side - 0.5).clamp(min=0).minimum(size - 1)
    return _outer(at[:, 0], at[:, 1])


def distortion_map(values: Values, rows: np.ndarray, side: int, device: torch.device) -> torch.Tensor:
    """Where the pixels of the distorted tiles ``rows``, all of one kind, come from: float32 (m, 2, side, side), (row, column) in px."""
    return _MAPS[values["kind"][rows[0]]]({name: array[rows] for name, array in values.items()}, side, device)


def _outer(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Row positions (m, s) and column positions (m, s) to positions of all pixels (m, 2, s, s)."""
    positions = torch.empty((len(rows), 2, rows.shape[1], columns.shape[1]), device=rows.device)
    positions[:, 0], positions[:, 1] = rows[:, :, None], columns[:, None, :]
    return positions


def _optical(values: Values, side: int, device: torch.device) -> torch.Tensor:
    """Radial distortion with k1 = k2 = k and a focal length of one side (the pinhole camera of OpenCV)."""
    straight, bent = _optical_parts(side, device)
    return torch.addcmul(straight, torch.from_numpy(values["k"]).to(device, torch.float32)[:, None, None, None], bent)


@lru_cache(maxsize=8)
def _optical_parts(side: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions where k is 0, and how much they change with k: each (1, 2, side, side)."""
    from_middle = torch.arange(side, device=device, dtype=torch.float32) - (side - 1) / 2
    at = _outer(from_middle[None], from_middle[None])
    square = (at**2).sum(dim=1, keepdim=True) / side**2
    return at + (side - 1) / 2, at * (square + square**2)


def _grid(values: Values, side: int, device: torch.device) -> torch.Tensor:
    """Rows and columns stretched cell by cell, together as long as before."""
    cell = side // GRID_CELLS
    widths = np.array([cell] * GRID_CELLS + [side - GRID_CELLS * cell])
    ends = np.cumsum(widths) * (side - 1) / side
    reached = np.cumsum(values["steps"] * widths, axis=-1)
    reached *= (side - 1) / reached[..., -1:]
    at = [[np.interp(np.arange(side), [0, *ends], [0, *axis]) for axis in axes] for axes in reached]
    both = torch.from_numpy(np.array(at, dtype=np.float32)).to(device)
    return _outer(both[:, 0], both[:, 1])


def _piecewise(values: Values, side: int, device: torch.device) -> torch.Tensor:
    """A regular grid of points is moved, the triangles between them follow.

    With u, v the place in a cell (columns, rows; 0..1) and its corners p00, p01, p10, p11, the cell split along u = v, the position is
    p00 + u (p01 - p00) + v (p10 - p00) + min(u, v) (p11 - p10 - p01 + p00).
    """
    last = PIECEWISE_POINTS - 1
    regular = torch.linspace(0, side - 1, PIECEWISE_POINTS, device=device)
    jitter = torch.from_numpy(values["jitter"]).to(device, torch.float32)
    points = (torch.stack(torch.meshgrid(regular, regular, indexing="ij")) + jitter * side).clamp(0, side - 1)
    cell, within, least = _cells(side, device)
    p00, p01, p10, p11 = (points[..., i : last + i, j : last + j][..., cell] for i in (0, 1) for j in (0, 1))  # (m, 2, 3, side)
    start, down, twist = p00 + within * (p01 - p00), p10 - p00, p11 - p10 - p01 + p00
    positions = torch.empty((len(jitter), 2, side, side), device=device)
    for i, rows in enumerate(_slices(side)):
        part = torch.addcmul(start[:, :, i, None], down[:, :, i, None], within[rows, None], out=positions[:, :, rows])
        part.addcmul_(twist[:, :, i, None], least[rows])
    return positions


def _cell_of(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The cell of the grid of points that each px lies in, and its place there (0..1)."""
    at = np.arange(side) * (PIECEWISE_POINTS - 1) / max(1, side - 1)
    cell = np.minimum(at.astype(int), PIECEWISE_POINTS - 2)
    return cell, at - cell


def _slices(side: int) -> list[slice]:
    ends = np.searchsorted(_cell_of(side)[0], np.arange(PIECEWISE_POINTS)).tolist()
    return [slice(begin, end) for begin, end in itertools.pairwise(ends)]


@lru_cache(maxsize=8)
def _cells(side: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cell and place of each px (side,), and the lesser of its places along rows and columns (side, side)."""
    cell, within = (torch.from_numpy(array).to(device) for array in _cell_of(side))
    within = within.float()
    return cell, within, torch.minimum(within[:, None], within)


def affine_matrix(values: Values, rows: np.ndarray, side: int) -> np.ndarray:
    """Where a px (x, y, 1) comes from as (x, y): float64 (m, 2, 3), the inverse of a turn and a scaling about the middle, then a shift."""
    angle, scale = np.deg2rad(values["degrees"][rows]), values["scale"][rows]
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    linear = np.stack([np.stack([c, -s], axis=-1), np.stack([s, c], axis=-1)], axis=1)
    middle = (side - 1) / 2
    return np.concatenate([linear, middle - linear @ (middle + values["shift"][rows][:, ::-1, None] * side)], axis=2)


def _shift_scale_rotate(values: Values, side: int, device: torch.device) -> torch.Tensor:
    matrix = torch.from_numpy(affine_matrix(values, np.arange(len(values["scale"])), side)).to(device, torch.float32).flip(1)[..., None]
    at = torch.arange(side, device=device)
    return (matrix[:, :, 1] * at + matrix[:, :, 2])[..., None] + (matrix[:, :, 0] * at)[:, :, None]


_MAPS = dict(enumerate((_optical, _grid, _piecewise, _shift_scale_rotate)))
assert len(_MAPS) == len(DISTORTIONS)
