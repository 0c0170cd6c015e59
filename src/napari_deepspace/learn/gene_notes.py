"""What a user is told of the chosen genes before anything is trained: under which names they stand, and which are hardly there."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from napari_deepspace.analyse.ceiling import ceiling
from napari_deepspace.events import Event, Noted
from napari_deepspace.learn.data import TrainingData
from napari_deepspace.settings import RunSettings
from napari_deepspace.target import Target, asked_names, own_names, seldom_detected


def tell_of_genes(data: TrainingData, settings: RunSettings) -> Generator[Event, None, None]:
    """Named genes are never dropped; the user hears which were named in another way, and which are hardly there."""
    if data.target.kind != "genes":
        return
    reasons = own_names(data.sections[0].adata, asked_names(settings.gene_rule))[1]
    if reasons:
        yield Noted(f"{', '.join(reasons)}: predicted under the names of the section's own table.")
    keep, least = [verdict.keep for verdict in data.filters], settings.gene_rule.min_detected
    seldom = seldom_detected([section.adata for section in data.sections], keep, data.target.names, least)
    if seldom:
        best = _best_r(data, tuple(seldom))
        found = ", ".join(f"{gene} ({share:.0%}{best[gene]})" for gene, share in sorted(seldom.items(), key=lambda item: item[1]))
        yield Noted(f"Detected in fewer than {least:.0%} of the spots: {found}. They are predicted as asked, but there is little to learn from.")


def _best_r(data: TrainingData, genes: tuple[str, ...]) -> dict[str, str]:
    """The best r that the counts of each gene allow in any section, in words; "" where nothing can be told."""
    target = Target("genes", genes, "", "log", data.target.target_sum)
    best = np.zeros(len(genes))
    for section, verdict in zip(data.sections, data.filters, strict=True):
        r = ceiling(section.adata, np.flatnonzero(verdict.keep), target)
        best = np.fmax(best, r) if r is not None else best
    return {gene: f", at best r {r:.2f}" if r > 0 else "" for gene, r in zip(genes, best, strict=True)}
