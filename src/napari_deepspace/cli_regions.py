"""Commands about outlines: ``regions`` and ``propose-outlines``. ``cli`` registers them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_deepspace.cli_options import Json, Sealed, reads_section
from napari_deepspace.errors import SettingsError
from napari_deepspace.runs import nan_to_none, write_atomic

if TYPE_CHECKING:
    import pandas as pd


@reads_section
def regions(
    section: Path,
    outlines: Annotated[Path, typer.Option(help="GeoJSON of outlines in full-resolution px; Exclude and Ignore* take spots out")],
    run: Annotated[Path | None, typer.Option(help="finished run: what it predicts out of fold stands beside what was measured")] = None,
    gene: Annotated[list[str] | None, typer.Option(help="gene; may be repeated; left out: the run's best twelve")] = None,
    by: Annotated[str, typer.Option(help="outline (each by itself) or class (all of a class together)")] = "outline",
    front: Annotated[str | None, typer.Option(help="name or id of an outline (or a class): the profile across its border, -500 to 500 um")] = None,
    band_um: Annotated[float, typer.Option(help="width of the profile's bands in um")] = 50.0,
    denser: Annotated[Path | None, typer.Option(help="denser map (.zarr) that the profile shows too")] = None,
    against: Annotated[Path | None, typer.Option(help="GeoJSON of another observer: Dice, IoU and spots, class by class")] = None,
    differential: Annotated[Path | None, typer.Option(help="CSV of every gene inside against outside (Wilcoxon)")] = None,
    out: Annotated[Path | None, typer.Option(help="table, .csv; with --front that of the profile")] = None,
    plot: Annotated[Path | None, typer.Option(help=".png, .svg, .pdf: distributions; with --front a profile, with --against two observers")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="which spots count without a run: min_umi=500, …; may be repeated")] = None,
    sealed: Sealed = None,
    as_json: Json = False,
    **how: Any,
) -> None:
    """Describe outlines: area, spots, what was measured and predicted in them, and whether a gene goes with them beyond chance; or a profile."""
    from napari_deepspace.analyse.region_tests import NULL
    from napari_deepspace.analyse.regions import regions_of
    from napari_deepspace.denser import open_denser
    from napari_deepspace.figure_parts import save
    from napari_deepspace.figure_settings import require_format
    from napari_deepspace.read import read_section
    from napari_deepspace.region_command import (
        differential_table,
        distributions_figure,
        find_region,
        front_figure,
        front_notes,
        front_table,
        known_genes,
        observers_figure,
        observers_table,
        read_observer,
        region_table,
    )
    from napari_deepspace.settings import filter_settings
    from napari_deepspace.spot_command import known_of

    if plot is not None:
        require_format(plot)
        if front is not None and against is not None:
            raise SettingsError("--plot draws one figure: the profile (--front) or both observers (--against). Leave one of them out.")
    usual = filter_settings(tuple(overrides or ()))
    read = read_section(section, outlines=outlines, sealed=sealed, **how)
    found = regions_of(read.outlines, by)
    chosen = find_region(found, front) if front is not None else None
    known = known_genes(read, gene or (), run, usual)
    said: dict[str, Any] = {"section": read.library_id, "synthetic": read.synthetic, "by": by, "null": NULL, "research_use_only": True}
    if chosen is not None:
        table = front_table(read, chosen, known, band_um, open_denser(denser) if denser is not None else None)
        notes = front_notes(read, chosen, known, table)
        said |= {"front": chosen.name, "notes": notes, "bands": table.to_dict("records")}
    else:
        table = region_table(read, found, known)
        said |= {"regions": table.to_dict("records")}
    other = read_observer(read, against) if against is not None else []
    observers = observers_table(read, other) if other else None
    said |= {"observers": observers.to_dict("records")} if observers is not None else {}
    if plot is not None and chosen is not None:
        save(front_figure(read, chosen, known, table), plot)
    elif plot is not None:
        save(observers_figure(read, other, observers) if observers is not None else distributions_figure(read, found, known), plot)
    if differential is not None:
        keep = known[0].keep if known else known_of(run, read, usual=usual).keep
        write_atomic(differential, differential_table(read, found, keep).to_csv(index=False))
    if out is not None:
        write_atomic(out, table.to_csv(index=False))
    if as_json:
        print(json.dumps(nan_to_none(said), indent=1, ensure_ascii=False))
        return
    print(f"{read.library_id}: {'SYNTHETIC data. ' if read.synthetic else ''}{_count(len(found), by)}")
    if chosen is not None:
        _print_front(table, notes)
    else:
        _print_regions(table, NULL)
    if observers is not None:
        _print_observers(observers)
    written = [str(file) for file in (out, plot, differential) if file is not None]
    print(f"{'Written: ' + ', '.join(written) + '. ' if written else ''}Research use only.")


def propose_outlines(
    denser: Annotated[Path, typer.Argument(metavar="DENSER.zarr", help="denser map at a grid")],
    gene: Annotated[str, typer.Option(help="gene, or another output of the map; of clusters: where it is the likeliest")],
    out: Annotated[Path, typer.Option(help="outlines, .geojson")],
    above: Annotated[float | None, typer.Option(help="least predicted value inside; left out: the value that parts the map best (Otsu)")] = None,
    least_um2: Annotated[float | None, typer.Option(help="least area of a piece or a hole in um2; left out: that of a tile")] = None,
    as_json: Json = False,
) -> None:
    """Propose outlines where a gene is predicted high. They have no class: what the tissue is there is for you to say."""
    from napari_deepspace.denser import open_denser
    from napari_deepspace.outlines import write_outlines
    from napari_deepspace.proposed_outlines import propose_outlines as propose

    if out.suffix.lower() not in (".geojson", ".json"):
        raise SettingsError(f"Outlines are written as GeoJSON; found {out.name}. Give a name that ends in .geojson.")
    dmap = open_denser(denser)
    found = propose(dmap, gene, above, least_um2)
    write_outlines(out, found, dmap.slide)
    areas = [outline.geometry.area * dmap.mpp**2 / 1e6 for outline in found]
    if as_json:
        print(json.dumps({"name": found[0].name, "area_mm2": areas, "run": dmap.run, "synthetic": dmap.synthetic, "out": str(out)}, indent=1))
        return
    print(f"{out}: {found[0].name}, {_count(len(found), 'outline')} of {sum(areas):.2f} mm2 together, from a map of {dmap.spacing_um:g} um.")
    print(f"  {'SYNTHETIC data. ' if dmap.synthetic else ''}They have no class, and cannot be tested with {gene}. Research use only.")


def _print_regions(table: pd.DataFrame, null: str) -> None:
    tested = 0
    for _, of_region in table.groupby(["region", "id"], sort=False):
        first = of_region.iloc[0]
        named = f" ({first['class']})" if first["class"] not in ("", first["region"]) else ""
        print(
            f"  {first['region']}{named}: {first['area_mm2']:.3f} mm2, {first['spots']} spots with their centre inside, "
            f"{first['spots_on_border']} cut by the border; {first['origin']}"
        )
        for _, row in of_region.iterrows() if "gene" in table else ():
            tested += math.isfinite(row["p"])
            predicted = f"; predicted {_number(row['predicted_mean'])} inside, {_number(row['predicted_outside_mean'])} outside"
            print(
                f"    {row['gene']}: measured {_number(row['measured_mean'])} (quartiles {_number(row['measured_q1'])}, "
                f"{_number(row['measured_median'])}, {_number(row['measured_q3'])}; n {row['measured_n']}) inside, "
                f"{_number(row['outside_mean'])} (n {row['outside_n']}) outside{predicted if row['predicted_n'] else ''}"
            )
            p = row["why"] or f"P {'≤ ' if row['p'] * (1 + row['moves']) < 1.5 else ''}{row['p']:.3f}, {row['patients']}, {row['blocks']:.0f} blocks"
            between = f" ({_number(row['auroc_low'])} to {_number(row['auroc_high'])})" if math.isfinite(row["auroc_low"]) else ""
            print(f"      AUROC {_number(row['auroc'])}{between}; {p}" + (f"; {row['caution']}" if row["caution"] else ""))
    if tested:
        print(f"  {null}; measured spots only. Of many tests 1 in 20 falls below 0.05 by chance; here {tested}.")


def _print_front(table: pd.DataFrame, notes: list[str]) -> None:
    for (gene, source), some in table.groupby(["gene", "source"], sort=False):
        print(f"  {gene}, {source} ({some['unit'].iloc[0]})")
        for _, row in some[some["n"] > 0].iterrows():
            between = (
                f"{_number(row['low'])} to {_number(row['high'])}" if math.isfinite(row["low"]) else f"no interval: {_count(row['blocks'], 'block')}"
            )
            print(f"    {row['from_um']:>5.0f} to {row['to_um']:>4.0f} um  {_number(row['mean']):>6}  ({between}; n {row['n']})")
    for note in notes:
        print(f"  {note}")


def _print_observers(table: pd.DataFrame) -> None:
    for _, row in table.iterrows():
        print(
            f"  {row['class']}: Dice {_number(row['dice'])}, IoU {_number(row['iou'])}; "
            f"{row['area_one_mm2']:.3f} and {row['area_other_mm2']:.3f} mm2; "
            f"spots: both {row['spots_both']}, only here {row['spots_only_one']}, only there {row['spots_only_other']} "
            f"(Dice {_number(row['spots_dice'])}, IoU {_number(row['spots_iou'])})"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what if number == 1 else {'class': 'classes'}.get(what, what + 's')}"


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"
