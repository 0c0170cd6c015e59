"""The sealed hold-out in a real window: made before the first run, kept by runs, opened once."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_deepspace._napari.seals import SealDialog, seal_folders
from napari_deepspace.run_list import list_runs
from napari_deepspace.seal import read_seal
from napari_deepspace.settings import SplitSettings


def click(button):
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.mark.acceptance  # half a minute and more
def test_a_hold_out_is_sealed_and_opened_once_in_the_dock(opened, qtbot, monkeypatch):
    """Sealed from Advanced; its spots neither train nor are painted; the run that kept it opens it, once, and the dock says the whole score."""
    monkeypatch.setattr("napari_deepspace._napari.dock.show_error", lambda text: None)
    dock, panel, session = opened, opened.train_panel, opened.session
    before = session.loaded
    dock.seals.ask = lambda: ("block", 10)
    assert panel.seal.isEnabled()
    panel.seal.click()
    qtbot.waitUntil(lambda: session.loaded is not before and not session.busy, timeout=60_000)
    (path,) = seal_folders(session)[0].glob("*.json")
    seal = read_seal(path)
    assert session.section.sealed.sum() == len(seal.spots)
    assert not session.kept().keep[session.section.sealed].any()
    assert f"Sealed: {len(seal.spots)} spots, since {seal.made[:10]}, not opened" == panel.sealed.text()
    assert panel.seal.isHidden()
    panel.chips.set_names(["ESR1"])
    panel.forms["split"].setValue(SplitSettings(kind="random", folds=2))
    assert dock.run_settings().sections[0].sealed == path
    click(panel.start)
    qtbot.waitUntil(lambda: session.running is None and session.maps is not None and not session.maps.live, timeout=120_000)
    assert "The only run on this section" in panel.run.result.text()
    assert np.isnan(session.maps.predicted[session.section.sealed]).all()
    view = panel.runs
    view.set_open(True)
    dock.runs.refresh()
    qtbot.waitUntil(lambda: len(view.model.runs) == 1 and view.model.runs[0].state == "finished", timeout=10_000)
    view.choose(0)
    asked = []
    dock.seals.ask_open = lambda run, seal: asked.append(seal.words) or True
    for _ in range(2):
        assert view.possible("unseal")
        view.actions_["unseal"].trigger()
        qtbot.waitUntil(lambda: dock.seals.child is None, timeout=60_000)
    (run,) = list_runs(session.runs or path.parent.parent / "runs")
    assert read_seal(path).opened["run"] == run.run_dir.name
    assert any("The seal is open" in text and "mean r" in text and "neighbours alone" in text for text in dock.messages)
    assert "already" in dock.status.text(), "a second opening is refused"
    assert f"opened on {read_seal(path).opened['date'][:10]}" in panel.sealed.text()


def test_a_section_that_was_trained_on_is_not_sealed(opened, small_run, qtbot, monkeypatch):
    """The refusal is said in the dock, and nothing is written."""
    monkeypatch.setattr("napari_deepspace._napari.dock.show_error", lambda text: None)
    from napari_deepspace.runs import write_atomic
    from napari_deepspace.settings import dump_yaml

    run_dir, _ = small_run(opened.session.section)
    write_atomic(run_dir / "run.yaml", dump_yaml(opened.run_settings()))
    opened.seals.ask = lambda: ("spots", 20)
    opened.train_panel.seal.click()
    qtbot.waitUntil(lambda: opened.seals.child is None, timeout=60_000)
    qtbot.waitUntil(lambda: "cannot be sealed any more" in opened.status.text(), timeout=10_000)
    assert not list(seal_folders(opened.session)[0].glob("*.json"))


def test_what_is_sealed_is_asked_in_words(opened):
    """Three choices with a share; the whole section needs none. A block comes first: single spots cost a guard band each."""
    dialog = SealDialog(opened)
    assert dialog.choice() == ("block", 20)
    dialog.kinds["whole"].click()
    assert not dialog.share.isEnabled()
    assert dialog.choice()[0] == "whole"
    dialog.deleteLater()


@pytest.mark.acceptance
def test_a_split_that_the_section_cannot_have_is_said(opened, qtbot, monkeypatch):
    """One section out with a single section: the sentence of the core is shown when the run is asked for."""
    monkeypatch.setattr("napari_deepspace._napari.dock.show_error", lambda text: None)
    panel = opened.train_panel
    kinds = panel.forms["split"].fields["kind"]
    assert {"sections", "patients"} <= {kinds.itemText(number) for number in range(kinds.count())}
    panel.forms["split"].setValue(SplitSettings(kind="sections"))
    panel.chips.set_names(["ESR1"])
    click(panel.start)
    qtbot.waitUntil(lambda: "needs at least two sections" in opened.status.text(), timeout=60_000)
