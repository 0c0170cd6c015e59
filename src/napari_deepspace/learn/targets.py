"""The scaling of a target that belongs to one training part: the loss on scaled values, and the way back to values that are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from napari_deepspace.analyse.metrics import macro_auc, mean_r, pearson
from napari_deepspace.scaling import scaled, shown
from napari_deepspace.target import Target

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class FittedTarget:
    """A target with what one training part says of it.

    Numbers: ``low`` and ``high`` are float32 (n_outputs,), the training part's range. Clusters: ``high`` - ``low`` is 1, and ``weights`` float32
    (n_outputs,) are those of the loss. ``target_sum`` is the depth that logarithmic values of the training part count per.
    """

    target: Target
    target_sum: float
    low: np.ndarray
    high: np.ndarray
    weights: np.ndarray

    def scale(self, values: np.ndarray) -> np.ndarray:
        """(n, n_outputs) values to 0..1 over the training part."""
        return scaled(values, self.low, self.high)

    def shown(self, outputs: np.ndarray, target_sum: float) -> np.ndarray:
        """Outputs (n, n_outputs) as values that are shown: numbers back from 0..1, per the depth ``target_sum``; clusters as probabilities."""
        return shown(self.target, outputs, self.low, self.high, self.target_sum, target_sum)

    def loss(self, device: torch.device) -> Loss:
        """The loss of outputs and scaled values (n, n_outputs), summed over spots: SmoothL1 (beta 1) summed over outputs, or cross entropy."""
        if self.target.kind != "clusters":
            return lambda outputs, wanted: F.smooth_l1_loss(outputs, wanted, reduction="sum")
        weights = torch.from_numpy(self.weights).to(device)
        return lambda outputs, wanted: F.cross_entropy(outputs, wanted, weight=weights, reduction="sum")

    def score(self, scaled: np.ndarray, outputs: np.ndarray) -> float:
        """Mean r over outputs, or macro AUC of clusters, of outputs against scaled values (n, n_outputs)."""
        return score(self.target, scaled, outputs)


def score(target: Target, measured: np.ndarray, predicted: np.ndarray) -> float:
    """The one number of :attr:`Target.score`, over all outputs, of predicted against measured values (n, n_outputs)."""
    return macro_auc(measured, predicted) if target.kind == "clusters" else mean_r(pearson(measured, predicted))


def fit_target(target: Target, values: np.ndarray, target_sum: float) -> FittedTarget:
    """The scaling of one training part: ``values`` (n, n_outputs) of its spots alone."""
    n = values.shape[1]
    weights = np.ones(n, dtype=np.float32)
    if target.kind == "clusters":
        if target.weighted:
            weights = (len(values) / (n * np.maximum(values.sum(axis=0), 1))).astype(np.float32)
        return FittedTarget(target, target_sum, np.zeros(n, dtype=np.float32), np.ones(n, dtype=np.float32), weights)
    low, high = values.min(axis=0), values.max(axis=0)
    high = np.where(high > low, high, low + 1)  # an output that is constant in the training part stays constant
    return FittedTarget(target, target_sum, low.astype(np.float32), high.astype(np.float32), weights)
