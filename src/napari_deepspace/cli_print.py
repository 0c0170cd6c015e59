"""What the commands print: plain tables, or JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_deepspace.runs import nan_to_none
from napari_deepspace.verdicts import WAYS

if TYPE_CHECKING:
    from napari_deepspace.run_list import RunInfo


def print_run(run: RunInfo) -> None:
    """Two lines: what it is, and how it stands with it."""
    from napari_deepspace.run_list import score_words, state_words

    print(f"{run.name}: {run.target}, {run.model}, on {', '.join(run.sections)}")
    score = score_words(run)
    print(f"  {state_words(run)}" + (f"; {score}" if score else "") + f"  ({run.started:%Y-%m-%d %H:%M}, {run.size / 1e6:,.1f} MB)  {run.run_dir}")


def print_values(value: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(nan_to_none(value), indent=1, ensure_ascii=False))
        return
    for key, item in value.items():
        lines = item if isinstance(item, list) else [item]
        for number, line in enumerate(lines):
            print(f"{key if number == 0 else '':<18} {line}")


def print_predicted(out: Path) -> None:
    """What was predicted, where, and from what."""
    if out.suffix == ".zarr":
        from napari_deepspace.denser import open_denser

        dmap = open_denser(out)
        where = f"a grid of {dmap.spacing_um:g} um" if dmap.at == "grid" else "points between spots"
        n, kind, looks_at = f"{int(dmap.on_tissue.sum())} points of {where}", dmap.kind, dmap.about["looks_at"]
        count, synthetic = len(dmap.outputs), dmap.synthetic
        holes = []
    else:
        from napari_deepspace.results import SOURCE, UNS, holes_of, outputs_of, read_result, target_of

        adata = read_result(out)
        sources = ", ".join(f"{count} {name}" for name, count in adata.obs[SOURCE].value_counts().items() if count)
        kind, n, looks_at = target_of(adata).kind, f"{adata.n_obs} spots ({sources})", adata.uns[UNS]["looks_at"]
        count, synthetic = len(outputs_of(adata)), bool(adata.uns[UNS]["synthetic"])
        holes = holes_of(adata)
    print(f"{out}: {count} {kind} at {n}{', SYNTHETIC' if synthetic else ''}. Predicted from {looks_at}, not measured. Research use only.")
    print_holes(holes)


def print_preprocessed(folder: Path) -> None:
    """For every section: how many spots stay, what each step removes, and what became of regions and clusters."""
    from napari_deepspace.outlines import read_outlines
    from napari_deepspace.preprocess.clusters import COMPUTED, GIVEN
    from napari_deepspace.preprocess_command import REGIONS, SPOTS, SUFFIXES, read_spots, steps_of

    for file in sorted(folder.glob(f"*{SUFFIXES[SPOTS]}")):
        spots = read_spots(file)
        name = file.name.removesuffix(SUFFIXES[SPOTS])
        print(f"{name}: {int(spots['deepspace_keep'].sum())} of {len(spots)} spots stay")
        for reason, count in steps_of(spots).items():
            print(f"  {reason:<24}removes {count}")
        regions = folder / f"{name}{SUFFIXES[REGIONS]}"
        for outline in read_outlines(regions) if regions.exists() else []:
            print(f"  {outline.name}: {outline.notes['spots']} spots, median {outline.notes['median UMI']} UMI: {outline.notes['verdict']}")
        for column in set(spots.columns) & {*GIVEN, COMPUTED}:
            print(f"  {column}: {spots[column].nunique()} clusters")


_WORDS = {"genes": "gene", "signatures": "signature", "obs": "column", "clusters": "cluster"}


def print_scores(scores: dict[str, Any]) -> None:
    """A table of genes with r, its baselines and what they mean."""
    synthetic = "SYNTHETIC data. " if scores["synthetic"] else ""
    print(f"{scores['library_id']}: {synthetic}{scores['model']}, {scores['panel']}; split: {scores['split']}; {scores['normalisation']}")
    if not scores["n_spots"]:
        print("  every spot was trained on: score the model on another section (napari-deepspace predict, then evaluate)")
        return
    score = scores["score"]
    ways = [name for name in scores["mean"] if name != score]
    print(
        f"  {_WORDS[scores['target']]:<14}{score:>7}{'95 % interval':>17}{'ceiling':>9}"
        + "".join(f"{_plain(name):>{_width(name)}}" for name in ways)
        + "  verdict"
    )
    for gene, one in scores["genes"].items():
        print(f"  {gene:<14}{_score_row(one[score], one['interval'], one['ceiling'], one, ways)}  {one['verdict']}")
    counts = "; ".join(f"{verdict}: {count}" for verdict, count in scores["verdicts"].items())
    print(f"  {'mean':<14}{_score_row(scores['mean'][score], scores['interval'], scores['ceiling'], scores['mean'], ways)}")
    print(f"  {counts}")
    print(f"  {scores['significant']} of {len(scores['genes'])} go with the measured map beyond chance (false discovery rate {scores['fdr']})")
    if scores["within"]:
        inner = ", ".join(f"{_plain(name)} {_number(value).strip()}" for name, value in scores["within"]["mean"].items())
        print(f"  within compartments ({scores['within']['compartments']}): mean {inner}")
    if "classification" in scores:
        found = scores["classification"]
        print(f"  the likeliest cluster is right at {found['accuracy']:.0%} of spots (always naming the commonest: {found['majority class']:.0%})")
    chance = "an AUC of 0.5 is chance" if score == "AUC" else f"by chance |r| stays below about {scores['chance_r']:.2f}"
    print(
        f"  n = {scores['n_spots']} spots the model was not trained on ({scores['training_spots_left_out']} training and "
        f"{scores['excluded_spots_left_out']} filtered spots left out); {chance}. Research use only."
    )
    print(f"  {scores['band']['words']}")
    print_holes(scores.get("holes", []))
    if scores.get("rank"):
        print(f"  {scores['rank']}")


def print_holes(holes: list[dict[str, Any]]) -> None:
    """One line a hole: its size, and what its test says of a prediction there."""
    for one in holes:
        print(f"  hole {one['hole']}, {one['spots']} spots without a usable measurement: {one['words']}")


def _plain(way: str) -> str:
    """A simple way as a pathologist reads it; r and whatever else is none stay."""
    return WAYS.get(way, way)


def _width(name: str) -> int:
    return max(len(_plain(name)) + 2, 9)


def _score_row(value: float | None, interval: list[float], ceiling: float | None, others: dict[str, Any], ways: list[str]) -> str:
    """A score with its interval, ceiling and the simple ways' scores, in columns."""
    between = f"{_number(interval[0]).strip()} to {_number(interval[1]).strip()}"
    return f"{_number(value)}{between:>17}{_number(ceiling):>9}" + "".join(f"{_number(others.get(name)):>{_width(name)}}" for name in ways)


def _number(value: float | None) -> str:
    return f"{'-':>7}" if value is None or math.isnan(value) else f"{value:7.3f}"
