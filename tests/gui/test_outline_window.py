"""The whole way of outlines in a real window: drawn, classed, undone, locked, blind, proposed, described, exported; and files of another slide."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtTest import QTest
from shapely.geometry import Point, box
from window_tools import canvas_of, drag, move, on_canvas

from napari_deepspace import project as projects
from napari_deepspace._napari.proposing import PREVIEW
from napari_deepspace._napari.regions_dialog import BOXES, FRONT, GENES, OBSERVERS, TABLE
from napari_deepspace.geojson import SlideStamp, stamp_of
from napari_deepspace.outlines import BLIND, MADE, UNCLEAR, Outline, read_outline_file, write_outlines


def place(viewer, section, x: float, y: float) -> QPoint:
    """Where a place of the section, in shares of it, lies on the canvas."""
    (y0, x0), (y1, x1) = section.centres_yx.min(axis=0) * section.mpp, section.centres_yx.max(axis=0) * section.mpp
    return on_canvas(viewer, x0 + x * (x1 - x0), y0 + y * (y1 - y0))


def answer(dock, qtbot, tab: int):
    """What a tab of the window shows, once it is computed."""
    dock.regions.answers.pop(tab, None)
    dock.regions.dialog.tabs.setCurrentIndex(tab)
    (dock.regions.dialog.genes_wanted if tab == GENES else dock.regions.dialog.changed).emit()
    qtbot.waitUntil(lambda: tab in dock.regions.answers, timeout=60_000)
    return dock.regions.answers[tab]


def test_outlines_from_the_first_line_to_qupath(opened, viewer, qtbot, small_run, tmp_path):
    """Drawn blind, classed, undone and locked; proposed by threshold and wand, without a class; described, and refused where circular; exported."""
    dock, session, panel, section = opened, opened.session, opened.annotate_panel, opened.session.section
    dock.checks.shut()
    session.run_dir, session.maps = small_run(section)
    session.gene = "SPARC"
    panel.set_open(True)
    panel.blind.click()
    session.outline_class = "Invasive"
    panel.tools.buttons["rectangle"].click()
    drag(canvas_of(viewer), [place(viewer, section, *at) for at in ((0.2, 0.2), (0.4, 0.4), (0.6, 0.6))])
    panel.tools.buttons[""].click()
    (drawn,) = session.outlines
    assert (drawn.origin, drawn.classification) == (BLIND, "Invasive")
    session.chosen_outline = drawn.id
    panel.outlines.of_class.picked.emit("Stroma")
    assert session.outlines[0].classification == "Stroma"
    panel.undo.click()
    assert session.outlines == (drawn,)

    panel.propose.set_open(True)
    dock.regions.open()
    dock.proposing.propose()
    dock.exporting.tiles(tmp_path / "blind.geojson", ["SPARC"])
    assert dock.regions.dialog is None and not (tmp_path / "blind.geojson").exists() and session.outlines == (drawn,)
    assert dock.proposing.sources() == []
    dock.drawing.change(drawn.id, locked=True)
    panel.blind.click()
    assert not session.blind

    view = panel.propose
    qtbot.waitUntil(lambda: dock.proposing.scores is not None, timeout=20_000)
    view.source.setCurrentIndex(view.source.findData("spots measured"))
    view.source_chosen.emit()
    qtbot.waitUntil(lambda: dock.proposing.scores is not None and dock.proposing.scores.shows == "measured", timeout=20_000)
    view.preview.setChecked(True)
    usual = int((dock.canvas.layer(PREVIEW).data == 1).sum())
    view.slider.setValue(view.slider.value() + 60)
    qtbot.waitUntil(lambda: 0 < (dock.canvas.layer(PREVIEW).data == 1).sum() < usual, timeout=5000)
    assert view.count.text().split()[1].startswith("piece") and "mm²" in view.count.text()
    view.propose.click()
    qtbot.waitUntil(lambda: len(session.outlines) > 1, timeout=20_000)
    made = session.outlines[1:]
    assert {(one.classification, one.origin, one.gene, one.name) for one in made} == {
        ("", MADE, "SPARC", f"SPARC measured > {view.level.value():.2f}")
    }
    dock.drawing.delete(made[0].id)
    panel.undo.click()
    assert session.outlines[1:] == made, "a proposal that was deleted comes back"
    panel.undo.click()
    assert session.outlines == (replace(drawn, locked=True),)
    at = made[0].geometry.representative_point()
    where = on_canvas(viewer, at.x * section.mpp, at.y * section.mpp)
    view.wand.click()
    move(canvas_of(viewer), where)
    QTest.mouseClick(canvas_of(viewer), Qt.MouseButton.LeftButton, pos=where)
    qtbot.waitUntil(lambda: len(session.outlines) == 2, timeout=20_000)
    assert session.outlines[1].geometry.equals(made[0].geometry), "the wand takes the piece that is clicked, and no other"
    view.wand.click()

    panel.regions.click()
    dialog = dock.regions.dialog
    rows = {one["id"]: one for one in answer(dock, qtbot, TABLE).table.to_dict("records")}
    assert len(rows) == 2
    assert 0 < rows[drawn.id]["p"] <= 1 and rows[drawn.id]["patients"] == "one patient"
    assert "was made from SPARC" in rows[session.outlines[1].id]["why"]
    before = tuple(viewer.scene.camera.center)
    dialog.table.setCurrentIndex(dialog.table.model().index(1, 0))
    assert "was made from SPARC" in dialog.remark.text()
    assert session.chosen_outline == session.outlines[1].id and tuple(viewer.scene.camera.center) != before
    dock.regions.save_table(tmp_path / "regions.csv")
    qtbot.waitUntil((tmp_path / "regions.csv").exists, timeout=5000)
    assert len(pd.read_csv(tmp_path / "regions.csv")) == 2
    assert set(answer(dock, qtbot, BOXES).table["source"]) == {"measured", "predicted, out of fold"}
    assert answer(dock, qtbot, FRONT).table["n"].sum() > 50
    write_outlines(tmp_path / "other.geojson", session.outlines[:1], session.drawn_on)
    dock.regions.set_observer(tmp_path / "other.geojson")
    assert answer(dock, qtbot, OBSERVERS).table["dice"][0] == 1
    dock.regions.save_figure(tmp_path / "both.pdf")
    qtbot.waitUntil((tmp_path / "both.pdf").exists, timeout=10_000)
    QGuiApplication.clipboard().setText(dock.regions.recipe().command)
    assert "--against" in QGuiApplication.clipboard().text()

    dock.exporting.outlines(tmp_path / "out.geojson")
    dock.exporting.tiles(tmp_path / "tiles.geojson", ["SPARC"])
    qtbot.waitUntil(lambda: dock.messages[-1].endswith("tiles.geojson"), timeout=30_000)
    file = read_outline_file(tmp_path / "out.geojson")
    assert (file.outlines, file.drawn_on) == (list(session.outlines), stamp_of(section.slide))
    tiles = json.loads((tmp_path / "tiles.geojson").read_text(encoding="utf-8"))["features"]
    assert any("SPARC predicted" in one["properties"]["measurements"] for one in tiles)
    panel.blind.click()
    assert not dialog.isVisible() and dock.canvas.layer(PREVIEW) is None
    panel.blind.click()


def test_an_accepted_region_is_a_proposal_again_once_undone(opened):
    """Undo takes it from the outlines back to the proposals, and Redo the other way."""
    opened.checks.shut()
    proposal = Outline(box(900, 900, 1900, 1900), UNCLEAR, "low")
    opened.session.proposals = (proposal,)
    opened.quality_panel.regions.accepted.emit(proposal.id)
    assert opened.session.proposals == () and opened.session.outlines[0].failed
    opened.annotate_panel.undo.click()
    assert opened.session.proposals == (proposal,) and opened.session.outlines == ()
    opened.annotate_panel.redo.click()
    assert opened.session.proposals == () and opened.session.outlines[0].failed


def test_outlines_of_another_slide_are_kept_and_doubted(dock, phantom, phantom_dir, qtbot, tmp_path):
    """A project whose outlines were drawn on another slide opens; it is said, and their file says so until somebody has looked."""
    project = projects.add_section(projects.create_project(tmp_path / "project"), phantom)
    projects.save_project(project)
    foreign = SlideStamp("another.tif", 100, 200)
    path = projects.outlines_path(project, phantom.library_id)
    write_outlines(path, [Outline(Point(900, 900).buffer(90), "Immune")], foreign)
    dock.open_project(project.folder)
    qtbot.waitUntil(lambda: dock.session.loaded is not None and not dock.session.busy, timeout=60_000)
    dock.checks.shut()
    assert len(dock.session.outlines) == 1
    assert any("were drawn on slide another.tif" in words for words in dock.messages)
    dock.drawing.change(dock.session.outlines[0].id, name="seen")
    dock.drawing.keeper.keep()
    assert read_outline_file(path).drawn_on == foreign
    assert dock.annotate_panel.offer.isVisibleTo(dock.annotate_panel)
    dock.annotate_panel.dismiss.click()
    dock.drawing.keeper.keep()
    assert read_outline_file(path).drawn_on == stamp_of(dock.session.section.slide)
