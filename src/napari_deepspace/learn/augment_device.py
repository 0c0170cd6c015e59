"""Augmentation on any device that torch knows: each change at once for all tiles that it was drawn for.

Every function takes tiles uint8 (n, s, s, 3), changes them in place and gets the parameters of all n from ``draw``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from napari_deepspace.learn.augment_draws import BLUR_SIZES, BLURS, DISTORTIONS, Values
from napari_deepspace.learn.augment_tables import contrast_table, crop_map, distortion_map, hsv_table, normal_numbers

AT_ONCE = 64  #: tiles, for the sake of memory


def augment_on_device(tiles: torch.Tensor, steps: dict[str, Values]) -> torch.Tensor:
    """Tiles uint8 (n, s, s, 3) after the steps of ``draw``, on their device; the tiles given are left as they are."""
    changed = tiles.clone(memory_format=torch.contiguous_format)
    for step, values in steps.items():
        _CHANGES[step.removeprefix("random.")](changed, values)
    return changed


def _change(tiles: torch.Tensor, which: np.ndarray | np.bool, how: Callable[..., torch.Tensor], *parameters: np.ndarray, **options: int) -> None:
    """Put ``how(those tiles, their rows of each of the parameters, **options)`` in place of the tiles where bool (n,) ``which`` holds."""
    rows = np.flatnonzero(which)
    for some in np.array_split(rows, -(-len(rows) // AT_ONCE)) if len(rows) else ():
        index = torch.from_numpy(some).to(tiles.device)
        tiles[index] = how(tiles[index], *(each[some] for each in parameters), **options)


def _flip(tiles: torch.Tensor, values: Values) -> None:
    for symmetry in range(1, 8):
        _change(tiles, np.equal(values["symmetry"], symmetry), _turned, symmetry=symmetry)


def _turned(tiles: torch.Tensor, symmetry: int) -> torch.Tensor:
    axes = [axis for axis, bit in ((1, 2), (2, 1)) if symmetry & bit]
    return (tiles.transpose(1, 2) if symmetry & 4 else tiles).flip(axes)


def _crop(tiles: torch.Tensor, values: Values) -> None:
    cropped = (values["box"][:, 2:] < tiles.shape[1]).any(axis=1)
    _change(tiles, cropped, lambda t, boxes: _sample(t, crop_map(boxes, t.shape[1], t.device)), values["box"])


def _noise(tiles: torch.Tensor, values: Values) -> None:
    for kind, channels in enumerate((1, 3)):
        _change(tiles, np.equal(values["kind"], kind), _noisy, values["start"], values["sd"], channels=channels)


def _noisy(tiles: torch.Tensor, start: np.ndarray, sd: np.ndarray, channels: int) -> torch.Tensor:
    m, side = tiles.shape[:2]
    begin, strength = (torch.from_numpy(array).to(tiles.device)[:, None] for array in (start, sd))
    noise = _normal_numbers(tiles.device)[begin + torch.arange(side * side * channels, device=tiles.device)] * strength
    return _to_uint8(tiles + noise.view(m, side, side, channels))


def _blur(tiles: torch.Tensor, values: Values) -> None:
    motion, median, box = (np.equal(values["kind"], kind) for kind in range(len(BLURS)))
    _change(tiles, motion, _motion, values["kernel"])
    for size in BLUR_SIZES:
        _change(tiles, median & (values["size"] == size), _median, size=size)
        _change(tiles, box & (values["size"] == size), _box, size=size)


def _dist(tiles: torch.Tensor, values: Values) -> None:
    side = tiles.shape[1]
    for kind in range(len(DISTORTIONS)):
        rows = np.arange(len(tiles))
        _change(tiles, np.equal(values["kind"], kind), lambda t, some: _sample(t, distortion_map(values, some, side, t.device)), rows)


def _contrast(tiles: torch.Tensor, values: Values) -> None:
    factor, gamma, added = (values[name] for name in ("factor", "gamma", "added"))
    _change(tiles, (factor != 1) | (gamma != 1) | (added != 0), _other_contrast, factor, gamma, added)


def _other_contrast(tiles: torch.Tensor, factor: np.ndarray, gamma: np.ndarray, added: np.ndarray) -> torch.Tensor:
    table = torch.from_numpy(contrast_table(factor, gamma, added)).to(tiles.device)
    return table.gather(1, tiles.flatten(1).long()).view_as(tiles)


def _color(tiles: torch.Tensor, values: Values) -> None:
    hsv, channels, rgb = (values[name] for name in ("hsv", "channels", "rgb"))
    _change(tiles, hsv.any(axis=1), _other_hsv, hsv)
    _change(tiles, rgb.any(axis=1) | (channels != np.arange(3)).any(axis=1), _other_rgb, channels, rgb)


def _other_hsv(tiles: torch.Tensor, added: np.ndarray) -> torch.Tensor:
    table = torch.from_numpy(np.stack([hsv_table(each) for each in added])).to(tiles.device)
    return _hsv_to_rgb(table.gather(1, _rgb_to_hsv(tiles.float()).flatten(1, 2).long()).view_as(tiles))


def _other_rgb(tiles: torch.Tensor, channels: np.ndarray, added: np.ndarray) -> torch.Tensor:
    order, shift = (torch.from_numpy(array).to(tiles.device)[:, None, None] for array in (channels, added))
    return _to_uint8(tiles.gather(3, order.expand_as(tiles)) + shift.float())


_CHANGES = {"flip": _flip, "crop": _crop, "noise": _noise, "blur": _blur, "dist": _dist, "contrast": _contrast, "color": _color}


@lru_cache(maxsize=4)
def _normal_numbers(device: torch.device) -> torch.Tensor:
    return torch.from_numpy(normal_numbers()).to(device)


def _to_uint8(values: torch.Tensor) -> torch.Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


def _planes(tiles: torch.Tensor, border: int = 0, mode: str = "reflect") -> torch.Tensor:
    """uint8 (m, s, s, 3) to float (m, 3, s, s), with a border of ``border`` px."""
    planes = tiles.permute(0, 3, 1, 2).float()
    return F.pad(planes, [border] * 4, mode=mode) if border else planes


def _tiles(planes: torch.Tensor) -> torch.Tensor:
    return _to_uint8(planes).permute(0, 2, 3, 1)


def _sample(tiles: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Bilinear values at ``positions`` (m, 2, s, s), (row, column) in px, mirrored about the outermost pixels."""
    grid = positions.flip(1).permute(0, 2, 3, 1) * (2 / (tiles.shape[1] - 1)) - 1
    return _tiles(F.grid_sample(_planes(tiles), grid, mode="bilinear", padding_mode="reflection", align_corners=True))


def _motion(tiles: torch.Tensor, kernels: np.ndarray) -> torch.Tensor:
    """Each tile with its own kernel (m, 7, 7): one grouped convolution."""
    padded = _planes(tiles, 3)
    m, _, height, width = padded.shape
    weights = torch.from_numpy(kernels).to(tiles.device)[:, None].expand(m, 3, 7, 7).reshape(3 * m, 1, 7, 7)
    return _tiles(F.conv2d(padded.reshape(1, 3 * m, height, width), weights, groups=3 * m).view(m, 3, height - 6, width - 6))


def _box(tiles: torch.Tensor, size: int) -> torch.Tensor:
    return _tiles(F.avg_pool2d(_planes(tiles, size // 2), size, stride=1))


def _median(tiles: torch.Tensor, size: int) -> torch.Tensor:
    """The median found bit by bit: the largest grey level that at most half of the neighbours lie below. Outside, the border goes on."""
    windows = _planes(tiles, size // 2, "replicate").to(torch.uint8).unfold(2, size, 1).unfold(3, size, 1)
    median = torch.zeros_like(windows[..., 0, 0])
    for bit in range(7, -1, -1):
        trial = median + (1 << bit)
        below = (windows < trial[..., None, None]).sum(dim=(-2, -1))
        median = torch.where(below <= size * size // 2, trial, median)
    return median.permute(0, 2, 3, 1)


def _rgb_to_hsv(rgb: torch.Tensor) -> torch.Tensor:
    """Float RGB 0..255 (..., 3) to hue of 180, saturation and value of 255, in whole numbers as cv2's for 8 bits."""
    r, g, b = rgb.unbind(-1)
    value = rgb.amax(-1)
    range_ = value - rgb.amin(-1)
    hue = torch.where(value == r, g - b, torch.where(value == g, b - r + 2 * range_, r - g + 4 * range_))
    hue = (30 * hue / range_.clamp(min=1)).round() % 180
    return torch.stack([hue, (255 * range_ / value.clamp(min=1)).round(), value], dim=-1)


def _hsv_to_rgb(hsv: torch.Tensor) -> torch.Tensor:
    """The way back; channel c is v (1 - s max(0, min(k, 4 - k, 1))) with k = (n_c + hue / 30) mod 6, n = 5, 3, 1."""
    hue, saturation, value = hsv.float().unbind(-1)
    k = (torch.tensor([5.0, 3.0, 1.0], device=hsv.device) + hue[..., None] / 30) % 6
    part = torch.minimum(k, 4 - k).clamp(0, 1)
    return _to_uint8(value[..., None] * (1 - saturation[..., None] / 255 * part))
