"""Tiles that look like the one at a spot, among those that a model learned from: read from what is kept beside the run, without torch.

``RUN/look_alikes/`` holds what the model makes of each tile before its last layer, along at most :data:`AXES` principal axes of the training tiles,
in float16, a file a section and member; a model whose members look at the same embedding (Quick) has one member here.
:mod:`napari_deepspace.learn.look_alikes` makes them, once.

A spot is compared as the member saw it that was not trained on it, with the tiles that this member learned from. Never with itself, under whatever
name, and never with a tile that shares pixels with it: that would look alike for no reason of tissue.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_deepspace.errors import ModelError
from napari_deepspace.model_view import ModelView, seen
from napari_deepspace.results import MEASURED, outputs_of, values_of
from napari_deepspace.run_maps import read_targets, result_file
from napari_deepspace.runs import best_run, safe_name, write_atomic
from napari_deepspace.slide import Slide, open_slide
from napari_deepspace.stain import Stain

FOLDER = "look_alikes"
AXES = 64
MOST = 5
SAMPLED = 2000  #: training tiles whose nearest look-alike is looked for, to learn how near is usual
PERCENTILE = 99
NOTHING = "nothing similar was measured"
HOW = "training tiles nearest in what the model sees; none shares pixels with this one"


@dataclass(frozen=True)
class Looks:
    """One section as one member of a model sees it; n spots, those without a tile have NaN.

    ``coordinates`` float16 (n, k), ``learned`` bool (n,) the member learned from this spot, ``fold`` int (n,) the member not trained on each
    (-1: none, or all the same), ``fingerprints`` uint64 (n,) of the counts, ``unlike`` bool (n,) the model calls the tile unlike all it was trained
    on. ``stain`` float32 (3, 3): the section's two stains and, as third column, their greatest amounts; empty where the model asks for no stain.
    """

    library_id: str
    slide: str  #: fingerprint
    image: str  #: path
    mpp: float
    barcodes: np.ndarray
    centres_yx: np.ndarray
    array_rc: np.ndarray
    fingerprints: np.ndarray
    learned: np.ndarray
    fold: np.ndarray
    unlike: np.ndarray
    coordinates: np.ndarray
    stain: np.ndarray


@dataclass(frozen=True)
class Axes:
    """How one member's embedding is brought to ``coordinates``: ``mean`` (p,), ``axes`` (k, p), float32; ``threshold``: look-alikes are nearer;
    ``view_um``: side of the widest square that the model looks at; ``sections``: those with training tiles."""

    mean: np.ndarray
    axes: np.ndarray
    threshold: float
    view_um: float
    sections: np.ndarray


@dataclass(frozen=True)
class LookAlike:
    """A measured training tile that looks like the one asked for; ``distance`` as a share of what still counts as similar."""

    library_id: str
    barcode: str
    array_row: int
    array_col: int
    yx_um: tuple[float, float]
    yx_px: tuple[float, float]
    mpp: float
    image: str
    distance: float
    measured: float = float("nan")


def looks_path(run_dir: Path, library_id: str, member: int) -> Path:
    return Path(run_dir) / FOLDER / str(member) / f"{safe_name(library_id)}.npz"


def axes_path(run_dir: Path, member: int) -> Path:
    return Path(run_dir) / FOLDER / f"{member}.npz"


def keep_arrays(path: Path, value: Looks | Axes) -> None:
    """Write ``value`` beside ``path`` and rename it."""
    file = io.BytesIO()
    arrays: dict[str, Any] = {field.name: np.asarray(getattr(value, field.name)) for field in fields(value)}
    np.savez(file, **arrays)
    write_atomic(path, file.getvalue())


def read_looks(run_dir: Path, library_id: str, member: int) -> Looks | None:
    """What is kept of a section, or None. Raises ModelError where the file is damaged."""
    found = _read(looks_path(run_dir, library_id, member), Looks)
    return None if found is None else Looks(**found)


def read_axes(run_dir: Path, member: int) -> Axes | None:
    """How a member's embedding is kept, or None. Raises ModelError where the file is damaged."""
    found = _read(axes_path(run_dir, member), Axes)
    return None if found is None else Axes(**found)


def _read(path: Path, kind: type) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {field.name: file[field.name] for field in fields(kind)}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ModelError(f"{path} is damaged ({type(error).__name__}). Delete the folder {path.parent.name}: it is made again.") from error
    return {name: value.item() if value.ndim == 0 else value for name, value in found.items()}


def kept_look_alikes(run_dir: Path, library_id: str, barcode: str, gene: str) -> list[LookAlike] | None:
    """The look-alikes of a spot with what was measured of ``gene`` there; None where what is needed for that is not kept yet.

    Raises
    ------
    ModelError
        What is kept, or a result of the run, is damaged.
    """
    run_dir = best_run(Path(run_dir))
    known = next((run_dir / FOLDER).glob(f"*/{safe_name(library_id)}.npz"), None)
    looks = read_looks(run_dir, library_id, int(known.parent.name)) if known is not None else None
    if looks is None or barcode not in looks.barcodes:
        return None
    index = int(np.flatnonzero(looks.barcodes == barcode)[0])
    member = max(int(looks.fold[index]), 0)
    pinned, axes = read_looks(run_dir, library_id, member), read_axes(run_dir, member)
    if pinned is None or axes is None:
        return None
    training = [one for one in (read_looks(run_dir, str(name), member) for name in axes.sections) if one is not None]
    found = find_look_alikes(pinned, index, axes, training)
    values = {name: _measured(run_dir, name, gene) for name in {one.library_id for one in found}}
    return [replace(one, measured=float(values[one.library_id].get(one.barcode, np.nan))) for one in found]


def own_stain(run_dir: Path, library_id: str) -> Stain | None:
    """The stains of a section as they were found when its tiles were looked at; None where nothing is kept of it, or the model asks for no stain."""
    known = next((best_run(Path(run_dir)) / FOLDER).glob(f"*/{safe_name(library_id)}.npz"), None)
    looks = read_looks(best_run(Path(run_dir)), library_id, int(known.parent.name)) if known is not None else None
    return Stain(looks.stain[:, :2], looks.stain[:2, 2]) if looks is not None and len(looks.stain) else None


def pictures(view: ModelView, run_dir: Path, found: list[LookAlike], own: tuple[str, Slide | None] = ("", None)) -> list[np.ndarray | None]:
    """The tiles of look-alikes as the model sees them, uint8 (tile_px, tile_px, 3); None where a slide is no longer there.

    ``own`` is the name and the slide of a section that is open already.
    """
    tiles: list[np.ndarray | None] = [None] * len(found)
    for name, image in {(one.library_id, one.image) for one in found}:
        rows = [number for number, one in enumerate(found) if one.library_id == name]
        places = np.array([found[number].yx_px for number in rows])
        mpp = found[rows[0]].mpp
        if name == own[0] and own[1] is not None:
            seen_there = seen(view, own[1], mpp, places, own_stain(run_dir, name))
        elif Path(image).is_file():
            with open_slide(Path(image)) as slide:
                seen_there = seen(view, slide, mpp, places, own_stain(run_dir, name))
        else:
            continue
        for number, tile in zip(rows, seen_there, strict=True):
            tiles[number] = tile
    return tiles


def _measured(run_dir: Path, library_id: str, gene: str) -> pd.Series:
    """What the run measured of ``gene`` in one of its sections, by barcode; empty where it does not predict it."""
    path = result_file(run_dir, library_id)
    result = read_targets(path) if path is not None else None
    values = values_of(result, MEASURED) if result is not None and gene in outputs_of(result) else None
    if result is None or values is None:
        return pd.Series(dtype=float)
    return pd.Series(values[:, outputs_of(result).index(gene)], index=result.obs_names)


def find_look_alikes(pinned: Looks, index: int, axes: Axes, training: list[Looks], most: int = MOST) -> list[LookAlike]:
    """The ``most`` tiles of ``training`` most like that in row ``index`` of ``pinned``, nearest first; empty where nothing similar was measured."""
    own = pinned.coordinates[index].astype(np.float32)
    if not np.isfinite(own).all() or pinned.unlike[index]:
        return []
    found = []
    for looks in training:
        allowed = looks.learned & np.isfinite(looks.coordinates).all(axis=1)
        allowed &= ~((looks.fingerprints == pinned.fingerprints[index]) & (pinned.fingerprints[index] != 0))
        if looks.slide == pinned.slide:
            allowed &= np.abs(looks.centres_yx - pinned.centres_yx[index]).max(axis=1) * pinned.mpp > axes.view_um
        rows = np.flatnonzero(allowed)
        away = np.sqrt(((looks.coordinates[rows].astype(np.float32) - own) ** 2).sum(axis=1))
        near = np.argsort(away, kind="stable")[:most]
        found += [(float(away[one]), looks, int(rows[one])) for one in near if away[one] <= axes.threshold]
    return [_look_alike(looks, row, away / axes.threshold) for away, looks, row in sorted(found, key=lambda one: one[0])[:most]]


def usual_distance(training: list[Looks], view_um: float) -> float:
    """The distance within which nearly every (:data:`PERCENTILE`) training tile has another one like it that shares no pixels with it."""
    every = [(number, row) for number, looks in enumerate(training) for row in np.flatnonzero(looks.learned)]
    nearest = []
    for number, row in every[:: 1 + len(every) // SAMPLED]:
        looks, away = training[number], np.inf
        own = looks.coordinates[row].astype(np.float32)
        for other in training:
            allowed = other.learned.copy()
            if other.slide == looks.slide:
                allowed &= np.abs(other.centres_yx - looks.centres_yx[row]).max(axis=1) * looks.mpp > view_um
            if allowed.any():
                away = min(away, float(((other.coordinates[allowed].astype(np.float32) - own) ** 2).sum(axis=1).min()))
        nearest.append(away**0.5)
    known = np.array(nearest)[np.isfinite(nearest)]
    return float(np.percentile(known, PERCENTILE)) if len(known) else 0.0


def _look_alike(looks: Looks, row: int, distance: float) -> LookAlike:
    y, x = (float(one) for one in looks.centres_yx[row])
    return LookAlike(
        library_id=looks.library_id,
        barcode=str(looks.barcodes[row]),
        array_row=int(looks.array_rc[row, 0]),
        array_col=int(looks.array_rc[row, 1]),
        yx_um=(y * looks.mpp, x * looks.mpp),
        yx_px=(y, x),
        mpp=float(looks.mpp),
        image=looks.image,
        distance=distance,
    )
