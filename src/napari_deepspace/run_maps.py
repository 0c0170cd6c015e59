"""The predictions of a finished run at the spots of one section, read without torch and without the counts that lie beside them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem

from napari_deepspace.errors import ModelError
from napari_deepspace.gene_scores import read_scores
from napari_deepspace.layers import Maps, maps_of_result
from napari_deepspace.results import BASELINES, MEASURED, PREDICTED, TARGET, UNS, require_result
from napari_deepspace.runs import METRICS, PREDICTIONS
from napari_deepspace.section import Section
from napari_deepspace.verdicts import SHOWN_WAYS

_ROWS = 256  # read at a time
_MANY = 40_000_000
"""Values of one table (160 MB) from which on the simple ways' maps stay on disk: a laptop holds the model's and the measured one."""


def read_maps(file: Path, section: Section, scores: dict[str, Any]) -> Maps:
    """The predictions of a run's result file for ``section``, with their scores.

    Raises
    ------
    ModelError
        The file is no result.
    """
    return dataclasses.replace(maps_of_result(read_targets(file), section), scores=read_scores(scores))


def maps_of_run(run_dir: Path, section: Section) -> Maps | None:
    """The predictions that a finished run holds for ``section``, or None."""
    path = result_file(run_dir, section.library_id)
    if path is None:
        return None
    file = run_dir / METRICS
    sections = json.loads(file.read_text(encoding="utf-8")).get("sections", {}) if file.is_file() else {}
    return read_maps(path, section, sections.get(section.library_id, {}))


def result_file(run_dir: Path, library_id: str) -> Path | None:
    """The run's result file for the section of that name, or None. Raises ModelError where a file is no result."""
    return next((path for path in sorted((Path(run_dir) / PREDICTIONS).glob("*.h5ad")) if _library_id(path) == library_id), None)


def _library_id(path: Path) -> str:
    try:
        with h5py.File(path) as file:
            return str(read_elem(file[f"uns/{UNS}/library_id"]))
    except (OSError, KeyError, ValueError, TypeError, AttributeError):
        return str(read_targets(path).uns[UNS].get("library_id"))  # which says what is wrong with the file


def read_spots(path: Path) -> pd.DataFrame:
    """The ``obs`` of a result file that was read before, without its tables of values."""
    with h5py.File(path) as file:
        return read_elem(file["obs"])


def read_targets(path: Path) -> AnnData:
    """A result file with its predicted genes alone: spots x predicted genes, without counts; of the simple ways those that can be painted.

    The whole file holds several tables of all genes, gigabytes for a full section; the window needs a few columns of one of them.

    Raises
    ------
    ModelError
        The file is no result.
    """
    try:
        with h5py.File(path) as file:
            obs, var, uns = (read_elem(file[name]) for name in ("obs", "var", "uns"))
            columns = np.flatnonzero(var[TARGET].to_numpy(dtype=bool))
            layers = {name: _columns(file[f"layers/{name}"], columns) for name in (PREDICTED, MEASURED) if f"layers/{name}" in file}
            ways = [BASELINES[way] for way in SHOWN_WAYS] if len(obs) * len(columns) < _MANY else []
            tables = {name: read_elem(file[f"obsm/{name}"]) for name in (PREDICTED, MEASURED, *ways) if f"obsm/{name}" in file}
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} holds no predictions that can be read ({type(error).__name__}: {error}). Train again, or open another run."
        ) from error
    result = AnnData(obs=obs, var=var.iloc[columns], uns=uns, layers=layers, obsm=tables)
    require_result(result, str(path))
    return result


def _columns(layer: h5py.Dataset, columns: np.ndarray) -> np.ndarray:
    values = np.empty((layer.shape[0], len(columns)), dtype=np.float32)
    for top in range(0, layer.shape[0], _ROWS):
        values[top : top + _ROWS] = layer[top : top + _ROWS][:, columns]
    return values
