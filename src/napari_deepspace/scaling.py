"""From scaled outputs to values that are shown, and back. No torch: a denser map is read in the window's own process."""

from __future__ import annotations

import numpy as np

from napari_deepspace.target import Target


def scaled(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Values (n, n_outputs) to 0..1 over a training part, whose range is ``low`` to ``high`` (n_outputs,); float32."""
    return ((values - low) / (high - low)).astype(np.float32)


def shown(target: Target, outputs: np.ndarray, low: np.ndarray, high: np.ndarray, own_sum: float, target_sum: float) -> np.ndarray:
    """Outputs (n, n_outputs) as values that are shown, float32: numbers back from 0..1, clusters as probabilities.

    ``own_sum`` is the depth that logarithmic values of the training part count per, ``target_sum`` the one that is shown. Of numbers some outputs
    may be given alone; of clusters all must be there.
    """
    if target.kind == "clusters":
        odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    values = outputs * (high - low) + low
    if target.kind != "genes":
        return values.astype(np.float32)
    if target.nonnegative:
        values = np.maximum(values, 0)
    # values of ``log`` alone know a depth
    return change_depth(values, own_sum, target_sum) if target.normalisation == "log" else values.astype(np.float32)


def change_depth(values: np.ndarray, old_sum: float, new_sum: float) -> np.ndarray:
    """log1p(counts per ``old_sum``) as log1p(counts per ``new_sum``)."""
    return np.log1p(np.expm1(values) * (new_sum / old_sum)).astype(np.float32)
