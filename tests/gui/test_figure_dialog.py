"""Figures and copied commands in a real window: what is drawn is what is painted."""

import numpy as np
import pytest
from PIL import Image
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QPushButton
from shapely import box
from window_tools import painted, spots

from napari_deepspace._napari import dock_buttons
from napari_deepspace._napari.copying import CopyButton
from napari_deepspace.cli import main
from napari_deepspace.cluster_colours import cluster_colours
from napari_deepspace.events import result_of
from napari_deepspace.figures import gather
from napari_deepspace.outlines import EXCLUDE, Outline
from napari_deepspace.preprocess.clusters import given_clusters
from napari_deepspace.read import read_section
from napari_deepspace.settings import load_run_settings


@pytest.fixture
def run(opened, small_run, qtbot):
    """The synthetic section with a finished run on it, predicted SPARC painted."""
    run_dir, maps = small_run(opened.session.section)
    opened.session.run_dir, opened.session.maps = run_dir, maps
    opened.session.gene, opened.session.show_anyway = "SPARC", True
    qtbot.waitUntil(lambda: opened.session.show == "predicted" and opened.session.colours is not None and painted(opened), timeout=20_000)
    return opened


def test_a_figure_has_the_colours_of_the_window_and_is_drawn_beside_it(run, qtbot, tmp_path):
    """The dialog offers what can be drawn, previews its lines, draws in a thread, and says where the picture is."""
    run.look_panel.body.findChildren(QPushButton)[-1].click()
    figures = run.figures
    dialog = figures.dialog
    assert dialog.chosen() == ("map", "predicted")
    qtbot.waitUntil(lambda: "Research use only" in dialog.lines.text(), timeout=10_000)
    assert "SYNTHETIC" in dialog.lines.text()
    assert "not trained on" in dialog.lines.text()
    kinds = {what for what, _ in figures.possible()}
    assert {("map", "measured"), ("map", "difference"), ("map", "removed"), ("side-by-side", ""), ("scatter", ""), ("table", "")} <= kinds
    assert not {kind for kind, _ in kinds} & {"denser", "between", "confusion"}
    dialog.width_mm.setValue(80)
    dialog.height_mm.setValue(80)
    dialog.dpi.setValue(127)
    run.session.gene = "ESR1"
    run.session.gene = "SPARC"
    assert dialog.width_mm.value() == 80  # another gene changes no size
    settings = figures.settings()
    face = figures.material(settings)().views["predicted"].face
    qtbot.waitUntil(lambda: np.allclose(face, spots(run).face_color, atol=1e-6), timeout=5_000)
    assert np.allclose(face, spots(run).face_color, atol=1e-6)
    out = tmp_path / "drawn.png"
    figures.draw(out)
    qtbot.waitUntil(lambda: figures.out == out, timeout=20_000)
    assert Image.open(out).size == (400, 400)
    assert str(out) in dialog.end.text()
    assert str(out) in run.status.text()
    figures.draw(tmp_path / "drawn.gif")
    assert "a figure is" in dialog.end.text()
    dialog.region.setCurrentIndex(1)
    row, column, width = figures.settings().region_um
    assert 500 < row < 3000 and 500 < column < 3000 and width > 1000
    run._viewer.scene.camera.zoom *= 4
    assert figures.settings().region_um[2] == pytest.approx(width / 4, rel=0.01)
    dialog.region.setCurrentIndex(0)
    _copied_figure_is_that_of_the_window(run, qtbot, tmp_path)


def _copied_figure_is_that_of_the_window(run, qtbot, tmp_path):
    """Outlines, thresholds and limits of the window travel with the command: it paints the same spots in the same colours."""
    s = run.session
    x, y = s.section.adata.obsm["spatial"].mean(axis=0)
    s.outlines = (Outline(box(x - 600, y - 600, x + 600, y + 600), EXCLUDE),)
    s.filter = s.filter.model_copy(update={"min_umi": 2500})
    s.limits = (0.25, 0.75)
    qtbot.wait(50)
    settings = run.figures.settings()
    drawn = run.figures.material(settings)().views["predicted"]
    run.figures.draw(tmp_path / "drawn.png")
    qtbot.waitUntil(lambda: run.figures.out is not None, timeout=20_000)
    (button,) = run.figures.dialog.findChildren(CopyButton)
    button.copy_command()
    command = QGuiApplication.clipboard().text()
    assert command.startswith("cat > ")
    assert "--set min_umi=2500" in command
    (name, text) = next(iter(dock_buttons.section_now(s, run.opened)[1].items()))
    (tmp_path / name).write_text(text)
    opened = run.opened
    section = read_section(opened.path, opened.image, library_id=opened.library_id, outlines=tmp_path / name)
    again = result_of(gather(section, settings, s.run_dir)).views["predicted"]
    assert np.array_equal(again.face, drawn.face)
    assert np.array_equal(again.border, drawn.border)
    button.copy_python()
    assert "nd.save_figure(section, settings" in QGuiApplication.clipboard().text()
    assert "paste them into Python" in run.figures.dialog.end.text()
    names = [str(name) for name in s.clusters.cat.categories]
    s.recolour(names[1], "#123456", names)
    clusters = next(text for name, text in dock_buttons.section_now(s, run.opened)[1].items() if name.endswith("clusters.csv"))
    (tmp_path / "clusters.csv").write_text(clusters)
    section = read_section(opened.path, opened.image, library_id=opened.library_id, clusters=tmp_path / "clusters.csv")
    assert cluster_colours(section.adata, "given_cluster", names) == s.cluster_colours(names)
    assert given_clusters(section.adata).astype(str).tolist() == s.clusters.astype(str).tolist()


def test_copy_stands_beside_the_actions(run, dock, tmp_path, capsys):
    """Open, quality, train, and between the spots can be copied; the copied run is the one that Start would train."""
    panels = (run.section_panel, run.quality_panel, run.train_panel, run.denser_panel)
    for panel in panels:
        assert len(panel.findChildren(CopyButton)) == 1
    run.train_panel.findChildren(CopyButton)[0].copy_command()
    text = QGuiApplication.clipboard().text()
    (tmp_path / "run.yaml").write_text(text.split("<<'EOF'\n")[1].split("\nEOF\n")[0])
    asked = run.run_settings()
    assert load_run_settings(tmp_path / "run.yaml") == asked.model_copy(update={"sections": (dock_buttons.section_now(run.session, run.opened)[0],)})
    run.section_panel.findChildren(CopyButton)[0].copy_command()
    assert QGuiApplication.clipboard().text().startswith("napari-deepspace open ")
    run.denser_panel.findChildren(CopyButton)[0].copy_command()
    words = QGuiApplication.clipboard().text()
    assert "--at between-spots" in words
    assert str(run.session.run_dir) in words
    run.searches.open()
    run.searches.dialog.findChildren(CopyButton)[0].copy_command()
    assert "napari-deepspace search" in QGuiApplication.clipboard().text()
    run.searches.dialog.close()
    run.session.run_dir = None
    run.denser_panel.findChildren(CopyButton)[0].copy_command()
    assert "no finished run" in run.status.text()


def test_nothing_is_copied_before_a_section_is_open(dock):
    """Each button says in a sentence what is missing."""
    for button in dock.section_panel.findChildren(CopyButton):
        button.copy_python()
        assert "Open a section first" in dock.status.text()
    dock.figures.open()
    assert not dock.figures.dialog.save.isEnabled()
    assert main(["figure", "nowhere", "--kind", "map", "--gene", "A", "--out", "x.png"]) == 2
