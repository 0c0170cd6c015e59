"""Folders of Space Ranger 1 to 4, Visium, CytAssist and HD: `outs/`, its parent, loose files, or the folder of one bin size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_deepspace.errors import DataError
from napari_deepspace.read.analysis import add_analysis
from napari_deepspace.read.files import Spots, find_file, open_plain, reading
from napari_deepspace.read.genes import gene_table
from napari_deepspace.read.matrix import Counts, find_matrix, read_matrix
from napari_deepspace.read.positions import NAMES, read_positions, spatial_of
from napari_deepspace.section import Platform

BINS = "binned_outputs"
_BINS_BY_CHOICE = ("square_016um", "square_008um", "square_002um")


def find_outs(path: Path) -> Path | None:
    """The folder that holds `spatial/`, given it, its parent or `spatial/` itself; None if ``path`` is no Space Ranger folder.

    Of Visium HD it is the folder of one bin size, by default 16 um, else 8, else 2: a bin of 16 um holds four times the molecules of one
    of 8, and tiles 8 um apart show nearly the same picture, so that smaller bins cost much and teach little.
    """
    if path.name == "spatial" and find_file(path, *NAMES):
        return path.parent
    for folder in (path, path / "outs"):
        bins = folder if folder.name == BINS else folder / BINS
        found = next((bins / name for name in _BINS_BY_CHOICE if (bins / name / "spatial").is_dir()), None)
        if found is not None or spatial_of(folder):
            return found or folder
    return None


def read_spaceranger(outs: Path) -> Spots:
    """Counts, positions, scale factors, clusters and embeddings of one section.

    Spots come in the matrix's order. A filtered matrix keeps tissue spots only; a raw one keeps all of them, marked in ``obs["in_tissue"]``.
    Without a matrix the spots are the positions in tissue, with no genes.

    Raises
    ------
    DataError
        A file is missing, damaged or foreign, or positions and matrix share no barcode.
    """
    spatial = spatial_of(outs) or outs / "spatial"
    positions = read_positions(spatial)
    notes: list[str] = []
    found = find_matrix(outs)
    counts = read_matrix(found[0]) if found else None
    if counts is None:
        missing = "its matrix folder lacks matrix.mtx.gz" if list(outs.glob("*_feature_bc_matrix")) else "no filtered_feature_bc_matrix.h5"
        notes.append(f"There is no count matrix in this folder ({missing}): only slide and spots are shown.")
        table = positions[positions["in_tissue"]]
        if table.empty:
            raise DataError(f"{spatial}: no position is marked as in tissue. Take the file as Space Ranger wrote it.")
        adata = AnnData(X=sparse.csr_matrix((len(table), 0), dtype=np.float32), obs=table[["in_tissue", "array_row", "array_col"]].copy())
    else:
        adata = _join(counts, positions, found[0], raw=found[1], notes=notes)  # type: ignore[index]
    adata.obsm["spatial"] = positions.loc[adata.obs_names, ["x", "y"]].to_numpy()
    add_analysis(adata, outs)
    factors = _read_scalefactors(spatial)
    images = [(find_file(spatial, f"tissue_{kind}_image.png"), factors.get(f"tissue_{kind}_scalef")) for kind in ("hires", "lowres")]
    hd = outs.name.startswith("square_") or "bin_size_um" in factors
    top = outs.parent if outs.name == "outs" else outs
    spots = Spots(
        adata=adata,
        folder=outs,
        name=top.name,
        lattice_rc=positions[["array_row", "array_col"]].to_numpy(),
        lattice_xy_px=positions[["x", "y"]].to_numpy(),
        scalefactors=factors,
        image_sizes=[(path, factor) for path, factor in images if path is not None and factor],
        notes=notes,
    )
    if hd:
        _as_hd(spots)
    return spots


def bins_of(size_um: float) -> Platform:
    """Visium HD in bins of ``size_um``."""
    return Platform(f"Visium HD, {size_um:g} um bins", size_um, size_um, "square")


def _as_hd(spots: Spots) -> None:
    """Platform, scale and name of a folder of one bin size; which others there are goes into the notes."""
    folder, factors = spots.folder, spots.scalefactors
    size = factors.get("bin_size_um") or float(folder.name[7:10].lstrip("0") or "nan")
    if not np.isfinite(size):
        raise DataError(f"{folder}: neither its name nor scalefactors_json.json states the size of a bin. Take the folder as Space Ranger wrote it.")
    spots.platform = bins_of(size)
    if factors.get("microns_per_pixel"):
        spots.mpp, spots.mpp_from = factors["microns_per_pixel"], "scalefactors_json.json (microns_per_pixel)"
    spots.path = folder
    if folder.parent.name != BINS:
        return
    sample = next(one for one in (folder.parent.parent, folder.parent.parent.parent) if one.name != "outs")
    spots.name = f"{sample.name}-{size:g}um"
    spots.image_folders = [folder, folder.parent, folder.parent.parent, folder.parent.parent.parent]
    others = sorted(item.name for item in folder.parent.glob("square_*") if item != folder and (item / "spatial").is_dir())
    if others:
        spots.notes.append(
            f"Visium HD: bins of {size:g} um are shown. Other sizes lie beside them ({', '.join(others)}): open such a folder itself to take it. "
            "The default is 16 um: four times the molecules of 8 um, at a quarter of the bins."
        )


def _join(counts: Counts, positions: pd.DataFrame, path: Path, raw: bool, notes: list[str]) -> AnnData:
    """Spots that have both counts and a position."""
    barcodes = _as_in(positions.index, counts.barcodes, notes)
    known = np.asarray(positions.index.get_indexer(pd.Index(barcodes)) >= 0)
    if not known.any():
        raise DataError(
            f"{path}: none of its {len(known)} barcodes (such as {counts.barcodes[0]}) is in the positions table (such as {positions.index[0]}). "
            "Matrix and spatial/ come from different sections: take both from one folder."
        )
    keep = known.copy()
    if not raw:
        keep[known] = positions.loc[barcodes[known], "in_tissue"].to_numpy()
    if not keep.any():
        raise DataError(f"{path}: no spot of the matrix is marked as in tissue in the positions table. Take both from one folder.")
    if not known.all():
        notes.append(f"{int((~known).sum())} of {len(known)} barcodes of the matrix have no position and were left out.")
    if (known & ~keep).any():
        notes.append(f"{int((known & ~keep).sum())} spots of the matrix lie outside the tissue and were left out.")
    without = int(positions["in_tissue"].sum() - positions.loc[barcodes[known], "in_tissue"].sum())
    if without:
        notes.append(f"{without} positions in tissue have no counts in {path.name} and were left out.")
    if raw:
        notes.append("The raw matrix was read, for there is no filtered one: spots outside the tissue are kept and marked.")
    obs = positions.loc[barcodes[keep], ["in_tissue", "array_row", "array_col"]].copy()
    obs.index.name = None
    return AnnData(X=counts.values[np.flatnonzero(keep)], obs=obs, var=gene_table(counts.gene_names, counts.gene_ids, notes, counts.genomes))


def _as_in(names: pd.Index, barcodes: np.ndarray, notes: list[str]) -> np.ndarray:
    """``barcodes`` as the positions spell them: some tools drop the "-1" of Space Ranger from one of the two tables."""
    if names.isin(barcodes).any():
        return barcodes
    bare = pd.Series(names, index=[str(name).removesuffix("-1") for name in names])
    own = [str(barcode).removesuffix("-1") for barcode in barcodes]
    if bare.index.has_duplicates or len(set(own)) < len(own) or not bare.index.isin(own).any():
        return barcodes
    notes.append('Matrix and positions spell their barcodes differently, with and without "-1": they were matched without it.')
    return np.array([bare.get(one, barcode) for one, barcode in zip(own, barcodes, strict=True)], dtype=object)


def _read_scalefactors(spatial: Path) -> dict[str, float]:
    path = find_file(spatial, "scalefactors_json.json") or spatial / "scalefactors_json.json"
    with reading(path, "Space Ranger's scale factors"), open_plain(path) as file:
        values = json.loads(file.read(2**20).decode("utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        factors = {str(key): float(value) for key, value in values.items() if isinstance(value, (int, float))}
    wrong = [key for key, value in factors.items() if not np.isfinite(value) or value <= 0]
    if wrong:
        raise DataError(f"{path}: {wrong[0]} is {factors[wrong[0]]}, not a number above 0. Take the file as Space Ranger wrote it.")
    return factors
