"""Stain of a neighbouring slide at the spots of a section, and whether it goes with expression there.

Neighbouring spots repeat one another: the interval of r comes from whole blocks of tissue, and its P from moved maps, never from single spots.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from napari_deepspace.align.quantify import Quantities, outline_table, quantify, without_cells
from napari_deepspace.align.transform import FILE_NAME, AlignedSlide, Alignment, write_alignment
from napari_deepspace.analyse.agreement import Agreement, agreement_rows
from napari_deepspace.cells import Cells
from napari_deepspace.errors import DataError
from napari_deepspace.geojson import stamp_of
from napari_deepspace.neighbour_fit import transform_of
from napari_deepspace.neighbours import Neighbour, complete
from napari_deepspace.outlines import Outline
from napari_deepspace.section import Section
from napari_deepspace.slide import Slide

ALL_SPOTS = "no training"
_PART = 200  #: spots that are measured before somebody may stop it


def alignment_of(one: Neighbour, section: Section, slide: Slide) -> Alignment:
    """The alignment of a neighbour, as :mod:`napari_deepspace.align` knows it. Raises DataError where it is not aligned."""
    if one.transform is None or one.mpp is None:
        raise DataError(f"{one.name} is not aligned yet. Align it by itself, or set landmarks.")
    fixed, moving = complete(one.pairs)
    return Alignment(
        transform=transform_of(one.transform),
        fixed=AlignedSlide(stamp_of(section.require_slide()), section.mpp, section.library_id),
        moving=AlignedSlide(stamp_of(slide), one.mpp),
        method=one.how or "given",
        landmarks=np.stack([fixed, moving], axis=1),
        error_um=np.nan if one.error_um is None else one.error_um,
        gap_um=one.gap_um,
        note=one.note,
        local_error=one.local_error,
    )


def measure_stain(one: Neighbour, section: Section, slide: Slide, cells: Cells | None = None) -> Generator[tuple[str, float], None, Quantities]:
    """Stain of a neighbour at each spot of ``section``, part by part; yields words and a share. ``cells`` were detected on ``slide``.

    Raises
    ------
    DataError
        As :func:`napari_deepspace.align.quantify.quantify`, for one where the alignment is off by more than a spot's diameter.
    """
    alignment, centres, parts = alignment_of(one, section, slide), section.centres_yx, []
    for first in range(0, len(centres), _PART):
        yield f"Measuring the stain: {first:,} of {len(centres):,} spots", first / len(centres)
        part = centres[first : first + _PART]
        parts.append(quantify(alignment, slide, part, section.platform.spot_diameter_um, fixed=section.slide, cells=cells))
    left_out: Counter[str] = Counter()
    for found in parts:
        left_out.update(found.left_out)
    table = pd.concat([found.table for found in parts], ignore_index=True)
    notes = parts[0].notes[:1] + (without_cells(table) if cells is not None else [])
    return Quantities(table, dict(left_out), notes, parts[0].positive_above)


def measure_outlines(
    one: Neighbour, section: Section, slide: Slide, outlines: Sequence[Outline], cells: Cells | None = None
) -> Generator[tuple[str, float], None, pd.DataFrame]:
    """The same a row an outline, as ``quantify --per-outline`` writes it: see :func:`napari_deepspace.align.quantify.outline_table`."""
    alignment, parts = alignment_of(one, section, slide), []
    for number, outline in enumerate(outlines):
        yield f"Measuring the stain: {number:,} of {len(outlines):,} outlines", number / len(outlines)
        parts.append(quantify(alignment, slide, [outline], section.platform.spot_diameter_um, fixed=section.slide, cells=cells).table)
    return outline_table(outlines, pd.concat(parts, ignore_index=True))


def rows_beside(
    found: Quantities, way: str, maps: dict[str, tuple[np.ndarray, str]], section: Section, inside: Sequence[tuple[str, np.ndarray]] = ()
) -> list[Agreement]:
    """The stain against each of ``maps`` (name: values (n_spots,), NaN where there are none, and where they hold); beside them what the H&E alone
    says of the same stain; then the first map at the spots ``inside`` outlines alone (name, bool (n_spots,))."""
    against, table = dict(maps), found.table
    if "fixed-rgb" in table:
        against["H&E brightness, inverted"] = 255 - table["fixed-rgb"].to_numpy(dtype=float), ALL_SPOTS
    if "fixed-haematoxylin" in table:
        against["nuclear density of the H&E"] = table["fixed-haematoxylin"].to_numpy(dtype=float), ALL_SPOTS
    return agreement_rows(found.of(way), against, section.centres_yx * section.mpp, inside)


def alignment_text(alignment: Alignment) -> str:
    """What ``alignment.json`` holds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE_NAME
        write_alignment(path, alignment)
        return path.read_text(encoding="utf-8")
