"""Sections as users and repositories deliver them: the same section comes of it, or one clear sentence."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from section_folders import GENES, HEIGHT, PITCH_PX, WIDTH, counts_of, lattice, write_h5, write_st
from test_read_bad_input import H5, POSITIONS, SCALES, as_mtx, edit_positions
from test_read_inputs import write_hd

from napari_deepspace.errors import DataError
from napari_deepspace.read import read_section
from napari_deepspace.read.genes import gene_table
from napari_deepspace.section import Section

pytestmark = pytest.mark.usefixtures("own_cache")

MTX = "filtered_feature_bc_matrix"
INSIDE = lattice().query("in_tissue == 1").set_index("barcode")


def as_text(outs: Path, **options: object) -> None:
    path = outs / "spatial" / POSITIONS
    encoding = str(options.pop("encoding", "utf-8"))
    path.write_bytes(pd.read_csv(path, dtype=str, keep_default_na=False).to_csv(index=False, **options).encode(encoding))


def renamed(outs: Path, names: dict[str, str]) -> None:
    edit_positions(outs, lambda table: table.rename(columns=names))


def loose(outs: Path, prefix: str, packed: bool = True) -> Path:
    folder = outs.parent / "GSE1"
    folder.mkdir()
    for file in (outs / H5, *(outs / "spatial").iterdir()):
        end = ".gz" * packed
        (folder / f"{prefix}{file.name}{end}").write_bytes(gzip.compress(file.read_bytes()) if packed else file.read_bytes())
    return folder


def moved(old: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    old.rename(new)


def barcodes(outs: Path, change: Callable[[str], str]) -> None:
    write_h5(outs / H5, [change(name) for name in INSIDE.index], counts_of(len(INSIDE)))


def oldest_h5(outs: Path) -> None:
    with h5py.File(outs / H5, "r+") as file:
        new, old = file.create_group("GRCh38"), file["matrix"]
        for name in ("barcodes", "data", "indices", "indptr", "shape"):
            new[name] = old[name][:]
        new["gene_names"], new["genes"] = old["features/name"][:], old["features/id"][:]
        del file["matrix"]


def turned_mtx(outs: Path) -> None:
    path = as_mtx(outs) / "matrix.mtx.gz"
    header, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    sizes, *values = [line for line in lines if not line.startswith("%")]
    lines = [" ".join([words[1], words[0], words[2]]) for words in (line.split() for line in [sizes, *values])]
    path.write_bytes(gzip.compress("\n".join([header, *lines, ""]).encode()))


def another_name(outs: Path) -> Path:
    return (outs / H5).rename(outs / "A1.h5")


def with_header(outs: Path) -> None:
    for name in ("features.tsv.gz", "barcodes.tsv.gz"):
        path = as_mtx(outs) / name if (outs / H5).exists() else outs / MTX / name
        path.write_bytes(gzip.compress(b"x\ty\tz\n" if name[0] == "f" else b"x\n") + path.read_bytes())


def others_beside(outs: Path) -> None:
    for path in [*outs.rglob("*"), outs.parent / "image.tif"]:
        if path.is_file():
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    (outs / "spatial" / ".DS_Store").touch()
    (outs / "__MACOSX" / "spatial").mkdir(parents=True)


SEURAT = {"in_tissue": "tissue", "array_row": "row", "array_col": "col", "pxl_row_in_fullres": "imagerow", "pxl_col_in_fullres": "imagecol"}
DELIVERED: dict[str, Callable[[Path], Path | None]] = {
    "the folder around": lambda outs: outs.parent.parent,
    "a file of positions": lambda outs: outs / "spatial" / POSITIONS,
    "the scale factors": lambda outs: outs / "spatial" / SCALES,
    "the matrix": lambda outs: outs / H5,
    "the folder of the matrix": as_mtx,
    "the file of the matrix": lambda outs: as_mtx(outs) / "matrix.mtx.gz",
    "packed, with a prefix": lambda outs: loose(outs, "GSM123_sample.1_"),
    "prefix without an end": lambda outs: loose(outs, "A1 ", packed=False),
    "spatial with a prefix": lambda outs: moved(outs / "spatial", outs / "GSM1_spatial"),
    "spatial packed twice": lambda outs: [moved(outs / "spatial", outs / "s"), moved(outs / "s", outs / "spatial" / "spatial")][0],
    "matrix packed twice": lambda outs: [moved(as_mtx(outs), outs / "m" / MTX), moved(outs / "m", outs / MTX)][1],
    "matrix folder with a prefix": lambda outs: moved(as_mtx(outs), outs / "GSM1_filtered_feature_bc_matrix"),
    "matrix of another name": lambda outs: another_name(outs).parent,
    "that matrix itself": another_name,
    "oldest h5": oldest_h5,
    "spots x genes": turned_mtx,
    "lists with a header": with_header,
    "BOM": lambda outs: as_text(outs, encoding="utf-8-sig"),
    "UTF-16, tabs": lambda outs: as_text(outs, encoding="utf-16", sep="\t"),
    "semicolons": lambda outs: as_text(outs, sep=";"),
    "quoted, CRLF": lambda outs: as_text(outs, quoting=csv.QUOTE_ALL, lineterminator="\r\n"),
    "decimal commas": lambda outs: [
        edit_positions(outs, lambda table: table.assign(pxl_row_in_fullres=table["pxl_row_in_fullres"] + ",0")), as_text(outs, sep=";"),
    ][1],
    "capitals": lambda outs: renamed(outs, {name: name.upper() for name in lattice()}),
    "names of Seurat": lambda outs: renamed(outs, SEURAT),
    "row names of R": lambda outs: renamed(outs, {"barcode": ""}),
    "other order": lambda outs: edit_positions(outs, lambda table: table[table.columns[::-1]]),
    "TRUE and FALSE": lambda outs: edit_positions(outs, lambda table: table.assign(in_tissue=table["in_tissue"].map({"1": "TRUE", "0": "FALSE"}))),
    "capital ending": lambda outs: moved(outs / "spatial" / POSITIONS, outs / "spatial" / "tissue_positions.CSV"),
    "barcodes -2": lambda outs: barcodes(outs, lambda name: name[:-1] + "2"),
    "barcodes of R": lambda outs: barcodes(outs, lambda name: name.replace("-", ".")),
    "scale factors with BOM": lambda outs: (outs / "spatial" / SCALES).write_text(
        "\ufeff" + json.dumps(json.loads((outs / "spatial" / SCALES).read_text()) | {"fiducial_diameter_fullres": 0}), encoding="utf-8"
    ),
    "files of macOS": others_beside,
}  # fmt: skip


@pytest.mark.parametrize("case", DELIVERED)
def test_the_same_section_comes_of_it(outs, case):
    """Counts, places, tissue and scale are those of the section as Space Ranger wrote it."""
    section = read_section(found if isinstance(found := DELIVERED[case](outs), Path) else outs, slide=False)
    adata = section.adata
    assert adata.obs["in_tissue"].all()
    np.testing.assert_array_equal(adata.X.toarray(), counts_of(len(INSIDE)))
    assert adata.var_names.tolist() == ["SPARC", "MATR3", "MATR3-1", "ESR1", "CD3"]
    np.testing.assert_allclose(section.centres_yx, INSIDE[["pxl_row_in_fullres", "pxl_col_in_fullres"]], atol=0.5)
    assert section.mpp == pytest.approx(100 / PITCH_PX, rel=0.002)


def two_prefixes(outs: Path, other: str = "GSM2_B_") -> Path:
    folder = loose(outs, "GSM1_A_", packed=False)
    moved(folder / f"GSM1_A_{H5}", folder / f"{other}{H5}")
    return folder


def cells(outs: Path) -> Path:
    (outs / "spatial" / POSITIONS).unlink()
    moved(outs / H5, outs / "filtered_feature_cell_matrix.h5")
    return outs.rename(outs.parent / "segmented_outputs")


REFUSED: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "positions and counts of two sections": ("several sections", two_prefixes),
    "positions and counts of two sections of one patient": ("several sections", lambda outs: two_prefixes(outs, "GSM1_B_")),
    "cells": ("segmented", cells),
    "only cells": ("segmented", lambda outs: cells(outs).parent),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_single_section_is_refused(outs, case):
    """Files of two sections are not mixed, and cells are not taken for spots."""
    words, change = REFUSED[case]
    with pytest.raises(DataError, match=words):
        read_section(change(outs))


def proteins(outs: Path) -> None:
    write_h5(outs / H5, INSIDE.index.tolist(), counts_of(len(INSIDE)), ["Gene Expression"] * 4 + ["Antibody Capture"])


def other_tissue(outs: Path) -> None:
    table = lattice()
    write_h5(outs / H5, table["barcode"].tolist(), counts_of(len(table)))


def no_kind(outs: Path) -> None:
    write_h5(outs / H5, INSIDE.index.tolist(), counts_of(len(INSIDE)), ["chr1"] * 5)


def several(outs: Path) -> None:
    write_h5(outs / H5, [*INSIDE.index, *(name[:-1] + "2" for name in INSIDE.index)], np.concatenate([counts_of(len(INSIDE))] * 2))


def scan_at(outs: Path, share: float) -> None:
    (outs.parent / "image.tif").unlink()
    Image.new("RGB", (int(WIDTH * share), int(HEIGHT * share))).save(outs.parent / "scan.png")


NOTED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "proteins": (r"1 of 5 features are no genes \(Antibody Capture\)", proteins),
    "a matrix of another section": ("those of two sections", other_tissue),
    "a matrix of several sections": ("spaceranger aggr", several),
    "two tables of positions": ("two tables of positions", lambda outs: (outs / "spatial" / "tissue_positions_list.csv").write_text("a,1,0,0,1,1\n")),
    "features of no kind": ("does not say which of its features are genes", no_kind),
    "a place that is off": (
        "do not lie where their rows and columns say",
        lambda outs: edit_positions(outs, lambda table: table.assign(pxl_row_in_fullres=["900", *table["pxl_row_in_fullres"][1:]])),
    ),
    "a scan at a quarter": ("150 x 175 px .*0.25 times the 600 x 700 px", lambda outs: scan_at(outs, 0.25)),
    "a packed slide": ("unpack it", lambda outs: [(outs.parent / "image.tif").unlink(), (outs / "he.tif.gz").write_bytes(gzip.compress(b"II*"))]),
    "a slide of unknown size": ("Nothing states the size of the slide", lambda outs: [path.unlink() for path in (outs / "spatial").glob("*.png")]),
}  # fmt: skip


@pytest.mark.parametrize("case", NOTED)
def test_what_may_be_wrong_is_noted(outs, case):
    """The section opens, and a note says what was left out or may be wrong."""
    words, change = NOTED[case]
    change(outs)
    notes = read(outs).notes
    assert any(re.search(words, note) for note in notes), notes


def read(path: Path, **options: object) -> Section:
    section = read_section(path, **options)
    if section.slide is not None:
        section.slide.close()
    return section


def test_cytassists_own_image_is_not_the_slide(outs):
    """Of the images beside a section, that of the CytAssist is passed over though its size fits; the H&E is found in a folder of images."""
    for name in ("cytassist_image.tiff", "CAVG10539_2023-11-16_14-56-24_A1.tif"):
        shutil.copy(outs.parent / "image.tif", outs / name)
    moved(outs.parent / "image.tif", outs.parent / "Images" / "H&E 1.tif")
    assert read(outs).image_path == outs.parent / "Images" / "H&E 1.tif"


def test_prefixes_of_genomes_leave_the_names():
    """GRCh38_SPARC is SPARC, unless another genome has a gene of that name too; missing names in any spelling become ids."""
    notes: list[str] = []
    ids = np.array(["GRCh38_ENSG00000113140", "GRCh38_ENSG00000091831", "mm10___ENSMUSG00000018593"], dtype=object)
    table = gene_table(np.array(["GRCh38_ACTB", "GRCh38_SPARC", "mm10___ACTB"], dtype=object), ids, notes)
    assert table.index.tolist() == ["GRCh38_ACTB", "SPARC", "mm10___ACTB"]
    assert (table["gene_ids"].iloc[0], table["genome"].tolist()) == ("ENSG00000113140", ["GRCh38", "GRCh38", "mm10"])
    assert gene_table(np.array(["NaN", "NA"], dtype=object), np.array(["a", "b"], dtype=object), []).index.tolist() == ["a", "b"]


def as_st(folder: Path, edit: Callable[[pd.DataFrame], pd.DataFrame], **options: object) -> Path:
    table = pd.read_csv(folder / "counts.tsv.gz", sep="\t", index_col=0)
    edit(table).to_csv(folder / "counts.tsv.gz", **{"sep": "\t", **options})
    return folder


def her2st(folder: Path) -> Path:
    top = folder.parent / "her2st"
    moved(folder / "counts.tsv.gz", top / "ST-cnts" / "C9.tsv.gz")
    moved(folder / "spots.tsv", top / "ST-spotfiles" / "C9_selection.tsv")
    moved(folder / "image.jpg", top / "ST-imgs" / "C" / "C9" / "HE.jpg")
    return top / "ST-cnts" / "C9.tsv.gz"


def st_net(folder: Path) -> Path:
    table = pd.read_csv(folder / "spots.tsv", sep="\t")
    names = [f"{x}x{y}" for x, y in zip(table["x"], table["y"], strict=True)]
    pd.DataFrame({"": names, "X": table["pixel_x"], "Y": table["pixel_y"]}).to_csv(folder / "spots_C9.csv", index=False)
    (folder / "spots.tsv").unlink()
    return moved(folder / "counts.tsv.gz", folder / "C9_stdata.tsv.gz") or folder


LEGACY: dict[str, Callable[[Path], Path]] = {
    "genes x spots": lambda folder: as_st(folder, lambda table: table.T),
    "commas": lambda folder: as_st(folder, lambda table: table, sep=","),
    "row names of R": lambda folder: as_st(folder, lambda table: table, quoting=csv.QUOTE_NONNUMERIC),
    "shifted places": lambda folder: as_st(folder, lambda table: table.rename(index=lambda name: name.replace("x", ".02x") + ".1")),
    "names of the section": lambda folder: as_st(folder, lambda table: table.rename(index=lambda name: f"C9_{name}")),
    "another name": lambda folder: moved(folder / "spots.tsv", folder / "spot_data-selection-C9.tsv") or folder,
    "a table itself": lambda folder: folder / "counts.tsv.gz",
    "her2st": her2st,
    "ST-Net": st_net,
}


@pytest.mark.parametrize("case", LEGACY)
def test_legacy_st_of_any_repository(tmp_path, case):
    """The same counts at the same places, with their rows and columns, and the slide."""
    section = read(LEGACY[case](write_st(tmp_path / "C9")))
    expected = counts_of(36)[:35]
    names = [f"{x}x{y}" for x in range(3, 9) for y in range(2, 8)][1:]
    assert section.library_id == "C9" and section.adata.obs_names.tolist() == names
    np.testing.assert_array_equal(section.adata.X.toarray(), expected[: len(names)])
    np.testing.assert_allclose(section.adata.obsm["spatial"], section.adata.obs[["array_col", "array_row"]].to_numpy() * 60.25)
    assert section.image_path is not None


def spots_table() -> pd.DataFrame:
    table = INSIDE.reset_index().rename(columns={"pxl_row_in_fullres": "y", "pxl_col_in_fullres": "x"})[["barcode", "x", "y"]]
    table[["SPARC", "ESR1"]] = counts_of(len(table))[:, [0, 3]]
    return table


def apart(top: Path, table: pd.DataFrame) -> Path:
    table[["barcode", "x", "y"]].to_csv(top / "Positions.CSV", index=False)
    table.set_index("barcode")[["SPARC", "ESR1"]].T.to_csv(top / "counts.csv")
    return top


def saved(path: Path, table: pd.DataFrame, **options: object) -> Path:
    table.to_csv(path, **{"index": False, **options})
    return path


def of_r(path: Path, table: pd.DataFrame) -> Path:
    path.write_text(table.set_index("barcode").to_csv(sep=" ").removeprefix("barcode "))
    return path


TABLES: dict[str, Callable[[Path, pd.DataFrame], Path]] = {
    "semicolons, decimal commas": lambda top, table: saved(top / "t.csv", table, sep=";", decimal=","),
    "commas in .tsv": lambda top, table: saved(top / "t.tsv", table),
    "write.table of R": lambda top, table: of_r(top / "t.txt", table),
    "an index as well": lambda top, table: saved(top / "t.csv", table, index=True),
    "parquet with an index": lambda top, table: table.set_index("barcode").to_parquet(top / "t.parquet") or top / "t.parquet",
    "words around x": lambda top, table: saved(top / "t.csv", table.rename(columns={"x": "CenterX_global_px", "y": "CenterY_global_px"})),
    "array and px": lambda top, table: saved(top / "t.csv", table.rename(columns={"x": "pixel_x", "y": "pixel_y"}).assign(x=1, y=2)),
    "numbers that are no genes": lambda top, table: saved(top / "t.csv", table.assign(total_counts=9, pct_counts_mt=0.5)),
    "counts apart, turned": apart,
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_of_any_program(tmp_path, case):
    """The same places and genes whatever separates the columns and whatever they are called."""
    table = spots_table()
    adata = read_section(TABLES[case](tmp_path, table), slide=False).adata
    assert adata.obs_names.tolist() == table["barcode"].tolist()
    assert adata.var_names.tolist() == ["SPARC", "ESR1"]
    np.testing.assert_array_equal(adata.X.toarray(), table[["SPARC", "ESR1"]])
    np.testing.assert_allclose(adata.obsm["spatial"], table[["x", "y"]])


def test_a_table_in_um_needs_the_scale(tmp_path):
    """Places whose header says um become px by the scale that is given, and are refused without one; so is a scale from places at random."""
    spots_table().rename(columns={"x": "Centroid X µm", "y": "Centroid Y µm"}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="are in um, not px"):
        read_section(tmp_path / "t.csv", slide=False)
    section = read_section(tmp_path / "t.csv", mpp=0.5, slide=False)
    np.testing.assert_allclose(section.adata.obsm["spatial"], spots_table()[["x", "y"]] * 2)
    spots_table().assign(x=np.random.default_rng(0).uniform(0, 900, len(INSIDE))).to_csv(tmp_path / "r.csv", index=False)
    with pytest.raises(DataError, match="size of a pixel cannot be told"):
        read_section(tmp_path / "r.csv", slide=False)


@pytest.mark.parametrize("given", ["S1/GSM1_binned_outputs", "S1", "S1/GSM1_binned_outputs/square_016um/spatial/tissue_positions.parquet"])
def test_visium_hd_as_it_is_delivered(tmp_path, given):
    """Bins open from a folder with a prefix and from any of their files, with bins of the stated size."""
    moved(write_hd(tmp_path / "S1") / "binned_outputs", tmp_path / "S1" / "GSM1_binned_outputs")
    section = read_section(tmp_path / given, slide=False)
    assert (section.library_id, section.platform.pitch_um, section.adata.shape) == ("S1-16um", 16, (42, len(GENES)))
