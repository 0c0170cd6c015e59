"""What ``napari-deepspace preprocess`` does: judge the spots of each section, propose failed regions, find clusters, normalise, write it all down."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_deepspace import __version__
from napari_deepspace.errors import DataError
from napari_deepspace.events import Event, Noted, Preprocessed
from napari_deepspace.outlines import FAILED, UNCLEAR, Outline, write_outlines
from napari_deepspace.preprocess.clusters import COMPUTED, GIVEN, differential_genes, find_clusters, given_clusters
from napari_deepspace.preprocess.failed_regions import LowRegion, low_regions
from napari_deepspace.preprocess.normalise import fit_normaliser, spot_totals
from napari_deepspace.preprocess.prepare import Prepared, prepare_section, tile_side_um, with_clusters
from napari_deepspace.preprocess.sctransform import transform
from napari_deepspace.results import write_result
from napari_deepspace.runs import SETTINGS, safe_name, write_atomic
from napari_deepspace.section import Section
from napari_deepspace.settings import NORMALISATIONS, QuickSettings, RunSettings, dump_yaml

KEEP, REASON, MEAN_RGB, WHITE = "deepspace_keep", "deepspace_reason", "deepspace_mean_rgb", "deepspace_white_share"
NORMALISED, CORRECTED, UNS = "deepspace_normalised", "sct_counts", "deepspace_preprocess"
SPOTS, REGIONS, MARKERS, TABLE = "spots", "regions", "differential_genes", "table"
SUFFIXES = {SPOTS: ".spots.csv", REGIONS: ".regions.geojson", MARKERS: ".differential_genes.csv", TABLE: ".h5ad"}
_BLOCK = 512  # genes at a time


def preprocess(sections: Sequence[Section], settings: RunSettings, folder: Path, table: bool = True) -> Generator[Event, None, Path]:
    """Preprocess ``sections`` as ``settings`` say and write what was found into ``folder``; without ``table`` no .h5ad is written.

    Per section: ``NAME.spots.csv`` (every spot, what was judged, and its reasons), ``NAME.regions.geojson`` (proposed failed regions),
    ``NAME.differential_genes.csv`` where there are clusters, and ``NAME.h5ad``, see ``docs/preprocessing.md``. Each is written beside and renamed.

    Raises
    ------
    DataError
        A section lacks counts, or what was asked for cannot be computed from it.
    """
    began = time.perf_counter()
    judged = yield from _judged(sections, settings)
    write_atomic(folder / SETTINGS, dump_yaml(settings))
    files = {}
    for number, (section, prepared) in enumerate(zip(sections, judged, strict=True), start=1):
        stem = f"{number}-{safe_name(section.library_id)}"
        files[section.library_id] = yield from _write_section(section, prepared, settings, folder, stem, table)
    yield Preprocessed(time.perf_counter() - began, files)
    return folder


def preprocessed(section: Section, settings: RunSettings) -> Generator[Event, None, AnnData]:
    """One section's spots judged, its clusters and its normalised counts as one AnnData; raises what :func:`preprocess` raises."""
    (prepared,) = yield from _judged([section], settings)
    return (yield from normalised_table(section, prepared, settings))


def regions_of(section: Section, settings: RunSettings, prepared: Prepared | None = None) -> Generator[Event, None, list[LowRegion]]:
    """Contiguous regions of few counts on a section, each with a verdict; those that an outline decides already are left out."""
    from napari_deepspace.learn.data import section_features, tile_side_px

    tile_um = tile_side_um(section, settings.tile)
    if prepared is None:
        prepared = yield from prepare_section(section, settings.filter.model_copy(update={"exclude_cluster": None}), tile_um)
    verdict = prepared.filter
    open_ = verdict.spots["in_tissue"].to_numpy() & verdict.predictable & ~verdict.removed["failed"]
    low = verdict.removed["umi"] | verdict.removed["genes"]
    if not (low & open_).any():
        return []
    rows = np.flatnonzero(open_)
    centres = section.centres_yx[rows]
    tile_px = tile_side_px(settings.model_copy(update={"model": QuickSettings()}), tile_um)
    looks = yield from section_features(section, centres, tile_um, tile_px)
    umi = verdict.spots["umi"].to_numpy()[rows]
    regions = low_regions(centres, umi, low[rows], np.ones(len(rows), dtype=bool), looks, section.pitch_px, tile_um / section.mpp)
    return [LowRegion(r.outline, rows[r.spots], r.median_umi, r.unlike, r.verdict) for r in regions]


def region_outlines(regions: Sequence[LowRegion]) -> list[Outline]:
    """Proposals as outlines: a technical region gets the class that a training imputes, any other one a class that does nothing."""
    return [
        Outline(
            geometry=region.outline,
            classification=FAILED if region.verdict == "technical" else UNCLEAR,
            name=f"low region {number}",
            notes={"verdict": region.words, "spots": len(region.spots), "median UMI": round(region.median_umi), "unlike": round(region.unlike, 2)},
        )
        for number, region in enumerate(regions, start=1)
    ]


def _judged(sections: Sequence[Section], settings: RunSettings) -> Generator[Event, None, list[Prepared]]:
    """Every section's spots, judged, with their clusters where there are any or they are to be computed."""
    without_cluster = settings.filter.model_copy(update={"exclude_cluster": None})
    judged = []
    for section in sections:
        section.require_counts()
        judged.append((yield from prepare_section(section, without_cluster, tile_side_um(section, settings.tile))))
    if settings.filter.exclude_cluster is None:
        lacking = any(given_clusters(section.adata) is None for section in sections)
        if settings.clusters.source == "none" or (settings.clusters.source == "file" and lacking):
            return judged
    keep = [one.filter.keep for one in judged]
    labels = yield from find_clusters([s.adata for s in sections], keep, settings.clusters, [s.library_id for s in sections])
    return [with_clusters(one, series, settings.filter) for one, series in zip(judged, labels, strict=True)]


def _write_section(
    section: Section, prepared: Prepared, settings: RunSettings, folder: Path, stem: str, table: bool
) -> Generator[Event, None, dict[str, str]]:
    files = {}

    def name(kind: str) -> Path:
        files[kind] = f"{stem}{SUFFIXES[kind]}"
        return folder / files[kind]

    spots = spot_columns(prepared)
    write_atomic(name(SPOTS), spots.to_csv(index_label="barcode"))
    if settings.failed_regions and section.slide is not None:
        regions = yield from regions_of(section, settings, prepared)
        write_outlines(name(REGIONS), region_outlines(regions))
    keep = prepared.filter.keep
    if prepared.clusters is not None and prepared.clusters[keep].nunique() > 1:
        markers = differential_genes(section.adata, prepared.clusters, keep)
        write_atomic(name(MARKERS), markers.to_csv(index=False))
    if table and not keep.any():
        yield Noted(prepared.filter.nothing_left(section.library_id) + " No .h5ad was written.")
    elif table:
        adata = yield from normalised_table(section, prepared, settings)
        write_result(adata, name(TABLE))
    return files


def spot_columns(prepared: Prepared) -> pd.DataFrame:
    """What was judged and found of every spot, under scanpy's names where it has one, else beginning with ``deepspace_``."""
    spots, verdict = prepared.filter.spots, prepared.filter
    columns = {"total_counts": spots["umi"], "n_genes_by_counts": spots["n_genes"], "pct_counts_mt": 100 * spots["mitochondrial"]}
    if prepared.colours is not None:
        columns |= {MEAN_RGB: spots["mean_rgb"], WHITE: spots["white"]}
    columns |= {KEEP: pd.Series(verdict.keep, index=spots.index), REASON: pd.Series(verdict.reasons, index=spots.index)}
    if prepared.clusters is not None:
        columns[str(prepared.clusters.name or COMPUTED)] = prepared.clusters
    return pd.DataFrame(columns)


def read_spots(path: Path) -> pd.DataFrame:
    """A table of :func:`spot_columns` that :func:`preprocess` wrote."""
    return pd.read_csv(path, index_col="barcode", dtype=dict.fromkeys((*GIVEN, COMPUTED), str), keep_default_na=True).fillna({REASON: ""})


def steps_of(spots: pd.DataFrame) -> dict[str, int]:
    """How many spots each reason removes, in words; a spot with two reasons counts for both."""
    reasons = spots[REASON][spots[REASON] != ""].str.split("; ").explode()
    return {str(reason): int(count) for reason, count in reasons.value_counts().items()}


def normalised_table(section: Section, prepared: Prepared, settings: RunSettings) -> Generator[Event, None, AnnData]:
    """The section's own AnnData, counts untouched, with the spots' verdict, the genes' and the normalised counts, see ``docs/preprocessing.md``.

    The scale is fitted to the spots that stay, and applied to all spots with counts.
    """
    adata, keep, kind = section.adata.copy(), prepared.filter.keep, settings.normalisation
    if not keep.any():
        raise DataError(prepared.filter.nothing_left(section.library_id))
    for column, values in spot_columns(prepared).items():
        adata.obs[column] = values
    detected = np.asarray((adata.X[np.flatnonzero(keep)] > 0).sum(axis=0)).ravel()
    passes = detected >= settings.gene_rule.min_detected * max(keep.sum(), 1)
    adata.var["n_cells_by_counts"], adata.var["deepspace_detected_enough"] = detected, passes
    named = np.flatnonzero(adata.var_names.isin(settings.gene_rule.names))
    kept = adata.X[np.flatnonzero(keep)]
    normaliser = yield from fit_normaliser(kept, kind, always=named, threads=settings.threads, of=section.library_id)
    if normaliser.sctransform is not None:
        yield from _add_sctransform(adata, normaliser.sctransform, keep, settings.threads, section.library_id)
    elif kind == "log":
        adata.layers[NORMALISED] = _log_layer(adata.X, normaliser.target_sum)
    else:
        layer = np.full(adata.shape, np.nan, dtype=np.float32)  # no value is 0 on these scales, so that nothing is gained by a sparse table
        totals, by_gene = spot_totals(adata.X), adata.X.tocsc()
        chosen = np.flatnonzero(passes | adata.var_names.isin(settings.gene_rule.names))
        for start in range(0, len(chosen), _BLOCK):
            columns = chosen[start : start + _BLOCK]
            layer[:, columns] = normaliser.values(by_gene[:, columns].toarray(), totals, columns)
        adata.layers[NORMALISED] = layer
    adata.uns[UNS] = {
        "version": __version__,
        "research_use_only": True,
        "synthetic": bool(section.synthetic),
        "library_id": section.library_id,
        "normalisation": kind,
        "unit": NORMALISATIONS[kind],
        "white_threshold": prepared.white_threshold,
        "settings": dump_yaml(settings),
    }
    return adata


def _log_layer(counts: sparse.csr_matrix, target_sum: float) -> sparse.csr_matrix:
    totals = np.maximum(spot_totals(counts), 1)
    values = np.log1p(counts.data / np.repeat(totals, np.diff(counts.indptr)) * target_sum).astype(np.float32)
    return sparse.csr_matrix((values, counts.indices.copy(), counts.indptr.copy()), shape=counts.shape)


def _add_sctransform(adata: AnnData, model: Any, keep: np.ndarray, threads: int | None, of: str) -> Generator[Event, None, None]:
    done = yield from transform(adata.X, model, fit_on=keep, threads=threads, of=of)
    corrected = done.corrected.tocoo()
    shape = adata.shape
    counts = sparse.csr_matrix((corrected.data, (corrected.row, model.genes[corrected.col])), shape=shape)
    adata.layers[CORRECTED] = counts
    adata.layers[NORMALISED] = sparse.csr_matrix((np.log10(1 + counts.data).astype(np.float32), counts.indices.copy(), counts.indptr.copy()), shape)
    columns = {
        "sct_theta": model.theta,
        "sct_intercept": model.intercept,
        "sct_slope": model.slope,
        "sct_log10_gmean": model.log_gmean,
        "sct_residual_mean": done.residual_mean,
        "sct_residual_variance": done.residual_variance,
    }
    for name, values in columns.items():
        adata.var[name] = np.nan
        adata.var.iloc[model.genes, adata.var.columns.get_loc(name)] = values
    variable = model.genes[done.variable()]
    rank = np.full(adata.n_vars, np.nan)
    rank[variable] = np.arange(len(variable))
    adata.var["highly_variable_rank"], adata.var["highly_variable"] = rank, np.isfinite(rank)
