"""Folders of Space Ranger 1 to 4, Visium, CytAssist and HD: `outs/`, its parent, loose files, or the folder of one bin size."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from PIL import Image
from scipy import sparse

from napari_deepspace.errors import DataError
from napari_deepspace.read.analysis import add_analysis
from napari_deepspace.read.files import Spots, find_file, open_plain, owner_of, prefix_of, reading, visible
from napari_deepspace.read.genes import gene_table
from napari_deepspace.read.matrix import Counts, find_matrix, read_matrix
from napari_deepspace.read.positions import MATRICES, NAMES, prefixes_in, read_positions, spatial_of
from napari_deepspace.read.several import BINS_OF_CHOICE
from napari_deepspace.section import Platform

BINS, CELLS = "binned_outputs", "segmented_outputs"
_BINS_BY_CHOICE = (BINS_OF_CHOICE, "square_008um", "square_002um")
_PART = re.compile(
    r"feature_bc_matrix$|\.h5(\.gz)?$|(matrix\.mtx|barcodes\.tsv|features\.tsv|genes\.tsv)(\.gz)?$"
    r"|tissue_positions(_list)?\.(csv|parquet)(\.gz)?$|scalefactors_json\.json(\.gz)?$|tissue_(hires|lowres)_image\.png$"
)
_LISTS, _IMAGES = ("barcodes.tsv", "features.tsv", "genes.tsv"), ("tissue_hires_image.png", "tissue_lowres_image.png")
_PARTS = (*NAMES, *MATRICES, "h5", *_LISTS, "scalefactors_json.json", "spatial", *_IMAGES)
_SEQUENCE = re.compile(r"[ACGTN]{14,}")
_OF_SECTION = re.compile(r"-(\d+)$")
OTHER_SECTION = 0.05  #: share of the spots of a filtered matrix outside the tissue that speaks for a table of another section


def find_outs(path: Path) -> Path | None:
    """The folder that holds `spatial/`, given it, its parent, `spatial/` itself or any of the files; None if ``path`` is no Space Ranger folder.

    Of Visium HD it is the folder of one bin size, by default 16 um, else 8, else 2: a bin of 16 um holds four times the molecules of one
    of 8, and tiles 8 um apart show nearly the same picture, so that smaller bins cost much and teach little.
    """
    if _PART.search(path.name):
        return next((found for folder in path.parents[:2] if (found := outs_of(folder))), None)
    found = outs_of(path)
    return found or (outs_of(path.parent) if path.name == "spatial" else None)


def outs_of(path: Path) -> Path | None:
    """As :func:`find_outs`, given the folder, its parent or its spatial/."""
    if path.name.casefold().endswith("spatial") and find_file(path, *NAMES):
        prefixes = prefixes_in(path.parent)
        if path in prefixes.values() or (not prefixes and spatial_of(path.parent) in (path, path / "spatial")):
            return path.parent
    for folder in (path, path / "outs"):
        bins = next((item for item in (folder, *visible(folder)) if item.name.endswith(BINS)), folder)
        sizes = [item for item in visible(bins) if item.name.startswith("square_") and (item / "spatial").is_dir()]
        chosen = next((item for name in _BINS_BY_CHOICE for item in sizes if item.name == name), sizes[0] if sizes else None)
        if chosen is not None or prefixes_in(folder) or spatial_of(folder):
            return chosen or folder
        if (folder / CELLS).is_dir():
            return folder / CELLS
    return None


def prefix_at(path: Path, outs: Path) -> str | None:
    """Of the sections whose files lie loose in ``outs``, the one that ``path``, a file or folder in it, is of; None where they are those of one.

    Raises DataError for a file under whose prefix there are no positions.
    """
    prefixes = prefixes_in(outs)
    if not prefixes or path == outs or not path.is_relative_to(outs):
        return None
    name = path.relative_to(outs).parts[0]
    found = next((one for part in _PARTS if (one := prefix_of(name, part)) in prefixes), None)
    if found is None:
        raise DataError(f"{path}: no positions lie beside it under its prefix. Those there are of {', '.join(prefixes)}: open one of these.")
    return found


def read_spaceranger(outs: Path, matrix: Path | None = None, prefix: str | None = None) -> Spots:
    """Counts, positions, scale factors, clusters and embeddings of one section; of several matrices ``matrix`` where it is given; of several sections
    in ``outs`` that of ``prefix``, see :func:`napari_deepspace.read.positions.prefixes_in`.

    Spots come in the matrix's order. A filtered matrix keeps tissue spots only; a raw one keeps all of them, marked in ``obs["in_tissue"]``.
    Without a matrix the spots are the positions in tissue, with no genes.

    Raises
    ------
    DataError
        A file is missing, damaged or foreign, or positions and matrix share no barcode.
    """
    siblings = tuple(prefixes_in(outs)) if prefix is not None else ()
    spatial = spatial_of(outs, prefix) or outs / "spatial"
    loose = prefix if spatial == outs else None  # in a folder of their own, files need no prefix
    own = [item for item in visible(outs) if prefix is None or owner_of(item.name, siblings) == prefix]
    if any(item.name.endswith(("cell_segmentations.geojson", "feature_cell_matrix.h5")) for item in own):
        raise DataError(
            f"{outs} holds cells that Space Ranger 4 segmented, outlines of any shape, which are no spots or bins. Open {BINS}/ beside it."
        )
    positions = read_positions(spatial, loose)
    notes: list[str] = []
    tables = [name for name in NAMES if (spatial / name).is_file()]
    if len(tables) > 1:
        notes.append(f"There are two tables of positions: {tables[0]} was read, {' and '.join(tables[1:])} was not.")
    found = (matrix, "filtered" not in matrix.name) if matrix is not None else find_matrix(outs, prefix)
    if found and found[0].parent == spatial and prefix is None:
        _check_prefixes(spatial, found[0])
    counts = read_matrix(found[0], notes) if found else None
    if counts is None:
        missing = "its matrix folder lacks matrix.mtx.gz" if list(outs.glob("*feature_bc_matrix")) else "no filtered_feature_bc_matrix.h5"
        missing = f"{missing} that begins with {prefix}" if prefix is not None else missing
        notes.append(f"There is no count matrix in this folder ({missing}): only slide and spots are shown.")
        table = positions[positions["in_tissue"]]
        if table.empty:
            raise DataError(f"{spatial}: no position is marked as in tissue. Take the file as Space Ranger wrote it.")
        adata = AnnData(X=sparse.csr_matrix((len(table), 0), dtype=np.float32), obs=table[["in_tissue", "array_row", "array_col"]].copy())
    else:
        adata = _join(counts, positions, found[0], raw=found[1], notes=notes)  # type: ignore[index]
    adata.obsm["spatial"] = positions.loc[adata.obs_names, ["x", "y"]].to_numpy()
    for folder in own:
        if prefix_of(folder.name, "analysis") == (prefix or ""):
            add_analysis(adata, folder)
    factors = _read_scalefactors(spatial, notes, loose)
    images = [(find_file(spatial, f"tissue_{kind}_image.png", prefix=loose), factors.get(f"tissue_{kind}_scalef")) for kind in ("hires", "lowres")]
    hd = outs.name.startswith("square_") or "bin_size_um" in factors
    top = outs.parent if outs.name == "outs" else outs
    spots = Spots(
        adata=adata,
        folder=outs,
        name=prefix or top.name,
        lattice_rc=positions[["array_row", "array_col"]].to_numpy(),
        lattice_xy_px=positions[["x", "y"]].to_numpy(),
        scalefactors=factors,
        image_sizes=[(path, factor) for path, factor in images if path is not None and factor and path.suffix != ".gz"],
        full_size=next((size for path, factor in images if path is not None and factor and (size := _packed_size(path, factor))), None),
        prefix=prefix,
        siblings=siblings,
        notes=notes,
    )
    if hd:
        _as_hd(spots)
    return spots


def _packed_size(path: Path, factor: float) -> tuple[float, float] | None:
    """(height, width) of the slide, from a reduced image that was gzipped on its way into a repository; None for any other."""
    if path.suffix != ".gz":
        return None
    with suppress(DataError), reading(path, "a reduced image"), open_plain(path) as file, Image.open(file) as image:
        return image.height / factor, image.width / factor
    return None


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
    if not folder.name.startswith("square_"):
        return
    sample = next(one for one in folder.parents if one.name != "outs" and not one.name.endswith(BINS))
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
    in_tissue = positions.loc[barcodes[known], "in_tissue"].to_numpy()
    if not raw:
        keep[known] = in_tissue
    if not keep.any():
        raise DataError(f"{path}: no spot of the matrix is marked as in tissue in the positions table. Take both from one folder.")
    if not known.all():
        notes.append(f"{int((~known).sum())} of {len(known)} barcodes of the matrix have no position and were left out.")
    outside = int((known & ~keep).sum())
    if outside:
        notes.append(f"{outside} spots of the matrix lie outside the tissue and were left out.")
    if outside > OTHER_SECTION * known.sum():
        notes.append("A filtered matrix has spots in tissue only: matrix and positions may be those of two sections. Check both.")
    without = int(positions["in_tissue"].sum() - in_tissue.sum())
    if without:
        notes.append(f"{without} positions in tissue have no counts in {path.name} and were left out.")
    if raw and not in_tissue.all():
        notes.append("The raw matrix was read, for there is no filtered one: spots outside the tissue are kept and marked.")
    obs = positions.loc[barcodes[keep], ["in_tissue", "array_row", "array_col"]].copy()
    obs.index.name = None
    return AnnData(X=counts.values[np.flatnonzero(keep)], obs=obs, var=gene_table(counts.gene_names, counts.gene_ids, notes, counts.genomes))


def _as_in(names: pd.Index, barcodes: np.ndarray, notes: list[str]) -> np.ndarray:
    """``barcodes`` as the positions spell them: tools add, change or drop what stands before and behind the bases (A1_ACGT-1_2, ACGT.1, acgt)."""
    known = int(names.isin(barcodes).sum())
    some = [*barcodes[:: max(1, len(barcodes) // 100_000)], barcodes[-1]]  # enough: those of a section stand together
    sections = sorted({found[1] for one in some if (found := _OF_SECTION.search(str(one)))})
    if len(sections) > 1:
        if not known:
            return barcodes
        notes.append(
            f"The matrix holds barcodes of several sections (ending in -{' and -'.join(sections[:4])}), as spaceranger aggr writes it: those "
            "that end as the positions do were read. Check that they are of this section."
        )
        return barcodes
    if known == len(barcodes):
        return barcodes
    bare = pd.Series(names, index=[_bases(str(name)) for name in names])
    own = [_bases(str(barcode)) for barcode in barcodes]
    if bare.index.has_duplicates or len(set(own)) < len(own) or int(bare.index.isin(own).sum()) <= known:
        return barcodes
    notes.append(
        f'Matrix and positions spell their barcodes differently ({barcodes[0]}, {names[0]}), as with and without "-1": '
        "they were matched by what they have in common."
    )
    return np.array([bare.get(one, barcode) for one, barcode in zip(own, barcodes, strict=True)], dtype=object)


def _bases(barcode: str) -> str:
    """The bases of a barcode; of one without, as of Visium HD, all but the number at its end."""
    found = _SEQUENCE.search(barcode.upper())
    return found[0] if found else re.sub(r"[-.]\d+$", "", barcode.strip())


def _check_prefixes(folder: Path, matrix: Path) -> None:
    """Raise DataError where loose files of positions and counts begin with different names: those of two sections."""
    table = find_file(folder, *NAMES)
    ends = r"tissue_positions|filtered_|raw_|matrix\.mtx|spatial_|\.h5"
    first, second = (re.split(ends, path.name)[0] for path in (table or matrix, matrix))
    of_first, of_second = (re.findall(r"[^_.\-\s]+", one) for one in (first, second))
    if any(one != other for one, other in zip(of_first, of_second, strict=False)):  # GSM1_A and GSM1 are of one, GSM1_A and GSM1_B are not
        raise DataError(
            f"{folder} holds files of several sections (positions of {first}, counts of {second}). Put the files of each into a folder of its own."
        )


def _read_scalefactors(spatial: Path, notes: list[str], prefix: str | None) -> dict[str, float]:
    path = find_file(spatial, "scalefactors_json.json", prefix=prefix)
    if path is None:
        notes.append("There is no scalefactors_json.json: the lattice of the spots alone tells the scale, and reduced images cannot be used.")
        return {}
    with reading(path, "Space Ranger's scale factors"), open_plain(path) as file:
        values = json.loads(file.read(2**20).decode("utf-8-sig"))
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        factors = {str(key): float(value) for key, value in values.items() if isinstance(value, (int, float, str))}
    if factors.get("fiducial_diameter_fullres") == 0:  # where fiducials were not found by themselves; nothing here depends on them
        del factors["fiducial_diameter_fullres"]
    wrong = [key for key, value in factors.items() if not np.isfinite(value) or value <= 0]
    if wrong:
        raise DataError(f"{path}: {wrong[0]} is {factors[wrong[0]]}, not a number above 0. Take the file as Space Ranger wrote it.")
    return factors
