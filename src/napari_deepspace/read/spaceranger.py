"""Folders of Space Ranger 1 and 2 (also CytAssist): `outs/`, its parent, or loose files with `spatial/`."""

from __future__ import annotations

import json
from pathlib import Path

import anndata.utils
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import Spots, first_existing, numbers, read_table, reading
from napari_deepspace.read.matrix import Counts, find_matrix, read_matrix

COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
CLUSTER_COLUMNS = ("cluster", "leiden", "given_cluster", "graphclust")
"""Headers, in any case of letters, under which a file may keep its clusters; the last three are those of ``napari-deepspace preprocess``."""
_CLUSTERS = ("gene_expression_graphclust", "graphclust")


def find_outs(path: Path) -> Path | None:
    """The folder that holds `spatial/`, given it, its parent or `spatial/` itself; None if ``path`` is no Space Ranger folder."""
    if path.name == "spatial" and _positions(path.parent):
        return path.parent
    return next((folder for folder in (path, path / "outs") if (folder / "spatial").is_dir()), None)


def read_spaceranger(outs: Path) -> Spots:
    """Counts, positions, scale factors and clusters of one section.

    Spots come in the matrix's order. A filtered matrix keeps tissue spots only; a raw one keeps all of them, marked in ``obs["in_tissue"]``.
    Without a matrix the spots are the positions in tissue, with no genes.

    Raises
    ------
    DataError
        A file is missing, damaged or foreign, or positions and matrix share no barcode.
    """
    positions = _read_positions(outs)
    notes: list[str] = []
    found = find_matrix(outs)
    counts = read_matrix(found[0]) if found else None
    if counts is None:
        notes.append("There is no count matrix in this folder: only slide and spots are shown.")
        table = positions[positions["in_tissue"]]
        adata = AnnData(X=sparse.csr_matrix((len(table), 0), dtype=np.float32), obs=table[["in_tissue", "array_row", "array_col"]].copy())
    else:
        adata = _join(counts, positions, found[0], raw=found[1], notes=notes)  # type: ignore[index]
    adata.obsm["spatial"] = positions.loc[adata.obs_names, ["x", "y"]].to_numpy()
    _add_clusters(adata, outs)
    scalefactors = _read_scalefactors(outs)
    return Spots(
        adata=adata,
        folder=outs,
        name=(outs.parent if outs.name == "outs" else outs).name,
        lattice_rc=positions[["array_row", "array_col"]].to_numpy(),
        lattice_xy_px=positions[["x", "y"]].to_numpy(),
        scalefactors=scalefactors,
        image_sizes=[
            (outs / "spatial" / f"tissue_{kind}_image.png", scalefactors[f"tissue_{kind}_scalef"])
            for kind in ("hires", "lowres")
            if scalefactors.get(f"tissue_{kind}_scalef") and (outs / "spatial" / f"tissue_{kind}_image.png").is_file()
        ],
        notes=notes,
    )


def _join(counts: Counts, positions: pd.DataFrame, path: Path, raw: bool, notes: list[str]) -> AnnData:
    """Spots that have both counts and a position."""
    known = np.array([barcode in positions.index for barcode in counts.barcodes], dtype=bool)
    if not known.any():
        raise DataError(
            f"{path}: none of its {len(known)} barcodes (such as {counts.barcodes[0]}) is in the positions table (such as {positions.index[0]}). "
            "Matrix and spatial/ come from different sections: take both from one folder."
        )
    keep = known.copy()
    if not raw:
        keep[known] = positions.loc[counts.barcodes[known], "in_tissue"].to_numpy()
    if not keep.any():
        raise DataError(f"{path}: no spot of the matrix is marked as in tissue in the positions table. Take both from one folder.")
    if not known.all():
        notes.append(f"{int((~known).sum())} of {len(known)} barcodes of the matrix have no position and were left out.")
    if (known & ~keep).any():
        notes.append(f"{int((known & ~keep).sum())} spots of the matrix lie outside the tissue and were left out.")
    without = int(positions["in_tissue"].sum() - positions.loc[counts.barcodes[known], "in_tissue"].sum())
    if without:
        notes.append(f"{without} positions in tissue have no counts in {path.name} and were left out.")
    if raw:
        notes.append("The raw matrix was read, for there is no filtered one: spots outside the tissue are kept and marked.")
    obs = positions.loc[counts.barcodes[keep], ["in_tissue", "array_row", "array_col"]].copy()
    obs.index.name = None
    return AnnData(X=counts.values[np.flatnonzero(keep)], obs=obs, var=gene_table(counts, notes))


def gene_table(counts: Counts, notes: list[str]) -> pd.DataFrame:
    """``var``: names made unique as scanpy does (MATR3, MATR3-1), with ``gene_ids``."""
    names = pd.Index(counts.gene_names.astype(str))
    doubled = int(names.duplicated().sum())
    if doubled:
        notes.append(f"{doubled} gene names occur more than once and were made unique with a number (-1, -2, ...).")
        names = anndata.utils.make_index_unique(names)
    return pd.DataFrame({"gene_ids": counts.gene_ids.astype(str)}, index=names)


def _positions(outs: Path) -> Path | None:
    return first_existing(*(outs / "spatial" / name for name in ("tissue_positions.csv", "tissue_positions_list.csv")))


def _read_positions(outs: Path) -> pd.DataFrame:
    """Positions by barcode: in_tissue (bool), array_row, array_col (int), x, y (float, full-resolution px)."""
    path = _positions(outs)
    if path is None:
        if (outs / "spatial" / "tissue_positions.parquet").is_file():
            raise DataError(
                f"{outs}: this is a Visium HD folder (tissue_positions.parquet), which cannot be read yet. Take a Visium or CytAssist folder."
            )
        raise DataError(
            f"{outs / 'spatial'}: there is no tissue_positions.csv or tissue_positions_list.csv. Copy the whole spatial/ folder of Space Ranger."
        )
    table = read_table(path, "Space Ranger's table of positions", ",", header=None, keep_default_na=False)
    if str(table.iloc[0, 0]).strip().lower() == "barcode":
        table = table.iloc[1:].set_axis([str(name).strip() for name in table.iloc[0]], axis=1)
    elif table.shape[1] == len(COLUMNS):
        table = table.set_axis(COLUMNS, axis=1)
    else:
        usual = ", ".join(COLUMNS)
        raise DataError(f"{path} has {table.shape[1]} columns, not {len(COLUMNS)} ({usual}). Take the file as Space Ranger wrote it.")
    if table.empty:
        raise DataError(f"{path} holds no positions below its header. Take the file as Space Ranger wrote it.")
    values = numbers(table, COLUMNS[1:], path)
    positions = pd.DataFrame(
        values[:, [0, 1, 2, 4, 3]], columns=["in_tissue", "array_row", "array_col", "x", "y"], index=table["barcode"].astype(str)
    )
    if positions.index.has_duplicates:
        raise DataError(f"{path} names barcode {positions.index[positions.index.duplicated()][0]} twice. Take the table of one section.")
    positions.index.name = None
    return positions.astype({"in_tissue": bool, "array_row": int, "array_col": int})


def _read_scalefactors(outs: Path) -> dict[str, float]:
    path = outs / "spatial" / "scalefactors_json.json"
    with reading(path, "Space Ranger's scale factors"):
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        factors = {str(key): float(value) for key, value in values.items() if isinstance(value, (int, float))}
    wrong = [key for key, value in factors.items() if not np.isfinite(value) or value <= 0]
    if wrong:
        raise DataError(f"{path}: {wrong[0]} is {factors[wrong[0]]}, not a number above 0. Take the file as Space Ranger wrote it.")
    return factors


def _add_clusters(adata: AnnData, outs: Path) -> None:
    """Space Ranger's graph-based clusters as ``obs["graphclust"]``; spots without one are NaN."""
    path = first_existing(*(outs / "analysis" / "clustering" / name / "clusters.csv" for name in _CLUSTERS))
    if path is None:
        return
    table = read_table(path, "Space Ranger's table of clusters", ",")
    if not {"Barcode", "Cluster"} <= set(table.columns):
        raise DataError(f"{path} has no columns Barcode and Cluster. Take the file as Space Ranger wrote it, or remove it.")
    labels = table.drop_duplicates("Barcode").set_index("Barcode")["Cluster"]
    adata.obs["graphclust"] = cluster_labels(labels.reindex(adata.obs_names))


def add_given_clusters(adata: AnnData, path: Path) -> None:
    """Clusters from a file that the user names, as ``obs["given_cluster"]``: any CSV with the columns barcode and one of CLUSTER_COLUMNS."""
    table = read_table(path, "a table of clusters", ",")
    names = {str(column).strip().casefold(): column for column in table.columns}
    column = next((names[name] for name in CLUSTER_COLUMNS if name in names), None)
    if "barcode" not in names or column is None:
        raise DataError(f"{path} has no columns barcode and cluster (found {', '.join(map(str, table.columns[:6]))}). Name them so in its first row.")
    labels = table.drop_duplicates(names["barcode"]).set_index(names["barcode"])[column].reindex(adata.obs_names)
    if labels.isna().all():
        raise DataError(f"{path}: none of its barcodes is a spot of this section. Take the clusters of this section.")
    adata.obs["given_cluster"] = cluster_labels(labels)


def add_numbers(adata: AnnData, path: Path) -> None:
    """Numbers per spot from a file that the user names, as columns of ``obs``: any CSV with a column barcode.

    A column that ``obs`` has already, or that holds no numbers, is an error: nothing that was measured is overwritten.
    """
    table = read_table(path, "a table of numbers", ",")
    barcode = next((column for column in table.columns if str(column).strip().casefold() == "barcode"), None)
    if barcode is None:
        raise DataError(f"{path} has no column barcode (found {', '.join(map(str, table.columns[:6]))}). Name it so in its first row.")
    table = table.drop_duplicates(barcode).set_index(barcode).reindex(adata.obs_names)
    for name in table.columns:
        if name in adata.obs:
            raise DataError(f"{path}: its column {name} is in the section already. Give it another name.")
        try:
            adata.obs[str(name)] = pd.to_numeric(table[name])
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}: the column {name} holds something that is no number ({error}). Take it out, or give clusters as clusters."
            ) from error
    if table.isna().all(axis=None):
        raise DataError(f"{path}: none of its barcodes is a spot of this section. Take the numbers of this section.")


def add_aligned(adata: AnnData, path: Path) -> None:
    """Places in the frame that the sections of a patient share, as ``obsm["spatial_aligned"]``, (x, y) in um, NaN for spots that the file leaves out.

    Any CSV with the columns barcode, x and y. It stands in place of an alignment that came with the section.
    """
    table = read_table(path, "a table of aligned spots", ",")
    table = table.rename(columns={column: str(column).strip().casefold() for column in table.columns})
    missing = [name for name in ("barcode", "x", "y") if name not in table]
    if missing:
        raise DataError(f"{path} has no column {missing[0]} (found {', '.join(map(str, table.columns[:6]))}). Name the columns barcode, x and y.")
    places = pd.DataFrame(numbers(table, ["x", "y"], path), index=table["barcode"].astype(str))
    if places.index.has_duplicates:
        raise DataError(f"{path} names barcode {places.index[places.index.duplicated()][0]} twice. Take the alignment of one section.")
    aligned = places.reindex(adata.obs_names).to_numpy()
    if np.isnan(aligned).all():
        raise DataError(f"{path}: none of its barcodes is a spot of this section. Take the alignment of this section.")
    adata.obsm["spatial_aligned"] = aligned


def cluster_labels(labels: pd.Series) -> pd.Series:
    """Cluster names as a categorical, numbers in their numerical order."""
    names = sorted(labels.dropna().unique(), key=lambda name: (not str(name).isdigit(), int(name) if str(name).isdigit() else 0, str(name)))
    return labels.astype(pd.CategoricalDtype(names))
