"""What :mod:`~napari_deepspace.learn.augment` has drawn, carried out on a CPU: tile by tile on bytes, by OpenCV."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from napari_deepspace.learn.augment import BLURS, DISTORTIONS, Draws, affine_matrix, motion_kernel, sampling_map

FIELD = 1 << 22  #: numbers of the fixed field of noise
UNIT = 256  #: of which one SD is this many
TURNS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}
BORDER = cv2.BORDER_REFLECT_101


def apply(tiles: np.ndarray, draws: Draws) -> np.ndarray:
    """uint8 ``tiles`` (n, s, s, 3) changed as drawn."""
    out = np.empty_like(tiles)
    for row, tile in enumerate(tiles):
        out[row] = _one(tile, {name: values[row] for name, values in draws.items()})
    return out


def _one(tile: np.ndarray, d: dict[str, np.ndarray]) -> np.ndarray:
    if "turn" in d:
        tile = cv2.flip(tile, 1) if d["mirror"] else tile
        tile = cv2.rotate(tile, TURNS[int(d["turn"])]) if d["turn"] else tile
    if "box" in d and d["box"][0] >= 0:
        top, left, height, width = map(int, d["box"])
        tile = cv2.resize(tile[top : top + height, left : left + width], tile.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    tile = _of_group(tile, d, "")
    table = _tone(d)
    if table is not None:
        tile = cv2.LUT(tile, table)
    if "hsv" in d:
        tile = _color(tile, d)
    return _of_group(tile, d, "random ")


def _of_group(tile: np.ndarray, d: dict[str, np.ndarray], prefix: str) -> np.ndarray:
    """Noise, blur and distortion, as far as they are drawn."""
    if d.get(f"{prefix}noise", -1) >= 0:
        tile = _noise(tile, int(d[f"{prefix}noise"]), *d[f"{prefix}noise values"])
    if d.get(f"{prefix}blur", -1) >= 0:
        size, angle = d[f"{prefix}blur values"]
        tile = _blur(tile, BLURS[int(d[f"{prefix}blur"])], int(size), round(np.degrees(angle)))
    if d.get(f"{prefix}dist", -1) >= 0:
        tile = _distorted(tile, int(d[f"{prefix}dist"]), d[f"{prefix}dist values"])
    return tile


def _distorted(tile: np.ndarray, way: int, values: np.ndarray) -> np.ndarray:
    if DISTORTIONS[way] == "affine":  # as its sampling map, without making one
        matrix = affine_matrix(values, len(tile))
        return cv2.warpAffine(tile, matrix, tile.shape[1::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=BORDER)
    return cv2.remap(tile, *sampling_map(way, values, len(tile)), cv2.INTER_LINEAR, borderMode=BORDER)


def _noise(tile: np.ndarray, way: int, sd: float, where: float) -> np.ndarray:
    field = _field()
    need = tile.size if way else tile.size // 3
    start = int(where * (len(field) - need))
    noise = field[start : start + need].reshape(*tile.shape[:2], -1)
    noise = noise if way else cv2.merge([noise] * 3)
    return cv2.addWeighted(tile, 1, noise, sd / UNIT, 0, dtype=cv2.CV_8U)


@cache
def _field() -> np.ndarray:
    return np.rint(np.random.default_rng(0).standard_normal(FIELD, dtype=np.float32) * UNIT).astype(np.int16)


def _blur(tile: np.ndarray, way: str, size: int, angle: int) -> np.ndarray:
    if way == "median":
        return cv2.medianBlur(tile, size)
    if way == "box":
        return cv2.blur(tile, (size, size), borderType=BORDER)
    return cv2.filter2D(tile, -1, motion_kernel(size, angle), borderType=BORDER)


def _tone(d: dict[str, np.ndarray]) -> np.ndarray | None:
    """Contrast, gamma and brightness one after another, each rounded to bytes, as one table; None where none is drawn."""
    table = np.arange(256, dtype=np.float64)
    if not any(np.isfinite(d.get(name, np.nan)) for name in ("contrast", "gamma", "brightness")):
        return None
    if np.isfinite(d["contrast"]):
        table = np.rint(np.clip(table * d["contrast"], 0, 255))
    if np.isfinite(d["gamma"]):
        table = np.rint(255 * (table / 255) ** d["gamma"])
    if np.isfinite(d["brightness"]):
        table = np.rint(np.clip(table + d["brightness"], 0, 255))
    return table.astype(np.uint8)


def _color(tile: np.ndarray, d: dict[str, np.ndarray]) -> np.ndarray:
    if np.isfinite(d["hsv"][0]):
        hue, saturation, value = d["hsv"]
        levels = np.arange(256)
        tables = np.stack([(levels + round(hue)) % 180, np.clip(levels + saturation, 0, 255), np.clip(levels + value, 0, 255)], axis=1)
        tile = cv2.cvtColor(cv2.LUT(cv2.cvtColor(tile, cv2.COLOR_RGB2HSV), np.rint(tables).astype(np.uint8)[None]), cv2.COLOR_HSV2RGB)
    if d["order"][0] >= 0:
        shuffled = np.empty_like(tile)
        cv2.mixChannels([tile], [shuffled], np.stack([d["order"], np.arange(3)], axis=1).ravel().tolist())
        tile = shuffled
    if np.isfinite(d["shift"][0]):
        tile = cv2.add(tile, np.array([*np.rint(d["shift"]), 0.0]))  # stops at 0 and 255
    return tile
