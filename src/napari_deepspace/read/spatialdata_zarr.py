"""SpatialData stores (.zarr), read and written by the spatialdata library of the extra [spatialdata]."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from anndata import AnnData

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import Spots, check_size, reading
from napari_deepspace.read.h5ad import spots_of

_NEEDED = "a SpatialData store (.zarr)"


def is_spatialdata(path: Path) -> bool:
    """Whether ``path`` is a folder of zarr with a table or shapes in it."""
    known = (path / "zarr.json").is_file() or (path / ".zgroup").is_file()
    return known and any((path / name).is_dir() for name in ("tables", "table", "shapes"))


def spatialdata_library() -> Any:
    """The library, or a DataError that says how to get it."""
    try:
        import spatialdata
    except ImportError as error:
        raise DataError(
            f"SpatialData needs the library spatialdata, which cannot be imported ({error}). Install it: pip install 'napari-deepspace[spatialdata]' "
            "(on Python 3.11 with setuptools below 81)."
        ) from error
    return spatialdata


def read_spatialdata(path: Path, library_id: str | None = None) -> Spots:
    """Counts, positions and spot size of one section of a store: those of the region ``library_id``, else the first that its table annotates.

    Raises
    ------
    DataError
        The extra is not installed, or the store is damaged or has no table over circles.
    """
    with reading(path, _NEEDED):
        for name in ("tables", "table", "shapes"):
            if (path / name).is_dir():
                _check(path / name)
    library = spatialdata_library()
    with reading(path, _NEEDED):
        data = library.read_zarr(path, selection=("tables", "shapes"))
        table = next((one for one in data.tables.values() if one.uns.get("spatialdata_attrs", {}).get("region")), None)
        if table is None:
            raise DataError(f"{path} holds no table that says of which shapes it is. Take a store with a table over the spots.")
        attrs = table.uns["spatialdata_attrs"]
        regions = [attrs["region"]] if isinstance(attrs["region"], str) else [str(one) for one in attrs["region"]]
        regions = [name for name in regions if name in data.shapes]
        if not regions:
            raise DataError(f"{path}: its table is not of circles or polygons in the store. Take a store with the shapes of its spots.")
        region = library_id if library_id in regions else regions[0]
        adata = table[table.obs[attrs["region_key"]].astype(str) == region].copy()
        shapes = data.shapes[region].loc[adata.obs[attrs["instance_key"]]]
        places = shapes.geometry.centroid
        adata.obsm["spatial"] = np.column_stack([places.x, places.y])
        diameter = 2 * float(np.median(shapes["radius"])) if "radius" in shapes else None
    spots = spots_of(_with_factors(adata, region, diameter), path)
    if len(regions) > 1:
        spots.notes.append(f"The store holds {len(regions)} sections ({', '.join(regions)}); {region} is read. Name another one with library_id.")
    return spots


def _check(folder: Path) -> None:
    """Refuse arrays that would unpack to far more than is stored, before any is read: only their descriptions are looked at."""
    for described in (*folder.rglob("zarr.json"), *folder.rglob(".zarray")):
        array = zarr.open(described.parent, mode="r")
        if isinstance(array, zarr.Array):
            stored = sum(item.stat().st_size for item in described.parent.rglob("*") if item.is_file())
            check_size(described.parent, int(np.prod(array.shape, dtype=np.float64)) * max(array.dtype.itemsize, 1), stored)


def _with_factors(adata: AnnData, region: str, diameter: float | None) -> AnnData:
    """The table with one section in ``uns["spatial"]``, of which the spot diameter is known."""
    found = adata.uns.get("spatial")
    about = dict(found.get(region, {})) if isinstance(found, dict) else {}
    factors = dict(about.get("scalefactors", {}))
    if diameter:
        factors["spot_diameter_fullres"] = diameter
    adata.uns["spatial"] = {region: about | {"scalefactors": factors}}
    return adata


def write_spatialdata(adata: AnnData, thumbnail: np.ndarray | None, factor: float, radius_px: float, out: Path) -> None:
    """Write spots as circles with their table, and ``thumbnail`` (uint8 (h, w, 3), ``factor`` times full resolution) beneath, as ``out``.

    ``adata.uns["spatial"]`` names the one section. Everything lies in "global", in full-resolution px. Raises DataError where the extra is missing.
    """
    library = spatialdata_library()
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Identity, Scale

    name = next(iter(adata.uns["spatial"]))
    region = re.sub(r"[^A-Za-z0-9_.-]", "_", name)  # the library allows no other letters
    table = adata.copy()
    table.uns["spatial"] = {region: table.uns["spatial"][name]}
    table.obs["region"], table.obs["spot_id"] = region, np.arange(table.n_obs)
    table.obs["region"] = table.obs["region"].astype("category")
    table.uns["spatial"][region]["images"] = {}  # they lie beside
    parsed = TableModel.parse(table, region=region, region_key="region", instance_key="spot_id")
    circles = ShapesModel.parse(
        np.asarray(adata.obsm["spatial"]), geometry=0, radius=radius_px, index=table.obs["spot_id"].to_numpy(), transformations={"global": Identity()}
    )
    images = {}
    if thumbnail is not None:
        whole = Scale([1 / factor, 1 / factor], axes=("y", "x"))
        images[f"{region}_hires_image"] = Image2DModel.parse(
            np.moveaxis(thumbnail, 2, 0), dims=("c", "y", "x"), c_coords=("r", "g", "b"), transformations={"global": whole}
        )
    library.SpatialData(images=images, shapes={region: circles}, tables={"table": parsed}).write(out)
