"""Consecutive sections one above another: where each lies in the block (um)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_deepspace.errors import SettingsError


@dataclass(frozen=True)
class Layer:
    """One section of a stack: how thick it was cut, what is missing between it and the one before (um)."""

    name: str
    thickness_um: float = 5.0
    gap_um: float = 0.0


def depths_um(layers: Sequence[Layer]) -> np.ndarray:
    """z of the middle of each section, float64 (n,), downwards from the middle of the first. Raises SettingsError where a length is impossible."""
    for layer in layers:
        if not (np.isfinite(layer.thickness_um) and layer.thickness_um > 0 and np.isfinite(layer.gap_um) and layer.gap_um >= 0):
            raise SettingsError(
                f"{layer.name}: a section of {layer.thickness_um:g} um after a gap of {layer.gap_um:g} um cannot be. "
                "Give a thickness above 0 and a gap of 0 or more."
            )
    thickness, gap = (np.array([getattr(layer, name) for layer in layers], dtype=np.float64) for name in ("thickness_um", "gap_um"))
    between = (thickness[1:] + thickness[:-1]) / 2 + gap[1:]
    return np.concatenate([np.zeros(min(len(layers), 1)), np.cumsum(between)])
