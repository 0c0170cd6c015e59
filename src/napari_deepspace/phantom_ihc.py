"""The phantom's neighbour: a SYNTHETIC section of the same tissue, a few um farther, stained for ESR1 (haematoxylin and DAB) in place of H&E."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from napari_deepspace.phantom_block import Cut
from napari_deepspace.phantom_counts import GENES
from napari_deepspace.phantom_paint import GLASS, HALF, fibre_texture, ground_of, nuclei
from napari_deepspace.phantom_tissue import CELL_PX, GRID, MPP, SIDE_PX, Tissue, blur, enlarge, grow_tissue

MPP_IHC = 0.5  #: um per px of its slide
HAEMATOXYLIN = np.array([0.65, 0.70, 0.29], np.float32)  # the usual vectors of colour deconvolution (Ruifrok and Johnston 2001)
DAB = np.array([0.27, 0.57, 0.78], np.float32)
_STEP_UM = 10.0  # over which tissue drifts as from one section of the series to the next
_MOST = 0.75  # optical density (natural logarithm) of DAB, mean over a tile, where ESR1 is highest
_BETWEEN = 0.30  # DAB between nuclei, of that in them


@dataclass(frozen=True)
class Laid:
    """How the section lies on its slide: ``slide = scale turn(turn_deg) flip (section - middle) + middle of the slide + shift``, (y, x) in um."""

    turn_deg: float
    mirror: bool
    scale: float
    shift_um: tuple[float, float]
    gap_um: float = 5.0

    @property
    def side_px(self) -> int:
        """The slide is square, and as large as the swollen section needs."""
        return round(SIDE_PX * MPP * max(self.scale, 1.0) / MPP_IHC)

    @property
    def slide_from_section(self) -> np.ndarray:
        """(2, 3): from (y, x, 1) in um of the section's slide to (y, x) in um of this one."""
        cos, sin = np.cos(np.radians(self.turn_deg)), np.sin(np.radians(self.turn_deg))
        linear = self.scale * np.array([[cos, -sin], [sin, cos]]) @ np.diag([1.0, -1.0 if self.mirror else 1.0])
        middle = np.full(2, SIDE_PX * MPP / 2)
        to = np.full(2, self.side_px * MPP_IHC / 2) + np.asarray(self.shift_um)
        return np.column_stack([linear, to - linear @ middle])

    @property
    def section_from_slide(self) -> np.ndarray:
        """The way back, (2, 3)."""
        back = np.linalg.inv(self.slide_from_section[:, :2])
        return np.column_stack([back, -back @ self.slide_from_section[:, 2]])

    def truth(self) -> dict[str, Any]:
        return asdict(self) | {
            "section_um_from_slide_um": self.section_from_slide.tolist(),
            "slide_um_from_section_um": self.slide_from_section.tolist(),
        }


def laid_by(seed: int, turn_deg: float | None = None, mirror: bool | None = None, scale: float | None = None, gap_um: float = 5.0) -> Laid:
    """How the section of ``seed`` lies; what is left out is drawn: turned by 15 to 180 degrees, mirrored or not, swollen by 0.8 to 1.2."""
    rng = np.random.default_rng([seed, 10])
    turn, flipped, swollen, shift = rng.choice([-1, 1]) * rng.uniform(15, 180), rng.uniform() < 0.5, rng.uniform(0.8, 1.2), rng.uniform(-60, 60, 2)
    return Laid(
        round(float(turn) if turn_deg is None else float(turn_deg), 2),
        bool(flipped) if mirror is None else mirror,
        round(float(swollen) if scale is None else float(scale), 3),
        (round(float(shift[0]), 1), round(float(shift[1]), 1)),
        float(gap_um),
    )


@dataclass(frozen=True)
class Beside(Cut):
    """The section ``gap_um`` beside that of the seed, in the same frame: fields have drifted and outlines are a little different, none has moved."""

    gap_um: float = 5.0

    @property
    def number(self) -> int:
        return 101  # random numbers of its own

    @property
    def step(self) -> float:
        return self.gap_um / _STEP_UM

    def placed(self, outlines: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, 8, self.number])
        placed = {}
        for name, outline in outlines.items():
            middle = outline.mean(axis=0)
            around = np.linspace(0, 2 * np.pi, len(outline), endpoint=False)
            wobble = sum(rng.normal(0, 12) / order * np.cos(order * around + rng.uniform(0, 2 * np.pi)) for order in range(2, 7))
            radius = np.linalg.norm(outline - middle, axis=1)
            placed[name] = middle + (outline - middle) * (1 + self.step * wobble / MPP / radius)[:, None]
        return placed


def ihc_tissue(seed: int, gap_um: float = 5.0) -> Tissue:
    """The tissue ``gap_um`` beside that of ``seed``, in the frame of its slide."""
    return grow_tissue(seed, False, Beside("ihc", seed, 0.0, (0.0, 0.0), gap_um))


def share_of(tissue: Tissue, gene: str = "ESR1") -> np.ndarray:
    """True expression of a gene that the slide shows, 0 to 1 where it is highest: float32 (GRID, GRID)."""
    share = np.exp(sum(weight * getattr(tissue, name) for name, weight in GENES[gene][1].items()))
    return np.asarray(share / share[tissue.solid].max(), dtype=np.float32)


def paint_ihc(tissue: Tissue) -> tuple[np.ndarray, np.ndarray]:
    """The picture in the section's frame, uint8 (SIDE_PX, SIDE_PX, 3), and its DAB, float32 (GRID, GRID) (natural logarithm, 1 unit of :data:`DAB`).

    In and between nuclei DAB follows :func:`share_of`; what nuclear density alone would change of its local mean is divided out.
    """
    rng = tissue.rng(1)
    ground = ground_of(rng, tissue, fibre_texture(rng, tissue))
    nuclear = nuclei(rng, tissue, ground)
    cover = enlarge(np.minimum(ground.eosin / 0.44 + 0.3 * ground.nest * ground.room, 1.6), HALF)
    dab = _BETWEEN * cover + nuclear
    cells = dab.reshape(GRID, CELL_PX, GRID, CELL_PX).mean((1, 3))
    local = blur(np.where(tissue.solid, cells, 0), 45) / (blur(tissue.solid, 45) + 1e-3)
    dab *= enlarge(share_of(tissue) * _MOST / np.maximum(local, 0.5 * np.median(local[tissue.solid])), CELL_PX)
    haematoxylin = 0.55 * nuclear + enlarge(0.35 * ground.haematoxylin + 0.03 * ground.eosin, HALF)
    image = np.empty((SIDE_PX, SIDE_PX, 3), np.uint8)
    for channel in range(3):
        light = GLASS[channel] * np.exp(-(haematoxylin * HAEMATOXYLIN[channel] + dab * DAB[channel]))
        light.reshape(4, -1, SIDE_PX)[:] += 2.5 * rng.standard_normal((SIDE_PX // 4, SIDE_PX), dtype=np.float32)
        image[..., channel] = np.clip(light + 0.5, 0, 255)
    return image, dab.reshape(GRID, CELL_PX, GRID, CELL_PX).mean((1, 3))


def warped(image: np.ndarray, laid: Laid) -> np.ndarray:
    """``image`` of the section's frame (uint8, :data:`MPP` um per px) as it lies on its slide: uint8 (side_px, side_px, 3)."""
    back = laid.section_from_slide  # (y, x) um; cv2 wants (x, y) px, from middles of px
    linear = back[:, :2][::-1, ::-1] * MPP_IHC / MPP
    shift = (back[:, 2] + back[:, :2] @ np.full(2, MPP_IHC / 2))[::-1] / MPP - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    glass = tuple(float(value) for value in GLASS)
    matrix = np.column_stack([linear, shift])
    return np.asarray(cv2.warpAffine(image, matrix, (laid.side_px, laid.side_px), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=glass))
