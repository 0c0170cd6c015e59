"""The ceiling by count thinning, on counts with a known truth. SYNTHETIC."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from napari_deepspace.analyse.ceiling import ceiling
from napari_deepspace.analyse.metrics import pearson
from napari_deepspace.target import Target

N, DEPTH = 1500, 3000


@pytest.fixture(scope="module")
def counted():
    """Poisson counts of genes of falling mean over equally deep spots, one gene never seen, and the rate behind them."""
    rng = np.random.default_rng(0)
    share = 2.0 ** -np.arange(1, 12) * np.exp(0.5 * rng.normal(size=(N, 11)))
    rate = DEPTH * np.column_stack([share / share.sum(axis=1, keepdims=True) * 0.1, np.full(N, 0.9), np.zeros(N)])
    names = [f"G{i}" for i in range(11)] + ["rest", "never"]
    return AnnData(X=sparse.csr_matrix(rng.poisson(rate).astype(np.float32)), var=pd.DataFrame(index=names)), rate


def values(counts):
    return np.log1p(counts / counts.sum(axis=1, keepdims=True) * DEPTH)


def test_the_truth_itself_reaches_the_ceiling(counted):
    """The rate behind the counts, which no prediction can pass, has the r with them that the ceiling says, within 0.04; it falls with the mean."""
    adata, rate = counted
    target = Target("genes", tuple(adata.var_names[:8]), "", target_sum=DEPTH)
    best = ceiling(adata, np.arange(N), target)
    reached = pearson(values(adata.X.toarray()), values(rate))[:8]
    np.testing.assert_allclose(best, reached, atol=0.04)
    assert best[0] > best[4] > best[7]


def test_no_ceiling_where_nothing_can_be_told(counted):
    """A gene never seen, a gene the matrix lacks, and targets without counts have none; the same seed gives the same."""
    adata, _ = counted
    target = Target("genes", ("G0", "never", "lacking"), "", target_sum=DEPTH)
    best = ceiling(adata, np.arange(200), target)
    assert np.isfinite(best).tolist() == [True, False, False]
    np.testing.assert_array_equal(best, ceiling(adata, np.arange(200), target))
    assert ceiling(adata, np.arange(200), Target("obs", ("x",), "")) is None
    assert ceiling(AnnData(obs=pd.DataFrame(index=list("abcd"))), np.arange(4), target) is None


def test_signatures_have_a_ceiling(counted):
    """A signature is scored in each half; of frequent genes it is higher than of rare ones."""
    adata, _ = counted
    sets = {"frequent": {"genes": ["G0", "G1"], "controls": ["G2"]}, "rare": {"genes": ["G9"], "controls": ["G10"]}}
    best = ceiling(adata, np.arange(N), Target("signatures", tuple(sets), "", target_sum=DEPTH, sets=sets))
    assert best[0] > 0.7
    assert not best[1] > best[0]
