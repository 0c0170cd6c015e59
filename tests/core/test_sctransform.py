"""SCTransform gives R's digits; the references are R's own output on real sections."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse, special, stats

from napari_deepspace.errors import DataError
from napari_deepspace.events import result_of
from napari_deepspace.preprocess import sctransform as sct
from napari_deepspace.preprocess.bandwidth import sheather_jones, zeroin
from napari_deepspace.preprocess.negative_binomial import fit_theta, poisson_regression
from napari_deepspace.read import read_section


class Case:
    """A real section, its model and what R says of it."""

    def __init__(self, folder, reference, step1=None):
        self.adata = read_section(folder, slide=False).adata
        self.names = pd.Index([re.sub("[_|]", "-", name) for name in self.adata.var_names])  # as Seurat names genes
        self.reference = reference
        genes = None if step1 is None else self.names.get_indexer(step1)
        self.model = result_of(sct.fit_sctransform(self.adata.X, step1_genes=genes))
        self.done = result_of(sct.transform(self.adata.X, self.model))

    def table(self, file, **options):
        return pd.read_csv(self.reference / file, index_col=0, **options)

    def rows(self, genes):
        return self.model.rows(self.names.get_indexer(genes))

    def spots(self, names):
        return self.adata.obs_names.get_indexer(names)

    def corrected(self, genes, spots):
        return self.done.corrected[:, self.rows(genes)].toarray()[self.spots(spots)]

    def residuals(self, genes, spots):
        rows = self.rows(genes)
        counts = self.adata.X.tocsc()[:, self.model.genes[rows]].toarray().T.astype(float)
        log_depth = np.log10(np.asarray(self.adata.X.sum(axis=1, dtype=float)).ravel())
        limit = np.sqrt(self.adata.n_obs)
        return self.model.residuals(counts, log_depth, rows).clip(-limit, limit)[:, self.spots(spots)]


@pytest.fixture(scope="module")
def references(data_dir):
    if not data_dir.is_dir():
        pytest.skip("the real sections are not beside the project")
    return data_dir / "sctransform_reference"


@pytest.fixture(scope="module")
def c3_all(data_dir, references):
    return Case(data_dir / "her2st" / "C3", references / "her2st_C3")


@pytest.fixture(scope="module")
def c3_drawn(data_dir, references):
    drawn = (references / "her2st_C3" / "C3_default_step1_genes.txt").read_text().split()
    return Case(data_dir / "her2st" / "C3", references / "her2st_C3", drawn)


@pytest.fixture(scope="module")
def c4_drawn(data_dir, references):
    attributes = pd.read_csv(references / "her2st_C4" / "feature_attributes.csv.gz", index_col=0)
    return Case(data_dir / "her2st" / "C4", references / "her2st_C4", attributes.index[attributes["genes_log_gmean_step1"].astype(bool)])


def assert_parameters(model, expected, rtol):
    for name, values in (("theta", model.theta), ("(Intercept)", model.intercept), ("log_umi", model.slope)):
        np.testing.assert_allclose(values, expected[name], rtol=rtol)


@pytest.mark.real_data
def test_every_gene_in_the_first_step(c3_all):
    """C3 with nothing drawn: the same 12,860 genes and 298 outliers, parameters and residuals as R prints them, all corrected counts equal."""
    expected = c3_all.table("C3_allgenes_model_pars_fit.tsv.gz", sep="\t")
    assert list(c3_all.names[c3_all.model.genes]) == list(expected.index)
    assert c3_all.model.outlier.sum() == 298
    assert_parameters(c3_all.model, expected, rtol=1e-9)
    residuals = c3_all.table("C3_allgenes_residuals.tsv.gz", sep="\t")
    np.testing.assert_allclose(c3_all.residuals(residuals.index, residuals.columns), residuals, rtol=0, atol=1e-8)
    counts = c3_all.table("C3_allgenes_corrected_counts.tsv.gz", sep="\t")
    np.testing.assert_array_equal(c3_all.corrected(counts.index, counts.columns).T, counts)


@pytest.mark.real_data
def test_default_call_with_the_drawn_genes(c3_drawn):
    """C3 with the 2,000 genes that R drew: parameters, residuals, counts, scale.data, and the 3,000 variable features in R's order."""
    assert_parameters(c3_drawn.model, c3_drawn.table("C3_default_model_pars_fit.tsv.gz", sep="\t"), rtol=1e-9)
    residuals = c3_drawn.table("C3_default_residuals.tsv.gz", sep="\t")
    np.testing.assert_allclose(c3_drawn.residuals(residuals.index, residuals.columns), residuals, rtol=0, atol=1e-8)
    for file in ("C3_default_corrected_counts.tsv.gz", "C3_seurat_counts.tsv.gz"):
        counts = c3_drawn.table(file, sep="\t")
        np.testing.assert_array_equal(c3_drawn.corrected(counts.index, counts.columns).T, counts)
    features = (c3_drawn.reference / "C3_seurat_variable_features.txt").read_text().split()
    assert len(features) == 3000
    assert list(c3_drawn.names[c3_drawn.model.genes[c3_drawn.done.variable()]]) == features
    scaled = c3_drawn.table("C3_seurat_scale_data.tsv.gz", sep="\t")
    ours = sct.scale_data(c3_drawn.adata.X, c3_drawn.model, c3_drawn.rows(scaled.index))
    np.testing.assert_allclose(ours[c3_drawn.spots(scaled.columns)].T, scaled, atol=1e-8)


@pytest.mark.real_data
def test_another_section_with_its_drawn_genes(c4_drawn):
    """C4: gene attributes to R's 15 digits, all corrected counts of 1,011 genes, scale.data, and the 3,000 variable features in R's order."""
    expected = c4_drawn.table("feature_attributes.csv.gz")
    assert list(c4_drawn.names[c4_drawn.model.genes]) == list(expected.index)
    assert_parameters(c4_drawn.model, expected, rtol=1e-11)
    np.testing.assert_allclose(10**c4_drawn.model.log_gmean, expected["gmean"], rtol=1e-11)
    np.testing.assert_allclose(c4_drawn.done.residual_mean, expected["residual_mean"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(c4_drawn.done.residual_variance, expected["residual_variance"], rtol=1e-10)
    logs = c4_drawn.table("data_log1p_corrected_top1000.csv.gz")
    np.testing.assert_array_equal(c4_drawn.corrected(logs.columns, logs.index), np.rint(np.expm1(logs)))
    features = (c4_drawn.reference / "variable_features.txt").read_text().split()
    assert list(c4_drawn.names[c4_drawn.model.genes[c4_drawn.done.variable()]]) == features
    scaled = c4_drawn.table("scale_data_top1000.csv.gz")
    ours = sct.scale_data(c4_drawn.adata.X, c4_drawn.model, c4_drawn.rows(scaled.columns))
    np.testing.assert_allclose(ours[c4_drawn.spots(scaled.index)], scaled, atol=1e-6)


@pytest.mark.real_data
def test_what_the_original_program_normalised(data_dir):
    """The original's own table, 1500 genes x 588 spots: log10(corrected counts + 1), all equal."""
    expected = pd.read_csv(data_dir / "parity" / "expected" / "log10_sct_corrected_counts.csv.gz", index_col=0)
    adata = read_section(data_dir / "parity", slide=False).adata[expected.columns]
    model = result_of(sct.fit_sctransform(adata.X))
    corrected = result_of(sct.transform(adata.X, model)).corrected
    ours = corrected[:, model.rows(adata.var_names.get_indexer(expected.index))].toarray().T
    np.testing.assert_array_equal(ours, np.rint(10**expected - 1))
    np.testing.assert_allclose(np.log10(ours + 1), expected, atol=1e-6)


@pytest.fixture(scope="module")
def drawn_counts():
    """150 spots x 400 genes of negative binomial counts at different depths."""
    rng = np.random.default_rng(1)
    mean = rng.lognormal(4.5, 0.4, 150)[:, None] * rng.lognormal(0, 1.2, 400) / 100
    return sparse.csr_matrix(rng.poisson(mean * rng.gamma(5, 0.2, mean.shape)).astype(np.float32))


def test_order_and_threads_change_nothing(drawn_counts):
    """Spots and genes may come in any order, and the work may be spread over any number of threads."""
    rng = np.random.default_rng(2)
    spots, genes = rng.permutation(150), rng.permutation(400)
    model = result_of(sct.fit_sctransform(drawn_counts, threads=1))
    again = result_of(sct.fit_sctransform(drawn_counts, threads=3))
    np.testing.assert_array_equal(model.theta, again.theta)
    other = result_of(sct.fit_sctransform(drawn_counts[spots][:, genes]))
    rows = other.rows(np.argsort(genes)[model.genes])
    np.testing.assert_allclose(other.theta[rows], model.theta, rtol=1e-9)
    np.testing.assert_allclose(other.slope[rows], model.slope, rtol=1e-9)


def test_corrected_counts_lose_the_depth(drawn_counts):
    """What depth explained before is gone afterwards, and counts stay whole and at the median's level."""
    done = result_of(sct.transform(drawn_counts, result_of(sct.fit_sctransform(drawn_counts))))
    depth = np.log10(np.asarray(drawn_counts.sum(axis=1)).ravel())
    before, after = drawn_counts[:, done.model.genes].toarray(), done.corrected.toarray()
    often = before.mean(axis=0) > 3

    def relation(counts):
        return np.mean([np.corrcoef(depth, gene)[0, 1] for gene in counts[:, often].T])

    assert relation(before) > 0.4
    assert abs(relation(after)) < 0.05
    assert (done.corrected.data % 1 == 0).all()
    assert done.corrected.data.min() > 0
    assert np.median(after.sum(axis=1)) == pytest.approx(np.median(before.sum(axis=1)), rel=0.05)


def test_seldom_genes_get_values_only_by_name(drawn_counts):
    """A gene seen in fewer than five spots has no model, unless it is asked for: then its parameters are read off the curves."""
    counts = drawn_counts.tolil()
    counts[:, 7] = 0
    counts[3, 7] = counts[9, 7] = 2
    counts = counts.tocsr()
    plain = result_of(sct.fit_sctransform(counts))
    asked = result_of(sct.fit_sctransform(counts, always=[7]))
    assert plain.rows(np.array([7, 8])).tolist()[0] == -1
    row = asked.rows(np.array([7]))[0]
    assert np.isfinite(asked.theta[row])
    assert not asked.fitted[row]
    others = asked.genes != 7
    np.testing.assert_allclose(asked.theta[others], plain.theta, rtol=1e-12)


def test_a_gene_of_equal_counts_takes_no_part(drawn_counts):
    """A gene with the same count everywhere cannot be fitted: R stops, we leave it out of the first step."""
    counts = drawn_counts.tolil()
    counts[:, 7] = 3
    model = result_of(sct.fit_sctransform(counts.tocsr()))
    row = model.rows(np.array([7]))[0]
    assert not model.fitted[row]
    assert np.isfinite(model.theta[row])


def test_many_spots_are_thinned_evenly(drawn_counts, monkeypatch):
    """Above the limit the first step takes spots evenly from the shallowest to the deepest, always the same ones; all spots are corrected."""
    monkeypatch.setattr(sct, "MAX_FIT_SPOTS", 100)
    first, again = (result_of(sct.fit_sctransform(drawn_counts)) for _ in range(2))
    np.testing.assert_array_equal(first.theta, again.theta)
    assert result_of(sct.transform(drawn_counts, first)).corrected.shape[0] == 150


def test_progress_and_cancel(drawn_counts):
    """The work is told step by step up to its end, and stops when nobody asks for more."""
    steps = list(sct.fit_sctransform(drawn_counts, of="C3"))
    assert steps[0].stage == "SCTransform of C3"
    assert all(a.done <= b.done for a, b in pairwise(steps))
    assert steps[-1].done <= steps[-1].total
    job = sct.fit_sctransform(drawn_counts)
    next(job)
    job.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c * 0.5, "raw counts"),
        (lambda c: sparse.vstack([c, sparse.csr_matrix((2, c.shape[1]))]).tocsr(), "2 of 152 spots hold no counts"),
        (lambda c: c[:6], "at least 10 spots"),
        (lambda c: c[:, np.argsort(-np.diff(c.tocsc().indptr))[:4]], "only 4 genes"),
    ],
    ids=["fractions", "empty spots", "few spots", "few genes"],
)
def test_what_cannot_be_transformed(drawn_counts, change, words):
    """Each ends in one sentence with the remedy."""
    with pytest.raises(DataError, match=words):
        result_of(sct.fit_sctransform(change(drawn_counts)))


def test_poisson_regression_is_the_maximum_of_the_likelihood():
    """Every gene has the coefficients that a general optimiser finds."""
    rng = np.random.default_rng(3)
    x = rng.normal(3.9, 0.25, 80)
    y = rng.poisson(np.exp(-4 + np.array([[0.5], [1.2], [2.0]]) * x)).astype(float)
    intercept, slope, mean = poisson_regression(y, x)
    for gene in range(3):
        fit = optimize.minimize(lambda b, gene=gene: (np.exp(b[0] + b[1] * x) - y[gene] * (b[0] + b[1] * x)).sum(), [0, 1], method="BFGS", tol=1e-10)
        np.testing.assert_allclose([intercept[gene], slope[gene]], fit.x, rtol=1e-4)
        np.testing.assert_allclose(mean[gene], np.exp(intercept[gene] + slope[gene] * x), rtol=1e-7)


def theta_by_digamma(y, mean, steps=9):
    """The textbook iteration for one gene, with digamma functions, stopped as R stops it."""
    n, t = len(y), len(y) / ((y / mean - 1) ** 2).sum()
    for _ in range(steps):
        t = abs(t)
        score = (special.digamma(t + y) - special.digamma(t) + np.log(t) + 1 - np.log(t + mean) - (y + t) / (mean + t)).sum()
        info = (-special.polygamma(1, t + y) + special.polygamma(1, t) - 1 / t + 2 / (mean + t) - (y + t) / (mean + t) ** 2).sum()
        t += score / info
        if abs(score / info) <= np.finfo(float).eps ** 0.25:
            break
    assert n
    return max(t, 0)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_theta_without_digamma_equals_theta_with_it(seed):
    """Sums over counts take the place of digamma functions, and each gene stops at its own step."""
    rng = np.random.default_rng(seed)
    mean = rng.lognormal(1, 1, (12, 60))
    y = rng.poisson(mean * rng.gamma(2, 0.5, mean.shape)).astype(float)
    y[:, 0] += 1  # no gene is empty
    np.testing.assert_allclose(fit_theta(y, mean), [theta_by_digamma(*pair) for pair in zip(y, mean, strict=True)], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "in_r"),
    [
        (stats.norm.ppf((np.arange(400) + 0.5) / 400), 0.344145861376884),
        (10 * stats.norm.ppf((np.arange(400) + 0.5) / 400), 3.44145861376884),
        (np.log(np.arange(1, 51)), 0.241355085817433),
        (np.sqrt(np.arange(1, 701) % 97), 0.393783054279224),
        (np.array([-3, -1, 0, 0, 0.5, 2, 7]), 0.649224983280055),
    ],
    ids=["normal", "ten times as wide", "logarithms", "ties", "a few"],
)
def test_bandwidth_is_rs(values, in_r):
    """bw.SJ of R 4.2.2, 15 digits, for values of several shapes, more and fewer than 500, with ties and of both signs."""
    assert sheather_jones(values) == pytest.approx(in_r, rel=1e-13)


def test_bandwidth_needs_two_values():
    """Nothing can be smoothed over a single value."""
    with pytest.raises(ValueError, match="two different"):
        sheather_jones(np.ones(5))


def test_root_finder_stops_within_its_tolerance():
    """An exact zero at an end is returned; otherwise the root is as near as asked for."""
    assert zeroin(lambda x: x - 1, 1.0, 3.0, 0.1) == 1.0
    assert zeroin(lambda x: x**3 - 2, 0.0, 2.0, 1e-10) == pytest.approx(2 ** (1 / 3), abs=1e-9)
