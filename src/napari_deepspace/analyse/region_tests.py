"""Whether a gene goes with an outline beyond chance: measured spots only, against a null that keeps the gene's smoothness; and when nobody may ask.

The null: the gene's map is moved as a whole over the tissue (:func:`napari_deepspace.analyse.blocks.moved_maps`: mirrored or not, shifted at random)
while the outline stays where it is. So neighbouring spots stay alike, and only what ties the gene to this place is lost. Blocks that change places
would do the same but for the seams between them, which make P too small. Moves that leave the tissue do not count: reading the spots at the rim in
place of what is not there made P so large that of genes without smoothness 7 % were found where this finds 43 % (compared once). P is about this
section, of one patient: it says nothing of others.

An outline that was made from a gene cannot be tested with that gene, because it lies where the gene is high, also if the gene means nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from napari_deepspace.analyse.blocks import moved_maps, spot_blocks
from napari_deepspace.analyse.bootstrap import intervals
from napari_deepspace.analyse.regions import Region, auroc, spots_inside
from napari_deepspace.outlines import BLIND, MADE

MOVES = 999
FITS = 0.7  #: of the spots on either side that have a value after a move; otherwise the move does not count
LEAST_MOVES = 99  #: that count, of MOVES
LEAST_BLOCKS = 8  #: of the section's spots, about 50 of them: fewer places differ too little for a null
LEAST_SIDE = 10  #: measured spots inside, and outside
NULL = "P: two-sided, against moves of the gene's map as a whole over the tissue"
ONE_PATIENT = "one patient"
SEEN = "drawn while expression could be seen: the border may follow what was seen there, and P may be too small"
_CHUNK = 2_000_000  #: numbers of one array that are held at once


@dataclass(frozen=True)
class RegionTest:
    """What can be said of a gene and a region. ``interval`` is the 95 % one of ``auroc``, from whole blocks drawn again and again.
    ``p`` is NaN where nothing may be said, and ``why`` says why; ``caution`` stands beside P.

    ``inside`` and ``outside`` count measured spots, ``blocks`` are the pieces of tissue that would say as much if they were independent, ``moves``
    those that P counts: it is never below 1 / (1 + moves).
    """

    auroc: float
    interval: tuple[float, float]
    p: float
    inside: int
    outside: int
    blocks: float
    moves: int = 0
    why: str = ""
    caution: str = ""
    patients: str = ONE_PATIENT


def refusal(region: Region, gene: str, genes: Collection[str]) -> str:
    """Why ``gene`` must not be tested in ``region``; "" where it may. ``genes`` are those that the section counts.

    An outline made from a gene refuses this gene, measured as well as predicted: the model learned from what was measured. An outline made from
    anything else (a cluster, a likeliest cluster, a signature) refuses every gene, because it was made of many genes' counts at the same spots.
    """
    known = {one.casefold() for one in genes}
    for outline in region.outlines:
        source = outline.gene.casefold()
        if outline.origin != MADE or (source in known and source != gene.casefold()):
            continue
        name = outline.name or region.name
        if source == gene.casefold():
            return f"not tested: {name} was made from {gene}, so it lies where {gene} is high whatever the tissue is"
        return f"not tested: {name} was made from {outline.gene or 'the counts'}, that is from many genes of these spots, {gene} perhaps among them"
    return ""


def caution(region: Region) -> str:
    """What has to stand beside P for how the outlines came about; "" where all were drawn with expression hidden."""
    made = sorted({outline.gene for outline in region.outlines if outline.origin == MADE})
    words = [f"made from {', '.join(made)}: genes that go together with it differ here too"] if made else []
    if any(outline.origin not in (MADE, BLIND) for outline in region.outlines):
        words.append(SEEN)
    return "; ".join(words)


def fitting_moves(within: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Which moves leave at least FITS of the spots inside, and of those outside, a value, bool (moves,): the others lie beside the tissue."""
    there = moved >= 0
    return np.asarray((there[:, within].mean(axis=1) >= FITS) & (there[:, ~within].mean(axis=1) >= FITS))


def moved_p(within: np.ndarray, values: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Two-sided P per column that values inside and outside differ in rank, float64 (n_genes,), against moves of each map as a whole.

    ``within`` bool (n,) with spots on both sides, ``values`` (n, n_genes) without NaN, ``moved`` (moves, n) from
    :func:`napari_deepspace.analyse.blocks.moved_maps`, -1 for no value. What is compared is the mean rank inside less outside, by the ranks' spread,
    which orders maps as |AUROC - 0.5| does; P is (1 + moves that reach it) / (1 + moves). NaN for a constant map.
    """
    values = np.asarray(values, dtype=np.float64)
    (moves, n), n_genes = moved.shape, values.shape[1]
    p = np.full(n_genes, np.nan)
    side, reads, times = within / within.sum() - ~within / (~within).sum(), np.empty((moves, n)), np.empty((moves, n))
    for move, index in enumerate(moved):  # how often each spot's value is read inside less outside, and at all
        rows = index >= 0
        weights = within / (within & rows).sum() - ~within / (~within & rows).sum()
        reads[move] = np.bincount(index[rows], weights=weights[rows], minlength=n)
        times[move] = np.bincount(index[rows], minlength=n) / rows.sum()
    width = max(_CHUNK // max(moves, n), 1)
    for start in range(0, n_genes, width):
        ranks = rankdata(values[:, start : start + width], axis=0) / n
        ranks -= ranks.mean(axis=0)
        spread = ranks.std(axis=0)
        flat = spread < 1e-9
        spreads = np.sqrt(np.maximum(times @ ranks**2 - (times @ ranks) ** 2, 1e-12))
        here = np.abs(side @ ranks) / np.where(flat, np.inf, spread)
        reached = (np.abs(reads @ ranks) / spreads >= here - 1e-9).sum(axis=0)
        p[start : start + width] = np.where(flat, np.nan, (1 + reached) / (1 + moves))
    return p


def judge_regions(
    regions: Sequence[Region],
    genes: Sequence[str],
    known: Collection[str],
    centres_yx: np.ndarray,
    measured: np.ndarray,
    mpp: float,
    *,
    moves: int = MOVES,
    seed: int = 0,
) -> list[list[RegionTest]]:
    """Whether measured genes go with regions beyond chance, or why that cannot be said: one list a region, of one test a gene.

    ``known`` are all genes of the section, ``centres_yx`` (n, 2) its spots in px, ``measured`` (n, n_genes), NaN where nothing usable was measured.
    Predicted values are never tested: they say again what the image says, as often as one likes.
    """
    within = [spots_inside(region, centres_yx) for region in regions]
    tests: dict[tuple[int, int], RegionTest] = {}
    there = np.isfinite(measured)
    masks, group = np.unique(there, axis=1, return_inverse=True)
    for number, rows in enumerate(masks.T):  # as a rule one: a spot counts for all genes or for none
        columns = np.flatnonzero(group.ravel() == number)
        places, values = centres_yx[rows] * mpp, np.asarray(measured, dtype=np.float64)[np.ix_(rows, columns)]
        pieces = spot_blocks(places)
        blocks = pieces.effective
        moved: np.ndarray | None = None
        for r, region in enumerate(regions):
            inner = within[r][rows]
            counts = int(inner.sum()), int((~inner).sum())
            few = _too_few(counts, blocks)
            names = [genes[int(column)] for column in columns]
            why = [refusal(region, name, known) or (few if rows.any() else f"not tested: {name} was not measured") for name in names]
            p, used = np.full(len(columns), np.nan), 0
            asked = np.array([not one for one in why])
            if asked.any():
                moved = moved_maps(places, moves, seed, gaps=True) if moved is None else moved
                fits = fitting_moves(inner, moved)
                used = int(fits.sum())
                if used < min(LEAST_MOVES, moves):
                    why = [one or f"not tested: it fits only {used} other places of this tissue; {LEAST_MOVES} are needed" for one in why]
                else:
                    p[asked] = moved_p(inner, values[:, asked], moved[fits])
            ends = np.full((len(columns), 2), np.nan)
            if min(counts):
                side = np.repeat(inner[:, None], len(columns), axis=1).astype(np.float64)
                ends = intervals(side, {"gene": values}, "gene", pieces, ranks=True, seed=seed).of["gene"]
            for at, column in enumerate(columns):
                reason = why[at] or (f"not tested: {names[at]} is the same at every spot" if np.isnan(p[at]) else "")
                tests[r, int(column)] = RegionTest(
                    auroc(inner, values[:, at]),
                    (float(ends[at, 0]), float(ends[at, 1])),
                    float(p[at]),
                    *counts,
                    round(blocks, 1),
                    used,
                    reason,
                    "" if reason else caution(region),
                )
    return [[tests[r, column] for column in range(len(genes))] for r in range(len(regions))]


def _too_few(counts: tuple[int, int], blocks: float) -> str:
    if min(counts) < LEAST_SIDE:
        return f"not tested: {counts[0]} measured spots inside and {counts[1]} outside; {LEAST_SIDE} are needed on either side"
    return f"not tested: the spots make up {blocks:.0f} separate pieces of tissue; {LEAST_BLOCKS} are needed" if blocks < LEAST_BLOCKS else ""
