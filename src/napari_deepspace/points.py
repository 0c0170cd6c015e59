"""Where nothing was measured: points between the spots, and regular grids over the tissue."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.spatial import cKDTree

from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.outlines import Outline
from napari_deepspace.runs import safe_name
from napari_deepspace.section import Section
from napari_deepspace.tiles import between_spots, cell_middles

Rule = Literal["tissue", "original"]
At = Literal["between-spots", "grid"]
LEAST_SPACING_UM = 8.0  #: a denser grid would pretend to see more than a tile tells
MOST_POINTS = 4_000_000


@dataclass(frozen=True)
class Points:
    """Points of a section: ``centres_yx`` float64 (n, 2), (row, column) in full-resolution px.

    Of a grid also ``cell`` int32 (n, 2), the row and column of each point on it, its ``shape`` (rows, columns), where its first point lies
    (``origin_yx_px``) and how far its points are apart (``step_px``).
    """

    at: At
    centres_yx: np.ndarray
    spacing_um: float
    cell: np.ndarray | None = None
    shape: tuple[int, int] | None = None
    origin_yx_px: tuple[float, float] | None = None
    step_px: float | None = None


def store_name(library_id: str, at: str, spacing_um: float, outlines: Sequence[Outline]) -> str:
    """What a run calls its denser map of a section: other points, or other outlines that exclude, make another map."""
    parts = [safe_name(library_id), at, *([f"{spacing_um:g}um"] if at == "grid" else [])]
    acting = sorted(outline.geometry.wkt for outline in outlines if outline.excludes)
    if acting:
        parts.append(f"outlines-{hashlib.blake2b(' '.join(acting).encode(), digest_size=2).hexdigest()}")
    return f"{'-'.join(parts)}.zarr"


def points_between(section: Section, in_tissue: np.ndarray, rule: Rule = "tissue") -> Points:
    """The points equally far from adjacent spots: of three on a hexagonal lattice (two a spot), of a square cell on a square one (one a spot).

    ``rule``: "tissue" takes only points all of whose spots are ``in_tissue`` (bool, n_spots), of square cells at least three of the four;
    "original" takes those of the whole lattice, as the original program does, which leaves the choice to the white filter.

    Raises
    ------
    SettingsError
        An unknown rule.
    DataError
        No three spots are adjacent.
    """
    if rule not in get_args(Rule):
        raise SettingsError(f"Unknown rule {rule!r} for points between spots. Choose {' or '.join(get_args(Rule))}.")
    spots = np.column_stack([section.adata.obs[["array_row", "array_col"]].to_numpy(dtype=np.float64), section.centres_yx])
    lattice = section.lattice_rc_yx if rule == "original" else spots[in_tissue]
    find = between_spots if section.platform.lattice == "hexagonal" else cell_middles
    centres = find(lattice[:, :2].astype(np.int64), lattice[:, 2:])
    if not len(centres):
        raise DataError(f"{section.library_id}: no three adjacent spots lie on tissue, so there is no point between them. Predict at a grid.")
    centres = centres[np.lexsort((centres[:, 1], centres[:, 0]))]
    pitch = section.platform.pitch_um
    return Points("between-spots", centres, pitch / np.sqrt(3) if section.platform.lattice == "hexagonal" else pitch / np.sqrt(2))


def grid_points(section: Section, spacing_um: float, in_tissue: np.ndarray | None = None) -> Points:
    """A regular grid, ``spacing_um`` apart, over the tissue: within one pitch of a spot ``in_tissue`` (bool, n_spots; default: those so marked).

    Points come in squares of 128 x 128, so that a stretch of them lies close together on the slide.

    Raises
    ------
    SettingsError
        The spacing is below 8 um, or no finite number, or gives millions of points.
    DataError
        No spot lies on tissue.
    """
    if not (np.isfinite(spacing_um) and spacing_um >= LEAST_SPACING_UM):
        raise SettingsError(f"A spacing of {spacing_um:g} um is too fine: a tile tells no more. Give {LEAST_SPACING_UM:g} um or more.")
    if in_tissue is None:
        obs = section.adata.obs
        in_tissue = np.asarray(obs["in_tissue"], dtype=bool) if "in_tissue" in obs else np.ones(len(obs), dtype=bool)
    spots = section.centres_yx[in_tissue]
    if not len(spots):
        raise DataError(f"{section.library_id}: no spot lies on tissue, so there is nowhere to lay a grid.")
    step, reach = spacing_um / section.mpp, section.pitch_px
    limit = np.array(section.require_slide().shape[:2])
    first, last = np.maximum(spots.min(axis=0) - reach, 0), np.minimum(spots.max(axis=0) + reach, limit - 1)
    shape = np.maximum((last - first) // step, 0).astype(np.int64) + 1
    if shape.prod() > 4 * MOST_POINTS:
        raise SettingsError(f"A grid of {spacing_um:g} um would have {shape.prod():,} points. Give a wider spacing.")
    tree, rows = cKDTree(spots), np.arange(shape[1])
    cells = []
    for row in range(int(shape[0])):  # row by row: the whole rectangle would need more memory than the tissue
        centres = np.column_stack([np.full(len(rows), first[0] + row * step), first[1] + rows * step])
        near = np.isfinite(tree.query(centres, distance_upper_bound=reach)[0])
        cells.append(np.column_stack([np.full(near.sum(), row), rows[near]]))
    cell = np.concatenate(cells).astype(np.int32)
    cell = cell[np.lexsort((cell[:, 1], cell[:, 0], cell[:, 1] // 128, cell[:, 0] // 128))]
    origin = (float(first[0]), float(first[1]))
    return Points("grid", first + cell * step, float(spacing_um), cell, (int(shape[0]), int(shape[1])), origin, float(step))
