"""What ``napari-deepspace figure`` does: the figure of super-resolution for one gene of a finished run."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import numpy as np
from anndata import AnnData

from napari_deepspace.analyse.super_resolution_figure import Drawn, draw, footer, save
from napari_deepspace.denser import HEADER, DenserMap, open_denser, values
from napari_deepspace.errors import SettingsError
from napari_deepspace.events import Event
from napari_deepspace.gene_scores import read_scores
from napari_deepspace.layers import relative_words
from napari_deepspace.results import MEASURED, PREDICTED, SPLIT, UNS, outputs_of, read_result, values_of
from napari_deepspace.runs import DENSER, METRICS, PREDICTIONS, best_run, safe_name
from napari_deepspace.section import Section
from napari_deepspace.views import within_slide


def figure(
    run_dir: Path, section: Section, output: str, out: Path, denser: Path | None = None, region_um: tuple[float, float, float] | None = None
) -> Generator[Event, None, None]:
    """Draw ``output`` at the spots, between them and both, and write ``out`` (.png, .svg or .pdf).

    ``denser`` is a denser map of the section; left out, the run's own points between spots, which are predicted first where they are not there.
    ``region_um`` (row, column, width) is enlarged; left out: around the smallest outline, or where most is predicted.

    Raises
    ------
    SettingsError
        The run does not predict ``output``, or ``out`` is no figure.
    ModelError, DataError
        The run, the map or the section cannot be used.
    """
    run_dir = best_run(run_dir)
    dmap = yield from _map(run_dir, section, denser)
    if dmap.library_id != section.library_id:
        raise SettingsError(f"{dmap.folder} is a map of {dmap.library_id}, not of {section.library_id}. Give one of this section, or --library-id.")
    if output not in dmap.outputs:
        some = ", ".join(dmap.outputs[:8])
        raise SettingsError(
            f"{run_dir.name} does not predict {output}. It predicts {some}{', …' if len(dmap.outputs) > 8 else ''}: name one of these."
        )
    result = yield from _at_spots(run_dir, section)
    names, measured = outputs_of(result), values_of(result, MEASURED)
    shown, words = (measured, "measured") if measured is not None else (values_of(result, PREDICTED), "predicted")
    assert shown is not None
    dropped = result.obs[SPLIT].to_numpy() == "excluded"
    at_spots = np.where(dropped & (measured is not None), np.nan, shown[:, names.index(output)])
    relative = relative_words(dmap.about, section.patient)
    scores = read_scores(_scores(run_dir, section.library_id))
    drawn = Drawn(
        section=section,
        output=output,
        unit=relative or dmap.unit,
        at_spots=within_slide(at_spots) if relative else at_spots,
        spots=f"spots: {int(np.isfinite(at_spots).sum()):,}, {words}",
        dmap=dmap,
        at_points=within_slide(values(dmap, output)) if relative else values(dmap, output),
        outlines=[outline for outline in section.outlines if not outline.excludes],
        footer=footer(dmap.about, scores.numbers(output), _verdict(output, scores.of(output).verdict), dmap.synthetic),
    )
    save(draw(drawn, region_um), out)


def _verdict(output: str, verdict: str) -> str:
    return f"{output}: {verdict}." if verdict else ""


def _map(run_dir: Path, section: Section, denser: Path | None) -> Generator[Event, None, DenserMap]:
    own = denser or run_dir / DENSER / f"{safe_name(section.library_id)}-between-spots.zarr"
    if denser is None and not (own / HEADER).is_file():
        from napari_deepspace.learn.denser_write import write_denser
        from napari_deepspace.learn.model import load_model

        own.parent.mkdir(exist_ok=True)
        yield from write_denser(load_model(run_dir), section, own, "between-spots", 0.0, "tissue", run_dir.name, False)
    return open_denser(own)


def _at_spots(run_dir: Path, section: Section) -> Generator[Event, None, AnnData]:
    """The run's own result for the section, out of fold, or else a new prediction."""
    for path in sorted((run_dir / PREDICTIONS).glob("*.h5ad")):
        result = read_result(path)
        if result.obs_names.equals(section.adata.obs_names) and result.uns[UNS]["library_id"] == section.library_id:
            return result
    from napari_deepspace.learn.inference import predict
    from napari_deepspace.learn.model import load_model

    return (yield from predict(load_model(run_dir), section, run=run_dir.name))


def _scores(run_dir: Path, library_id: str) -> dict[str, object]:
    path = run_dir / METRICS
    sections = json.loads(path.read_text(encoding="utf-8")).get("sections", {}) if path.is_file() else {}
    return dict(sections.get(library_id, {}))
