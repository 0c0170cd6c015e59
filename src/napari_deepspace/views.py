"""What is painted on the spots: colours, and all that the colour bar and the hover line say of them. Plain arrays, no napari."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from napari_deepspace.cluster_colours import hex_rgba, rgba, usual_colours
from napari_deepspace.colour_scale import CLEAR, DIFFERENCE, ColourScale, colours, limits_of, table
from napari_deepspace.layers import HOLLOW, Maps
from napari_deepspace.preprocess.filters import STEPS, SpotFilter
from napari_deepspace.settings import NORMALISATIONS
from napari_deepspace.verdicts import WAYS

Show = Literal["measured", "predicted", "difference", "interval", "mean RGB", "interpolation"]
"""What is painted of a gene: "interval" is the width of the calibrated band, the last two are the predictions of simple ways."""
CYCLE: tuple[Show, ...] = ("measured", "predicted", "mean RGB", "interpolation")
"""What the key goes through."""

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

DEFAULT = ColourScale()


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
    lut: np.ndarray | None = None  #: the colour table of ``face``, (k, 4)
    doubt: str = ""  #: the model's verdict, where it is not the first and its map is painted
    relative: bool = False  #: the values say high and low on this slide, and nothing else
    log: bool = False  #: the colours are spread by logarithm, see :class:`ColourScale`
    rings: np.ndarray | None = None  #: bool (n_spots,), spots that the user selected; None: none are


def next_shown(shown: Show, possible: Sequence[Show]) -> Show:
    """What comes after ``shown`` in :data:`CYCLE` among those that are ``possible``; ``shown`` itself where there is nothing else."""
    start = CYCLE.index(shown) + 1 if shown in CYCLE else 0
    return next((one for one in (*CYCLE[start:], *CYCLE[:start]) if one in possible), shown)


def make_view(
    gene: str,
    show: Show,
    measured: np.ndarray,
    predicted: np.ndarray,
    keep: np.ndarray,
    scale: ColourScale = DEFAULT,
    *,
    shared: bool = True,
    limits: tuple[float, float] | None = None,
    model: str = "",
    live: bool = False,
    unit: str = NORMALISATIONS["log"],
    ways: dict[str, np.ndarray] | None = None,
    interval: np.ndarray | None = None,
    doubt: str = "",
    grey: bool = False,
    relative: str = "",
) -> View:
    """What is painted for ``gene``. Spots without a value stay hollow; a value predicted where the filter removed
    the measurement is a coloured ring, so that it cannot pass for a measured spot.

    ``shared``: measured and predicted use the same limits, taken from both; a difference is always symmetric about 0. ``limits``, where
    given, are taken instead. ``ways`` are what the simple ways predict, painted with the limits of measured and predicted. ``interval`` is the width
    of the calibrated band around each prediction, on a scale of its own.

    ``doubt`` is a verdict other than the first: it stands beside the caption, and ``grey`` greys the model's map. ``relative`` says why levels
    mean nothing beyond this slide: the model and the simple ways then each go from 0 to 1 within it.
    """
    measured = np.where(keep, measured, np.nan).astype(np.float32)
    ways, own_scale = ways or {}, bool(relative) and show != "measured"
    if relative:
        predicted, ways = within_slide(predicted), {way: within_slide(one) for way, one in ways.items()}
    values = {"measured": measured, "predicted": predicted, "difference": predicted - measured, "interval": interval, **ways}.get(show)
    if values is None:
        values = np.full(len(measured), np.nan, dtype=np.float32)
    together = (shared or show in WAYS) and not relative and show != "interval"
    limits = limits or ((0.0, 1.0) if own_scale else _automatic_limits(show, values, measured, predicted, together, scale.percentiles))
    log = scale.log and show != "difference"
    lut = table(DIFFERENCE if show == "difference" else scale.map)
    doubt = doubt if show in ("predicted", "difference") else ""
    lut = greyed(lut) if grey and doubt else lut
    face = colours(values, limits, lut, log)
    border = np.take(np.stack([CLEAR, HOLLOW]), (face[:, 3] == 0).view(np.uint8), axis=0)
    imputed = ~keep & np.isfinite(values)
    if imputed.any():
        border[imputed], face[imputed] = face[imputed], CLEAR
    by_model = f" ({model})" if model else ""
    whole = imputed.any() and not (keep & np.isfinite(values)).any()
    origin = {
        "measured": "measured",
        "predicted": f"imputed{by_model}: rings, nothing was measured here"
        if whole
        else f"predicted, out-of-fold{by_model}" + ("; rings: imputed" if imputed.any() else ""),
        "difference": "predicted, out-of-fold, minus measured",
        "interval": "width of the 90 % band, out-of-fold" + ("; rings: imputed" if imputed.any() else ""),
    }.get(show) or WAYS[show] + ("; rings: imputed" if imputed.any() else "")
    caption = origin + (", still training" if live else "")
    unit = relative if own_scale else unit
    return View(gene, show, values, measured, predicted, limits, face, border, caption, unit, lut=lut, doubt=doubt, relative=own_scale, log=log)


def within_slide(values: np.ndarray) -> np.ndarray:
    """``values`` (n,) from 0 to 1 within their slide, by their 1st and 99th percentile; float32."""
    low, high = limits_of(values)
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)


def greyed(lut: np.ndarray) -> np.ndarray:
    """``lut`` (k, 4) with most of its colour taken out and half transparent: a map that is not to be relied on."""
    grey = (lut[:, :3] @ (0.299, 0.587, 0.114))[:, None]
    return np.hstack([0.15 * lut[:, :3] + 0.85 * grey, 0.55 * lut[:, 3:]])


def _automatic_limits(
    show: Show, values: np.ndarray, measured: np.ndarray, predicted: np.ndarray, shared: bool, percentiles: tuple[float, float]
) -> tuple[float, float]:
    if show == "difference":
        top = max(abs(limit) for limit in limits_of(values, percentiles=percentiles)) if np.isfinite(values).any() else 1.0
        return -top, top
    return limits_of(*((measured, predicted) if shared and np.isfinite(predicted).any() else (values,)), percentiles=percentiles)


def hidden_view(n_spots: int, gene: str) -> View:
    """Hollow rings and no value at all, while somebody draws blind."""
    nothing = np.full(n_spots, np.nan, dtype=np.float32)
    face, border = (np.tile(np.asarray(colour, dtype=np.float32), (n_spots, 1)) for colour in (CLEAR, HOLLOW))
    return View(gene, "measured", nothing, nothing, nothing, (0.0, 1.0), face, border, "drawing blind", title="Expression is hidden")


def removed_view(view: View, verdict: SpotFilter) -> View:
    """Removed spots in the colour of the first step that removes each, spots that stay as thin rings; ``view`` gives the hover's values."""
    colours_ = np.array([hex_rgba(REASON_COLOURS[step]) for step in STEPS] + [CLEAR], dtype=np.float32)
    face = colours_[verdict.first]
    border = np.where(face[:, 3:] == 0, FAINT, CLEAR).astype(np.float32)
    return replace(
        view, face=face, border=border, doubt="", title="Removed spots", caption="in the colour of the first reason; rings: spots that stay"
    )


def cluster_view(view: View, labels: pd.Series, keep: np.ndarray, colours_: dict[str, str] | None = None, hidden: Collection[str] = ()) -> View:
    """Spots in the colour of their cluster; spots without one, or removed, are rings. Those of a cluster of ``hidden`` are nothing."""
    names, codes = [str(name) for name in labels.cat.categories], labels.cat.codes.to_numpy()
    face = np.where(keep[:, None], rgba(colours_ or usual_colours(names), hidden)[codes], CLEAR).astype(np.float32)
    border = np.where(face[:, 3:] == 0, HOLLOW, CLEAR).astype(np.float32)
    border[np.isin(codes, [i for i, name in enumerate(names) if name in hidden])] = CLEAR
    return replace(view, face=face, border=border, doubt="", title="Clusters", caption=f"{len(names)} ({labels.name}){_hidden_words(names, hidden)}")


def likeliest(probabilities: np.ndarray) -> np.ndarray:
    """Index of the likeliest class, float32 (n,), NaN where nothing is known; ``probabilities`` (n, n_classes)."""
    known = np.isfinite(probabilities).all(axis=1)
    return np.where(known, np.where(known[:, None], probabilities, 0).argmax(axis=1), np.nan).astype(np.float32)


def class_view(
    view: View,
    names: Sequence[str],
    found: np.ndarray,
    keep: np.ndarray,
    model: str,
    colours_: dict[str, str] | None = None,
    hidden: Collection[str] = (),
) -> View:
    """Spots in the colour of the likeliest class, indices or NaN (n,); spots that the filter removed are coloured rings, for they are imputed.

    Those of a class of ``hidden`` are nothing.
    """
    face = rgba(colours_ or usual_colours(names), hidden)[np.where(np.isfinite(found), found, len(names)).astype(int)]
    border = np.where(np.isfinite(found)[:, None], CLEAR, HOLLOW).astype(np.float32)
    imputed = ~keep & np.isfinite(found)
    border[imputed], face[imputed] = face[imputed], CLEAR
    caption = f"the likeliest of {len(names)}, predicted ({model})" + ("; rings: imputed" if imputed.any() else "") + _hidden_words(names, hidden)
    return replace(view, face=face, border=border, doubt="", title="Clusters", caption=caption)


def _hidden_words(names: Sequence[str], hidden: Collection[str]) -> str:
    gone = [name for name in names if name in hidden]
    return f"; hidden: {', '.join(gone)}" if 0 < len(gone) <= 3 else f"; {len(gone)} hidden" if gone else ""


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
    tests = np.full(len(removed), "", dtype=object) if maps.holes is None else maps.holes
    more = np.where(filled, "; imputed", "").astype(object) + np.array([f"; {test}" if test else "" for test in tests], dtype=object)
    return np.where(removed != "", removed + more, origin)


def hover_text(barcode: str, view: View | None, index: int, note: str, umi: int | None = None, cluster: str = "") -> str:
    """The line beside a hovered spot: barcode, UMI, cluster, measured, predicted, remark."""
    parts = [barcode, *([f"{umi:,} UMI"] if umi is not None else []), *([f"cluster {cluster}"] if cluster else [])]
    if view is not None:
        first = len(parts)
        shown = {"measured": view.measured, "predicted": view.predicted}
        if view.show in WAYS or view.show == "interval":
            shown[WAYS.get(view.show, "width of the 90 % band")] = view.values
        for word, values in shown.items():
            within = " of 1 within this slide" if view.relative and word != "measured" else ""
            parts.append(f"{word} {values[index]:.2f}{within}" if np.isfinite(values[index]) else f"{word} –")
        parts[first] = f"{view.gene} {parts[first]}"
    return "  ·  ".join([*parts, note] if note else parts)
