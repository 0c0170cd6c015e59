"""A project on disk."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from anndata import AnnData
from PIL import Image
from scipy.sparse import csr_matrix

from napari_deepspace import project as projects
from napari_deepspace.errors import DataError
from napari_deepspace.project_format import View
from napari_deepspace.runs import new_run_dir
from napari_deepspace.section import PLATFORMS, Section
from napari_deepspace.settings import FilterSettings
from napari_deepspace.slide import open_slide

HER2ST = Path(__file__).parents[2].parent / "shared" / "data" / "her2st"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NAPARI_DEEPSPACE_CACHE", str(tmp_path_factory.mktemp("cache")))


def write_slide(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb")
    else:
        Image.fromarray(pixels).save(path)
    return path


def make_section(folder: Path, library_id: str = "C3", image: str = "image.tif", counts: str = "a\t1\n") -> Section:
    """A section whose files lie in ``folder``; the project looks at their bytes only."""
    (folder / "spatial").mkdir(parents=True)
    (folder / "filtered_feature_bc_matrix.h5").write_text(counts)
    (folder / "spatial" / "tissue_positions.csv").write_text("barcode,in_tissue\n")
    slide = open_slide(write_slide(folder / image))
    adata = AnnData(csr_matrix(np.ones((3, 2), np.float32)), obs=pd.DataFrame(index=list("abc")), obsm={"spatial": np.eye(3)[:, :2]})
    return Section(adata, slide, library_id, PLATFORMS["visium"], 0.5, "patient 1", "block 2", folder, folder / image)


@pytest.fixture
def study(tmp_path):
    """A study folder with one section and a saved project that holds it."""
    project = projects.create_project(tmp_path / "study" / "project", "my study")
    project = projects.add_section(project, make_section(tmp_path / "study" / "C3"))
    projects.save_project(project)
    return project


def test_a_saved_project_opens_as_it_was(study):
    """Sections, runs and view come back as they were saved."""
    run = new_run_dir(study.folder / projects.RUNS, "quick")
    view = View(
        library_id="C3", run=f"runs/{run.name}", gene="ERBB2", shown="difference", filter=FilterSettings(min_umi=300),
        contrast_limits=(0.0, 2.5), colormap="viridis", centre_yx_um=(120.5, 80.0), zoom=2.0,
    )  # fmt: skip
    saved = projects.set_view(projects.add_run(study, run), view)
    projects.save_project(saved)

    again = projects.open_project(study.folder)
    assert again == saved
    assert again.missing == ()
    assert again.file.view == view
    assert projects.run_dirs(again) == [run]
    settings = projects.section_settings(again, "C3")
    assert settings.path == study.folder.parent / "C3"
    assert settings.image == study.folder.parent / "C3" / "image.tif"
    assert (settings.platform, settings.patient, settings.block) == ("visium", "patient 1", "block 2")
    assert projects.open_project(study.folder / "project.json") == again


def test_nothing_but_save_writes(study):
    """A changed project is on disk only after it was saved."""
    before = (study.folder / "project.json").read_bytes()
    changed = projects.set_view(study, View(gene="FN1"))
    assert (study.folder / "project.json").read_bytes() == before
    assert study.file.view.gene is None
    projects.save_project(changed)
    assert projects.open_project(study.folder).file.view.gene == "FN1"


def test_paths_within_a_study_are_relative_and_posix(study, tmp_path):
    """Paths within the study folder are relative, others absolute, all with forward slashes."""
    far = make_section(tmp_path / "a" / "far" / "away" / "C4", "C4")
    entry = projects.add_section(study, far).file.sections
    assert entry[0].path == "../C3"
    assert entry[0].image == "../C3/image.tif"
    deep = projects.create_project(tmp_path / "study" / "x" / "y" / "z" / "project")
    assert projects.add_section(deep, far).file.sections[0].path == far.path.as_posix()


def test_a_study_that_moved_as_a_whole_opens_without_asking(study, tmp_path):
    """A study folder can be moved with the project in it."""
    shutil.move(tmp_path / "study", tmp_path / "archive")
    again = projects.open_project(tmp_path / "archive" / "project")
    assert again.missing == ()
    assert projects.section_settings(again, "C3").image == tmp_path / "archive" / "C3" / "image.tif"


@pytest.mark.parametrize("new_name", ["moved.tif", "moved.png"], ids=["renamed", "saved in another format"])
def test_a_slide_that_moved_is_asked_for_and_known_again(study, tmp_path, new_name):
    """A slide that moved is reported; the same slide elsewhere is taken, also renamed or in another format, and remembered."""
    old = tmp_path / "study" / "C3" / "image.tif"
    new = write_slide(tmp_path / new_name)
    old.unlink()
    project = projects.open_project(study.folder)
    (missing,) = project.missing
    assert (missing.library_id, missing.kind, missing.path, missing.changed) == ("C3", "image", old, False)
    assert str(old) in str(missing)

    found = projects.relink(project, "C3", new, missing.kind)
    assert found.missing == ()
    projects.save_project(found)
    assert projects.section_settings(projects.open_project(study.folder), "C3").image == new


def test_another_slide_is_refused(study, tmp_path):
    """Another slide in the place of one that moved is refused, and the project stays as it was."""
    with pytest.raises(DataError, match="another slide than that of C3"):
        projects.relink(study, "C3", write_slide(tmp_path / "other.tif", seed=1))
    with pytest.raises(DataError, match="does not exist"):
        projects.relink(study, "C3", tmp_path / "nowhere.tif")
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(DataError, match=r"text\.tif"):
        projects.relink(study, "C3", tmp_path / "text.tif")
    with pytest.raises(DataError, match="no section named C9"):
        projects.relink(study, "C9", tmp_path / "text.tif")


def test_files_with_another_content_are_reported(study, tmp_path):
    """Counts or a slide that were overwritten since are reported as changed."""
    write_slide(tmp_path / "study" / "C3" / "image.tif", seed=1)
    (tmp_path / "study" / "C3" / "filtered_feature_bc_matrix.h5").write_text("a\t2\n")
    missing = projects.open_project(study.folder).missing
    assert [(file.kind, file.changed) for file in missing] == [("counts", True), ("image", True)]


def test_counts_that_moved_are_checked_too(study, tmp_path):
    """Moved counts are taken when matrix and positions are the same, whatever else lies beside them, and refused otherwise."""
    shutil.move(tmp_path / "study" / "C3", tmp_path / "moved")
    (tmp_path / "moved" / "web_summary.html").write_text("more")
    make_section(tmp_path / "other", counts="b\t9\n")
    project = projects.open_project(study.folder)
    assert {file.kind for file in project.missing} == {"counts", "image"}
    with pytest.raises(DataError, match="does not hold the counts of C3"):
        projects.relink(project, "C3", tmp_path / "other", "counts")
    project = projects.relink(project, "C3", tmp_path / "moved", "counts")
    project = projects.relink(project, "C3", tmp_path / "moved" / "image.tif", "image")
    assert project.missing == ()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[1, 2]",
        lambda text: text.replace('"gene"', '"gone"'),
        lambda text: text.replace('"library_id": "C3"', '"library_id": 3'),
        lambda text: json.dumps({**json.loads(text), "sections": json.loads(text)["sections"] * 2}),
        lambda text: "\udcff" + text,
    ],
    ids=["cut off", "empty", "no mapping", "unknown field", "wrong type", "section twice", "not UTF-8"],
)
def test_a_damaged_project_is_refused_and_kept(study, damage):
    """A damaged project.json gives a clear error, and neither opening, saving nor creating overwrites it."""
    path = study.folder / "project.json"
    damaged = damage(path.read_text(encoding="utf-8")).encode("utf-8", "surrogateescape")
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"project\.json"):
        projects.open_project(study.folder)
    with pytest.raises(DataError, match=r"project\.json"):
        projects.save_project(projects.set_view(study, View(gene="FN1")))
    with pytest.raises(DataError, match="holds a project already"):
        projects.create_project(study.folder)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("newer", ["1.5", "2.0", "1.10"])
def test_a_project_of_a_newer_version_says_so(study, newer):
    """A project that a newer version wrote is refused with the version as the reason, whatever else it holds."""
    path = study.folder / "project.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "format": newer, "new field": 1}), encoding="utf-8")
    with pytest.raises(DataError, match="written by a newer version"):
        projects.open_project(study.folder)


def test_the_state_before_the_last_save_is_kept(study):
    """project.json.bak is the state before the last save that changed something, and opens when renamed."""
    projects.save_project(projects.set_view(study, View(gene="FN1")))
    projects.save_project(projects.set_view(study, View(gene="ESR1")))
    projects.save_project(projects.set_view(study, View(gene="ESR1")))
    backup = study.folder / "project.json.bak"
    assert json.loads(backup.read_text(encoding="utf-8"))["view"]["gene"] == "FN1"
    backup.replace(study.folder / "project.json")
    assert projects.open_project(study.folder).file.view.gene == "FN1"
    assert sorted(path.name for path in study.folder.iterdir()) == ["project.json"]


def test_two_sections_cannot_share_a_name(study, tmp_path):
    """The same section may be added again; another one under its name is refused until the first is removed."""
    other = make_section(tmp_path / "study" / "other", "C3", counts="b\t9\n")
    with pytest.raises(DataError, match="another section named C3"):
        projects.add_section(study, other)
    with pytest.raises(DataError, match="another section named C3"):
        projects.add_section(study, make_section(tmp_path / "study" / "lower", "c3"))
    copy = make_section(tmp_path / "study" / "copy", "C3")
    assert projects.add_section(study, copy).file.sections[0].path == "../copy"
    assert projects.add_section(projects.remove_section(study, "C3"), other).file.sections[0].path == "../other"


def test_only_sections_on_disk_can_be_added(study, tmp_path):
    """A section that lies in no file is refused; one without an image is taken."""
    section = make_section(tmp_path / "study" / "C4", "C4")
    section.slide = section.image_path = None
    assert projects.add_section(study, section).file.sections[1].image is None
    section.path = None
    with pytest.raises(DataError, match="was not read from disk"):
        projects.add_section(study, section)


def test_a_folder_without_a_project_says_so(tmp_path):
    """Opening a folder without a project, or creating one where nothing can be written, gives a clear error."""
    with pytest.raises(DataError, match=r"holds no project\.json"):
        projects.open_project(tmp_path)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match="cannot be saved"):
        projects.create_project(tmp_path / "file" / "project")


def test_outlines_of_different_sections_lie_in_different_files(study):
    """Every library_id gets a file name of its own inside the project."""
    names = ["C3", "a/b", "a-b", "a b", "../C3", "..", "Schnitt ä"]
    paths = [projects.outlines_path(study, name) for name in names]
    assert len(set(paths)) == len(names)
    assert {path.parent for path in paths} == {study.folder / "outlines"}


def test_the_hash_notices_size_beginning_and_end(tmp_path):
    """Files of several mebibytes differ in hash when their size, beginning or end differs, whatever their names."""
    content = bytearray(3 * 2**20)
    variants = [bytes(content), bytes(content + b"\0"), b"\1" + bytes(content[1:]), bytes(content[:-1]) + b"\1"]
    hashes = []
    for number, variant in enumerate(variants):
        (tmp_path / str(number)).write_bytes(variant)
        hashes.append(projects.file_hash(tmp_path / str(number)))
    shutil.copy(tmp_path / "0", tmp_path / "copy")
    assert len(set(hashes)) == len(variants)
    assert projects.file_hash(tmp_path / "copy") == hashes[0]


@pytest.mark.real_data
def test_a_real_section_comes_back_from_a_project(tmp_path, data_dir):
    """A legacy ST section that was put into a project is read again with the same counts and the same image."""
    from napari_deepspace.read import read_section, read_settings

    section = read_section(data_dir / "her2st" / "C3", library_id="C3", patient="C")
    project = projects.add_section(projects.create_project(tmp_path / "project"), section)
    projects.save_project(project)
    again = projects.open_project(tmp_path / "project")
    assert again.missing == ()
    assert len(again.file.sections[0].files) >= 2
    read = read_settings(projects.section_settings(again, "C3"))
    assert (read.adata.X != section.adata.X).nnz == 0
    assert read.require_slide().fingerprint() == section.require_slide().fingerprint()
    assert (read.platform, read.patient, read.image_path) == (section.platform, "C", section.image_path)
