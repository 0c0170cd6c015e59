"""Prediction at the spots of any section, or at any points of its slide."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.spatial import cKDTree

from napari_deepspace import results
from napari_deepspace.analyse.bands import about_bands
from napari_deepspace.analyse.copies import blended, copied
from napari_deepspace.analyse.holes import judge_holes
from napari_deepspace.errors import DataError
from napari_deepspace.events import Event, Noted
from napari_deepspace.learn.domain import distance, unlike_columns
from napari_deepspace.learn.embedding import embed, reference_looks
from napari_deepspace.learn.model import SeenSpots, TrainedModel
from napari_deepspace.learn.neighbouring import aligned_points
from napari_deepspace.learn.notice import colours_of
from napari_deepspace.learn.notice import notice as notice_of
from napari_deepspace.learn.simple import predict_ways, simple_looks, simple_table
from napari_deepspace.learn.splits import PART_NAMES, TRAINING, VALIDATION
from napari_deepspace.preprocess.clusters import given_clusters
from napari_deepspace.preprocess.filters import WITHOUT_TILE, SpotFilter
from napari_deepspace.preprocess.prepare import prepare_section, white_points
from napari_deepspace.section import Section, spot_fingerprints
from napari_deepspace.stain import find_stain, stained
from napari_deepspace.target import measured

H_AND_E = "the H&E image"
SLOTS = {"predicted": results.PREDICTED, "measured": results.MEASURED} | results.BASELINES


def predict(model: TrainedModel, section: Section, centres_yx: np.ndarray | None = None, run: str = "") -> Generator[Event, None, AnnData]:
    """Predict at the section's spots, or at ``centres_yx`` (n, 2) (row, column) in full-resolution px.

    A spot the model was trained on is predicted by the member that held it out, and marked as training where there is none; it is known again by its
    counts, or by its place on the same slide, whatever the section is called. Everywhere else the members' mean is given.
    The result follows ``docs/results-format.md``.

    Raises
    ------
    DataError
        The section has no slide, none of its spots lies on tissue, or the tissue shows no two stains that a model of one stain needs.
    """
    at_spots = centres_yx is None
    centres = section.centres_yx if centres_yx is None else np.asarray(centres_yx, dtype=np.float64)
    section.require_slide()
    judged = yield from prepare_section(section, model.settings.filter.model_copy(update={"exclude_cluster": None}), model.tile_um)
    if not judged.filter.predictable.any():
        raise DataError(f"{section.library_id}: no spot lies on tissue, every tile is white or excluded. Raise filter.white_percentile.")
    verdict = without_sealed(judged.filter, section, model)
    white = ~verdict.predictable if at_spots else (yield from white_points(section, judged, centres, model.tile_um))
    spots = spot_table(section, model, verdict) if at_spots else results.table_of_points(white)
    reference = None if at_spots else section.centres_yx[judged.filter.predictable]
    columns: dict[str, np.ndarray] = {"predicted": np.full((int((~white).sum()), len(model.target.names)), np.nan, dtype=np.float32)}
    notice, distances = "", np.full(len(centres), np.nan, dtype=np.float32)
    if not white.all():
        totals = verdict.spots["umi"].to_numpy()[~white] if at_spots and section.adata.n_vars else None
        said, distances[~white], colours = yield from _columns(
            model, as_trained(model, section, judged.filter.predictable), centres[~white], reference, spots[results.FOLD].to_numpy()[~white], totals
        )
        columns |= said
        if not any(same_section(seen, section) for seen in model.seen):
            unlike = model.domain.unlike(distances[~white]) if model.domain is not None else np.zeros(0, dtype=bool)
            notice = notice_of(model, section, colours, unlike)
    if notice:
        yield Noted(notice)
    spots = spots.assign(**unlike_columns(model.domain, distances))
    columns = {name: _with_gaps(values, white) for name, values in columns.items()}
    if at_spots:
        if section.adata.n_vars and _can_measure(model, section):
            yield from _add_measured(columns, model, section, verdict)
            if "measured" in columns:
                columns["measured"][verdict.removed["sealed"]] = np.nan
        adata = build_result(section, model, columns, spots, run)
        judge_holes(adata)
    else:
        layers = {SLOTS[name]: values for name, values in columns.items()}
        adata = results.result_at_points(
            section, model.target, layers, spots, about(model, run, "neighbouring section" in columns), centres_yx=centres
        )
    adata.uns[results.UNS]["notice"] = notice
    return adata


def as_trained(model: TrainedModel, section: Section, tissue: np.ndarray) -> Section:
    """``section`` as the model looks at it: where it was trained on one stain, with its slide in that stain; ``tissue`` bool (n_spots,)."""
    return section if model.stain is None else stained(section, find_stain(section, tissue), model.stain)


def without_sealed(verdict: SpotFilter, section: Section, model: TrainedModel) -> SpotFilter:
    """``verdict`` with the spots removed that were sealed when the model was trained, also where nobody says so any more."""
    if not any(seen.sealed for seen in model.seen):
        return verdict
    hidden = np.zeros(section.adata.n_obs, dtype=bool)
    for seen, match in zip(model.seen, matches(section, model), strict=True):
        hidden |= np.isin(match, seen.sealed)
    return replace(verdict, removed=verdict.removed | {"sealed": verdict.removed["sealed"] | hidden})


def _columns(
    model: TrainedModel, section: Section, centres: np.ndarray, reference: np.ndarray | None, fold: np.ndarray, totals: np.ndarray | None
) -> Generator[Event, None, tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
    """What the model and the simple ways say at ``centres`` (n, 2), on the shown scale, each float32 (n, n_outputs); how far the tiles lie from the
    training tiles, float32 (n,); and the section's colours.

    ``totals`` (n,) are the UMI of spots, where that is what the points are.
    """
    outputs, distances = yield from _outputs(model, section, centres, reference)
    looks = yield from simple_looks(section, centres, model.tile_um)
    by = None if reference is None else (yield from simple_looks(section, reference, model.tile_um))
    table = simple_table(looks, totals, by)
    ways = [predict_ways(member.ways, table) for member in model.members]
    columns = {name: _combine(model, [one[name] for one in ways], fold) for name in ways[0]}
    copies = _copies(model, section, centres)
    if copies is None and _blends(model):
        whose = {seen.patient or "unknown" for seen in model.seen if len(seen.aligned)}
        yield Noted(
            f"{section.library_id} is predicted from the image alone: it is not aligned with the training sections, or not known to be of their "
            f"patient, {', '.join(sorted(whose))} (--patient says so)."
        )
    if copies is not None:
        columns["neighbouring section"] = _combine_shown(copies, fold)
        outputs = [
            output if member.blend is None else blended(member.blend, output, member.fitted.scale(copy))
            for member, output, copy in zip(model.members, outputs, copies, strict=True)
        ]
    columns["predicted"] = _combine(model, outputs, fold)
    said = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    return said, distances, colours_of(looks if by is None else by)


def say_notice(model: TrainedModel, seen_as: Section, reference: np.ndarray, section: Section) -> Generator[Event, None, str]:
    """What sets ``section`` apart from those trained on, told and returned; by its colours ``seen_as`` the model does at ``reference`` (n, 2)."""
    if any(same_section(seen, section) for seen in model.seen):
        return ""
    looks = yield from simple_looks(seen_as, reference, model.tile_um)
    words = notice_of(model, section, colours_of(looks), np.zeros(0, dtype=bool))
    if words:
        yield Noted(words)
    return words


def _copies(model: TrainedModel, section: Section, centres: np.ndarray) -> list[np.ndarray] | None:
    """For each member what was measured at the nearest of its training spots in other sections of the same frame; None where nothing is aligned."""
    wanted, found = aligned_points(section, centres), neighbours_of(model, section)
    if not found or not np.isfinite(wanted).any():
        return None
    members = range(len(model.members))
    return [copied([(seen.aligned[spots[:, number]], seen.values[spots[:, number]]) for seen, spots in found], wanted) for number in members]


def neighbours_of(model: TrainedModel, section: Section) -> list[tuple[SeenSpots, np.ndarray]]:
    """Training sections whose frame ``section`` shares, with the spots that each member learned from: bool (n_spots, members)."""
    # frames of two patients have nothing to do with one another
    others = [seen for seen in model.seen if len(seen.aligned) and seen.patient == section.patient and not same_section(seen, section)]
    return [(seen, np.isin(seen.parts, (TRAINING, VALIDATION))) for seen in others]


def same_section(seen: SeenSpots, section: Section) -> bool:
    """Whether a section is one that the model was trained on, under whatever name: by its slide, or by the counts of its spots."""
    if section.slide is not None and section.slide.fingerprint() == seen.slide:
        return True
    mine = spot_fingerprints(section.adata) if section.adata.n_vars else np.zeros(0, dtype=np.uint64)
    return bool(np.isin(mine[mine != 0], seen.fingerprints).any())


def _with_gaps(values: np.ndarray, white: np.ndarray) -> np.ndarray:
    out = np.full((len(white), values.shape[1]), np.nan, dtype=np.float32)
    out[~white] = values
    return out


def _can_measure(model: TrainedModel, section: Section) -> bool:
    """Numbers and clusters are seldom there on a section that was not trained on, and nobody misses them."""
    if model.target.kind == "clusters":
        return given_clusters(section.adata) is not None
    return model.target.kind != "obs" or set(model.target.names) <= set(section.adata.obs) or model.target.obsm in section.adata.obsm


def _add_measured(columns: dict[str, np.ndarray], model: TrainedModel, section: Section, verdict: SpotFilter) -> Generator[Event, None, None]:
    """Measured values on the model's scale; left out, with a word, where the section's counts do not suffice for that scale."""
    try:
        columns["measured"] = yield from measured(model.target, section.adata, _fit_on(verdict), of=section.library_id)
    except DataError as error:
        yield Noted(f"The measured values are left out of the result: {error}")


def _fit_on(verdict: SpotFilter) -> np.ndarray:
    """Spots that the scale of the measured values is fitted to: those that stay, or all with counts where hardly any does."""
    return verdict.keep if verdict.keep.sum() >= 10 else verdict.spots["umi"].to_numpy() > 0


def _outputs(
    model: TrainedModel, section: Section, centres: np.ndarray, reference: np.ndarray | None
) -> Generator[Event, None, tuple[list[np.ndarray], np.ndarray]]:
    """Scaled outputs of every member, each (n, n_outputs), and how far each tile lies from the training tiles (n,), NaN where that is not known;
    Quick's features are standardised by the tiles at ``reference`` (None: their own)."""
    heads = [member.head for member in model.members]
    outputs = [np.empty((len(centres), len(model.target.names)), dtype=np.float32) for _ in heads]
    distances = np.full(len(centres), np.nan, dtype=np.float32)

    def keep(rows: np.ndarray, embeddings: list[np.ndarray]) -> None:
        for output, head, embedding in zip(outputs, heads, embeddings, strict=True):
            output[rows] = head.predict(embedding)
        if model.domain is not None:
            distances[rows] = distance(model.domain, embeddings[0])

    by = yield from reference_looks(model, section, reference)
    yield from embed(model, section, centres, by, keep)
    return outputs, distances


def _combine(model: TrainedModel, outputs: list[np.ndarray], fold: np.ndarray) -> np.ndarray:
    """Each row from the member of its ``fold``, or the members' mean where that is -1; on the shown scale."""
    return _combine_shown([member.fitted.shown(output, model.target.target_sum) for member, output in zip(model.members, outputs, strict=True)], fold)


def _combine_shown(shown: list[np.ndarray], fold: np.ndarray) -> np.ndarray:
    combined = np.asarray(np.mean(shown, axis=0, dtype=np.float32))
    for number, values in enumerate(shown):
        combined[fold == number] = values[fold == number]
    return combined


def spot_table(section: Section, model: TrainedModel, verdict: SpotFilter) -> pd.DataFrame:
    """The ``deepspace_*`` columns of ``obs``: which part each spot was to the model whose value is shown, and where the value comes from."""
    n = section.adata.n_obs
    fold, part = recognise(section, model)
    split = np.full(n, "test", dtype=object)  # a section the model never saw
    seen = part >= 0
    split[seen] = np.array(PART_NAMES, dtype=object)[part[seen]]
    source = np.where(np.isin(split, ("training", "validation", "guard")), "training", "out-of-fold").astype(object)
    reason = np.full(n, "", dtype=object)
    if section.adata.n_vars == 0:
        split[~seen] = "none"
        source[~seen] = "imputed"
        reason[~verdict.predictable] = verdict.reasons_of(WITHOUT_TILE)[~verdict.predictable]
    else:
        dropped = ~verdict.keep
        reason = verdict.reasons
        split[dropped] = "excluded"
        source[dropped] = "imputed"
    known = split == "excluded"
    source[known] = "imputed"  # also a spot that passed the filter but has no value to learn from
    source[~verdict.predictable] = "removed"
    return pd.DataFrame(
        {
            results.SPLIT: pd.Categorical(split, results.SPLITS),
            results.SOURCE: pd.Categorical(source, results.SOURCES),
            results.FOLD: fold,
            results.REASON: reason,
        },
        index=section.adata.obs_names,
    )


def matches(section: Section, model: TrainedModel) -> list[np.ndarray]:
    """For every section the model has seen, which of its rows each spot of ``section`` is: int (n_spots,), -1: none.

    A spot is known by its counts, or by its place on the same slide.
    """
    n, found = section.adata.n_obs, []
    mine = spot_fingerprints(section.adata) if section.adata.n_vars else np.zeros(n, dtype=np.uint64)
    slide = section.slide.fingerprint() if section.slide is not None else ""
    for seen in model.seen:
        match = np.full(n, -1)
        if slide and slide == seen.slide:  # the same glass: a spot whose centre lies within a training spot shares its pixels
            distance, nearest = cKDTree(seen.centres_yx).query(section.centres_yx)
            near = distance < section.spot_diameter_px / 2
            match[near] = nearest[near]
        order = np.argsort(seen.fingerprints)
        at = np.searchsorted(seen.fingerprints, mine, sorter=order).clip(max=len(order) - 1)
        same = (seen.fingerprints[order[at]] == mine) & (mine != 0)
        match[same] = order[at[same]]
        found.append(match)
    return found


def recognise(section: Section, model: TrainedModel) -> tuple[np.ndarray, np.ndarray]:
    """For every spot: the fold that held it out (-1: none, or never seen) and its part to that fold's member (-1: never seen)."""
    fold, part = (np.full(section.adata.n_obs, -1) for _ in range(2))
    for seen, match in zip(model.seen, matches(section, model), strict=True):
        known = match >= 0
        home = seen.home[match[known]]
        fold[known] = home
        # without a fold that held it out, the most exposed part counts
        part[known] = np.where(home >= 0, seen.parts[match[known], np.maximum(home, 0)], seen.parts[match[known], 0])
    return fold, part


def build_result(section: Section, model: TrainedModel, columns: dict[str, np.ndarray], spots: pd.DataFrame, run: str) -> AnnData:
    """The result of a section with ``columns``, each (n_spots, n_outputs): "predicted", perhaps "measured", and simple ways by their names."""
    layers = {SLOTS[name]: values for name, values in columns.items()}
    return results.result_at_spots(section, model.target, layers, spots, about(model, run, "neighbouring section" in columns))


def _blends(model: TrainedModel) -> bool:
    return any(member.blend is not None for member in model.members)


def about(model: TrainedModel, run: str, with_copy: bool) -> dict[str, Any]:
    """What ``uns["deepspace"]`` says of the model; ``with_copy``: a copy of neighbouring sections was at hand."""
    trained_on = [seen.fingerprints[np.isin(seen.parts, (TRAINING, VALIDATION)).any(axis=1)] for seen in model.seen]
    return {
        "model": model.kind,
        "model_version": model.version,
        "run": run or model.settings.name,
        "split": model.split,
        "panel": model.target.panel,
        "normalisation": model.settings.normalisation,
        "filter": model.settings.filter.model_dump_json(exclude={"exclude_cluster"}),
        "unit": model.target.unit,
        "looks_at": f"{H_AND_E} and measured values of neighbouring sections" if with_copy and _blends(model) else H_AND_E,
        "target_sum": model.target.target_sum,
        "tile_um": model.tile_um,
        "training_sections": np.array([seen.library_id for seen in model.seen], dtype=object),
        "training_patients": np.array([seen.patient or "" for seen in model.seen], dtype=object),
        "training_blocks": np.array([seen.block or "" for seen in model.seen], dtype=object),
        "training_spots": np.unique(np.concatenate(trained_on)),
        "synthetic": model.synthetic,
        "band": about_bands(model.bands, model.target.kind),
        "notice": "",
        "unlike_beyond": model.domain.threshold if model.domain is not None else np.nan,
        "resolution_um": model.resolution_um if model.resolution_um is not None else np.nan,
    }
