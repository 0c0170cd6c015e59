"""The synthetic tissue behind the phantom: smooth random fields, regions, and the lattice of spots over it. No pixels, no counts.

Everything here lives on one grid of :data:`CELL_UM` um, arrays (rows, columns). Visible fields vary over 600 um and more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import fft, ndimage, special
from skimage.draw import polygon2mask

from napari_deepspace.tiles import lattice_triangles

if TYPE_CHECKING:
    from napari_deepspace.phantom_block import Cut

MPP = 0.75  #: um per full-resolution px
SIDE_PX = 4608  #: the slide is square
CELL_PX = 8
CELL_UM = CELL_PX * MPP
GRID = SIDE_PX // CELL_PX
SPOT_UM = 55.0
PITCH_UM = 100.0
TILE_UM = 137.5  #: the paper's tile, 2.5 spot diameters
N_HIDDEN = 8

_TILE_SIGMA_UM = 45.0  # a Gaussian about as wide as a tile


@dataclass(frozen=True)
class Tissue:
    """What the tissue is at every cell of the grid, and where the spots lie.

    Fields are float32 (GRID, GRID). ``solid`` is tissue that is neither fat nor necrosis. Outlines are (n, 2) polygons, (row, column) in
    full-resolution px.
    """

    seed: int
    tissue: np.ndarray  #: bool, inside the outline
    nest: np.ndarray  #: potential; tumour nest where positive
    front: np.ndarray  #: potential; SPARC-high invasive front where positive
    tumour: np.ndarray  #: 0..1, share of tumour nest
    invasive: np.ndarray  #: 0..1, share of invasive front
    eosin: np.ndarray  #: unit variance, strength of eosin
    size: np.ndarray  #: unit variance, size of nuclei
    spacing: np.ndarray  #: unit variance, spacing of fibres
    coherence: np.ndarray  #: unit variance, how parallel fibres run
    direction: np.ndarray  #: radians, main direction of fibres
    fat: np.ndarray  #: bool
    necrosis: np.ndarray  #: bool
    failed: np.ndarray  #: bool, permeabilisation failed though the tissue looks normal
    outlines: dict[str, np.ndarray]
    array_rc: np.ndarray  #: int (n_lattice, 2), (array_row, array_col)
    centres_yx: np.ndarray  #: float (n_lattice, 2), full-resolution px
    in_tissue: np.ndarray  #: bool (n_lattice,)
    alive: np.ndarray  #: 0..1 (n_lattice,), share of the spot that gives transcripts; 0.05 in fat, necrosis and the failed region
    cut: Cut | None = None  #: which section of a series it is

    def rng(self, purpose: int) -> np.random.Generator:
        """The random numbers of one purpose, of this section alone."""
        return np.random.default_rng([self.seed, purpose, *([] if self.cut is None else [self.cut.number])])

    @property
    def solid(self) -> np.ndarray:
        return self.tissue & ~self.fat & ~self.necrosis

    @property
    def scored(self) -> np.ndarray:
        """bool (n_lattice,): spots that pass the paper's filter as a rule."""
        return self.alive > 0.37

    @property
    def visible(self) -> list[np.ndarray]:
        """What a tile shows: tumour and front averaged over about a tile, eosin, size, spacing, coherence."""
        return [blur(self.tumour, _TILE_SIGMA_UM), blur(self.invasive, _TILE_SIGMA_UM), self.eosin, self.size, self.spacing, self.coherence]


def band_field(rng: np.random.Generator, shape: tuple[int, int], cell_um: float, shortest_um: float, longest_um: float) -> np.ndarray:
    """Gaussian random field of unit variance with wavelengths in a soft band: float32 ``shape``."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    ky = fft.fftfreq(shape[0], cell_um)[:, None]
    kx = fft.rfftfreq(shape[1], cell_um)[None]
    k = np.hypot(ky, kx).astype(np.float32)
    soft = 0.12
    gain = special.expit((1 - k * shortest_um) / soft) * special.expit((k * longest_um - 1) / soft)
    gain[0, 0] = 0
    field = fft.irfft2(fft.rfft2(noise) * gain, s=shape)
    return np.asarray(field / field.std(), dtype=np.float32)


def enlarge(field: np.ndarray, factor: int) -> np.ndarray:
    """Linear interpolation of a (h, w) grid of cells to (h * factor, w * factor) px, float32."""
    h, w = field.shape
    return np.asarray(cv2.resize(np.asarray(field, dtype=np.float32), (w * factor, h * factor), interpolation=cv2.INTER_LINEAR))


def blur(field: np.ndarray, sigma_um: float) -> np.ndarray:
    """Gaussian mean over ``sigma_um`` on the grid."""
    return ndimage.gaussian_filter(np.asarray(field, dtype=np.float32), sigma_um / CELL_UM, mode="nearest", truncate=3)


def disc_means(fields: np.ndarray, centres_yx: np.ndarray, diameter_um: float = SPOT_UM) -> np.ndarray:
    """Mean of (n_fields, GRID, GRID) ``fields`` over a disc at each centre (full-resolution px): float (n_centres, n_fields)."""
    step = np.linspace(-0.5, 0.5, 13) * diameter_um
    dy, dx = (offset.ravel() for offset in np.meshgrid(step, step, indexing="ij"))
    inside = np.hypot(dy, dx) <= diameter_um / 2
    at = centres_yx[:, None] / CELL_PX - 0.5 + np.stack([dy, dx], 1)[inside][None] / CELL_UM
    return np.stack([ndimage.map_coordinates(f, at.transpose(2, 0, 1), order=1, mode="nearest").mean(1) for f in fields], 1)


def _blob(rng: np.random.Generator, centre_um: np.ndarray, radius_um: float, wobble: float, power: float = 2.0) -> np.ndarray:
    """Irregular closed outline, (n, 2) px; ``power`` above 2 squares it."""
    angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    radius = radius_um * (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (-1 / power)
    for order in range(2, 9):
        radius = radius * (1 + wobble / order * rng.standard_normal() * np.cos(order * angle + rng.uniform(0, 2 * np.pi)))
    return (centre_um + radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)) / MPP


def _mask(outline: np.ndarray) -> np.ndarray:
    return polygon2mask((GRID, GRID), outline / CELL_PX - 0.5)


def _regions(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Outlines of the tissue, fat at its edge, necrosis inside, and a failed region, each a third of the way round."""
    middle = np.full(2, SIDE_PX * MPP / 2)
    turn = rng.uniform(0, 2 * np.pi)

    def towards(third: int, distance_um: float) -> np.ndarray:
        angle = turn + third * 2 * np.pi / 3 + rng.uniform(-0.25, 0.25)
        return middle + distance_um * np.array([np.sin(angle), np.cos(angle)])

    return {
        "tissue": _blob(rng, middle, 1500, 0.04, 2.8),
        "fat": _blob(rng, towards(0, 1330), 470, 0.12),
        "necrosis": _blob(rng, towards(1, 700), 235, 0.12),
        "failed": _blob(rng, towards(2, 950), 400, 0.12),
    }


def _lattice() -> tuple[np.ndarray, np.ndarray]:
    """Visium's hexagonal lattice over the slide: (array_row, array_col) and centres in px."""
    side_um = SIDE_PX * MPP
    row_um, half_um = PITCH_UM * np.sqrt(3) / 2, PITCH_UM / 2
    n_rows, n_cols = int((side_um - 120) // row_um) + 1, int((side_um - 120) // half_um) + 1
    row, col = np.divmod(np.arange(n_rows * n_cols), n_cols)
    even = (row + col) % 2 == 0
    index = np.stack([row[even], col[even]], 1)
    start = (side_um - np.array([(n_rows - 1) * row_um, (n_cols - 1) * half_um])) / 2
    return index, (start + index * np.array([row_um, half_um])) / MPP


def _island(centre: np.ndarray, spot: np.ndarray) -> np.ndarray:
    """A three-lobed outline round a triangle's centroid that reaches into the gaps between the three spot discs and touches none."""
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    towards = np.arctan2(spot[0] - centre[0], spot[1] - centre[1])
    radius = (34.5 - 6.5 * np.cos(3 * (angle - towards))) / MPP
    return centre + radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)


def _uncorrelated(field: np.ndarray, others: list[np.ndarray], where: np.ndarray) -> np.ndarray:
    """``field`` less its regression on ``others`` over ``where``; mean 0, variance 1 there, softly limited to about +-2.2."""
    design = np.stack([np.ones(where.sum()), *(o[where] for o in others)], 1)
    weights = np.linalg.lstsq(design, field[where], rcond=None)[0]
    rest = field - weights[0] - sum(w * o for w, o in zip(weights[1:], others, strict=True))
    limited = np.tanh(rest / rest[where].std() / 2.2)
    return np.asarray((limited - limited[where].mean()) / limited[where].std(), dtype=np.float32)


def grow_tissue(seed: int, failed_region: bool = True, cut: Cut | None = None) -> Tissue:
    """The tissue of ``seed``: the same seed gives the same tissue, with or without a region where permeabilisation failed.

    ``cut`` makes it one of the sections of a block, each like the one before.
    """
    rng, second = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 7])
    shape = (GRID, GRID)

    def band(shortest_um: float, longest_um: float) -> np.ndarray:
        field = band_field(rng, shape, CELL_UM, shortest_um, longest_um)
        return field if cut is None else cut.drifted(field, band_field(second, shape, CELL_UM, shortest_um, longest_um))

    outlines = _regions(rng) if cut is None else cut.placed(_regions(rng))
    tissue, fat, necrosis, failed = (_mask(outlines[name]) for name in ("tissue", "fat", "necrosis", "failed"))
    tissue &= ~_mask_of_ragged_edge(rng, tissue)
    fat &= tissue
    necrosis &= tissue & ~fat
    failed &= tissue & ~fat & ~necrosis & failed_region
    if not failed_region:
        del outlines["failed"]
    solid = tissue & ~fat & ~necrosis
    nest = band(600, 1500) + 0.35 * band(230, 500)
    nest -= np.quantile(nest[solid], 0.66)
    front = _uncorrelated(band(600, 1500), [blur(nest > 0, _TILE_SIGMA_UM)], solid) + 0.25 * band(230, 500)
    front -= np.quantile(front[solid], 0.80)
    array_rc, centres_yx = _lattice()
    whole, alive = disc_means(np.stack([tissue, np.where(solid & ~failed, 1, 0.05 * tissue)]).astype(np.float32), centres_yx).T
    in_tissue = whole > 0.6
    outlines["invasive"] = _place_island(nest, front, array_rc, centres_yx, alive)
    front = np.where(_mask(outlines["invasive"]), np.float32(1), front)
    invasive = np.asarray(special.expit(front / 0.05) * solid, dtype=np.float32)
    tumour = np.asarray(special.expit(nest / 0.05) * solid * (1 - invasive), dtype=np.float32)
    seen = [blur(tumour, _TILE_SIGMA_UM), blur(invasive, _TILE_SIGMA_UM)]
    eosin = _uncorrelated(band(600, 1500), seen, solid)
    seen.append(eosin)
    for _ in range(3):  # size, spacing, coherence
        products = [a * b for i, a in enumerate(seen[:3]) for b in seen[i:3]]
        seen.append(_uncorrelated(band(600, 1500), seen + products, solid))
    turn = np.arctan2(band(500, 1500), band(500, 1500)) / 2 - (0 if cut is None else cut.angle)
    return Tissue(
        seed=seed, tissue=tissue, nest=nest, front=front, tumour=tumour, invasive=invasive, eosin=eosin,
        size=seen[3], spacing=seen[4], coherence=seen[5], direction=turn, fat=fat, necrosis=necrosis, failed=failed,
        outlines=outlines, array_rc=array_rc, centres_yx=centres_yx, in_tissue=in_tissue, alive=alive, cut=cut,
    )  # fmt: skip


def _mask_of_ragged_edge(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """Cells at the rim that are missing, so that the edge looks torn."""
    depth_um = ndimage.distance_transform_edt(tissue) * CELL_UM
    return depth_um < 18 * (1 + band_field(rng, tissue.shape, CELL_UM, 100, 400))


def _place_island(nest: np.ndarray, front: np.ndarray, array_rc: np.ndarray, centres_yx: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """The invasive region between spots: where the surroundings are plain stroma of good spots."""
    corners = lattice_triangles(array_rc)
    centroids = centres_yx[corners].mean(1)
    good = (alive > 0.99)[corners].all(1)
    good &= np.hypot(*(centroids - SIDE_PX / 2).T) * MPP < 1250
    corners, centroids = corners[good], centroids[good]
    other = ndimage.maximum_filter(np.maximum(front + 0.2, nest), size=int(170 / CELL_UM))
    at = (centroids / CELL_PX).astype(int)
    best = int(np.argmin(other[at[:, 0], at[:, 1]]))
    return _island(centroids[best], centres_yx[corners[best, 0]])
