"""Score a result: out-of-fold spots only, never a bare r."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from napari_deepspace import results
from napari_deepspace.analyse.bands import judge_bands
from napari_deepspace.analyse.ceiling import ceiling
from napari_deepspace.analyse.metrics import auc, chance_r, classification, in_chunks, mean_r, pearson, rmse
from napari_deepspace.analyse.panel import Panel, judge_panel
from napari_deepspace.analyse.within import CLUSTERS, compartments_of
from napari_deepspace.errors import ModelError
from napari_deepspace.events import result_of
from napari_deepspace.preprocess.clusters import given_clusters
from napari_deepspace.preprocess.filters import filter_spots, spot_table
from napari_deepspace.section import Origin, Section, kinship, spot_fingerprints
from napari_deepspace.settings import FilterSettings
from napari_deepspace.target import Target
from napari_deepspace.target import measured as measured_values


def evaluate(
    result: AnnData | Path | str,
    section: Section | None = None,
    compartments: str | Path | None = None,
    patient: str | None = None,
    block: str | None = None,
) -> dict[str, Any]:
    """Compare predicted with measured at spots the model was not trained on.

    ``result`` is an AnnData or .h5ad of :mod:`napari_deepspace.results`; ``section`` gives the measurements where the result has none.
    Training, validation and guard spots are left out, also when the section has come back under another name, and so are spots that
    failed the filter. ``patient`` and ``block`` are those of the section, where neither it nor the result says so: they decide what is said of a
    section that was not trained on. ``compartments`` (see :func:`within.compartments_of`) names what scores within compartments go by:
    ``clusters``, a GeoJSON file of outlines, or a column of ``obs``; left out, the clusters that came with the section, if any.

    Returns a dict fit for JSON: the split, panel, normalisation, number of spots; per gene and as a mean: r over all spots put together,
    mean and SD of r over folds, RMSE, and r of each baseline at the same spots. An undefined r is None and counts as 0 in the mean.
    For clusters the AUC of each against all others stands in place of r, and ``classification`` holds the rest. Intervals, differences, significance,
    ceiling, Moran's I, scores within compartments and verdicts are described in docs/results-format.md.

    Raises
    ------
    ModelError
        The result holds no predictions or no measurements.
    DataError, SettingsError
        The compartments cannot be had.
    """
    adata = results.read_result(Path(result)) if isinstance(result, (str, Path)) else result
    results.require_result(adata, "The AnnData")
    about, target = adata.uns[results.UNS], results.target_of(adata)
    measured, seen_again = _measured(adata, section, target)
    labels = _labels(adata, section, compartments)
    parts = adata.obs[results.SPLIT].astype(str).to_numpy()
    predicted = results.values_of(adata, results.PREDICTED)
    assert predicted is not None
    scored = np.isin(parts, ("test", "none")) & np.isfinite(measured).any(axis=1) & np.isfinite(predicted).any(axis=1) & ~seen_again
    n = int(scored.sum())
    fold = adata.obs[results.FOLD].to_numpy()[scored]
    shown = {target.score: predicted[scored]}
    shown |= {name: values[scored] for name, slot in results.BASELINES.items() if (values := results.values_of(adata, slot)) is not None}
    shown = {name: values for name, values in shown.items() if name == target.score or np.isfinite(values).any()}
    measured, predicted = measured[scored], shown[target.score]
    number, mean = (auc, _mean_auc) if target.kind == "clusters" else (pearson, mean_r)
    score = {name: in_chunks(number, measured, values) for name, values in shown.items()}
    by_fold = [in_chunks(number, measured[fold == k], predicted[fold == k]) for k in np.unique(fold[fold >= 0])]
    error = in_chunks(rmse, measured, predicted)
    band, held = judge_bands(about, measured, predicted, unseen=bool((fold < 0).all()))
    top: dict[str, Any] = {}
    more: list[dict[str, Any]] = []
    if n:
        ceilings, detected = _of_counts(adata, section, target, scored)
        if target.kind == "clusters":
            detected = (measured > 0.5).mean(axis=0)
        centres_um = np.asarray(adata.obsm["spatial"], dtype=np.float64)[scored] * float(about["mpp"])
        inner, name = (None, "") if labels is None else (labels[scored], str(compartments or CLUSTERS))
        top, more = judge_panel(Panel(measured, shown, target.score, centres_um, ceilings, detected, inner, name), score)
    return {
        "research_use_only": True,
        "synthetic": bool(about.get("synthetic", False)),
        "library_id": str(about.get("library_id", "")),
        "model": str(about.get("model", "")),
        "run": str(about.get("run", "")),
        "target": target.kind,
        "score": target.score,
        "split": _split_words(about, parts, scored, *_origin(section, patient, block)),
        "panel": target.panel,
        "normalisation": target.unit,
        "training_sections": [str(name) for name in about.get("training_sections", [])],
        "n_spots": n,
        "training_spots_left_out": int(np.isin(parts, ("training", "validation", "guard")).sum() + (seen_again & (parts == "test")).sum()),
        "excluded_spots_left_out": int((parts == "excluded").sum()),
        "chance_r": chance_r(n) if n else None,
        "mean": {name: mean(values) for name, values in score.items()} if n else {},
        "mean_over_folds": _over_folds([mean(values) for values in by_fold]),
        **top,
        "band": band,
        "genes": {name: _one_output(k, n, score, by_fold, error, held) | more[k] for k, name in enumerate(target.names)} if n else {},
        "holes": results.holes_of(adata),
        **(_classified(target, measured, predicted) if n and target.kind == "clusters" else {}),
    }


def _labels(adata: AnnData, section: Section | None, compartments: str | Path | None) -> np.ndarray | None:
    """The compartment of each spot of the result, object (n_spots,); None where none are asked for and no clusters came."""
    wanted = compartments or CLUSTERS
    table = adata
    if section is not None and (wanted in section.adata.obs or (str(wanted) == CLUSTERS and given_clusters(adata) is None)):
        table = section.adata
    if compartments is None and given_clusters(table) is None:
        return None
    return np.asarray(compartments_of(table, wanted).reindex(adata.obs_names), dtype=object)


def _of_counts(adata: AnnData, section: Section | None, target: Target, scored: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Ceiling and share of the scored spots that detect it, each (n_outputs,), from the section's counts or the result's own; None without counts."""
    counts = adata if section is None else section.require_counts()
    if counts.X is None or counts.n_vars == 0 or target.kind not in ("genes", "signatures"):
        return None, None
    row = counts.obs_names.get_indexer(adata.obs_names)[scored]
    row = row[row >= 0]
    detected = None
    if target.kind == "genes" and len(row):
        columns = counts.var_names.get_indexer(list(target.names))
        seen = np.asarray((counts.X[row][:, columns] > 0).mean(axis=0)).ravel()
        detected = np.where(columns >= 0, seen, np.nan)
    return ceiling(counts, row, target), detected


def _classified(target: Target, measured: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    return {"classification": {"clusters": list(target.names)} | classification(measured, predicted)}


def _mean_auc(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def require_scored(scores: dict[str, Any]) -> dict[str, Any]:
    """``scores`` as they are, or ModelError where no spot could be scored."""
    if not scores["n_spots"]:
        raise ModelError(
            f"No spot of {scores['library_id']} can be scored: {scores['training_spots_left_out']} were used for training and "
            f"{scores['excluded_spots_left_out']} failed the filter. Give a section the model was not trained on, or train with folds (split.kind)."
        )
    return scores


def _measured(adata: AnnData, section: Section | None, target: Target) -> tuple[np.ndarray, np.ndarray]:
    """Measured values (n, n_outputs) on the scale of the predictions, and which spots the section's counts show to be training spots."""
    again = np.zeros(adata.n_obs, dtype=bool)
    if section is None:
        values = results.values_of(adata, results.MEASURED)
        if values is None:
            raise ModelError(
                "The result has no measured values to compare with. Give the section with its counts: napari-deepspace evaluate OUT.h5ad SECTION."
            )
        return values, again
    counts = section.require_counts()
    row = counts.obs_names.get_indexer(adata.obs_names)
    if (row < 0).all():
        raise ModelError(f"None of the result's barcodes is in {section.library_id}. Give the section the predictions were made for.")
    about = adata.uns[results.UNS]
    known = np.isin(spot_fingerprints(counts), np.asarray(about.get("training_spots", []), dtype=np.uint64))
    again[row >= 0] = known[row[row >= 0]]
    again &= ~(adata.obs[results.FOLD].to_numpy() >= 0)
    verdict = filter_spots(spot_table(counts), FilterSettings.model_validate_json(str(about.get("filter") or "{}")))
    kept = np.isin(np.arange(counts.n_obs), row[adata.obs[results.REASON].astype(str).to_numpy() == ""]) & verdict.keep
    fit_on = kept if kept.sum() >= 10 else np.ones(counts.n_obs, dtype=bool)
    values = result_of(measured_values(target, counts, fit_on, of=section.library_id))
    out = np.full((adata.n_obs, len(target.names)), np.nan, dtype=np.float32)
    here = (row >= 0) & verdict.keep[row]
    out[here] = values[row[here]]
    return out, again


def _origin(section: Section | None, patient: str | None, block: str | None) -> tuple[str | None, str | None]:
    return (patient, block) if section is None else (patient or section.patient, block or section.block)


def _split_words(about: dict[str, Any], parts: np.ndarray, scored: np.ndarray, patient: str | None, block: str | None) -> str:
    if not scored.any():
        return "no spot to score"
    if str(about.get("library_id")) in {str(name) for name in about.get("training_sections", [])} or (parts == "guard").any():
        return str(about.get("split", ""))
    names = [str(name) for name in about.get("training_sections", [])]
    unknown = [""] * len(names)  # results written before patients were kept
    patients, blocks = (about.get(f"training_{what}", unknown) for what in ("patients", "blocks"))
    trained = [Origin(name, str(whose) or None, str(cut) or None) for name, whose, cut in zip(names, patients, blocks, strict=True)]
    own = Origin(str(about.get("library_id")), patient or str(about.get("patient", "")) or None, block or str(about.get("block", "")) or None)
    return f"another section than those trained on ({', '.join(names)}): {kinship(own, trained)}"


def _over_folds(values: list[float]) -> dict[str, float] | None:
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, "folds": len(values)} if values else None


def _one_output(
    k: int, n: int, score: dict[str, np.ndarray], by_fold: list[np.ndarray], error: np.ndarray, held: np.ndarray | None
) -> dict[str, Any]:
    folds = np.array([values[k] for values in by_fold])
    folds = folds[np.isfinite(folds)]
    one: dict[str, Any] = {name: float(values[k]) for name, values in score.items()}
    one |= {} if held is None else {"band_held": float(held[k])}
    return {**one, "n": n, "rmse": float(error[k]), "folds": _over_folds(folds.tolist())}
