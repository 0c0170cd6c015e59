"""Small stores as the SpatialData library lays them on disk, made without it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import shapely
import zarr

AXES = {"xy": [{"name": name, "type": "space", "unit": "unit"} for name in "xy"], "cyx": [{"name": name, "type": "space"} for name in "cyx"]}


def to_system(system: str, axes: str, kind: str = "identity", **values: Any) -> dict[str, Any]:
    """A transformation of NGFF as the library writes it, such as ``to_system("global", "cyx", "scale", scale=[1, 4, 4])``."""
    return {"type": kind, "input": {"name": axes, "axes": AXES[axes]}, "output": {"name": system, "axes": AXES[axes]}} | values


def write_image(store: Path, name: str, pixels: np.ndarray, transformations: list[dict[str, Any]], labels: str = "rgb", levels: int = 1) -> None:
    """``pixels``: (c, y, x)."""
    group = zarr.open_group(store / "images" / name, mode="w")
    for number in range(levels):
        group.create_array(f"s{number}", data=pixels[:, :: 2**number, :: 2**number], chunks=(len(pixels), 256, 256))
    datasets = [{"path": f"s{n}", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 2.0**n, 2.0**n]}]} for n in range(levels)]
    scales = {"datasets": datasets, "axes": AXES["cyx"], "coordinateTransformations": transformations, "name": name}
    group.attrs["ome"] = {"omero": {"channels": [{"label": label} for label in labels]}, "version": "0.5", "multiscales": [scales]}


def write_spots(store: Path, name: str, xy: np.ndarray, transformations: list[dict[str, Any]], radius: float | None = 13.0) -> None:
    """Circles of ``radius``, or squares of 26 where it is None, with the ids 0, 1, ... from the last place to the first."""
    zarr.open_group(store, mode="a").require_group(f"shapes/{name}").attrs.update(
        {"encoding-type": "ngff:shapes", "axes": ["x", "y"], "coordinateTransformations": transformations}
    )
    shapes = shapely.points(xy) if radius else shapely.box(*(xy - 13).T, *(xy + 13).T)
    table = pd.DataFrame({"geometry": shapely.to_wkb(shapes)} | ({"radius": radius} if radius else {}))
    table.iloc[::-1].to_parquet(store / "shapes" / name / "shapes.parquet")


def write_spot_table(store: Path, adata: anndata.AnnData, regions: list[str], name: str = "table") -> None:
    """``adata`` has the columns region and spot_id."""
    (store / "tables").mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_zarr(store / "tables" / name)
    region = regions[0] if len(regions) == 1 else regions
    zarr.open_group(store / "tables" / name, mode="a").attrs.update({"region": region, "region_key": "region", "instance_key": "spot_id"})
