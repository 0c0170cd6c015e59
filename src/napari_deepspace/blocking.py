"""``fit``, ``predict`` and figures for scripts and notebooks: they wait, show a progress bar, and return the result."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from anndata import AnnData
from tqdm.auto import tqdm

from napari_deepspace.events import BaselinesScored, BatchEnded, EpochEnded, Event, FoldEnded, Noted, Progress, StudentEnded, TrialEnded
from napari_deepspace.runs import EventLog
from napari_deepspace.section import Section
from napari_deepspace.settings import RunSettings, SectionSettings
from napari_deepspace.verdicts import WAYS

if TYPE_CHECKING:
    from napari_deepspace.denser import DenserMap
    from napari_deepspace.figure_settings import FigureSettings
    from napari_deepspace.learn.model import TrainedModel

T = TypeVar("T")


def fit(sections: Section | Sequence[Section], settings: RunSettings, run_dir: Path | str | None = None, progress: bool = True) -> TrainedModel:
    """Train and return the model; ``run_dir`` keeps it, its predictions and scores (left out: a new temporary folder).

    Raises what :func:`napari_deepspace.learn.training.fit` raises.
    """
    from napari_deepspace.learn import training

    folder = Path(tempfile.mkdtemp(prefix="napari-deepspace-")) if run_dir is None else Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    log = EventLog(folder)
    try:
        return drain(training.fit([sections] if isinstance(sections, Section) else sections, settings, folder), progress, log)
    finally:
        log.close()


def predict(model: TrainedModel, section: Section, centres_yx: np.ndarray | None = None, progress: bool = True) -> AnnData:
    """Predict at the section's spots or at ``centres_yx`` (n, 2), (row, column) in full-resolution px; see ``docs/results-format.md``.

    Raises what :func:`napari_deepspace.learn.inference.predict` raises.
    """
    from napari_deepspace.learn import inference

    return drain(inference.predict(model, section, centres_yx), progress)


def preprocess_section(section: Section, settings: RunSettings | None = None, progress: bool = True) -> AnnData:
    """The section's AnnData with its spots judged, its clusters and its counts normalised, see ``docs/preprocessing.md``; X stays raw counts.

    ``settings`` may be those of a run; left out: the usual ones. Raises what :func:`napari_deepspace.preprocess_command.preprocess` raises.
    """
    from napari_deepspace import preprocess_command

    settings = settings or RunSettings(sections=(SectionSettings(path=section.path or Path()),))
    return drain(preprocess_command.preprocessed(section, settings), progress)


def save_figure(section: Section, settings: FigureSettings, out: Path | str, run_dir: Path | str | None = None, progress: bool = True) -> None:
    """Draw a figure and write ``out`` (.png, .svg or .pdf); ``run_dir`` is the finished run whose predictions it shows. See ``docs/figures.md``.

    Raises what :func:`napari_deepspace.figures.write` raises.
    """
    from napari_deepspace import figures

    drain(figures.write(section, settings, Path(out), None if run_dir is None else Path(run_dir)), progress)


def predict_denser(
    run_dir: Path | str,
    section: Section,
    out: Path | str,
    at: str = "grid",
    spacing_um: float = 20.0,
    rule: str = "tissue",
    progress: bool = True,
) -> DenserMap:
    """Predict between the spots ("between-spots") or at a grid ("grid") of ``section`` with the run in ``run_dir``; writes ``out``, a .zarr folder.

    ``spacing_um`` is the distance between the points of a grid. Raises what :func:`napari_deepspace.predict_command.run_prediction` raises.
    """
    from napari_deepspace.denser import open_denser
    from napari_deepspace.predict_command import run_prediction

    run_prediction(Path(run_dir), lambda: section, Path(out), at, spacing_um, rule, print_events=False)
    return open_denser(Path(out))


def drain(events: Generator[Event, None, T], progress: bool = True, log: EventLog | None = None) -> T:
    """Run a generator of events to its end behind a progress bar; return what it returns."""
    with tqdm(disable=not progress, unit="") as bar:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                return end.value
            if log is not None:
                log.write(event)
            _show(bar, event)


def _show(bar: tqdm, event: Event) -> None:
    match event:
        case Noted(message):
            bar.write(f"note: {message}", file=sys.stderr)
        case Progress(stage, done, total):
            bar.set_description(stage, refresh=False)
            bar.total, bar.n = total, done
        case BaselinesScored(mean_r):
            bar.set_postfix({WAYS.get(name, name): f"{value:.3f}" for name, value in mean_r.items()}, refresh=False)
        case BatchEnded(fold, epoch, step, steps, _):
            bar.set_description(f"fold {fold + 1}, epoch {epoch}", refresh=False)
            bar.total, bar.n = steps, step
        case EpochEnded():
            bar.set_postfix({"validation loss": f"{event.validation_loss:.3f}", "validation r": f"{event.validation_r:.3f}"}, refresh=False)
        case FoldEnded(fold, folds, r):
            bar.set_description(f"fold {fold + 1} of {folds}: r {r:.3f}", refresh=False)
        case TrialEnded():
            found = f"validation r {event.score:.3f}" if event.state == "finished" else f"failed: {event.message}"
            best = f"; best of {event.of}: {event.best_score:.3f} (trial {event.best})" if event.best else ""
            bar.write(f"trial {event.number} of {event.trials}: {found}{best}", file=sys.stderr)
        case StudentEnded():
            who = f"student {event.number} of {event.rounds}" if event.number else "teacher"
            bar.write(f"{who}: validation {event.score_name} {event.validation_r:.3f}. {event.verdict}", file=sys.stderr)
        case _:
            return
    bar.refresh()
