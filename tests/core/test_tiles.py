"""Tiles are cut exactly, in any order, at the border too, and each file tile is decoded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_deepspace import slide as slide_module
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.points import grid_points, points_between
from napari_deepspace.slide import open_slide
from napari_deepspace.tiles import between_spots, cell_middles, cut_tiles, iter_tiles, mirrored, over_border, tile_radius_px


def write(path: Path, image: np.ndarray) -> Path:
    tifffile.imwrite(path, image, photometric="rgb", tile=(64, 64), compression="zlib")
    return path


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (500, 700, 3)).astype(np.uint8)


@pytest.fixture
def slide(tmp_path, image):
    with open_slide(write(tmp_path / "slide.tif", image)) as opened:
        yield opened


def test_radius_is_rounded_up():
    """Half a tile is a whole number of pixels, rounded up, and floating point adds none."""
    assert tile_radius_px(137.5, 0.6875) == 100
    assert tile_radius_px(137.5, 0.6874) == 101
    assert tile_radius_px(100, 0.5) == 100
    assert tile_radius_px(55 * 2.5, 100 / 43) == 30  # the parity data's radius


def test_tile_is_rows_and_columns_around_the_rounded_centre(slide, image):
    """A tile is rows [y - r, y + r) and columns [x - r, x + r); fractional centres are rounded to the nearest pixel first."""
    tiles = cut_tiles(slide, np.array([[200.0, 300.0], [99.6, 250.4], [100.4, 249.6]]), 20)
    np.testing.assert_array_equal(tiles[0], image[180:220, 280:320])
    np.testing.assert_array_equal(tiles[1], image[80:120, 230:270])
    np.testing.assert_array_equal(tiles[2], tiles[1])


def test_tiles_come_in_the_order_asked(slide, image):
    """Whatever order is best for reading, the result is in the order of the centres, and progress counts them."""
    centres = np.random.default_rng(1).integers(30, 470, (60, 2))
    seen = []
    tiles = cut_tiles(slide, centres, 16, progress=lambda done, total: seen.append((done, total)))
    for (y, x), tile in zip(centres, tiles, strict=True):
        np.testing.assert_array_equal(tile, image[y - 16 : y + 16, x - 16 : x + 16])
    assert seen == [(done, 60) for done in range(1, 61)]


def test_border_is_mirrored_and_flagged(slide, image):
    """A tile over the border shows the mirror image beyond it, as numpy pads with "reflect", and is flagged; others are not."""
    centres = np.array([[0, 0], [3, 690], [499, 699], [250, 699], [480, 40], [250, 350], [20, 20], [480, 680], [-5, 300]])
    padded = np.pad(image, ((60, 60), (60, 60), (0, 0)), mode="reflect")
    for (y, x), tile in zip(centres, cut_tiles(slide, centres, 20), strict=True):
        np.testing.assert_array_equal(tile, padded[y + 40 : y + 80, x + 40 : x + 80])
    assert over_border(slide.shape, centres, 20).tolist() == [True, True, True, True, False, False, False, False, True]


@given(size=st.integers(1, 12), start=st.integers(-60, 60), length=st.integers(1, 60))
def test_mirroring_is_numpys(size, start, length):
    """Mirroring holds at any distance and for tiles larger than the image, as numpy's "reflect"."""
    far = 130
    expected = np.pad(np.arange(size), far, mode="reflect" if size > 1 else "edge")[far + start : far + start + length]
    np.testing.assert_array_equal(mirrored(np.arange(start, start + length), size), expected)


def test_tile_may_exceed_the_image(tmp_path):
    """A tile larger than the image is filled with its mirror images."""
    small = np.random.default_rng(2).integers(0, 256, (30, 21, 3)).astype(np.uint8)
    with open_slide(write(tmp_path / "small.tif", small)) as slide:
        (tile,) = cut_tiles(slide, np.array([[10, 5]]), 64)
    padded = np.pad(small, ((128, 128), (128, 128), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(tile, padded[128 + 10 - 64 : 128 + 10 + 64, 128 + 5 - 64 : 128 + 5 + 64])


def test_resizing_averages(slide, image):
    """Shrinking averages areas, so that nothing is skipped; enlarging keeps the picture."""
    centre = np.array([[200, 300]])
    (half,) = cut_tiles(slide, centre, 40, out_px=40)
    expected = image[160:240, 260:340].reshape(40, 2, 40, 2, 3).mean(axis=(1, 3))
    assert half.dtype == np.uint8
    assert np.abs(half - expected).max() <= 0.5
    (large,) = cut_tiles(slide, centre, 40, out_px=160)
    assert large.shape == (160, 160, 3)
    assert np.abs(large.reshape(80, 2, 80, 2, 3).mean(axis=(1, 3)) - image[160:240, 260:340]).mean() < 40


def test_batches_hold_every_tile_once(slide):
    """iter_tiles gives each index once, in batches, with the tiles that cut_tiles gives."""
    centres = np.random.default_rng(3).uniform(0, 500, (55, 2))
    expected = cut_tiles(slide, centres, 24, 32)
    seen = []
    for indices, tiles in iter_tiles(slide, centres, 24, 32, batch=20):
        np.testing.assert_array_equal(tiles, expected[indices])
        seen.append(indices)
    assert [len(indices) for indices in seen] == [20, 20, 15]
    assert sorted(np.concatenate(seen)) == list(range(55))


@pytest.mark.parametrize("rows_in_cache", [4, 1])
def test_each_file_tile_is_decoded_once(tmp_path, monkeypatch, rows_in_cache):
    """Overlapping tiles in any order decode no file tile twice if the cache holds the rows that a tile touches; else few."""
    image = np.random.default_rng(4).integers(0, 256, (1024, 1024, 3)).astype(np.uint8)  # 16 x 16 file tiles
    decoded = []
    as_rgb = slide_module._as_rgb
    monkeypatch.setattr(slide_module, "_as_rgb", lambda *arguments: decoded.append(1) or as_rgb(*arguments))
    monkeypatch.setattr(slide_module, "CACHE_BYTES", rows_in_cache * 16 * 64 * 64 * 3)
    with open_slide(write(tmp_path / "slide.tif", image)) as slide:
        cut_tiles(slide, np.random.default_rng(5).uniform(0, 1024, (3000, 2)), 25)
    assert len(decoded) == 256 if rows_in_cache == 4 else 256 <= len(decoded) < 1.7 * 256, len(decoded)


def test_no_centres_and_bad_centres(slide):
    """No centre gives no tile; a centre that is no number, or no radius, is an error of the caller."""
    assert cut_tiles(slide, np.empty((0, 2)), 10).shape == (0, 20, 20, 3)
    assert list(iter_tiles(slide, np.empty((0, 2)), 10)) == []
    with pytest.raises(ValueError, match="finite"):
        cut_tiles(slide, np.array([[np.nan, 3]]), 10)
    with pytest.raises(ValueError, match="radius"):
        cut_tiles(slide, np.array([[30, 30]]), 0)


@pytest.mark.real_data
def test_tiles_are_those_of_the_original(data_dir):
    """The mean colour of every spot's tile is what the original program computed."""
    table = pd.read_csv(data_dir / "parity" / "expected" / "tile_filter_spots.csv")
    centres = table[["pxl_row_in_fullres", "pxl_col_in_fullres"]].to_numpy()
    with open_slide(data_dir / "parity" / "image.tif") as slide:
        tiles = cut_tiles(slide, centres, tile_radius_px(2.5 * 12 * 2, 1.0))
    np.testing.assert_allclose(tiles.mean(axis=(1, 2, 3)), table["mean_RGB"], atol=5.1e-5)  # it wrote four decimals


def lattice(rows, columns, pitch=100.0):
    """Visium's lattice: (array_row, array_col) and centres in px; neighbouring rows are offset by half a pitch."""
    rc = np.array([(r, c) for r in range(rows) for c in range(r % 2, 2 * columns, 2)])
    return rc, rc * np.array([pitch * np.sqrt(3) / 2, pitch / 2])


def test_points_lie_between_every_three_spots_of_a_full_lattice():
    """78 rows of 64 spots have 9702 points between them, each pitch / sqrt(3) from its three spots, and from no fourth."""
    rc, centres = lattice(78, 64)
    assert len(rc) == 4992
    points = between_spots(rc, centres)
    assert len(points) == 2 * 77 * 63 == 9702
    distance, _ = cKDTree(centres).query(points, k=4)
    np.testing.assert_allclose(distance[:, :3], 100 / np.sqrt(3), atol=1.5)  # fractions of a pixel are cut off
    assert (distance[:, 3] > 110).all()


def test_a_square_lattice_has_one_point_a_cell():
    """The middle of each cell of a square lattice, also where one of its four spots is missing; not where two are."""
    rc = np.array([(r, c) for r in range(4) for c in range(5)])
    middles = cell_middles(rc, rc * 200.0)
    assert sorted(map(tuple, middles)) == [(100 + 200 * r, 100 + 200 * c) for r in range(3) for c in range(4)]
    assert len(cell_middles(rc[1:], rc[1:] * 200.0)) == 12
    np.testing.assert_array_equal(cell_middles(rc[1:], rc[1:] * 200.0), middles)
    assert len(cell_middles(rc[2:], rc[2:] * 200.0)) == 11
    assert len(cell_middles(np.empty((0, 2)), np.empty((0, 2)))) == 0


def test_rules_for_points_between_spots(small):
    """By the default every spot of a point lies on tissue; the original's takes all of the lattice, and the white filter decides."""
    tissue = np.ones(small.adata.n_obs, dtype=bool)
    tissue[::7] = False
    between = points_between(small, tissue)
    distance, nearest = cKDTree(small.centres_yx).query(between.centres_yx, k=3)
    assert tissue[nearest].all()
    assert np.abs(distance * small.mpp - 100 / np.sqrt(3)).max() < 2
    original = points_between(small, tissue, "original")
    assert len(original.centres_yx) == len(between_spots(small.lattice[:, :2].astype(int), small.lattice[:, 2:])) > 2 * len(between.centres_yx)
    with pytest.raises(SettingsError, match="tissue or original"):
        points_between(small, tissue, "all")
    with pytest.raises(DataError, match="no three adjacent"):
        points_between(small, np.arange(len(tissue)) < 2)


def test_a_grid_covers_the_tissue_and_little_more(small):
    """Every spot has a point within half a diagonal, no point is further than a pitch from a spot, and 8 um is the finest spacing."""
    grid = grid_points(small, 25.0)
    assert grid.step_px * small.mpp == pytest.approx(25)
    assert (cKDTree(grid.centres_yx).query(small.centres_yx)[0] * small.mpp < 25 / np.sqrt(2) + 1e-6).all()
    assert cKDTree(small.centres_yx).query(grid.centres_yx)[0].max() * small.mpp <= 100 + 1e-6
    np.testing.assert_allclose(np.array(grid.origin_yx_px) + grid.cell * grid.step_px, grid.centres_yx)
    assert (grid.cell < grid.shape).all()
    assert len({tuple(cell) for cell in grid.cell}) == len(grid.cell)
    assert grid_points(small, 8.0).step_px * small.mpp == pytest.approx(8)
    for wrong in (7.99, 0.0, -5.0, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="8 um or more"):
            grid_points(small, wrong)
