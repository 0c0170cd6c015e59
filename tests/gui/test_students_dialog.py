"""Students in a real window: asked for under Advanced, followed with a live figure, stopped and resumed."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from shapely.geometry import box

from napari_deepspace._napari import style
from napari_deepspace._napari.students_dialog import cost_words
from napari_deepspace.errors import SettingsError
from napari_deepspace.outlines import EXCLUDE, Outline
from napari_deepspace.settings import NetworkSettings, QuickSettings, SplitSettings
from napari_deepspace.students_results import Outcome, Round, Verdict, read_outcome

SHOTS = os.environ.get("NAPARI_DEEPSPACE_SHOTS")


def click(widget) -> None:
    QTest.mouseClick(widget, Qt.MouseButton.LeftButton)


def shot(dialog, name: str) -> None:
    """A picture of the dialog for a person, where a folder for it is named."""
    if SHOTS:
        QTest.qWait(300)
        dialog.grab().save(str(Path(SHOTS) / f"{name}.png"))


@pytest.fixture
def asked(opened, qtbot):
    """The dialog for a small Quick: most of the section is left out, two folds, two genes."""
    panel, session = opened.train_panel, opened.session
    panel.chips.set_names(["ESR1", "SPARC"])
    panel.forms["split"].setValue(SplitSettings(kind="random", folds=2))
    panel.forms["quick"].setValue(QuickSettings(um_per_px=4))
    y, x = session.section.centres_yx.max(axis=0)
    session.outlines = (Outline(box(0, 0, x * 0.7, y * 2), EXCLUDE),)
    panel.search_button.parentWidget().parentWidget().set_open(True)
    opened.show_part(panel.students_button)
    qtbot.waitUntil(lambda: not panel.students_button.visibleRegion().isEmpty() and panel.students_button.isEnabled(), timeout=10_000)
    click(panel.students_button)
    dialog = opened.students.dialog
    qtbot.waitUntil(dialog.isVisible, timeout=5000)
    return dialog


def outcome(rounds: int, kind: str = "no better") -> Outcome:
    genes = [f"GENE{k}" for k in range(24)]
    made = [
        Round(
            k, f"student-{k}" if k else "teacher", (0.3 + 0.01 * k,), {gene: 0.02 * n + 0.1 + 0.012 * k * (n % 3 - 1) for n, gene in enumerate(genes)}
        )
        for k in range(rounds + 1)
    ]
    verdict = Verdict(kind, rounds, 0.004, (-0.02, 0.03)) if rounds else None
    words = "another section than those trained on (C2, C4): a neighbouring section of the same patient and block"
    return Outcome(tuple(made), 5, "none", 4000, "x", verdict, 159, words, "24 named genes", "r", {"mean RGB": 0.2}, 0.65, True)


def test_the_dialog_asks_for_pictures_and_says_what_students_cost(asked, opened, phantom_dir, tmp_path):
    """Without a picture no job starts; sections, images and folders are added and removed; a control has pictures of its own."""
    assert "no picture" in asked.count.text()
    assert not asked.start.isEnabled()
    asked.add(phantom_dir, tmp_path)
    asked.add(phantom_dir)
    assert asked.pictures.count() == 2
    assert "5 students, the last of which learns from 20,000 tiles" in asked.count.text()
    assert asked.start.isEnabled()
    asked.pictures.item(1).setSelected(True)
    click(asked.remove)
    assert [str(one.path) for one in asked.asked().unlabelled] == [str(phantom_dir)]
    asked.control.setCurrentIndex(asked.control.findData("photographs"))
    assert asked.pictures.count() == 0
    assert "Photographs" in asked.what.text()
    with pytest.raises(SettingsError):
        asked.asked()
    asked.add(tmp_path)
    asked.mpp.setValue(0.5)
    job = asked.asked()
    assert (job.control, job.control_slides[0].path, job.control_slides[0].mpp) == ("photographs", tmp_path, 0.5)
    assert "at least 2 min" in cost_words(job, opened.run_settings(), 20.0)
    network = opened.run_settings().model_copy(update={"model": NetworkSettings()})
    assert "A network takes longer" in cost_words(job, network, 20.0)


def test_figure_four_and_the_verdict_are_shown_in_both_themes(asked, viewer, phantom_dir):
    """Boxes, joined points, the lines of the best simple way and of the ceiling, the chosen student's star and the verdict; SYNTHETIC is said."""
    asked.add(phantom_dir)
    for theme in ("dark", "light"):
        viewer.theme = theme
        asked.show_outcome(outcome(5))
        asked.show_work("Student 5 of 5 · fold 1, epoch 3", 0.9, working=True)
        shot(asked, f"students-{theme}")
    assert asked.figure._palette == style.palette("light")
    assert "no better than the teacher" in asked.words.text()
    for words in ("SYNTHETIC", "colour alone 0.20", "159 spots not trained on", "24 named genes", "★ chosen by validation"):
        assert words in asked.figure.title.text()
    names = dict(asked.figure.plot.getAxis("bottom")._tickLevels[0])
    assert names[0] == "teacher"
    assert names[5] == "5 ★"
    asked.show_outcome(outcome(0))
    assert "the verdict comes with the first student" in asked.words.text()
    asked.show_outcome(None)
    assert not asked.words.isVisible()


@pytest.mark.acceptance  # a minute on two cores
def test_students_are_started_stopped_and_resumed(asked, opened, phantom_dir, qtbot):
    """The teacher's box comes first; Stop ends the process and keeps it; Resume, in a window opened anew, goes on to the verdict."""
    panel, students = opened.train_panel, opened.students
    asked.add(phantom_dir)
    asked.rounds.setValue(1)
    asked.tiles.setValue(20)
    click(asked.start)
    assert students.child is not None
    assert panel.students_button.isEnabled(), "the button leads to the job that works"
    assert not panel.search_button.isEnabled()
    assert "at work" in panel.search_why.text()
    assert not asked.start.isEnabled()
    qtbot.waitUntil(lambda: students.shown.done >= 1, timeout=300_000)
    assert asked.figure.outcome.rounds[0].name == "teacher"
    folder, process = students.shown.folder, psutil.Process(students.child.process.pid)
    click(asked.stop)
    qtbot.waitUntil(lambda: opened.session.running is None, timeout=10_000)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    kept = (folder / "teacher" / "metrics.json").stat().st_mtime_ns
    click(asked.leave)
    students.shown = students.dialog = None  # as in a window that is opened anew
    students.open()
    again = students.dialog
    if read_outcome(folder).done == 0:  # it was not faster than the click
        qtbot.waitUntil(again.resume.isEnabled, timeout=5000)
        click(again.resume)
        assert students.shown.folder == folder
        qtbot.waitUntil(lambda: opened.session.running is None, timeout=300_000)
    assert (folder / "teacher" / "metrics.json").stat().st_mtime_ns == kept
    assert read_outcome(folder).done == 1
    for words in ("SYNTHETIC", "the teacher", "chosen of 1"):
        assert words in again.words.text()
        assert words in panel.run.result.text()
    shot(again, "students-done")
    assert not again.resume.isEnabled()
