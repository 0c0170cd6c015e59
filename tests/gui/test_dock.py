"""The dock in a real window: what a user sees and does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from window_tools import drop_on, move, painted, spots

from napari_deepspace._napari.app import find_dock


def click(widget) -> None:
    """One real click, after scrolling to the widget as a user would."""
    QTest.mouseClick(widget, Qt.MouseButton.LeftButton)


def test_from_an_empty_window_to_the_first_map_in_five_clicks(viewer, qtbot):
    """Plugins menu, the dock, the sample button: Quick trains by itself and its predictions are painted."""
    clicks = 0
    menu, bar = viewer.window.plugins_menu, viewer.window.main_menu
    QTest.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.actionGeometry(menu.menuAction()).center())
    clicks += 1
    qtbot.waitUntil(menu.isVisible, timeout=5000)
    entry = next(action for action in menu.actions() if "DeepSpaCE" in action.text())
    QTest.mouseClick(menu, Qt.MouseButton.LeftButton, pos=menu.actionGeometry(entry).center())
    clicks += 1
    qtbot.waitUntil(lambda: find_dock(viewer) is not None, timeout=20_000)
    dock = find_dock(viewer)
    qtbot.waitUntil(dock.isVisible, timeout=5000)
    click(dock.section_panel.sample_button)
    clicks += 1
    qtbot.waitUntil(lambda: dock.session.maps is not None and not dock.session.maps.live and dock.session.running is None, timeout=300_000)
    qtbot.waitUntil(lambda: painted(dock), timeout=5000)
    assert clicks <= 5
    view = dock.session.view()
    assert view.show == "predicted"
    np.testing.assert_allclose(spots(dock).face_color, view.face, atol=1e-6)
    np.testing.assert_array_equal(view.predicted, dock.session.maps.of(dock.session.gene))
    assert (dock.session.maps.source != "training").all(), "every spot of the section was held out once"
    result = dock.train_panel.run.result.text()
    for words in ("SYNTHETIC", "mean r", "24 genes", "spots", "spatial blocks", "colour alone", "neighbours alone"):
        assert words in result
    assert dock.section_panel.badge.isVisible()
    dock.estimates.cancel()


def test_nothing_is_cut_off_on_a_small_laptop(opened, qtbot):
    """At 1366 x 768 the dock needs no horizontal scrolling, whatever is unfolded."""
    from napari_deepspace._napari.widgets import Collapsible

    for part in opened.findChildren(Collapsible):
        part.set_open(True)
    QApplication.processEvents()
    content = opened.scroller.widget()
    assert content.minimumSizeHint().width() <= opened.scroller.viewport().width()
    assert opened.research.isVisible()
    assert opened.height() <= 768


def test_layers_lie_in_micrometres(opened, viewer):
    """Slide and spots share scale and units, spots have their true size, and the scale bar is on."""
    section = opened.session.section
    slide, points = opened.canvas.layer("slide"), spots(opened)
    for layer in (slide, points):
        assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
        np.testing.assert_allclose(layer.scale, section.mpp)
    np.testing.assert_allclose(points.size * section.mpp, 55)
    np.testing.assert_allclose(points.data, section.centres_yx)
    assert viewer.canvas.overlays.scale_bar.visible


def test_no_key_and_no_drag_changes_the_spots(opened, viewer, qtbot):
    """Select all, Delete, paste, dragging and adding leave the measured spots as they are, and the layer cannot be deleted."""
    layer = spots(opened)
    before = layer.data.copy()
    viewer.layers.selection.active = layer
    canvas = viewer.window._qt_viewer.canvas.native
    canvas.setFocus()
    for key, modifier in (
        (Qt.Key.Key_A, Qt.KeyboardModifier.NoModifier),
        (Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier),
        (Qt.Key.Key_Delete, Qt.KeyboardModifier.NoModifier),
        (Qt.Key.Key_Backspace, Qt.KeyboardModifier.NoModifier),
        (Qt.Key.Key_2, Qt.KeyboardModifier.NoModifier),
        (Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier),
        (Qt.Key.Key_V, Qt.KeyboardModifier.ControlModifier),
    ):
        QTest.keyClick(canvas, key, modifier)
        QApplication.processEvents()
    for mode in ("add", "select", "transform"):
        layer.mode = mode
        assert layer.mode == "pan_zoom"
        centre = canvas.rect().center()
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=centre)
        move(canvas, centre + QPoint(40, 25), Qt.MouseButton.LeftButton)
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=centre + QPoint(40, 25))
        QApplication.processEvents()
    layer.selected_data = {0, 1, 2}
    layer.remove_selected()
    np.testing.assert_array_equal(layer.data, before)
    np.testing.assert_array_equal(layer.affine.affine_matrix, np.eye(3))
    viewer.layers.selection = {layer}
    viewer.layers.remove_selected()
    assert layer in viewer.layers


def test_a_renamed_layer_is_still_painted(opened, qtbot):
    """Layers are known by what they are, not by their names."""
    spots(opened).name = "mine"
    before = spots(opened).face_color.copy()
    opened.session.gene = "SPARC"
    qtbot.waitUntil(lambda: not np.array_equal(spots(opened).face_color, before), timeout=5000)


def test_thresholds_remove_spots_live(opened, qtbot):
    """Each threshold says how many spots it removes; removed spots turn hollow at once."""
    section = opened.session.section
    totals = np.asarray(section.adata.X.sum(axis=1)).ravel()
    limit = int(np.median(totals))
    opened.quality_panel.umi.box.setValue(limit)
    removed = int((totals < limit).sum())
    assert opened.quality_panel.umi.removes.text() == f"removes {removed:,}"
    opened.session.paint = "gene"
    qtbot.waitUntil(lambda: bool(np.all(spots(opened).face_color[totals < limit, 3] == 0)), timeout=5000)
    assert np.all(spots(opened).border_color[totals < limit, 3] > 0)


def test_a_gene_is_found_among_33000_at_once(dock, qtbot):
    """Typing narrows the list with every key; the exact name comes first, and Enter adds it."""
    names = [f"GENE{number}" for number in range(33_000)] + ["FN1", "XFN10", "FN1B"]
    search = dock.train_panel.search
    search.set_names(names)
    added = []
    search.picked.connect(added.append)
    QTest.keyClicks(search.field, "fn1")
    assert search.model.rows == ["FN1", "FN1B", "XFN10"]
    QTest.keyClick(search.field, Qt.Key.Key_Return)
    assert added == ["FN1"]
    assert dock.train_panel.chips.names() == ("FN1",)
    QTest.keyClicks(search.field, "no such gene")
    QTest.keyClick(search.field, Qt.Key.Key_Return)
    assert "no such gene" in dock.status.text()


def test_hovering_a_spot_names_it(opened, viewer):
    """The dock's line and napari's status bar give barcode and measured value of the spot under the cursor."""
    section = opened.session.section
    kept = np.flatnonzero(opened.session.kept().keep)
    index = int(kept[len(kept) // 2])
    view = opened.session.view()
    position = tuple(section.centres_yx[index] * section.mpp)
    opened.painter.hover(position)
    barcode = section.adata.obs_names[index]
    assert f"{view.gene} measured {view.measured[index]:.2f}" in opened.look_panel.hover.text()
    assert barcode in opened.look_panel.hover.text()
    status = spots(opened).get_status(position, view_direction=np.array([1, 0, 0]), dims_displayed=[0, 1], world=True)
    assert barcode in status["coordinates"]
    opened.painter.hover((-1000.0, -1000.0))
    assert barcode not in opened.look_panel.hover.text()


def test_a_bad_folder_leaves_nothing_behind(dock, viewer, tmp_path, qtbot):
    """A folder without a section, dropped on the dock, gets one sentence in the dock; no layer and no half-open section stays."""
    (tmp_path / "empty").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_deepspace._napari.dock.show_error", lambda text: None)  # a toast in a test window outlives it
        drop_on(dock, tmp_path / "empty")
        qtbot.waitUntil(lambda: dock.status.property("level") == "error" and not dock.session.busy, timeout=30_000)
    assert str(tmp_path) in dock.status.text()
    assert len(viewer.layers) == 0
    assert dock.session.section is None


def test_a_bad_folder_leaves_the_open_section_as_it_was(opened, viewer, tmp_path, qtbot):
    """A failed opening changes nothing that was there."""
    before = list(viewer.layers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_deepspace._napari.dock.show_error", lambda text: None)
        opened.open_section(tmp_path)
        qtbot.waitUntil(lambda: opened.status.property("level") == "error" and not opened.session.busy, timeout=30_000)
    assert list(viewer.layers) == before
    assert opened.session.section is not None


def start(dock, qtbot) -> psutil.Process:
    """Start a network training and wait until its process works."""
    dock.train_panel.chips.set_names(["ESR1", "SPARC"])
    dock.train_panel.choose("network", "Light: ResNet18 from scratch, 10 epochs")
    click(dock.train_panel.start)
    qtbot.waitUntil(lambda: dock.training.child is not None, timeout=5000)
    qtbot.waitUntil(lambda: dock.train_panel.run.curves.isVisibleTo(dock), timeout=120_000)
    return psutil.Process(dock.training.child.process.pid)


@pytest.mark.acceptance
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_killed_training_leaves_napari_working_with_a_clear_message(opened, viewer, qtbot):
    """A SIGKILL of the child: the dock says what happened and where the rest is, and the window goes on."""
    process = start(opened, qtbot)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_deepspace._napari.dock.show_error", lambda text: None)
        os.kill(process.pid, signal.SIGKILL)
        qtbot.waitUntil(lambda: opened.session.running is None, timeout=10_000)
    assert "signal 9" in opened.status.text()
    assert "runs" in opened.status.text()
    assert opened.train_panel.start.isEnabled()
    opened.session.gene = "FN1"
    qtbot.waitUntil(lambda: painted(opened), timeout=5000)


@pytest.mark.acceptance
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_stop_leaves_no_process_within_two_seconds(opened, qtbot):
    """Stop ends the training and everything that it started."""
    process = start(opened, qtbot)
    family = [process, *process.children(recursive=True)]
    began = time.monotonic()
    click(opened.train_panel.stop)
    qtbot.waitUntil(lambda: opened.session.running is None and not any(_runs(p) for p in family), timeout=2000)
    assert time.monotonic() - began < 2
    assert opened.status.text() == "Training stopped."
    assert opened.session.maps is None, "a half-trained map must not look like a result"


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_closing_the_dock_ends_its_training(opened, viewer, qtbot):
    """No process outlives the dock."""
    opened.start_training()
    process = psutil.Process(opened.training.child.process.pid)
    assert _runs(process)
    viewer.window.remove_dock_widget(opened)
    qtbot.waitUntil(lambda: not _runs(process), timeout=5000)


def test_torch_never_enters_naparis_process(phantom_dir):
    """Opening the dock's modules and reading a section import neither torch nor scanpy nor albumentations."""
    code = f"""
import sys
from pathlib import Path
from napari_deepspace._napari import dock, loading
from napari_deepspace.settings import SectionSettings
list(loading.open_section(SectionSettings(path=Path({str(phantom_dir / "outs")!r}))))
print([name for name in ("torch", "torchvision", "scanpy", "albumentations") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_section_is_sample_data_of_napari(viewer):
    """File > Open Sample gives the slide in micrometres and locked spots above it."""
    slide, points = viewer.open_sample("napari-deepspace", "phantom")
    assert slide.rgb and slide.multiscale
    assert points.metadata["napari_deepspace"]["synthetic"]
    np.testing.assert_allclose(slide.scale, points.scale)


def test_a_folder_on_the_canvas_opens_in_the_dock(dock, viewer, phantom_dir, tmp_path, qtbot):
    """napari's own way of opening a Space Ranger folder leads to the dock; folders of others are left to others."""
    from napari_deepspace._napari.reader import get_reader

    for name in ("slide.tif", "slide.svs", "notes.csv"):
        (tmp_path / name).touch()
        assert get_reader(str(tmp_path / name)) is None
    (tmp_path / "store.zarr").mkdir()
    assert get_reader(str(tmp_path)) is get_reader(str(tmp_path / "store.zarr")) is None
    viewer.open(str(phantom_dir / "outs"), plugin="napari-deepspace")
    qtbot.waitUntil(lambda: dock.session.section is not None and not dock.session.busy, timeout=60_000)
    assert spots(dock) in viewer.layers


def test_an_h5ad_or_a_project_on_the_canvas_opens_in_the_dock(dock, viewer, phantom, tmp_path, qtbot):
    """An .h5ad file opens by its ending alone, with its genes; a project opens as a project."""
    from napari_deepspace.convert import convert

    convert(phantom, tmp_path / "section.h5ad")
    viewer.open(str(tmp_path / "section.h5ad"), plugin=None)  # as dropping does: no other reader is asked
    qtbot.waitUntil(lambda: dock.session.section is not None and not dock.session.busy, timeout=60_000)
    assert dock.session.section.adata.shape == phantom.adata.shape
    assert dock.session.section.mpp == pytest.approx(phantom.mpp)
    dock.save_project(tmp_path / "project")
    qtbot.waitUntil(lambda: dock.session.project is not None and not dock.session.busy, timeout=20_000)
    dock.session.project = None
    viewer.open(str(tmp_path / "project"), plugin="napari-deepspace")
    qtbot.waitUntil(lambda: dock.session.project == tmp_path / "project" and not dock.session.busy, timeout=60_000)


def test_two_maps_stand_side_by_side(opened, viewer, qtbot, small_run):
    """Measured on the left, predicted on the right, in one colour scale; off again leaves one map."""
    opened.session.run_dir, opened.session.maps = small_run(opened.session.section)
    opened.session.gene = "SPARC"
    click(opened.look_panel.beside)
    qtbot.waitUntil(lambda: opened.canvas.layer("spots, right") is not None, timeout=5000)
    left, right = (opened.session.view(show) for show in ("measured", "predicted"))
    assert left.limits == right.limits
    np.testing.assert_allclose(spots(opened).face_color, left.face, atol=1e-6)
    np.testing.assert_allclose(opened.canvas.layer("spots, right").face_color, right.face, atol=1e-6)
    assert viewer.canvas.grid.enabled
    click(opened.look_panel.beside)
    qtbot.waitUntil(lambda: opened.canvas.layer("spots, right") is None, timeout=5000)
    assert not viewer.canvas.grid.enabled


def test_training_spots_are_never_painted_as_predicted(opened, qtbot, small_run):
    """A prediction for a spot that the model was trained on stays hollow, and the hover line says why."""
    from napari_deepspace.layers import maps_of_result
    from napari_deepspace.run_maps import read_targets

    section = opened.session.section
    run_dir, _ = small_run(section)
    result = read_targets(next((run_dir / "predictions").glob("*.h5ad")))
    source = np.where(np.arange(section.adata.n_obs) % 2, "training", "out-of-fold")
    result.obs["deepspace_source"] = source
    opened.session.maps = maps_of_result(result, section)
    opened.session.gene = "SPARC"
    qtbot.waitUntil(lambda: opened.session.show == "predicted", timeout=5000)
    opened.paint()
    trained = source == "training"
    assert np.all(spots(opened).face_color[trained, 3] == 0)
    kept = opened.session.kept().keep
    opened.painter.hover(tuple(section.centres_yx[np.flatnonzero(trained & kept)[0]] * section.mpp))
    assert "training" in opened.look_panel.hover.text()


@pytest.mark.acceptance
def test_the_cost_is_told_before_start(opened, qtbot):
    """A trial in a child process says what each choice would take on this computer, and where it would run."""
    opened.estimates._timer.setInterval(0)
    opened.estimates.later()
    qtbot.waitUntil(lambda: "about" in opened.train_panel.cost.text(), timeout=180_000)
    for words in ("Quick: about", "paper's settings: about", "GB"):
        assert words in opened.train_panel.cost.text()
    assert opened.train_panel.device.text().startswith("Device: ")
