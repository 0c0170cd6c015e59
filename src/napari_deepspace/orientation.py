"""Which way round a slide lies under its spots: the eight ways, a slide that is read turned, and a check that names the way that fits.

An image that was mirrored or turned on its way from the scanner has often the right size, so that nothing but the tissue can tell. Two things
are looked at, for each of the eight ways: whether spots lie on tissue and the places without a spot beside it, and whether what the image shows at
the spots goes with what was counted there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import cv2
import numpy as np
from scipy.stats import rankdata

from napari_deepspace.errors import SettingsError
from napari_deepspace.section import Section
from napari_deepspace.settings import Orientation
from napari_deepspace.slide import Level, Slide

ORIENTATIONS: tuple[Orientation, ...] = get_args(Orientation)
AS_IS: Orientation = "as it is"

OVERVIEW_PX = 1024  #: longer side of the image that is looked at
MAX_POINTS = 20_000  #: spots that are looked at, at most
TELLS_TISSUE = 0.8  #: tissue agreement of an image that belongs to the spots, at least: right ones come to 0.93 to 1.00, or 0.82 from few pixels
ON_TISSUE = 0.9  #: share of spots on tissue below which an agreement of FITS_WELL is needed: pale tissue may pass for glass
FITS_WELL = 0.92
SHIFTS = (1, 2, 3, 4, 6)  #: how far the spots are shifted to see whether they fit better elsewhere, in pitches (of 100 um at least)
ELSEWHERE = 0.025  #: how much better that has to be: of a right image the agreement is highest where the spots are, of another section's beside it
LOOKS_ALIKE = 0.35  #: counts agreement that speaks for an image by itself; wrong ways and other slides came to 0.22 at most
CLEARLY = 0.1  #: how much better another way has to fit before it is named
DARK = 80  #: brightness of half the pixels below which an image is one of fluorescence; H&E is never so dark
FEWEST = 50  #: spots below which chance alone may put an image any way round
TOP_GENES = 500
PATTERNS = 4  #: principal components of expression that are compared with the image, beside UMI
PENALTY = 30.0


@dataclass(frozen=True)
class Fit:
    """How well an image fits the spots in one orientation."""

    orientation: Orientation
    tissue: float  #: chance that a spot shows more tissue than a place of the lattice without a spot, 0 to 1; NaN where every place has a spot
    counts: float  #: mean r of UMI and of the main patterns of expression, predicted from the image's colours, out of fold; below 0 counts as 0
    on_tissue: float  #: share of the spots on tissue

    @property
    def score(self) -> float:
        return (0.0 if np.isnan(self.tissue) else 2 * self.tissue - 1) + self.counts


@dataclass(frozen=True)
class OrientationCheck:
    """The eight fits of the image in use, which is ``fits[0]``; ``orientation`` of each is what would have to be done to it further."""

    fits: tuple[Fit, ...]
    told: bool  #: whether there is enough to tell from
    elsewhere: bool = False  #: whether the spots would fit clearly better some pitches away
    untold: str = ""  #: why it cannot be told, in words

    @property
    def best(self) -> Fit:
        """The way that fits best: the way it lies, unless another is clearly better."""
        best = max(self.fits, key=lambda fit: fit.score)
        return best if best.score > self.fits[0].score + CLEARLY else self.fits[0]

    @property
    def fitting(self) -> bool:
        """Whether the best way fits at all, or the image may be another section's."""
        best = self.best
        if best.counts >= LOOKS_ALIKE:
            return True
        if np.isnan(best.tissue):
            return best.on_tissue >= ON_TISSUE
        trusted = best.orientation == AS_IS and best.on_tissue >= ON_TISSUE  # more is asked of a way that nobody chose
        return not self.elsewhere and best.tissue >= (TELLS_TISSUE if trusted else FITS_WELL)

    @property
    def better(self) -> Orientation | None:
        """Another way that fits clearly better than the one in use, and fits; None where there is none."""
        return self.best.orientation if self.told and self.fitting and self.best.orientation != AS_IS else None

    @property
    def words(self) -> str:
        """A sentence for the user; "" where the image lies as it should, or nobody can tell."""
        if not self.told:
            return ""
        now, best = self.fits[0], self.best
        if not self.fitting:
            return (
                f"The image fits the spots in none of its eight orientations (at best {agreement(best)}): "
                "it may be another section's, as when slides are swapped in a batch. Check the file, or choose another with Image…"
            )
        if self.better is not None:
            return f"The image fits better {in_words(self.better)}: {agreement(best)}; as it lies now: {agreement(now)}."
        return ""


def in_words(orientation: Orientation) -> str:
    """ "mirrored, turned by 90°" for the orientation of that name."""
    return f"{orientation.replace('turned', 'turned by')}°" if orientation[-1] == "0" else orientation


def orientation_named(name: str) -> Orientation:
    """The orientation of that name; raises SettingsError for any other."""
    if name not in ORIENTATIONS:
        raise SettingsError(f"orientation {name!r} is unknown: choose one of {'; '.join(ORIENTATIONS)}.")
    return ORIENTATIONS[ORIENTATIONS.index(name)]


def agreement(fit: Fit) -> str:
    """How well an image fits, in words."""
    tissue = "" if np.isnan(fit.tissue) else f"tissue agreement {fit.tissue:.2f}, "
    return f"{tissue}{fit.on_tissue:.0%} of spots on tissue, r with counts {fit.counts:.2f}"


def turned(image: np.ndarray, orientation: Orientation) -> np.ndarray:
    """``image`` (h, w, ...) in another orientation, a view of its pixels."""
    mirror, turns = _parts(orientation)
    return np.rot90(image[:, ::-1] if mirror else image, turns)


def then(first: Orientation, second: Orientation) -> Orientation:
    """The one orientation that does ``second`` after ``first``."""
    (mirror, turns), (again, more) = _parts(first), _parts(second)
    return ORIENTATIONS[4 * ((mirror + again) % 2) + (more + (-turns if again else turns)) % 4]


def inverse(orientation: Orientation) -> Orientation:
    """The orientation that undoes ``orientation``."""
    return next(one for one in ORIENTATIONS if then(orientation, one) == AS_IS)


def turned_slide(slide: Slide, orientation: Orientation) -> Slide:
    """``slide`` in another orientation, still read piece by piece; the file stays as it is."""
    return slide if orientation == AS_IS else TurnedSlide(slide, orientation)


class TurnedSlide(Slide):
    """A slide whose pixels are turned as they are read."""

    def __init__(self, slide: Slide, orientation: Orientation):
        super().__init__(slide.path, [_TurnedLevel(level, orientation) for level in slide.levels], slide.mpp, [])
        self._slide, self.orientation = slide, orientation

    def close(self) -> None:
        """Close the file beneath."""
        self._slide.close()


class _TurnedLevel(Level):
    def __init__(self, level: Level, orientation: Orientation):
        self._mirror, self._turns = _parts(orientation)
        order = (1, 0) if self._turns % 2 else (0, 1)
        self.shape = level.shape[order[0]], level.shape[order[1]], 3
        self.chunks = level.chunks[order[0]], level.chunks[order[1]], 3
        self._level, self._orientation = level, orientation

    def region(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        height, width = self.shape[:2]
        for _ in range(self._turns):  # back by quarter turns: what is at (row, column) was at (column, height - 1 - row)
            top, left, bottom, right = left, height - bottom, right, height - top
            height, width = width, height
        if self._mirror:
            left, right = width - right, width - left
        return np.ascontiguousarray(turned(self._level.region(top, left, bottom, right), self._orientation))


def check_orientation(section: Section) -> OrientationCheck:
    """Fit the eight orientations of the section's slide to its spots, on an overview of the slide; about a second.

    Raises
    ------
    DataError
        The section has no slide, or its file is damaged.
    """
    slide = section.require_slide()
    overview = slide.thumbnail(OVERVIEW_PX)
    return check_image(section, overview, overview.shape[0] / slide.shape[0])


def check_image(section: Section, overview: np.ndarray, share: float) -> OrientationCheck:
    """As :func:`check_orientation` for a small image uint8 (h, w, 3) of the slide, ``share`` of its size (a hires image, say)."""
    radius = section.spot_diameter_px / 2 * share
    signals, rows = _signals(section)
    spots = section.centres_yx[rows] * share
    here, gone = _places(section, share)
    looks, glass = _look(overview, radius)
    fits = []
    for orientation in ORIENTATIONS:
        seen = turned(looks, orientation)
        on, off = _at(seen, here)[:, 1], _at(seen, gone[_inside(gone, seen.shape)])[:, 1]
        fits.append(
            Fit(
                orientation,
                _more_often(on, off) if len(off) >= 20 else float("nan"),
                _agree(_at(seen, spots), signals, _blocks(spots)),
                float((on > glass).mean()) if len(on) else 0.0,
            )
        )
    if len(here) < FEWEST:
        return OrientationCheck(tuple(fits), told=False, untold="there are too few spots")
    best = OrientationCheck(tuple(fits), told=True).best
    seen = turned(looks, best.orientation)
    check = OrientationCheck(tuple(fits), True, _fits_elsewhere(seen, here, gone, best.tissue, max(section.pitch_px, 100 / section.mpp) * share))
    nothing_against = np.isnan(best.tissue) or not (check.fitting or check.elsewhere or _empty_places_known(section))
    if best.on_tissue >= ON_TISSUE and best.counts < LOOKS_ALIKE and nothing_against:
        return OrientationCheck(tuple(fits), told=False, untold="tissue lies all around the spots as well")
    return check


def _empty_places_known(section: Section) -> bool:
    """Whether a place of the lattice without a spot is known to be beside the tissue: the table says so, or the spots of legacy ST were selected."""
    inside = int(np.asarray(section.adata.obs["in_tissue"], dtype=bool).sum()) if "in_tissue" in section.adata.obs else section.adata.n_obs
    return section.platform.name == "legacy ST" or (section.lattice is not None and len(section.lattice) >= inside + 20)


def _fits_elsewhere(seen: np.ndarray, here: np.ndarray, gone: np.ndarray, tissue: float, step: float) -> bool:
    """Whether spots and places without one, shifted together by two steps or more, fit the tissue clearly better than where they are."""
    if np.isnan(tissue):
        return False
    few = np.random.default_rng(0)
    here, gone = (few.permutation(places)[:2000] for places in (here, gone[_inside(gone, seen.shape)]))
    limits = np.array(seen.shape[:2]) - 1

    def fit(shift: np.ndarray) -> float:
        on, off = (seen[tuple(np.clip(np.rint(places + shift), 0, limits).astype(int).T)][:, 1] for places in (here, gone))
        return _more_often(on, off)

    ways = [np.array([row, column]) / np.hypot(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]
    near, *far = [max(fit(way * by * step) for way in ways) for by in SHIFTS]
    return max(far) > max(near, fit(np.zeros(2)), TELLS_TISSUE - ELSEWHERE) + ELSEWHERE


def _parts(orientation: Orientation) -> tuple[int, int]:
    """(mirrored or not, quarter turns)."""
    return divmod(ORIENTATIONS.index(orientation), 4)


def _look(image: np.ndarray, radius: float) -> tuple[np.ndarray, float]:
    """What tissue looks like around every pixel, float32 (h, w, 5): mean optical density of R, G, B, colourfulness, and spread of the density;
    and the density above which it is tissue."""
    pixels = np.ascontiguousarray(image).astype(np.float32)
    if np.median(pixels.max(axis=2)) < DARK:  # fluorescence: tissue is what shines, in whichever channel
        pixels = 255 - pixels
        pixels[..., 1] = pixels.min(axis=2)
    density = -np.log((pixels + 1) / 256)
    side = 2 * max(1, round(radius)) + 1
    colourful = (pixels.max(axis=2) - pixels.min(axis=2))[..., None] / 255
    mean = cv2.blur(np.concatenate([density, colourful], axis=2), (side, side), borderType=cv2.BORDER_REPLICATE)
    green = density[..., 1]
    spread = np.sqrt(np.maximum(cv2.blur(green * green, (side, side), borderType=cv2.BORDER_REPLICATE) - mean[..., 1] ** 2, 0))
    levels = np.clip(mean[..., 1] * 128, 0, 255).astype(np.uint8)
    glass, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return np.concatenate([mean, spread[..., None]], axis=2), float(glass) / 128 / 2  # half of it: pale tissue is tissue too


def _at(seen: np.ndarray, yx: np.ndarray) -> np.ndarray:
    """``seen`` at places (n, 2) of the overview; beyond the image there is glass."""
    limits = np.array(seen.shape[:2]) - 1
    found = seen[tuple(np.clip(np.rint(yx).astype(int), 0, limits).T)]
    found[~_inside(yx, seen.shape)] = 0
    return found


def _inside(yx: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return np.asarray(((yx >= 0) & (yx < np.array(shape[:2]))).all(axis=1))


def _places(section: Section, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Places of the lattice with a spot in tissue and without one, (n, 2) px of the overview.

    Where the table of positions lists only spots in tissue, as legacy ST does, the lattice is continued around and between them.
    """
    obs, lattice = section.adata.obs, section.lattice_rc_yx
    tissue = obs["in_tissue"].to_numpy(dtype=bool) if "in_tissue" in obs else np.ones(len(obs), dtype=bool)
    filled = {(int(row), int(column)) for row, column in obs.loc[tissue, ["array_row", "array_col"]].to_numpy()}
    index, yx = lattice[:, :2], lattice[:, 2:]
    if len(lattice) < 1.05 * len(filled) and np.linalg.matrix_rank(index - index.mean(axis=0)) == 2:
        fit, *_ = np.linalg.lstsq(np.column_stack([np.ones(len(index)), index]), yx, rcond=None)
        rows, columns = (np.arange(index[:, axis].min() - more, index[:, axis].max() + more + 1) for axis, more in ((0, 3), (1, 6)))
        index = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
        if section.platform.lattice == "hexagonal":
            index = index[index.sum(axis=1) % 2 == 0]
        yx = np.column_stack([np.ones(len(index)), index]) @ fit
    if len(index) > MAX_POINTS:
        some = np.random.default_rng(0).choice(len(index), MAX_POINTS, replace=False)
        index, yx = index[some], yx[some]
    has = np.array([(int(row), int(column)) in filled for row, column in index], dtype=bool)
    return yx[has] * share, yx[~has] * share


def _signals(section: Section) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of UMI and main patterns of expression, standardised, float64 (n, signals), and the rows of the spots that they are of."""
    adata = section.adata
    rows = np.arange(adata.n_obs)
    if "in_tissue" in adata.obs:
        rows = rows[adata.obs["in_tissue"].to_numpy(dtype=bool)]
    if len(rows) > MAX_POINTS // 4:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_POINTS // 4, replace=False))
    if adata.n_vars == 0 or len(rows) < 30:
        return np.zeros((len(rows), 0)), rows
    counts = adata.X[rows]
    umi = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    top = np.sort(np.argsort(-np.asarray(counts.mean(axis=0)).ravel())[:TOP_GENES])
    expression = np.log1p(counts[:, top].toarray() / np.maximum(umi, 1)[:, None] * np.median(umi))
    patterns, *_ = np.linalg.svd(expression - expression.mean(axis=0), full_matrices=False)
    signals = np.column_stack([np.log1p(umi), patterns[:, :PATTERNS]])
    spread = signals.std(axis=0)
    return ((signals - signals.mean(axis=0)) / np.where(spread > 0, spread, 1))[:, spread > 0], rows


def _blocks(yx: np.ndarray) -> np.ndarray:
    """Which of nine blocks of tissue a spot lies in, int (n,): neighbours stay together, so that colour cannot stand for place."""
    low, size = yx.min(axis=0, initial=np.inf), np.ptp(yx, axis=0) + 1e-9 if len(yx) else 1.0
    part = np.minimum((yx - low) / size * 3, 2).astype(int)
    return np.asarray(part[:, 0] * 3 + part[:, 1])


def _agree(seen: np.ndarray, signals: np.ndarray, blocks: np.ndarray) -> float:
    """Mean r, each at least 0, of signals (n, k) with what ridge regression on colours ``seen`` (n, f) makes of them, out of fold."""
    if not signals.shape[1] or len(np.unique(blocks)) < 2:
        return 0.0
    x = (seen - seen.mean(axis=0)) / (seen.std(axis=0) + 1e-6)
    x = np.column_stack([x, x * x])
    predicted = np.zeros_like(signals)
    for block in np.unique(blocks):
        out = blocks == block
        middle, mean = x[~out].mean(axis=0), signals[~out].mean(axis=0)
        centred = x[~out] - middle
        weights = np.linalg.solve(centred.T @ centred + PENALTY * np.eye(x.shape[1]), centred.T @ (signals[~out] - mean))
        predicted[out] = (x[out] - middle) @ weights + mean
    return float(np.mean([max(0.0, _r(a, b)) for a, b in zip(predicted.T, signals.T, strict=True)]))


def _r(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def _more_often(on: np.ndarray, off: np.ndarray) -> float:
    """The chance that a value of ``on`` is above one of ``off`` (the area under the ROC curve)."""
    ranks: Any = rankdata(np.concatenate([on, off]))
    return float((ranks[: len(on)].sum() - len(on) * (len(on) + 1) / 2) / (len(on) * len(off))) if len(on) and len(off) else float("nan")
