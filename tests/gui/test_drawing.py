"""The Outlines step in a real window, with the mouse: drawing, undo, locks, the brush, blind drawing, and what is left after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from shapely.geometry import Point, box
from window_tools import canvas_of, drag, move, on_canvas, painted, spots

from napari_deepspace.annotating import CLASSES
from napari_deepspace.outlines import BLIND, HAND, MADE, Outline, read_outlines


def corners(viewer, section, x: float, y: float, half: float) -> list[QPoint]:
    """Where the corners of a square lie on the canvas; its middle and half its side in shares of the section."""
    (y0, x0), (y1, x1) = section.centres_yx.min(axis=0) * section.mpp, section.centres_yx.max(axis=0) * section.mpp
    shares = [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]
    return [on_canvas(viewer, x0 + a * (x1 - x0), y0 + b * (y1 - y0)) for a, b in shares]


def click(viewer, points: list[QPoint]) -> None:
    """Click from one to the next, and twice at the last."""
    canvas = canvas_of(viewer)
    for point in points:
        move(canvas, point)
        QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=point)
        QTest.qWait(25)
    QTest.mouseDClick(canvas, Qt.MouseButton.LeftButton, pos=points[-1])
    QTest.qWait(25)


def test_outlines_are_drawn_undone_locked_and_brushed(opened, viewer, qtbot):
    """Each new one has the chosen class, whatever is selected, and says who and when; every change can be undone; a locked one stays as it is."""
    panel, session, canvas = opened.annotate_panel, opened.session, canvas_of(viewer)
    opened.checks.shut()
    session.author = "Dr. Somebody"
    panel.tools.buttons["polygon"].click()
    panel.of_class.setEditText("Invasive")
    panel.of_class.lineEdit().editingFinished.emit()
    click(viewer, corners(viewer, session.section, 0.3, 0.3, 0.1))
    (first,) = session.outlines
    assert (first.classification, first.author, first.origin) == ("Invasive", "Dr. Somebody", HAND)
    assert first.date.endswith("Z")
    side_px = 0.2 * np.ptp(session.section.centres_yx[:, 1])
    assert first.geometry.area == pytest.approx(side_px**2, rel=0.15)

    panel.tools.buttons["select"].click()
    drag(canvas, [corners(viewer, session.section, 0.3, 0.3, 0)[0]])
    assert session.chosen_outline == first.id, "a click on the slide chooses it in the list"
    session.outline_class = "Immune"
    panel.tools.buttons["freehand"].click()
    around = [corners(viewer, session.section, 0.7 + 0.1 * np.cos(a), 0.3 + 0.1 * np.sin(a), 0)[0] for a in np.linspace(0, 2 * np.pi, 14)]
    drag(canvas, around)
    assert [one.classification for one in session.outlines] == ["Invasive", "Immune"]
    assert list(opened.canvas.layer("outlines").features["class"]) == ["Invasive", "Immune"]
    layer = opened.canvas.layer("outlines")
    np.testing.assert_allclose(np.array(layer.edge_color)[:, :3] * 255, [CLASSES["Invasive"], CLASSES["Immune"]], atol=1)

    listed = panel.outlines
    session.chosen_outline = first.id
    listed.name.setText("Nest 1")
    listed.name.editingFinished.emit()
    listed.of_class.picked.emit("Nerve")
    listed.ask_colour = lambda colour: (1, 2, 3)
    listed.colour.click()
    listed.lock.click()
    locked = session.outlines[0]
    assert (locked.name, locked.classification, locked.colour, locked.locked) == ("Nest 1", "Nerve", (1, 2, 3), True)
    assert listed.list.item(0).text() == "Nest 1 – Nerve · locked"
    assert not listed.delete.isEnabled()

    panel.tools.buttons["select"].click()
    layer = opened.canvas.layer("outlines")
    here, there = (corners(viewer, session.section, x, 0.3, 0)[0] for x in (0.3, 0.5))
    drag(canvas, [here, (here + there) / 2, there])
    QTest.keyClick(canvas, Qt.Key.Key_Delete)
    layer.selected_data = {0, 1}
    layer.remove_selected()
    assert session.outlines == (locked,), "the mouse, the key and napari's own delete take only what is not locked"
    opened.drawing.delete(locked.id)
    assert "“Nest 1” is locked: unlock it" in opened.messages[-1]
    assert session.outlines == (locked,)

    for _ in range(5):
        QTest.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert [one.classification for one in session.outlines] == ["Invasive", "Immune"]
    assert session.outlines[0] == first
    panel.undo.click()
    assert session.outlines == (first,)
    for _ in range(6):
        QTest.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    assert session.outlines == (locked,)
    assert not panel.redo.isEnabled()

    session.chosen_outline, session.brush_um = "", 200
    panel.tools.buttons["brush"].click()
    centre = tuple(viewer.scene.camera.center)
    stroke = [corners(viewer, session.section, x, 0.7, 0)[0] for x in (0.3, 0.4, 0.5)]
    drag(canvas, stroke)
    painted_first = session.outlines[1].geometry.area
    drag(canvas, [stroke[-1], corners(viewer, session.section, 0.6, 0.7, 0)[0]])
    assert len(session.outlines) == 2
    assert session.outlines[1].geometry.area > painted_first, "a stroke that begins in an outline makes it larger"
    drag(canvas, stroke, Qt.KeyboardModifier.AltModifier)
    assert session.outlines[1].geometry.area < painted_first
    drag(canvas, [here, there])
    assert session.outlines[0] == locked
    assert "locked" in opened.messages[-1]
    assert tuple(viewer.scene.camera.center) == centre, "the brush does not move the view"
    panel.undo.click()
    panel.undo.click()
    assert session.outlines[1].geometry.area == pytest.approx(painted_first)
    panel.tools.buttons[""].click()
    assert viewer.layers.selection.active is spots(opened)


def test_what_is_drawn_blind_owes_nothing_to_expression(opened, viewer, qtbot, small_run):
    """Spots are rings without values, windows close, outlines made from genes go; what is locked stays blind, what is not counts as by hand."""
    panel, session, canvas = opened.annotate_panel, opened.session, canvas_of(viewer)
    opened.checks.shut()
    session.run_dir, session.maps = small_run(session.section)
    session.gene = "SPARC"
    opened.paint()
    opened.look_panel.against.click()
    opened.inspector.pin(100)
    made = Outline(box(500, 500, 900, 900), "Invasive", origin=MADE, gene="SPARC")
    session.outlines = (made,)
    panel.blind.click()
    opened.paint()
    assert not painted(opened)
    assert np.isnan(spots(opened).features.filter(like="SPARC").to_numpy(dtype=float)).all()
    assert "Expression is hidden" in viewer.canvas.overlays.text.text
    assert not opened.look_panel.bar.isVisibleTo(opened)
    assert not opened.compare.dialog.isVisible()
    assert not opened.inspector.card.isVisible()
    place = session.section.centres_yx[100] * session.section.mpp
    opened.painter.hover(tuple(place))
    assert opened.look_panel.hover.text().endswith("expression is hidden")
    assert opened.canvas.layer("outlines") is None
    for ask in (opened.compare.open, opened.compare.flip, opened.figures.open, lambda: opened.inspector.go(1), lambda: opened.inspector.pin(5)):
        ask()
        opened.paint()
    assert not opened.compare.dialog.isVisible()
    assert not opened.inspector.card.isVisible()
    assert opened.figures.dialog is None
    assert not painted(opened)

    panel.tools.buttons["rectangle"].click()
    for x in (0.3, 0.7):
        points = corners(viewer, session.section, x, 0.5, 0.1)
        drag(canvas, [points[0], corners(viewer, session.section, x, 0.5, 0)[0], points[2]])
    _, one, two = session.outlines
    assert (one.origin, two.origin) == (BLIND, BLIND)
    opened.drawing.change(one.id, locked=True)
    asked = []
    opened.drawing.ask = lambda n: asked.append(n) or "stay"
    panel.blind.click()
    assert (session.blind, panel.blind.isChecked(), asked) == (True, True, [1])
    opened.drawing.ask = lambda n: "open"
    panel.blind.click()
    opened.paint()
    assert painted(opened)
    assert [outline.origin for outline in session.outlines] == [MADE, BLIND, HAND]
    assert "not locked" in opened.messages[-1]
    panel.undo.click()
    assert [outline.origin for outline in session.outlines] == [MADE, BLIND, HAND], "what was seen stays seen"
    opened.drawing.change(one.id, locked=False)
    assert session.outlines[1].origin == HAND
    panel.undo.click()
    assert (session.outlines[1].origin, session.outlines[1].locked) == (BLIND, True)
    QTest.qWait(10)


CHILD = """
import sys
from pathlib import Path
from qtpy.QtCore import QCoreApplication, QTimer
from shapely.geometry import Point
from napari_deepspace._napari.outline_keeper import OutlineKeeper
from napari_deepspace._napari.project_view import Projects
from napari_deepspace._napari.session import Loaded, Session
from napari_deepspace.annotating import drawn
from napari_deepspace.read import read_section

app = QCoreApplication([])
session = Session(loaded=Loaded.of(read_section(Path(sys.argv[1]))))
say = lambda *words: print(*words, file=sys.stderr)
shape = [drawn(Point(3000, 3000).buffer(50), "Necrosis", "", False)]
keeper = OutlineKeeper(session, Projects(session, None, None, None, say, say), lambda: tuple(shape), app, say)
keeper.opened()

def draw():
    session.outlines = (*session.outlines, drawn(Point(1000 + 10 * len(session.outlines), 1000).buffer(40), "Immune", "", False))
    print(len(session.outlines), flush=True)

timer = QTimer()
timer.timeout.connect(draw)
timer.start(100)
app.exec()
"""


def test_a_crash_while_drawing_costs_two_seconds_at_most(dock, phantom_dir, qtbot, tmp_path):
    """A program that draws, and is killed: the window that opens the section next has what was drawn, the unfinished shape too, or is without it."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(phantom_dir / "outs")], stdout=subprocess.PIPE, text=True)
    when: dict[int, float] = {}
    try:
        while len(when) < 28:
            line = child.stdout.readline()
            assert line, "the program ended by itself"
            when[int(line)] = time.monotonic()
        killed = time.monotonic()
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    old = [number for number, at in when.items() if at < killed - 2]
    assert 2 < len(old) < 26

    def open_again() -> None:
        dock.open_section(phantom_dir / "outs")
        qtbot.waitUntil(lambda: not dock.session.busy and dock.session.loaded is not None, timeout=60_000)
        dock.checks.shut()

    open_again()
    session, panel = dock.session, dock.annotate_panel
    n = len(session.outlines)
    assert n - 1 >= len(old)
    assert session.outlines[0].geometry.equals_exact(Point(1000, 1000).buffer(40), 1e-6)
    assert {one.classification for one in session.outlines} == {"Immune", "Necrosis"}
    assert dock.messages[-1].startswith(f"{n} outlines of 2")
    assert dock.messages[-1].endswith("were restored.")
    assert not panel.undo.isEnabled()
    assert panel.offer.isVisibleTo(panel)
    panel.restore.click()
    assert session.outlines == ()
    (path,) = (tmp_path / "outlines").iterdir()
    qtbot.waitUntil(lambda: not path.exists(), timeout=3000)
    panel.undo.click()
    qtbot.waitUntil(path.exists, timeout=3000)
    assert len(read_outlines(Path(path))) == n == len(session.outlines)


def test_outlines_that_nobody_touched_stay_exact(phantom):
    """napari keeps 32 bits of each number: beside one that moves, and between two edits, the others are what they were."""
    from napari.layers import Shapes

    from napari_deepspace._napari.outline_shapes import outlines_of
    from napari_deepspace.layers import outlines_layer

    ring = Point(15000.123456789, 12000.987654321).buffer(333.333).difference(Point(15000.1, 12000.9).buffer(100))
    still, moves = Outline(ring, "Immune", locked=True), Outline(box(0.1, 0.2, 100.3, 100.4), "Stroma")
    data, kwargs, _ = outlines_layer(phantom, (still, moves), "outlines", "outlines")
    layer = Shapes(data, **kwargs)
    layer.data = [layer.data[0], layer.data[1] + 50]
    after = outlines_of(layer, (still, moves), lambda area: Outline(area, "new"))
    assert after[0] is still
    assert after[1].geometry.equals_exact(box(50.1, 50.2, 150.3, 150.4), 1e-3)
    layer.data = [layer.data[0] + 50, layer.data[1]]
    shifted = outlines_of(layer, (still, moves), lambda area: Outline(area, "new"))[0].geometry
    assert shifted.area == pytest.approx(ring.area, rel=1e-6), "a hole goes with its outline"
    assert shifted.centroid.x == pytest.approx(ring.centroid.x + 50, abs=0.01)
