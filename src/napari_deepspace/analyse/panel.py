"""Everything that is said of a panel beside its scores: intervals, differences, significance, ceiling, autocorrelation, compartments, verdicts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from napari_deepspace.analyse.blocks import Blocks, spot_blocks
from napari_deepspace.analyse.bootstrap import FDR, Intervals, intervals, p_values, significant
from napari_deepspace.analyse.judge import verdict
from napari_deepspace.analyse.metrics import in_chunks, mean_r, moran, neighbour_weights, pearson, spearman
from napari_deepspace.analyse.within import within


@dataclass(frozen=True)
class Panel:
    """What is judged, at the scored spots alone.

    ``measured`` is (n, n_outputs); ``shown`` maps the model, under the name of its ``score``, and the simple ways to their predictions, of the same
    shape; ``centres_um`` is (n, 2). ``ceiling`` and ``detected`` (n_outputs,) are there where counts are; ``compartments`` (n,) are labels that bear
    the name ``compartments_name``.
    """

    measured: np.ndarray
    shown: dict[str, np.ndarray]
    score: str
    centres_um: np.ndarray
    ceiling: np.ndarray | None = None
    detected: np.ndarray | None = None
    compartments: pd.Series | np.ndarray | None = None
    compartments_name: str = ""
    seed: int = 0


def judge_panel(panel: Panel, value: dict[str, np.ndarray]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What :func:`evaluate.evaluate` says beside the scores ``value`` (name -> (n_outputs,)): of the panel, and of each output."""
    ranks = panel.score == "AUC"
    blocks = spot_blocks(panel.centres_um)
    found = intervals(panel.measured, panel.shown, panel.score, blocks, ranks=ranks, seed=panel.seed)
    model = panel.shown[panel.score]
    p = p_values(panel.measured, rankdata(model, axis=0, nan_policy="omit") if ranks else model, panel.centres_um, seed=panel.seed)
    beyond = significant(p)
    weights = neighbour_weights(panel.centres_um)
    autocorrelation = {name: in_chunks(lambda v: moran(v, weights), v) for name, v in (("measured", panel.measured), ("predicted", model))}
    rho = in_chunks(spearman, panel.measured, model)
    inner = _within(panel) if not ranks else None
    outputs = [
        _one(k, panel, value, found, blocks, float(p[k]), bool(beyond[k]), float(rho[k]), autocorrelation, inner)
        for k in range(panel.measured.shape[1])
    ]
    ways = [name for name in panel.shown if name != panel.score]
    top = {
        "interval": _pair(found.mean[panel.score]),
        "differences": {name: {"mean": found.mean_by[name], "interval": _pair(found.mean_difference[name])} for name in ways},
        "spearman": mean_r(rho),
        "ceiling": None if panel.ceiling is None else _mean(panel.ceiling),
        "moran": _agreement(autocorrelation["measured"], autocorrelation["predicted"]),
        "significant": int(beyond.sum()),
        "fdr": FDR,
        "verdicts": dict(Counter(one["verdict"] for one in outputs).most_common()),
        "within": None if inner is None else {"compartments": panel.compartments_name, "mean": {name: mean_r(r) for name, r in inner.items()}},
        "blocks": {"number": blocks.number, "side_um": blocks.side_um},
    }
    return top, outputs


def _one(
    k: int,
    panel: Panel,
    value: dict[str, np.ndarray],
    found: Intervals,
    blocks: Blocks,
    p: float,
    beyond: bool,
    rho: float,
    autocorrelation: dict[str, np.ndarray],
    inner: dict[str, np.ndarray] | None,
) -> dict[str, Any]:
    ways = [name for name in panel.shown if name != panel.score]
    n = int((np.isfinite(panel.measured[:, k]) & np.isfinite(panel.shown[panel.score][:, k])).sum())
    detected = None if panel.detected is None else float(panel.detected[k])
    best = float("nan") if panel.ceiling is None else float(panel.ceiling[k])
    score = float(value[panel.score][k])
    words, way = verdict(
        score, {name: float(value[name][k]) for name in ways}, {name: found.difference[name][k] for name in ways}, beyond, n, blocks.number, detected
    )
    return {
        "interval": _pair(found.of[panel.score][k]),
        "spearman": rho,
        "moran": {name: float(values[k]) for name, values in autocorrelation.items()},
        "ceiling": None if panel.ceiling is None else best,
        "share_of_ceiling": None if panel.ceiling is None else score / best,
        "p": p,
        "significant": beyond,
        "within": None if inner is None else float(inner[panel.score][k]),
        "within_ways": None if inner is None else {name: float(inner[name][k]) for name in ways},
        "detected": detected,
        "difference": {name: {"r": float(found.by[name][k]), "interval": _pair(found.difference[name][k])} for name in ways},
        "best_way": way,
        "verdict": words,
    }


def _within(panel: Panel) -> dict[str, np.ndarray] | None:
    if panel.compartments is None:
        return None
    labels = panel.compartments

    def inner(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        both = np.isfinite(measured) & np.isfinite(predicted)
        return pearson(within(np.where(both, measured, np.nan), labels), within(np.where(both, predicted, np.nan), labels))

    return {name: in_chunks(inner, panel.measured, values) for name, values in panel.shown.items()}


def _agreement(measured: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Mean difference of Moran's I, and r of I over outputs."""
    both = np.isfinite(measured) & np.isfinite(predicted)
    r = float(pearson(measured[both][:, None], predicted[both][:, None])[0]) if both.sum() >= 3 else float("nan")
    return {"agreement": float(np.abs(measured - predicted)[both].mean()) if both.any() else float("nan"), "r": r}


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _pair(ends: np.ndarray) -> list[float]:
    return [float(ends[0]), float(ends[1])]
