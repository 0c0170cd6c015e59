"""Folders of legacy Spatial Transcriptomics: counts.tsv.gz (spots "XxY" x genes), spots.tsv, and clusters with registered coordinates."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_deepspace.errors import DataError
from napari_deepspace.read.analysis import cluster_labels
from napari_deepspace.read.files import Spots, first_existing, numbers, open_plain, read_table, reading, visible
from napari_deepspace.read.genes import gene_table
from napari_deepspace.read.matrix import Counts, checked

_HER2ST_COUNTS, _HER2ST_SPOTS = "ST-cnts", "ST-spotfiles"
_SPOTS = re.compile(r"(^|[_\-])spots?([_\-.])|selection", re.IGNORECASE)
_COUNTS = re.compile(r"count|st_?data", re.IGNORECASE)
_OF_FILE = {"", "selection", "spot", "spots", "data", "all", "stdata", "st", "count", "counts"}
_SPOT = re.compile(r"(?:^|[^\d.])(\d+(?:\.\d+)?)[xX_](\d+(?:\.\d+)?)$")


def find_legacy_st(path: Path) -> tuple[Path, Path] | None:
    """Counts and spots of a legacy ST section: of its folder, or given one of the two tables; None where there are none.

    In a folder they are called counts.tsv.gz and spots.tsv, or as repositories call them: NAME_stdata.tsv.gz, NAME.tsv.gz;
    NAME_selection.tsv, spot_data-selection-NAME.tsv, spots_NAME.csv. Her2st keeps them apart, in ST-cnts/ and ST-spotfiles/.

    Raises
    ------
    DataError
        There are tables of several sections.
    """
    if not path.is_dir():
        return _around(path)
    top = path.parent if path.name in (_HER2ST_COUNTS, _HER2ST_SPOTS) else path
    apart = [one for item in _tables(top / _HER2ST_COUNTS) if (one := _around(item))]
    if len(apart) > 1:
        names = ", ".join(_stem(counts) for counts, _ in apart[:6])
        raise DataError(f"{path} holds several sections ({names}). Open the counts of one of them, {_HER2ST_COUNTS}/{apart[0][0].name} say.")
    if apart:
        return apart[0]
    counts = first_existing(path / "counts.tsv.gz", path / "counts.tsv")
    spots = first_existing(path / "spots.tsv", path / "spots.tsv.gz")
    if counts and spots:
        return counts, spots
    found = [pair for item in _tables(path) if _SPOTS.search(item.name) and (pair := _around(item))]
    chosen = [pair for pair in found if "selection" in pair[1].name] or found
    if len({pair[0] for pair in chosen}) > 1:
        names = ", ".join(pair[1].name for pair in chosen[:3])
        raise DataError(f"{path} holds files of several sections ({names}). Open the table of counts of one of them.")
    return chosen[0] if chosen else None


def _around(path: Path) -> tuple[Path, Path] | None:
    """Counts and spots of the section that one of the two tables is of, beside it or in her2st's folders."""
    beside = [item for item in _tables(path.parent) if item != path]
    if path.parent.name == _HER2ST_COUNTS:
        beside = _tables(path.parent.parent / _HER2ST_SPOTS)
    elif path.parent.name == _HER2ST_SPOTS:
        beside = _tables(path.parent.parent / _HER2ST_COUNTS)
    is_spots = bool(_SPOTS.search(path.name))
    others = [item for item in beside if bool(_SPOTS.search(item.name)) != is_spots]
    named = [item for item in others if _stem(item) == _stem(path) and _stem(path)]
    plain = [item for item in others if is_spots or _COUNTS.search(path.name)]
    plain = [item for item in plain if not is_spots or _COUNTS.search(item.name)]
    chosen = sorted(named, key=lambda item: "selection" not in item.name)[:1] or (plain if len(plain) == 1 else [])
    if not path.is_file() or not chosen:
        return None
    counts, spots = (chosen[0], path) if is_spots else (path, chosen[0])
    return (counts, spots) if _is_spots(spots) else None


def _tables(folder: Path) -> list[Path]:
    return [item for item in visible(folder) if item.name.casefold().removesuffix(".gz").endswith((".tsv", ".csv", ".txt"))]


def _stem(path: Path) -> str:
    """What of a file's name is the section's."""
    words = re.split(r"[_\-\s]+", path.name.split(".")[0])
    return "_".join(word for word in words if word.casefold() not in _OF_FILE)


def _is_spots(path: Path) -> bool:
    try:
        with reading(path, "a table of spots"), open_plain(path) as file:
            header = set(re.split(r"[,;\t]", file.readline(10_000).decode("utf-8-sig").strip().replace('"', "")))
    except DataError:
        return True  # said when it is read
    return "pixel_x" in header or ({"X", "Y"} <= header and len(header) == 3)


def read_legacy_st(counts_path: Path, spots_path: Path, path: Path) -> Spots:
    """Counts, positions and clusters of one section; spots in the order of the counts. ``path`` is what the user named.

    ``array_row`` is the file's y, ``array_col`` its x. ``obs["cluster"]`` and ``obsm["spatial_aligned"]`` = (x, y) registered to the frame
    shared by the patient's sections come from cluster_annotation.tsv.gz, where there is one; NaN for spots it leaves out.

    Raises
    ------
    DataError
        A table is damaged or foreign, or counts and positions share no spot.
    """
    folder = path if path.is_dir() else path.parent
    notes: list[str] = []
    counts = _read_counts(counts_path, notes)
    positions = _read_spots(spots_path)
    keep = np.array([name in positions.index for name in counts.barcodes], dtype=bool)
    if not keep.any():
        raise DataError(
            f"{counts_path}: none of its {len(keep)} spots (such as {counts.barcodes[0]}) is in {spots_path.name} (such as {positions.index[0]}). "
            "Take both tables from one section."
        )
    if not keep.all():
        notes.append(f"{int((~keep).sum())} of {len(keep)} spots with counts have no position and were left out.")
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
        name=folder.name if path.is_dir() and counts_path.parent == folder else _stem(counts_path) or folder.name,
        lattice_rc=positions[["array_row", "array_col"]].to_numpy(),
        lattice_xy_px=positions[["x", "y"]].to_numpy(),
        square_expected=True,
        image_folders=_image_folders(folder, counts_path),
        notes=notes,
    )


def _image_folders(folder: Path, counts: Path) -> list[Path]:
    if counts.parent.name != _HER2ST_COUNTS:
        return []
    images, name = counts.parent.parent / "ST-imgs", _stem(counts)
    return [images / name[:1] / name, images / name, images]


def _read_spots(path: Path) -> pd.DataFrame:
    """array_col, array_row, x, y in px, and in_tissue, by the name of the spot."""
    table = read_table(path, "a table of spots", "\t", keep_default_na=False)
    if "pixel_x" not in table and {"X", "Y"} <= set(table) and _SPOT.search(str(table.iloc[0, 0])):  # names such as 10x13 before X and Y in px
        found = table.iloc[:, 0].map(lambda name: _SPOT.search(str(name)))
        table = table[found.notna()].rename(columns={"X": "pixel_x", "Y": "pixel_y"})
        table["x"], table["y"] = ([match[number] for match in found.dropna()] for number in (1, 2))
    own = ["x", "y"] if "x" in table or "new_x" not in table else ["new_x", "new_y"]
    values = numbers(table, [*own, "pixel_x", "pixel_y"], path)
    positions = pd.DataFrame(values, columns=["array_col", "array_row", "x", "y"], index=_names(values[:, :2]))
    positions[["array_col", "array_row"]] = positions[["array_col", "array_row"]].round()
    positions["in_tissue"] = numbers(table, ["selected"], path)[:, 0] > 0 if "selected" in table else True
    if positions.index.has_duplicates:
        raise DataError(f"{path} names spot {positions.index[positions.index.duplicated()][0]} twice. Take the table of one section.")
    return positions


def _names(xy: np.ndarray) -> list[str]:
    """Spots as the counts name them: "10x12". Some tables shift them a little to where they lie, to "10.02x11.97"."""
    return [f"{round(x)}x{round(y)}" for x, y in xy]


def _named(barcodes: list[str]) -> list[str]:
    """The spots of a table of counts by their place alone: "C3_10x12", "X10x12", "10_12" and "10.02x11.97" are "10x12"."""
    found = [_SPOT.search(one) for one in barcodes]
    names = [f"{round(float(one[1]))}x{round(float(one[2]))}" if one else name for one, name in zip(found, barcodes, strict=True)]
    return names if len(set(names)) == len(set(barcodes)) else barcodes


def _read_counts(path: Path, notes: list[str]) -> Counts:
    with reading(path, "a table of spots x genes"), open_plain(path) as file:
        header = file.readline().decode("utf-8-sig").rstrip("\r\n")
        separator = max("\t,;", key=header.count)
        columns = [name.strip('"') for name in header.split(separator)]
        genes, names = columns[1:], list[str]()
        rows: list[sparse.csr_matrix] = []
        for line in file:  # row by row: a table of 30,000 columns is slow in pandas
            name, _, values = line.rstrip(b"\r\n").partition(separator.encode())
            if not name:
                continue
            if not rows and values.count(separator.encode()) == len(columns) - 1:  # R leaves the corner out
                genes = columns
            names.append(name.decode("utf-8").strip('"'))
            rows.append(sparse.csr_matrix(_row(values, separator, len(genes), names[-1])))
        if not rows:
            raise ValueError("it has no rows")
        values = sparse.csr_matrix(sparse.vstack(rows))
    if genes and all(_SPOT.search(name) for name in genes) and not all(_SPOT.search(name) for name in names):
        notes.append(f"{path.name} holds genes x spots: it was turned.")
        genes, names, values = names, genes, sparse.csr_matrix(values.T)
    names_of_genes = np.array(genes, dtype=object)
    return checked(Counts(values, np.array(_named(names), dtype=object), names_of_genes, names_of_genes), path)


def _row(text: bytes, separator: str, length: int, name: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's word for text that is no number, where it stops: seen by the length
        values = np.fromstring(text, sep=separator)
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
