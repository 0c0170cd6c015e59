"""A run's folder: what is in it, and how to follow a run that is being written. No torch here.

====================  =========================================================================
``run.yaml``          the frozen settings
``events.jsonl``      one event a line, appended as the run goes on
``model/``            ``model.json`` + ``weights.safetensors``: all that prediction needs
``predictions/``      one ``.h5ad`` per training section, see ``docs/results-format.md``
``metrics.json``      scores with their split, panel, n and baselines
``denser/``           denser maps of its sections, each a ``.zarr`` folder
``maps/``             arrays named in events (live map)
``log.txt``           what the child process wrote
``checkpoint/``       what a run that is not finished goes on from; gone when it is finished
``process.json``      the process that works on the run
``pause``             somebody asked the run to pause; gone when it has
``queued``            the run waits, and this is its place; gone when its turn has come
``name.txt``          another name that the user gave it
====================  =========================================================================
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Generator, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from napari_deepspace.errors import DataError
from napari_deepspace.events import LAST, Event, from_json, to_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SETTINGS, EVENTS, MODEL, PREDICTIONS, METRICS, MAPS, LOG, CHECKPOINT, PROCESS, PAUSE = (
    "run.yaml", "events.jsonl", "model", "predictions", "metrics.json", "maps", "log.txt", "checkpoint", "process.json", "pause",
)  # fmt: skip
DENSER = "denser"  #: folder of denser maps
STUDENTS = "students.json"  #: in the folder of a job of students: its rounds, its verdict and its best run


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write beside ``path`` and rename, so that a reader never sees half a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically; NaN becomes null."""
    write_atomic(path, json.dumps(nan_to_none(value), indent=1, ensure_ascii=False) + "\n")


def write_figure(path: Path, figure: Figure, dpi: float | str = "figure", metadata: dict[str, Any] | None = None) -> None:
    """Save a figure beside ``path`` and rename it; the kind of file is that of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        figure.savefig(beside, dpi=dpi, metadata=metadata)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def nan_to_none(value: Any) -> Any:
    """``value`` with every NaN or infinity replaced by None, so that it is valid JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): nan_to_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [nan_to_none(item) for item in value]
    return value


def safe_name(name: str) -> str:
    """``name`` with a dash for every character that a file name might not hold."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name) or "unnamed"


def new_run_dir(parent: Path, name: str) -> Path:
    """A folder of its own for one run: ``parent/name-YYYYmmdd-HHMMSS``, made now."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    safe = safe_name(name).strip("-.") or "run"
    for number in range(1000):
        path = Path(parent) / (f"{safe}-{stamp}" + (f"-{number}" if number else ""))
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(parent)


class EventLog:
    """Appends events to ``events.jsonl``, one whole line at a time."""

    def __init__(self, run_dir: Path):
        _drop_unfinished_line(Path(run_dir) / EVENTS)
        self._file = open(Path(run_dir) / EVENTS, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def write(self, event: Event) -> None:
        self._file.write(to_json(event) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _drop_unfinished_line(path: Path) -> None:
    """A process that was killed may have left half a line."""
    if path.exists():
        with open(path, "r+b") as file:
            text = file.read()
            if text and not text.endswith(b"\n"):
                file.truncate(text.rfind(b"\n") + 1)


def claim(run_dir: Path) -> None:
    """Write down that this process works on the run; a pause that was asked of another process is forgotten, one asked of this process is not."""
    if running_pid(run_dir) == os.getpid():
        return
    (Path(run_dir) / PAUSE).unlink(missing_ok=True)
    write_json(Path(run_dir) / PROCESS, {"pid": os.getpid(), "created": psutil.Process().create_time()})


def running_pid(run_dir: Path) -> int | None:
    """The living process that works on the run, if there is one; a number that was given to another process since does not count."""
    try:
        process = json.loads((Path(run_dir) / PROCESS).read_text(encoding="utf-8"))
        living = psutil.Process(process["pid"])
        created = living.create_time()
        if living.status() == psutil.STATUS_ZOMBIE:  # it has ended, and its parent has not looked yet
            return None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return int(process["pid"]) if abs(created - process["created"]) < 1 else None


def require_idle(run_dir: Path, what: str) -> None:
    """Raises DataError where another process works on ``run_dir``, which holds a ``what`` ("search"); ask before anything is written there."""
    pid = running_pid(run_dir)
    if pid is not None and pid != os.getpid():
        raise DataError(f"Process {pid} works on the {what} in {run_dir}. Wait for its end, or stop it first.")


def request_pause(run_dir: Path) -> None:
    """Ask the process that works on the run to write a checkpoint after the present step and to end."""
    (Path(run_dir) / PAUSE).touch()


def best_run(folder: Path) -> Path:
    """The run that a job of students names as its best; ``folder`` itself where it is no such job."""
    try:
        best = json.loads((folder / STUDENTS).read_text(encoding="utf-8"))["best"]
    except (OSError, ValueError, KeyError, TypeError):
        return folder
    return folder / str(best) if best else folder


def can_resume(run_dir: Path) -> bool:
    """Whether the run was begun, is not finished, and nobody works on it."""
    run_dir = Path(run_dir)
    return (run_dir / SETTINGS).is_file() and not (run_dir / MODEL / "model.json").is_file() and running_pid(run_dir) is None


def read_events(run_dir: Path) -> Iterator[Event]:
    """The events written so far; an unfinished last line is left for later."""
    path = Path(run_dir) / EVENTS
    if not path.exists():
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield from_json(line)


def follow(run_dir: Path, alive: Callable[[], bool], poll_s: float = 0.1, position: int = 0) -> Generator[Event | None, None, None]:
    """Yield the events of a run as they are written, and None at every poll without one (so that a caller can stop).

    ``position`` is the size of ``events.jsonl`` that is known already. Ends after the last event, or when ``alive()`` is false and nothing more
    was written.
    """
    path = Path(run_dir) / EVENTS
    while True:
        was_alive = alive()  # asked before reading: what a dying process wrote last is still read
        if path.exists():
            with open(path, "rb") as file:
                file.seek(position)
                while (line := file.readline()).endswith(b"\n"):
                    position = file.tell()
                    event = from_json(line.decode("utf-8"))
                    yield event
                    if isinstance(event, LAST):
                        return
        if not was_alive:
            return
        yield None
        time.sleep(poll_s)
