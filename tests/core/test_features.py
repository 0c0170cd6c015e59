"""Quick's features: what they look at, and that nothing but the tile decides them."""

import cv2
import numpy as np
import pytest

from napari_deepspace.learn import features
from napari_deepspace.learn.features import quick_inputs, slide_features, stain_density
from napari_deepspace.tiles import mirrored

RADIUS, SIDE = 50, 64  # a step that is no whole number of pixels


def blobs(height, width, seed=0):
    """A slide of blobs of all sizes and colours, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    image = sum(cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), sigma) * sigma * 60 for sigma in (1, 4, 16))
    return np.clip(image + 150, 0, 255).astype(np.uint8)


def at(levels, centres, radius=RADIUS, side=SIDE):
    """Features in the order of the centres."""
    batches = list(slide_features(levels, np.asarray(centres, dtype=float), radius, side))
    order = np.concatenate([indices for indices, _ in batches])
    assert sorted(order) == list(range(len(centres))), "every centre comes once"
    return np.concatenate([values for _, values in batches])[np.argsort(order)]


@pytest.fixture(scope="module")
def slide():
    return blobs(700, 900)


@pytest.fixture(scope="module")
def centres(slide):
    """Some well inside, some at the border and one in the corner."""
    return np.vstack([np.random.default_rng(1).uniform(0, slide.shape[:2], (40, 2)), [(0, 0), (699, 450), (350, 350.4)]])


def test_one_spot_alone_has_the_features_that_it_has_among_all(slide, centres):
    """The other centres, and the blocks that they make, change nothing."""
    among = at([slide], centres)
    alone = np.concatenate([at([slide], centres[[number]]) for number in range(len(centres))])
    np.testing.assert_allclose(alone, among, atol=1e-4)


def test_blocks_leave_no_trace(slide, centres, monkeypatch):
    """Blocks of any size give the same, so that features end at no border of a block."""
    whole = at([slide], centres)
    for block in (100, 173):
        monkeypatch.setattr(features, "BLOCK_PX", block)
        np.testing.assert_allclose(at([slide], centres), whole, atol=1e-4)


def test_threads_change_nothing(slide, centres):
    """One thread and several give the same."""
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = at([slide], centres)
        cv2.setNumThreads(4)
        np.testing.assert_array_equal(at([slide], centres), one)
    finally:
        cv2.setNumThreads(threads)


def test_only_the_tile_counts(slide):
    """What lies beyond the tile, but for the pixel that its edge cuts, may change at will: the guard band of spatial blocks is enough."""
    centre, reach = np.array([[350.0, 450.0]]), RADIUS + 2
    other = blobs(*slide.shape[:2], seed=7)
    other[350 - reach : 350 + reach, 450 - reach : 450 + reach] = slide[350 - reach : 350 + reach, 450 - reach : 450 + reach]
    np.testing.assert_allclose(at([other], centre), at([slide], centre), atol=1e-4)
    assert np.abs(at([other], centre + RADIUS) - at([slide], centre + RADIUS)).max() > 0.1, "a neighbour sees the change"


def test_colours_are_those_of_the_tile(slide):
    """The first three are the mean R, G and B; means, SDs and quantiles are numpy's of the tile where a pixel of the features is one of the slide."""
    y, x, half = 300, 400, 32
    tile = slide[y - half : y + half, x - half : x + half].astype(float) / 255
    found = at([slide], [(y, x)], half, 2 * half)[0]
    np.testing.assert_allclose(found[:3], tile.mean(axis=(0, 1)), atol=1e-6)
    for channel in range(3):  # after six means: the middle's mean, two SDs, three quantiles of the tile
        own = found[6 + 9 * channel :][:9]
        np.testing.assert_allclose(own[1:3], [tile[:, :, channel].std(), _middle(tile)[:, :, channel].std()], atol=0.01)
        np.testing.assert_allclose(own[3:6], np.quantile(tile[:, :, channel], features.QUANTILES), atol=0.01)


def _middle(tile):
    margin = round(len(tile) * 0.3)
    return tile[margin:-margin, margin:-margin]


def test_white_and_black_slides_give_finite_features_blind_to_turning(slide):
    """Every number is finite even without any texture; a quarter turn of the slide changes nothing that counts."""
    for colour in (0, 255):
        assert np.isfinite(at([np.full((200, 200, 3), colour, np.uint8)], [(100, 100), (0, 199)])).all()
    y, x, half = 320, 400, 40
    tile = slide[y - half : y + half, x - half : x + half]
    turned = np.rot90(tile).copy()
    straight, after = (at([image], [(half, half)], half, 2 * half) for image in (tile, turned))
    np.testing.assert_allclose(after[:, :60], straight[:, :60], atol=1e-3)
    assert np.corrcoef(after[0], straight[0])[0, 1] > 0.99


def test_beyond_the_border_is_the_mirror_image(slide):
    """A tile over the border has the features of the same tile on a slide that was mirrored beforehand."""
    pad = 64
    rows, columns = (mirrored(np.arange(-pad, size + pad), size) for size in slide.shape[:2])
    larger = slide[np.ix_(rows, columns)]
    border = np.array([(0.0, 300.0), (699.0, 899.0), (20.0, 5.0)])
    np.testing.assert_allclose(at([slide], border, 48, 48), at([larger], border + pad, 48, 48), atol=1e-3)


def test_a_reduced_level_serves_as_well_as_the_full_image(slide, centres):
    """Where the pyramid has a finer level it is read instead of full resolution, and the features stay."""
    half = cv2.resize(slide, (450, 350), interpolation=cv2.INTER_AREA)
    inside = centres[:40].clip(120, [580, 780])
    full, reduced = at([slide], inside, 96, 64), at([slide, half], inside, 96, 64)
    np.testing.assert_allclose(reduced[:, :6], full[:, :6], atol=0.005)
    assert min(np.corrcoef(one, other)[0, 1] for one, other in zip(full, reduced, strict=True)) > 0.99
    with_unread = at([np.zeros_like(slide), half], inside, 96, 64)
    np.testing.assert_array_equal(with_unread, reduced)


def test_features_follow_the_size_of_structures():
    """Blobs of 3 um and of 12 um differ most in the bands of their own size, at equal colour."""
    rng = np.random.default_rng(0)

    def of(sigma):
        noise = cv2.GaussianBlur(rng.normal(size=(256, 256)), (0, 0), sigma)
        return np.repeat(np.clip(150 + 30 * noise / noise.std(), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)

    small, large = (at([of(sigma)], [(128, 128)], 64, 128)[0] for sigma in (1, 5))
    assert abs(small[:3] - large[:3]).max() < 0.05
    assert np.abs(small[60:] - large[60:]).max() > 1


def test_inputs_tell_unusual_from_usual_and_level_off():
    """Quick's inputs are z-scores by the reference and their distance from usual; both rise with the feature and end at 2; a constant gives 0."""
    reference = np.random.default_rng(0).normal(5, 2, (400, 1))
    at_sds = reference.mean() + reference.std() * np.array([[-50.0], [-1], [0], [1], [50]])
    found = quick_inputs(at_sds, reference)
    level = 2 * np.tanh(0.5)
    np.testing.assert_allclose(found, np.array([[-2, 2], [-level, level], [0, 0], [level, level], [2, 2]]), atol=1e-5)
    assert (quick_inputs(np.full((3, 1), 7.0), np.full((9, 1), 7.0)) == 0).all()


def test_centres_that_are_no_numbers_are_refused(slide):
    """As for tiles."""
    with pytest.raises(ValueError, match="finite"):
        at([slide], [(np.nan, 3)])


def test_stains_equal_scikit_image():
    """Haematoxylin and eosin densities are scikit-image's, up to its choice of logarithm."""
    from skimage.color import rgb2hed

    image = np.random.default_rng(0).integers(20, 255, (8, 8, 3), dtype=np.uint8)
    ours, theirs = stain_density(image.astype(np.float32) / 255), rgb2hed(image)
    scale = np.log(1e-6)  # scikit-image divides optical density by the logarithm of its smallest value
    np.testing.assert_allclose(np.maximum(ours / -scale, 0), theirs, atol=1e-4)
