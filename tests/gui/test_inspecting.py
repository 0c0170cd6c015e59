"""One spot looked at in the window: a click pins its card, the tour goes from stop to stop, causes are filed, look-alikes come from what is kept."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from window_tools import move, painted

from napari_deepspace.causes import CAUSE
from napari_deepspace.look_alikes import Axes, Looks, axes_path, keep_arrays, looks_path
from napari_deepspace.project import causes_path, open_project
from napari_deepspace.runs import write_json
from napari_deepspace.tiles import cut_tiles, tile_radius_px

PLAIN, SHIFT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def looked_at(opened, small_run):
    """The dock with the synthetic section and a run that predicts ESR1 and SPARC at random, with look-alikes that are kept already."""
    from safetensors.numpy import save_file

    section = opened.session.section
    run_dir, maps = small_run(section)
    n = section.adata.n_obs
    write_json(run_dir / "model" / "model.json", {"tile_um": 137.5, "tile_px": 60, "settings": {"model": {}}})
    save_file({"nothing": np.zeros(1, np.float32)}, run_dir / "model" / "weights.safetensors")
    row = section.adata.obs["array_row"].to_numpy()
    looks = Looks(
        library_id=section.library_id,
        slide=section.slide.fingerprint(),
        image=str(section.slide.path),
        mpp=section.mpp,
        barcodes=section.adata.obs_names.to_numpy(dtype=str),
        centres_yx=section.centres_yx,
        array_rc=section.adata.obs[["array_row", "array_col"]].to_numpy(),
        fingerprints=np.arange(1, n + 1, dtype=np.uint64),
        learned=np.ones(n, dtype=bool),
        fold=np.full(n, -1),
        unlike=row == row.min(),
        coordinates=np.column_stack([row, row]).astype(np.float16),  # spots of one row look alike
        stain=np.zeros((0, 3)),
    )
    keep_arrays(looks_path(run_dir, section.library_id, 0), looks)
    axes = Axes(np.zeros(2, np.float32), np.eye(2, dtype=np.float32), 0.5, 137.5, np.array([section.library_id]))
    keep_arrays(axes_path(run_dir, 0), axes)
    opened.session.run_dir = run_dir
    opened.session.maps = maps
    opened.session.gene = "SPARC"
    opened.paint()
    return opened


def canvas_of(dock):
    return dock.canvas.viewer.window._qt_window._qt_viewer.canvas.native


def place_of(dock, index) -> QPoint:
    """Where the canvas shows a spot, in its own pixels."""
    camera, (height, width) = dock.canvas.viewer.scene.camera, dock.canvas.viewer.canvas.size
    y, x = dock.session.section.centres_yx[index] * dock.session.section.mpp
    return QPoint(round(width / 2 + (x - camera.center[-1]) * camera.zoom), round(height / 2 + (y - camera.center[-2]) * camera.zoom))


def click(dock, index, modifier=PLAIN, drag=0):
    canvas, at = canvas_of(dock), place_of(dock, index)
    move(canvas, at)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, modifier, at)
    if drag:
        move(canvas, at + QPoint(drag // 2, 0), Qt.MouseButton.LeftButton)
        move(canvas, at + QPoint(drag, 0), Qt.MouseButton.LeftButton)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, modifier, at + QPoint(drag, 0))


def with_six(section, rows) -> int:
    """A spot of ``rows`` (bool) far from the border."""
    middle = np.abs(section.centres_yx - section.centres_yx.mean(axis=0)).sum(axis=1)
    return int(np.flatnonzero(rows)[middle[rows].argmin()])


def test_a_click_pins_a_card_and_a_drag_does_not(looked_at, qtbot):
    """By the left button without keys; a second click pins another spot in the same window; closing it forgets the spot. Hovering pins nothing."""
    dock, section = looked_at, looked_at.session.section
    keep = dock.session.kept().keep
    first, second = with_six(section, keep), int(np.flatnonzero(keep)[200])
    dock.painter.hover(tuple(section.centres_yx[first] * section.mpp))
    text = dock.look_panel.hover.text()
    assert text.startswith(str(section.adata.obs_names[first])) and "SPARC measured" in text and "predicted" in text
    assert f"{int(dock.session.loaded.spots['umi'].iloc[first]):,} UMI" in text and f"cluster {dock.session.clusters.iloc[first]}" in text
    click(dock, first, drag=30)
    click(dock, first, SHIFT)
    assert dock.inspector.pinned is None and dock.inspector.card is None
    dock.canvas.viewer.reset_view()
    click(dock, first)
    assert dock.inspector.pinned == first
    card = dock.inspector.card
    assert card.isVisible() and not card.isModal() and section.adata.obs_names[first] in card.place.text()
    assert f"measured <b>{dock.session.measured()[0][first]:.2f}</b>" in card.values.text() and "out-of-fold" in card.values.text()
    assert "6 neighbours" in card.around.text() and "SYNTHETIC" in card.note.text()
    assert dock.canvas.layer("pinned") is not None and dock.canvas.viewer.layers.selection.active.name == dock.canvas.layer("spots").name
    click(dock, second)
    assert dock.inspector.card is card and section.adata.obs_names[second] in card.place.text()
    dock.session.gene = "ESR1"
    qtbot.waitUntil(lambda: "ESR1" in card.values.text(), timeout=5000)
    card.close()
    assert dock.inspector.pinned is None and dock.canvas.layer("pinned") is None


def test_the_card_shows_the_tile_top_genes_and_look_alikes(looked_at, qtbot):
    """The tile in the run's size and pixels; look-alikes with their measured value; a click on one flies there; unlike tiles have none."""
    dock, section = looked_at, looked_at.session.section
    index = with_six(section, dock.session.kept().keep)
    dock.inspector.pin(index)
    card = dock.inspector.card
    qtbot.waitUntil(lambda: bool(dock.inspector.alike.shown.found) and "High here" in card.top.text(), timeout=20_000)
    assert "137.5 um, 60 px" in card.tile_words.text()
    tile = cut_tiles(section.slide, section.centres_yx[[index]], tile_radius_px(137.5, section.mpp), 60)[0]
    shown = card.tiles[0].pixmap().toImage().pixelColor(5, 5)
    near = tile[:6, :6].reshape(-1, 3).mean(axis=0)  # enlarged and smoothed
    assert np.abs(near - [shown.red(), shown.green(), shown.blue()]).max() < 40
    found = dock.inspector.alike.shown.found
    assert len(found) == 5 and {one.array_row for one in found} == {int(section.adata.obs["array_row"].iloc[index])}
    other = section.adata.obs_names.get_loc(found[2].barcode)
    assert card.alike[2].text() == f"{dock.session.measured()[0][other]:.2f}".replace("nan", "–") and not card.alike[2].icon().isNull()
    QTest.mouseClick(card.alike[2], Qt.MouseButton.LeftButton)
    assert dock.canvas.viewer.scene.camera.center[-2:] == pytest.approx(section.centres_yx[other] * section.mpp)
    assert dock.inspector.pinned == index
    dock.inspector.pin(int(section.adata.obs["array_row"].to_numpy().argmin()))
    qtbot.waitUntil(lambda: "nothing similar was measured" in card.alike_words.text(), timeout=10_000)
    assert not card.alike[0].isVisible()


def test_the_tour_by_keys(looked_at, qtbot):
    """Shift-N goes to the largest difference, then to smaller ones elsewhere; Shift-P back; the stop is told in the card and in the dock."""
    dock = looked_at
    canvas = canvas_of(dock)
    QTest.keyClick(canvas, Qt.Key.Key_N, SHIFT)
    view = dock.session.view()
    first = dock.inspector.pinned
    assert first is not None and np.nanmax(np.abs(view.predicted - view.measured)) == pytest.approx(abs(view.predicted - view.measured)[first])
    words = f"stop 1 of 20: measured {view.measured[first]:.1f}, predicted {view.predicted[first]:.1f}"
    assert words in dock.messages[-1] and dock.inspector.card.stop.text() == words
    assert dock.canvas.viewer.scene.camera.center[-2:] == pytest.approx(dock.session.section.centres_yx[first] * dock.session.section.mpp)
    QTest.keyClick(canvas, Qt.Key.Key_N, SHIFT)
    assert dock.inspector.pinned != first and "stop 2 of 20" in dock.messages[-1]
    QTest.keyClick(canvas, Qt.Key.Key_P, SHIFT)
    assert dock.inspector.pinned == first
    QTest.keyClick(canvas, Qt.Key.Key_P, SHIFT)
    assert "stop 20 of 20" in dock.messages[-1]
    QTest.mouseClick(dock.inspector.card.on, Qt.MouseButton.LeftButton)
    assert dock.inspector.pinned == first
    dock.session.gene = next(gene for gene in dock.session.section.adata.var_names if gene not in dock.session.maps.genes)
    QTest.keyClick(canvas, Qt.Key.Key_N, SHIFT)
    assert "does not predict" in dock.messages[-1]


def test_causes_are_filed_by_key_and_button_and_taken_back(looked_at, qtbot):
    """Whatever character Shift makes of the digit; napari's own tools of the layer stay as they are."""
    dock, canvas = looked_at, canvas_of(looked_at)
    obs = dock.session.section.adata.obs
    window = canvas.window()
    window.activateWindow()  # a shortcut is for the window that is active
    qtbot.waitUntil(window.isActiveWindow, timeout=5000)
    canvas.setFocus()
    QTest.keyClick(canvas, Qt.Key.Key_2, SHIFT)
    assert CAUSE not in obs and "Click a spot first" in dock.messages[-1]
    dock.inspector.go(1)
    index = dock.inspector.pinned
    canvas.setFocus()
    QTest.keyClick(canvas, Qt.Key.Key_2, SHIFT)
    assert obs[CAUSE].iloc[index] == "necrosis" and obs[CAUSE].notna().sum() == 1
    qtbot.waitUntil(dock.inspector.card.causes["necrosis"].isChecked, timeout=5000)
    layer = dock.canvas.layer("spots")
    assert str(layer.mode) == "pan_zoom" and len(layer.data) == len(obs)
    QTest.keyClick(canvas, Qt.Key.Key_2, SHIFT)
    assert CAUSE not in obs
    QTest.mouseClick(dock.inspector.card.causes["failed spot"], Qt.MouseButton.LeftButton)
    assert obs[CAUSE].iloc[index] == "failed spot" and "filed as failed spot" in dock.messages[-1]


def test_causes_come_back_with_the_project(looked_at, viewer, qtbot, tmp_path):
    """Kept as they are filed once there is a project, and when the section is only read again."""
    dock = looked_at
    dock.save_project(tmp_path / "project")
    dock.inspector.go(1)
    barcode = str(dock.session.section.adata.obs_names[dock.inspector.pinned])
    dock.inspector.file("real")
    path = causes_path(open_project(tmp_path / "project"), dock.session.section.library_id)
    assert f"{barcode},real" in path.read_text()
    before = dock.session.loaded
    dock.reopen(platform="visium")
    qtbot.waitUntil(lambda: dock.session.loaded is not before and not dock.session.busy, timeout=60_000)
    assert dock.session.section.adata.obs[CAUSE].dropna().to_dict() == {barcode: "real"} and dock.inspector.pinned is None
    before = dock.session.loaded
    dock.open_project(tmp_path / "project")
    qtbot.waitUntil(lambda: dock.session.loaded is not before and not dock.session.busy and painted(dock), timeout=60_000)
    assert dock.session.causes.to_dict() == {barcode: "real"}
    assert dock.session.section.adata.obs[CAUSE].dropna().to_dict() == {barcode: "real"}
    dock.inspector.pin(int(dock.session.section.adata.obs_names.get_loc(barcode)))
    dock.inspector.file("real")
    assert not path.exists()


def test_without_a_model_the_card_still_tells(opened, qtbot):
    """A section without any run: values, neighbours and tile, and why there is nothing more."""
    dock = opened
    dock.inspector.pin(with_six(dock.session.section, dock.session.kept().keep))
    card = dock.inspector.card
    qtbot.waitUntil(lambda: "As a model would see it" in card.tile_words.text(), timeout=20_000)
    assert "no run is shown" in card.values.text() and "No run" in card.alike_words.text() and not card.on.isEnabled()
    dock.shut()
    QApplication.processEvents()
    assert dock.inspector.card is None and not any(getattr(one, "__name__", "") == "click" for one in dock.canvas.viewer.mouse_drag_callbacks)
