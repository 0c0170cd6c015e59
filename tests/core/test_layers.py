"""What is painted, as plain arrays: no window needed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from shapely.geometry import MultiPolygon, box

from napari_deepspace.layers import HOLLOW, METADATA, outlines_layer, section_layers
from napari_deepspace.outlines import EXCLUDE, Outline
from napari_deepspace.preprocess.filters import filter_spots
from napari_deepspace.settings import FilterSettings
from napari_deepspace.views import REASON_COLOURS, cluster_colour, cluster_view, colours, hex_rgba, limits_of, make_view, removed_view, spot_notes

LUTS = {"value": np.linspace([0, 0, 0, 1], [1, 1, 1, 1], 256), "difference": np.linspace([0, 0, 1, 1], [1, 0, 0, 1], 256)}
KEEP = np.array([True, True, True, False])
MEASURED = np.array([0.0, 1.0, 2.0, 3.0], dtype=np.float32)
PREDICTED = np.array([0.5, 1.0, np.nan, 2.0], dtype=np.float32)


def view(show, **options):
    return make_view("ERBB2", show, MEASURED, PREDICTED, KEEP, LUTS, **options)


def test_layers_carry_scale_units_and_identity(small):
    """Slide and spots lie in micrometres, spots at (row, column), and both say which section they are."""
    (levels, slide, _), (points, spots, _) = section_layers(small)
    assert slide["scale"] == spots["scale"] == (small.mpp, small.mpp)
    assert slide["units"] == spots["units"] == ("um", "um")
    assert slide["multiscale"] and levels[0].shape == (*small.slide.shape, 3)
    np.testing.assert_array_equal(points, small.adata.obsm["spatial"][:, ::-1])
    np.testing.assert_allclose(spots["size"] * small.mpp, 55)
    assert [layer["metadata"][METADATA]["role"] for layer in (slide, spots)] == ["slide", "spots"]
    assert slide["metadata"][METADATA]["library_id"] == small.library_id


def test_removed_and_unpredicted_spots_are_hollow():
    """Removed spots have no measured colour, spots without an honest prediction no predicted one; an imputed value is a coloured ring."""
    assert (view("measured").face[:, 3] > 0).tolist() == [True, True, True, False]
    assert (view("difference").face[:, 3] > 0).tolist() == [True, True, False, False]
    predicted = view("predicted")
    assert (predicted.face[:, 3] > 0).tolist() == [True, True, False, False]
    np.testing.assert_array_equal(predicted.border[2], HOLLOW)
    np.testing.assert_array_equal(predicted.border[3], colours(PREDICTED, predicted.limits, LUTS["value"])[3])
    assert "rings: imputed" in predicted.caption
    assert "imputed" not in view("measured").caption


def test_measured_and_predicted_share_their_limits():
    """Equal colours mean equal values, unless the user wants limits of their own; a difference is symmetric about 0."""
    assert view("measured").limits == view("predicted").limits
    assert view("measured", shared=False).limits != view("predicted", shared=False).limits
    low, high = view("difference").limits
    assert low == -high
    assert view("predicted", limits=(0.0, 9.0)).limits == (0.0, 9.0)


def test_limits_of_nothing_are_harmless():
    """No finite value, or one value only, still gives an increasing pair."""
    assert limits_of(np.array([np.nan])) == (0.0, 1.0)
    low, high = limits_of(np.ones(3))
    assert low < high
    assert colours(np.array([np.nan, 1.0]), (low, high), LUTS["value"])[0, 3] == 0


def test_removed_spots_wear_the_colour_of_the_first_reason():
    """What a user decided comes before what was measured; spots that stay are faint rings, and the hover keeps the gene's values."""
    spots = pd.DataFrame({"umi": [10, 1, 1, 9], "n_genes": [3, 1, 1, 0], "mitochondrial": 0.0, "in_tissue": True, "failed": [0, 0, 1, 0]})
    painted = removed_view(view("measured"), filter_spots(spots, FilterSettings(min_umi=5, min_genes=2)))
    expected = [np.zeros(4), *(hex_rgba(REASON_COLOURS[step]) for step in ("umi", "failed", "genes"))]
    np.testing.assert_allclose(painted.face, expected)
    assert (painted.border[:, 3] > 0).tolist() == [True, False, False, False]
    assert painted.title == "Removed spots"
    np.testing.assert_array_equal(painted.measured, view("measured").measured)


def test_clusters_wear_their_colours():
    """One colour a cluster, in the order of their names; removed spots and spots without one are rings."""
    labels = pd.Series(["b", "a", None, "a"], dtype="category", name="graphclust")
    painted = cluster_view(view("measured"), labels, KEEP)
    np.testing.assert_allclose(painted.face[:2], [hex_rgba(cluster_colour(1)), hex_rgba(cluster_colour(0))])
    assert (painted.face[2:, 3] == 0).all()
    assert (painted.border[2:, 3] > 0).all()


def test_outlines_are_polygons_in_row_and_column(small):
    """Every part of an outline is a polygon of its own with the outline's id, (row, column), in micrometres."""
    geometry = MultiPolygon([box(10, 20, 30, 40), box(50, 60, 70, 90)])
    data, kwargs, kind = outlines_layer(small, [Outline(geometry, EXCLUDE, id="one")], "outlines", "outlines")
    assert kind == "shapes"
    assert kwargs["features"]["id"].tolist() == ["one", "one"]
    assert kwargs["scale"] == (small.mpp, small.mpp)
    assert [polygon.min(axis=0).tolist() for polygon in data] == [[20, 10], [60, 50]]
    assert [polygon.max(axis=0).tolist() for polygon in data] == [[40, 30], [90, 70]]


def test_the_remark_of_a_removed_spot_says_why():
    """Reasons of the filter come first."""
    assert spot_notes(None, np.array(["", "UMI < 1000"], dtype=object)).tolist() == ["", "removed: UMI < 1000"]
