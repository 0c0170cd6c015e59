"""Score a result: out-of-fold spots only, never a bare r."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from napari_deepspace import results
from napari_deepspace.analyse.metrics import chance_r, mean_r, pearson, rmse
from napari_deepspace.errors import ModelError
from napari_deepspace.events import result_of
from napari_deepspace.preprocess.filters import filter_spots, spot_table
from napari_deepspace.preprocess.normalise import normalised
from napari_deepspace.section import Section, spot_fingerprints
from napari_deepspace.settings import NORMALISATIONS, FilterSettings


def evaluate(result: AnnData | Path | str, section: Section | None = None) -> dict[str, Any]:
    """Compare predicted with measured at spots the model was not trained on.

    ``result`` is an AnnData or .h5ad of :mod:`napari_deepspace.results`; ``section`` gives the measurements where the result has none.
    Training, validation and guard spots are left out, also when the section has come back under another name, and so are spots that
    failed the filter.

    Returns a dict fit for JSON: the split, panel, normalisation, number of spots; per gene and as a mean: r over all spots put together,
    mean and SD of r over folds, RMSE, and r of each baseline at the same spots. An undefined r is None and counts as 0 in the mean.

    Raises
    ------
    ModelError
        The result holds no predictions, no measurements, or no spot that may be scored.
    """
    adata = results.read_result(Path(result)) if isinstance(result, (str, Path)) else result
    results.require_result(adata, "The AnnData")
    about = adata.uns[results.UNS]
    genes = [str(gene) for gene in about["genes"]]
    columns = adata.var_names.get_indexer(genes)
    measured, seen_again = _measured(adata, section, genes, columns)
    parts = adata.obs[results.SPLIT].astype(str).to_numpy()
    predicted = np.isfinite(np.asarray(adata.layers[results.PREDICTED])[:, columns]).any(axis=1)
    scored = np.isin(parts, ("test", "none")) & np.isfinite(measured).any(axis=1) & predicted & ~seen_again
    n = int(scored.sum())
    fold = adata.obs[results.FOLD].to_numpy()
    shown = {"r": np.asarray(adata.layers[results.PREDICTED])[:, columns]}
    shown |= {name: np.asarray(adata.obsm[slot]) for name, slot in results.BASELINES.items() if slot in adata.obsm}
    shown = {name: values for name, values in shown.items() if name == "r" or np.isfinite(values[scored]).any()}
    r = {name: pearson(measured[scored], values[scored]) for name, values in shown.items()}
    by_fold = [pearson(measured[scored & (fold == k)], shown["r"][scored & (fold == k)]) for k in np.unique(fold[scored & (fold >= 0)])]
    error = rmse(measured[scored], shown["r"][scored])
    return {
        "research_use_only": True,
        "synthetic": bool(about.get("synthetic", False)),
        "library_id": str(about.get("library_id", "")),
        "model": str(about.get("model", "")),
        "run": str(about.get("run", "")),
        "split": _split_words(about, parts, scored),
        "panel": str(about.get("panel", "")),
        "normalisation": str(about.get("unit", "")),
        "training_sections": [str(name) for name in about.get("training_sections", [])],
        "n_spots": n,
        "training_spots_left_out": int(np.isin(parts, ("training", "validation", "guard")).sum() + (seen_again & (parts == "test")).sum()),
        "excluded_spots_left_out": int((parts == "excluded").sum()),
        "chance_r": chance_r(n) if n else None,
        "mean": {name: mean_r(values) for name, values in r.items()} if n else {},
        "mean_over_folds": _over_folds([mean_r(values) for values in by_fold]),
        "genes": {gene: _one_gene(k, n, r, by_fold, error) for k, gene in enumerate(genes)} if n else {},
    }


def require_scored(scores: dict[str, Any]) -> dict[str, Any]:
    """``scores`` as they are, or ModelError where no spot could be scored."""
    if not scores["n_spots"]:
        raise ModelError(
            f"No spot of {scores['library_id']} can be scored: {scores['training_spots_left_out']} were used for training and "
            f"{scores['excluded_spots_left_out']} failed the filter. Give a section the model was not trained on, or train with folds (split.kind)."
        )
    return scores


def _measured(adata: AnnData, section: Section | None, genes: list[str], columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measured values (n, n_genes) on the scale of the predictions, and which spots the section's counts show to be training spots."""
    again = np.zeros(adata.n_obs, dtype=bool)
    if section is not None:
        counts = section.require_counts()
        row = counts.obs_names.get_indexer(adata.obs_names)
        if (row < 0).all():
            raise ModelError(f"None of the result's barcodes is in {section.library_id}. Give the section the predictions were made for.")
        known = np.isin(spot_fingerprints(counts), np.asarray(adata.uns[results.UNS].get("training_spots", []), dtype=np.uint64))
        held_out = adata.obs[results.FOLD].to_numpy() >= 0
        again[row >= 0] = known[row[row >= 0]]
        again &= ~held_out
        about = adata.uns[results.UNS]
        verdict = filter_spots(spot_table(counts), FilterSettings.model_validate_json(str(about.get("filter") or "{}")))
        kept = np.isin(np.arange(counts.n_obs), row[adata.obs[results.REASON].astype(str).to_numpy() == ""]) & verdict.keep
        fit_on = kept if kept.sum() >= 10 else np.ones(counts.n_obs, dtype=bool)
        kind, target_sum = str(about.get("normalisation")), float(about["target_sum"])
        kind = kind if kind in NORMALISATIONS else "log"  # older results say the unit there
        values = result_of(normalised(counts, genes, kind, fit_on, target_sum=target_sum, of=section.library_id))
        measured = np.full((adata.n_obs, len(genes)), np.nan, dtype=np.float32)
        here = (row >= 0) & verdict.keep[row]
        measured[here] = values[row[here]]
        return measured, again
    if results.MEASURED not in adata.layers:
        raise ModelError(
            "The result has no measured values to compare with. Give the section with its counts: napari-deepspace evaluate OUT.h5ad SECTION."
        )
    return np.asarray(adata.layers[results.MEASURED])[:, columns], again


def _split_words(about: dict[str, Any], parts: np.ndarray, scored: np.ndarray) -> str:
    if not scored.any():
        return "no spot to score"
    if str(about.get("library_id")) in {str(name) for name in about.get("training_sections", [])} or (parts == "guard").any():
        return str(about.get("split", ""))
    return f"another section than those trained on ({', '.join(str(name) for name in about.get('training_sections', []))}); patient not checked"


def _over_folds(values: list[float]) -> dict[str, float] | None:
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, "folds": len(values)} if values else None


def _one_gene(k: int, n: int, r: dict[str, np.ndarray], by_fold: list[np.ndarray], error: np.ndarray) -> dict[str, Any]:
    folds = np.array([values[k] for values in by_fold])
    folds = folds[np.isfinite(folds)]
    one: dict[str, Any] = {name: float(values[k]) for name, values in r.items()}
    return {**one, "n": n, "rmse": float(error[k]), "folds": _over_folds(folds.tolist())}
