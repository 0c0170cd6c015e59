"""Scores of several runs side by side, with what has to be known before they may be compared. No torch, no Qt."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from napari_deepspace.errors import DataError
from napari_deepspace.results import MEASURED, PREDICTED, SPLIT, TARGET, UNS
from napari_deepspace.run_list import read_metrics, run_name
from napari_deepspace.runs import PREDICTIONS

ABOUT = ("section", "n", "split", "panel", "normalisation")
"""The rows above the scores."""


def compare_runs(run_dirs: Sequence[Path]) -> pd.DataFrame:
    """Genes x runs of r, below rows that say what the scores are of: :data:`ABOUT`, the mean, and the mean of each baseline.

    A run of several sections has a column for each. ``attrs["note"]`` says whether the runs were scored in the same way, on the same spots and
    over the same genes.

    Raises
    ------
    DataError
        A run holds no scores.
    """
    columns: dict[str, dict[str, Any]] = {}
    spots: dict[str, frozenset[str] | None] = {}
    for run_dir in map(Path, run_dirs):
        sections = {name: one for name, one in read_metrics(run_dir).get("sections", {}).items() if one.get("n_spots")}
        if not sections:
            raise DataError(f"{run_name(run_dir)} holds no scores yet. Compare runs that are finished and held spots back.")
        for library_id, scores in sections.items():
            title = _free(run_name(run_dir) + (f" · {library_id}" if len(sections) > 1 else ""), columns)
            columns[title] = _column(library_id, scores)
            spots[title] = scored_spots(run_dir, library_id)
    table = pd.DataFrame(columns, dtype=object)
    head = [row for row in dict.fromkeys(itertools.chain.from_iterable(columns.values())) if row in ABOUT or row.startswith("mean")]
    table = table.reindex([*head, *(row for row in table.index if row not in head)])
    table.attrs["note"] = _note(columns, spots)
    table.attrs["about"] = len(head)
    return table


def scored_spots(run_dir: Path, library_id: str) -> frozenset[str] | None:
    """Barcodes of the spots that a run's score for a section is of; None where its predictions are gone."""
    for path in sorted((run_dir / PREDICTIONS).glob("*.h5ad")):
        try:
            with h5py.File(path) as file:
                if str(read_elem(file[f"uns/{UNS}/library_id"])) != library_id:
                    continue
                obs, columns = read_elem(file["obs"]), np.flatnonzero(read_elem(file["var"])[TARGET].to_numpy(dtype=bool))
                known = np.ones(len(obs), dtype=bool)
                if len(columns):  # a spot has all of a run's genes or none of them
                    for layer in (MEASURED, PREDICTED):
                        known &= np.isfinite(file[f"layers/{layer}"][:, columns[0]])
        except (OSError, KeyError, ValueError):
            continue
        held_out = obs[SPLIT].astype(str).isin(["test", "none"]).to_numpy()
        return frozenset(obs.index[held_out & known])
    return None


def _column(library_id: str, scores: dict[str, Any]) -> dict[str, Any]:
    mean = {("mean r" if name == "r" else f"mean r of {name}"): value for name, value in (scores.get("mean") or {}).items()}
    about = {"section": library_id, "n": int(scores["n_spots"]), **{key: str(scores.get(key, "")) for key in ABOUT[2:]}}
    return about | mean | {gene: one.get("r") for gene, one in (scores.get("genes") or {}).items()}


def _note(columns: dict[str, dict[str, Any]], spots: dict[str, frozenset[str] | None]) -> str:
    """One or more sentences: what differs, or that nothing does."""
    notes = []
    if len({one["section"] for one in columns.values()}) > 1:
        notes.append("The runs are scored on different sections: their r say more about the sections than about the models.")
    elif None in spots.values():
        notes.append("Predictions of a run are gone, so that nobody can tell whether the runs are scored on the same spots.")
    elif len(set(spots.values())) > 1:
        shared = len(frozenset.intersection(*(one for one in spots.values() if one is not None)))
        notes.append(f"The runs are scored on different spots, of which {shared:,} are shared: their r cannot be compared directly.")
    for key, words in (("split", "splits"), ("normalisation", "scales")):
        if len({one[key] for one in columns.values()}) > 1:
            notes.append(f"The runs have different {words}: their r cannot be compared directly.")
    genes = [{row for row in one if row not in ABOUT and not row.startswith("mean r")} for one in columns.values()]
    if any(one != genes[0] for one in genes):
        shared_genes = len(set.intersection(*genes))
        notes.append(f"The means are over different genes; {shared_genes} genes are in all runs.")
    return " ".join(notes) or f"Same section, same {next(iter(columns.values()))['n']:,} spots, same split, scale and genes: the r can be compared."


def _free(title: str, taken: dict[str, Any]) -> str:
    """``title``, with a number where two runs bear one name."""
    return next(name for number in itertools.count(1) if (name := title if number == 1 else f"{title} ({number})") not in taken)
