"""Neighbouring slides in the window: laid over the section, aligned by landmarks, seen, measured, kept, and gone with the section."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtTest import QTest
from shapely.geometry import box
from window_tools import drag

from napari_deepspace._napari.copying import CopyButton
from napari_deepspace.align.transform import IDENTITY
from napari_deepspace.neighbour_fit import Fit, fitted, transform_of, transform_values
from napari_deepspace.neighbour_layers import role_of
from napari_deepspace.outlines import Outline, read_outlines

MPP = 2.0


@pytest.fixture(scope="module")
def turned_slide(phantom, tmp_path_factory):
    """The section's own picture, smaller and turned by a quarter, as a slide of its own: a place (y, x) um lies at (width - x, y)."""
    path = tmp_path_factory.mktemp("slides") / "next.tif"
    width_um = phantom.slide.shape[1] * phantom.mpp
    image = phantom.slide.thumbnail(round(max(phantom.slide.shape) * phantom.mpp / MPP))
    tifffile.imwrite(path, np.ascontiguousarray(np.rot90(image)), tile=(256, 256), photometric="rgb", compression="jpeg")
    return path, width_um


@pytest.fixture
def laid(opened, turned_slide, qtbot):
    """The dock with that slide in its list, its um per px given."""
    panel, session = opened.neighbours_panel, opened.session
    panel.set_open(True)
    opened.neighbours.add([turned_slide[0]])
    qtbot.waitUntil(lambda: len(session.neighbours) == 1, timeout=20_000)
    qtbot.waitUntil(lambda: panel.mpp.isEnabled() and not panel.stop.isVisible(), timeout=10_000)
    return opened


def layer_of(dock):
    """The layer of the chosen slide."""
    return dock.canvas.layer(role_of(dock.session.chosen_neighbour))


def give_landmarks(dock, width_um, places):
    """Click the same places on both slides."""
    for y, x in places:
        dock.aligning.click(True, (y, x))
        dock.aligning.click(False, (width_um - x, y))


def measure_cells_and_outlines(dock, qtbot, tmp_path):
    """With cells of the slide there are an H-score and positive cells; outlines have a table of their own; both are written."""
    shown, session = dock.quantifying.dialog, dock.session
    assert shown.way.findData("h-score") < 0
    height, width = dock.neighbours.overlays.files[session.chosen_neighbour].slide.shape
    at = np.stack(np.meshgrid(np.arange(10, width, 20), np.arange(10, height, 20)), axis=-1).reshape(-1, 2)
    corners = [[-2, -2], [2, -2], [2, 2], [-2, 2], [-2, -2]]
    cells = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [(place + corners).tolist()]},
            "properties": {"objectType": "cell", "classification": {"name": "Tumor: 2+" if place[0] < width / 2 else "Tumor: Negative"}},
        }
        for place in at
    ]
    (tmp_path / "cells.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": cells}), encoding="utf-8")
    shown.cells_chosen.emit(tmp_path / "cells.geojson")
    qtbot.waitUntil(lambda: shown.way.findData("h-score") > 0 and shown.run.isEnabled(), timeout=60_000)
    assert shown.cells.text() == f"{len(at):,} cells"
    shown.way.setCurrentIndex(shown.way.findData("h-score"))
    shown.run.click()
    qtbot.waitUntil(lambda: dock.quantifying.found.way == "h-score" and shown.run.isEnabled(), timeout=30_000)
    scores = dock.quantifying.found.stain.of("h-score")
    assert np.nanmin(scores) == 0 and np.nanmax(scores) == 200
    dock.quantifying.save(tmp_path / "spots.csv")
    assert len(pd.read_csv(tmp_path / "spots.csv")) == session.section.adata.n_obs

    shown.at.buttons["outlines"].click()
    assert "no outline" in shown.heading.text()
    middle = np.array(session.section.slide.shape)[::-1] / 2
    session.outlines = (Outline(box(*(middle - 300), *(middle + 300)), "Tumour", name="middle"),)
    shown.run.click()
    qtbot.waitUntil(lambda: shown.outlines.model() is not None and shown.run.isEnabled(), timeout=30_000)
    model = shown.outlines.model()
    row = {model.headerData(i, Qt.Orientation.Horizontal): model.data(model.index(0, i)) for i in range(model.columnCount())}
    assert row["Outline"] == "middle" and 0 < float(row["Positive cells"]) < 1 and float(row["H-score"]) > 0
    assert "in 1 outline<" in shown.heading.text() and "left out" in shown.words.text()
    dock.quantifying.save(tmp_path / "outlines.csv")
    assert pd.read_csv(tmp_path / "outlines.csv")["class"].tolist() == ["Tumour"]
    copied = dock.quantifying.recipe()
    assert "--per-outline" in copied.command and "--cells" in copied.command and "quantify_outlines" in copied.python
    shown.at.buttons["spots"].click()
    qtbot.waitUntil(shown.run.isEnabled, timeout=30_000)


def test_a_slide_is_laid_over_aligned_seen_measured_and_kept(laid, turned_slide, qtbot, tmp_path):
    """A slide without a scale asks for it and is not aligned before; then landmarks clicked on both views, moved, deleted and undone, align it;
    it is seen whole, as a checkerboard and by its stain; its stain is measured; and it comes back with the project, and goes with the section."""
    dock, session, panel = laid, laid.session, laid.neighbours_panel
    width_um = turned_slide[1]
    assert session.neighbours[0].mpp is None
    assert not panel.align.isEnabled() and not panel.landmarks.isEnabled() and "Enter it" in panel.state.text()
    assert layer_of(dock) is None
    panel.mpp.setValue(MPP)
    panel.mpp.editingFinished.emit()
    assert layer_of(dock) is not None and "beside the section" in panel.state.text()
    assert layer_of(dock).affine.translate[1] > width_um, "not aligned, it must not lie on the section"

    panel.landmarks.click()
    dialog = dock.aligning.dialog
    qtbot.waitUntil(lambda: dialog.isVisible() and dialog.fixed._overview is not None, timeout=10_000)
    here = dialog.fixed.rect().center()
    QTest.mouseClick(dialog.fixed, Qt.MouseButton.LeftButton, pos=here)
    at = session.neighbours[0].pairs[0].fixed_yx_um
    np.testing.assert_allclose(at, np.array(session.section.slide.shape) * session.section.mpp / 2, atol=2 / dialog.fixed.zoom)
    dock.aligning.click(False, (width_um - at[1], at[0]))
    assert session.neighbours[0].pairs[0].complete
    give_landmarks(dock, width_um, [(300, 350), (1900, 500)])
    assert session.neighbours[0].how == "landmarks"
    give_landmarks(dock, width_um, [(1700, 1800)])
    matrix = transform_of(session.neighbours[0].transform).matrix
    np.testing.assert_allclose(matrix, [[0, 1, 0], [-1, 0, width_um], [0, 0, 1]], atol=1e-3 * width_um)
    assert session.neighbours[0].error_um < 5
    assert dialog.table.rowCount() == 4 and dialog.link.isEnabled()

    spot = dialog.fixed.on_screen(session.neighbours[0].pairs[0].fixed_yx_um).toPoint()
    drag(dialog.fixed, [spot, spot + QPoint(20, 0), spot + QPoint(40, 0)])
    moved = session.neighbours[0].pairs[0].fixed_yx_um
    assert moved[1] - at[1] == pytest.approx(40 / dialog.fixed.zoom, rel=0.1)
    assert session.neighbours[0].error_um > 50
    panel.quantify.click()
    assert "Withheld" in dock.quantifying.dialog.heading.text(), "an alignment that is off by more than a spot measures nothing"
    dock.quantifying.shut()
    dialog.undo.click()
    assert session.neighbours[0].error_um < 5
    dialog.table.selectRow(3)
    dialog.delete.click()
    assert len(session.neighbours[0].pairs) == 3
    dialog.undo.click()
    dialog.close()
    assert dock.aligning.dialog is None and len(session.neighbours[0].pairs) == 4

    layer = layer_of(dock)
    place = layer.data_to_world((0, 0))  # the first pixel of the turned slide is the upper right corner of the section
    np.testing.assert_allclose(place, (0, width_um), atol=5)
    panel.opacity.setValue(30)
    assert layer.opacity == pytest.approx(0.3)
    whole = np.asarray(layer.data[:600:10, :600:10])
    panel.cover.buttons["checkerboard"].click()
    squares = np.asarray(layer.data[:600:10, :600:10])
    assert (whole[..., 3] == 255).all() and 0.2 < (squares[..., 3] == 0).mean() < 0.8
    panel.haematoxylin.click()
    stain = dock.canvas.layer(role_of(session.chosen_neighbour, "haematoxylin"))
    assert stain is not None and not stain.rgb
    dock.neighbours.blink()
    assert not layer_of(dock).visible
    dock.neighbours.blink()

    session.gene = "ESR1"
    panel.quantify.click()
    qtbot.waitUntil(lambda: dock.quantifying.found is not None, timeout=60_000)
    found, shown = dock.quantifying.found, dock.quantifying.dialog
    assert found.rows[0].n > 400 and np.isfinite([found.rows[0].r, *found.rows[0].interval, found.rows[0].p]).all()
    assert "SYNTHETIC" in shown.heading.text() and f"n {found.rows[0].n:,}" in shown.heading.text()
    shown.findChild(CopyButton).copy_command()
    copied = QGuiApplication.clipboard().text()
    assert "napari-deepspace quantify" in copied and "--alignment alignment.json" in copied and "--gene ESR1" in copied
    shown.scatter.brushed.emit(np.arange(found.rows[0].n) < 10)
    assert len(session.selected) == 10
    measure_cells_and_outlines(dock, qtbot, tmp_path)
    session.blind = True
    assert dock.quantifying.dialog is None and not panel.quantify.isEnabled() and layer_of(dock).visible
    session.blind = False

    qtbot.waitUntil(lambda: session.neighbours[0].opacity == pytest.approx(0.3), timeout=5_000)
    dock.save_project(tmp_path / "project")
    kept = session.neighbours
    dock.open_project(tmp_path / "project")
    qtbot.waitUntil(lambda: session.busy == "loading", timeout=10_000)
    qtbot.waitUntil(lambda: not session.busy and bool(session.neighbours) and layer_of(dock) is not None, timeout=60_000)
    assert session.neighbours == kept and layer_of(dock).opacity == pytest.approx(0.3)
    dock.open_section(session.section.path)
    qtbot.waitUntil(lambda: session.busy == "loading", timeout=10_000)
    qtbot.waitUntil(lambda: not session.busy and layer_of(dock) is None, timeout=60_000)
    assert not [layer for layer in dock._viewer.layers if "next" in layer.name]


def test_a_slide_aligns_by_itself_or_says_that_it_cannot_and_sections_stack(laid, turned_slide, qtbot, tmp_path):
    """The right place is found from the tissue; a slide without tissue fails in words and stays beside the section; consecutive sections are
    spots in 3D, each at its depth, and what was seen in 2D comes back."""
    dock, session, panel = laid, laid.session, laid.neighbours_panel
    dock.neighbours.change(session.chosen_neighbour, {"mpp": MPP})
    panel.align.click()
    assert panel.stop.isEnabled() and not panel.align.isEnabled()
    qtbot.waitUntil(lambda: session.neighbours[0].transform is not None, timeout=120_000)
    one = session.neighbours[0]
    corners = np.array([[0, 0], [900, 500], [1500, 1700]])
    truth = np.column_stack([corners[:, 1], turned_slide[1] - corners[:, 0]])
    off = np.linalg.norm(transform_of(one.transform).apply(corners) - truth, axis=1)
    assert "estimated from the pictures themselves" in panel.state.text() and one.local_error.median_um < 20
    assert f"about ± {one.local_error.median_um:.0f} um" in panel.list.item(0).text()
    assert one.how == "automatic" and off.mean() < session.section.platform.spot_diameter_um / 2

    glass = tmp_path / "glass.tif"
    tifffile.imwrite(glass, np.full((900, 900, 3), 245, dtype=np.uint8), tile=(256, 256), photometric="rgb")
    qtbot.waitUntil(panel.add.isEnabled, timeout=10_000)
    dock.neighbours.add([glass, tmp_path / "nowhere.tif"])
    qtbot.waitUntil(lambda: len(session.neighbours) == 2 and panel.add.isEnabled(), timeout=20_000)
    assert "there is no such image" in dock.messages[-1]
    dock.neighbours.change(session.chosen_neighbour, {"mpp": MPP})
    said = len(dock.messages)
    panel.align.click()
    qtbot.waitUntil(lambda: len(dock.messages) > said and panel.add.isEnabled(), timeout=60_000)
    assert session.neighbours[1].transform is None and dock.status.property("level") == "error"
    dock.neighbours.remove(session.chosen_neighbour)
    assert [one.name for one in session.neighbours] == ["next"]

    dock.neighbours.add([session.section.path])
    qtbot.waitUntil(lambda: len(session.neighbours) == 2 and panel.add.isEnabled(), timeout=60_000)
    behind = dock.neighbours.one()
    assert behind.counts and behind.mpp == session.section.mpp
    dock.neighbours.put(fitted(behind, Fit(transform_values(IDENTITY), 1.0, ""), "landmarks").model_copy(update={"gap_um": 25.0}))
    seen = {layer.name: layer.visible for layer in dock._viewer.layers}
    panel.stack.click()
    assert dock._viewer.dims.ndisplay == 3
    slabs = [layer for layer in dock._viewer.layers if layer.metadata["napari_deepspace"]["role"] == "stack"]
    assert [float(layer.data[0, 0]) for layer in slabs] == [0.0, (behind.thickness_um + 25.0) * panel.stretch.value()], (
        "half of each thickness, and the gap"
    )
    before = slabs[0].face_color.copy()
    session.gene = "SPARC" if session.gene != "SPARC" else "ESR1"
    slabs = [layer for layer in dock._viewer.layers if layer.metadata["napari_deepspace"]["role"] == "stack"]
    assert not np.array_equal(before, slabs[0].face_color)
    panel.stack.click()
    assert dock._viewer.dims.ndisplay == 2 and {layer.name: layer.visible for layer in dock._viewer.layers} == seen


def test_a_thin_plate_one_glass_and_outlines_there_and_back(laid, turned_slide, qtbot, tmp_path):
    """Landmarks that bend make a thin plate, seen as a slide computed piece by piece; a file of the same glass needs no scale and finds its own;
    outlines written in the other file's pixels come back where they were."""
    dock, session, panel = laid, laid.session, laid.neighbours_panel
    width_um = turned_slide[1]
    panel.same_glass.click()
    assert session.neighbours[0].same_glass and panel.align.isEnabled() and not panel.landmarks.isEnabled()
    panel.align.click()
    qtbot.waitUntil(lambda: session.neighbours[0].transform is not None and panel.add.isEnabled(), timeout=60_000)
    one = session.neighbours[0]
    assert one.mpp == pytest.approx(MPP, rel=0.01) and "two files of one glass" in one.note.lower()
    place = transform_of(one.transform).apply(np.array([[900.0, 500.0]]))[0]
    np.testing.assert_allclose(place, (500, width_um - 900), atol=5)

    drawn = Outline(box(900, 1000, 1500, 1400), "Stroma", name="mine")
    session.outlines = (drawn,)
    assert panel.outlines_out.isEnabled()
    dock.aligning.give_outlines(tmp_path / "there.geojson")
    there = read_outlines(tmp_path / "there.geojson")[0]
    assert there.geometry.area == pytest.approx(drawn.geometry.area * (session.section.mpp / MPP) ** 2, rel=0.05)
    session.outlines = ()
    dock.aligning.take_outlines(tmp_path / "there.geojson")
    qtbot.waitUntil(lambda: len(session.outlines) == 1 and panel.add.isEnabled(), timeout=20_000)
    assert session.outlines[0].geometry.hausdorff_distance(drawn.geometry) < 3 and session.outlines[0].name == "mine"

    panel.landmarks.click()
    bent = [(300, 350), (1900, 500), (1700, 1800), (350, 1700), (1000, 1060)]
    for y, x in bent:
        dock.aligning.click(True, (y + (60 if y == 1000 else 0), x))
        dock.aligning.click(False, (width_um - x, y))
    dock.aligning.dialog.kind.buttons["thin_plate"].click()
    one = session.neighbours[0]
    assert one.how == "landmarks" and one.transform["kind"] == "thin_plate"
    assert "only what is left out counts" in dock.aligning.dialog.words.text()
    np.testing.assert_allclose(transform_of(one.transform).apply(np.array([[width_um - 1060, 1000.0]])), [[1060, 1060]], atol=1e-3)
    layer = layer_of(dock)
    np.testing.assert_allclose(layer.affine.affine_matrix[-3:, -3:], np.eye(3), atol=1e-9)
    assert np.asarray(layer.data[-1])[..., :3].std() > 5
    dock.aligning.shut()
