"""Files and folders that hold several sections: what these are called, without a look at their counts."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import h5py
import pandas as pd

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import check_size, reading

_COLUMNS = ("library_id", "sample", "sample_id", "batch", "section", "section_id", "slide")
"""Columns of ``obs`` that scanpy's users tell sections apart by, the most telling first."""
BINS_OF_CHOICE = "square_016um"
"""How the name of the bins of Visium HD ends that are read where none are named, see :func:`napari_deepspace.read.spaceranger.find_outs`."""


def sections_in(path: str | Path) -> list[str]:
    """Names of the sections in an ``.h5ad`` file, a SpatialData ``.zarr`` or a folder of several, or beside a file in such a folder.

    Each is a ``library_id`` for :func:`napari_deepspace.read.read_section`. The first is the one that is read where none is named. Only labels are
    read, no counts. Empty for any other kind of path, which holds one section, and for what cannot be read: reading it says why.
    """
    return list(sections_at(path))


def sections_at(path: str | Path) -> dict[str, Path]:
    """As :func:`sections_in`, each with the path to read it from by its name: ``path``, or the folder around a file of another section."""
    from napari_deepspace.read.folders import sections_beside, sections_within  # its readers need this module

    path = Path(os.path.abspath(path))
    try:
        if path.is_dir():
            inside = sections_within(path)
            return dict.fromkeys(regions_in(path) or (inside if len(inside) > 1 else []), path)
        return dict.fromkeys(_in_h5ad(path), path) if path.suffix == ".h5ad" and path.is_file() else sections_beside(path)
    except (DataError, OSError):
        return {}


def _in_h5ad(path: Path) -> list[str]:
    from anndata.io import read_elem

    with reading(path, "an AnnData file (.h5ad)"), h5py.File(path, "r") as file:
        obs = file["obs"]
        if isinstance(obs, h5py.Group):
            obs.visititems(lambda _, item: check_size(path, item.nbytes, item.id.get_storage_size()) if isinstance(item, h5py.Dataset) else None)
        spatial = file.get("uns/spatial")
        libraries = [name for name, item in spatial.items() if isinstance(item, h5py.Group)] if isinstance(spatial, h5py.Group) else []
        found = section_column(read_elem(obs), libraries)
        return found[1] if found else libraries[:1] or [path.stem]


def section_column(obs: pd.DataFrame, libraries: Collection[str]) -> tuple[str, list[str]] | None:
    """The column of ``obs`` that says of which section a spot is, and the sections that have spots; None for a table of one section.

    ``libraries`` are the keys of ``uns["spatial"]``: a column that holds nothing else names the sections. Where there is none, as after
    ``anndata.concat`` without ``uns_merge``, it is ``library_id``, or another usual column (``sample``, ``batch``) if rows and columns of the lattice
    occur twice in all, but once in each of its values.
    """
    if len(libraries) > 1:
        columns = [str(column) for column in obs if 0 < len(values := _values(obs[column])) <= len(libraries) and set(values) <= set(libraries)]
        if columns:
            best = max(columns, key=lambda column: (obs[column].nunique(), column in _COLUMNS))
            held = set(_values(obs[best]))
            return best, [name for name in libraries if name in held]
    for column in _COLUMNS:
        if column in obs and len(values := _values(obs[column])) > 1 and (column == "library_id" or _tells_apart(obs, column)):
            return column, sorted(values, key=lambda name: list(libraries).index(name) if name in libraries else len(libraries))
    return None


def chosen_section(names: list[str], wanted: str | None, path: Path, notes: list[str]) -> str:
    """The section of ``path`` that is ``wanted``, else the first; a note names them all. Raises DataError for one of several that is not there."""
    if len(names) > 1 and wanted is not None and wanted not in names:
        raise DataError(f"{path} holds no section {wanted}, but {', '.join(names)}. Give one of them as library_id.")
    name = wanted if wanted in names else names[0]
    if len(names) > 1:
        notes.append(f"{path.name} holds {len(names)} sections ({', '.join(names)}); {name} is read. Name another one with library_id.")
    return str(name)


def _values(column: pd.Series) -> list[str]:
    """What stands in a column of labels, as text, in the order of the file."""
    return [] if pd.api.types.is_float_dtype(column) else [str(value) for value in column.dropna().unique()]


def _tells_apart(obs: pd.DataFrame, column: str) -> bool:
    place = ["array_row", "array_col"]
    return set(place) <= set(obs) and bool(obs.duplicated(place).any() and not obs.duplicated([column, *place]).any())


def regions_in(store: Path) -> list[str]:
    """Names of the shapes that the tables of a SpatialData store annotate, in the order of the tables; of Visium HD bins of 16 um first."""
    named = (name for table in tables_of(store) for name in regions_of(table))
    held = dict.fromkeys(name for name in named if (store / "shapes" / name).is_dir())
    return sorted(held, key=lambda name: not name.endswith(BINS_OF_CHOICE))


def tables_of(store: Path) -> Iterable[Path]:
    """The folders of a store's tables, by name."""
    return sorted(item for name in ("tables", "table") if (store / name).is_dir() for item in (store / name).iterdir() if item.is_dir())


def regions_of(table: Path) -> list[str]:
    """The shapes and labels that a table of a store says to annotate."""
    region = attributes_of(table).get("region") or []
    return [region] if isinstance(region, str) else [str(one) for one in region]


def attributes_of(folder: Path) -> dict[str, Any]:
    """The attributes of a Zarr group of format 2 or 3; empty where it has none. Raises DataError for damaged ones."""
    for name in ("zarr.json", ".zattrs"):
        if (folder / name).is_file():
            with reading(folder / name, "the description of a Zarr group"):
                said = json.loads((folder / name).read_text(encoding="utf-8"))
                return dict(said.get("attributes", {}) if name == "zarr.json" else said)
    return {}
