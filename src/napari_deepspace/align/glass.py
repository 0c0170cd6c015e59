"""Two files of one glass: a cropped, turned, exported copy laid over the slide it was made from, by features that both show."""

from __future__ import annotations

from collections.abc import Generator

import cv2
import numpy as np

from napari_deepspace.align.transform import Transform
from napari_deepspace.align.warped import warped_region
from napari_deepspace.errors import AlignmentFailed
from napari_deepspace.events import Event, Progress
from napari_deepspace.slide import Slide

_LOOK_PX = 2048
_FEATURES, _LEAST = 6000, 25
_PATCHES, _PATCH_PX = 8, 256  #: patches a side that a fit is made finer with
_SURE = 0.15  #: least response of a phase correlation that counts
_OTHER = "Align them as neighbouring sections (without --same-glass), or set landmarks."


def register_copies(fixed: Slide, moving: Slide) -> Generator[Event, None, tuple[np.ndarray, float, int]]:
    """((3, 3) from (y, x, 1) px of ``moving`` to those of ``fixed``, median error in px of the fixed slide, places that agree).

    Raises
    ------
    AlignmentFailed
        The two do not show the same glass.
    """
    yield Progress("finding features", 0, 3)
    matrix = _by_features(fixed, moving)
    done, error, agreeing = 1, np.inf, 0
    for factor in (4.0, 1.0):
        yield Progress("comparing places", done, 3)
        matrix, error, agreeing = _finer(fixed, moving, matrix, factor)
        done += 1
    if agreeing < 6 or error > 2.0:
        raise AlignmentFailed(f"{moving.path.name} does not show the same glass as {fixed.path.name}: too few places agree ({agreeing}). {_OTHER}")
    return matrix, error, agreeing


def _by_features(fixed: Slide, moving: Slide) -> np.ndarray:
    """From SIFT features of both and of the mirror image, by RANSAC."""
    looks = []
    for slide in (fixed, moving):
        rgb = slide.thumbnail(_LOOK_PX)
        step = np.array([slide.shape[axis] / rgb.shape[axis] for axis in (0, 1)])
        looks.append((cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), step))
    sift = cv2.SIFT.create(nfeatures=_FEATURES)
    points, features = sift.detectAndCompute(looks[0][0], None)
    best, most = None, 0
    for mirrored in (False, True):
        grey = looks[1][0][:, ::-1].copy() if mirrored else looks[1][0]
        others, other_features = sift.detectAndCompute(grey, None)
        if features is None or other_features is None or len(points) < _LEAST or len(others) < _LEAST:
            continue
        pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(other_features, features, k=2)
        good = [one for one, second in (pair for pair in pairs if len(pair) == 2) if one.distance < 0.75 * second.distance]
        if len(good) < _LEAST:
            continue
        xy = np.array([others[one.queryIdx].pt for one in good])
        if mirrored:
            xy[:, 0] = grey.shape[1] - 1 - xy[:, 0]
        source, target = (
            (at[:, ::-1] + 0.5) * step - 0.5 for at, step in ((xy, looks[1][1]), (np.array([points[m.trainIdx].pt for m in good]), looks[0][1]))
        )
        found, inliers = cv2.estimateAffine2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=3 * looks[0][1].max(), maxIters=5000)
        if found is not None and int(inliers.sum()) > most:
            best, most = np.vstack([found, [0, 0, 1]]), int(inliers.sum())
    if best is None or most < _LEAST or np.linalg.cond(best[:2, :2]) > 1.5:
        raise AlignmentFailed(f"{moving.path.name} does not show the same glass as {fixed.path.name}: they share {most} features. {_OTHER}")
    return best


def _finer(fixed: Slide, moving: Slide, matrix: np.ndarray, factor: float) -> tuple[np.ndarray, float, int]:
    """Where patches of both lie apart, at ``factor`` px of the fixed slide per px, and the fit that brings them together."""
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * (np.array(moving.shape) - 1)
    there = corners @ matrix[:2, :2].T + matrix[:2, 2]
    side = _PATCH_PX * factor
    low, high = np.maximum(there.min(axis=0), 0), np.minimum(there.max(axis=0), np.array(fixed.shape) - 1) - side
    transform = Transform("affine", matrix)
    window = cv2.createHanningWindow((_PATCH_PX, _PATCH_PX), cv2.CV_32F)
    source, target = [], []
    for top in np.linspace(low[0], max(low[0], high[0]), _PATCHES):
        for left in np.linspace(low[1], max(low[1], high[1]), _PATCHES):
            grids = [
                cv2.cvtColor(warped_region(slide, 1.0, how, (top, left), factor, (_PATCH_PX, _PATCH_PX)), cv2.COLOR_RGB2GRAY).astype(np.float32)
                for slide, how in ((fixed, Transform("affine", np.eye(3))), (moving, transform))
            ]
            if min(grid.std() for grid in grids) < 4:  # glass
                continue
            (dx, dy), response = cv2.phaseCorrelate(grids[0], grids[1], window)
            if response > _SURE and np.hypot(dx, dy) < _PATCH_PX / 4:
                middle = np.array([top, left]) + side / 2
                target.append(middle)
                source.append(transform.inverse_points(middle + np.array([dy, dx]) * factor)[0])
    if len(source) < 4:
        return matrix, float("inf"), len(source)
    found, inliers = cv2.estimateAffine2D(np.array(source), np.array(target), method=cv2.RANSAC, ransacReprojThreshold=1.5 * factor)
    if found is None:
        return matrix, float("inf"), 0
    within = inliers.ravel().astype(bool)
    apart = np.linalg.norm(np.array(source) @ found[:, :2].T + found[:, 2] - np.array(target), axis=1)
    return np.vstack([found, [0, 0, 1]]), float(np.median(apart[within])) if within.any() else float("inf"), int(within.sum())
