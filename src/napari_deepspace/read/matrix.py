"""Count matrices of 10x Genomics: one .h5 file, or a folder with matrix.mtx, barcodes.tsv and features.tsv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import h5py
import numpy as np
from scipy import sparse
from scipy.io import mmread

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import MOST_CELLS, check_size, find_file, first_existing, open_plain, read_table, reading

GENES = "Gene Expression"


@dataclass
class Counts:
    """Raw counts with the names of their rows and columns."""

    values: sparse.csr_matrix  #: float32, spots x genes
    barcodes: np.ndarray
    gene_names: np.ndarray  #: may hold duplicates
    gene_ids: np.ndarray
    genomes: np.ndarray | None = None


def find_matrix(folder: Path) -> tuple[Path, bool] | None:
    """The count matrix of a Space Ranger folder and whether it is a raw one. None without one.

    The filtered one is preferred, then the raw one, then loose files of a triplet, then counts of single probes.
    """
    for kind in ("filtered", "raw"):
        name = f"{kind}_feature_bc_matrix"
        mtx = (folder / name / end for end in ("matrix.mtx.gz", "matrix.mtx"))
        found = find_file(folder, f"{name}.h5") or first_existing(*mtx)
        if found:
            return found, kind == "raw"
    loose, probes = find_file(folder, "matrix.mtx"), find_file(folder, "raw_probe_bc_matrix.h5")
    return (loose, True) if loose else (probes, True) if probes else None


def read_matrix(path: Path) -> Counts:
    """Read the matrix that :func:`find_matrix` found; raises DataError for a damaged, foreign or empty one."""
    counts, types = _read_h5(path) if path.suffix == ".h5" else _read_mtx(path)
    is_gene = types == GENES
    if not is_gene.all():
        genomes = None if counts.genomes is None else counts.genomes[is_gene]
        counts = Counts(counts.values[:, np.flatnonzero(is_gene)], counts.barcodes, counts.gene_names[is_gene], counts.gene_ids[is_gene], genomes)
    if counts.values.shape[1] == 0:
        raise DataError(f"{path} holds no features of type {GENES!r}. Training needs the gene expression matrix of Space Ranger.")
    return checked(counts, path)


def checked(counts: Counts, path: Path) -> Counts:
    """``counts`` with float32 values once they are known to be counts; raises DataError otherwise."""
    data = counts.values.data
    if not len(counts.barcodes):
        raise DataError(f"{path} is empty: it holds no spot at all. Take another matrix.")
    if not np.isfinite(data).all() or (data < 0).any() or (data % 1 != 0).any():
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
        check_h5(path, group, features)
        barcodes, names, ids, types = (_text(item) for item in (group["barcodes"], features["name"], features["id"], features["feature_type"]))
        # genes x spots by columns is spots x genes by rows
        data = group["data"][:]
        data = data.astype(np.float32 if data.dtype.kind in "iu" else np.float64)
        values = sparse.csr_matrix((data, group["indices"][:], group["indptr"][:]), shape=(len(barcodes), len(names)))
        values.check_format(full_check=True)
        values.sum_duplicates()
        if "gene_id" in features:  # one row a probe
            kept = np.asarray(features["filtered_probes"][:], dtype=bool) if "filtered_probes" in features else np.ones(len(ids), dtype=bool)
            return _by_gene(
                values, barcodes, names if "gene_name" not in features else _text(features["gene_name"]), _text(features["gene_id"]), kept
            )
        genomes = _text(features["genome"]) if "genome" in features else None
        return Counts(values, barcodes, names, ids, genomes), types


def check_h5(path: Path, *groups: h5py.Group) -> None:
    """Raise DataError, before anything is read, for data sets of these groups that would unpack to far more than is stored."""
    for item in (item for group in groups for item in group.values()):
        if isinstance(item, h5py.Dataset):
            check_size(path, item.nbytes, item.id.get_storage_size())


def _by_gene(values: sparse.csr_matrix, barcodes: np.ndarray, names: np.ndarray, ids: np.ndarray, kept: np.ndarray) -> tuple[Counts, np.ndarray]:
    """Counts of probes added up to genes, without the probes that Space Ranger itself leaves out."""
    genes, first, gene_of = np.unique(ids.astype(str), return_index=True, return_inverse=True)
    rows = np.flatnonzero(kept)
    adding = sparse.csr_matrix((np.ones(len(rows)), (rows, gene_of[rows])), shape=(len(ids), len(genes)))
    counts = Counts(sparse.csr_matrix(values @ adding), barcodes, names[first], genes.astype(object))
    return counts, np.full(len(genes), GENES, dtype=object)


def _text(item: h5py.Dataset) -> np.ndarray:
    return np.array([value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in item[:]], dtype=object)


def _read_mtx(path: Path) -> tuple[Counts, np.ndarray]:
    features_path = _beside(path, "features.tsv", "genes.tsv")
    barcodes_path = _beside(path, "barcodes.tsv")
    features = read_table(features_path, "a 10x feature list", "\t", header=None, keep_default_na=False, quoting=csv.QUOTE_NONE)
    barcodes = read_table(barcodes_path, "a 10x barcode list", "\t", header=None, keep_default_na=False, quoting=csv.QUOTE_NONE)[[0]]
    features, barcodes = (table.apply(lambda column: column.str.strip('"')) for table in (features, barcodes))  # some tools quote them
    with reading(path, "a Matrix Market file"), open_plain(path) as file:
        *shape, stored_values = _mtx_header(file)  # before any memory is taken for it
    if shape != [len(features), len(barcodes)]:
        found = f"{path} holds {shape[0]} features x {shape[1]} barcodes"
        raise DataError(
            f"{found}, but {features_path.name} and {barcodes_path.name} name {len(features)} and {len(barcodes)}. Take all three from one run."
        )
    with reading(path, "a Matrix Market file"), open_plain(path) as file:
        if stored_values > min(MOST_CELLS, shape[0] * shape[1]):
            raise ValueError("it claims more values than it can have")
        stored = mmread(file)
    ids, names = features[0].to_numpy(dtype=object), features[1 if features.shape[1] > 1 else 0].to_numpy(dtype=object)
    types = features[2].to_numpy(dtype=object) if features.shape[1] > 2 else np.full(len(features), GENES, dtype=object)
    return Counts(sparse.csr_matrix(stored.T), barcodes[0].to_numpy(dtype=object), names, ids), types


def _mtx_header(file: IO[bytes]) -> list[int]:
    """Rows, columns and stored values; raises ValueError where the file does not begin so."""
    if not file.readline(1000).startswith(b"%%MatrixMarket matrix coordinate"):
        raise ValueError("it does not begin as a sparse Matrix Market file")
    line = next((line for line in iter(lambda: file.readline(1000), b"") if not line.startswith(b"%") and line.strip()), b"")
    sizes = [int(word) for word in line.split()]
    if len(sizes) != 3:
        raise ValueError("its line of sizes is missing")
    return sizes


def _beside(path: Path, *names: str) -> Path:
    prefix = path.name.removesuffix(".gz").removesuffix("matrix.mtx")
    found = first_existing(*(path.parent / (prefix + name) for plain in names for name in (f"{plain}.gz", plain)))
    if found is None:
        raise DataError(f"{path.parent / (prefix + names[0])}.gz is missing beside {path.name}. Copy the whole folder again.")
    return found
