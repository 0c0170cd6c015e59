"""The store of a denser map (predicted): what a model sees at many points of one slide, from which any output's map is computed when asked for.

On disk a zarr folder, see ``docs/results-format.md``. No torch here: the window reads it in its own process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from anndata import AnnData

from napari_deepspace import results
from napari_deepspace.analyse.bands import ARRAYS as BAND_ARRAYS
from napari_deepspace.analyse.bands import band_of_one
from napari_deepspace.analyse.copies import blended, copied
from napari_deepspace.errors import DataError, ModelError
from napari_deepspace.geojson import MEMBER, SlideStamp, stamp_in
from napari_deepspace.points import At
from napari_deepspace.scaling import scaled, shown
from napari_deepspace.target import Target

FORMAT = 1
HEADER = "zarr.json"
OWN_FILES = (HEADER, "events.jsonl", "log.txt", "process.json")  #: what a folder may hold that a store is made in
CHUNK = 16_384  #: points of a chunk
BETWEEN_SIZE = 0.55  #: diameter of a point between spots as it is drawn, in spot diameters: smaller than a spot, so that the two are told apart
CACHED_BYTES = 300_000_000  #: the largest embedding that is kept in memory, so that the next output comes at once


@dataclass(frozen=True)
class DenserMap:
    """A denser map (predicted) that lies on disk; n points.

    ``centres_yx`` float64 (n, 2), (row, column) in full-resolution px; ``on_tissue`` bool (n,): elsewhere the tile is white or excluded, and nothing
    is predicted. Of a grid also ``cell`` int32 (n, 2), row and column on it, its ``shape``, and where it begins and how far it steps, in px.
    ``about`` is what the model says of itself, as in ``uns["deepspace"]`` of a result.
    """

    folder: Path
    fingerprint: str
    library_id: str
    run: str
    model: str
    unit: str
    at: At
    spacing_um: float
    mpp: float
    tile_um: float
    outputs: tuple[str, ...]
    kind: str  #: "genes", "signatures", "obs" or "clusters"
    target: Target
    n_members: int
    centres_yx: np.ndarray
    on_tissue: np.ndarray
    cell: np.ndarray | None
    shape: tuple[int, int] | None
    origin_yx_px: tuple[float, float] | None
    step_px: float | None
    synthetic: bool
    packing: str  #: what is stored a point: the "outputs" themselves, the "embedding", or its principal "components"
    unlike_beyond: float  #: distance from the training tiles beyond which a tile is unlike them; NaN where the model does not know
    relative_error: float  #: of outputs at spots, by what is stored in place of what the model sees
    whole_image: bool  #: the slide was looked at as a whole, and not tile by tile
    agreement: dict[str, float] | None  #: of the two, at spots: ``r``, ``difference_sd`` and ``n``
    about: dict[str, Any] = field(repr=False, default_factory=dict)
    slide: SlideStamp | None = None  #: the slide that was looked at; None: an earlier version did not say


def open_denser(folder: Path) -> DenserMap:
    """Open a denser map; reads the points, and the rest when it is asked for.

    Raises
    ------
    ModelError
        There is none, it is not finished, damaged, or of a newer version.
    """
    folder = Path(folder)
    if not (folder / HEADER).is_file():
        raise ModelError(
            f"{folder} holds no denser map. Make one with `napari-deepspace predict RUN_DIR SECTION --at grid --out {folder.stem}.zarr`."
        )
    try:
        group = zarr.open_group(folder, mode="r")
        header: dict[str, Any] = dict(group.attrs)
        if header["format"] > FORMAT:
            raise ModelError(f"{folder} was written by a newer version ({header.get('version')}). Update napari-deepspace.")
        if not header.get("complete"):
            raise ModelError(f"{folder} is not finished. Give the same `napari-deepspace predict` command again: it goes on where it was stopped.")
        return _opened(folder, group, header)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{folder} is damaged ({type(error).__name__}: {error}). Delete it and predict again.") from error


def section_of(folder: Path) -> str | None:
    """The library_id of the section that a finished map is of; None where there is no finished map. Reads a few lines only."""
    try:
        said = json.loads((folder / HEADER).read_text(encoding="utf-8"))["attributes"]
        return str(said["library_id"]) if said.get("complete") else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def require_free(folder: Path) -> None:
    """Raise DataError unless ``folder`` holds a denser map, finished or not, or nothing that one could destroy."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file. Give the name of a folder that ends in .zarr.")
    holds = {item.name for item in folder.iterdir()} if folder.exists() else set()
    if HEADER in holds:
        try:
            holds = set() if "format" in zarr.open_group(folder, mode="r").attrs else holds
        except (OSError, ValueError, KeyError):
            holds = {"a damaged store"}
    if holds - set(OWN_FILES[1:]):
        raise DataError(f"{folder} holds something else and was left as it is. Give another --out, or delete it.")


def _opened(folder: Path, group: zarr.Group, header: dict[str, Any]) -> DenserMap:
    target = Target.from_json(json.dumps(header["target"]))
    grid = header["at"] == "grid"
    dmap = DenserMap(
        folder=folder,
        fingerprint=str(header["fingerprint"]),
        library_id=str(header["library_id"]),
        run=str(header["run"]),
        model=str(header["model"]),
        unit=str(header["unit"]),
        packing=str(header["packing"]),
        relative_error=float(header["relative_error"]),
        unlike_beyond=float(header["unlike_beyond"]) if header.get("unlike_beyond") is not None else np.nan,
        spacing_um=float(header["spacing_um"]),
        mpp=float(header["mpp"]),
        tile_um=float(header["tile_um"]),
        at=header["at"],
        outputs=target.names,
        kind=target.kind,
        target=target,
        n_members=int(header["members"]),
        centres_yx=_read(group, "centres_yx"),
        on_tissue=_read(group, "on_tissue"),
        cell=_read(group, "cell") if grid else None,
        shape=(int(header["shape"][0]), int(header["shape"][1])) if grid else None,
        origin_yx_px=(float(header["origin_yx_px"][0]), float(header["origin_yx_px"][1])) if grid else None,
        step_px=float(header["step_px"]) if grid else None,
        synthetic=bool(header["synthetic"]),
        whole_image=bool(header["whole_image"]),
        agreement=header["agreement"],
        about=dict(header["about"]),
        slide=stamp_in({MEMBER: header.get("slide")}, folder),
    )
    n = len(dmap.centres_yx)
    width = n_outputs_wide(dmap) if dmap.packing == "outputs" else _array(group, "coefficients").shape[1]
    if _array(group, "embedding").shape != (n, width) or dmap.on_tissue.shape != (n,) or not _read(group, "done").all():
        raise ValueError("its arrays do not fit one another")
    if dmap.cell is not None and (dmap.cell.shape != (n, 2) or (dmap.cell < 0).any() or (dmap.cell >= dmap.shape).any()):
        raise ValueError("its points do not lie on its grid")
    return dmap


def n_outputs_wide(dmap: DenserMap) -> int:
    """Numbers a point where the outputs themselves are stored."""
    return dmap.n_members * len(dmap.outputs)


def values(dmap: DenserMap, output: str) -> np.ndarray:
    """What is predicted of one output, the members' mean on the shown scale: float32 (n,), NaN where nothing is predicted.

    Raises
    ------
    KeyError
        There is no such output.
    ModelError
        The file is damaged.
    """
    return np.asarray(member_values(dmap, output).mean(axis=0, dtype=np.float32))


def disagreement(dmap: DenserMap, output: str) -> np.ndarray:
    """SD between the members of the model, float32 (n,): the disagreement between models. It is no measure of how right they are.

    NaN where nothing is predicted, and everywhere if the model has one member.
    """
    if dmap.n_members < 2:
        return np.full(len(dmap.centres_yx), np.nan, dtype=np.float32)
    return np.asarray(member_values(dmap, output).std(axis=0, ddof=1), dtype=np.float32)


def unlike(dmap: DenserMap) -> np.ndarray:
    """Points whose tile is unlike the training tiles, bool (n,); none where the model does not know."""
    with np.errstate(invalid="ignore"):
        return np.asarray(_distance(dmap.folder, dmap.fingerprint) > dmap.unlike_beyond)


@lru_cache(maxsize=1)
def _distance(folder: Path, fingerprint: str) -> np.ndarray:
    return _read(zarr.open_group(folder, mode="r"), "distance").astype(np.float32)


def band(dmap: DenserMap, output: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Lower and upper end of the calibrated band of one output, each float32 (n,); None where the model has no band."""
    return band_around(dmap, output, values(dmap, output))


def band_around(dmap: DenserMap, output: str, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The same around values ``predicted`` (n,) that are known already."""
    bands = _bands(dmap.folder, dmap.fingerprint)
    return None if bands is None else band_of_one({**dmap.about["band"], **bands}, dmap.outputs.index(output), predicted)


@lru_cache(maxsize=1)
def _bands(folder: Path, fingerprint: str) -> dict[str, np.ndarray] | None:
    group = zarr.open_group(folder, mode="r")
    return {name: _read(group, f"band_{name}") for name in BAND_ARRAYS} if "band_q" in group else None


def member_values(dmap: DenserMap, output: str) -> np.ndarray:
    """What each member predicts of one output, on the shown scale: float32 (members, n)."""
    if output not in dmap.outputs:
        raise KeyError(output)
    column = dmap.outputs.index(output)
    if dmap.kind == "clusters":
        return np.stack([of_all[:, column] for of_all in _shown(dmap, np.arange(len(dmap.outputs)))])
    return np.stack([of_one[:, 0] for of_one in _shown(dmap, np.array([column]))])


def probabilities(dmap: DenserMap) -> np.ndarray:
    """The members' mean probability of every cluster, float32 (n, n_clusters), NaN where nothing is predicted; raises ValueError without clusters."""
    if dmap.kind != "clusters":
        raise ValueError(f"{dmap.folder} predicts {dmap.kind}, not clusters")
    return np.asarray(np.mean(_shown(dmap, np.arange(len(dmap.outputs))), axis=0, dtype=np.float32))


def to_image(dmap: DenserMap, values: np.ndarray) -> np.ndarray:
    """``values`` (n,) as an image of the grid, float32 (rows, columns), NaN outside the tissue; raises ValueError where the points lie on no grid."""
    if dmap.cell is None or dmap.shape is None:
        raise ValueError(f"the points of {dmap.folder} lie between spots, on no grid")
    image = np.full(dmap.shape, np.nan, dtype=np.float32)
    image[dmap.cell[:, 0], dmap.cell[:, 1]] = values
    return image


def to_anndata(dmap: DenserMap, outputs: Sequence[str] | None = None) -> AnnData:
    """The points as a result (``docs/results-format.md``): X is None, predictions in slots of their own.

    ``outputs``: which genes (default: all, which may need much memory); signatures, numbers and clusters always come whole.
    """
    names = list(dmap.outputs) if outputs is None or dmap.kind != "genes" else list(outputs)
    predicted = probabilities(dmap) if dmap.kind == "clusters" else np.column_stack([values(dmap, name) for name in names])
    spots = results.table_of_points(~dmap.on_tissue)
    adata = results.points_anndata(dmap.target, names, predicted, spots, dmap.centres_yx, dmap.about)
    if np.isfinite(dmap.unlike_beyond):
        adata.obs[results.UNLIKE], adata.obs[results.DISTANCE] = unlike(dmap), _distance(dmap.folder, dmap.fingerprint)
    if dmap.cell is not None:
        adata.obs["grid_row"], adata.obs["grid_column"] = dmap.cell[:, 0], dmap.cell[:, 1]
    return adata


def _shown(dmap: DenserMap, columns: np.ndarray) -> list[np.ndarray]:
    """For each member the outputs of ``columns`` on the shown scale, float32 (n, n_columns)."""
    try:
        group = zarr.open_group(dmap.folder, mode="r")
        raw = _raw(dmap, group, columns)
        arrays = {name: _read(group, name)[:, columns] for name in ("low", "high")}
        own_sum = _read(group, "target_sum")
        if "blend" in group:
            raw = _blend(dmap, group, raw, columns, arrays)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"{dmap.folder} is damaged ({type(error).__name__}: {error}). Delete it and predict again.") from error
    out = []
    for number, output in enumerate(raw):
        low, high = arrays["low"][number], arrays["high"][number]
        out.append(shown(dmap.target, output, low, high, float(own_sum[number]), dmap.target.target_sum))
    return out


def _raw(dmap: DenserMap, group: zarr.Group, columns: np.ndarray) -> list[np.ndarray]:
    """For each member its scaled outputs from the image alone, float32 (n, n_columns)."""
    n, members = len(dmap.centres_yx), range(dmap.n_members)
    outputs = [np.empty((n, len(columns)), dtype=np.float32) for _ in members]
    if dmap.packing != "outputs":
        coefficients = np.asarray(_array(group, "coefficients").oindex[:, :, columns], dtype=np.float32)
        intercept = _read(group, "intercept")[:, columns]
        weights = np.concatenate(list(coefficients), axis=1)  # one product serves all members
    stored = _stored(dmap.folder, dmap.fingerprint)
    for start in range(0, n, CHUNK):
        piece = np.asarray(stored[start : start + CHUNK])
        if dmap.packing == "outputs":
            for member in members:
                outputs[member][start : start + CHUNK] = piece[:, member * len(dmap.outputs) + columns]
            continue
        both = piece.astype(np.float32) @ weights
        for member in members:
            outputs[member][start : start + CHUNK] = both[:, member * len(columns) : (member + 1) * len(columns)] + intercept[member]
    return outputs


def _blend(dmap: DenserMap, group: zarr.Group, raw: list[np.ndarray], columns: np.ndarray, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """``raw`` blended with the copy of what was measured in neighbouring sections, as the model's members learned to."""
    blend = _read(group, "blend")[:, :, columns]
    place, places = _read(group, "aligned"), _read(group, "neighbours_aligned")
    measured = np.asarray(_array(group, "neighbours_values").oindex[:, columns], dtype=np.float32)
    learned, which = _read(group, "neighbours_learned"), _read(group, "neighbours_section")
    out = []
    for number, image in enumerate(raw):
        if np.isnan(blend[number]).all():  # this member blends nothing
            out.append(image)
            continue
        rows = [np.flatnonzero((which == section) & learned[:, number]) for section in np.unique(which)]
        copy = copied([(places[one], measured[one]) for one in rows], place)
        out.append(blended(blend[number], image, scaled(copy, arrays["low"][number], arrays["high"][number])))
    return out


@lru_cache(maxsize=1)
def _stored(folder: Path, fingerprint: str) -> Any:
    """What is stored a point, float16 (n, width): in memory where it is small enough, else still on disk."""
    array = _array(zarr.open_group(folder, mode="r"), "embedding")
    return array[:] if array.nbytes <= CACHED_BYTES else array


def _array(group: zarr.Group, name: str) -> zarr.Array:
    found = group[name]
    if not isinstance(found, zarr.Array):
        raise KeyError(name)
    return found


def _read(group: zarr.Group, name: str) -> np.ndarray:
    return np.asarray(_array(group, name)[:])
