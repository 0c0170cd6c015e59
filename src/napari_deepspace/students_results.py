"""What teacher and students gave: kept after each round, as a table, as the paper's figure 4, and as one verdict in words."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_deepspace import results
from napari_deepspace.analyse.blocks import spot_blocks
from napari_deepspace.analyse.bootstrap import intervals
from napari_deepspace.analyse.judge import LEAST_BLOCKS, LEAST_SPOTS
from napari_deepspace.analyse.metrics import auc, in_chunks, mean_r, pearson
from napari_deepspace.errors import DataError
from napari_deepspace.runs import STUDENTS, write_atomic, write_figure, write_json
from napari_deepspace.students_settings import CONTROLS
from napari_deepspace.verdicts import WAYS

TABLE, PLOTS = "students.csv", ("students.png", "students.svg")
TEACHER = "teacher"
COLUMNS = 3  #: most panels side by side


@dataclass(frozen=True)
class Round:
    """The teacher (number 0) or one student. ``validation`` holds a number a fold; ``r`` the score of each output at spots not trained on."""

    number: int
    run_dir: str  #: from the job's folder
    validation: tuple[float, ...]
    r: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    pool: int = 0  #: unlabelled tiles that it learned from

    @property
    def validation_r(self) -> float:
        return float(np.mean(self.validation)) if self.validation else math.nan

    @property
    def mean(self) -> float:
        """Mean over outputs; an undefined r counts as 0, as everywhere."""
        return mean_r(np.array(list(self.r.values()))) if self.r else math.nan

    @property
    def name(self) -> str:
        return f"student {self.number}" if self.number else TEACHER


@dataclass(frozen=True)
class Verdict:
    """The chosen student less the teacher, as mean over outputs at the same spots, with a 95 % interval of the paired block bootstrap."""

    kind: str  #: "better", "no better", "worse" or "cannot", as in napari_deepspace.verdicts
    student: int
    difference: float = math.nan
    interval: tuple[float, float] = (math.nan, math.nan)

    @property
    def words(self) -> str:
        """One sentence."""
        beside = f"{self.difference:+.3f}; 95 %: {self.interval[0]:+.3f} to {self.interval[1]:+.3f}"
        if self.kind == "cannot":
            return "students: cannot be judged here, too few spots are held out"
        if self.kind == "no better":
            return f"students: no better than the teacher (best student {beside})"
        return f"student {self.student} is {self.kind} than the teacher ({beside})"


@dataclass(frozen=True)
class Outcome:
    """A job of students so far: what ``students.json`` holds."""

    rounds: tuple[Round, ...]
    total: int  #: students asked for
    control: str = "none"
    tiles: int = 0  #: new tiles a round
    name: str = ""
    verdict: Verdict | None = None  #: None before the first student
    n: int = 0  #: spots scored
    split: str = ""
    panel: str = ""
    score: str = "r"
    ways: dict[str, float] = field(default_factory=dict)  #: mean score of the simple ways at the same spots
    ceiling: float = math.nan  #: the best mean r that the data allow
    synthetic: bool = False

    @property
    def done(self) -> int:
        """Students that are finished."""
        return sum(one.number > 0 for one in self.rounds)

    @property
    def best(self) -> str:
        """The run that is kept: the teacher's unless the student chosen is clearly better; "" before there is one."""
        if not self.rounds:
            return ""
        return self.rounds[self.verdict.student if self.verdict is not None and self.verdict.kind == "better" else 0].run_dir


def chosen(rounds: Sequence[Round], teacher_too: bool = False) -> Round | None:
    """The round of the highest mean validation score, the first among equals; test spots have no say."""
    return max((one for one in rounds if one.number or teacher_too), key=lambda one: np.nan_to_num(one.validation_r, nan=-np.inf), default=None)


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Keep it, with the run that is best, and the table for people."""
    values = asdict(outcome) | {"best": outcome.best, "words": in_words(outcome), "research_use_only": True}
    write_json(folder / STUDENTS, values)
    write_atomic(folder / TABLE, table(outcome).to_csv(index=False, lineterminator="\n"))


def read_outcome(folder: Path) -> Outcome | None:
    """A job so far, None where there is none; raises DataError where its file is damaged."""
    path = folder / STUDENTS
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {key: values[key] for key in Outcome.__dataclass_fields__}
        known["rounds"] = tuple(
            Round(**one | {"validation": tuple(map(_number, one["validation"])), "r": {name: _number(r) for name, r in one["r"].items()}})
            for one in known["rounds"]
        )
        if (verdict := known["verdict"]) is not None:
            low, high = verdict["interval"]
            known["verdict"] = Verdict(**verdict | {"difference": _number(verdict["difference"]), "interval": (_number(low), _number(high))})
        known |= {"ways": {name: _number(r) for name, r in known["ways"].items()}, "ceiling": _number(known["ceiling"])}
        return Outcome(**known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error}). Give another folder to begin anew.") from error


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


@dataclass(frozen=True)
class Scored:
    """Predicted and measured values at the spots that a run is scored on, (n, n_outputs); of sections one after another (``groups``, (n,))."""

    names: tuple[str, ...]
    score: str
    measured: np.ndarray
    predicted: np.ndarray
    ways: dict[str, np.ndarray]
    centres_um: np.ndarray
    groups: np.ndarray

    def of(self, predicted: np.ndarray) -> np.ndarray:
        """The score of each output: r, or AUC of clusters."""
        return in_chunks(auc if self.score == "AUC" else pearson, self.measured, predicted)

    def mean_ways(self) -> dict[str, float]:
        """Mean score of each simple way."""
        return {name: mean_r(self.of(values)) for name, values in self.ways.items() if np.isfinite(values).any()}


def read_scored(files: Sequence[Path]) -> Scored:
    """What results of one run hold at spots that it was not trained on."""
    tables = []
    for number, file in enumerate(files):
        adata = results.read_result(file)
        predicted, measured = (results.values_of(adata, slot) for slot in (results.PREDICTED, results.MEASURED))
        assert predicted is not None
        measured = np.full_like(predicted, np.nan) if measured is None else measured
        parts = adata.obs[results.SPLIT].astype(str).to_numpy()
        rows = np.isin(parts, ("test", "none")) & np.isfinite(measured).any(axis=1) & np.isfinite(predicted).any(axis=1)
        ways = {name: values[rows] for name, slot in results.BASELINES.items() if (values := results.values_of(adata, slot)) is not None}
        centres = np.asarray(adata.obsm["spatial"], dtype=np.float64)[rows] * float(adata.uns[results.UNS]["mpp"])
        tables.append((results.target_of(adata), measured[rows], predicted[rows], ways, centres, np.full(int(rows.sum()), number)))
    targets, measured_, predicted_, ways_, centres_, groups = zip(*tables, strict=True)
    shared = [name for name in ways_[0] if all(name in one for one in ways_)]
    return Scored(
        targets[0].names, targets[0].score, np.concatenate(measured_), np.concatenate(predicted_),
        {name: np.concatenate([one[name] for one in ways_]) for name in shared}, np.concatenate(centres_), np.concatenate(groups),
    )  # fmt: skip


def judge(student: int, predicted: Scored, teacher: Scored) -> Verdict:
    """Whether a student is better than the teacher at the very same spots: clearly so if the whole interval of the mean difference is above 0."""
    blocks = spot_blocks(teacher.centres_um, teacher.groups) if len(teacher.groups) else None
    if blocks is None or len(teacher.groups) < LEAST_SPOTS or blocks.number < LEAST_BLOCKS:
        return Verdict("cannot", student)
    shown = {teacher.score: predicted.predicted, TEACHER: teacher.predicted}
    found = intervals(teacher.measured, shown, teacher.score, blocks, ranks=teacher.score == "AUC")
    difference, (low, high) = found.mean_by[TEACHER], found.mean_difference[TEACHER]
    if not np.isfinite([difference, low, high]).all():
        return Verdict("cannot", student)
    kind = "better" if low > 0 else "worse" if high < 0 else "no better"
    return Verdict(kind, student, float(difference), (float(low), float(high)))


def table(outcome: Outcome) -> pd.DataFrame:
    """One row an output and round, with what every score must carry."""
    rows = [
        {"name": name, "round": one.name, outcome.score: r, f"validation_{outcome.score}": one.validation_r, "tiles": one.pool, "n": outcome.n}
        | {"labels": CONTROLS[outcome.control], "split": outcome.split, "panel": outcome.panel, "synthetic": outcome.synthetic}  # type: ignore[index]
        for one in outcome.rounds
        for name, r in one.r.items()
    ]
    return pd.DataFrame(rows)


def in_words(outcome: Outcome) -> list[str]:
    """The verdict, what it rests on, and which run is kept."""
    verdict, score = outcome.verdict, outcome.score
    if verdict is None:
        return [f"{len(outcome.rounds)} of {outcome.total + 1} rounds are done; the verdict comes with the first student."]
    control = "" if outcome.control == "none" else f"{CONTROLS[outcome.control]}. "  # type: ignore[index]
    lines = [f"{'SYNTHETIC data. ' if outcome.synthetic else ''}{control.capitalize()}{verdict.words[0].upper()}{verdict.words[1:]}."]
    teacher, student = outcome.rounds[0], outcome.rounds[verdict.student]
    if outcome.n:
        beside = [f"{WAYS.get(name, name)} {r:.3f}" for name, r in best_way(outcome).items()]
        beside += [f"the best this data allows {outcome.ceiling:.3f}"] if math.isfinite(outcome.ceiling) else []
        lines.append(
            f"Mean {score} over {outcome.panel}, {outcome.n:,} spots not trained on ({outcome.split}): teacher {teacher.mean:.3f}, "
            f"student {student.number} {student.mean:.3f}{'; beside it: ' if beside else ''}{', '.join(beside)}."
        )
    else:
        lines.append("No spot is held out: name a section under score, or choose another split.")
    lines.append(
        f"Student {student.number} was chosen of {outcome.done} by the validation parts ({score} {student.validation_r:.3f}, teacher "
        f"{teacher.validation_r:.3f}), which hold measured spots only. Kept: {'the teacher' if outcome.best == teacher.run_dir else student.name}."
    )
    return lines


def best_way(outcome: Outcome) -> dict[str, float]:
    """The best simple way with its mean score, {} without any."""
    known = {name: r for name, r in outcome.ways.items() if math.isfinite(r)}
    return dict([max(known.items(), key=lambda item: item[1])]) if known else {}


def plot(outcomes: Sequence[Outcome], files: Sequence[Path]) -> None:
    """Figure 4 of the paper: boxes over outputs for teacher and students, each output's points joined by a line; a panel a job.

    The kind of file is that of its ending: .png, .svg or .pdf.

    Raises
    ------
    DataError
        No job has scores yet, or a file has another ending.
    """
    from matplotlib.figure import Figure  # no pyplot: nothing here may choose or touch a window's backend

    shown = [one for one in outcomes if any(round_.r for round_ in one.rounds)]
    if not shown:
        raise DataError("There is nothing to plot: no spot was scored. Name a section under score, or wait for the first round.")
    for file in files:
        if file.suffix not in (".png", ".svg", ".pdf"):
            raise DataError(f"{file}: a figure is a .png, .svg or .pdf file. Give a name that ends so.")
    columns = min(len(shown), COLUMNS)
    rows = -(-len(shown) // columns)
    each = max(7.5 / columns, 1.5 + 0.75 * max(len(one.rounds) for one in shown))
    width = each * columns
    figure = Figure(figsize=(width, 0.9 + 4.7 * rows), dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, outcome in zip(panels, shown, strict=False):
        _panel(axes, outcome, round(each * 12))
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes in panels[: len(shown) : columns]:
        axes.set_ylabel(f"{shown[0].score} of each of {len(shown[0].rounds[0].r)} outputs")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    synthetic = "SYNTHETIC data. " if any(one.synthetic for one in shown) else ""
    words = f"{synthetic}{shown[0].panel}; {shown[0].n:,} spots not trained on; {shown[0].split}. Research use only."
    figure.suptitle("\n".join(textwrap.wrap(words, round(width * 13))), fontsize=9)
    for file in files:
        write_figure(file, figure)


def _panel(axes: Any, outcome: Outcome, characters: int) -> None:
    """One job; its title has so many ``characters`` a line."""
    rounds = [one for one in outcome.rounds if one.r]
    at = [one.number for one in rounds]
    values = np.array([list(one.r.values()) for one in rounds])
    axes.plot(at, values, "-", color="#8a8a8a", lw=0.6, alpha=0.55, zorder=1)
    axes.plot(at, values, "o", color="#0072b2", ms=3, alpha=0.6, mec="none", zorder=2)
    axes.boxplot(
        [row[np.isfinite(row)] for row in values], positions=at, widths=0.5, showfliers=False, zorder=3, manage_ticks=False,
        medianprops={"color": "#d55e00", "lw": 2}, boxprops={"lw": 1.2}, whiskerprops={"lw": 1}, capprops={"lw": 1},
    )  # fmt: skip
    for name, r in best_way(outcome).items():
        axes.axhline(r, color="#2fa37c", ls="--", lw=1.2, label=f"{WAYS.get(name, name)}, mean")
    if math.isfinite(outcome.ceiling):
        axes.axhline(outcome.ceiling, color="#555555", ls=":", lw=1.2, label="best this data allows, mean")
    labels = [TEACHER if not number else str(number) for number in at]
    if outcome.verdict is not None:
        labels = [f"{label}\nchosen" if number == outcome.verdict.student else label for label, number in zip(labels, at, strict=True)]
    axes.set_xticks(at, labels, fontsize=8)
    axes.set_xlim(-0.6, max(at) + 0.6)
    axes.set_xlabel("student", fontsize=9)
    title = CONTROLS[outcome.control] + ("" if outcome.verdict is None else f"\n{outcome.verdict.words}")  # type: ignore[index]
    axes.set_title("\n".join(line for part in title.split("\n") for line in textwrap.wrap(part, characters)), fontsize=8)
    axes.grid(axis="y", alpha=0.25)
