"""Measured against predicted in the window: brushing both ways, the confusion matrix, flip and swipe, with the mouse and the keys."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from window_tools import canvas_of, drag, move, on_canvas, spots

from napari_deepspace._napari.scatter import Scatter
from napari_deepspace.cluster_colours import hex_rgba
from napari_deepspace.comparison import BRUSH, BY_HAND, CHOSEN, LINE, Comparison, confusion, line_x
from napari_deepspace.layers import Maps


@pytest.fixture
def compared(opened, small_run, qtbot):
    """The dock with a finished run and the window of measured against predicted."""
    session = opened.session
    opened.checks.shut()  # white tiles are not looked for, so that no spot is removed while a test goes on
    session.colours = None
    session.run_dir, session.maps = small_run(session.section)
    session.gene = "SPARC"
    opened.paint()
    opened.look_panel.against.click()
    qtbot.waitUntil(lambda: opened.compare.dialog.scatter.found is not None, timeout=5000)
    QTest.qWait(50)  # the heading has found its height
    yield opened
    opened.compare.shut()
    QTest.qWait(10)


def ringed(dock) -> np.ndarray:
    """The spots that have a bright, thick ring on the slide."""
    layer = spots(dock)
    bright = np.isclose(layer.border_color, hex_rgba(CHOSEN), atol=0.01).all(axis=1)
    return np.flatnonzero(bright & (layer.border_width > 0.2))


def test_the_window_selects_spots_by_a_rectangle_and_by_a_cell(compared, qtbot):
    """They are marked on the slide and told of as chosen by hand; an empty rectangle and Escape clear. Of clusters each cell has its spots."""
    dialog, session = compared.compare.dialog, compared.session
    scatter = dialog.scatter
    text = dialog.heading.text()
    for words in ("SYNTHETIC", "SPARC: ", "95 %", f"{session.maps.scores.n:,} spots not trained on; random"):
        assert words in text
    found, area = scatter.found, scatter.area()
    first, last = (QPoint(round(area.left() + share * area.width()), round(area.top() + share * area.height())) for share in (0.1, 0.5))
    xy = scatter.at(found.measured, found.predicted)
    inside = ((xy >= (first.x(), first.y())) & (xy <= (last.x(), last.y()))).all(axis=1)
    assert 20 < inside.sum() < len(inside) / 2
    before = spots(compared).face_color.copy()
    drag(scatter, [first, (first + last) / 2, last])
    np.testing.assert_array_equal(session.selected, found.spots[inside])
    qtbot.waitUntil(lambda: len(ringed(compared)) == inside.sum(), timeout=5000)
    np.testing.assert_array_equal(ringed(compared), session.selected)
    faded = np.setdiff1d(found.spots, session.selected)
    assert (spots(compared).face_color[faded, 3] < 0.5 * before[faded, 3]).all()
    assert f"{inside.sum():,} spots selected: SPARC measured mean {found.measured[inside].mean():.2f}" in dialog.selection.text()
    assert BY_HAND in dialog.selection.text()
    session.gene = "ESR1"
    qtbot.waitUntil(lambda: "ESR1 measured mean" in dialog.selection.text(), timeout=5000)
    assert "ESR1: " in dialog.heading.text()
    QTest.mouseClick(scatter, Qt.MouseButton.LeftButton, pos=QPoint(2, 2))
    assert session.selected is None
    qtbot.waitUntil(lambda: not len(ringed(compared)), timeout=5000)
    session.selected = np.array([3])
    QTest.keyClick(dialog, Qt.Key.Key_Escape)
    assert session.selected is None and dialog.isVisible()
    assert not dialog.tabs.isTabVisible(1)
    n, rng = session.section.adata.n_obs, np.random.default_rng(0)
    measured = np.eye(3, dtype=np.float32)[rng.integers(0, 3, n)]
    source, split = np.full(n, "out-of-fold", dtype=object), np.full(n, "test", dtype=object)
    session.maps = Maps("s", ("a", "b", "c"), rng.random((n, 3)).astype(np.float32), source, split, "forest", kind="clusters", measured=measured)
    qtbot.waitUntil(lambda: dialog.tabs.isTabVisible(1), timeout=5000)
    dialog.tabs.setCurrentIndex(1)
    table, found = dialog.matrix.table, confusion(session.maps, session.kept().keep)
    assert table.item(1, 2).text() == f"{found.counts[1, 2]:,}\n{found.shares[1, 2]:.0%}"
    QApplication.processEvents()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualItemRect(table.item(1, 2)).center())
    np.testing.assert_array_equal(session.selected, found.cell(1, 2))
    qtbot.waitUntil(lambda: len(ringed(compared)) == found.counts[1, 2], timeout=5000)
    for _ in range(2):  # the first clears, the second closes
        assert dialog.isVisible()
        QTest.keyClick(table, Qt.Key.Key_Escape)
    assert session.selected is None and not dialog.isVisible()


def test_a_lasso_on_the_slide_marks_its_spots_in_the_scatter(compared, viewer, qtbot):
    """With Shift held down the mouse draws round spots and the view stays; without it the view moves; when the dock is gone, so is the lasso."""
    session, scatter, section = compared.session, compared.compare.dialog.scatter, compared.session.section
    canvas, camera = canvas_of(viewer), viewer.scene.camera
    centre_yx = section.centres_yx.mean(axis=0)
    half = 8 * section.spot_diameter_px
    corners = centre_yx + half * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
    path = [on_canvas(viewer, x * section.mpp, y * section.mpp) for y, x in corners]
    before = camera.center
    drag(canvas, path, Qt.KeyboardModifier.ShiftModifier)
    near = (np.abs(section.centres_yx - centre_yx) < half - section.spot_diameter_px / 2).all(axis=1) & session.kept().keep
    far = (np.abs(section.centres_yx - centre_yx) > half + section.spot_diameter_px / 2).any(axis=1)
    assert camera.center == before
    assert near.sum() > 5 and set(np.flatnonzero(near)) <= set(session.selected)
    assert not set(np.flatnonzero(far)) & set(session.selected)
    assert compared.canvas.layer(BRUSH) is None
    qtbot.waitUntil(lambda: scatter._selected is not None, timeout=5000)
    np.testing.assert_array_equal(scatter.found.spots[scatter._selected], np.intersect1d(scatter.found.spots, session.selected))
    canvas.setFocus()
    QTest.keyClick(canvas, Qt.Key.Key_Escape)
    assert session.selected is None
    drag(canvas, [path[0], path[1]])
    assert camera.center != before and session.selected is None
    camera.center = before
    compared.compare.dialog.close()
    drag(canvas, path, Qt.KeyboardModifier.ShiftModifier)
    assert BY_HAND in compared.status.text()
    compared.shut()
    session.selected = None
    drag(canvas, path, Qt.KeyboardModifier.ShiftModifier)
    assert session.selected is None


def test_shift_v_flips_and_shift_w_swipes(compared, viewer, qtbot):
    """The key changes the colours, with the same limits and the same view; the line divides the maps and follows mouse and slider."""
    session, look, canvas, camera = compared.session, compared.look_panel, canvas_of(viewer), viewer.scene.camera
    section, x = session.section, session.section.centres_yx[:, 1]
    session.show = "measured"
    session.shared_limits = False
    QTest.keyClick(canvas, Qt.Key.Key_V, Qt.KeyboardModifier.ShiftModifier)
    view, layers, maps = camera.center, [layer.name for layer in viewer.layers], {}
    for expected in ("predicted", "measured"):
        assert session.show == expected
        QApplication.processEvents()
        compared.paint()
        maps[expected] = spots(compared).face_color.copy(), look.limits_shown()
        QTest.keyClick(canvas, Qt.Key.Key_V, Qt.KeyboardModifier.ShiftModifier)
    assert maps["measured"][1] == maps["predicted"][1]
    assert camera.center == view and [layer.name for layer in viewer.layers] == layers
    assert all(layer.visible for layer in viewer.layers)  # which the same key of napari would change
    assert not np.allclose(maps["measured"][0], maps["predicted"][0])

    def divided() -> bool:
        is_left = x < line_x(section, session.swipe)
        mixed = np.where(is_left[:, None], maps["measured"][0], maps["predicted"][0])
        return compared.canvas.layer(LINE) is not None and np.allclose(spots(compared).face_color, mixed, atol=1e-3)

    QTest.keyClick(canvas, Qt.Key.Key_W, Qt.KeyboardModifier.ShiftModifier)
    assert session.swipe == 0.5
    qtbot.waitUntil(divided, timeout=5000)
    assert "left measured, right predicted" in viewer.canvas.overlays.text.text
    start, end = (on_canvas(viewer, line_x(section, share) * section.mpp, camera.center[-2]) for share in (0.5, 0.75))
    drag(canvas, [start, (start + end) / 2, end])
    assert session.swipe == pytest.approx(0.75, abs=0.01)
    assert camera.center == view
    qtbot.waitUntil(divided, timeout=5000)
    dialog = compared.compare.dialog
    qtbot.waitUntil(lambda: dialog.line.value() == round(1000 * session.swipe), timeout=5000)
    dialog.line.setValue(200)
    assert session.swipe == 0.2
    qtbot.waitUntil(divided, timeout=5000)
    look.toggle.buttons["measured"].click()
    assert session.swipe is None
    qtbot.waitUntil(lambda: compared.canvas.layer(LINE) is None, timeout=5000)
    dialog.swipe.click()
    assert session.swipe is not None
    look.beside.click()
    assert session.swipe is None and session.side_by_side


def test_50000_spots_are_brushed_without_waiting(qtbot):
    """The scatter of a large section, and a rectangle round half of it, are drawn; the slide is told once, at the end."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((50_000, 2)).astype(np.float32)
    found = Comparison("A", np.arange(50_000), values[:, 0], values[:, 1], "unit")
    scatter = Scatter()
    qtbot.addWidget(scatter)
    scatter.resize(700, 700)
    scatter.grab()
    told: list[np.ndarray] = []
    scatter.brushed.connect(told.append)
    scatter.show_points(found, None)
    right = scatter.area().adjusted(scatter.area().width() / 2, 0, 0, 0).toRect()
    QTest.mousePress(scatter, Qt.MouseButton.LeftButton, pos=right.topLeft())
    move(scatter, right.bottomRight(), Qt.MouseButton.LeftButton)
    scatter.grab()
    assert not told
    QTest.mouseRelease(scatter, Qt.MouseButton.LeftButton, pos=right.bottomRight())
    scatter.grab()
    assert len(told) == 1
    assert 10_000 < told[0].sum() < 40_000
