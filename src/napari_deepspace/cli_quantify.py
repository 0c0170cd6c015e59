"""The command ``quantify``: a stain of the neighbouring slide against expression. ``cli`` registers it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_deepspace.cli_options import Json, reads_section
from napari_deepspace.errors import SettingsError
from napari_deepspace.runs import nan_to_none, write_atomic


@reads_section
def quantify(
    section: Path,
    slide: Annotated[Path, typer.Argument(help="IHC slide of the neighbouring section")],
    alignment: Annotated[Path, typer.Option(help="alignment.json, of the section's slide (fixed) and this one (moving)")],
    run: Annotated[Path | None, typer.Option(help="finished run: what it predicts out of fold is held against the stain")] = None,
    gene: Annotated[list[str] | None, typer.Option(help="gene; may be repeated; left out: the run's best, without a run none")] = None,
    outlines: Annotated[Path | None, typer.Option(help="GeoJSON of outlines: rows inside each class, and with --per-outline their stain")] = None,
    per_outline: Annotated[bool, typer.Option("--per-outline", help="the table has a row an outline in place of a spot")] = False,
    cells: Annotated[Path | None, typer.Option(help="GeoJSON of cells that QuPath detected on the IHC slide")] = None,
    way: Annotated[str, typer.Option(help="dab, inverted-rgb (the paper's), positive-share, positive-cells or h-score")] = "dab",
    positive_above: Annotated[float, typer.Option(help="DAB optical density above which a pixel is positive")] = 0.2,
    out: Annotated[Path | None, typer.Option(help="table, .csv")] = None,
    plot: Annotated[Path | None, typer.Option(help="scatter of stain against expression (.png, .svg, .pdf); a file a gene")] = None,
    as_json: Json = False,
    **how: Any,
) -> None:
    """Quantify an IHC slide at the spots of the section beside it, and say how far it goes with expression, against moved pictures."""
    from napari_deepspace.align.quantify import CELL_WAYS, WAYS, outline_table
    from napari_deepspace.align.transform import read_alignment
    from napari_deepspace.analyse.agreement import NULL
    from napari_deepspace.cells import read_cells
    from napari_deepspace.figure_parts import save
    from napari_deepspace.figure_settings import require_format
    from napari_deepspace.geojson import stamp_of
    from napari_deepspace.quantify_command import draw_agreement, figure_of, gene_rows, quantify_outlines, quantify_spots, spot_table
    from napari_deepspace.read import read_section
    from napari_deepspace.region_command import known_genes
    from napari_deepspace.slide import open_slide

    if way not in WAYS:
        raise SettingsError(f"{way!r} is no way to quantify a stain. Choose {', '.join(WAYS)}.")
    if way in CELL_WAYS and cells is None:
        raise SettingsError(f"{WAYS[way]} needs the cells of the slide. Export them from QuPath as GeoJSON and give the file (--cells).")
    if plot is not None:
        require_format(plot)
        if run is None and not gene:
            raise SettingsError("--plot draws the stain against a gene. Name one (--gene) or give a run (--run).")
    if per_outline and outlines is None:
        raise SettingsError("--per-outline needs outlines. Give their GeoJSON (--outlines).")
    aligned = read_alignment(alignment)
    read = read_section(section, outlines=outlines, **how)
    with open_slide(slide) as ihc:
        detected = read_cells(cells, stamp_of(ihc)) if cells is not None else None
        read.require_slide()
        found = quantify_spots(read, ihc, aligned, detected, positive_above)
        of_outlines = quantify_outlines(read, ihc, aligned, detected, positive_above) if per_outline else None
    known = known_genes(read, gene or (), run) if gene or run is not None else []
    known = known if gene else known[:1]
    said = [gene_rows(one, found, way) for one in known]
    table = outline_table(read.outlines, of_outlines.table) if of_outlines is not None else spot_table(read, found, known)
    notes = list(found.notes)
    if way == "positive-share":
        notes.append(f"A pixel is positive above a DAB optical density of {positive_above:g}.")
    notes += [f"{NULL}."] if said else []
    notes.append("Research use only.")
    if out is not None:
        write_atomic(out, table.to_csv(index=False))
    written = [str(out)] if out is not None else []
    for number, one in enumerate(said if plot is not None else ()):
        assert plot is not None
        file = figure_of(plot, number, len(said), one.gene)
        save(draw_agreement(read, found, one, way, notes), file)
        written.append(str(file))
    if as_json:
        values = {"section": read.library_id, "slide": slide.name, "synthetic": read.synthetic, "way": way, "positive_above": positive_above}
        values |= {"spots": len(found.table), "left_out": found.left_out, "notes": notes, "research_use_only": True}
        values["genes"] = [{"gene": one.gene, "unit": one.unit, "rows": [asdict(row) for row in one.rows]} for one in said]
        values |= {"outlines": table.to_dict("records")} if per_outline else {}
        print(json.dumps(nan_to_none(values), indent=1, ensure_ascii=False))
        return
    print(f"{read.library_id} and {slide.name}: {'SYNTHETIC data. ' if read.synthetic else ''}{WAYS[way]} at {len(found.table):,} spots")
    for one in said:
        print(f"  {one.gene}, {one.unit}")
        for row in one.rows:
            print(f"    {row.words}")
    for note in notes[:-1]:
        print(f"  {note}")
    print(f"{'Written: ' + ', '.join(written) + '. ' if written else ''}{notes[-1]}")
