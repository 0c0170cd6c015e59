"""Between the spots, in the window: a denser map is made in a process of its own, painted with the gene, and never called more than it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from window_tools import spots

from napari_deepspace import fit
from napari_deepspace.cluster_colours import class_lut
from napari_deepspace.colour_scale import ColourScale, spread, table
from napari_deepspace.denser import values
from napari_deepspace.denser_layers import BETWEEN, DENSER, TILE, TOO_NEAR, too_near
from napari_deepspace.run_maps import maps_of_run
from napari_deepspace.settings import RunSettings, SectionSettings

SETTINGS = {"target": {"names": ["SPARC", "ESR1"]}, "split": {"folds": 2, "block_um": 300}}


@pytest.fixture(scope="module")
def run_dir(small, tmp_path_factory):
    """A finished Quick run on a part of the synthetic section."""
    folder = tmp_path_factory.mktemp("runs") / "quick-1"
    fit(small, RunSettings(sections=(SectionSettings(path=small.path),), **SETTINGS), folder, progress=False)
    return folder


@pytest.fixture
def trained(opened, run_dir):
    """The dock with that run in it, its map looked at."""
    section = opened.session.section
    opened.session.run_dir = run_dir
    opened.session.maps = maps_of_run(run_dir, section)
    opened.session.gene = "SPARC"
    opened.denser_panel.set_open(True)
    return opened


def made(dock, qtbot, where, role):
    """Ask for a map and wait until it is painted."""
    panel = dock.denser_panel
    panel.where.buttons[where].click()
    panel.make.click()
    qtbot.waitUntil(lambda: dock.session.running is None and dock.canvas.layer(role) is not None, timeout=400_000)
    qtbot.waitUntil(lambda: not dock.session.busy, timeout=10_000)
    return dock.session.denser


@pytest.mark.acceptance
def test_points_between_spots_are_told_apart_from_spots(trained, qtbot):
    """They are smaller than spots, of another symbol, and as many as the map has points."""
    between = made(trained, qtbot, "between-spots", BETWEEN)
    layer = trained.canvas.layer(BETWEEN)
    assert len(layer.data) == len(between.centres_yx)
    assert str(layer.symbol[0]) != str(spots(trained).symbol[0])
    assert np.all(layer.size < spots(trained).size.min())


def test_a_denser_map_is_made_and_painted(trained, qtbot):
    """It is an image, transparent outside the tissue, below the spots; a gene's map is computed from what is stored when the gene is chosen;
    caption and panel say predicted, and how fine it is."""
    dock, panel = trained, trained.denser_panel
    assert panel.make.isEnabled()
    panel.where.buttons["grid"].click()
    panel.spacing.setValue(100)
    grid = made(dock, qtbot, "grid", DENSER)
    image = dock.canvas.layer(DENSER)
    assert np.isnan(image.data).any()
    row, column = grid.cell[grid.on_tissue][7]
    place = image.data_to_world((row, column))
    np.testing.assert_allclose(place, grid.centres_yx[grid.on_tissue][7] * dock.session.section.mpp, atol=0.1)
    layers = dock._viewer.layers
    assert layers.index(image) < layers.index(spots(dock))
    dock.session.gene = "ESR1"
    qtbot.waitUntil(lambda: np.nanmax(np.abs(image.data[tuple(grid.cell.T)] - values(grid, "ESR1"))) < 1e-5, timeout=60_000)
    qtbot.waitUntil(lambda: "denser map (predicted)" in dock._viewer.canvas.overlays.text.text, timeout=10_000)
    assert "no single cells" in panel.words.text()
    dock.annotate_panel.blind.click()  # drawing blind, nothing of it is seen or told
    qtbot.waitUntil(lambda: not image.visible, timeout=10_000)
    dock.denser.hover(tuple(place))
    dock.session.gene = "SPARC"
    dock.session.gene = "ESR1"
    qtbot.wait(50)
    assert not image.visible and not panel.hover.isVisibleTo(panel) and not panel.colours.isVisibleTo(panel)
    assert dock.canvas.layer(TILE) is None
    assert dock.proposing.sources() == []
    dock.annotate_panel.blind.click()
    qtbot.waitUntil(lambda: image.visible, timeout=10_000)
    assert dock.proposing.sources()[0] == ("denser", "ESR1, denser map")
    dock.session.scale = ColourScale("magma", log=True)

    def logarithmic() -> bool:
        lut = dock.session.view("predicted").lut  # paler where the run says that a gene's map adds nothing
        wanted = spread(table("magma") if lut is None else lut, tuple(image.contrast_limits), log=True)
        return len(image.colormap.colors) == len(wanted) and np.allclose(image.colormap.colors, wanted, atol=1e-5)

    qtbot.waitUntil(logarithmic, timeout=20_000)
    assert "by logarithm" in panel.colours.unit.text()
    dock.session.denser = dataclasses.replace(grid, kind="clusters")  # as if its two outputs were clusters
    dock.session.denser_show = "class"
    qtbot.waitUntil(lambda: list(panel.legend.rows) == list(grid.outputs), timeout=60_000)
    dock.session.recolour("ESR1", "#123456", grid.outputs)
    panel.legend.rows["SPARC"][1].click()
    classes = class_lut({"SPARC": "#1f77b4", "ESR1": "#123456"}, {"SPARC"})
    qtbot.waitUntil(lambda: np.allclose(image.colormap.colors, classes, atol=1e-5), timeout=60_000)
    assert dock.session.section.adata.uns["deepspace_cluster_colors"][1] == "#123456"
    assert sum(int(box.text().split("(")[1].rstrip(")").replace(",", "")) for _, box in panel.legend.rows.values()) == grid.on_tissue.sum()
    assert [folder for _, folder in dock.denser.made()]
    centre = grid.centres_yx[grid.on_tissue][7] * dock.session.section.mpp
    dock.denser.hover(tuple(centre))
    outline = dock.canvas.layer(TILE)
    size = np.ptp(outline.data[0], axis=0) * dock.session.section.mpp
    np.testing.assert_allclose(size, grid.tile_um, rtol=1e-6)
    np.testing.assert_allclose(outline.translate, centre)
    assert "ESR1 predicted" in panel.hover.text()
    dock._viewer.scene.camera.zoom = 40
    qtbot.waitUntil(lambda: TOO_NEAR in dock._viewer.canvas.overlays.text.text, timeout=10_000)
    panel.show_what.buttons["disagreement"].click()
    qtbot.waitUntil(lambda: "disagreement between models" in dock._viewer.canvas.overlays.text.text, timeout=60_000)
    panel.chosen.emit("")
    assert dock.session.denser is None
    assert dock.canvas.layer(DENSER) is None
    assert TOO_NEAR not in dock.canvas.extra


@pytest.mark.acceptance  # half a minute and more
def test_a_map_that_is_stopped_leaves_nothing_that_is_taken_for_one(trained, qtbot):
    """Stop ends the process within seconds and nothing is shown; Predict then goes on from there and ends with the map."""
    panel = trained.denser_panel
    panel.where.buttons["grid"].click()
    panel.spacing.setValue(60)
    panel.make.click()
    qtbot.waitUntil(lambda: trained.denser.child is not None and trained.denser.child.alive(), timeout=60_000)
    panel.stop.click()
    qtbot.waitUntil(lambda: trained.session.running is None, timeout=60_000)
    assert trained.session.denser is None
    assert panel.make.isEnabled()
    assert made(trained, qtbot, "grid", DENSER).spacing_um == 60


def test_too_near_is_where_what_the_model_tells_apart_fills_the_view():
    """At one pixel a um 110 um are little of 600 pixels; at two they are more than a quarter."""
    assert not too_near(110, 1, (600, 800))
    assert too_near(110, 2, (600, 800))
