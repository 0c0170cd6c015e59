"""What ``napari-deepspace quantify`` does: a stain of the neighbouring slide at spots or outlines, and how far it goes with expression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from napari_deepspace.align.quantify import WAYS, Quantities, quantify
from napari_deepspace.align.transform import Alignment
from napari_deepspace.analyse.agreement import Agreement, agreement_rows
from napari_deepspace.analyse.regions import regions_of, spots_inside
from napari_deepspace.cells import Cells
from napari_deepspace.comparison import comparable
from napari_deepspace.figure_parts import GAP, SMALL_PT, TEXT_PT, Box, along, broken, make_page
from napari_deepspace.layers import HONEST
from napari_deepspace.section import Section
from napari_deepspace.slide import Slide
from napari_deepspace.spot_facts import Known

MEASURED_SPOTS, NOT_TRAINED_ON, ALL_SPOTS = "measured spots", "spots not trained on", "no training"
_SIZE_MM = (150.0, 110.0)


class GeneRows(NamedTuple):
    """What a gene's agreement with the stain is: ``values`` (n,) are those of the first row."""

    gene: str
    unit: str
    values: np.ndarray
    rows: list[Agreement]


def quantify_spots(section: Section, slide: Slide, alignment: Alignment, cells: Cells | None = None, positive_above: float = 0.2) -> Quantities:
    """The stain of ``slide`` at every spot of ``section``: a row a spot, in its order; see :func:`napari_deepspace.align.quantify.quantify`."""
    return quantify(
        alignment,
        slide,
        section.centres_yx,
        section.platform.spot_diameter_um,
        fixed=section.slide,
        cells=cells,
        positive_above=positive_above,
    )


def quantify_outlines(section: Section, slide: Slide, alignment: Alignment, cells: Cells | None = None, positive_above: float = 0.2) -> Quantities:
    """The same a row an outline of ``section``, in its order."""
    diameter = section.platform.spot_diameter_um
    return quantify(alignment, slide, section.outlines, diameter, fixed=section.slide, cells=cells, positive_above=positive_above)


def gene_rows(known: Known, found: Quantities, way: str = "dab") -> GeneRows:
    """How far a gene goes with the stain of :func:`quantify_spots`: predicted (never by a model that was trained on the spot), measured, and beside
    them the colour of the H&E and its haematoxylin; then inside each class of outline of the section alone."""
    section, maps = known.section, known.maps
    stain = found.of(way)
    against: dict[str, tuple[np.ndarray, str]] = {}
    if maps is not None and np.isfinite(known.predicted).any():
        honest = comparable(maps, known.keep) if known.gene in maps.genes else np.isin(maps.source, HONEST)
        against[f"predicted {known.gene}"] = np.where(honest, known.predicted, np.nan), NOT_TRAINED_ON
    if np.isfinite(known.measured).any():
        against[f"measured {known.gene}"] = known.measured, MEASURED_SPOTS
    colour = maps.ways_of(known.gene).get("mean RGB") if maps is not None else None
    if colour is not None:
        against["H&E colour alone"] = np.where(known.keep, colour, np.nan), NOT_TRAINED_ON
    elif "fixed-rgb" in found.table:
        against["H&E brightness, inverted"] = 255 - found.table["fixed-rgb"].to_numpy(), ALL_SPOTS
    if "fixed-haematoxylin" in found.table:
        against["nuclear density of the H&E (haematoxylin)"] = found.table["fixed-haematoxylin"].to_numpy(), ALL_SPOTS
    outlines = [outline for outline in section.outlines if not outline.excludes]
    inside = [(region.name, spots_inside(region, section.centres_yx)) for region in regions_of(outlines, "class")] if outlines else []
    rows = agreement_rows(stain, against, section.centres_yx * section.mpp, inside)
    return GeneRows(known.gene, known.unit, next(iter(against.values()))[0] if against else np.full(len(stain), np.nan), rows)


def spot_table(section: Section, found: Quantities, known: Sequence[Known] = ()) -> pd.DataFrame:
    """One row a spot: barcode, place, what was quantified, and of each gene what was measured and predicted."""
    yx = section.centres_yx * section.mpp
    table = pd.DataFrame({"barcode": section.adata.obs_names.astype(str), "y_um": yx[:, 0], "x_um": yx[:, 1]})
    table = table.join(found.table)
    for one in known:
        for name, values in (("measured", one.measured), ("predicted", one.predicted)):
            if np.isfinite(values).any():
                table[f"{name} {one.gene}"] = values
    return table


def draw_agreement(section: Section, found: Quantities, one: GeneRows, way: str = "dab", notes: Sequence[str] = ()) -> Figure:
    """The scatter of a gene's first row, expression to the right and the stain upwards, with every row beneath."""
    made_up = "SYNTHETIC data. " if section.synthetic else ""
    title = f"{made_up}{section.library_id}: {WAYS[way]} of the neighbouring section against {one.gene}"
    words = [f"{row.words}." for row in one.rows]
    page = make_page((_SIZE_MM[0], _SIZE_MM[1] + 4.0 * len(broken(" ".join(words), _SIZE_MM[0] - 12, SMALL_PT))), title, [*words, *notes])
    body, left, below = page.body, 15.0, 11.0
    ax = page.axes(Box(body.left + left, body.bottom + below, body.width - left - GAP, body.height - below - GAP))
    stain = found.of(way)
    at = np.isfinite(stain) & np.isfinite(one.values)
    ax.scatter(one.values[at], stain[at], s=7, color="#7a4a1e", alpha=0.45, linewidths=0, rasterized=at.sum() > 5000)
    name = one.rows[0].name if one.rows else one.gene
    for axis, words_, length in ((ax.xaxis, f"{name}, {one.unit}", body.width - left), (ax.yaxis, WAYS[way], body.height - below)):
        label, size = along(words_, length)
        axis.set_label_text(label, size)
    ax.tick_params(labelsize=min(SMALL_PT, TEXT_PT))
    ax.spines[["top", "right"]].set_visible(False)
    return page.figure


def figure_of(path: Path, number: int, of: int, gene: str) -> Path:
    """``path`` for one gene, and with the gene in its name for more."""
    return path if of == 1 or number == 0 else path.with_name(f"{path.stem}-{gene}{path.suffix}")
