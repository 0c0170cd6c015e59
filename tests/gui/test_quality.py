"""The quality panel in a real window: thresholds, white tiles, outlines, low regions, clusters and scales."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from shapely.geometry import Polygon, box
from window_tools import move, spots

from napari_deepspace._napari.training import with_what_is_shown
from napari_deepspace.cluster_colours import cluster_colour, hex_rgba
from napari_deepspace.events import result_of
from napari_deepspace.outlines import EXCLUDE, FAILED, UNCLEAR, Outline, write_outlines
from napari_deepspace.preprocess.normalise import fit_normaliser
from napari_deepspace.preprocess.prepare import prepare, prepare_section
from napari_deepspace.read import read_settings
from napari_deepspace.settings import FilterSettings
from napari_deepspace.views import REASON_COLOURS


@pytest.fixture
def checked(opened, qtbot):
    """The synthetic section, its tiles looked at."""
    qtbot.waitUntil(lambda: opened.session.colours is not None, timeout=60_000)
    return opened


def faces(dock) -> np.ndarray:
    dock.paint()
    return spots(dock).face_color


def drag(histogram, value: float) -> None:
    """Take the threshold's line with the mouse and drop it at ``value`` (on the axis)."""
    QApplication.processEvents()
    view, widget = histogram.getViewBox(), histogram.viewport()

    def at(x: float) -> QPoint:
        return histogram.mapFromScene(view.mapViewToScene(view.viewRect().center().__class__(x, histogram.getViewBox().viewRange()[1][1] / 2)))

    start, end = at(float(histogram.line.value())), at(value)
    move(widget, start)
    QTest.mousePress(widget, Qt.MouseButton.LeftButton, pos=start)
    for share in np.linspace(0, 1, 8):
        move(widget, start + (end - start) * float(share), Qt.MouseButton.LeftButton)
    QTest.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=end)
    QApplication.processEvents()


def test_the_line_in_the_histogram_is_the_threshold(checked, qtbot):
    """Dragging it with the mouse changes the number, what is removed and the slide; typing a number moves the line."""
    panel, session = checked.quality_panel, checked.session
    checked.show_part(panel)
    QTest.qWait(200)
    drag(panel.umi.histogram, np.log10(6000))
    assert session.filter.min_umi == pytest.approx(6000, rel=0.15)
    limit = session.filter.min_umi
    removed = session.loaded.totals < limit
    assert panel.umi.box.value() == limit
    assert panel.umi.removes.text() == f"removes {removed.sum():,}"
    assert session.paint == "removed"
    np.testing.assert_allclose(faces(checked)[removed], np.tile(hex_rgba(REASON_COLOURS["umi"]), (removed.sum(), 1)), atol=1e-6)
    panel.umi.box.setValue(1000)
    assert panel.umi.histogram.threshold() == pytest.approx(1000, rel=1e-6)


def test_white_tiles_are_those_of_a_training(checked, phantom):
    """The panel removes exactly the spots that a run with the same settings removes; dragging moves the percentile."""
    panel, session = checked.quality_panel, checked.session
    expected = result_of(prepare_section(phantom, FilterSettings(), 137.5)).filter
    np.testing.assert_array_equal(session.kept().reasons, expected.reasons)
    assert panel.white.removes.text() == f"removes {expected.counts()['white']}"
    panel.white.histogram.moved.emit(195.0)
    lower = result_of(prepare_section(phantom, session.filter, 137.5))
    assert lower.white_threshold == pytest.approx(195, abs=0.5)
    np.testing.assert_array_equal(session.kept().removed["white"], lower.filter.removed["white"])
    assert panel.white.histogram.threshold() == pytest.approx(lower.white_threshold, abs=1e-6)
    panel.white.box.setValue(100)
    assert panel.white.removes.text() == "removes none"


def test_another_tile_size_looks_at_the_tiles_anew(checked, qtbot):
    """White tiles are judged at the size that the model will see."""
    before = checked.session.colours
    checked.train_panel.forms["tile"].fields["extra_percent"].setValue(0)
    qtbot.waitUntil(lambda: checked.session.colours is not None and checked.session.colours is not before, timeout=60_000)
    assert checked.session.colours.darkest.sum(axis=1).max() < before.darkest.sum(axis=1).max() / 5


def test_an_outline_drawn_in_napari_excludes_its_spots(checked, viewer):
    """Draw puts the mouse on an outline; what is drawn, moved or deleted in napari changes the spots at once, and is undone with it."""
    panel, session, section = checked.quality_panel, checked.session, checked.session.section
    panel.outlines.draw.click()
    layer = checked.canvas.layer("outlines")
    assert viewer.layers.selection.active is layer
    assert layer.mode == "add_polygon_lasso"
    y, x = np.median(section.centres_yx, axis=0)
    corners = np.array([[y - 400, x - 400], [y - 400, x + 400], [y + 400, x + 400], [y + 400, x - 400]])
    layer.add(corners, shape_type="polygon")
    (outline,) = session.outlines
    assert outline.classification == EXCLUDE
    assert outline.geometry.equals(box(x - 400, y - 400, x + 400, y + 400))
    inside = session.kept().removed["excluded"]
    assert 30 < inside.sum() < 80
    assert panel.outlines.step.removes.text() == f"removes {inside.sum()}"
    session.paint = "removed"
    np.testing.assert_allclose(faces(checked)[inside], np.tile(hex_rgba(REASON_COLOURS["excluded"]), (inside.sum(), 1)), atol=1e-6)
    layer.data = [corners + np.array([0, 600])]
    assert session.kept().removed["excluded"].sum() > 0
    assert not np.array_equal(session.kept().removed["excluded"], inside)
    assert session.outlines[0].id == outline.id
    layer.selected_data = {0}
    layer.remove_selected()
    assert session.outlines == ()
    assert not session.kept().removed["excluded"].any()
    panel.outlines.draw.click()
    assert checked.canvas.layer("outlines") is None
    assert viewer.layers.selection.active is spots(checked)


def test_new_shapes_are_new_outlines(checked, viewer):
    """Whatever napari's tools, copies and selections do: a new shape is an outline of its own, of the layer's class, and no other one is lost."""
    session, section = checked.session, checked.session.section
    y, x = np.median(section.centres_yx, axis=0)

    def square(dy: float) -> np.ndarray:
        return np.array([[y + dy, x], [y + dy, x + 200], [y + dy + 200, x + 200], [y + dy + 200, x]])

    session.outlines = (Outline(box(x - 1000, y - 1000, x - 800, y - 800), FAILED),)
    layer = checked.canvas.layer("outlines")
    layer.mode = "select"
    layer.selected_data = {0}
    layer.add(square(0), shape_type="polygon")
    layer.add(square(300), shape_type="ellipse")
    layer.add(square(600), shape_type="path")
    assert [outline.classification for outline in session.outlines] == [FAILED, EXCLUDE, EXCLUDE], "a path is no outline"
    assert session.outlines[2].geometry.area == pytest.approx(np.pi * 100**2, rel=0.01)
    assert len({outline.id for outline in session.outlines}) == 3
    viewer.layers.remove(layer)
    assert len(session.outlines) == 3, "a layer taken away by hand takes no outline with it"
    checked.quality_panel.outlines.draw.click()
    checked.canvas.layer("outlines").add(square(900), shape_type="polygon")
    assert len(session.outlines) == 4
    checked.canvas.layer("outlines").data = []
    assert session.outlines == ()
    session.proposals = (Outline(box(0, 0, 300, 300), FAILED),)
    checked.canvas.layer("proposals").add(square(0), shape_type="polygon")
    assert [outline.classification for outline in session.proposals] == [FAILED, UNCLEAR]


def test_outlines_of_an_open_project_are_kept_as_they_change(checked, qtbot, tmp_path):
    """Without Save: after another section was opened, or the same one read again, they are there; deleted ones stay deleted."""
    session, study = checked.session, tmp_path / "study"
    checked.save_project(study)
    name, corner = session.section.library_id, session.section.centres_yx.min(axis=0)

    def opened_again() -> None:
        qtbot.waitUntil(lambda: not session.busy, timeout=60_000)

    session.outlines = (Outline(box(corner[1], corner[0], corner[1] + 500, corner[0] + 500), EXCLUDE),)
    checked.projects.open(study, name)
    opened_again()
    assert len(session.outlines) == 1
    session.outlines = ()
    checked.reopen(platform="visium")
    opened_again()
    assert checked.status.property("level") != "error"
    assert session.outlines == ()
    checked.projects.open(study, name)
    opened_again()
    assert session.outlines == ()


def test_a_spot_excluded_since_the_run_shows_no_prediction(checked, small_run):
    """An exclude outline acts on what is shown at once, not only on the next run."""
    session = checked.session
    session.run_dir, session.maps = small_run(session.section)
    session.gene, session.show = "SPARC", "predicted"
    y, x = np.median(session.section.centres_yx, axis=0)
    session.outlines = (Outline(box(x - 400, y - 400, x + 400, y + 400), EXCLUDE),)
    excluded = session.kept().removed["excluded"]
    assert (faces(checked)[excluded, 3] == 0).all()
    assert np.isnan(session.view().predicted[excluded]).all()


def test_outlines_from_qupath(checked, qtbot, tmp_path):
    """Imported outlines act by their class; the same file twice adds nothing, and a damaged one is said."""
    section = checked.session.section
    y, x = np.median(section.centres_yx, axis=0)
    path = tmp_path / "qupath.geojson"
    hole = Polygon(box(x - 400, y - 400, x + 400, y + 400).exterior, [box(x - 200, y - 200, x + 200, y + 200).exterior.coords])
    write_outlines(path, [Outline(hole, "Ignore*"), Outline(box(0, 0, 300, 300), "Tumor")])
    checked.import_outlines(path)
    qtbot.waitUntil(lambda: "2 outlines imported" in checked.status.text(), timeout=10_000)
    checked.import_outlines(path)
    qtbot.waitUntil(lambda: "0 outlines imported" in checked.status.text(), timeout=10_000)
    assert len(checked.session.outlines) == 2
    excluded = checked.session.kept().removed["excluded"]
    middle = np.hypot(*(section.centres_yx - [y, x]).T) < 100
    assert excluded.any()
    assert not excluded[middle].any(), "a hole stays a hole"
    layer = checked.canvas.layer("outlines")
    layer.data = [layer.data[0] + 5, *layer.data[1:]]
    assert not checked.session.kept().removed["excluded"][middle].any(), "also after its outline was moved"
    assert checked.session.outlines[0].geometry.area == pytest.approx(hole.area)
    path.write_text("{")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_deepspace._napari.dock.show_error", lambda text: None)
        checked.import_outlines(path)
        qtbot.waitUntil(lambda: "cannot be read as GeoJSON" in checked.status.text(), timeout=10_000)
    assert len(checked.session.outlines) == 2


@pytest.mark.acceptance
def test_low_regions_are_proposed_accepted_edited_and_rejected(checked, qtbot, phantom_dir):
    """Each proposal stands with its verdict and does nothing until it is accepted; then its spots are a failed region, as the outline says."""
    panel, session = checked.quality_panel, checked.session
    before = session.kept().reasons
    panel.regions.look.click()
    qtbot.waitUntil(lambda: session.busy == "checking", timeout=5000)
    qtbot.waitUntil(lambda: not session.busy, timeout=180_000)
    technical = [outline for outline in session.proposals if outline.failed]
    assert len(session.proposals) == 2
    assert len(technical) == 1
    np.testing.assert_array_equal(session.kept().reasons, before)

    def words() -> str:
        return " ".join(label.text() for label in panel.regions.findChildren(type(panel.stay)) if label.isVisibleTo(panel))

    qtbot.waitUntil(lambda: "probably technical" in words(), timeout=5000)
    assert "cannot tell" in words()
    assert checked.canvas.layer("proposals").nshapes == 2

    panel.regions.accepted.emit(technical[0].id)
    assert [outline.classification for outline in session.outlines] == [FAILED]
    failed = session.kept().removed["failed"]
    truth = json.loads((phantom_dir / "truth" / "truth.json").read_text())["outlines_yx_px"]["failed"]
    inside = np.array([Polygon(truth).contains_properly(point) for point in points(session.section.centres_yx)])
    assert (failed & inside).sum() / (failed | inside).sum() > 0.8
    assert panel.regions.step.removes.text() == f"removes {failed.sum()}"

    layer = checked.canvas.layer("outlines")
    layer.data = [layer.data[0] + np.array([0, 200])]
    assert not np.array_equal(session.kept().removed["failed"], failed), "an outline moved in napari takes its spots with it"
    panel.regions.shown.emit(technical[0].id)
    panel.regions.rejected.emit(technical[0].id)
    panel.regions.rejected.emit(session.proposals[0].id)
    assert session.outlines == session.proposals == ()
    assert checked.canvas.layer("outlines") is checked.canvas.layer("proposals") is None
    np.testing.assert_array_equal(session.kept().reasons, before)


def points(centres_yx):
    from shapely.geometry import Point

    return [Point(*centre) for centre in centres_yx]  # the truth is in (row, column) too


def test_clusters_are_shown_computed_and_left_out(checked, qtbot, tmp_path):
    """Space Ranger's are there at once; computed ones take their place; one can be left out, and a run leaves out the very spots that were shown;
    the genes that differ come as a sortable table."""
    panel, session = checked.quality_panel, checked.session
    assert session.clusters.name == "graphclust"
    panel.show_on_slide.buttons["clusters"].click()
    first = (session.clusters.astype(str) == "1").to_numpy() & session.kept().keep
    np.testing.assert_allclose(faces(checked)[first], np.tile(hex_rgba(cluster_colour(0)), (first.sum(), 1)), atol=1e-6)
    panel.clusters.leave_out.setCurrentIndex(2)
    panel.clusters.leave_out.activated.emit(2)
    assert session.filter.exclude_cluster == "2"
    assert panel.clusters.step.removes.text() == f"removes {(session.clusters.astype(str) == '2').sum()}"
    panel.clusters.leave_out.setCurrentIndex(0)
    panel.clusters.leave_out.activated.emit(0)

    panel.clusters.compute.click()
    qtbot.waitUntil(lambda: session.clusters.name == "leiden" and not session.busy, timeout=180_000)
    assert session.clusters[~session.kept().keep].isna().all()
    panel.clusters.leave_out.setCurrentIndex(1)
    panel.clusters.leave_out.activated.emit(1)
    left_out = session.kept().removed["cluster"].copy()
    panel.umi.box.setValue(0)  # on other spots the clusters would come out otherwise
    settings = with_what_is_shown(checked.run_settings(), session, tmp_path)
    trained = result_of(prepare([read_settings(settings.sections[0])], settings))[0].filter
    np.testing.assert_array_equal(trained.removed["cluster"], left_out)
    np.testing.assert_array_equal(trained.reasons, session.kept().reasons)
    panel.umi.box.setValue(1000)
    panel.clusters.leave_out.setCurrentIndex(0)
    panel.clusters.leave_out.activated.emit(0)
    panel.clusters.genes.click()
    qtbot.waitUntil(lambda: getattr(checked.gene_windows, "dialog", None) is not None and not session.busy, timeout=180_000)
    dialog = checked.gene_windows.dialog
    column = list(dialog.model.rows.columns).index("log2_fold_change")
    dialog.table.sortByColumn(column, Qt.SortOrder.DescendingOrder)
    assert dialog.model.rows["log2_fold_change"].is_monotonic_decreasing
    dialog.cluster.setCurrentIndex(1)
    dialog.search.setText("esr")
    assert set(dialog.model.rows["cluster"]) == {dialog.cluster.currentData()}
    assert dialog.model.rows["gene"].tolist() == ["ESR1"]
    dialog.table.doubleClicked.emit(dialog.model.index(0, 0))
    assert (session.gene, session.paint) == ("ESR1", "gene")
    dialog.close()


def test_measured_maps_follow_the_normalisation(checked, qtbot):
    """The map, the colour bar's unit and the run all take the scale that is chosen; SCTransform is fitted to the spots that stay."""
    panel, session, section = checked.quality_panel, checked.session, checked.session.section
    keep = session.kept().keep
    column = section.adata.var_names.get_indexer([session.gene])
    counts = section.adata.X[:, column].toarray()
    for number, kind in enumerate(("log", "sctransform", "pearson", "stnet")):
        panel.normalisation.setCurrentIndex(number)
        panel.normalisation.activated.emit(number)
        if kind == "sctransform":
            qtbot.waitUntil(lambda: session.sctransform is not None, timeout=60_000)
        scale = result_of(fit_normaliser(section.adata.X[np.flatnonzero(keep)], kind))
        view = session.view()
        np.testing.assert_allclose(view.measured[keep], scale.values(counts, session.loaded.totals, column)[keep, 0], rtol=1e-5)
        checked.paint()
        assert checked.look_panel.bar.unit.text() == view.unit
        assert checked.run_settings().normalisation == kind
    assert len({session.view().unit}) == 1


def test_stop_ends_the_look_for_regions(checked, qtbot):
    """Its process is gone, the panel is free again, and nothing was proposed."""
    panel, session = checked.quality_panel, checked.session
    panel.regions.look.click()
    qtbot.waitUntil(lambda: checked.checks.child is not None and session.busy == "checking", timeout=5000)
    process = checked.checks.child.process
    qtbot.wait(500)
    panel.regions.stop.click()
    qtbot.waitUntil(lambda: not session.busy, timeout=10_000)
    assert process.poll() is not None
    assert session.proposals == ()
    assert panel.regions.look.isEnabled()


def test_a_table_of_many_genes_sorts_at_once(qtbot):
    """Sorting and filtering are the table's own, and every row stays."""
    from napari_deepspace._napari.clusters_view import GenesDialog

    n = 50_000
    rng = np.random.default_rng(0)
    names = [f"G{number}" for number in range(n)]
    frame = pd.DataFrame({"cluster": np.where(np.arange(n) % 2, "1", "2"), "gene": names, "score": rng.normal(size=n)})
    dialog = GenesDialog(frame, "genes", True)
    qtbot.addWidget(dialog)
    model = dialog.model
    model.sort(2, Qt.SortOrder.AscendingOrder)
    assert model.rowCount() == n
    assert model.rows["score"].is_monotonic_increasing
    dialog.cluster.setCurrentIndex(dialog.cluster.findData("1"))
    dialog.search.setText("g99")
    assert set(model.rows["cluster"]) == {"1"}
    assert model.rows["gene"].str.startswith("G99").all()
    assert model.rows["score"].is_monotonic_increasing
