"""White tiles are those of the original program, between spots too."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_deepspace.events import result_of
from napari_deepspace.points import points_between
from napari_deepspace.preprocess.white_tiles import NO_FILTER, TileColours, tile_colours, white_at, white_threshold
from napari_deepspace.read import read_section
from napari_deepspace.slide import open_slide
from napari_deepspace.tiles import between_spots, cut_tiles, tile_radius_px

GLASS, TISSUE = (250, 250, 250), (200, 90, 160)


def picture(folder, pixels):
    from PIL import Image

    path = folder / "slide.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def half_glass(tmp_path):
    """A slide of 200 x 200 px: glass from column 100 on, tissue to the left."""
    pixels = np.full((200, 200, 3), TISSUE, dtype=np.uint8)
    pixels[:, 100:] = GLASS
    with open_slide(picture(tmp_path, pixels)) as slide:
        yield slide


def test_more_than_half_white_goes(half_glass):
    """A tile of exactly half glass stays; one column more, and it goes. All three channels must exceed the threshold."""
    colours = result_of(tile_colours(half_glass, np.array([[100, 100], [100, 101], [100, 20], [100, 180]]), 10))
    np.testing.assert_allclose(colours.white_share(200.0), [0.5, 0.55, 0, 1])
    assert colours.is_white(200.0).tolist() == [False, True, False, True]
    assert not colours.is_white(250.0).any(), "white is brighter than the threshold, not as bright"
    assert colours.is_white(249.999).tolist() == [False, True, False, True]
    assert colours.is_white(89.5).tolist() == [True] * 4
    assert colours.is_white(90.0).tolist() == [False, True, False, True], "tissue's green channel does not exceed 90"


def test_mean_rgb_is_the_mean_over_pixels_and_channels(half_glass):
    """Half tissue, half glass gives the mean of both."""
    colours = result_of(tile_colours(half_glass, np.array([[100, 100]]), 10))
    assert colours.mean_rgb[0] == pytest.approx((250 + np.mean(TISSUE)) / 2, abs=1e-9)


def test_tiles_over_the_border_are_mirrored_and_flagged(half_glass):
    """A tile that reaches beyond the slide is judged by its mirrored pixels, and marked."""
    centres = np.array([[5, 50], [100, 100], [0, 199], [10, 10], [190, 190], [195, 100]])
    colours = result_of(tile_colours(half_glass, centres, 10))
    assert colours.over_border.tolist() == [True, False, True, False, False, True]
    tiles = cut_tiles(half_glass, centres, 10)
    np.testing.assert_allclose(colours.white_share(200.0), (tiles > 200).all(axis=3).mean(axis=(1, 2)))
    np.testing.assert_allclose(colours.mean_rgb, tiles.mean(axis=(1, 2, 3)))


def test_threshold_is_a_percentile_of_the_slides_own_tiles():
    """Linear between values; 100 means no filter, and so does a slide without tiles."""
    assert white_threshold(np.array([10.0, 20.0, 30.0]), 80) == pytest.approx(26)
    assert white_threshold(np.array([10.0, 20.0, 30.0]), 100) == NO_FILTER == 255
    assert white_threshold(np.array([]), 80) == NO_FILTER
    nothing = TileColours(np.array([255.0]), np.eye(256, dtype=np.int64)[[255]] * 100, np.array([False]))
    assert not nothing.is_white(NO_FILTER).any(), "not even a snow-white tile is dropped without a filter"


def test_a_known_threshold_needs_no_histograms(phantom, half_glass):
    """Block by block, with an integral image, the same tiles are white, over the border too."""
    centres = np.concatenate([phantom.centres_yx[::5] + 40, [[3.0, 5.0], [4600.0, 2000.0]]])
    radius = tile_radius_px(137.5, phantom.mpp)
    colours = result_of(tile_colours(phantom.slide, centres, radius))
    for threshold in (white_threshold(colours.mean_rgb, 30), 150.0, NO_FILTER):
        np.testing.assert_array_equal(result_of(white_at(phantom.slide, centres, radius, threshold)), colours.is_white(threshold))
    edge = np.array([[100, 100], [100, 101], [0, 100], [0, 101], [199, 199]])
    expected = result_of(tile_colours(half_glass, edge, 10)).is_white(200.0)
    np.testing.assert_array_equal(result_of(white_at(half_glass, edge, 10, 200.0)), expected)


def test_shares_equal_a_count_of_pixels(phantom):
    """On real tiles of the synthetic slide the histogram gives what a count of pixels gives, at any threshold."""
    centres, radius = phantom.centres_yx[:40], tile_radius_px(137.5, phantom.mpp)
    colours = result_of(tile_colours(phantom.slide, centres, radius))
    tiles = cut_tiles(phantom.slide, centres, radius)
    for threshold in (120.0, 180.5, 213.0):
        np.testing.assert_array_equal(colours.white_share(threshold), (tiles > threshold).all(axis=3).mean(axis=(1, 2)))


@pytest.fixture(scope="module")
def parity(data_dir):
    if not data_dir.is_dir():
        pytest.skip("the real sections are not beside the project")
    section = read_section(data_dir / "parity")
    return section, result_of(tile_colours(section.slide, section.centres_yx, tile_radius_px(137.5, section.mpp)))


@pytest.mark.real_data
def test_threshold_and_spots_are_the_originals(parity, data_dir):
    """White threshold to 1e-6, mean RGB to 1e-3, and OK / NG of all 600 spots, at the 80th and at the 25th percentile."""
    section, colours = parity
    expected = pd.read_csv(data_dir / "parity" / "expected" / "tile_filter_spots.csv", index_col=0)
    order = section.adata.obs_names.get_indexer(expected.index)
    np.testing.assert_allclose(colours.mean_rgb[order], expected["mean_RGB"], atol=1e-3)
    threshold = white_threshold(colours.mean_rgb, 80)
    written = float((data_dir / "parity" / "expected" / "white_threshold.txt").read_text())
    assert threshold == pytest.approx(written, abs=1e-6)
    assert (colours.is_white(threshold)[order] == (expected["ImageFilter"] == "NG")).all()
    quarter = white_threshold(colours.mean_rgb, 25)
    assert quarter == pytest.approx(128.5090972222222, abs=1e-6)
    assert not colours.is_white(quarter).any(), "the original keeps all 600 spots there too"


@pytest.mark.real_data
@pytest.mark.parametrize(("percentile", "file", "n_ok"), [(80, "between_spots", 1356), (25, "between_spots_q25", 1329)])
def test_points_between_spots_are_the_originals(parity, data_dir, percentile, file, n_ok):
    """The same 9702 points between spots, their mean RGB to 1e-3, and OK / NG of all of them by the threshold of the slide's spots."""
    section, colours = parity
    expected = pd.read_csv(data_dir / "parity" / "expected" / f"tile_filter_{file}.csv")
    lattice = pd.read_csv(data_dir / "parity" / "outs" / "spatial" / "tissue_positions_list.csv", header=None)
    points = points_between(section, np.ones(section.adata.n_obs, dtype=bool), "original").centres_yx
    np.testing.assert_array_equal(points, sorted(map(tuple, between_spots(lattice[[2, 3]].to_numpy(), lattice[[4, 5]].to_numpy()))))
    table = pd.DataFrame(points.astype(int), columns=["y_px", "x_px"])
    found = result_of(tile_colours(section.slide, points, tile_radius_px(137.5, section.mpp)))
    table["white"], table["mean"] = found.is_white(white_threshold(colours.mean_rgb, percentile)), found.mean_rgb
    both = expected.merge(table, on=["y_px", "x_px"], how="outer", indicator=True)
    assert (both["_merge"] == "both").all()
    assert len(both) == 9702
    np.testing.assert_allclose(both["mean"], both["mean_RGB"], atol=1e-3)
    assert (both["white"] == (both["ImageFilter"] == "NG")).all()
    assert (both["ImageFilter"] == "OK").sum() == n_ok
