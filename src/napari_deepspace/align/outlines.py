"""Outlines carried from one slide to another that it is aligned with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import box

from napari_deepspace.align.transform import Alignment
from napari_deepspace.errors import DataError
from napari_deepspace.outlines import Outline, on_slide, read_outline_file, write_outlines

_LONGEST_PX = 64.0  #: of a straight line that is bent with a thin plate


def move_outlines(outlines: Iterable[Outline], alignment: Alignment, back: bool = False) -> list[Outline]:
    """``outlines`` of the moving slide as they lie on the fixed one, in full-resolution px; ``back``: of the fixed slide on the moving one.

    Lines that cross themselves after bending are mended; all else about an outline stays.
    """
    transform = alignment.transform
    source, target = (alignment.fixed, alignment.moving) if back else (alignment.moving, alignment.fixed)
    way = transform.inverse_points if back else transform.apply

    def there(xy: np.ndarray) -> np.ndarray:
        return way(xy[:, ::-1] * source.mpp)[:, ::-1] / target.mpp

    moved = []
    for one in outlines:
        geometry = shapely.segmentize(one.geometry, _LONGEST_PX) if transform.kind == "thin_plate" else one.geometry
        area: Any = shapely.transform(geometry, there)
        if not area.is_valid:
            area = shapely.make_valid(area, method="structure", keep_collapsed=False)
        if not area.is_empty:
            moved.append(replace(one, geometry=area))
    return moved


def move_outline_file(source: Path, target: Path, alignment: Alignment, back: bool = False) -> tuple[int, int]:
    """Read outlines of one slide, write them for the other; returns how many, and how many of them lie outside the other slide.

    Raises
    ------
    DataError
        The file holds no outlines, was drawn on another slide, or none of its outlines lies on the other slide.
    """
    source, target = Path(source), Path(target)
    if source.resolve() == target.resolve():
        raise DataError(f"{target} is the file that is read. Give another name: the outlines of the first slide stay as they are.")
    start, end = (alignment.fixed, alignment.moving) if back else (alignment.moving, alignment.fixed)
    moved = move_outlines(on_slide(read_outline_file(source), start.stamp, source).outlines, alignment, back)
    whole = box(0, 0, end.stamp.width, end.stamp.height)
    outside = sum(not one.geometry.intersects(whole) for one in moved)
    if outside == len(moved):
        raise DataError(f"{source}: no outline comes to lie on {end.stamp.name}. Give outlines that were drawn on {start.stamp.name}.")
    write_outlines(target, moved, end.stamp)
    return len(moved), outside
