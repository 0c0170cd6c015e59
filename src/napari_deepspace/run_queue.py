"""Runs that wait for their turn, each frozen in a folder of its own. No torch, no Qt.

A run waits while its folder holds a file ``queued`` with its place, a whole number. There is no list beside it that could disagree, and taking
a run is the deletion of that file: of two windows exactly one succeeds.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from napari_deepspace.runs import SETTINGS, write_atomic

QUEUED = "queued"


def queued_runs(folder: Path) -> list[Path]:
    """The run folders in ``folder`` that wait, the next one first."""
    waiting = [path.parent for path in Path(folder).glob(f"*/{QUEUED}")]
    return sorted((run for run in waiting if (run / SETTINGS).is_file()), key=lambda run: (_place(run), run.name))


def add_to_queue(run_dir: Path) -> None:
    """Let a run wait behind all others of its folder: one whose settings are written down, or one that is to be resumed."""
    places = [_place(run) for run in queued_runs(Path(run_dir).parent)]
    write_atomic(Path(run_dir) / QUEUED, f"{max(places, default=0) + 1}\n")


def take_next(folder: Path) -> Path | None:
    """The next run, taken out of the queue; None when none waits (any more)."""
    for run_dir in queued_runs(folder):
        with contextlib.suppress(FileNotFoundError):  # another window was faster
            (run_dir / QUEUED).unlink()
            return run_dir
    return None


def leave_queue(run_dir: Path) -> None:
    """The run does not wait any more; its folder stays."""
    (Path(run_dir) / QUEUED).unlink(missing_ok=True)


def move_in_queue(run_dir: Path, by: int) -> None:
    """Move a waiting run ``by`` places: -1 is one earlier. Nothing happens beyond the ends, or to a run that does not wait."""
    runs = queued_runs(Path(run_dir).parent)
    if Path(run_dir) not in runs:
        return
    at = runs.index(Path(run_dir))
    runs.insert(max(0, at + by), runs.pop(at))
    for place, run in enumerate(runs, start=1):
        if _place(run) != place:
            write_atomic(run / QUEUED, f"{place}\n")


def _place(run_dir: Path) -> int:
    try:
        return int((run_dir / QUEUED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
