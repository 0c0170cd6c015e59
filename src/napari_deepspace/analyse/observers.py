"""Two outlines, or two people's outlines, against each other: Dice and IoU of areas and of the spots inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from napari_deepspace.analyse.regions import class_name
from napari_deepspace.outlines import Outline, inside


def area_overlap(one: BaseGeometry, other: BaseGeometry) -> tuple[float, float]:
    """Dice and IoU of two areas; NaN where both are empty."""
    return _overlap(one.intersection(other).area, one.area, other.area)


def spot_overlap(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Dice and IoU of two sets of spots, bool (n,) each; NaN where both are empty."""
    return _overlap(float((one & other).sum()), float(one.sum()), float(other.sum()))


def _overlap(both: float, one: float, other: float) -> tuple[float, float]:
    if one + other <= 0:
        return float("nan"), float("nan")
    return 2 * both / (one + other), both / (one + other - both)


def compare_observers(one: Sequence[Outline], other: Sequence[Outline], centres_yx: np.ndarray, mpp: float) -> pd.DataFrame:
    """Two observers class by class, one row each in the order of the first: areas in mm2, Dice and IoU of areas and of spots, and how many spots
    both, only the first, or only the second put there. ``centres_yx`` (n, 2) are spots in px."""
    rows = []
    for name in dict.fromkeys(map(class_name, [*one, *other])):
        mine, theirs = ([outline for outline in some if class_name(outline) == name] for some in (one, other))
        areas = [shapely.union_all([outline.geometry for outline in some]) for some in (mine, theirs)]
        spots = [inside(some, centres_yx) for some in (mine, theirs)]
        dice, iou = area_overlap(*areas)
        spot_dice, spot_iou = spot_overlap(*spots)
        rows.append(
            {
                "class": name,
                "area_one_mm2": areas[0].area * mpp**2 / 1e6,
                "area_other_mm2": areas[1].area * mpp**2 / 1e6,
                "dice": dice,
                "iou": iou,
                "spots_both": int((spots[0] & spots[1]).sum()),
                "spots_only_one": int((spots[0] & ~spots[1]).sum()),
                "spots_only_other": int((spots[1] & ~spots[0]).sum()),
                "spots_dice": spot_dice,
                "spots_iou": spot_iou,
            }
        )
    return pd.DataFrame(rows)
