"""Parameter search: many ordinary runs, each with other settings, chosen by the score on their validation parts.

A search's folder holds ``search.yaml`` (frozen settings), ``trials.json`` (what resuming needs), ``trials.csv``, ``search.png`` and ``search.svg``,
``best.yaml`` (the settings of the best trial, ready for ``train``), ``events.jsonl``, and each trial's run folder, ``trial-0001`` and so on.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from napari_deepspace.awake import kept_awake
from napari_deepspace.errors import DataError, DeepSpaceError, RunPaused, SettingsError, TrainingError
from napari_deepspace.events import BatchEnded, EpochEnded, Event, Failed, Finished, FoldEnded, Noted, Progress, Started, TrialEnded
from napari_deepspace.runs import CHECKPOINT, METRICS, MODEL, EventLog, claim, new_run_dir, read_events, require_idle, write_atomic
from napari_deepspace.search_results import (
    BEGUN,
    BEST,
    FAILED,
    FINISHED,
    Trial,
    best_trial,
    finished,
    in_words,
    plot,
    read_trials,
    summary,
    table,
    write_trials,
)  # fmt: skip
from napari_deepspace.search_settings import SearchSettings, number_of_trials, propose, search_values, tried_values, with_overrides
from napari_deepspace.section import Section
from napari_deepspace.settings import NetworkSettings, RunSettings, dump_yaml

if TYPE_CHECKING:
    import pandas as pd

SEARCH = "search.yaml"
PASSED_ON = (Progress, BatchEnded, Noted)
"""Events of a trial that the search repeats; the trial's own ``events.jsonl`` has them all."""
STARTS = 2
"""A trial whose process died this often is not begun again."""


def search(sections: Sequence[Section], settings: RunSettings, search: SearchSettings, folder: Path) -> Generator[Event, None, pd.DataFrame]:
    """Train one run a trial, each ``settings`` with some changes, and leave table, plots and the best settings in ``folder``; returns the table.

    A trial's score is the mean over folds of r on the validation part (networks: of the best epoch), never of the test part: a test part that
    chooses is no longer one. ``Finished.mean_r`` tells what choosing in this way is worth on test parts, see
    :func:`~napari_deepspace.search_results.held_out_r`. A trial that fails is written down with its sentence, and the search goes on. If ``folder``
    holds a search of the same settings, it goes on with the trial that was not finished; ``trials`` may have been raised.

    Raises
    ------
    DataError
        ``folder`` holds another search, or a process works on it.
    SettingsError
        optuna is asked for and not installed.
    TrainingError
        No trial could be finished.
    """
    began = time.perf_counter()
    folder = Path(folder)
    settings = _same_split(settings, search, sections)
    settings = _claimed(folder, settings, search)
    trials, total = read_trials(folder), number_of_trials(search)
    done = sum(trial.state != BEGUN for trial in trials)
    if trials:
        yield Noted(f"The search goes on: {done} of {total} trials are done.")
    for number in range(1, total + 1):
        known = next((trial for trial in trials if trial.number == number), None)
        if known is not None and known.state != BEGUN:
            continue
        yield Progress("trials", number - 1, total)
        trials = [trial for trial in trials if trial.number < number]
        results = [(trial.overrides, trial.score) for trial in trials if trial.state == FINISHED]
        trial = Trial(number, propose(search, number, results), starts=known.starts + 1 if known else 1)
        write_trials(folder, [*trials, trial])
        try:
            trial = yield from _done(trial, trials, sections, settings, folder)
        except BaseException:  # stopped, not died: that does not count as a start
            write_trials(folder, [*trials, dataclasses.replace(trial, starts=trial.starts - 1)])
            raise
        trials.append(trial)
        yield _written(folder, settings, search, trials, total, trial)
    facts = summary(trials)
    if "best" not in facts:
        raise TrainingError(f"None of the {total} trials could be finished. The first: {trials[0].message}")
    yield Finished(facts["held_out_r"], facts["n"], time.perf_counter() - began, scores=facts)
    return table(trials)


def _same_split(settings: RunSettings, search: SearchSettings, sections: Sequence[Section]) -> RunSettings:
    """A guard band as wide as the widest tile for every trial, where none is set: by its own, each tile size would train on other spots."""
    from napari_deepspace.preprocess.prepare import tile_side_um

    wide = search.space.get("tile.extra_percent")
    if wide is None or settings.split.guard_um is not None:
        return settings
    largest = max(tried_values(wide) or [getattr(wide, "high", 0)])
    contexts = tried_values(search.space.get("model.context", [])) or [getattr(search.space.get("model.context"), "high", None)]
    contexts += [settings.model.context] if isinstance(settings.model, NetworkSettings) else []
    side = tile_side_um(sections[0], settings.tile.model_copy(update={"extra_percent": float(largest)}))
    guard = side * max(1.0, *(context or 1.0 for context in contexts))
    return settings.model_copy(update={"split": settings.split.model_copy(update={"guard_um": round(guard, 1)})})


def _claimed(folder: Path, settings: RunSettings, search: SearchSettings) -> RunSettings:
    """Make ``folder`` this process's, with the frozen settings in it; returns those, with the number of threads that the search began with."""
    folder.mkdir(parents=True, exist_ok=True)
    require_idle(folder, "search")
    path = folder / SEARCH
    values = search_values(settings, search)
    values["run"]["threads"] = settings.threads or os.cpu_count() or 1
    if path.exists():
        try:
            stored = yaml.safe_load(path.read_text(encoding="utf-8"))
            before = _compared(stored)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, AttributeError, KeyError) as error:
            raise DataError(f"{path} is damaged ({type(error).__name__}). Give another folder to begin the search anew.") from error
        now = _compared(values)
        other = [key for key in now if now[key] != before.get(key)]
        if other:
            raise DataError(
                f"{folder} holds a search with other settings ({', '.join(other)}) and was left as it is. Give another folder, or the same settings."
            )
        values["run"]["threads"] = stored["run"]["threads"]
    write_atomic(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    claim(folder)
    return settings.model_copy(update={"threads": values["run"]["threads"]})


def _compared(values: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same when a search goes on. A grid's order depends on whether it is a part of all combinations."""
    run = {f"run.{key}": value for key, value in values["run"].items() if key != "threads"}
    return run | {"space": values["space"], "method": values["method"], "seed": values["seed"], "all trials": values["trials"] is None}


def _done(trial: Trial, before: Sequence[Trial], sections: Sequence[Section], settings: RunSettings, folder: Path) -> Generator[Event, None, Trial]:
    """The trial with its result: of its training, of an earlier one with the same settings, or none after its process died again and again."""
    same = next((other for other in before if other.overrides == trial.overrides and not other.same_as), None)
    if same is not None:
        return dataclasses.replace(same, number=trial.number, same_as=same.number, seconds=0.0)
    if trial.starts > STARTS:
        message = f"Its process ended without a word {trial.starts - 1} times. Most likely the memory did not suffice."
        return dataclasses.replace(trial, state=FAILED, message=message)
    began = time.perf_counter()
    run_dir = folder / f"trial-{trial.number:04d}"
    if not (run_dir / CHECKPOINT).exists():  # what an unfinished one left; from a checkpoint it goes on
        shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(exist_ok=True)
    log = EventLog(run_dir)
    try:
        yield from _run(trial, sections, settings, run_dir, log)
        result = _result(trial, run_dir)
    except RunPaused:
        raise
    except (DeepSpaceError, MemoryError, RuntimeError) as error:  # torch's everyday failures, memory among them, are RuntimeErrors
        message = str(error) if isinstance(error, DeepSpaceError) else f"{type(error).__name__}: {error}".splitlines()[0]
        log.write(Failed(message))
        result = dataclasses.replace(trial, state=FAILED, message=message)
    finally:
        log.close()
    return dataclasses.replace(result, seconds=time.perf_counter() - began)


def _run(trial: Trial, sections: Sequence[Section], settings: RunSettings, run_dir: Path, log: EventLog) -> Generator[Event, None, None]:
    """Train as an ordinary run, every event in the trial's own log."""
    from napari_deepspace.learn.training import fit

    name = f"{settings.name} trial {trial.number}"
    for event in fit(sections, with_overrides(settings, trial.overrides).model_copy(update={"name": name}), run_dir):
        log.write(event)
        if isinstance(event, PASSED_ON):
            yield event


def _result(trial: Trial, run_dir: Path) -> Trial:
    """The trial with the scores of its folds, as its run's events tell them; what was told again after a checkpoint counts."""
    validation, test, split, score_name = fold_scores(run_dir)
    metrics = json.loads((run_dir / METRICS).read_text(encoding="utf-8"))
    score = sum(validation.values()) / len(validation) if len(validation) == len(test) else math.nan
    if not math.isfinite(score):
        raise TrainingError("The validation part gave no score: too few spots, or not a number. Raise split.validation, or lower the thresholds.")
    folds = sorted(test)
    return dataclasses.replace(
        trial, state=FINISHED, score=score, validation_r=tuple(validation[fold] for fold in folds), r=tuple(test[fold] for fold in folds),
        n=metrics["n_spots"], split=split, synthetic=metrics["synthetic"], score_name=score_name,
    )  # fmt: skip


def fold_scores(run_dir: Path) -> tuple[dict[int, float], dict[int, float], str, str]:
    """By fold the scores of a run on validation and test parts, as its events tell them; its split in words, and what the scores are."""
    validation: dict[int, float] = {}
    test: dict[int, float] = {}
    split, score_name = "", "r"
    for event in read_events(run_dir):
        match event:
            case Started():
                split, score_name = event.split, event.score
            case EpochEnded(best=True):
                validation[event.fold] = event.validation_r
            case FoldEnded():
                test[event.fold] = event.r
                if math.isfinite(event.validation_r):
                    validation[event.fold] = event.validation_r
    return validation, test, split, score_name


def _written(folder: Path, settings: RunSettings, search: SearchSettings, trials: list[Trial], total: int, trial: Trial) -> TrialEnded:
    """Keep the trial's result, the plots and the best settings; then say so."""
    best = best_trial(trials)
    if best is not None:
        plot(trials, folder)
        run = with_overrides(settings, best.overrides).model_copy(update={"name": f"{settings.name} best"})
        words = "".join(f"# {line}\n" for line in in_words(summary(trials)))
        write_atomic(folder / BEST, words + dump_yaml(run))
        if search.keep_models == "best":
            for other in finished(trials):
                if other.number != best.number:
                    (folder / f"trial-{other.number:04d}" / MODEL / "weights.safetensors").unlink(missing_ok=True)
    write_trials(folder, trials)
    return TrialEnded(
        trial.number, total, trial.overrides, trial.state, trial.score, best.number if best else 0, best.score if best else math.nan,
        len(finished(trials)), trial.seconds, trial.message, trial.score_name,
    )  # fmt: skip


def run_search(
    settings: RunSettings,
    trials: SearchSettings,
    out: Path | None,
    parent: Path = Path("searches"),
    resume: bool = False,
    print_events: bool = False,
    background: bool = False,
) -> Path:
    """What ``napari-deepspace search`` does; returns the folder, ``out`` or a new one in ``parent``.

    Failures are written to ``events.jsonl`` before they are raised.

    Raises
    ------
    DataError
        ``out`` holds a search and ``resume`` is not asked for, or holds none and it is.
    """
    from napari_deepspace.train_command import in_background, read_sections, run_logged

    if background:
        settings = in_background(settings)
    if resume and (out is None or not (out / SEARCH).exists()):
        raise DataError(f"{out or 'No folder'} holds no search to resume. Name its folder with --out.")
    if not resume and out is not None and (out / SEARCH).exists():
        raise DataError(f"{out} holds a search already and was left as it is. Add --resume to go on with it, or give another --out.")
    folder = out or new_run_dir(parent, settings.name)
    folder.mkdir(parents=True, exist_ok=True)
    require_idle(folder, "search")
    claim(folder)

    def events() -> Generator[Event, None, Any]:
        sections = yield from read_sections(settings)
        return (yield from search(sections, settings, trials, folder))

    with kept_awake():
        run_logged(events(), folder, print_events)
    return folder


def write_example(path: Path) -> None:
    """Write a commented SEARCH.yaml with the paper's search; raises SettingsError where there is a file already."""
    from napari_deepspace.search_settings import EXAMPLE

    if path.exists():
        raise SettingsError(f"{path} exists already and was left as it is. Give another name, or delete it first.")
    write_atomic(path, EXAMPLE)
