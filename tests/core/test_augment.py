"""Augmentation: the paper's groups, their draws, what they do to pixels, and albumentations as the reference."""

import itertools
import sys

import cv2
import numpy as np
import pytest
import torch
from skimage.transform import PiecewiseAffineTransform

from napari_deepspace.errors import SettingsError
from napari_deepspace.learn.augment import augment, augmented
from napari_deepspace.learn.augment_cpu import augment_on_cpu
from napari_deepspace.learn.augment_device import augment_on_device
from napari_deepspace.learn.augment_draws import BLURS, DISTORTIONS, draw
from napari_deepspace.learn.augment_reference import albumentations_augment, apply_to_tiles, group_steps, import_albumentations, one_of
from napari_deepspace.learn.augment_tables import distortion_map, hsv_table
from napari_deepspace.learn.median import median7
from napari_deepspace.settings import AUGMENTATIONS, NetworkSettings
from napari_deepspace.tiles import cut_tiles

SIDE = 64
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiles(phantom):
    """400 tiles of the synthetic section, uint8 (400, 64, 64, 3), over tissue and its edge."""
    rows = np.linspace(0, phantom.adata.n_obs - 1, 400).astype(int)
    return cut_tiles(phantom.require_slide(), phantom.centres_yx[rows], 92, SIDE)


def changed_by(tiles, groups, seed=0):
    return augment(torch.from_numpy(tiles), groups, seed).numpy()


def reference(tiles, transforms):
    return apply_to_tiles(import_albumentations().Compose(transforms), tiles, 0)


def test_the_same_seed_gives_the_same_tiles(tiles):
    """Bit by bit, with any number of threads and groups in any order; another seed gives others; what was given stays as it was."""
    before, state = tiles.copy(), torch.get_rng_state()
    first = changed_by(tiles, AUGMENTATIONS, 2**62 + 5)
    threads = torch.get_num_threads(), cv2.getNumThreads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            cv2.setNumThreads(number)
            np.testing.assert_array_equal(changed_by(tiles, AUGMENTATIONS[::-1], 2**62 + 5), first)
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
    assert (changed_by(tiles, AUGMENTATIONS, 1) != first).any(axis=(1, 2, 3)).all()
    assert torch.equal(torch.get_rng_state(), state), "the network's own randomness is left alone"
    np.testing.assert_array_equal(tiles, before)


def test_groups_are_drawn_apart():
    """What a group does to a tile does not depend on which other groups are on; an unknown group is refused."""
    alone, all_of_them = draw(50, ("color",), 3, SIDE)["color"], draw(50, AUGMENTATIONS, 3, SIDE)["color"]
    for name, values in alone.items():
        np.testing.assert_array_equal(all_of_them[name], values)
    assert draw(50, (), 3, SIDE) == {}
    with pytest.raises(ValueError, match="sharpen"):
        draw(1, ("sharpen",), 0, SIDE)


def test_all_eight_symmetries_come_with_their_probabilities():
    """The pixels are those of numpy's turns and flips; each symmetry is as frequent as quarter turn, flip and transposition together make it."""
    tile = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    expected: dict[bytes, float] = {}
    turns = [(0.5, 0), *((0.125, turn) for turn in range(4))]
    flips = [(0.5, ()), *((1 / 6, axes) for axes in ((0,), (1,), (0, 1)))]
    for (p, turn), (q, axes), transposed in itertools.product(turns, flips, (False, True)):
        image = np.flip(np.rot90(tile, turn), axes)
        image = image.transpose(1, 0, 2) if transposed else image
        expected[image.tobytes()] = expected.get(image.tobytes(), 0) + p * q / 2
    found = [new.tobytes() for new in changed_by(np.stack([tile] * 8000), ("flip",))]
    assert len(expected) == 8
    assert {image: found.count(image) / 8000 for image in expected} == pytest.approx(expected, abs=0.02)
    theirs = [new.tobytes() for new in reference(np.stack([tile] * 2000), group_steps("flip", 4))]
    assert {image: theirs.count(image) / 2000 for image in expected} == pytest.approx(expected, abs=0.04), "albumentations' do so too"
    symmetry = draw(8000, ("flip",), 0, 4)["flip"]["symmetry"]
    assert len({(number, image) for number, image in zip(symmetry, found, strict=True)}) == 8, "one number for each symmetry"


N = 6000
TABLE = [  # step, parameter, share of tiles that it changes, lowest, highest: shared/original.md, section 2
    ("contrast", "factor", 0.5, 0.8, 1.2),
    ("contrast", "gamma", 0.5, 0.8, 1.2),
    ("contrast", "added", 0.5, -51, 51),
    ("dist", "k", 1, -0.05, 0.05),
    ("dist", "steps", 1, 0.7, 1.3),
    ("dist", "shift", 1, -0.0625, 0.0625),
    ("dist", "scale", 1, 0.9, 1.1),
    ("dist", "degrees", 1, -45, 45),
]


@pytest.mark.parametrize(("step", "name", "share", "lowest", "highest"), TABLE)
def test_a_parameter_is_uniform_over_the_papers_range(step, name, share, lowest, highest):
    """It is drawn in as many tiles as the paper says and evenly spread over its range."""
    values = draw(N, (step,), 1, SIDE)[step][name].reshape(N, -1)
    neutral = 0 if name == "added" else 1
    drawn = values[(values != neutral).all(axis=1)] if share < 1 else values
    assert len(drawn) / N == pytest.approx(share, abs=0.03)
    quantiles = np.quantile(drawn, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quantiles, np.linspace(lowest, highest, 5), atol=0.03 * (highest - lowest))
    assert drawn.min() >= lowest
    assert drawn.max() <= highest


def test_colours_are_drawn_as_in_the_paper():
    """Hue 20, saturation 30, value 20, a shuffle and an RGB shift of 20, each in half of the tiles; a shuffle may leave all in place."""
    color = draw(N, ("color",), 1, SIDE)["color"]
    for name in ("hsv", "rgb"):
        drawn = color[name][color[name].any(axis=1)]
        assert len(drawn) / N == pytest.approx(0.5, abs=0.03)
        np.testing.assert_array_equal(np.abs(drawn).max(axis=0), (20, 30, 20) if name == "hsv" else (20, 20, 20))
        np.testing.assert_allclose(drawn.std(axis=0), np.abs(drawn).max(axis=0) / np.sqrt(3), rtol=0.06)
    orders, counts = np.unique(color["channels"], axis=0, return_counts=True)
    np.testing.assert_array_equal(orders[0], (0, 1, 2))
    np.testing.assert_allclose(counts / N, [7 / 12] + [1 / 12] * 5, atol=0.025)


def test_crops_are_drawn_as_in_the_paper():
    """Half of the tiles: 0.5 to 1 of the area, ratio 3/4 to 4/3, inside the tile, anywhere in it."""
    y, x, height, width = draw(N, ("crop",), 1, 224)["crop"]["box"].T
    assert (np.minimum(y, x) >= 0).all()
    assert (np.maximum(y + height, x + width) <= 224).all()
    cropped = (height < 224) | (width < 224)
    assert cropped.mean() == pytest.approx(0.5, abs=0.03)
    area, ratio = height * width / 224**2, width / height
    assert area[cropped].min() == pytest.approx(0.5, abs=0.02)
    assert area[cropped].max() > 0.95
    assert ratio[cropped].min() == pytest.approx(3 / 4, abs=0.02)
    assert ratio[cropped].max() == pytest.approx(4 / 3, abs=0.03)
    free = cropped & (height < 200)
    assert (y[free] / (224 - height[free])).mean() == pytest.approx(0.5, abs=0.03)


def test_one_of_several_is_chosen_evenly():
    """Noise, blur and dist always make one of their changes; random makes exactly one of the three groups' changes."""
    steps = draw(N, ("noise", "blur", "dist", "random"), 1, SIDE)
    for step, kinds in (("noise", 2), ("blur", 3), ("dist", 4)):
        np.testing.assert_allclose(np.bincount(steps[step]["kind"], minlength=kinds) / N, np.full(kinds, 1 / kinds), atol=0.03)
        inside = steps[f"random.{step}"]["kind"]
        np.testing.assert_allclose(np.bincount(inside + 1, minlength=kinds + 1) / N, [2 / 3] + [1 / kinds / 3] * kinds, atol=0.03)
    made = np.stack([steps[f"random.{step}"]["kind"] >= 0 for step in ("noise", "blur", "dist")])
    assert (made.sum(axis=0) == 1).all()
    assert list(steps) == ["noise", "blur", "dist", "random.noise", "random.blur", "random.dist"]
    sizes, counts = np.unique(steps["blur"]["size"], return_counts=True)
    np.testing.assert_array_equal(sizes, (3, 5, 7))
    np.testing.assert_allclose(counts / N, 1 / 3, atol=0.03)
    noise = steps["noise"]
    shared, channels = (noise["sd"][noise["kind"] == kind] for kind in (0, 1))
    np.testing.assert_allclose(np.quantile(shared, [0, 0.5, 1]), (2.55, 7.65, 12.75), rtol=0.05)
    np.testing.assert_allclose(np.quantile(channels**2, [0, 0.5, 1]), (10, 30, 50), rtol=0.05)
    strength = steps["dist"]["jitter"].std(axis=(1, 2, 3))
    assert strength.mean() == pytest.approx(0.04, rel=0.03)


def test_noise_is_normal_and_of_the_strength_drawn():
    """On mid grey the change is normal with the SD drawn, unlike from px to px; of the first kind it is the same in all channels."""
    grey = np.full((60, 128, 128, 3), 128, dtype=np.uint8)
    drawn = draw(60, ("noise",), 2, 128)["noise"]
    change = changed_by(grey, ("noise",), 2) - 128.0
    np.testing.assert_allclose(change.std(axis=(1, 2, 3)), drawn["sd"], rtol=0.05)
    assert np.abs(change.mean(axis=(1, 2, 3)) / drawn["sd"]).max() < 0.04
    scaled = change / drawn["sd"][:, None, None, None]
    assert np.mean(scaled**4) == pytest.approx(3, abs=0.15)
    assert abs(np.mean(scaled[:, 1:] * scaled[:, :-1])) < 0.01
    alike = (change[..., 0] == change[..., 1]).all(axis=(1, 2)) & (change[..., 1] == change[..., 2]).all(axis=(1, 2))
    np.testing.assert_array_equal(alike, drawn["kind"] == 0)


def moments(new, old):
    """Per tile: mean and SD of each channel, and SD of each channel's change: (n, 9)."""
    new, old = new.astype(np.float32), old.astype(np.float32)
    return np.concatenate([new.mean(axis=(1, 2)), new.std(axis=(1, 2)), (new - old).std(axis=(1, 2))], axis=1)


def assert_alike(ours, theirs, tiles, level):
    """Means over the tiles agree within four standard errors and ``level`` grey levels, and so does the share of tiles that changed."""
    one, two = moments(ours, tiles), moments(theirs, tiles)
    error = np.sqrt((one.var(axis=0) + two.var(axis=0)) / len(tiles))
    assert (np.abs(one.mean(axis=0) - two.mean(axis=0)) <= 4 * error + level).all(), (one.mean(axis=0), two.mean(axis=0), error)
    spread = np.abs(one.std(axis=0) - two.std(axis=0)) / np.maximum(two.std(axis=0), 1)
    assert spread.max() < 0.3, spread
    shares = [(new != tiles).any(axis=(1, 2, 3)).mean() for new in (ours, theirs)]
    assert abs(shares[0] - shares[1]) <= 4 * np.sqrt(0.5 / len(tiles))


@pytest.mark.parametrize(("group", "level"), [("flip", 0.01), ("crop", 0.5), ("contrast", 1.5), ("color", 0.8)])
def test_groups_equal_albumentations_in_distribution(tiles, group, level):
    """Moments of pixels and of changes, and the share of changed tiles, are albumentations', which cuts fractions off where ours rounds."""
    assert_alike(changed_by(tiles, (group,)), reference(tiles, group_steps(group, SIDE)), tiles, level)


COMPARED = [("noise", 0), ("noise", 1), ("blur", 0), ("blur", 1), ("blur", 2), ("dist", 1), ("dist", 3)]


@pytest.mark.parametrize(("group", "kind"), COMPARED)
def test_choices_equal_albumentations_in_distribution(tiles, group, kind):
    """Each change that noise, blur and dist choose from has albumentations' moments.

    Two are left out: its piecewise affine is none, and its optical distortion shifts by half a px; both are compared exactly below.
    """
    steps = draw(len(tiles), (group,), 4, SIDE)
    steps[group]["kind"][:] = kind
    if group == "noise" and kind == 1:  # theirs has a uniform SD
        steps[group]["sd"] = np.random.default_rng(0).uniform(10**0.5, 50**0.5, len(tiles)).astype(np.float32)
    elif group == "noise":
        steps[group]["sd"] = np.random.default_rng(0).uniform(2.55, 12.75, len(tiles)).astype(np.float32)
    assert_alike(augment_on_cpu(tiles, steps), reference(tiles, [one_of(group)[kind]]), tiles, 0.9)


@pytest.mark.parametrize("group", AUGMENTATIONS)
def test_torch_and_cv2_do_the_same(tiles, group):
    """With the same draws the path of other devices gives the processor's pixels, up to rounding."""
    steps = draw(30, (group,), 5, SIDE)
    one = augment_on_cpu(tiles[:30], steps).astype(int)
    two = augment_on_device(torch.from_numpy(tiles[:30]), steps).numpy().astype(int)
    far = np.abs(one - two)
    assert far.mean() < 0.3
    assert np.quantile(far, 0.999) <= 3
    assert far.max() <= 8


def test_borders_are_never_black(tiles):
    """White tiles stay white whatever moves or blurs them, on both paths."""
    white = np.full_like(tiles[:40], 255)
    steps = draw(40, ("flip", "crop", "blur", "dist"), 0, SIDE)
    assert (augment_on_cpu(white, steps) == 255).all()
    assert (augment_on_device(torch.from_numpy(white), steps) == 255).all()


def test_the_median_of_seven_is_exact(tiles):
    """The network of minima and maxima gives cv2's median for sides of any kind."""
    noise = np.random.default_rng(0).integers(0, 256, (229, 41, 3), dtype=np.uint8)
    for image in (tiles[0], noise, noise[:8], np.ascontiguousarray(noise[:, :33]), noise[:1, :1].copy()):
        np.testing.assert_array_equal(median7(image), cv2.medianBlur(image, 7))


def test_motion_kernels_are_lines():
    """They sum to 1, stay within their size, and need not be centred."""
    blur = draw(500, ("blur",), 0, SIDE)["blur"]
    np.testing.assert_allclose(blur["kernel"].sum(axis=(1, 2)), 1, atol=1e-6)
    for size in (3, 5, 7):
        kernels, edge = blur["kernel"][blur["size"] == size], (7 - size) // 2
        assert kernels.sum(axis=0)[edge : 7 - edge, edge : 7 - edge].sum() == pytest.approx(len(kernels))
        assert (kernels > 0).sum(axis=(1, 2)).max() <= size
        assert (kernels > 0).sum(axis=(1, 2)).mean() > size / 3


def maps_of(kind, n=200, side=100):
    """(drawn values of n tiles, their maps) of one kind of distortion."""
    values = draw(n, ("dist",), 6, side)["dist"]
    values["kind"][:] = DISTORTIONS.index(kind)
    return values, distortion_map(values, np.arange(n), side, CPU).numpy()


def test_piecewise_affine_is_scikit_images():
    """On the lines between the moved points, where the choice of triangles does not matter, and exactly linear within each triangle."""
    side = 100
    values, maps = maps_of("piecewise", 3, side)
    at = np.linspace(0, side - 1, 4)
    regular = np.stack(np.meshgrid(at, at, indexing="ij"), axis=-1).reshape(-1, 2)
    for jitter, positions in zip(values["jitter"], maps, strict=True):
        moved = np.clip(regular + jitter.reshape(2, -1).T * side, 0, side - 1)
        transform = PiecewiseAffineTransform.from_estimate(regular, moved)
        on_lines = np.array([(i, j) for i in range(side) for j in range(side) if i % 33 == 0 or j % 33 == 0])
        np.testing.assert_allclose(positions[:, on_lines[:, 0], on_lines[:, 1]].T, transform(on_lines.astype(float)), atol=1e-3)
        bend = positions[:, 2:33, 5:20] - 2 * positions[:, 1:32, 5:20] + positions[:, :31, 5:20]
        assert (np.abs(bend).max(axis=0) > 1e-3).sum() <= 2 * 15, "the slope changes on the diagonal only"


def test_other_distortions_are_those_of_cv2():
    """Optical distortion is the pinhole camera's with k1 = k2; shift, scale and turn are about the middle, with one scale; grids keep corners."""
    side = 100
    values, maps = maps_of("optical")
    for k, positions in zip(values["k"][:20], maps, strict=False):
        camera = np.array([[side, 0, (side - 1) / 2], [0, side, (side - 1) / 2], [0, 0, 1]])
        columns, rows = cv2.initUndistortRectifyMap(camera, np.array([k, k, 0, 0]), None, None, (side, side), cv2.CV_32FC1)
        np.testing.assert_allclose(positions, [rows, columns], atol=1e-3)
    values, maps = maps_of("shift_scale_rotate")
    middle = (side - 1) / 2
    for row in range(20):
        forward = cv2.getRotationMatrix2D((middle, middle), values["degrees"][row], values["scale"][row])
        forward[:, 2] += values["shift"][row][::-1] * side
        back = cv2.invertAffineTransform(forward)
        np.testing.assert_allclose(maps[row][::-1, 20, 70], back @ [70, 20, 1], atol=1e-3)
    values, maps = maps_of("grid")
    np.testing.assert_allclose(maps[:, 0, 0], 0, atol=1e-3)
    np.testing.assert_allclose(maps[:, 0, -1], side - 1, atol=1e-3)
    steps = np.diff(maps[:, 0, :, 0], axis=1)
    assert steps.min() > 0.7 / 1.3
    assert steps.max() < 1.3 / 0.7


def test_colour_keeps_grey_and_goes_round_the_hues():
    """Saturation 0 stays 0 whatever is added; hue 175 and 10 more is 5."""
    table = hsv_table(np.array([10.0, 30.0, -20.0]))
    assert table[0].tolist() == [10, 0, 0]
    assert table[175].tolist() == [5, 205, 155]
    assert table[250, 1] == 255


def test_settings_say_which_path_augments(tiles):
    """No group: the tiles themselves; torch and albumentations by name; all views of a tile undergo the same."""
    some = torch.from_numpy(tiles[:6])
    assert augmented(some, NetworkSettings(augment=()), 1) is some
    quick = NetworkSettings(augment=("flip", "contrast"))
    assert torch.equal(augmented(some, quick, 1), augment(some, ("contrast", "flip"), 1))
    slow = NetworkSettings(augment=("flip", "contrast"), augment_with="albumentations")
    expected = albumentations_augment(tiles[:6], ("contrast", "flip"), 1)
    np.testing.assert_array_equal(augmented(some, slow, 1).numpy(), expected)
    assert (albumentations_augment(tiles[:6], ("contrast", "flip"), 2) != expected).any()
    for settings in (quick, slow):
        views = augmented(torch.stack([some, some], dim=1), settings, 1)
        assert torch.equal(views[:, 0], views[:, 1])
        assert torch.equal(views[:, 0], augmented(some, settings, 1))


def test_albumentations_has_every_group_in_its_pipeline(tiles):
    """The reference takes all groups at once, its slow piecewise affine among them."""
    new = albumentations_augment(tiles[:4], AUGMENTATIONS, 0)
    assert new.shape == tiles[:4].shape
    assert new.dtype == np.uint8
    assert (new != tiles[:4]).any(axis=(1, 2, 3)).all()
    assert [type(change).__name__ for change in one_of("blur")] == ["MotionBlur", "MedianBlur", "Blur"]
    assert len(BLURS) == 3


def test_without_albumentations_one_sentence_says_what_to_install(tiles, monkeypatch):
    """It is an extra: asking for it where it is not installed is answered with the command."""
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(SettingsError, match=r"napari-deepspace\[albumentations\]"):
        albumentations_augment(tiles[:1], ("blur", "noise"), 0)
