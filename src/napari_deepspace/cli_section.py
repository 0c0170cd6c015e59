"""What a section holds, and a section as another file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_deepspace.cli_options import Image, Json, LibraryId, Mpp, PlatformName, Reduced, Turned
from napari_deepspace.cli_print import print_values
from napari_deepspace.errors import SettingsError

Columns = Annotated[str | None, typer.Option(help="of a plain table, which column is what: x=CentroidX,y=CentroidY,barcode=ROI")]


def info(
    section: Path,
    image: Image = None,
    platform: PlatformName = "auto",
    library_id: LibraryId = None,
    columns: Columns = None,
    mpp: Mpp = None,
    orientation: Turned = "as it is",
    reduced: Reduced = False,
    as_json: Json = False,
) -> None:
    """Say what a section holds: spots, genes, image, scale, which way round the image fits, and what is missing."""
    from napari_deepspace.info import describe
    from napari_deepspace.orientation import orientation_named
    from napari_deepspace.read import read_section

    read = read_section(
        section,
        image,
        platform=platform,
        mpp=mpp,
        orientation=orientation_named(orientation),
        reduced=reduced,
        library_id=library_id,
        columns=_columns(columns),
    )
    print_values(describe(read), as_json)


def convert(
    section: Path,
    out: Annotated[Path, typer.Option(help="the file: NAME.h5ad (scanpy, squidpy), or NAME.zarr (SpatialData, extra [spatialdata])")],
    image: Image = None,
    platform: PlatformName = "auto",
    library_id: LibraryId = None,
    columns: Columns = None,
    mpp: Mpp = None,
    orientation: Turned = "as it is",
    reduced: Reduced = False,
    result: Annotated[Path | None, typer.Option(help="result of `predict` or a run for this section: its predictions go along")] = None,
) -> None:
    """Write a section as .h5ad or SpatialData: counts, positions, clusters, predictions, and the slide reduced to 2000 px."""
    from napari_deepspace.convert import convert as write
    from napari_deepspace.orientation import orientation_named
    from napari_deepspace.read import read_section

    read = read_section(
        section,
        image,
        platform=platform,
        mpp=mpp,
        orientation=orientation_named(orientation),
        reduced=reduced,
        library_id=library_id,
        columns=_columns(columns),
    )
    write(read, out, result)
    more = f", with the predictions of {result.name}" if result else ""
    print(f"{out}: {read.adata.n_obs} spots x {read.adata.n_vars} genes{more}{', SYNTHETIC' if read.synthetic else ''}. Research use only.")


def _columns(text: str | None) -> dict[str, str] | None:
    if not text:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(role.strip() and sign and name.strip() for role, sign, name in pairs):
        raise SettingsError(f"--columns {text!r} is not understood: write role=column, with commas between, as in x=CentroidX,y=CentroidY.")
    return {role.strip(): name.strip() for role, _, name in pairs}
