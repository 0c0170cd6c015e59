"""Any folder of a known layout becomes the same kind of section."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from section_folders import HEIGHT, PITCH_PX, WIDTH, counts_of, lattice, write_h5, write_mtx, write_outs, write_st

from napari_deepspace.cluster_colours import cluster_colour, cluster_colours
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.info import describe
from napari_deepspace.preprocess.clusters import given_clusters
from napari_deepspace.read import read_section, read_settings
from napari_deepspace.section import ONLY_HIRES, Section
from napari_deepspace.settings import SectionSettings
from napari_deepspace.tiles import cut_tiles, tile_radius_px

pytestmark = pytest.mark.usefixtures("own_cache")


def assert_is_the_section(section: Section) -> None:
    table = lattice().set_index("barcode")
    adata = section.adata
    expected = table[table["in_tissue"] == 1]
    assert adata.obs_names.tolist() == expected.index.tolist()
    assert adata.obs[["array_row", "array_col"]].to_numpy().tolist() == expected[["array_row", "array_col"]].to_numpy().tolist()
    assert adata.obs["in_tissue"].dtype == bool
    np.testing.assert_array_equal(adata.X.toarray(), counts_of(len(expected)))
    assert adata.X.format == "csr"
    assert adata.X.dtype == np.float32
    assert adata.var_names.tolist() == ["SPARC", "MATR3", "MATR3-1", "ESR1", "CD3"]
    assert adata.var["gene_ids"].tolist() == [f"ENSG{number}" for number in range(5)]
    np.testing.assert_allclose(section.centres_yx, expected[["pxl_row_in_fullres", "pxl_col_in_fullres"]], atol=0.5)
    assert section.platform.name == "Visium"
    assert section.mpp == pytest.approx(100 / PITCH_PX, rel=0.002)
    assert pd.isna(adata.obs["graphclust"].iloc[0])
    assert adata.obs["graphclust"].cat.categories.tolist() == [str(number) for number in range(1, 12)]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("matrix", ["h5", "mtx"])
def test_space_ranger_folder(tmp_path, version, matrix):
    """Space Ranger 1 and 2, h5 and mtx, give the same section: counts, positions, clusters, unique gene names, um per px from the pitch."""
    with read_section(write_outs(tmp_path / "outs", version, matrix)).require_slide() as slide:
        assert slide.shape == (HEIGHT, WIDTH)
    assert_is_the_section(read_section(tmp_path / "outs", slide=False))


@pytest.mark.parametrize(("packed", "named_gz"), [(True, True), (False, False), (False, True)])
def test_mtx_packed_or_plain(tmp_path, packed, named_gz):
    """The mtx triplet may be gzipped, plain, or plain under a .gz name."""
    outs = write_outs(tmp_path / "outs", matrix="none")
    barcodes = lattice().query("in_tissue == 1")["barcode"].tolist()
    write_mtx(outs / "filtered_feature_bc_matrix", barcodes, counts_of(len(barcodes)), packed, named_gz)
    assert_is_the_section(read_section(outs, slide=False))


def test_outs_its_parent_or_loose_files(outs):
    """The folder may be given as outs/, as its parent, as spatial/ in it, or as loose files; the name is the sample's."""
    loose = outs.parent.parent / "loose"
    shutil.copytree(outs, loose)
    for path in (outs, outs.parent, outs / "spatial", loose):
        assert_is_the_section(read_section(path, slide=False))
    assert read_section(outs, slide=False).library_id == read_section(outs.parent, slide=False).library_id == "sample one"
    assert read_section(loose, slide=False).library_id == "loose"


def test_fields_come_from_the_caller(outs):
    """Name, patient and block are what the caller says; settings read the same section as arguments do."""
    chosen = SectionSettings(path=outs, library_id="D2", patient="P1", block="B", platform="visium")
    section = read_settings(chosen)
    assert (section.library_id, section.patient, section.block) == ("D2", "P1", "B")
    assert list(section.adata.uns["spatial"]) == ["D2"]
    assert section.adata.uns["spatial"]["D2"]["scalefactors"]["tissue_hires_scalef"] == 0.5
    section.require_slide().close()
    with pytest.raises(SettingsError, match="platform 'stereo'"):
        read_section(outs, platform="stereo")


def test_synthetic_sections_say_so(outs):
    """A section is synthetic where SYNTHETIC.txt lies beside outs/, and not elsewhere."""
    assert not read_section(outs, slide=False).synthetic
    (outs.parent / "SYNTHETIC.txt").touch()
    assert read_section(outs, slide=False).synthetic


def test_what_was_left_out_is_noted(outs):
    """Spots of a filtered matrix outside the tissue, barcodes without a position and positions without counts are left out and counted."""
    table = lattice()
    barcodes = [*table["barcode"].tolist()[:-4], "UNKNOWN-1"]
    write_h5(outs / "filtered_feature_bc_matrix.h5", barcodes, counts_of(len(barcodes)))
    section = read_section(outs, slide=False)
    assert section.adata.obs["in_tissue"].all()
    assert section.adata.n_obs == table["in_tissue"].sum() - 4
    notes = " ".join(section.notes)
    for found in (
        f"1 of {len(barcodes)} barcodes",
        f"{int((table['in_tissue'] == 0).sum())} spots of the matrix lie outside",
        "4 positions in tissue",
    ):
        assert found in notes


def test_raw_matrix_keeps_and_marks_all_spots(outs):
    """Where only a raw matrix exists, spots outside the tissue stay and are marked."""
    table = lattice()
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    write_h5(outs / "raw_feature_bc_matrix.h5", table["barcode"].tolist(), counts_of(len(table)))
    section = read_section(outs, slide=False)
    assert section.adata.n_obs == len(table)
    assert section.adata.obs["in_tissue"].tolist() == (table["in_tissue"] == 1).tolist()
    assert any("raw matrix" in note for note in section.notes)


def test_only_gene_expression_is_read(outs):
    """Antibodies and other features are left out."""
    barcodes = lattice().query("in_tissue == 1")["barcode"].tolist()
    types = ["Gene Expression"] * 3 + ["Antibody Capture"] * 2
    write_h5(outs / "filtered_feature_bc_matrix.h5", barcodes, counts_of(len(barcodes)), types)
    adata = read_section(outs, slide=False).adata
    assert adata.var_names.tolist() == ["SPARC", "MATR3", "MATR3-1"]
    np.testing.assert_array_equal(adata.X.toarray(), counts_of(len(barcodes))[:, :3])


def test_folder_without_matrix_opens(tmp_path):
    """A folder without a matrix opens as spots and slide, says so, and names the missing file when counts are asked for."""
    section = read_section(write_outs(tmp_path / "outs", matrix="none"))
    section.require_slide().close()
    assert section.adata.shape == (lattice()["in_tissue"].sum(), 0)
    assert any("no count matrix" in note for note in section.notes)
    with pytest.raises(DataError, match=r"filtered_feature_bc_matrix\.h5"):
        section.require_counts()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_order_and_choice_of_barcodes_do_not_matter(tmp_path_factory, data):
    """Whatever the order of the matrix's columns and of the positions, each barcode keeps its counts and its position."""
    outs = write_outs(tmp_path_factory.mktemp("outs"), matrix="none")
    table = lattice()
    all_counts = pd.DataFrame(counts_of(len(table)), index=table["barcode"])
    chosen = data.draw(st.lists(st.sampled_from(table.query("in_tissue == 1")["barcode"].tolist()), unique=True, min_size=1))
    write_h5(outs / "filtered_feature_bc_matrix.h5", chosen, all_counts.loc[chosen].to_numpy())
    shuffled = table.sample(frac=1, random_state=data.draw(st.integers(0, 1000)))
    shuffled.to_csv(outs / "spatial" / "tissue_positions.csv", index=False)
    section = read_section(outs, slide=False)
    assert section.adata.obs_names.tolist() == chosen
    np.testing.assert_array_equal(section.adata.X.toarray(), all_counts.loc[chosen])
    expected = table.set_index("barcode").loc[chosen, ["pxl_row_in_fullres", "pxl_col_in_fullres"]]
    np.testing.assert_allclose(section.centres_yx, expected)


def test_square_lattice_is_legacy_st(outs):
    """Positions on a square lattice in Space Ranger's layout are read as legacy ST, with a note; the caller may say otherwise."""
    path = outs / "spatial" / "tissue_positions.csv"
    table = pd.read_csv(path)
    table["pxl_row_in_fullres"], table["pxl_col_in_fullres"] = 60 + table["array_row"] * 20, 60 + table["array_col"] * 20
    table["array_row"], table["array_col"] = table["array_row"] + 3, table["array_col"] + 2  # now row + column is odd
    table.to_csv(path, index=False)
    section = read_section(outs, slide=False)
    assert section.platform.name == "legacy ST"
    assert section.mpp == pytest.approx(10)
    assert section.spot_diameter_px == pytest.approx(10)
    assert any("Square lattice" in note for note in section.notes)
    told = read_section(outs, slide=False, platform="visium")
    assert told.mpp == pytest.approx(5)
    assert any("check the platform" in note for note in told.notes)


def test_spots_without_lattice_use_the_scale_factors(outs):
    """With too few positions for a lattice, um per px comes from the scale factors, with a note; without those it is an error."""
    path = outs / "spatial" / "tissue_positions.csv"
    table = pd.read_csv(path)
    table[table["in_tissue"] == 1].head(2).to_csv(path, index=False)
    section = read_section(outs, slide=False)
    assert section.mpp == pytest.approx(65 / 26)
    assert any("no lattice" in note for note in section.notes)
    (outs / "spatial" / "scalefactors_json.json").write_text("{}")
    with pytest.raises(DataError, match="size of a pixel cannot be told"):
        read_section(outs, slide=False)


def test_um_per_px_of_user_file_and_lattice_are_compared(outs):
    """Um per px is the user's, else what the image states, else from the lattice; of a disagreement of more than 5 % a note gives both."""
    assert read_section(outs).mpp == pytest.approx(2.5, rel=0.002)
    image = tifffile.imread(outs.parent / "image.tif")
    options = {"photometric": "rgb", "tile": (128, 128), "resolutionunit": "CENTIMETER"}
    for stated, told, used, noted in ((2.45, None, 2.45, False), (1.5, None, 1.5, True), (1.5, 2.5, 2.5, True)):
        tifffile.imwrite(outs.parent / "image.tif", image, resolution=(1e4 / stated, 1e4 / stated), **options)
        section = read_section(outs, mpp=told)
        section.require_slide().close()
        assert section.mpp == pytest.approx(used, rel=0.002)
        assert section.mpp_from == ("given by you" if told else "stated by the image file")
        assert any("A px is" in note for note in section.notes) == noted


def test_the_reduced_image_stands_in_when_told_to(outs):
    """Without a slide a note says how wide a spot is in the hires image; told to go on, positions, spot size and scale are those of that image."""
    (outs.parent / "image.tif").unlink()
    section = read_section(outs)
    asked = next(note for note in section.notes if note.startswith(ONLY_HIRES))
    assert section.slide is None and "px wide, fewer than 40" in asked
    reduced = read_section(outs, reduced=True)
    share = reduced.reduced
    with reduced.require_slide() as slide:
        assert slide.path.name == "tissue_hires_image.png" and share < 1
    np.testing.assert_allclose(reduced.centres_yx, section.centres_yx * share)
    assert reduced.mpp == pytest.approx(section.mpp / share)
    assert reduced.spot_diameter_px == pytest.approx(section.spot_diameter_px * share)


def test_legacy_st_folder(tmp_path):
    """A legacy ST folder gives spots with both counts and position, pixel positions, clusters and registered coordinates."""
    section = read_section(write_st(tmp_path / "C9"))
    section.require_slide().close()
    adata = section.adata
    assert section.library_id == "C9"
    assert (section.platform.name, section.image_path) == ("legacy ST", tmp_path / "C9" / "image.jpg")
    assert section.mpp == pytest.approx(200 / 60.25)
    assert adata.obs_names[:2].tolist() == ["3x3", "3x4"]
    assert adata.obs.loc["3x4", ["array_row", "array_col"]].tolist() == [4, 3]
    np.testing.assert_allclose(section.centres_yx[1], [4 * 60.25, 3 * 60.25])
    np.testing.assert_array_equal(adata.X.toarray(), counts_of(36)[:-1])
    assert adata.obs["cluster"].isna().sum() == 4
    assert np.isnan(adata.obsm["spatial_aligned"]).any(axis=1).tolist() == [True] * 4 + [False] * 31
    np.testing.assert_allclose(adata.obsm["spatial_aligned"][10], adata.obsm["spatial"][10] + [10, -5])
    assert section.notes == [
        "1 of 36 spots with counts have no position and were left out.",
        "1 of 36 positions have no counts and were left out.",
    ]


class TestRealSections:
    """The sections of ../shared/data."""

    pytestmark = pytest.mark.real_data

    def test_conversion_reads_as_its_source(self, data_dir):
        """The Space Ranger conversion of C3 gives the counts of the legacy folder, the same scale, and the same tiles within a pixel."""
        legacy = read_section(data_dir / "her2st" / "C3")
        converted = read_section(data_dir / "her2st_as_visium" / "C3", data_dir / "her2st" / "C3" / "image.jpg")
        renamed = converted.adata.copy()
        renamed.obs_names = [name.removesuffix("-1") for name in renamed.obs_names]
        assert set(renamed.obs_names) == set(legacy.adata.obs_names)
        assert set(renamed.var_names) == set(legacy.adata.var_names)
        ordered = renamed[legacy.adata.obs_names, legacy.adata.var_names]
        assert (ordered.X != legacy.adata.X).nnz == 0
        assert ordered.obs[["array_row", "array_col"]].equals(legacy.adata.obs[["array_row", "array_col"]])
        assert converted.platform == legacy.platform
        assert converted.platform.spot_diameter_um == 100
        assert converted.mpp == pytest.approx(legacy.mpp, rel=0.005)

        order = renamed.obs_names.get_indexer(legacy.adata.obs_names)
        centres = converted.centres_yx[order]
        shift = np.rint(legacy.centres_yx) - np.rint(centres)
        assert np.abs(shift).max() <= 1
        radius = [tile_radius_px(2.5 * section.platform.spot_diameter_um, section.mpp) for section in (legacy, converted)]
        assert abs(radius[0] - radius[1]) <= 1
        with legacy.require_slide() as one, converted.require_slide() as other:
            tiles = cut_tiles(one, legacy.centres_yx, radius[0])
            larger = cut_tiles(other, centres, radius[0] + 1)
        for tile, around, (down, right) in zip(tiles, larger, shift.astype(int), strict=True):
            size = 2 * radius[0]
            np.testing.assert_array_equal(tile, around[1 + down : 1 + down + size, 1 + right : 1 + right + size])

    @pytest.mark.parametrize(("name", "shape"), [("C2", (187, 15706)), ("C3", (180, 15821)), ("C4", (184, 15842))])
    def test_her2st(self, name, shape, data_dir):
        """Legacy sections open with their spots, clusters, registered coordinates and image."""
        section = read_section(data_dir / "her2st" / name)
        section.require_slide().close()
        assert section.adata.shape == shape
        assert section.mpp == pytest.approx(0.688, rel=0.01)
        assert section.image_path is not None
        assert section.image_path.name == "image.jpg"
        assert 5 <= section.adata.obs["cluster"].nunique() <= 8
        aligned = np.isfinite(section.adata.obsm["spatial_aligned"]).all(axis=1)
        np.testing.assert_array_equal(aligned, section.adata.obs["cluster"].notna())
        assert aligned.mean() > 0.98

    @pytest.mark.parametrize(
        ("folder", "shape", "platform", "mpp", "missing"),
        [
            ("her2st/B4", (283, 15289), "legacy ST", 0.688, ()),
            ("her2st_as_visium/C3", (180, 15821), "legacy ST", 0.687, ("H&E",)),
            ("her2st_as_visium/C4", (184, 15842), "legacy ST", 0.687, ("H&E",)),
            ("parity", (600, 1500), "Visium", 2.326, ()),
            ("visium_v2_cytassist_mouse", (2898, 19465), "Visium", 4.667, ("H&E",)),
            ("visium_v1_ratlung_nocounts", (4104, 0), "Visium", 0.5046, ("matrix", "H&E")),
            ("visium_v2_cytassist_mousebrain_nocounts", (2310, 0), "Visium", 0.2731, ("matrix", "H&E")),
            ("visium_small_v1_and_hd/visium", (2695, 100), "Visium", 0.7248, ("H&E",)),
            ("visium_small_v1_and_hd/visium_hd", (336, 100), "Visium HD, 16 um bins", 0.2738, ("H&E",)),
            ("visium_small_v1_and_hd/visium_hd/binned_outputs/square_008um", (1368, 100), "Visium HD, 8 um bins", 0.2738, ("H&E",)),
            ("visium_tiny_multi", (10, 10), "Visium HD, 2 um bins", 0.2738, ("H&E",)),
            ("visium_tiny_multi/10xVisium/section1", (50, 49), "Visium", 0.7251, ("H&E",)),
            ("visium_tiny_multi/10xVisium/section2/outs", (49, 49), "Visium", 0.7251, ("H&E",)),
        ],
    )
    def test_every_folder(self, folder, shape, platform, mpp, missing, data_dir):
        """Every folder of real data opens with the right spots, genes, platform and scale, and says what it lacks."""
        section = read_section(data_dir / folder)
        assert (section.slide is None) == ("H&E" in missing)
        assert section.adata.shape == shape
        assert section.platform.name == platform
        assert section.mpp == pytest.approx(mpp, rel=0.002)
        lacking = " ".join(describe(section)["missing"])
        assert [word for word in ("matrix", "H&E") if word in lacking] == list(missing)
        if section.slide is not None:
            section.slide.close()
        if not shape[1]:
            with pytest.raises(DataError, match=r"filtered_feature_bc_matrix\.h5"):
                section.require_counts()

    def test_clusters_of_the_rat_lung(self, data_dir):
        """Every tissue spot of the rat lung has one of its eight clusters."""
        clusters = read_section(data_dir / "visium_v1_ratlung_nocounts", slide=False).adata.obs["graphclust"]
        assert clusters.notna().all()
        assert clusters.cat.categories.tolist() == [str(number) for number in range(1, 9)]

    def test_embeddings_of_the_rat_lung(self, data_dir):
        """PCA, UMAP and t-SNE of Space Ranger come with the spots, none missing."""
        obsm = read_section(data_dir / "visium_v1_ratlung_nocounts", slide=False).adata.obsm
        assert {name: obsm[name].shape[1] for name in ("X_pca", "X_umap", "X_tsne")} == {"X_pca": 10, "X_umap": 2, "X_tsne": 2}
        assert np.isfinite(obsm["X_pca"]).all()


def test_clusters_of_a_file(outs, tmp_path):
    """A CSV that the user names brings clusters, in Space Ranger's layout or in that of `preprocess`; they come before any other."""
    barcodes = read_section(outs).adata.obs_names
    path = tmp_path / "clusters.csv"
    for header in ("Barcode,Cluster", "barcode,leiden"):
        path.write_text(header + "\n" + "".join(f"{barcode},{number % 3 + 1}\n" for number, barcode in enumerate(barcodes[:-1])), encoding="utf-8")
        section = read_settings(SectionSettings(path=outs, clusters=path))
        assert section.adata.obs["given_cluster"].astype(str).tolist() == [*(str(number % 3 + 1) for number in range(len(barcodes) - 1)), "nan"]
        assert given_clusters(section.adata).name == "given_cluster"
    path.write_text(f"barcode,cluster,colour\n{barcodes[0]},b,#112233\n{barcodes[1]},a,\n{barcodes[2]},b,#112233\n", encoding="utf-8")
    coloured = read_settings(SectionSettings(path=outs, clusters=path)).adata
    assert cluster_colours(coloured, "given_cluster", ["a", "b"]) == {"a": cluster_colour(0), "b": "#112233"}
    for text, words in (("a,b\n1,2\n", "no columns barcode and cluster"), ("barcode,cluster\nX,1\n", "none of its barcodes")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=words):
            read_section(outs, clusters=path)
