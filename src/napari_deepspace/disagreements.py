"""Where prediction and measurement of a gene disagree most: places to look at, one after another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from napari_deepspace.section import Section

MOST = 20  #: stops of a tour
APART_PITCHES = 3.0  #: stops lie further apart than this many distances between spots: each is another place


@dataclass(frozen=True)
class Stop:
    """One stop of the tour: ``index`` is the spot's row in its section, values are on the scale that is shown."""

    number: int
    of: int
    index: int
    barcode: str
    yx_um: tuple[float, float]
    measured: float
    predicted: float

    @property
    def difference(self) -> float:
        return self.predicted - self.measured

    @property
    def words(self) -> str:
        return f"stop {self.number} of {self.of}: measured {self.measured:.1f}, predicted {self.predicted:.1f}"


def find_stops(section: Section, measured: np.ndarray, predicted: np.ndarray, source: np.ndarray, most: int = MOST) -> list[Stop]:
    """The spots of largest |predicted - measured|, largest first, of spots that were predicted out of fold alone; at most ``most``.

    ``measured`` and ``predicted`` float (n_spots,) on one scale, NaN where there is nothing; ``source`` (n_spots,) as of ``obs["deepspace_source"]``.
    A spot nearer than :data:`APART_PITCHES` pitches to a stop before it is left out: it is the same place.
    """
    difference = np.where(np.asarray(source) == "out-of-fold", np.abs(np.asarray(predicted) - np.asarray(measured)), np.nan)
    order = np.flatnonzero(np.isfinite(difference))
    order = order[np.argsort(-difference[order], kind="stable")]
    centres = section.centres_yx
    tree, near = cKDTree(centres), APART_PITCHES * section.pitch_px * (1 + 1e-6)
    free, found = np.ones(len(centres), dtype=bool), []
    for index in order:
        if free[index]:
            found.append(int(index))
            free[tree.query_ball_point(centres[index], near)] = False
        if len(found) == most:
            break
    um = centres * section.mpp
    return [
        Stop(
            number=number,
            of=len(found),
            index=index,
            barcode=str(section.adata.obs_names[index]),
            yx_um=(float(um[index, 0]), float(um[index, 1])),
            measured=float(measured[index]),
            predicted=float(predicted[index]),
        )
        for number, index in enumerate(found, start=1)
    ]
