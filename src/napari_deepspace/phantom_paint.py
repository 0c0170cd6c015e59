"""The phantom's look: a synthetic H&E painted from its tissue.

Stains add up as optical density. What only texture may show (size of nuclei, spacing and direction of fibres) is kept out of the colour: nuclei
cover the same area whatever their size, fibres have mean zero, and what difference of the mean colour is left is divided out at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_deepspace.phantom_tissue import CELL_PX, CELL_UM, GRID, MPP, SIDE_PX, Tissue, band_field, blur, enlarge

HALF = 2  # whatever is smooth is painted at half resolution
HALF_UM = MPP * HALF
HALF_PX = SIDE_PX // HALF
UP = CELL_PX // HALF

HAEMATOXYLIN = np.array([0.84, 1.20, 0.50], np.float32)  # optical density in R, G, B of one unit
EOSIN = np.array([0.13, 0.80, 0.42], np.float32)
MUCIN = np.array([0.55, 0.58, 0.16], np.float32)  # the bluish grey of loose, invaded stroma
GLASS = np.array([243.0, 242.0, 244.0], np.float32)


@dataclass(frozen=True)
class Ground:
    """Tissue without nuclei at half resolution, float32 (HALF_PX, HALF_PX)."""

    eosin: np.ndarray
    haematoxylin: np.ndarray
    mucin: np.ndarray
    nest: np.ndarray  #: 0..1, tumour cells
    front: np.ndarray  #: 0..1, invasive front
    room: np.ndarray  #: 0..1, where nuclei find room: no cleft, no hole, no fat


def paint(tissue: Tissue) -> np.ndarray:
    """The slide: uint8 (SIDE_PX, SIDE_PX, 3)."""
    rng = tissue.rng(1)
    ground = ground_of(rng, tissue, fibre_texture(rng, tissue))
    haematoxylin = nuclei(rng, tissue, ground)
    haematoxylin += enlarge(ground.haematoxylin, HALF)
    eosin, mucin = enlarge(ground.eosin, HALF), enlarge(ground.mucin, HALF)
    eosin *= 1 - 0.35 * np.minimum(haematoxylin, 1)
    grain = ndimage.gaussian_filter(rng.standard_normal((SIDE_PX // 4, SIDE_PX), dtype=np.float32), 0.6, mode="wrap") * 3.2
    image = np.empty((SIDE_PX, SIDE_PX, 3), np.uint8)
    for channel in range(3):
        light = np.exp(-(haematoxylin * HAEMATOXYLIN[channel] + eosin * EOSIN[channel] + mucin * MUCIN[channel])) * GLASS[channel]
        light *= enlarge(_gain(light, tissue), CELL_PX)
        light.reshape(4, -1, SIDE_PX)[:] += np.roll(grain, 37 * channel, 0)
        image[..., channel] = np.clip(light + 0.5, 0, 255)
    return image


def _gain(light: np.ndarray, tissue: Tissue) -> np.ndarray:
    """What to multiply one channel by, so that its local mean depends on tumour, invasive front and eosin alone: (GRID, GRID)."""
    cells = light.reshape(GRID, CELL_PX, GRID, CELL_PX).mean((1, 3))
    solid = tissue.solid
    weight = blur(solid, 45) + 1e-3
    mean = np.log(blur(np.where(solid, cells, 0), 45) / weight + 1e-3)
    basis = [blur(f * solid, 45) / weight for f in (tissue.tumour, tissue.invasive, tissue.eosin)]
    terms = [np.ones_like(mean), *basis, *(a * b for i, a in enumerate(basis) for b in basis[i:])]
    design = np.stack([t[solid] for t in terms], 1)
    weights = np.linalg.lstsq(design, mean[solid], rcond=None)[0]
    wanted = sum(w * t for w, t in zip(weights, terms, strict=True))
    return np.exp(np.clip(wanted - mean, -0.25, 0.25) * np.clip(blur(solid, 12), 0, 1)).astype(np.float32)


def fibre_texture(rng: np.random.Generator, tissue: Tissue) -> np.ndarray:
    """Wavy fibres of mean 0 and variance about 1: float32 (HALF_PX, HALF_PX).

    Strokes whose profile across has mean zero, 6 to 14 um from fibre to fibre; their directions spread less where fibres are coherent.
    """
    n = int(0.011 * (SIDE_PX * MPP) ** 2)
    centres = rng.uniform(0, SIDE_PX * MPP, (n, 2))
    cell = tuple((centres / CELL_UM).astype(int).T)
    spacing_um = 9.2 * np.exp(0.2 * tissue.spacing[cell])
    drawn = ndimage.binary_dilation(tissue.tissue, iterations=5)[cell] & (rng.uniform(size=n) < 5.5 / spacing_um)
    centres, cell, spacing_um = centres[drawn], tuple(i[drawn] for i in cell), spacing_um[drawn]
    n = len(centres)
    angle = tissue.direction[cell] + np.exp(-1.5 - 0.55 * tissue.coherence[cell]) * rng.standard_normal(n)
    strength = 1.1 * rng.choice([-1, 1], n) * rng.lognormal(0, 0.35, n)
    bend, phase = rng.normal(0, 2.5 / HALF_UM, n), rng.uniform(0, 2 * np.pi, n)
    reach, out = 24, np.zeros(HALF_PX * HALF_PX, np.float32)
    for part in np.array_split(np.arange(n), n // 400 + 1):
        y, x, along, over = _turned(centres[part] / HALF_UM, angle[part], reach)
        over += _column(bend[part]) * np.sin(along / 6 + _column(phase[part]))
        u2 = (over * _column(4.44 * HALF_UM / spacing_um[part])) ** 2
        stroke = (1 - u2) * np.exp(-u2 / 2) * np.maximum(1 - (along / reach) ** 2, 0) * _column(strength[part])
        np.add.at(out, (np.clip(y, 0, HALF_PX - 1) * HALF_PX + np.clip(x, 0, HALF_PX - 1)).ravel(), stroke.ravel())
    return out.reshape(HALF_PX, HALF_PX)


def ground_of(rng: np.random.Generator, tissue: Tissue, fibres: np.ndarray) -> Ground:
    """Stroma, nests of tumour cells, invasive front, fat and necrosis."""
    shape = (HALF_PX, HALF_PX)
    edge, mottle = np.clip(band_field(rng, shape, HALF_UM, 14, 70), -2.5, 2.5), band_field(rng, shape, HALF_UM, 5, 25)
    front = _step(enlarge(tissue.front, UP) + 0.10 * edge, 0.07)
    potential = np.minimum(enlarge(tissue.nest, UP) + 0.10 * edge, _septa(rng, tissue, edge))
    nest = _step(potential, 0.03) * (1 - front)
    stroma = 1 - nest
    strength = np.exp(0.23 * enlarge(tissue.eosin, UP))
    eosin = strength * (0.44 * stroma * (1 + 0.29 * fibres) * (1 - 0.25 * front) + 0.40 * nest * (1 + 0.16 * mottle + 0.14 * fibres))
    haematoxylin = 0.04 * stroma + nest * (0.15 + 0.04 * mottle)
    mucin = front * 0.24 * (1 + 0.25 * fibres + 0.15 * mottle)
    halo = np.exp(-((potential + 0.06) ** 2) / 0.0012) * (1 - front)
    holes = np.maximum(0.9 * _step(-fibres - 1.9, 0.12) * stroma, 0.4 * halo)
    holes = np.maximum(holes, _holes(rng, tissue, nest))
    layers = [np.maximum(layer, 0) * (1 - holes) for layer in (eosin, haematoxylin, mucin)]
    room = 1 - holes
    for mask, (e, h) in ((tissue.necrosis, _necrosis(rng, mottle)), (tissue.fat, _fat(rng, tissue, edge))):
        share = _step(enlarge(blur(mask, 10), UP) + 0.10 * edge - 0.5, 0.05)
        layers = [layer * (1 - share) + share * new for layer, new in zip(layers, (e, h, 0.0), strict=True)]
        room = room * (1 - share) + share * 0.7 * (e > 0.2)
    covered = _step(enlarge(blur(tissue.tissue, 6), UP) + 0.16 * edge - 0.5, 0.03)
    eosin, haematoxylin, mucin = (layer * covered for layer in layers)
    return Ground(eosin, haematoxylin, mucin, nest, front, room * covered)


def _step(potential: np.ndarray, width: float) -> np.ndarray:
    """0 to 1 where ``potential`` passes zero."""
    return np.clip(0.5 + potential / (4 * width), 0, 1)


def _centres(rng: np.random.Generator, pitch_um: float, jitter_um: float) -> np.ndarray:
    """Loosely packed points over the slide, (n, 2) um."""
    grid = np.stack(np.meshgrid(*[np.arange(0, SIDE_PX * MPP + pitch_um, pitch_um)] * 2, indexing="ij"), -1)
    grid[::2, :, 1] += pitch_um / 2
    return (grid + rng.uniform(-jitter_um, jitter_um, grid.shape)).reshape(-1, 2)


def _bent(at: tuple[np.ndarray, ...], edge: np.ndarray, by_um: float) -> np.ndarray:
    """Half-resolution pixels ``at`` in um, (n, 2), moved about by ``edge`` so that lines between them bend."""
    return np.stack(at, 1) * HALF_UM + by_um * np.stack([edge[at], np.roll(edge, 300, 0)[at]], 1)


def _septa(rng: np.random.Generator, tissue: Tissue, edge: np.ndarray) -> np.ndarray:
    """Potential that is negative in thin sheets of stroma between nests of about 100 um."""
    out = np.ones((HALF_PX, HALF_PX), np.float32)
    near = np.nonzero(enlarge(tissue.nest, UP) > -0.5)
    distance, _ = cKDTree(_centres(rng, 105, 42)).query(_bent(near, edge, 9), k=2)
    out[near] = (distance[:, 1] - distance[:, 0] - 14) / 60
    return out


def _holes(rng: np.random.Generator, tissue: Tissue, nest: np.ndarray) -> np.ndarray:
    """Lumina of glands and small vessels: 0..1."""
    out = np.zeros((HALF_PX, HALF_PX), np.float32)
    centres = rng.uniform(0, SIDE_PX * MPP, (260, 2))
    cell = tuple((centres / CELL_UM).astype(int).T)
    centres = centres[tissue.solid[cell]]
    n = len(centres)
    y, x, along, over = _turned(centres / HALF_UM, rng.uniform(0, np.pi, n), 20)
    radius = _column(rng.uniform(5, 15, n) / HALF_UM)
    from_edge = radius - np.hypot(along * _column(rng.uniform(0.6, 1, n)), over * 1.3)
    flat = (np.clip(y, 0, HALF_PX - 1) * HALF_PX + np.clip(x, 0, HALF_PX - 1)).ravel()
    np.maximum.at(out.reshape(-1), flat, np.clip(from_edge + 0.5, 0, 0.93).ravel())
    return out


def _necrosis(rng: np.random.Generator, mottle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pale granular pink with specks of nuclear dust: eosin, haematoxylin."""
    grains = band_field(rng, mottle.shape, HALF_UM, 4, 10)
    dust = np.clip(grains * band_field(rng, mottle.shape, HALF_UM, 60, 200) - 2.4, 0, 1.2)
    return 0.30 * (1 + 0.28 * mottle + 0.28 * grains), 0.03 + 0.8 * dust


def _fat(rng: np.random.Generator, tissue: Tissue, edge: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Empty vacuoles of 50 to 90 um with thin membranes: eosin, haematoxylin."""
    eosin = np.zeros((HALF_PX, HALF_PX), np.float32)
    near = np.nonzero(enlarge(blur(tissue.fat, 10), UP) > 0.05)
    distance, _ = cKDTree(_centres(rng, 62, 24)).query(_bent(near, edge, 1.0), k=3)
    gap = distance[:, 1] - distance[:, 0]
    corner = np.clip(1 - (distance[:, 2] - distance[:, 0]) / 16, 0, 1)
    eosin[near] = 0.42 * np.exp(-((gap / 4.2) ** 2)) + 0.35 * corner
    return eosin, 0.1 * eosin


def _sites(rng: np.random.Generator, tissue: Tissue, ground: Ground) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nuclei: centres (n, 2) in um, diameters in um, and kind 0 stroma, 1 tumour, 2 front, 3 necrosis or fat.

    Of random candidates none may lie nearer to a stronger one than a constant times their diameter: they cover the same area at any size.
    """
    side = SIDE_PX * MPP
    centres = rng.uniform(0, side, (int(side * side * 0.04), 2))
    cell, half = (tuple((centres / unit).astype(int).T) for unit in (CELL_UM, HALF_UM))
    kind = np.where(ground.front[half] > 0.5, 2, np.where(ground.nest[half] > 0.5, 1, 0))
    kind[~tissue.solid[cell]] = 3
    diameter = np.array([6.4, 9.4, 7.2, 5.0])[kind] * np.exp(0.22 * np.where(kind == 3, 0, tissue.size[cell]))
    keep = (rng.uniform(size=len(kind)) < np.minimum(1, 40 / diameter**2)) & (ground.room[half] > 0.5)
    centres, kind, diameter = centres[keep], kind[keep], diameter[keep]
    keep = _apart(centres, diameter * np.array([1.2, 1.06, 1.1, 1.2])[kind], rng.permutation(len(kind)))
    keep &= rng.uniform(size=len(kind)) < np.array([0.19, 0.92, 0.42, 0.05])[kind]
    return centres[keep], diameter[keep], kind[keep]


def _apart(centres: np.ndarray, room: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Which of n points stay so that no two are nearer than the mean of their ``room``; the lower ``rank`` wins: bool (n,)."""
    pairs = cKDTree(centres).query_pairs(room.max(), output_type="ndarray")
    first, second = pairs.T
    close = np.hypot(*(centres[first] - centres[second]).T) < (room[first] + room[second]) / 2
    first, second = first[close], second[close]
    swap = rank[first] > rank[second]
    stronger, weaker = np.where(swap, second, first), np.where(swap, first, second)
    alive = np.ones(len(centres), bool)
    while True:  # a point goes when a stronger neighbour is sure to stay
        live = alive[stronger] & alive[weaker]
        stronger, weaker = stronger[live], weaker[live]
        if not len(weaker):
            return alive
        threatened = np.zeros(len(centres), bool)
        threatened[weaker] = True
        alive[weaker[~threatened[stronger]]] = False


def nuclei(rng: np.random.Generator, tissue: Tissue, ground: Ground) -> np.ndarray:
    """Optical density of haematoxylin in nuclei: float32 (SIDE_PX, SIDE_PX)."""
    centres, diameter, kind = _sites(rng, tissue, ground)
    n = len(kind)
    aspect = np.where(kind == 1, np.exp(np.abs(0.2 * rng.standard_normal(n))), np.exp(0.85 + 0.28 * rng.standard_normal(n)))
    aspect = np.clip(np.where(kind == 2, np.sqrt(aspect), aspect), 1, 4)
    cell = tuple((centres / CELL_UM).astype(int).T)
    angle = tissue.direction[cell] + np.where(kind == 1, np.pi, 0.3) * rng.standard_normal(n)
    depth = np.array([0.95, 0.78, 0.95, 1.0])[kind] * np.exp(0.18 * rng.standard_normal(n))
    lobes = rng.uniform(0, 2 * np.pi, (n, 2))
    chromatin = band_field(rng, (HALF_PX, HALF_PX), MPP, 1.6, 4.0)
    out = np.zeros(SIDE_PX * SIDE_PX, np.float32)
    reach_px = np.ceil(diameter * np.sqrt(aspect) / 2 * 1.2 / MPP + 1.5).astype(int)
    for reach in np.unique(reach_px):
        chosen = np.nonzero(reach_px == reach)[0]
        for part in np.array_split(chosen, len(chosen) * (2 * reach + 1) ** 2 // 1_000_000 + 1):
            y, x, along, over = _turned(centres[part] / MPP, angle[part], int(reach))
            density = _stamp(along, over, diameter[part] / MPP, aspect[part], lobes[part]) * _column(depth[part])
            density *= 1 + np.where(_column(kind[part]) == 1, np.float32(0.28), np.float32(0.12)) * chromatin[y % HALF_PX, x % HALF_PX]
            np.maximum.at(out, (np.clip(y, 0, SIDE_PX - 1) * SIDE_PX + np.clip(x, 0, SIDE_PX - 1)).ravel(), density.ravel())
    return out.reshape(SIDE_PX, SIDE_PX)


def _stamp(along: np.ndarray, over: np.ndarray, diameter: np.ndarray, aspect: np.ndarray, lobes: np.ndarray) -> np.ndarray:
    """Density of n nuclei of slightly lobed elliptic shape with a dark rim; lengths in px."""
    stretch = _column(np.sqrt(aspect))
    along, over = along / stretch, over * stretch
    turn = np.arctan2(over, along)
    radius = _column(diameter / 2) * (1 + 0.08 * np.cos(2 * turn + _column(lobes[:, 0])) + 0.05 * np.cos(3 * turn + _column(lobes[:, 1])))
    from_edge = radius - np.hypot(along, over)
    return np.clip(0.5 + from_edge / 1.6, 0, 1) * (0.80 + 0.25 * np.exp(-((from_edge - 1.0) ** 2) / 1.2))


def _turned(centres: np.ndarray, angle: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels round n centres (px): rows, columns, and their coordinates along and across ``angle``, each (n, 2 reach + 1, 2 reach + 1)."""
    offset = np.arange(-reach, reach + 1)
    corner = np.floor(centres).astype(np.int64)
    y, x = np.broadcast_arrays(corner[:, 0, None, None] + offset[:, None], corner[:, 1, None, None] + offset[None])
    dy, dx = ((at + 0.5 - centres[:, i, None, None]).astype(np.float32) for i, at in enumerate((y, x)))
    cos, sin = _column(np.cos(angle)), _column(np.sin(angle))
    return y, x, dx * cos + dy * sin, dy * cos - dx * sin


def _column(values: np.ndarray) -> np.ndarray:
    """(n,) as float32 (n, 1, 1)."""
    return np.asarray(values, dtype=np.float32)[:, None, None]
