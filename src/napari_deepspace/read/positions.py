"""Space Ranger's table of positions, in each of its three forms, and lattices for positions that come without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import find_file, numbers, prefix_of, read_table, visible

COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
NAMES = ("tissue_positions.csv", "tissue_positions.parquet", "tissue_positions_list.csv")
MATRICES = (
    *(f"{kind}_{name}" for kind in ("filtered", "raw") for name in ("feature_bc_matrix.h5", "feature_bc_matrix", "matrix.mtx")),
    "matrix.mtx",
    "raw_probe_bc_matrix.h5",
)
"""Names of count matrices, files and folders, the most telling first."""
_SEURAT = {"tissue": "in_tissue", "row": "array_row", "col": "array_col", "imagerow": "pxl_row_in_fullres", "imagecol": "pxl_col_in_fullres"}


def spatial_of(outs: Path, prefix: str | None = None) -> Path | None:
    """The folder of positions, scale factors and reduced images: ``spatial/``, one with a prefix or packed twice, or ``outs`` itself where the
    files lie loose; None if there is none. Of several sections in ``outs`` that of ``prefix``; raises DataError without it.
    """
    found = {item: inner for item, inner in _spatial_folders(outs).items() if prefix is None or prefix_of(item.name, "spatial") == prefix}
    if len(found) > 1 and (outs / "spatial") not in found.values():
        some = ", ".join(item.name for item in list(found)[:3])
        raise DataError(f"{outs} holds files of several sections ({some}). Put the files of each section into a folder of its own.")
    if found:
        return outs / "spatial" if outs / "spatial" in found.values() else next(iter(found.values()))
    if find_file(outs, *NAMES, prefix=prefix):
        return outs
    return outs / "spatial" if prefix is None and (outs / "spatial").is_dir() else None


def _spatial_folders(outs: Path) -> dict[Path, Path]:
    """The folders in ``outs`` that are called spatial, each with the one that holds its positions: itself, or spatial/ in it. One that holds a
    matrix as well is a section by itself.
    """
    folders = [item for item in visible(outs) if item.name.casefold().endswith("spatial") and item.is_dir()]
    alone = [item for item in folders if item == outs / "spatial" or not any("matrix" in one.name for one in visible(item))]
    return {item: inner for item in alone for inner in (item / "spatial", item) if find_file(inner, *NAMES)}


def prefixes_in(folder: Path) -> dict[str, Path]:
    """Prefixes of the files of several sections that lie loose in ``folder``, as of a GEO series, each with its table or folder of positions.

    Empty where all files are those of one section. Prefixes without positions (single cells beside the spots) are no sections.
    """
    items = visible(folder)
    tables = {prefix: item for item in items for name in NAMES if (prefix := prefix_of(item.name, name)) is not None and item.is_file()}
    tables |= {prefix: item for item in _spatial_folders(folder) if (prefix := prefix_of(item.name, "spatial")) is not None}
    if "" in tables:
        return {}
    if len(tables) == 1:
        counted = {next((one for name in MATRICES if (one := prefix_of(item.name, name)) is not None), None) for item in items} - {None}
        return tables if tables.keys() < counted else {}
    return dict(sorted(tables.items()))


def read_positions(spatial: Path, prefix: str | None = None) -> pd.DataFrame:
    """Positions by barcode: in_tissue (bool), array_row, array_col (int), x, y (float, full-resolution px); raises DataError."""
    path = find_file(spatial, *NAMES, prefix=prefix)
    if path is None:
        raise DataError(f"{spatial}: there is no {', '.join(NAMES[:2])} or {NAMES[2]}. Copy the whole spatial/ folder of Space Ranger.")
    parquet = ".parquet" in path.name.casefold()
    options = {} if parquet else {"header": None, "keep_default_na": False}
    table = read_table(path, "Space Ranger's table of positions", ",", **options)
    if not parquet:
        table = _with_header(table, path)
    if "in_tissue" in table and not pd.api.types.is_numeric_dtype(table["in_tissue"]):
        words = table["in_tissue"].astype(str).str.strip().str.casefold()
        table = table.assign(in_tissue=words.replace({"true": "1", "false": "0"}))
    values = numbers(table, COLUMNS[1:], path)[:, [0, 1, 2, 4, 3]]
    if "barcode" not in table:
        raise DataError(f"{path} has no column barcode; found {', '.join(map(str, table.columns[:8]))}. Take the file as Space Ranger wrote it.")
    barcodes = table["barcode"].astype(str).str.strip().to_numpy()
    positions = pd.DataFrame(values, columns=["in_tissue", "array_row", "array_col", "x", "y"], index=barcodes)
    if positions.index.has_duplicates:
        raise DataError(f"{path} names barcode {positions.index[positions.index.duplicated()][0]} twice. Take the table of one section.")
    return positions.astype({"in_tissue": bool, "array_row": int, "array_col": int})


def _with_header(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """With the columns named: by the first row, in any case of letters and as Seurat calls them too, else in Space Ranger's order."""
    table = table.loc[:, (table != "").any()]  # a comma at the end of every line is no column
    names = [str(name).strip().casefold() for name in table.iloc[0]]
    names = [_SEURAT.get(name, name) for name in names]
    if {"barcode", "in_tissue", *COLUMNS[4:]} & set(names):
        if "barcode" not in names and names[0] == "":  # row names of R
            names[0] = "barcode"
        table = table.iloc[1:].set_axis(names, axis=1)
        table = table.loc[:, ~table.columns.duplicated()]
    elif table.shape[1] == len(COLUMNS):
        table = table.set_axis(COLUMNS, axis=1)
    else:
        usual = ", ".join(COLUMNS)
        raise DataError(f"{path} has {table.shape[1]} columns, not {len(COLUMNS)} ({usual}). Take the file as Space Ranger wrote it.")
    if table.empty:
        raise DataError(f"{path} holds no positions below its header. Take the file as Space Ranger wrote it.")
    return table


def guess_lattice(xy: np.ndarray) -> tuple[np.ndarray, str, float]:
    """Rows and columns for positions (x, y) in px that came without: int (n, 2), "hexagonal", "square" or "irregular", and the pitch in px.

    The two lattices are tried upright; at irregular places a square one is laid over them, so that spots nearby have indices nearby.
    """
    if len(xy) < 2:
        return np.zeros((len(xy), 2), dtype=np.int64), "irregular", float("nan")
    distances = cKDTree(xy).query(xy, k=2)[0][:, 1]
    pitch = float(np.median(distances))
    if pitch <= 0:
        raise DataError("most positions occur twice. Take the table of one section, one row a spot.")
    yx, fits = xy[:, ::-1], []
    for kind, step in (("hexagonal", np.array([np.sqrt(3) / 2, 0.5])), ("square", np.ones(2))):
        index = np.rint((yx - yx[np.lexsort(xy.T)[0]]) / (step * pitch))
        fits.append((_misfit(index * step, yx, pitch), kind, index))
        if kind == "hexagonal" and len(set(index.sum(axis=1) % 2)) > 1:  # Visium: row + column is always even
            fits.pop()
    misfit, kind, index = min(fits, key=lambda fit: fit[0])
    rc = (index - index.min(axis=0)).astype(np.int64)
    if kind == "hexagonal" and rc.sum(axis=1)[0] % 2:
        rc[:, 1] += 1
    alone = len(np.unique(rc, axis=0)) == len(rc)
    return rc, (kind if misfit < 0.15 and alone and len(xy) > 6 else "irregular"), pitch


def off_lattice(rc: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """How far each position (x, y) lies from where its row and column say, in steps of the lattice: float64 (n,), after the best affine map.

    Zeros for fewer than seven positions, which any map fits.
    """
    rc, yx = np.asarray(rc, dtype=float), np.asarray(xy, dtype=float)[:, ::-1]
    design = np.column_stack([rc, np.ones(len(rc))])
    near = np.zeros(len(rc), dtype=bool)
    near[:: max(1, len(rc) // 100_000)] = True
    for _ in range(2):  # again without what lies far off
        fit, *_ = np.linalg.lstsq(design[near], yx[near], rcond=None)
        step = np.sqrt(abs(np.linalg.det(fit[:2])))
        if len(rc) < 7 or not step > 0:
            return np.zeros(len(rc))
        off = np.linalg.norm(design @ fit - yx, axis=1) / step
        near &= off <= max(3 * float(np.median(off)), 0.1)
    return off


def _misfit(scaled: np.ndarray, yx: np.ndarray, pitch: float) -> float:
    """How far positions lie from the best lattice of these indices: 95th percentile, in pitches."""
    design = np.column_stack([scaled, np.ones(len(scaled))])
    fit, *_ = np.linalg.lstsq(design, yx, rcond=None)
    return float(np.percentile(np.linalg.norm(design @ fit - yx, axis=1), 95)) / pitch
