"""Runs in a real window: the queue, pause and resume, the question at closing, what is found again, and the list of runs."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMessageBox
from shapely.geometry import box
from window_tools import painted

from napari_deepspace._napari.app import add_dock
from napari_deepspace._napari.run_view import RunView
from napari_deepspace._napari.runs_dialogs import CHOICES, ask_what_becomes
from napari_deepspace._napari.training import runs_folder
from napari_deepspace.events import BaselinesScored, EpochEnded, Finished, FoldEnded, Paused, Resumed, Started
from napari_deepspace.outlines import EXCLUDE, Outline, read_outlines
from napari_deepspace.phantom import make_phantom
from napari_deepspace.run_list import run_info
from napari_deepspace.run_queue import add_to_queue, queued_runs
from napari_deepspace.runs import PAUSE, EventLog, read_events, running_pid, write_atomic, write_json
from napari_deepspace.settings import (
    ClusterTargetSettings,
    NetworkSettings,
    ObsSettings,
    RunSettings,
    SectionSettings,
    SignatureSettings,
    SplitSettings,
    dump_yaml,
    load_run_settings,
)

NETWORK = NetworkSettings(backbone="mobilenet_v3_small", weights="scratch", tile_px=32, epochs=200, patience=200)


def click(widget) -> None:
    QTest.mouseClick(widget, Qt.MouseButton.LeftButton)


def start_network(dock, qtbot) -> psutil.Process:
    """Start a network that would take long, and wait until it learns."""
    dock.train_panel.chips.set_names(["ESR1", "SPARC"])
    dock.train_panel.choose("network")
    dock.train_panel.forms["network"].setValue(NETWORK)
    dock.train_panel.forms["split"].setValue(SplitSettings(folds=2))
    click(dock.train_panel.start)
    qtbot.waitUntil(lambda: len(dock.train_panel.run.curves.epochs) > 0, timeout=120_000)
    return psutil.Process(dock.training.child.process.pid)


class Blocker(QObject):
    """Lets a window stay open although it is closed: the test's own window is closed by its fixture alone."""

    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.Close:
            event.ignore()
            return True
        return False


def close(dock, choice: str) -> None:
    """Close napari's window, which stays, with ``choice`` as the answer to what becomes of the run."""
    window, blocker = dock.window(), Blocker()
    dock.training.ask = lambda text: choice
    window.installEventFilter(blocker)
    window.installEventFilter(dock._closing)  # hears of it first, as in life
    window.close()
    window.removeEventFilter(blocker)
    dock.training.ask = lambda text: "stop"


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listed(dock, qtbot, count: int):
    """The list of runs, unfolded, once it holds ``count``."""
    view = dock.train_panel.runs
    view.set_open(True)
    dock.runs.refresh()
    qtbot.waitUntil(lambda: len(view.model.runs) == count, timeout=10_000)
    return view


def written_run(folder, section, name="cut", events=(), model=NETWORK, stamp="20260102-030405"):
    """A run's folder as a process that is gone left it."""
    run_dir = folder / f"{name}-{stamp}"
    settings = RunSettings(name=name, sections=(SectionSettings(path=section.path, library_id=section.library_id),), model=model)
    write_atomic(run_dir / "run.yaml", dump_yaml(settings))
    log = EventLog(run_dir)
    for event in events:
        log.write(event)
    log.close()
    return run_dir


STARTED = Started("cut", "mobilenet_v3_small", ("ESR1", "SPARC"), 100, 2, 200, "cpu")


def epoch(fold, number, map_file=""):
    return EpochEnded(fold, number, 200, 1.0, 1.0, number / 100, True, 1.0, map_file)


@pytest.mark.acceptance
def test_two_quick_runs_go_through_the_queue(opened, qtbot):
    """Start while a run works adds to the queue; the next run starts by itself, with the settings and outlines of when it was added."""
    panel, session = opened.train_panel, opened.session
    panel.chips.set_names(["ESR1"])
    panel.forms["split"].setValue(SplitSettings(kind="random", folds=2))
    y, x = session.section.centres_yx.max(axis=0) * 0.6
    most = Outline(box(0, 0, x, y * 2), EXCLUDE)  # what is not predicted costs no time
    session.outlines = (most,)
    click(panel.start)
    first = session.running
    assert first is not None
    assert panel.start.text() == "Add to queue"
    panel.chips.set_names(["SPARC", "FN1"])
    session.outlines = (most, Outline(box(x, 0, x * 2, y * 0.5), EXCLUDE))
    click(panel.start)
    (second,) = queued_runs(runs_folder(opened.session))
    assert "number 1 in the queue" in opened.status.text()
    session.outlines = ()
    panel.chips.set_names(["COL1A1"])
    qtbot.waitUntil(lambda: session.running == second, timeout=120_000)
    assert queued_runs(runs_folder(opened.session)) == []
    qtbot.waitUntil(lambda: session.running is None, timeout=120_000)
    assert run_info(first).state == run_info(second).state == "finished"
    assert load_run_settings(second / "run.yaml").target.names == ("SPARC", "FN1")
    drawn = [len(read_outlines(load_run_settings(run_dir / "run.yaml").sections[0].outlines)) for run_dir in (first, second)]
    assert drawn == [1, 2], "what was drawn later changes no run"
    view = listed(opened, qtbot, 2)
    qtbot.waitUntil(lambda: all(run.n > 20 for run in view.model.runs), timeout=10_000)


@pytest.mark.acceptance
def test_a_run_is_paused_resumed_and_stopped_by_closing(opened, qtbot):
    """Pause ends the process after its step and offers the run; Resume goes on in the same folder; Stop, when the window closes, ends it."""
    process = start_network(opened, qtbot)
    run_dir = opened.session.running
    assert opened.train_panel.pause.isEnabled()
    click(opened.train_panel.pause)
    qtbot.waitUntil(lambda: opened.session.running is None, timeout=30_000)
    assert not lives(process)
    assert not (run_dir / PAUSE).exists()
    assert run_info(run_dir).state == "paused"
    assert "Paused at fold 1" in opened.train_panel.run.doing.text()
    assert opened.session.maps is None
    qtbot.waitUntil(lambda: opened.train_panel.offer.isVisibleTo(opened), timeout=10_000)
    assert "is paused at fold 1, epoch" in opened.train_panel.offer_text.text()
    click(opened.train_panel.offer_yes)
    assert opened.session.running == run_dir
    qtbot.waitUntil(lambda: any(isinstance(event, Resumed) for event in read_events(run_dir)), timeout=60_000)
    told = len(list(read_events(run_dir)))
    qtbot.waitUntil(lambda: len(list(read_events(run_dir))) > told + 3, timeout=60_000)
    process = psutil.Process(running_pid(run_dir))
    close(opened, "stop")
    assert opened.session.running is None
    assert not lives(process)
    assert run_info(run_dir).state == "stopped"


def test_resuming_forgets_what_was_told_of_later_epochs(qtbot):
    """After Resumed the curves hold what counts: the epochs before the checkpoint and those told since, each once."""
    view = RunView()
    qtbot.addWidget(view)
    told = [STARTED, BaselinesScored({"mean RGB": 0.1}, 50), epoch(0, 1), epoch(0, 2), FoldEnded(0, 2, 0.3), epoch(1, 1), epoch(1, 2)]
    for event in (*told, Resumed(1, 2, 0), BaselinesScored({"mean RGB": 0.1}, 50)):
        view.show_event(event)
    assert [(one.fold, one.epoch) for one in view.curves.epochs] == [(0, 1), (0, 2), (1, 1)]
    assert [one.fold for one in view.curves.folds] == [0]
    assert len(view.curves._lines) == 1
    view.show_event(Resumed(0, 2, 5))
    assert [(one.fold, one.epoch) for one in view.curves.epochs] == [(0, 1)]
    assert view.curves.folds == []


KEEP = """
import sys, time
from pathlib import Path
from qtpy.QtWidgets import QApplication
from napari_deepspace._napari.app import open_window
from napari_deepspace.settings import NetworkSettings, SplitSettings

viewer, dock = open_window()
dock.train_panel.auto.setChecked(False)
dock.estimates._timer.setInterval(10**8)

def wait(condition):
    end = time.monotonic() + 120
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)

dock.open_section(Path(sys.argv[1]))
wait(lambda: dock.session.loaded is not None and not dock.session.busy)
long = {"name": "long", "model": NetworkSettings.model_validate_json(sys.argv[2]), "split": SplitSettings(folds=2)}
dock.training.start(dock.run_settings().model_copy(update=long))
wait(lambda: len(dock.train_panel.run.curves.epochs) > 1)
asked = []
dock.training.ask = lambda text: asked.append(text) or "keep"
dock.window().close()
wait(lambda: asked)
print(*asked, sep="|")
"""


@pytest.mark.acceptance  # half a minute and more
def test_a_kept_run_outlives_napari_and_is_found_again(viewer, qtbot, phantom_dir, tmp_path):
    """Keep training, asked once when the window closes: napari ends, the run goes on; the next dock follows it, past included, and can stop it."""
    command = [sys.executable, "-c", KEEP, str(phantom_dir / "outs"), NETWORK.model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    (run_dir,) = (tmp_path / "runs").iterdir()
    process = psutil.Process(running_pid(run_dir))
    try:
        assert "long is training (fold 1, epoch" in done.stdout, done.stderr
        assert "|" not in done.stdout
        assert lives(process)
        dock = add_dock(viewer)
        dock.training.ask = lambda text: "stop"
        dock.estimates._timer.setInterval(10**8)
        assert dock.session.running == run_dir
        qtbot.waitUntil(lambda: len(dock.train_panel.run.curves.epochs) > 2, timeout=30_000)
        epochs = [(one.fold, one.epoch) for one in dock.train_panel.run.curves.epochs]
        assert epochs == [(0, number) for number in range(1, len(epochs) + 1)], "the past is drawn, nothing is told twice"
        assert dock.train_panel.pause.isEnabled()
        click(dock.train_panel.stop)
        qtbot.waitUntil(lambda: dock.session.running is None, timeout=10_000)
        assert not lives(process)
    finally:
        if lives(process):
            process.kill()


@pytest.mark.acceptance  # half a minute and more
def test_closing_the_window_keeps_or_pauses(opened, qtbot):
    """A kept run is back in the dock if the window was not closed after all, for napari asks too; Pause leaves a run that can be resumed."""
    process = start_network(opened, qtbot)
    run_dir = opened.session.running
    close(opened, "keep")
    assert opened.session.running is None
    assert lives(process)
    qtbot.waitUntil(lambda: opened.session.running == run_dir, timeout=10_000)
    close(opened, "pause")
    qtbot.waitUntil(lambda: not lives(process), timeout=30_000)
    assert run_info(run_dir).state == "paused"
    QTest.qWait(1700)
    assert opened.session.running is None


def test_the_question_has_three_answers(dock, qtbot):
    """Keep training, Pause, Stop; Escape keeps the run, so that nothing is lost by accident."""

    def press(words):
        question = QApplication.activeModalWidget()
        if not isinstance(question, QMessageBox):
            QTimer.singleShot(50, lambda: press(words))
        elif words is None:
            QTest.keyClick(question, Qt.Key.Key_Escape)
        else:
            click(next(button for button in question.buttons() if button.text().replace("&", "") == words))

    for choice, words in (*CHOICES.items(), ("keep", None)):
        QTimer.singleShot(50, lambda words=words: press(words))
        assert ask_what_becomes(dock, "vgg16 is training.") == choice


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_killed_run_is_offered_and_goes_on(opened, qtbot):
    """After SIGKILL the dock offers the run with the place where it was cut short; Not now takes the offer away."""
    process = start_network(opened, qtbot)
    run_dir = opened.session.running
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_deepspace._napari.dock.show_error", lambda text: None)
        os.kill(process.pid, signal.SIGKILL)
        qtbot.waitUntil(lambda: opened.session.running is None, timeout=10_000)
        qtbot.waitUntil(lambda: opened.train_panel.offer.isVisibleTo(opened), timeout=10_000)
    assert "was interrupted at fold 1, epoch" in opened.train_panel.offer_text.text()
    click(opened.train_panel.offer_no)
    opened.runs.refresh()
    QTest.qWait(500)
    assert not opened.train_panel.offer.isVisibleTo(opened)
    assert run_info(run_dir).resumable


@pytest.mark.acceptance  # half a minute and more
def test_drawing_and_looking_go_on_while_a_run_works(opened, viewer, qtbot, tmp_path):
    """Outlines, thresholds, genes and another section are free; the live map is painted on its own section alone, and comes back with it."""
    start_network(opened, qtbot)
    session, panel = opened.session, opened.quality_panel
    qtbot.waitUntil(lambda: session.maps is not None and session.maps.live, timeout=60_000)
    panel.umi.box.setValue(2500)
    panel.outlines.draw.click()
    layer = opened.canvas.layer("outlines")
    y, x = np.median(session.section.centres_yx, axis=0)
    layer.add(np.array([[y, x], [y, x + 300], [y + 300, x + 300], [y + 300, x]]), shape_type="polygon")
    assert session.kept().removed["excluded"].sum() > 5
    assert panel.outlines.draw.isChecked()
    session.gene = "FN1"
    qtbot.waitUntil(lambda: painted(opened), timeout=5000)
    other = tmp_path / "other"
    other.symlink_to(make_phantom() / "outs")
    opened._open(opened.opened.model_copy(update={"path": other, "library_id": "other"}))
    qtbot.waitUntil(lambda: session.section.library_id == "other" and not session.busy, timeout=60_000)
    seen = len(opened.train_panel.run.curves.epochs)
    qtbot.waitUntil(lambda: len(opened.train_panel.run.curves.epochs) > seen + 1, timeout=60_000)
    assert session.maps is None, "the map of another section is not painted here"
    opened.open_section(make_phantom() / "outs")
    qtbot.waitUntil(lambda: session.maps is not None and session.maps.live and session.maps.library_id == session.section.library_id, timeout=60_000)
    click(opened.train_panel.stop)
    qtbot.waitUntil(lambda: session.running is None, timeout=10_000)


def test_a_run_is_opened_renamed_compared_and_deleted_from_the_list(opened, qtbot, small_run):
    """What the list offers is done: predictions painted, a new name, a table of genes by runs, a folder gone after a question."""
    session = opened.session
    run_dir, maps = small_run(session.section)
    written = written_run(run_dir.parent.parent, session.section, "x", (STARTED, Finished(0.1, 100, 1.0)))
    shutil.copytree(written, run_dir, dirs_exist_ok=True)
    scores = json.loads((run_dir / "metrics.json").read_text())
    write_json(run_dir / "metrics.json", {"mean_r": 0.1, "n_spots": 100, "synthetic": True} | scores)
    write_json(run_dir / "model" / "model.json", {})
    shutil.copytree(run_dir, run_dir.parent / "another")
    view = listed(opened, qtbot, 2)
    at = next(number for number, run in enumerate(view.model.runs) if run.run_dir == run_dir)
    view.choose(at)
    click(view.buttons["open"])
    qtbot.waitUntil(lambda: session.run_dir == run_dir, timeout=10_000)
    assert session.maps.genes == maps.genes
    assert "SYNTHETIC data. mean r 0.10" in opened.status.text()
    opened.runs.ask_name = lambda run: f"{run.name}, renamed"
    view.choose(at)
    view.actions_["rename"].trigger()
    qtbot.waitUntil(lambda: any(run.name == "x, renamed" for run in view.model.runs), timeout=10_000)
    view.choose(0, 1)
    click(view.buttons["compare"])
    qtbot.waitUntil(lambda: hasattr(opened.runs, "compared"), timeout=10_000)
    dialog = opened.runs.compared
    assert list(dialog.frame.columns) == [run.name for run in view.model.runs]
    assert "can be compared" in dialog.note.text()
    assert "SYNTHETIC" in dialog.note.text()
    dialog.close()
    for answer, left in ((False, 2), (True, 1)):
        opened.runs.ask_delete = lambda runs, answer=answer: answer
        view.choose(next(number for number, run in enumerate(view.model.runs) if run.run_dir == run_dir))
        view.actions_["delete"].trigger()
        qtbot.waitUntil(lambda left=left: len(view.model.runs) == left, timeout=10_000)
        assert run_dir.exists() == (not answer)
    assert session.maps is None, "what was deleted is not shown any more"


def test_the_queue_is_changed_from_the_list(opened, qtbot, monkeypatch):
    """Runs that wait can be moved and taken out; a run that was never begun goes with its folder, a paused one stays."""
    section, folder = opened.session.section, runs_folder(opened.session)
    paused = written_run(folder, section, "paused", (STARTED, Paused(0, 3, 1)))
    waiting = [written_run(folder, section, name, ()) for name in ("a", "b")]
    for run_dir in waiting:
        (run_dir / "events.jsonl").unlink()
    for run_dir in (*waiting, paused):
        add_to_queue(run_dir)
    view = listed(opened, qtbot, 3)
    assert view.header.text() == "Runs (3, 3 waiting)"
    assert view.next.isVisibleTo(opened)
    view.choose(2)
    view.actions_["up"].trigger()
    qtbot.waitUntil(lambda: [run.name for run in view.model.runs] == ["a", "paused", "b"], timeout=10_000)
    assert [run.run_dir for run in view.chosen()] == [paused], "what was marked stays so"
    view.choose(0, 1)
    view.actions_["leave"].trigger()
    qtbot.waitUntil(lambda: len(view.model.runs) == 2, timeout=10_000)
    assert queued_runs(folder) == [waiting[1]]
    assert run_info(paused).state == "paused"
    assert not waiting[0].exists()


def test_the_target_is_chosen_in_words(opened):
    """Genes, signatures, clusters and numbers of the spots become the run's target; what cannot be had is told in a sentence."""
    panel = opened.train_panel
    section = opened.session.section
    target = panel.target
    settings = opened.run_settings()
    assert settings.target.kind == "genes"
    target.choose("signatures")
    assert opened.run_settings().target == SignatureSettings()
    assert "21" in target.sets_text.text()
    target.choose("clusters")
    assert opened.run_settings().target == ClusterTargetSettings()
    opened.session.clusters = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_deepspace._napari.dock.show_error", lambda text: None)
        click(panel.start)
    assert "There are no clusters to predict" in opened.status.text()
    target.choose("obs")
    section.adata.obs["fraction of T cells"] = np.linspace(0, 1, section.adata.n_obs)
    section.adata.obsm["fractions"] = np.zeros((section.adata.n_obs, 3))
    try:
        target._section_changed()
        names = [target.numbers.item(number).text() for number in range(target.numbers.count())]
        assert {"fraction of T cells", "matrix fractions"} <= set(names)
        target.numbers.item(names.index("fraction of T cells")).setCheckState(Qt.CheckState.Checked)
        assert opened.run_settings().target == ObsSettings(columns=("fraction of T cells",))
        target.numbers.item(names.index("matrix fractions")).setCheckState(Qt.CheckState.Checked)
        assert opened.run_settings().target == ObsSettings(obsm="fractions")
    finally:
        del section.adata.obs["fraction of T cells"], section.adata.obsm["fractions"]


@pytest.mark.acceptance
@pytest.mark.timeout(1800)
def test_fifty_starts_and_stops_leave_nothing(opened, qtbot):
    """Fifty times a network is started, and stopped once its process works: no process, thread or file handle is left, and less than 50 MB."""
    this = psutil.Process()
    opened.train_panel.chips.set_names(["ESR1", "SPARC"])
    opened.train_panel.choose("network")
    opened.train_panel.forms["network"].setValue(NETWORK)

    def cycle() -> None:
        click(opened.train_panel.start)
        qtbot.waitUntil(lambda: opened.session.running is not None and (opened.session.running / "process.json").exists(), timeout=60_000)
        click(opened.train_panel.stop)
        qtbot.waitUntil(lambda: opened.session.running is None, timeout=30_000)

    def state() -> tuple[int, int, int, float]:
        qtbot.wait(1500)
        gc.collect()
        return len(this.children(recursive=True)), this.num_threads(), this.num_fds(), this.memory_info().rss / 1e6

    for _ in range(3):  # what is made once is made now
        cycle()
    before = state()
    for _ in range(50):
        cycle()
    after = state()
    print(f"\nprocesses, threads, file handles, MB before {before}, after fifty {after}")
    assert after[:3] <= before[:3]
    assert after[3] < before[3] + 50
