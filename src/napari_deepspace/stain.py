"""Bringing slides to one stain (Macenko and others 2009): a slide that is read as if it had been stained like another.

What haematoxylin and eosin look like on a slide is found once, on tiles of its tissue, by torchstain (extra [stain]). The change is then one linear
map of optical density, made as pixels are read, so that memory does not grow and the file stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.section import Section
from napari_deepspace.slide import Level, Slide
from napari_deepspace.tiles import cut_tiles, tile_radius_px

LIGHT = 240.0  #: brightness of glass, torchstain's
TILES = 96  #: of tissue, at most, that the stains are found on
TILE_PX = 64
TILE_UM = 100.0
MOST_ALIKE = 0.999  #: cosine of two stains that cannot be told apart


@dataclass(frozen=True)
class Stain:
    """Haematoxylin and eosin on a slide: ``matrix`` float32 (3, 2), their optical density in R, G, B; ``most`` float32 (2,), the 99th percentile of
    how much of each there is."""

    matrix: np.ndarray
    most: np.ndarray


def find_stain(section: Section, tissue: np.ndarray) -> Stain:
    """The stains of a section's slide, from tiles at spots of ``tissue`` (bool, n_spots).

    Raises
    ------
    SettingsError
        torchstain is not installed.
    DataError
        The tissue does not show two stains.
    """
    try:
        from torchstain.numpy.normalizers import NumpyMacenkoNormalizer
    except ImportError as error:
        raise SettingsError(
            "torchstain is not installed, which finds the stains. Install it with `pip install 'napari-deepspace[stain]'`, or set tile.stain to none."
        ) from error
    spots = np.flatnonzero(tissue)
    spots = spots[np.unique(np.linspace(0, len(spots) - 1, TILES).astype(int))]
    tiles = cut_tiles(section.require_slide(), section.centres_yx[spots], tile_radius_px(TILE_UM, section.mpp), TILE_PX)
    found = NumpyMacenkoNormalizer()
    try:
        found.fit(tiles.reshape(-1, TILE_PX, 3), Io=LIGHT)
    except (ValueError, IndexError, np.linalg.LinAlgError) as error:
        raise _no_stains(section) from error
    stain = Stain(np.asarray(found.HERef, dtype=np.float32), np.asarray(found.maxCRef, dtype=np.float32))
    lengths = np.linalg.norm(stain.matrix, axis=0)
    alike = float(stain.matrix[:, 0] @ stain.matrix[:, 1] / max(float(lengths.prod()), 1e-9))
    if not (np.isfinite(stain.matrix).all() and (stain.most > 1e-3).all() and alike < MOST_ALIKE):
        raise _no_stains(section)
    return stain


def stained(section: Section, own: Stain, target: Stain) -> Section:
    """``section`` on its slide as if it had been stained like ``target``; ``own`` are the stains it has."""
    return replace(section, slide=stained_slide(section.require_slide(), own, target))


def stained_slide(slide: Slide, own: Stain, target: Stain) -> StainedSlide:
    """``slide`` as if it had been stained like ``target``; ``own`` are the stains it has."""
    change = target.matrix * (target.most / own.most) @ np.linalg.pinv(own.matrix)
    return StainedSlide(slide, change.astype(np.float32))


def changed(pixels: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Pixels uint8 (h, w, 3) whose optical density went through ``change``, float32 (3, 3); what neither stain explains is left out."""
    density = cv2.LUT(pixels, -np.log((np.arange(256, dtype=np.float32) + 1) / np.float32(LIGHT)))
    light = cv2.exp(cv2.transform(density, -change)) * np.float32(LIGHT)
    return np.asarray(np.minimum(light, 255), dtype=np.uint8)


class StainedSlide(Slide):
    """A slide whose pixels are changed as they are read. It is known as the slide it comes from."""

    def __init__(self, slide: Slide, change: np.ndarray):
        super().__init__(slide.path, [_StainedLevel(level, change) for level in slide.levels], slide.mpp, [])
        self._slide = slide

    def fingerprint(self) -> str:
        """That of the slide as it lies on the disk."""
        return self._slide.fingerprint()


class _StainedLevel(Level):
    def __init__(self, level: Level, change: np.ndarray):
        self.shape, self.chunks = level.shape, level.chunks
        self._level, self._change = level, change

    def region(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        pixels = self._level.region(top, left, bottom, right)
        return changed(pixels, self._change) if pixels.size else pixels


def _no_stains(section: Section) -> DataError:
    return DataError(f"{section.library_id}: its tissue does not show two stains that can be told apart. Set tile.stain to none.")
