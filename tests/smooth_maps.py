"""Simulated maps on lattices of spots: Gaussian fields with a known correlation between them, for what must be told from chance. SYNTHETIC."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

LATTICES = (("square", 180), ("tissue", 180), ("hexagonal", 500), ("tissue", 500), ("tissue", 1000))
SMOOTHNESS = (
    ("exponential", 0.3, 0),
    ("exponential", 1, 0),
    ("exponential", 2, 0),
    ("exponential", 4, 0),
    ("gaussian", 1.5, 0),
    ("gaussian", 3, 0.5),
)
"""(shape of the correlation, its length in pitches, share of independent noise); on 180 spots 4 pitches are 0.3 of the section's width."""


def lattice(kind: str, n: int) -> np.ndarray:
    """About ``n`` spots in um, pitch 100: square, hexagonal, or a hexagonal oval with a bite (tissue)."""
    rows = int(np.ceil(np.sqrt(n * (1.7 if kind == "tissue" else 1))))
    y, x = np.mgrid[:rows, :rows].astype(float)
    if kind != "square":
        x, y = x + (y % 2) / 2, y * np.sqrt(3) / 2
    spots = np.stack([x.ravel(), y.ravel()], axis=1) * 100
    if kind != "tissue":
        return spots
    off = (spots - spots.mean(axis=0)) / np.ptp(spots, axis=0)
    return spots[((off**2).sum(axis=1) < 0.25) & (((off - [0.3, 0.2]) ** 2).sum(axis=1) > 0.03)]


def fields(spots: np.ndarray, shape: str, length: float, number: int, rng: np.random.Generator) -> np.ndarray:
    """``number`` independent standard Gaussian fields at ``spots`` (n, 2) in um, ``length`` in pitches: (n, number)."""
    distance = cdist(spots, spots) / 100 / length
    covariance = np.exp(-distance) if shape == "exponential" else np.exp(-(distance**2) / 2)
    return np.linalg.cholesky(covariance + 1e-6 * np.eye(len(spots))) @ rng.normal(size=(len(spots), number))


def noisy(values: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """``values`` of variance 1 with ``share`` of the variance replaced by noise that differs from spot to spot."""
    return np.sqrt(1 - share) * values + np.sqrt(share) * rng.normal(size=values.shape)
