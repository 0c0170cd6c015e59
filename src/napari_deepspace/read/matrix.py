"""Count matrices of 10x Genomics: one .h5 file, or a folder with matrix.mtx, barcodes.tsv and features.tsv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import h5py
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.io import mmread

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import MOST_CELLS, check_size, find_file, open_plain, prefix_of, read_table, reading, unpacked, visible

GENES = "Gene Expression"
_TYPES = ("gene expression", "antibody capture", "crispr guide capture", "multiplexing capture", "antigen capture", "custom", "peaks")
_HEADERS = {
    "", "x", "v1", "0", "id", "barcode", "barcodes", "cell", "spot", "gene", "genes", "gene_id", "gene_ids", "feature", "features", "ensembl_id",
}  # fmt: skip
"""First cells of a list of barcodes or features that are no name."""


@dataclass
class Counts:
    """Raw counts with the names of their rows and columns."""

    values: sparse.csr_matrix  #: float32, spots x genes
    barcodes: np.ndarray
    gene_names: np.ndarray  #: may hold duplicates
    gene_ids: np.ndarray
    genomes: np.ndarray | None = None


def find_matrix(folder: Path, prefix: str | None = None) -> tuple[Path, bool] | None:
    """The count matrix of a Space Ranger folder and whether it is to be read as a raw one. None without one. Of several sections that of ``prefix``.

    The filtered one is preferred, then the raw one, then loose files of a triplet, then counts of single probes, then the one .h5 file of another
    name that is a matrix.
    """
    for kind in ("filtered", "raw"):
        name = f"{kind}_feature_bc_matrix"
        found = find_file(folder, f"{name}.h5", prefix=prefix) or _in_folder(folder, name, prefix)
        found = found or find_file(folder, f"{name}.mtx", f"{kind}_matrix.mtx", prefix=prefix)
        if found:
            return found, kind == "raw"
    found = find_file(folder, "matrix.mtx", prefix=prefix) or find_file(folder, "raw_probe_bc_matrix.h5", prefix=prefix)
    if found is None and prefix is not None:
        found = find_file(folder, "h5", prefix=prefix)
    elif found is None:
        others = [item for item in visible(folder) if item.suffix.casefold() == ".h5" and _is_matrix(item)]
        found = others[0] if len(others) == 1 else None
    return None if found is None else (found, True)


def _in_folder(folder: Path, name: str, prefix: str | None) -> Path | None:
    """matrix.mtx in the folder of that name, which may have a prefix (``prefix``, where it is given), and may be packed twice."""
    found = [
        mtx
        for item in visible(folder)
        if (item.name.endswith(name) if prefix is None else prefix_of(item.name, name) == prefix) and item.is_dir()
        for mtx in [find_file(item, "matrix.mtx") or find_file(item / name, "matrix.mtx")]
        if mtx is not None
    ]
    if len(found) > 1:
        raise DataError(
            f"{folder} holds files of several sections ({found[0].parent.name}, {found[1].parent.name}). Take one into a folder of its own."
        )
    return found[0] if found else None


def _is_matrix(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return bool(_groups(file))
    except (OSError, RuntimeError):
        return False


def _groups(file: h5py.File) -> list[h5py.Group]:
    """ "matrix", or of the oldest files the groups that are called by genomes."""
    if isinstance(file.get("matrix"), h5py.Group):
        return [file["matrix"]]
    return [group for group in file.values() if isinstance(group, h5py.Group) and {"genes", "gene_names", "barcodes", "indptr"} <= set(group)]


def read_matrix(path: Path, notes: list[str]) -> Counts:
    """Read the matrix that :func:`find_matrix` found; raises DataError for a damaged, foreign or empty one. What is left out is noted."""
    counts, types = _read_h5(path) if ".h5" in path.name.casefold() else _read_mtx(path, notes)
    kinds = np.array([str(one).strip().casefold().replace("_", " ") for one in types])
    is_gene = kinds == GENES.casefold()
    if len(kinds) and not np.isin(kinds, _TYPES).any():
        notes.append(f"{path.name} does not say which of its features are genes (it says {types[0]!r}): all are taken as genes.")
        is_gene[:] = True
    if not is_gene.all():
        others = ", ".join(sorted({str(one) for one in types[~is_gene]}))
        notes.append(f"{int((~is_gene).sum())} of {len(is_gene)} features are no genes ({others}) and were left out.")
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
    with reading(path, "a 10x feature-barcode matrix (.h5)"), h5py.File(unpacked(path), "r") as file:
        groups = _groups(file)
        if not groups:
            found = ", ".join(list(file)[:5]) or "nothing"
            raise DataError(f"{path} is no 10x feature-barcode matrix: it has no group 'matrix' (found {found}). Take Space Ranger's matrix.")
        if "features" in groups[0]:
            return _read_group(path, groups[0], groups[0]["features"])
        return _joined([_read_genome(path, group) for group in groups])


def _read_genome(path: Path, group: h5py.Group) -> Counts:
    check_h5(path, group)
    barcodes, names, ids = (_text(group[name]) for name in ("barcodes", "gene_names", "genes"))
    return Counts(_values(group, len(barcodes), len(names)), barcodes, names, ids, np.full(len(names), group.name.strip("/"), dtype=object))


def _joined(parts: list[Counts]) -> tuple[Counts, np.ndarray]:
    """The counts of several genomes at the same spots, side by side."""
    if any(list(part.barcodes) != list(parts[0].barcodes) for part in parts):
        raise ValueError("its genomes have different spots")
    names, ids, genomes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("gene_names", "gene_ids", "genomes"))
    counts = Counts(sparse.csr_matrix(sparse.hstack([part.values for part in parts])), parts[0].barcodes, names, ids, genomes)
    return counts, np.full(len(names), GENES, dtype=object)


def _values(group: h5py.Group, n_spots: int, n_genes: int) -> sparse.csr_matrix:
    data = group["data"][:]
    data = data.astype(np.float32 if data.dtype.kind in "iu" else np.float64)
    # genes x spots by columns is spots x genes by rows
    values = sparse.csr_matrix((data, group["indices"][:], group["indptr"][:]), shape=(n_spots, n_genes))
    values.check_format(full_check=True)
    values.sum_duplicates()
    return values


def _read_group(path: Path, group: h5py.Group, features: h5py.Group) -> tuple[Counts, np.ndarray]:
    check_h5(path, group, features)
    barcodes, names, ids, types = (_text(item) for item in (group["barcodes"], features["name"], features["id"], features["feature_type"]))
    values = _values(group, len(barcodes), len(names))
    if "gene_id" in features:  # one row a probe
        kept = np.asarray(features["filtered_probes"][:], dtype=bool) if "filtered_probes" in features else np.ones(len(ids), dtype=bool)
        symbols = _text(features["gene_name"]) if "gene_name" in features else names
        return _by_gene(values, barcodes, symbols, _text(features["gene_id"]), kept)
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


def _read_mtx(path: Path, notes: list[str]) -> tuple[Counts, np.ndarray]:
    features_path = _beside(path, "features.tsv", "genes.tsv")
    barcodes_path = _beside(path, "barcodes.tsv")
    features = read_table(features_path, "a 10x feature list", "\t", header=None, keep_default_na=False, quoting=csv.QUOTE_NONE)
    barcodes = read_table(barcodes_path, "a 10x barcode list", "\t", header=None, keep_default_na=False, quoting=csv.QUOTE_NONE)[[0]]
    features, barcodes = (table.apply(lambda column: column.str.strip('" ')) for table in (features, barcodes))  # some tools quote them
    with reading(path, "a Matrix Market file"), open_plain(path) as file:
        *shape, stored_values = _mtx_header(file)  # before any memory is taken for it
    features, barcodes = _without_header(features, shape), _without_header(barcodes, shape)
    across = shape == [len(barcodes), len(features)] != [len(features), len(barcodes)]
    if across:
        notes.append(f"{path.name} holds spots x genes, not genes x spots as 10x Genomics writes it: it was turned.")
    elif shape != [len(features), len(barcodes)]:
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
    return Counts(sparse.csr_matrix(stored if across else stored.T), barcodes[0].to_numpy(dtype=object), names, ids), types


def _without_header(table: pd.DataFrame, shape: list[int]) -> pd.DataFrame:
    """Without a first row that is a header, as pandas and R write it: the matrix has one name fewer."""
    named = len(table) - 1 in shape and len(table) not in shape and str(table.iloc[0, 0]).strip().casefold() in _HEADERS
    return table.iloc[1:] if named else table


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
    prefix = path.name[: path.name.casefold().index("matrix.mtx")]
    own = {f"{prefix}{name}{end}".casefold() for name in names for end in ("", ".gz")}
    found = next((item for item in visible(path.parent) if item.name.casefold() in own), None)
    if found is None:
        raise DataError(f"{path.parent / (prefix + names[0])}.gz is missing beside {path.name}. Copy the whole folder again.")
    return found
