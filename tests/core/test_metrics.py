"""Scores and simple ways against independent implementations."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

from napari_deepspace.analyse.baselines import fit_simple, interpolate, predict_simple, standardise
from napari_deepspace.analyse.metrics import (
    auc,
    classification,
    in_chunks,
    macro_auc,
    mean_r,
    moran,
    neighbour_weights,
    pearson,
    rmse,
    spearman,
)


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    measured = rng.random((50, 4))
    return measured, measured + rng.normal(0, [0.1, 0.5, 1, 5], (50, 4))


def test_pearson_equals_scipy(values):
    """r per column equals scipy's, rows with a gap left out."""
    measured, predicted = values
    predicted[3, 1] = np.nan
    r = pearson(measured, predicted)
    for k in range(4):
        ok = np.isfinite(predicted[:, k])
        assert r[k] == pytest.approx(stats.pearsonr(measured[ok, k], predicted[ok, k]).statistic, abs=1e-12)


def test_undefined_r_is_nan_and_counts_as_zero(values):
    """A constant prediction has no r, and cannot be hidden from the mean."""
    measured, predicted = values
    predicted[:, 0] = 3.0
    r = pearson(measured, predicted)
    assert np.isnan(r[0])
    assert mean_r(r) == pytest.approx(np.nansum(r) / 4)
    assert np.isnan(pearson(measured[:2], predicted[:2])).all()


def test_rmse(values):
    """RMSE leaves gaps out."""
    measured, predicted = values
    predicted[0, 0] = np.nan
    assert rmse(measured, predicted)[0] == pytest.approx(np.sqrt(np.mean((measured[1:, 0] - predicted[1:, 0]) ** 2)))


def test_mean_rgb_equals_ridge(values):
    """The mean-RGB baseline is scikit-learn's ridge with an intercept."""
    rng = np.random.default_rng(1)
    rgb = standardise(rng.random((50, 3)))
    ours = predict_simple(fit_simple(rgb, values[0]), rgb)
    np.testing.assert_allclose(ours, Ridge(alpha=1.0).fit(rgb, values[0]).predict(rgb), atol=1e-9)


def test_interpolation_equals_inverse_distance(values):
    """Interpolation is scikit-learn's inverse-distance mean of six neighbours, and returns a measured spot's own value at its place."""
    rng = np.random.default_rng(2)
    known, wanted = rng.random((50, 2)) * 1000, rng.random((20, 2)) * 1000
    theirs = KNeighborsRegressor(6, weights="distance").fit(known, values[0]).predict(wanted)
    np.testing.assert_allclose(interpolate(known, values[0], wanted), theirs, rtol=1e-6)
    np.testing.assert_allclose(interpolate(known, values[0], known), values[0], atol=1e-6)
    assert interpolate(known[:2], values[0][:2], wanted).shape == (20, 4)


def test_standardise_keeps_constant_columns_finite():
    """A feature that never varies becomes 0 and not NaN."""
    features = np.column_stack([np.arange(5.0), np.full(5, 2.0)])
    z = standardise(features)
    assert z[:, 1].tolist() == [0] * 5
    assert z[:, 0].std() == pytest.approx(1)


def test_auc_and_classification_equal_scikit_learns():
    """AUC of each class against all others, and recall, precision, F1 and the table of the likeliest class; classes without a spot have no AUC."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, precision_score, roc_auc_score

    rng = np.random.default_rng(0)
    true = rng.integers(3, size=200)
    measured = np.eye(4)[true]
    predicted = rng.random((200, 4)).round(2) + 0.3 * measured  # rounded: ties
    measured[:5], predicted[5:9] = np.nan, np.nan
    rows = np.arange(9, 200)
    found = auc(measured, predicted)
    expected = [roc_auc_score(measured[rows, k], predicted[rows, k]) for k in range(3)]
    np.testing.assert_allclose(found[:3], expected)
    assert np.isnan(found[3])
    assert macro_auc(measured, predicted) == pytest.approx(np.mean(expected))
    about, named = classification(measured, predicted), predicted[rows].argmax(axis=1)
    precision, recall, f1, n = precision_recall_fscore_support(true[rows], named, labels=range(4), zero_division=0)
    for name, values in (("precision", precision), ("recall", recall), ("F1", f1), ("n", n)):
        np.testing.assert_allclose(about[name], values)
    assert about["confusion"] == confusion_matrix(true[rows], named, labels=range(4)).tolist()
    assert about["macro"]["F1"] == pytest.approx(f1[:3].mean())
    assert about["majority class"] == pytest.approx(n.max() / n.sum())
    every, named_of = (np.eye(4)[classes] for classes in (true[rows], named))
    assert about["micro"]["AUC"] == pytest.approx(roc_auc_score(every, predicted[rows], average="micro"))
    for name in ("precision", "recall", "F1"):
        assert about["micro"][name] == pytest.approx(precision_score(every, named_of, average="micro", zero_division=0))
    assert about["macro"]["AUC"] == pytest.approx(np.mean(expected))


def test_spearman_equals_scipy(values):
    """The rank correlation equals scipy's with ties and with gaps, column by column; a constant column has none."""
    measured, predicted = values[0].round(1), values[1].round(1)
    predicted[3:9, 1] = np.nan
    measured[:, 3] = 2.0
    rho = spearman(measured, predicted)
    for k in range(3):
        ok = np.isfinite(predicted[:, k])
        assert rho[k] == pytest.approx(stats.spearmanr(measured[ok, k], predicted[ok, k]).statistic, abs=1e-12)
    assert np.isnan(rho[3])


def test_morans_i_equals_esdas(values):
    """Moran's I over the six nearest spots, each row of weights summing to 1, equals that of esda with libpysal; a constant column has none."""
    from esda.moran import Moran
    from libpysal.weights import KNN

    places = np.random.default_rng(5).random((50, 2)) * 1000
    smooth = values[0] + places[:, :1] / 300
    weights = KNN.from_array(places, k=6)
    weights.transform = "r"
    found = moran(np.column_stack([smooth, np.ones(50)]), neighbour_weights(places))
    np.testing.assert_allclose(found[:4], [Moran(smooth[:, k], weights, permutations=0).I for k in range(4)])
    assert np.isnan(found[4])
    np.testing.assert_allclose(neighbour_weights(np.repeat(places[:5], 10, axis=0)).sum(axis=1), 1)  # also where spots coincide


def test_chunks_change_nothing(values):
    """A number taken over some columns at a time is the same as over all at once."""
    np.testing.assert_allclose(in_chunks(pearson, *values, entries=60), pearson(*values))
