"""A band around each prediction that holds a stated share of unseen spots: split conformal, from the out-of-fold predictions of a run.

The residuals of spots that were kept back say how far predictions are off. A scale that depends on the predicted level, s(p) = max(a + b p, floor),
is fitted to them, and q is the quantile of |residual| / s with the correction for finite samples (Vovk, Gammerman and Shafer 2005; Lei and others
2018). The band is p - q s(p) to p + q s(p). It promises its share of spots like those that were kept back, over all of them together, not for each
kind of tissue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData

from napari_deepspace.layers import Maps
from napari_deepspace.results import PREDICTED, UNS, outputs_of, values_of

LEVEL = 0.9
LEAST_SPOTS = 20  #: with fewer there is no band
CHUNK = 512  #: outputs at a time
FLOOR = 0.25  #: of the mean |residual|: the scale never falls below it
NO_BAND = "no band: no spot was held out that could show how far predictions are off"
NO_BAND_OF_CLUSTERS = "no band: a probability of a cluster is as the model gives it, and its calibration is not claimed"


@dataclass(frozen=True)
class Bands:
    """The band of each output: float32 (n_outputs,) ``a``, ``b``, ``floor``, ``q`` and ``coverage_of``, NaN where too few spots were scored.

    ``coverage`` is the share of the ``n`` unseen spots, over all outputs, that a band from the other folds held. On a ``nonnegative`` scale a band
    ends at 0.
    """

    a: np.ndarray
    b: np.ndarray
    floor: np.ndarray
    q: np.ndarray
    coverage_of: np.ndarray
    coverage: float
    n: int
    level: float = LEVEL
    nonnegative: bool = False

    @property
    def words(self) -> str:
        return band_words(self.level, self.coverage, self.n)


ARRAYS, NUMBERS = ("a", "b", "floor", "q", "coverage_of"), ("coverage", "n", "level", "nonnegative")


def band_words(level: float, coverage: float, n: int) -> str:
    """The sentence that says how far a band kept its promise."""
    return f"the {100 * level:.0f} % band held {100 * coverage:.0f} % of {n} unseen spots"


def find_bands(measured: np.ndarray, predicted: np.ndarray, fold: np.ndarray, level: float = LEVEL, nonnegative: bool = False) -> Bands | None:
    """Bands from ``measured`` and out-of-fold ``predicted`` values (n, n_outputs) at unseen spots, and the ``fold`` (n,) that held each out.

    Coverage is cross-conformal: each fold is judged by a band from the other folds. None where there are too few spots, or one fold alone.
    """
    folds = np.unique(fold[fold >= 0])
    if len(folds) < 2:
        return None
    parts, total, right, unseen = [], 0.0, 0.0, np.zeros(len(fold), dtype=bool)
    for first in range(0, measured.shape[1], CHUNK):
        m, p = measured[:, first : first + CHUNK], predicted[:, first : first + CHUNK]
        held = np.full(m.shape, np.nan, dtype=np.float32)
        for one in folds:
            mine, others = fold == one, np.isin(fold, folds) & (fold != one)
            held[mine] = holds(m[mine], *_around(p[mine], _fit(m[others], p[others], level), nonnegative))
        rows = np.isin(fold, folds)
        parts.append((*_fit(m[rows], p[rows], level), share_held(held)))
        total, right, unseen = total + np.isfinite(held).sum(), right + float(np.nansum(held)), unseen | np.isfinite(held).any(axis=1)
    if not total:
        return None
    arrays = {name: np.concatenate(values) for name, values in zip(ARRAYS, zip(*parts, strict=True), strict=True)}
    return bands_from(arrays, {"coverage": right / total, "n": unseen.sum(), "level": level, "nonnegative": nonnegative})


def holds(measured: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """1 where the band holds the measured value, 0 where not, NaN where one of them is not known."""
    return np.where(np.isfinite(measured) & np.isfinite(low) & np.isfinite(high), (measured >= low) & (measured <= high), np.nan)


def share_held(held: np.ndarray) -> np.ndarray:
    """The share of spots whose value the band held, of each column of :func:`holds`: (n_outputs,), NaN where nothing is known."""
    known = np.isfinite(held).sum(axis=0)
    return np.where(known > 0, np.nansum(held, axis=0) / np.maximum(known, 1), np.nan)


def limits(predicted: np.ndarray, bands: Bands) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end of the band at ``predicted`` (n, n_outputs), each float32 of that shape."""
    return _around(predicted, (bands.a, bands.b, bands.floor, bands.q), bands.nonnegative)


def band_of(result: AnnData, output: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Lower and upper end of the band of one gene (signature, number) in a result, each float32 (n_spots,); None where there is no band.

    Raises KeyError where the result does not predict ``output``.
    """
    names = outputs_of(result)
    if output not in names:
        raise KeyError(f"The result does not predict {output}.")
    values, column = values_of(result, PREDICTED), names.index(output)
    return None if values is None else band_of_one(result.uns[UNS].get("band", {}), column, values[:, column])


def band_of_one(band: Mapping[str, Any], column: int, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Lower and upper end of the band of the output at ``column`` around ``predicted`` (n,), each float32 (n,).

    ``band`` is ``uns["deepspace"]["band"]`` of a result; None where it says that there is no band.
    """
    if any(name not in band for name in (*ARRAYS, *NUMBERS)):
        return None
    low, high = limits(np.asarray(predicted, dtype=np.float32)[:, None], bands_from({name: band[name][[column]] for name in ARRAYS}, band))
    return low[:, 0], high[:, 0]


def no_band_words(maps: Maps) -> str:
    """Why there is no calibrated band around the predictions of ``maps``, in one sentence; "" where there is one."""
    if maps.live:
        return "A finished run is needed: the band comes from how far its predictions were off at spots it was not trained on."
    if maps.relative:
        return "On another patient the level itself means nothing, nor does its band."
    return "" if "coverage" in maps.band else f"{maps.band.get('words', NO_BAND).capitalize()}."


def band_width(maps: Maps, output: str) -> np.ndarray | None:
    """Width of the calibrated band around each prediction of ``output``, float32 (n_spots,), NaN without a prediction; None without a band."""
    predicted = maps.of(output)
    if predicted is None or no_band_words(maps):
        return None
    ends = band_of_one(maps.band, maps.genes.index(output), predicted)
    return None if ends is None else ends[1] - ends[0]


def about_bands(bands: Bands | None, kind: str) -> dict[str, Any]:
    """What ``uns["deepspace"]["band"]`` says; ``kind`` is the target's."""
    if bands is None:
        return {"words": NO_BAND_OF_CLUSTERS if kind == "clusters" else NO_BAND}
    return {name: getattr(bands, name) for name in (*ARRAYS, *NUMBERS, "words")}


def bands_from(arrays: Mapping[str, Any], numbers: Mapping[str, Any]) -> Bands:
    """Bands of their ARRAYS and NUMBERS."""
    a, b, floor, q, coverage_of = (np.asarray(arrays[name], dtype=np.float32) for name in ARRAYS)
    return Bands(a, b, floor, q, coverage_of, float(numbers["coverage"]), int(numbers["n"]), float(numbers["level"]), bool(numbers["nonnegative"]))


def bands_in(about: Mapping[str, Any]) -> Bands | None:
    """The bands that ``uns["deepspace"]`` of a result keeps; None where it has none."""
    band = about.get("band", {})
    if any(name not in band for name in (*ARRAYS, *NUMBERS)):
        return None
    return bands_from({name: band[name] for name in ARRAYS}, band)


def judge_bands(about: Mapping[str, Any], measured: np.ndarray, predicted: np.ndarray, unseen: bool) -> tuple[dict[str, Any], np.ndarray | None]:
    """How far the band kept its promise, fit for JSON, and the share of spots held of each output (n_outputs,).

    On a section that the model never saw (``unseen``) the spots given are counted; on one it was trained on the band was fitted to these very spots,
    and the model's own cross-conformal figures are told.
    """
    bands = bands_in(about)
    if bands is None:
        return {"words": str(about.get("band", {}).get("words", NO_BAND))}, None
    if not unseen:
        return {"level": bands.level, "held": bands.coverage, "n": bands.n, "words": bands.words}, bands.coverage_of
    held = holds(measured, *limits(predicted, bands))
    known = np.isfinite(held)
    if not known.any():
        return {"words": NO_BAND}, None
    share, n = float(held[known].mean()), int(known.any(axis=1).sum())
    words = f"{band_words(bands.level, share, n)} of this section; it was found on the training sections and promises nothing beyond them"
    return {"level": bands.level, "held": share, "n": n, "words": words}, share_held(held)


def _fit(measured: np.ndarray, predicted: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """a, b, floor and q, each float32 (n_outputs,)."""
    known = np.isfinite(measured) & np.isfinite(predicted)
    size = np.where(known, np.abs(measured - predicted), 0).astype(np.float64)
    at = np.where(known, predicted, 0).astype(np.float64)
    n = np.maximum(known.sum(axis=0), 1)
    mean_size, mean_at = size.sum(axis=0) / n, at.sum(axis=0) / n
    spread = np.where(known, at - mean_at, 0)
    square = (spread**2).sum(axis=0)
    b = np.where(square > 1e-12, (spread * size).sum(axis=0) / np.maximum(square, 1e-12), 0.0)
    a, floor = mean_size - b * mean_at, np.maximum(FLOOR * mean_size, 1e-6)
    scores = np.where(known, size / np.maximum(a + b * at, floor), np.inf)
    rank = np.ceil((n + 1) * level).astype(int)
    enough = (rank <= n) & (known.sum(axis=0) >= LEAST_SPOTS)
    q = np.take_along_axis(np.sort(scores, axis=0), np.minimum(rank, len(scores))[None] - 1, axis=0)[0]
    q = np.where(enough, q, np.nan)
    return a.astype(np.float32), b.astype(np.float32), floor.astype(np.float32), q.astype(np.float32)


def _around(predicted: np.ndarray, fitted: tuple[np.ndarray, ...], nonnegative: bool) -> tuple[np.ndarray, np.ndarray]:
    a, b, floor, q = fitted
    width = q * np.maximum(a + b * predicted, floor)
    low = predicted - width
    return (np.maximum(low, 0) if nonnegative else low).astype(np.float32), (predicted + width).astype(np.float32)
