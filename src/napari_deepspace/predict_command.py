"""What ``napari-deepspace predict`` does: at spots, between them, or at a grid; events are told as a run tells them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext
from pathlib import Path
from typing import get_args

from napari_deepspace.awake import kept_awake
from napari_deepspace.denser import open_denser, require_free
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.events import Event, Predicted, Progress
from napari_deepspace.points import LEAST_SPACING_UM, At, Rule
from napari_deepspace.runs import EVENTS, claim, running_pid
from napari_deepspace.section import Section
from napari_deepspace.train_command import lower_priority, run_logged

RESULT, STORE = ".h5ad", ".zarr"
SUFFIXES = {"spots": (RESULT,), "between-spots": (RESULT, STORE), "grid": (STORE,)}
"""What a prediction can be written as, by where it is."""


def run_prediction(
    run_dir: Path,
    read: Callable[[], Section],
    out: Path,
    at: str = "spots",
    spacing_um: float = 20.0,
    rule: str = "tissue",
    tile_by_tile: bool = False,
    print_events: bool = False,
    background: bool = False,
) -> Predicted:
    """Predict with the model in ``run_dir`` at the section that ``read`` gives, write ``out``, and say what was written.

    A denser map (``.zarr``) keeps its events in ``events.jsonl`` of its folder, so that a window can follow; a stopped one goes on where it was.

    Raises
    ------
    SettingsError
        An unknown place or rule, a spacing below 8 um, or a kind of file that cannot hold the result.
    DataError, ModelError
        The section or the model cannot be used, or ``out`` holds something else.
    """
    _check(out, at, spacing_um, rule)
    if background:
        lower_priority()
    folder = out if out.suffix == STORE else None
    if folder is not None:
        require_free(folder)
        pid = running_pid(folder)
        if pid is not None and pid != os.getpid():
            raise DataError(f"Process {pid} works on the map in {folder}. Wait for it, or stop it first.")
        folder.mkdir(parents=True, exist_ok=True)
        claim(folder)
        (folder / EVENTS).unlink(missing_ok=True)  # of a job that was stopped: a window would take its last word for this job's
    with kept_awake() if folder is not None else nullcontext():
        found: Predicted = run_logged(_events(run_dir, read, out, at, spacing_um, rule, tile_by_tile, background), folder, print_events)
    return found


def _check(out: Path, at: str, spacing_um: float, rule: str) -> None:
    if at not in SUFFIXES:
        raise SettingsError(f"--at {at} is unknown. Choose {', '.join(SUFFIXES)}.")
    if rule not in get_args(Rule):
        raise SettingsError(f"--rule {rule} is unknown. Choose {' or '.join(get_args(Rule))}.")
    if at == "grid" and not spacing_um >= LEAST_SPACING_UM:
        raise SettingsError(f"--spacing-um {spacing_um:g} is too fine: a tile tells no more. Give {LEAST_SPACING_UM:g} or more.")
    if out.suffix not in SUFFIXES[at]:
        if at == "grid" and out.suffix == RESULT:
            raise SettingsError(
                f"--out {out}: a grid does not fit an .h5ad file. Write a .zarr folder; in Python, denser.to_anndata(open_denser(FOLDER), GENES) "
                "makes a table of it for the genes you need."
            )
        raise SettingsError(f"--out {out}: the result at {at} is {' or '.join(SUFFIXES[at])}; give a name that ends so.")


def _events(
    run_dir: Path, read: Callable[[], Section], out: Path, at: str, spacing_um: float, rule: str, tile_by_tile: bool, background: bool
) -> Generator[Event, None, Predicted]:
    began = time.monotonic()
    yield Progress("reading", 0, 1)
    section = read()
    yield Progress("reading", 1, 1)
    import torch

    from napari_deepspace.learn.between import predict_between
    from napari_deepspace.learn.denser_write import write_denser
    from napari_deepspace.learn.inference import predict
    from napari_deepspace.learn.model import load_model
    from napari_deepspace.results import SOURCE, write_result

    if background:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    way: Rule = "original" if rule == "original" else "tissue"
    model, run = load_model(run_dir), run_dir.resolve().name
    if out.suffix == STORE:
        where: At = "grid" if at == "grid" else "between-spots"
        yield from write_denser(model, section, out, where, spacing_um, way, run, tile_by_tile)
        n = int(open_denser(out).on_tissue.sum())
    else:
        adata = yield from (predict(model, section, run=run) if at == "spots" else predict_between(model, section, way, run))
        write_result(adata, out)
        n = int((adata.obs[SOURCE] != "removed").sum())
    done = Predicted(str(out), n, time.monotonic() - began)
    yield done
    return done
