"""Semi-supervised learning as one resumable job: a teacher, and students that learn from its labels of unlabelled tiles too (noisy student).

Every round is an ordinary run folder. A job's folder holds ``students.yaml`` (frozen settings), ``students.json`` (the rounds, the verdict and
``best``, the run that is kept; ``predict`` takes the job's folder for it), ``students.csv``, ``students.png`` and ``.svg`` (figure 4 of the paper),
``events.jsonl``, ``teacher``, ``student-1`` and so on, and ``pool/`` with the tiles and their labels.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from napari_deepspace.awake import kept_awake
from napari_deepspace.errors import DataError, ModelError, SettingsError
from napari_deepspace.events import BatchEnded, EpochEnded, Event, Finished, FoldEnded, Noted, Progress, StudentEnded
from napari_deepspace.runs import (
    CHECKPOINT,
    METRICS,
    MODEL,
    STUDENTS,
    EventLog,
    claim,
    new_run_dir,
    require_idle,
    safe_name,
    write_atomic,
    write_json,
)
from napari_deepspace.search import fold_scores
from napari_deepspace.section import Section
from napari_deepspace.settings import RunSettings
from napari_deepspace.students_results import (
    PLOTS,
    TEACHER,
    Outcome,
    Round,
    Scored,
    chosen,
    in_words,
    judge,
    plot,
    read_outcome,
    read_scored,
    write_outcome,
)  # fmt: skip
from napari_deepspace.students_settings import CONTROLS, StudentsSettings, students_values

if TYPE_CHECKING:
    from napari_deepspace.learn.pool import Pool
    from napari_deepspace.learn.students import Source

JOB, POOL, SCORED = "students.yaml", "pool", "scored"
PASSED_ON = (Progress, BatchEnded, EpochEnded, FoldEnded, Noted)
"""Events of a round that the job repeats; the round's own ``events.jsonl`` has them all."""


def students(
    sections: Sequence[Section], run: RunSettings, asked: StudentsSettings, folder: Path, teacher: Path | None = None, scored: Sequence[Section] = ()
) -> Generator[Event, None, Outcome]:
    """Train a teacher and ``asked.rounds`` students on ``sections``, and leave everything in ``folder``; returns what came out.

    Round k draws new tiles, each fold's best member so far (by its own validation part) labels them, and student k starts from fresh weights and
    learns from measured spots and all labelled tiles so far. The student that is compared with the teacher is the one with the best mean validation
    score, and the teacher is kept unless that one is clearly better (:func:`~napari_deepspace.students_results.judge`) at the spots that the run
    holds out, or at those of the sections ``scored``. ``teacher`` is the folder of a finished run of the same ``run`` on the same sections, which is
    taken as it is. If ``folder`` holds a job of the same settings, it goes on where that ended; ``rounds`` may have been raised.

    Raises
    ------
    DataError
        ``folder`` holds another job, a process works on it, or the pictures cannot be used.
    ModelError, TrainingError, SettingsError
        The teacher or a student cannot be trained.
    RunPaused
        Somebody asked for it.
    """
    began = time.perf_counter()
    folder = Path(folder)
    run = _claimed(folder, run, asked, teacher)
    known = read_outcome(folder)
    outcome = Outcome((), asked.rounds, asked.control, asked.tiles, run.name)
    if known is not None:
        outcome = dataclasses.replace(known, total=max(asked.rounds, known.done))
        yield Noted(f"The job goes on: {len(known.rounds)} of {outcome.total + 1} rounds are done.")
    if not outcome.rounds:
        outcome = yield from _round(outcome, 0, sections, run, folder, teacher, None, scored)
    sources: list[Source] = []
    for number in range(outcome.done + 1, asked.rounds + 1):
        yield Progress("rounds", number, asked.rounds + 1)
        if not sources:
            sources = yield from _sources(asked, sections, scored, folder / outcome.rounds[0].run_dir)
        pool = yield from _pool(outcome, number, asked, sources, folder)
        outcome = yield from _round(outcome, number, sections, run, folder, None, pool, scored)
    facts = {"words": in_words(outcome), "best": outcome.best, "n": outcome.n, "split": outcome.split, "score": outcome.score}
    kept = next(one for one in outcome.rounds if one.run_dir == outcome.best)
    yield Finished(kept.mean, outcome.n, time.perf_counter() - began, scores=facts)
    return outcome


def _claimed(folder: Path, run: RunSettings, asked: StudentsSettings, teacher: Path | None) -> RunSettings:
    """Make ``folder`` this process's, with the frozen settings in it; returns those of the run, with the threads that the job began with."""
    folder.mkdir(parents=True, exist_ok=True)
    require_idle(folder, "students")
    path, threads = folder / JOB, run.threads or os.cpu_count() or 1
    values = {"threads": threads} | students_values(run, asked, teacher)
    if path.exists():
        try:
            stored = yaml.safe_load(path.read_text(encoding="utf-8"))
            before, threads = _compared(stored), int(stored["threads"])
        except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, AttributeError, KeyError, ValueError) as error:
            raise DataError(f"{path} is damaged ({type(error).__name__}). Give another folder to begin anew.") from error
        now = _compared(values)
        other = [key for key in now if now[key] != before.get(key)]
        if other:
            raise DataError(f"{folder} holds students with other settings ({', '.join(other)}). Give another folder, or the same settings.")
        values["threads"] = threads
    write_atomic(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    claim(folder)
    return run.model_copy(update={"threads": threads})


def _compared(values: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same when a job goes on."""
    run = {f"run.{key}": value for key, value in (values.get("run") or {}).items() if key != "threads"}
    return run | {key: value for key, value in values.items() if key not in ("run", "threads", "rounds")}


def _sources(asked: StudentsSettings, sections: Sequence[Section], scored: Sequence[Section], teacher: Path) -> Generator[Event, None, list[Source]]:
    """The pictures to draw from, looked over; says so where a scored section's picture is among them."""
    from napari_deepspace.learn.model import load_model
    from napari_deepspace.learn.students import look_over
    from napari_deepspace.students_sources import read_sources

    model, photographs = load_model(teacher), asked.control == "photographs"
    pictures = yield from read_sources(asked.drawn_from, sections[0], model.tile_um, photographs)
    mine = {picture.require_slide().fingerprint() for picture in pictures}
    both = [section.library_id for section in scored if section.require_slide().fingerprint() in mine]
    if both:
        yield Noted(
            f"The picture of {', '.join(both)} is among the unlabelled ones, and the section is scored: its counts are not used, its picture is."
        )
    return (yield from look_over(pictures, model, white_filter=not photographs))


def _pool(outcome: Outcome, number: int, asked: StudentsSettings, sources: Sequence[Source], folder: Path) -> Generator[Event, None, Pool]:
    """The pool of student ``number``: its own tiles, labelled by the best members so far, and those of the rounds before."""
    from napari_deepspace.learn.model import load_model
    from napari_deepspace.learn.students import draw_tiles, gather_pool, label_tiles, usable_tiles

    model = load_model(folder / outcome.rounds[0].run_dir)
    parts = []
    for k in range(1, number + 1):
        drawn = yield from draw_tiles(sources, model, asked.tiles, (asked.seed, k), folder / POOL / f"round-{k}.npy")
        labels = folder / POOL / f"labels-{k}"
        if not labels.exists():
            yield from label_tiles(drawn, _labelling(outcome.rounds[:k], folder), asked.control, (asked.seed, k, 1), labels)
        parts.append((drawn, labels, usable_tiles(drawn, sources, model)))
    used = [int(one.sum()) for one in np.concatenate([part[2] for part in parts], axis=1)]
    count = f"{used[0]:,}" if len(set(used)) == 1 else f"{min(used):,} to {max(used):,}"
    words = f"Beside the measured spots {count} unlabelled tiles train ({CONTROLS[asked.control]}); the validation part holds measured spots only."
    return gather_pool(parts, words)


def _labelling(rounds: Sequence[Round], folder: Path) -> list[Path]:
    """For each fold the run whose member labels: the best by the fold's own validation part, so that no other fold's spots have a say."""
    validation = np.nan_to_num(np.array([one.validation for one in rounds]), nan=-np.inf)
    return [folder / rounds[best].run_dir for best in validation.argmax(axis=0)]


def _round(
    outcome: Outcome,
    number: int,
    sections: Sequence[Section],
    run: RunSettings,
    folder: Path,
    teacher: Path | None,
    pool: Pool | None,
    scored: Sequence[Section],
) -> Generator[Event, None, Outcome]:
    """Train teacher or student as an ordinary run, score it, and write down what came out; a finished one is only scored."""
    began = time.perf_counter()
    name = f"student-{number}" if number else TEACHER
    run_dir = teacher or folder / name
    if not (run_dir / MODEL / "model.json").is_file():
        if not (run_dir / CHECKPOINT).exists():  # what an unfinished one left; from a checkpoint it goes on
            shutil.rmtree(run_dir, ignore_errors=True)
        run_dir.mkdir(exist_ok=True)
        yield from _train(sections, run.model_copy(update={"name": f"{run.name} {name.replace('-', ' ')}"}), run_dir, pool)
    files = yield from _scored_files(run_dir, folder / SCORED / name, scored)
    at_spots = read_scored(files)
    validation, _, split, score_name = fold_scores(run_dir)
    if not validation:
        raise ModelError(f"The run in {run_dir} tells no validation score and cannot be a teacher. Train it again.")
    r = dict(zip(at_spots.names, map(float, at_spots.of(at_spots.predicted)), strict=True)) if len(at_spots.groups) else {}
    where = os.path.relpath(run_dir, folder) if teacher is None else str(run_dir.resolve())
    one = Round(
        number, where, tuple(validation[fold] for fold in sorted(validation)), r, time.perf_counter() - began, 0 if pool is None else len(pool.inputs)
    )
    outcome = dataclasses.replace(outcome, rounds=(*outcome.rounds, one))
    if not number:
        outcome = _facts(outcome, at_spots, run_dir, folder / SCORED / name if scored else None, split, score_name)
    best = chosen(outcome.rounds)
    if best is not None:
        ends = [at_spots if which == number else read_scored(_files(folder, outcome.rounds[which], bool(scored))) for which in (best.number, 0)]
        outcome = dataclasses.replace(outcome, verdict=judge(best.number, *ends))
    write_outcome(folder, outcome)
    if r:
        plot([outcome], [folder / file for file in PLOTS])
    words = outcome.verdict.words if outcome.verdict is not None else ""
    yield StudentEnded(number, outcome.total, r, outcome.n, one.validation_r, words, one.seconds, outcome.score)
    return outcome


def _train(sections: Sequence[Section], settings: RunSettings, run_dir: Path, pool: Pool | None) -> Generator[Event, None, None]:
    from napari_deepspace.learn.training import fit

    log = EventLog(run_dir)
    try:
        for event in fit(sections, settings, run_dir, pool):
            log.write(event)
            if isinstance(event, PASSED_ON):
                yield event
    finally:
        log.close()


def _scored_files(run_dir: Path, folder: Path, scored: Sequence[Section]) -> Generator[Event, None, list[Path]]:
    """The results that a run is scored by: its own, or those at the spots of ``scored``, which are predicted now and kept in ``folder``."""
    from napari_deepspace.analyse.evaluate import evaluate
    from napari_deepspace.learn.inference import predict
    from napari_deepspace.learn.model import load_model
    from napari_deepspace.results import write_result

    if not scored:
        return sorted((run_dir / "predictions").glob("*.h5ad"))
    model, files, scores = load_model(run_dir), [], {}
    for number, section in enumerate(scored, start=1):
        files.append(folder / f"{number}-{safe_name(section.library_id)}.h5ad")
        adata = yield from predict(model, section, run=run_dir.name)
        scores[section.library_id] = evaluate(adata)
        write_result(adata, files[-1])
    write_json(folder / METRICS, {"sections": scores})
    return files


def _files(folder: Path, one: Round, elsewhere: bool) -> list[Path]:
    place = folder / SCORED / one.name.replace(" ", "-") if elsewhere else folder / one.run_dir / "predictions"
    return sorted(place.glob("*.h5ad"))


def _facts(outcome: Outcome, at_spots: Scored, run_dir: Path, scored: Path | None, split: str, score_name: str) -> Outcome:
    """What is said beside every score of the job, from the teacher's."""
    own = json.loads((run_dir / METRICS).read_text(encoding="utf-8"))
    told = list(json.loads(((scored or run_dir) / METRICS).read_text(encoding="utf-8"))["sections"].values())
    ceilings = [one["ceiling"] for one in told if one.get("ceiling") is not None]
    words = "; ".join(dict.fromkeys(str(one["split"]) for one in told)) if len(at_spots.groups) else split
    return dataclasses.replace(
        outcome, n=len(at_spots.groups), split=words, panel=str(told[0]["panel"]), score=score_name, ways=at_spots.mean_ways(),
        ceiling=float(np.mean(ceilings)) if ceilings else float("nan"), synthetic=bool(own["synthetic"]),
    )  # fmt: skip


def run_students(
    run: RunSettings,
    asked: StudentsSettings,
    teacher: Path | None,
    out: Path | None,
    parent: Path = Path("students"),
    resume: bool = False,
    print_events: bool = False,
    background: bool = False,
) -> Path:
    """What ``napari-deepspace students`` does; returns the folder, ``out`` or a new one in ``parent``.

    Failures are written to ``events.jsonl`` before they are raised.

    Raises
    ------
    DataError
        ``out`` holds a job and ``resume`` is not asked for, or holds none and it is.
    """
    from napari_deepspace.read import read_settings
    from napari_deepspace.train_command import in_background, read_sections, run_logged

    if background:
        run = in_background(run)
    if resume and (out is None or not (out / JOB).exists()):
        raise DataError(f"{out or 'No folder'} holds no students to resume. Name their folder with --out.")
    if not resume and out is not None and (out / JOB).exists():
        raise DataError(f"{out} holds students already and was left as it is. Add --resume to go on with them, or give another --out.")
    folder = out or new_run_dir(parent, run.name)
    folder.mkdir(parents=True, exist_ok=True)
    require_idle(folder, "students")
    claim(folder)

    def events() -> Generator[Event, None, Any]:
        sections = yield from read_sections(run)
        scored = [read_settings(section) for section in asked.score]
        return (yield from students(sections, run, asked, folder, teacher, scored))

    with kept_awake():
        run_logged(events(), folder, print_events)
    return folder


def plot_jobs(folders: Sequence[Path], file: Path) -> None:
    """Figure 4 of the jobs in ``folders``, a panel each, into ``file``; raises DataError where a folder holds none."""
    outcomes = []
    for folder in folders:
        outcome = read_outcome(folder)
        if outcome is None:
            raise DataError(f"{folder} holds no students ({STUDENTS} is missing). Give the folder of a job of students.")
        outcomes.append(outcome)
    plot(outcomes, [file])


def write_example(path: Path) -> None:
    """Write a commented STUDENTS.yaml; raises SettingsError where there is a file already."""
    from napari_deepspace.students_settings import EXAMPLE

    if path.exists():
        raise SettingsError(f"{path} exists already and was left as it is. Give another name, or delete it first.")
    write_atomic(path, EXAMPLE)
