"""Commands to and from QuPath: ``import-geojson`` and ``export-geojson``. ``cli`` registers them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_deepspace.cli_options import Json, Patient, Sealed, reads_section
from napari_deepspace.cli_print import print_values


@reads_section
def import_geojson(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="GeoJSON of QuPath, of any version")],
    section: Path,
    out: Annotated[Path, typer.Option(help="outlines, .geojson: what --outlines of the other commands and RUN.yaml take")],
    as_json: Json = False,
    **how: Any,
) -> None:
    """Take outlines from QuPath: checks that they lie on the section's slide, and says how many there are of which class and what was left out."""
    from napari_deepspace.geojson_command import import_outlines
    from napari_deepspace.read import read_section

    found = import_outlines(file, read_section(section, **how), out)
    if as_json:
        print_values(found, True)
        return
    classes = ", ".join(f"{count:,} {name or 'without a class'}" for name, count in found["classes"].items())
    count = f"{found['outlines']:,} outline{'s' if found['outlines'] > 1 else ''}"
    print(f"{out}: {count}: {classes}{'. SYNTHETIC data.' if found['synthetic'] else ''}")
    if found["left_out"]:
        print(f"  left out, for they are no outlines: {', '.join(f'{count:,} of kind {kind}' for kind, count in found['left_out'].items())}")
    if found["mended"]:
        print(f"  {found['mended']:,} mended, whose line crossed itself")
    if found["outside"]:
        print(f"  {found['outside']:,} lie outside the slide")
    if any(found["moved_xy_px"]):
        print(f"  moved by {found['moved_xy_px'][0]:g} px to the right and {found['moved_xy_px'][1]:g} px down, to the bounds of this slide")
    print(f"  slide: {found['slide']}" if found["slide"] else "  the section has no slide: nobody looked whether they lie on it")


@reads_section
def export_geojson(
    run_dir: Path,
    section: Path,
    gene: Annotated[list[str], typer.Option(help="gene, or another output of the run; may be repeated")],
    out: Annotated[Path, typer.Option(help="tiles for QuPath, .geojson")],
    at: Annotated[str | None, typer.Option(help="spots, between-spots or grid; left out: what --denser holds, else spots")] = None,
    denser: Annotated[Path | None, typer.Option(help="denser map (.zarr); left out: the run's points between spots")] = None,
    outlines: Annotated[Path | None, typer.Option(help="GeoJSON: what is predicted anew is not predicted under Exclude and Ignore* outlines")] = None,
    patient: Patient = None,
    sealed: Sealed = None,
    as_json: Json = False,
    **how: Any,
) -> None:
    """Give values to QuPath: spots, points between them or a grid as tiles with measured and predicted values, interval and verdict."""
    from napari_deepspace.blocking import drain
    from napari_deepspace.geojson_command import export_tiles
    from napari_deepspace.read import read_section

    read = read_section(section, patient=patient, outlines=outlines, sealed=sealed, **how)
    made = drain(export_tiles(run_dir, read, gene, out, at, denser), sys.stderr.isatty() and not as_json)
    if as_json:
        print_values(made, True)
        return
    synthetic = " SYNTHETIC data." if made["synthetic"] else ""
    print(
        f"{out}: {made['tiles']:,} tiles ({made['at']}), {made['unit']}; each with {', '.join(made['measurements'])}.{synthetic} Research use only."
    )
    print("In QuPath: drag the file onto the image, then Measure > Show measurement maps.")
