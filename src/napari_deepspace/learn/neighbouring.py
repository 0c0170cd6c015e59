"""The neighbouring section: where it lies, and how much a copy of what was measured there counts beside the image.

Sections lie over one another by ``obsm["spatial_aligned"]``, (x, y) in a frame that the sections of one patient share.
"""

from __future__ import annotations

import numpy as np

from napari_deepspace.analyse.baselines import interpolate
from napari_deepspace.analyse.copies import blended
from napari_deepspace.section import Section

ALIGNED = "spatial_aligned"
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  #: how strongly each output's weights are drawn to those of all, in units of the number of spots
LEAST_SPOTS = 20


def aligned_spots(section: Section) -> np.ndarray:
    """The spots in the shared frame, float64 (n_spots, 2) (x, y); NaN where that is not known."""
    found = section.adata.obsm.get(ALIGNED)
    return np.full((section.adata.n_obs, 2), np.nan) if found is None else np.asarray(found, dtype=np.float64)


def aligned_points(section: Section, centres_yx: np.ndarray) -> np.ndarray:
    """Any points of a section in the shared frame, float64 (n, 2) (x, y): an affine map of its spots, and what the nearest six differ from it."""
    spots, frame = section.centres_yx, aligned_spots(section)
    known = np.isfinite(frame).all(axis=1)
    if known.sum() < 4:
        return np.full((len(centres_yx), 2), np.nan)
    spots, frame = spots[known], frame[known]
    affine, *_ = np.linalg.lstsq(np.column_stack([spots, np.ones(len(spots))]), frame, rcond=None)
    rest = frame - np.column_stack([spots, np.ones(len(spots))]) @ affine
    return np.asarray(np.column_stack([centres_yx, np.ones(len(centres_yx))]) @ affine + interpolate(spots, rest, centres_yx))


def fit_blend(image: np.ndarray, copy: np.ndarray, values: np.ndarray, groups: np.ndarray) -> np.ndarray | None:
    """How much the image and the copy count for each output: float64 (3, n_outputs), intercept, image, copy; None where too few spots have both.

    ``image`` (n, n_outputs) are outputs for spots that the model was not fitted to, else it would count for too much. The weights of an output are
    drawn to those that serve all outputs best, by a strength that is chosen over neighbourhoods ``groups`` (n,); none is negative.
    """
    rows = np.isfinite(copy).all(axis=1) & np.isfinite(image).all(axis=1)
    if rows.sum() < LEAST_SPOTS:
        return None
    image, copy, values = (array[rows].astype(np.float64) for array in (image, copy, values))
    fold = np.unique(groups[rows], return_inverse=True)[1] % 4
    error = np.zeros(len(STRENGTHS))
    scale = np.maximum(values.var(axis=0), 1e-12)
    for test in (fold == k for k in range(4)):
        if test.any() and not test.all():
            for number, strength in enumerate(STRENGTHS):
                blend = _fit(image[~test], copy[~test], values[~test], strength)
                residual = values[test] - blended(blend, image[test], copy[test])
                error[number] += float((residual * residual / scale).sum())
    return _fit(image, copy, values, STRENGTHS[int(error.argmin())])


def _fit(image: np.ndarray, copy: np.ndarray, values: np.ndarray, strength: float) -> np.ndarray:
    """Least squares for each output, drawn to the weights that serve all of them."""
    means = [array.mean(axis=0) for array in (image, copy, values)]
    scale = np.sqrt(np.maximum(values.var(axis=0), 1e-12))
    a, b, y = (((array - mean) / scale) for array, mean in zip((image, copy, values), means, strict=True))
    moments = np.stack([np.stack([(a * a).sum(0), (a * b).sum(0)]), np.stack([(a * b).sum(0), (b * b).sum(0)])]).transpose(2, 0, 1)  # (outputs, 2, 2)
    towards = np.stack([(a * y).sum(0), (b * y).sum(0)], axis=1)
    common = np.linalg.lstsq(moments.sum(axis=0), towards.sum(axis=0), rcond=None)[0].clip(0)
    pull = strength * len(values) * np.diag(np.diag(moments.mean(axis=0)) / len(values) + 1e-9)
    weights = common + np.linalg.solve(moments + pull, (towards - moments @ common)[:, :, None])[:, :, 0]
    weights = weights.clip(0)
    return np.vstack([means[2] - weights[:, 0] * means[0] - weights[:, 1] * means[1], weights.T])
