"""What is painted, as plain arrays: no window needed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from shapely.geometry import MultiPolygon, box

from napari_deepspace.cluster_colours import cluster_colour, hex_rgba
from napari_deepspace.colour_scale import colours, limits_of, table
from napari_deepspace.layers import HOLLOW, METADATA, outlines_layer, relative_words, section_layers
from napari_deepspace.outlines import EXCLUDE, Outline
from napari_deepspace.preprocess.filters import filter_spots
from napari_deepspace.settings import FilterSettings
from napari_deepspace.views import (
    REASON_COLOURS,
    cluster_view,
    hover_text,
    make_view,
    next_shown,
    removed_view,
    spot_notes,
)

KEEP = np.array([True, True, True, False])
MEASURED = np.array([0.0, 1.0, 2.0, 3.0], dtype=np.float32)
PREDICTED = np.array([0.5, 1.0, np.nan, 2.0], dtype=np.float32)


def view(show, **options):
    return make_view("ERBB2", show, MEASURED, PREDICTED, KEEP, **options)


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
    np.testing.assert_array_equal(predicted.border[3], colours(PREDICTED, predicted.limits, table("viridis"))[3])
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
    assert colours(np.array([np.nan, 1.0]), (low, high), table("viridis"))[0, 3] == 0


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


def test_a_doubtful_map_is_grey_and_says_so():
    """A map that is not better than every simple way has its verdict beside it and lost its colour; the measured map and a trusted one have not."""
    words = "no better than colour alone"
    doubtful, anyway = view("difference", doubt=words, grey=True), view("difference", doubt=words)
    assert doubtful.doubt == anyway.doubt == view("predicted", doubt=words).doubt == words
    np.testing.assert_array_equal(anyway.face, view("difference").face)
    colourful = np.ptp(anyway.face[:2, :3], axis=1)
    assert (colourful > 0.3).any()
    assert (np.ptp(doubtful.face[:2, :3], axis=1) <= 0.2 * colourful + 1e-6).all()
    assert (doubtful.face[:2, 3] < 0.7).all()
    measured = view("measured", doubt=words, grey=True)
    assert measured.doubt == ""
    np.testing.assert_array_equal(measured.face, view("measured").face)


def test_simple_ways_are_painted_with_the_same_limits():
    """Equal colours mean equal values in the model's map, the measured one and those of the simple ways, also without shared limits elsewhere."""
    ways = {"mean RGB": np.array([9.0, 1.0, np.nan, 2.0], dtype=np.float32)}
    painted = view("mean RGB", ways=ways)
    assert painted.limits == view("predicted").limits == view("measured").limits
    assert view("mean RGB", ways=ways, shared=False).limits == painted.limits
    assert painted.caption == "colour alone; rings: imputed"
    assert np.isnan(view("interpolation", ways=ways).values).all()


def test_levels_on_another_patient_are_relative():
    """On a slide of another patient the model's values go from 0 to 1 within it and say why; measured ones keep their scale."""
    why = "relative within this slide; trained on 1 patient"
    painted = view("predicted", relative=why, ways={"mean RGB": PREDICTED})
    assert painted.relative
    assert painted.unit == why
    assert painted.limits == (0.0, 1.0)
    finite = painted.values[np.isfinite(painted.values)]
    assert finite.min() == 0 and finite.max() == 1
    assert "of 1 within this slide" in hover_text("spot", painted, int(np.flatnonzero(np.isfinite(painted.predicted))[0]), "")
    measured = view("measured", relative=why)
    assert not measured.relative
    np.testing.assert_array_equal(measured.values, view("measured").values)


def test_it_is_known_whether_the_patient_was_trained_on():
    """Sections that were trained on and other sections of their patients keep their levels; a stranger's, and an unknown patient's, do not."""
    about = {"library_id": "B", "training_sections": np.array(["A"], dtype=object), "training_patients": ["P1"]}
    assert relative_words(about | {"library_id": "A"}) == ""
    assert relative_words(about, "P1") == ""
    assert relative_words(about, "P2") == "relative within this slide; trained on 1 patient"
    assert "patient unknown" in relative_words({"library_id": "B", "training_sections": ["A"]})
    assert "patient unknown" in relative_words(about | {"training_patients": ["P1", ""]}, "P2")
    assert relative_words({"library_id": "B"}) == ""


def test_the_key_goes_through_what_there_is():
    """Measured, model, colour alone, neighbours alone, and round again; what is not there is left out."""
    assert next_shown("measured", ("measured", "predicted", "mean RGB", "interpolation")) == "predicted"
    assert next_shown("predicted", ("measured", "predicted", "mean RGB")) == "mean RGB"
    assert next_shown("mean RGB", ("measured", "predicted", "mean RGB")) == "measured"
    assert next_shown("difference", ("measured",)) == "measured"


def test_many_bins_are_an_image_on_their_lattice(phantom):
    """More than MANY spots on a square lattice are painted as pixels of one image, each where its centre lies."""
    import dataclasses

    from anndata import AnnData
    from scipy import sparse

    from napari_deepspace.layers import MANY, bins_of, places_layer
    from napari_deepspace.section import PLATFORMS

    rows, columns = np.divmod(np.arange(MANY + 300), 150)
    adata = AnnData(sparse.csr_matrix((len(rows), 0), dtype=np.float32))
    adata.obs = adata.obs.assign(in_tissue=True, array_row=rows + 7, array_col=columns + 5)
    yx = np.column_stack([3.0 * rows + 0.2 * columns + 11, 3.0 * columns - 0.2 * rows + 40])
    adata.obsm["spatial"] = yx[:, ::-1]
    section = dataclasses.replace(phantom, adata=adata, lattice=None, platform=PLATFORMS["st"])
    bins = bins_of(section)
    assert places_layer(section)[2] == "image" and bins is not None
    pixels = np.column_stack([rows, columns, np.ones(len(rows))])
    np.testing.assert_allclose((pixels @ bins.affine.T)[:, :2], yx * section.mpp, atol=1e-6)
    face = np.random.default_rng(0).random((len(rows), 4)).astype(np.float32)
    np.testing.assert_array_equal(bins.image(face, np.zeros_like(face))[rows, columns], (face * 255).astype(np.uint8))
    assert bins_of(phantom) is None
