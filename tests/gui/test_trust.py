"""How far to trust it: the gene panel, the verdict beside the map, the key, and the picker that speaks pathologist."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from scipy.spatial import cKDTree
from window_tools import spots

from napari_deepspace import results
from napari_deepspace._napari.gene_table import GeneTableDialog
from napari_deepspace.analyse.evaluate import evaluate
from napari_deepspace.events import BaselinesScored, Started
from napari_deepspace.gene_scores import GeneScore, Scores
from napari_deepspace.run_maps import maps_of_run
from napari_deepspace.runs import write_json
from napari_deepspace.settings import GeneSettings
from napari_deepspace.target import Target
from napari_deepspace.verdicts import BETTER, no_better

GENES = ("SPARC", "FN1", "ESR1")


@pytest.fixture
def judged(opened, tmp_path):
    """The dock with a finished run in it: SPARC predicted well, FN1 no better than colour alone, ESR1 not at all; scored by `evaluate` itself."""
    section = opened.session.section
    rng = np.random.default_rng(0)
    n, near = section.adata.n_obs, cKDTree(section.centres_yx).query(section.centres_yx, 30)[1]
    waves = rng.standard_normal((n, 3))[near].mean(axis=1) * np.sqrt(30)  # smooth, as expression is
    measured = waves + 0.3 * rng.standard_normal((n, 3))
    predicted = np.stack([waves[:, 0], waves[:, 1] + 0.5 * rng.standard_normal(n), rng.standard_normal(n)], axis=1)
    colour = np.stack([0.2 * waves[:, 0] + rng.standard_normal(n), waves[:, 1] + 0.5 * rng.standard_normal(n), rng.standard_normal(n)], axis=1)
    columns = {results.PREDICTED: predicted, results.MEASURED: measured, results.BASELINES["mean RGB"]: colour}
    columns[results.BASELINES["interpolation"]] = rng.standard_normal((n, 3))
    columns = {name: values.astype(np.float32) for name, values in columns.items()}
    about = {results.SPLIT: "test", results.SOURCE: "out-of-fold", results.FOLD: 0, results.REASON: ""}
    table = pd.DataFrame(about, index=section.adata.obs_names)
    told = {"model": "waves", "split": "random spots", "target_sum": 5000.0, "training_sections": [section.library_id]}
    result = results.result_at_spots(section, Target("genes", GENES, "3 genes", "log", 5000.0), columns, table, told)
    run_dir = tmp_path / "runs" / "waves-1"
    results.write_result(result, run_dir / "predictions" / f"1-{section.library_id}.h5ad")
    write_json(run_dir / "metrics.json", {"sections": {section.library_id: evaluate(result)}})
    opened.session.maps = maps_of_run(run_dir, section)
    opened.paint()
    return opened


def test_the_panel_says_in_words_what_each_map_adds(judged):
    """The sentence counts the verdicts, with split and number of spots; every gene has a row with its verdict, the best first."""
    panel, scores = judged.gene_panel, judged.session.maps.scores
    assert scores.of("SPARC").verdict == BETTER
    assert scores.of("FN1").verdict == no_better("mean RGB")
    assert scores.of("ESR1").kind != "better"
    assert "1 of 3 genes is better than every simple way" in panel.summary.text()
    assert "no better than a simple way" in panel.summary.text()
    assert "no better than colour alone" in panel.summary.toolTip()
    assert "SYNTHETIC" in panel.summary.text()
    assert f"{scores.n:,} spots not trained on; random spots" in panel.where.text()
    rows = [panel.model.data(panel.model.index(number)) for number in range(panel.model.rowCount())]
    assert rows[0] == f"SPARC: {BETTER}"
    assert "FN1: no better than colour alone" in rows


def test_a_click_shows_the_gene_with_its_numbers(judged, qtbot):
    """A click on a row paints that gene and tells r with its interval, the number of spots, the ceiling and each comparison."""
    panel = judged.gene_panel
    judged.show_part(panel)
    qtbot.waitUntil(lambda: not panel.list.visibleRegion().isEmpty(), timeout=5000)
    number = next(number for number, one in enumerate(panel.model.rows) if one.name == "FN1")
    QTest.mouseClick(panel.list.viewport(), Qt.MouseButton.LeftButton, pos=panel.list.visualRect(panel.model.index(number)).center())
    assert judged.session.gene == "FN1"
    text = panel.chosen.text()
    for words in ("FN1: no better than colour alone", "95 %", "spots", "best this data allows", "better than neighbours alone"):
        assert words in text


def test_a_map_that_adds_nothing_is_grey_until_it_is_wanted(judged, qtbot):
    """Its colours are gone and the slide, the colour bar and the line below say why; *Show anyway* brings the colours back, not the silence."""
    session, look = judged.session, judged.look_panel
    session.show, session.gene = "predicted", "FN1"
    judged.paint()
    colour = np.ptp(spots(judged).face_color[:, :3], axis=1).max()
    assert colour < 0.2
    assert "no better than colour alone" in judged._viewer.canvas.overlays.text.text
    assert "no better than colour alone" in look.bar.title.text()
    assert "no better than colour alone" in look.verdict.text()
    assert "95 %" in look.score.text()
    assert "random spots" in look.score.text()
    look.anyway.setChecked(True)
    judged.paint()
    assert np.ptp(spots(judged).face_color[:, :3], axis=1).max() > 0.4
    assert "no better than colour alone" in judged._viewer.canvas.overlays.text.text
    assert judged.gene_panel.anyway.isChecked()
    session.gene = "SPARC"
    session.show_anyway = False
    judged.paint()
    assert np.ptp(spots(judged).face_color[:, :3], axis=1).max() > 0.4
    assert BETTER in look.verdict.text()


def test_a_key_goes_through_measured_model_and_the_simple_ways(judged, viewer, qtbot):
    """Shift-C on the slide: measured, model, colour alone, neighbours alone, round again, with the same colour limits; gone when the dock closes."""
    session = judged.session
    session.gene, session.show = "SPARC", "measured"
    judged.paint()
    canvas = viewer.window._qt_viewer.canvas.native
    seen, limits = [], set()
    for _ in range(4):
        QTest.keyClick(canvas, Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
        QApplication.processEvents()
        judged.paint()
        seen.append(viewer.canvas.overlays.text.text.splitlines()[0].partition(": ")[2].partition(",")[0].partition(";")[0])
        limits.add(judged.look_panel.limits_shown())
    assert seen == ["predicted", "colour alone", "neighbours alone", "measured"]
    assert len(limits) == 1
    assert "Shift-C" in judged.look_panel.toggle.buttons["predicted"].toolTip()
    judged.shut()
    QTest.keyClick(canvas, Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
    QApplication.processEvents()
    assert session.show == "measured"
    assert not any("Shift-C" in str(key) or "Shift+C" in str(key) for key in viewer.keymap)


def test_another_patients_levels_are_relative(judged):
    """Where the model saw no section of the patient, the bar has no numbers and says so, and the difference to measured levels is not offered."""
    session = judged.session
    session.maps = dataclasses.replace(session.maps, relative="relative within this slide; trained on 1 patient")
    session.show, session.gene = "predicted", "SPARC"
    judged.paint()
    bar = judged.look_panel.bar
    assert (bar.low.text(), bar.high.text()) == ("low", "high")
    assert bar.unit.text() == "relative within this slide; trained on 1 patient"
    assert "relative within this slide" in judged._viewer.canvas.overlays.text.text
    assert not judged.look_panel.toggle.buttons["difference"].isEnabled()


def test_all_numbers_are_one_click_away_and_sortable(judged, qtbot):
    """The button opens a table that sorts by any column, unknown numbers last; a click and the arrow keys show the gene, which stays marked."""
    session = judged.session
    session.maps = dataclasses.replace(session.maps, scores=_without_r(session.maps.scores, "FN1"))
    judged.gene_panel.numbers.click()
    dialog, columns = judged.gene_windows.dialog, list(judged.gene_windows.dialog.model.rows.columns)
    model, table = dialog.model, dialog.table
    assert {"verdict", "r", "r / best", "Moran's I difference"} <= set(columns)
    for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
        for name in ("r", "r / best", "Moran's I difference"):
            table.sortByColumn(columns.index(name), order)
            known = model.rows[name].dropna()
            assert list(known) == sorted(known, reverse=order == Qt.SortOrder.DescendingOrder)
            assert model.rows[name].notna().to_list() == sorted(model.rows[name].notna(), reverse=True)
    table.sortByColumn(columns.index("r"), Qt.SortOrder.DescendingOrder)
    genes = list(model.rows["gene"])
    assert genes[-1] == "FN1"
    QApplication.processEvents()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualRect(model.index(0, 2)).center())
    assert session.gene == genes[0]
    QTest.keyClick(table, Qt.Key.Key_Down)
    assert session.gene == genes[1]
    table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert session.gene == genes[1] == model.rows["gene"].iat[table.currentIndex().row()]
    session.gene = genes[0]
    assert genes[0] == model.rows["gene"].iat[table.currentIndex().row()]
    dialog.close()
    QApplication.processEvents()
    session.gene = genes[1]  # the closed table is asked nothing any more


def _without_r(scores, gene):
    """``scores`` with r of one gene unknown."""
    one = dataclasses.replace(scores.of(gene), r=float("nan"), share=float("nan"), moran=(float("nan"), float("nan")))
    return dataclasses.replace(scores, genes=scores.genes | {gene: one})


def test_18000_genes_are_listed_at_once(judged, qtbot):
    """The panel and the table of a whole transcriptome open within a second, because only rows in view are drawn."""
    genes = {f"G{number}": GeneScore(f"G{number}", r=number / 18_000, ways={"mean RGB": 0.1}, verdict=BETTER, n=700) for number in range(18_000)}
    scores = Scores(genes, n=700, split="spatial blocks")
    start = time.perf_counter()
    judged.session.maps = dataclasses.replace(judged.session.maps, scores=scores)
    judged.gene_panel.list.grab()
    assert time.perf_counter() - start < 2
    assert judged.gene_panel.model.rowCount() == 18_000
    start = time.perf_counter()
    dialog = GeneTableDialog(scores, "all")
    dialog.model.sort(2, Qt.SortOrder.DescendingOrder)
    assert time.perf_counter() - start < 3
    assert dialog.model.rows["gene"].iat[0] == "G17999"
    qtbot.addWidget(dialog)


def test_the_picker_speaks_pathologist(opened, qtbot):
    """HER2 offers ERBB2 and says why, with the share of spots and the best possible r beside it; Enter takes it."""
    session, search = opened.session, opened.train_panel.search
    qtbot.waitUntil(lambda: session.reach is not None and session.reach.ceiling is not None, timeout=30_000)
    opened.train_panel.chips.set_names(())
    QTest.keyClicks(search.field, "HER2")
    words = search.model.data(search.model.index(0))
    assert words.startswith("HER2 is ERBB2")
    assert "% of spots · at best r 0." in words
    QTest.keyClick(search.field, Qt.Key.Key_Return)
    assert opened.train_panel.chips.names() == ("ERBB2",)
    QTest.keyClicks(opened.look_panel.search.field, "Ki-67")
    assert opened.look_panel.search.model.data(opened.look_panel.search.model.index(0)).startswith("Ki-67 is MKI67")


def test_a_gene_that_is_hardly_there_warns_before_training(opened, qtbot):
    """A chosen gene detected in too few of the spots (10 %, if not set otherwise) is named with its share and the best r that it could reach."""
    session = opened.session
    qtbot.waitUntil(lambda: session.reach is not None and session.reach.ceiling is not None, timeout=30_000)
    reach = session.reach
    seldom = [name for name, share, best in zip(reach.names, reach.detected, reach.ceiling, strict=True) if 0 < share < 0.99 and np.isfinite(best)]
    assert seldom
    opened.train_panel.forms["genes"].setValue(GeneSettings(min_detected=0.99))
    opened.train_panel.chips.set_names(seldom[:1])
    detected, best = reach.of(seldom[0])
    assert f"{seldom[0]} ({detected:.0%}, at best r {best:.2f})" in opened.train_panel.target.genes_text.text()


def test_the_live_plot_names_the_best_three_and_the_ceiling(opened):
    """Every simple way has a line; the best three are named in plain words, and so is the best this data allows."""
    curves = opened.train_panel.run.curves
    curves.begin(Started("a", "quick", ("A",), 10, 5, 0, "cpu"))
    ways = {"mean RGB": 0.1, "brightness": 0.05, "nuclear density": 0.2, "interpolation": 0.3, "log UMI": float("nan")}
    curves.set_baselines(BaselinesScored(ways, 10).mean_r, 0.6)
    text = curves.score_title.text()
    assert len(curves._lines) == 5
    for words in ("neighbours alone 0.30", "nuclear density alone 0.20", "colour alone 0.10", "best this data allows 0.60"):
        assert words in text
    assert "brightness" not in text
