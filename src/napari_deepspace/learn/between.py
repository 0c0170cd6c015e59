"""Points between the spots of a section: which of them a model may predict, and its predictions beside those at the spots."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from anndata import AnnData
from scipy.spatial import cKDTree

from napari_deepspace import results
from napari_deepspace.errors import DataError
from napari_deepspace.events import Event
from napari_deepspace.learn.inference import predict, without_sealed
from napari_deepspace.learn.model import TrainedModel
from napari_deepspace.points import At, Points, Rule, grid_points, points_between
from napari_deepspace.preprocess.filters import SpotFilter
from napari_deepspace.preprocess.prepare import Prepared, prepare_section, white_points
from napari_deepspace.section import Section


def predict_between(model: TrainedModel, section: Section, rule: Rule = "tissue", run: str = "") -> Generator[Event, None, AnnData]:
    """Predict at the section's spots and at the points between them: one result, told apart by ``deepspace_source``. White points are left out.

    X is None and only predicted genes are there, for nothing was counted between spots. Raises what :func:`find_points` raises.
    """
    judged, verdict, points = yield from find_points(model, section, "between-spots", 0.0, rule)
    white = yield from white_and_sealed(section, judged, verdict, points, model.tile_um)
    at_spots = yield from predict(model, section, run=run)
    between = yield from predict(model, section, points.centres_yx[~white], run)
    return results.with_points(at_spots, between)


def find_points(
    model: TrainedModel, section: Section, at: At, spacing_um: float, rule: Rule
) -> Generator[Event, None, tuple[Prepared, SpotFilter, Points]]:
    """The section's spots, judged as for prediction, and the points that are asked for; raises what :mod:`napari_deepspace.points` raises."""
    section.require_slide()
    judged = yield from prepare_section(section, model.settings.filter.model_copy(update={"exclude_cluster": None}), model.tile_um)
    if not judged.filter.predictable.any():
        raise DataError(f"{section.library_id}: no spot lies on tissue, every tile is white or excluded. Raise filter.white_percentile.")
    verdict = without_sealed(judged.filter, section, model)
    if at == "grid":
        return judged, verdict, grid_points(section, spacing_um, ~verdict.removed["in_tissue"])
    return judged, verdict, points_between(section, verdict.predictable, rule)


def white_and_sealed(section: Section, judged: Prepared, verdict: SpotFilter, points: Points, tile_um: float) -> Generator[Event, None, np.ndarray]:
    """Which points are not predicted, bool (n,): white or excluded tiles, and what lies within a pitch of a sealed spot."""
    white = yield from white_points(section, judged, points.centres_yx, tile_um)
    sealed = section.centres_yx[verdict.removed["sealed"]]
    if len(sealed):
        white |= np.isfinite(cKDTree(sealed).query(points.centres_yx, distance_upper_bound=section.pitch_px)[0])
    return white
