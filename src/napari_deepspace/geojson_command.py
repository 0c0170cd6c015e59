"""What ``napari-deepspace import-geojson`` and ``export-geojson`` do: outlines from QuPath, and spots and points with their values back to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from shapely.geometry import box

from napari_deepspace.analyse.bands import band_of_one
from napari_deepspace.denser import BETWEEN_SIZE, band_around, open_denser, unlike, values
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.events import Event
from napari_deepspace.figure_sources import denser_map, maps_at_spots, require_output
from napari_deepspace.gene_scores import Scores
from napari_deepspace.geojson import stamp_of
from napari_deepspace.geojson_tiles import tiles_geojson
from napari_deepspace.layers import relative_words
from napari_deepspace.outlines import on_slide, read_outline_file, write_outlines
from napari_deepspace.run_maps import maps_of_run
from napari_deepspace.runs import best_run
from napari_deepspace.section import Section
from napari_deepspace.views import within_slide

AT = ("spots", "between-spots", "grid")
USE = "predicted values are no measurements; research use only"


def import_outlines(file: Path, section: Section, out: Path) -> dict[str, Any]:
    """Read outlines from any GeoJSON of QuPath and write ``out``, which knows the section's slide; returns what was found, fit for JSON.

    Raises
    ------
    DataError
        ``file`` is missing, damaged, holds no outline, was drawn on another slide, or none of its outlines lies on this one. What was at ``out``
        stays then.
    SettingsError
        ``out`` is ``file``.
    """
    file, out = Path(file), Path(out)
    if out.resolve() == file.resolve():
        raise SettingsError(f"{out} is the file that is read. Give another --out: the file of QuPath stays as it is.")
    found, stamp, outside = read_outline_file(file), None, 0
    left_out = ", ".join(f"{count:,} of kind {kind}" for kind, count in found.left_out.items())
    if not found.outlines:
        raise DataError(f"{file} holds no outlines, but {left_out or 'nothing'}. Export the annotations from QuPath as GeoJSON.")
    if section.slide is not None:
        stamp = stamp_of(section.slide)
        found = on_slide(found, stamp, file)
        whole = box(0, 0, stamp.width, stamp.height)
        outside = sum(not outline.geometry.intersects(whole) for outline in found.outlines)
        if outside == len(found.outlines):
            raise DataError(f"{file}: no outline lies on {stamp.name}. Export from this very slide, in pixels of its full resolution.")
    write_outlines(out, found.outlines, stamp or found.drawn_on)
    return {
        "out": str(out),
        "outlines": len(found.outlines),
        "classes": dict(Counter(outline.classification for outline in found.outlines).most_common()),
        "left_out": found.left_out,
        "mended": found.mended,
        "outside": outside,
        "moved_xy_px": list(found.shift_xy),
        "slide": None if stamp is None else stamp.name,
        "synthetic": section.synthetic,
    }


def export_tiles(
    run_dir: Path, section: Section, genes: Sequence[str], out: Path, at: str | None = None, denser: Path | None = None
) -> Generator[Event, None, dict[str, Any]]:
    """Write the values of ``genes`` (or other outputs) as tiles for QuPath into ``out``; returns what was written, fit for JSON.

    ``at`` is one of :data:`AT`; left out: what ``denser``, a denser map, holds, or else the spots. Points between spots are predicted where the run
    has none.

    Raises
    ------
    SettingsError
        The run does not predict a gene, or ``at`` and ``denser`` do not go together.
    ModelError, DataError
        The run or the map cannot be read, or the slide is missing where something has to be predicted.
    """
    if not genes:
        raise SettingsError("Name at least one gene: --gene ERBB2.")
    at = at or (open_denser(denser).at if denser is not None else "spots")
    if at not in AT or (at == "spots" and denser is not None):
        beside = " beside --denser" if denser is not None else ""
        raise SettingsError(f"--at {at} is not possible{beside}. Give one of {', '.join(AT)}; a denser map holds one of the last two.")
    if at == "grid" and denser is None:
        raise SettingsError("--at grid needs a map: napari-deepspace predict RUN_DIR SECTION --at grid --out MAP.zarr, then --denser MAP.zarr.")
    run_dir, genes = best_run(run_dir), list(dict.fromkeys(genes))
    tiles = yield from _spots(run_dir, section, genes) if at == "spots" else _points(run_dir, section, genes, at, denser)
    verdicts = {f"{gene} verdict": tiles.scores.of(gene).verdict for gene in genes} if tiles.scores is not None else {}
    said = {"run": run_dir.name, "unit": tiles.unit, "levels": tiles.relative, "data": "SYNTHETIC" if tiles.synthetic else "", "use": USE} | verdicts
    n = tiles_geojson(
        out,
        tiles.centres_yx,
        tiles.side_px,
        tiles.measurements,
        tiles.shape,
        tiles.names,
        {**tiles.words, **{key: word for key, word in said.items() if word}},
        stamp_of(section.slide) if section.slide is not None else None,
        {"contents": f"{', '.join(genes)} at {at} of {section.library_id}; {USE}", "run": run_dir.name, "synthetic": tiles.synthetic},
    )
    return {"out": str(out), "tiles": n, "at": at, "measurements": list(tiles.measurements), "unit": tiles.unit, "synthetic": tiles.synthetic}


@dataclass(frozen=True)
class _Tiles:
    """What :func:`napari_deepspace.geojson_tiles.tiles_geojson` is given, and what there is to say of it."""

    centres_yx: np.ndarray
    side_px: float
    shape: Literal["disc", "square"]
    names: list[str] | None
    measurements: dict[str, np.ndarray]
    words: Mapping[str, str | Sequence[str]]
    unit: str
    relative: str
    scores: Scores | None
    synthetic: bool


def _spots(run_dir: Path, section: Section, genes: Sequence[str]) -> Generator[Event, None, _Tiles]:
    maps = yield from maps_at_spots(run_dir, section)
    found: dict[str, np.ndarray] = {}
    for gene in genes:
        require_output(run_dir, maps.genes, gene)
        measured, predicted = maps.measured_of(gene), maps.of(gene)
        assert predicted is not None
        if measured is not None:
            found[f"{gene} measured"] = np.where(maps.split == "excluded", np.float32(np.nan), measured)
        found |= _predicted(gene, predicted, maps.relative, band_of_one(maps.band, maps.genes.index(gene), predicted))
    names, source = [str(name) for name in section.adata.obs_names], [str(one) for one in maps.source]
    return _Tiles(
        section.centres_yx, section.spot_diameter_px, "disc", names, found, {"source": source}, maps.unit, maps.relative, maps.scores,
        bool(section.synthetic),
    )  # fmt: skip


def _points(run_dir: Path, section: Section, genes: Sequence[str], at: str, denser: Path | None) -> Generator[Event, None, _Tiles]:
    dmap = yield from denser_map(run_dir, section, denser)
    if dmap.at != at:
        raise SettingsError(f"{dmap.folder} holds {dmap.at}, not {at}. Leave --at out, or give another --denser.")
    relative = relative_words(dmap.about, section.patient)
    found: dict[str, np.ndarray] = {}
    for gene in genes:
        require_output(run_dir, dmap.outputs, gene)
        predicted = values(dmap, gene)
        found |= _predicted(gene, predicted, relative, band_around(dmap, gene, predicted))
    words: dict[str, str | Sequence[str]] = {"source": "between", "unlike": ["unlike the training tiles" if one else "" for one in unlike(dmap)]}
    maps = maps_of_run(run_dir, section)
    side = dmap.step_px or BETWEEN_SIZE * section.spot_diameter_px
    return _Tiles(
        dmap.centres_yx, side, "square" if dmap.step_px else "disc", None, found, words, dmap.unit, relative, maps.scores if maps else None,
        dmap.synthetic,
    )  # fmt: skip


def _predicted(gene: str, predicted: np.ndarray, relative: str, band: tuple[np.ndarray, np.ndarray] | None) -> dict[str, np.ndarray]:
    """The predicted values of a gene by name; where levels mean nothing beyond the slide they go from 0 to 1 within it, and have no band."""
    if relative:
        return {f"{gene} predicted (0 to 1 within this slide)": within_slide(predicted)}
    ends = {} if band is None else {f"{gene} interval low": band[0], f"{gene} interval high": band[1]}
    return {f"{gene} predicted": predicted} | ends
