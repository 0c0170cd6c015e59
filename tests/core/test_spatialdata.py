"""SpatialData stores: spots, counts and slide come from disk as they lie there, and are those of the folder the store was made from."""

from __future__ import annotations

import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
import shapely
import shapely.affinity
from section_folders import HEIGHT, WIDTH, write_outs
from spatialdata_stores import to_system, write_image, write_spot_table, write_spots

from napari_deepspace import project as projects
from napari_deepspace.convert import convert
from napari_deepspace.errors import DataError
from napari_deepspace.read import read_section
from napari_deepspace.read.several import sections_in
from napari_deepspace.read.store_images import matrices

pytestmark = pytest.mark.usefixtures("own_cache")
ROWS = ["in_tissue", "array_row", "array_col"]


@pytest.fixture
def source(tmp_path):
    """A Space Ranger folder, read with its slide."""
    return read_section(write_outs(tmp_path / "outs"))


@pytest.fixture
def pixels(source):
    """The slide as SpatialData has it, (c, y, x)."""
    return np.moveaxis(source.slide.levels[0][:], 2, 0)


def spots_of(source, region):
    adata = anndata.AnnData(source.adata.X, source.adata.obs[ROWS].copy(), pd.DataFrame(index=source.adata.var_names))
    adata.obs["region"], adata.obs["spot_id"] = pd.Categorical([region] * adata.n_obs), np.arange(adata.n_obs)
    return adata


def write_store(store, source, regions=("S1",), own=None, system="S1"):
    """Spots of ``source`` as each of ``regions``, in one table."""
    for region in regions:
        write_spots(store, region, source.adata.obsm["spatial"], own or [to_system(system, "xy")])
    tables = [spots_of(source, region)[: source.adata.n_obs - 5 * number] for number, region in enumerate(regions)]
    write_spot_table(store, anndata.concat(tables, index_unique="-") if len(tables) > 1 else tables[0], list(regions))
    return store


def same(section, source):
    assert section.adata.obs_names.tolist() == source.adata.obs_names.tolist()
    assert (section.adata.X != source.adata.X).nnz == 0
    assert section.adata.obs[ROWS].astype(int).equals(source.adata.obs[ROWS].astype(int))
    np.testing.assert_allclose(section.centres_yx, source.centres_yx, atol=1e-6)
    assert section.mpp == pytest.approx(source.mpp, rel=1e-3)  # the store has no positions outside the tissue
    assert section.platform == source.platform


def test_the_full_picture_is_the_slide(tmp_path, source, pixels):
    """Of full, hires and lowres picture the full one is the slide, read piece by piece, and the spots lie on it as in the folder."""
    store = write_store(tmp_path / "s.zarr", source)
    write_image(store, "S1_full_image", pixels, [to_system("S1", "cyx")], levels=3)
    for kind, step in (("hires", 2), ("lowres", 10)):
        write_image(store, f"S1_{kind}_image", pixels[:, ::step, ::step], [to_system("S1", "cyx", "scale", scale=[1, step, step])])
    section = read_section(store)
    same(section, source)
    assert section.library_id == "S1"
    assert section.image_path == store / "images" / "S1_full_image"
    assert [level.shape[:2] for level in section.slide.levels] == [(600, 700), (300, 350), (150, 175)]
    np.testing.assert_array_equal(section.slide.read_region(100, 200, 50, 60), source.slide.read_region(100, 200, 50, 60))
    assert not section.notes
    again = read_section(store, section.image_path)  # as a project gives it
    np.testing.assert_array_equal(again.centres_yx, section.centres_yx)


def test_a_reduced_picture_is_no_slide(tmp_path, source, pixels):
    """With the hires picture alone a slide is asked for; that picture tells which TIFF beside the store fits, and stands in if wanted."""
    store = write_store(tmp_path / "alone" / "s.zarr", source)
    write_image(store, "S1_hires_image", pixels[:, ::2, ::2], [to_system("S1", "cyx", "scale", scale=[1, 2, 2])])
    section = read_section(store)
    same(section, source)
    assert section.slide is None
    assert any("At hand is only S1_hires_image, in which a spot is 13 px wide" in note for note in section.notes)
    reduced = read_section(store, reduced=True)
    assert (reduced.reduced, reduced.slide.shape) == (0.5, (HEIGHT // 2, WIDTH // 2))
    np.testing.assert_allclose(reduced.centres_yx, source.centres_yx / 2)
    with pytest.raises(DataError, match="the positions refer to one of about 600 x 700 px"):
        read_section(store, store / "images" / "S1_hires_image")
    shutil.copy(tmp_path / "image.tif", store.parent)
    assert read_section(store).image_path == store.parent / "image.tif"


C, S = np.cos(0.3), np.sin(0.3)
PLACED = {
    "scale": ([to_system("global", "xy", "scale", scale=[2.0, 2.0])], [to_system("global", "cyx", "scale", scale=[1.0, 0.5, 0.5])]),
    "translation": ([to_system("global", "xy", "translation", translation=[30.0, 20.0])], [to_system("global", "cyx")]),
    "affine": (
        [to_system("global", "xy", "affine", affine=[[0.2, 0.0, 5.0], [0.0, 0.2, 9.0]])],
        [to_system("global", "cyx", "affine", affine=[[1, 0, 0, 0], [0, 0.2, 0, 9], [0, 0, 0.2, 5]])],
    ),
    "sequence": (
        [to_system("global", "xy")],
        [
            to_system("global", "cyx", "sequence", transformations=[
                {"type": "scale", "scale": [1.0, 0.5, 0.5]}, {"type": "translation", "translation": [0.0, -4.0, -3.0]},
            ])
        ],
    ),
    "turned by a quarter": ([to_system("global", "xy", "affine", affine=[[0, -1, 600], [1, 0, 0]])], [to_system("global", "cyx")]),
    "mirrored": ([to_system("global", "xy", "affine", affine=[[-1, 0, 700], [0, 1, 0]])], [to_system("global", "cyx")]),
    "axes": ([to_system("global", "xy", "mapAxis", mapAxis={"x": "y", "y": "x"})], [to_system("global", "cyx")]),
}  # fmt: skip
EXPECTED = {
    "scale": lambda xy: xy * 4,
    "translation": lambda xy: xy + np.array([30, 20]),
    "affine": lambda xy: xy,
    "sequence": lambda xy: (xy + np.array([3, 4])) * 2,
    "turned by a quarter": lambda xy: np.column_stack([600 - xy[:, 1], xy[:, 0]]),
    "mirrored": lambda xy: np.column_stack([700 - xy[:, 0], xy[:, 1]]),
    "axes": lambda xy: xy[:, ::-1],
}


@pytest.mark.parametrize("kind", PLACED)
def test_spots_are_moved_into_the_px_of_the_picture(tmp_path, source, kind):
    """Whatever takes spots and picture into their common system, spots end in px of the picture, with their diameter and um per px."""
    own, theirs = PLACED[kind]
    store = write_store(tmp_path / "s.zarr", source, own=own)
    write_image(store, "he", np.zeros((3, 2400, 2900), np.uint8), theirs)
    section = read_section(store)
    expected = EXPECTED[kind](source.adata.obsm["spatial"])
    np.testing.assert_allclose(section.adata.obsm["spatial"], expected, atol=1e-6)
    scale = np.linalg.norm(expected[0] - expected[-1]) / np.linalg.norm(np.subtract(*source.adata.obsm["spatial"][[0, -1]]))
    assert section.adata.uns["spatial"]["S1"]["scalefactors"]["spot_diameter_fullres"] == pytest.approx(26 * scale)
    assert section.mpp == pytest.approx(source.mpp / scale, rel=1e-3)
    assert any("moved into the px of he" in note for note in section.notes) == (kind != "affine")


BAD = {
    "is sheared against the spots": ([to_system("S1", "cyx", "scale", scale=[1, 1, 1.2])], "rgb", 3),
    "does not lie under all spots": ([to_system("S1", "cyx", "translation", translation=[0, 300, 300])], "rgb", 3),
    "is no picture in red, green and blue": ([to_system("S1", "cyx")], ["DAPI", "CD3", "CD20"], 3),
    "is no picture in red, green and blue ": ([to_system("S1", "cyx")], "01234", 5),
    "shares no coordinate system": ([to_system("elsewhere", "cyx")], "rgb", 3),
    "shares no coordinate system ": ([to_system("S1", "cyx", "byDimension", transformations=[])], "rgb", 3),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_picture_that_cannot_be_the_slide(tmp_path, source, fault):
    """One note says why; the section opens without a slide."""
    theirs, labels, channels = BAD[fault]
    store = write_store(tmp_path / "far" / "s.zarr", source)
    write_image(store, "he", np.zeros((channels, HEIGHT, WIDTH), np.uint8), theirs, labels)
    section = read_section(store)
    assert section.slide is None
    same(section, source)
    assert [note for note in section.notes if note.startswith(f"No picture of the store can be the slide: he {fault.strip()}")]


def test_global_gives_way_to_a_system_that_was_meant(tmp_path, source, pixels):
    """Everything lies in "global" by itself; where spots and picture were aligned in another system, that is taken."""
    own = [to_system("global", "xy"), to_system("aligned", "xy")]
    store = write_store(tmp_path / "s.zarr", source, own=own)
    write_image(store, "he", pixels, [to_system("global", "cyx"), to_system("aligned", "cyx", "translation", translation=[0, 2, 3])])
    np.testing.assert_allclose(read_section(store).adata.obsm["spatial"], source.adata.obsm["spatial"] - [3, 2])


def test_sections_of_a_store(tmp_path, source, pixels):
    """Of two sections in one table each has its own spots and its own picture; they are listed, and a third is refused."""
    store = write_store(tmp_path / "s.zarr", source, ("S1", "S10"), system="global")
    for name, shade in (("S1_full_image", 0), ("S10_full_image", 9)):
        write_image(store, name, pixels // 2 + np.uint8(shade), [to_system("global", "cyx")])
    assert sections_in(store) == ["S1", "S10"]
    for name, fewer in (("S1", 0), ("S10", 5)):
        section = read_section(store, library_id=name)
        assert (section.library_id, section.image_path.name) == (name, f"{name}_full_image")
        assert section.adata.n_obs == source.adata.n_obs - fewer
        np.testing.assert_allclose(section.adata.obsm["spatial"], source.adata.obsm["spatial"][: source.adata.n_obs - fewer])
        assert any(f"2 sections (S1, S10); {name} is read" in note for note in section.notes)
    with pytest.raises(DataError, match="holds no section C, but S1, S10"):
        read_section(store, library_id="C")


def test_bins_of_visium_hd(tmp_path, source, pixels):
    """Tables of bins, squares or circles, are Visium HD; those of 16 um come first, and um per px is told by their size."""
    for number, radius in enumerate((13.0, None)):
        store = tmp_path / f"hd{number}.zarr"
        for size in ("008", "016"):
            write_spots(store, f"hd_square_{size}um", source.adata.obsm["spatial"], [to_system("hd", "xy")], radius)
            write_spot_table(store, spots_of(source, f"hd_square_{size}um"), [f"hd_square_{size}um"], f"square_{size}um")
        write_image(store, "hd_full_image", pixels, [to_system("hd", "cyx")])
        section = read_section(store)
        assert sections_in(store) == ["hd_square_016um", "hd_square_008um"]
        assert (section.library_id, section.platform.name, section.mpp) == ("hd_square_016um", "Visium HD, 16 um bins", 16 / 26)
        assert section.image_path.name == "hd_full_image"
        assert read_section(store, library_id="hd_square_008um").platform.name == "Visium HD, 8 um bins"


def test_bins_that_lie_askew_leave_the_scale_to_the_lattice(tmp_path, source):
    """The side of a square is only told where it lies along the axes; nothing is made up from one that does not."""
    store = tmp_path / "hd.zarr"
    write_spots(store, "hd_square_016um", source.adata.obsm["spatial"], [to_system("global", "xy")], None)
    write_spot_table(store, spots_of(source, "hd_square_016um"), ["hd_square_016um"])
    path = store / "shapes" / "hd_square_016um" / "shapes.parquet"
    table = pd.read_parquet(path)
    table["geometry"] = [shapely.to_wkb(shapely.affinity.rotate(shapely.from_wkb(one), 20)) for one in table["geometry"]]
    table.to_parquet(path)
    section = read_section(store)
    assert section.platform.name == "Visium HD, 16 um bins"
    assert (section.mpp_from, np.isfinite(section.mpp)) == ("the lattice of the spots", True)


def test_a_damaged_store_is_told(tmp_path, source):
    """A table without shapes, a shape without a row, and a cut file each are one error that names the store."""
    store = write_store(tmp_path / "s.zarr", source)
    (store / "shapes" / "S1" / "shapes.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(DataError, match="cannot be read as the shapes of a SpatialData store"):
        read_section(store)
    write_spots(store, "S1", source.adata.obsm["spatial"][:9], [to_system("S1", "xy")])
    with pytest.raises(DataError, match=r"s\.zarr cannot be read as a SpatialData store"):
        read_section(store)
    shutil.rmtree(store / "shapes" / "S1")
    with pytest.raises(DataError, match="holds no table that says of which of its circles or polygons it is"):
        read_section(store)


def test_matrices_are_those_of_the_library():
    """Chains of every kind of transformation become the matrix that the library makes of them."""
    library = pytest.importorskip("spatialdata.transformations")
    rng = np.random.default_rng(0)
    for number in range(20):
        turn = np.eye(3)
        turn[:2] = rng.normal(size=(2, 3))
        parts = [
            library.Scale(rng.uniform(0.5, 2, 2), ("y", "x")),
            library.Translation(rng.normal(size=2), ("x", "y")),
            library.Affine(turn, ("x", "y"), ("x", "y")),
            library.MapAxis({"x": "y", "y": "x"}),
        ]
        whole = library.Sequence([parts[k] for k in rng.permutation(4)[: 1 + number % 4]])
        for axes in (("x", "y"), ("c", "y", "x")):
            ngff = whole.to_ngff(axes, axes, output_coordinate_system_name="there")
            made = matrices({"coordinateTransformations": [ngff.to_dict()]})
            np.testing.assert_allclose(made["there"], whole.to_affine_matrix(("x", "y"), ("x", "y")), atol=1e-12)


@pytest.mark.parametrize("form", ["SpatialDataContainerFormatV01", "SpatialDataContainerFormatV02"])
def test_stores_of_the_library_of_both_formats(tmp_path, source, pixels, form):
    """What the library writes as Zarr 2 and Zarr 3 is read as its source, slide too."""
    library = pytest.importorskip("spatialdata")
    from spatialdata._io import format as formats
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Scale

    adata = spots_of(source, "S1")
    circles = ShapesModel.parse(source.adata.obsm["spatial"], geometry=0, radius=13, index=adata.obs["spot_id"].to_numpy())
    picture = Image2DModel.parse(pixels[:, ::2, ::2], dims=("c", "y", "x"), scale_factors=[2], transformations={"global": Scale([2, 2], ("y", "x"))})
    table = TableModel.parse(adata, region="S1", region_key="region", instance_key="spot_id")
    store = tmp_path / "s.zarr"
    library.SpatialData(images={"he": picture}, shapes={"S1": circles}, tables={"table": table}).write(
        store, sdata_formats=[getattr(formats, form)()]
    )
    section = read_section(store)
    assert section.slide.shape == (HEIGHT // 2, WIDTH // 2)
    assert len(section.slide.levels) == 2
    np.testing.assert_allclose(section.centres_yx, source.centres_yx / 2)
    assert section.mpp == pytest.approx(2 * source.mpp, rel=1e-3)


def test_what_is_written_comes_back(tmp_path, source):
    """A section written as SpatialData has circles over the picture for the library, and reads as its source; without the extra it says so."""
    out = tmp_path / "written" / "section.zarr"
    out.parent.mkdir()
    try:
        import spatialdata
    except ImportError:
        with pytest.raises(DataError, match=r"napari-deepspace\[spatialdata\]"):
            convert(source, out)
        assert not out.exists()
        pytest.skip("the extra [spatialdata] is not installed")
    convert(source, out)
    data = spatialdata.read_zarr(out)
    assert list(data.tables) == ["table"]
    extent = spatialdata.get_extent(data[f"{source.library_id}_hires_image"])
    assert extent["x"][1] == pytest.approx(source.slide.shape[1], abs=1)
    section = read_section(out)
    assert section.image_path is None
    same(section, source)


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "full"), [pytest.param("C3", True, marks=pytest.mark.acceptance), ("C4", False)])
def test_real_sections_by_spatialdata_io(tmp_path, data_dir, name, full):
    """What spatialdata-io makes of a Space Ranger folder opens with the counts, places, um per px and slide of that folder."""
    io = pytest.importorskip("spatialdata_io")
    folder, image = data_dir / "her2st_as_visium" / name / "outs", data_dir / "her2st" / name / "image.jpg"
    io.visium(folder, dataset_id=name, fullres_image_file=image if full else None).write(tmp_path / "s.zarr")
    source = read_section(folder, image if full else None, slide=full)
    section = read_section(tmp_path / "s.zarr")
    same(section, source)
    assert (section.slide is not None) == full
    if full:
        assert section.slide.shape == source.slide.shape
        np.testing.assert_array_equal(section.slide.read_region(4000, 4000, 99, 99), source.slide.read_region(4000, 4000, 99, 99))


def test_a_project_notices_changed_counts(tmp_path, source):
    """Counts of a store that change beneath a project are reported when it is opened again, also where sizes stay; a copied store is known."""
    store = write_store(tmp_path / "s.zarr", source)
    project = projects.add_section(projects.create_project(tmp_path / "project"), read_section(store, slide=False))
    projects.save_project(project)
    shutil.copytree(store, tmp_path / "copy.zarr")
    chunk = max((file for file in (store / "tables").rglob("*") if file.is_file() and "X" in file.parts), key=lambda file: file.stat().st_size)
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    opened = projects.open_project(tmp_path / "project")
    assert [(one.kind, one.changed) for one in opened.missing] == [("counts", True)]
    again = projects.relink(opened, "S1", tmp_path / "copy.zarr", "counts")
    projects.save_project(again)
    assert projects.open_project(tmp_path / "project").missing == ()
