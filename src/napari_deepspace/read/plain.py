"""A plain table (csv, tsv, parquet): one row a spot, with its place, and genes in columns. Any image goes with it; GeoMx and others come so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_deepspace.errors import DataError, TableUnclear
from napari_deepspace.read.analysis import cluster_labels
from napari_deepspace.read.files import MOST_CELLS, Spots, numbers, read_table, visible
from napari_deepspace.read.genes import gene_table
from napari_deepspace.read.h5ad import add_lattice
from napari_deepspace.read.matrix import Counts, checked

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".csv.gz", ".tsv.gz", ".txt.gz")
ROLES: dict[str, tuple[str, ...]] = {
    "barcode": ("barcode", "spot", "spot_id", "roi", "roi_id", "cell", "cell_id", "id", "name"),
    "x": ("pxl_col_in_fullres", "pixel_x", "x_px", "imagecol", "x_centroid", "centroid_x", "roicoordinatex", "x"),
    "y": ("pxl_row_in_fullres", "pixel_y", "y_px", "imagerow", "y_centroid", "centroid_y", "roicoordinatey", "y"),
    "array_row": ("array_row",),
    "array_col": ("array_col",),
    "in_tissue": ("in_tissue",),
    "cluster": ("cluster", "given_cluster"),
    "diameter": ("diameter", "spot_diameter", "diameter_px"),
}
"""What a column can mean, with the headers (in any case of letters) under which it is found by itself."""
_AROUND_XY = re.compile(r"centroid|center|centre|coordinates?|coords?|positions?|pos|locations?|loc|pixels?|px|global|spatial|fullres|[^a-zµμ]")
_MICRONS = re.compile(r"(^|[^a-z])(um|µm|μm|microns?|micrometers?|micrometres?)([^a-z]|$)")
_NO_GENES = re.compile(
    r"unnamed: 0|x|y|row|col|n?_?(counts?|genes?|features?|umis?|reads?)(_by_counts)?|total_counts.*|n(count|feature)_.*|pct_.*|percent[._].*|"
    r"(log1p_)?(n_genes|total)_.*|area|perimeter|in_tissue|array_.*|pixel_[xy]|pxl_.*|image(row|col)|new_[xy]|selected|.*[._]um"
)
"""Numbers of a spot, by the names that scanpy, Seurat and others give them."""


@dataclass(frozen=True)
class Header:
    """What a table shows before it is read: names of its columns, the first rows as text (as many cells as names), and what may be what."""

    path: Path
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    guess: dict[str, str]  #: role, of :data:`ROLES`, -> column


def is_table(path: Path) -> bool:
    """Whether the name is that of a plain table."""
    return path.name.lower().endswith(SUFFIXES)


def find_tables(folder: Path) -> tuple[Path, Path | None] | None:
    """Positions, and counts where they lie apart, in a folder that holds ``positions.*`` and perhaps ``counts.*``; None for any other."""
    tables = {item.name.casefold(): item for item in visible(folder) if item.is_file()}
    positions, counts = (next((tables[name + end] for end in SUFFIXES if name + end in tables), None) for name in ("positions", "counts"))
    return None if positions is None else (positions, counts)


def read_plain(path: Path, counts: Path | None = None, columns: Mapping[str, str] | None = None, mpp: float | None = None) -> Spots:
    """Spots from a table of positions (x = column, y = row, full-resolution px) and genes.

    ``columns`` says which column means what, of :data:`ROLES`, where its header does not say so ("": none does); ``counts`` is a second table with
    the same barcodes and one gene a column. Columns of text stay in ``obs``.

    Raises
    ------
    TableUnclear
        No column is called as x and y are, or these are in um and ``mpp`` (um per px) is not given.
    DataError
        A column is missing or damaged, or values are no counts.
    """
    table = _table(path)
    roles = _roles(table, columns or {}, path)
    xy = _in_px(numbers(table, [roles["x"], roles["y"]], path), roles, mpp, path)
    names = table[roles["barcode"]].astype(str) if "barcode" in roles else pd.Series([f"spot{number + 1}" for number in range(len(table))])
    if names.duplicated().any():
        raise DataError(f"{path} names {names[names.duplicated()].iloc[0]} twice. Take the table of one section, one row a spot.")
    notes = [f"Read as a plain table: {', '.join(f'{role} = {column}' for role, column in roles.items())}."]
    rest = table.drop(columns=list(roles.values())).set_axis(names.to_numpy(), axis=0)
    genes, obs = (rest, rest.iloc[:, :0]) if counts is None else (_counts_of(counts, names, notes), rest)
    if counts is None:
        about = [column for column in rest if _NO_GENES.fullmatch(str(column).casefold())]
        if about:
            notes.append(f"Not taken as genes, by their names: {', '.join(map(str, about[:8]))}.")
        is_number = [column not in about and _of_numbers(rest[column]) for column in rest]
        genes, obs = rest.loc[:, is_number], rest.loc[:, [not one for one in is_number]]
    headers = genes.columns.astype(str).to_numpy(dtype=object)
    adata = AnnData(X=_matrix(genes, counts or path), obs=obs.copy(), var=gene_table(headers, headers, notes))
    if not adata.n_vars:
        notes.append("There is no column of genes in this table: only slide and spots are shown.")
    adata.obsm["spatial"] = xy
    _set_obs(adata, table, roles, path)
    diameter = float(np.median(numbers(table, [roles["diameter"]], path))) if "diameter" in roles else None
    irregular = None if {"array_row", "array_col"} <= set(roles) else add_lattice(adata, xy, diameter, notes)
    return Spots(
        adata=adata,
        folder=path.parent,
        name=path.parent.name if counts is not None or path.stem == "positions" else path.name.split(".")[0],
        lattice_rc=adata.obs[["array_row", "array_col"]].to_numpy(),
        lattice_xy_px=xy,
        scalefactors={} if diameter is None else {"spot_diameter_fullres": diameter},
        notes=notes,
        irregular_px=irregular,
        table=path,
    )


def _of_numbers(column: pd.Series) -> bool:
    """Whether what stands in a column is mostly numbers; gaps among them are said when they are read, and do not make a gene vanish."""
    filled = column.replace("", np.nan).dropna()
    return bool(len(filled)) and bool(pd.to_numeric(filled, errors="coerce").notna().mean() > 0.5)


def header_of(path: Path, rows: int = 5) -> Header:
    """The columns of a table, or of that of positions in a folder, with a guess of which is what: by name, and x and y also as a pair of columns
    of numbers whose names differ in an x and a y alone. Nothing is decided by it.

    Raises
    ------
    DataError
        The table is damaged, or there is none.
    """
    tables = find_tables(path) if path.is_dir() else (path, None)
    if tables is None:
        raise DataError(f"{path} holds no table of positions. Choose a table (csv, tsv or parquet).")
    table = _table(tables[0], rows).head(rows).astype(str)
    guess = _roles_by_name(table)
    if "x" not in guess or "y" not in guess:
        guess |= next(({"x": one, "y": other} for one, other in _pairs(table)), {})
    return Header(tables[0], tuple(table.columns), tuple(tuple(row) for row in table.to_numpy()), guess)


def _pairs(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Columns of numbers such as CX and CY, in the order of the table."""
    numeric = [str(name) for name in table if pd.to_numeric(table[name], errors="coerce").notna().all()]
    known = set(numeric)
    for name in numeric:
        for at, letter in enumerate(name):
            other = name[:at] + {"x": "y", "X": "Y"}.get(letter, letter) + name[at + 1 :]
            if other != name and other in known:
                yield name, other


def _table(path: Path, rows: int | None = None) -> pd.DataFrame:
    separator, needed = "," if ".csv" in path.name.lower() else "\t", "a table of positions and genes"
    try:
        table = read_table(path, needed, separator, keep_default_na=False, nrows=rows)
    except DataError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        table = read_table(path, needed, separator, keep_default_na=False, nrows=rows, encoding="cp1252")  # as spreadsheets on Windows write it
    if table.shape[0] * table.shape[1] > MOST_CELLS // 4:
        raise DataError(f"{path} has {table.shape[0]:,} x {table.shape[1]:,} cells, too many for a table. Save it as .h5ad.")
    return table.rename(columns=lambda name: str(name).strip()).reset_index(drop=True)


def _roles(table: pd.DataFrame, columns: Mapping[str, str], path: Path) -> dict[str, str]:
    """Role -> column, as the user says, else by its header; the first column without a header holds the barcodes."""
    unknown = [role for role in columns if role not in ROLES]
    if unknown:
        raise DataError(f"A table has no column {unknown[0]!r} to be mapped. Choose among {', '.join(ROLES)}.")
    absent = [name for name in columns.values() if name and name not in table]
    some = ", ".join(map(str, table.columns[:8]))
    if absent:
        raise DataError(f"{path} has no column {absent[0]}; found {some}. Name a column that it has.")
    by_name = {role: name for role, name in _roles_by_name(table).items() if role not in columns}
    roles = by_name | {role: name for role, name in columns.items() if name}
    if "x" not in roles or "y" not in roles:
        words = f"{path} has no columns x and y (found {some}). Name them so, or say which they are: --columns x=NAME,y=NAME."
        raise TableUnclear(words, path)
    return roles


def _roles_by_name(table: pd.DataFrame) -> dict[str, str]:
    lowered = {name.casefold(): name for name in reversed(table.columns)}
    found = {role: next((lowered[name] for name in names if name in lowered), None) for role, names in ROLES.items()}
    if found["barcode"] is None and str(table.columns[0]) in ("", "Unnamed: 0"):
        found["barcode"] = table.columns[0]
    for axis in ("x", "y"):
        alike = [name for name in table.columns if _AROUND_XY.sub("", _MICRONS.sub("", str(name).casefold())) == axis]
        found[axis] = found[axis] or (alike[0] if len(alike) == 1 else None)
    if (found["x"] in ROLES["x"][-1:]) != (found["y"] in ROLES["y"][-1:]):
        found["x"] = found["y"] = None  # one of an image, one of something else
    return {role: name for role, name in found.items() if name is not None}


def _in_px(xy: np.ndarray, roles: Mapping[str, str], mpp: float | None, path: Path) -> np.ndarray:
    """Places in px, also where a header says that they are in um."""
    if not any(_MICRONS.search(roles[axis].casefold()) for axis in ("x", "y")):
        return xy
    if mpp is None:
        words = f"{path}: {roles['x']} and {roles['y']} are in um, not px. Say how many um a px of the slide is: --mpp NUMBER."
        raise TableUnclear(words, path, needs_scale=True)
    return xy / mpp


def _counts_of(path: Path, names: pd.Series, notes: list[str]) -> pd.DataFrame:
    table = _table(path)
    lowered = {name.casefold(): name for name in reversed(table.columns)}
    key = next((lowered[name] for name in ROLES["barcode"] if name in lowered), table.columns[0])
    table = table.set_index(table[key].astype(str)).drop(columns=key)
    if table.index.has_duplicates:
        raise DataError(f"{path} names {table.index[table.index.duplicated()][0]} twice. Take the table of one section, one row a spot.")
    known = names.isin(table.index)
    if not known.any() and names.isin(table.columns).any():
        notes.append(f"{path.name} holds genes x spots: it was turned.")
        table = table.T
        known = names.isin(table.index)
    if not known.any():
        raise DataError(f"{path}: none of its spots (such as {table.index[0]}) has a position (such as {names.iloc[0]}). Take both from one section.")
    if not known.all():
        raise DataError(f"{path} has no row for {int((~known).sum())} spots of the table of positions (such as {names[~known].iloc[0]}). Add them.")
    if len(table) > len(names):
        notes.append(f"{len(table) - len(names)} rows of {path.name} have no position and were left out.")
    return table.loc[names]


def _matrix(genes: pd.DataFrame, path: Path) -> sparse.csr_matrix:
    if genes.shape[1] == 0:
        return sparse.csr_matrix(genes.shape, dtype=np.float32)
    unnamed = genes.reset_index(drop=True).set_axis([str(column) for column in genes.columns], axis=1)
    unnamed.insert(0, "spot of the table", genes.index)
    values = numbers(unnamed, list(unnamed.columns[1:]), path) if unnamed.columns.is_unique else None
    if values is None:
        raise DataError(f"{path} has two columns of one name. Give every gene a column of its own.")
    counts = Counts(sparse.csr_matrix(values), genes.index.to_numpy(), *[genes.columns.to_numpy()] * 2)
    return checked(counts, path).values


def _set_obs(adata: AnnData, table: pd.DataFrame, roles: dict[str, str], path: Path) -> None:
    for role in ("array_row", "array_col"):
        if role in roles:
            adata.obs[role] = numbers(table, [roles[role]], path)[:, 0].astype(int)
    adata.obs["in_tissue"] = numbers(table, [roles["in_tissue"]], path)[:, 0] > 0 if "in_tissue" in roles else True
    if "cluster" in roles:
        labels = pd.Series(table[roles["cluster"]].to_numpy(), index=adata.obs_names).replace("", np.nan)
        adata.obs["cluster"] = cluster_labels(labels.astype(object).where(labels.isna(), labels.astype(str)))
