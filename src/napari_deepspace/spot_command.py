"""What ``napari-deepspace spot`` and ``disagreements`` do: the facts of a spot with its look-alikes, and the stops of the tour."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from napari_deepspace.disagreements import Stop, find_stops
from napari_deepspace.errors import DataError, ModelError, SettingsError
from napari_deepspace.events import Event, result_of
from napari_deepspace.look_alikes import LookAlike, kept_look_alikes, own_stain, pictures
from napari_deepspace.model_view import ModelView, seen, view_of_run
from napari_deepspace.preprocess.clusters import given_clusters
from napari_deepspace.preprocess.filters import filter_spots
from napari_deepspace.preprocess.normalise import normalised
from napari_deepspace.preprocess.prepare import spots_of
from napari_deepspace.results import REASON, SPLIT
from napari_deepspace.run_maps import maps_of_run, read_spots, result_file
from napari_deepspace.runs import SETTINGS, best_run, write_atomic
from napari_deepspace.section import Section
from napari_deepspace.settings import NORMALISATIONS, FilterSettings, load_run_settings
from napari_deepspace.spot_facts import HOW_PREDICTED, HOW_TOP, Known, facts_of, gene_shares, top_measured, top_predicted
from napari_deepspace.stain import find_stain
from napari_deepspace.views import within_slide


def known_of(run_dir: Path | None, section: Section, gene: str | None = None, usual: FilterSettings | None = None) -> Known:
    """A gene on ``section`` as the run in ``run_dir`` knows it; left out: the run's best. Without predictions for the section, what was measured;
    without a run, what was measured at the spots that pass ``usual`` (default: the usual filter).

    Raises
    ------
    SettingsError
        Neither the section nor the run has ``gene``.
    ModelError
        The run's result is damaged.
    """
    run_dir = best_run(run_dir) if run_dir is not None else None
    maps, file = (maps_of_run(run_dir, section), result_file(run_dir, section.library_id)) if run_dir is not None else (None, None)
    spots = spots_of(section)
    if maps is not None and file is not None:
        obs = read_spots(file).reindex(section.adata.obs_names)
        reasons = obs[REASON].astype(object).fillna("").to_numpy()
        keep = (obs[SPLIT].astype(object) != "excluded").to_numpy() & (reasons == "")
    else:
        verdict = filter_spots(spots, load_run_settings(run_dir / SETTINGS).filter if run_dir is not None else usual or FilterSettings())
        reasons, keep = verdict.reasons, verdict.keep
    if gene is None:
        ordered = maps.scores.ordered() if maps is not None and maps.scores is not None else []
        gene = ordered[0].name if ordered else maps.genes[0] if maps is not None else str(section.adata.var_names[0])
    nothing = np.full(section.adata.n_obs, np.nan, dtype=np.float32)
    umi = spots["umi"].to_numpy()
    base = Known(section, "", "", nothing, nothing, umi=umi, reasons=reasons, keep=keep, clusters=given_clusters(section.adata), maps=maps)
    return with_gene(base, gene, run_dir.name if run_dir is not None else "")


def with_gene(known: Known, gene: str, run: str = "") -> Known:
    """``known`` of another gene, without reading the run again; ``run`` is its name.

    Raises
    ------
    SettingsError
        Neither the section nor the run has ``gene``.
    """
    section, maps, keep = known.section, known.maps, known.keep
    predicted = maps.of(gene) if maps is not None else None
    measured = maps.measured_of(gene) if maps is not None else None
    unit = maps.unit if maps is not None else NORMALISATIONS["log"]
    nothing = np.full(section.adata.n_obs, np.nan, dtype=np.float32)
    if measured is None and gene in section.adata.var_names and keep.any():
        measured = result_of(normalised(section.adata, [gene], "log", keep, target_sum=maps.target_sum if maps is not None else None))[:, 0]
        unit = unit if predicted is not None else NORMALISATIONS["log"]
    if measured is None and predicted is None and gene not in section.adata.var_names:
        if not run:
            raise SettingsError(f"{gene} is no gene of {section.library_id}. Give --gene with the name of one.")
        raise SettingsError(f"{gene} is neither a gene of {section.library_id} nor predicted by {run}. Give --gene with a name of either.")
    if predicted is not None and maps is not None and maps.relative:
        predicted = within_slide(predicted)
    return replace(
        known,
        gene=gene,
        unit=unit,
        measured=nothing if measured is None else np.where(keep, measured, np.nan).astype(np.float32),
        predicted=nothing if predicted is None else predicted,
    )


def describe_spot(known: Known, barcode: str) -> dict[str, Any]:
    """The facts of one spot, fit for JSON: those of :class:`~napari_deepspace.spot_facts.SpotFacts`, and its top genes.

    Raises
    ------
    DataError
        The section has no such spot.
    """
    index = row_of(known.section, barcode)
    facts = facts_of(known, index)
    tops = top_measured(known.section, index, gene_shares(known.section, known.keep)) if known.section.adata.n_vars else []
    return {
        **vars(facts),
        "neighbours": [vars(one) for one in facts.neighbours],
        "top_genes": [vars(one) for one in tops],
        "top_genes_are": HOW_TOP,
        "top_predicted": [vars(one) for one in top_predicted(known.maps, index)],
        "top_predicted_are": HOW_PREDICTED,
    }


def row_of(section: Section, barcode: str) -> int:
    """The row of a spot. Raises DataError where the section has none of that barcode."""
    index = int(section.adata.obs_names.get_indexer([barcode])[0])
    if index < 0:
        some = ", ".join(map(str, section.adata.obs_names[:3]))
        raise DataError(f"{section.library_id} has no spot {barcode}. Its barcodes look like {some}: give one of them.")
    return index


def look_alikes(run_dir: Path, section: Section, barcode: str, gene: str) -> Generator[Event, None, list[LookAlike]]:
    """Measured training tiles that look like the one at a spot, nearest first; what is needed for it is made the first time, and kept.

    Raises
    ------
    DataError
        There is no such spot, or a section that the model was trained on is no longer where it was.
    ModelError
        The run has no model, or it is damaged.
    """
    run_dir, index = best_run(run_dir), row_of(section, barcode)
    found = kept_look_alikes(run_dir, section.library_id, barcode, gene)
    if found is None:
        from napari_deepspace.learn.look_alikes import keep_looks, member_of
        from napari_deepspace.learn.model import load_model
        from napari_deepspace.read import read_settings

        model = load_model(run_dir)
        member = member_of(model, section, index)
        yield from keep_looks(model, section, lambda: [read_settings(one) for one in model.settings.sections], run_dir, member)
        found = kept_look_alikes(run_dir, section.library_id, barcode, gene)
    return found or []


def with_measured(found: list[LookAlike], known: Known) -> list[LookAlike]:
    """Look-alikes with what was measured of a gene that the run does not predict, where they lie on the section of ``known``."""
    rows = known.section.adata.obs_names.get_indexer([one.barcode for one in found])
    missing = [row >= 0 and one.library_id == known.section.library_id and np.isnan(one.measured) for one, row in zip(found, rows, strict=True)]
    return [replace(one, measured=float(known.measured[row])) if lacks else one for one, row, lacks in zip(found, rows, missing, strict=True)]


def disagreements(known: Known) -> list[Stop]:
    """The stops of the tour of a gene, see :func:`napari_deepspace.disagreements.find_stops`.

    Raises
    ------
    DataError
        There are no values to compare.
    """
    maps, gene = known.maps, known.gene
    if maps is None or gene not in maps.genes:
        raise DataError(f"The run does not predict {gene} on {known.section.library_id}. Give a gene of the run and one of its sections.")
    if maps.relative:
        raise DataError(f"What is predicted here is {maps.relative}: it has no difference from what was measured. Take a section of the run.")
    return find_stops(known.section, known.measured, known.predicted, maps.source)


def write_tiles(run_dir: Path, known: Known, barcode: str, found: list[LookAlike], folder: Path) -> None:
    """Write the tile of a spot as the model sees it and those of its look-alikes as PNG files into ``folder``: ``tile.png``, ``look-alike-1.png``

    Raises
    ------
    ModelError
        The run has no model.
    DataError
        The section has no slide.
    """
    section, view = known.section, view_of_run(run_dir)
    if view is None:
        raise ModelError(f"{run_dir} holds no model, so that nobody knows what it sees. Give the folder of a finished run.")
    tiles = tiles_of(view, run_dir, known, row_of(section, barcode))
    names = ["tile", "wider-view"][: len(tiles)] + [f"look-alike-{number + 1}" for number in range(len(found))]
    for name, tile in zip(names, [*tiles, *pictures(view, run_dir, found, (section.library_id, section.slide))], strict=True):
        if tile is not None:
            write_atomic(folder / f"{name}.png", cv2.imencode(".png", tile[..., ::-1])[1].tobytes())


def tiles_of(view: ModelView, run_dir: Path | None, known: Known, index: int) -> list[np.ndarray]:
    """What the model sees at a spot: its tile and, where it has one, its wider view, uint8 (tile_px, tile_px, 3) each.

    Raises DataError where the section has no slide.
    """
    section = known.section
    slide = section.require_slide()
    own = None
    if view.stain is not None and run_dir is not None:
        own = own_stain(run_dir, section.library_id) or find_stain(section, known.keep)
    wide = (False, True) if view.context is not None else (False,)
    return [seen(view, slide, section.mpp, section.centres_yx[index], own, wider)[0] for wider in wide]
