"""Which colour stands for which value."""

import json

import numpy as np
import pytest
from matplotlib import colormaps
from pydantic import ValidationError

from napari_deepspace.colour_scale import COLOUR_MAPS, DIFFERENCE, ColourScale, colours, limits_of, shares, spread, table, ticks
from napari_deepspace.project_format import View as SavedView
from napari_deepspace.views import hover_text, make_view

MEASURED = np.array([0.0, 1.0, 2.0, 3.0], dtype=np.float32)
PREDICTED = np.array([0.5, 1.0, np.nan, 2.0], dtype=np.float32)
KEEP = np.array([True, True, True, False])


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_maps_are_the_published_ones(name):
    """Each map is what matplotlib publishes under its name; the paper's is ColorBrewer's Spectral from blue to red."""
    published = colormaps["Spectral_r" if name == "paper" else name](np.linspace(0, 1, 256))
    np.testing.assert_allclose(table(name), published, atol=1 / 40)


def test_a_difference_keeps_its_map():
    """Blue below, nearly white at 0, red above, whatever map and logarithm are chosen."""
    view = make_view("G", "difference", MEASURED, PREDICTED, KEEP, ColourScale("magma", log=True))
    assert view.lut is table(DIFFERENCE)
    assert not view.log
    low, middle, high = table(DIFFERENCE)[[0, 128, 255]]
    assert low[2] > 2 * low[0]
    assert high[0] > 2 * high[2]
    assert middle[:3].min() > 0.95


def test_the_logarithm_moves_colours_and_no_values():
    """Half-way along the bar stands the value whose log1p above the lower limit is half of the whole; ticks are true values, on every scale."""
    limits = (2.0, 10.0)
    assert ticks(limits) == (2.0, 6.0, 10.0)
    low, middle, high = ticks(limits, log=True)
    assert (low, high) == pytest.approx(limits)
    assert middle == pytest.approx(2 + np.sqrt(9) - 1)
    np.testing.assert_allclose(shares(np.array([low, middle, high, 99.0, -5.0]), limits, log=True), [0, 0.5, 1, 1, 0], atol=1e-12)
    linear, log = (make_view("G", "measured", MEASURED, PREDICTED, KEEP, ColourScale(log=log)) for log in (False, True))
    assert linear.limits == log.limits
    np.testing.assert_array_equal(linear.values, log.values)
    assert not np.array_equal(linear.face[1], log.face[1])
    assert log.log


def test_a_spread_map_gives_an_even_viewer_the_same_colours():
    """A viewer that spreads colours evenly, as napari's image layers do, paints the logarithm with the map that is handed to it."""
    limits, values = (0.0, 4.0), np.linspace(0, 4, 200)
    wanted = colours(values, limits, table("viridis"), log=True)
    np.testing.assert_allclose(colours(values, limits, spread(table("viridis"), limits, log=True)), wanted, atol=0.02)
    assert spread(table("viridis"), limits) is table("viridis")


def test_percentiles_say_where_colours_begin_and_end():
    """The two numbers are percentiles of the finite values, 1 and 99 unless others are given; also those of a difference, which stays symmetric."""
    values = np.arange(101, dtype=float)
    assert limits_of(values) == (1, 99)
    assert limits_of(np.append(values, np.nan), percentiles=(10, 80)) == (10, 80)
    keep = np.ones(101, dtype=bool)
    assert make_view("G", "measured", values, values, keep, ColourScale(percentiles=(0, 50))).limits == (0, 50)
    low, high = make_view("G", "difference", np.zeros(101), values, keep, ColourScale(percentiles=(0, 50))).limits
    assert (low, high) == (-50, 50)
    with pytest.raises(ValueError, match="do not rise"):
        ColourScale(percentiles=(60, 40))


def test_an_interval_has_its_own_scale_and_unit():
    """The width of the band is painted on limits of its own, and is called what it is."""
    width = np.array([1.0, 2.0, np.nan, 3.0], dtype=np.float32)
    view = make_view("G", "interval", MEASURED, PREDICTED, KEEP, interval=width)
    assert view.limits == limits_of(width)
    assert view.caption.startswith("width of the 90 % band")
    assert "confidence" not in view.caption
    assert "width of the 90 % band 2.00" in hover_text("AAAC", view, 1, "")
    assert (view.face[:, 3] > 0).tolist() == [True, True, False, False]
    assert view.border[3, 3] == 1, "a ring: nothing was measured there"
    assert (make_view("G", "interval", MEASURED, PREDICTED, KEEP).face[:, 3] == 0).all()


def test_a_saved_view_keeps_its_scale():
    """Map, percentiles and logarithm come back from JSON; a file without them has the usual ones, and nonsense is refused."""
    view = SavedView(scale=ColourScale("paper", (2.0, 98.0), True))
    assert SavedView.model_validate_json(view.model_dump_json()) == view
    assert SavedView.model_validate({}).scale == ColourScale()
    for wrong in ({"map": "jet"}, {"percentiles": [90, 10]}):
        with pytest.raises(ValidationError):
            SavedView.model_validate_json(json.dumps({"scale": wrong}))
