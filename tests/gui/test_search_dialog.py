"""The parameter search in a real window: asked for under Advanced, followed, stopped, resumed, and its best settings taken over."""

from __future__ import annotations

import psutil
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from shapely.geometry import box

from napari_deepspace._napari.search_dialog import cost_words
from napari_deepspace.outlines import EXCLUDE, Outline
from napari_deepspace.search_results import read_trials, summary
from napari_deepspace.settings import NetworkSettings, QuickSettings, SplitSettings, TileSettings, load_run_settings


def click(widget) -> None:
    QTest.mouseClick(widget, Qt.MouseButton.LeftButton)


@pytest.fixture
def asked(opened, qtbot):
    """The dialog of a quick search: most of the section is left out, two folds, two genes."""
    panel, session = opened.train_panel, opened.session
    panel.chips.set_names(["ESR1", "SPARC"])
    panel.forms["split"].setValue(SplitSettings(kind="random", folds=2))
    panel.forms["quick"].setValue(QuickSettings(um_per_px=2))
    y, x = session.section.centres_yx.max(axis=0)
    session.outlines = (Outline(box(0, 0, x * 0.7, y * 2), EXCLUDE),)
    panel.search_button.parentWidget().parentWidget().set_open(True)
    opened.show_part(panel.search_button)
    qtbot.waitUntil(lambda: not panel.search_button.visibleRegion().isEmpty() and panel.search_button.isEnabled(), timeout=10_000)
    click(panel.search_button)
    dialog = opened.searches.dialog
    qtbot.waitUntil(dialog.isVisible, timeout=5000)
    return dialog


def tick(dialog, **values) -> None:
    """Vary exactly these settings, by the last part of their key, with these values."""
    for key, (box_, ticks, choice) in dialog.rows.items():
        wanted = values.get(key.rsplit(".", maxsplit=1)[-1])
        box_.setChecked(wanted is not None)
        ticks.set_value(choice.words(value) for value in wanted or ())


def children_of(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_dialog_offers_what_applies_and_says_what_it_costs(asked, opened):
    """Quick varies tile size and white threshold, a network all of the paper's settings; the number of trials and their cost follow the ticks."""
    assert [choice.name for _, _, choice in asked.rows.values()] == ["tile size", "white threshold"]
    assert "5 trials" in asked.count.text()
    asked.rows["filter.white_percentile"][0].setChecked(True)
    assert "30 trials" in asked.count.text()
    asked.trials.setValue(7)
    assert "7 trials" in asked.count.text()
    tick(asked)
    assert "Nothing varies" in asked.count.text()
    assert not asked.start.isEnabled()
    opened.train_panel.choose("network")
    opened.train_panel.forms["network"].setValue(NetworkSettings(learning_rate=2e-4))
    names = [choice.name for _, _, choice in asked.rows.values()]
    assert names == ["tile size", "white threshold", "augmentation", "learning rate", "weight decay", "backbone"]
    tick(asked, learning_rate=[1e-5, 2e-4, 1e-3], augment=[[], ["flip"]])
    assert "6 trials" in asked.count.text()
    click(asked.method.buttons["optuna"])
    assert "20 trials" in asked.count.text()
    search = asked.asked(opened.run_settings())
    assert search.method == "optuna"
    assert (search.space["model.learning_rate"].low, search.space["model.learning_rate"].high) == (1e-5, 1e-3)
    assert search.space["model.augment"] == [[], ["flip"]]
    assert cost_words(12, 20.0).startswith("12 trials, about 4 min")


@pytest.mark.acceptance  # a minute on two cores
def test_a_search_is_started_followed_and_its_best_settings_taken_over(asked, opened, qtbot):
    """Each trial comes into the table as it ends; a run that is started meanwhile waits; the best settings go into the panels, the split stays."""
    panel, searches = opened.train_panel, opened.searches
    tick(asked, extra_percent=[0, 50])
    seen = []
    click(asked.start)
    assert searches.child is not None
    assert panel.search_button.isEnabled(), "the button leads to the search that works"
    assert panel.start.text() == "Add to queue"
    assert not asked.start.isEnabled()

    def ended():
        seen.append(asked.model.frame["state"].tolist().count("finished") if len(asked.model.frame) else 0)
        return opened.session.running is None

    qtbot.waitUntil(ended, timeout=120_000)
    assert {1, 2} <= set(seen), "trials arrive one by one"
    trials = read_trials(searches.shown.folder)
    assert [trial.state for trial in trials] == ["finished"] * 2, [trial.message for trial in trials]
    frame = asked.model.frame
    assert frame["tile size"].tolist() == ["0 %", "50 %"]
    assert frame["validation r"].tolist() == [f"{trial.score:.3f}" for trial in trials]
    best = summary(trials)["best"]
    assert [name for name in frame.index if "★" in name] == [f"{best} ★"]
    for words in ("SYNTHETIC", f"Best of 2 trials: trial {best}", "too high by having been chosen"):
        assert words in asked.words.text()
        assert words in panel.run.result.text()
    asked.tabs.setCurrentWidget(asked.plots)
    qtbot.waitUntil(lambda: not asked.plots.picture.pixmap().isNull(), timeout=5000)
    sections = load_run_settings(searches.shown.folder / "best.yaml").sections
    assert sections[0].outlines is not None, "trials train with the outlines of when the search was asked for"
    panel.choose("network")
    panel.forms["tile"].setValue(TileSettings(extra_percent=77))
    opened.session.filter = opened.session.filter.model_copy(update={"min_umi": 5})
    click(asked.use)
    settings = opened.run_settings()
    assert settings.tile.extra_percent == trials[best - 1].overrides["tile.extra_percent"]
    assert settings.model == QuickSettings(um_per_px=2)
    assert settings.filter.min_umi == 1000
    assert settings.split == SplitSettings(kind="random", folds=2)


@pytest.mark.acceptance
def test_stop_leaves_no_process(asked, opened, qtbot):
    """Stop, while a trial works, ends every process of the search within two seconds; the search can be resumed."""
    searches = opened.searches
    tick(asked, extra_percent=[0, 50])
    click(asked.start)
    qtbot.waitUntil(lambda: asked.doing.text().startswith("Trial 1 of 2"), timeout=120_000)
    processes = children_of(psutil.Process(searches.child.process.pid))
    click(asked.stop)
    qtbot.waitUntil(lambda: not any(lives(process) for process in processes), timeout=2500)
    qtbot.waitUntil(lambda: opened.session.running is None, timeout=5000)
    assert asked.resume.isEnabled()
    assert "0 of 2 trials are done" in asked.doing.text()
    assert "was stopped" in opened.train_panel.run.doing.text()


@pytest.mark.acceptance  # half a minute and more
def test_stop_keeps_trials_and_resume_goes_on(asked, opened, qtbot):
    """Stop keeps finished trials; Resume goes on in its folder and trains none twice."""
    searches = opened.searches
    tick(asked, extra_percent=[0, 50])
    click(asked.start)
    qtbot.waitUntil(lambda: searches.shown.done >= 1, timeout=120_000)
    processes = children_of(psutil.Process(searches.child.process.pid))
    folder = searches.shown.folder
    click(asked.stop)
    qtbot.waitUntil(lambda: not any(lives(process) for process in processes), timeout=2500)
    qtbot.waitUntil(lambda: opened.session.running is None, timeout=5000)
    done = {trial.number: (folder / f"trial-{trial.number:04d}" / "metrics.json").stat().st_mtime_ns for trial in read_trials(folder)[:1]}
    assert asked.resume.isEnabled()
    assert "of 2 trials are done" in asked.doing.text()
    assert not opened.messages[-1].startswith("A fault")
    click(asked.leave)
    searches.shown = searches.dialog = None  # as in a window that is opened anew
    searches.open()
    again = searches.dialog
    qtbot.waitUntil(again.resume.isEnabled, timeout=5000)
    click(again.resume)
    assert searches.shown.folder == folder
    qtbot.waitUntil(lambda: opened.session.running is None, timeout=120_000)
    assert [trial.state for trial in read_trials(folder)] == ["finished"] * 2
    assert {number: (folder / f"trial-{number:04d}" / "metrics.json").stat().st_mtime_ns for number in done} == done
    assert not again.resume.isEnabled()


def test_one_job_at_a_time(asked, opened, qtbot):
    """While a run trains, button and dialog say why no search can start; a run asked for while a search works starts when that has ended."""
    panel = opened.train_panel
    click(panel.start)
    assert not panel.search_button.isEnabled()
    assert "a run is training" in panel.search_why.text()
    assert "A run is training" in asked.count.text()
    assert not asked.start.isEnabled()
    click(panel.stop)
    qtbot.waitUntil(lambda: opened.session.running is None, timeout=10_000)
    assert panel.search_button.isEnabled()
    assert panel.search_why.text() == ""
    tick(asked, extra_percent=[0])
    click(asked.start)
    search = opened.session.running
    click(panel.start)
    assert "number 1 in the queue" in opened.status.text()
    click(panel.stop)
    qtbot.waitUntil(lambda: opened.session.running not in (search, None), timeout=10_000)
    click(panel.stop)
    qtbot.waitUntil(lambda: opened.session.running is None, timeout=10_000)


@pytest.mark.acceptance  # half a minute and more
def test_closing_the_window_ends_or_keeps_the_search(asked, opened, qtbot):
    """A kept search outlives the dock and is followed again; one that is stopped leaves no process."""
    searches = opened.searches
    tick(asked, extra_percent=[0, 50, 100, 150, 200])
    click(asked.start)
    qtbot.waitUntil(lambda: searches.shown.done >= 1, timeout=120_000)
    process = psutil.Process(searches.child.process.pid)
    questions = []
    searches.ask = lambda text: questions.append(text) or "keep"
    searches.leave()
    assert "of 5 trials" in questions[0]
    assert opened.session.running is None
    assert lives(process)
    searches.open()
    assert searches.follow_running()
    before = searches.shown.done
    qtbot.waitUntil(lambda: searches.shown.done > before and len(asked.model.frame) > 1, timeout=60_000)
    searches.ask = lambda text: "stop"
    searches.leave()
    assert not lives(process)
    assert opened.session.running is None
    assert not asked.isVisible()
