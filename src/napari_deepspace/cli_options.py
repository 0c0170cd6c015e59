"""Options that several commands have."""

from __future__ import annotations

import csv
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_deepspace.errors import SettingsError

_HOW = "How the section is read"  #: heading of these options in the help


def _option(words: str, *names: str, **bounds: Any) -> Any:
    return typer.Option(*names, help=words, rich_help_panel=_HOW, **bounds)


READ_AS: dict[str, tuple[Any, Any]] = {
    "image": (None, Annotated[Path | None, _option("full-resolution H&E; left out: looked for by its size")]),
    "platform": ("auto", Annotated[str, _option("auto, visium (55 um spots) or st (100 um spots)")]),
    "mpp": (
        None,
        Annotated[
            float | None, _option("um per full-resolution px; left out: as the files or the image state, else from the lattice", min=0.01, max=100)
        ],
    ),
    "orientation": (
        "as it is",
        Annotated[str, _option('what is done to the image: "mirrored", "turned 90", ...; `info` says which fits')],
    ),
    "reduced": (False, Annotated[bool, _option("go on with tissue_hires_image where no full-resolution image is at hand", "--reduced")]),
    "library_id": (None, Annotated[str | None, _option("name of the section, or which of those in one file; left out: the folder's name")]),
    "columns": (None, Annotated[str | None, _option("of a plain table, which column is what: x=CentroidX,y=CentroidY,barcode=ROI")]),
}
"""Options of every command that reads a section by its path, with what they are when left out; keywords of
:func:`napari_deepspace.read.read_section` and settings of ``sections[]``."""


def reads_section(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` the options of :data:`READ_AS`, which it takes as ``**how`` and hands on to ``read_section``."""
    own = inspect.signature(command, eval_str=True)
    keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=usual, annotation=kind) for name, (usual, kind) in READ_AS.items()]
    parameters = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        from napari_deepspace.orientation import orientation_named
        from napari_deepspace.section import require_platform

        require_platform(given["platform"])
        given["orientation"], given["columns"] = orientation_named(given["orientation"]), _columns(given["columns"])
        command(**given)

    run.__signature__ = own.replace(parameters=[*parameters, *keywords])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*parameters, *keywords)}
    return run


def _columns(text: str | None) -> dict[str, str]:
    if not text:
        return {}
    pairs = [part.partition("=") for part in next(csv.reader([text]))]
    if not all(role.strip() and sign for role, sign, _ in pairs):
        raise SettingsError(f"--columns {text!r} is not understood: write role=column, with commas between, as in x=CentroidX,y=CentroidY.")
    return {role.strip(): name.strip() for role, _, name in pairs}


Json = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
Patient = Annotated[str | None, typer.Option(help="patient the section was cut from: says whether the score is one across patients")]
Aligned = Annotated[
    Path | None,
    typer.Option(
        "--aligned", "--alignment", help="alignment.json, or CSV with barcode, x, y: the spots in the frame (um) of the neighbouring sections"
    ),
]
Sealed = Annotated[Path | None, typer.Option(help="seal of the section (`napari-deepspace seal`): its spots are not predicted")]
Causes = Annotated[Path | None, typer.Option(help="CSV with barcode and cause, filed in the window (PROJECT/causes): goes into the result")]
Block = Annotated[str | None, typer.Option(help="tissue block the section was cut from")]
