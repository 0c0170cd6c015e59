"""A small picture of a slide that another stain can be compared with: where tissue is, and how much haematoxylin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from skimage.color import rgb2hed
from skimage.filters import threshold_otsu

from napari_deepspace.errors import AlignmentFailed
from napari_deepspace.slide import Slide

BY_HAND = "Set landmarks by hand: four or more, far from one another."
LOOK_PX = 1024  #: the longer side of the picture that a slide is looked at in
_DARK = 70  #: brightest channel (0 to 255) of what lies around the tissue: darker is no transmitted light
_LEAST_TISSUE = 0.003
_FAINT = 0.03  #: optical density: what is fainter is told apart by its amount, what is stronger by its order of magnitude


@dataclass(frozen=True, eq=False)
class Picture:
    """A slide as it is compared, in px of ``um``: ``tissue`` bool (h, w), ``stain`` float32 (h, w), haematoxylin, 0 to 1, 0 outside of it."""

    tissue: np.ndarray
    stain: np.ndarray
    um: float

    @cached_property
    def centre_um(self) -> np.ndarray:
        """Of the tissue, (y, x)."""
        return np.argwhere(self.tissue).mean(axis=0) * self.um

    @cached_property
    def extent_um(self) -> float:
        """The longer side of the box around the tissue."""
        return float(np.ptp(np.argwhere(self.tissue), axis=0).max() * self.um)

    def shrunk(self, um: float) -> Picture:
        """The same in about ``um`` per px, where that is coarser."""
        step = int(um / self.um)
        if step < 2:
            return self
        height, width = (size // step * step for size in self.tissue.shape)
        stain, tissue = (
            values[:height, :width].reshape(height // step, step, width // step, step).mean(axis=(1, 3), dtype=np.float32)
            for values in (self.stain, self.tissue)
        )
        return Picture(tissue > 0.5, stain, self.um * step)

    def resampled(self, um: float, matrix: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """(stain, tissue), float32, on a grid of ``um`` per px and ``shape``, whose (y, x) um ``matrix`` (3, 3) takes to those of the picture."""
        to_px = np.diag([1 / self.um, 1 / self.um, 1]) @ matrix @ np.diag([um, um, 1])
        sigma = 0.4 * np.sqrt(abs(np.linalg.det(to_px[:2, :2])))
        flip = to_px[:2][::-1][:, [1, 0, 2]].astype(np.float64)  # opencv: (x, y)
        size = (shape[1], shape[0])

        def warped(values: np.ndarray) -> np.ndarray:
            smooth = cv2.GaussianBlur(values, (0, 0), sigma) if sigma > 0.5 else values
            return np.asarray(cv2.warpAffine(smooth, flip, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))

        return warped(self.stain), warped(self.tissue.astype(np.float32))


def look_at(slide: Slide, mpp: float, name: str = "", px: int = LOOK_PX) -> Picture:
    """The slide's picture, at most ``px`` a side, from its small levels.

    Raises
    ------
    AlignmentFailed
        The background is dark, as under fluorescence, or there is no tissue to be seen.
    """
    name = name or slide.path.name
    rgb = slide.thumbnail(px)
    return picture_of(rgb, mpp * max(slide.shape) / max(rgb.shape[:2]), name)


def picture_of(rgb: np.ndarray, um: float, name: str = "the picture") -> Picture:
    """The same of pixels uint8 (h, w, 3) of ``um`` a side."""
    rim = max(2, round(0.02 * max(rgb.shape[:2])))
    edge = np.concatenate([part.reshape(-1, 3) for part in (rgb[:rim], rgb[-rim:], rgb[:, :rim], rgb[:, -rim:])])
    brightest = rgb.max(axis=2)
    if np.median(edge.max(axis=1)) < _DARK and np.median(brightest) < _DARK:
        raise AlignmentFailed(
            f"{name} has a dark background, as a fluorescence image has; slides are aligned by themselves in transmitted light only. {BY_HAND}"
        )
    grey = rgb.mean(axis=2)
    light = np.median(rgb[grey >= np.percentile(grey, 90)], axis=0).clip(1)
    even = np.clip(rgb / light, 1 / 255, 1).astype(np.float32)
    density = cv2.GaussianBlur(-np.log10(even).max(axis=2), (0, 0), 2.0)
    faint = np.log1p(density.clip(0) / _FAINT)  # else a strong stain makes glass of what is counterstained only
    tissue = _without_specks(faint > threshold_otsu(faint))
    share = float(tissue.mean())
    if share < _LEAST_TISSUE or density[tissue].mean() - density[~tissue].mean() < 0.03 or np.ptp(density) < 0.05:
        raise AlignmentFailed(f"{name}: no tissue is to be seen. {BY_HAND}")
    hed = rgb2hed(even)[..., 0].astype(np.float32)
    low, high = np.percentile(hed[tissue], [2, 98])
    stain = np.clip((hed - low) / max(high - low, 1e-6), 0, 1) * tissue
    return Picture(tissue, stain.astype(np.float32), um)


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """Without pieces smaller than a hundredth of the largest: dust, pen marks at the rim, letters."""
    mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    number, labels, sizes, _ = cv2.connectedComponentsWithStats(mask)
    if number < 2:
        return np.zeros(mask.shape, dtype=bool)
    areas = sizes[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray((areas > areas.max() / 100)[labels])
