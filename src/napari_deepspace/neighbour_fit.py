"""From landmarks, or by itself, to the alignment of a neighbouring slide: what the window and the command line have in common."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from napari_deepspace.align import landmarks
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.neighbours import LEAST_PAIRS, Neighbour, complete
from napari_deepspace.section import Section
from napari_deepspace.slide import Slide


@dataclass(frozen=True)
class Fit:
    """An alignment: ``transform`` as :mod:`napari_deepspace.align` writes it, ``error_um`` how far it is off (None: not known), in words ``note``.

    ``residual_um`` and ``left_out_um`` are float64 (n_pairs,), of landmarks.
    """

    transform: dict[str, Any]
    error_um: float | None
    note: str
    residual_um: np.ndarray | None = None
    left_out_um: np.ndarray | None = None


def fit_landmarks(one: Neighbour) -> tuple[Fit | None, str]:
    """The alignment that the complete pairs of a neighbour make and what is to say of it; None where they are too few or do not do."""
    fixed, moving = complete(one.pairs)
    if len(fixed) < max(LEAST_PAIRS[one.kind], 3):
        return None, ""
    try:
        transform = landmarks.fit(moving, fixed, one.kind)
        residual = landmarks.residuals(transform, moving, fixed)
        left_out = landmarks.left_out(moving, fixed, one.kind)
    except DeepSpaceError as error:
        return None, str(error)
    error = float(np.mean(left_out)) if np.isfinite(left_out).all() else None
    words = f"Mean residual {np.mean(residual):.1f} um"
    words += f"; left out, {error:.1f} um on average." if error is not None else "; one pair more tells how far it is off."
    if one.kind == "thin_plate":
        words += " A thin plate passes through all its landmarks: only what is left out counts."
    return Fit(transform.to_dict(), error, f"{len(fixed)} pairs.", residual, left_out), words


def align_by_itself(section: Section, slide: Slide, mpp: float) -> Generator[tuple[str, float], None, Fit]:
    """Align ``slide``, of ``mpp`` um per px, to the slide of ``section``; yields words and a share, negative where it is not known.

    Raises
    ------
    DataError
        The section has no image, or the two do not match: nothing is aligned then.
    """
    yield "Looking for the tissue on both slides…", -1.0
    raise NotImplementedError


def fitted(one: Neighbour, found: Fit | None, how: Literal["", "automatic", "landmarks"] = "") -> Neighbour:
    """The neighbour with that alignment, or without any."""
    fields = {"transform": None, "error_um": None, "note": "", "how": ""}
    if found is not None:
        fields = {"transform": found.transform, "error_um": found.error_um, "note": found.note, "how": how}  # type: ignore[dict-item]
    return one.model_copy(update=fields)
