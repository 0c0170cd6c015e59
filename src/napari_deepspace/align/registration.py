"""Finding how one picture lies on another: all rotations and mirror images, then a fit of the haematoxylin, and how well that agrees."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import fft

from napari_deepspace.align.pictures import Picture
from napari_deepspace.events import Event, Progress

SCALES = (0.8, 0.86, 0.93, 1.0, 1.08, 1.16, 1.25)  #: of the moving picture, tried one after another
STEP_DEG = 6.0
COARSE_PX, FINE_PX = 72, 448  #: the longer side of the tissue in the search and in the fit
CANDIDATES = 10
DISTINCT_DEG = 25.0  #: guesses that are turned by less against one another are one


@dataclass(frozen=True, eq=False)
class Guess:
    """``matrix`` (3, 3) takes (y, x, 1) um of the moving picture to the fixed one; ``overlap`` and ``structure`` are those of :func:`agreement`."""

    matrix: np.ndarray
    score: float
    overlap: float = 0.0
    structure: float = 0.0

    @property
    def total(self) -> float:
        return self.overlap * max(self.structure, 0.0)


def search(fixed: Picture, moving: Picture) -> Generator[Event, None, list[Guess]]:
    """The best guess of every mirror image and direction, best first, by the correlation of tissue and stain over all shifts."""
    um = max(fixed.extent_um, moving.extent_um) / COARSE_PX
    side = fft.next_fast_len(int(2.3 * COARSE_PX))
    middle = np.full(2, (side - 1) / 2 * um)
    moving = moving.shrunk(um / 2)
    still = _coarse(fixed, um, _shift(fixed.centre_um - middle), side)
    spectrum = np.conj(fft.rfft2(still))
    found = []
    turns = np.arange(0, 360, STEP_DEG)
    for number, mirrored in enumerate((False, True)):
        yield Progress("looking from all sides", number, 2)
        for scale in SCALES:
            for degrees in turns:
                about = _turn(degrees, scale, mirrored)
                back = _shift(moving.centre_um) @ np.linalg.inv(about) @ _shift(-middle)
                turned = _coarse(moving, um, back, side)
                surface = fft.irfft2(fft.rfft2(turned) * spectrum, s=(side, side))
                at = np.array(np.unravel_index(surface.argmax(), surface.shape))
                shift = np.where(at > side / 2, at - side, at) * um
                score = float(surface.max() / max(np.linalg.norm(turned) * np.linalg.norm(still), 1e-9))
                to_fixed = _shift(fixed.centre_um - middle) @ _shift(-shift) @ _shift(middle) @ about @ _shift(-moving.centre_um)
                found.append((score, mirrored, degrees, to_fixed))
    found.sort(key=lambda one: -one[0])
    kept: list[tuple[float, bool, float, np.ndarray]] = []
    for one in found:
        if not any(one[1] == other[1] and abs((one[2] - other[2] + 180) % 360 - 180) < DISTINCT_DEG for other in kept):
            kept.append(one)
    return [Guess(matrix, score) for score, _, _, matrix in kept[:CANDIDATES]]


def refine(fixed: Picture, moving: Picture, guess: Guess) -> Guess:
    """An affine map fitted from ``guess`` on (opencv's ECC), coarse to fine, with its agreement."""
    matrix = guess.matrix
    for px, blur in ((COARSE_PX, 1.5), (FINE_PX / 2, 2.5), (FINE_PX, 2.5)):
        um = max(fixed.extent_um, moving.extent_um) / px
        frame, shape = _frame(fixed, um)
        still, fixed_tissue = fixed.resampled(um, frame, shape)
        moved, moving_tissue = moving.resampled(um, np.linalg.inv(matrix) @ frame, shape)
        template, picture = (cv2.GaussianBlur(0.5 * t + s, (0, 0), blur) for s, t in ((still, fixed_tissue), (moved, moving_tissue)))
        warp: np.ndarray = np.eye(2, 3, dtype=np.float32)
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
        try:
            _, warp = cv2.findTransformECC(template, picture, warp, cv2.MOTION_AFFINE, stop)
        except cv2.error:  # it does not converge from here
            break
        step = np.vstack([warp[::-1][:, [1, 0, 2]], [0, 0, 1]]).astype(np.float64)  # fixed grid -> moved grid, in px
        in_um = frame @ np.diag([um, um, 1]) @ step @ np.diag([1 / um, 1 / um, 1]) @ np.linalg.inv(frame)
        refined = np.linalg.inv(in_um) @ matrix
        if not _plausible(refined):
            break
        matrix = refined
    overlap, structure = agreement(fixed, moving, matrix)
    return Guess(matrix, guess.score, overlap, structure)


def agreement(fixed: Picture, moving: Picture, matrix: np.ndarray, bands: tuple[float, float] = (2.0, 12.0)) -> tuple[float, float]:
    """(Dice of the tissue, correlation of the haematoxylin's structure inside both tissues), with the moving picture laid over by ``matrix``."""
    um = max(fixed.extent_um, moving.extent_um) / (FINE_PX / 2)
    frame, shape = _frame(fixed, um)
    still, fixed_tissue = fixed.resampled(um, frame, shape)
    moved, moving_tissue = moving.resampled(um, np.linalg.inv(matrix) @ frame, shape)
    a, b = fixed_tissue > 0.5, moving_tissue > 0.5
    both = a & b
    dice = 2 * both.sum() / max(a.sum() + (moving.tissue.sum() * (moving.um / um) ** 2 * abs(np.linalg.det(matrix[:2, :2]))), 1)
    inner = cv2.erode(both.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0).astype(bool)
    if inner.sum() < 200:
        return float(dice), 0.0
    x, y = (_band(stain, tissue, bands)[inner] for stain, tissue in ((still, both.astype(np.float32)), (moved, both.astype(np.float32))))
    return float(dice), float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else 0.0


def _band(stain: np.ndarray, weight: np.ndarray, bands: tuple[float, float]) -> np.ndarray:
    """Structure between two sizes (px), with what lies outside the tissue left out."""
    fine, wide = (cv2.GaussianBlur(stain * weight, (0, 0), s) / np.maximum(cv2.GaussianBlur(weight, (0, 0), s), 1e-3) for s in bands)
    return np.asarray(fine - wide)


def _coarse(picture: Picture, um: float, back: np.ndarray, side: int) -> np.ndarray:
    stain, tissue = picture.resampled(um, back, (side, side))
    return np.asarray(0.5 * tissue + stain)


def _frame(picture: Picture, um: float) -> tuple[np.ndarray, tuple[int, int]]:
    """A grid around the tissue with a rim of a tenth: (matrix from its um to those of the picture, shape)."""
    at = np.argwhere(picture.tissue) * picture.um
    rim = 0.1 * picture.extent_um
    low, high = at.min(axis=0) - rim, at.max(axis=0) + rim
    height, width = np.ceil((high - low) / um).astype(int)
    return _shift(low), (int(height), int(width))


def _plausible(matrix: np.ndarray) -> bool:
    large, small = np.linalg.svd(matrix[:2, :2], compute_uv=False)
    return bool(small > 0.7 and large < 1.4 and large / small < 1.15)


def _shift(by: np.ndarray) -> np.ndarray:
    matrix = np.eye(3)
    matrix[:2, 2] = by
    return matrix


def _turn(degrees: float, scale: float, mirrored: bool) -> np.ndarray:
    a = np.radians(degrees)
    turn = np.eye(3)
    turn[:2, :2] = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([1, -1 if mirrored else 1])
    return turn


def same(one: Guess, other: Guess) -> bool:
    """Whether two fits lay the picture the same way: neither mirrored nor turned against one another."""
    between = np.linalg.inv(one.matrix[:2, :2]) @ other.matrix[:2, :2]
    return bool(np.linalg.det(between) > 0 and abs(np.degrees(np.arctan2(between[1, 0] - between[0, 1], np.trace(between)))) < DISTINCT_DEG)
