"""Slides of neighbouring sections that are laid over the open one: what is known of each, its landmarks, and the file that keeps it all.

The open section is called fixed, the neighbour moving. Places are (row, column) in um from the corner of each slide's own full resolution.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from napari_deepspace.align.transform import LocalError
from napari_deepspace.errors import DataError
from napari_deepspace.runs import write_atomic

FORMAT = 1
USUAL_GAP_UM = 10.0
Place = tuple[FiniteFloat, FiniteFloat]
Kind = Literal["similarity", "affine", "thin_plate"]
KINDS: dict[Kind, str] = {"similarity": "Similarity", "affine": "Affine", "thin_plate": "Thin plate"}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pair(_Model):
    """One landmark on both slides; a side that was not clicked yet is None."""

    fixed_yx_um: Place | None = None
    moving_yx_um: Place | None = None

    @property
    def complete(self) -> bool:
        return self.fixed_yx_um is not None and self.moving_yx_um is not None


class Neighbour(_Model):
    """One slide that is laid over the open section.

    ``mpp`` is um per px, None while nobody has said it. ``gap_um`` is the distance along z from the open section, below it negative.
    ``transform`` is the alignment as :mod:`napari_deepspace.align` writes it, None where there is none; ``error_um`` how far it is off, as
    far as that is known from landmarks, ``local_error`` what the pictures say of one made by itself.
    """

    id: str = Field(default_factory=lambda: uuid.uuid4().hex[:12])
    path: Path
    name: str
    counts: bool = False  #: ``path`` is the folder of a section with counts, not an image
    same_glass: bool = False  #: another file of the open section's own glass
    mpp: FiniteFloat | None = Field(None, gt=0)
    gap_um: FiniteFloat = USUAL_GAP_UM
    thickness_um: FiniteFloat = Field(10.0, gt=0)
    kind: Kind = "similarity"
    pairs: tuple[Pair, ...] = ()
    transform: dict[str, Any] | None = None
    how: Literal["", "automatic", "landmarks"] = ""
    error_um: FiniteFloat | None = None
    local_error: LocalError | None = None
    note: str = ""  #: what the alignment says of itself
    visible: bool = True
    opacity: FiniteFloat = Field(0.6, ge=0, le=1)
    blending: Literal["translucent", "additive", "minimum", "multiplicative"] = "translucent"
    dab: bool = False
    haematoxylin: bool = False


class NeighboursFile(_Model):
    """The content of ``neighbours/<library_id>.json`` of a project."""

    format: int = FORMAT
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class Near:
    """A landmark under the mouse: its pair and whether it lies on the fixed slide."""

    pair: int
    fixed: bool


def with_landmark(pairs: tuple[Pair, ...], place_yx_um: Iterable[float], fixed: bool) -> tuple[Pair, ...]:
    """The pairs with one place more: the missing side of a half pair, or the first side of a new one."""
    place = _place(place_yx_um)
    side, other = ("fixed_yx_um", "moving_yx_um") if fixed else ("moving_yx_um", "fixed_yx_um")
    for number, pair in enumerate(pairs):
        if getattr(pair, side) is None or getattr(pair, other) is None:  # the half pair: completed, or its only side set anew
            return (*pairs[:number], pair.model_copy(update={side: place}), *pairs[number + 1 :])
    return (*pairs, Pair.model_validate({side: place}))


def moved_landmark(pairs: tuple[Pair, ...], at: Near, place_yx_um: Iterable[float]) -> tuple[Pair, ...]:
    """The pairs with one landmark elsewhere."""
    side = "fixed_yx_um" if at.fixed else "moving_yx_um"
    return tuple(pair.model_copy(update={side: _place(place_yx_um)}) if number == at.pair else pair for number, pair in enumerate(pairs))


def near_landmark(pairs: tuple[Pair, ...], place_yx_um: Iterable[float], fixed: bool, within_um: float) -> Near | None:
    """The landmark of that slide nearest to a place, if it is no farther than ``within_um``."""
    sides = [pair.fixed_yx_um if fixed else pair.moving_yx_um for pair in pairs]
    away = [np.inf if side is None else float(np.hypot(*(np.asarray(side) - np.asarray(tuple(place_yx_um))))) for side in sides]
    if not away or min(away) > within_um:
        return None
    return Near(int(np.argmin(away)), fixed)


def complete(pairs: Iterable[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Fixed and moving places of the pairs that have both: float64 (n, 2) each, (row, column), um."""
    whole = [pair for pair in pairs if pair.complete]
    fixed = np.array([pair.fixed_yx_um for pair in whole], dtype=float).reshape(-1, 2)
    return fixed, np.array([pair.moving_yx_um for pair in whole], dtype=float).reshape(-1, 2)


def rescaled(neighbour: Neighbour, mpp: float) -> Neighbour:
    """The same slide with another um per px: its landmarks keep their pixels, and an alignment must be made anew."""
    factor = mpp / neighbour.mpp if neighbour.mpp else 1.0

    def moved(pair: Pair) -> Pair:
        place = pair.moving_yx_um
        return pair if place is None else pair.model_copy(update={"moving_yx_um": (place[0] * factor, place[1] * factor)})

    pairs = tuple(moved(pair) for pair in neighbour.pairs)
    changes = {"mpp": mpp, "pairs": pairs, "transform": None, "how": "", "error_um": None, "local_error": None, "note": ""}
    return neighbour.model_copy(update=changes)


def write_neighbours(path: Path, neighbours: tuple[Neighbour, ...]) -> None:
    """Write ``neighbours``, atomically; without any the file goes."""
    if neighbours:
        write_atomic(path, NeighboursFile(neighbours=neighbours).model_dump_json(indent=1) + "\n")
    else:
        path.unlink(missing_ok=True)


def read_neighbours(path: Path) -> tuple[Neighbour, ...]:
    """What :func:`write_neighbours` wrote; nothing where there is no file.

    Raises
    ------
    DataError
        The file is damaged, or a newer version wrote it. It is left as it is.
    """
    if not path.is_file():
        return ()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(values, dict) and isinstance(values.get("format"), int) and values["format"] > FORMAT:
            raise DataError(f"{path} was written by a newer version (format {values['format']}). Update napari-deepspace to open it.")
        return NeighboursFile.model_validate(values).neighbours
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(f"{path} is damaged ({str(error).splitlines()[0]}). Put it right, or take it away to load the slides anew.") from error


def _place(yx_um: Iterable[float]) -> tuple[float, float]:
    y, x = yx_um
    return float(y), float(x)
