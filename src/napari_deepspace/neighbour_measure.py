"""Stain of a neighbouring slide at the spots of a section, and whether it goes with expression there.

Neighbouring spots repeat one another: the interval of r comes from whole blocks of tissue, and its P from moved maps, never from single spots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_deepspace.align.quantify import Quantities, quantify
from napari_deepspace.align.transform import AlignedSlide, Alignment
from napari_deepspace.analyse.blocks import spot_blocks
from napari_deepspace.analyse.bootstrap import intervals, p_values
from napari_deepspace.analyse.metrics import pearson, spearman
from napari_deepspace.errors import DataError, DeepSpaceError
from napari_deepspace.geojson import stamp_of
from napari_deepspace.neighbour_fit import transform_of
from napari_deepspace.neighbours import Neighbour, complete
from napari_deepspace.section import Section
from napari_deepspace.slide import Slide

FEW = 30  #: spots, below which nothing is said
_PART = 200  #: spots that are measured before somebody may stop it


@dataclass(frozen=True)
class Agreement:
    """How two maps go together at ``n`` spots: Pearson's ``r`` with its 95 % ``interval``, ``p`` of moved maps for r > 0, ``spearman``."""

    what: str
    n: int
    r: float
    interval: tuple[float, float]
    p: float
    spearman: float
    blocks: int


def alignment_of(one: Neighbour, section: Section, slide: Slide) -> Alignment:
    """The alignment of a neighbour, as :mod:`napari_deepspace.align` knows it. Raises DataError where it is not aligned."""
    if one.transform is None or one.mpp is None:
        raise DataError(f"{one.name} is not aligned yet. Align it by itself, or set landmarks.")
    fixed, moving = complete(one.pairs)
    return Alignment(
        transform=transform_of(one.transform),
        fixed=AlignedSlide(stamp_of(section.require_slide()), section.mpp, section.library_id),
        moving=AlignedSlide(stamp_of(slide), one.mpp),
        method=one.how or "given",
        landmarks=np.stack([fixed, moving], axis=1),
        error_um=np.nan if one.error_um is None else one.error_um,
        gap_um=one.gap_um,
        note=one.note,
    )


def measure_stain(one: Neighbour, section: Section, slide: Slide) -> Generator[tuple[str, float], None, Quantities]:
    """Stain of a neighbour at each spot of ``section``, part by part; yields words and a share.

    Raises
    ------
    DataError
        As :func:`napari_deepspace.align.quantify.quantify`, for one where the alignment is off by more than a spot's diameter.
    """
    alignment, centres, parts = alignment_of(one, section, slide), section.centres_yx, []
    for first in range(0, len(centres), _PART):
        yield f"Measuring the stain: {first:,} of {len(centres):,} spots", first / len(centres)
        part = centres[first : first + _PART]
        parts.append(quantify(alignment, slide, part, section.platform.spot_diameter_um, fixed=section.slide))
    left_out: Counter[str] = Counter()
    for found in parts:
        left_out.update(found.left_out)
    table = pd.concat([found.table for found in parts], ignore_index=True)
    return Quantities(table, dict(left_out), parts[0].notes[:1], parts[0].positive_above)


def rows_beside(
    found: Quantities, way: str, gene: str, maps: dict[str, np.ndarray], section: Section, inside: tuple[str, np.ndarray] | None = None
) -> list[Agreement]:
    """The stain against each of ``maps`` of the gene (measured, predicted; (n_spots,), NaN where there is no value), the first one first; then what
    the H&E alone says of the same stain, and the first row at the spots of one outline, by name, alone."""
    stain, first = found.of(way), next(iter(maps))
    rows = [agreement(f"{gene} {name}", stain, values, section) for name, values in maps.items()]
    beside = {"H&E colour (darkness)": "fixed-rgb", "H&E haematoxylin": "fixed-haematoxylin"}
    for name, column in beside.items():
        if column in found.table:
            sign = -1 if column == "fixed-rgb" else 1
            rows.append(agreement(name, stain, sign * found.table[column].to_numpy(dtype=float), section))
    if inside is not None:
        try:
            rows.append(agreement(f"{gene} {first}, inside {inside[0]}", np.where(inside[1], stain, np.nan), maps[first], section))
        except DeepSpaceError:
            n = int((inside[1] & np.isfinite(stain)).sum())
            rows.append(Agreement(f"inside {inside[0]}: too few spots", n, np.nan, (np.nan, np.nan), np.nan, np.nan, 0))
    return rows


def agreement(what: str, one: np.ndarray, other: np.ndarray, section: Section, seed: int = 0) -> Agreement:
    """How two maps over the spots, (n_spots,) each with NaN where there is no value, go together.

    Raises
    ------
    DataError
        Fewer than FEW spots have both.
    """
    at = np.flatnonzero(np.isfinite(one) & np.isfinite(other))
    if len(at) < FEW:
        raise DataError(f"{what}: only {len(at)} spots have both values, {FEW} are needed. Look whether the slides overlap.")
    y, x = (np.asarray(values, dtype=np.float64)[at][:, None] for values in (one, other))
    um = section.centres_yx[at] * section.mpp
    blocks = spot_blocks(um)
    low, high = intervals(y, {"it": x}, "it", blocks, seed=seed).of["it"][0]
    p = float(p_values(y, x, um, seed=seed)[0])
    return Agreement(what, len(at), float(pearson(y, x)[0]), (float(low), float(high)), p, float(spearman(y, x)[0]), blocks.number)
