"""Cells that QuPath detected, read from GeoJSON: where they are, their class and their measurements, and how many lie in spots and outlines."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from scipy.spatial import cKDTree
from shapely.geometry import shape

from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.geojson import (
    CELL,
    DETECTION,
    FAULTS,
    NEEDED,
    SlideStamp,
    class_of,
    id_of,
    kind_of,
    measurements_of,
    read_features,
    shift_onto,
    stamp_in,
    with_children,
)
from napari_deepspace.outlines import Outline

POSITIVE = ("positive", "1+", "2+", "3+")
"""QuPath's names of positive classes, also as the last part of a derived one ("Tumor: Positive")."""


@dataclass(frozen=True)
class Cells:
    """Objects of a file, n of them, in its order.

    ``centres_yx`` float64 (n, 2) are their centroids, (row, column) in full-resolution px; ``classes``, ``names`` and ``ids`` are str objects (n,),
    "" where there is none; ``measurements`` float64 (n, n_measurements), NaN where one has none. ``left_out`` counts what is no cell, by its kind.
    """

    centres_yx: np.ndarray
    classes: np.ndarray
    measurements: pd.DataFrame
    names: np.ndarray
    ids: np.ndarray
    drawn_on: SlideStamp | None = None
    left_out: dict[str, int] = field(default_factory=dict)


def read_cells(path: Path, slide: SlideStamp | None = None, kinds: Collection[str] = (CELL, DETECTION)) -> Cells:
    """Read the cells and other detections of a GeoJSON file of QuPath, also those that are child objects of annotations.

    ``slide`` is the one they are for (:func:`napari_deepspace.geojson.stamp_of`), ``kinds`` are the objects taken, of
    :func:`napari_deepspace.geojson.kind_of`. Only the text of the file is held in memory beside the result.

    Raises
    ------
    DataError
        The file is missing, damaged, holds no cells, or was drawn on another slide.
    """
    members: dict[str, Any] = {}
    rings, table, left_out = _Rings(), _Table(), Counter[str]()
    classes, names, ids = [], [], []
    known: dict[str, str] = {}  # one string a class, however many cells have it
    for number, feature, _ in with_children(read_features(path, members)):
        try:
            kind = kind_of(feature)
            if kind not in kinds:
                left_out[kind] += 1
                continue
            properties = feature.get("properties") or {}
            rings.add(feature["geometry"])
            table.add(measurements_of(properties))
            name = class_of(properties.get("classification"))
            classes.append(known.setdefault(name, name))
            names.append(str(properties.get("name") or ""))
            ids.append(id_of(feature))
        except FAULTS as error:
            raise DataError(f"{path}: feature {number} is no cell ({type(error).__name__}: {error}). {NEEDED}") from error
    if not classes:
        found = ", ".join(f"{count:,} of kind {kind}" for kind, count in left_out.items()) or "nothing"
        raise DataError(f"{path} holds no {' or '.join(kinds)}, but {found}. Export the detections from QuPath as GeoJSON.")
    centres = rings.centroids()
    if not np.isfinite(centres).all():
        bad = int(np.flatnonzero(~np.isfinite(centres).all(axis=1))[0]) + 1
        raise DataError(f"{path}: a coordinate of cell {bad} is no number. {NEEDED}")
    drawn_on = stamp_in(members, path)
    if slide is not None:
        centres = centres + shift_onto(slide, drawn_on, path)
    words = [np.array(column, dtype=object) for column in (classes, names, ids)]
    return Cells(np.ascontiguousarray(centres[:, ::-1]), words[0], table.frame(), words[1], words[2], drawn_on, dict(left_out))


def positive_cells(cells: Cells, measurement: str | None = None, above: float = 0.0) -> np.ndarray:
    """Which cells are positive, bool (n,): by their class (:data:`POSITIVE`), or whose ``measurement`` lies above a value.

    Raises
    ------
    SettingsError
        The cells have no such measurement.
    """
    if measurement is None:
        last = {name: name.rsplit(":", 1)[-1].strip().casefold() in POSITIVE for name in set(cells.classes)}
        return np.array([last[name] for name in cells.classes], dtype=bool)
    if measurement not in cells.measurements:
        some = ", ".join(map(str, cells.measurements.columns[:8])) or "none"
        raise SettingsError(f"The cells have no measurement {measurement!r}. They have {some}: name one of these.")
    return np.asarray(cells.measurements[measurement] > above)


def cells_in_spots(cells: Cells, centres_yx: np.ndarray, diameter_px: float, mpp: float, positive: np.ndarray | None = None) -> pd.DataFrame:
    """How many cells have their centroid in each spot, a disc of ``diameter_px`` around ``centres_yx`` (n_spots, 2), its edge included.

    Columns, a row a spot: ``cells`` and ``cells_per_mm2``; with ``positive`` (bool, n) also ``positive``, ``positive_per_mm2`` and
    ``positive_share`` (NaN without a cell). ``mpp`` is um per full-resolution px.
    """
    area = np.full(len(centres_yx), np.pi * (diameter_px * mpp / 2000) ** 2)

    def count(points: np.ndarray) -> np.ndarray:
        if not len(points) or not len(centres_yx):
            return np.zeros(len(centres_yx), dtype=np.int64)
        return np.asarray(cKDTree(points).query_ball_point(centres_yx, diameter_px / 2, return_length=True), dtype=np.int64)

    return _densities(area, count(cells.centres_yx), None if positive is None else count(cells.centres_yx[positive]))


def cells_in_outlines(cells: Cells, outlines: Sequence[Outline], mpp: float, positive: np.ndarray | None = None) -> pd.DataFrame:
    """The same a row an outline, those on its border included, with ``area_mm2`` before it; the index holds the outlines' ids.

    A cell in two outlines counts in both.
    """
    x, y = cells.centres_yx[:, 1], cells.centres_yx[:, 0]
    area = np.array([outline.geometry.area * mpp**2 / 1e6 for outline in outlines])
    inside = []
    for outline in outlines:
        shapely.prepare(outline.geometry)
        inside.append(shapely.intersects_xy(outline.geometry, x, y))
    counts = np.array([one.sum() for one in inside], dtype=np.int64)
    found = None if positive is None else np.array([(one & positive).sum() for one in inside], dtype=np.int64)
    table = _densities(area, counts, found).set_axis([outline.id for outline in outlines])
    table.insert(0, "area_mm2", area)
    return table


def _densities(area_mm2: np.ndarray, cells: np.ndarray, positive: np.ndarray | None) -> pd.DataFrame:
    columns = {"cells": cells, "cells_per_mm2": cells / area_mm2}
    if positive is not None:
        share = np.divide(positive, cells, out=np.full(len(cells), np.nan), where=cells > 0)
        columns |= {"positive": positive, "positive_per_mm2": positive / area_mm2, "positive_share": share}
    return pd.DataFrame(columns)


class _Rings:
    """Outer lines one after another, closed, of which all centroids are computed at once; anything but a plain polygon is one point already."""

    def __init__(self) -> None:
        self._xy, self._sizes = array("d"), array("q")

    def add(self, geometry: dict[str, Any]) -> None:
        coordinates = geometry["coordinates"]
        if geometry["type"] == "Polygon" and len(coordinates) == 1 and len(coordinates[0]) > 2:
            ring = coordinates[0]
            before = len(self._xy)
            self._xy.extend(chain.from_iterable(ring))
            if len(self._xy) - before == 2 * len(ring):
                if ring[0] != ring[-1]:
                    self._xy.extend(ring[0])
                self._sizes.append((len(self._xy) - before) // 2)
                return
            del self._xy[before:]  # with a third coordinate
        centre = shape(geometry).centroid
        self._xy.extend((centre.x, centre.y))  # which raises where there is none
        self._sizes.append(1)

    def centroids(self) -> np.ndarray:
        """(x, y) of each, float64 (n, 2); of a ring without an area the mean of its points."""
        xy, sizes = np.frombuffer(self._xy).reshape(-1, 2), np.frombuffer(self._sizes, dtype=np.int64)
        first = np.cumsum(sizes) - sizes
        own = xy - np.repeat(xy[first], sizes, axis=0)  # from its first point: far from the origin digits would be lost
        following = np.roll(own, -1, axis=0)
        with np.errstate(invalid="ignore"):  # a coordinate that is no number is told by who asks
            cross = own[:, 0] * following[:, 1] - following[:, 0] * own[:, 1]
        cross[first + sizes - 1] = 0  # to the next ring
        twice = np.add.reduceat(cross, first)
        moments = np.add.reduceat((own + following) * cross[:, None], first)
        flat = twice == 0
        mean = np.add.reduceat(own, first) / sizes[:, None]
        return xy[first] + np.where(flat[:, None], mean, moments / (3 * np.where(flat, 1, twice))[:, None])


class _Table:
    """Measurements cell by cell. Cells of one kind have the same names in the same order: of these whole rows are kept, one after another."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, ...], tuple[array[float], array[int]]] = {}
        self._n = 0

    def add(self, found: dict[str, Any]) -> None:
        names = tuple(found)
        values, rows = self._kinds.setdefault(names, (array("d"), array("q")))
        try:
            values.extend(found.values())
        except TypeError:  # null, or a word such as "NaN"
            del values[len(rows) * len(names) :]
            values.extend(np.nan if value is None else float(value) for value in found.values())
        rows.append(self._n)
        self._n += 1

    def frame(self) -> pd.DataFrame:
        at = {name: number for number, name in enumerate(dict.fromkeys(chain.from_iterable(self._kinds)))}
        table = np.full((self._n, len(at)), np.nan)
        for names, (values, rows) in self._kinds.items():
            if names:
                table[np.ix_(rows, [at[name] for name in names])] = np.frombuffer(values).reshape(len(rows), len(names))
        return pd.DataFrame(table, columns=list(at))
