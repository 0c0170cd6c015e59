"""Neighbouring slides in the window: laid over the section, aligned by landmarks, seen, measured, kept, and gone with the section."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtTest import QTest
from window_tools import drag

from napari_deepspace._napari.copying import CopyButton
from napari_deepspace.align.transform import IDENTITY
from napari_deepspace.neighbour_fit import Fit, fitted, transform_of, transform_values
from napari_deepspace.neighbour_layers import role_of

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
