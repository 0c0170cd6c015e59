"""One sentence on a section that a model is applied to but was not made for: another patient, other colours, other pixels, unlike tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_deepspace.learn.model import SeenSpots, TrainedModel
from napari_deepspace.section import Section, kinship

FAR_COLOURS = 2.0  #: spreads of the training tiles that the mean colour of a section may lie away
OTHER_PIXELS = 1.25  #: ratio of um per px
MANY_UNLIKE = 0.1  #: share of a section's tiles; of the training tiles 1 in 100 is called unlike


def colours_of(looks: np.ndarray) -> np.ndarray:
    """Mean and SD over tiles of their mean R, G and B in 0..1, float32 (2, 3); ``looks`` (n, >= 3) are those of the simple ways."""
    return np.stack([looks[:, :3].mean(axis=0), looks[:, :3].std(axis=0)]).astype(np.float32)


def colour_distance(colours: np.ndarray, trained: Sequence[np.ndarray]) -> float:
    """How far a section's mean colour lies from those of the training sections, each as of :func:`colours_of`, in units of their spread: of tiles
    within a section and of sections put together; the channel that differs most."""
    means, spreads = np.stack([one[0] for one in trained]), np.stack([one[1] for one in trained])
    spread = np.sqrt((spreads**2).mean(axis=0) + means.var(axis=0))
    return float((np.abs(colours[0] - means.mean(axis=0)) / np.maximum(spread, 1e-3)).max())


def notice(model: TrainedModel, section: Section, colours: np.ndarray, unlike: np.ndarray) -> str:
    """What sets ``section`` apart from those that the model was trained on; "" where nothing does. ``unlike`` (bool, n) are its tiles."""
    others = [seen.origin for seen in model.seen]
    said = []
    if kinship(section.origin, others) == "another patient":
        said.append("it is of another patient")
    away = colour_distance(colours, [seen.colours for seen in model.seen])
    if away > FAR_COLOURS:
        said.append(f"its colours lie {away:.1f} spreads of the training tiles away from theirs")
    if _far_pixels(section.mpp, model.seen) > OTHER_PIXELS:
        said.append(f"its pixels are {section.mpp:.2g} um wide, the training slides' {_mpp(model.seen):.2g}")
    if len(unlike) and unlike.mean() > MANY_UNLIKE:
        said.append(f"{unlike.mean():.0%} of its tiles are unlike those of the training")
    return f"{section.library_id} differs from what the model was trained on: {'; '.join(said)}. Trust its values less." if said else ""


def _mpp(seen: Sequence[SeenSpots]) -> float:
    return float(np.median([one.mpp for one in seen]))


def _far_pixels(mpp: float, seen: Sequence[SeenSpots]) -> float:
    """The ratio to the nearest of the training slides, 1 or more."""
    return min(max(mpp / one.mpp, one.mpp / mpp) for one in seen)
