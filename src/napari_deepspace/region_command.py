"""What ``napari-deepspace regions`` does: outlines described, tested and compared, and the profile across the border of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from napari_deepspace.analyse.blocks import spot_blocks
from napari_deepspace.analyse.front import BAND_UM, blocks_at, profile, signed_distance_um
from napari_deepspace.analyse.front_figure import DENSER, MEASURED, PREDICTED, draw_front
from napari_deepspace.analyse.observers import compare_observers
from napari_deepspace.analyse.region_figure import draw_distributions, draw_observers
from napari_deepspace.analyse.region_tests import ONE_PATIENT, caution, judge_regions, refusal
from napari_deepspace.analyse.regions import Region, area_mm2, distribution, genes_inside, spots_inside, spots_on_border
from napari_deepspace.denser import DenserMap, values
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.geojson import stamp_of
from napari_deepspace.outlines import MADE, Outline, read_outlines
from napari_deepspace.section import Section
from napari_deepspace.settings import FilterSettings
from napari_deepspace.spot_command import Known, known_of, with_gene

MOST_GENES = 12  #: of a run, where nobody names any
KEY = ("region", "id", "class", "origin", "author", "area_mm2", "spots", "spots_on_border")


def known_genes(section: Section, genes: Sequence[str] = (), run_dir: Path | None = None, usual: FilterSettings | None = None) -> list[Known]:
    """What is known of ``genes`` on ``section``; left out: the run's best twelve, and without a run none.

    ``usual`` says which spots count without a run.

    Raises
    ------
    SettingsError, ModelError
        As :func:`napari_deepspace.spot_command.known_of`.
    DataError
        The section has no counts, or the run holds no predictions of it.
    """
    section.require_counts()
    if run_dir is None and not genes:
        return []
    first = known_of(run_dir, section, genes[0] if genes else None, usual)
    if run_dir is not None and first.maps is None:
        raise DataError(f"{run_dir} holds no predictions of {section.library_id}. Give the run of this section, or --library-id, or leave --run out.")
    if not genes and first.maps is not None:
        scored = [one.name for one in first.maps.scores.ordered()] if first.maps.scores is not None else []
        genes = (scored or list(first.maps.genes))[:MOST_GENES]
    run = run_dir.name if run_dir is not None else ""
    return [first if gene == first.gene else with_gene(first, gene, run) for gene in dict.fromkeys(genes)]


def region_table(section: Section, regions: Sequence[Region], known: Sequence[Known]) -> pd.DataFrame:
    """One row a region and gene (without genes one a region): KEY, then what was measured inside and outside, what was predicted, AUROC and P.

    ``measured_*`` are of spots inside, ``outside_*`` of the other measured spots, ``predicted_*`` out of fold inside. ``p`` is NaN where ``why`` says
    why; ``caution`` stands beside it, and ``patients``: one.
    """
    centres = section.centres_yx
    measured = np.column_stack([one.measured for one in known]) if known else np.empty((len(centres), 0))
    tests = judge_regions(regions, [one.gene for one in known], section.adata.var_names, centres, measured, section.mpp)
    rows = []
    for region, of_region in zip(regions, tests, strict=True):
        within = spots_inside(region, centres)
        origins = ", ".join(dict.fromkeys(f"{one.origin} {one.gene}".strip() if one.origin == MADE else one.origin for one in region.outlines))
        described = (
            region.name,
            ", ".join(one.id for one in region.outlines),
            ", ".join(dict.fromkeys(one.classification for one in region.outlines)),
            origins,
            ", ".join(dict.fromkeys(one.author for one in region.outlines if one.author)),
            area_mm2(region, section.mpp),
            int(within.sum()),
            int(spots_on_border(region, centres, section.spot_diameter_px).sum()),
        )
        row = dict(zip(KEY, described, strict=True))
        rows += [row] if not known else []
        for one, test in zip(known, of_region, strict=True):
            predicted = np.where(one.keep, one.predicted, np.nan)
            sides = {"measured": one.measured[within], "outside": one.measured[~within], "predicted": predicted[within]}
            sides |= {"predicted_outside": predicted[~within]}
            numbers = {f"{side}_{name}": number for side, some in sides.items() for name, number in distribution(some).items()}
            said = {
                "auroc": test.auroc,
                "auroc_low": test.interval[0],
                "auroc_high": test.interval[1],
                "p": test.p,
                "blocks": test.blocks,
                "moves": test.moves,
                "patients": ONE_PATIENT,
                "why": test.why,
                "caution": test.caution,
            }
            rows.append(row | {"gene": one.gene, "unit": one.unit} | numbers | said)
    return pd.DataFrame(rows)


def differential_table(section: Section, regions: Sequence[Region], keep: np.ndarray) -> pd.DataFrame:
    """For each region every gene inside against outside, see :func:`napari_deepspace.analyse.regions.genes_inside`; a column region comes first.

    A column ``why`` says which genes a region cannot be asked about, because it was made from them. Imports scanpy.
    """
    tables = []
    for region in regions:
        table = genes_inside(section.require_counts(), spots_inside(region, section.centres_yx), keep)
        table.insert(0, "region", region.name)
        known = set(section.adata.var_names)
        made = any(one.origin == MADE for one in region.outlines)
        table["why"] = [refusal(region, gene, known) for gene in table["gene"]] if made else ""
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def find_region(regions: Sequence[Region], wanted: str) -> Region:
    """The region of that name, or with an outline of that id.

    Raises
    ------
    SettingsError
        There is none, or several have that name.
    """
    found = [one for one in regions if one.name == wanted or wanted in {outline.id for outline in one.outlines}]
    if len(found) != 1:
        names = ", ".join(f"{one.name} ({one.outlines[0].id})" for one in (found or regions)[:8])
        many = f"{len(found)} outlines are called {wanted}" if found else f"There is no outline {wanted}"
        raise SettingsError(f"{many}: {names}. Give the name of one, or its id.")
    return found[0]


def front_table(section: Section, region: Region, known: Sequence[Known], band_um: float = BAND_UM, dmap: DenserMap | None = None) -> pd.DataFrame:
    """Profiles across the border of ``region``, measured, predicted and from a denser map: gene, unit, source and the columns of
    :data:`napari_deepspace.analyse.front.COLUMNS`.

    Points of the denser map belong to the block of their nearest spot: however dense they are, they add no tissue.

    Raises
    ------
    SettingsError
        There are no genes, or the bands are too narrow or too wide.
    DataError
        No spot was measured, or the denser map is one of another section.
    """
    if not known:
        raise SettingsError("A front shows genes. Name one (--gene), or give a run (--run).")
    if dmap is not None and dmap.library_id != section.library_id:
        raise DataError(f"{dmap.folder} is a map of {dmap.library_id}, not of {section.library_id}. Give one of this section.")
    keep = known[0].keep
    if not keep.any():
        raise DataError(f"{section.library_id}: no spot passes the filter, so that nothing was measured here. Take another section.")
    centres_um = section.centres_yx[keep] * section.mpp
    blocks = spot_blocks(centres_um)
    distance = signed_distance_um(region.geometry, section.centres_yx[keep], section.mpp)
    tables = []
    if dmap is not None:
        at_points = signed_distance_um(region.geometry, dmap.centres_yx, section.mpp)
        of_points = blocks_at(dmap.centres_yx * section.mpp, centres_um, blocks)
    for one in known:
        sources = [(MEASURED, one.measured[keep], distance, blocks.of_spot), (PREDICTED, one.predicted[keep], distance, blocks.of_spot)]
        if dmap is not None and one.gene in dmap.outputs:
            sources.append((DENSER, values(dmap, one.gene), at_points, of_points))
        for source, found, where, block in sources:
            if np.isfinite(found).any():
                table = profile(where, found, block, band_um)
                table.insert(0, "gene", one.gene)
                table.insert(1, "unit", one.unit)
                table.insert(2, "source", source)
                tables.append(table)
    return pd.concat(tables, ignore_index=True)


def front_notes(section: Section, region: Region, known: Sequence[Known], table: pd.DataFrame) -> list[str]:
    """What has to stand beside a profile: how the outline came about, what the intervals are, and what the data are."""
    genes = set(section.adata.var_names)
    circular = [one.gene for one in known if refusal(region, one.gene, genes)]
    said = caution(region)
    notes = [f"{region.name} was made from this: the step of {', '.join(circular)} at its border is by construction."] if circular else []
    notes += [f"{said[0].upper()}{said[1:]}."] if said else []
    spots = table[table["source"] == MEASURED].groupby("gene")["n"].sum().max() if (table["source"] == MEASURED).any() else 0
    number = spot_blocks(section.centres_yx[known[0].keep] * section.mpp).number
    notes.append(f"{spots:,} measured spots near the border; 95 % intervals from {number} blocks of tissue drawn again and again; {ONE_PATIENT}.")
    notes.append(data_words(section))
    return notes


def front_figure(section: Section, region: Region, known: Sequence[Known], table: pd.DataFrame) -> Figure:
    """The profiles of :func:`front_table` as a figure."""
    return draw_front(table, f"{section.library_id}: across the border of {region.name}", front_notes(section, region, known, table))


def distribution_values(section: Section, regions: Sequence[Region], known: Sequence[Known]) -> pd.DataFrame:
    """What :func:`napari_deepspace.analyse.region_figure.draw_distributions` draws, a row a region, gene, source and spot."""
    names, parts = [one.name for one in regions], []
    for number, region in enumerate(regions, start=1):
        within = spots_inside(region, section.centres_yx)
        name = region.name if names.count(region.name) == 1 else f"{region.name} ({number})"
        for one in known:
            about = {"region": name, "gene": one.gene, "unit": one.unit, "barcode": section.adata.obs_names.to_numpy(), "inside": within}
            predicted = np.where(one.keep, one.predicted, np.nan)
            sources = {MEASURED: one.measured, **({PREDICTED: predicted} if np.isfinite(predicted).any() else {})}
            parts += [pd.DataFrame(about | {"source": source, "value": found}) for source, found in sources.items()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def distributions_figure(section: Section, regions: Sequence[Region], known: Sequence[Known]) -> Figure:
    """What was measured and predicted inside and outside of each region, as boxes.

    Raises
    ------
    SettingsError
        There are no genes, or more genes or regions than a figure holds.
    """
    if not known:
        raise SettingsError("A figure of distributions shows genes. Name one (--gene), or give a run (--run).")
    values, genes = distribution_values(section, regions, known), set(section.adata.var_names)
    circular = [f"{region.name}: {one.gene}" for region in regions for one in known if refusal(region, one.gene, genes)]
    footer = ["Boxes: quartiles and median of spots with their centre inside, or outside; whiskers to 1.5 interquartile ranges."]
    footer += [f"Higher by construction, for the outline was made from it: {', '.join(circular)}."] if circular else []
    footer.append(f"Neighbouring spots repeat one another: boxes are no test. {ONE_PATIENT[0].upper()}{ONE_PATIENT[1:]}. {data_words(section)}")
    return draw_distributions(values, f"{section.library_id}: measured and predicted in outlines", footer)


def observers_table(section: Section, other: Sequence[Outline]) -> pd.DataFrame:
    """The outlines of the section and those of ``other`` class by class, see :func:`napari_deepspace.analyse.observers.compare_observers`."""
    return compare_observers(section.outlines, other, section.centres_yx, section.mpp)


def observers_figure(section: Section, other: Sequence[Outline], table: pd.DataFrame) -> Figure:
    """Both observers' outlines on the H&E, with Dice and IoU beneath; raises DataError where the section has no slide."""
    said = [f"{row['class']}: Dice {row['dice']:.2f}, IoU {row['iou']:.2f}" for _, row in table.iterrows()]
    return draw_observers(section, other, f"{section.library_id}: two observers", [f"Of areas: {'; '.join(said)}.", data_words(section)])


def read_observer(section: Section, path: Path) -> list[Outline]:
    """The outlines of another observer, as they lie on the section's slide.

    Raises
    ------
    DataError
        The file is damaged, was drawn on another slide, or holds no outlines.
    """
    other = read_outlines(path, stamp_of(section.slide) if section.slide is not None else None)
    if not other:
        raise DataError(f"{path} holds no outlines. Give the file of the other observer.")
    return other


def data_words(section: Section) -> str:
    """What the data are, for beneath a figure or a table."""
    return f"{section.library_id}.{' SYNTHETIC data, nothing here was measured on tissue.' if section.synthetic else ''} Research use only."
