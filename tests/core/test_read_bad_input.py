"""A damaged, foreign or incomplete folder ends in one clear sentence, and nothing half-read stays behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from section_folders import counts_of, lattice, open_files, write_h5, write_mtx, write_st

from napari_deepspace.errors import DataError
from napari_deepspace.read import read_section

pytestmark = pytest.mark.usefixtures("own_cache")


def edit_h5(outs: Path, edit: Callable[[h5py.Group], None]) -> None:
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "r+") as file:
        edit(file["matrix"])


def replace(group: h5py.Group, key: str, values: np.ndarray) -> None:
    del group[key]
    group[key] = values


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def edit_positions(outs: Path, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = outs / "spatial" / "tissue_positions.csv"
    edit(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


def as_mtx(outs: Path) -> Path:
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    barcodes = lattice().query("in_tissue == 1")["barcode"].tolist()
    write_mtx(outs / "filtered_feature_bc_matrix", barcodes, counts_of(len(barcodes)))
    return outs / "filtered_feature_bc_matrix"


H5, POSITIONS, SCALES = "filtered_feature_bc_matrix.h5", "tissue_positions.csv", "scalefactors_json.json"
PARQUET = "tissue_positions.parquet"
BAD_SPACE_RANGER: dict[str, tuple[str, Callable[[Path], object]]] = {
    "h5 cut short": (H5, lambda outs: cut(outs / H5)),
    "h5 empty file": (H5, lambda outs: (outs / H5).write_bytes(b"")),
    "h5 is text": (H5, lambda outs: (outs / H5).write_text("<html>not found</html>")),
    "h5 foreign": (H5, lambda outs: h5py.File(outs / H5, "w").close()),
    "h5 without names": (H5, lambda outs: edit_h5(outs, lambda matrix: matrix["features"].pop("name"))),
    "h5 without data": (H5, lambda outs: edit_h5(outs, lambda matrix: matrix.pop("data"))),
    "h5 indices beyond the genes": (H5, lambda outs: edit_h5(outs, lambda matrix: replace(matrix, "indices", matrix["indices"][:] + 99))),
    "h5 data shorter than indices": (H5, lambda outs: edit_h5(outs, lambda matrix: replace(matrix, "data", matrix["data"][:-5]))),
    "h5 negative counts": (H5, lambda outs: edit_h5(outs, lambda matrix: replace(matrix, "data", -matrix["data"][:]))),
    "h5 fractions": (H5, lambda outs: edit_h5(outs, lambda matrix: replace(matrix, "data", matrix["data"][:] / 3))),
    "h5 NaN": (H5, lambda outs: edit_h5(outs, lambda matrix: replace(matrix, "data", matrix["data"][:] * np.nan))),
    "h5 without spots": (H5, lambda outs: write_h5(outs / H5, [], counts_of(0))),
    "h5 text for counts": (H5, lambda outs: edit_h5(outs, lambda matrix: replace(matrix, "data", np.array(["a"] * len(matrix["data"]), "S")))),
    "h5 antibodies only": (H5, lambda outs: write_h5(outs / H5, ["a"], counts_of(1), ["Antibody Capture"] * 5)),
    "h5 doubled barcodes": (H5, lambda outs: write_h5(outs / H5, lattice()["barcode"][[2, 2]].tolist(), counts_of(2))),
    "barcodes of another section": (H5, lambda outs: write_h5(outs / H5, [f"T{n}" for n in lattice()["barcode"]], counts_of(len(lattice())))),
    "no spot in tissue": (H5, lambda outs: edit_positions(outs, lambda table: table.assign(in_tissue=0))),
    "mtx cut short": ("matrix.mtx.gz", lambda outs: cut(as_mtx(outs) / "matrix.mtx.gz")),
    "mtx damaged inside": ("matrix.mtx.gz", lambda outs: (as_mtx(outs) / "matrix.mtx.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\0" + b"\xff" * 99)),
    "mtx is text": ("matrix.mtx.gz", lambda outs: (as_mtx(outs) / "matrix.mtx.gz").write_text("no matrix")),
    "mtx without barcodes": ("barcodes.tsv.gz", lambda outs: (as_mtx(outs) / "barcodes.tsv.gz").unlink()),
    "mtx with empty features": ("features.tsv.gz", lambda outs: (as_mtx(outs) / "features.tsv.gz").write_bytes(b"")),
    "mtx with other barcodes": ("matrix.mtx.gz", lambda outs: (as_mtx(outs) / "barcodes.tsv.gz").write_text("a\nb\n")),
    "positions missing": ("spatial", lambda outs: (outs / "spatial" / POSITIONS).unlink()),
    "positions empty": (POSITIONS, lambda outs: (outs / "spatial" / POSITIONS).write_text("")),
    "positions header only": (POSITIONS, lambda outs: edit_positions(outs, lambda table: table.head(0))),
    "positions without a column": (POSITIONS, lambda outs: edit_positions(outs, lambda table: table.drop(columns="array_col"))),
    "positions with text": (POSITIONS, lambda outs: edit_positions(outs, lambda table: table.assign(pxl_row_in_fullres="here"))),
    "positions with NaN": (POSITIONS, lambda outs: edit_positions(outs, lambda table: table.assign(pxl_col_in_fullres="NaN"))),
    "positions with gaps": (POSITIONS, lambda outs: edit_positions(outs, lambda table: table.assign(pxl_col_in_fullres=""))),
    "positions infinite": (POSITIONS, lambda outs: edit_positions(outs, lambda table: table.assign(pxl_col_in_fullres="inf"))),
    "positions doubled": (POSITIONS, lambda outs: edit_positions(outs, lambda table: pd.concat([table, table]))),
    "positions are an image": (POSITIONS, lambda outs: shutil.copy(outs / "spatial" / "tissue_hires_image.png", outs / "spatial" / POSITIONS)),
    "positions of four columns": (POSITIONS, lambda outs: (outs / "spatial" / POSITIONS).write_text("a,1,2,3\nb,1,2,3\n")),
    "scale factors cut short": (SCALES, lambda outs: cut(outs / "spatial" / SCALES)),
    "scale factors are a list": (SCALES, lambda outs: (outs / "spatial" / SCALES).write_text("[1, 2]")),
    "scale factor zero": (SCALES, lambda outs: (outs / "spatial" / SCALES).write_text('{"tissue_hires_scalef": 0}')),
    "clusters foreign": ("clusters.csv", lambda outs: next(outs.rglob("clusters.csv")).write_text("a,b\n1,2\n")),
    "clusters empty": ("clusters.csv", lambda outs: next(outs.rglob("clusters.csv")).write_text("")),
    "no layout at all": ("outs", lambda outs: [shutil.rmtree(outs), outs.mkdir()]),
    "gone": ("outs", shutil.rmtree),
    "parquet that is text": ("tissue_positions.parquet", lambda outs: (outs / "spatial" / POSITIONS).rename(outs / "spatial" / PARQUET)),
}


@pytest.mark.parametrize("case", BAD_SPACE_RANGER)
def test_bad_space_ranger_folder_is_one_clear_error(outs, case):
    """A damaged, foreign or incomplete file ends in one DataError that names it and says what to do; no file stays open."""
    named, damage = BAD_SPACE_RANGER[case]
    damage(outs)
    with pytest.raises(DataError) as caught:
        read_section(outs)
    message = str(caught.value)
    assert named in message
    assert message.endswith(".")
    assert message.count("\n") == 0
    assert not open_files(outs.parent)


def edit_tsv(path: Path, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    edit(pd.read_csv(path, sep="\t", index_col=0, dtype=str)).to_csv(path, sep="\t")


BAD_LEGACY_ST: dict[str, tuple[str, Callable[[Path], object]]] = {
    "counts cut short": ("counts.tsv.gz", lambda folder: cut(folder / "counts.tsv.gz")),
    "counts empty": ("counts.tsv.gz", lambda folder: (folder / "counts.tsv.gz").write_bytes(b"")),
    "counts binary": ("counts.tsv.gz", lambda folder: (folder / "counts.tsv.gz").write_bytes(bytes(range(256)))),
    "counts with text": ("counts.tsv.gz", lambda folder: edit_tsv(folder / "counts.tsv.gz", lambda table: table.assign(ESR1="many"))),
    "counts with gaps": ("counts.tsv.gz", lambda folder: edit_tsv(folder / "counts.tsv.gz", lambda table: table.assign(ESR1=""))),
    "counts with fractions": ("counts.tsv.gz", lambda folder: edit_tsv(folder / "counts.tsv.gz", lambda table: table.assign(ESR1="0.5"))),
    "counts negative": ("counts.tsv.gz", lambda folder: edit_tsv(folder / "counts.tsv.gz", lambda table: table.assign(ESR1="-1"))),
    "counts of other spots": (
        "counts.tsv.gz",
        lambda folder: edit_tsv(folder / "counts.tsv.gz", lambda table: table.rename(index=lambda n: f"9{n}")),
    ),
    "spots without pixels": ("spots.tsv", lambda folder: edit_tsv(folder / "spots.tsv", lambda table: table.drop(columns="pixel_x"))),
    "spots with text": ("spots.tsv", lambda folder: edit_tsv(folder / "spots.tsv", lambda table: table.assign(pixel_x="left"))),
    "spots with NaN": ("spots.tsv", lambda folder: edit_tsv(folder / "spots.tsv", lambda table: table.assign(pixel_x="nan"))),
    "spots doubled": ("spots.tsv", lambda folder: edit_tsv(folder / "spots.tsv", lambda table: pd.concat([table, table]))),
    "clusters cut short": ("cluster_annotation.tsv.gz", lambda folder: cut(folder / "cluster_annotation.tsv.gz")),
    "spots missing": ("C9", lambda folder: (folder / "spots.tsv").unlink()),
    "image cut short": ("image.jpg", lambda folder: cut(folder / "image.jpg")),
}


@pytest.mark.parametrize("case", BAD_LEGACY_ST)
def test_bad_legacy_st_folder_is_one_clear_error(tmp_path, case):
    """The same holds for legacy ST folders."""
    named, damage = BAD_LEGACY_ST[case]
    damage(write_st(tmp_path / "C9"))
    with pytest.raises(DataError) as caught:
        read_section(tmp_path / "C9")
    assert named in str(caught.value)
    assert str(caught.value).endswith(".")
    assert not open_files(tmp_path)


def test_a_file_is_no_section(outs):
    """A file that is neither a table nor part of a section is refused with what a section is."""
    with pytest.raises(DataError, match=r"is no folder and no table\. A section is a Space Ranger folder"):
        read_section(outs.parent / "image.tif")
