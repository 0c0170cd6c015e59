"""Folders of several sections: files told apart by their prefixes, as of a GEO series, or a folder each. One is read, and none mixed with another."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from section_folders import counts_of, lattice, write_h5, write_mtx, write_outs
from test_read_bad_input import H5, POSITIONS, edit_positions

from napari_deepspace import project as projects
from napari_deepspace._napari.reader import opens
from napari_deepspace.errors import DataError
from napari_deepspace.info import describe
from napari_deepspace.read import read_section, read_settings
from napari_deepspace.read.files import owner_of, prefix_of
from napari_deepspace.read.several import sections_at, sections_in
from napari_deepspace.settings import SectionSettings

pytestmark = pytest.mark.usefixtures("own_cache")

BARCODES = lattice().query("in_tissue == 1")["barcode"].tolist()
MTX = "filtered_feature_bc_matrix"
LOOSE = ("matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz")


def one(folder: Path, number: int) -> Path:
    """A Space Ranger folder whose counts and places are those of section ``number`` alone."""
    outs = write_outs(folder / "outs")
    shutil.rmtree(outs / "analysis")
    (folder / "image.tif").rename(folder / "slide.tif")
    write_h5(outs / H5, BARCODES, counts_of(len(BARCODES)) + number)
    edit_positions(outs, lambda table: table.assign(pxl_row_in_fullres=[str(int(row) + number) for row in table["pxl_row_in_fullres"]]))
    return outs


def is_number(section, number: int) -> None:
    """Both counts and places are those of section ``number``."""
    np.testing.assert_array_equal(section.adata.X.toarray(), counts_of(len(BARCODES)) + number)
    inside = lattice().query("in_tissue == 1")
    np.testing.assert_allclose(section.centres_yx[:, 0], inside["pxl_row_in_fullres"] + number, atol=0.6)


def flat(outs: Path, to: Path, prefix: str, packed: bool = True) -> None:
    for file in (outs / H5, *(outs / "spatial").iterdir()):
        content = gzip.compress(file.read_bytes(), 1) if packed and file.suffix != ".h5" else file.read_bytes()
        (to / f"{prefix}{file.name}{'.gz' * (packed and file.suffix != '.h5')}").write_bytes(content)


def triplet(outs: Path, to: Path, prefix: str, number: int) -> None:
    flat(outs, to, prefix)
    (to / f"{prefix}{H5}").unlink()
    write_mtx(outs / MTX, BARCODES, counts_of(len(BARCODES)) + number)
    for name in LOOSE:
        (outs / MTX / name).rename(to / f"{prefix}{name}")


def own_spatial(outs: Path, to: Path, prefix: str, number: int) -> None:
    (outs / "spatial").rename(to / f"{prefix}spatial")
    (outs / H5).rename(to / f"{prefix}{H5}")


def own_folders(outs: Path, to: Path, prefix: str, number: int) -> None:
    (outs / "spatial").rename(to / f"{prefix}spatial")
    write_mtx(to / f"{prefix}{MTX}", BARCODES, counts_of(len(BARCODES)) + number)


def named(outs: Path, to: Path, prefix: str, number: int) -> None:
    flat(outs, to, prefix, packed=False)
    (to / f"{prefix}{H5}").rename(to / f"{prefix.rstrip('_')}.h5")


def folder_each(outs: Path, to: Path, prefix: str, number: int) -> None:
    (to / prefix.rstrip("_")).mkdir()
    outs.rename(to / prefix.rstrip("_") / "outs")


def folder_itself(outs: Path, to: Path, prefix: str, number: int) -> None:
    outs.rename(to / prefix.rstrip("_"))


Writer = Callable[[Path, Path, str, int], object]
LAYOUTS: dict[str, tuple[tuple[str, str], Writer]] = {
    "GEO": (("GSM1_A_", "GSM2_B_"), lambda outs, to, prefix, _: flat(outs, to, prefix)),
    "unpacked, one the beginning of the other": (("A_", "A_2_"), lambda outs, to, prefix, _: flat(outs, to, prefix, packed=False)),
    "hyphens": (("A1-", "A10-"), lambda outs, to, prefix, _: flat(outs, to, prefix)),
    "dots": (("A.", "sampleA."), lambda outs, to, prefix, _: flat(outs, to, prefix)),
    "triplets": (("GSM1_A_", "GSM2_B_"), triplet),
    "spatial folders": (("GSM1_A_", "GSM1_A_2_"), own_spatial),
    "folders of spatial and matrix": (("GSM1_A_", "GSM2_B_"), own_folders),
    "matrix of another name": (("A_", "A_2_"), named),
    "a folder with outs each": (("A_", "A_2_"), folder_each),
    "a folder each": (("GSM1_A_", "GSM2_B_"), folder_itself),
}  # fmt: skip


@pytest.fixture
def series(tmp_path):
    """Write two sections, 0 and 1, in one layout."""

    def write(layout: str) -> tuple[Path, list[str]]:
        to = tmp_path / "GSE1"
        to.mkdir()
        prefixes, writer = LAYOUTS[layout]
        for number, prefix in enumerate(prefixes):
            writer(one(tmp_path / f"made{number}", number), to, prefix, number)
        return to, [prefix.rstrip("_-.") for prefix in prefixes]

    return write


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sections_of_a_folder(series, layout):
    """All are listed; the first or the one named is read, with its own counts and places; settings read it again; a file opens its own section."""
    folder, names = series(layout)
    assert sections_in(folder) == names and opens(folder)
    first = read_section(folder, slide=False)
    is_number(first, 0)
    assert first.library_id == names[0] and describe(first)["sections_in_file"] == names
    assert f"GSE1 holds 2 sections ({', '.join(names)}); {names[0]} is read. Name another one with library_id." in first.notes
    second = read_section(folder, library_id=names[1], slide=False)
    is_number(second, 1)
    again = read_settings(SectionSettings(path=second.path, library_id=second.library_id))
    is_number(again, 1)
    with pytest.raises(DataError, match=f"holds no section C, but {', '.join(names)}"):
        read_section(folder, library_id="C")
    if "each" in layout:
        return
    for number, name in enumerate(names):
        own = [item for item in folder.iterdir() if owner_of(item.name, names) == name and not item.name.endswith((".png.gz", ".png"))]
        for item in own:
            section = read_section(item, slide=False)
            is_number(section, number)
            assert section.library_id == name
            listed = sections_at(item)
            assert not item.is_file() or list(listed.items()) == [(name, item), (names[1 - number], folder)]
        assert len(own) >= 2


def test_a_file_is_never_read_as_another_section(series):
    """A file of one section with the name of another is refused; a new name is a name."""
    folder, _ = series("GEO")
    with pytest.raises(DataError, match="is a file of GSM1_A, not of GSM2_B"):
        read_section(folder / f"GSM1_A_{H5}", library_id="GSM2_B")
    assert read_section(folder / f"GSM1_A_{H5}", library_id="patient 2", slide=False).library_id == "patient 2"


def test_files_are_not_mixed(series):
    """Without a matrix of its own a section opens without genes; a matrix without positions is refused, and so are two matrices of one prefix."""
    folder, _ = series("unpacked, one the beginning of the other")
    (folder / f"A_2_{H5}").rename(folder / f"A_3_{H5}")
    assert sections_in(folder) == ["A", "A_2"]
    is_number(read_section(folder, slide=False), 0)
    without = read_section(folder, library_id="A_2", slide=False)
    assert without.adata.n_vars == 0 and any("no filtered_feature_bc_matrix.h5 that begins with A_2" in note for note in without.notes)
    with pytest.raises(DataError, match=r"no positions lie beside it under its prefix.*A, A_2"):
        read_section(folder / f"A_3_{H5}")
    shutil.copy(folder / f"A_{H5}", folder / f"A-{H5}")
    with pytest.raises(DataError, match="several sections"):
        read_section(folder)


def test_single_cells_beside_one_section(series):
    """A series may hold matrices of single cells as well: what has positions is the section, and it may be given any name."""
    folder, _ = series("GEO")
    (folder / f"GSM2_B_{POSITIONS}.gz").unlink()
    assert sections_in(folder) == []
    section = read_section(folder, library_id="patient 1", slide=False)
    is_number(section, 0)
    assert section.library_id == "patient 1"


def test_the_slide_of_the_same_prefix(series):
    """Of two slides that fit, each section takes the one with its prefix, and none that of another; one without a prefix may be anybody's."""
    folder, _ = series("GEO")
    slide = folder.parent / "made0" / "slide.tif"
    shutil.copy(slide, folder / "GSM2_B_image.tif")
    image_of = lambda name: closed(read_section(folder, library_id=name)).image_path  # noqa: E731
    assert (image_of("GSM1_A"), image_of("GSM2_B")) == (None, folder / "GSM2_B_image.tif")
    shutil.copy(slide, folder / "scan.tif")
    assert (image_of("GSM1_A"), image_of("GSM2_B")) == (folder / "scan.tif", folder / "GSM2_B_image.tif")


@pytest.mark.parametrize("layout", ["GEO", "spatial folders", "a folder with outs each"])
def test_a_project_knows_its_section_again(series, tmp_path, layout):
    """A project reads the section that was put into it; changed counts of another section are no matter, those of its own are reported."""
    folder, names = series(layout)
    section = read_section(folder, library_id=names[1], slide=False)
    projects.save_project(projects.add_section(projects.create_project(tmp_path / "project"), section))
    second, first = sorted(folder.rglob(f"*{H5}"), key=lambda file: names[1] not in str(file))
    first.write_bytes(b"other")
    opened = projects.open_project(tmp_path / "project")
    assert opened.missing == () and len(opened.file.sections[0].files) == 3
    is_number(read_settings(projects.section_settings(opened, names[1])), 1)
    second.write_bytes(b"other")
    assert [(one.kind, one.changed) for one in projects.open_project(tmp_path / "project").missing] == [("counts", True)]


def closed(section):
    if section.slide is not None:
        section.slide.close()
    return section


def test_what_a_prefix_is():
    """A gap parts it from the name of the file; spatial is not of it."""
    name = "tissue_positions.csv"
    files = ("GSM1_A_2-tissue_positions.CSV.gz", "A_spatial_tissue_positions.csv", "tissue_positions.csv", "Atissue_positions.csv", "A_positions.csv")
    assert [prefix_of(file, name) for file in files] == ["GSM1_A_2", "A", "", None, None]
    assert [owner_of(file, ["A", "A_2"]) for file in ("A_2_image.tif", "A_22.tif", "A.tif", "AB.tif")] == ["A_2", "A", "A", None]
