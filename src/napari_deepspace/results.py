"""The one contract for results, see ``docs/results-format.md``: predictions in scverse slots beside untouched counts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData

from napari_deepspace import __version__
from napari_deepspace.errors import ModelError
from napari_deepspace.section import Section

PREDICTED, MEASURED = "deepspace_predicted", "deepspace_measured"
BASELINES = {"mean RGB": "deepspace_mean_rgb", "interpolation": "deepspace_interpolation"}
"""``obsm`` slots of the simple ways' predictions, float32 (n_spots, n_predicted_genes), ordered as ``uns["deepspace"]["genes"]``."""
SPLIT, SOURCE, FOLD, REASON, TARGET, UNS = (
    "deepspace_split", "deepspace_source", "deepspace_fold", "deepspace_reason", "deepspace_target", "deepspace",
)  # fmt: skip
SOURCES = ("measured", "out-of-fold", "training", "imputed", "between", "removed")


def result_at_spots(
    section: Section,
    genes: tuple[str, ...],
    columns: dict[str, np.ndarray],
    spots: pd.DataFrame,
    about: dict[str, Any],
) -> AnnData:
    """The section's own AnnData with predictions beside its counts.

    ``columns`` maps the name of a layer, or of a baseline's ``obsm`` slot, to float32 (n_spots, n_genes); ``spots`` holds the
    ``deepspace_*`` columns of ``obs``.
    Without counts the result has only the predicted genes and ``X`` is None, so that it cannot be mistaken for measured data.
    """
    if section.adata.n_vars == 0:
        return result_at_points(section, genes, columns, spots, about, section.adata.obs.copy())
    adata = section.adata.copy()
    index = adata.var_names.get_indexer(list(genes))
    here = index >= 0
    for name, values in columns.items():
        if name in BASELINES.values():  # only the predicted genes: a third and fourth dense layer would not fit a laptop
            adata.obsm[name] = values.astype(np.float32)
            continue
        layer = np.full(adata.shape, np.nan, dtype=np.float32)
        layer[:, index[here]] = values[:, here]
        adata.layers[name] = layer
    adata.var[TARGET] = adata.var_names.isin(list(genes))
    _add_spot_columns(adata, spots)
    _describe(adata, section, genes, about)
    return adata


def result_at_points(
    section: Section,
    genes: tuple[str, ...],
    columns: dict[str, np.ndarray],
    spots: pd.DataFrame,
    about: dict[str, Any],
    obs: pd.DataFrame | None = None,
    centres_yx: np.ndarray | None = None,
) -> AnnData:
    """An AnnData of its own for points or for a section without counts: ``X`` is None, values are in ``layers`` only."""
    obs = pd.DataFrame(index=spots.index) if obs is None else obs
    adata = AnnData(obs=obs, var=pd.DataFrame({TARGET: True}, index=list(genes)))
    _add_spot_columns(adata, spots)
    for name, values in columns.items():
        (adata.obsm if name in BASELINES.values() else adata.layers)[name] = values.astype(np.float32)
    centres = section.centres_yx if centres_yx is None else centres_yx
    adata.obsm["spatial"] = np.ascontiguousarray(centres[:, ::-1])
    if "spatial" in section.adata.uns:
        adata.uns["spatial"] = section.adata.uns["spatial"]
    _describe(adata, section, genes, about)
    return adata


def _add_spot_columns(adata: AnnData, spots: pd.DataFrame) -> None:
    for name in (SPLIT, SOURCE, FOLD, REASON):
        adata.obs[name] = spots[name].array


def _describe(adata: AnnData, section: Section, genes: tuple[str, ...], about: dict[str, Any]) -> None:
    adata.uns[UNS] = {
        "version": __version__,
        "research_use_only": True,
        "contents": f"layers['{PREDICTED}'] is predicted from the H&E image, not measured",
        "library_id": section.library_id,
        "genes": np.array(genes, dtype=object),
        "mpp": section.mpp,
        "spot_diameter_um": section.platform.spot_diameter_um,
        **about,
        "synthetic": bool(section.synthetic or about.get("synthetic", False)),
    }


def write_result(adata: AnnData, path: Path) -> None:
    """Write ``path`` (.h5ad), beside and renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part.h5ad")
    try:
        adata.write_h5ad(beside, compression="gzip")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_result(path: Path) -> AnnData:
    """Read a result file.

    Raises
    ------
    ModelError
        The file is no readable .h5ad, or holds no predictions of this program.
    """
    try:
        adata = anndata.read_h5ad(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} cannot be read as .h5ad ({type(error).__name__}). Give a file written by `napari-deepspace predict` or a run."
        ) from error
    require_result(adata, str(path))
    return adata


def require_result(adata: AnnData, where: str) -> None:
    """Raise ModelError unless ``adata`` holds predictions of this program."""
    if UNS not in adata.uns or PREDICTED not in adata.layers or SPLIT not in adata.obs:
        raise ModelError(
            f"{where} holds no predictions of napari-deepspace. Make them with `napari-deepspace predict RUN_DIR SECTION --out OUT.h5ad`."
        )
