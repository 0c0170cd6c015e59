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
from napari_deepspace.errors import DataError, DeepSpaceError, RunPaused
from napari_deepspace.events import Event, Failed, Progress, Stopped, to_json
from napari_deepspace.runs import EVENTS, MODEL, SETTINGS, EventLog, can_resume, claim, new_run_dir, running_pid
from napari_deepspace.section import Section
from napari_deepspace.settings import RunSettings, load_run_settings


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
        raise DataError(f"{out} holds a run already and was left as it is. Go on with it by --resume, or give another --out.")
    run_dir = out or new_run_dir(runs, settings.name)
    run_dir.mkdir(parents=True, exist_ok=True)
    claim(run_dir)
    with kept_awake():
        run_logged(_events(settings, run_dir), run_dir, print_events)
    return run_dir


def resume_training(run_dir: Path, overrides: tuple[str, ...], print_events: bool, background: bool) -> Path:
    """Go on with a run that was paused, stopped or interrupted, from its checkpoint, or from the start where it has none yet.

    Raises
    ------
    DataError
        There is no run, it is finished, or another process works on it.
    """
    if not (run_dir / SETTINGS).is_file():
        raise DataError(f"{run_dir} holds no run ({SETTINGS} is missing). Give the folder of a run.")
    if running_pid(run_dir) is not None:
        raise DataError(f"Process {running_pid(run_dir)} works on the run in {run_dir}. Wait for it, or stop it first.")
    if not can_resume(run_dir):
        raise DataError(f"The run in {run_dir} is finished. Start a new one with `napari-deepspace train`.")
    settings = load_run_settings(run_dir / SETTINGS, overrides)
    if background:
        settings = in_background(settings)
    claim(run_dir)
    with kept_awake():
        run_logged(_events(settings, run_dir), run_dir, print_events)
    return run_dir


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


def run_logged(events: Generator[Event, None, Any], run_dir: Path | None, print_events: bool) -> Any:
    """Run a job to its end, with every event in ``run_dir`` (if any) and, if asked for, on stdout; failures too, before they are raised."""
    log = EventLog(run_dir) if run_dir is not None else None
    previous = signal.signal(signal.SIGTERM, _raise_stop)
    try:
        return drain(_told(events, print_events), progress=not print_events and sys.stderr.isatty(), log=log)
    except (_Stop, KeyboardInterrupt):
        _note(log, Stopped())
        raise KeyboardInterrupt from None
    except RunPaused:
        raise  # said already
    except DeepSpaceError as error:
        _note(log, Failed(str(error)))
        raise
    except Exception as error:
        _note(log, Failed(f"{type(error).__name__}: {error}", bug=True))
        traceback.print_exc()
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
        if log is not None:
            log.close()


def _note(log: EventLog | None, event: Event) -> None:
    if log is not None:
        log.write(event)


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
