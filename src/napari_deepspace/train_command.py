"""What ``napari-deepspace train`` does: read, fit, and write every event down, so that a window can follow."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from napari_deepspace.awake import kept_awake
from napari_deepspace.blocking import drain
from napari_deepspace.errors import DataError, DeepSpaceError, TrainingError
from napari_deepspace.events import BatchEnded, EpochEnded, Event, Failed, Paused, Progress, Resumed, Stopped, to_json
from napari_deepspace.runs import EVENTS, MODEL, PAUSE, SETTINGS, EventLog, can_resume, claim, new_run_dir
from napari_deepspace.section import Section
from napari_deepspace.settings import RunSettings, load_run_settings


class _Pause(BaseException):
    """The user asked the run to pause (the file ``pause`` in its folder)."""


class _Stop(BaseException):
    """The user asked the run to end (SIGTERM)."""


def run_training(settings: RunSettings, out: Path | None, runs: Path, print_events: bool, background: bool) -> Path:
    """Train and return the run's folder. Failures are written to ``events.jsonl`` before they are raised.

    Raises
    ------
    DataError
        ``out`` holds a run already.
    """
    if background:
        settings = in_background(settings)
    if out is not None and ((out / MODEL).exists() or _has_events(out)):
        raise DataError(f"{out} holds a run already and was left as it is. Give another --out, or none for a folder of its own.")
    run_dir = out or new_run_dir(runs, settings.name)
    run_dir.mkdir(parents=True, exist_ok=True)
    claim(run_dir)
    with kept_awake():
        run_logged(_until_pause(_events(settings, run_dir), run_dir), run_dir, print_events)
    return run_dir


def resume_training(run_dir: Path, print_events: bool, background: bool) -> Path:
    """Go on with a run that was paused or interrupted; from its beginning, as long as nothing writes checkpoints.

    Raises
    ------
    TrainingError
        The run is finished, or somebody works on it, or the folder holds none.
    """
    if not can_resume(run_dir):
        raise TrainingError(f"{run_dir} cannot be resumed: it is finished, running, or no run. Start a new one.")
    settings = load_run_settings(run_dir / SETTINGS)
    if background:
        settings = in_background(settings)
    claim(run_dir)
    (run_dir / PAUSE).unlink(missing_ok=True)

    def events() -> Generator[Event, None, Any]:
        yield Resumed(0, 1, 0, os.getpid())
        return (yield from _events(settings, run_dir))

    with kept_awake():
        run_logged(_until_pause(events(), run_dir), run_dir, print_events)
    return run_dir


def _until_pause(events: Generator[Event, None, Any], run_dir: Path) -> Generator[Event, None, Any]:
    """The events, until the file ``pause`` appears; it is gone when the run has paused."""
    at = (0, 0, 0)
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        yield event
        if isinstance(event, (BatchEnded, EpochEnded)):
            at = (event.fold, event.epoch, event.step if isinstance(event, BatchEnded) else 0)
            if (run_dir / PAUSE).exists():
                (run_dir / PAUSE).unlink()
                yield Paused(*at)
                raise _Pause


def run_preprocessing(settings: RunSettings, out: Path | None, parent: Path, table: bool, print_events: bool, background: bool) -> Path:
    """Preprocess as ``settings`` say and return the folder with what was found; failures are written down as by :func:`run_training`."""
    if background:
        settings = in_background(settings)
    folder = out or new_run_dir(parent, settings.name)
    folder.mkdir(parents=True, exist_ok=True)

    def events() -> Generator[Event, None, Path]:
        sections = yield from read_sections(settings)
        from napari_deepspace.preprocess_command import preprocess

        return (yield from preprocess(sections, settings, folder, table))

    run_logged(events(), folder, print_events)
    return folder


def run_logged(events: Generator[Event, None, Any], run_dir: Path, print_events: bool) -> Any:
    """Run a job to its end, with every event in ``run_dir`` and, if asked for, on stdout; failures too, before they are raised."""
    log = EventLog(run_dir)
    previous = signal.signal(signal.SIGTERM, _raise_stop)
    try:
        return drain(_told(events, print_events), progress=not print_events and sys.stderr.isatty(), log=log)
    except _Pause:
        return None
    except (_Stop, KeyboardInterrupt):
        log.write(Stopped())
        raise KeyboardInterrupt from None
    except DeepSpaceError as error:
        log.write(Failed(str(error)))
        raise
    except Exception as error:
        log.write(Failed(f"{type(error).__name__}: {error}", bug=True))
        traceback.print_exc()
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
        log.close()


def _has_events(run_dir: Path) -> bool:
    path = run_dir / EVENTS
    return path.exists() and path.stat().st_size > 0


def read_sections(settings: RunSettings) -> Generator[Event, None, list[Section]]:
    """The sections of a run, one after the other."""
    yield Progress("reading", 0, len(settings.sections))
    from napari_deepspace.read import read_settings

    sections = []
    for number, section in enumerate(settings.sections, start=1):
        sections.append(read_settings(section))
        yield Progress("reading", number, len(settings.sections))
    return sections


def _events(settings: RunSettings, run_dir: Path) -> Generator[Event, None, Any]:
    """Reading, then training; torch is imported while the first event is already shown."""
    sections = yield from read_sections(settings)
    from napari_deepspace.learn.training import fit

    return (yield from fit(sections, settings, run_dir))


def _told(events: Generator[Event, None, Any], aloud: bool) -> Generator[Event, None, Any]:
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        if aloud:
            print(to_json(event), flush=True)
        yield event


def _raise_stop(number: int, frame: FrameType | None) -> None:
    raise _Stop


def in_background(settings: RunSettings) -> RunSettings:
    """Let windows go first, and leave them a core; call it before torch is imported."""
    lower_priority()
    return with_a_core_free(settings)


def with_a_core_free(settings: RunSettings) -> RunSettings:
    """``settings`` with one thread fewer than there are cores, where they name no number of threads."""
    return settings if settings.threads else settings.model_copy(update={"threads": max(1, (os.cpu_count() or 1) - 1)})


def lower_priority() -> None:
    """Let windows go first: a lower priority, and threads that sleep while they wait. Call it before torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process()
        process.nice(getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 10))  # the constant exists on Windows only
