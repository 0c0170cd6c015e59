"""The one place that knows about threads and child processes.

Two facts of superqt's generator workers shape this module: a RuntimeError raised in one is swallowed (neither ``errored`` nor ``finished``
is emitted), and Stop is honoured at the next ``yield`` only. So a RuntimeError travels inside another exception, and jobs yield often, or tell.
Slots run on the main thread; a job's own code must not touch a layer, a widget or the session.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from napari.qt.threading import GeneratorWorker, create_worker

from napari_deepspace.errors import DeepSpaceError, TrainingError
from napari_deepspace.events import LAST, BaselinesScored, BatchEnded, EpochEnded, Event, Failed, FoldEnded, Stopped, from_json
from napari_deepspace.runs import EVENTS, LOG, follow

logger = logging.getLogger(__name__)

STOP_GRACE_S = 1.0
"""Seconds between the polite signal and the one that cannot be refused."""

EXIT_WAIT_MS = 5000
"""How long a thread may take to end when the program does."""

_children: weakref.WeakSet[Child] = weakref.WeakSet()


class _CarriedError(Exception):
    """A RuntimeError on its way past the worker."""

    def __init__(self, error: RuntimeError):
        super().__init__(str(error))
        self.error = error


class _Quit(Exception):  # noqa: N818 - it is no error
    """The job that is at work was asked to stop."""


_here = threading.local()


def tell(value: Any) -> None:
    """As a job's ``yield``, from within a call that it waits for: hands ``value`` to ``on_yield``, and ends a job that was asked to stop.

    Does nothing outside of a job. The call must let what is raised here pass.
    """
    worker = getattr(_here, "worker", None)
    if worker is None:
        return
    if worker.abort_requested:
        raise _Quit
    worker.yielded.emit(value)


def start_job(
    function: Callable[[], Generator[Any, None, Any]],
    *,
    on_yield: Callable[[Any], None] | None = None,
    on_return: Callable[[Any], None] | None = None,
    on_error: Callable[[Exception], None] | None = None,
    on_stop: Callable[[], None] | None = None,
    on_finish: Callable[[], None] | None = None,
) -> Any:
    """Run a generator in a thread; the callbacks run on the main thread. Returns napari's worker; ``worker.quit()`` stops it.

    Exactly one of ``on_return``, ``on_error`` and ``on_stop`` is called, then ``on_finish``.
    """

    def work() -> Generator[Any, None, Any]:
        _here.worker = worker
        try:
            return (yield from function())
        except _Quit:
            worker.aborted.emit()
            return None
        except RuntimeError as error:
            raise _CarriedError(error) from error
        finally:
            _here.worker = None  # the thread goes on to other work

    def failed(error: Exception) -> None:
        error = error.error if isinstance(error, _CarriedError) else error
        if on_error is None:
            raise error
        on_error(error)

    ends: list[str] = []

    def once(name: str, slot: Callable[..., None] | None) -> Callable[..., None]:
        def call(*args: Any) -> None:
            if not ends:
                ends.append(name)
                if slot is not None:
                    slot(*args)

        return call

    worker = create_worker(work, _start_thread=False, _ignore_errors=True)
    if on_yield is not None:
        worker.yielded.connect(on_yield)
    worker.returned.connect(once("returned", on_return))
    worker.errored.connect(once("errored", failed))
    worker.aborted.connect(once("stopped", on_stop))
    if on_finish is not None:
        worker.finished.connect(on_finish)
    worker.start()
    return worker


class Child:
    """``python -m napari_deepspace ...`` in a process group of its own, without a window; its words go to ``log``."""

    def __init__(self, arguments: list[str], log: Path, errors: Path | None = None):
        self.stopping = False
        self.process: subprocess.Popen[bytes] | psutil.Process
        with open(log, "ab") as out, open(errors or os.devnull, "ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "napari_deepspace", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err if errors else subprocess.STDOUT,
                **_own_group(),
            )
        _children.add(self)

    @classmethod
    def of(cls, pid: int) -> Child:
        """A process that another window or the command line started; it outlives this one.

        Raises
        ------
        psutil.NoSuchProcess
            It is gone.
        """
        child = cls.__new__(cls)
        child.stopping, child.process = False, psutil.Process(pid)
        return child

    def alive(self) -> bool:
        if isinstance(self.process, psutil.Process):
            try:
                return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                return False
        return self.process.poll() is None

    def detach(self) -> None:
        """Let the process live when this one ends."""
        _children.discard(self)

    def stop(self) -> None:
        """Ask the whole group to end now, and end it for good after a second. Returns at once."""
        self.stopping = True
        if self._signal(terminate=True):
            threading.Thread(target=self._insist, daemon=True).start()

    def stop_and_wait(self) -> None:
        """Like :meth:`stop`, and wait for the end: at most a little more than a second."""
        self.stopping = True
        if self._signal(terminate=True):
            self._insist()

    def _insist(self) -> None:
        deadline = time.monotonic() + STOP_GRACE_S
        while time.monotonic() < deadline:
            if not self.alive() and not self._members():
                return
            time.sleep(0.05)
        self._signal(terminate=False)
        self.process.wait(timeout=5)

    def _members(self) -> list[psutil.Process]:
        """Living processes of the group beside the child itself."""
        if sys.platform == "win32":
            try:
                return [p for p in psutil.Process(self.process.pid).children(recursive=True) if p.is_running()]
            except psutil.Error:
                return []
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != self.process.pid and os.getpgid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (OSError, psutil.Error):
                continue
        return found

    def _signal(self, *, terminate: bool) -> bool:
        """Signal the group; False when nothing of it is left."""
        if sys.platform == "win32":
            members = self._members()
            for process in members:
                _ignore_gone(process.terminate)
            if self.alive():
                self.process.terminate()
            return bool(members) or self.alive()
        try:
            os.killpg(self.process.pid, signal.SIGTERM if terminate else signal.SIGKILL)
        except ProcessLookupError:
            if not isinstance(self.process, psutil.Process) or not self.alive():
                return False
            _ignore_gone(self.process.terminate if terminate else self.process.kill)  # started by a shell, in a group that is not its own
        return True


def past_events(run_dir: Path) -> tuple[list[tuple[Event, np.ndarray | None]], int]:
    """What a run has told so far, without its single steps and with the newest map alone, and the size of ``events.jsonl`` up to there."""
    told: list[Event] = []
    size = 0
    try:
        with open(run_dir / EVENTS, "rb") as file:
            while (line := file.readline()).endswith(b"\n"):
                size = file.tell()
                if b'"event": "BatchEnded"' not in line:
                    told.append(from_json(line.decode("utf-8")))
    except FileNotFoundError:
        return [], 0
    maps: dict[int, np.ndarray | None] = {}
    for kinds in ((BaselinesScored,), (EpochEnded, FoldEnded)):
        newest = next((number for number in reversed(range(len(told))) if isinstance(told[number], kinds)), None)
        if newest is not None:
            maps[newest] = _map_of(told[newest], run_dir)
    return [(event, maps.get(number)) for number, event in enumerate(told)], size


def follow_run(child: Child, run_dir: Path, position: int = 0) -> Generator[tuple[Event, np.ndarray | None] | None, None, Event]:
    """Yield ``(event, map)`` of a training or preprocessing in a child process and None at every poll; return its last event.

    ``map`` is the array an event names, float32 (n_spots, n_genes). Steps that come faster than ten a second are left out. ``position`` is the
    size of ``events.jsonl`` that is known already.

    Raises
    ------
    TrainingError
        The training failed in a way the user can mend, or its process ended without a last word.
    """
    shown = 0.0
    for event in follow(run_dir, child.alive, position=position):
        if isinstance(event, LAST):
            yield from _ended(child)
        if isinstance(event, Failed):
            raise TrainingError(event.message) if not event.bug else RuntimeError(f"{event.message} ({run_dir / LOG} holds the whole story.)")
        if isinstance(event, LAST):
            return event
        if isinstance(event, BatchEnded):
            if time.monotonic() - shown < 0.1:
                continue
            shown = time.monotonic()
        yield None if event is None else (event, _map_of(event, run_dir))
    if child.stopping:
        return Stopped()
    raise _sudden_end(child, run_dir)


def _ended(child: Child, patience_s: float = 10.0) -> Generator[None, None, None]:
    """Wait until the process that has said its last word is gone; help it after a while."""
    deadline = time.monotonic() + patience_s
    while child.alive():
        if time.monotonic() > deadline and not child.stopping:
            child.stop()
        yield None
        time.sleep(0.05)


def _sudden_end(child: Child, run_dir: Path) -> Exception:
    code = child.process.wait()
    said = last_error(run_dir / LOG)
    if code == 2 and said:
        return TrainingError(said)
    how = f"exit code {code}"
    if code is None:  # only its parent is told
        how = "nobody was told how"
    elif code < 0:
        how = f"signal {-code}: {_signal_word(-code)}"
    return TrainingError(
        f"The process at work ended unexpectedly ({how}). What it had finished is in {run_dir}. "
        "Resume it, or start again; if it happens again, lower the batch size or the tile size under Advanced, or choose Quick."
    )


def answer(child: Child, out: Path, errors: Path) -> Generator[None, None, Any]:
    """Wait for a command that prints JSON, started as ``Child(..., out, errors)``; return what it printed, None if it was stopped.

    Raises
    ------
    DeepSpaceError
        The command failed; the message is its own.
    """
    while child.alive():
        yield None
        time.sleep(0.1)
    if child.stopping:
        return None
    if (code := child.process.wait()) != 0:
        raise DeepSpaceError(last_error(errors) or f"The process ended with exit code {code}.")
    return json.loads(out.read_text(encoding="utf-8"))


def last_error(log: Path) -> str:
    """The text of the last ``error: ...`` line in a log, or ""."""
    if not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.removeprefix("error:").strip() for line in reversed(lines) if line.startswith("error:")), "")


def _map_of(event: Event, run_dir: Path) -> np.ndarray | None:
    if not isinstance(event, (BaselinesScored, EpochEnded, FoldEnded)) or not event.map_file:
        return None
    try:
        return np.load(run_dir / event.map_file, allow_pickle=False)
    except (OSError, ValueError):
        logger.info("the map %s is gone: a newer one takes its place", event.map_file)
        return None


def _own_group() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _signal_word(number: int) -> str:
    return {9: "killed, often for lack of memory", 11: "crashed", 15: "terminated"}.get(number, "ended by the system")


def _ignore_gone(call: Callable[[], None]) -> None:
    try:
        call()
    except psutil.Error:
        logger.debug("the process was gone already")


@atexit.register
def _end_jobs() -> None:
    """Wait for threads that are still at work: what they signal after Qt is gone would abort the process."""
    with suppress(RuntimeError):  # one works on for longer than that
        GeneratorWorker.await_workers(EXIT_WAIT_MS)


@atexit.register
def _end_children() -> None:
    for child in list(_children):
        if child.alive():
            child.stop_and_wait()
