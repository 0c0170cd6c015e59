"""Outlines go into a file and come back as they were, in every form that QuPath writes, and a damaged file spoils nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import shapely
from shapely import affinity
from shapely.geometry import MultiPolygon, Polygon, box

from napari_deepspace.errors import DataError
from napari_deepspace.geojson import SlideStamp, stamp_of
from napari_deepspace.outlines import BLIND, EXCLUDE, MADE, Outline, geojson_of, read_outline_file, read_outlines, write_outlines
from napari_deepspace.read import read_section

CLASSES = ("", "Tumor", "Tumor: Positive", "Stroma", EXCLUDE, "Ignore*", "Größe μ")
SQUARE = {"type": "Polygon", "coordinates": [[[10, 20], [30, 20], [30, 40], [10, 40], [10, 20]]]}
ID = "8e7b0c2e-53b9-4f0d-9a5c-2f5a0a6d7d11"


def random_area(rng) -> Polygon | MultiPolygon:
    """A star with up to two holes; of three in ten, a few of them side by side."""
    parts = []
    for number in range(rng.integers(2, 5) if rng.random() < 0.3 else 1):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(8, 60)))
        star = Polygon(np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(40, 90, (len(angles), 1)) + rng.uniform(0, 5e4, 2))
        star = affinity.translate(shapely.make_valid(star, method="structure"), 300 * number, 0)
        for _ in range(rng.integers(0, 3)):
            centre = np.array(star.centroid.coords[0]) + rng.uniform(-20, 20, 2)
            star = star.difference(shapely.Point(centre).buffer(rng.uniform(2, 6), 6))
        parts += [part for part in shapely.get_parts(star) if part.area > 1]
    apart = shapely.union_all(parts)
    return parts[0] if len(parts) == 1 or not isinstance(apart, MultiPolygon) else apart


def random_outlines(n: int) -> list[Outline]:
    rng = np.random.default_rng(0)
    return [
        Outline(
            random_area(rng),
            classification=str(rng.choice(CLASSES)),
            name=str(rng.choice(["", "region é", 'with "quotes"'])),
            notes={"verdict": "technical", "empty": "", "spots": int(rng.integers(100))} if rng.random() < 0.5 else {},
            colour=tuple(int(part) for part in rng.integers(0, 256, 3)) if rng.random() < 0.5 else None,
            locked=bool(rng.random() < 0.3),
            note=str(rng.choice(["", "looks\nnecrotic"])),
            author=str(rng.choice(["", "A. Pathologist"])),
            date=str(rng.choice(["", "2026-11-26T06:00:00"])),
            origin=str(rng.choice(["hand", BLIND, MADE])),
            gene=str(rng.choice(["", "ESR1"])),
            run=str(rng.choice(["", "first-20261126"])),
        )
        for _ in range(n)
    ]


def test_500_outlines_with_holes_and_parts_come_back(tmp_path):
    """Every field, the order and, to 1e-6 and better, the areas; a second time nothing changes any more."""
    outlines = random_outlines(500)
    assert sum(len(shapely.get_parts(one.geometry)) > 1 for one in outlines) > 50
    assert sum(any(part.interiors for part in shapely.get_parts(one.geometry)) for one in outlines) > 200
    write_outlines(tmp_path / "a.geojson", outlines)
    again = read_outlines(tmp_path / "a.geojson")
    assert [one.id for one in again] == [one.id for one in outlines]
    np.testing.assert_allclose([one.geometry.area for one in again], [one.geometry.area for one in outlines], rtol=0, atol=1e-6)
    assert again == outlines
    assert geojson_of(again) == (tmp_path / "a.geojson").read_text(encoding="utf-8")


def test_a_colour_that_is_that_of_its_class_is_one_of_its_own(tmp_path):
    """None (that of its class) and the same colour given by hand stay two things."""
    outlines = [Outline(box(0, 0, 1, 1), EXCLUDE, colour=colour) for colour in (None, (17, 17, 17), (1, 2, 3))]
    write_outlines(tmp_path / "a.geojson", outlines)
    assert read_outlines(tmp_path / "a.geojson") == outlines


def feature(properties=None, **members):
    return {"type": "Feature", "id": ID, "geometry": SQUARE, "properties": properties or {}, **members}


def write(folder, values, name="qupath.geojson"):
    path = folder / name
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, ("", None)),
        ({"classification": None}, ("", None)),
        ({"classification": "Tumor"}, ("Tumor", None)),
        ({"classification": {"name": "Tumor", "color": [200, 0, 0]}}, ("Tumor", (200, 0, 0))),
        ({"classification": {"name": "Tumor", "colorRGB": -3670016}}, ("Tumor", (200, 0, 0))),
        ({"classification": {"names": ["Tumor", "Positive"], "color": [250, 62, 62]}}, ("Tumor: Positive", (250, 62, 62))),
        ({"classification": {"name": "Positive", "parentClass": {"name": "Tumor"}, "colorRGB": -377282}}, ("Tumor: Positive", (250, 62, 62))),
        ({"color": [1, 2, 3]}, ("", (1, 2, 3))),
        ({"color": -16776961}, ("", (0, 0, 255))),
        ({"color": [1, 2, 3], "classification": {"name": "Tumor", "color": [200, 0, 0]}}, ("Tumor", (1, 2, 3))),
        ({"color": "#ff0000", "classification": "Tumor"}, ("Tumor", None)),
    ],
)
def test_classes_and_colours_of_all_versions(tmp_path, properties, expected):
    """Null, a string, name, names, parent class; colours as [r, g, b] or packed, of the class or of the object: read, and still so when written."""
    for path in (write(tmp_path, feature(properties)), tmp_path / "again.geojson"):
        (outline,) = read_outlines(path)
        assert (outline.classification, outline.colour, outline.id) == (*expected, ID)
        write_outlines(tmp_path / "again.geojson", [outline])
    (written,) = json.loads((tmp_path / "again.geojson").read_text())["features"]
    if {"color", "classification"} <= set(properties):
        assert written["properties"]["color"] == properties["color"]
    if isinstance(properties.get("classification"), dict) and "color" in properties["classification"]:
        assert written["properties"]["classification"] == properties["classification"]


@pytest.mark.parametrize(
    ("one", "kinds"),
    [
        (feature({"objectType": "annotation"}), {}),
        (feature({"object_type": "annotation"}), {}),
        (feature({"type": "annotation"}), {}),
        (feature(id="PathAnnotationObject"), {}),
        (feature({"objectType": "something new"}), {}),
        (feature({"objectType": "detection"}), {"detection": 1}),
        (feature({"object_type": "cell"}), {"cell": 1}),
        (feature({"objectType": "tile"}), {"tile": 1}),
        (feature({"objectType": "tmaCore"}), {"tma core": 1}),
        (feature(id="PathDetectionObject"), {"detection": 1}),
        (feature({"objectType": "root"}, geometry=None), {"root": 1}),
        (feature(geometry=None), {"no geometry": 1}),
        (feature(geometry={"type": "LineString", "coordinates": [[0, 0], [1, 1]]}), {"LineString": 1}),
        (feature(geometry={"type": "MultiPoint", "coordinates": [[0, 0], [1, 1]]}), {"MultiPoint": 1}),
    ],
)
def test_what_is_an_outline(tmp_path, one, kinds):
    """Annotations that are areas; the rest is counted by what it is."""
    found = read_outline_file(write(tmp_path, one))
    assert found.left_out == kinds
    assert len(found.outlines) == (0 if kinds else 1)


COLLECTION = {"features": [feature(), feature(id="second")], "type": "FeatureCollection", "crs": {"features": [3]}}


@pytest.mark.parametrize(
    ("text", "n"),
    [
        (json.dumps(COLLECTION), 2),
        (json.dumps(COLLECTION, indent=4).replace("\n", "\r\n"), 2),
        ("\ufeff" + json.dumps(COLLECTION), 2),
        (json.dumps(COLLECTION["features"]), 2),
        (json.dumps(COLLECTION["features"], separators=(",", ":")), 2),
        (json.dumps([feature({"name": '}, {"type": "Feature"'}), feature(id="second")]), 2),
        (json.dumps(feature()), 1),
        (json.dumps(SQUARE), 1),
        (json.dumps([SQUARE, {**SQUARE, "type": "MultiPolygon", "coordinates": [SQUARE["coordinates"]]}]), 2),
        ('{"type": "FeatureCollection", "features": []}', 0),
        ("[]", 0),
    ],
)
def test_files_of_every_form(tmp_path, text, n):
    """A collection, an array, a feature or a geometry, printed however, with a mark of its encoding or without; members before and after."""
    found = read_outlines(write(tmp_path, text))
    assert [one.geometry.bounds for one in found] == [(10, 20, 30, 40)] * n


def test_objects_of_other_kinds_keep_their_kind(tmp_path):
    """Who asks for detections gets them, and they are written as detections."""
    path = write(tmp_path, [feature({"object_type": "detection"}), feature({"objectType": "something new"}, id="b")])
    outlines = read_outline_file(path, kinds=("annotation", "detection")).outlines
    written = [one["properties"]["objectType"] for one in json.loads(geojson_of(outlines))["features"]]
    assert written == ["detection", "something new"]


def test_what_has_no_field_comes_back_as_it_was(tmp_path):
    """Foreign properties, metadata and members, measurements in both forms, the plane; an ellipse stays the polygon that it is."""
    properties = {
        "objectType": "annotation",
        "name": "one",
        "classification": {"name": "Tumor", "color": [200, 0, 0], "madeBy": "me"},
        "isLocked": True,
        "measurements": {"Area µm^2": 12.5, "Solidity": None},
        "metadata": {"ANNOTATION_DESCRIPTION": "necrotic", "Slide": "B", "number": 3, "flag": True, "empty": ""},
        "grade": {"nested": [1, None, "x"]},
    }
    plane = {"c": 0, "z": 2, "t": 0}
    one = feature(properties, geometry={**SQUARE, "plane": plane, "isEllipse": True}, stain="H&E", bbox=[0, 0, 9, 9])
    two = feature({"measurements": [{"name": "Area", "value": 3.5}]}, id="other id")
    outlines = read_outlines(write(tmp_path, [one, two]))
    assert (outlines[0].note, outlines[0].locked) == ("necrotic", True)
    first, second = json.loads(geojson_of(outlines))["features"]
    assert first["properties"] == properties
    assert first["geometry"] == {**SQUARE, "plane": plane}
    assert first["stain"] == "H&E"
    assert "bbox" not in first
    assert second["properties"]["measurements"] == [{"name": "Area", "value": 3.5}]
    assert second["id"] == "other id"
    moved = replace(outlines[0], geometry=box(0, 0, 1, 1), colour=(9, 9, 9))
    changed = json.loads(geojson_of([moved]))["features"][0]["properties"]
    assert changed["classification"]["color"] == [9, 9, 9]
    assert changed["grade"] == properties["grade"]


def test_children_come_after_their_parent_and_know_it(tmp_path):
    """Child objects, under their newer and their older name, in the order of the file, however deep; cells among them are left out."""
    grandchild = feature({"classification": "c"}, id="grandchild")
    child = feature({"classification": "b", "children": [grandchild, feature({"objectType": "cell"}, id="cell")]}, id="child")
    values = [feature({"classification": "a", "childObjects": [child, feature(id="second")]}), feature(id="last")]
    found = read_outline_file(write(tmp_path, values))
    assert [one.id for one in found.outlines] == [ID, "child", "grandchild", "second", "last"]
    assert [one.extra.get("parent") for one in found.outlines] == [None, ID, "child", ID, None]
    assert found.left_out == {"cell": 1}
    write_outlines(tmp_path / "again.geojson", found.outlines)
    assert read_outlines(tmp_path / "again.geojson") == found.outlines


def test_ids_are_ones_own(tmp_path):
    """Two features of one id, and those that share QuPath's old one, get ids of their own."""
    outlines = read_outlines(write(tmp_path, [feature(), feature(), feature(id="PathAnnotationObject"), feature(id="PathAnnotationObject")]))
    assert len({one.id for one in outlines}) == 4
    assert outlines[0].id == ID


def test_a_mended_line_is_counted(tmp_path):
    """A figure of eight is one outline, and it is said that it was mended."""
    eight = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}
    found = read_outline_file(write(tmp_path, [eight, SQUARE]))
    assert (found.mended, len(found.outlines)) == (1, 2)


def test_the_file_knows_its_slide(small, tmp_path):
    """Written with a slide, it is read for that slide, and for another one it is refused in one sentence; nothing is asked where nothing is said."""
    stamp = stamp_of(small.slide)
    assert (stamp.height, stamp.width) == small.slide.shape
    outlines = [Outline(box(1, 2, 3, 4), EXCLUDE)]
    path = tmp_path / "a.geojson"
    write_outlines(path, outlines, stamp)
    assert read_outlines(path, stamp) == outlines
    assert read_outline_file(path).drawn_on == stamp
    assert read_outlines(path, replace(stamp, name="renamed.tif")) == outlines
    for other in (replace(stamp, hash="0" * 32), replace(stamp, hash="", width=stamp.width + 1), replace(stamp, hash="", name="other.tif")):
        with pytest.raises(DataError, match="was drawn on") as error:
            read_outlines(path, other)
        assert stamp.name in str(error.value)
    write_outlines(path, outlines)
    assert read_outlines(path, replace(stamp, name="other.tif")) == outlines


def test_a_section_refuses_outlines_of_another_slide(phantom_dir, small, tmp_path):
    """read_section looks at the slide that the file was drawn on."""
    stamp = stamp_of(small.slide)
    path = tmp_path / "a.geojson"
    write_outlines(path, [Outline(box(1, 2, 3, 4), EXCLUDE)], stamp)
    assert len(read_section(phantom_dir, outlines=path).outlines) == 1
    write_outlines(path, [Outline(box(1, 2, 3, 4), EXCLUDE)], replace(stamp, hash="f" * 32))
    with pytest.raises(DataError, match="was drawn on"):
        read_section(phantom_dir, outlines=path)


def test_other_bounds_move_the_outlines(tmp_path):
    """A file drawn on the bounds of a scan lies right on the whole scan, and the other way round."""
    bounds, whole = SlideStamp("a.mrxs", 100, 80, (1000.0, 500.0), "1"), SlideStamp("a.mrxs", 5000, 4000, (0.0, 0.0), "2")
    path = tmp_path / "a.geojson"
    write_outlines(path, [Outline(box(1, 2, 3, 4), EXCLUDE)], bounds)
    found = read_outline_file(path, whole)
    assert found.outlines[0].geometry.equals(box(1001, 502, 1003, 504))
    assert found.shift_xy == (1000, 500)
    write_outlines(path, [Outline(box(1001, 502, 1003, 504), EXCLUDE)], whole)
    assert read_outlines(path, bounds)[0].geometry.equals(box(1, 2, 3, 4))
    with pytest.raises(DataError, match="was drawn on"):
        read_outlines(path, replace(bounds, name="b.mrxs"))


def polygon(coordinates) -> str:
    return json.dumps([feature(geometry={"type": "Polygon", "coordinates": coordinates})])


GOOD = json.dumps({"type": "FeatureCollection", "features": [feature({"classification": "Tumor"})]})
DAMAGED = [
    "", "   ", "{", "[", "]", "nothing", "3", '"Polygon"', "null", "{}", "[null]", "[3]", '[["Feature"]]', GOOD[:-1], GOOD[:80], GOOD + "x",
    GOOD.replace('"geometry"', '"geometri"'), GOOD.replace("Polygon", "Pentagon"), GOOD.replace("[10, 20]", '["ten", 20]'),
    GOOD.replace("[30, 40]", "[30, NaN]"), GOOD.replace("[30, 40]", "[30, 1e999]"), GOOD.replace("[30, 40]", "[30]"),
    GOOD.replace("[30, 40]", "[1" + "0" * 400 + ", 1]"), GOOD.replace('"properties": {', '"properties": 3, "x": {'),
    '{"type": "FeatureCollection", "features": {}}', '{"type": "Topology", "objects": []}', "[" * 100_000,
    polygon([]), polygon([[[0, 0], [1, 1]]]), polygon([[[0, 0], [1, 1], [2, 2], [0, 0]]]), polygon(3), polygon([[]]),
    json.dumps([feature({"childObjects": [feature(), {"type": "Feature"}]})]),
    json.dumps({"type": "FeatureCollection", "napari_deepspace": {"slide": "a.tif", "width": "wide", "height": 3}, "features": [feature()]}),
]  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_ends_in_one_sentence(tmp_path, text):
    """One DataError that names the file and says what to do; never another exception, never half of the outlines."""
    path = write(tmp_path, text)
    with pytest.raises(DataError) as error:
        read_outlines(path)
    assert str(path) in str(error.value)
    assert "GeoJSON" in str(error.value)
    assert path.read_text(encoding="utf-8") == text


def test_bytes_that_are_no_text(tmp_path):
    """A zip that was renamed, and half of a character."""
    for content in (b"PK\x03\x04\xff\xfe\x00", GOOD.encode()[:-10] + b"\xc3"):
        path = tmp_path / "a.geojson"
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as GeoJSON"):
            read_outlines(path)
