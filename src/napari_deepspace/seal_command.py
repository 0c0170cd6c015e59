"""What ``napari-deepspace seal`` and ``unseal`` do: seal before the first run, open once with one run."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from anndata.io import read_elem

from napari_deepspace.errors import DataError, ModelError
from napari_deepspace.events import Event
from napari_deepspace.run_list import frozen_settings, read_metrics, run_name, section_places
from napari_deepspace.runs import PREDICTIONS, SETTINGS
from napari_deepspace.seal import Seal, What, make_seal, read_seal, record_opening, sealed_spots, write_seal
from napari_deepspace.section import Section, section_fingerprint, spot_fingerprints

if TYPE_CHECKING:
    from napari_deepspace.learn.model import TrainedModel


def seal_section(section: Section, out: Path, what: What, share: float, seed: int, runs: Sequence[Path]) -> Seal:
    """Seal spots of ``section`` and write the seal to ``out``.

    Raises
    ------
    DataError
        Runs in the folders ``runs`` know the section already, or ``out`` exists.
    SettingsError
        ``share`` is not between 0 and 1.
    """
    seal = make_seal(section, what, share, seed)
    known = [run_name(run_dir) for folder in runs for run_dir in runs_that_know(section, folder)]
    if known:
        names = ", ".join(known[:4]) + (f" and {len(known) - 4} more" if len(known) > 4 else "")
        raise DataError(
            f"{section.library_id} cannot be sealed any more: {names} {'was' if len(known) == 1 else 'were'} trained on it, or will be, "
            "and what a run has seen is no hold-out. Seal a section before its first run."
        )
    write_seal(seal, out)
    return seal


def runs_that_know(section: Section, folder: Path) -> list[Path]:
    """Runs in ``folder``, a project or a search that were or will be trained on ``section``: told by its path, or by the counts of their training
    spots."""
    prints, whole = spot_fingerprints(section.adata), section_fingerprint(section.adata)
    prints = prints[prints != 0]
    found = []
    for run_dir in sorted(path.parent for depth in ("*", "*/*", "*/*/*") for path in Path(folder).glob(f"{depth}/{SETTINGS}")):
        if frozen_settings(run_dir) is None:
            continue
        same_path = section.path is not None and not _places(section.path).isdisjoint(section_places(run_dir))
        if same_path or whole in read_metrics(run_dir).get("section_fingerprints", []) or np.isin(_training_spots(run_dir), prints).any():
            found.append(run_dir)
    return found


def _places(path: Path) -> set[Path]:
    path = path.resolve()
    return {path.parent if path.name == "outs" else path}


def _training_spots(run_dir: Path) -> np.ndarray:
    """Fingerprints of the spots that a finished run has learned from; empty where there is no result."""
    for path in sorted((run_dir / PREDICTIONS).glob("*.h5ad")):
        try:
            with h5py.File(path) as file:
                return np.asarray(read_elem(file["uns/deepspace/training_spots"]), dtype=np.uint64)
        except (OSError, KeyError, ValueError, TypeError):
            continue
    return np.zeros(0, dtype=np.uint64)


def unseal(run_dir: Path, section: Section, seal_path: Path) -> Generator[Event, None, dict[str, Any]]:
    """Open a seal, once: predict its spots with a run, score them, write date, run and scores into the seal; returns the scores.

    ``section`` is read without the seal.

    Raises
    ------
    DataError
        The seal was opened before, or is of another section.
    ModelError
        The run was trained on this section without the seal, or nothing can be scored. The seal stays closed.
    """
    from napari_deepspace.analyse.evaluate import evaluate, require_scored
    from napari_deepspace.learn.inference import predict
    from napari_deepspace.learn.model import load_model

    seal = read_seal(seal_path)
    if seal.opened:
        raise DataError(f"{Path(seal_path).name} was {seal.opened_words} already. A seal is opened once: its spots are not unseen any more.")
    model = load_model(run_dir)
    hidden = sealed_spots(seal, section.require_counts(), section.library_id)
    learned = _learned(model, section, seal, run_dir)
    free = replace(model, seen=[replace(seen, sealed=()) for seen in model.seen])
    result = yield from predict(free, section, run=Path(run_dir).resolve().name)
    scores = require_scored(evaluate(_only_sealed(result, section, hidden, learned)))
    other = "" if any(seen.seal == seal.id for seen in model.seen) else f"; {scores['split']}"
    scores["split"] = f"sealed hold-out, {seal.what}, opened once{other}"
    record_opening(seal, seal_path, run_dir, scores)
    return scores


def _learned(model: TrainedModel, section: Section, seal: Seal, run_dir: Path) -> np.ndarray:
    """Spots of ``section`` that the model learned from, bool (n_spots,); raises ModelError where the seal was not kept."""
    from napari_deepspace.learn.inference import matches
    from napari_deepspace.learn.splits import TRAINING, VALIDATION

    learned = np.zeros(section.adata.n_obs, dtype=bool)
    for seen, match in zip(model.seen, matches(section, model), strict=True):
        here = match >= 0
        if here.any() and seen.seal != seal.id:
            raise ModelError(
                f"{run_name(run_dir)} was trained on {section.library_id} without this seal, so that it may have seen the sealed spots. "
                "Open the seal with a run whose settings name it (sections[].sealed)."
            )
        learned[here] |= np.isin(seen.parts[match[here]], (TRAINING, VALIDATION)).any(axis=1)
    return learned


def _only_sealed(result: Any, section: Section, hidden: np.ndarray, learned: np.ndarray) -> Any:
    """The sealed spots of a result as test spots, beside them what the nearest spots that were learned from would say."""
    from napari_deepspace import results
    from napari_deepspace.analyse.baselines import interpolate

    measured = results.values_of(result, results.MEASURED)
    known = learned & ~hidden & (np.isfinite(measured).all(axis=1) if measured is not None else False)
    if measured is not None and known.any():
        values = np.full(measured.shape, np.nan, dtype=np.float32)
        values[hidden] = interpolate(section.centres_yx[known], measured[known], section.centres_yx[hidden])
        result.obsm[results.BASELINES["interpolation"]] = values
    result = result[hidden & (result.obs[results.REASON] == "").to_numpy()].copy()
    result.obs[results.SPLIT] = "test"
    result.obs[results.FOLD] = -1
    return result
