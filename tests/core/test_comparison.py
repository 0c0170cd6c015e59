"""Measured against predicted: which spots are compared, what is said of them, and what is painted. Plain arrays, no window."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_deepspace.cluster_colours import hex_rgba
from napari_deepspace.comparison import (
    BY_HAND,
    CHOSEN,
    FADED,
    chosen,
    compare,
    confusion,
    heading,
    in_lasso,
    in_rectangle,
    line_layer,
    line_x,
    marked,
    selection_words,
    share_at,
    swiped,
)
from napari_deepspace.gene_scores import GeneScore, Scores
from napari_deepspace.layers import METADATA, Maps
from napari_deepspace.verdicts import BETTER
from napari_deepspace.views import make_view

SOURCE = np.array(["out-of-fold"] * 4 + ["training", "imputed", "out-of-fold", "imputed"], dtype=object)
SPLIT = np.array(["test", "test", "test", "none", "training", "none", "guard", "none"], dtype=object)
KEEP = np.array([True, True, True, True, True, True, True, False])
MEASURED = np.arange(8, dtype=np.float32)
PREDICTED = np.array([[0.5, 0.0], [1.0, 1.0], [np.nan, 2.0], [2.0, 3.0], [9, 9], [4.0, 5.0], [9, 9], [9, 9]], dtype=np.float32)
SCORES = Scores(
    {"A": GeneScore("A", 0.5, (0.4, 0.6), {"mean RGB": 0.3}, {"mean RGB": (0.2, (0.1, 0.3))}, 0.8, n=4, verdict=BETTER)},
    n=4,
    split="spatial blocks",
)
MAPS = Maps("s", ("A", "B"), PREDICTED, SOURCE, SPLIT, scores=SCORES)


def test_only_spots_that_were_not_trained_on_are_compared():
    """Training, guard and removed spots, and spots without one of the values, are not in the scatter."""
    found = compare(MAPS, "A", MEASURED, KEEP, "unit")
    np.testing.assert_array_equal(found.spots, [0, 1, 3, 5])
    np.testing.assert_array_equal(found.measured, MEASURED[[0, 1, 3, 5]])
    np.testing.assert_array_equal(found.predicted, PREDICTED[[0, 1, 3, 5], 0])
    assert found.among(np.array([1, 2, 5])).tolist() == [False, True, False, True]
    assert not found.among(None).any()
    assert compare(MAPS, "C", MEASURED, KEEP) is None


def test_another_patients_levels_go_from_0_to_1():
    """Where predicted levels are relative, so they are in the scatter."""
    found = compare(replace(MAPS, relative="relative within this slide"), "A", MEASURED, KEEP)
    assert found.relative
    assert (found.predicted.min(), found.predicted.max()) == (0.0, 1.0)


def test_r_is_never_bare():
    """Above the scatter stand verdict, interval, spots, split and simple ways; where other spots are drawn than were scored, how many."""
    lines = heading(MAPS, "A", 4)
    assert lines[0] == f"A: {BETTER}"
    for words in (
        "r 0.50 (95 %: 0.40 to 0.60)",
        "4 spots not trained on; spatial blocks",
        "colour alone 0.30",
        "best this data allows 0.80".capitalize(),
    ):
        assert words in lines[1]
    assert lines[2:] == ["Better than colour alone (difference in r +0.20; 95 %: +0.10 to +0.30)."]
    assert "SYNTHETIC" in heading(MAPS, "A", 4, synthetic=True)[0]
    assert "Drawn: 3 spots" in heading(MAPS, "A", 3)[-1]
    assert "No r is known" in " ".join(heading(MAPS, "B", 4))
    assert "still training" in heading(replace(MAPS, live=True), "A", 4)[0]


def test_what_is_said_of_selected_spots():
    """Number, both means, r within, and that they were chosen by hand; of too few there is no r."""
    found = compare(MAPS, "A", MEASURED, KEEP)
    r = np.corrcoef(found.measured, found.predicted)[0, 1]
    expected = f"5 spots selected, 4 of them with both values: A measured mean 2.25, predicted mean 1.88, r within {r:.2f} (n = 4) – {BY_HAND}"
    assert selection_words(found, np.array([0, 1, 3, 4, 5])) == expected
    assert "1 spot selected: A measured mean 1.00, predicted mean 1.00, r within undefined" in selection_words(found, np.array([1]))
    assert selection_words(found, np.array([4])) == "1 spot selected, 0 of them with both values"
    assert selection_words(found, None) == ""


def test_rectangle_and_lasso():
    """Both take the spots within, whichever way they are drawn; a lasso that crosses itself still has an inside, a mere click has none."""
    points = np.array([[0, 0], [1, 1], [2, 2], [5, 5]], dtype=float)
    assert in_rectangle(points, (2.5, 0.5), (0.5, 2.5)).tolist() == [False, True, True, False]
    assert in_lasso(points, np.array([[0.5, 0.5], [0.5, 3], [3, 3], [3, 0.5]])).tolist() == [False, True, True, False]
    bow = np.array([[-1, -1], [3, 3], [3, -1], [-1, 3]], dtype=float)
    assert in_lasso(np.array([[2.5, 1.0], [-0.5, 1.0], [1.0, 2.5]]), bow).tolist() == [True, True, False]
    assert not in_lasso(points, points[:2]).any()
    assert chosen(np.array([3, 1, 3])).tolist() == [1, 3]
    assert chosen(np.zeros(0, dtype=int)) is None


def test_lasso_of_50000_spots_is_fast():
    """A long lasso round many of 50,000 spots takes well under the time between two frames of a slow film."""
    angle = np.linspace(0, 2 * np.pi, 400)
    points = np.random.default_rng(0).random((50_000, 2))
    start = time.perf_counter()
    inside = in_lasso(points, 0.5 + 0.4 * np.stack([np.sin(angle), np.cos(angle)], axis=1))
    assert time.perf_counter() - start < 1
    assert inside.mean() == pytest.approx(np.pi * 0.16, abs=0.02)


def test_confusion_is_that_of_a_plain_count():
    """Counts and row shares are those that pandas counts, at spots not trained on; a cell gives its spots."""
    rng = np.random.default_rng(1)
    n, names = 400, ("a", "b", "c", "d")
    true = rng.integers(0, 3, n)  # no spot of d
    probability = rng.random((n, 4)).astype(np.float32)
    probability[::50] = np.nan
    source = np.where(rng.random(n) < 0.2, "training", "out-of-fold").astype(object)
    keep = rng.random(n) < 0.9
    maps = Maps("s", names, probability, source, np.full(n, "test", dtype=object), kind="clusters", measured=np.eye(4, dtype=np.float32)[true])
    found = confusion(maps, keep)
    use = keep & (source == "out-of-fold") & np.isfinite(probability).all(axis=1)
    likeliest = np.nan_to_num(probability).argmax(axis=1)
    plain = pd.crosstab(true[use], likeliest[use]).reindex(index=range(4), columns=range(4), fill_value=0)
    np.testing.assert_array_equal(found.counts, plain.to_numpy())
    np.testing.assert_allclose(found.shares[:3], plain.div(plain.sum(axis=1), axis=0).to_numpy()[:3])
    assert np.isnan(found.shares[3]).all()
    np.testing.assert_array_equal(found.cell(1, 2), np.flatnonzero(use & (true == 1) & (likeliest == 2)))
    assert found.cell(3, 0) is None
    assert confusion(MAPS, KEEP) is None
    assert confusion(replace(maps, measured=None), keep) is None


def test_selected_spots_are_ringed_and_the_others_fade():
    """The ring is bright and opaque, values keep their colours, and without a selection nothing changes."""
    view = make_view("A", "measured", MEASURED, PREDICTED[:, 0], KEEP)
    found = marked(view, np.array([1, 3]))
    np.testing.assert_allclose(found.border[[1, 3]], [hex_rgba(CHOSEN)] * 2)
    np.testing.assert_array_equal(found.face[[1, 3]], view.face[[1, 3]])
    np.testing.assert_allclose(found.face[[0, 2], 3], FADED)
    np.testing.assert_array_equal(found.face[:, :3], view.face[:, :3])
    assert np.flatnonzero(found.rings).tolist() == [1, 3]
    assert marked(view, None) is view


def test_a_swipe_is_measured_to_the_left_and_predicted_to_the_right():
    """Each spot has the colour of the one or the other map, with the limits of both."""
    left, right = (make_view("A", show, MEASURED, PREDICTED[:, 0], KEEP) for show in ("measured", "predicted"))
    is_left = np.arange(8) < 4
    found = swiped(left, right, is_left)
    assert found.limits == left.limits == right.limits
    np.testing.assert_array_equal(found.face[:4], left.face[:4])
    np.testing.assert_array_equal(found.face[4:], right.face[4:])
    np.testing.assert_array_equal(found.values, np.where(is_left, left.values, right.values))
    assert "left measured" in found.caption
    assert "right predicted, out-of-fold" in found.caption


def test_the_line_goes_over_the_spots(small):
    """At 0 it stands left of every spot, at 1 right of every spot, and its place gives the share back."""
    x = small.centres_yx[:, 1]
    assert line_x(small, 0) < x.min() and line_x(small, 1) > x.max()
    assert share_at(small, line_x(small, 0.3)) == pytest.approx(0.3)
    assert share_at(small, -1e9) == 0
    data, kwargs, kind = line_layer(small, line_x(small, 0.5))
    assert kind == "vectors"
    assert kwargs["metadata"][METADATA]["role"] == "swipe line"
    (top, x0), (height, across) = data[0]
    assert across == 0 and x0 == line_x(small, 0.5)
    assert top < small.centres_yx[:, 0].min() and top + height > small.centres_yx[:, 0].max()
