"""What is predicted: which outputs, and how their measured values are come by at the spots of any section. No torch here.

Every kind gives an array of numbers, one row a spot and one column an output:

| kind | outputs | measured value |
|---|---|---|
| ``genes`` | genes | on the scale of ``normalisation`` |
| ``signatures`` | gene sets | mean of the set's genes less the mean of control genes of like expression, on the logarithmic scale |
| ``obs`` | columns of ``obs``, or of a matrix in ``obsm`` | as they are |
| ``clusters`` | clusters | 1 for the spot's own cluster, else 0 |
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.events import Event
from napari_deepspace.gene_names import GeneNames, Match
from napari_deepspace.preprocess.clusters import given_clusters
from napari_deepspace.preprocess.normalise import NEVER_NEGATIVE, gene_counts, normalised, spot_totals
from napari_deepspace.settings import NORMALISATIONS, ClusterTargetSettings, GeneSettings, ObsSettings, RunSettings, SignatureSettings


@dataclass(frozen=True)
class Target:
    """The outputs of a model. Logarithmic values are counted per ``target_sum``; ``sets`` names each signature's genes and controls."""

    kind: Literal["genes", "signatures", "obs", "clusters"]
    names: tuple[str, ...]
    panel: str  #: the rule by which they were chosen, in words
    normalisation: str = "log"
    target_sum: float = float("nan")
    sets: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    obsm: str | None = None
    weighted: bool = False  #: rare clusters count as much as common ones

    @property
    def unit(self) -> str:
        """Of the values that are learned and shown, in words."""
        units = {"signatures": "score: set less control genes", "obs": "as measured", "clusters": "probability"}
        return units.get(self.kind) or NORMALISATIONS[self.normalisation]

    @property
    def nonnegative(self) -> bool:
        """Whether its values are never below 0."""
        return self.kind == "genes" and self.normalisation in NEVER_NEGATIVE

    @property
    def score(self) -> str:
        """The number that says how good a prediction is: "r" (Pearson), or "AUC" (one cluster against all others)."""
        return "AUC" if self.kind == "clusters" else "r"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Target:
        """Raises ValueError, KeyError or TypeError where ``text`` is no target."""
        values = json.loads(text)
        return Target(**{**values, "names": tuple(values["names"])})


def choose_target(
    adatas: Sequence[AnnData], keep: Sequence[np.ndarray], settings: RunSettings, clusters: Sequence[pd.Series | None], names: Sequence[str]
) -> Target:
    """The target that ``settings`` ask for.

    ``keep`` (bool, n_spots a section) are the spots that passed the filter, ``clusters`` what the sections' spots belong to, ``names`` name the
    sections in errors.

    Raises
    ------
    DataError
        A section lacks the numbers or clusters that are asked for.
    SettingsError
        Unknown genes, columns or sets, or nothing to predict.
    """
    target = settings.target
    depth = float(np.median(np.concatenate([spot_totals(adata.X)[kept] for adata, kept in zip(adatas, keep, strict=True)])))
    if isinstance(target, GeneSettings):
        genes, panel = choose_genes(adatas, keep, target)
        return Target("genes", genes, panel, settings.normalisation, depth)
    if isinstance(target, SignatureSettings):
        return _choose_signatures(adatas, keep, target, depth)
    if isinstance(target, ObsSettings):
        return _choose_obs(adatas, target, names)
    return _choose_clusters(clusters, keep, target, settings, names)


def measured(
    target: Target,
    adata: AnnData,
    fit_on: np.ndarray,
    *,
    depth: float | None = None,
    clusters: pd.Series | None = None,
    threads: int | None = None,
    of: str,
) -> Generator[Event, None, np.ndarray]:
    """Measured values of ``target`` at every spot of a section, float32 (n_spots, n_outputs), NaN where there is none.

    Scales of genes are fitted to the spots of ``fit_on`` (bool); ``depth`` replaces ``target.target_sum``; ``of`` names the section.

    Raises
    ------
    DataError
        The section lacks the numbers or clusters, or its counts do not suffice for the scale.
    """
    depth = target.target_sum if depth is None else depth
    if target.kind == "genes":
        return (yield from normalised(adata, target.names, target.normalisation, fit_on, target_sum=depth, threads=threads, of=of))
    if target.kind == "signatures":
        return signature_scores(adata, target)
    if target.kind == "obs":
        return _numbers(adata, target.names, target.obsm, of)
    labels = given_clusters(adata) if clusters is None else clusters
    if labels is None:
        raise DataError(f"{of}: no clusters came with this section, so predicted clusters cannot be compared (sections[].clusters names a file).")
    return _one_hot(labels, target.names)


def choose_genes(adatas: Sequence[AnnData], keep: Sequence[np.ndarray], settings: GeneSettings) -> tuple[tuple[str, ...], str]:
    """The genes to predict and the rule in words.

    Named genes must be in every section, by their own name or another that means one gene (:func:`own_names`); one detected in fewer spots is
    taken all the same (see :func:`seldom_detected`). Without names: the ``top`` genes of highest mean count (or all) among those detected in at
    least ``min_detected`` of the spots of every section (``keep`` bool (n_spots,) per section).

    Raises
    ------
    SettingsError
        A named gene is in none or not in all of the sections, the file of names cannot be read, or no gene passes.
    """
    names = asked_names(settings)
    if names:
        return _named_genes(adatas, names)
    shared = adatas[0].var_names
    for adata in adatas[1:]:
        shared = shared.intersection(adata.var_names)
    mean = np.zeros(len(shared))
    passes = np.ones(len(shared), dtype=bool)
    for adata, kept in zip(adatas, keep, strict=True):
        counts = adata.X[kept][:, adata.var_names.get_indexer(shared)]
        mean += np.asarray(counts.mean(axis=0)).ravel()
        passes &= np.asarray((counts > 0).mean(axis=0)).ravel() >= settings.min_detected
    order = np.argsort(-mean, kind="stable")
    chosen = tuple(shared[i] for i in order if passes[i])[: settings.top]
    if not chosen:
        raise SettingsError(f"No gene is detected in {settings.min_detected:.0%} of the spots that pass. Name genes, or lower target.min_detected.")
    how = f"the {len(chosen)} genes of highest mean" if settings.top else f"all {len(chosen)} genes"
    return chosen, f"{how} detected in at least {settings.min_detected:.0%} of spots"


def asked_names(settings: GeneSettings) -> tuple[str, ...]:
    """The genes that are named, in the settings or in their file, as they are written there; none: a rule chooses.

    Raises
    ------
    SettingsError
        The file cannot be read.
    """
    return settings.names or (_names_in(settings.file) if settings.file is not None else ())


def _names_in(file: Path) -> tuple[str, ...]:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read as a list of genes ({error}). Give a text file with one gene a line.") from error
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _named_genes(adatas: Sequence[AnnData], names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    names, reasons = own_names(adatas[0], names)
    for adata in adatas:
        missing = [name for name in names if name not in adata.var_names]
        if missing:
            near = [_hint(match) for name in missing for match in _gene_names(adata).resolve(name)]
            hint = f"Did you mean {', '.join(near[:5])}?" if near else f"Its names look like {', '.join(map(str, adata.var_names[:3]))}."
            raise SettingsError(f"Unknown gene: {', '.join(missing[:5])} is not among the {adata.n_vars} genes of the section. {hint}")
    return names, f"{len(names)} named genes" + (f" ({', '.join(reasons)})" if reasons else "")


def own_names(adata: AnnData, names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """``names`` as the section's table has them, each once, and the reasons for those that were written in another way ("HER2 is ERBB2").

    A pathologist's or an older name and an Ensembl id are taken where they mean one gene; a name that may mean several is left as it is.
    """
    known, found, reasons = set(adata.var_names), [], []
    for name in names:
        matches = [] if name in known else _gene_names(adata).resolve(name)
        only = matches[0] if len(matches) == 1 and matches[0].reason else None
        found.append(only.name if only else name)
        reasons += [only.reason] if only else []
    return tuple(dict.fromkeys(found)), reasons


def _gene_names(adata: AnnData) -> GeneNames:
    return GeneNames(adata.var_names, adata.var.get("gene_ids", ()))


def _hint(match: Match) -> str:
    return f"{match.name} ({match.reason})" if match.reason else match.name


def seldom_detected(adatas: Sequence[AnnData], keep: Sequence[np.ndarray], genes: Sequence[str], least: float) -> dict[str, float]:
    """Those of ``genes`` detected in less than ``least`` of the spots of some section, with the smallest such share."""
    smallest = np.ones(len(genes))
    for adata, kept in zip(adatas, keep, strict=True):
        share = np.asarray((adata.X[np.flatnonzero(kept)][:, adata.var_names.get_indexer(list(genes))] > 0).mean(axis=0)).ravel()
        smallest = np.minimum(smallest, share)
    return {gene: float(share) for gene, share in zip(genes, smallest, strict=True) if share < least}


def _choose_signatures(adatas: Sequence[AnnData], keep: Sequence[np.ndarray], settings: SignatureSettings, depth: float) -> Target:
    sets = read_gmt(settings.file) if settings.file is not None else settings.sets
    if not sets:
        raise SettingsError("No gene set is named. Give target.sets, or a .gmt file as target.file.")
    shared = adatas[0].var_names
    for adata in adatas[1:]:
        shared = shared.intersection(adata.var_names)
    mean = np.zeros(len(shared))
    for adata, kept in zip(adatas, keep, strict=True):
        rows = np.flatnonzero(kept)
        counts = adata.X[rows][:, adata.var_names.get_indexer(shared)].astype(np.float64)
        values = counts.multiply((depth / np.maximum(spot_totals(adata.X)[rows], 1))[:, None]).tocsr()
        mean += np.asarray(values.log1p().sum(axis=0)).ravel() / sum(int(k.sum()) for k in keep)
    drawn, lost = {}, []
    for name, genes in sets.items():
        found = [gene for gene in dict.fromkeys(genes) if gene in shared]
        if not found:
            raise SettingsError(f"None of the genes of the set {name!r} is in the sections. Compare its names with those of the section.")
        lost += [gene for gene in dict.fromkeys(genes) if gene not in shared]
        drawn[name] = {"genes": found, "controls": control_genes(shared, mean, found, settings.controls, settings.bins, settings.seed)}
    panel = f"{len(drawn)} gene sets, scored against control genes of like mean" + (f" ({len(lost)} genes of the sets are not there)" if lost else "")
    return Target("signatures", tuple(drawn), panel, "log", depth, drawn)


def control_genes(names: pd.Index, mean: np.ndarray, genes: Sequence[str], controls: int, bins: int, seed: int) -> list[str]:
    """Control genes of a set: for each level of mean expression at which the set has genes, ``controls`` others drawn at random.

    ``mean`` (n_genes,) orders ``names``; levels are ``bins`` equal parts of that order. The rule is that of scanpy's ``score_genes``, after
    Satija and colleagues, Nature Biotechnology 33:495 (2015).
    """
    per_bin = round(len(names) / (bins - 1)) if bins > 1 else len(names) + 1
    level = pd.Series(mean).rank(method="min").to_numpy() // max(per_bin, 1)
    in_set = names.isin(list(genes))
    rng = np.random.default_rng(seed)
    chosen: list[str] = []
    for one in np.unique(level[in_set]):
        others = names[(level == one) & ~in_set].astype(str).to_numpy()
        taken = others if len(others) <= controls else others[np.sort(rng.choice(len(others), controls, replace=False))]
        chosen += taken.tolist()
    if not chosen:
        raise SettingsError("A gene set leaves no control genes of like expression. Lower target.bins, or take a smaller set.")
    return chosen


def signature_scores(adata: AnnData, target: Target) -> np.ndarray:
    """Mean of each set's genes less that of its controls, log1p(counts per ``target.target_sum``): float32 (n_spots, n_sets)."""
    scores = np.empty((adata.n_obs, len(target.names)), dtype=np.float32)
    totals = spot_totals(adata.X)
    for column, name in enumerate(target.names):
        parts = []
        for part in ("genes", "controls"):
            counts, columns = gene_counts(adata, target.sets[name][part])
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.log1p(counts[:, columns >= 0] / totals[:, None] * target.target_sum)
            parts.append(values.mean(axis=1) if values.shape[1] else np.full(adata.n_obs, np.nan))
        scores[:, column] = parts[0] - parts[1]
    return scores


def read_gmt(file: Path) -> dict[str, tuple[str, ...]]:
    """Gene sets of a .gmt file: a set a line, tab-separated: name, description, genes.

    Raises
    ------
    SettingsError
        The file cannot be read, or holds no set.
    """
    try:
        lines = [line.split("\t") for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is no .gmt file ({error}). It has a set a line: name, description, genes, separated by tabs.") from error
    sets = {words[0].strip(): tuple(gene.strip() for gene in words[2:] if gene.strip()) for words in lines if len(words) > 2}
    if not sets:
        raise SettingsError(f"{file} holds no gene set. A .gmt file has a set a line: name, description and genes, separated by tabs.")
    return sets


def _choose_obs(adatas: Sequence[AnnData], settings: ObsSettings, names: Sequence[str]) -> Target:
    if settings.obsm is None and not settings.columns:
        numeric = [str(name) for name, column in adatas[0].obs.items() if pd.api.types.is_numeric_dtype(column)]
        raise SettingsError(f"No column of obs is named (target.columns). Numeric ones: {', '.join(numeric[:8]) or 'none'}.")
    columns = settings.columns
    if settings.obsm is not None and not columns:
        columns = tuple(map(str, _matrix(adatas[0], settings.obsm, names[0]).columns))
    for adata, name in zip(adatas, names, strict=True):
        _numbers(adata, columns, settings.obsm, name)
    return Target("obs", columns, f"{len(columns)} columns of {settings.obsm or 'obs'}", obsm=settings.obsm)


def _numbers(adata: AnnData, columns: Sequence[str], obsm: str | None, of: str) -> np.ndarray:
    table = adata.obs if obsm is None else _matrix(adata, obsm, of)
    for column in columns:
        if column not in table:
            raise DataError(f"{of} has no column {column!r} in {obsm or 'obs'}. It has: {', '.join(map(str, list(table)[:8]))}.")
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise DataError(f"{of}: the column {column!r} of {obsm or 'obs'} holds no numbers. Predict clusters in its place, or another column.")
    return np.asarray(table[list(columns)], dtype=np.float32)


def _matrix(adata: AnnData, obsm: str, of: str) -> pd.DataFrame:
    matrix: Any = adata.obsm.get(obsm)
    if matrix is None:
        raise DataError(f"{of} has no obsm[{obsm!r}]. It has: {', '.join(adata.obsm) or 'none'}.")
    return matrix if isinstance(matrix, pd.DataFrame) else pd.DataFrame(np.asarray(matrix), columns=[f"{obsm}{i}" for i in range(matrix.shape[1])])


def _choose_clusters(
    clusters: Sequence[pd.Series | None], keep: Sequence[np.ndarray], target: ClusterTargetSettings, settings: RunSettings, sections: Sequence[str]
) -> Target:
    if len(clusters) > 1 and settings.clusters.source == "computed" and not settings.clusters.joint:
        raise SettingsError("Clusters computed section by section have unrelated names. Set clusters.joint: true to compute them over all sections.")
    found: list[str] = []
    for labels, kept, section in zip(clusters, keep, sections, strict=True):
        if labels is None:
            raise DataError(f"{section} has no clusters to predict. Give sections[].clusters, or set clusters.source: computed.")
        found += [str(name) for name in labels[kept].dropna().unique()]
    names = tuple(sorted(set(found), key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)))
    if len(names) < 2:
        raise DataError(f"Only one cluster is left in {', '.join(sections)}: there is nothing to tell apart.")
    return Target("clusters", names, f"{len(names)} clusters ({settings.clusters.source})", weighted=target.weighted)


def _one_hot(labels: pd.Series, names: Sequence[str]) -> np.ndarray:
    at = pd.Index(list(names)).get_indexer(pd.Index([str(label) if pd.notna(label) else "" for label in labels]))
    values = np.zeros((len(labels), len(names)), dtype=np.float32)
    values[np.flatnonzero(at >= 0), at[at >= 0]] = 1
    values[at < 0] = np.nan
    return values
