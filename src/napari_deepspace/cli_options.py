"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
Image = Annotated[Path | None, typer.Option(help="full-resolution H&E; left out: looked for by its size")]
Mpp = Annotated[float | None, typer.Option(help="um per full-resolution px; left out: as the files or the image state, else from the lattice")]
Turned = Annotated[str, typer.Option("--orientation", help='what is done to the image: "mirrored", "turned 90", ...; `info` says which fits')]
Reduced = Annotated[bool, typer.Option("--reduced", help="go on with tissue_hires_image where no full-resolution image is at hand")]
PlatformName = Annotated[str, typer.Option(help="auto, visium (55 um spots) or st (100 um spots)")]
Patient = Annotated[str | None, typer.Option(help="patient the section was cut from: says whether the score is one across patients")]
Aligned = Annotated[
    Path | None,
    typer.Option(
        "--aligned", "--alignment", help="alignment.json, or CSV with barcode, x, y: the spots in the frame (um) of the neighbouring sections"
    ),
]
LibraryId = Annotated[str | None, typer.Option(help="name of the section; left out: the folder's name")]
Sealed = Annotated[Path | None, typer.Option(help="seal of the section (`napari-deepspace seal`): its spots are not predicted")]
Causes = Annotated[Path | None, typer.Option(help="CSV with barcode and cause, filed in the window (PROJECT/causes): goes into the result")]
Block = Annotated[str | None, typer.Option(help="tissue block the section was cut from")]
