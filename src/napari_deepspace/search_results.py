"""What the trials of a parameter search gave: kept after each trial, as a table, as plots and in a few words."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_deepspace.errors import DataError
from napari_deepspace.runs import write_atomic, write_figure, write_json

TRIALS, TABLE, BEST, PLOTS = "trials.json", "trials.csv", "best.yaml", ("search.png", "search.svg")
BEGUN, FINISHED, FAILED = "begun", "finished", "failed"


@dataclass(frozen=True)
class Trial:
    """One trial. ``validation_r`` and ``r`` hold one number a fold: on the validation part, which trials are chosen by, and on the test part."""

    number: int  #: counts from 1
    overrides: dict[str, Any]
    state: str = BEGUN
    score: float = float("nan")  #: mean of validation_r
    validation_r: tuple[float, ...] = ()
    r: tuple[float, ...] = ()
    n: int = 0  #: spots scored
    split: str = ""
    seconds: float = 0.0
    message: str = ""  #: why it failed
    same_as: int = 0  #: the trial whose result this is, where the same settings came up again
    starts: int = 1  #: how often its training was begun
    synthetic: bool = False
    score_name: str = "r"  #: what score, validation_r and r are: "r", or "AUC" of clusters


def write_trials(folder: Path, trials: Sequence[Trial]) -> None:
    """Keep the trials, and their table for people."""
    write_json(folder / TRIALS, [asdict(trial) for trial in trials])
    write_atomic(folder / TABLE, table(trials).to_csv(index=False, lineterminator="\n"))


def read_trials(folder: Path) -> list[Trial]:
    """The trials of a search so far, [] where there is none; raises DataError where the file is damaged."""
    path = folder / TRIALS
    if not path.exists():
        return []
    try:
        trials = [Trial(**_from_plain(values)) for values in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error}). Give another folder to begin the search anew.") from error
    return trials


def _from_plain(values: dict[str, Any]) -> dict[str, Any]:
    nan = float("nan")
    parts = {key: tuple(nan if value is None else float(value) for value in values[key]) for key in ("validation_r", "r")}
    return values | parts | {"score": nan if values["score"] is None else values["score"]}


def table(trials: Sequence[Trial]) -> pd.DataFrame:
    """One row a trial: its number, state, score (``validation_r``, of clusters ``validation_AUC``), n, split, seconds, the changed settings, and a
    word where it failed."""
    rows, score = [], f"validation_{score_name(trials)}"
    for trial in trials:
        changes = {key: value if isinstance(value, (int, float, str)) else json.dumps(value) for key, value in trial.overrides.items()}
        facts = {"trial": trial.number, "state": trial.state, score: trial.score, **changes, "n": trial.n, "split": trial.split}
        rows.append(facts | {"seconds": round(trial.seconds, 1), "message": note(trial)})
    return pd.DataFrame(rows)


def note(trial: Trial) -> str:
    """Why a trial failed, or whose result it has."""
    return f"same settings as trial {trial.same_as}" if trial.same_as else trial.message


def score_name(trials: Sequence[Trial]) -> str:
    """What the scores are: "r", or "AUC" of clusters; all trials learn the same target."""
    return next((trial.score_name for trial in trials if trial.state == FINISHED), "r")


def finished(trials: Sequence[Trial]) -> list[Trial]:
    """The trials with a score, each set of settings once."""
    return [trial for trial in trials if trial.state == FINISHED and not trial.same_as]


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The trial of the highest mean validation score, the first among equals."""
    return max(finished(trials), key=lambda trial: trial.score, default=None)


def held_out_r(trials: Sequence[Trial]) -> float:
    """Mean r on test parts that had no say: in each fold the trial is chosen by that fold's own validation part, and its test part scores it.

    This is what choosing among these settings gives, without the optimism of the best of many scores; NaN where nothing is held out.
    """
    done = finished(trials)
    if not done:
        return float("nan")
    validation, test = np.array([trial.validation_r for trial in done]), np.array([trial.r for trial in done])
    return float(test[validation.argmax(axis=0), np.arange(test.shape[1])].mean())


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """What came out: the best trial and its score, of how many, and the score of choosing."""
    best, of = best_trial(trials), len(finished(trials))
    facts: dict[str, Any] = {"trials": of, "failed": sum(trial.state == FAILED and not trial.same_as for trial in trials)}
    if best is None:
        return facts
    return facts | {
        "best": best.number, "overrides": best.overrides, "validation_r": best.score, "held_out_r": held_out_r(trials), "n": best.n,
        "n_of_all": sorted({trial.n for trial in finished(trials)}), "split": best.split, "synthetic": best.synthetic, "score": best.score_name,
    }  # fmt: skip


def in_words(facts: dict[str, Any]) -> list[str]:
    """The summary in sentences; no score stands without the number of trials it was chosen from."""
    failed = f"; {facts['failed']} failed" if facts["failed"] else ""
    if "best" not in facts:
        return [f"No trial is finished{failed}."]
    of, score = facts["trials"], facts["score"]
    lines = [
        f"{'SYNTHETIC data. ' if facts['synthetic'] else ''}Best of {of} trials{failed}: trial {facts['best']}, mean validation {score} "
        f"{facts['validation_r']:.3f}; the best of many is too high by having been chosen."
    ]
    if np.isfinite(facts["held_out_r"]):
        lines.append(
            f"Choosing in each fold by its own validation part gives {score} {facts['held_out_r']:.3f} on the fold's test part, which had no say "
            f"({facts['split']})."
        )
    else:
        lines.append("No spot is held out: score the best trial on another section (napari-deepspace predict, then evaluate).")
    counts = facts["n_of_all"]
    if len(counts) > 1:
        lines.append(
            f"The trials score {counts[0]} to {counts[-1]} spots, as their filters let pass: scores on fewer spots are not strictly comparable."
        )
    return lines


def plot(trials: Sequence[Trial], folder: Path) -> None:
    """Draw the mean validation score against each searched setting, a panel a setting, into ``search.png`` and ``search.svg``."""
    from matplotlib.figure import Figure  # no pyplot: nothing here may choose or touch a window's backend

    done, best = finished(trials), best_trial(trials)
    if best is None:
        return
    keys = list(best.overrides)
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.1 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for key, axes in zip(keys, panels, strict=False):
        _panel(axes, key, done, best)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    words = [textwrap.fill(line, 58 * columns) for line in in_words(summary(trials))]
    figure.suptitle("\n".join(words), fontsize=8, x=0.01, ha="left")
    figure.supxlabel("Each point is a trial, the star the best of them. Research use only.", fontsize=7, color="0.35", x=0.01, ha="left")
    for name in PLOTS:
        write_figure(folder / name, figure, dpi=130)


def _panel(axes: Any, key: str, done: Sequence[Trial], best: Trial) -> None:
    """Scores against the values of one setting: on a scale for many different numbers, else side by side with a box from three points up."""
    values, scores = [trial.overrides[key] for trial in done], np.array([trial.score for trial in done])
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    if numbers and len(set(values)) > 8:
        places = np.array(values, dtype=float)
        if places.min() > 0 and places.max() / places.min() > 30:
            axes.set_xscale("log")
    else:
        ordered = sorted(values) if numbers else sorted(values, key=lambda value: (len(json.dumps(value)), json.dumps(value)))
        labels = {json.dumps(value): value for value in ordered}
        at = {label: number for number, label in enumerate(labels)}
        places = np.array([at[json.dumps(value)] for value in values], dtype=float)
        groups = {place: scores[places == place] for place in at.values()}
        boxed = {place: group for place, group in groups.items() if len(group) >= 3}
        if boxed:
            axes.boxplot(list(boxed.values()), positions=list(boxed), widths=0.5, showfliers=False, medianprops={"color": "black"})
        axes.set_xticks(list(at.values()), [value_words(value) for value in labels.values()], fontsize=8)
        if not numbers:
            axes.tick_params(axis="x", rotation=20)
        axes.set_xlim(-0.6, len(at) - 0.4)
        places = places + np.random.default_rng(0).uniform(-0.08, 0.08, len(places))
    axes.plot(places, scores, "o", ms=4, alpha=0.6, color="#0072b2", mec="none")
    here = done.index(best)
    axes.plot(places[here], scores[here], "*", ms=13, color="#d55e00", mec="white", zorder=5)
    axes.set_xlabel(key, fontsize=9)
    axes.set_ylabel(f"mean validation {best.score_name}", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", alpha=0.25)


def value_words(value: Any) -> str:
    """One value of a searched setting, for people."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(map(str, value.values()))
    return f"{value:g}" if isinstance(value, float) else str(value)
