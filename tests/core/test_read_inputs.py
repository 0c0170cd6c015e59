"""Every common input becomes the same kind of section: Visium HD, loose files, .h5ad, SpatialData, plain tables; and goes back into files."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from section_folders import GENES, PITCH_PX, counts_of, lattice, write_h5, write_mtx, write_outs, write_st

from napari_deepspace.convert import convert
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.info import describe
from napari_deepspace.read import read_section, read_settings
from napari_deepspace.read.genes import gene_table
from napari_deepspace.read.positions import guess_lattice
from napari_deepspace.settings import SectionSettings

pytestmark = pytest.mark.usefixtures("own_cache")


def write_hd(top: Path, sizes: tuple[int, ...] = (8, 16)) -> Path:
    """A small Visium HD folder of several bin sizes; synthetic."""
    for size in sizes:
        folder = top / "binned_outputs" / f"square_{size:03d}um"
        (folder / "spatial").mkdir(parents=True)
        rows, columns = (index.ravel() for index in np.indices((6, 7)))
        names = [f"s_{size:03d}um_{row:05d}_{column:05d}-1" for row, column in zip(rows, columns, strict=True)]
        table = pd.DataFrame({"barcode": names, "in_tissue": 1, "array_row": rows, "array_col": columns})
        table["pxl_row_in_fullres"], table["pxl_col_in_fullres"] = 10.0 + rows * size * 4, 20.0 + columns * size * 4
        table.to_parquet(folder / "spatial" / "tissue_positions.parquet", index=False)
        factors = {"bin_size_um": float(size), "microns_per_pixel": 0.25, "spot_diameter_fullres": size * 4.0, "tissue_hires_scalef": 0.5}
        (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
        write_h5(folder / "filtered_feature_bc_matrix.h5", names, counts_of(len(names)))
    return top


@pytest.mark.parametrize("given_as", ["", "binned_outputs", "binned_outputs/square_016um"])
def test_visium_hd_takes_16_um_by_itself(tmp_path, given_as):
    """A Visium HD folder opens at 16 um with the reason and the other sizes in a note; bins are squares of that size."""
    section = read_section(write_hd(tmp_path / "S1" / "outs") / given_as, slide=False)
    assert (section.library_id, section.adata.shape, section.mpp) == ("S1-16um", (42, len(GENES)), 0.25)
    assert (section.platform.pitch_um, section.platform.spot_diameter_um, section.platform.lattice) == (16, 16, "square")
    assert section.path == tmp_path / "S1" / "outs" / "binned_outputs" / "square_016um"
    assert any("four times the molecules" in note and "square_008um" in note for note in section.notes)


def test_a_bin_size_is_chosen_by_its_folder(tmp_path):
    """The folder of one size is that size; where only 2 um are there, they are taken."""
    top = write_hd(tmp_path / "S1")
    assert read_section(top / "binned_outputs" / "square_008um", slide=False).platform.pitch_um == 8
    assert read_section(write_hd(tmp_path / "S2", (2,)), slide=False).platform.name == "Visium HD, 2 um bins"


@pytest.mark.parametrize("form", ["csv", "list", "parquet", "csv.gz"])
def test_forms_of_the_positions(tmp_path, form):
    """Positions as csv, csv without header, parquet or gzipped csv are the same positions."""
    outs = write_outs(tmp_path / "outs", version=1 if form == "list" else 2)
    plain = outs / "spatial" / "tissue_positions.csv"
    if form == "parquet":
        pd.read_csv(plain).to_parquet(plain.with_suffix(".parquet"), index=False)
    elif form == "csv.gz":
        plain.with_name("tissue_positions.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    if form in ("parquet", "csv.gz"):
        plain.unlink()
    section = read_section(outs, slide=False)
    expected = lattice().query("in_tissue == 1").set_index("barcode").loc[section.adata.obs_names]
    np.testing.assert_allclose(section.centres_yx, expected[["pxl_row_in_fullres", "pxl_col_in_fullres"]], atol=0.5)


def test_loose_files_with_the_names_of_a_repository(tmp_path):
    """Files without spatial/ and with a prefix before their names (as GEO has them) open; those of two sections in one folder are not mixed."""
    outs, loose = write_outs(tmp_path / "outs"), tmp_path / "GSE1"
    loose.mkdir()
    for file in (outs / "filtered_feature_bc_matrix.h5", *(outs / "spatial").iterdir()):
        shutil.copy(file, loose / f"GSM1_{file.name}")
    section = read_section(loose, slide=False)
    assert section.adata.shape == read_section(outs, slide=False).adata.shape
    assert section.adata.uns["spatial"]["GSE1"]["scalefactors"]["tissue_hires_scalef"] == 0.5
    (loose / "GSM1_tissue_positions.csv").rename(loose / "GSM2_tissue_positions.csv")
    with pytest.raises(DataError, match="several sections"):
        read_section(loose)


def test_quoted_names_in_a_triplet(outs):
    """Barcodes and features in quotation marks, as R writes them, are read without them."""
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    barcodes = lattice().query("in_tissue == 1")["barcode"].tolist()
    write_mtx(outs / "filtered_feature_bc_matrix", [f'"{name}"' for name in barcodes], counts_of(len(barcodes)), packed=False)
    assert read_section(outs, slide=False).adata.obs_names.tolist() == barcodes


def test_several_genomes(outs):
    """Genes of two genomes stay apart, with the genome in var and a note."""
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "r+") as file:
        file["matrix/features/genome"] = np.array(["GRCh38"] * 3 + ["mm10"] * 2, dtype="S")
    section = read_section(outs, slide=False)
    assert section.adata.var["genome"].tolist() == ["GRCh38"] * 3 + ["mm10"] * 2
    assert any("3 of GRCh38, 2 of mm10" in note for note in section.notes)


def test_counts_of_probes_become_counts_of_genes(outs):
    """Where only counts of probes exist, those of a gene are added up, without the probes that Space Ranger leaves out."""
    path = outs / "raw_probe_bc_matrix.h5"
    (outs / "filtered_feature_bc_matrix.h5").rename(path)
    with h5py.File(path, "r+") as file:
        file["matrix/features/gene_id"] = np.array(["E1", "E1", "E2", "E2", "E3"], dtype="S")
        file["matrix/features/gene_name"] = np.array(["SPARC", "SPARC", "ESR1", "ESR1", "CD3"], dtype="S")
        file["matrix/features/filtered_probes"] = np.array([True, True, True, False, True])
    adata = read_section(outs, slide=False).adata
    counts = counts_of(adata.n_obs)
    assert adata.var_names.tolist() == ["SPARC", "ESR1", "CD3"]
    np.testing.assert_array_equal(adata.X.toarray(), np.column_stack([counts[:, 0] + counts[:, 1], counts[:, 2], counts[:, 4]]))


def test_embeddings_of_space_ranger(outs):
    """PCA and UMAP come into obsm, NaN where a spot has none; of several the most components."""
    names = lattice().query("in_tissue == 1")["barcode"].tolist()[1:]
    for kind, folder, n in (("pca", "2_components", 2), ("pca", "gene_expression_10_components", 10), ("umap", "2_components", 2)):
        path = outs / "analysis" / kind / folder
        path.mkdir(parents=True)
        table = pd.DataFrame(np.arange(len(names) * n, dtype=float).reshape(-1, n), columns=[f"{kind.upper()}-{i + 1}" for i in range(n)])
        table.insert(0, "Barcode", names)
        table[::-1].to_csv(path / "projection.csv", index=False)
    adata = read_section(outs, slide=False).adata
    assert (adata.obsm["X_pca"].shape[1], adata.obsm["X_umap"].shape[1]) == (10, 2)
    assert np.isnan(adata.obsm["X_umap"][0]).all()
    np.testing.assert_array_equal(adata.obsm["X_umap"][1:3], [[0, 1], [2, 3]])


def test_names_of_genes():
    """Versions of Ensembl ids are dropped, missing symbols become ids, duplicates are numbered as scanpy does; a table of ids alone says so."""
    notes: list[str] = []
    ids = np.array(["ENSG00000113140.11", "ENSG00000091831", "ENSG00000182162.4_PAR_Y", "X1"], dtype=object)
    table = gene_table(np.array(["SPARC", "", "SPARC", "SPARC"], dtype=object), ids, notes)
    assert table.index.tolist() == ["SPARC", "ENSG00000091831", "SPARC-1", "SPARC-2"]
    assert table["gene_ids"].tolist() == ["ENSG00000113140", "ENSG00000091831", "ENSG00000182162", "X1"]
    assert len(notes) == 1
    gene_table(ids, ids, notes)
    assert "Ensembl ids" in notes[-1]


def as_h5ad(outs: Path, **changes: object) -> Path:
    """The section of ``outs`` as squidpy keeps it."""
    out = outs.parent / "section.h5ad"
    section = read_section(outs)
    convert(section, out)
    section.require_slide().close()
    if changes:
        adata = anndata.read_h5ad(out)
        for key, value in changes.items():
            setattr(adata, key, value)
        adata.write_h5ad(out)
    return out


def test_h5ad_is_what_scanpy_and_squidpy_expect_and_reads_as_its_source(outs):
    """A converted section has images, scale factors and obsm as squidpy looks for them, and reads as the folder it came from, slide included."""
    source = read_section(outs)
    out = as_h5ad(outs)
    adata = anndata.read_h5ad(out)
    about = adata.uns["spatial"]["sample one"]
    height = about["images"]["hires"].shape[0]
    assert about["scalefactors"]["tissue_hires_scalef"] == pytest.approx(height / source.require_slide().shape[0])
    assert about["scalefactors"]["spot_diameter_fullres"] == pytest.approx(source.spot_diameter_px)
    section = read_section(out)
    assert (section.library_id, section.platform, section.image_path) == ("sample one", source.platform, source.image_path)
    assert section.mpp == pytest.approx(source.mpp)
    assert "section.h5ad" in section.mpp_from
    assert (section.adata.X != source.adata.X).nnz == 0
    np.testing.assert_allclose(section.centres_yx, source.centres_yx)
    assert section.adata.obs["graphclust"].astype(str).tolist() == source.adata.obs["graphclust"].astype(str).tolist()
    with pytest.raises(DataError, match="is there already"):
        convert(source, out)
    with pytest.raises(DataError, match=r"ends in \.h5ad or \.zarr"):
        convert(source, outs.parent / "section.loom")


def test_what_kind_of_section_it_was_survives_h5ad(tmp_path):
    """Bins of Visium HD stay bins, places without a lattice stay so, and what is synthetic is called so after conversion."""
    hd = read_section(write_hd(tmp_path / "S1"), slide=False)
    hd.synthetic = True
    again = read_section(convert(hd, tmp_path / "hd.h5ad"), slide=False)
    assert (again.platform, again.mpp, again.synthetic) == (hd.platform, hd.mpp, True)
    rng = np.random.default_rng(1)
    pd.DataFrame({"x": rng.uniform(0, 900, 30), "y": rng.uniform(0, 900, 30), "SPARC": 2}).to_csv(tmp_path / "t.csv", index=False)
    table = read_section(tmp_path / "t.csv", mpp=0.5, slide=False)
    again = read_section(convert(table, tmp_path / "t.h5ad"), slide=False)
    assert (again.platform, again.mpp, again.synthetic) == (table.platform, 0.5, False)


def test_h5ad_with_counts_in_a_layer_and_symbols_in_var(outs):
    """Where X was normalised, counts come from layers["counts"]; names that are Ensembl ids give way to the symbols of var. Both are noted."""
    adata = anndata.read_h5ad(as_h5ad(outs))
    adata.layers["counts"], adata.X = adata.X.copy(), adata.X / 3
    adata.var["feature_name"] = ["SPARC", "MATR3", "LUM", "ESR1", "CD3"]
    adata.var_names = [f"ENSG0000011314{i}.2" for i in range(5)]
    del adata.obs["array_row"], adata.obs["array_col"]
    adata.write_h5ad(outs.parent / "other.h5ad")
    section = read_section(outs.parent / "other.h5ad", slide=False)
    np.testing.assert_array_equal(section.adata.X.toarray(), counts_of(section.adata.n_obs))
    assert section.adata.var_names.tolist() == ["SPARC", "MATR3", "LUM", "ESR1", "CD3"]
    assert section.adata.var["gene_ids"].iloc[0] == "ENSG00000113140"
    assert section.platform.name == "Visium"  # the lattice was found again
    assert section.mpp == pytest.approx(100 / PITCH_PX, rel=0.01)
    assert sum(word in " ".join(section.notes) for word in ('layers["counts"]', "feature_name", "hexagonal")) == 3
    adata.layers.clear()
    adata.write_h5ad(outs.parent / "none.h5ad")
    with pytest.raises(DataError, match="holds no raw counts"):
        read_section(outs.parent / "none.h5ad")


def test_a_plain_table_with_mapped_columns(tmp_path):
    """Irregular places with genes, as of GeoMx, open with a scale that is said, in any of the three formats; text stays in obs."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"ROI": [f"r{i}" for i in range(30)], "CX": rng.uniform(0, 900, 30), "CY": rng.uniform(0, 700, 30)})
    table["segment"], table["SPARC"], table["ESR1"] = "tumour", rng.integers(0, 9, 30), rng.integers(1, 9, 30)
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    table.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.tsv", "t.parquet"):
        section = read_settings(SectionSettings(path=tmp_path / name, columns={"x": "CX", "y": "CY"}, mpp=0.5))
        assert (section.library_id, section.mpp, section.mpp_from) == ("t", 0.5, "given by you")
        assert section.adata.obs_names[0] == "r0"
        assert section.adata.var_names.tolist() == ["SPARC", "ESR1"]
        np.testing.assert_array_equal(section.adata.X.toarray(), table[["SPARC", "ESR1"]])
        np.testing.assert_allclose(section.adata.obsm["spatial"], table[["CX", "CY"]])
        assert section.adata.obs["segment"].tolist() == ["tumour"] * 30
        assert section.platform.name == "places without a lattice"
    with pytest.raises(DataError, match="--columns x=NAME,y=NAME"):
        read_section(tmp_path / "t.csv")
    with pytest.raises(DataError, match="no column 'depth' to be mapped"):
        read_section(tmp_path / "t.csv", columns={"depth": "CX"})
    with pytest.raises(SettingsError, match="no scale of a slide"):
        read_section(tmp_path / "t.csv", mpp=0)


def test_a_folder_of_positions_and_counts(tmp_path):
    """Positions and counts in two tables are joined by barcode, whatever their order."""
    table = lattice().rename(columns={"pxl_row_in_fullres": "y", "pxl_col_in_fullres": "x"}).drop(columns=["array_row", "array_col"])
    table.to_csv(tmp_path / "positions.csv", index=False)
    counts = pd.DataFrame(counts_of(len(table)), columns=["A", "B", "C", "D", "E"], index=pd.Index(table["barcode"], name="barcode"))
    counts.sample(frac=1, random_state=1).to_csv(tmp_path / "counts.tsv", sep="\t")
    section = read_section(tmp_path, slide=False)
    np.testing.assert_array_equal(section.adata.X.toarray(), counts)
    assert section.platform.name == "Visium"
    assert section.adata.obs["in_tissue"].sum() == table["in_tissue"].sum()


@settings(max_examples=15, deadline=None)
@given(kind=st.sampled_from(["hexagonal", "square"]), pitch=st.floats(5, 300), jitter=st.floats(0, 0.01), seed=st.integers(0, 99))
def test_lattices_are_found_from_places(kind, pitch, jitter, seed):
    """From the places of spots in any order, with some missing and shaken a little, rows and columns come back up to where they begin."""
    rng = np.random.default_rng(seed)
    rc = np.array([(r, c) for r in range(12) for c in range(14) if kind == "square" or (r + c) % 2 == 0])
    rc = rng.permutation(rc)[: int(len(rc) * 0.8)]
    step = np.array([np.sqrt(3) / 2, 0.5]) if kind == "hexagonal" else np.ones(2)
    yx = (rc * step + rng.normal(0, jitter, rc.shape)) * pitch + 1000
    found, name, _ = guess_lattice(yx[:, ::-1])
    assert name == kind
    shift = found - rc
    assert (shift == shift[0]).all()
    assert kind == "square" or (found.sum(axis=1) % 2 == 0).all()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_subset_or_order_of_barcodes_mixes_spots(tmp_path_factory, data):
    """Any subset, in any order, of matrix and positions, with or without "-1", keeps each barcode's counts and place; no shared one is an error."""
    folder = tmp_path_factory.mktemp("outs") / "outs"
    outs, table = write_outs(folder, matrix="none"), lattice()
    inside = table.query("in_tissue == 1")["barcode"].tolist()
    counted = data.draw(st.lists(st.sampled_from(inside), unique=True, min_size=1))
    placed = data.draw(st.lists(st.sampled_from(inside), unique=True, min_size=8))
    bare = data.draw(st.booleans())
    counts = pd.DataFrame(counts_of(len(table)), index=table["barcode"])
    write_h5(outs / "filtered_feature_bc_matrix.h5", [name[:-2] if bare else name for name in counted], counts.loc[counted].to_numpy())
    table.set_index("barcode").loc[placed].reset_index().to_csv(outs / "spatial" / "tissue_positions.csv", index=False)
    shared = [name for name in counted if name in placed]
    if not shared:
        with pytest.raises(DataError, match="different sections"):
            read_section(outs, slide=False)
        return
    adata = read_section(outs, slide=False).adata
    assert adata.obs_names.tolist() == shared
    np.testing.assert_array_equal(adata.X.toarray(), counts.loc[shared])
    np.testing.assert_allclose(adata.obsm["spatial"][:, ::-1], table.set_index("barcode").loc[shared].iloc[:, 3:], atol=1e-9)


def test_info_says_what_is_missing(tmp_path, outs):
    """Facts name where the scale comes from, the clusters, and what is missing with what it is needed for."""
    facts = describe(read_section(outs, slide=False))
    assert facts["um_per_px_from"] == "the lattice of the spots"
    assert facts["clusters"] == {"graphclust": 11}
    assert [one.split(":")[0] for one in facts["missing"]] == ["full-resolution H&E"]
    bare = describe(read_section(write_outs(tmp_path / "bare", matrix="none"), slide=False))
    assert [one.split(":")[0] for one in bare["missing"]] == ["count matrix", "full-resolution H&E"]
    assert describe(read_section(write_st(tmp_path / "C9")))["missing"] == []
