"""The one contract for results, see ``docs/results-format.md``: predictions in scverse slots beside untouched counts."""

from __future__ import annotations

import json
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
from napari_deepspace.target import Target

PREDICTED, MEASURED = "deepspace_predicted", "deepspace_measured"
BASELINES = {
    name: "deepspace_" + name.lower().replace(" ", "_")
    for name in ("mean RGB", "brightness", "nuclear density", "log UMI", "interpolation", "neighbouring section")
}
"""``obsm`` slots of the simple ways' predictions (:data:`napari_deepspace.verdicts.WAYS`), float32 (n_spots, n_outputs).

Ordered as ``uns["deepspace"]["outputs"]``."""
SPLIT, SOURCE, FOLD, REASON, TARGET, CLUSTER, UNS = (
    "deepspace_split", "deepspace_source", "deepspace_fold", "deepspace_reason", "deepspace_target", "deepspace_cluster", "deepspace",
)  # fmt: skip
UNLIKE, DISTANCE = "deepspace_unlike", "deepspace_distance"  #: columns of ``obs``, where the model knows its domain
VERDICT, VERDICTS = "deepspace_verdict", "verdicts"  #: column of ``var``; key of ``uns["deepspace"]`` where what is predicted is no gene
SPLITS = ("training", "validation", "test", "guard", "excluded", "none")
HOLE, IMPUTED, FILLED = "deepspace_hole", "imputed", "deepspace_filled"  #: columns of ``obs``; measured values, and imputed ones where there are none
HOLES = "holes"  #: key of ``uns["deepspace"]``: the holes and their tests, JSON
SOURCES = ("measured", "out-of-fold", "training", "imputed", "between", "removed")


def result_at_spots(section: Section, target: Target, columns: dict[str, np.ndarray], spots: pd.DataFrame, about: dict[str, Any]) -> AnnData:
    """The section's own AnnData with predictions beside its counts.

    ``columns`` maps PREDICTED, MEASURED and slots of baselines to float32 (n_spots, n_outputs); ``spots`` holds the ``deepspace_*`` columns of
    ``obs``. Genes come as layers, what is no gene as a table of ``obsm``.
    Without counts the result has only the predicted genes and ``X`` is None, so that it cannot be mistaken for measured data.
    """
    if section.adata.n_vars == 0:
        return result_at_points(section, target, columns, spots, about, section.adata.obs.copy())
    adata = section.adata.copy()
    genes = target.names if target.kind == "genes" else ()
    index = adata.var_names.get_indexer(list(genes))
    here = index >= 0
    for name, values in columns.items():
        if name in BASELINES.values() or target.kind != "genes":  # only what is predicted: a third and fourth dense layer would not fit a laptop
            _add_table(adata, name, values, target)
            continue
        layer = np.full(adata.shape, np.nan, dtype=np.float32)
        layer[:, index[here]] = values[:, here]
        adata.layers[name] = layer
    adata.var[TARGET] = adata.var_names.isin(list(genes))
    _add_spot_columns(adata, spots)
    adata.uns[UNS] = describe(section, target, about)
    return adata


def result_at_points(
    section: Section,
    target: Target,
    columns: dict[str, np.ndarray],
    spots: pd.DataFrame,
    about: dict[str, Any],
    obs: pd.DataFrame | None = None,
    centres_yx: np.ndarray | None = None,
) -> AnnData:
    """An AnnData of its own for points or for a section without counts: ``X`` is None, values are in ``layers`` or ``obsm`` only."""
    obs = pd.DataFrame(index=spots.index) if obs is None else obs
    genes = list(target.names) if target.kind == "genes" else []
    adata = AnnData(obs=obs, var=pd.DataFrame({TARGET: True}, index=genes))
    _add_spot_columns(adata, spots)
    for name, values in columns.items():
        if name in BASELINES.values() or target.kind != "genes":
            _add_table(adata, name, values, target)
        else:
            adata.layers[name] = values.astype(np.float32)
    centres = section.centres_yx if centres_yx is None else centres_yx
    adata.obsm["spatial"] = np.ascontiguousarray(centres[:, ::-1])
    if "spatial" in section.adata.uns:
        adata.uns["spatial"] = section.adata.uns["spatial"]
    adata.uns[UNS] = describe(section, target, about)
    return adata


def table_of_points(white: np.ndarray) -> pd.DataFrame:
    """The ``deepspace_*`` columns of ``obs`` for points where nothing was measured; ``white`` (bool, n) are those that are not predicted."""
    n = len(white)
    return pd.DataFrame(
        {
            SPLIT: pd.Categorical(["none"] * n, SPLITS),
            SOURCE: pd.Categorical(np.where(white, "removed", "between"), SOURCES),
            FOLD: np.full(n, -1),
            REASON: np.where(white, "white tile or exclude outline", ""),
        },
        index=[f"point{i}" for i in range(n)],
    )


def points_anndata(
    target: Target, outputs: list[str], predicted: np.ndarray, spots: pd.DataFrame, centres_yx: np.ndarray, about: dict[str, Any]
) -> AnnData:
    """Predictions (n, n_outputs) at points as an AnnData without X; of genes only those of ``outputs``. ``about`` becomes ``uns["deepspace"]``."""
    adata = AnnData(obs=pd.DataFrame(index=spots.index), var=pd.DataFrame({TARGET: True}, index=outputs if target.kind == "genes" else []))
    _add_spot_columns(adata, spots)
    if target.kind == "genes":
        adata.layers[PREDICTED] = predicted.astype(np.float32)
    else:
        _add_table(adata, PREDICTED, predicted, target)
    adata.obsm["spatial"] = np.ascontiguousarray(centres_yx[:, ::-1])
    adata.uns[UNS] = {**about, "outputs": np.array(outputs, dtype=object)}
    return adata


def with_points(spots: AnnData, points: AnnData) -> AnnData:
    """One result of a result at spots and one of the same model at points between them: rows of the spots come first, X is None."""
    names = outputs_of(points)
    about = {
        **spots.uns[UNS],
        "contents": f"{spots.uns[UNS]['contents']}; rows whose {SOURCE} is 'between' lie between spots, where nothing was measured",
    }
    genes = target_of(points).kind == "genes"
    obs = pd.concat([spots.obs[[SPLIT, SOURCE, FOLD, REASON]].astype(object), points.obs[[SPLIT, SOURCE, FOLD, REASON]].astype(object)])
    adata = AnnData(obs=pd.DataFrame(index=obs.index), var=pd.DataFrame({TARGET: True}, index=names if genes else []))
    for name, categories in ((SPLIT, SPLITS), (SOURCE, SOURCES)):
        adata.obs[name] = pd.Categorical(obs[name], categories)
    adata.obs[FOLD], adata.obs[REASON] = obs[FOLD].astype(np.int64), obs[REASON].astype(str)
    for name, otherwise in ((UNLIKE, False), (DISTANCE, np.nan), (HOLE, 0), (IMPUTED, False)):
        found = [part.obs[name].to_numpy() if name in part.obs else np.full(part.n_obs, otherwise) for part in (spots, points)]
        if any(name in part.obs for part in (spots, points)):
            adata.obs[name] = np.concatenate(found)
    for name in (PREDICTED, MEASURED, *BASELINES.values()):
        parts = [values_of(part, name) for part in (spots, points)]
        if any(part is not None for part in parts):
            missing = [np.full((part.n_obs, len(names)), np.nan, dtype=np.float32) for part in (spots, points)]
            values = np.concatenate([gap if part is None else part for part, gap in zip(parts, missing, strict=True)])
            if genes and name in (PREDICTED, MEASURED):
                adata.layers[name] = values
            else:
                _add_table(adata, name, values, target_of(points))
    adata.obsm["spatial"] = np.concatenate([spots.obsm["spatial"], points.obsm["spatial"]])
    adata.uns |= {key: spots.uns[key] for key in ("spatial",) if key in spots.uns} | {UNS: about}
    return adata


def _add_table(adata: AnnData, name: str, values: np.ndarray, target: Target) -> None:
    values = values.astype(np.float32)
    adata.obsm[name] = values if target.kind == "genes" else pd.DataFrame(values, index=adata.obs_names, columns=list(target.names))
    if name == PREDICTED and target.kind == "clusters":
        known = np.isfinite(values).all(axis=1)
        likeliest = np.where(known, np.argmax(np.where(known[:, None], values, 0), axis=1), -1)
        adata.obs[CLUSTER] = pd.Categorical.from_codes(likeliest.astype(np.int64), pd.Index(target.names))


def values_of(adata: AnnData, name: str) -> np.ndarray | None:
    """What a result holds under PREDICTED, MEASURED or a baseline's slot: float32 (n_spots, n_outputs), or None."""
    if name in adata.layers:
        at = adata.var_names.get_indexer(pd.Index(outputs_of(adata)))
        return np.where(at >= 0, np.asarray(adata.layers[name][:, at], dtype=np.float32), np.float32(np.nan))  # -1: a gene that the section lacks
    return np.asarray(adata.obsm[name], dtype=np.float32) if name in adata.obsm else None


def outputs_of(adata: AnnData) -> list[str]:
    """Names of what a result predicts, in the model's order."""
    return [str(name) for name in adata.uns[UNS]["outputs"]]


def holes_of(adata: AnnData) -> list[dict[str, Any]]:
    """The table of a result's holes, see :func:`napari_deepspace.analyse.holes.judge_holes`; empty where there are none or nobody looked."""
    return list(json.loads(str(adata.uns[UNS].get(HOLES, "[]"))))


def target_of(adata: AnnData) -> Target:
    """What a result predicts.

    Raises
    ------
    ModelError
        The result does not say it.
    """
    try:
        return Target.from_json(str(adata.uns[UNS]["target"]))
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"The result does not say what it predicts ({type(error).__name__}). Predict again with this version.") from error


def _add_spot_columns(adata: AnnData, spots: pd.DataFrame) -> None:
    for name in (SPLIT, SOURCE, FOLD, REASON, UNLIKE, DISTANCE):
        if name in spots:
            adata.obs[name] = spots[name].array


def describe(section: Section, target: Target, about: dict[str, Any]) -> dict[str, Any]:
    """What ``uns["deepspace"]`` says of a result."""
    slot = "layers" if target.kind == "genes" else "obsm"
    return {
        "version": __version__,
        "research_use_only": True,
        "contents": f"{slot}['{PREDICTED}'] is predicted from {about.get('looks_at', 'the H&E image')}, not measured",
        "library_id": section.library_id,
        "target": target.to_json(),
        "outputs": np.array(target.names, dtype=object),
        "patient": section.patient or "",
        "block": section.block or "",
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
    predicted = PREDICTED in adata.layers or PREDICTED in adata.obsm
    if UNS not in adata.uns or "outputs" not in adata.uns[UNS] or not predicted or SPLIT not in adata.obs:
        raise ModelError(
            f"{where} holds no predictions of napari-deepspace. Make them with `napari-deepspace predict RUN_DIR SECTION --out OUT.h5ad`."
        )
