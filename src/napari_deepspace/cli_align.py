"""``napari-deepspace align``. ``cli`` registers it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_deepspace.cli_options import Json
from napari_deepspace.cli_print import print_values
from napari_deepspace.errors import SettingsError


def align(
    fixed: Annotated[Path, typer.Argument(metavar="FIXED", help="slide, or section folder, that stays")],
    moving: Annotated[Path, typer.Argument(metavar="MOVING", help="slide, or section folder, that is laid over it")],
    out: Annotated[Path, typer.Option(help="the alignment, .json")] = Path("alignment.json"),
    fixed_mpp: Annotated[float | None, typer.Option(min=0.01, help="um per px of FIXED; left out: what file or spots say")] = None,
    moving_mpp: Annotated[float | None, typer.Option("--moving-mpp", "--mpp", min=0.01, help="um per px of MOVING; left out: the same")] = None,
    landmarks: Annotated[Path | None, typer.Option(help="CSV of pairs: fixed_x, fixed_y, moving_x, moving_y in px (or ..._um)")] = None,
    kind: Annotated[str, typer.Option(help="similarity, affine or thin_plate (landmarks only)")] = "affine",
    same_glass: Annotated[bool, typer.Option("--same-glass", help="two files of one glass: exported, cropped, turned")] = False,
    gap_um: Annotated[float | None, typer.Option(min=0, help="distance of the two sections in the block in um")] = None,
    preview: Annotated[Path | None, typer.Option(help="figure: checkerboard and overlay (.png, .svg, .pdf)")] = None,
    move_outlines: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="IN.geojson OUT.geojson", help="carry outlines of MOVING to FIXED")
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="carry outlines of FIXED to MOVING instead")] = False,
    as_json: Json = False,
) -> None:
    """Lay one slide over another: by itself, or by landmarks; writes alignment.json. Says that it failed where the slides do not agree."""
    from napari_deepspace.align.outlines import move_outline_file
    from napari_deepspace.align.transform import KINDS, write_alignment
    from napari_deepspace.align_command import align_by_landmarks, align_sides, draw_preview, in_words, open_side
    from napari_deepspace.blocking import drain
    from napari_deepspace.figure_settings import require_format

    if kind not in KINDS:
        raise SettingsError(f"--kind {kind} is unknown: choose {', '.join(KINDS)}.")
    if preview is not None:
        require_format(preview)
    one, other = open_side(fixed, fixed_mpp), open_side(moving, moving_mpp)
    gap = float("nan") if gap_um is None else gap_um
    chosen: Any = kind
    if landmarks is not None:
        made = align_by_landmarks(one, other, landmarks, chosen, gap)
    else:
        made = drain(align_sides(one, other, chosen, same_glass, gap), sys.stderr.isatty() and not as_json)
    write_alignment(out, made)
    said: dict[str, Any] = {"out": str(out), "method": made.method, "kind": kind, "matrix": made.transform.matrix.tolist()}
    said |= {"leave_one_out_error_um": made.error_um, "agreement": made.agreement, "chance": made.chance, "note": made.note}
    said |= {"local_error": None if made.local_error is None else asdict(made.local_error)}
    if preview is not None:
        draw_preview(made, one.slide, other.slide, preview)
        said["preview"] = str(preview)
    if move_outlines is not None:
        moved, outside = move_outline_file(*move_outlines, made, back)
        said |= {"outlines": moved, "outlines_outside": outside}
    if as_json:
        print_values(said, True)
        return
    for line in in_words(made):
        print(line)
    if move_outlines is not None:
        print(f"{move_outlines[1]}: {said['outlines']} outlines, {said['outlines_outside']} of them outside the slide.")
    print(f"alignment: {out}. Research use only.")
