"""Blocks of spots, block-bootstrap intervals and p values of moved maps, on simulated maps that are alike over neighbouring spots. SYNTHETIC."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests
from tests.smooth_maps import LATTICES, fields, lattice, noisy

from napari_deepspace.analyse import bootstrap
from napari_deepspace.analyse.blocks import moved_maps, spot_blocks
from napari_deepspace.analyse.bootstrap import FDR, intervals, p_values, significant
from napari_deepspace.analyse.metrics import auc, mean_r, pearson

RHO = 0.5


def covers(ends, truth):
    return float(((ends[:, 0] < truth) & (truth < ends[:, 1])).mean())


@pytest.mark.parametrize(("kind", "n"), [*LATTICES, ("hexagonal", 3000), ("tissue", 60)])
def test_blocks_are_squares_of_neighbouring_spots(kind, n):
    """Every section of 60 to 3,000 spots is cut into 6 to 45 blocks of several pitches; a block is no wider than two of its sides, none is tiny."""
    spots = lattice(kind, n)
    blocks = spot_blocks(spots)
    size = np.bincount(blocks.of_spot)
    assert 6 <= blocks.number <= 45
    assert blocks.side_um >= 250
    assert size.min() >= np.median(size) / 2
    assert blocks.effective <= blocks.number
    widest = max(np.ptp(spots[blocks.of_spot == block], axis=0).max() for block in range(blocks.number))
    assert widest <= 2.2 * blocks.side_um
    assert (np.bincount(blocks.small) > 0).all()


def test_blocks_never_span_sections():
    """Spots of two sections are never in one block, though both lie at the same place."""
    spots = lattice("square", 180)
    groups = np.repeat(["a", "b"], len(spots))
    blocks = spot_blocks(np.vstack([spots, spots]), groups)
    for labels in (blocks.of_spot, blocks.small):
        assert not set(labels[groups == "a"]) & set(labels[groups == "b"])
    assert blocks.number == 2 * spot_blocks(spots).number


def test_moments_give_what_drawing_the_rows_gives():
    """r of a resample from block sums equals Pearson's r of the rows of the drawn blocks, gaps included, and AUC equals scikit-learn's."""
    rng = np.random.default_rng(0)
    spots = lattice("square", 180)
    blocks = spot_blocks(spots)
    measured = rng.normal(size=(len(spots), 3))
    predicted = measured + rng.normal(size=measured.shape)
    predicted[:40, 1] = np.nan
    classes = (measured > 0.5).astype(float)
    drawn = bootstrap._Draws(blocks, 20, seed=1)
    both = np.isfinite(predicted)
    _, resampled = drawn.scores(measured, predicted, both, ranks=False)
    _, won = drawn.scores(classes, predicted, both, ranks=True)
    for number in range(20):
        rows = np.concatenate([np.repeat(np.flatnonzero(blocks.of_spot == b), int(drawn.weights[0][number, b])) for b in range(blocks.number)])
        np.testing.assert_allclose(resampled[number], pearson(measured[rows], predicted[rows]), atol=1e-9)
        for k in (0, 2):
            assert (won[number, k] + 1) / 2 == pytest.approx(roc_auc_score(classes[rows, k], predicted[rows, k]))


def test_intervals_hold_the_estimates():
    """The interval of each r, of the mean, and of each paired difference lies about the estimate; where a way has gaps the model has them too."""
    rng = np.random.default_rng(1)
    spots = lattice("tissue", 500)
    truth = fields(spots, "gaussian", 2, 6, rng)
    model, way = noisy(truth, 0.3, rng), noisy(truth, 0.7, rng)
    way[: len(spots) // 3] = np.nan
    measured = noisy(truth, 0.3, rng)
    found = intervals(measured, {"r": model, "mean RGB": way}, "r", spot_blocks(spots))
    r, rows = pearson(measured, model), np.isfinite(way[:, 0])
    less = pearson(measured[rows], model[rows]) - pearson(measured[rows], way[rows])
    np.testing.assert_allclose(found.by["mean RGB"], less)
    assert found.mean_by["mean RGB"] == pytest.approx(less.mean())
    for ends, inside in ((found.of["r"], r), (found.difference["mean RGB"], less), (found.mean["r"][None], mean_r(r))):
        assert (ends[:, 0] < inside).all()
        assert (inside < ends[:, 1]).all()


def test_intervals_of_auc():
    """For clusters the interval lies about the AUC, and a class without a spot has none and counts in no mean."""
    rng = np.random.default_rng(2)
    spots = lattice("hexagonal", 500)
    score = fields(spots, "exponential", 3, 4, rng)
    score[:, 3] = -9
    measured = np.eye(4)[score.argmax(axis=1)]
    predicted = score + rng.normal(size=score.shape)
    found = intervals(measured, {"AUC": predicted, "mean RGB": rng.normal(size=score.shape)}, "AUC", spot_blocks(spots), ranks=True)
    value = auc(measured, predicted)
    assert ((found.of["AUC"][:3, 0] < value[:3]) & (value[:3] < found.of["AUC"][:3, 1])).all()
    assert np.isnan(found.of["AUC"][3]).all()
    assert found.mean["AUC"].mean() == pytest.approx(np.nanmean(value))
    assert (found.difference["mean RGB"][:3, 0] > 0).all()


@pytest.mark.parametrize(("kind", "n"), [("square", 180), ("tissue", 500)])
@pytest.mark.parametrize(("shape", "length"), [("exponential", 1), ("exponential", 3), ("gaussian", 1.5)])
def test_coverage_of_the_interval(kind, n, shape, length):
    """The 95 % interval of r, and of a paired difference, covers the truth in 90 to 98 % of simulated maps (1 % more or less is chance)."""
    rng = np.random.default_rng(3)
    spots = lattice(kind, n)
    truth, shared, own = (fields(spots, shape, length, 400, rng) for _ in range(3))
    model = RHO * truth + np.sqrt(1 - RHO**2) * shared
    way = 0.3 * truth + 0.4 * shared + np.sqrt(0.75) * own
    found = intervals(truth, {"r": model, "mean RGB": way}, "r", spot_blocks(spots), resamples=500)
    assert 0.89 <= covers(found.of["r"], RHO) <= 0.99
    assert 0.89 <= covers(found.difference["mean RGB"], RHO - 0.3) <= 0.99


def test_fishers_interval_is_far_too_narrow():
    """Where neighbouring spots are alike, Fisher's own interval covers the truth in less than two thirds of maps, and the percentiles in too few."""
    rng = np.random.default_rng(4)
    spots = lattice("tissue", 500)
    truth, other = (fields(spots, "exponential", 2, 400, rng) for _ in range(2))
    model = RHO * truth + np.sqrt(1 - RHO**2) * other
    z, reach = np.arctanh(pearson(truth, model)), norm.ppf(0.975) / np.sqrt(len(spots) - 3)
    fisher = np.tanh(np.stack([z - reach, z + reach], axis=1))
    drawn = bootstrap._Draws(spot_blocks(spots), 500, seed=0)
    resampled = drawn.scores(truth, model, np.ones(truth.shape, dtype=bool), ranks=False)[1][:500]
    percentiles = np.percentile(resampled, [2.5, 97.5], axis=0).T
    ours = covers(intervals(truth, {"r": model}, "r", spot_blocks(spots), resamples=500).of["r"], RHO)
    assert covers(fisher, RHO) < 0.66
    assert covers(percentiles, RHO) < ours


def test_too_few_blocks_give_no_interval():
    """Of a handful of spots nothing is claimed: the interval is undefined, and so is p of three spots."""
    rng = np.random.default_rng(5)
    spots = lattice("square", 9)
    measured = rng.normal(size=(len(spots), 2))
    found = intervals(measured[:3], {"r": measured[:3]}, "r", spot_blocks(spots[:3]))
    assert np.isnan(found.of["r"]).all()
    assert np.isnan(p_values(measured[:2], measured[:2], spots[:2])).all()


def test_moved_maps_hold_the_sections_own_values():
    """A moved map has the values of its own section only, and most neighbours are still neighbours or the same spot."""
    spots = lattice("tissue", 500)
    groups = np.repeat([0, 1], len(spots))
    moved = moved_maps(np.vstack([spots, spots]), 20, seed=0, groups=groups)
    assert (groups[moved] == groups).all()
    right = np.flatnonzero((np.diff(spots, axis=0) == [100, 0]).all(axis=1))
    apart = np.linalg.norm(spots[moved[:, right] % len(spots)] - spots[moved[:, right + 1] % len(spots)], axis=2)
    assert (apart < 201).mean() > 0.95


@pytest.mark.parametrize(("kind", "n"), [("square", 180), ("tissue", 500)])
def test_unrelated_smooth_maps_are_seldom_significant(kind, n):
    """Smooth maps that have nothing to do with one another have p < 0.05 in about 5 %, where the usual p value of r has it in 20 % and more."""
    rng = np.random.default_rng(6)
    spots = lattice(kind, n)
    measured, predicted = (fields(spots, "gaussian", 3, 500, rng) for _ in range(2))
    p = p_values(measured, predicted, spots, moves=300)
    usual = norm.sf(np.arctanh(pearson(measured, predicted)) * np.sqrt(len(spots) - 3))
    assert (p < 0.05).mean() < 0.08
    assert (usual < 0.05).mean() > 0.2


def test_a_real_likeness_is_significant():
    """A map that follows the measured one is found, an unrelated and a constant one is not."""
    rng = np.random.default_rng(7)
    spots = lattice("hexagonal", 500)
    truth = fields(spots, "exponential", 2, 3, rng)
    predicted = np.stack([noisy(truth[:, :1], 0.5, rng)[:, 0], fields(spots, "exponential", 2, 1, rng)[:, 0], np.ones(len(spots))], axis=1)
    p = p_values(truth, predicted, spots)
    assert p[0] < 1e-4
    assert np.isnan(p[2])
    assert significant(p).tolist() == [True, False, False]


def test_false_discoveries_equal_statsmodels():
    """Which p values stay is what Benjamini and Hochberg's rule in statsmodels says; an undefined p never stays."""
    p = np.random.default_rng(8).random(300) ** 3
    expected = multipletests(p, alpha=FDR, method="fdr_bh")[0]
    assert expected.any()
    assert significant(np.append(p, np.nan)).tolist() == [*expected, False]
