"""SpatialData stores (.zarr): read as they lie on disk, written by the spatialdata library of the extra [spatialdata]."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import shapely
import zarr
from anndata import AnnData

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import Spots, check_size, read_table, reading
from napari_deepspace.read.h5ad import spots_of
from napari_deepspace.read.several import attributes_of, chosen_section, regions_in, regions_of, tables_of
from napari_deepspace.read.spaceranger import bins_of
from napari_deepspace.read.store_images import place_on_slide

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
            f"Writing SpatialData needs the library spatialdata, which cannot be imported ({error}): pip install 'napari-deepspace[spatialdata]' "
            "(on Python 3.11 with setuptools below 81)."
        ) from error
    return spatialdata


def read_spatialdata(path: Path, library_id: str | None = None) -> Spots:
    """Counts, positions, spot size and slide of one section of a store: those of the region ``library_id``, else the first of ``regions_in``.

    The store is read as it lies on disk, without the library: a table by anndata, circles or polygons from their parquet.

    Raises
    ------
    DataError
        The store is damaged, has no table over circles or polygons, or not the one that ``library_id`` names of several.
    """
    with reading(path, _NEEDED):
        for name in ("tables", "table", "shapes"):
            if (path / name).is_dir():
                _check(path / name)
    regions = regions_in(path)
    if not regions:
        raise DataError(f"{path} holds no table that says of which of its circles or polygons it is. Take a store with a table over the spots.")
    notes: list[str] = []
    region = chosen_section(regions, library_id, path, notes)
    table = next(one for one in tables_of(path) if region in regions_of(one))
    with reading(path, _NEEDED):
        adata, said = anndata.read_zarr(table), attributes_of(table)
        adata = adata[adata.obs[said["region_key"]].astype(str) == region].copy()
        shapes = _shapes(path / "shapes" / region).loc[adata.obs[said["instance_key"]]]
        adata.obsm["spatial"] = shapes[["x", "y"]].to_numpy()
        diameter = float(shapes["diameter"].median())
    bins = re.search(r"square_0*([1-9]\d*)um$", region)
    wide = diameter if np.isfinite(diameter) and diameter > 0 else None
    spots = spots_of(_with_factors(adata, region, wide), path)
    spots.notes[:0] = notes
    if bins and spots.platform is None:
        spots.platform = bins_of(float(bins[1]))
        if wide:  # else, as of squares that lie askew, the lattice tells
            spots.mpp, spots.mpp_from = float(bins[1]) / wide, f"the size of the bins in {path.name}"
    with reading(path, _NEEDED):
        place_on_slide(spots, path, region, regions)
    return spots


def _shapes(folder: Path) -> pd.DataFrame:
    """Centre (``x``, ``y``) and ``diameter`` of each shape by its id: of a circle, of a square its side, else NaN."""
    if (folder / "shapes.parquet").is_file():
        table = read_table(folder / "shapes.parquet", "the shapes of a SpatialData store", ",")
        shapes = shapely.from_wkb(table["geometry"].to_numpy())
        centres = shapely.centroid(shapes)
        wide = 2 * table["radius"] if "radius" in table else np.where(_is_square(shapes), np.sqrt(shapely.area(shapes)), np.nan)
        made = pd.DataFrame({"x": shapely.get_x(centres), "y": shapely.get_y(centres), "diameter": wide}, index=table.index)
    else:  # as SpatialData wrote them before parquet
        group = zarr.open_group(folder, mode="r")
        if "radius" not in group:
            raise DataError(f"{folder}: its polygons are of the first format of SpatialData. Read and write the store with spatialdata once.")
        x, y = np.asarray(group["coords"]).reshape(-1, 2).T
        made = pd.DataFrame({"x": x, "y": y, "diameter": 2 * np.asarray(group["radius"])}, index=np.asarray(group["Index"]))
    if made.index.has_duplicates:
        raise ValueError("two shapes have the same id")
    return made


def _is_square(shapes: np.ndarray) -> np.ndarray:
    """Whether polygons are squares along the axes."""
    low_x, low_y, high_x, high_y = shapely.bounds(shapes).T
    return np.isclose(high_x - low_x, high_y - low_y) & np.isclose(shapely.area(shapes), (high_x - low_x) * (high_y - low_y))


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
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "zarr v3 autosharding", UserWarning)  # of a setting that is not the user's
        library.SpatialData(images=images, shapes={region: circles}, tables={"table": parsed}).write(out)
