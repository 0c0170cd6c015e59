"""The gene view of the Look step: colours, genes of one's own, clusters, preferences."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from window_tools import spots

from napari_deepspace._napari.actions import KEYS
from napari_deepspace._napari.preferences import preferred_keys
from napari_deepspace.analyse.bands import about_bands, find_bands
from napari_deepspace.cluster_colours import cluster_colour
from napari_deepspace.colour_scale import ColourScale, colours, table
from napari_deepspace.gene_sets import read_own_genes
from napari_deepspace.layers import Maps


def faces(dock):
    QApplication.processEvents()
    return spots(dock).face_color


def with_run(dock, small_run):
    """The dock with a finished run of two genes, whose band was found from its own out-of-fold predictions."""
    import dataclasses

    section = dock.session.section
    dock.session.run_dir, maps = small_run(section)
    bands = find_bands(maps.measured, maps.predicted, np.arange(section.adata.n_obs) % 5)
    dock.session.maps = dataclasses.replace(maps, band=about_bands(bands, "genes"))


def test_a_scale_is_chosen_and_comes_back_with_the_project(opened, qtbot, tmp_path, small_run):
    """Map, percentiles and logarithm change what is painted at once, and are there again when the project is opened."""
    panel, session = opened.look_panel, opened.session
    panel.scale.set_open(True)
    qtbot.waitUntil(lambda: session.colours is not None, timeout=60_000)
    before = faces(opened).copy()
    panel.scale.map.setCurrentIndex(panel.scale.map.findData("paper"))
    panel.scale.map.activated.emit(panel.scale.map.currentIndex())
    view = session.view()
    np.testing.assert_allclose(faces(opened), view.face, atol=1e-6)
    assert not np.allclose(before, view.face)
    panel.low.setValue(0.5)
    panel.low.editingFinished.emit()
    assert session.limits is not None
    panel.scale.high.setValue(90)
    panel.scale.high.editingFinished.emit()
    assert session.limits is None, "other percentiles take the place of limits that were typed in"
    panel.scale.log.click()
    assert session.scale == ColourScale("paper", (1.0, 90.0), True)
    view = session.view()
    np.testing.assert_allclose(faces(opened), colours(view.values, view.limits, table("paper"), log=True) * (view.face[:, 3:] > 0), atol=1e-6)
    assert "by logarithm" in panel.bar.unit.text()
    assert float(panel.bar.middle.text()) < sum(view.limits) / 2, "the tick says the true value at the middle of the bar"
    panel.scale.low.setValue(95)
    panel.scale.low.editingFinished.emit()
    assert session.scale.percentiles == (1.0, 90.0)
    assert panel.scale.low.value() == 1

    opened.save_project(tmp_path / "study")
    session.scale = ColourScale()
    opened.open_project(tmp_path / "study")
    qtbot.waitUntil(lambda: not session.busy, timeout=60_000)
    assert session.scale == ColourScale("paper", (1.0, 90.0), True)
    assert panel.scale.map.currentData() == "paper"


def test_the_width_of_the_band_is_painted_where_a_run_has_one(opened, small_run, qtbot):
    """Without a finished run, or with one that has no band, the button is off and says why; with one the width is painted with unit and caption."""
    panel, session = opened.look_panel, opened.session
    button = panel.toggle.buttons["interval"]
    qtbot.waitUntil(lambda: session.colours is not None, timeout=60_000)  # white tiles are not predicted
    assert not button.isEnabled()
    session.run_dir, session.maps = small_run(session.section)
    session.gene = "SPARC"
    assert not button.isEnabled()
    assert "No band" in button.toolTip()
    with_run(opened, small_run)
    assert button.isEnabled()
    button.click()
    view = session.view()
    np.testing.assert_allclose(faces(opened), view.face, atol=1e-6)
    low, high = np.nanmin(view.values), np.nanmax(view.values)
    assert 0 < low <= high
    assert "width of the 90 % band" in panel.bar.title.text()
    assert panel.bar.unit.text() == view.unit
    assert "confiden" not in (panel.bar.title.text() + button.toolTip()).casefold()


def test_favourites_sets_and_keys(opened, viewer, qtbot, tmp_path, small_run):
    """The star keeps a gene; the list shows favourites or a set; two keys go through what it shows and rebuild nothing."""
    with_run(opened, small_run)
    panel, session = opened.look_panel, opened.session
    chooser, model = panel.chooser, panel.search.model
    for gene in ("FN1", "SPARC"):
        session.gene = gene
        chooser.star.click()
    assert read_own_genes().favourites == ("FN1", "SPARC")
    assert chooser.star.text() == "★"
    chooser.choose("Favourites")
    assert model.rows == ["FN1", "SPARC"]
    session.gene = "ESR1"
    assert chooser.star.text() == "☆"
    (tmp_path / "set.gmt").write_text("Mine\t\tHER2\tNOSUCH\tSPARC\tFN1\n")
    chooser.read_sets(tmp_path / "set.gmt")
    assert model.rows == ["ERBB2", "SPARC", "FN1"], "an antibody's name is understood, what is not here is left out"
    panel.search.field.setText("sp")
    assert model.rows == ["SPARC"], "the search is within the set"
    panel.search.field.clear()
    chooser.choose("Predicted")
    assert set(model.rows) == {"ESR1", "SPARC"}
    chooser.choose("Mine")

    resets = []
    model.modelReset.connect(lambda: resets.append(1))
    session.gene = "ERBB2"
    canvas = viewer.window._qt_viewer.canvas.native
    canvas.setFocus()
    seen = []
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Left):
        QTest.keyClick(canvas, key, Qt.KeyboardModifier.ShiftModifier)
        seen.append(session.gene)
    assert seen == ["SPARC", "FN1", "ERBB2", "FN1"]
    assert not resets
    (tmp_path / "bad.gmt").write_text("nothing\n")
    chooser.read_sets(tmp_path / "bad.gmt")
    assert "line 1" in opened.status.text()
    chooser.forget.trigger()
    assert read_own_genes().sets == {}
    assert len(model.rows) == len(session.section.adata.var_names)


def test_one_legend_colours_and_hides_clusters(opened, qtbot, tmp_path):
    """The legends of Look and Quality are one: a hidden cluster leaves the slide, another colour is kept as scanpy does, and both come back."""
    panel, session = opened.look_panel, opened.session
    assert not panel.legend.isVisible()
    qtbot.waitUntil(lambda: session.colours is not None, timeout=60_000)
    opened.quality_panel.show_on_slide.buttons["clusters"].click()
    QApplication.processEvents()
    names, kept = list(session.clusters.cat.categories), session.kept().keep
    assert list(panel.legend.rows) == list(opened.quality_panel.clusters.legend.rows) == names
    swatch, box = panel.legend.rows["2"]
    assert box.text() == f"2 ({(session.clusters == '2').sum()})"
    panel.legend.ask = lambda name, colour: "#123456"
    swatch.click()
    two = (session.clusters == "2").to_numpy() & kept
    np.testing.assert_allclose(faces(opened)[two], np.tile([0x12 / 255, 0x34 / 255, 0x56 / 255, 1], (two.sum(), 1)), atol=1e-6)
    assert session.section.adata.uns["graphclust_colors"][names.index("2")] == "#123456"
    assert opened.quality_panel.clusters.legend.rows["2"][0].colour == "#123456"
    box.click()
    assert (faces(opened)[two, 3] == 0).all()
    assert (spots(opened).border_color[two, 3] == 0).all()
    assert not opened.quality_panel.clusters.legend.rows["2"][1].isChecked()
    assert "hidden: 2" in opened._viewer.canvas.overlays.text.text
    opened.save_project(tmp_path / "study")
    box.click()
    assert (faces(opened)[two, 3] == 1).all()
    probabilities = np.eye(3, dtype=np.float32)[np.arange(len(kept)) % 3]
    session.maps = Maps(session.section.library_id, ("1", "2", "other"), probabilities, *[np.full(len(kept), "out-of-fold")] * 2, kind="clusters")
    panel.classes.click()
    QApplication.processEvents()
    assert {name: swatch.colour for name, (swatch, _) in panel.legend.rows.items()}["2"] == cluster_colour(1), "other clusters, other colours"
    panel.legend.rows["2"][1].click()
    second = np.arange(len(kept)) % 3 == 1
    assert (faces(opened)[second, 3] == 0).all()
    assert (faces(opened)[~second & kept, 3] == 1).all()
    session.maps = None
    opened.open_project(tmp_path / "study")
    qtbot.waitUntil(lambda: not session.busy, timeout=60_000)
    assert session.hidden_clusters == {"2"}
    assert session.cluster_colours(names)["2"] == "#123456"
    session.clusters = session.clusters.rename("leiden").copy()
    assert not session.hidden_clusters, "2 is another cluster now"


def test_preferences_give_keys_and_first_looks(viewer, qtbot):
    """Preferences hold the keys, the colour map and the size of spots that a dock begins with; what is no key is told once, the usual stays."""
    from napari.settings import get_plugin_settings

    settings = get_plugin_settings("napari-deepspace")
    settings.keys.show_next_map = "Control-Alt-M"
    settings.keys.next_gene = "Shift-Nonsense"
    settings.keys.previous_gene = ""
    settings.look.colour_map = "magma"
    settings.look.spot_size = 80
    _, dock = viewer.window.add_plugin_dock_widget("napari-deepspace", "DeepSpaCE")
    bound = {str(key) for key in viewer.keymap}
    assert {"Ctrl+Alt+M", "Shift+Right"} <= bound
    assert not {"Shift+C", "Shift+Left"} & bound
    told = [words for words in dock.messages if "Shift-Nonsense" in words]
    assert len(told) == 1
    assert "Shift-Right stays" in told[0]
    assert "Control-Alt-M" in dock.look_panel.toggle.buttons["measured"].toolTip()
    assert (dock.session.scale.map, dock.session.spot_percent) == ("magma", 80)
    assert dock.look_panel.scale.map.currentData() == "magma"
    dock.shut()
    assert not viewer.keymap
    settings.keys.show_next_map = settings.keys.next_gene = "Shift-Right"
    found, told = preferred_keys(KEYS)
    assert found["show_next_map"] == "Shift-Right"
    assert "next_gene" not in found, "a key is one action's"
    assert "show_next_map has it" in told[0]
