"""A copy of what was measured in neighbouring sections, and its blend with what the image says. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_deepspace.analyse.baselines import interpolate


def copied(sections: Sequence[tuple[np.ndarray, np.ndarray]], wanted_xy: np.ndarray) -> np.ndarray:
    """What was measured at the same place: of each neighbouring section the six nearest spots by inverse distance, and the mean over sections.

    ``sections`` are (places (n, 2), values (n, n_outputs)) in the shared frame. Returns float32 (n_wanted, n_outputs), NaN where no place is known.
    """
    total, count = np.zeros((len(wanted_xy), sections[0][1].shape[1] if sections else 0)), 0
    placed = np.isfinite(wanted_xy).all(axis=1)
    for xy, values in sections:
        usable = np.isfinite(xy).all(axis=1) & np.isfinite(values).all(axis=1)
        if usable.any() and placed.any():
            total[placed] += interpolate(xy[usable], values[usable], wanted_xy[placed])
            count += 1
    return np.where(placed[:, None] & (count > 0), total / max(count, 1), np.nan).astype(np.float32)


def blended(blend: np.ndarray, image: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """Image and copy (n, n_outputs) put together; the image alone where there is no copy."""
    both = blend[0] + blend[1] * image + blend[2] * copy
    return np.asarray(np.where(np.isfinite(both), both, image), dtype=np.float32)
