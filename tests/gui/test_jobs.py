"""Threads and child processes: every end is told, in the right place, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from napari_deepspace.errors import TrainingError
from napari_deepspace.events import Finished, Progress, Stopped
from napari_deepspace.runs import EventLog


def ends_of(qtbot, function, stop_when=None):
    """Run a job to its end; the slots that were called, in order, and what they were given."""
    from napari_deepspace._napari.jobs import start_job

    seen = []
    worker = start_job(
        function,
        on_yield=lambda value: seen.append(("yield", value)),
        on_return=lambda value: seen.append(("return", value)),
        on_error=lambda error: seen.append(("error", error)),
        on_stop=lambda: seen.append(("stop", None)),
        on_finish=lambda: seen.append(("finish", None)),
    )
    if stop_when is not None:
        qtbot.waitUntil(lambda: stop_when(seen), timeout=10_000)
        worker.quit()
    qtbot.waitUntil(lambda: any(name == "finish" for name, _ in seen), timeout=10_000)
    return [one for one in seen if one[0] != "yield"]


@pytest.mark.usefixtures("qapp")
def test_a_job_that_succeeds_returns_and_finishes(qtbot):
    """What a job returns reaches its slot, then it finishes."""

    def work():
        yield 1
        return 42

    assert ends_of(qtbot, work) == [("return", 42), ("finish", None)]


@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
def test_a_job_that_fails_says_so_and_finishes(qtbot, kind):
    """Any exception, RuntimeError too, arrives as what it was, and the job finishes."""

    def work():
        yield 1
        raise kind("no memory left")

    (name, error), last = ends_of(qtbot, work)
    assert (name, type(error), str(error), last) == ("error", kind, "no memory left", ("finish", None))


def test_a_job_that_fails_before_its_first_step_says_so(qtbot):
    """A failure at once is told like any other."""

    def work():
        raise RuntimeError("at once")
        yield

    (name, error), _ = ends_of(qtbot, work)
    assert (name, str(error)) == ("error", "at once")


def test_a_job_can_be_stopped(qtbot):
    """Stop ends a job that would go on for ever; it returns nothing and finishes."""

    def work():
        while True:
            yield 1
            time.sleep(0.01)

    assert ends_of(qtbot, work, stop_when=lambda seen: len(seen) > 3) == [("stop", None), ("finish", None)]


def test_a_job_can_be_stopped_in_the_middle_of_a_call(qtbot):
    """What a call tells arrives like a yield, and Stop ends the call there, after it has cleaned up."""
    from napari_deepspace._napari.jobs import tell

    cleaned = []

    def call():
        try:
            while True:
                tell("at it")
                time.sleep(0.01)
        finally:
            cleaned.append(True)

    def work():
        yield "begin"
        call()

    def told(seen):
        return ("yield", "at it") in seen

    assert ends_of(qtbot, work, stop_when=told) == [("stop", None), ("finish", None)]
    assert cleaned
    tell("outside of a job nothing is told")


class Sleeper:
    """A child that starts a grandchild and, like it, does not listen to SIGTERM."""

    SCRIPT = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)']); "
        "print('ready', flush=True); time.sleep(600)"
    )

    def __new__(cls, monkeypatch, log):
        from napari_deepspace._napari import jobs

        real = jobs.subprocess.Popen
        monkeypatch.setattr(jobs.subprocess, "Popen", lambda command, **kwargs: real([sys.executable, "-c", cls.SCRIPT], **kwargs))
        child = jobs.Child(["train"], log)
        monkeypatch.setattr(jobs.subprocess, "Popen", real)
        return child


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_stop_ends_the_whole_group_within_two_seconds(monkeypatch, tmp_path):
    """Even processes that refuse to end are gone two seconds after Stop, their own children too."""
    child = Sleeper(monkeypatch, tmp_path / "log.txt")
    while "ready" not in (tmp_path / "log.txt").read_text():
        time.sleep(0.02)
    group = [p for p in psutil.process_iter() if _group(p) == child.process.pid]
    assert len(group) == 2
    began = time.monotonic()
    child.stop()
    assert time.monotonic() - began < 0.2, "Stop must not hold the window up"
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in group):
        assert time.monotonic() - began < 2
        time.sleep(0.02)
    assert not child.alive()


def _group(process) -> int:
    try:
        return os.getpgid(process.pid)
    except OSError:
        return -1


class Dead:
    """A process that is over."""

    def __init__(self, code, stopping=False):
        self.process, self.stopping = self, stopping
        self.code = code

    def alive(self):
        return False

    def wait(self):
        return self.code


def drain(generator):
    """All that a generator yields, and what it returns."""
    items = []
    while True:
        try:
            items.append(next(generator))
        except StopIteration as end:
            return [item for item in items if item is not None], end.value


def test_a_run_is_followed_to_its_last_event(tmp_path):
    """Events written before the process ended are all told; the last one is the result."""
    from napari_deepspace._napari.jobs import follow_run

    log = EventLog(tmp_path)
    log.write(Progress("reading", 1, 2))
    log.write(Finished(0.3, 100, 1.0))
    log.close()
    items, last = drain(follow_run(Dead(0), tmp_path))
    assert [event for event, _ in items] == [Progress("reading", 1, 2)]
    assert last == Finished(0.3, 100, 1.0)


@pytest.mark.parametrize(
    ("code", "log", "words"),
    [(-signal.SIGTERM, "", "signal 15"), (1, "Traceback", "exit code 1"), (2, "error: No gene of that name.\n", "^No gene of that name.$")],
)
def test_a_process_that_ends_without_a_last_word_is_explained(tmp_path, code, log, words):
    """How it ended is said, or the sentence that it printed itself."""
    from napari_deepspace._napari.jobs import follow_run

    (tmp_path / "log.txt").write_text(log)
    with pytest.raises(TrainingError, match=words):
        drain(follow_run(Dead(code), tmp_path))


def test_a_process_that_was_stopped_is_no_failure(tmp_path):
    """After Stop the end of the process is what was asked for."""
    from napari_deepspace._napari.jobs import follow_run

    assert drain(follow_run(Dead(-15, stopping=True), tmp_path))[1] == Stopped()


def test_a_program_that_ends_waits_for_its_jobs():
    """A thread that signals after Qt is gone would abort the process, or complain at least."""
    program = """
import time
from qtpy.QtWidgets import QApplication
from napari_deepspace._napari.jobs import start_job
app = QApplication([])
def job():
    yield 1
    time.sleep(1)
    yield 2
worker = start_job(job)
until = time.monotonic() + 0.3
while time.monotonic() < until:
    app.processEvents()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
