"""What lies at a path: which layout a section has, and which sections a folder of several holds, by prefixes of files or in a folder each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import Spots, visible
from napari_deepspace.read.h5ad import read_h5ad
from napari_deepspace.read.legacy_st import find_legacy_st, read_legacy_st
from napari_deepspace.read.plain import find_tables, is_table, read_plain
from napari_deepspace.read.positions import prefixes_in
from napari_deepspace.read.several import chosen_section
from napari_deepspace.read.spaceranger import find_outs, outs_of, prefix_at, read_spaceranger
from napari_deepspace.read.spatialdata_zarr import is_spatialdata, read_spatialdata

NEEDED = (
    "A section is a Space Ranger folder (outs/ with spatial/), a legacy ST folder (counts.tsv.gz with spots.tsv), an .h5ad file, "
    "a SpatialData .zarr, or a table with columns x and y."
)


def read_spots(path: Path, library_id: str | None, columns: Mapping[str, str] | None, mpp: float | None) -> Spots:
    """The spots of the section at ``path``, whatever its layout: parameters and errors as for :func:`napari_deepspace.read.read_section`."""
    if not os.path.lexists(path):
        raise DataError(f"{path} does not exist. {NEEDED}")
    whole = Path(os.path.abspath(path))  # a name also for "."
    try:
        if not os.path.isdir(path):
            return _read_file(whole, library_id, columns, mpp)
        several = sections_within(whole)
        if several:
            return _one_of(several, whole, library_id)
        outs = find_outs(whole)
        if outs is not None:
            return read_spaceranger(outs, prefix=prefix_at(whole, outs))
        legacy = find_legacy_st(whole)
        if legacy is not None:
            return read_legacy_st(*legacy, whole)
        if is_spatialdata(whole):
            return read_spatialdata(whole, library_id)
        tables = find_tables(whole)
        if tables is not None:
            return read_plain(*tables, columns, mpp)
        alone = lone_table(whole)
        if alone is not None:
            return read_spots(alone, library_id, columns, mpp)
        items = sorted(whole.iterdir())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Check that it is there and that you may read it.") from error
    if any("_feature_bc_matrix" in item.name for item in items):
        raise DataError(f"{path} holds counts but no positions: spatial/tissue_positions.csv is missing. Copy the whole folder of Space Ranger.")
    found = ", ".join(item.name for item in items[:6]) or "nothing"
    raise DataError(f"{path} is no section: found {found}. {NEEDED}")


def _one_of(several: Mapping[str, Path], folder: Path, library_id: str | None) -> Spots:
    """The section ``library_id`` of those in ``folder``, else the first; one alone may be given any name."""
    notes: list[str] = []
    name = chosen_section(list(several), library_id, folder, notes)
    spots = read_spots(several[name], None, None, None)
    if len(several) > 1:
        spots.name, spots.path, spots.siblings = name, folder, tuple(several)
    spots.notes[:0] = notes
    return spots


def _read_file(path: Path, library_id: str | None, columns: Mapping[str, str] | None, mpp: float | None) -> Spots:
    if path.suffix == ".h5ad":
        return read_h5ad(path, library_id)
    outs = find_outs(path)
    if outs is not None:
        prefix, others = prefix_at(path, outs), prefixes_in(outs)
        if prefix not in (None, library_id) and library_id in others:
            raise DataError(f"{path} is a file of {prefix}, not of {library_id}. Give the folder around it, or a file of {library_id}.")
        return read_spaceranger(outs, path if ".h5" in path.name or "matrix.mtx" in path.name else None, prefix)
    legacy = find_legacy_st(path)
    if legacy is not None:
        return read_legacy_st(*legacy, path)
    if is_table(path) and path.is_file():
        return read_plain(path, None, columns, mpp)
    raise DataError(f"{path} is no folder and no table. {NEEDED}")


def sections_within(folder: Path) -> dict[str, Path]:
    """The sections in ``folder`` by name, each with the folder or one of the files to open it by; empty where the folder is itself a section.

    One where the folder is only around it, or where files of other prefixes are not of spots. Raises DataError as for
    :func:`napari_deepspace.read.spaceranger.find_outs`.
    """
    loose = prefixes_in(folder) or prefixes_in(folder / "outs")
    if loose or find_outs(folder) or find_legacy_st(folder) or is_spatialdata(folder) or find_tables(folder) or lone_table(folder):
        return loose
    inside: dict[str, Path] = {}
    for item in visible(folder):
        if item.is_dir():
            found = prefixes_in(item) or ({item.name: item} if outs_of(item) else {})
            inside |= {name if name not in inside else f"{item.name} {name}": path for name, path in found.items()}
    return inside


def lone_table(folder: Path) -> Path | None:
    """The only .h5ad file or SpatialData store in ``folder``."""
    found = [item for item in visible(folder) if item.suffix == ".h5ad" or is_spatialdata(item)]
    return found[0] if len(found) == 1 else None


def sections_beside(path: Path) -> dict[str, Path]:
    """Of a file in a folder of several sections its own, with the file, then the others, with the folder; empty for any other file."""
    outs = find_outs(path) if path.is_file() else None
    prefixes = prefixes_in(outs) if outs is not None else {}
    if outs is None or len(prefixes) < 2:
        return {}
    return {str(prefix_at(path, outs)): path} | {name: outs for name in prefixes if name != prefix_at(path, outs)}
