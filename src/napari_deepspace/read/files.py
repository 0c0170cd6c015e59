"""Reading small files so that anything wrong with them becomes one DataError that names the file."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_deepspace.errors import DataError

_READ_ERRORS = (OSError, EOFError, zlib.error, struct.error, ValueError, KeyError, IndexError, TypeError, RuntimeError, OverflowError)
"""What gzip, h5py, scipy and pandas raise on damaged or foreign files (pandas' parser errors and UnicodeDecodeError are ValueErrors)."""


@dataclass
class Spots:
    """What a layout's reader hands on: the spots, and what else its folder tells."""

    adata: AnnData  #: as described in :class:`napari_deepspace.section.Section`
    folder: Path  #: the folder that the files lie in
    name: str  #: of the section, from the folder's name
    lattice_rc: np.ndarray  #: (array_row, array_col) of every position of the table, also outside the tissue
    lattice_xy_px: np.ndarray  #: (x, y) of the same positions
    scalefactors: dict[str, float] = field(default_factory=dict)
    image_sizes: list[tuple[Path, float]] = field(default_factory=list)  #: reduced images, with the factor from full resolution to them
    standing_in: Path | None = None  #: the reduced image that stands in for the slide
    square_expected: bool = False  #: the layout itself says legacy ST
    notes: list[str] = field(default_factory=list)


@contextmanager
def reading(path: Path, needed: str) -> Iterator[None]:
    """Turn whatever damaged or foreign content raises into a DataError: ``needed`` says what the file should be."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: {needed} is needed.") from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read: change its permissions.") from error
    except _READ_ERRORS as error:
        found = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(
            f"{path} cannot be read as {needed} ({found}). It is damaged, incomplete or of another kind: copy or export it again."
        ) from error


def open_plain(path: Path) -> IO[bytes]:
    """The file's content as bytes, unpacked if it *is* gzipped, whatever its name says."""
    file = open(path, "rb")  # noqa: SIM115 - handed to the caller
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(IO[bytes], _Unpacked(file)) if packed else file


class _Unpacked(gzip.GzipFile):
    """Closes the file beneath as well, which GzipFile leaves to its caller."""

    def __init__(self, file: IO[bytes]):
        super().__init__(fileobj=file, mode="rb")
        self._beneath = file

    def close(self) -> None:
        super().close()
        self._beneath.close()


def read_table(path: Path, needed: str, separator: str, **options: Any) -> pd.DataFrame:
    """A text table with every cell as it stands; raises DataError if it is none."""
    with reading(path, needed), open_plain(path) as file:
        table = pd.read_csv(file, sep=separator, dtype=str, **options)
    if table.empty:
        raise DataError(f"{path} holds no rows: {needed} is needed. Copy or export it again.")
    return table


def numbers(table: pd.DataFrame, columns: list[str], path: Path) -> np.ndarray:
    """Columns as float64 (rows, columns); a DataError names the first cell that is no finite number."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(f"{path} has no column {missing[0]}; found {', '.join(map(str, table.columns[:8]))}. Take the file as its program wrote it.")
    values = np.column_stack([pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64) for column in columns])
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = int(bad[0][0]), columns[int(bad[0][1])]
        found = table[column].iloc[row]
        more = f" and {len(bad) - 1} more cells" if len(bad) > 1 else ""
        raise DataError(f"{path}: {column} of {table.iloc[row, 0]!r} is {found!r}, not a number{more}. Take the file as its program wrote it.")
    return values


def first_existing(*paths: Path) -> Path | None:
    """The first of ``paths`` that is a file."""
    return next((path for path in paths if path.is_file()), None)
