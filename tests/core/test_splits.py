"""Which spots train and which are kept for the score."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from napari_deepspace.errors import TrainingError
from napari_deepspace.learn.splits import EXCLUDED, GUARD, TEST, TRAINING, VALIDATION, make_split, ordinal
from napari_deepspace.section import Origin, kinship
from napari_deepspace.settings import SplitSettings
from napari_deepspace.tiles import edge_px, tile_radius_px, whole

FROM = {"C1": Origin("C1", "C", "C-a"), "C2": Origin("C2", "C", "C-a"), "C9": Origin("C9", "C"), "D1": Origin("D1", "D"), "X": Origin("X")}


def lattice(rows=25, columns=25, pitch=100.0):
    """Hexagonal centres in um."""
    r, c = np.mgrid[:rows, :columns]
    return np.column_stack([(r * pitch * np.sqrt(3) / 2).ravel(), (c * pitch + (r % 2) * pitch / 2).ravel()])


@st.composite
def cases(draw):
    """Sections of irregular lattices with holes, tiles and contexts, pixels and pyramid levels, block sizes, sealed spots and kinds with a guard."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    pitch = draw(st.floats(60, 220))
    centres = []
    for _ in range(draw(st.integers(1, 3))):
        whole_lattice = lattice(draw(st.integers(8, 20)), draw(st.integers(8, 20)), pitch)
        moved = whole_lattice + rng.normal(0, draw(st.floats(0, 0.3)) * pitch, whole_lattice.shape) + rng.uniform(0, 5000, 2)
        centres.append(moved[rng.random(len(moved)) > draw(st.floats(0, 0.3))])
    kind = draw(st.sampled_from(["blocks", "sections", "patients"] if len(centres) > 1 else ["blocks"]))
    mpp, reduced, tile_um = draw(st.floats(0.2, 3)), draw(st.sampled_from([1, 1, 2, 8])), draw(st.floats(40, 500))
    share = draw(st.sampled_from([0, 0, 0.05, 0.2]))
    sealed = [square(one, share, rng) if draw(st.booleans()) else rng.random(len(one)) < share / 4 for one in centres]
    asked = SplitSettings(kind=kind, folds=draw(st.integers(2, 6)), block_um=draw(st.none() | st.floats(200, 3000)), seed=draw(st.integers(0, 99)))
    return centres, sealed, asked, mpp, reduced, tile_um, pitch


def square(centres, share, rng):
    """A square block of a share of the spots."""
    away = np.abs(centres - centres[rng.integers(len(centres))]).max(axis=1)
    return away <= np.quantile(away, share) if share else np.zeros(len(centres), dtype=bool)


def pixels(centres_um, mpp, reduced, tile_um):
    """First and last pixel of each tile along rows and columns, as ``iter_tiles`` cuts them on a level, int (n, 2, 2) in full-resolution px."""
    radius = tile_radius_px(tile_um, mpp)
    radius = radius if reduced == 1 else max(1, round(radius / reduced))
    middle = whole(centres_um / mpp / reduced)
    return np.stack([(middle - radius) * reduced, (middle + radius) * reduced], axis=-1)


def share_a_pixel(one, other):
    """Whether any tile of ``one`` (n, 2, 2) overlaps any of ``other`` (m, 2, 2)."""
    if not len(one) or not len(other):
        return False
    overlap = (one[:, None, :, 0] < other[None, :, :, 1]) & (other[None, :, :, 0] < one[:, None, :, 1])
    return bool(overlap.all(axis=2).any())


@settings(max_examples=60, deadline=None)
@given(cases())
def test_no_pixel_of_a_training_tile_lies_in_a_test_tile(case):
    """Whatever lattice, pixel, tile, context, block and section: in every fold no tile of a training or validation spot shares a pixel with a tile of
    a test spot or of a sealed one, on the level of the slide that it is read from."""
    centres, sealed, asked, mpp, reduced, tile_um, pitch = case
    origins = [Origin(f"S{number}", f"P{number % 2}") for number in range(len(centres))]
    keep, edge = [np.ones(len(one), dtype=bool) for one in centres], edge_px(tile_um, mpp, reduced) * mpp
    try:
        split = make_split(centres, keep, asked, tile_um, pitch, edge_um=edge, origins=origins, sealed=sealed)
    except TrainingError:
        assume(False)
    hidden = np.concatenate(sealed)
    assert (split.parts[hidden] == EXCLUDED).all()
    assert (split.home[hidden] == -1).all()
    first = 0
    for own in centres:
        here = slice(first, first + len(own))
        first += len(own)
        tiles, parts = pixels(own, mpp, reduced, tile_um), split.parts[here]
        for fold in range(split.n_folds):
            learned = np.isin(parts[:, fold], (TRAINING, VALIDATION))
            kept_back = (parts[:, fold] == TEST) | hidden[here] | (split.home[here] == fold)
            assert not share_a_pixel(tiles[learned], tiles[kept_back])


def test_the_pixel_check_finds_an_overlap():
    """Random spots, which have no guard band, do share pixels: the check above would say so."""
    split = make_split([lattice()], [np.ones(625, bool)], SplitSettings(kind="random"), 137.5, 100)
    tiles, part = pixels(lattice(), 0.7, 1, 137.5), split.parts[:, 0]
    assert share_a_pixel(tiles[part == TRAINING], tiles[part == TEST])


@pytest.mark.parametrize("kind", ["random", "every-nth", "whole"])
def test_sealed_spots_have_a_guard_band_in_every_kind_of_split(kind):
    """Also where the split itself has none: no spot within a tile of a sealed one is learned from, and in a random split it is still tested."""
    centres = lattice()
    sealed = np.abs(centres - centres[312]).max(axis=1) < 400
    split = make_split([centres], [np.ones(625, bool)], SplitSettings(kind=kind), 137.5, 100, sealed=[sealed])
    distance = cdist(centres, centres[sealed], "chebyshev").min(axis=1)
    near = (distance < 137.5) & ~sealed
    assert near.sum() > 20
    assert (split.parts[sealed] == EXCLUDED).all()
    assert not np.isin(split.parts[near], (TRAINING, VALIDATION)).any()
    assert np.isin(split.parts[~near & ~sealed, 0], (TRAINING, VALIDATION, TEST)).all()
    if kind == "random":
        assert ((split.parts == TEST).sum(axis=1) == ~sealed).all()
        assert f"{sealed.sum()} sealed spots kept out" in split.words


def test_every_kept_spot_is_tested_once():
    """Folds put together predict every spot that passed, and excluded spots take part in none."""
    centres = [lattice(), lattice(15, 15)]
    keep = [np.arange(len(one)) % 7 > 0 for one in centres]
    for kind in ("blocks", "random", "every-nth", "sections", "patients"):
        split = make_split(centres, keep, SplitSettings(kind=kind), 137.5, 100, origins=[FROM["C1"], FROM["D1"]])
        kept = np.concatenate(keep)
        assert ((split.parts == TEST).sum(axis=1) == kept).all()
        assert (split.parts[~kept] == EXCLUDED).all()
        assert (split.home >= 0).all()


def test_random_spots_follow_the_paper():
    """Random spots: exactly 64 % train, 16 % validate and 20 % test in each of five folds, without a guard band, and the words say so."""
    split = make_split([lattice()], [np.ones(625, bool)], SplitSettings(kind="random"), 137.5, 100)
    for fold in range(5):
        assert [int((split.parts[:, fold] == part).sum()) for part in (TRAINING, VALIDATION, TEST, GUARD)] == [400, 100, 125, 0]
    assert split.words == "random spots, 5 folds of 64 / 16 / 20 % (as in the paper; neighbouring tiles overlap)"
    other = make_split([lattice()], [np.ones(625, bool)], SplitSettings(kind="random", folds=2), 137.5, 100)
    assert "40 / 10 / 50 % (not as in the paper" in other.words


def test_one_section_out():
    """Each fold tests one whole section and learns from the others; how they are related is said."""
    centres = [lattice(10, 10), lattice(12, 12), lattice(11, 11)]
    keep = [np.ones(len(one), bool) for one in centres]

    def split_of(*names):
        return make_split(
            centres[: len(names)], keep[: len(names)], SplitSettings(kind="sections"), 137.5, 100, origins=[FROM[name] for name in names]
        )

    split = split_of("C1", "C2", "D1")
    section = np.repeat([0, 1, 2], [100, 144, 121])
    assert split.n_folds == 3
    for fold in range(3):
        assert (split.parts[section == fold, fold] == TEST).all()
        assert np.isin(split.parts[section != fold, fold], (TRAINING, VALIDATION)).all()
        assert np.mean(split.parts[section != fold, fold] == VALIDATION) == pytest.approx(0.2, abs=0.1)
    assert split.words == ("one section out, 3 folds (C1, C2: a neighbouring section of the same patient and block; D1: another patient)")
    assert split_of("C1", "C9").words == "one section out, 2 folds (a neighbouring section of the same patient)"
    assert split_of("C1", "X").words == "one section out, 2 folds (patient unknown)"
    with pytest.raises(TrainingError, match="needs at least two sections"):
        split_of("C1")


def test_one_patient_out():
    """A fold is a patient with all its sections; an unknown patient or a single one is refused, by name."""
    centres = [lattice(10, 10), lattice(12, 12), lattice(11, 11)]
    keep = [np.ones(len(one), bool) for one in centres]

    def split_of(*names):
        return make_split(centres, keep, SplitSettings(kind="patients"), 137.5, 100, origins=[FROM[name] for name in names])

    split = split_of("C1", "D1", "C2")
    assert split.n_folds == 2
    assert split.words == "one patient out, 2 folds (another patient)"
    section = np.repeat([0, 1, 2], [100, 144, 121])
    assert (split.parts[section != 1, 0] == TEST).all()
    assert (split.parts[section == 1, 1] == TEST).all()
    with pytest.raises(TrainingError, match=r"nobody said it of X\. Give sections\[\]\.patient"):
        split_of("C1", "D1", "X")
    with pytest.raises(TrainingError, match="at least two patients; all sections are of C"):
        split_of("C1", "C2", "C9")


@pytest.mark.parametrize(
    ("own", "trained", "words"),
    [
        ("C1", ["D1", "C2"], "a neighbouring section of the same patient and block"),
        ("C1", ["C9", "X"], "a neighbouring section of the same patient"),
        ("D1", ["C1", "C2"], "another patient"),
        ("D1", ["C1", "X"], "patient unknown"),
        ("X", ["C1"], "patient unknown"),
    ],
)
def test_kinship_is_told_by_patient_and_block(own, trained, words):
    """The nearest relation counts, and another patient is said only where every patient is known."""
    assert kinship(FROM[own], [FROM[name] for name in trained]) == words


def test_another_block_of_the_same_patient():
    """Blocks that are known and differ are no neighbours, but one patient."""
    assert kinship(Origin("a", "C", "one"), [Origin("b", "C", "two")]) == "another block of the same patient"


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
    """Too few spots or blocks are refused with what to change, and so is a seal that leaves nothing to train on."""
    with pytest.raises(TrainingError, match="thresholds"):
        make_split([lattice(3, 3)], [np.ones(9, bool)], SplitSettings(), 137.5, 100)
    with pytest.raises(TrainingError, match="blocks smaller"):
        make_split([lattice(5, 5)], [np.ones(25, bool)], SplitSettings(block_um=5000), 137.5, 100)
    for kind in ("random", "whole"):
        with pytest.raises(TrainingError, match="seal a block"):
            make_split([lattice(8, 8)], [np.ones(64, bool)], SplitSettings(kind=kind), 600, 100, sealed=[np.arange(64) % 5 == 0])


def test_every_nth_spot_keeps_measured_neighbours():
    """Every 5th spot: spots are counted row by row; a left-out spot always keeps both neighbours of its row, whatever order the spots come in."""
    rows, columns = (axis.ravel() for axis in np.mgrid[:25, :25])
    places, order = np.column_stack([rows, 2 * columns + rows % 2]), np.random.default_rng(0).permutation(625)
    keep = rows > 1
    split = make_split([lattice()[order]], [keep[order]], SplitSettings(kind="every-nth", folds=5), 137.5, 100, lattice=[places[order].astype(float)])
    assert split.words == "every 5th spot left out in turn (neighbouring spots share pixels)"
    home, parts = np.empty(625, dtype=int), np.empty((625, 5), dtype=int)
    home[order], parts[order] = split.home, split.parts
    kept = np.flatnonzero(keep)
    np.testing.assert_array_equal(home[kept], np.arange(len(kept)) % 5)
    assert not (parts == GUARD).any()
    assert (np.bincount(home[kept]) == len(kept) / 5).all()
    for fold in range(5):
        assert np.mean(parts[keep, fold] == VALIDATION) == pytest.approx(0.16)
        inner = np.flatnonzero((home == fold) & keep & (columns > 0) & (columns < 24))
        assert np.isin(parts[np.concatenate([inner - 1, inner + 1]), fold], (TRAINING, VALIDATION)).all()


@pytest.mark.parametrize(("number", "words"), [(2, "2nd"), (3, "3rd"), (5, "5th"), (11, "11th"), (12, "12th"), (20, "20th")])
def test_ordinals(number, words):
    """The split says every 2nd, 3rd or 5th spot."""
    assert ordinal(number) == words
