"""Scores within compartments: what is left of a map when telling tumour from stroma no longer counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.outlines import inside, read_outlines
from napari_deepspace.preprocess.clusters import given_clusters

CLUSTERS = "clusters"
OUTSIDE = "outside"
LEAST_SPOTS = 3  #: a compartment of fewer has no mean of its own to speak of


def compartments_of(adata: AnnData, wanted: str | Path) -> pd.Series:
    """Which compartment each spot lies in, a Series over ``obs`` with NaN for none.

    ``wanted`` is ``clusters`` (those that came with the section), the name of a column of ``obs``, or a GeoJSON file of outlines, whose classes are
    the compartments; where outlines overlap the first counts, and what lies in none is one compartment more.

    Raises
    ------
    DataError
        There are no clusters, the file cannot be read, or no spot lies in an outline.
    SettingsError
        It is none of these.
    """
    if Path(wanted).suffix.lower() in (".geojson", ".json"):
        return _by_outlines(adata, Path(wanted))
    if str(wanted) in adata.obs:
        return adata.obs[str(wanted)]
    if str(wanted) != CLUSTERS:
        there = ", ".join(map(str, adata.obs.columns[:12]))
        raise SettingsError(f"{wanted} is no column of obs and no GeoJSON file. Give clusters, a file of outlines, or one of: {there}.")
    clusters = given_clusters(adata)
    if clusters is None:
        raise DataError("No clusters came with this section. Give a GeoJSON file of outlines or a column of obs as compartments.")
    return clusters


def _by_outlines(adata: AnnData, file: Path) -> pd.Series:
    labels = np.full(adata.n_obs, OUTSIDE, dtype=object)
    centres_yx = np.asarray(adata.obsm["spatial"], dtype=np.float64)[:, ::-1]
    for outline in reversed(read_outlines(file)):
        labels[inside([outline], centres_yx)] = outline.classification or outline.name or "unnamed"
    if (labels == OUTSIDE).all():
        raise DataError(f"No spot lies in an outline of {file}. Take the outlines of this section, in full-resolution pixels.")
    return pd.Series(labels, index=adata.obs_names)


def within(values: np.ndarray, labels: pd.Series | np.ndarray) -> np.ndarray:
    """``values`` (n, n_outputs) less their mean over the spot's own compartment; NaN for spots without one, or in one of fewer than LEAST_SPOTS."""
    codes = pd.Categorical(np.asarray(labels, dtype=object)).codes
    out = np.full(values.shape, np.nan)
    for code in np.unique(codes[codes >= 0]):
        rows = codes == code
        if rows.sum() < LEAST_SPOTS:
            continue
        some = values[rows].astype(np.float64)
        there = np.isfinite(some)
        out[rows] = some - np.where(there, some, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return out
