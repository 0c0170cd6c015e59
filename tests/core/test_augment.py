"""Changes of tiles while training: the paper's groups, alike on every device, and alike albumentations' in distribution."""

import numpy as np
import pytest
import torch

from napari_deepspace.events import result_of
from napari_deepspace.learn import augment_torch
from napari_deepspace.learn.augment import affine_matrix, augment, augmented, draw, sampling_map
from napari_deepspace.learn.augment_reference import albumentations_augment
from napari_deepspace.learn.data import section_tiles
from napari_deepspace.settings import AUGMENTATIONS, NetworkSettings

SIDE = 64


@pytest.fixture(scope="module")
def tiles(phantom):
    """Tiles of the synthetic section, uint8 (120, 64, 64, 3)."""
    return result_of(section_tiles(phantom, phantom.centres_yx[::7][:120], 137.5, SIDE))


@pytest.mark.parametrize("group", AUGMENTATIONS)
def test_the_same_seed_gives_the_same_tiles(tiles, group):
    """Bit for bit, whatever the number of threads; another seed gives others."""
    images = torch.from_numpy(tiles[:32])
    one = augment(images, (group,), 1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(augment(images, (group,), 1), one)
    finally:
        torch.set_num_threads(threads)
    assert not torch.equal(augment(images, (group,), 2), one)
    assert one.dtype == torch.uint8
    assert one.shape == images.shape


@pytest.mark.parametrize("group", [group for group in AUGMENTATIONS if group not in ("noise", "random")])
def test_torch_in_batches_does_what_opencv_does(tiles, group):
    """The way of a GPU gives the tiles that the way of a CPU gives, to rounding; noise alone is drawn elsewhere."""
    images = torch.from_numpy(tiles[:60])
    here = augment(images, (group,), 3).numpy().astype(int)
    there = augment_torch.apply(images, draw(60, (group,), 3, SIDE), 3).numpy().astype(int)
    changed = np.abs(here - tiles[:60]).mean()
    assert changed > 1
    assert np.abs(here - there).mean() < min(0.4, changed / 10)


def test_noise_of_torch_has_the_spread_that_was_drawn():
    """At each tile the SD drawn for it, channels alike or not."""
    grey = torch.full((40, SIDE, SIDE, 3), 128, dtype=torch.uint8)
    drawn = draw(40, ("noise",), 5, SIDE)
    for noisy in (augment_torch.apply(grey, drawn, 5), augment(grey, ("noise",), 5)):
        values = noisy.numpy().astype(float)
        np.testing.assert_allclose(values.std(axis=(1, 2, 3)), drawn["noise values"][:, 0], rtol=0.08)
        alike = (values[..., 0] == values[..., 1]).all(axis=(1, 2))
        np.testing.assert_array_equal(alike, drawn["noise"] == 0)


def test_how_often_each_change_is_drawn():
    """Of 40,000 tiles: each p 0.5 in half of them, each way of one-of in its share, "random" a third each, all eight symmetries alike."""
    n = 40_000
    d = draw(n, AUGMENTATIONS, 0, 224)
    half = [np.isfinite(d[name]).mean() for name in ("contrast", "gamma", "brightness")]
    half += [np.isfinite(d["hsv"][:, 0]).mean(), (d["order"][:, 0] >= 0).mean(), np.isfinite(d["shift"][:, 0]).mean(), (d["box"][:, 0] >= 0).mean()]
    np.testing.assert_allclose(half, 0.5, atol=0.012)
    for name, ways in (("noise", 2), ("blur", 3), ("dist", 4), ("random", 3)):
        np.testing.assert_allclose(np.bincount(d[name]) / n, 1 / ways, atol=0.012)
    for number, name in enumerate(("noise", "blur", "dist")):
        np.testing.assert_array_equal(d[f"random {name}"] >= 0, d["random"] == number)
    expected = np.zeros(8)
    for turn, p_turn in enumerate((0.625, 0.125, 0.125, 0.125)):
        for flip, p_flip in (((1, 1), 0.5), ((-1, 1), 1 / 6), ((1, -1), 1 / 6), ((-1, -1), 1 / 6)):
            for transposed in (False, True):
                image = np.rot90(np.arange(9).reshape(3, 3), turn)[:: flip[0], :: flip[1]]
                image = image.T if transposed else image
                which = [np.array_equal(image, np.rot90(np.arange(9).reshape(3, 3)[:, :: 1 - 2 * m], t)) for m in (0, 1) for t in range(4)]
                expected[which.index(True)] += p_turn * p_flip / 2
    found = np.bincount(d["mirror"] * 4 + d["turn"], minlength=8) / n
    np.testing.assert_allclose(found, expected, atol=0.012)


def test_parameters_are_the_papers():
    """Ranges as in the table of the method."""
    d = draw(20_000, AUGMENTATIONS, 0, 224)

    def spans(values, low, high):
        values = values[np.isfinite(values)]
        assert values.min() == pytest.approx(low, abs=0.02 * (high - low))
        assert values.max() == pytest.approx(high, abs=0.02 * (high - low))

    sd = d["noise values"][:, 0]
    spans(sd[d["noise"] == 0], 2.55, 12.75)
    spans(sd[d["noise"] == 1] ** 2, 10, 50)
    assert set(d["blur values"][:, 0]) == {3, 5, 7}
    dist = {way: d["dist values"][d["dist"] == number] for number, way in enumerate(("optical", "grid", "piecewise", "affine"))}
    spans(dist["optical"][:, 0], -0.05, 0.05)
    spans(dist["grid"][:, :10], 0.7, 1.3)
    assert dist["piecewise"].std() / 224 == pytest.approx(np.sqrt(((0.05**3 - 0.03**3) / 3) / 0.02), rel=0.02)
    for column, low, high in ((0, -0.0625, 0.0625), (2, 0.9, 1.1), (3, -45, 45)):
        spans(dist["affine"][:, column], low, high)
    for name, low, high in (("contrast", 0.8, 1.2), ("gamma", 0.8, 1.2), ("brightness", -51, 51)):
        spans(d[name], low, high)
    for column, limit in enumerate((20, 30, 20)):
        spans(d["hsv"][:, column], -limit, limit)
    spans(d["shift"], -20, 20)
    box = d["box"][d["box"][:, 0] >= 0]
    spans(box[:, 2] * box[:, 3] / 224**2, 0.5, 1)
    assert (box[:, :2] >= 0).all()
    assert (box[:, :2] + box[:, 2:] <= 224).all()
    assert (box[:, 3] / box[:, 2]).max() < 1.36


@pytest.mark.parametrize("group", AUGMENTATIONS)
def test_tiles_change_as_much_as_with_albumentations(tiles, group):
    """Of the same tiles: mean colour, contrast within the tile and mean change agree with albumentations' within the error of the draw."""
    if group in ("dist", "random"):
        tiles = tiles[:60]  # its piecewise affine is slow
    repeated = np.concatenate([tiles] * 3)
    ours = augment(torch.from_numpy(repeated), (group,), 0).numpy().astype(float)
    theirs = albumentations_augment(repeated, (group,), 0).astype(float)
    for number in (
        lambda t: t.mean(axis=(1, 2)).mean(axis=1),
        lambda t: t.std(axis=(1, 2)).mean(axis=1),
        lambda t: t.mean(axis=(1, 2)).std(axis=1),
        lambda t: np.abs(np.diff(t, axis=1)).mean(axis=(1, 2, 3)),
        lambda t: np.abs(t - repeated).mean(axis=(1, 2, 3)),
    ):
        one, two = number(ours), number(theirs)
        error = np.sqrt(one.var() / len(one) + two.var() / len(two))
        assert abs(one.mean() - two.mean()) < 4 * error + 0.1 * abs(two.mean() - number(repeated.astype(float)).mean()) + 0.05


def test_distortions_are_those_of_opencv():
    """The optical map is that of OpenCV's camera; the affine map that of its matrix; no distortion leaves every pixel where it is."""
    import cv2

    camera = np.array([[SIDE, 0, SIDE / 2], [0, SIDE, SIDE / 2], [0, 0, 1]], dtype=np.float32)
    expected = cv2.initUndistortRectifyMap(camera, np.array([0.04, 0.04, 0, 0, 0]), None, camera, (SIDE, SIDE), cv2.CV_32FC1)
    values = np.zeros(32)
    values[0] = 0.04
    np.testing.assert_allclose(sampling_map(0, values, SIDE), expected, atol=1e-3)
    matrix = affine_matrix(np.array([0.05, -0.02, 1.1, 30.0]), SIDE)
    turned = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), 30, 1.1)
    turned[:, 2] += np.array([0.05, -0.02]) * SIDE
    cv = cv2.invertAffineTransform(turned)
    np.testing.assert_allclose(matrix, cv, atol=1e-4)
    still = {0: np.zeros(32), 1: np.ones(32), 2: np.zeros(32), 3: np.array([0, 0, 1, 0.0])}
    for way, values in still.items():
        x, y = sampling_map(way, values, SIDE)
        np.testing.assert_allclose(x, np.tile(np.arange(SIDE), (SIDE, 1)), atol=1e-4)
        np.testing.assert_allclose(y, np.tile(np.arange(SIDE)[:, None], (1, SIDE)), atol=1e-4)


def test_settings_choose_the_way_and_both_views_change_alike(tiles):
    """No group leaves tiles alone; albumentations is a setting; of two views of a spot both are turned and coloured alike."""
    images = torch.from_numpy(tiles[:8])
    assert augmented(images, NetworkSettings(augment=()), 1) is images
    slow = augmented(images, NetworkSettings(augment=("flip",), augment_with="albumentations"), 1)
    assert torch.equal(slow, torch.from_numpy(albumentations_augment(tiles[:8], ("flip",), 1)))
    two = augmented(torch.stack([images, images], dim=1), NetworkSettings(), 4)
    assert torch.equal(two[:, 0], two[:, 1])
    assert torch.equal(two[:, 0], augmented(images, NetworkSettings(), 4))
