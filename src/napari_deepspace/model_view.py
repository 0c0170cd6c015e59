"""What a model sees around a spot, as pictures: its tile, in its size and pixels and in its stain, without loading the model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from napari_deepspace.errors import ModelError
from napari_deepspace.runs import MODEL, best_run
from napari_deepspace.slide import Slide
from napari_deepspace.stain import Stain, stained_slide
from napari_deepspace.tiles import coarsest_level, cut_tiles, iter_tiles, tile_radius_px

HEADER, WEIGHTS = "model.json", "weights.safetensors"


@dataclass(frozen=True)
class ModelView:
    """A tile of ``tile_um`` resized to ``tile_px`` a side; ``context`` times as wide a second one, where the model has it; slides are brought to
    ``stain``, where it was trained on one."""

    tile_um: float
    tile_px: int
    context: float | None = None
    stain: Stain | None = None

    @property
    def words(self) -> str:
        stain = ", stain normalised" if self.stain is not None else ""
        return f"{self.tile_um:g} um, {self.tile_px} px{stain}"


def view_of_run(run_dir: Path) -> ModelView | None:
    """How the model of a run sees a slide; None where there is no model. Raises ModelError where it is damaged."""
    folder = best_run(Path(run_dir)) / MODEL
    if not (folder / HEADER).is_file():
        return None
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            known = "stain/matrix" in file.keys()  # noqa: SIM118 - it is no mapping
            stain = Stain(file.get_tensor("stain/matrix"), file.get_tensor("stain/most")) if known else None
        context = header["settings"]["model"].get("context")
        return ModelView(float(header["tile_um"]), int(header["tile_px"]), context, stain)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ModelError(f"The model in {folder} is damaged ({type(error).__name__}: {error}). Train again, or copy the run folder anew.") from error


def seen(view: ModelView, slide: Slide, mpp: float, centres_yx: np.ndarray, own: Stain | None = None, wide: bool = False) -> np.ndarray:
    """The tiles at ``centres_yx`` (n, 2), full-resolution px, as the model gets them: uint8 (n, tile_px, tile_px, 3); ``wide``: its wider view.

    ``own`` are the stains of the slide, where the view has one to bring it to.
    """
    if view.stain is not None and own is not None:
        slide = stained_slide(slide, own, view.stain)
    centres = np.asarray(centres_yx, dtype=np.float64).reshape(-1, 2)
    if not wide:
        return cut_tiles(slide, centres, tile_radius_px(view.tile_um, mpp), view.tile_px)
    radius = tile_radius_px(view.tile_um * (view.context or 1.0), mpp)
    tiles = np.empty((len(centres), view.tile_px, view.tile_px, 3), dtype=np.uint8)
    for rows, batch in iter_tiles(slide, centres, radius, view.tile_px, level=coarsest_level(slide, radius, view.tile_px)):
        tiles[rows] = batch
    return tiles
