"""The phantom's expression: 24 named genes as known functions of the tissue, about 1500 more, and the counts drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from napari_deepspace.phantom_tissue import CELL_UM, Tissue, band_field, disc_means

GENES: dict[str, tuple[str, dict[str, float]]] = {
    "ESR1": ("colour", {"tumour": 1.3}),
    "ERBB2": ("colour", {"tumour": 1.3, "eosin": -0.20}),
    "MKI67": ("colour", {"tumour": 1.2, "invasive": 0.6}),
    "SPARC": ("colour", {"invasive": 1.8}),
    "FN1": ("colour", {"invasive": 1.3, "eosin": 0.20}),
    "COL1A1": ("colour", {"eosin": 0.50}),
    "COL1A2": ("colour", {"eosin": 0.50, "tumour": -0.5}),
    "COL3A1": ("colour", {"eosin": 0.45, "invasive": 0.8}),
    "COL5A2": ("nuclear size", {"size": 0.50}),
    "MMP14": ("nuclear size", {"size": -0.50}),
    "SULF1": ("nuclear size", {"size": 0.50}),
    "LUM": ("texture", {"spacing": 0.50}),
    "POSTN": ("texture", {"spacing": -0.50}),
    "CTHRC1": ("texture", {"spacing": 0.50}),
    "THBS2": ("texture", {"spacing": 0.40, "size": 0.40}),
    "COL8A1": ("texture", {"spacing": -0.40, "size": 0.40}),
    "COL10A1": ("hidden", {"hidden 0": 0.50}),
    "PDGFRB": ("hidden", {"hidden 1": 0.50}),
    "IFI27": ("hidden", {"hidden 2": 0.50}),
    "ISG15": ("hidden", {"hidden 3": 0.50}),
    "IL32": ("hidden", {"hidden 4": 0.50}),
    "MXRA5": ("hidden", {"hidden 5": 0.50}),
    "DPYSL3": ("hidden", {"hidden 6": 0.50}),
    "CTSK": ("hidden", {"hidden 7": 0.50}),
}
"""Kind of each named gene, and how the logarithm of its share of all transcripts follows the tissue's fields."""

MITOCHONDRIAL = tuple(f"MT-{name}" for name in ("CO1", "CO2", "CO3", "ND1", "ND2", "ND3", "ND4", "ND4L", "ND5", "ND6", "CYB", "ATP6", "ATP8"))
N_OTHER = 1563
CLUSTERS = ("tumour", "stroma", "invasive", "fat", "necrosis")

_SHARE = 0.009  # of all transcripts, each named gene on average
_MEDIAN_UMI = 8600
_OVERDISPERSION = 0.01


@dataclass(frozen=True)
class Expression:
    """Counts of the spots in tissue, and what they were drawn from. Spots are in the order of ``Tissue.in_tissue``."""

    genes: tuple[str, ...]
    counts: sparse.csr_matrix  #: int32, spots x genes
    expected: np.ndarray  #: (n_spots, 24) expected share of all transcripts
    cluster: np.ndarray  #: index into CLUSTERS
    good: np.ndarray  #: bool, neither fat nor necrosis nor failed
    ceiling: dict[str, float]  #: r between the noise-free and the drawn expression over good spots


def gene_fields(tissue: Tissue) -> np.ndarray:
    """Noise-free share of all transcripts of the named genes: float32 (24, GRID, GRID)."""
    fields = {name: getattr(tissue, name) for name in ("tumour", "invasive", "eosin", "size", "spacing", "coherence")}
    fields |= {f"hidden {i}": field for i, field in enumerate(tissue.hidden)}
    solid = tissue.solid
    out = []
    for _, parts in GENES.values():
        share = np.exp(sum(weight * fields[name] for name, weight in parts.items()))
        out.append(share * (_SHARE / share[solid].mean()))
    return np.clip(np.stack(out), 0, 4 * _SHARE).astype(np.float32)


def draw_expression(tissue: Tissue) -> Expression:
    """Counts with negative binomial noise at the spots in tissue."""
    rng = np.random.default_rng([tissue.seed, 2])
    centres = tissue.centres_yx[tissue.in_tissue]
    named = disc_means(gene_fields(tissue), centres)
    smooth = band_field(rng, tissue.tissue.shape, CELL_UM, 300, 1500)
    masks = (tissue.tissue, tissue.tumour, tissue.invasive, tissue.fat, tissue.necrosis, tissue.failed, smooth)
    covered, tumour, invasive, fat, necrosis, failed, smooth_at = disc_means(np.stack(masks).astype(np.float32), centres).T
    solid = np.clip(covered - fat - necrosis, 0, 1)
    kinds = np.stack([tumour, solid - tumour - invasive, invasive, fat, necrosis], 1)
    cluster = kinds.argmax(1)
    depth = _MEDIAN_UMI * np.exp(0.13 * smooth_at + 0.10 * rng.standard_normal(len(centres)) + 0.10 * tumour)
    alive = (solid + 0.05 * fat + 0.05 * necrosis) * (1 - 0.955 * np.clip(failed, 0, 1))
    shares = np.concatenate([named, _other_shares(rng, kinds) * (1 - named.sum(1, keepdims=True))], 1)
    mean = (depth * alive)[:, None] * shares
    shape = 1 / _OVERDISPERSION
    counts = rng.poisson(mean * rng.gamma(shape, 1 / shape, mean.shape)).astype(np.int32)
    good = (solid > 0.95) & (failed < 0.05)
    genes = (*GENES, *MITOCHONDRIAL, *(f"GENE{i:04d}" for i in range(1, N_OTHER + 1)))
    return Expression(genes, sparse.csr_matrix(counts), named, cluster, good, _ceilings(counts, named, good))


def _other_shares(rng: np.random.Generator, kinds: np.ndarray) -> np.ndarray:
    """Shares of the mitochondrial and further genes, rows of sum 1; a quarter of them differs between kinds of tissue."""
    n = len(MITOCHONDRIAL) + N_OTHER
    base = rng.lognormal(0, 0.7, n)
    base[: len(MITOCHONDRIAL)] *= 0.08 / 0.92 * base[len(MITOCHONDRIAL) :].sum() / base[: len(MITOCHONDRIAL)].sum()
    effect = rng.normal(0, 0.6, (kinds.shape[1], n)) * (rng.uniform(size=n) < 0.25)
    effect[:, : len(MITOCHONDRIAL)] = np.where(np.arange(kinds.shape[1]) == CLUSTERS.index("necrosis"), 0.8, 0)[:, None]
    shares = base * np.exp(kinds @ effect)
    return np.asarray(shares / shares.sum(1, keepdims=True))


def _ceilings(counts: np.ndarray, named: np.ndarray, good: np.ndarray) -> dict[str, float]:
    total = counts.sum(1)[good]
    measured = np.log1p(counts[good][:, : len(GENES)] / total[:, None] * np.median(total))
    true = np.log1p(named[good] * np.median(total))
    return {gene: float(np.corrcoef(measured[:, i], true[:, i])[0, 1]) for i, gene in enumerate(GENES)}
