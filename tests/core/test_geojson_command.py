"""The commands from and to QuPath: outlines come in whole or not at all, values go out as they are in the run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from shapely.geometry import Point, box, mapping
from test_outline_files import DAMAGED
from tests.conftest import part_of

from napari_deepspace import denser, fit
from napari_deepspace.analyse.bands import band_of_one
from napari_deepspace.cells import read_cells
from napari_deepspace.cli import main
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.events import result_of
from napari_deepspace.geojson import stamp_of
from napari_deepspace.geojson_command import export_tiles, import_outlines
from napari_deepspace.learn.denser_write import write_denser
from napari_deepspace.outlines import read_outline_file
from napari_deepspace.run_maps import maps_of_run
from napari_deepspace.settings import RunSettings, SectionSettings

GENES = ["ESR1", "COL5A2"]


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    """A finished Quick run on a part of the synthetic section, and its model."""
    folder = tmp_path_factory.mktemp("run")
    settings = RunSettings(sections=(SectionSettings(path=small.path),), target={"names": GENES}, split={"folds": 2, "block_um": 300})
    return folder, fit(small, settings, folder, progress=False)


def tiles_in(path):
    return read_cells(path, kinds=("tile",)), [one["properties"] for one in json.loads(path.read_text())["features"]]


def write(path, features):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": mapping(geometry), "properties": properties}


DRAWN = [
    feature(box(0, 0, 90, 90), classification={"name": "Tumor", "color": [200, 0, 0]}),
    feature(box(50, 50, 90, 90), classification="Tumor", isLocked=True),
    feature(box(-90, -90, -50, -50)),
    feature(Point(3, 3), objectType="annotation"),
    feature(box(5, 5, 6, 6), objectType="cell"),
]


def test_import_says_what_came_and_what_did_not(phantom_dir, small, tmp_path, capsys):
    """Classes with their number, what was left out and why, the slide in the file; as words and as JSON."""
    file, out = write(tmp_path / "qupath.json", DRAWN), tmp_path / "own.geojson"
    assert main(["import-geojson", str(file), str(phantom_dir), "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["classes"] == {"Tumor": 2, "": 1}
    assert found["left_out"] == {"Point": 1, "cell": 1}
    assert (found["outlines"], found["outside"], found["mended"], found["synthetic"]) == (3, 1, 0, True)
    assert read_outline_file(out).drawn_on == stamp_of(small.slide)
    assert main(["import-geojson", str(file), str(phantom_dir), "--out", str(out)]) == 0
    words = capsys.readouterr().out
    for part in ("3 outlines: 2 Tumor, 1 without a class", "left out", "1 of kind Point, 1 of kind cell", "1 lie outside", small.slide.path.name):
        assert part in words


def test_what_cannot_be_imported_leaves_what_was_there(small, tmp_path):
    """Each damaged file ends in one DataError, and the good one at --out keeps every byte; nothing lies beside it."""
    out = tmp_path / "own.geojson"
    import_outlines(write(tmp_path / "qupath.json", DRAWN), small, out)
    before = out.read_bytes()
    elsewhere = replace(stamp_of(small.slide), hash="e" * 32).member()
    other = {"type": "FeatureCollection", "features": DRAWN, "napari_deepspace": elsewhere}
    none = ([DRAWN[3]], [DRAWN[2]], [])
    bad = [*DAMAGED, json.dumps(other), *(json.dumps(one) for one in none)]
    assert len(bad) > 30
    for text in bad:
        (tmp_path / "qupath.json").write_text(text, encoding="utf-8")
        with pytest.raises(DataError) as error:
            import_outlines(tmp_path / "qupath.json", small, out)
        assert "qupath.json" in str(error.value)
        assert out.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["own.geojson", "qupath.json"]
    with pytest.raises(SettingsError, match="Give another --out"):
        import_outlines(out, small, out)
    assert out.read_bytes() == before


def test_a_section_without_a_slide_takes_outlines_too(small, tmp_path):
    """Nothing can be checked, and the file goes on knowing the slide it knew."""
    stamp = stamp_of(small.slide)
    file = tmp_path / "qupath.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "napari_deepspace": stamp.member(), "features": DRAWN}))
    assert import_outlines(file, replace(small, slide=None), tmp_path / "own.geojson")["slide"] is None
    assert read_outline_file(tmp_path / "own.geojson").drawn_on == stamp


def test_spots_go_out_as_they_are_in_the_run(run, phantom, phantom_dir, tmp_path, capsys):
    """Measured, predicted out of fold and the interval of two genes at every spot that has any, with source and verdict; said to be SYNTHETIC."""
    out = tmp_path / "tiles.geojson"
    command = ["export-geojson", str(run[0]), str(phantom_dir), "--gene", "ESR1", "--gene", "COL5A2", "--out", str(out)]
    assert main([*command, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    maps = maps_of_run(run[0], phantom)
    tiles, properties = tiles_in(out)
    rows = phantom.adata.obs_names.get_indexer(tiles.names)
    assert made["tiles"] == len(rows) > 100
    np.testing.assert_allclose(tiles.centres_yx, phantom.centres_yx[rows], atol=0.01)
    for gene in GENES:
        predicted = maps.of(gene)
        low, high = band_of_one(maps.band, maps.genes.index(gene), predicted)
        measured = np.where(maps.split == "excluded", np.nan, maps.measured_of(gene))
        for what, values in {"measured": measured, "predicted": predicted, "interval low": low, "interval high": high}.items():
            written = np.full(len(values), np.nan)
            written[rows] = tiles.measurements[f"{gene} {what}"]
            np.testing.assert_array_equal(written.astype(np.float32), values.astype(np.float32))
            assert np.isfinite(written).sum() > 100
    first = properties[0]["metadata"]
    assert [one["metadata"]["source"] for one in properties] == list(maps.source[rows])
    assert first["ESR1 verdict"] == maps.score_of("ESR1").verdict != ""
    assert (first["data"], first["unit"]) == ("SYNTHETIC", maps.unit)
    assert "research use only" in first["use"]
    assert main(command) == 0
    words = capsys.readouterr().out
    assert "SYNTHETIC" in words
    assert "Research use only" in words


@pytest.fixture(scope="module")
def maps(run, small, tmp_path_factory):
    """Points between 40 spots, and a grid over them, as that model predicts them."""
    folder, few = tmp_path_factory.mktemp("maps"), part_of(small, slice(40))
    points = result_of(write_denser(run[1], few, folder / "points.zarr", "between-spots", 0.0))
    return [denser.open_denser(made) for made in (points, result_of(write_denser(run[1], few, folder / "grid.zarr", "grid", 150.0)))]


def test_points_and_a_grid_go_out_as_they_are_in_the_map(run, maps, small, tmp_path):
    """Points between spots as small discs, a grid as squares that meet; predicted values with their band, never measured ones."""
    for at, dmap in zip(("between-spots", "grid"), maps, strict=True):
        out = tmp_path / f"{at}.geojson"
        made = result_of(export_tiles(run[0], small, ["ESR1"], out, denser=dmap.folder))
        tiles, properties = tiles_in(out)
        predicted = denser.values(dmap, "ESR1")
        here = np.isfinite(predicted)
        assert (made["at"], made["tiles"]) == (at, here.sum())
        np.testing.assert_allclose(tiles.centres_yx, dmap.centres_yx[here], atol=0.01)
        low, high = denser.band(dmap, "ESR1")
        for what, values in {"predicted": predicted, "interval low": low, "interval high": high}.items():
            np.testing.assert_array_equal(tiles.measurements[f"ESR1 {what}"].astype(np.float32), values[here])
        assert not any("measured" in name for name in tiles.measurements)
        assert {one["metadata"]["source"] for one in properties} == {"between"}
        assert properties[0]["metadata"]["ESR1 verdict"]
        ring = np.array(json.loads(out.read_text())["features"][0]["geometry"]["coordinates"][0])
        expected = dmap.step_px if at == "grid" else denser.BETWEEN_SIZE * small.spot_diameter_px
        np.testing.assert_allclose(np.ptp(ring, axis=0), expected, atol=0.02)
    with pytest.raises(SettingsError, match="holds grid, not between-spots"):
        result_of(export_tiles(run[0], small, ["ESR1"], tmp_path / "a.geojson", "between-spots", maps[1].folder))


def test_another_patients_section_goes_out_relative(run, small, tmp_path):
    """Where levels mean nothing beyond the slide they go from 0 to 1 within it, without an interval, and it is said."""
    other = replace(small, library_id="another", patient="somebody else")
    made = result_of(export_tiles(run[0], other, ["ESR1"], tmp_path / "a.geojson"))
    name = "ESR1 predicted (0 to 1 within this slide)"
    assert name in made["measurements"]
    assert not any("interval" in one for one in made["measurements"])
    tiles, properties = tiles_in(tmp_path / "a.geojson")
    assert tiles.measurements[name].min() >= 0
    assert tiles.measurements[name].max() <= 1
    assert "relative within this slide" in properties[0]["metadata"]["levels"]


@pytest.mark.parametrize(
    ("genes", "at", "words"),
    [
        (["NOPE"], None, "does not predict NOPE"),
        ([], None, "at least one gene"),
        (["ESR1"], "everywhere", "--at everywhere is not possible. Give one of spots"),
        (["ESR1"], "grid", "needs a map"),
    ],
)
def test_what_cannot_be_exported(run, small, tmp_path, genes, at, words):
    """One sentence that says what to give; no file is written."""
    with pytest.raises(SettingsError, match=words):
        result_of(export_tiles(run[0], small, genes, tmp_path / "a.geojson", at))
    assert list(tmp_path.iterdir()) == []
