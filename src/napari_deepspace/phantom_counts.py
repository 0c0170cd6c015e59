"""The phantom's expression: 24 named genes as known functions of the tissue, about 1500 more, and the counts drawn from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    "COL10A1": ("hidden", {"hidden 0": 0.60}),
    "PDGFRB": ("hidden", {"hidden 1": 0.60}),
    "IFI27": ("hidden", {"hidden 2": 0.60}),
    "ISG15": ("hidden", {"hidden 3": 0.60}),
    "IL32": ("hidden", {"hidden 4": 0.60}),
    "MXRA5": ("hidden", {"hidden 5": 0.60}),
    "DPYSL3": ("hidden", {"hidden 6": 0.60}),
    "CTSK": ("hidden", {"hidden 7": 0.60}),
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
    scored: np.ndarray  #: bool, spots that pass the paper's filter as a rule

    @property
    def measured(self) -> np.ndarray:
        """log1p(counts per median depth) of the named genes, (n_spots, 24)."""
        total = np.asarray(self.counts.sum(1))
        return np.asarray(np.log1p(self.counts[:, : len(GENES)].toarray() / total * np.median(total[self.scored])))

    @property
    def ceilings(self) -> dict[str, float]:
        """r between noise-free and drawn expression over the scored spots: what a perfect model would reach."""
        true = np.log(self.expected[self.scored])
        measured = self.measured[self.scored]
        return {gene: float(np.corrcoef(measured[:, i], true[:, i])[0, 1]) for i, gene in enumerate(GENES)}


def gene_fields(tissue: Tissue, hidden: np.ndarray) -> np.ndarray:
    """Noise-free share of all transcripts of the named genes: float32 (24, GRID, GRID); ``hidden`` (8, GRID, GRID) is what no slide shows."""
    fields = {name: getattr(tissue, name) for name in ("tumour", "invasive", "eosin", "size", "spacing", "coherence")}
    fields |= {f"hidden {i}": field for i, field in enumerate(hidden)}
    solid = tissue.solid
    out = []
    for _, parts in GENES.values():
        share = np.exp(sum(weight * fields[name] for name, weight in parts.items()))
        out.append(share * (_SHARE / share[solid].mean()))
    return np.clip(np.stack(out), 0, 4 * _SHARE).astype(np.float32)


def draw_expression(tissue: Tissue, fields: np.ndarray) -> Expression:
    """Counts with negative binomial noise at the spots in tissue; ``fields`` from :func:`gene_fields`."""
    rng = tissue.rng(2)
    centres = tissue.centres_yx[tissue.in_tissue]
    named = disc_means(fields, centres)
    smooth = band_field(rng, tissue.tissue.shape, CELL_UM, 300, 1500)
    masks = (tissue.tissue, tissue.tumour, tissue.invasive, tissue.fat, tissue.necrosis, smooth)
    covered, tumour, invasive, fat, necrosis, smooth_at = disc_means(np.stack(masks).astype(np.float32), centres).T
    kinds = np.stack([tumour, covered - fat - necrosis - tumour - invasive, invasive, fat, necrosis], 1)
    cluster = kinds.argmax(1)
    depth = _MEDIAN_UMI * np.exp(0.13 * smooth_at + 0.10 * rng.standard_normal(len(centres)) + 0.10 * tumour)
    alive = tissue.alive[tissue.in_tissue]
    programmes = rng if tissue.cut is None else np.random.default_rng([tissue.seed, 6])  # of the block, not of its section
    shares = np.concatenate([named, _other_shares(programmes, kinds) * (1 - named.sum(1, keepdims=True))], 1)
    mean = (depth * alive)[:, None] * shares
    shape = 1 / _OVERDISPERSION
    counts = rng.poisson(mean * rng.gamma(shape, 1 / shape, mean.shape)).astype(np.int32)
    genes = (*GENES, *MITOCHONDRIAL, *(f"GENE{i:04d}" for i in range(1, N_OTHER + 1)))
    return Expression(genes, sparse.csr_matrix(counts), named, cluster, tissue.scored[tissue.in_tissue])


def _other_shares(rng: np.random.Generator, kinds: np.ndarray) -> np.ndarray:
    """Shares of the mitochondrial and further genes, rows of sum 1; a quarter of them differs between kinds of tissue."""
    n = len(MITOCHONDRIAL) + N_OTHER
    base = rng.lognormal(0, 0.7, n)
    base[: len(MITOCHONDRIAL)] *= 0.08 / 0.92 * base[len(MITOCHONDRIAL) :].sum() / base[: len(MITOCHONDRIAL)].sum()
    effect = rng.normal(0, 0.6, (kinds.shape[1], n)) * (rng.uniform(size=n) < 0.25)
    effect[:, : len(MITOCHONDRIAL)] = np.where(np.arange(kinds.shape[1]) == CLUSTERS.index("necrosis"), 0.8, 0)[:, None]
    shares = base * np.exp(kinds @ effect)
    return np.asarray(shares / shares.sum(1, keepdims=True))


def shuffle(expression: Expression, order: np.ndarray) -> Expression:
    """The same counts at other spots: spot i has those of spot ``order[i]`` (n_spots,), all genes together."""
    return replace(expression, counts=expression.counts[order], expected=expression.expected[order])
