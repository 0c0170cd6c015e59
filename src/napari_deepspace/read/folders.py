"""Folders that hold several sections: loose files told apart by their prefixes, as of a GEO series, or a folder each."""

from __future__ import annotations

from pathlib import Path

from napari_deepspace.read.files import visible
from napari_deepspace.read.legacy_st import find_legacy_st
from napari_deepspace.read.plain import find_tables
from napari_deepspace.read.positions import prefixes_in
from napari_deepspace.read.spaceranger import find_outs, outs_of, prefix_at
from napari_deepspace.read.spatialdata_zarr import is_spatialdata


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
