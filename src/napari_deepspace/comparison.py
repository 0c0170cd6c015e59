"""Measured against predicted, spot by spot: the scatter of a gene, spots chosen in it or on the slide, the confusion matrix, and the swipe.

Only spots that the model was not trained on are ever compared. Plain arrays, no Qt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely

from napari_deepspace.analyse.metrics import pearson
from napari_deepspace.cluster_colours import hex_rgba
from napari_deepspace.gene_scores import Scores
from napari_deepspace.layers import HONEST, UNITS, LayerTuple, Maps, metadata
from napari_deepspace.section import Section
from napari_deepspace.verdicts import SHOWN_WAYS
from napari_deepspace.views import View, likeliest, within_slide

CHOSEN = "#00f0ff"  #: of the rings of selected spots: neither on H&E nor among the colours of values
FADED = 0.3  #: what is left of the opacity of spots that are not selected, while others are
BRUSH, LINE = "brush", "swipe line"  #: roles of the layers that are drawn with the mouse
BY_HAND = "chosen by hand, not a test"
_FEW = 3  #: spots, of which there is no r to tell


@dataclass(frozen=True)
class Comparison:
    """One gene at the spots that may be compared: ``spots`` int (n,), ascending; ``measured`` and ``predicted`` float32 (n,), all finite.

    ``relative`` says why predicted levels mean nothing beyond this slide; they then go from 0 to 1 within it.
    """

    gene: str
    spots: np.ndarray
    measured: np.ndarray
    predicted: np.ndarray
    unit: str = ""
    relative: str = ""

    def among(self, selected: np.ndarray | None) -> np.ndarray:
        """Which of the compared spots are in ``selected``, indices of the section's spots or None: bool (n,)."""
        return np.zeros(len(self.spots), dtype=bool) if selected is None else np.isin(self.spots, selected)


def comparable(maps: Maps, keep: np.ndarray) -> np.ndarray:
    """Spots, bool (n_spots,), whose measurement may be held against the prediction: not trained on, and ``keep`` (bool, n_spots) by the filter."""
    return keep & np.isin(maps.source, HONEST) & np.isin(maps.split, ("test", "none"))


def compare(maps: Maps, gene: str, measured: np.ndarray, keep: np.ndarray, unit: str = "") -> Comparison | None:
    """``gene`` at the spots that were not trained on and have both values; None where ``maps`` do not predict it.

    ``measured`` is float32 (n_spots,) on the scale of the predictions, ``keep`` bool (n_spots,).
    """
    predicted = maps.of(gene)
    if predicted is None:
        return None
    at = np.flatnonzero(comparable(maps, keep) & np.isfinite(measured) & np.isfinite(predicted))
    shown = within_slide(predicted[at]) if maps.relative else predicted[at]
    return Comparison(gene, at, measured[at], shown, unit, maps.relative)


def heading(maps: Maps, gene: str, drawn: int, synthetic: bool = False) -> list[str]:
    """What stands above the scatter, never a bare r, line by line: the verdict, r with all that belongs to it, and how it does against simple ways.

    ``drawn`` is the number of spots in the scatter: it is told where it is not that of the score.
    """
    scores = maps.scores if maps.scores is not None else Scores({})
    one, numbers = scores.of(gene), scores.numbers(gene)
    made_up = "SYNTHETIC data. " if synthetic or scores.synthetic else ""
    if maps.live:
        return [f"{made_up}{gene}: still training, not scored yet", f"{drawn:,} spots that the models so far were not trained on."]
    first = [f"{made_up}{gene}: {one.verdict or 'no verdict'}"]
    if not numbers:
        return [*first, f"No r is known of this map. Drawn: {drawn:,} spots not trained on."]
    against = scores.against(gene)[: len(SHOWN_WAYS)]
    other = [f"Drawn: {drawn:,} spots, those that the filter keeps now."] if drawn != scores.n else []
    return [*first, numbers, *(f"{words[0].upper()}{words[1:]}." for words in against), *other]


def selection_words(found: Comparison | None, selected: np.ndarray | None) -> str:
    """What the selected spots say, by mean and r, and that they are no test; "" without any."""
    if selected is None:
        return ""
    spots = f"{len(selected):,} spot{'' if len(selected) == 1 else 's'} selected"
    if found is None:
        return f"{spots}; no prediction to compare with"
    here = found.among(selected)
    n = int(here.sum())
    if n < len(selected):
        spots += f", {n:,} of them with both values"
    if not n:
        return spots
    means = f"{found.gene} measured mean {found.measured[here].mean():.2f}, predicted mean {found.predicted[here].mean():.2f}"
    means += " (relative)" if found.relative else ""
    r = float(pearson(found.measured[here][:, None], found.predicted[here][:, None])[0]) if n >= _FEW else math.nan
    within = f"r within {r:.2f} (n = {n:,})" if math.isfinite(r) else "r within undefined"
    return f"{spots}: {means}, {within} – {BY_HAND}"


def in_rectangle(xy: np.ndarray, corner: Sequence[float], other: Sequence[float]) -> np.ndarray:
    """Points ``xy`` (n, 2) within the rectangle of two opposite corners: bool (n,)."""
    low, high = np.minimum(corner, other), np.maximum(corner, other)
    return np.asarray(((xy >= low) & (xy <= high)).all(axis=1))


def in_lasso(points: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Points (n, 2) within the closed ``path`` (m, 2) drawn by hand, which may cross itself: bool (n,)."""
    if len(path) < 3:
        return np.zeros(len(points), dtype=bool)
    area = shapely.make_valid(shapely.Polygon(path))
    shapely.prepare(area)
    return np.asarray(shapely.contains_xy(area, points[:, 0], points[:, 1]))


def chosen(spots: np.ndarray) -> np.ndarray | None:
    """Indices as a selection: ascending, each once, None for none at all."""
    return np.unique(spots) if len(spots) else None


@dataclass(frozen=True)
class Confusion:
    """Measured against likeliest predicted clusters: ``counts`` int (k, k), rows are measured.

    ``measured`` and ``predicted`` are the clusters, as numbers among ``names``, of ``spots``: each int (n,).
    """

    names: tuple[str, ...]
    counts: np.ndarray
    spots: np.ndarray
    measured: np.ndarray
    predicted: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """Share of each row, (k, k); NaN in a row without a spot."""
        total = self.counts.sum(axis=1, keepdims=True)
        return np.where(total > 0, self.counts / np.maximum(total, 1), np.nan)

    def cell(self, row: int, column: int) -> np.ndarray | None:
        """The spots of one cell, or None where it is empty."""
        return chosen(self.spots[(self.measured == row) & (self.predicted == column)])


def confusion(maps: Maps, keep: np.ndarray) -> Confusion | None:
    """The matrix of the clusters that ``maps`` predict, at spots not trained on; None where they predict none or the measured ones are not known.

    ``keep`` is bool (n_spots,).
    """
    if maps.kind != "clusters" or maps.measured is None:
        return None
    measured, predicted = likeliest(maps.measured), likeliest(maps.predicted)
    at = np.flatnonzero(comparable(maps, keep) & np.isfinite(measured) & np.isfinite(predicted))
    rows, columns = measured[at].astype(int), predicted[at].astype(int)
    k = len(maps.genes)
    counts = np.bincount(rows * k + columns, minlength=k * k).reshape(k, k)
    return Confusion(maps.genes, counts, at, rows, columns)


# -- on the slide ------------------------------------------------------------------------------------------------------------------------------


def marked(view: View, selected: np.ndarray | None) -> View:
    """``view`` with a bright ring round the ``selected`` spots, indices or None, and the others faded."""
    if selected is None or len(view.face) <= selected.max():
        return view
    rings = np.zeros(len(view.face), dtype=bool)
    rings[selected] = True
    left = np.ones_like(view.face)
    left[~rings, 3] = FADED
    return replace(view, face=view.face * left, border=np.where(rings[:, None], hex_rgba(CHOSEN), view.border * left), rings=rings)


def swiped(left: View, right: View, is_left: np.ndarray) -> View:
    """Two maps of one gene in one: ``left`` where ``is_left`` (bool, n_spots), ``right`` elsewhere. What is said of the model stands beside it."""
    at = is_left[:, None]
    caption = f"left {left.caption}, right {right.caption}"
    return replace(
        right,
        values=np.where(is_left, left.values, right.values),
        face=np.where(at, left.face, right.face),
        border=np.where(at, left.border, right.border),
        caption=caption,
        lut=left.lut,
        log=left.log,
        limits=left.limits,
    )


def line_x(section: Section, share: float) -> float:
    """Where the line of the swipe stands, full-resolution px, for a ``share`` of 0 (left of every spot) to 1 (right of every spot)."""
    low, high = _span(section)
    return low + share * (high - low)


def share_at(section: Section, x: float) -> float:
    """The share, 0 to 1, of a line at ``x`` (full-resolution px)."""
    low, high = _span(section)
    return float(np.clip((x - low) / (high - low), 0, 1))


def _span(section: Section) -> tuple[float, float]:
    x, edge = section.centres_yx[:, 1], section.spot_diameter_px
    return float(x.min() - edge), float(x.max() + edge)


def line_layer(section: Section, x: float) -> LayerTuple:
    """The line of the swipe at ``x`` (full-resolution px), a little longer than the spots reach."""
    y = section.centres_yx[:, 0]
    top, height = y.min() - 3 * section.spot_diameter_px, np.ptp(y) + 6 * section.spot_diameter_px
    return _strokes(section, np.array([[[top, x], [height, 0.0]]]), LINE, "swipe line", 0.2)


def brush_layer(section: Section, path: np.ndarray) -> LayerTuple:
    """The lasso as far as it is drawn, closed; ``path`` (m, 2), row and column in full-resolution px."""
    closed = np.roll(path, -1, axis=0)
    return _strokes(section, np.stack([path, closed - path], axis=1), BRUSH, "brush", 0.3)


def _strokes(section: Section, vectors: np.ndarray, role: str, name: str, width: float) -> LayerTuple:
    kwargs = {
        "name": f"{section.library_id} {name}",
        "vector_style": "line",
        "edge_color": CHOSEN,
        "edge_width": width * section.spot_diameter_px,
        "scale": (section.mpp, section.mpp),
        "units": UNITS,
        "metadata": metadata(section, role),
    }
    return vectors, kwargs, "vectors"
