"""Cells that QuPath detected: read as points, counted in spots and outlines as anybody would count them by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import shapely
from shapely.geometry import Point, Polygon, box, mapping

from napari_deepspace.cells import cells_in_outlines, cells_in_spots, positive_cells, read_cells
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.geojson import SlideStamp
from napari_deepspace.outlines import Outline

CLASSES = ("Tumor: Positive", "Tumor: Negative", "Positive", "2+", "0+", "Positively odd", "")


def cell(geometry, **properties):
    nucleus = mapping(Point(0, 0).buffer(1))
    given = {"objectType": "cell", **properties}
    return {"type": "Feature", "id": f"id {properties.get('name', '')}", "geometry": geometry, "nucleusGeometry": nucleus, "properties": given}


def write(folder, values):
    path = folder / "cells.geojson"
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """2,000 cells far from the origin with what each is: shapely's geometry, class, two measurements of which one may be missing."""
    rng = np.random.default_rng(0)
    rows, features = [], []
    for number in range(2000):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        line = np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(3, 9, (12, 1)) + rng.uniform(0, 1000, 2) + 1e5
        dab = float(rng.random()) if number % 3 else None
        row = {"geometry": Polygon(line), "class": CLASSES[rng.integers(len(CLASSES))], "DAB": dab, "Area": float(rng.random())}
        rows.append(row)
        found = {"DAB": dab, "Area": row["Area"]} if number % 5 else {"Area": row["Area"], "DAB": dab}
        measurements = [{"name": name, "value": value} for name, value in found.items()] if number % 7 == 0 else found
        features.append(cell(mapping(row["geometry"]), name=str(number), classification=row["class"] or None, measurements=measurements))
    return write(tmp_path_factory.mktemp("cells"), {"type": "FeatureCollection", "features": features}), pd.DataFrame(rows)


@pytest.fixture(scope="module")
def cells(written):
    return read_cells(written[0])


def test_centroid_class_and_measurements(written, cells):
    """Each is what was written, in order; a centroid is that of shapely to a millionth of a pixel, 100,000 px from the origin."""
    rows = written[1]
    centroids = np.array([[one.centroid.y, one.centroid.x] for one in rows["geometry"]])
    np.testing.assert_allclose(cells.centres_yx, centroids, rtol=0, atol=1e-6)
    assert list(cells.classes) == list(rows["class"])
    assert list(cells.names) == [str(number) for number in range(len(rows))]
    for name in ("DAB", "Area"):
        np.testing.assert_array_equal(cells.measurements[name], rows[name].astype(float))


def test_all_geometries_of_a_cell(tmp_path):
    """Points, parts, holes, open lines, a third coordinate, a line without area."""
    holed = Polygon(box(0, 0, 10, 10).exterior, [box(1, 1, 5, 5).exterior.coords])
    parts = shapely.MultiPolygon([box(0, 0, 2, 2), box(10, 0, 12, 2)])
    shapes = [mapping(Point(3, 4)), mapping(holed), mapping(parts)]
    open_, flat = [[0, 0], [4, 0], [4, 2], [0, 2]], [[0, 0], [2, 2], [4, 4], [0, 0]]
    deep = [[x, y, 7] for x, y in [*open_, open_[0]]]
    shapes += [{"type": "Polygon", "coordinates": [one]} for one in (open_, flat, deep)]
    found = read_cells(write(tmp_path, [cell(one) for one in shapes])).centres_yx
    expected = [(4, 3), (holed.centroid.y, holed.centroid.x), (1, 6), (1, 2), (1.5, 1.5), (1, 2)]
    np.testing.assert_allclose(found, expected)


def test_cells_within_annotations_and_what_is_left_out(tmp_path):
    """Child objects of annotations count, whatever stands in names between them; annotations and tiles are counted as left out."""
    children = [cell(mapping(Point(n, 0)), name='}, {"type": "Feature"') for n in range(3)]
    area = {"type": "Feature", "geometry": mapping(box(0, 0, 9, 9)), "properties": {"objectType": "annotation", "childObjects": children}}
    values = [area, cell(mapping(Point(3, 0))), cell(mapping(Point(4, 0)), objectType="detection"), cell(mapping(Point(5, 0)), objectType="tile")]
    found = read_cells(write(tmp_path, json.dumps(values, indent=2)))
    assert found.centres_yx[:, 1].tolist() == [0, 1, 2, 3, 4]
    assert found.left_out == {"annotation": 1, "tile": 1}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("{", "cannot be read as GeoJSON"),
        ([], "holds no cell or detection, but nothing"),
        ([{"type": "Feature", "geometry": mapping(box(0, 0, 1, 1)), "properties": {}}], "but 1 of kind annotation"),
        ([cell(mapping(Point(0, 0))), cell({"type": "Polygon", "coordinates": [[["a", 1], [1, 1], [2, 2]]]})], "feature 2 is no cell"),
        ([cell({"type": "Polygon", "coordinates": []})], "feature 1 is no cell"),
        ([cell(None)], "feature 1 is no cell"),
        ([cell(mapping(Point(0, 0)), measurements={"a": "many"})], "feature 1 is no cell"),
        ([cell(mapping(Point(0, 0)), measurements={"a": {}})], "feature 1 is no cell"),
        ([cell({"type": "Polygon", "coordinates": [[[0, 0], [1, float("inf")], [2, 2]]]})], "coordinate of cell 1 is no number"),
    ],
)
def test_damaged_cells(tmp_path, values, words):
    """One sentence that names file and feature."""
    path = write(tmp_path, values)
    with pytest.raises(DataError, match=words) as error:
        read_cells(path)
    assert str(path) in str(error.value)


def test_cells_know_their_slide(tmp_path):
    """Bounds move them, another slide is refused."""
    said = SlideStamp("a.mrxs", 10, 10, (100.0, 50.0))
    path = write(tmp_path, {"type": "FeatureCollection", "features": [cell(mapping(Point(1, 2)))], "napari_deepspace": said.member()})
    assert read_cells(path, SlideStamp("a.mrxs", 500, 500)).centres_yx.tolist() == [[52, 101]]
    with pytest.raises(DataError, match="was drawn on"):
        read_cells(path, SlideStamp("b.mrxs", 10, 10))


def test_positive_by_class_or_by_measurement(cells, written):
    """Positive and 1+ to 3+, alone or derived; or above a value, which a missing measurement never is."""
    rows = written[1]
    assert positive_cells(cells).tolist() == rows["class"].isin(["Tumor: Positive", "Positive", "2+"]).tolist()
    assert positive_cells(cells, "DAB", 0.5).tolist() == (rows["DAB"].astype(float) > 0.5).tolist()
    with pytest.raises(SettingsError, match="no measurement 'dab'"):
        positive_cells(cells, "dab")


def test_cells_in_spots(cells):
    """Counts, densities and shares are those of a loop over spots and cells."""
    rng = np.random.default_rng(1)
    spots, positive, mpp = rng.uniform(0, 1000, (40, 2)) + 1e5, positive_cells(cells), 0.5
    table = cells_in_spots(cells, np.vstack([spots, [[0, 0]]]), 110.0, mpp, positive)
    area = np.pi * (55 * mpp / 1000) ** 2
    for number, spot in enumerate(spots):
        within = [np.hypot(*(centre - spot)) <= 55 for centre in cells.centres_yx]
        n, good = sum(within), sum(one and other for one, other in zip(within, positive, strict=True))
        expected = [n, n / area, good, good / area, good / n]
        np.testing.assert_allclose(table.iloc[number], expected)
    assert table.columns.tolist() == ["cells", "cells_per_mm2", "positive", "positive_per_mm2", "positive_share"]
    assert table.iloc[-1, :4].tolist() == [0, 0, 0, 0]
    assert np.isnan(table.iloc[-1, 4])
    assert cells_in_spots(cells, spots, 110.0, mpp).columns.tolist() == ["cells", "cells_per_mm2"]


def test_cells_in_outlines(cells):
    """The same in outlines with holes and parts; a cell in two outlines counts in both, one on the border counts."""
    whole = box(1e5, 1e5, 1e5 + 1000, 1e5 + 1000)
    ring = whole.difference(box(1e5 + 200, 1e5 + 300, 1e5 + 800, 1e5 + 600))
    outlines = [Outline(whole, "all"), Outline(ring, "ring", id="ring"), Outline(box(0, 0, 10, 10), "none")]
    positive = positive_cells(cells)
    table = cells_in_outlines(cells, outlines, 0.25, positive)
    assert table.index.tolist() == [one.id for one in outlines]
    for outline, (_, row) in zip(outlines, table.iterrows(), strict=True):
        within = np.array([outline.geometry.intersects(Point(x, y)) for y, x in cells.centres_yx])
        area = outline.geometry.area * 0.25**2 / 1e6
        n, good = within.sum(), (within & positive).sum()
        np.testing.assert_allclose(row, [area, n, n / area, good, good / area, good / n if n else np.nan])
    assert 0 < table.loc["ring", "cells"] < table.iloc[0]["cells"] <= 2000
    assert cells_in_outlines(cells, [], 0.25).empty
