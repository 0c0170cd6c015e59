"""Which spots train and which are kept for the score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from napari_deepspace.errors import TrainingError
from napari_deepspace.learn.splits import EXCLUDED, GUARD, TEST, TRAINING, VALIDATION, make_split
from napari_deepspace.settings import SplitSettings


def lattice(rows=25, columns=25, pitch=100.0):
    """Hexagonal centres in um."""
    r, c = np.mgrid[:rows, :columns]
    return np.column_stack([(r * pitch * np.sqrt(3) / 2).ravel(), (c * pitch + (r % 2) * pitch / 2).ravel()])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(50, 200), st.integers(2, 6))
def test_guard_band(seed, tile_um, folds):
    """With spatial blocks no spot that is learned from lies within one tile width of a test spot, so that tiles share no pixel's neighbourhood."""
    centres = lattice()
    keep = np.random.default_rng(seed).random(len(centres)) > 0.1
    split = make_split([centres], [keep], SplitSettings(folds=folds, seed=seed), tile_um, 100)
    distance = cdist(centres, centres)
    for fold in range(folds):
        part = split.parts[:, fold]
        learned, test = np.isin(part, (TRAINING, VALIDATION)), part == TEST
        assert distance[np.ix_(learned, test)].min() >= tile_um


def test_every_kept_spot_is_tested_once():
    """Folds put together predict every spot that passed, and excluded spots take part in none."""
    centres = lattice()
    keep = np.arange(len(centres)) % 7 > 0
    for kind in ("blocks", "random"):
        split = make_split([centres], [keep], SplitSettings(kind=kind), 137.5, 100)
        assert ((split.parts == TEST).sum(axis=1) == keep).all()
        assert (split.parts[~keep] == EXCLUDED).all()
        assert (split.home >= 0).all()


def test_random_spots_follow_the_paper():
    """Random spots: 64 % train, 16 % validation, 20 % test, no guard band."""
    centres = lattice()
    split = make_split([centres], [np.ones(len(centres), bool)], SplitSettings(kind="random"), 137.5, 100)
    share = [np.mean(split.parts[:, 0] == part) for part in (TRAINING, VALIDATION, TEST, GUARD)]
    assert share == pytest.approx([0.64, 0.16, 0.2, 0], abs=0.01)


def test_whole_sections_train():
    """Whole: nothing is held out but the validation part."""
    centres = [lattice(), lattice()]
    split = make_split(centres, [np.ones(len(c), bool) for c in centres], SplitSettings(kind="whole"), 137.5, 100)
    assert split.parts.shape == (1250, 1)
    assert set(np.unique(split.parts)) == {TRAINING, VALIDATION}
    assert (split.home == -1).all()


def test_the_same_seed_gives_the_same_split():
    """Splits are reproducible, and another seed gives another."""
    centres, keep = lattice(), np.ones(625, bool)
    one, two, other = (make_split([centres], [keep], SplitSettings(seed=seed), 137.5, 100) for seed in (1, 1, 2))
    assert (one.parts == two.parts).all()
    assert (one.parts != other.parts).any()


def test_too_little_to_split():
    """Too few spots or blocks are refused with what to change."""
    with pytest.raises(TrainingError, match="thresholds"):
        make_split([lattice(3, 3)], [np.ones(9, bool)], SplitSettings(), 137.5, 100)
    with pytest.raises(TrainingError, match="blocks smaller"):
        make_split([lattice(5, 5)], [np.ones(25, bool)], SplitSettings(block_um=5000), 137.5, 100)
