"""Where figures come from: a run's maps at the spots and its points between them, read, or predicted where they are not there."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_deepspace.analyse.evaluate import evaluate
from napari_deepspace.analyse.super_resolution_figure import Drawn, footer
from napari_deepspace.denser import HEADER, DenserMap, open_denser, values
from napari_deepspace.errors import SettingsError
from napari_deepspace.events import Event
from napari_deepspace.gene_scores import read_scores
from napari_deepspace.layers import Maps, maps_of_result
from napari_deepspace.points import store_name
from napari_deepspace.run_maps import maps_of_run
from napari_deepspace.runs import DENSER
from napari_deepspace.section import Section
from napari_deepspace.views import within_slide


def drawn_of(section: Section, maps: Maps, output: str, dmap: DenserMap) -> Drawn:
    """All of figure 3 from what a run says at the spots and in ``dmap``."""
    measured, relative = maps.measured_of(output), maps.relative
    shown = maps.of(output) if measured is None else np.where(maps.split == "excluded", np.nan, measured)
    assert shown is not None
    at_points, scores = values(dmap, output), maps.scores
    verdict = maps.score_of(output).verdict
    return Drawn(
        section=section,
        output=output,
        unit=relative or dmap.unit,
        at_spots=within_slide(shown) if relative else shown,
        spots=f"spots: {int(np.isfinite(shown).sum()):,}, {'predicted' if measured is None else 'measured'}",
        dmap=dmap,
        at_points=within_slide(at_points) if relative else at_points,
        outlines=[outline for outline in section.outlines if not outline.excludes],
        footer=footer(dmap.about, scores.numbers(output) if scores else "", f"{output}: {verdict}." if verdict else "", dmap.synthetic),
    )


def require_output(run_dir: Path, outputs: tuple[str, ...], output: str) -> None:
    """Raise SettingsError unless ``output`` is one of ``outputs``."""
    if output not in outputs:
        some = f"{', '.join(outputs[:8])}{', …' if len(outputs) > 8 else ''}"
        raise SettingsError(f"{run_dir.name} does not predict {output}. It predicts {some}: name one of these.")


def denser_map(run_dir: Path, section: Section, denser: Path | None = None) -> Generator[Event, None, DenserMap]:
    """The denser map ``denser``, or the run's points between spots with the outlines of ``section``, which are predicted where they are not there.

    Raises
    ------
    SettingsError
        It is a map of another section.
    ModelError, DataError
        It cannot be read, or not be predicted.
    """
    own = denser or run_dir / DENSER / store_name(section.library_id, "between-spots", 0.0, section.outlines)
    if denser is None and not (own / HEADER).is_file():
        from napari_deepspace.learn.denser_write import write_denser
        from napari_deepspace.learn.model import load_model

        own.parent.mkdir(exist_ok=True)
        yield from write_denser(load_model(run_dir), section, own, "between-spots", 0.0, "tissue", run_dir.name, False)
    dmap = open_denser(own)
    if dmap.library_id != section.library_id:
        raise SettingsError(f"{dmap.folder} is a map of {dmap.library_id}, not of {section.library_id}. Give one of this section, or --library-id.")
    return dmap


def maps_at_spots(run_dir: Path, section: Section) -> Generator[Event, None, Maps]:
    """The run's own maps of the section, out of fold, or else a new prediction, scored where the section has counts."""
    own = maps_of_run(run_dir, section)
    if own is not None:
        return own
    from napari_deepspace.learn.inference import predict
    from napari_deepspace.learn.model import load_model

    result = yield from predict(load_model(run_dir), section, run=run_dir.name)
    maps = maps_of_result(result, section)
    return replace(maps, scores=read_scores(evaluate(result))) if maps.measured is not None else maps
