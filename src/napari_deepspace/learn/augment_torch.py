"""What :mod:`~napari_deepspace.learn.augment` has drawn, carried out by torch in batches, on any device."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from napari_deepspace.learn.augment import BLURS, Draws, motion_kernel, sampling_map


def apply(tiles: torch.Tensor, draws: Draws, seed: int) -> torch.Tensor:
    """uint8 ``tiles`` (n, s, s, 3) changed as drawn; ``seed`` is that of the noise."""
    images = tiles.permute(0, 3, 1, 2)
    if "turn" in draws:
        images = _turned(images, draws)
    images = images.float()
    if "box" in draws:
        images = _sampled(images, *_boxes(draws["box"], images.shape[-1]))
    images = _of_group(images, draws, "", seed)
    images = _tone(images, draws)
    if "hsv" in draws:
        images = _color(images, draws)
    images = _of_group(images, draws, "random ", seed + 1)
    return images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _rows(mask: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.flatnonzero(mask)).to(like.device)


def _column(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """(n,) or (n, 3) as floats that fit (n, 3, s, s)."""
    found = torch.from_numpy(np.asarray(values, dtype=np.float32)).to(like.device)
    return found.reshape(len(found), -1, 1, 1)


def _turned(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    out = images.clone()
    for mirror in (False, True):
        for turn in range(4):
            rows = _rows((draws["turn"] == turn) & (draws["mirror"] == mirror), images)
            if len(rows) and (mirror or turn):
                picked = images[rows]
                out[rows] = torch.rot90(picked.flip(-1) if mirror else picked, turn, (-2, -1))
    return out


def _boxes(boxes: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that are cropped, and where their pixels come from (n, side) in x and y: pixel centres of the box, as a resize does."""
    rows = boxes[:, 0] >= 0
    top, left, height, width = boxes[rows].T[:, :, None]
    at = (np.arange(side) + 0.5) / side
    x, y = np.clip(at * width - 0.5, 0, width - 1) + left, np.clip(at * height - 0.5, 0, height - 1) + top
    shape = (int(rows.sum()), side, side)
    return rows, np.broadcast_to(x[:, None, :], shape), np.broadcast_to(y[:, :, None], shape)


def _sampled(images: torch.Tensor, mask: np.ndarray, x: np.ndarray, y: np.ndarray) -> torch.Tensor:
    """``images`` whose rows of ``mask`` take their pixels from ``x`` and ``y`` (n_rows, s, s), px; beyond the border is the mirror image."""
    if not mask.any():
        return images
    rows, side = _rows(mask, images), images.shape[-1]
    grid = torch.from_numpy(np.stack([x, y], axis=-1).astype(np.float32)).to(images.device) * (2 / (side - 1)) - 1
    out = images.clone()
    out[rows] = F.grid_sample(images[rows], grid, mode="bilinear", padding_mode="reflection", align_corners=True).round()
    return out


def _of_group(images: torch.Tensor, draws: Draws, prefix: str, seed: int) -> torch.Tensor:
    if f"{prefix}noise" in draws:
        images = _noise(images, draws[f"{prefix}noise"], draws[f"{prefix}noise values"], seed)
    if f"{prefix}blur" in draws:
        images = _blur(images, draws[f"{prefix}blur"], draws[f"{prefix}blur values"])
    if f"{prefix}dist" in draws:
        way, values = draws[f"{prefix}dist"], draws[f"{prefix}dist values"]
        mask = way >= 0
        maps = [sampling_map(int(w), v, images.shape[-1]) for w, v in zip(way[mask], values[mask], strict=True)]
        if maps:
            images = _sampled(images, mask, *(np.stack(axis) for axis in zip(*maps, strict=True)))
    return images


def _noise(images: torch.Tensor, way: np.ndarray, values: np.ndarray, seed: int) -> torch.Tensor:
    out = images.clone()
    generator = torch.Generator(images.device).manual_seed(seed)
    for number, channels in ((0, 1), (1, 3)):
        rows = _rows(way == number, images)
        if len(rows):
            noise = torch.randn((len(rows), channels, *images.shape[2:]), device=images.device, generator=generator)
            out[rows] = (images[rows] + noise * _column(values[way == number, 0], images)).clamp(0, 255).round()
    return out


def _blur(images: torch.Tensor, way: np.ndarray, values: np.ndarray) -> torch.Tensor:
    out = images.clone()
    for size in (3, 5, 7):
        padded = F.pad(images, [size // 2] * 4, mode="reflect")
        for number, name in enumerate(BLURS):
            mask = (way == number) & (values[:, 0] == size)
            rows = _rows(mask, images)
            if not len(rows):
                continue
            if name == "median":
                windows = padded[rows].unfold(2, size, 1).unfold(3, size, 1).flatten(-2)
                out[rows] = windows.median(dim=-1).values
                continue
            kernels = [np.full((size, size), 1 / size**2)] * len(rows)
            if name == "motion":
                kernels = [motion_kernel(size, round(math.degrees(angle))) for angle in values[mask, 1]]
            weights = torch.from_numpy(np.stack(kernels).astype(np.float32)).to(images.device).repeat_interleave(3, dim=0)[:, None]
            picked = padded[rows].flatten(0, 1)[None]
            out[rows] = F.conv2d(picked, weights, groups=weights.shape[0])[0].unflatten(0, (len(rows), 3)).round()
    return out


def _tone(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    if "contrast" not in draws:
        return images
    contrast, gamma = (_column(np.nan_to_num(draws[name], nan=1.0), images) for name in ("contrast", "gamma"))
    brightness = _column(np.nan_to_num(draws["brightness"], nan=0.0), images)
    images = (images * contrast).clamp(0, 255).round()
    images = (255 * (images / 255) ** gamma).round()
    return (images + brightness).clamp(0, 255).round()


def _color(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    out = images.clone()
    mask = np.isfinite(draws["hsv"][:, 0])
    if mask.any():
        rows = _rows(mask, images)
        out[rows] = _shifted_hsv(images[rows], _column(draws["hsv"][mask], images))
    order = np.where(draws["order"] < 0, np.arange(3), draws["order"])
    out = torch.gather(out, 1, torch.from_numpy(order).to(out.device)[:, :, None, None].expand_as(out))
    return (out + _column(np.rint(np.nan_to_num(draws["shift"], nan=0.0)), images)).clamp(0, 255)


def _shifted_hsv(images: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Hue (0..180, as bytes hold it), saturation and value (0..255) of RGB images (n, 3, s, s) in 0..255 changed by ``change`` (n, 3, 1, 1)."""
    value, low = images.amax(dim=1), images.amin(dim=1)
    spread = value - low
    r, g, b = images.unbind(1)
    safe = spread.clamp_min(1e-6)
    hue = torch.where(value == r, (g - b) / safe, torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe)) * 30 % 180
    hue = torch.where(spread > 0, hue, torch.zeros_like(hue)).round()
    saturation = (255 * spread / value.clamp_min(1e-6)).round()
    hue = (hue + change[:, 0].round()) % 180
    saturation, value = (saturation + change[:, 1]).clamp(0, 255).round(), (value + change[:, 2]).clamp(0, 255).round()
    chroma = saturation / 255 * value
    sector = torch.stack([(n + hue / 30) % 6 for n in (5.0, 3.0, 1.0)], dim=1)
    return (value[:, None] - chroma[:, None] * torch.minimum(sector, 4 - sector).clamp(0, 1)).round()
