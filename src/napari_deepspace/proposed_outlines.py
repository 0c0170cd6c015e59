"""Outlines proposed from a denser map (predicted), or from spots: where a gene is above a threshold, or a cluster is the likeliest.

A proposal has no class: what the tissue is there is for a pathologist to say. Its origin is MADE, with the gene and the run, so that it cannot be
tested with the gene that it was made from (:mod:`napari_deepspace.analyse.region_tests`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import shapely
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import cKDTree
from shapely.geometry import Polygon
from skimage.filters import threshold_otsu
from skimage.measure import find_contours

from napari_deepspace.denser import DenserMap, probabilities, to_image, values
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.outlines import MADE, Outline
from napari_deepspace.section import Section
from napari_deepspace.views import likeliest

REACH = 0.6  #: how far beside the outermost spots their value is drawn out, in distances between spots


@dataclass(frozen=True)
class ScoreMap:
    """What outlines are proposed from: ``image`` float32 (rows, columns) of one gene or cluster, NaN outside the tissue.

    ``origin_yx_px`` is where its first point lies, (row, column) in full-resolution px, and ``step_px`` how far apart points are; ``level`` is set
    where nobody may choose a threshold, of clusters. ``shows`` is predicted, measured, likeliest cluster or cluster.
    """

    image: np.ndarray
    origin_yx_px: tuple[float, float]
    step_px: float
    mpp: float
    output: str
    shows: str
    source: str
    run: str = ""
    level: float | None = None
    least_um2: float = 0.0  #: pieces and holes below it are dropped
    where: str = ""  #: what it is, for messages

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value; raises DataError where they are the same."""
        found = self.image[np.isfinite(self.image)]
        if not len(found) or found.min() == found.max():
            raise DataError(f"{self.output} is {self.shows} the same everywhere in {self.where}: no threshold parts it. Take another gene.")
        return float(found.min()), float(found.max())

    def name(self, level: float) -> str:
        """What outlines above ``level`` are called."""
        return f"{self.output}, {self.shows}" if self.level is not None else f"{self.output} {self.shows} > {level:.2f}"


def denser_scores(dmap: DenserMap, output: str, least_um2: float | None = None) -> ScoreMap:
    """One output of a denser map; of clusters 1 where it is the likeliest one and 0 elsewhere. ``least_um2`` left out: one tile.

    Raises
    ------
    SettingsError
        There is no such output.
    DataError
        The points lie on no grid.
    """
    if dmap.cell is None or dmap.step_px is None or dmap.origin_yx_px is None:
        raise DataError(f"The points of {dmap.folder} lie between spots, on no grid, and have no contour. Predict on a grid (--at grid).")
    clusters = dmap.kind == "clusters"
    return ScoreMap(
        image=to_image(dmap, _of(dmap, output)),
        origin_yx_px=dmap.origin_yx_px,
        step_px=dmap.step_px,
        mpp=dmap.mpp,
        output=output,
        shows="likeliest cluster" if clusters else "predicted",
        source="denser map (predicted)",
        run=dmap.run,
        level=0.5 if clusters else None,
        least_um2=dmap.tile_um**2 if least_um2 is None else least_um2,
        where=str(dmap.folder),
    )


def spot_scores(section: Section, values: np.ndarray, output: str, shows: str, run: str = "", level: float | None = None) -> ScoreMap:
    """``values`` (n_spots,) of spots, NaN where there are none, drawn out between neighbouring spots: a point every quarter of their distance.

    Nothing is said farther than 0.6 of that distance from every spot: on a hexagonal lattice no place between spots is.
    ``level``: of clusters, whose values are 1 inside and 0 elsewhere.

    Raises
    ------
    DataError
        Fewer than four spots have a value.
    """
    there = np.isfinite(values)
    if there.sum() < 4:
        raise DataError(f"Only {int(there.sum())} spots have a value of {output}: nothing can be outlined. Take another gene.")
    centres, step = section.centres_yx[there], section.pitch_px / 4
    low, high = centres.min(axis=0) - section.pitch_px, centres.max(axis=0) + section.pitch_px
    shape = np.ceil((high - low) / step).astype(int) + 1
    grid = np.stack(np.meshgrid(*(low[axis] + step * np.arange(shape[axis]) for axis in (0, 1)), indexing="ij"), axis=-1)
    distance, nearest = cKDTree(centres).query(grid)
    own = np.asarray(values, dtype=np.float64)[there]
    found = LinearNDInterpolator(centres, own)(grid)
    found = np.where(np.isfinite(found), found, own[nearest])  # beside the outermost spots
    image = np.where(distance <= REACH * section.pitch_px, found, np.nan).astype(np.float32)
    cell = (section.pitch_px * section.mpp) ** 2 * 0.8  # of one spot on a hexagonal lattice, about
    origin = (float(low[0]), float(low[1]))
    source = f"spots ({shows})" if level is None else "spots"
    return ScoreMap(image, origin, step, section.mpp, output, shows, source, run, level, cell, section.library_id)


def usual_level(scores: ScoreMap) -> float:
    """The value that parts the map best into low and high (Otsu 1979); of clusters their own. Raises DataError where it is the same everywhere."""
    level = float(threshold_otsu(scores.image[np.isfinite(scores.image)])) if np.ptp(scores.range) else 0.0
    return level if scores.level is None else scores.level


def best_threshold(dmap: DenserMap, output: str) -> float:
    """The value that parts the map's points best into low and high (Otsu 1979).

    Raises
    ------
    SettingsError
        There is no such output.
    DataError
        The map is the same everywhere, or lies on no grid.
    """
    return usual_level(denser_scores(dmap, output))


def propose_outlines(dmap: DenserMap, output: str, threshold: float | None = None, least_um2: float | None = None) -> list[Outline]:
    """Outlines where ``output`` is predicted above ``threshold`` (default: :func:`best_threshold`), or, of clusters, where it is the likeliest one.

    One outline a piece, the largest first, in full-resolution px; the border lies where the map crosses the threshold between its points and is
    simplified to within a quarter of a step. Pieces and holes below ``least_um2`` (default: one tile) are dropped: the model sees nothing so small.

    Raises
    ------
    SettingsError
        There is no such output, a threshold is given for a cluster, or it is no number.
    DataError
        The points lie on no grid, or nothing is left above the threshold.
    """
    if dmap.kind == "clusters" and threshold is not None:
        raise SettingsError(f"{output} is a cluster: it is outlined where it is the likeliest one, without a threshold. Leave that out (--above).")
    if threshold is not None and not np.isfinite(threshold):
        raise SettingsError(f"A threshold is a number; found {threshold}.")
    scores = denser_scores(dmap, output, least_um2)
    return outlines_above(scores, usual_level(scores) if threshold is None else float(threshold))


def outlines_above(scores: ScoreMap, level: float, at_xy: tuple[float, float] | None = None) -> list[Outline]:
    """One outline a piece above ``level``, without a class, the largest first; with ``at_xy`` (px) only the piece that holds this place.

    Raises
    ------
    DataError
        There is no such piece.
    """
    name = scores.name(level)
    pieces = areas_above(scores.image, level, scores.origin_yx_px, scores.step_px, scores.least_um2 / scores.mpp**2)
    if not pieces:
        raise DataError(f"{name}: no piece of {scores.least_um2:,.0f} um2 or more in {scores.where}. Give a lower --above.")
    if at_xy is not None:
        pieces = [piece for piece in pieces if piece.intersects(shapely.Point(at_xy))]
        if not pieces:
            raise DataError(f"{name}: not at this place. Click where it is higher, or give a lower threshold.")
    spacing = f"{scores.step_px * scores.mpp:g}"
    about = {"geometry from": scores.source, "spacing um": spacing, **({} if scores.level is not None else {"threshold": f"{level:.6g}"})}
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [Outline(piece, "", name, notes=dict(about), origin=MADE, gene=scores.output, run=scores.run, date=date) for piece in pieces]


def _of(dmap: DenserMap, output: str) -> np.ndarray:
    """What is outlined: the predicted values, or 1 where a cluster is the likeliest and 0 elsewhere; NaN outside the tissue."""
    if output not in dmap.outputs:
        some = f"{', '.join(dmap.outputs[:8])}{', …' if len(dmap.outputs) > 8 else ''}"
        raise SettingsError(f"{dmap.folder} does not predict {output}. It predicts {some}: name one of these.")
    if dmap.kind != "clusters":
        return values(dmap, output)
    best = likeliest(probabilities(dmap))
    return np.where(np.isfinite(best), best == dmap.outputs.index(output), np.nan).astype(np.float32)


def areas_above(image: np.ndarray, level: float, origin_yx: tuple[float, float], step_px: float, least_px2: float) -> list[Polygon]:
    """The areas of ``image`` (rows, columns) above ``level`` as polygons in px, (x, y), the largest first."""
    there = np.isfinite(image)
    if not there.any():
        return []
    below = min(float(image[there].min()), level - 1e-6)  # what lies outside the tissue is below any threshold
    rings = find_contours(np.pad(np.where(there, image, below), 1, constant_values=below), level)
    lines = [shapely.LinearRing((ring[:, ::-1] - 1) * step_px + np.array(origin_yx)[::-1]) for ring in rings if len(ring) > 3]
    if not lines:
        return []
    whole = shapely.build_area(shapely.MultiLineString(lines)).simplify(step_px / 4)
    pieces = [part for part in shapely.get_parts(shapely.make_valid(whole, method="structure")) if isinstance(part, Polygon)]
    pieces = [Polygon(part.exterior, [hole for hole in part.interiors if Polygon(hole).area >= least_px2]) for part in pieces]
    return sorted((part for part in pieces if part.area >= least_px2), key=lambda part: -part.area)
