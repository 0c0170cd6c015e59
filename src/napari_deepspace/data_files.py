"""The files that hold a section's counts and positions, and a short hash of what is in them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from napari_deepspace.errors import DataError

_HASHED_BYTES = 2**20
_DATA_FILE = re.compile(r"(matrix|barcodes|features|genes|positions|scalefactors|counts|spots)[^/]*\.(h5|mtx|tsv|csv|json|parquet)(\.gz)?$")
_STORE_BYTES, _LEAST_BYTES = 2**26, 2**14
"""Read of one table of a store in all, and at each end of each of its files whatever their number."""


def file_hash(path: Path) -> str:
    """Hash of a file's size and of its first and last mebibyte; of a table or shapes in a SpatialData store that of all files in its folder.

    Cheap on slides of many gigabytes; a change in the middle that keeps the size is not noticed. The name is left out: files get renamed.
    Raises DataError if the file cannot be read.
    """
    try:
        if path.is_dir() and path.parent.name in ("tables", "table", "shapes"):
            return _tree_hash(path)
        if path.is_dir():  # OME-Zarr: its list of levels
            path = next((path / name for name in ("zarr.json", ".zattrs") if (path / name).is_file()), path)
        digest = hashlib.blake2b(digest_size=16)
        _add_ends(digest, path, _HASHED_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Choose a file that you may read.") from error
    return digest.hexdigest()


def _tree_hash(folder: Path) -> str:
    files = sorted(
        (file.relative_to(folder).as_posix(), file) for file in folder.rglob("*") if file.is_file() and not file.name.startswith(("._", ".DS_"))
    )
    digest = hashlib.blake2b(digest_size=16)
    for name, file in files:
        digest.update(name.encode())
        _add_ends(digest, file, max(_LEAST_BYTES, _STORE_BYTES // len(files) // 2))
    return digest.hexdigest()


def _add_ends(digest: hashlib.blake2b, path: Path, n_bytes: int) -> None:
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest.update(size.to_bytes(8, "little"))
        for start in (0, max(size - n_bytes, 0)):
            file.seek(start)
            digest.update(file.read(n_bytes))


def data_files(path: Path, library_id: str) -> Iterator[tuple[str, Path]]:
    """Name and path of the matrix and positions files of a section; the raw matrix only where there is no other.

    Of several sections in a folder those of ``library_id``, where it is the name of one; of a SpatialData store the folders of its tables and shapes.
    """
    from napari_deepspace.read.files import owner_of, visible  # a project opens without the readers
    from napari_deepspace.read.folders import sections_within
    from napari_deepspace.read.positions import prefixes_in
    from napari_deepspace.read.several import tables_of
    from napari_deepspace.read.spatialdata_zarr import is_spatialdata

    path = Path(path)
    if path.is_file():
        yield path.name, path
        return
    if is_spatialdata(path):
        yield from ((item.relative_to(path).as_posix(), item) for item in (*tables_of(path), *visible(path / "shapes")) if item.is_dir())
        return
    one: Path | None = None
    with suppress(DataError, OSError):  # reading the section says what is wrong
        one = sections_within(path).get(library_id)
    prefixes = {} if one is None else prefixes_in(one.parent)
    if one is not None and one in prefixes.values():
        own = [item for item in visible(one.parent) if owner_of(item.name, prefixes) == library_id]
        files = [file for item in own for file in (sorted(item.rglob("*")) if item.is_dir() else [item])]
        yield from ((file.relative_to(one.parent).as_posix(), file) for file in files if _DATA_FILE.search(file.name) and file.is_file())
        return
    path = one or path
    folders = [folder for base in (path, path / "outs") for folder in (base, base / "spatial", *sorted(base.glob("*_feature_bc_matrix")))]
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir()) if _DATA_FILE.search(file.name) and file.is_file()]
    names = {file.relative_to(path).as_posix(): file for file in files}
    raw = {name for name in names if "raw_feature_bc_matrix" in name}
    if any("matrix" in name for name in names.keys() - raw):
        names = {name: file for name, file in names.items() if name not in raw}
    yield from names.items()
