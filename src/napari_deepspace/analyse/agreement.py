"""How far a stain of the neighbouring section goes with expression: r with an interval from blocks of tissue, and P against moved pictures.

The null: the picture is moved as a whole over the section (:func:`napari_deepspace.analyse.blocks.moved_maps`: mirrored or not, shifted at random),
while expression stays where it is; moves that leave the tissue do not count. So neighbouring spots stay alike on both sides, and only what ties this
picture to this place is lost. The usual test takes neighbouring spots for independent and calls a slide of another patient "significant" for many
genes. P is about this section, of one patient: it says nothing of others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_deepspace.analyse.blocks import moved_maps, spot_blocks
from napari_deepspace.analyse.bootstrap import intervals
from napari_deepspace.analyse.metrics import pearson, spearman
from napari_deepspace.analyse.region_tests import FITS, LEAST_BLOCKS, LEAST_MOVES, MOVES, ONE_PATIENT

LEAST_SPOTS = 30  #: with both values; fewer say nothing of a map
NULL = "P: two-sided, against moves of the picture as a whole over the section"
_CHUNK = 2_000_000  #: numbers of one array that are held at once


@dataclass(frozen=True)
class Agreement:
    """One row: a stain against ``name`` (what is measured or predicted, ``split`` says where), at ``n`` places with both values.

    ``interval`` is the 95 % one of ``r`` from whole blocks drawn again and again, ``rho`` Spearman's. ``p`` is NaN where nothing may be said, and
    ``why`` says why; it is never below 1 / (1 + moves).
    """

    name: str
    split: str
    r: float
    interval: tuple[float, float]
    rho: float
    n: int
    p: float
    moves: int
    blocks: float
    why: str = ""
    patients: str = ONE_PATIENT

    @property
    def words(self) -> str:
        """The row as one line; never a bare r."""
        if not math.isfinite(self.r):
            return f"{self.name}: {self.why} ({self.split})"
        low, high = self.interval
        between = f"95 % {low:.2f} to {high:.2f}" if math.isfinite(low) else "no interval: too few blocks of tissue"
        p = f"P {'≤ ' if self.p * (1 + self.moves) < 1.5 else ''}{self.p:.3f}" if math.isfinite(self.p) else self.why
        return f"{self.name}: r {self.r:.2f} ({between}; rho {self.rho:.2f}; n {self.n:,}; {self.split}; {p}; {self.patients})"


def picture_p(values: np.ndarray, picture: np.ndarray, centres_um: np.ndarray, *, moves: int = MOVES, seed: int = 0) -> tuple[np.ndarray, int]:
    """Two-sided P per column of ``values`` (n, n_genes) that it goes with ``picture`` (n,), and how many moves it counts: float64 (n_genes,).

    Neither may hold NaN. P = (1 + moves whose abs(r) reaches that of the picture where it lies) / (1 + moves); NaN for a constant column, and where
    too few moves keep FITS of the spots on tissue.
    """
    values = np.asarray(values, dtype=np.float64)
    moved = moved_maps(centres_um, moves, seed, gaps=True)
    moved = moved[(moved >= 0).mean(axis=1) >= FITS]
    p = np.full(values.shape[1], np.nan)
    if len(moved) < min(LEAST_MOVES, moves):
        return p, len(moved)
    centred = picture - picture.mean()
    there = (moved >= 0).astype(np.float64)
    pictures = np.where(moved >= 0, centred[moved], 0.0)
    n = there.sum(axis=1)
    own = np.maximum((pictures**2).sum(axis=1) - pictures.sum(axis=1) ** 2 / n, 1e-12)
    for start in range(0, values.shape[1], width := max(_CHUNK // len(moved), 1)):
        y = values[:, start : start + width] - values[:, start : start + width].mean(axis=0)
        sums, squares = there @ y, there @ y**2
        spread = np.sqrt(own[:, None] * np.maximum(squares - sums**2 / n[:, None], 1e-12))
        r = np.abs(pictures @ y - pictures.sum(axis=1)[:, None] * sums / n[:, None]) / spread
        here = np.abs(pearson(y, np.repeat(centred[:, None], y.shape[1], axis=1)))
        p[start : start + width] = np.where(np.isfinite(here), (1 + (r >= here - 1e-9).sum(axis=0)) / (1 + len(moved)), np.nan)
    return p, len(moved)


def agreement(name: str, values: np.ndarray, stain: np.ndarray, centres_um: np.ndarray, split: str = "measured spots", *, seed: int = 0) -> Agreement:
    """``values`` (n,) against ``stain`` (n,) at ``centres_um`` (n, 2) in um; rows with a NaN in either are left out."""
    both = np.isfinite(values) & np.isfinite(stain)
    n = int(both.sum())
    y, x, places = values[both].astype(np.float64)[:, None], stain[both].astype(np.float64)[:, None], centres_um[both]
    pieces = spot_blocks(places)
    blocks = pieces.effective
    r, rho = float(pearson(y, x)[0]) if n else math.nan, float(spearman(y, x)[0]) if n else math.nan
    why, p, used, ends = "", math.nan, 0, (math.nan, math.nan)
    if n < LEAST_SPOTS:
        why = f"not tested: {n} spots have both values; {LEAST_SPOTS} are needed"
    elif not math.isfinite(r):
        why = "not tested: one of the two is the same everywhere"
    else:
        low, high = intervals(y, {"stain": x}, "stain", pieces, seed=seed).of["stain"][0]
        ends = float(low), float(high)
        if blocks < LEAST_BLOCKS:
            why = f"not tested: the spots make up {blocks:.0f} separate pieces of tissue; {LEAST_BLOCKS} are needed"
        else:
            found, used = picture_p(y, x[:, 0], places, seed=seed)
            p = float(found[0])
            why = "" if math.isfinite(p) else f"not tested: the picture fits only {used} other places of this tissue; {LEAST_MOVES} are needed"
    return Agreement(name, split, r, ends, rho, n, p, used, round(blocks, 1), why)


def agreement_rows(
    stain: np.ndarray,
    against: Mapping[str, tuple[np.ndarray, str]],
    centres_um: np.ndarray,
    inside: Sequence[tuple[str, np.ndarray]] = (),
    *,
    seed: int = 0,
) -> list[Agreement]:
    """A row for each of ``against`` (name: values (n,) and where they hold), then for the first of them inside each of ``inside`` (name, bool (n,)).

    All rows but the last ones are of the same spots: those with a stain and every other value that is known anywhere.
    """
    shared = np.isfinite(stain)
    for values, _ in against.values():
        shared &= np.isfinite(values) | ~np.isfinite(values).any()
    rows = [agreement(name, np.where(shared, values, np.nan), stain, centres_um, split, seed=seed) for name, (values, split) in against.items()]
    for first, (values, split) in list(against.items())[:1]:
        for name, within in inside:
            some = np.where(shared & within, values, np.nan)
            rows.append(agreement(f"{first}, inside {name} only", some, stain, centres_um, split, seed=seed))
    return rows
