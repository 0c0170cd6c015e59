"""AnnData files (.h5ad) with places in obsm["spatial"], as scanpy, squidpy and this program write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import MOST_CELLS, Spots, check_size, reading
from napari_deepspace.read.genes import gene_table
from napari_deepspace.read.matrix import Counts, checked
from napari_deepspace.read.positions import guess_lattice
from napari_deepspace.read.several import chosen_section, section_column
from napari_deepspace.section import Platform

_SYMBOLS = ("gene_symbols", "gene_symbol", "gene_name", "gene_names", "feature_name", "symbol", "SYMBOL", "gene_short_name")
_IDS = ("gene_ids", "gene_id", "ensembl_id", "ENSEMBL", "feature_id")
_NEEDED = "an AnnData file (.h5ad)"


def read_h5ad(path: Path, library_id: str | None = None) -> Spots:
    """Counts, positions, scale factors and clusters of an ``.h5ad`` file; of several sections in it that of ``library_id``, else the first.

    Raises
    ------
    DataError
        The file is damaged, foreign or has no ``obsm["spatial"]`` or no raw counts.
    """
    with reading(path, _NEEDED):
        with h5py.File(path, "r") as file:
            if "obs" not in file or "var" not in file:
                raise DataError(f"{path} is no AnnData file: it has no obs and var (found {', '.join(list(file)[:5]) or 'nothing'}). Take an .h5ad.")
            file.visititems(lambda _, item: _check(path, item))
        adata = anndata.read_h5ad(path)
    return spots_of(adata, path, library_id)


def spots_of(adata: AnnData, path: Path, library_id: str | None = None) -> Spots:
    """A section from an AnnData that was read from ``path``; errors as for :func:`read_h5ad`."""
    if "spatial" not in adata.obsm or not adata.n_obs:
        found = ", ".join(adata.obsm) or "nothing"
        raise DataError(f'{path} says of no spot where it lies: obsm["spatial"] is needed, (x, y) in full-resolution px (found {found}).')
    notes: list[str] = []
    spatial = adata.uns.get("spatial")
    libraries = {str(name): value for name, value in spatial.items() if isinstance(value, dict)} if isinstance(spatial, dict) else {}
    name = path.stem if not libraries else next(iter(libraries))
    several = section_column(adata.obs, libraries)
    if several is not None:
        name = chosen_section(several[1], library_id, path, notes)
        adata = adata[adata.obs[several[0]].astype(str) == name].copy()
    elif len(libraries) > 1:
        raise DataError(
            f"{path} holds {len(libraries)} sections ({', '.join(libraries)}), and no column of obs says whose a spot is. Split the file."
        )
    about = libraries.get(name, {})
    xy = _positions(adata, path)
    with reading(path, _NEEDED):
        factors = {str(key): float(value) for key, value in dict(about.get("scalefactors", {})).items()}
        stated = dict(about.get("metadata", {}))
        images = {str(kind): np.shape(value)[:2] for kind, value in dict(about.get("images", {})).items()}
        mpp = float(stated.get("um_per_px", 0)) or factors.get("microns_per_pixel")
        own = _platform(stated.get("platform"))
        synthetic = bool(stated.get("synthetic")) or bool(dict(adata.uns.get("deepspace", {})).get("synthetic"))
    names, ids = _gene_names(adata, notes)
    counts = _counts(adata, path, names, ids, notes)
    made = AnnData(X=counts.values, obs=adata.obs.copy(), var=gene_table(counts.gene_names, counts.gene_ids, notes))
    made.obs_names_make_unique()
    made.obsm["spatial"] = xy
    for slot in ("X_pca", "X_umap", "X_tsne", "spatial_aligned"):
        if slot in adata.obsm and np.ndim(adata.obsm[slot]) == 2:
            made.obsm[slot] = np.asarray(adata.obsm[slot])
    guessed = _set_lattice(made, xy, factors, mpp, notes)
    sizes = [
        (images[kind], factors[f"tissue_{kind}_scalef"]) for kind in ("hires", "lowres") if kind in images and f"tissue_{kind}_scalef" in factors
    ]
    return Spots(
        adata=made,
        folder=path.parent,
        name=name,
        lattice_rc=made.obs[["array_row", "array_col"]].to_numpy(),
        lattice_xy_px=xy,
        scalefactors={key: value for key, value in factors.items() if np.isfinite(value) and value > 0},
        notes=notes,
        platform=own or guessed,
        synthetic=synthetic,
        mpp=mpp,
        mpp_from=f"{path.name} (um_per_px)" if mpp else "",
        full_size=next(((shape[0] / factor, shape[1] / factor) for shape, factor in sizes if factor > 0), None),
        image_folders=[path.parent],
    )


def _platform(stated: Any) -> Platform | None:
    """The platform that this program wrote into the file; None for any other file."""
    if not isinstance(stated, dict) or not {"name", "spot_diameter_um", "pitch_um", "lattice"} <= set(stated):
        return None
    found = Platform(str(stated["name"]), float(stated["spot_diameter_um"]), float(stated["pitch_um"]), str(stated["lattice"]))
    if found.lattice not in ("hexagonal", "square") or not (found.pitch_um > 0 and found.spot_diameter_um > 0):
        raise ValueError("its platform has no lattice or no size")
    return found


def _check(path: Path, item: Any) -> None:
    if isinstance(item, h5py.Dataset):
        check_size(path, item.nbytes, item.id.get_storage_size())


def _positions(adata: AnnData, path: Path) -> np.ndarray:
    with reading(path, _NEEDED):
        xy = np.asarray(adata.obsm["spatial"], dtype=np.float64)
        if xy.ndim != 2 or xy.shape[1] < 2 or not np.isfinite(xy[:, :2]).all():
            raise ValueError('obsm["spatial"] is no table of two finite numbers a spot')
    return xy[:, :2].copy()


def _gene_names(adata: AnnData, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and ids: where the names are Ensembl ids, a column of ``var`` may have the symbols."""
    names = adata.var_names.to_numpy(dtype=object)
    ids = next((adata.var[column].astype(str).to_numpy(dtype=object) for column in _IDS if column in adata.var), names)
    column = next((column for column in _SYMBOLS if column in adata.var), None)
    if column is not None and len(names) and str(names[0]).startswith("ENS"):
        notes.append(f"Genes are named by Ensembl ids; their symbols were taken from var[{column!r}].")
        return adata.var[column].astype(str).to_numpy(dtype=object), names
    return names, ids


def _counts(adata: AnnData, path: Path, names: np.ndarray, ids: np.ndarray, notes: list[str]) -> Counts:
    """Raw counts: ``X``, else ``layers["counts"]``, else ``raw``, whichever holds whole numbers."""
    spots = adata.obs_names.to_numpy(dtype=object)
    if adata.n_vars == 0:
        notes.append("There is no count matrix in this file: only slide and spots are shown.")
        return Counts(sparse.csr_matrix((len(spots), 0), dtype=np.float32), spots, names, ids)
    places: dict[str, Any] = {"X": adata.X, 'layers["counts"]': adata.layers.get("counts")}
    if adata.raw is not None and list(adata.raw.var_names) == list(adata.var_names):
        places["raw"] = adata.raw.X
    for place, values in places.items():
        if values is None or values.shape[0] * (1 if sparse.issparse(values) else values.shape[1]) > MOST_CELLS:
            continue
        with reading(path, _NEEDED):
            matrix = sparse.csr_matrix(values, dtype=np.float64)
        if np.isfinite(matrix.data).all() and (matrix.data >= 0).all() and not (matrix.data % 1).any():
            if place != "X":
                notes.append(f"X holds no raw counts; those of {place} were read.")
            return checked(Counts(matrix, np.arange(len(spots)), names, ids), path)
    raise DataError(f'{path} holds no raw counts: neither X nor layers["counts"] nor raw has whole numbers only. Save the counts in one of them.')


def _set_lattice(adata: AnnData, xy: np.ndarray, factors: dict[str, float], mpp: float | None, notes: list[str]) -> Platform | None:
    """``in_tissue``, ``array_row`` and ``array_col`` in ``obs``; a platform of its own for places that lie on no known lattice."""
    obs = adata.obs
    obs["in_tissue"] = pd.to_numeric(obs["in_tissue"], errors="coerce").fillna(0).astype(bool) if "in_tissue" in obs else True
    if {"array_row", "array_col"} <= set(obs):
        rc = obs[["array_row", "array_col"]].apply(pd.to_numeric, errors="coerce")
        if rc.notna().all(axis=None):
            obs[["array_row", "array_col"]] = rc.astype(int)
            return None
    return add_lattice(adata, xy, mpp, factors.get("spot_diameter_fullres"), notes)


def add_lattice(adata: AnnData, xy: np.ndarray, mpp: float | None, diameter_px: float | None, notes: list[str]) -> Platform | None:
    """Rows and columns from the places (x, y) alone; None where they make one of the lattices that a platform is known by."""
    try:
        rc, kind, pitch = guess_lattice(xy)
    except DataError as error:
        raise DataError(f'obsm["spatial"]: {error}') from error
    adata.obs["array_row"], adata.obs["array_col"] = rc[:, 0], rc[:, 1]
    if kind == "irregular" and mpp:
        diameter = diameter_px or 0.55 * pitch
        notes.append(
            f"The places lie on no lattice: rows and columns are those of squares of {pitch * mpp:.0f} um laid over them, "
            f"and a spot is {diameter * mpp:.0f} um wide{'' if diameter_px else ', which was guessed from their distance'}."
        )
        return Platform("places without a lattice", diameter * mpp, pitch * mpp, "square")
    notes.append(f"There were no rows and columns of spots: they were taken from the places, which make a {kind} lattice.")
    return None
