"""The command ``napari-deepspace figure``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_deepspace.cli_options import Aligned, Block, Patient, Sealed, reads_section
from napari_deepspace.errors import SettingsError


@reads_section
def figure(
    source: Annotated[Path, typer.Argument(metavar="RUN_DIR|SECTION", help="finished run; a section alone, to draw what was measured")],
    section: Annotated[Path | None, typer.Argument(help="section whose figure is drawn, after RUN_DIR")] = None,
    out: Annotated[Path, typer.Option(help="figure, .png, .svg or .pdf")] = ...,  # type: ignore[assignment]
    gene: Annotated[str, typer.Option(help="gene, or another output of the run")] = "",
    kind: Annotated[str, typer.Option(help="between (figure 3), map, side-by-side, scatter, table, confusion or denser")] = "between",
    show: Annotated[
        str,
        typer.Option(
            help="of a map: measured, predicted, difference, interval, colour-alone, neighbours-alone, clusters, likeliest-class or removed; "
            "of a denser map: predicted, likeliest-class, interval or disagreement"
        ),
    ] = "",
    size: Annotated[str | None, typer.Option(help="width x height in mm, for example 180x120")] = None,
    dpi: Annotated[int, typer.Option(help="pixels per inch of a PNG, and of the H&E in SVG and PDF")] = 300,
    limits: Annotated[str | None, typer.Option(help="colour limits: low,high; left out: by --percentiles")] = None,
    percentiles: Annotated[str, typer.Option(help="of the values, where the colours begin and end")] = "1,99",
    log: Annotated[bool, typer.Option("--log", help="spread the colours by logarithm")] = False,
    own_limits: Annotated[bool, typer.Option("--own-limits", help="measured and predicted each with limits of their own")] = False,
    colours: Annotated[str, typer.Option(help="colour map: viridis, magma, inferno, cividis or paper")] = "viridis",
    hide: Annotated[list[str] | None, typer.Option(help="name of a cluster that is not drawn; may be repeated")] = None,
    region: Annotated[str | None, typer.Option(help="part that is drawn (of figure 3: enlarged): row,column,width in um")] = None,
    rows: Annotated[int, typer.Option(min=1, help="genes of a table at most")] = 40,
    slide_percent: Annotated[int, typer.Option(min=0, max=100, help="opacity of the H&E; 0: none")] = 100,
    spot_percent: Annotated[int, typer.Option(min=10, max=300, help="diameter of the spots in per cent of the true one")] = 100,
    show_anyway: Annotated[bool, typer.Option("--show-anyway", help="maps that are not better than every simple way are not greyed")] = False,
    normalisation: Annotated[str, typer.Option(help="of a measured gene that the run does not predict: log, sctransform, pearson or stnet")] = "log",
    overrides: Annotated[list[str] | None, typer.Option("--set", help="which spots stay: min_umi=500, …; may be repeated")] = None,
    denser: Annotated[Path | None, typer.Option(help="denser map (.zarr); left out: the run's points between spots")] = None,
    outlines: Annotated[
        Path | None, typer.Option(help="GeoJSON: Exclude takes spots out; in figure 3 others are drawn, the smallest enlarged")
    ] = None,
    clusters: Annotated[Path | None, typer.Option(help="CSV with barcode and cluster; left out: those that came with the section")] = None,
    patient: Patient = None,
    block: Block = None,
    aligned: Aligned = None,
    sealed: Sealed = None,
    **how: Any,
) -> None:
    """Draw a map, a plot or a table for publication, with scale, unit, source and scores beside it; left as it is: spots, points between and both."""
    from napari_deepspace.blocking import drain
    from napari_deepspace.figure_settings import KINDS, FigureSettings, numbers_of, read_show, require_format
    from napari_deepspace.figures import write
    from napari_deepspace.read import read_section
    from napari_deepspace.settings import filter_settings

    require_format(out)
    settings = FigureSettings(
        kind=kind,  # type: ignore[arg-type]
        gene=gene,
        show=read_show(show),
        size_mm=numbers_of(size, "--size", 2, "180x120", "x") if size else None,  # type: ignore[arg-type]
        dpi=dpi,
        limits=numbers_of(limits, "--limits", 2, "0.5,4") if limits else None,  # type: ignore[arg-type]
        shared=not own_limits,
        colours=colours,  # type: ignore[arg-type]
        percentiles=numbers_of(percentiles, "--percentiles", 2, "1,99"),  # type: ignore[arg-type]
        log=log,
        hidden=tuple(hide or ()),
        region_um=numbers_of(region, "--region", 3, "1500,2200,600") if region else None,  # type: ignore[arg-type]
        rows=rows,
        slide_percent=slide_percent,
        spot_percent=spot_percent,
        show_anyway=show_anyway,
        normalisation=normalisation,
        filter=filter_settings(tuple(overrides)) if overrides else None,
        denser=denser,
    )
    if section is None and kind != "map":
        raise SettingsError(f"A figure of kind {kind} needs a run: napari-deepspace figure RUN_DIR SECTION. A map may do without.")
    read = read_section(
        section or source, patient=patient, block=block, outlines=outlines, clusters=clusters, aligned=aligned, sealed=sealed, **how,
    )  # fmt: skip
    drain(write(read, settings, out, source if section is not None else None), sys.stderr.isatty())
    what = " ".join(word for word in (gene, KINDS[kind]) if word)
    synthetic = " SYNTHETIC data." if read.synthetic else ""
    print(f"{out}: {what}, {settings.width_mm:g} x {settings.height_mm:g} mm.{synthetic} Research use only.")
