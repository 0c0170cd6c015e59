"""What is painted, as plain arrays: no window needed."""

from __future__ import annotations

import numpy as np

from napari_deepspace.layers import HOLLOW, METADATA, colours, limits_of, make_view, measured_values, section_layers, spot_notes

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


def test_measured_values_are_counts_at_median_depth():
    """log(1 + count / total x depth); a spot without counts has no value."""
    values = measured_values(np.array([2, 0, 0]), np.array([10.0, 5.0, 0.0]), 20.0)
    np.testing.assert_allclose(values, [np.log1p(4), 0, np.nan], rtol=1e-6)


def test_the_remark_of_a_removed_spot_says_why():
    """Reasons of the filter come first."""
    assert spot_notes(None, np.array(["", "UMI < 1000"], dtype=object)).tolist() == ["", "removed: UMI < 1000"]
