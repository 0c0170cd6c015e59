"""Spots and points as tiles for QuPath: what is written is read back, digit by digit, and writing it needs no memory."""

from __future__ import annotations

import json
import tracemalloc
import uuid

import numpy as np
import pytest
from shapely.geometry import shape

from napari_deepspace import geojson_tiles
from napari_deepspace.cells import read_cells
from napari_deepspace.geojson import SlideStamp
from napari_deepspace.geojson_tiles import tiles_geojson

STAMP = SlideStamp("a.tif", 30_000, 20_000, hash="1f")


def values_of(n, columns, seed=0):
    """Measurements of all sizes, with gaps; every other one float64."""
    rng = np.random.default_rng(seed)
    found = {}
    for number in range(columns):
        column = rng.normal(size=n) * 10.0 ** rng.integers(-9, 9, n)
        column[rng.random(n) < 0.1] = np.nan
        found[f"gene {number // 4} µ {number % 4}"] = column if number % 2 else column.astype(np.float32)
    return found


def test_7000_tiles_with_24_measurements_come_back(tmp_path):
    """Centres to a hundredth of a pixel, every measurement to its last digit, names, and gaps where there is no value."""
    n, rng = 7000, np.random.default_rng(1)
    centres, measurements = rng.uniform(0, 20_000, (n, 2)), values_of(n, 24)
    names = [f"SPOT-{number}" for number in range(n)]
    assert tiles_geojson(tmp_path / "tiles.geojson", centres, 55.0, measurements, names=names, slide=STAMP) == n
    tiles = read_cells(tmp_path / "tiles.geojson", STAMP, kinds=("tile",))
    np.testing.assert_allclose(tiles.centres_yx, centres, rtol=0, atol=0.01)
    assert list(tiles.names) == names
    assert len(set(tiles.ids)) == n
    assert uuid.UUID(tiles.ids[0]).version == 4
    assert set(tiles.measurements) == set(measurements)
    for name, values in measurements.items():
        np.testing.assert_array_equal(tiles.measurements[name].to_numpy().astype(values.dtype), values)
    assert [file.name for file in tmp_path.iterdir()] == ["tiles.geojson"]


def test_discs_and_squares(tmp_path):
    """A disc has the spot's diameter, squares of a grid meet and do not overlap; both are closed, in (x, y)."""
    centres = np.array([[100.0, 300.0], [100.0, 320.0]])
    for kind in ("disc", "square"):
        tiles_geojson(tmp_path / "t.geojson", centres, 20.0, {"a": np.ones(2)}, kind)
        first, second = (shape(one["geometry"]) for one in json.loads((tmp_path / "t.geojson").read_text())["features"])
        assert first.bounds == (290, 90, 310, 110)
        assert first.exterior.is_closed
        assert first.area == pytest.approx(np.pi * 100 if kind == "disc" else 400, rel=0.02)
        assert first.intersection(second).area == pytest.approx(0, abs=1e-6)


def test_what_is_said_of_tiles(tmp_path):
    """Words for all and for each; the file says its slide and what it holds; no value, no measurement; no tile without any."""
    measurements = {"a": np.array([1.0, np.nan, np.inf, 4.0]), 'b "quoted"': np.array([1, np.nan, np.nan, np.nan], dtype=np.float32)}
    metadata = {"verdict": "better", "source": ["measured", "x", "y", ""]}
    about = {"contents": "predicted, not measured"}
    assert tiles_geojson(tmp_path / "t.geojson", np.zeros((4, 2)), 5, measurements, metadata=metadata, slide=STAMP, about=about) == 2
    values = json.loads((tmp_path / "t.geojson").read_text())
    first, last = (one["properties"] for one in values["features"])
    assert first == {"objectType": "tile", "metadata": {"verdict": "better", "source": "measured"}, "measurements": {"a": 1, 'b "quoted"': 1}}
    assert last == {"objectType": "tile", "metadata": {"verdict": "better"}, "measurements": {"a": 4}}
    assert values["napari_deepspace"] == {**STAMP.member(), **about}


def test_memory_does_not_grow_with_the_tiles(tmp_path, monkeypatch):
    """Five times the tiles take no more memory to write."""
    monkeypatch.setattr(geojson_tiles, "ROWS", 100)
    peaks = []
    for n in (200, 1000):
        centres, measurements = np.zeros((n, 2)), values_of(n, 4)
        tracemalloc.start()
        tiles_geojson(tmp_path / "t.geojson", centres, 55.0, measurements)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_what_was_there_stays_until_all_is_written(tmp_path):
    """A failure half-way leaves the file that was there, and nothing beside it."""
    path = tmp_path / "t.geojson"
    path.write_text("before")
    with pytest.raises(IndexError):
        tiles_geojson(path, np.zeros((3000, 2)), 5, {"a": np.ones(3000)}, names=["only one"])
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["t.geojson"]
