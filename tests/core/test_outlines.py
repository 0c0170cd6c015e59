"""Outlines come from QuPath's GeoJSON, and their class says what they do to spots."""

from __future__ import annotations

import json

import numpy as np
import pytest
from shapely.geometry import MultiPolygon, Polygon, box

from napari_deepspace.errors import DataError
from napari_deepspace.outlines import EXCLUDE, FAILED, UNCLEAR, Outline, class_colour, inside, read_outlines, touched, write_outlines

SQUARE = {"type": "Polygon", "coordinates": [[[10, 20], [30, 20], [30, 40], [10, 40], [10, 20]]]}


def feature(**properties):
    return {"type": "Feature", "id": "abc", "geometry": SQUARE, "properties": {"objectType": "annotation", **properties}}


def write(folder, values):
    path = folder / "outlines.geojson"
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "values",
    [
        {"type": "FeatureCollection", "features": [feature(classification={"name": "Exclude", "color": [1, 2, 3]})]},
        [feature(classification={"name": "Exclude"})],
        feature(classification="Exclude"),
        {
            "type": "FeatureCollection",
            "features": [feature(classification="Exclude"), {**feature(), "geometry": {"type": "Point", "coordinates": [1, 2]}}],
        },
    ],
    ids=["collection", "list", "one feature", "with a point"],
)
def test_the_forms_that_qupath_writes(tmp_path, values):
    """A collection, a list or one feature; the class as an object or a bare string; points are passed over."""
    (outline,) = read_outlines(write(tmp_path, values))
    assert outline.geometry.equals(box(10, 20, 30, 40))
    assert outline.classification == EXCLUDE
    assert outline.excludes
    assert outline.id == "abc"


@pytest.mark.parametrize(
    ("classification", "excludes", "failed"),
    [
        ("Exclude", True, False),
        ("exclude", True, False),
        ("Ignore*", True, False),
        ({"name": "Ignore* pen"}, True, False),
        ({"names": ["Ignore*", "fold"]}, True, False),
        ("Tumor", False, False),
        (None, False, False),
        (FAILED, False, True),
        (UNCLEAR, False, False),
    ],
)
def test_what_a_class_does(tmp_path, classification, excludes, failed):
    """Exclude and QuPath's Ignore* take tiles out, a failed region is imputed, and any other class does nothing."""
    (outline,) = read_outlines(write(tmp_path, feature(classification=classification)))
    assert (outline.excludes, outline.failed) == (excludes, failed)


def test_x_is_the_column():
    """Outlines are in (x, y), centres in (row, column)."""
    outline = Outline(box(10, 20, 30, 40), EXCLUDE)
    assert inside([outline], np.array([[30, 20], [20, 30], [45, 20], [30, 35]])).tolist() == [True, True, False, False]


def test_a_spot_is_touched_by_its_disc():
    """An outline that reaches into a spot's disc touches it; one that stays outside does not; a hole is outside."""
    ring = Outline(Polygon(box(0, 0, 100, 100).exterior, [box(20, 20, 80, 80).exterior.coords]), EXCLUDE)
    centres = np.array([[50, 104], [50, 106], [50, 50], [50, 76], [10, 10]])
    assert touched([ring], centres, 5).tolist() == [True, False, False, True, True]
    assert not touched([], centres, 5).any()
    assert touched([ring], np.empty((0, 2)), 5).shape == (0,)


def test_holes_and_parts_survive(tmp_path):
    """What is written reads back: geometry with holes and parts, class, name, id and notes."""
    holed = Polygon(box(0, 0, 100, 100).exterior, [box(20, 20, 80, 80).exterior.coords])
    outlines = [
        Outline(MultiPolygon([holed, box(200, 0, 210, 10)]), FAILED, "region 1", notes={"verdict": "technical", "median UMI": "430"}),
        Outline(box(1.25, 2.5, 3, 4), ""),
    ]
    write_outlines(tmp_path / "deep" / "outlines.geojson", outlines)
    again = read_outlines(tmp_path / "deep" / "outlines.geojson")
    for before, after in zip(outlines, again, strict=True):
        assert after.geometry.equals(before.geometry)
        assert (after.classification, after.name, after.id, after.notes) == (before.classification, before.name, before.id, before.notes)


def test_a_line_that_crosses_itself_is_mended(tmp_path):
    """A figure of eight drawn by hand keeps both its loops."""
    eight = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}
    (outline,) = read_outlines(write(tmp_path, eight))
    assert outline.geometry.is_valid
    assert outline.geometry.area == pytest.approx(50)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read as GeoJSON"),
        ("3", "no GeoJSON features"),
        ('{"type": "FeatureCollection"}', "no GeoJSON features"),
        ('[{"type": "Feature"}]', "feature 1 is no outline"),
        ('[{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}]', "feature 1 is no outline"),
        ('[{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, "a"], [2, 2]]]}}]', "feature 1 is no outline"),
        ('[{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, NaN], [2, 2], [0, 0]]]}}]', "no number"),
        ('[{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]}}]', "no area"),
        ("[null]", "feature 1 is no outline"),
        ('["Polygon"]', "feature 1 is no outline"),
    ],
)
def test_damaged_files(tmp_path, text, words):
    """Each ends in one sentence that names the file and the feature."""
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=words) as error:
        read_outlines(path)
    assert str(path) in str(error.value)


def test_a_missing_file(tmp_path):
    """It is said, and what to give instead."""
    with pytest.raises(DataError, match="does not exist"):
        read_outlines(tmp_path / "none.geojson")


@pytest.mark.real_data
def test_a_bare_multi_polygon_of_qupath(data_dir):
    """A geometry alone, as QuPath can export it, becomes one outline without a class."""
    (outline,) = read_outlines(data_dir / "geojson" / "polygon.geojson")
    assert outline.geometry.area > 0
    assert outline.classification == ""


def test_a_class_has_one_colour_in_the_window_and_in_files(tmp_path):
    """QuPath gets the colour that the window draws; read back it is the class's, not the outline's own, also from files of earlier versions."""
    write_outlines(tmp_path / "o.geojson", [Outline(box(0, 0, 9, 9), "Invasive")])
    text = (tmp_path / "o.geojson").read_text()
    assert json.loads(text)["features"][0]["properties"]["classification"]["color"] == list(class_colour("Invasive"))
    assert read_outlines(tmp_path / "o.geojson")[0].colour is None
    (tmp_path / "o.geojson").write_text(text.replace(str(list(class_colour("Invasive"))), "[120, 160, 220]"))
    assert "[120, 160, 220]" in (tmp_path / "o.geojson").read_text()
    assert read_outlines(tmp_path / "o.geojson")[0].colour is None
