"""Reading small files so that anything wrong with them becomes one DataError that names the file."""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_deepspace.errors import DataError
from napari_deepspace.section import Platform

BOMB_RATIO, BOMB_BYTES = 200, 64 * 2**20
"""A file that unpacks to more than both is refused: real tables and matrices pack 3 to 60 times; a zip bomb 1000 times."""
MOST_CELLS = 2_000_000_000
"""Values of one table or matrix, stored ones of a sparse matrix: 16 GB of memory."""

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
    standing_in: Path | None = None  #: the image that is the slide: the store's own, or the reduced one that stands in for it
    square_expected: bool = False  #: the layout itself says legacy ST
    platform: Platform | None = None  #: where the files themselves tell it, as those of Visium HD do
    irregular_px: tuple[float, float] | None = None  #: of places that make no lattice: spot diameter and distance
    table: Path | None = None  #: the plain table that it was read from
    mpp: float | None = None  #: um per full-resolution px as the files state it; it goes before the lattice's pitch
    mpp_from: str = ""  #: which file states it, in words
    full_size: tuple[float, float] | None = None  #: (height, width) of the full-resolution image, from a reduced one inside the file
    synthetic: bool = False  #: the file itself says that a program made it
    path: Path | None = None  #: what to read next time, where it is not what the user named
    image_folders: list[Path] = field(default_factory=list)  #: where the image is looked for, nearest first; empty: ``folder`` and its parent
    prefix: str | None = None  #: of the section's files in a folder of several, without the gap behind it
    siblings: tuple[str, ...] = ()  #: names of all sections that lie in one folder, its own among them
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
    except OSError as error:
        if error.errno is None:  # h5py and gzip say so of damaged content
            raise _unreadable(path, needed, error) from error
        raise DataError(f"{path} cannot be read ({error.strerror}). Check that its disk is connected and that you may read it.") from error
    except _READ_ERRORS as error:
        raise _unreadable(path, needed, error) from error


def _unreadable(path: Path, needed: str, error: BaseException) -> DataError:
    found = " ".join(str(error).split())[:160] or type(error).__name__
    return DataError(f"{path} cannot be read as {needed} ({found}). It is damaged, incomplete or of another kind: copy or export it again.")


def check_size(path: Path, unpacked: int, stored: int) -> None:
    """Raise DataError for what ``stored`` bytes on disk would unpack to, if that is no honest table: a zip bomb is refused before it is unpacked."""
    if unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * max(stored, 1):
        raise DataError(
            f"{path} would unpack to {unpacked / 1e9:,.1f} GB from {stored / 1e6:,.1f} MB, over {BOMB_RATIO} times its size, and was not opened. "
            "Take the file as its program wrote it."
        )


def open_plain(path: Path) -> IO[bytes]:
    """The file's content as bytes, unpacked if it *is* gzipped, whatever its name says."""
    file = open(path, "rb")  # noqa: SIM115 - handed to the caller
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(IO[bytes], _Unpacked(file)) if packed else file


class _Unpacked(gzip.GzipFile):
    """Closes the file beneath as well, which GzipFile leaves to its caller, and stops at what unpacks to far more than any table."""

    def __init__(self, file: IO[bytes]):
        super().__init__(fileobj=file, mode="rb")
        self._beneath = file
        self._stored = os.fstat(file.fileno()).st_size

    def _checked(self, data: bytes) -> bytes:
        check_size(Path(str(self._beneath.name)), self.tell(), self._stored)
        return data

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:  # never all at once
            return b"".join(iter(lambda: self.read(2**24), b""))
        return self._checked(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._checked(super().read1(size))

    def readline(self, size: int | None = -1) -> bytes:
        return self._checked(super().readline(2**28 if size is None or size < 0 else size))

    def close(self) -> None:
        super().close()
        self._beneath.close()


def unpacked(path: Path) -> Path | io.BytesIO:
    """``path``, or the content of a gzipped file, for readers that have to jump about in a file."""
    with open_plain(path) as file:
        return io.BytesIO(file.read()) if isinstance(file, _Unpacked) else path


def read_table(path: Path, needed: str, separator: str, **options: Any) -> pd.DataFrame:
    """A text table with every cell as it stands, or a .parquet file with the types it has; raises DataError if it is none.

    Columns are taken apart at ``separator``, unless the first line has more of another one (spreadsheets write semicolons). Where the lines have
    one cell more than the header, as R writes row names, the first column is called "".
    """
    with reading(path, needed):
        if ".parquet" in Path(path.name.casefold()).suffixes:
            table = _read_parquet(path)
        else:
            with open_plain(path) as file:
                start = file.read(2)
                file.seek(0)
                encoding = options.pop("encoding", "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
                line, below = (file.readline(2**20).decode("latin-1").replace("\0", "") for _ in range(2))
                file.seek(0)
                separator = max((separator, ",", ";", "\t"), key=line.count)
                if line.startswith("#") and below.count(",") + below.count("\t") + below.count(";") > line.count(separator):  # a remark
                    file.readline(2**20)
                    separator = max((separator, ",", ";", "\t"), key=below.count)
                elif separator not in line and " " in line:
                    separator = " "  # R's own choice
                table = pd.read_csv(file, sep=separator, dtype=str, encoding=encoding, **options)
        if not isinstance(table.index, pd.RangeIndex):
            table = table.reset_index(names=table.index.name or "")
    if table.empty:
        raise DataError(f"{path} holds no rows: {needed} is needed. Copy or export it again.")
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow.parquet

    with open_plain(path) as opened, pyarrow.parquet.ParquetFile(opened) as file:
        about = file.metadata
        check_size(path, about.num_rows * about.num_columns * 8, path.stat().st_size)
        return file.read().to_pandas()


_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
_THOUSANDS = re.compile(r"\s*[+-]?\d{1,3}(,\d{3})+\s*")


def _as_numbers(column: pd.Series) -> np.ndarray:
    """float64, NaN where there is no number. Commas are read as decimal ones, unless they may be those of thousands: 1,234 is not guessed at."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    if np.isnan(values).any() and not pd.api.types.is_numeric_dtype(column):
        texts = column.astype(str)
        with_comma = texts[texts.str.contains(",", regex=False)]
        if len(with_comma) and with_comma.str.fullmatch(_DECIMAL_COMMA).all() and not with_comma.str.fullmatch(_THOUSANDS).all():
            values = pd.to_numeric(texts.str.replace(",", "."), errors="coerce").to_numpy(dtype=np.float64)
    return values


def numbers(table: pd.DataFrame, columns: list[str], path: Path) -> np.ndarray:
    """Columns as float64 (rows, columns); a DataError names the first cell that is no finite number."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(f"{path} has no column {missing[0]}; found {', '.join(map(str, table.columns[:8]))}. Take the file as its program wrote it.")
    values = np.column_stack([_as_numbers(table[column]) for column in columns])
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = int(bad[0][0]), columns[int(bad[0][1])]
        found = table[column].iloc[row]
        more = f" and {len(bad) - 1} more cells" if len(bad) > 1 else ""
        raise DataError(f"{path}: {column} of {table.iloc[row, 0]!r} is {found!r}, not a number{more}. Take the file as its program wrote it.")
    return values


def find_file(folder: Path, *names: str, prefix: str | None = None) -> Path | None:
    """The first of ``names`` in ``folder``: plain, with .gz behind it, in any case of letters, or with a prefix before it, as in
    GSM1_tissue_positions_list.csv.gz; with ``prefix``, only the one whose name begins so, see :func:`prefix_of`.

    Raises DataError where several files have prefixes: they are those of several sections.
    """
    found = first_existing(*(folder / (name + end) for name in names for end in ("", ".gz"))) if prefix is None else None
    if found is not None:
        return found
    items = visible(folder)
    for name in names:
        if prefix is None:
            fitting = [item for item in items if item.name.casefold().removesuffix(".gz").endswith(name)]
        else:
            fitting = [item for item in items if prefix_of(item.name, name) == prefix]
        prefixed = {item.name.removesuffix(".gz"): item for item in reversed(fitting) if item.is_file()}  # unpacked goes before packed
        if len(prefixed) > 1:
            some = ", ".join(sorted(prefixed)[:3])
            raise DataError(f"{folder} holds files of several sections ({some}). Put the files of each section into a folder of its own.")
        if prefixed:
            return next(iter(prefixed.values()))
    return None


def prefix_of(file: str, name: str) -> str | None:
    """What stands before ``name`` in the name of a ``file``: GSM1_A of GSM1_A_tissue_positions.csv.gz and of GSM1_A_spatial_tissue_positions.csv;
    "" for nothing, None for any other file, also where no gap parts the two.
    """
    found = re.fullmatch(rf"(.*?)((^|[_\-. ]+)spatial)?(^|[_\-. ]+){re.escape(name)}(\.gz)?", file, re.IGNORECASE)
    return found[1] if found else None


def owner_of(file: str, sections: Iterable[str]) -> str | None:
    """Which of ``sections`` the name of a ``file`` begins with, the longest: A_2 of A_2_image.tif, not A; None for none of them."""
    return max((one for one in sections if re.match(rf"{re.escape(one)}([_\-. ]|$)", file)), key=len, default=None)


def visible(folder: Path) -> list[Path]:
    """What lies in ``folder``, by name, without hidden files and what macOS leaves behind; nothing where it is no folder."""
    return sorted(item for item in folder.iterdir() if item.name[0] != "." and item.name != "__MACOSX") if folder.is_dir() else []


def first_existing(*paths: Path) -> Path | None:
    """The first of ``paths`` that is a file."""
    return next((path for path in paths if path.is_file()), None)
