"""What ``napari-deepspace align`` does: two slides, or sections with their slides, laid over one another, and a picture of how."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from napari_deepspace.align.automatic import align_slides
from napari_deepspace.align.landmarks import fit, leave_one_out_um, read_landmarks, residuals_um
from napari_deepspace.align.transform import IDENTITY, AlignedSlide, Alignment, Kind
from napari_deepspace.align.warped import warped_region
from napari_deepspace.errors import DataError
from napari_deepspace.events import Event
from napari_deepspace.geojson import stamp_of
from napari_deepspace.read import read_section
from napari_deepspace.runs import write_figure
from napari_deepspace.slide import Slide, open_slide

_PREVIEW_PX, _SQUARES = 900, 8


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two slides as a command opened it; ``mpp`` None where nobody said, ``name`` "" where it is no section."""

    slide: Slide
    mpp: float | None
    name: str = ""
    synthetic: bool = False


def open_side(path: Path, mpp: float | None = None, image: Path | None = None) -> Side:
    """A slide file, or a section's folder with its slide, whose scale the lattice of the spots gives unless ``mpp`` does.

    Raises
    ------
    DataError
        It cannot be read, is a table of counts without an image, or the section has no slide.
    """
    path = Path(path)
    if path.suffix == ".h5ad":
        raise DataError(f"{path} holds counts and no slide. Give the section's folder, or its slide.")
    if path.is_dir():
        section = read_section(path, image)
        return Side(section.require_slide(), mpp or section.mpp, section.library_id, section.synthetic)
    slide = open_slide(path)
    return Side(slide, mpp or slide.mpp, synthetic=(path.parent / "SYNTHETIC.txt").is_file())


def align_by_landmarks(fixed: Side, moving: Side, table: Path, kind: Kind, gap_um: float = float("nan")) -> Alignment:
    """From pairs of landmarks in a CSV, see :func:`napari_deepspace.align.landmarks.read_landmarks`; raises what it and ``fit`` raise."""
    for side, which in ((fixed, "fixed"), (moving, "moving")):
        if side.mpp is None:
            raise DataError(f"{side.slide.path.name} does not state its scale. Give um per px (--{which}-mpp).")
    assert fixed.mpp is not None
    assert moving.mpp is not None
    fixed_um, moving_um = read_landmarks(table, fixed.mpp, moving.mpp)
    transform = fit(fixed_um, moving_um, kind)
    errors = leave_one_out_um(fixed_um, moving_um, kind)
    residual = residuals_um(fixed_um, moving_um, transform)
    return Alignment(
        transform,
        AlignedSlide(stamp_of(fixed.slide), fixed.mpp, fixed.name),
        AlignedSlide(stamp_of(moving.slide), moving.mpp, moving.name),
        method="landmarks",
        landmarks=np.stack([fixed_um, moving_um], axis=1),
        error_um=float(np.nanmean(errors)) if np.isfinite(errors).any() else float("nan"),
        gap_um=gap_um,
        note=f"{len(fixed_um)} landmarks, residual {residual.mean():.1f} um on average",
    )


def align_sides(fixed: Side, moving: Side, kind: Kind, same_glass: bool = False, gap_um: float = float("nan")) -> Generator[Event, None, Alignment]:
    """By themselves; raises what :func:`napari_deepspace.align.automatic.align_slides` raises."""
    made = yield from align_slides(
        fixed.slide,
        moving.slide,
        fixed.mpp,
        moving.mpp,
        kind=kind,
        same_glass=same_glass,
        gap_um=gap_um,
        names=(fixed.name, moving.name),
    )
    return replace(made, note=made.note + ("; SYNTHETIC data" if fixed.synthetic or moving.synthetic else ""))


def in_words(alignment: Alignment) -> list[str]:
    """What an alignment is, a sentence a line."""
    one = alignment.transform
    turn = f"turned by {one.rotation_deg:.1f} degrees, {'mirrored, ' if one.mirrored else ''}scaled by {one.scale:.3f}"
    lines = [f"{alignment.moving.name} on {alignment.fixed.name}: {one.kind.replace('_', '-')}, {turn}.", f"{alignment.note}."]
    if alignment.method == "automatic":
        lines.append(f"agreement {alignment.agreement:.2f}; the best other way to lay it agrees by {alignment.chance:.2f}. Look at the overlay.")
        if alignment.local_error is not None:
            lines.append(f"{alignment.local_error.words[:1].upper()}{alignment.local_error.words[1:]}.")
    if alignment.method == "landmarks":
        known = np.isfinite(alignment.error_um)
        lines.append(
            f"leave-one-out error {alignment.error_um:.0f} um." if known else "The error is not known: set one landmark more than the fit needs."
        )
    return lines


def draw_preview(alignment: Alignment, fixed: Slide, moving: Slide, out: Path) -> None:
    """A checkerboard of both slides, and both over one another (fixed magenta, moving green), as a figure (.png, .svg, .pdf)."""
    extent = np.array(fixed.shape) * alignment.fixed.mpp
    um = float(extent.max()) / _PREVIEW_PX
    shape = (max(1, round(extent[0] / um)), max(1, round(extent[1] / um)))
    still = warped_region(fixed, alignment.fixed.mpp, IDENTITY, (0.0, 0.0), um, shape)
    moved = warped_region(moving, alignment.moving.mpp, alignment.transform, (0.0, 0.0), um, shape)
    rows, columns = np.indices(shape)
    square = _PREVIEW_PX // _SQUARES
    board = np.where((rows // square + columns // square)[..., None] % 2 == 0, still, moved)
    grey, other = still.mean(axis=2), moved.mean(axis=2)
    both = np.stack([other, grey, other], axis=2).astype(np.uint8)  # where the fixed slide is dark only red and blue of the other are left
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    for axes, picture, title in zip(figure.subplots(1, 2), (board, both), ("checkerboard", "fixed magenta, moving green, both dark"), strict=True):
        axes.imshow(picture, extent=(0, extent[1], extent[0], 0))
        axes.set_title(title)
        axes.set_xlabel("um")
    figure.suptitle(f"{alignment.moving.name} on {alignment.fixed.name} ({alignment.method}). Research use only.", fontsize=10)
    write_figure(Path(out), figure, dpi=110)
