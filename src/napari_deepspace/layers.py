"""From sections and results to what napari shows: plain arrays and layer tuples. Nothing here imports napari.

A layer tuple is ``(data, keyword arguments, type)``. Data are in full-resolution px; ``scale`` makes napari's world micrometres.
A layer is known by ``metadata["napari_deepspace"]``, never by its name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_deepspace.results import PREDICTED, SOURCE, SPLIT, UNS
from napari_deepspace.section import Section

LayerTuple = tuple[Any, dict[str, Any], str]
Show = Literal["measured", "predicted", "difference"]

METADATA = "napari_deepspace"
UNITS = ("um", "um")
UNIT = "log1p(counts per median depth)"
HONEST = ("out-of-fold", "imputed")
"""Sources that may stand beside a measured value: the model never saw these spots."""

HOLLOW = np.array([0.55, 0.55, 0.55, 0.9], dtype=np.float32)
CLEAR = np.zeros(4, dtype=np.float32)
RING = 0.16  #: width of a hollow spot's border, as a share of its diameter


@dataclass(frozen=True)
class Maps:
    """Predictions at the spots of one section, in the section's order of spots.

    ``predicted`` is float32 (n_spots, n_genes), NaN wherever no honest prediction exists; ``source`` and ``split`` (n_spots,) say why.
    """

    library_id: str
    genes: tuple[str, ...]
    predicted: np.ndarray
    source: np.ndarray
    split: np.ndarray
    model: str = ""
    target_sum: float | None = None
    unit: str = UNIT
    r: dict[str, float] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)  #: gene -> name of the simple way -> r
    n_scored: int = 0
    split_words: str = ""
    live: bool = False  #: a training still works on it

    def of(self, gene: str) -> np.ndarray | None:
        """Predicted values of ``gene``, float32 (n_spots,), or None."""
        return self.predicted[:, self.genes.index(gene)] if gene in self.genes else None


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


def metadata(section: Section, role: str) -> dict[str, Any]:
    """What a layer is, as JSON-able metadata."""
    return {METADATA: {"library_id": section.library_id, "role": role, "synthetic": bool(section.synthetic)}}


def slide_layer(section: Section, role: str = "slide") -> LayerTuple:
    """The H&E slide as a lazy multiscale RGB image.

    Raises
    ------
    DataError
        The section has no slide.
    """
    levels = section.require_slide().dask_levels()
    data = levels if len(levels) > 1 else levels[0]
    kwargs = {
        "name": f"{section.library_id} H&E",
        "rgb": True,
        "multiscale": len(levels) > 1,
        "scale": (section.mpp, section.mpp),
        "units": UNITS,
        "metadata": metadata(section, role),
    }
    return data, kwargs, "image"


def spots_layer(section: Section, role: str = "spots") -> LayerTuple:
    """The spots as points of their true size, hollow until something is painted."""
    n = section.adata.n_obs
    kwargs = {
        "name": f"{section.library_id} spots",
        "size": section.spot_diameter_px,
        "scale": (section.mpp, section.mpp),
        "units": UNITS,
        "face_color": np.tile(CLEAR, (n, 1)),
        "border_color": np.tile(HOLLOW, (n, 1)),
        "border_width": RING,
        "border_width_is_relative": True,
        "features": pd.DataFrame({"barcode": section.adata.obs_names.astype(str)}),
        "metadata": metadata(section, role),
    }
    return section.centres_yx, kwargs, "points"


def section_layers(section: Section) -> list[LayerTuple]:
    """The slide, where there is one, and the spots above it."""
    return ([slide_layer(section)] if section.slide is not None else []) + [spots_layer(section)]


def maps_of_result(result: AnnData, section: Section) -> Maps:
    """The predictions of a result file in the order of ``section``'s spots; spots are matched by barcode.

    A value from a spot that the model was trained on is left out (NaN), so that it can never be painted as a prediction.
    """
    at = result.obs_names.get_indexer(section.adata.obs_names)
    found = at >= 0
    genes = tuple(str(gene) for gene in result.uns[UNS]["genes"] if gene in result.var_names)
    columns = result.var_names.get_indexer(list(genes))
    values = np.asarray(result.layers[PREDICTED], dtype=np.float32)[:, columns]
    source = np.where(found, result.obs[SOURCE].astype(str).to_numpy()[at], "none")
    split = np.where(found, result.obs[SPLIT].astype(str).to_numpy()[at], "none")
    predicted = np.where((found & np.isin(source, HONEST))[:, None], values[at], np.nan).astype(np.float32)
    about = result.uns[UNS]
    target = about.get("target_sum")
    return Maps(
        library_id=section.library_id,
        genes=genes,
        predicted=predicted,
        source=source,
        split=split,
        model=str(about.get("model", "")),
        target_sum=float(target) if target is not None and np.isfinite(target) else None,
        unit=str(about.get("unit", UNIT)),
    )


def live_maps(section: Section, genes: tuple[str, ...], predicted: np.ndarray, model: str) -> Maps | None:
    """Maps of a training that is still going on; None when the array does not fit the section."""
    if predicted.shape != (section.adata.n_obs, len(genes)):
        return None
    known = np.isfinite(predicted).any(axis=1)
    source = np.where(known, "out-of-fold", "not yet")
    return Maps(section.library_id, genes, predicted, source, np.where(known, "test", "none"), model, live=True)


def measured_values(counts: np.ndarray, totals: np.ndarray, target_sum: float) -> np.ndarray:
    """log(1 + count / total x ``target_sum``) of one gene: float32 (n_spots,), NaN at spots without any count."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.log1p(np.asarray(counts, dtype=np.float64) / totals * target_sum)
    return np.where(totals > 0, scaled, np.nan).astype(np.float32)


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
    return View(gene, show, values, measured, predicted, limits, face, border, origin + (", still training" if live else ""))


def _automatic_limits(show: Show, values: np.ndarray, measured: np.ndarray, predicted: np.ndarray, shared: bool) -> tuple[float, float]:
    if show == "difference":
        top = max(abs(limit) for limit in limits_of(values)) if np.isfinite(values).any() else 1.0
        return -top, top
    return limits_of(measured, predicted) if shared and np.isfinite(predicted).any() else limits_of(values)


def spot_notes(maps: Maps | None, reasons: np.ndarray) -> np.ndarray:
    """One plain remark a spot: why it was removed, or how its prediction came about; "" where there is nothing to say."""
    words = {"training": "training spot: not scored", "not yet": "no prediction yet", "none": "no prediction", "excluded": "no prediction"}
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
