"""Spots are filtered with a reason in words, and counts are put on one scale."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from napari_deepspace.preprocess.filters import filter_spots
from napari_deepspace.preprocess.normalise import log_per_depth, spot_totals
from napari_deepspace.read import read_section
from napari_deepspace.settings import FilterSettings


def section(counts: list[list[int]], in_tissue: list[bool]) -> AnnData:
    names = [f"spot{number}" for number in range(len(counts))]
    obs = pd.DataFrame({"in_tissue": in_tissue}, index=names)
    return AnnData(X=sparse.csr_matrix(np.array(counts, dtype=np.float32)), obs=obs)


def test_reasons_in_words():
    """A spot is kept if it reaches both thresholds and lies in the tissue; otherwise every reason is named."""
    adata = section([[5, 5, 0], [9, 0, 0], [10, 0, 0], [0, 0, 0], [5, 5, 0]], [True, True, True, True, False])
    table = filter_spots(adata, FilterSettings(min_umi=10, min_genes=2))
    assert table["umi"].tolist() == [10, 9, 10, 0, 10]
    assert table["n_genes"].tolist() == [2, 1, 1, 0, 2]
    assert table["keep"].tolist() == [True, False, False, False, False]
    assert table["reason"].tolist() == ["", "UMI < 10; genes < 2", "genes < 2", "UMI < 10; genes < 2", "not in tissue"]
    assert table.index.equals(adata.obs_names)


def test_stored_zeros_are_no_genes():
    """A zero that the matrix stores explicitly is no detected gene."""
    counts = sparse.csr_matrix((np.array([0.0, 3.0], dtype=np.float32), np.array([0, 1]), np.array([0, 2])), shape=(1, 3))
    assert filter_spots(AnnData(X=counts), FilterSettings(min_umi=0, min_genes=0))["n_genes"].tolist() == [1]


def test_section_without_counts():
    """Without a matrix every spot has 0 UMI and none is kept."""
    adata = AnnData(X=sparse.csr_matrix((3, 0), dtype=np.float32), obs=pd.DataFrame({"in_tissue": [True] * 3}, index=list("abc")))
    table = filter_spots(adata, FilterSettings())
    assert table["umi"].tolist() == [0, 0, 0]
    assert not table["keep"].any()


def test_log_of_counts_per_depth():
    """The value is log(1 + count / total of the spot x target), 0 for spots without counts; the counts stay as they were."""
    counts = sparse.csr_matrix(np.array([[1, 3, 0], [0, 0, 0], [2, 2, 4]], dtype=np.float32))
    before = counts.toarray()
    values = log_per_depth(counts, target_sum=10)
    np.testing.assert_allclose(values.toarray(), np.log1p([[2.5, 7.5, 0], [0, 0, 0], [2.5, 2.5, 5]]), rtol=1e-6)
    assert values.dtype == np.float32
    assert values.format == "csr"
    np.testing.assert_array_equal(counts.toarray(), before)


def test_totals_over_all_genes():
    """A few genes can be normalised by totals over all of them, with the same result."""
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(2, (20, 30)).astype(np.float32))
    whole = log_per_depth(counts, 50)
    some = log_per_depth(counts[:, [3, 7]], 50, spot_totals(counts))
    np.testing.assert_allclose(some.toarray(), whole[:, [3, 7]].toarray(), rtol=1e-6)
    with pytest.raises(ValueError, match="target_sum"):
        log_per_depth(counts, 0)


@pytest.mark.real_data
def test_filter_keeps_what_the_original_keeps(data_dir):
    """With the original's thresholds the parity section keeps the original's 588 spots."""
    adata = read_section(data_dir / "parity", slide=False).adata
    table = filter_spots(adata, FilterSettings(min_umi=1000, min_genes=500))
    kept = pd.read_csv(data_dir / "parity" / "expected" / "log10_sct_corrected_counts.csv.gz", nrows=0, index_col=0).columns
    assert len(kept) == 588
    assert set(adata.obs_names[table["keep"]]) == set(kept)
