"""A parameter search as a window offers it: what may vary for a kind of model, which values, and the trials as a table for people.

A search started from a window lies in a folder of its own: ``request.yaml`` as it was asked for, beside what :mod:`napari_deepspace.search` leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from napari_deepspace.search_results import Trial, best_trial, note, score_name, value_words
from napari_deepspace.search_settings import EXAMPLE, Range, value_at
from napari_deepspace.settings import BACKBONES, NetworkSettings, RunSettings

REQUEST = "request.yaml"
STEPS = 5
"""Values that are offered of a range."""
NAMES = {
    "tile.extra_percent": "tile size",
    "filter.white_percentile": "white threshold",
    "model.augment": "augmentation",
    "model.learning_rate": "learning rate",
    "model.weight_decay": "weight decay",
    "model.backbone": "backbone",
}
"""The words for what is searched; others go by their key."""


@dataclass(frozen=True)
class Choice:
    """One setting that may vary."""

    key: str  #: in the notation of --set
    values: tuple[Any, ...]  #: what it can be, the present value among them
    usual: tuple[Any, ...]  #: what the paper's search tries of them
    log: bool | None = None  #: a range between values, with orders of magnitude tried equally often or not; None: these values only

    @property
    def name(self) -> str:
        return NAMES.get(self.key, self.key)

    def words(self, value: Any) -> str:
        """A value, for people."""
        unit = " %" if self.key == "tile.extra_percent" else ""
        if self.key == "filter.white_percentile" and value == 100:
            return "off"
        if isinstance(value, list):
            return " + ".join(value) or "none"
        return f"{value:.3g}{unit}" if isinstance(value, float) else value_words(value) + unit


def choices(run: RunSettings) -> tuple[Choice, ...]:
    """What of the paper's search applies to the model of ``run``: a network has all of it, Quick neither learning rate nor augmentation."""
    found = []
    for key, listed in yaml.safe_load(EXAMPLE)["space"].items():
        try:
            now = value_at(run, key)
        except KeyError:
            continue
        if key == "model.backbone" and not _weights_for_all(run):
            continue
        span = Range(**listed, steps=STEPS) if isinstance(listed, dict) else None
        usual = [float(f"{value:.2g}") for value in span.values()] if span is not None else listed
        values = [*(BACKBONES if key == "model.backbone" else usual)]
        values += [now] if now not in values else []
        found.append(Choice(key, tuple(values if isinstance(now, (list, str)) else sorted(values)), tuple(usual), span.log if span else None))
    return tuple(found)


def _weights_for_all(run: RunSettings) -> bool:
    """A file of weights is of one backbone."""
    return isinstance(run.model, NetworkSettings) and run.model.weights in ("pretrained", "scratch")


def space_of(offered: Sequence[Choice], ticked: Mapping[str, Sequence[Any]], method: str) -> dict[str, Any]:
    """``space`` of SEARCH.yaml from what is ticked, by key. Optuna goes between the ends of a range, a grid takes the ticked values."""
    space: dict[str, Any] = {}
    for choice in offered:
        values = list(ticked.get(choice.key, ()))
        if method == "optuna" and choice.log is not None and len(values) > 1:
            space[choice.key] = {"low": min(values), "high": max(values), "log": choice.log}
        elif values:
            space[choice.key] = values
    return space


def trials_in_words(trials: Sequence[Trial]) -> pd.DataFrame:
    """One row a trial, all cells text: its mean validation score, the changed settings, its state and a note; the best one has a star."""
    best, score = best_trial(trials), f"validation {score_name(trials)}"
    rows = {}
    for trial in trials:
        changes = {NAMES.get(key, key): Choice(key, (), ()).words(value) for key, value in trial.overrides.items()}
        cells = {score: f"{trial.score:.3f}" if trial.score == trial.score else "–", **changes}
        star = " ★" if best is not None and best.number == trial.number else ""
        rows[f"{trial.number}{star}"] = cells | {"state": trial.state, "spots": f"{trial.n:,}" if trial.n else "–", "note": note(trial)}
    return pd.DataFrame.from_dict(rows, orient="index", dtype=object)


def newest_search(folder: Path) -> Path | None:
    """The search that was asked for last in ``folder``; None where there is none."""
    return max((path.parent for path in Path(folder).glob(f"*/{REQUEST}")), key=lambda path: (path / REQUEST).stat().st_mtime_ns, default=None)
