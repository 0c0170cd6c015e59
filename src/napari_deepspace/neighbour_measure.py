"""Stain of a neighbouring slide at the spots of a section, and whether it goes with expression there.

Neighbouring spots repeat one another: the interval of r comes from whole blocks of tissue, and its P from moved maps, never from single spots.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_deepspace.align.transform import Transform
from napari_deepspace.analyse.blocks import spot_blocks
from napari_deepspace.analyse.bootstrap import intervals, p_values
from napari_deepspace.analyse.metrics import pearson, spearman
from napari_deepspace.errors import DataError, DeepSpaceError
from napari_deepspace.neighbour_layers import stain_amount
from napari_deepspace.section import Section
from napari_deepspace.slide import Slide
from napari_deepspace.tiles import cut_tiles

Way = Literal["dab", "rgb", "positive"]
WAYS: dict[Way, str] = {"dab": "DAB, mean optical density", "rgb": "Mean RGB in 14 x 14 px, inverted", "positive": "Positive share of pixels"}
POSITIVE = 0.03  #: amount of DAB, scikit-image's unit, from which a pixel counts as positive
GLASS, EMPTY = 215, 0.5  #: a pixel is glass if its darkest channel is above GLASS; a tile with more than EMPTY of it holds no tissue
RGB_PX = 14  #: side of the paper's square, full-resolution px
FEW = 30  #: spots, below which nothing is said
_PART = 256


@dataclass(frozen=True)
class Stained:
    """``values`` float64 (n_spots,): stain at each spot, NaN where the neighbour has no tissue, ``without`` spots, or ends, ``outside`` spots."""

    way: Way
    values: np.ndarray
    without: int
    outside: int


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


def withheld_words(error_um: float | None, section: Section) -> str:
    """Why nothing is measured with an alignment that is off by ``error_um``; "" where it may be."""
    spot = section.platform.spot_diameter_um
    if error_um is not None and error_um > spot:
        return f"The alignment is off by {error_um:.0f} um, more than a spot's {spot:.0f} um, so nothing is measured. Set landmarks, or align again."
    return ""


def measure_stain(section: Section, slide: Slide, mpp: float, transform: Transform, way: Way = "dab") -> Generator[tuple[str, float], None, Stained]:
    """Stain of ``slide`` (``mpp`` um per px) in the disc of each spot of ``section``, or in the paper's square; yields words and a share.

    Raises
    ------
    DataError
        The slide has a dark background, as fluorescence has, or does not cover the spots.
    """
    corner = slide.thumbnail(64).reshape(-1, 3)
    if np.median(corner.max(axis=1)) < 60:
        raise DataError("This slide is dark, as fluorescence is: DAB is brown on bright ground. Load a brightfield slide.")
    centres = transform.inverse_points(section.centres_yx * section.mpp) / mpp
    radius = max(round(section.platform.spot_diameter_um / 2 / transform.scale / mpp), 2) if way != "rgb" else RGB_PX // 2
    inside = ((centres >= radius) & (centres < np.array(slide.shape) - radius)).all(axis=1)
    if not inside.any():
        raise DataError("No spot lies on the neighbouring slide. Align it again.")
    disc = (
        np.hypot(*np.meshgrid(*[np.arange(2 * radius) - radius + 0.5] * 2, indexing="ij")) <= radius if way != "rgb" else np.ones((RGB_PX,) * 2, bool)
    )
    values, rows = np.full(len(centres), np.nan), np.flatnonzero(inside)
    without = 0
    for first in range(0, len(rows), _PART):
        yield f"Measuring the stain: {first:,} of {len(rows):,} spots", first / len(rows)
        part = rows[first : first + _PART]
        for index, tile in zip(part, cut_tiles(slide, centres[part], radius), strict=True):
            if (tile.min(axis=2)[disc] > GLASS).mean() > EMPTY:
                without += 1
                continue
            values[index] = _amount(tile, disc, way)
    return Stained(way, values, without, int((~inside).sum()))


def agreement(what: str, one: np.ndarray, other: np.ndarray, section: Section, seed: int = 0) -> Agreement:
    """How two maps over the spots, (n_spots,) each with NaN where there is no value, go together.

    Raises
    ------
    DeepSpaceError
        Fewer than FEW spots have both.
    """
    at = np.flatnonzero(np.isfinite(one) & np.isfinite(other))
    if len(at) < FEW:
        raise DeepSpaceError(f"{what}: only {len(at)} spots have both values, {FEW} are needed.")
    y, x = (np.asarray(values, dtype=np.float64)[at][:, None] for values in (one, other))
    um = section.centres_yx[at] * section.mpp
    blocks = spot_blocks(um)
    low, high = intervals(y, {"it": x}, "it", blocks, seed=seed).of["it"][0]
    p = float(p_values(y, x, um, seed=seed)[0])
    return Agreement(what, len(at), float(pearson(y, x)[0]), (float(low), float(high)), p, float(spearman(y, x)[0]), blocks.number)


def _amount(tile: np.ndarray, disc: np.ndarray, way: Way) -> float:
    if way == "rgb":
        return 255.0 - float(tile.mean())
    dab = stain_amount(np.ascontiguousarray(tile), "dab")[disc]
    return float(dab.mean()) if way == "dab" else float((dab > POSITIVE).mean())
