"""Commands that use a finished run: ``predict``, ``impute`` and ``evaluate``. ``cli`` registers them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_deepspace.cli_options import Aligned, Block, Causes, Json, Patient, Sealed, reads_section
from napari_deepspace.cli_print import print_holes, print_scores, print_values
from napari_deepspace.errors import SettingsError

if TYPE_CHECKING:
    from napari_deepspace.section import Section


@reads_section
def predict(
    run_dir: Path,
    section: Path,
    out: Annotated[Path, typer.Option(help="result file, .h5ad; a denser map: folder, .zarr")],
    outlines: Annotated[Path | None, typer.Option(help="GeoJSON: tiles under Exclude and Ignore* outlines are not predicted")] = None,
    patient: Patient = None,
    block: Block = None,
    at: Annotated[str, typer.Option(help="spots, between-spots (.h5ad or .zarr), or grid (.zarr)")] = "spots",
    spacing_um: Annotated[float, typer.Option(help="distance between the points of a grid in um, 8 or more")] = 20.0,
    rule: Annotated[
        str, typer.Option(help="points between spots: tissue (all its spots on tissue) or original (as the white filter says)")
    ] = "tissue",
    tile_by_tile: Annotated[bool, typer.Option("--tile-by-tile", help="look at each tile of a grid by itself: slower, exact")] = False,
    events: Annotated[bool, typer.Option("--events", help="print events as JSON lines")] = False,
    background: Annotated[bool, typer.Option("--background", help="run at low priority and leave a core free")] = False,
    aligned: Aligned = None,
    causes: Causes = None,
    sealed: Sealed = None,
    **how: Any,
) -> None:
    """Predict with a finished run at the spots of any section, between them, or at a grid (a denser map); writes OUT.h5ad or OUT.zarr."""
    from napari_deepspace.cli_print import print_predicted
    from napari_deepspace.predict_command import run_prediction
    from napari_deepspace.read import read_section

    def read() -> Section:
        return read_section(
            section, patient=patient, block=block, outlines=outlines, aligned=aligned, causes=causes, sealed=sealed, **how,
        )  # fmt: skip

    run_prediction(run_dir, read, out, at, spacing_um, rule, tile_by_tile, events, background)
    if not events:
        print_predicted(out)


@reads_section
def impute(
    run_dir: Path,
    section: Path,
    out: Annotated[Path, typer.Option(help="result file, .h5ad")],
    outlines: Annotated[Path | None, typer.Option(help="GeoJSON: Failed region outlines are imputed, Exclude and Ignore* ones are not")] = None,
    patient: Patient = None,
    block: Block = None,
    aligned: Aligned = None,
    causes: Causes = None,
    sealed: Sealed = None,
    **how: Any,
) -> None:
    """Fill a section: measured where it was measured, imputed where not; holes only where dummy holes tested it. Writes OUT.h5ad."""
    from napari_deepspace.blocking import drain
    from napari_deepspace.impute_command import copy_words, summary
    from napari_deepspace.impute_command import impute as fill_section
    from napari_deepspace.read import read_section
    from napari_deepspace.results import FILLED, UNS, holes_of, write_result

    if out.suffix != ".h5ad":
        raise SettingsError(f"--out {out}: the result is an .h5ad file; give a name that ends in .h5ad.")
    to_fill = read_section(
        section, patient=patient, block=block, outlines=outlines, aligned=aligned, causes=causes, sealed=sealed, **how,
    )  # fmt: skip
    adata = drain(fill_section(run_dir, to_fill), sys.stderr.isatty())
    write_result(adata, out)
    about = adata.uns[UNS]
    print(f"{out}: {FILLED}: {summary(adata)}. Imputed from {about['looks_at']}, not measured. Research use only.")
    print_holes(holes_of(adata))
    if said := copy_words(adata, aligned):
        print(f"  {said}.")
    print(f"  {about['tested']}.")


@reads_section
def evaluate(
    out: Annotated[Path, typer.Argument(metavar="OUT.h5ad")],
    section: Annotated[Path | None, typer.Argument(help="section with the measured counts, where OUT.h5ad has none")] = None,
    patient: Patient = None,
    block: Block = None,
    within: Annotated[
        str | None,
        typer.Option(help="compartments to score within: clusters, OUTLINES.geojson or a column of obs; left out: clusters that came along"),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="write the table, one row a gene, to this file (.csv)")] = None,
    as_json: Json = False,
    **how: Any,
) -> None:
    """Score predictions at spots the model was not trained on, beside the simple ways, and say of each gene whether the model adds anything."""
    from napari_deepspace.analyse.evaluate import evaluate as score
    from napari_deepspace.analyse.evaluate import require_scored
    from napari_deepspace.analyse.judge import panel_table
    from napari_deepspace.read import read_section
    from napari_deepspace.runs import write_atomic

    scores = require_scored(score(out, read_section(section, slide=False, **how) if section else None, within, patient, block))
    if csv is not None:
        write_atomic(csv, panel_table(scores).to_csv(index=False))
    if as_json:
        print_values(scores, True)
    else:
        print_scores(scores)
