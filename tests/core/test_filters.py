"""Spots are filtered step by step, and every removed spot keeps its reasons in words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from napari_deepspace.preprocess.filters import STEPS, filter_spots, is_mitochondrial, spot_table
from napari_deepspace.read import read_section
from napari_deepspace.settings import FilterSettings

ANY = FilterSettings(min_umi=0, min_genes=0)


def counted(counts: list[list[int]], in_tissue: list[bool], genes: list[str] | None = None) -> AnnData:
    obs = pd.DataFrame({"in_tissue": in_tissue}, index=[f"spot{number}" for number in range(len(counts))])
    adata = AnnData(X=sparse.csr_matrix(np.array(counts, dtype=np.float32)), obs=obs)
    adata.var_names = genes or [f"GENE{number}" for number in range(adata.n_vars)]
    return adata


def test_reasons_in_words():
    """A spot is kept if it reaches both thresholds and lies in the tissue; otherwise every reason is named."""
    adata = counted([[5, 5, 0], [9, 0, 0], [10, 0, 0], [0, 0, 0], [5, 5, 0]], [True, True, True, True, False])
    verdict = filter_spots(spot_table(adata), FilterSettings(min_umi=10, min_genes=2))
    assert verdict.spots["umi"].tolist() == [10, 9, 10, 0, 10]
    assert verdict.spots["n_genes"].tolist() == [2, 1, 1, 0, 2]
    assert verdict.keep.tolist() == [True, False, False, False, False]
    assert verdict.reasons.tolist() == ["", "UMI < 10; genes < 2", "genes < 2", "UMI < 10; genes < 2", "not in tissue"]
    assert verdict.spots.index.equals(adata.obs_names)


def test_spots_outside_the_tissue_count_for_no_other_step():
    """A raw matrix holds thousands of empty spots beside the tissue: the thresholds do not boast of removing them."""
    verdict = filter_spots(spot_table(counted([[0], [0], [1]], [False, False, True])), FilterSettings(min_umi=1, min_genes=1))
    assert verdict.counts() == {step: 2 if step == "in_tissue" else 0 for step in STEPS}


def test_spots_outside_the_tissue_are_not_predicted():
    """There is glass."""
    assert filter_spots(spot_table(counted([[1], [1]], [False, True])), ANY).predictable.tolist() == [False, True]


def test_stored_zeros_are_no_genes():
    """A zero that the matrix stores explicitly is no detected gene."""
    counts = sparse.csr_matrix((np.array([0.0, 3.0], dtype=np.float32), np.array([0, 1]), np.array([0, 2])), shape=(1, 3))
    assert spot_table(AnnData(X=counts))["n_genes"].tolist() == [1]


def test_a_spot_without_counts_never_stays():
    """Whatever the thresholds, there is nothing to learn from an empty spot; and without a matrix none stays."""
    assert filter_spots(spot_table(counted([[0, 0], [1, 0]], [True, True])), ANY).keep.tolist() == [False, True]
    adata = AnnData(X=sparse.csr_matrix((3, 0), dtype=np.float32), obs=pd.DataFrame({"in_tissue": [True] * 3}, index=list("abc")))
    assert spot_table(adata)["umi"].tolist() == [0, 0, 0]
    assert not filter_spots(spot_table(adata), FilterSettings()).keep.any()


def test_mitochondrial_share():
    """Genes MT- (of any case) are the mitochondrion's; a spot above the largest share goes, one exactly at it stays."""
    names = ["MT-CO1", "mt-Nd1", "MTOR", "ESR1"]
    assert is_mitochondrial(pd.Index(names)).tolist() == [True, True, False, False]
    adata = counted([[1, 1, 1, 1], [2, 1, 1, 0], [0, 0, 5, 5]], [True] * 3, names)
    table = spot_table(adata)
    assert table["mitochondrial"].tolist() == [0.5, 0.75, 0.0]
    verdict = filter_spots(table, ANY.model_copy(update={"max_mitochondrial": 0.5}))
    assert verdict.reasons.tolist() == ["", "mitochondrial > 50%", ""]


def test_what_the_image_and_the_user_say():
    """White tiles and exclude outlines take a spot out of prediction too; a failed region and a cluster left out only out of training."""
    table = spot_table(counted([[1]] * 6, [True] * 6)).assign(
        white=[0.5, 0.51, 0, 0, 0, 0],
        excluded=[False, False, True, False, False, False],
        failed=[False, False, False, True, False, False],
        cluster=["2", "2", "2", "2", "1", np.nan],
    )
    verdict = filter_spots(table, ANY.model_copy(update={"exclude_cluster": "1"}))
    assert verdict.reasons.tolist() == ["", "white tile", "exclude outline", "failed region", "cluster 1", ""]
    assert verdict.predictable.tolist() == [True, False, False, True, True, True]
    assert [STEPS[step] if step >= 0 else "" for step in verdict.first] == ["", "white", "excluded", "failed", "cluster", ""]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.booleans()), min_size=1, max_size=30),
    st.integers(0, 40),
    st.integers(0, 3),
)
def test_a_spot_stays_exactly_if_it_has_no_reason(spots, min_umi, min_genes):
    """Kept and without a reason are the same thing, and the first step is one of the reasons."""
    adata = counted([[a, b] for a, b, _ in spots], [tissue for *_, tissue in spots])
    verdict = filter_spots(spot_table(adata), FilterSettings(min_umi=min_umi, min_genes=min_genes))
    assert verdict.keep.tolist() == [not reason for reason in verdict.reasons]
    assert verdict.keep.tolist() == [first < 0 for first in verdict.first]
    for (a, b, tissue), kept in zip(spots, verdict.keep, strict=True):
        assert kept == (tissue and a + b >= max(min_umi, 1) and (a > 0) + (b > 0) >= min_genes)


@pytest.mark.real_data
def test_filter_keeps_what_the_original_keeps(data_dir):
    """With the original's thresholds the parity section keeps the original's 588 spots."""
    adata = read_section(data_dir / "parity", slide=False).adata
    verdict = filter_spots(spot_table(adata), FilterSettings(min_umi=1000, min_genes=500))
    kept = pd.read_csv(data_dir / "parity" / "expected" / "log10_sct_corrected_counts.csv.gz", nrows=0, index_col=0).columns
    assert len(kept) == 588
    assert set(adata.obs_names[verdict.keep]) == set(kept)
