"""How far an alignment is off, as far as the two pictures themselves tell: patches of one searched for in the other (block matching).

A patch counts only where it is found clearly better than in turned and mirrored copies of the same tissue, which show texture alike and other places.
Where too few do, nothing is said: a small number that rests on chance would be worse than none.
"""

from __future__ import annotations

import cv2
import numpy as np

from napari_deepspace.align.pictures import Picture
from napari_deepspace.align.registration import _band, _frame
from napari_deepspace.align.transform import LocalError

SIZES = ((8.0, 800.0, (1.5, 10.0)), (16.0, 1600.0, (2.0, 12.0)))  #: um per px, side of a patch in um, structure in px; the coarser if the finer fails
SHARE, LEAST = 0.5, 4  #: of the patches, and at least so many, must be found; on other tissue up to 0.43 of the large ones were, which overlap
REACH_UM = 600.0  #: how far around its place a patch is searched for
_MOST = 80  #: patches that are looked for
_LEAST_PX = 64  #: side of a patch
_CHANCE = 0.98  #: quantile of what turned and mirrored copies reach, pooled over the patches
_TURNED = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)][1:]


def local_error(fixed: Picture, moving: Picture, matrix: np.ndarray) -> LocalError:
    """The shifts that are left between patches of tissue of ``fixed`` and ``moving``, laid over it by ``matrix``, (3, 3), (y, x, 1) um to um.

    Median and 90th percentile of their lengths; both None where it cannot be told.
    """
    told = LocalError(None, None, 0, 0)
    for least_um, side_um, bands in SIZES:
        um = max(least_um, fixed.um, moving.um * float(np.sqrt(abs(np.linalg.det(matrix[:2, :2])))))
        found, asked = _shifts(fixed, moving, matrix, um, max(_LEAST_PX, round(side_um / um) // 2 * 2), bands)
        if len(found) >= max(LEAST, SHARE * asked):
            off = np.maximum(np.linalg.norm(found, axis=1), 1) * um  # less than a px is not told apart
            return LocalError(float(np.median(off)), float(np.percentile(off, 90)), len(found), asked)
        told = LocalError(None, None, len(found), asked)
    return told


def _shifts(fixed: Picture, moving: Picture, matrix: np.ndarray, um: float, side: int, bands: tuple[float, float]) -> tuple[np.ndarray, int]:
    """(shift of each patch that was found, px of ``um``, (n, 2); patches that were searched for)."""
    reach, half = max(2, round(REACH_UM / um)), side // 2
    frame, shape = _frame(fixed, um)
    rim = half + reach
    frame = frame.copy()
    frame[:2, 2] -= rim * um
    shape = shape[0] + 2 * rim, shape[1] + 2 * rim
    still, tissue = _structure(*fixed.resampled(um, frame, shape), bands)
    moved, there = _structure(*moving.resampled(um, np.linalg.inv(matrix) @ frame, shape), bands)
    if not there.any():
        return np.zeros((0, 2)), 0
    faint = 0.5 * float(moved[there].std())
    share = cv2.boxFilter(tissue.astype(np.float32), -1, (side, side))
    places = [(y, x) for y in range(rim, shape[0] - rim + 1, half) for x in range(rim, shape[1] - rim + 1, half) if share[y, x] >= 0.5]
    if len(places) > _MOST:
        places = [places[number] for number in np.sort(np.random.default_rng(0).permutation(len(places))[:_MOST])]
    peaks, copies, shifts = [], [], []
    for y, x in places:
        patch = still[y - half : y + half, x - half : x + half]
        area = moved[y - rim : y + rim, x - rim : x + rim]
        surface = _alike(area, patch, faint)
        at = np.array(np.unravel_index(surface.argmax(), surface.shape))
        copies.append([_alike(_turned(area, *how), patch, faint).max() for how in _TURNED])
        peaks.append(surface.max() if at.min() > 0 and at.max() < 2 * reach else 0.0)  # at the edge it lies farther off
        shifts.append(at - reach)
    if not places:
        return np.zeros((0, 2)), 0
    peak, copy = np.array(peaks), np.array(copies)
    good = (peak > np.quantile(copy, _CHANCE)) & (peak > copy.max(axis=1))
    return np.array(shifts, dtype=np.float64)[good], len(places)


def _structure(stain: np.ndarray, tissue: np.ndarray, bands: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """(haematoxylin between two sizes, inside the picture's own tissue: that of the other would draw the patches to where they lie; tissue)."""
    inside = tissue > 0.5
    return (_band(stain, inside.astype(np.float32), bands) * inside).astype(np.float32), inside


def _alike(area: np.ndarray, patch: np.ndarray, faint: float) -> np.ndarray:
    """Correlation of ``patch`` with every place of ``area``; 0 where there is hardly anything to correlate with."""
    found = cv2.matchTemplate(area, patch, cv2.TM_CCOEFF_NORMED)
    size = patch.shape[::-1]
    mean, square = (cv2.boxFilter(values, -1, size, borderType=cv2.BORDER_CONSTANT) for values in (area, area * area))
    top, left = (length // 2 for length in patch.shape)
    spread = np.sqrt(np.maximum(square - mean * mean, 0))[top : top + found.shape[0], left : left + found.shape[1]]
    return np.asarray(np.where(spread < faint, 0.0, found))


def _turned(area: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(area[:, ::-1] if mirrored else area, turns))
