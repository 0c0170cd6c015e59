"""What a long job reports while it works: frozen dataclasses that survive a trip through JSON.

``fit`` and ``predict`` yield them, the command line prints them, ``events.jsonl`` in a run's folder keeps them, and the dock follows that file.
No torch here: the dock imports this module.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True)
class Started(Event):
    """The run begins: what it will do."""

    name: str
    model: str  #: "quick" or the backbone's name
    genes: tuple[str, ...]
    n_spots: int  #: spots that passed the filter, all sections
    folds: int
    epochs: int
    device: str
    device_reason: str = ""  #: why this device, in words
    split: str = ""  #: the split, in words
    unit: str = ""  #: of the values that are learned and shown
    pid: int = 0
    score: str = "r"  #: what the scores of this run are: "r", or "AUC" of clusters


@dataclass(frozen=True)
class Progress(Event):
    """``done`` of ``total`` in a stage named in plain words ("cutting tiles")."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Noted(Event):
    """Something the user should know, in a sentence; the run goes on."""

    message: str


@dataclass(frozen=True)
class BaselinesScored(Event):
    """Mean r over genes of the simple ways, on the spots the model will be scored on, and of the best that the data allow.

    ``map_file`` (.npy): the measured values of the first section, on the scale of the maps that follow; as in :class:`EpochEnded`.
    """

    mean_r: dict[str, float]  #: by the names of :data:`napari_deepspace.verdicts.WAYS`
    n: int
    map_file: str = ""
    ceiling: float = math.nan


@dataclass(frozen=True)
class BatchEnded(Event):
    """One optimiser step."""

    fold: int
    epoch: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True)
class EpochEnded(Event):
    """One pass over the training part; ``map_file`` is on disk when this is announced.

    ``map_file`` (.npy, relative to the run folder): float32 (n_spots_of_first_section, n_genes), in the order of the section's spots and of
    ``Started.genes``; NaN where no prediction by a model that never saw the spot exists yet.
    """

    fold: int
    epoch: int  #: counts from 1
    epochs: int
    train_loss: float
    validation_loss: float
    validation_r: float
    best: bool
    seconds: float
    map_file: str = ""


@dataclass(frozen=True)
class FoldEnded(Event):
    """One fold is done; ``r`` is the mean over genes on its test part (NaN without one).

    ``validation_r`` is that on its validation part, which a parameter search chooses by; Quick learns from that part too, so a fit to the rest of
    the training part gives it. NaN for networks: :class:`EpochEnded` tells theirs.
    """

    fold: int
    folds: int
    r: float
    map_file: str = ""
    validation_r: float = math.nan


@dataclass(frozen=True)
class Finished(Event):
    """The run is complete and on disk."""

    mean_r: float
    n: int
    seconds: float
    predictions: tuple[str, ...] = ()  #: .h5ad files, relative to the run folder, one a section
    scores: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preprocessed(Event):
    """A preprocessing is complete and on disk; ``files`` maps a section to its files' kinds and names, relative to the folder."""

    seconds: float
    files: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Predicted(Event):
    """A prediction is complete and on disk as ``out``: an .h5ad, or the .zarr folder of a denser map."""

    out: str
    points: int  #: spots and points that have a prediction
    seconds: float


@dataclass(frozen=True)
class TrialEnded(Event):
    """One trial of a parameter search is done and in its table; ``best_score`` is the best of ``of`` different ones, and too high by being chosen."""

    number: int  #: counts from 1
    trials: int
    overrides: dict[str, Any]  #: what this trial changes, in the notation of --set
    state: str  #: "finished" or "failed"
    score: float  #: mean over the folds on their validation parts, NaN where it failed
    best: int  #: number of the best trial so far, 0 where none is finished
    best_score: float
    of: int
    seconds: float
    message: str = ""  #: why it failed
    score_name: str = "r"  #: what the scores are, as :attr:`Started.score`


@dataclass(frozen=True)
class StudentEnded(Event):
    """The teacher (number 0) or a student of semi-supervised learning is trained, scored and on disk."""

    number: int
    rounds: int
    r: dict[str, float]  #: by output, at spots that it was not trained on
    n: int  #: how many spots those are
    validation_r: float  #: mean over folds on their validation parts, which students are chosen by
    verdict: str = ""  #: the chosen student so far against the teacher, in a sentence
    seconds: float = 0.0
    score_name: str = "r"  #: what the scores are, as :attr:`Started.score`


@dataclass(frozen=True)
class Paused(Event):
    """The run was set aside by the user; it goes on from its checkpoint when it is resumed."""

    fold: int = 0
    epoch: int = 0  #: counts from 1
    step: int = 0  #: steps of this epoch that are done


@dataclass(frozen=True)
class Resumed(Event):
    """The run goes on from its checkpoint. What was told of later epochs before this event no longer counts."""

    fold: int
    epoch: int  #: counts from 1
    step: int  #: steps of this epoch that are done already
    pid: int = 0


@dataclass(frozen=True)
class Stopped(Event):
    """The run was ended by the user."""

    reason: str = "stopped by the user"


@dataclass(frozen=True)
class Failed(Event):
    """The run could not go on. ``bug`` tells a fault of the program from something the user can mend."""

    message: str
    bug: bool = False


EVENTS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        Started, Progress, Noted, BaselinesScored, BatchEnded, EpochEnded, FoldEnded, Finished, Preprocessed, Predicted, TrialEnded, StudentEnded,
        Paused, Resumed, Stopped, Failed,
    )
}  # fmt: skip
LAST = (Finished, Preprocessed, Predicted, Paused, Stopped, Failed)
"""The process that says one of these says no more; a run that is resumed goes on with :class:`Resumed`."""


def result_of(job: Generator[Any, None, T]) -> T:
    """Run a generator of events to its end, without looking at the events; what it returns."""
    while True:
        try:
            next(job)
        except StopIteration as end:
            return cast(T, end.value)


def to_json(event: Event) -> str:
    """One line of JSON, ``{"event": "EpochEnded", ...}``; NaN is written as null."""
    values = {key: _plain(value) for key, value in dataclasses.asdict(event).items()}
    return json.dumps({"event": type(event).__name__, **values}, ensure_ascii=False)


def from_json(line: str) -> Event:
    """The event of one line that :func:`to_json` wrote. Unknown fields are ignored, so that newer runs stay readable.

    Raises
    ------
    ValueError
        The line is not JSON or names no known event.
    """
    values = json.loads(line)
    if not isinstance(values, dict) or values.get("event") not in EVENTS:
        raise ValueError(f"not an event: {line[:80]!r}")
    kind = EVENTS[values["event"]]
    known = {}
    for f in dataclasses.fields(kind):
        if f.name in values:
            value = values[f.name]
            if value is None and f.type == "float":
                value = float("nan")
            known[f.name] = tuple(value) if isinstance(value, list) else value
    return kind(**known)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
