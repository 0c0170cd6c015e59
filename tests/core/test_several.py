"""Files of several sections: which there are is told without their counts, and each is read alone."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
from section_folders import write_outs

from napari_deepspace.convert import convert
from napari_deepspace.errors import DataError
from napari_deepspace.info import describe
from napari_deepspace.read import read_section
from napari_deepspace.read.several import sections_in

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def two(tmp_path):
    """Two sections, B with 20 of the spots of A, as tables that scanpy would read."""
    made = convert(read_section(write_outs(tmp_path / "outs"), library_id="A", slide=False), tmp_path / "A.h5ad")
    a = anndata.read_h5ad(made)
    b = a[:20].copy()
    b.uns["spatial"] = {"B": a.uns["spatial"]["A"]}
    for one in (a, b):
        del one.obs["library_id"]
    return a, b


def concatenated(path, tables, label="library_id", keys=("A", "B"), uns_merge="unique"):
    both = anndata.concat(list(tables), keys=list(keys), label=label, index_unique="-", uns_merge=uns_merge)
    both.write_h5ad(path)
    return path


@pytest.mark.parametrize("label", ["library_id", "sample", "my own column"])
@pytest.mark.parametrize("uns_merge", ["unique", None])
def test_sections_of_a_concatenated_table(tmp_path, two, label, uns_merge):
    """Whatever the column is called, its values are the sections; without uns["spatial"] a usual name and the lattice tell them apart."""
    path = concatenated(tmp_path / "both.h5ad", two, label, uns_merge=uns_merge)
    if label == "my own column" and uns_merge is None:
        assert sections_in(path) == ["both"]
        return
    assert sections_in(path) == ["A", "B"]
    first, second = read_section(path, slide=False), read_section(path, library_id="B", slide=False)
    assert (first.library_id, first.adata.n_obs, second.library_id, second.adata.n_obs) == ("A", two[0].n_obs, "B", 20)
    np.testing.assert_array_equal(second.adata.obsm["spatial"], two[1].obsm["spatial"])
    np.testing.assert_array_equal(second.adata.X.toarray(), two[1].X.toarray())
    assert any("2 sections (A, B); A is read" in note for note in first.notes)
    assert describe(first)["sections_in_file"] == ["A", "B"]
    with pytest.raises(DataError, match="holds no section C, but A, B"):
        read_section(path, library_id="C", slide=False)


def test_only_sections_that_have_spots_count(tmp_path, two):
    """Of a concatenated table cut down to B, A is still in uns["spatial"], and B is read; a name that differs from the file's is then a new name."""
    both = anndata.read_h5ad(concatenated(tmp_path / "both.h5ad", two))
    both[both.obs["library_id"] == "B"].copy().write_h5ad(tmp_path / "b.h5ad")
    assert sections_in(tmp_path / "b.h5ad") == ["B"]
    assert read_section(tmp_path / "b.h5ad", slide=False).library_id == "B"
    assert read_section(tmp_path / "b.h5ad", library_id="patient 2", slide=False).library_id == "patient 2"


def test_a_table_that_does_not_say_whose_a_spot_is(tmp_path, two):
    """Several keys of uns["spatial"] and no column: refused, with their names."""
    both = anndata.read_h5ad(concatenated(tmp_path / "both.h5ad", two))
    del both.obs["library_id"]
    both.write_h5ad(tmp_path / "unsaid.h5ad")
    with pytest.raises(DataError, match=r"2 sections \(A, B\), and no column of obs says whose a spot is"):
        read_section(tmp_path / "unsaid.h5ad")


def test_a_batch_within_one_section_is_no_section(tmp_path, two):
    """A column batch of two values whose places on the lattice never meet splits nothing; other paths hold one section."""
    one = two[0].copy()
    one.obs["batch"] = np.where(np.arange(one.n_obs) % 2, "a", "b")
    one.write_h5ad(tmp_path / "one.h5ad")
    assert sections_in(tmp_path / "one.h5ad") == ["A"]
    assert read_section(tmp_path / "one.h5ad", slide=False).adata.n_obs == one.n_obs
    assert "sections_in_file" not in describe(read_section(tmp_path / "one.h5ad", slide=False))
    (tmp_path / "damaged.h5ad").write_bytes(b"no table")
    assert sections_in(tmp_path / "outs") == sections_in(tmp_path / "damaged.h5ad") == sections_in(tmp_path / "missing.h5ad") == []
