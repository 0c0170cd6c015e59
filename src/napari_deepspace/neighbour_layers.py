"""From neighbouring slides to what napari shows: lazily read levels with an opacity of their own, stain channels, landmarks, layer tuples.

Nothing is read here but what the view asks for, and nothing here imports napari.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from napari_deepspace.layers import UNITS, LayerTuple, metadata
from napari_deepspace.section import Section
from napari_deepspace.slide import Level

Cover = Literal["whole", "checkerboard", "swipe"]
COVERS: dict[Cover, str] = {"whole": "Whole", "checkerboard": "Checkerboard", "swipe": "Swipe"}
Stain = Literal["haematoxylin", "dab"]
STAINS: dict[Stain, int] = {"haematoxylin": 0, "dab": 2}  #: column of skimage's haematoxylin, eosin and DAB
COLOURS: dict[Stain, tuple[float, float, float]] = {"haematoxylin": (0.25, 0.25, 0.75), "dab": (0.55, 0.3, 0.08)}
FULL: dict[Stain, float] = {"haematoxylin": 0.8, "dab": 0.8}  #: optical density that is painted in full colour
ROLE = "neighbour"


@dataclass
class Cut:
    """Which part of a neighbour is seen, in um of the fixed section: all of it, every other square, or what lies right of a line.

    Mutable: the levels that hold it look at it when they are read, so that a layer needs a refresh and no new data.
    """

    cover: Cover = "whole"
    line_um: float = 0.0
    square_um: float = 500.0


def alpha(cut: Cut, to_fixed: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray | None:
    """Where pixels are seen: uint8 (h, w), 255 or 0; None where all are.

    ``to_fixed`` is (3, 3), from (row, column, 1) of the level to um of the fixed section; ``rows`` (h,) and ``columns`` (w,).
    """
    if cut.cover == "whole":
        return None
    x = to_fixed[1, 0] * rows[:, None] + to_fixed[1, 1] * columns[None, :] + to_fixed[1, 2]
    if cut.cover == "swipe":
        return np.where(x >= cut.line_um, np.uint8(255), np.uint8(0))
    y = to_fixed[0, 0] * rows[:, None] + to_fixed[0, 1] * columns[None, :] + to_fixed[0, 2]
    odd = (np.floor(y / cut.square_um) + np.floor(x / cut.square_um)).astype(np.int64) & 1
    return (odd * 255).astype(np.uint8)


class SeenLevel(Level):
    """A level read as RGBA (h, w, 4) uint8: opaque where ``cut`` shows it. ``to_fixed`` as of :func:`alpha`."""

    def __init__(self, level: Level, cut: Cut, to_fixed: np.ndarray):
        self.shape = (*level.shape[:2], 4)
        self.chunks = (*level.chunks[:2], 4)
        self._level, self._cut, self._to_fixed = level, cut, to_fixed

    def region(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        pixels = self._level.region(top, left, bottom, right)
        out = np.empty((*pixels.shape[:2], 4), dtype=np.uint8)
        out[..., :3] = pixels[..., :3]
        seen = alpha(self._cut, self._to_fixed, np.arange(top, bottom) + 0.5, np.arange(left, right) + 0.5)
        out[..., 3] = 255 if seen is None else seen
        if pixels.shape[2] == 4:  # a warped level: glass where the slide has none
            np.minimum(out[..., 3], pixels[..., 3], out=out[..., 3])
        return out


class StainLevel(Level):
    """A level read as the optical density of one stain, uint8 (h, w, 1): 255 is FULL or more. Glass is 0."""

    def __init__(self, level: Level, stain: Stain):
        self.shape = (*level.shape[:2], 1)
        self.chunks = (*level.chunks[:2], 1)
        self._level, self._stain = level, stain

    def region(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        pixels = self._level.region(top, left, bottom, right)
        return stain_bytes(np.ascontiguousarray(pixels[..., :3]), self._stain)[..., None]


def stain_amount(pixels: np.ndarray, stain: Stain) -> np.ndarray:
    """Optical density of one stain, as of :func:`napari_deepspace.align.quantify.densities`: float32 (h, w) of uint8 (h, w, 3)."""
    from skimage.color import hed_from_rgb

    light = np.maximum(np.arange(256, dtype=np.float32) / 255, 1e-6)
    density = cv2.LUT(pixels, -np.log10(light))
    weights = hed_from_rgb[:, STAINS[stain]].astype(np.float32)
    return np.asarray(np.maximum(density @ weights, 0), dtype=np.float32)


def stain_bytes(pixels: np.ndarray, stain: Stain) -> np.ndarray:
    """As :func:`stain_amount`, uint8 (h, w): 255 for FULL and more."""
    if not pixels.size:
        return np.zeros(pixels.shape[:2], dtype=np.uint8)
    return np.asarray(np.clip(stain_amount(pixels, stain) * (255 / FULL[stain]), 0, 255), dtype=np.uint8)


def lazy(levels: Sequence[Level], last_axis: bool) -> list[Any]:
    """Levels as dask arrays; blocks are whole file tiles, about 1024 px a side. Without ``last_axis`` that axis, of length 1, is left out."""
    import dask.array as da

    def array(level: Level) -> Any:
        height, width = level.chunks[:2]
        blocks = (height * max(1, 1024 // height), width * max(1, 1024 // width), level.shape[2])
        whole = da.from_array(level, chunks=blocks, name=False, meta=np.empty((0, 0, 0), dtype=np.uint8))
        return whole if last_axis else whole[..., 0]

    return [array(level) for level in levels]


def to_fixed(affine: np.ndarray, level: Level, of: Level, mpp: float) -> np.ndarray:
    """From (row, column, 1) of ``level`` to um of the fixed section, (3, 3); ``of`` is the full resolution, ``affine`` goes from its um."""
    down = np.array(of.shape[:2], dtype=float) / np.array(level.shape[:2], dtype=float)
    return np.asarray(affine, dtype=float) @ np.diag([*(down * mpp), 1.0])


def role_of(neighbour_id: str, part: str = "") -> str:
    """The role in the metadata of a neighbour's layer; ``part`` is a stain, "" for the slide itself."""
    return f"{ROLE}:{neighbour_id}" + (f":{part}" if part else "")


def overlay_layer(
    section: Section, levels: Sequence[Level], mpp: float, affine: np.ndarray, cut: Cut, role: str, name: str, **look: Any
) -> LayerTuple:
    """A neighbour's slide as a lazy multiscale RGBA image, its ``affine`` (3, 3) from its own um to those of the fixed section."""
    seen = [SeenLevel(level, cut, to_fixed(affine, level, levels[0], mpp)) for level in levels]
    return _image(section, lazy(seen, last_axis=True), mpp, affine, role, name, {"rgb": True, **look})


def stain_layer(
    section: Section, levels: Sequence[Level], mpp: float, affine: np.ndarray, stain: Stain, role: str, name: str, **look: Any
) -> LayerTuple:
    """One stain of a neighbour's slide as a lazy image; its colour map is the window's. Values 0 to 255 stand for 0 to FULL."""
    data = lazy([StainLevel(level, stain) for level in levels], last_axis=False)
    return _image(section, data, mpp, affine, role, name, {"rgb": False, "contrast_limits": (0, 255), **look})


def stain_colours(stain: Stain) -> np.ndarray:
    """From nothing to the stain's colour, RGBA float (2, 4)."""
    return np.array([[*COLOURS[stain], 0.0], [*COLOURS[stain], 1.0]])


def _image(section: Section, data: list[Any], mpp: float, affine: np.ndarray, role: str, name: str, look: dict[str, Any]) -> LayerTuple:
    kwargs = {
        "name": name,
        "multiscale": len(data) > 1,
        "scale": (mpp, mpp),
        "affine": np.asarray(affine, dtype=float),
        "units": UNITS,
        "cache": False,  # what is seen of it changes while the data stay
        "metadata": metadata(section, role),
        **look,
    }
    return data if len(data) > 1 else data[0], kwargs, "image"
