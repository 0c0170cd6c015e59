"""Which picture of a SpatialData store is the slide of a section, and where its spots lie on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import Spots, reading
from napari_deepspace.read.several import attributes_of
from napari_deepspace.slide import image_size

_REDUCED = ("hires_image", "lowres_image")
"""In the names of the pictures that spatialdata-io and this program write reduced."""
_NO_HE = "cytassist"
_DIAMETERS = ("spot_diameter_fullres", "fiducial_diameter_fullres")
_SKEW = 0.01  #: relative difference of the scales of two directions up to which a spot stays a circle


class Picture(NamedTuple):
    """An image of a store: its folder, (height, width) in px, and what takes (x, y, 1) of the spots to (x, y, 1) in its px, (3, 3)."""

    path: Path
    size: tuple[int, int]
    onto: np.ndarray
    system: str  #: coordinate system that both share

    @property
    def scale(self) -> float:
        return float(np.sqrt(abs(np.linalg.det(self.onto[:2, :2]))))

    @property
    def fault(self) -> str | None:
        """Why spots cannot be laid on it; None where they can."""
        sizes = np.linalg.svd(self.onto[:2, :2], compute_uv=False)
        return "is sheared against the spots" if sizes[0] > sizes[1] * (1 + _SKEW) else None


def place_on_slide(spots: Spots, store: Path, region: str, regions: list[str]) -> None:
    """Make the largest picture of ``store`` that holds the spots their slide, and move the spots into its px; reduced ones tell its size.

    Pictures of other ``regions`` (by their names), without a common coordinate system or without colour are passed over; where none remains that
    is not reduced, a note says why.
    """
    xy = np.asarray(spots.adata.obsm["spatial"])[np.asarray(spots.adata.obs["in_tissue"], dtype=bool)]
    faults: list[str] = []
    found: list[Picture] = []
    for picture in _pictures(store, region, regions, xy, faults):
        fault = picture.fault or ("does not lie under all spots" if _outside(xy, picture) else None)
        if any(kind in picture.path.name for kind in _REDUCED):
            if fault is None and np.abs(picture.onto - np.diag([picture.scale, picture.scale, 1]))[:, :2].max() < _SKEW:
                spots.image_sizes.append((picture.path, picture.scale))
        elif fault is None:
            found.append(picture)
        else:
            faults.append(f"{picture.path.name} {fault}")
    if found:
        best = max(found, key=lambda one: one.size[0] * one.size[1])
        _move(spots, best)
    elif faults:
        spots.notes.append(f"No picture of the store can be the slide: {'; '.join(faults)}.")


def _pictures(store: Path, region: str, regions: list[str], xy: np.ndarray, faults: list[str]) -> Iterator[Picture]:
    folders = sorted(item for item in (store / "images").iterdir() if item.is_dir()) if (store / "images").is_dir() else []
    own = matrices(attributes_of(store / "shapes" / region))
    for folder in folders:
        owner = max((one for one in regions if folder.name.startswith(one)), key=len, default=region)
        if owner != region or _NO_HE in folder.name:
            continue
        said = attributes_of(folder)
        said = said.get("ome") or said
        with reading(folder, "an image of SpatialData"):
            theirs = matrices(said["multiscales"][0])
            labels = [str(one.get("label", "")).casefold() for one in said.get("omero", {}).get("channels", [])]
        shared = {name: np.linalg.inv(theirs[name]) @ own[name] for name in own if name in theirs and abs(np.linalg.det(theirs[name])) > 0}
        try:
            size = image_size(folder)
        except DataError:
            size = None
        if size is None or labels[:3] not in (["r", "g", "b"], ["0", "1", "2"], ["red", "green", "blue"]):
            faults.append(f"{folder.name} is no picture in red, green and blue")
        elif not shared:
            faults.append(f"{folder.name} shares no coordinate system with the spots that this program can follow")
        else:
            # every element lies in "global" unless somebody says otherwise: where another system fits as well, it was meant
            made = [Picture(folder, size, onto, name) for name, onto in shared.items()]
            yield min(made, key=lambda one: (_outside(xy, one), one.fault is not None, one.system == "global"))


def _on(xy: np.ndarray, onto: np.ndarray) -> np.ndarray:
    return np.asarray(xy @ onto[:2, :2].T + onto[:2, 2])


def _outside(xy: np.ndarray, picture: Picture) -> int:
    """How many spots lie beside the picture."""
    placed = _on(xy, picture.onto)
    return int(((placed < 0) | (placed > np.array(picture.size[::-1]))).any(axis=1).sum())


def _move(spots: Spots, picture: Picture) -> None:
    spots.standing_in, spots.full_size = picture.path, picture.size
    if np.allclose(picture.onto, np.eye(3)):
        return
    scale = picture.scale
    spots.adata.obsm["spatial"] = _on(spots.adata.obsm["spatial"], picture.onto)
    spots.lattice_xy_px = _on(spots.lattice_xy_px, picture.onto)
    spots.scalefactors = {name: value * scale if name in _DIAMETERS else value for name, value in spots.scalefactors.items()}
    spots.image_sizes = [(path, factor / scale) for path, factor in spots.image_sizes]
    spots.mpp = spots.mpp / scale if spots.mpp else None
    spots.notes.append(f"Spots were moved into the px of {picture.path.name}, as the coordinate system {picture.system} says: {scale:.4g} px for 1.")


def matrices(said: dict[str, Any]) -> dict[str, np.ndarray]:
    """What takes (x, y, 1) of an element of a store to (x, y, 1) of each coordinate system, (3, 3); those that no such matrix can tell are left out.

    ``said`` has the list ``coordinateTransformations`` of NGFF, as SpatialData writes it. Raises what a damaged one raises.
    """
    made = {}
    for one in said.get("coordinateTransformations", []):
        whole, axes = _matrix(one, _axes(one.get("input")))
        inputs = _axes(one.get("input"))
        if whole is None or not {"x", "y"} <= {*axes} & {*inputs}:
            continue
        rows, columns = [axes.index("x"), axes.index("y"), -1], [inputs.index("x"), inputs.index("y"), -1]
        made[str(one["output"]["name"])] = whole[np.ix_(rows, columns)]
    return made


def _matrix(said: dict[str, Any], inputs: list[str]) -> tuple[np.ndarray | None, list[str]]:
    """The matrix of one transformation, homogeneous, (outputs + 1, inputs + 1), and its output axes; None for a kind that has none."""
    kind, outputs = said["type"], _axes(said.get("output")) or inputs
    whole = np.eye(len(inputs) + 1)
    if kind == "scale":
        whole = np.diag([*map(float, said["scale"]), 1.0])
    elif kind == "translation":
        whole[:-1, -1] = said["translation"]
    elif kind == "affine":
        whole = np.array([*said["affine"], [*[0] * len(inputs), 1]], dtype=np.float64)
    elif kind == "mapAxis":
        whole = np.zeros((len(outputs) + 1, len(inputs) + 1))
        whole[-1, -1] = 1
        for row, name in enumerate(outputs):
            whole[row, inputs.index(said["mapAxis"].get(name, name))] = 1
    elif kind == "sequence":
        axes = inputs
        for one in said["transformations"]:
            step, axes = _matrix(one, axes)
            if step is None:
                return None, axes
            whole = step @ whole
        outputs = axes
    elif kind != "identity":
        return None, outputs
    return whole, outputs


def _axes(system: dict[str, Any] | None) -> list[str]:
    return [str(axis["name"]) for axis in (system or {}).get("axes", [])]
