"""Consecutive sections as layers of spots in 3D: where each lies, and one gene on a scale that they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_deepspace.layers import LayerTuple, metadata
from napari_deepspace.section import Section

DEPTH = 10_000.0  #: UMI that each spot is scaled to, so that sections of different depth share one scale


@dataclass(frozen=True)
class Slab:
    """A section in the stack: ``places_um`` (n_spots, 2), (row, column) in um of the open section, at ``z_um`` along the block."""

    section: Section
    places_um: np.ndarray
    z_um: float


def gene_values(section: Section, gene: str) -> np.ndarray:
    """log1p of the counts of ``gene`` per DEPTH UMI of the spot, float64 (n_spots,); NaN where the gene was not counted or the spot holds nothing."""
    names = section.adata.var_names
    if gene not in names:
        return np.full(section.adata.n_obs, np.nan)
    totals = np.asarray(section.adata.X.sum(axis=1), dtype=np.float64).ravel()
    counts = section.adata.X[:, [names.get_loc(gene)]].toarray().ravel()
    return np.where(totals > 0, np.log1p(counts * DEPTH / np.maximum(totals, 1)), np.nan)


def slab_layer(section: Section, slab: Slab, stretch: float, face: np.ndarray, role: str) -> LayerTuple:
    """The spots of one section at its depth, in um; z is ``stretch`` times the true one. ``face`` is RGBA (n_spots, 4)."""
    points = np.column_stack([np.full(len(slab.places_um), slab.z_um * stretch), slab.places_um])
    kwargs = {
        "name": f"{slab.section.library_id} in the stack",
        "size": slab.section.platform.spot_diameter_um,
        "face_color": face,
        "border_width": 0,
        "units": ("um", "um", "um"),
        "metadata": metadata(section, role),
    }
    return points, kwargs, "points"
