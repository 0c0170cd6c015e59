"""The runs of a folder: what each learned, how far it is and how it scored; renamed, deleted, compared. No torch, no Qt.

Only the beginning and the end of ``events.jsonl`` are read, and settings and scores are kept in memory until their files change: the list of
hundreds of runs takes a fraction of a second.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import platformdirs
import yaml

from napari_deepspace.errors import DataError
from napari_deepspace.events import BaselinesScored, BatchEnded, EpochEnded, Event, Failed, Finished, FoldEnded, Paused, Resumed, Stopped, from_json
from napari_deepspace.run_queue import QUEUED, queued_runs
from napari_deepspace.runs import EVENTS, METRICS, MODEL, SETTINGS, can_resume, running_pid, write_atomic
from napari_deepspace.verdicts import WAYS

State = Literal["queued", "running", "paused", "interrupted", "finished", "stopped", "failed"]
NAME = "name.txt"
"""A name given later; the settings stay as they were frozen."""
RESUMABLE = ("paused", "interrupted", "stopped", "failed")
_TAIL_BYTES = 64 * 1024
_HEAD_LINES = 5000
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it was built


@dataclass(frozen=True)
class RunInfo:
    """One run, as a list shows it."""

    run_dir: Path
    name: str
    sections: tuple[str, ...]
    target: str  #: in words: "24 genes", "clusters"
    model: str  #: "quick" or the backbone's name
    state: State
    started: datetime  #: when it was asked for
    size: int  #: bytes on disk
    at: str = ""  #: how far it is, in words: "fold 2, epoch 7"
    r: float = math.nan  #: mean over genes, at spots that were not trained on
    score: str = "r"  #: what ``r`` is: "r", or "AUC" of clusters
    n: int = 0  #: how many spots those are
    split: str = ""  #: in words
    baselines: dict[str, float] = field(default_factory=dict)  #: mean r of the simple ways at the same spots
    synthetic: bool = False
    message: str = ""  #: why it failed
    place: int = 0  #: in the queue, from 1
    resumable: bool = False  #: a network that was begun, is not finished, and that nobody works on
    sealed: bool = False  #: a section of its has a sealed hold-out that it kept
    rank: str = ""  #: of a finished run among those on the same section: "best of 14 runs on this section"


def own_runs_folder() -> Path:
    """Where the window keeps runs without a project: ``NAPARI_DEEPSPACE_RUNS``, or the user's data folder."""
    own = os.environ.get("NAPARI_DEEPSPACE_RUNS")
    return Path(own) if own else Path(platformdirs.user_data_dir("napari-deepspace")) / "runs"


def list_runs(folder: Path) -> list[RunInfo]:
    """The runs in ``folder``: the one that works first, then those that wait in their order, then the others, the newest first."""
    try:
        run_dirs = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    places = {run_dir: place for place, run_dir in enumerate(queued_runs(folder), start=1)}
    runs = [run for run_dir in run_dirs if (run := run_info(run_dir, places.get(run_dir, 0))) is not None]
    on_section = _finished_on_sections([run for run in runs if run.state == "finished"])
    runs = [replace(run, rank=_rank(run, on_section[run.run_dir])) if run.run_dir in on_section else run for run in runs]
    order = {"running": 0, "queued": 1}
    return sorted(runs, key=lambda run: (order.get(run.state, 2), run.place, -run.started.timestamp(), run.name))


def rank_words(count: int, best: bool) -> str:
    """How a run stands among the ``count`` finished runs on its section, itself included: whoever tries often is lucky once."""
    if count < 2:
        return "the only run on this section"
    return f"{'best' if best else 'one'} of {count} runs on this section"


def rank_among(run_dir: Path, r: float, score: str, fingerprints: Sequence[str]) -> tuple[int, str]:
    """How many finished runs on the same section its folder holds, this one included, and :func:`rank_words`.

    For a run that is about to be finished: ``r`` is what it scored, ``score`` the kind ("r", "AUC"), ``fingerprints`` those of its sections' counts.
    """
    own = {*section_places(run_dir), *fingerprints}
    others = []
    for other in sorted(path for path in Path(run_dir).parent.glob(f"*/{MODEL}/model.json") if path.parent.parent != Path(run_dir)):
        if not own.isdisjoint(_identity(other.parent.parent)):
            others.append(_scores(*_stamp(other.parent.parent / METRICS)))
    rivals = [_number(one.get("mean_r")) for one in others if one.get("score", "r") == score]
    return len(others) + 1, rank_words(len(others) + 1, not any(rival > r for rival in rivals) and math.isfinite(r))


def section_places(run_dir: Path) -> set[Path]:
    """Where the sections of a run lie: absolute folders, without `outs`."""
    sections = (frozen_settings(run_dir) or {}).get("sections") or []
    paths = [Path(os.path.abspath(Path(run_dir) / str(one.get("path", "")))) for one in sections if isinstance(one, dict)]
    return {path.parent if path.name == "outs" else path for path in paths}


def _identity(run_dir: Path) -> set[Any]:
    """What tells the sections of a run: their places, and where it is known the fingerprints of their counts."""
    return {*section_places(run_dir), *_scores(*_stamp(run_dir / METRICS)).get("section_fingerprints", ())}


def _finished_on_sections(runs: Sequence[RunInfo]) -> dict[Path, list[RunInfo]]:
    """For each run, those that share a section with it, itself included."""
    of: dict[Any, list[RunInfo]] = {}
    identities = {run.run_dir: _identity(run.run_dir) for run in runs}
    for run in runs:
        for one in identities[run.run_dir]:
            of.setdefault(one, []).append(run)
    return {run.run_dir: list({other.run_dir: other for one in identities[run.run_dir] for other in of[one]}.values()) for run in runs}


def _rank(run: RunInfo, on_section: Sequence[RunInfo]) -> str:
    rivals = [other.r for other in on_section if other.score == run.score]
    return rank_words(len(on_section), math.isfinite(run.r) and not any(rival > run.r for rival in rivals))


def run_info(run_dir: Path, place: int = 0) -> RunInfo | None:
    """What there is to say of one run; None where the folder holds no run. ``place`` is its place in the queue."""
    settings = frozen_settings(run_dir)
    if settings is None:
        return None
    model = settings.get("model") or {}
    finished = (run_dir / MODEL / "model.json").is_file()
    state, at, message = _state(run_dir, finished, place)
    scores = _scores(*_stamp(run_dir / METRICS)) if finished else {}
    return RunInfo(
        run_dir=run_dir,
        name=run_name(run_dir),
        sealed=any(isinstance(section, dict) and section.get("sealed") for section in settings["sections"]),
        sections=tuple(_section_name(section) for section in settings["sections"] if isinstance(section, dict)),
        target=target_words(settings.get("target") or {}),
        model="quick" if model.get("kind", "quick") == "quick" else str(model.get("backbone", "vgg16")),
        state=state,
        started=_started(run_dir),
        size=_size(run_dir),
        at=at,
        r=_number(scores.get("mean_r")),
        score=str(scores.get("score") or "r"),
        n=int(scores.get("n_spots") or 0),
        split=str(scores.get("split") or ""),
        baselines=_baselines(*_stamp(run_dir / EVENTS)) if finished else {},
        synthetic=bool(scores.get("synthetic")),
        message=message,
        place=place,
        resumable=state in RESUMABLE and model.get("kind") == "network" and (run_dir / EVENTS).is_file() and can_resume(run_dir),
    )


def run_name(run_dir: Path) -> str:
    """The name it was given later, else that of its settings, else the folder's."""
    try:
        given = (Path(run_dir) / NAME).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        given = ""
    return given or str((frozen_settings(Path(run_dir)) or {}).get("name") or Path(run_dir).name)


def rename_run(run_dir: Path, name: str) -> None:
    """Give a run another name. Its folder keeps its own, because projects refer to it, and its settings stay as they were frozen.

    Raises
    ------
    DataError
        The folder holds no run, or the name is empty.
    """
    run_dir = _require_run(run_dir)
    if not name.strip():
        raise DataError(f"A run needs a name; {run_name(run_dir)} keeps its own.")
    write_atomic(run_dir / NAME, " ".join(name.split()) + "\n")


def delete_run(run_dir: Path) -> None:
    """Delete a run's folder with everything in it, and nothing else: a link in it is taken away, not what it leads to.

    Raises
    ------
    DataError
        The folder holds no run, holds other runs or a project too, or a process works on the run.
    """
    run_dir = _require_run(run_dir)
    if running_pid(run_dir) is not None:
        raise DataError(f"{run_name(run_dir)} is still running. Stop or pause it first, then delete it.")
    if (run_dir / "project.json").exists() or any(run_dir.rglob(f"*/{SETTINGS}")):
        raise DataError(f"{run_dir} holds more than one run and was left as it is. Delete the single runs in it.")
    (run_dir / QUEUED).unlink(missing_ok=True)
    try:
        shutil.rmtree(run_dir)
    except OSError as error:
        raise DataError(f"{run_dir} could not be deleted whole ({error}). Close what uses its files, then delete it again.") from error


def score_words(run: RunInfo) -> str:
    """Mean r with n, split, baselines and the number of runs beside it; "" where there is none."""
    if not run.n:
        return ""
    beside = "".join(f"; {WAYS.get(name, name)} {r:.2f}" for name, r in run.baselines.items() if math.isfinite(r))
    synthetic = "SYNTHETIC data. " if run.synthetic else ""
    rank = f"; {run.rank}" if run.rank else ""
    return f"{synthetic}mean {run.score} {run.r:.2f} at {run.n:,} spots not trained on, {run.split}{beside}{rank}"


def state_words(run: RunInfo) -> str:
    """How it stands with the run: "paused at fold 2, epoch 7"."""
    if run.state == "queued":
        return f"waits, number {run.place}"
    return run.state + (f" at {run.at}" if run.at and run.state in ("running", "paused", "interrupted", "stopped", "failed") else "")


def target_words(target: dict[str, Any]) -> str:
    """What is predicted, in a few words, from the settings of a target."""
    kind = target.get("kind", "genes")
    if kind == "clusters":
        return "clusters"
    if kind == "signatures":
        if target.get("file"):
            return f"signatures of {Path(str(target['file'])).name}"
        return _named(list(target.get("sets") or {"microenvironment": ()}), "signature")
    if kind == "obs":
        return f"obsm {target['obsm']}" if target.get("obsm") else _named(list(target.get("columns") or ()), "number")
    if target.get("names"):
        return _named(list(target["names"]), "gene")
    if target.get("file"):
        return f"genes of {Path(str(target['file'])).name}"
    top = target.get("top", 50)
    return f"top {top} genes" if top else "all genes"


def _named(names: list[str], one: str) -> str:
    return f"{one} {names[0]}" if len(names) == 1 else f"{len(names)} {one}s"


def _section_name(section: dict[str, Any]) -> str:
    path = Path(str(section.get("path", "")))
    return str(section.get("library_id") or (path.parent.name if path.name == "outs" else path.name))


def _require_run(run_dir: Path) -> Path:
    run_dir = Path(run_dir)
    if run_dir.is_symlink() or not run_dir.is_dir() or frozen_settings(run_dir) is None:
        raise DataError(f"{run_dir} holds no run and was left as it is. Give a folder with a run's {SETTINGS}.")
    return run_dir


def _state(run_dir: Path, finished: bool, place: int) -> tuple[State, str, str]:
    """State, how far it is in words, and why it failed."""
    events = _tail(run_dir / EVENTS)
    last = next(events, None)
    at = next((words for event in itertools.chain(() if last is None else (last,), events) if (words := _at(event))), "")
    if running_pid(run_dir) is not None:
        return "running", at, ""
    if finished:
        return "finished", "", ""
    if place:
        return "queued", "", ""
    if isinstance(last, Failed):
        return "failed", at, last.message
    if isinstance(last, Finished):
        return "finished", "", ""
    return "paused" if isinstance(last, Paused) else "stopped" if isinstance(last, Stopped) else "interrupted", at, ""


def _at(event: Event) -> str:
    if isinstance(event, (Paused, Resumed, BatchEnded, EpochEnded)):
        return f"fold {event.fold + 1}, epoch {event.epoch}" if event.epoch else f"fold {event.fold + 1}"
    return f"fold {event.fold + 1}, done" if isinstance(event, FoldEnded) else ""


def _tail(path: Path) -> Iterator[Event]:
    """The last events, the newest first."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            whole = file.tell() == 0
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return
    for line in reversed(lines if whole else lines[1:]):
        try:
            if line.endswith(b"\n"):
                yield from_json(line.decode("utf-8"))
        except ValueError:  # of a newer version
            continue


def _started(run_dir: Path) -> datetime:
    """From the folder's name as :func:`napari_deepspace.runs.new_run_dir` makes it, else the time of its settings."""
    for day, time in zip(*(run_dir.name.split("-")[at:] for at in (0, 1)), strict=False):
        try:
            return datetime.strptime(f"{day}-{time}", "%Y%m%d-%H%M%S")
        except ValueError:
            continue
    return datetime.fromtimestamp((run_dir / SETTINGS).stat().st_mtime)


def _size(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.lstat(os.path.join(parent, file)).st_size
            except OSError:  # gone since
                continue
    return total


def _stamp(path: Path) -> tuple[Path, int, int]:
    try:
        stat = path.stat()
    except OSError:
        return path, 0, 0
    return path, stat.st_mtime_ns, stat.st_size


def frozen_settings(run_dir: Path) -> dict[str, Any] | None:
    """The settings of a run as they stand in its folder, unchecked, so that runs of other versions are listed too; None where there are none."""
    return _settings_of(*_stamp(run_dir / SETTINGS))


def first_section(run_dir: Path) -> tuple[Path, str | None] | None:
    """Where the first section of a run lies, and its name; None where the folder holds no run. The run's maps are of this section."""
    sections = (frozen_settings(run_dir) or {}).get("sections") or [None]
    if not isinstance(sections[0], dict):
        return None
    return Path(run_dir) / str(sections[0].get("path", "")), sections[0].get("library_id")


@lru_cache(maxsize=2048)
def _settings_of(path: Path, time: int, size: int) -> dict[str, Any] | None:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader) if size else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return values if isinstance(values, dict) and isinstance(values.get("sections"), list) else None


@lru_cache(maxsize=2048)
def _scores(path: Path, time: int, size: int) -> dict[str, Any]:
    """Mean r, number of spots, kind of score, split in words, and fingerprints of the sections; {} where there are none."""
    metrics = read_metrics(path.parent)
    sections = list(metrics.get("sections", {}).values())
    splits = dict.fromkeys(str(one.get("split") or "") for one in sections)
    values = {key: metrics.get(key) for key in ("mean_r", "n_spots", "synthetic")} | {"split": "; ".join(splits)}
    values["score"] = next((str(one["score"]) for one in sections if one.get("score")), "r")
    return values | {"section_fingerprints": tuple(metrics.get("section_fingerprints") or ())}


def read_metrics(run_dir: Path) -> dict[str, Any]:
    """The scores that a finished run holds; {} where there are none."""
    try:
        values = json.loads((Path(run_dir) / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


@lru_cache(maxsize=2048)
def _baselines(path: Path, time: int, size: int) -> dict[str, float]:
    """What the simple ways scored on all sections together; they are told soon after the beginning."""
    try:
        with open(path, encoding="utf-8") as file:
            for _, line in zip(range(_HEAD_LINES), file, strict=False):
                if '"event": "BaselinesScored"' in line:
                    event = from_json(line)
                    return {name: _number(r) for name, r in event.mean_r.items()} if isinstance(event, BaselinesScored) else {}
    except (OSError, ValueError):
        return {}
    return {}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
