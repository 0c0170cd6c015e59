"""How much stain a neighbouring slide has at the places of a section: DAB, the inverted colour of a box, positive pixels, positive cells.

Places lie on the fixed slide, the stain on the moving one; only the pixels around each place are read. Colour deconvolution is that of scikit-image
(``rgb2hed``: Ruifrok and Johnston 2001) in optical density, logarithm to base 10, against white of 255. No Qt, no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import shapely
from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry
from skimage.color import hed_from_rgb

from napari_deepspace.align.transform import IDENTITY, AlignedSlide, Alignment, LocalError, Transform
from napari_deepspace.cells import Cells, positive_cells
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.geojson import stamp_of
from napari_deepspace.outlines import Outline
from napari_deepspace.slide import Slide

WAYS = {
    "dab": "DAB optical density",
    "inverted-rgb": "inverted mean RGB, 14 x 14 px",
    "positive-share": "positive share of pixels",
    "positive-cells": "positive share of cells",
    "h-score": "H-score",
}
"""Ways to quantify a stain, in words; the first is the default. The last two need cells that QuPath detected."""
CELL_WAYS = ("positive-cells", "h-score")
POSITIVE_ABOVE = 0.2  #: DAB optical density of a positive pixel
BOX_PX = 14  #: the paper's
UM_PER_PX = 1.0  #: pixels are read on the coarsest level that is as fine as this
LEAST_TISSUE = 0.5  #: share of a place that must be tissue, on either side
DARK = 100  #: a slide whose brightest parts are darker was not made with light from below
_ABSORBED = 0.07  #: of the light of bare glass, in any colour: what absorbs more is tissue
_BLOCK_PX = 1024
_TO_OD = 6.0  # rgb2hed takes logarithms to base 1e-6
_OD = -np.log10(np.maximum(np.arange(256) / 255, 1e-6))


@dataclass(frozen=True)
class Quantities:
    """``table`` has a row a place: ``dab``, ``haematoxylin``, ``inverted-rgb``, ``positive-share``, ``tissue`` (share of the moving slide's pixels
    there), and ``positive-cells``, ``h-score`` and ``cells`` where cells were given; NaN where there is no tissue on either side.

    ``left_out`` counts these by their reason. ``notes`` are plain sentences that have to stand beside the numbers.
    """

    table: pd.DataFrame
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    positive_above: float = POSITIVE_ABOVE

    def of(self, way: str) -> np.ndarray:
        """The values of one of :data:`WAYS`, float64 (n,). Raises SettingsError for another, or where cells are needed."""
        if way not in WAYS:
            raise SettingsError(f"{way!r} is no way to quantify a stain. Choose {', '.join(WAYS)}.")
        if way not in self.table:
            raise SettingsError(f"{WAYS[way]} needs the cells of the slide. Export them from QuPath as GeoJSON and give the file (--cells).")
        return self.table[way].to_numpy(dtype=np.float64)


def densities(rgb: np.ndarray) -> np.ndarray:
    """Haematoxylin, eosin and DAB of pixels uint8 (..., 3): optical density float64 (..., 3), 6 times ``skimage.color.rgb2hed``."""
    return np.asarray(np.maximum(_OD[rgb] @ hed_from_rgb, 0))


def require_fit(alignment: Alignment, fixed: Slide | None, moving: Slide, spot_diameter_um: float) -> list[str]:
    """Raise DataError where the alignment is of other slides, or too far off to quantify with; otherwise what has to be said of it."""
    for name, slide, side in (("fixed", fixed, alignment.fixed), ("moving", moving, alignment.moving)):
        if slide is not None and not side.stamp.is_same(stamp_of(slide, side.stamp.offset_xy)):
            raise DataError(f"The alignment was made with {side.stamp.name} as its {name} slide, not with this {slide.path.name}. Align these two.")
    _require_scale(alignment.moving, moving)
    off, local = alignment.error_um, alignment.local_error
    if local is not None and not np.isfinite(off):
        return [_require_local(local, spot_diameter_um)]
    if off > spot_diameter_um:
        raise DataError(
            f"Withheld: the alignment is off by {off:.0f} um, more than a spot's diameter ({spot_diameter_um:.0f} um), so that the stain of other "
            "tissue would be read. Align again with more landmarks."
        )
    known = f"Alignment ({alignment.method}): off by {off:.0f} um where landmarks were left out." if np.isfinite(off) else ""
    return [known or f"Alignment ({alignment.method}): its error is not known. Look at the overlay before you trust a number."]


def _require_local(local: LocalError, spot_diameter_um: float) -> str:
    """What is to say of an automatic alignment. Raises DataError where most of the tissue is off by more than a spot."""
    if local.median_um is None or local.p90_um is None:
        return f"Alignment (automatic): {local.words}. Look at the overlay before you trust a number."
    if local.median_um > spot_diameter_um:
        raise DataError(
            f"Withheld: the alignment is {local.words}, which is more than a spot's diameter ({spot_diameter_um:.0f} um), so that the stain of other "
            "tissue would be read. Align by landmarks."
        )
    wide = f"a spot is {spot_diameter_um:.0f} um wide"
    far = f" Where it is worst the stain of other tissue is read: {wide}." if local.p90_um > spot_diameter_um else ""
    return f"Alignment (automatic): {local.words}.{far}"


def _require_scale(side: AlignedSlide, slide: Slide) -> None:
    if not side.mpp > 0:
        raise DataError(f"{slide.path.name} has no scale. Say how many um a pixel is (--mpp) and align again.")
    if slide.mpp is not None and abs(slide.mpp / side.mpp - 1) > 0.02:
        raise DataError(f"{slide.path.name} has {slide.mpp:g} um per px, the alignment was made with {side.mpp:g}. Align again.")


def glass_of(slide: Slide) -> np.ndarray:
    """The colour of bare glass, float64 (3,): the brightest parts of the slide. Raises DataError where it is no bright-field picture."""
    small = slide.thumbnail(512).reshape(-1, 3)
    glass = np.percentile(small, 99, axis=0)
    if glass.mean() < DARK or np.median(small.max(axis=1)) < DARK / 4:
        raise DataError(
            f"{slide.path.name} is dark where there is no tissue, as fluorescence is. DAB is quantified on bright-field slides: give the IHC "
            "scanned with white light, or export one channel inverted."
        )
    return np.asarray(glass, dtype=np.float64)


def quantify(
    alignment: Alignment,
    moving: Slide,
    places: np.ndarray | Sequence[Outline],
    diameter_um: float,
    *,
    fixed: Slide | None = None,
    cells: Cells | None = None,
    positive_above: float = POSITIVE_ABOVE,
) -> Quantities:
    """Quantify the stain of ``moving`` at places of the fixed slide.

    ``places`` are centres (n, 2), (row, column) in full-resolution px of the fixed slide, of discs ``diameter_um`` wide (a spot's diameter, also for
    points between spots), or outlines drawn on it. With ``fixed``, places without tissue there are left out too. ``cells`` were detected on the
    moving slide (its px). An alignment that is off by more than ``diameter_um`` is refused; for outlines give the spot's diameter.

    Raises
    ------
    DataError
        The alignment is of other slides or too far off, or the moving slide is no bright-field picture.
    SettingsError
        ``positive_above`` is no optical density.
    """
    if not 0 < positive_above < 6:
        raise SettingsError(f"A pixel cannot be positive above an optical density of {positive_above:g}. Give one between 0 and 6, 0.2 is usual.")
    notes = require_fit(alignment, fixed, moving, diameter_um)
    shapes = _shapes(places, alignment.fixed.mpp, diameter_um)
    glass = glass_of(moving)
    table = _measured(moving, alignment.moving.mpp, alignment.transform, shapes, glass, positive_above)
    if isinstance(places, np.ndarray):
        at_px = alignment.transform.inverse_points(places.reshape(-1, 2) * alignment.fixed.mpp) / alignment.moving.mpp
        table["inverted-rgb"] = [_inverted(moving, centre) for centre in at_px]
    else:
        table["inverted-rgb"] = 255 - table["rgb"]  # a box says nothing of an outline
    if cells is not None:
        table = table.join(_cells_of(cells, alignment, shapes))
    reasons = {f"no tissue on {moving.path.name}": ~(table["tissue"].to_numpy() >= LEAST_TISSUE)}
    if fixed is not None:
        own = _measured(fixed, alignment.fixed.mpp, IDENTITY, shapes, glass_of(fixed), positive_above)
        table["fixed-haematoxylin"], table["fixed-rgb"] = own["haematoxylin"], own["rgb"]
        reasons = {f"no tissue on {fixed.path.name}": ~(own["tissue"].to_numpy() >= LEAST_TISSUE)} | reasons
    out, counted = np.zeros(len(table), dtype=bool), {}
    for reason, missing in reasons.items():
        counted[reason] = int((missing & ~out).sum())
        out |= missing
    table.loc[out, [name for name in table.columns if name not in ("tissue", "cells")]] = np.nan
    if out.any():
        notes.append(f"{int(out.sum()):,} of {len(table):,} places left out: " + ", ".join(f"{n:,} {why}" for why, n in counted.items() if n) + ".")
    if cells is not None:
        notes += without_cells(table)
    return Quantities(table.drop(columns="rgb"), {why: n for why, n in counted.items() if n}, notes, positive_above)


def without_cells(table: pd.DataFrame) -> list[str]:
    """How many places of a table of :class:`Quantities` have tissue and no cell: a sentence, or none."""
    empty = int(((table["cells"] == 0) & table["dab"].notna()).sum())
    return [f"{empty:,} places with tissue have no cell with its centre in them, and so no score of cells."] if empty else []


def outline_table(outlines: Sequence[Outline], found: pd.DataFrame) -> pd.DataFrame:
    """One row an outline: name, class, id and what was quantified, ``found`` of :class:`Quantities`."""
    said = pd.DataFrame(
        {
            "name": [outline.name for outline in outlines],
            "class": [outline.classification for outline in outlines],
            "id": [outline.id for outline in outlines],
        }
    )
    return said.join(found)


def _shapes(places: np.ndarray | Sequence[Outline], mpp: float, diameter_um: float) -> list[BaseGeometry]:
    """Places in um of the fixed slide, (x, y)."""
    if isinstance(places, np.ndarray):
        return [Point(x * mpp, y * mpp).buffer(diameter_um / 2, 32) for y, x in places.reshape(-1, 2)]
    return [shapely.transform(outline.geometry, lambda xy: xy * mpp) for outline in places]


def _measured(
    slide: Slide, mpp: float, transform: Transform, shapes: Sequence[BaseGeometry], glass: np.ndarray, positive_above: float
) -> pd.DataFrame:
    """What the pixels of ``slide`` say inside each of ``shapes`` (um of the fixed slide): means, and shares of them that are tissue or positive."""
    level, step = _level(slide, mpp)
    rows: list[dict[str, float]] = []
    for shape in shapes:
        sums = np.zeros(6)
        for rgb in _pixels(slide, level, step, mpp, transform, shape):
            found = densities(rgb)
            tissue = (rgb < glass * (1 - _ABSORBED)).any(axis=1)
            positive = tissue & (found[:, 2] > positive_above)
            sums += [len(rgb), tissue.sum(), positive.sum(), found[:, 2].sum(), found[:, 0].sum(), rgb.mean(axis=1).sum()]
        n, tissue_n, positive_n, dab, haematoxylin, light = sums
        rows.append(
            {
                "dab": dab / n if n else np.nan,
                "haematoxylin": haematoxylin / n if n else np.nan,
                "positive-share": positive_n / tissue_n if tissue_n else np.nan,
                "tissue": tissue_n / n if n else 0.0,
                "rgb": light / n if n else np.nan,
            }
        )
    return pd.DataFrame(rows, columns=["dab", "haematoxylin", "positive-share", "tissue", "rgb"])


def _level(slide: Slide, mpp: float) -> tuple[int, np.ndarray]:
    """The coarsest level of at most UM_PER_PX, and the px of full resolution that its pixels are high and wide."""
    full = np.array(slide.shape)
    steps = [full / level.shape[:2] for level in slide.levels]
    level = max((number for number, step in enumerate(steps) if step.max() * mpp <= UM_PER_PX * 1.01), default=0)
    return level, steps[level]


def _pixels(slide: Slide, level: int, step: np.ndarray, mpp: float, transform: Transform, shape: BaseGeometry) -> Iterator[np.ndarray]:
    """The pixels of a level whose middles lie in ``shape``, uint8 (n, 3), block by block."""
    border = shapely.get_coordinates(shapely.segmentize(shape.convex_hull, max(shape.length / 64, 1e-9)))[:, ::-1]
    at = transform.inverse_points(border) / mpp / step
    limit = np.array(slide.levels[level].shape[:2])
    low, high = np.clip(np.floor(at.min(axis=0)).astype(int) - 1, 0, limit), np.clip(np.ceil(at.max(axis=0)).astype(int) + 2, 0, limit)
    shapely.prepare(shape)
    for top in range(low[0], high[0], _BLOCK_PX):
        for left in range(low[1], high[1], _BLOCK_PX):
            height, width = min(_BLOCK_PX, high[0] - top), min(_BLOCK_PX, high[1] - left)
            index = np.indices((height, width)).reshape(2, -1).T + np.array([top, left])
            inside = transform.apply(((index + 0.5) * step - 0.5) * mpp)
            there = shapely.intersects_xy(shape, inside[:, 1], inside[:, 0])
            if there.any():
                yield slide.read_region(top, left, height, width, level).reshape(-1, 3)[there]


def _inverted(slide: Slide, centre_px: np.ndarray) -> float:
    """255 less the mean of R, G and B in a box of BOX_PX full-resolution px; NaN where it does not lie on the slide."""
    top, left = np.round(centre_px).astype(int) - BOX_PX // 2
    if min(top, left) < 0 or top + BOX_PX > slide.shape[0] or left + BOX_PX > slide.shape[1]:
        return float("nan")
    return float(255 - slide.read_region(int(top), int(left), BOX_PX, BOX_PX).mean())


def _cells_of(cells: Cells, alignment: Alignment, shapes: Sequence[BaseGeometry]) -> pd.DataFrame:
    """Cells with their centre in each place: how many, the share that is positive, and the H-score (NaN where classes have no strength)."""
    strength = h_strength(cells.classes)
    positive = positive_cells(cells)
    middles = alignment.transform.apply(cells.centres_yx * alignment.moving.mpp)
    tree = shapely.STRtree(shapely.points(middles[:, ::-1]))
    rows = []
    for shape in shapes:
        found = tree.query(shape, predicate="intersects")
        rows.append(
            {
                "cells": len(found),
                "positive-cells": positive[found].mean() if len(found) else np.nan,
                "h-score": 100 * strength[found].mean() if len(found) else np.nan,
            }
        )
    return pd.DataFrame(rows, columns=["cells", "positive-cells", "h-score"])


def h_strength(classes: np.ndarray) -> np.ndarray:
    """0 to 3 of each cell by QuPath's classes Negative, 1+, 2+ and 3+ (also "Tumor: 2+"), float64 (n,); all NaN where no cell has a strength."""
    last = [str(name).rsplit(":", 1)[-1].strip().casefold() for name in classes]
    known: dict[str, Any] = {"1+": 1.0, "2+": 2.0, "3+": 3.0}
    if not known.keys() & set(last):
        return np.full(len(classes), np.nan)
    return np.array([known.get(name, np.nan if name == "positive" else 0.0) for name in last])
