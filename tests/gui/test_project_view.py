"""A project opened again gives the same window."""

from __future__ import annotations

import shutil

import numpy as np
from shapely.geometry import box
from window_tools import painted, spots

from napari_deepspace.outlines import EXCLUDE, Outline
from napari_deepspace.project import open_project


def test_a_project_gives_the_same_window_again(opened, viewer, qtbot, tmp_path, small_run):
    """Section, gene, measured or predicted, thresholds, limits, predictions and view come back."""
    opened.session.run_dir, opened.session.maps = small_run(opened.session.section)
    opened.session.gene = "SPARC"
    opened.session.show = "difference"
    opened.session.limits = (-0.5, 0.5)
    opened.quality_panel.umi.box.setValue(1500)
    opened.session.paint = "gene"
    opened.session.normalisation = "stnet"
    opened.session.clusters = opened.session.clusters.cat.rename_categories({"1": "9"}).rename("leiden")
    opened.session.filter = opened.session.filter.model_copy(update={"exclude_cluster": "9"})
    opened.session.outlines = (Outline(box(900, 900, 1200, 1200), EXCLUDE, "fold"),)
    viewer.scene.camera.zoom = 0.5
    qtbot.waitUntil(lambda: opened.session.colours is not None, timeout=60_000)
    before, reasons = opened.session.view(), opened.session.kept().reasons
    assert "cluster 9" in set(reasons)
    opened.save_project(tmp_path / "study")
    assert "Saved" in opened.status.text()

    opened.session.gene, opened.session.maps, opened.session.limits = "FN1", None, None
    opened.quality_panel.umi.box.setValue(0)
    opened.session.normalisation = "log"
    opened.canvas.clear()
    opened.session.loaded = None
    opened.open_project(tmp_path / "study")
    library_id = open_project(tmp_path / "study").file.sections[0].library_id
    qtbot.waitUntil(lambda: opened.session.section is not None and not opened.session.busy, timeout=60_000)
    qtbot.waitUntil(lambda: opened.session.colours is not None, timeout=60_000)
    qtbot.waitUntil(lambda: painted(opened), timeout=5000)
    opened.paint()
    after = opened.session.view()
    assert library_id == opened.session.section.library_id
    assert (after.gene, after.show, after.limits) == ("SPARC", "difference", (-0.5, 0.5))
    assert opened.session.filter.min_umi == 1500
    assert opened.session.normalisation == "stnet"
    assert [(outline.name, outline.geometry.bounds) for outline in opened.session.outlines] == [("fold", (900, 900, 1200, 1200))]
    assert opened.canvas.layer("outlines") is not None
    assert opened.session.filter.exclude_cluster == "9"
    np.testing.assert_array_equal(opened.session.kept().reasons, reasons)
    assert viewer.scene.camera.zoom == 0.5
    np.testing.assert_array_equal(after.predicted, before.predicted)
    np.testing.assert_allclose(spots(opened).face_color, before.face, atol=1e-6)


def test_a_slide_that_moved_is_asked_for(dock, phantom_dir, qtbot, tmp_path):
    """The project asks where the slide lies now, and takes no other one."""
    section = tmp_path / "section"
    shutil.copytree(phantom_dir, section)
    dock.open_section(section / "outs")
    qtbot.waitUntil(lambda: dock.session.section is not None and not dock.session.busy, timeout=60_000)
    dock.save_project(tmp_path / "study")
    image = dock.session.section.image_path
    moved = image.with_name("moved.tif")
    dock.session.section.require_slide().close()
    image.rename(moved)
    asked = []
    dock.projects.ask = lambda missing: asked.append(missing) or moved
    dock.session.loaded = None
    dock.open_project(tmp_path / "study")
    qtbot.waitUntil(lambda: dock.session.section is not None and not dock.session.busy, timeout=60_000)
    assert [missing.kind for missing in asked] == ["image"]
    assert dock.session.section.image_path == moved
    assert open_project(tmp_path / "study").missing == ()
