"""Outlines proposed from a denser map (predicted): where a gene is predicted above a threshold, or a cluster is the likeliest.

A proposal has no class: what the tissue is there is for a pathologist to say. Its origin is MADE, with the gene and the run, so that it cannot be
tested with the gene that it was made from (:mod:`napari_deepspace.analyse.region_tests`).
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import shapely
from shapely.geometry import Polygon
from skimage.filters import threshold_otsu
from skimage.measure import find_contours

from napari_deepspace.denser import DenserMap, probabilities, to_image, values
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.outlines import MADE, Outline
from napari_deepspace.views import likeliest


def best_threshold(dmap: DenserMap, output: str) -> float:
    """The value that parts the map's points best into low and high (Otsu 1979).

    Raises
    ------
    SettingsError
        There is no such output.
    DataError
        The map is the same everywhere.
    """
    found = _of(dmap, output)
    found = found[np.isfinite(found)]
    if not len(found) or found.min() == found.max():
        raise DataError(f"{output} is predicted the same everywhere in {dmap.folder}: no threshold parts it. Take another gene.")
    return float(threshold_otsu(found))


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
    if dmap.cell is None or dmap.step_px is None or dmap.origin_yx_px is None:
        raise DataError(f"The points of {dmap.folder} lie between spots, on no grid, and have no contour. Predict with --at grid.")
    clusters = dmap.kind == "clusters"
    if clusters and threshold is not None:
        raise SettingsError(f"{output} is a cluster: it is outlined where it is the likeliest one, without a threshold. Leave --above out.")
    if threshold is not None and not np.isfinite(threshold):
        raise SettingsError(f"A threshold is a number; found {threshold}.")
    found = _of(dmap, output)
    level = 0.5 if clusters else best_threshold(dmap, output) if threshold is None else float(threshold)
    least_px2 = (dmap.tile_um**2 if least_um2 is None else least_um2) / dmap.mpp**2
    name = f"{output}, likeliest cluster" if clusters else f"{output} predicted > {level:.2f}"
    pieces = areas_above(to_image(dmap, found), level, dmap.origin_yx_px, dmap.step_px, least_px2)
    if not pieces:
        raise DataError(f"{name}: no piece of {least_px2 * dmap.mpp**2:,.0f} um2 or more in {dmap.folder}. Give a lower --above.")
    about = {"geometry from": "denser map (predicted)", "spacing um": f"{dmap.spacing_um:g}", **({} if clusters else {"threshold": f"{level:.6g}"})}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return [Outline(piece, "", name, notes=dict(about), origin=MADE, gene=output, run=dmap.run, date=date) for piece in pieces]


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
