"""Laying a slide over another by itself: neighbouring sections in any stain, or two files of one glass."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from napari_deepspace.align.glass import register_copies
from napari_deepspace.align.landmarks import fit
from napari_deepspace.align.local_error import local_error
from napari_deepspace.align.pictures import BY_HAND, LOOK_PX, Picture, look_at
from napari_deepspace.align.registration import Guess, refine, same, search
from napari_deepspace.align.transform import AlignedSlide, Alignment, Kind, LocalError, Transform
from napari_deepspace.errors import AlignmentFailed, DataError, SettingsError
from napari_deepspace.events import Event, Progress
from napari_deepspace.geojson import stamp_of
from napari_deepspace.slide import Slide

LEAST_AGREEMENT = 0.2  #: of what was tried, other tissue reached 0.19 (1.3 times its chance), the same tissue 0.24 and more
_ERROR_UM = 5.0  #: per px of the pictures that patches are compared in, where that is no more than twice the usual px
ABOVE_CHANCE = 1.7  #: by which factor the agreement must exceed that of the best other way to lay the slide


def align_slides(
    fixed: Slide,
    moving: Slide,
    fixed_mpp: float | None = None,
    moving_mpp: float | None = None,
    *,
    kind: Kind = "affine",
    same_glass: bool = False,
    gap_um: float = float("nan"),
    names: tuple[str, str] = ("", ""),
) -> Generator[Event, None, Alignment]:
    """Find how ``moving`` lies on ``fixed``: any rotation, mirrored or not, sizes within 20 % of what um per px say.

    ``fixed_mpp`` and ``moving_mpp`` are um per full-resolution px; left out: what the files state. ``kind`` is similarity or affine. With
    ``same_glass`` both are files of one glass, and the moving one needs no scale. ``names`` are the sections the slides belong to. Only small levels
    are read, and at full resolution single patches.

    Raises
    ------
    AlignmentFailed
        They do not agree clearly better than by chance, or one has a dark background or no tissue.
    DataError
        A slide without a scale.
    SettingsError
        A thin plate, which needs landmarks.
    """
    if kind == "thin_plate":
        raise SettingsError("A thin plate is fitted to landmarks only. Give landmarks, or choose similarity or affine.")
    fixed_mpp, moving_mpp = fixed_mpp or fixed.mpp, moving_mpp or moving.mpp
    for slide, mpp, which in ((fixed, fixed_mpp, "fixed"), (moving, moving_mpp, "moving")):
        if mpp is None and not (same_glass and which == "moving"):
            raise DataError(f"{slide.path.name} does not state its scale. Give um per px (--{which}-mpp).")
    assert fixed_mpp is not None
    local = None
    if same_glass:
        px, error, places = yield from register_copies(fixed, moving)
        if moving_mpp is None:
            moving_mpp = fixed_mpp * Transform("affine", px).scale
        matrix = np.diag([fixed_mpp, fixed_mpp, 1]) @ px @ np.diag([1 / moving_mpp, 1 / moving_mpp, 1])
        words = f"two files of one glass: {places} places agree, median {error:.2f} px apart"
        found, chance, method, gap_um = Guess(matrix, 1.0, 1.0, 1.0), 0.0, "same glass", 0.0
    else:
        assert moving_mpp is not None
        yield Progress("looking at both slides", 0, 2)
        pictures = look_at(fixed, fixed_mpp), look_at(moving, moving_mpp)
        found, chance = yield from register(*pictures)
        matrix = _first_px(pictures[0], fixed_mpp) @ found.matrix @ np.linalg.inv(_first_px(pictures[1], moving_mpp))
        words, method = f"tissue overlaps by {found.overlap:.2f} (Dice), its structure correlates with {found.structure:.2f}", "automatic"
    transform = _of_kind(matrix, kind, moving.shape, moving_mpp)
    if not same_glass:
        yield Progress("looking how far patches of tissue lie apart", 1, 2)
        local = error_of(fixed, fixed_mpp, moving, moving_mpp, transform.matrix)
    return Alignment(
        transform=transform,
        fixed=AlignedSlide(stamp_of(fixed), fixed_mpp, names[0]),
        moving=AlignedSlide(stamp_of(moving), moving_mpp, names[1]),
        method=method,
        agreement=found.total,
        chance=chance,
        gap_um=gap_um,
        note=words,
        local_error=local,
    )


def error_of(fixed: Slide, fixed_mpp: float, moving: Slide, moving_mpp: float, matrix: np.ndarray) -> LocalError:
    """What the slides themselves say of how far ``matrix`` (3, 3), from (y, x, 1) um of the moving slide to the fixed one, is off: see
    :func:`napari_deepspace.align.local_error.local_error`. Raises AlignmentFailed where one shows no tissue."""
    one, other = (
        look_at(slide, mpp, px=int(np.clip(max(slide.shape) * mpp / _ERROR_UM, LOOK_PX, 2 * LOOK_PX)))
        for slide, mpp in ((fixed, fixed_mpp), (moving, moving_mpp))
    )
    return local_error(one, other, np.linalg.inv(_first_px(one, fixed_mpp)) @ matrix @ _first_px(other, moving_mpp))


def register(fixed: Picture, moving: Picture) -> Generator[Event, None, tuple[Guess, float]]:
    """The best fit of two pictures, and the agreement of the best other one: mirrored, or turned another way; raises AlignmentFailed."""
    ratio = moving.extent_um / fixed.extent_um
    if not 0.25 < ratio < 4:
        raise AlignmentFailed(
            f"The tissue of the moving slide is {ratio:.2g} times as large as that of the fixed one: they cannot be neighbours. "
            f"Check um per px of both. {BY_HAND}"
        )
    guesses = yield from search(fixed, moving)
    tried = []
    for number, guess in enumerate(guesses):
        yield Progress("comparing the haematoxylin", number, len(guesses))
        tried.append(refine(fixed, moving, guess))
    best = max(tried, key=lambda one: one.total)
    chance = max((one.total for one in tried if not same(one, best)), default=0.0)
    if best.total < LEAST_AGREEMENT or best.total < ABOVE_CHANCE * chance:
        raise AlignmentFailed(
            f"Aligning failed: the best way to lay the slides over one another agrees by {best.total:.2f}, where {LEAST_AGREEMENT:g} is needed, "
            f"and the next one, which must be wrong, by {chance:.2f}. They may show other tissue, or differ too much. {BY_HAND}"
        )
    return best, chance


def _of_kind(matrix: np.ndarray, kind: Kind, shape: tuple[int, int], mpp: float) -> Transform:
    if kind == "affine":
        return Transform("affine", matrix)
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * np.array(shape) * mpp
    return fit(corners @ matrix[:2, :2].T + matrix[:2, 2], corners, "similarity")


def _first_px(picture: Picture, mpp: float) -> np.ndarray:
    """(3, 3) from um of a picture, whose first px is the middle of many of the slide, to um of the slide."""
    by = (picture.um - mpp) / 2
    return np.array([[1, 0, by], [0, 1, by], [0, 0, 1]], dtype=float)
