"""`napari-deepspace impute`: a result to go on with, measured where it was measured and imputed where it was not."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from napari_deepspace import results
from napari_deepspace.analyse.holes import fill
from napari_deepspace.events import Event
from napari_deepspace.learn import inference
from napari_deepspace.learn.model import TrainedModel, load_model
from napari_deepspace.section import Section, kinship
from napari_deepspace.verdicts import WAYS


def impute(run_dir: Path, section: Section) -> Generator[Event, None, AnnData]:
    """As :func:`napari_deepspace.learn.inference.predict` at the spots of ``section``, with the layer ``deepspace_filled`` of :func:`holes.fill`.

    A section without counts is imputed whole. Holes of one with counts are filled where they passed their test, see :func:`holes.judge_holes`.

    Raises
    ------
    DataError, ModelError
        The section has no slide, or ``run_dir`` no finished run.
    """
    model = load_model(run_dir)
    adata = yield from inference.predict(model, section, run=Path(run_dir).resolve().name)
    fill(adata)
    adata.uns[results.UNS]["tested"] = tested_words(model, section)
    return adata


def summary(adata: AnnData) -> str:
    """How many spots are measured, imputed, and neither."""
    filled = results.values_of(adata, results.FILLED)
    assert filled is not None
    has, imputed = np.isfinite(filled).any(axis=1), adata.obs[results.IMPUTED].to_numpy(dtype=bool)
    return f"{int((has & ~imputed).sum())} spots measured, {int(imputed.sum())} imputed, {int((~has).sum())} left empty"


def copy_words(adata: AnnData, aligned: Path | None) -> str:
    """At how many spots the neighbouring section, copied, stands beside the prediction; why not, where ``aligned`` was given; else ""."""
    copy = adata.obsm.get(results.BASELINES["neighbouring section"])
    if copy is not None:
        return f"The neighbouring section, copied, stands beside it at {int(np.isfinite(copy).all(axis=1).sum())} spots"
    if aligned is None:
        return ""
    return f"No copy of a neighbouring section: no section of the run lies in the frame of {aligned}. Train with sections[].aligned of the same file"


def tested_words(model: TrainedModel, section: Section) -> str:
    """What the model scored at spots of its own sections that it was not trained on, and how ``section`` is related to them."""
    parts = []
    for name, scores in model.scores.items():
        mean: dict[str, Any] = {way: value for way, value in scores["mean"].items() if value is not None}
        if mean:
            words = ", ".join(f"{WAYS.get(way, way)} {value:.2f}" for way, value in mean.items())
            parts.append(f"{name}: {words} at {scores['n_spots']} spots ({scores['split']})")
    related = "" if any(inference.same_section(seen, section) for seen in model.seen) else kinship(section.origin, [s.origin for s in model.seen])
    tested = "; ".join(parts) or "the run scored no spot"
    return f"tested in training: {tested}" + (f". This section is {related}" if related else "")
