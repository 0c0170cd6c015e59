"""The pictures that students' tiles are drawn from, as sections without counts: sections, slides, folders of slides, photographs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from anndata import AnnData

from napari_deepspace.errors import DataError
from napari_deepspace.events import Event, Progress
from napari_deepspace.read import read_section
from napari_deepspace.section import Section
from napari_deepspace.slide import Slide, open_slide
from napari_deepspace.students_settings import UnlabelledSettings

IMAGES = (".svs", ".tif", ".tiff", ".jpg", ".jpeg", ".png")
OVERVIEW_PX = 2048  #: side of the picture in which tissue is told from glass


def read_sources(pictures: Sequence[UnlabelledSettings], like: Section, tile_um: float, photographs: bool) -> Generator[Event, None, list[Section]]:
    """Every picture as a section without counts, on the platform of ``like``; ``photographs`` have no scale and no glass.

    Raises
    ------
    DataError
        A path is neither a section nor an image nor a folder of images, or nothing states the size of a slide's pixels.
    """
    found = []
    for number, one in enumerate(pictures):
        yield Progress("reading unlabelled pictures", number, len(pictures))
        for path in _paths(one):
            if path.is_dir():
                section = read_section(path, one.image, outlines=one.outlines)
                found.append(replace(section, adata=section.adata[:, :0].copy()))  # no count is ever looked at
            elif photographs:
                found.append(photograph(open_slide(path), like, tile_um))
            else:
                found.append(slide_section(open_slide(path), like, one.mpp))
    return found


def _paths(one: UnlabelledSettings) -> list[Path]:
    """The image files, or the section's folder, that an entry names."""
    if one.path.is_file():
        return [one.path]
    if not one.path.is_dir():
        raise DataError(f"{one.path} does not exist. Give a section, an image file (TIFF, SVS, JPEG or PNG) or a folder of image files.")
    images = sorted(path for path in one.path.iterdir() if path.suffix.lower() in IMAGES and path.is_file())
    try:
        read_section(one.path, slide=False)
    except DataError as error:
        if not images:
            raise DataError(f"{one.path} holds neither a section nor an image file (TIFF, SVS, JPEG or PNG): {error}") from error
        return images
    return [one.path]


def slide_section(slide: Slide, like: Section, mpp: float | None = None) -> Section:
    """A slide as a section whose spots are a grid over its tissue, a pitch apart. Tissue is darker than Otsu's threshold (1979) of the picture.

    Raises
    ------
    DataError
        Neither ``mpp`` nor the file states the size of a pixel.
    """
    mpp = mpp or slide.mpp
    if mpp is None:
        raise DataError(f"{slide.path}: the file does not state how many um a pixel is. Give it as mpp: {{path: {slide.path.name}, mpp: 0.5}}.")
    centres = _grid(slide.shape, like.platform.pitch_um / mpp)
    small = slide.thumbnail(OVERVIEW_PX)
    threshold, _ = cv2.threshold(cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), (5, 5), 0), 0, 255, cv2.THRESH_OTSU)
    at = np.minimum((centres * (small.shape[0] / slide.shape[0])).astype(int), np.array(small.shape[:2]) - 1)
    reach = max(1, round(like.platform.pitch_um / mpp * small.shape[0] / slide.shape[0]) | 1)
    grey = cv2.blur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), (reach, reach))
    return _section(slide, centres, like, mpp, grey[at[:, 0], at[:, 1]] <= threshold)


def photograph(slide: Slide, like: Section, tile_um: float) -> Section:
    """A picture of anything as a section: tiles are as many pixels wide as those of ``like``, or as the picture is where it is smaller."""
    mpp = max(like.mpp, tile_um / min(slide.shape))
    centres = _grid(slide.shape, like.platform.pitch_um / mpp)
    return _section(slide, centres, like, mpp, np.ones(len(centres), dtype=bool))


def _grid(shape: tuple[int, int], step: float) -> np.ndarray:
    axes = [(np.arange(max(1, int(size / step))) + 0.5) * (size / max(1, int(size / step))) for size in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)


def _section(slide: Slide, centres: np.ndarray, like: Section, mpp: float, tissue: np.ndarray) -> Section:
    obs = pd.DataFrame({"in_tissue": tissue, "array_row": 0, "array_col": 0}, index=[f"point{number}" for number in range(len(centres))])
    adata = AnnData(obs=obs, obsm={"spatial": np.ascontiguousarray(centres[:, ::-1])})
    return Section(adata, slide, slide.path.stem, like.platform, mpp, path=slide.path, image_path=slide.path)
