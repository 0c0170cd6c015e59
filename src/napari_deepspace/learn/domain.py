"""Whether a tile is unlike the tiles that a model was trained on: how far what its last layer looks at lies from theirs.

One measure serves every kind of model, and costs no second look at the slide: the inputs of the linear map at the end. Quick's are its standardised
features, a network's the features that the first member's last layer sees. Principal axes of the training tiles, each divided by its spread, and what
the axes leave over give the distance; 1 is usual. The threshold is the 99th percentile of training tiles that are judged without their neighbourhood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd

from napari_deepspace.learn.networks import network_features
from napari_deepspace.results import DISTANCE, UNLIKE

AXES = 16  #: at most
PERCENTILE = 99
PARTS = 5  #: that neighbourhoods are shared out over, to judge each by the others
LEAST_TILES = 60  #: with fewer nothing is said


@dataclass(frozen=True)
class Domain:
    """The training tiles in short: float32 ``mean`` (p,), ``axes`` (k, p), each divided by its spread, ``spread`` (k,), the mean square of what the
    axes leave over, and the distance beyond which a tile is called unlike."""

    mean: np.ndarray
    axes: np.ndarray
    spread: np.ndarray
    rest: float
    threshold: float

    def unlike(self, distances: np.ndarray) -> np.ndarray:
        """Which tiles are unlike those of the training, bool (n,); where nothing was looked at (NaN) nothing is said."""
        return np.asarray(distances > self.threshold)


ARRAYS, NUMBERS = ("mean", "axes", "spread"), ("rest", "threshold")


def domain_from(arrays: Mapping[str, Any], numbers: Mapping[str, Any]) -> Domain:
    """A domain of its ARRAYS and NUMBERS."""
    mean, axes, spread = (np.asarray(arrays[name], dtype=np.float32) for name in ARRAYS)
    return Domain(mean, axes, spread, float(numbers["rest"]), float(numbers["threshold"]))


def looked_at(
    network: torch.nn.Module | None, inputs: np.ndarray, device: torch.device, rows: np.ndarray | None = None, symmetries: bool = False
) -> np.ndarray:
    """What :func:`distance` judges at ``rows`` (default: all), float32 (n, p): Quick's ``inputs`` (n, p) themselves where ``network`` is None, else
    what it makes of tiles, uint8 (n, ...), before its last layer, or the mean of that over the eight ``symmetries``."""
    if network is None:
        return inputs if rows is None else inputs[rows]
    features = network_features(network.to(device), inputs, device, rows, symmetries)
    network.cpu()
    return features


def unlike_columns(domain: Domain | None, distances: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of ``obs`` that tell of ``distances`` (n,); none where the model has no domain."""
    return {} if domain is None else {UNLIKE: domain.unlike(distances), DISTANCE: distances.astype(np.float32)}


def fit_domain(inputs: np.ndarray, groups: np.ndarray, judged: np.ndarray | None = None) -> tuple[Domain, np.ndarray] | None:
    """The domain of training tiles, float32 (n, p) as of :func:`looked_at`, and how far each lies without its own neighbourhood, float32 (n,).

    ``groups`` (n,) are neighbourhoods; the threshold counts the tiles of ``judged`` (bool, n), by default all. None for too few tiles.
    """
    if len(inputs) < LEAST_TILES:
        return None
    part = np.unique(groups, return_inverse=True)[1] % PARTS
    if len(np.unique(part)) < 2:
        part = np.arange(len(inputs)) * PARTS // len(inputs)
    distances = np.empty(len(inputs), dtype=np.float32)
    for one in np.unique(part):
        distances[part == one] = distance(_axes(inputs[part != one]), inputs[part == one])
    counted = distances if judged is None or judged.sum() < LEAST_TILES else distances[judged]
    whole = _axes(inputs)
    return Domain(whole.mean, whole.axes, whole.spread, whole.rest, float(np.percentile(counted, PERCENTILE))), distances


def distance(domain: Domain, inputs: np.ndarray) -> np.ndarray:
    """How far tiles lie from the training tiles, float32 (n,): root mean square over the axes and what they leave over; 1 is usual.

    ``inputs`` float32 (n, p) as of :func:`looked_at`.
    """
    away = inputs.astype(np.float32) - domain.mean
    along = away @ domain.axes.T  # in spreads
    left = np.maximum((away**2).sum(axis=1) - ((along * domain.spread) ** 2).sum(axis=1), 0)
    return np.sqrt(((along**2).mean(axis=1) + left / domain.rest) / 2).astype(np.float32)


def _axes(inputs: np.ndarray) -> Domain:
    """Without a threshold yet."""
    inputs = inputs.astype(np.float32)
    mean = inputs.mean(axis=0)
    away = inputs - mean
    count = max(1, min(AXES, len(inputs) // 4, inputs.shape[1] - 1))
    _, lengths, axes = randomized_svd(away, count, random_state=0)
    spread = np.maximum(lengths / np.sqrt(len(inputs)), 1e-6)
    left = max(float((away**2).sum() / len(inputs) - (spread**2).sum()), 1e-9)
    return Domain(mean, (axes / spread[:, None]).astype(np.float32), spread.astype(np.float32), left, np.inf)
