"""What lies inside an outline: its area, its spots, what was measured and predicted there, and the genes that differ from outside.

A spot belongs to an outline if its centre lies inside or on the border; a spot whose disc crosses the border is counted beside, whichever side its
centre is on, because its RNA comes from both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import shapely
from anndata import AnnData
from shapely.geometry.base import BaseGeometry

from napari_deepspace.analyse.metrics import auc
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.outlines import Outline, inside
from napari_deepspace.preprocess.clusters import differential_genes

BY = ("outline", "class")
QUARTILES = ("n", "mean", "q1", "median", "q3")
LEAST_SPOTS = 3  #: inside and outside, for a list of differential genes: fewer have no ranks to speak of


@dataclass(frozen=True)
class Region:
    """What is described and tested as one: an outline, or all outlines of a class together. ``geometry`` is in full-resolution px, (x, y)."""

    name: str
    outlines: tuple[Outline, ...]
    geometry: BaseGeometry


def class_name(outline: Outline) -> str:
    """What an outline counts as: its class, or, without one, its name."""
    return outline.classification or outline.name or "unnamed"


def regions_of(outlines: Sequence[Outline], by: str = "outline") -> list[Region]:
    """One region an outline, or one a class; what outlines of a class have in common counts once.

    Raises
    ------
    DataError
        There are no outlines.
    SettingsError
        ``by`` is neither outline nor class.
    """
    if by not in BY:
        raise SettingsError(f"Regions are made by outline or by class; found {by!r}. Give one of these.")
    if not outlines:
        raise DataError("There is no outline to describe. Draw one round the tissue in question.")
    if by == "outline":
        return [Region(outline.name or class_name(outline), (outline,), outline.geometry) for outline in outlines]
    found: dict[str, list[Outline]] = {}
    for outline in outlines:
        found.setdefault(class_name(outline), []).append(outline)
    return [Region(name, tuple(some), shapely.union_all([one.geometry for one in some])) for name, some in found.items()]


def spots_inside(region: Region, centres_yx: np.ndarray) -> np.ndarray:
    """Which spots at ``centres_yx`` (n, 2), (row, column) in px, belong to a region: bool (n,)."""
    return inside(region.outlines, centres_yx)


def spots_on_border(region: Region, centres_yx: np.ndarray, diameter_px: float) -> np.ndarray:
    """Which spots' discs the border of a region crosses: bool (n,)."""
    points = shapely.points(np.asarray(centres_yx, dtype=np.float64).reshape(-1, 2)[:, ::-1])
    return np.asarray(shapely.distance(points, region.geometry.boundary) < diameter_px / 2)


def area_mm2(region: Region, mpp: float) -> float:
    """Area of a region; ``mpp`` is um per px."""
    return float(region.geometry.area * mpp**2 / 1e6)


def distribution(values: np.ndarray) -> dict[str, float]:
    """Number, mean and quartiles of ``values``, without NaN."""
    there = np.asarray(values, dtype=np.float64)
    there = there[np.isfinite(there)]
    if not len(there):
        return dict.fromkeys(QUARTILES, float("nan")) | {"n": 0}
    return dict(zip(QUARTILES, (len(there), float(there.mean()), *map(float, np.quantile(there, (0.25, 0.5, 0.75)))), strict=True))


def auroc(within: np.ndarray, values: np.ndarray) -> float:
    """How well a gene tells inside from outside: the chance that it is higher at a spot inside than at one outside; NaN where a side is empty.

    ``within`` bool (n,), ``values`` (n,); spots without a value are left out.
    """
    there = np.isfinite(values)
    return float(auc(within[there, None].astype(np.float64), np.asarray(values, dtype=np.float64)[there, None])[0]) if there.any() else float("nan")


def genes_inside(adata: AnnData, within: np.ndarray, keep: np.ndarray) -> pd.DataFrame:
    """Genes higher or lower inside than outside, of kept spots: scanpy's Wilcoxon rank sum on log-normalised counts, the highest score first.

    Columns gene, log2_fold_change, score, detected_in, detected_elsewhere. Its p values are left out: they take neighbouring spots for independent
    ones; :func:`napari_deepspace.analyse.region_tests.moved_p` does not. Imports scanpy, which takes seconds.

    Raises
    ------
    DataError
        Fewer than three kept spots inside, or outside.
    """
    counts = {"inside": int((keep & within).sum()), "outside": int((keep & ~within).sum())}
    if min(counts.values()) < LEAST_SPOTS:
        raise DataError(
            f"{counts['inside']} measured spots lie inside and {counts['outside']} outside; differential genes need {LEAST_SPOTS} on either side. "
            "Draw another outline."
        )
    labels = pd.Series(pd.Categorical(np.where(within, "inside", "outside"), ["inside", "outside"]), index=adata.obs_names)
    table = differential_genes(adata, labels, keep)
    table = table[table["cluster"] == "inside"]
    return table[["gene", "log2_fold_change", "score", "detected_in", "detected_elsewhere"]].reset_index(drop=True)
