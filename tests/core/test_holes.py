"""Holes are found, tested in dummy holes, and filled only then. SYNTHETIC maps, no training."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from scipy.ndimage import gaussian_filter
from scipy.spatial import Delaunay

from napari_deepspace import results
from napari_deepspace.analyse.baselines import interpolate
from napari_deepspace.analyse.holes import DUMMIES, dummy_holes, fill, judge_holes
from napari_deepspace.analyse.metrics import pearson
from napari_deepspace.layers import Maps
from napari_deepspace.results import holes_of, read_result, write_result
from napari_deepspace.target import Target
from napari_deepspace.views import spot_notes

GENES = ("A", "B")


def hexagonal(rows=24, columns=24, pitch=100.0):
    row, column = (index.ravel() for index in np.indices((rows, columns)))
    return np.stack([(column + row % 2 / 2) * pitch, row * pitch * np.sqrt(3) / 2], axis=1)  # (x, y)


def made(missing, noise=0.3, seed=0, copy=False, target=None):
    """A result with smooth measured maps, predictions of some noise, and spots ``missing`` (bool, n) imputed."""
    rng = np.random.default_rng(seed)
    xy = hexagonal()
    n = len(xy)
    truth = np.stack([gaussian_filter(rng.standard_normal((24, 24)), 2.0).ravel() for _ in GENES], axis=1)
    truth = (truth - truth.mean(0)) / truth.std(0)
    measured = np.where(missing[:, None], 0.0, truth + 0.3 * rng.standard_normal((n, 2)))
    predicted = truth + noise * rng.standard_normal((n, 2))
    adata = AnnData(X=sparse.csr_matrix(np.ones((n, 2), dtype=np.float32)), var=pd.DataFrame({results.TARGET: True}, index=list(GENES)))
    adata.obs_names = [f"s{i}" for i in range(n)]
    adata.layers[results.PREDICTED], adata.layers[results.MEASURED] = predicted.astype(np.float32), measured.astype(np.float32)
    adata.obs[results.SOURCE] = pd.Categorical(np.where(missing, "imputed", "out-of-fold"), results.SOURCES)
    adata.obs[results.SPLIT] = pd.Categorical(np.where(missing, "excluded", "test"))
    adata.obs[results.FOLD] = 0
    adata.obs[results.REASON] = np.where(missing, "UMI < 1000", "")
    adata.obsm["spatial"] = xy / 0.5
    if copy:
        adata.obsm[results.BASELINES["neighbouring section"]] = (truth + rng.standard_normal((n, 2))).astype(np.float32)
    target = target or Target("genes", GENES, "unit", "panel")
    adata.uns[results.UNS] = {"mpp": 0.5, "outputs": np.array(GENES, dtype=object), "target": target.to_json(), "split": "spatial blocks"}
    return adata, truth


def disc(radius_um, centre=(1200.0, 1000.0)):
    return np.hypot(*(hexagonal() - centre).T) < radius_um


def test_a_hole_is_found_tested_and_filled(tmp_path):
    """Its score is that of the hole's own shape elsewhere, with neighbours alone and the copy beside it; single spots are no hole."""
    missing = disc(260)
    single = np.flatnonzero(disc(40, (300.0, 300.0)))
    missing[single] = True
    adata, truth = made(missing, copy=True)
    (hole,) = judge_holes(adata)
    assert (hole["spots"], hole["dummy_holes"], hole["filled"]) == (int(disc(260).sum()), DUMMIES, True)
    rows = adata.obs[results.HOLE].to_numpy() == 1
    np.testing.assert_array_equal(rows, disc(260))
    true = pearson(truth[rows], adata.layers[results.PREDICTED][rows]).mean()
    assert hole["interval"][0] - 0.1 < true < hole["interval"][1] + 0.1
    assert hole["r"] > hole["neighbouring section"] > 0.3
    assert hole["r"] > hole["interpolation"]
    assert set(hole["genes"]) == set(GENES)
    assert hole["r"] == pytest.approx(np.mean([one["r"] for one in hole["genes"].values()]))
    assert hole["words"].startswith(f"in {DUMMIES} dummy holes: r {hole['r']:.2f}") and "neighbours alone" in hole["words"]
    assert adata.obs[results.IMPUTED].to_numpy().tolist() == missing.tolist()
    write_result(adata, tmp_path / "out.h5ad")
    assert holes_of(read_result(tmp_path / "out.h5ad")) == [hole]


def test_a_hole_without_a_test_is_not_filled():
    """More than half of the section is missing: its shape fits nowhere, its predictions are NaN with a reason, and nothing is imputed."""
    missing = disc(900)
    adata, _ = made(missing)
    (hole,) = judge_holes(adata)
    assert not hole["filled"] and "r" not in hole
    assert hole["words"] == "not filled: no dummy hole of its size fits"
    assert np.isnan(adata.layers[results.PREDICTED][missing]).all()
    assert np.isfinite(adata.layers[results.PREDICTED][~missing]).all()
    assert (adata.obs[results.SOURCE][missing] == "removed").all()
    assert adata.obs[results.REASON][missing].unique().tolist() == ["UMI < 1000; not filled: no dummy hole of its size fits"]
    assert not adata.obs[results.IMPUTED].any()
    fill(adata)
    assert np.isnan(adata.layers[results.FILLED][missing]).all()


def test_spots_trained_on_test_nothing():
    """Where every spot was trained on there is no test, and no hole is filled."""
    adata, _ = made(disc(260))
    adata.obs[results.SPLIT] = pd.Categorical(np.where(disc(260), "excluded", "training"))
    assert "no spot of this section is measured and predicted out of fold" in judge_holes(adata)[0]["words"]


def test_neighbours_alone_know_nothing_of_the_hole():
    """The simple way beside the score is interpolated from measured spots outside the dummy hole."""
    missing = disc(260)
    adata, _ = made(missing)
    (hole,) = judge_holes(adata)
    xy, measured = hexagonal(), adata.layers[results.MEASURED]
    dummies = dummy_holes(xy, np.flatnonzero(missing), ~missing, 100.0, np.random.default_rng(0))
    by_hand = []
    for rows in dummies:
        known = ~missing
        known[rows] = False
        inside = rows[~missing[rows]]
        by_hand.append(pearson(measured[inside], interpolate(xy[known], measured[known], xy[inside])).mean())
    assert hole["interpolation"] == pytest.approx(np.mean(by_hand), abs=0.03)  # of equally near spots either may be taken


def test_dummy_holes_have_the_holes_shape_and_lie_on_measured_spots():
    """Turned and turned over they keep their number of spots, at least 80 % of which were scored; no two are half the same."""
    hole = np.flatnonzero(disc(320) & (hexagonal()[:, 0] > 1100))
    scored = ~disc(320)
    found = dummy_holes(hexagonal(), hole, scored, 100.0, np.random.default_rng(1))
    assert len(found) == DUMMIES
    for number, rows in enumerate(found):
        assert 0.8 * len(hole) <= scored[rows].sum() <= len(rows) <= len(hole)
        assert all(len(np.intersect1d(rows, other)) <= len(hole) / 2 for other in found[:number])
    again = dummy_holes(hexagonal(), hole, scored, 100.0, np.random.default_rng(1))
    assert all((a == b).all() for a, b in zip(found, again, strict=True))


def turned_by(xy, degrees):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return xy @ np.array([[cos, sin], [-sin, cos]])


@pytest.mark.parametrize("degrees", [0, 8])
@pytest.mark.parametrize("lattice", ["hexagonal", "square"])
def test_a_dummy_hole_holds_every_spot_inside_its_shape(lattice, degrees):
    """Turned and turned over, also on a slide that lies askew, the shape falls on the lattice: no spot inside is left to neighbours alone."""
    xy = hexagonal() if lattice == "hexagonal" else np.indices((24, 24)).reshape(2, -1).T * 100.0
    shape = (np.hypot(*(xy - (1200.0, 1000.0)).T) < 420) & (xy[:, 0] + xy[:, 1] < 2300)
    found = dummy_holes(turned_by(xy, degrees), np.flatnonzero(shape), ~shape, 100.0, np.random.default_rng(0))
    assert len(found) == DUMMIES
    for rows in found:
        inside = np.flatnonzero(Delaunay(xy[rows]).find_simplex(xy) >= 0)
        assert np.isin(inside, rows).all()


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("random spots, 5 folds of 60/20/20 %", "(random spots)"),
        ("every 5th spot left out in turn (neighbouring spots share pixels)", "(every-nth)"),
        ("spatial blocks", ""),
    ],
)
def test_a_split_of_single_spots_is_said_to_be_too_high(split, said):
    """Beside a spot that such a split leaves out, others were trained on; nothing of a real hole was."""
    adata, _ = made(disc(260))
    adata.uns[results.UNS]["split"] = split
    words = judge_holes(adata)[0]["words"]
    assert ("too high" in words) == bool(said)
    assert said in words


def test_the_filled_layer_is_measured_where_it_was_measured():
    """Imputed spots have the prediction, all others their measurement; imputed says which."""
    missing = disc(260)
    adata, _ = made(missing)
    judge_holes(adata)
    fill(adata)
    filled = adata.layers[results.FILLED]
    np.testing.assert_array_equal(filled[missing], adata.layers[results.PREDICTED][missing])
    np.testing.assert_array_equal(filled[~missing], adata.layers[results.MEASURED][~missing])


def test_a_hole_of_another_look_is_warned_of():
    """Dummy holes lie on tissue that the model knows: where the tiles of the hole are unlike it, the words say so."""
    missing = disc(260)
    adata, _ = made(missing)
    adata.obs[results.UNLIKE] = missing & (hexagonal()[:, 0] > 1200)
    (hole,) = judge_holes(adata)
    assert 0.3 < hole["unlike"] < 0.6
    assert f"but {hole['unlike']:.0%} of its tiles are unlike those of the training" in hole["words"]


def test_hovering_tells_of_the_test():
    """A removed spot says that it is imputed and what the dummy holes gave."""
    values = np.array([[1.0], [np.nan], [1.0]], dtype=np.float32)
    notes = np.array(["dummy holes 0.24, neighbours alone 0.12", "not filled: no dummy hole of its size fits", ""], dtype=object)
    maps = Maps("s", ("A",), values, np.array(["imputed", "removed", "out-of-fold"]), np.array(["excluded", "excluded", "test"]), holes=notes)
    assert spot_notes(maps, np.array(["UMI < 1000", "UMI < 1000", ""], dtype=object)).tolist() == [
        "removed: UMI < 1000; imputed; dummy holes 0.24, neighbours alone 0.12",
        "removed: UMI < 1000; not filled: no dummy hole of its size fits",
        "out-of-fold",
    ]
