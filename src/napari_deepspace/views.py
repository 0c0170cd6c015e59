"""What is painted on the spots: colours, and all that the colour bar and the hover line say of them. Plain arrays, no napari."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from napari_deepspace.layers import CLEAR, HOLLOW, Maps
from napari_deepspace.preprocess.filters import STEPS, SpotFilter
from napari_deepspace.settings import NORMALISATIONS

Show = Literal["measured", "predicted", "difference"]

FAINT = (0.2, 0.2, 0.2, 0.35)  #: rings of spots that are not the matter
REASON_COLOURS = {
    "in_tissue": "#8a8a8a",
    "umi": "#ffd500",
    "genes": "#00c8ff",
    "mitochondrial": "#ff3b30",
    "white": "#3d7bff",
    "excluded": "#111111",
    "failed": "#ff7a00",
    "cluster": "#18b34a",
    "sealed": "#9b59d0",
}
"""Of spots that a step of the filter removes; told apart on pink and purple tissue."""
CLUSTER_COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
    "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5",
)  # fmt: skip
"""Of clusters, in their order; scanpy's usual twenty."""


@dataclass(frozen=True)
class View:
    """One gene as it is painted: colours (n_spots, 4) float32 RGBA, and all that the colour bar and the hover line say."""

    gene: str
    show: Show
    values: np.ndarray
    measured: np.ndarray
    predicted: np.ndarray
    limits: tuple[float, float]
    face: np.ndarray
    border: np.ndarray
    caption: str
    unit: str = NORMALISATIONS["log"]
    title: str = ""  #: what is painted where it is no gene's values


def limits_of(*values: np.ndarray) -> tuple[float, float]:
    """The 1st and the 99th percentile of all finite ``values``; (0, 1) when there is none."""
    finite = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.zeros(0)
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(x) for x in np.percentile(finite, [1, 99]))
    return (low, high) if high > low else (low, low + 1.0)


def colours(values: np.ndarray, limits: tuple[float, float], lut: np.ndarray) -> np.ndarray:
    """RGBA float32 (n, 4) of ``values``; NaN is transparent. ``lut`` is (k, 4)."""
    low, high = limits
    share = np.clip((values - low) / (high - low), 0, 1)
    index = np.where(np.isfinite(share), share * (len(lut) - 1), 0).round().astype(int)
    return np.where(np.isfinite(values)[:, None], lut[index], CLEAR).astype(np.float32)


def make_view(
    gene: str,
    show: Show,
    measured: np.ndarray,
    predicted: np.ndarray,
    keep: np.ndarray,
    luts: dict[str, np.ndarray],
    *,
    shared: bool = True,
    limits: tuple[float, float] | None = None,
    model: str = "",
    live: bool = False,
    unit: str = NORMALISATIONS["log"],
) -> View:
    """What is painted for ``gene``. Spots without a value stay hollow; a value predicted where the filter removed
    the measurement is a coloured ring, so that it cannot pass for a measured spot.

    ``shared``: measured and predicted use the same limits, taken from both; a difference is always symmetric about 0. ``limits``, where
    given, are taken instead.
    """
    measured = np.where(keep, measured, np.nan).astype(np.float32)
    values = {"measured": measured, "predicted": predicted, "difference": predicted - measured}[show]
    limits = limits or _automatic_limits(show, values, measured, predicted, shared)
    face = colours(values, limits, luts["difference" if show == "difference" else "value"])
    border = np.where((face[:, 3] == 0)[:, None], HOLLOW, CLEAR).astype(np.float32)
    imputed = ~keep & np.isfinite(values)
    border[imputed], face[imputed] = face[imputed], CLEAR
    origin = {
        "measured": "measured",
        "predicted": "predicted, out-of-fold" + (f" ({model})" if model else "") + ("; rings: imputed" if imputed.any() else ""),
        "difference": "predicted, out-of-fold, minus measured",
    }[show]
    return View(gene, show, values, measured, predicted, limits, face, border, origin + (", still training" if live else ""), unit)


def _automatic_limits(show: Show, values: np.ndarray, measured: np.ndarray, predicted: np.ndarray, shared: bool) -> tuple[float, float]:
    if show == "difference":
        top = max(abs(limit) for limit in limits_of(values)) if np.isfinite(values).any() else 1.0
        return -top, top
    return limits_of(measured, predicted) if shared and np.isfinite(predicted).any() else limits_of(values)


def removed_view(view: View, verdict: SpotFilter) -> View:
    """Removed spots in the colour of the first step that removes each, spots that stay as thin rings; ``view`` gives the hover's values."""
    colours_ = np.array([hex_rgba(REASON_COLOURS[step]) for step in STEPS] + [CLEAR], dtype=np.float32)
    face = colours_[verdict.first]
    border = np.where(face[:, 3:] == 0, FAINT, CLEAR).astype(np.float32)
    return replace(view, face=face, border=border, title="Removed spots", caption="in the colour of the first reason; rings: spots that stay")


def cluster_view(view: View, labels: pd.Series, keep: np.ndarray) -> View:
    """Spots in the colour of their cluster; spots without one, or removed, are rings."""
    colour = np.array([hex_rgba(cluster_colour(number)) for number in range(len(labels.cat.categories))] + [CLEAR], dtype=np.float32)
    face = np.where(keep[:, None], colour[labels.cat.codes.to_numpy()], CLEAR).astype(np.float32)
    border = np.where(face[:, 3:] == 0, HOLLOW, CLEAR).astype(np.float32)
    return replace(view, face=face, border=border, title="Clusters", caption=f"{len(labels.cat.categories)} ({labels.name})")


def cluster_colour(number: int) -> str:
    """The colour of the cluster at this place among the names, ``#rrggbb``."""
    return CLUSTER_COLOURS[number % len(CLUSTER_COLOURS)]


def hex_rgba(colour: str) -> np.ndarray:
    """``#rrggbb`` as opaque float32 (4,)."""
    return np.array([*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)), 1], dtype=np.float32)


def spot_notes(maps: Maps | None, reasons: np.ndarray) -> np.ndarray:
    """One plain remark a spot: why it was removed, or how its prediction came about; "" where there is nothing to say."""
    words = {"training": "training spot: not scored", "not yet": "no prediction yet"}
    words |= dict.fromkeys(("none", "excluded", "removed"), "no prediction")
    words |= {"guard": "guard band: not predicted", "validation": "training spot: not scored"}
    removed = np.array([f"removed: {reason}" if reason else "" for reason in reasons], dtype=object)
    if maps is None:
        return removed
    origin = np.array([words.get(source, source) for source in maps.source], dtype=object)
    filled = np.isfinite(maps.predicted).any(axis=1)
    return np.where(removed != "", removed + np.where(filled, "; prediction imputed", ""), origin)


def hover_text(barcode: str, view: View | None, index: int, note: str) -> str:
    """The line beside a hovered spot: barcode, measured, predicted, remark."""
    parts = [barcode]
    if view is not None:
        for word, values in (("measured", view.measured), ("predicted", view.predicted)):
            parts.append(f"{word} {values[index]:.2f}" if np.isfinite(values[index]) else f"{word} –")
        parts[1] = f"{view.gene} {parts[1]}"
    return "  ·  ".join([*parts, note] if note else parts)
