"""Folders of legacy Spatial Transcriptomics: counts.tsv.gz (spots "XxY" x genes), spots.tsv, and clusters with registered coordinates."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_deepspace.errors import DataError
from napari_deepspace.read.analysis import cluster_labels
from napari_deepspace.read.files import Spots, first_existing, numbers, open_plain, read_table, reading
from napari_deepspace.read.genes import gene_table
from napari_deepspace.read.matrix import Counts, checked


def is_legacy_st(path: Path) -> bool:
    """Whether ``path`` holds the two tables of a legacy ST section."""
    return _counts(path) is not None and _spots(path) is not None


def read_legacy_st(folder: Path) -> Spots:
    """Counts, positions and clusters of one section; spots in the order of the counts.

    ``array_row`` is the file's y, ``array_col`` its x. ``obs["cluster"]`` and ``obsm["spatial_aligned"]`` = (x, y) registered to the frame
    shared by the patient's sections come from cluster_annotation.tsv.gz, where there is one; NaN for spots it leaves out.

    Raises
    ------
    DataError
        A table is damaged or foreign, or counts and positions share no spot.
    """
    counts_path, spots_path = _counts(folder), _spots(folder)
    if counts_path is None or spots_path is None:
        raise DataError(f"{folder} holds no counts.tsv.gz with spots.tsv. Choose the folder of one legacy ST section.")
    counts = _read_counts(counts_path)
    table = read_table(spots_path, "a table of spots", "\t", keep_default_na=False)
    values = numbers(table, ["x", "y", "pixel_x", "pixel_y"], spots_path)
    positions = pd.DataFrame(values, columns=["array_col", "array_row", "x", "y"], index=_names(values[:, :2]))
    positions["in_tissue"] = numbers(table, ["selected"], spots_path)[:, 0] > 0 if "selected" in table else True
    if positions.index.has_duplicates:
        raise DataError(f"{spots_path} names spot {positions.index[positions.index.duplicated()][0]} twice. Take the table of one section.")
    keep = np.array([name in positions.index for name in counts.barcodes], dtype=bool)
    if not keep.any():
        raise DataError(
            f"{counts_path}: none of its {len(keep)} spots (such as {counts.barcodes[0]}) is in {spots_path.name} (such as {positions.index[0]}). "
            "Take both tables from one section."
        )
    notes = [f"{int((~keep).sum())} of {len(keep)} spots with counts have no position and were left out."] if not keep.all() else []
    if len(positions) > keep.sum():
        notes.append(f"{len(positions) - int(keep.sum())} of {len(positions)} positions have no counts and were left out.")
    kept = positions.loc[counts.barcodes[keep]]
    obs = kept[["in_tissue", "array_row", "array_col"]].astype({"array_row": int, "array_col": int})
    adata = AnnData(X=counts.values[np.flatnonzero(keep)], obs=obs, var=gene_table(counts.gene_names, counts.gene_ids, notes))
    adata.obsm["spatial"] = kept[["x", "y"]].to_numpy()
    _add_clusters(adata, folder)
    return Spots(
        adata=adata,
        folder=folder,
        name=folder.name,
        lattice_rc=positions[["array_row", "array_col"]].to_numpy(),
        lattice_xy_px=positions[["x", "y"]].to_numpy(),
        square_expected=True,
        notes=notes,
    )


def _counts(folder: Path) -> Path | None:
    return first_existing(folder / "counts.tsv.gz", folder / "counts.tsv")


def _spots(folder: Path) -> Path | None:
    return first_existing(folder / "spots.tsv", folder / "spots.tsv.gz")


def _names(xy: np.ndarray) -> list[str]:
    """Spots as the counts name them: "10x12"."""
    return [f"{x:g}x{y:g}" for x, y in xy]


def _read_counts(path: Path) -> Counts:
    with reading(path, "a table of spots x genes"), open_plain(path) as file:
        genes = file.readline().decode("utf-8").rstrip("\r\n").split("\t")[1:]
        names, rows = [], []
        for line in file:  # row by row: a table of 30,000 columns is slow in pandas
            name, _, values = line.rstrip(b"\r\n").partition(b"\t")
            if name:
                names.append(name.decode("utf-8"))
                rows.append(sparse.csr_matrix(_row(values, len(genes), names[-1])))
        if not rows:
            raise ValueError("it has no rows")
        values = sparse.csr_matrix(sparse.vstack(rows))
    names_of_genes = np.array(genes, dtype=object)
    return checked(Counts(values, np.array(names, dtype=object), names_of_genes, names_of_genes), path)


def _row(text: bytes, length: int, name: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's word for text that is no number, where it stops: seen by the length
        values = np.fromstring(text, sep="\t")
    if len(values) != length:
        raise ValueError(f"spot {name} has {len(values)} numbers for {length} genes")
    return values


def _add_clusters(adata: AnnData, folder: Path) -> None:
    path = first_existing(folder / "cluster_annotation.tsv.gz", folder / "cluster_annotation.tsv")
    if path is None:
        return
    table = read_table(path, "a table of clusters", "\t")
    table.index = pd.Index(_names(numbers(table, ["x", "y"], path)))
    table = table[~table.index.duplicated()].reindex(adata.obs_names)
    if "label" in table:
        adata.obs["cluster"] = cluster_labels(table["label"])
    if {"warped_x", "warped_y"} <= set(table.columns):
        known = table[["warped_x", "warped_y"]].notna().all(axis=1).to_numpy()
        aligned = np.full((len(table), 2), np.nan)
        if known.any():
            aligned[known] = numbers(table[known], ["warped_x", "warped_y"], path)
        adata.obsm["spatial_aligned"] = aligned
