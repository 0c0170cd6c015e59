"""Count matrices of 10x Genomics: one .h5 file, or a folder with matrix.mtx, barcodes.tsv and features.tsv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from scipy import sparse
from scipy.io import mmread

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import first_existing, open_plain, read_table, reading

GENES = "Gene Expression"


@dataclass
class Counts:
    """Raw counts with the names of their rows and columns."""

    values: sparse.csr_matrix  #: float32, spots x genes
    barcodes: np.ndarray
    gene_names: np.ndarray  #: may hold duplicates
    gene_ids: np.ndarray


def find_matrix(folder: Path) -> tuple[Path, bool] | None:
    """The count matrix of a Space Ranger folder and whether it is the raw one; the filtered one is preferred. None without one."""
    for kind in ("filtered", "raw"):
        h5 = folder / f"{kind}_feature_bc_matrix.h5"
        if h5.is_file():
            return h5, kind == "raw"
        mtx = first_existing(*(h5.with_suffix("") / name for name in ("matrix.mtx.gz", "matrix.mtx")))
        if mtx:
            return mtx, kind == "raw"
    return None


def read_matrix(path: Path) -> Counts:
    """Read the matrix that :func:`find_matrix` found; raises DataError for a damaged, foreign or empty one."""
    counts, types = _read_h5(path) if path.suffix == ".h5" else _read_mtx(path)
    is_gene = types == GENES
    if not is_gene.all():
        counts = Counts(counts.values[:, np.flatnonzero(is_gene)], counts.barcodes, counts.gene_names[is_gene], counts.gene_ids[is_gene])
    if counts.values.shape[1] == 0:
        raise DataError(f"{path} holds no features of type {GENES!r}. Training needs the gene expression matrix of Space Ranger.")
    return checked(counts, path)


def checked(counts: Counts, path: Path) -> Counts:
    """``counts`` with float32 values once they are known to be counts; raises DataError otherwise."""
    data = counts.values.data
    if counts.values.nnz == 0 or not data.any():
        raise DataError(
            f"{path} is empty: {counts.values.shape[0]} spots x {counts.values.shape[1]} genes without a single count. Take another matrix."
        )
    if not np.isfinite(data).all() or data.min() < 0 or (data % 1 != 0).any():
        raise DataError(f"{path} holds negative or fractional values; raw counts are needed. Take the matrix as it was before normalisation.")
    if len(set(counts.barcodes)) != len(counts.barcodes):
        raise DataError(f"{path} names a barcode twice. Take the matrix of one section, as Space Ranger wrote it.")
    counts.values = counts.values.astype(np.float32)
    return counts


def _read_h5(path: Path) -> tuple[Counts, np.ndarray]:
    with reading(path, "a 10x feature-barcode matrix (.h5)"), h5py.File(path, "r") as file:
        if "matrix" not in file:
            found = ", ".join(list(file)[:5]) or "nothing"
            raise DataError(f"{path} is no 10x feature-barcode matrix: it has no group 'matrix' (found {found}). Take Space Ranger's matrix.")
        group = file["matrix"]
        features = group["features"]
        barcodes, names, ids, types = (_text(item) for item in (group["barcodes"], features["name"], features["id"], features["feature_type"]))
        # genes x spots by columns is spots x genes by rows
        values = sparse.csr_matrix((group["data"][:].astype(np.float64), group["indices"][:], group["indptr"][:]), shape=(len(barcodes), len(names)))
        values.check_format(full_check=True)
        values.sum_duplicates()
        return Counts(values, barcodes, names, ids), types


def _text(item: h5py.Dataset) -> np.ndarray:
    return np.array([value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in item[:]], dtype=object)


def _read_mtx(path: Path) -> tuple[Counts, np.ndarray]:
    features_path = _beside(path, "features.tsv", "genes.tsv")
    barcodes_path = _beside(path, "barcodes.tsv")
    features = read_table(features_path, "a 10x feature list", "\t", header=None, keep_default_na=False, quoting=csv.QUOTE_NONE)
    barcodes = read_table(barcodes_path, "a 10x barcode list", "\t", header=None, keep_default_na=False, quoting=csv.QUOTE_NONE)[0].to_numpy(
        dtype=object
    )
    with reading(path, "a Matrix Market file"), open_plain(path) as file:
        stored = mmread(file)
    if stored.shape != (len(features), len(barcodes)):
        found = f"{path} holds {stored.shape[0]} features x {stored.shape[1]} barcodes"
        raise DataError(
            f"{found}, but {features_path.name} and {barcodes_path.name} name {len(features)} and {len(barcodes)}. Take all three from one run."
        )
    ids, names = features[0].to_numpy(dtype=object), features[1 if features.shape[1] > 1 else 0].to_numpy(dtype=object)
    types = features[2].to_numpy(dtype=object) if features.shape[1] > 2 else np.full(len(features), GENES, dtype=object)
    return Counts(sparse.csr_matrix(stored.T), barcodes, names, ids), types


def _beside(path: Path, *names: str) -> Path:
    found = first_existing(*(path.parent / name for plain in names for name in (f"{plain}.gz", plain)))
    if found is None:
        raise DataError(f"{path.parent / names[0]}.gz is missing beside {path.name}. Copy the whole folder again.")
    return found
