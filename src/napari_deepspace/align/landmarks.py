"""Landmarks: the same point on both slides, in pairs. Fits of a transform to them, and the error they leave.

A thin plate passes through every landmark, so that its residuals are zero whatever the landmarks are worth: the error that tells is the one at a
landmark which was left out of the fit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_deepspace.align.transform import KINDS, Kind, Transform
from napari_deepspace.errors import DataError, SettingsError

LEAST = {"similarity": 3, "affine": 3, "thin_plate": 4}
"""Landmarks that a fit needs. Two would do for a similarity, but not say whether it is a mirror image."""
APART_UM = 1.0  #: landmarks nearer to one another are one
FLAT = 0.02  #: smaller to larger extent of the landmarks, below which they lie on one line
_COLUMNS = ("fixed_x", "fixed_y", "moving_x", "moving_y")


def fit(fixed_um: np.ndarray, moving_um: np.ndarray, kind: Kind = "affine") -> Transform:
    """The transform of ``kind`` that takes ``moving_um`` (n, 2) nearest to ``fixed_um`` (n, 2), both (y, x) in um, by least squares.

    A similarity is a rotation, a scale and a shift, mirrored where that fits better. A thin plate passes through all landmarks.

    Raises
    ------
    SettingsError
        An unknown kind.
    DataError
        Too few landmarks, two in the same place, or all on one line.
    """
    if kind not in KINDS:
        raise SettingsError(f"kind {kind!r} is unknown: choose {', '.join(KINDS)}.")
    fixed, moving = (np.asarray(points, dtype=np.float64).reshape(-1, 2) for points in (fixed_um, moving_um))
    require_usable(fixed, moving, kind)
    return _fit(fixed, moving, kind)


def require_usable(fixed_um: np.ndarray, moving_um: np.ndarray, kind: Kind) -> None:
    """Raise DataError where :func:`fit` cannot fit ``kind`` to these landmarks."""
    if len(fixed_um) != len(moving_um):
        raise DataError(f"{len(fixed_um)} landmarks on the fixed slide, {len(moving_um)} on the moving one. Set each on both slides.")
    if not (np.isfinite(fixed_um).all() and np.isfinite(moving_um).all()):
        raise DataError("A landmark's place is no number. Set it again.")
    n, least = len(fixed_um), LEAST[kind]
    if n < least:
        raise DataError(
            f"{n} landmark{'' if n == 1 else 's'}; {kind.replace('_', '-')} needs {least} or more. Set {least - n} more, far from the others."
        )
    for where, points in (("fixed", fixed_um), ("moving", moving_um)):
        apart = np.linalg.norm(points[:, None] - points[None], axis=2) + np.where(np.eye(n, dtype=bool), np.inf, 0)
        if apart.min() < APART_UM:
            one, other = sorted(np.unravel_index(apart.argmin(), apart.shape))
            raise DataError(f"Landmarks {one + 1} and {other + 1} lie in the same place on the {where} slide. Move or delete one of them.")
        if _on_one_line(points):
            raise DataError(f"All {n} landmarks lie on one line on the {where} slide. Set one more, far off that line.")


def residuals_um(fixed_um: np.ndarray, moving_um: np.ndarray, transform: Transform) -> np.ndarray:
    """How far each landmark of the moving slide comes to lie from its fellow, um (n,). Zero by construction for a thin plate."""
    return np.asarray(np.linalg.norm(transform.apply(moving_um) - np.asarray(fixed_um), axis=1))


def leave_one_out_um(fixed_um: np.ndarray, moving_um: np.ndarray, kind: Kind = "affine") -> np.ndarray:
    """How far each landmark comes to lie from its fellow when it is left out of the fit, um (n,); NaN where too few are left to fit to.

    Raises what :func:`fit` raises.
    """
    whole = fit(fixed_um, moving_um, kind)
    fixed, moving = (np.asarray(points, dtype=np.float64).reshape(-1, 2) for points in (fixed_um, moving_um))
    errors = np.full(len(fixed), np.nan)
    for left_out in range(len(fixed)):
        f, m = (np.delete(points, left_out, axis=0) for points in (fixed, moving))
        if len(f) >= (2 if kind == "similarity" else 3) and (kind == "similarity" or not (_on_one_line(f) or _on_one_line(m))):
            errors[left_out] = np.linalg.norm(_fit(f, m, kind, whole.mirrored).apply(moving[[left_out]])[0] - fixed[left_out])
    return errors


def read_landmarks(path: Path, fixed_mpp: float, moving_mpp: float) -> tuple[np.ndarray, np.ndarray]:
    """(fixed, moving) from a CSV with the columns fixed_x, fixed_y, moving_x, moving_y, a pair a line: each float64 (n, 2), (y, x) in um.

    They are full-resolution px, or um where the names end in ``_um``.

    Raises
    ------
    DataError
        The file is missing, lacks a column, or holds what is no number.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, skipinitialspace=True).rename(columns=lambda name: str(name).strip().removesuffix("_px"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist. Give a CSV with the columns {', '.join(_COLUMNS)}.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table of landmarks ({error}). Give a CSV with the columns {', '.join(_COLUMNS)}.") from error
    in_um = all(f"{name}_um" in table for name in _COLUMNS)
    missing = [] if in_um else [name for name in _COLUMNS if name not in table]
    if missing:
        raise DataError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}. It needs {', '.join(_COLUMNS)}, in px or as ..._um."
        )
    try:
        numbers = {name: table[f"{name}_um" if in_um else name].to_numpy(dtype=np.float64) for name in _COLUMNS}
    except ValueError as error:
        raise DataError(f"{path}: {error}. Every landmark needs four numbers.") from error
    to_um = (1.0, 1.0) if in_um else (fixed_mpp, moving_mpp)
    fixed, moving = (np.column_stack([numbers[f"{who}_y"], numbers[f"{who}_x"]]) * mpp for who, mpp in zip(("fixed", "moving"), to_um, strict=True))
    return fixed, moving


def _fit(fixed: np.ndarray, moving: np.ndarray, kind: Kind, mirrored: bool | None = None) -> Transform:
    if kind == "similarity":
        fits = [_similarity(fixed, moving, mirror) for mirror in ((False, True) if mirrored is None else (mirrored,))]
        return min(fits, key=lambda one: float(np.square(one.apply(moving) - fixed).sum()))
    rows, *_ = np.linalg.lstsq(np.column_stack([moving, np.ones(len(moving))]), fixed, rcond=None)
    matrix = np.vstack([rows.T, [0, 0, 1]])
    return Transform(kind, matrix, moving, fixed) if kind == "thin_plate" else Transform(kind, matrix)


def _similarity(fixed: np.ndarray, moving: np.ndarray, mirrored: bool) -> Transform:
    """Least squares in complex numbers: w = a z + b, of the conjugate of z for a mirror image."""
    z, w = (points[:, 0] + 1j * points[:, 1] for points in (moving, fixed))
    z = z.conj() if mirrored else z
    (a, b), *_ = np.linalg.lstsq(np.column_stack([z, np.ones(len(z))]), w, rcond=None)
    turn = np.array([[a.real, -a.imag], [a.imag, a.real]]) * (1, -1 if mirrored else 1)
    return Transform("similarity", np.block([[turn, np.array([[b.real], [b.imag]])], [np.zeros((1, 2)), np.ones((1, 1))]]))


def _on_one_line(points: np.ndarray) -> bool:
    extent = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(extent[1] < FLAT * extent[0])
