"""From one slide to another: what an alignment is, and the file ``alignment.json`` it lies in.

Points are (row, column) = (y, x) in um, the centre of a slide's first pixel is (0, 0): um = full-resolution px * um per px. A transform always goes
from the **moving** slide to the **fixed** one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from scipy.interpolate import RBFInterpolator

from napari_deepspace.errors import DataError
from napari_deepspace.geojson import FAULTS, SlideStamp
from napari_deepspace.runs import write_json

Kind = Literal["similarity", "affine", "thin_plate"]
KINDS: tuple[Kind, ...] = get_args(Kind)
VERSION = 1
FILE_NAME = "alignment.json"
_FORMAT = "napari-deepspace alignment"
_STEPS, _NEAR_UM = 50, 1e-3


@dataclass(frozen=True, eq=False)
class Transform:
    """From the moving slide to the fixed one, (y, x) in um.

    ``matrix`` float64 (3, 3) takes (y, x, 1) to (y, x, 1); a negative determinant is a mirror image. For a thin plate it is the affine map that comes
    nearest, and ``moving_um`` and ``fixed_um``, float64 (n, 2), are the points that the plate is bent to; both are empty otherwise.
    """

    kind: Kind
    matrix: np.ndarray
    moving_um: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    fixed_um: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    @cached_property
    def _plate(self) -> RBFInterpolator:
        return RBFInterpolator(self.moving_um, self.fixed_um, kernel="thin_plate_spline", degree=1)

    @property
    def mirrored(self) -> bool:
        """Whether the moving slide lies on its other face."""
        return bool(np.linalg.det(self.matrix[:2, :2]) < 0)

    @property
    def scale(self) -> float:
        """How many um of the fixed slide one um of the moving one is."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:2, :2]))))

    @property
    def rotation_deg(self) -> float:
        """By how many degrees the moving slide is turned anticlockwise on the screen, after it was mirrored (left for right) if it is."""
        (a, b), (c, d) = self.matrix[:2, :2] * (1, -1 if self.mirrored else 1)
        return float(np.degrees(np.arctan2(c - b, a + d)))

    def apply(self, points_yx_um: np.ndarray) -> np.ndarray:
        """Points (n, 2) of the moving slide on the fixed one, float64 (n, 2)."""
        points = np.asarray(points_yx_um, dtype=np.float64).reshape(-1, 2)
        if self.kind == "thin_plate" and len(points):
            return np.asarray(self._plate(points))
        return points @ self.matrix[:2, :2].T + self.matrix[:2, 2]

    def inverse_points(self, points_yx_um: np.ndarray) -> np.ndarray:
        """Points (n, 2) of the fixed slide on the moving one, float64 (n, 2).

        Exact but for a thin plate, which is inverted step by step to 0.001 um; where it folds over itself the nearest that was found is given.
        """
        wanted = np.asarray(points_yx_um, dtype=np.float64).reshape(-1, 2)
        back = np.linalg.inv(self.matrix)
        points = wanted @ back[:2, :2].T + back[:2, 2]
        if self.kind != "thin_plate" or not len(points):
            return points
        best, least = points, np.full(len(points), np.inf)
        for _ in range(_STEPS):
            off = wanted - self.apply(points)
            far = np.linalg.norm(off, axis=1)
            best, least = np.where((far < least)[:, None], points, best), np.minimum(far, least)
            if least.max() < _NEAR_UM:
                break
            points = best + (wanted - self.apply(best)) @ back[:2, :2].T * np.where(far > least, 0.5, 1.0)[:, None]
        return best

    def napari_affine(self) -> np.ndarray:
        """The ``affine`` (3, 3) of the moving slide's layer, whose ``scale`` is its um per px; of a thin plate the nearest affine map."""
        return self.matrix.copy()

    def px_matrix(self, moving_mpp: float, fixed_mpp: float) -> np.ndarray:
        """(3, 3) from (y, x, 1) in full-resolution px of the moving slide to those of the fixed one; of a thin plate the nearest affine map."""
        return np.diag([1 / fixed_mpp, 1 / fixed_mpp, 1]) @ self.matrix @ np.diag([moving_mpp, moving_mpp, 1])


IDENTITY = Transform("similarity", np.eye(3))


@dataclass(frozen=True)
class AlignedSlide:
    """One of the two slides: its stamp, um per full-resolution px, and the section it belongs to ("" where it is a slide without counts)."""

    stamp: SlideStamp
    mpp: float
    library_id: str = ""

    @property
    def name(self) -> str:
        """The section's name, or the file's."""
        return self.library_id or self.stamp.name


@dataclass(frozen=True)
class LocalError:
    """How far patches of tissue lie apart, see :mod:`napari_deepspace.align.local_error`.

    Median and 90th percentile over the ``patches`` that were found again, ``of`` so many that were searched for; None where too few were.
    """

    median_um: float | None
    p90_um: float | None
    patches: int
    of: int

    @property
    def words(self) -> str:
        """As it stands beside the alignment."""
        if self.median_um is None or self.p90_um is None:
            return f"how far it is off cannot be told from the pictures: {self.patches} of {self.of} patches of tissue were found again"
        return (
            f"off by about {self.median_um:.0f} um over {self.patches} of {self.of} patches, up to {self.p90_um:.0f} um in nine of ten "
            "(estimated from the pictures themselves)"
        )


@dataclass(frozen=True, eq=False)
class Alignment:
    """How the ``moving`` slide lies on the ``fixed`` one, and how far that can be relied on.

    ``landmarks`` float64 (n, 2, 2): of each pair the point on the fixed and on the moving slide, (y, x) in um. ``error_um`` is the mean
    leave-one-out error of the landmarks, or NaN; ``agreement`` what an automatic alignment reached, or NaN, and ``chance`` what it would
    have reached by chance; ``local_error`` what the two pictures say of an automatic one. ``gap_um`` is the
    distance between the two sections in the block, NaN where nobody said; 0 for two files of one glass.
    """

    transform: Transform
    fixed: AlignedSlide
    moving: AlignedSlide
    method: str  #: "landmarks", "automatic" or "same glass"
    landmarks: np.ndarray = field(default_factory=lambda: np.zeros((0, 2, 2)))
    error_um: float = float("nan")
    agreement: float = float("nan")
    chance: float = float("nan")
    gap_um: float = float("nan")
    note: str = ""
    local_error: LocalError | None = None


def write_alignment(path: Path, alignment: Alignment) -> None:
    """Write ``alignment.json``, atomically."""
    one = alignment
    write_json(
        Path(path),
        {
            "format": _FORMAT,
            "version": VERSION,
            "kind": one.transform.kind,
            "method": one.method,
            "axes": "moving -> fixed, (y, x) in um",
            "matrix": one.transform.matrix.tolist(),
            "control_points": {"moving": one.transform.moving_um.tolist(), "fixed": one.transform.fixed_um.tolist()},
            "fixed": _slide_values(one.fixed),
            "moving": _slide_values(one.moving),
            "landmarks": [{"fixed": pair[0].tolist(), "moving": pair[1].tolist()} for pair in one.landmarks],
            "leave_one_out_error_um": one.error_um,
            "agreement": one.agreement,
            "chance": one.chance,
            "local_error": None if one.local_error is None else asdict(one.local_error),
            "gap_um": one.gap_um,
            "note": one.note,
        },
    )


def read_alignment(path: Path) -> Alignment:
    """Read what :func:`write_alignment` wrote.

    Raises
    ------
    DataError
        The file is missing, damaged, or of a later version.
    """
    path = Path(path)
    again = "Align the slides again: napari-deepspace align FIXED MOVING."
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist. {again}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an alignment ({error}). {again}") from error
    if not isinstance(said, dict) or said.get("format") != _FORMAT:
        raise DataError(f"{path} is no alignment. {again}")
    if said.get("version") != VERSION:
        raise DataError(f"{path} is an alignment of version {said.get('version')}, this program reads {VERSION}. Update it, or align again.")
    try:
        points = said["control_points"]
        transform = Transform(said["kind"], _array(said["matrix"], (3, 3)), *(_array(points[name], (-1, 2)) for name in ("moving", "fixed")))
        if transform.kind not in KINDS:
            raise ValueError(f"kind {transform.kind!r} is none of {', '.join(KINDS)}")
        if abs(np.linalg.det(transform.matrix)) < 1e-12:
            raise ValueError("the matrix cannot be inverted")
        if len(transform.moving_um) != len(transform.fixed_um) or (transform.kind == "thin_plate" and len(transform.moving_um) < 3):
            raise ValueError("its control points are incomplete")
        return Alignment(
            transform=transform,
            fixed=_slide_from(said["fixed"]),
            moving=_slide_from(said["moving"]),
            method=str(said["method"]),
            landmarks=_array([[pair["fixed"], pair["moving"]] for pair in said["landmarks"]], (-1, 2, 2)),
            **{name: _number(said.get(key)) for name, key in _NUMBERS.items()},
            note=str(said.get("note") or ""),
            local_error=_local_error_from(said["local_error"]) if said.get("local_error") else None,
        )
    except FAULTS as error:
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error}). {again}") from error


_NUMBERS = {"error_um": "leave_one_out_error_um", "agreement": "agreement", "chance": "chance", "gap_um": "gap_um"}


def spatialdata_transformation(alignment: Alignment, global_mpp: float | None = None) -> dict[str, Any]:
    """NGFF's affine transformation of the moving slide's pixels into the coordinate system ``global``, as SpatialData writes and reads it.

    ``global`` is the fixed slide's full-resolution px, or in units of ``global_mpp`` um (1.0: in um). Of a thin plate the nearest affine map.
    """
    matrix = alignment.transform.px_matrix(alignment.moving.mpp, global_mpp or alignment.fixed.mpp)
    axes = [{"name": name, "type": "space", "unit": "unit"} for name in "yx"]
    return {
        "type": "affine",
        "affine": matrix[:2].tolist(),
        "input": {"name": "yx", "axes": axes},
        "output": {"name": "global", "axes": axes},
    }


def _slide_values(one: AlignedSlide) -> dict[str, Any]:
    return one.stamp.member() | {"um_per_px": one.mpp, "library_id": one.library_id}


def _slide_from(said: dict[str, Any]) -> AlignedSlide:
    x, y = said.get("offset") or (0, 0)
    stamp = SlideStamp(str(said["slide"]), int(said["width"]), int(said["height"]), (float(x), float(y)), str(said.get("hash") or ""))
    mpp = float(said["um_per_px"])
    if not mpp > 0:
        raise ValueError(f"um per px is {mpp}")
    return AlignedSlide(stamp, mpp, str(said.get("library_id") or ""))


def _local_error_from(said: dict[str, Any]) -> LocalError:
    sizes = [None if said[name] is None else float(said[name]) for name in ("median_um", "p90_um")]
    return LocalError(sizes[0], sizes[1], int(said["patches"]), int(said["of"]))


def _array(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError("a coordinate is no number")
    return array


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
