"""Counts are put on one scale; the scales of scanpy give scanpy's values."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse

from napari_deepspace.events import result_of
from napari_deepspace.preprocess.normalise import fit_normaliser, gene_counts, normalised, spot_totals
from napari_deepspace.preprocess.sctransform import fit_sctransform, transform
from napari_deepspace.settings import NORMALISATIONS


@pytest.fixture(scope="module")
def adata():
    """120 spots x 80 genes; the last spot is empty."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.lognormal(0, 0.5, 120)[:, None] * rng.lognormal(0.5, 1, 80)).astype(np.float32)
    counts[-1] = 0
    adata = AnnData(sparse.csr_matrix(counts))
    adata.var_names = [f"GENE{number}" for number in range(80)]
    return adata


def values(adata, kind, genes=None, **options):
    counts = adata.X.toarray()
    columns = np.arange(adata.n_vars) if genes is None else genes
    return result_of(fit_normaliser(adata.X, kind, **options)).values(counts[:, columns], spot_totals(adata.X), columns)


def test_log_equals_scanpys(adata):
    """log1p(count / total x median total), as normalize_total and log1p give it."""
    import scanpy as sc

    theirs = adata[:-1].copy()
    sc.pp.normalize_total(theirs)
    sc.pp.log1p(theirs)
    np.testing.assert_allclose(values(adata[:-1], "log"), theirs.X.toarray(), rtol=1e-5)


def test_pearson_residuals_equal_scanpys(adata):
    """Analytic Pearson residuals with theta 100, clipped at the square root of the number of spots."""
    import scanpy as sc

    some = adata[:-1]
    theirs = sc.experimental.pp.normalize_pearson_residuals(some.copy(), inplace=False)["X"]
    np.testing.assert_allclose(values(some, "pearson"), theirs, rtol=1e-4, atol=1e-5)


def test_st_nets_target(adata):
    """log((1 + count) / (number of genes + total)), number by number."""
    counts = adata.X.toarray()
    expected = [[np.log((1 + c) / (80 + row.sum())) for c in row] for row in counts[:5]]
    np.testing.assert_allclose(values(adata, "stnet")[:5], expected, rtol=1e-6)


def test_sctransform_is_the_papers_logarithm(adata):
    """log10(1 + corrected counts)."""
    some = adata[:-1]
    done = result_of(transform(some.X, result_of(fit_sctransform(some.X))))
    ours = values(some, "sctransform")[:, done.model.genes]
    np.testing.assert_allclose(ours, np.log10(1 + done.corrected.toarray()), atol=1e-6)


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_a_few_genes_get_the_values_of_all(adata, kind):
    """A panel can be brought to scale without the other genes; counts stay as they were, and a spot without counts has no value."""
    before = adata.X.copy()
    whole = values(adata, kind)
    np.testing.assert_array_equal(values(adata, kind, genes=np.array([7, 3])), whole[:, [7, 3]])
    assert np.isnan(whole[-1]).all()
    assert np.isfinite(whole[:-1]).mean() > 0.99
    assert whole.dtype == np.float32
    assert (before != adata.X).nnz == 0


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_only_the_spots_it_is_fitted_to_decide_the_scale(adata, kind):
    """Counts of spots that a scale is not fitted to cannot change it: other spots' values stay the same, whatever was measured there."""
    fit_on = np.zeros(120, dtype=bool)
    fit_on[:90] = True
    changed = adata.copy()
    changed.X = changed.X.toarray()
    changed.X[90:] = np.random.default_rng(9).poisson(30, (30, 80))
    changed.X = sparse.csr_matrix(changed.X)
    genes = list(adata.var_names[:10])
    ours, theirs = (result_of(normalised(a, genes, kind, fit_on)) for a in (adata, changed))
    np.testing.assert_array_equal(ours[:90], theirs[:90])
    assert not np.array_equal(ours[90:], theirs[90:], equal_nan=True)


def test_a_gene_never_seen_where_the_scale_was_fitted(adata):
    """SCTransform knows nothing of it: 0 where it was not counted, no value where it was."""
    changed = adata.copy()
    dense = changed.X.toarray()
    dense[:90, 4] = 0
    dense[90:, 4] = 2
    changed.X = sparse.csr_matrix(dense)
    found = result_of(normalised(changed, ["GENE4"], "sctransform", np.arange(120) < 90))
    assert (found[:90] == 0).all()
    assert np.isnan(found[90:]).all()


def test_a_gene_that_the_matrix_lacks(adata):
    """It has no counts and no values."""
    counts, columns = gene_counts(adata, ["GENE1", "NONE"])
    assert columns.tolist() == [1, -1]
    assert np.isnan(counts[:, 1]).all()
    for kind in NORMALISATIONS:
        found = result_of(normalised(adata, ["GENE1", "NONE"], kind, np.ones(120, dtype=bool)))
        assert np.isnan(found[:, 1]).all()
        assert np.isfinite(found[:-1, 0]).all()
