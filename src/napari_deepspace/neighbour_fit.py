"""From landmarks, or by itself, to the alignment of a neighbouring slide: what the window and the command line have in common."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from napari_deepspace.align import landmarks
from napari_deepspace.align.transform import LocalError, Transform
from napari_deepspace.errors import DataError, DeepSpaceError
from napari_deepspace.events import Progress
from napari_deepspace.neighbours import Neighbour, complete
from napari_deepspace.section import Section
from napari_deepspace.slide import Slide


@dataclass(frozen=True)
class Fit:
    """An alignment: ``transform`` as :mod:`napari_deepspace.align` writes it, ``error_um`` how far it is off (None: not known), in words ``note``.
    ``local_error`` is what the pictures say of one made by itself.

    ``residual_um`` and ``left_out_um`` are float64 (n_pairs,), of landmarks.
    """

    transform: dict[str, Any]
    error_um: float | None
    note: str
    mpp: float | None = None  #: um per px of the neighbour, where the alignment has found it
    residual_um: np.ndarray | None = None
    left_out_um: np.ndarray | None = None
    local_error: LocalError | None = None


def transform_values(transform: Transform) -> dict[str, Any]:
    """A transform as JSON holds it."""
    points = {"moving": transform.moving_um.tolist(), "fixed": transform.fixed_um.tolist()}
    return {"kind": transform.kind, "matrix": transform.matrix.tolist(), "control_points": points}


def transform_of(values: dict[str, Any]) -> Transform:
    """What :func:`transform_values` gave; raises DataError where it is damaged."""
    try:
        points = [np.asarray(values["control_points"][name], dtype=float).reshape(-1, 2) for name in ("moving", "fixed")]
        return Transform(values["kind"], np.asarray(values["matrix"], dtype=float).reshape(3, 3), *points)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"An alignment in the project is damaged ({error}). Align the slide again.") from error


def fit_landmarks(one: Neighbour) -> tuple[Fit | None, str]:
    """The alignment that the complete pairs of a neighbour make and what is to say of it; None where they are too few or do not do."""
    fixed, moving = complete(one.pairs)
    if len(fixed) < landmarks.LEAST[one.kind]:
        return None, ""
    try:
        transform = landmarks.fit(fixed, moving, one.kind)
        residual = landmarks.residuals_um(fixed, moving, transform)
        left_out = landmarks.leave_one_out_um(fixed, moving, one.kind)
    except DeepSpaceError as refused:
        return None, str(refused)
    error = float(np.mean(left_out)) if np.isfinite(left_out).all() else None
    words = f"Mean residual {np.mean(residual):.1f} um"
    words += f"; left out, {error:.1f} um on average." if error is not None else "; one pair more tells how far it is off."
    if one.kind == "thin_plate":
        words += " A thin plate passes through all its landmarks: only what is left out counts."
    return Fit(transform_values(transform), error, f"{len(fixed)} pairs.", None, residual, left_out), words


def align_by_itself(section: Section, slide: Slide, mpp: float | None, same_glass: bool = False) -> Generator[tuple[str, float], None, Fit]:
    """Align ``slide``, of ``mpp`` um per px (None only with ``same_glass``), to that of ``section``; yields words and a share, negative if unknown.

    Raises
    ------
    DataError
        The section has no image.
    AlignmentFailed
        The two do not match clearly better than by chance: nothing is aligned then.
    """
    from napari_deepspace.align.automatic import align_slides

    yield "Looking for the tissue on both slides…", -1.0
    steps = align_slides(section.require_slide(), slide, section.mpp, mpp, same_glass=same_glass)
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            found = end.value
            break
        if isinstance(event, Progress):
            yield f"{event.stage[0].upper()}{event.stage[1:]}…", event.done / max(event.total, 1)
    error = float(found.error_um) if np.isfinite(found.error_um) else None
    note = f"{found.note[:1].upper()}{found.note[1:]}." if found.note else ""
    return Fit(transform_values(found.transform), error, note, found.moving.mpp, local_error=found.local_error)


def fitted(one: Neighbour, found: Fit | None, how: Literal["", "automatic", "landmarks"] = "") -> Neighbour:
    """The neighbour with that alignment, or without any."""
    fields: dict[str, Any] = {"transform": None, "error_um": None, "local_error": None, "note": "", "how": ""}
    if found is not None:
        known = {name: getattr(found, name) for name in ("transform", "error_um", "local_error", "note")}
        fields = known | {"how": how, "mpp": found.mpp or one.mpp}
    return one.model_copy(update=fields)
