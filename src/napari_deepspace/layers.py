"""From sections and results to what napari shows: plain arrays and layer tuples. Nothing here imports napari.

A layer tuple is ``(data, keyword arguments, type)``. Data are in full-resolution px; ``scale`` makes napari's world micrometres.
A layer is known by ``metadata["napari_deepspace"]``, never by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import shapely
from anndata import AnnData

from napari_deepspace.annotating import colour_of
from napari_deepspace.colour_scale import CLEAR
from napari_deepspace.gene_scores import GeneScore, Scores
from napari_deepspace.outlines import Outline
from napari_deepspace.results import BASELINES, HOLE, MEASURED, PREDICTED, SOURCE, SPLIT, UNS, holes_of, outputs_of, target_of, values_of
from napari_deepspace.section import Section
from napari_deepspace.settings import NORMALISATIONS
from napari_deepspace.verdicts import SHOWN_WAYS

LayerTuple = tuple[Any, dict[str, Any], str]

METADATA = "napari_deepspace"
UNITS = ("um", "um")
HONEST = ("out-of-fold", "imputed")
"""Sources that may stand beside a measured value: the model never saw these spots."""

MANY = 20_000
"""More spots than these on a square lattice are painted as an image."""
HOLLOW = np.array([0.55, 0.55, 0.55, 0.9], dtype=np.float32)
RING = 0.16  #: width of a hollow spot's border, as a share of its diameter


@dataclass(frozen=True)
class Maps:
    """Predictions at the spots of one section, in the section's order of spots.

    ``predicted`` is float32 (n_spots, n_genes), NaN wherever no honest prediction exists; ``source`` and ``split`` (n_spots,) say why.
    ``measured``, where it is known, has its shape and scale, and so has each of ``ways``, the predictions of the simple ways at the same spots.
    """

    library_id: str
    genes: tuple[str, ...]
    predicted: np.ndarray
    source: np.ndarray
    split: np.ndarray
    model: str = ""
    target_sum: float | None = None
    unit: str = NORMALISATIONS["log"]
    kind: str = "genes"  #: of what is predicted, as of a target
    measured: np.ndarray | None = None
    ways: dict[str, np.ndarray] = field(default_factory=dict)  #: by name, of :data:`SHOWN_WAYS`
    scores: Scores | None = None
    band: Mapping[str, Any] = field(default_factory=dict)  #: the calibrated band, as in ``uns["deepspace"]["band"]`` of a result
    relative: str = ""  #: why levels mean nothing beyond this slide; "" where they do
    holes: np.ndarray | None = None  #: object (n_spots,), what the test of the hole that a spot lies in says; "" elsewhere
    live: bool = False  #: a training still works on it

    def of(self, gene: str) -> np.ndarray | None:
        """Predicted values of ``gene``, float32 (n_spots,), or None."""
        return self.predicted[:, self.genes.index(gene)] if gene in self.genes else None

    @property
    def r(self) -> dict[str, float]:
        """r of each gene that was scored."""
        return {name: one.r for name, one in self.scores.genes.items()} if self.scores is not None else {}

    def score_of(self, gene: str) -> GeneScore:
        """The scores of ``gene``; without any, where there are none."""
        return self.scores.of(gene) if self.scores is not None else GeneScore(gene)

    def ways_of(self, gene: str) -> dict[str, np.ndarray]:
        """What each simple way predicts of ``gene``, float32 (n_spots,), by its name; only ways that predict it somewhere."""
        at = self.genes.index(gene) if gene in self.genes else None
        columns = {} if at is None else {way: values[:, at] for way, values in self.ways.items()}
        return {way: values for way, values in columns.items() if np.isfinite(values).any()}

    def measured_of(self, gene: str) -> np.ndarray | None:
        """Measured values of ``gene`` on the same scale, float32 (n_spots,), or None."""
        return self.measured[:, self.genes.index(gene)] if self.measured is not None and gene in self.genes else None


def metadata(section: Section, role: str) -> dict[str, Any]:
    """What a layer is, as JSON-able metadata."""
    return {METADATA: {"library_id": section.library_id, "role": role, "synthetic": bool(section.synthetic)}}


def slide_layer(section: Section, role: str = "slide") -> LayerTuple:
    """The H&E slide as a lazy multiscale RGB image.

    Raises
    ------
    DataError
        The section has no slide.
    """
    levels = section.require_slide().dask_levels()
    data = levels if len(levels) > 1 else levels[0]
    kwargs = {
        "name": f"{section.library_id} H&E",
        "rgb": True,
        "multiscale": len(levels) > 1,
        "scale": (section.mpp, section.mpp),
        "units": UNITS,
        "metadata": metadata(section, role),
    }
    return data, kwargs, "image"


def spots_layer(section: Section, role: str = "spots") -> LayerTuple:
    """The spots as points of their true size, hollow until something is painted."""
    n = section.adata.n_obs
    kwargs = {
        "name": f"{section.library_id} spots",
        "size": section.spot_diameter_px,
        "scale": (section.mpp, section.mpp),
        "units": UNITS,
        "face_color": np.tile(CLEAR, (n, 1)),
        "border_color": np.tile(HOLLOW, (n, 1)),
        "border_width": RING,
        "border_width_is_relative": True,
        "features": pd.DataFrame({"barcode": section.adata.obs_names.astype(str)}),
        "metadata": metadata(section, role),
    }
    return section.centres_yx, kwargs, "points"


def ring_layer(section: Section, centre_yx: np.ndarray, role: str) -> LayerTuple:
    """A ring around one spot, at ``centre_yx`` (1, 2), full-resolution px, in a colour that neither tissue nor maps have."""
    kwargs = {
        "name": f"{section.library_id} pinned spot",
        "size": section.spot_diameter_px * 1.5,
        "scale": (section.mpp, section.mpp),
        "units": UNITS,
        "face_color": CLEAR[None],
        "border_color": "#ff2bd6",
        "border_width": 0.14,
        "border_width_is_relative": True,
        "metadata": metadata(section, role),
    }
    return centre_yx, kwargs, "points"


@dataclass(frozen=True)
class Bins:
    """The bins of a section as pixels of an image of ``shape``: ``at`` int (n_spots,), the pixel of each; ``affine`` (3, 3) from pixels to um."""

    shape: tuple[int, int]
    at: np.ndarray
    affine: np.ndarray

    def image(self, face: np.ndarray, border: np.ndarray) -> np.ndarray:
        """Colours (n_spots, 4) of 0 to 1 as uint8 (h, w, 4): those of ``face``, in its place those of an opaque ``border`` (imputed values)."""
        painted = (face * 255).astype(np.uint8)
        ringed = (face[:, 3] == 0) & (border[:, 3] == 1)
        if ringed.any():
            painted[ringed] = border[ringed] * 255
        # four bytes at once: a tenth of the time
        pixels = np.zeros(self.shape[0] * self.shape[1], dtype=np.uint32)
        pixels[self.at] = np.ascontiguousarray(painted).view(np.uint32)[:, 0]
        return pixels.view(np.uint8).reshape(*self.shape, 4)


def bins_of(section: Section) -> Bins | None:
    """The spots as pixels, where there are so many on a square lattice that points would be slow; None otherwise."""
    index = section.adata.obs[["array_row", "array_col"]].to_numpy(dtype=np.int64)
    if len(index) <= MANY or section.platform.lattice != "square":
        return None
    first = index.min(axis=0)
    shape = index.max(axis=0) - first + 1
    at = (index[:, 0] - first[0]) * shape[1] + index[:, 1] - first[1]
    if shape.prod() > 8 * len(index) or len(np.unique(at)) < len(at):
        return None
    some = slice(None, None, max(1, len(index) // 10_000))
    fit, *_ = np.linalg.lstsq(np.column_stack([index[some] - first, np.ones(len(index[some]))]), section.centres_yx[some], rcond=None)
    affine = np.eye(3)
    affine[:2] = fit.T * section.mpp
    return Bins((int(shape[0]), int(shape[1])), at, affine)


def bins_layer(section: Section, bins: Bins, role: str = "spots") -> LayerTuple:
    """Bins as an image on their lattice, clear until something is painted: as fast for a million as for a thousand."""
    kwargs = {
        "name": f"{section.library_id} bins",
        "rgb": True,
        "affine": bins.affine,
        "units": UNITS,
        "metadata": metadata(section, role),
    }
    return np.zeros((*bins.shape, 4), dtype=np.uint8), kwargs, "image"


def places_layer(section: Section, role: str = "spots") -> LayerTuple:
    """The spots as points, or as the pixels of an image where there are too many."""
    bins = bins_of(section)
    return spots_layer(section, role) if bins is None else bins_layer(section, bins, role)


def section_layers(section: Section) -> list[LayerTuple]:
    """The slide, where there is one, and the spots above it."""
    return ([slide_layer(section)] if section.slide is not None else []) + [places_layer(section)]


def maps_of_result(result: AnnData, section: Section) -> Maps:
    """The predictions of a result file in the order of ``section``'s spots; spots are matched by barcode.

    A value from a spot that the model was trained on is left out (NaN), so that it can never be painted as a prediction.
    """
    at = result.obs_names.get_indexer(section.adata.obs_names)
    found = at >= 0
    genes = tuple(outputs_of(result))
    values, measured = values_of(result, PREDICTED), values_of(result, MEASURED)
    assert values is not None
    source = np.where(found, result.obs[SOURCE].astype(str).to_numpy()[at], "none")
    split = np.where(found, result.obs[SPLIT].astype(str).to_numpy()[at], "none")
    honest = (found & np.isin(source, HONEST))[:, None]
    predicted = np.where(honest, values[at], np.nan).astype(np.float32)
    simple = {way: values_of(result, BASELINES[way]) for way in SHOWN_WAYS}
    about, notes = result.uns[UNS], {one["hole"]: str(one["note"]) for one in holes_of(result)}
    hole = result.obs[HOLE].to_numpy()[at] if HOLE in result.obs else np.zeros(len(at), dtype=int)
    target = about.get("target_sum")
    return Maps(
        library_id=section.library_id,
        genes=genes,
        predicted=predicted,
        source=source,
        split=split,
        model=str(about.get("model", "")),
        target_sum=float(target) if target is not None and np.isfinite(target) else None,
        unit=str(about["unit"]) if "unit" in about else NORMALISATIONS["log"],
        kind=target_of(result).kind if "target" in about else "genes",
        measured=None if measured is None else np.where(found[:, None], measured[at], np.nan).astype(np.float32),
        ways={way: np.where(honest, table[at], np.nan).astype(np.float32) for way, table in simple.items() if table is not None},
        band=about.get("band", {}),
        relative=relative_words(about, section.patient),
        holes=np.array([notes.get(int(number), "") if here else "" for number, here in zip(hole, found, strict=True)], dtype=object),
    )


def relative_words(about: Mapping[str, Any], patient: str | None = None) -> str:
    """Why predicted levels mean nothing beyond this slide, where the model saw no section of its patient; "" where it did.

    ``about`` is ``uns["deepspace"]`` of a result. Where the patients are not known, another section counts as another patient's.
    """
    sections = [str(name) for name in about.get("training_sections", ())]
    if not sections or str(about.get("library_id")) in sections:
        return ""
    patients = {str(name or "") for name in about.get("training_patients", ())}
    if (about.get("patient") or patient or None) in patients:
        return ""
    number = f"trained on {len(patients)} patient{'s' if len(patients) > 1 else ''}"
    return f"relative within this slide; {number if patients and '' not in patients else 'trained on another section, patient unknown'}"


def live_maps(
    section: Section, genes: tuple[str, ...], predicted: np.ndarray, model: str, unit: str, measured: np.ndarray | None = None
) -> Maps | None:
    """Maps of a training that is still going on; None when the array does not fit the section."""
    if len(predicted) != section.adata.n_obs or predicted.shape[1] > len(genes):
        return None
    genes = genes[: predicted.shape[1]]  # of many, the first are drawn while a training goes on
    known = np.isfinite(predicted).any(axis=1)
    source = np.where(known, "out-of-fold", "not yet")
    return Maps(section.library_id, genes, predicted, source, np.where(known, "test", "none"), model, unit=unit, measured=measured, live=True)


def outline_colours(outlines: Sequence[Outline]) -> tuple[np.ndarray, np.ndarray]:
    """RGBA of line and area of each outline, (n, 4) each; the area of a locked one is fainter."""
    edge = np.array([[*colour_of(outline), 255] for outline in outlines], dtype=float).reshape(-1, 4) / 255
    face = edge.copy()
    face[:, 3] = [(6 if outline.locked else 18) / 255 for outline in outlines]
    return edge, face


def stroke_layer(section: Section, path_yx: np.ndarray, diameter_px: float, colour: tuple[int, int, int], role: str) -> LayerTuple:
    """A stroke of the brush as far as it goes: a disc at each place of ``path_yx`` (n, 2), full-resolution px."""
    kwargs = {
        "name": f"{section.library_id} {role}",
        "size": diameter_px,
        "face_color": [np.array([*colour, 255]) / 255],
        "border_width": 0,
        "opacity": 0.35,
        "scale": (section.mpp, section.mpp),
        "units": UNITS,
        "metadata": metadata(section, role),
    }
    return path_yx, kwargs, "points"


def outlines_layer(section: Section, outlines: Sequence[Outline], role: str, name: str) -> LayerTuple:
    """Outlines as editable polygons; one with several parts becomes several polygons of one id. Holes are kept with the outline, not drawn."""
    parts = [(outline, part) for outline in outlines for part in shapely.get_parts(outline.geometry)]
    edge, face = outline_colours([outline for outline, _ in parts])
    kwargs = {
        "name": f"{section.library_id} {name}",
        "shape_type": "polygon",
        "edge_color": list(edge) if parts else "white",
        "face_color": list(face) if parts else "transparent",
        "edge_width": section.spot_diameter_px / 4,
        "scale": (section.mpp, section.mpp),
        "units": UNITS,
        "features": pd.DataFrame({"id": [o.id for o, _ in parts], "class": [o.classification for o, _ in parts]}, dtype=object),
        "metadata": metadata(section, role),
    }
    return [np.asarray(part.exterior.coords)[:-1, ::-1] for _, part in parts], kwargs, "shapes"
