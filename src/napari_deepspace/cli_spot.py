"""Commands that look at single spots: ``spot`` and ``disagreements``. ``cli`` registers them."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_deepspace.cli_options import Causes, Json, reads_section
from napari_deepspace.runs import nan_to_none

if TYPE_CHECKING:
    from napari_deepspace.look_alikes import LookAlike

Gene = Annotated[str | None, typer.Option(help="gene, or another output of the run; left out: the run's best")]


@reads_section
def spot(
    run_dir: Path,
    section: Path,
    barcode: str,
    gene: Gene = None,
    look_alikes: Annotated[bool, typer.Option("--look-alikes/--no-look-alikes", help="find measured training tiles that look like this one")] = True,
    tiles: Annotated[Path | None, typer.Option(help="folder for the pictures: the tile as the model sees it, and those of the look-alikes")] = None,
    causes: Causes = None,
    background: Annotated[bool, typer.Option("--background", help="run at low priority and leave a core free")] = False,
    as_json: Json = False,
    **how: Any,
) -> None:
    """All that is known of one spot: place, counts, measured and predicted, its neighbours, its top genes, and measured tiles that look like it."""
    if background:
        from napari_deepspace.train_command import lower_priority

        lower_priority()  # before torch is imported
    from napari_deepspace.blocking import drain
    from napari_deepspace.read import read_section
    from napari_deepspace.spot_command import describe_spot, known_of, with_measured
    from napari_deepspace.spot_command import look_alikes as find

    read = read_section(section, causes=causes, **how)
    known = known_of(run_dir, read, gene)
    facts = describe_spot(known, barcode)
    found = drain(find(run_dir, read, barcode, known.gene), sys.stderr.isatty() and not as_json) if look_alikes else None
    found = with_measured(found, known) if found is not None else None
    if tiles is not None:
        from napari_deepspace.spot_command import write_tiles

        write_tiles(run_dir, known, barcode, found or [], tiles)
    if as_json:
        facts |= {} if found is None else {"look_alikes": [asdict(one) for one in found]}
        print(json.dumps(nan_to_none(facts), indent=1, ensure_ascii=False))
        return
    _print_spot(facts, found)


@reads_section
def disagreements(
    run_dir: Path,
    section: Path,
    gene: Gene = None,
    causes: Causes = None,
    as_json: Json = False,
    **how: Any,
) -> None:
    """The places where predicted and measured differ most, out of fold, each a place of its own: the stops of the tour in the dock."""
    from napari_deepspace.causes import causes_of
    from napari_deepspace.read import read_section
    from napari_deepspace.spot_command import disagreements as find
    from napari_deepspace.spot_command import known_of

    read = read_section(section, causes=causes, slide=False, **how)
    known = known_of(run_dir, read, gene)
    stops, filed = find(known), causes_of(read.adata)
    if as_json:
        values = [asdict(stop) | {"difference": stop.difference, "cause": filed.get(stop.barcode, "")} for stop in stops]
        print(json.dumps(nan_to_none({"gene": known.gene, "unit": known.unit, "synthetic": read.synthetic, "stops": values}), indent=1))
        return
    print(f"{read.library_id}: {'SYNTHETIC data. ' if read.synthetic else ''}{known.gene}, {known.unit}; out-of-fold spots only")
    for stop in stops:
        cause = filed.get(stop.barcode, "")
        print(f"  {stop.barcode}  {stop.words}  (row {stop.yx_um[0]:,.0f} um, column {stop.yx_um[1]:,.0f} um){f'  {cause}' if cause else ''}")
    print("Research use only.")


def _print_spot(facts: dict[str, Any], found: list[LookAlike] | None) -> None:
    from napari_deepspace.look_alikes import HOW, NOTHING

    y, x = facts["yx_um"]
    print(f"{facts['barcode']} on {facts['library_id']}{', SYNTHETIC data' if facts['synthetic'] else ''}")
    print(f"  row {facts['array_row']}, column {facts['array_col']}; {y:,.0f} um down, {x:,.0f} um to the right")
    print(f"  {facts['umi']:,} UMI" + "".join(f"; {name} {facts[name]}" for name in ("cluster", "cause") if facts[name]))
    if facts["removed"]:
        print(f"  removed: {facts['removed']}")
    print(f"  {facts['gene']}: measured {_number(facts['measured'])}, predicted {_number(facts['predicted'])}  ({facts['unit']})")
    print(f"  {facts['source']}")
    mean = f"mean measured {_number(facts['neighbours_measured'])}, predicted {_number(facts['neighbours_predicted'])}"
    print(f"  {len(facts['neighbours'])} neighbours: {mean}")
    for one in facts["neighbours"]:
        print(f"    {one['barcode']}  measured {_number(one['measured'])}, predicted {_number(one['predicted'])}")
    for name, shown, beside in (("top_genes", ".0f", "{:.1f} expected"), ("top_predicted", ".2f", "{:+.1f} SD")):
        if facts[name]:
            print(f"  {facts[name + '_are']}:")
            print("    " + ", ".join(f"{one['gene']} {one['value']:{shown}} ({beside.format(one['beside'])})" for one in facts[name]))
    if found is not None:
        print(f"  look-alikes: {HOW if found else NOTHING}")
        for alike in found:
            place = f"{alike.library_id}, row {alike.array_row}, column {alike.array_col}"
            print(f"    {alike.barcode}  {place}: {facts['gene']} measured {_number(alike.measured)}")
    print("Research use only.")


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"
