"""What a section holds, and a section as another file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_deepspace.cli_options import Json, reads_section
from napari_deepspace.cli_print import print_values


@reads_section
def info(section: Path, as_json: Json = False, **how: Any) -> None:
    """Say what a section holds: spots, genes, image, scale, which way round the image fits, and what is missing."""
    from napari_deepspace.info import describe
    from napari_deepspace.read import read_section

    read = read_section(section, **how)
    print_values(describe(read), as_json)


@reads_section
def convert(
    section: Path,
    out: Annotated[Path, typer.Option(help="the file: NAME.h5ad (scanpy, squidpy), or NAME.zarr (SpatialData, extra [spatialdata])")],
    result: Annotated[Path | None, typer.Option(help="result of `predict` or a run for this section: its predictions go along")] = None,
    **how: Any,
) -> None:
    """Write a section as .h5ad or SpatialData: counts, positions, clusters, predictions, and the slide reduced to 2000 px."""
    from napari_deepspace.convert import convert as write
    from napari_deepspace.read import read_section

    read = read_section(section, **how)
    write(read, out, result)
    more = f", with the predictions of {result.name}" if result else ""
    print(f"{out}: {read.adata.n_obs} spots x {read.adata.n_vars} genes{more}{', SYNTHETIC' if read.synthetic else ''}. Research use only.")
