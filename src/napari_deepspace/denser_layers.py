"""A denser map as layer tuples: points between spots, an image over the tissue, and the outline of a tile. Plain arrays, no napari."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from napari_deepspace.colour_scale import ColourScale, limits_of
from napari_deepspace.denser import BETWEEN_SIZE, DenserMap, band, disagreement, probabilities, to_image, unlike, values
from napari_deepspace.layers import CLEAR, UNITS, LayerTuple, metadata
from napari_deepspace.section import Section
from napari_deepspace.views import View, likeliest, within_slide

BETWEEN, DENSER, TILE, UNLIKE = "points between spots", "denser map (predicted)", "tile outline", "tiles unlike the training tiles"
DenserShow = Literal["predicted", "class", "interval", "disagreement"]
TOO_NEAR = "finer than the model can see"
NEAR_SHARE = 0.25  #: the view is too near where what the model tells apart fills this share of it


def denser_values(dmap: DenserMap, output: str, show: DenserShow) -> np.ndarray:
    """Values of one output, the likeliest class, the width of the band, or the disagreement: float32 (n,), NaN where there is none."""
    if show == "class":
        return likeliest(probabilities(dmap))
    if show == "interval":
        ends = band(dmap, output)
        return np.full(len(dmap.centres_yx), np.nan, dtype=np.float32) if ends is None else ends[1] - ends[0]
    return values(dmap, output) if show == "predicted" else disagreement(dmap, output)


def denser_colours(
    dmap: DenserMap, found: np.ndarray, show: DenserShow, view: View, percentiles: tuple[float, float] = ColourScale.percentiles
) -> tuple[np.ndarray, tuple[float, float]]:
    """``found`` (n,) as it is painted, and its limits: the model's values as the spots are in ``view``, the predicted one; others by their own."""
    if show == "class":
        return found, (-0.5, len(dmap.outputs) - 0.5)
    if show != "predicted":
        return found, limits_of(found, percentiles=percentiles)
    return (within_slide(found) if view.relative else found), view.limits


def denser_caption(dmap: DenserMap, show: DenserShow) -> str:
    """The line that says what the layer is: never more than a denser map that was predicted."""
    where = "points between spots" if dmap.at == "between-spots" else "denser map"
    if show != "predicted":
        what = {"class": "the likeliest cluster, predicted", "interval": "width of the 90 % band", "disagreement": "disagreement between models"}
        return f"{where}: {what[show]}"
    apart = "" if dmap.at == "between-spots" else f", a point every {dmap.spacing_um:g} um"
    return f"{where} (predicted){apart}; tells apart {resolution_of(dmap):.0f} um"


def resolution_of(dmap: DenserMap) -> float:
    """What the model tells apart, in um: as measured when it was trained, else four fifths of its tile, the edge width of a plain mean over it."""
    found = dmap.about.get("resolution_um")
    return float(found) if found is not None and np.isfinite(found) else 0.8 * dmap.tile_um


def between_layer(dmap: DenserMap, section: Section, face: np.ndarray) -> LayerTuple:
    """Points between spots as small diamonds; ``face`` is RGBA (n, 4)."""
    kwargs = {
        "name": f"{section.library_id} {BETWEEN}",
        "size": section.spot_diameter_px * BETWEEN_SIZE,
        "symbol": "diamond",
        "scale": (section.mpp, section.mpp),
        "units": UNITS,
        "face_color": face,
        "border_color": np.tile(CLEAR, (len(face), 1)),
        "border_width": 0,
        "metadata": metadata(section, BETWEEN),
    }
    return dmap.centres_yx, kwargs, "points"


def denser_layer(dmap: DenserMap, section: Section, found: np.ndarray) -> LayerTuple:
    """A grid as an image, transparent outside the tissue."""
    assert dmap.step_px is not None and dmap.origin_yx_px is not None
    kwargs = {
        "name": f"{section.library_id} {DENSER}",
        "scale": (dmap.step_px * section.mpp,) * 2,
        "translate": tuple(at * section.mpp for at in dmap.origin_yx_px),
        "units": UNITS,
        "metadata": metadata(section, DENSER),
    }
    return to_image(dmap, found), kwargs, "image"


def unlike_layer(dmap: DenserMap, section: Section) -> LayerTuple:
    """Crosses at points whose tile is unlike the training tiles: nothing that the model says there has been tried."""
    kwargs = {
        "name": f"{section.library_id} {UNLIKE}",
        "size": 0.8 * min(dmap.spacing_um / section.mpp, section.spot_diameter_px),
        "symbol": "cross",
        "scale": (section.mpp, section.mpp),
        "units": UNITS,
        "face_color": "#ff3b30",
        "border_width": 0,
        "metadata": metadata(section, UNLIKE),
    }
    return dmap.centres_yx[unlike(dmap)], kwargs, "points"


def tile_layer(section: Section, tile_um: float) -> LayerTuple:
    """The outline of one tile around the origin: what the model looks at for one point."""
    half = tile_um / 2 / section.mpp
    kwargs = {
        "name": f"{section.library_id} {TILE}",
        "shape_type": "rectangle",
        "edge_color": "#ffffff",
        "face_color": "transparent",
        "edge_width": 5 / section.mpp,
        "scale": (section.mpp, section.mpp),
        "units": UNITS,
        "metadata": metadata(section, TILE),
    }
    return [np.array([[-half, -half], [-half, half], [half, half], [half, -half]])], kwargs, "shapes"


def too_near(resolution_um: float, px_per_um: float, canvas_px: Sequence[int]) -> bool:
    """Whether the view is so near that what the model tells apart fills a good part of it."""
    return resolution_um * px_per_um > NEAR_SHARE * min(canvas_px)
