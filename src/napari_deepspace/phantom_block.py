"""Three consecutive sections of one synthetic block: how the tissue drifts from one to the next, and how each lies on its slide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_deepspace.phantom import MIDDLE, SECTIONS
from napari_deepspace.phantom_tissue import CELL_PX, GRID, MPP, SIDE_PX

_ALIKE = 0.9  # correlation of a field with that of the next section
_SHRINK = 0.88  # so that the tissue stays on its slide when it is turned and shifted
_CREEP_UM = 40.0  # how far an outline moves from section to section
_CENTRE_PX = SIDE_PX / 2


@dataclass(frozen=True)
class Cut:
    """One section of the block.

    A point of its slide lies in the block's own frame at ``frame = turn(angle) (point - centre - shift) + centre``, all (x, y), and a field of the
    block there is ``cos(drift) first + sin(drift) second``, of two independent fields.
    """

    name: str
    seed: int
    angle: float  #: radians
    shift_px: tuple[float, float]  #: (x, y)

    @property
    def number(self) -> int:
        """1 for the first section."""
        return SECTIONS.index(self.name) + 1

    @property
    def step(self) -> float:
        """Sections from the middle one: -1, 0, 1."""
        return self.number - SECTIONS.index(MIDDLE) - 1

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3): from (x, y, 1) in full-resolution px of the slide to (x, y) in um of the block's frame."""
        turn = self._turn
        centre = np.full(2, _CENTRE_PX)
        return np.column_stack([turn, centre - turn @ (centre + self.shift_px)]) * MPP

    @property
    def _turn(self) -> np.ndarray:
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.array([[cos, -sin], [sin, cos]])

    def to_frame_um(self, points_yx: np.ndarray) -> np.ndarray:
        """Points (n, 2) of the slide, (row, column) in px, in the block's frame: (n, 2) (x, y) in um."""
        return np.asarray(points_yx[:, ::-1] @ self.matrix[:, :2].T + self.matrix[:, 2])

    def drifted(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The block's field of this section on the grid of its slide, from two fields (GRID, GRID) that repeat beyond their edges."""
        drift = self.step * np.arccos(_ALIKE)
        field = np.cos(drift) * first + np.sin(drift) * second
        cells = (np.indices((GRID, GRID)).reshape(2, -1).T + 0.5) * CELL_PX
        at = self.to_frame_um(cells)[:, ::-1].T / MPP / CELL_PX - 0.5
        return np.asarray(ndimage.map_coordinates(field.astype(np.float32), at, order=1, mode="grid-wrap").reshape(GRID, GRID), dtype=np.float32)

    def placed(self, outlines: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outlines of the block, (n, 2) (row, column) px, as they lie on this slide: each a little aside of where the section before has it."""
        rng = np.random.default_rng([self.seed, 8])
        placed = {}
        for name, outline in outlines.items():
            way = rng.uniform(0, 2 * np.pi)
            aside = self.step * _CREEP_UM / MPP * np.array([np.cos(way), np.sin(way)])
            around = (outline[:, ::-1] - _CENTRE_PX) * _SHRINK + aside
            placed[name] = (around @ self._turn + _CENTRE_PX + self.shift_px)[:, ::-1]
        return placed


def cut_of(seed: int, name: str) -> Cut:
    """How the section ``name`` of :data:`SECTIONS` lies: turned by 8 to 35 degrees and shifted by 120 to 220 um."""
    rng = np.random.default_rng([seed, 9, SECTIONS.index(name) + 1])
    angle = rng.choice([-1, 1]) * np.radians(rng.uniform(8, 35))
    way, far = rng.uniform(0, 2 * np.pi), rng.uniform(120, 220) / MPP
    return Cut(name, seed, float(angle), (float(far * np.cos(way)), float(far * np.sin(way))))
