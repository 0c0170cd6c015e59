"""A picture against expression: what is there is found, and pictures of other tissue are called significant no more often than they should."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from tests.smooth_maps import fields, lattice, noisy

from napari_deepspace.analyse.agreement import agreement, agreement_rows, picture_p


@pytest.fixture(scope="module")
def spots():
    return lattice("tissue", 500)


def test_foreign_pictures_are_seldom_called_significant(spots):
    """Smooth pictures that have nothing to do with 250 smooth genes: at most 8 % by the moved pictures, many more by the usual test."""
    rng = np.random.default_rng(0)
    found, usual = [], []
    for shape, length in (("gaussian", 1.5), ("exponential", 2.0), ("exponential", 4.0)):
        genes = noisy(fields(spots, shape, length, 250, rng), 0.3, rng)
        for picture in fields(spots, shape, length, 3, rng).T:
            found.append((picture_p(genes, picture, spots, moves=499)[0] < 0.05).mean())
            usual.append(np.mean([pearsonr(gene, picture).pvalue < 0.05 for gene in genes.T[::5]]))
    assert np.mean(found) <= 0.08
    assert np.mean(usual) > 0.2


def test_what_is_there_is_found(spots):
    """A gene that follows the picture has a small P, r, rank correlation and an interval round it; P is never 0."""
    rng = np.random.default_rng(1)
    picture = fields(spots, "exponential", 2.0, 1, rng)[:, 0]
    gene = picture + rng.normal(size=len(picture))
    row = agreement("ESR1", gene, picture, spots)
    assert row.r == pytest.approx(pearsonr(gene, picture)[0])
    assert row.rho == pytest.approx(spearmanr(gene, picture)[0])
    assert row.interval[0] < row.r < row.interval[1] and row.interval[0] > 0.4
    assert 0 < row.p <= 0.01
    assert row.p >= 1 / (1 + row.moves)
    opposite = agreement("ESR1", -gene, picture, spots)
    assert opposite.p == row.p and opposite.r == pytest.approx(-row.r)
    assert "95 %" in row.words and "one patient" in row.words and f"n {len(gene)}" in row.words


def test_rows_are_of_the_same_spots(spots):
    """A value missing in one row is missing in all; the row inside an outline has those inside it alone."""
    rng = np.random.default_rng(2)
    stain, predicted, measured = rng.normal(size=(3, len(spots)))
    predicted[:40] = np.nan
    stain[-10:] = np.nan
    inside = spots[:, 0] < np.median(spots[:, 0])
    against = {"predicted": (predicted, "not trained on"), "measured": (measured, "measured"), "none": (np.full(len(spots), np.nan), "measured")}
    rows = agreement_rows(stain, against, spots, [("Tumor", inside)])
    assert [row.n for row in rows[:2]] == [len(spots) - 50] * 2
    assert rows[2].n == 0 and "not tested" in rows[2].why
    assert rows[3].name == "predicted, inside Tumor only"
    assert rows[3].n == (inside & np.isfinite(predicted) & np.isfinite(stain)).sum()


def test_too_little_is_not_tested(spots):
    """Few spots, or a stain that is the same everywhere: no P, and why."""
    rng = np.random.default_rng(3)
    gene = rng.normal(size=len(spots))
    few = np.where(np.arange(len(spots)) < 20, gene, np.nan)
    assert "20 spots have both values" in agreement("G", few, gene, spots).why
    flat = agreement("G", gene, np.ones(len(spots)), spots)
    assert "same everywhere" in flat.why and np.isnan(flat.p)
    assert "not tested" in flat.words
