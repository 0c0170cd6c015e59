"""Consecutive sections one above another: where each lies in the block, and what is known at its places as points in space (um)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_deepspace.align.transform import IDENTITY, Transform
from napari_deepspace.errors import SettingsError


@dataclass(frozen=True)
class Layer:
    """One section of a stack: how thick it was cut, what is missing between it and the one before (um), and the transform to the first one."""

    name: str
    thickness_um: float = 5.0
    gap_um: float = 0.0
    transform: Transform = IDENTITY


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


def with_gap(layers: Sequence[Layer], name: str, *, gap_um: float | None = None, thickness_um: float | None = None) -> list[Layer]:
    """``layers`` with another gap or thickness of one of them. Raises SettingsError where there is none of that name."""
    if name not in {layer.name for layer in layers}:
        raise SettingsError(f"The stack has no section {name}. It has {', '.join(layer.name for layer in layers)}.")
    changed = list(layers)
    for number, layer in enumerate(layers):
        if layer.name == name:
            thickness = layer.thickness_um if thickness_um is None else thickness_um
            changed[number] = replace(layer, gap_um=layer.gap_um if gap_um is None else gap_um, thickness_um=thickness)
    depths_um(changed)
    return changed


def stack_points(layers: Sequence[Layer], places_yx_um: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Places of every section, each (n, 2) (y, x) in um of its own slide, as points float64 (N, 3) (z, y, x) in um of the first one's frame, with
    their values (N,); places whose value is NaN are left out.
    """
    points, found = [np.zeros((0, 3))], [np.zeros(0)]
    for layer, z, places, some in zip(layers, depths_um(layers), places_yx_um, values, strict=True):
        there = np.isfinite(some)
        flat = layer.transform.apply(np.asarray(places)[there])
        points.append(np.column_stack([np.full(len(flat), z), flat]))
        found.append(np.asarray(some, dtype=np.float64)[there])
    return np.concatenate(points), np.concatenate(found)
