"""How far a score can be trusted: block-bootstrap intervals of r and AUC, of their differences, and p values against moved maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.stats import false_discovery_control, norm
from scipy.stats import t as student

from napari_deepspace.analyse.blocks import Blocks, moved_maps

RESAMPLES = 1000
FDR = 0.05
LEAST_BLOCKS = 4  #: below, no interval
WIDEST = 3.0  #: a variance is never widened by more: beyond, the ratio of two variances is mostly noise
_CHUNK = 300_000  #: numbers of one array of resamples that are held at once
_SCALE = 0.9999999  #: a resampled r of exactly 1 has no place on Fisher's scale


@dataclass
class Intervals:
    """95 % intervals; (n, 2) arrays are lower and upper ends, one row an output, NaN where nothing can be said.

    ``of`` and ``mean`` hold them by predictor (the model and the simple ways), ``difference`` and ``mean_difference`` by simple way, for the
    model less the way at the spots where both have values; ``by`` (n,) and ``mean_by`` are these differences themselves.
    """

    of: dict[str, np.ndarray] = field(default_factory=dict)
    mean: dict[str, np.ndarray] = field(default_factory=dict)
    by: dict[str, np.ndarray] = field(default_factory=dict)
    difference: dict[str, np.ndarray] = field(default_factory=dict)
    mean_by: dict[str, float] = field(default_factory=dict)
    mean_difference: dict[str, np.ndarray] = field(default_factory=dict)


def intervals(
    measured: np.ndarray,
    predicted: dict[str, np.ndarray],
    model: str,
    blocks: Blocks,
    *,
    ranks: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Intervals:
    """Block-bootstrap intervals of every predictor in ``predicted``, of the mean over outputs, and of ``model`` less each other, paired.

    ``measured`` and each of ``predicted`` are (n_spots, n_outputs), NaN where there is no value; ``ranks`` takes AUC in place of Pearson's r.
    Blocks are drawn with replacement as wholes. A resample is a row of weights times sums over blocks (of values, squares and products; for AUC of
    won comparisons between each two blocks), so that 18,000 genes need a minute or two and bounded memory.

    The interval is estimate +- t * s on Fisher's scale (AUC, differences and means: as they are), with Student's t for blocks - 1 degrees of freedom.
    s**2 is the variance v of the resampled estimates times K / (K - 1), corrected for what neighbouring blocks share: with u the same variance from
    blocks of a third of the side, it is multiplied by v / u where that is more than 1 (blocks that still grow in variance are too small; at most by
    WIDEST), and by sqrt(u / v) where it is less (v is then the noisier of two good estimates). Percentiles, and s without
    the correction, covered 0.7 to 0.9 in a comparison made once, if values are alike over a quarter of the section; this covers 0.89 to 0.98
    (tests/acceptance/test_interval_coverage.py).
    """
    found = Intervals()
    drawn = _Draws(blocks, resamples, seed)
    ways = [name for name in predicted if name != model]
    n_outputs = measured.shape[1]
    whole = np.isfinite(measured) & np.isfinite(predicted[model])
    shared = {name: whole & np.isfinite(predicted[name]) for name in ways}
    paired = {name: bool((shared[name] == whole).all()) for name in ways}
    pieces: dict[tuple[str, str], list[np.ndarray]] = {}
    sums: dict[tuple[str, str], np.ndarray] = {}
    for part in _chunks(n_outputs, drawn.rows):
        y = measured[:, part]
        mine = drawn.scores(y, predicted[model][:, part], whole[:, part], ranks)
        for name in predicted:
            # a way is scored where it has values; the model beside it at the same spots
            own = mine if name == model else drawn.scores(y, predicted[name][:, part], np.isfinite(y) & np.isfinite(predicted[name][:, part]), ranks)
            _keep(pieces, sums, ("of", name), *own, drawn, fisher=not ranks)
            if name == model:
                continue
            left, right = mine, own
            if not paired[name]:
                left, right = (drawn.scores(y, predicted[who][:, part], shared[name][:, part], ranks) for who in (model, name))
            _keep(pieces, sums, ("by", name), left[0] - right[0], left[1] - right[1], drawn, fisher=False, each=(left, right))
    if ranks:  # a class without a spot counts in no mean
        n_outputs = int(np.isfinite(np.concatenate(pieces["estimate of of", model])).sum())
    for name in predicted:
        found.of[name] = np.concatenate(pieces["of", name])
        found.mean[name] = _mean_interval(sums["of", name], n_outputs, drawn)
        if name != model:
            found.difference[name] = np.concatenate(pieces["by", name])
            found.by[name] = np.concatenate(pieces["estimate of by", name])
            found.mean_by[name] = float(sums["by", name][0] / n_outputs) if n_outputs else float("nan")
            found.mean_difference[name] = _mean_interval(sums["by", name], n_outputs, drawn)
    if ranks:
        for table in (found.of, found.mean):
            table.update({name: (values + 1) / 2 for name, values in table.items()})
        for name in ways:
            found.by[name], found.mean_by[name] = found.by[name] / 2, found.mean_by[name] / 2
            found.difference[name], found.mean_difference[name] = found.difference[name] / 2, found.mean_difference[name] / 2
    return found


def _chunks(n: int, rows: int) -> Iterator[slice]:
    width = max(_CHUNK // max(rows, 1), 1)
    return (slice(start, start + width) for start in range(0, n, width))


class _Draws:
    """Weights of the resamples for blocks and for small blocks, and what they are applied to."""

    def __init__(self, blocks: Blocks, resamples: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.blocks = blocks
        self.sizes = (blocks.number, len(blocks.parent))
        self.times = (resamples, max(resamples // 3, 2))  # of the small blocks only a variance is wanted
        drawn = zip(self.sizes, self.times, strict=True)
        self.weights = [rng.multinomial(k, np.full(k, 1 / k), size=times).astype(np.float64) for k, times in drawn]
        self.rows = 1 + sum(self.times)
        self.t = float(student.ppf(0.975, blocks.effective - 1)) if blocks.effective >= LEAST_BLOCKS else float("nan")
        n = len(blocks.small)
        self.to_small = sparse.csr_matrix((np.ones(n), (blocks.small, np.arange(n))), shape=(self.sizes[1], n))
        self.to_block = np.zeros(self.sizes)
        self.to_block[blocks.parent, np.arange(self.sizes[1])] = 1

    def scores(self, y: np.ndarray, x: np.ndarray, both: np.ndarray, ranks: bool) -> tuple[np.ndarray, np.ndarray]:
        """The estimate (g,) and its resamples (rows - 1, g), those by blocks first; with ``ranks`` 2 AUC - 1 in place of r."""
        return self._by_ranks(y, x, both) if ranks else self._by_moments(y, x, both)

    def _by_moments(self, y: np.ndarray, x: np.ndarray, both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b = _standard(y, both), _standard(x, both)
        small = self.to_small @ np.hstack([both.astype(np.float64), a, b, a * a, b * b, a * b])
        sums = small.sum(axis=0, keepdims=True), self.weights[0] @ (self.to_block @ small), self.weights[1] @ small
        total, by_block, by_small = (_r(*np.split(some, 6, axis=1)) for some in sums)
        return total[0], np.concatenate([by_block, by_small])

    def _by_ranks(self, y: np.ndarray, x: np.ndarray, both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        columns = [self._won(y[:, k], x[:, k], both[:, k]) for k in range(y.shape[1])]
        return np.array([column[0] for column in columns]), np.stack([column[1] for column in columns], axis=1)

    def _won(self, y: np.ndarray, x: np.ndarray, both: np.ndarray) -> tuple[float, np.ndarray]:
        """2 AUC - 1 of one class: comparisons won less lost of each block's spots in the class with each block's spots outside it."""
        inside, outside = np.flatnonzero(both & (y > 0.5)), np.flatnonzero(both & (y <= 0.5))
        won = np.sign(x[inside][:, None] - x[outside][None, :])
        small = self.to_small[:, inside] @ (won @ self.to_small[:, outside].T)
        n1, n0 = (np.bincount(self.blocks.small[rows], minlength=self.sizes[1]).astype(np.float64) for rows in (inside, outside))
        with np.errstate(invalid="ignore", divide="ignore"):
            by_block, by_small = (
                ((weight @ (up @ small @ up.T)) * weight).sum(axis=1) / ((weight @ (up @ n1)) * (weight @ (up @ n0)))
                for weight, up in zip(self.weights, (self.to_block, np.eye(self.sizes[1])), strict=True)
            )
            return float(small.sum() / (n1.sum() * n0.sum() or np.nan)), np.concatenate([by_block, by_small])


def _standard(values: np.ndarray, both: np.ndarray) -> np.ndarray:
    """Centred, of SD 1, 0 where there is no value; a constant column becomes 0."""
    n = np.maximum(both.sum(axis=0), 1)
    centred = np.where(both, values, 0).astype(np.float64)
    centred = np.where(both, centred - centred.sum(axis=0) / n, 0)
    spread = np.sqrt((centred**2).sum(axis=0) / n)
    return centred / np.where(spread > 1e-6, spread, np.inf)


def _r(n: np.ndarray, a: np.ndarray, b: np.ndarray, aa: np.ndarray, bb: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """Pearson's r from sums over spots; NaN where a variable does not vary or there are fewer than three spots."""
    with np.errstate(invalid="ignore", divide="ignore"):
        up, left, right = ab - a * b / n, aa - a * a / n, bb - b * b / n
        return np.where((left > 1e-9 * n) & (right > 1e-9 * n) & (n >= 3), up / np.sqrt(left * right), np.nan)


def _spread(resampled: np.ndarray, drawn: _Draws) -> np.ndarray:
    """The standard error from resamples (rows - 1, g), see :func:`intervals`; NaN where most resamples are undefined."""
    variances = []
    for values, k in zip(np.split(resampled, [drawn.times[0]]), drawn.sizes, strict=True):
        times = len(values)
        n = np.full(values.shape[1], times)
        if not np.isfinite(values.sum()):
            there = np.isfinite(values)
            n = there.sum(axis=0)
            values = np.where(there, values, np.where(there, values, 0).sum(axis=0) / np.maximum(n, 1))  # noqa: PLW2901
        square = ((values - values.mean(axis=0)) ** 2).sum(axis=0) / np.maximum(n - 1, 1)
        variances.append(np.where(n > times / 2, square, np.nan) * k / max(k - 1, 1))
    v, u = variances
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where((u > 0) & (v > 0), v / u, 1.0)
    return np.sqrt(v * np.clip(np.maximum(ratio, ratio**-0.5), 1, WIDEST))


def _keep(
    pieces: dict[tuple[str, str], list[np.ndarray]],
    sums: dict[tuple[str, str], np.ndarray],
    key: tuple[str, str],
    estimate: np.ndarray,
    resampled: np.ndarray,
    drawn: _Draws,
    *,
    fisher: bool,
    each: tuple[tuple[np.ndarray, np.ndarray], ...] = (),
) -> None:
    """Add a chunk of outputs: their intervals, and their part of the sum over outputs (an undefined score counts as 0 there)."""
    there = np.arctanh(np.clip(resampled, -_SCALE, _SCALE)) if fisher else resampled
    middle = np.arctanh(np.clip(estimate, -_SCALE, _SCALE)) if fisher else estimate
    reach = drawn.t * _spread(there, drawn)
    ends = np.stack([middle - reach, middle + reach], axis=1)
    limit = 1 if key[0] == "of" else 2
    pieces.setdefault(key, []).append(np.tanh(ends) if fisher else np.clip(ends, -limit, limit))
    pieces.setdefault((f"estimate of {key[0]}", key[1]), []).append(estimate)
    whole = np.vstack([estimate, resampled])
    if each:
        whole = np.nan_to_num(np.vstack(each[0])) - np.nan_to_num(np.vstack(each[1]))
    sums[key] = sums.get(key, 0) + np.nan_to_num(whole).sum(axis=1)


def _mean_interval(sums: np.ndarray, n_outputs: int, drawn: _Draws) -> np.ndarray:
    mean = sums / (n_outputs or np.nan)
    reach = drawn.t * float(_spread(mean[1:, None], drawn)[0])
    return np.array([mean[0] - reach, mean[0] + reach])


def p_values(
    measured: np.ndarray, predicted: np.ndarray, centres_um: np.ndarray, *, groups: np.ndarray | None = None, seed: int = 0, moves: int | None = None
) -> np.ndarray:
    """p per output for r > 0, float64 (n_outputs,), against r with the predicted map moved as a whole (:func:`blocks.moved_maps`).

    Both maps keep their autocorrelation, and only what ties them to one another is lost. ``moves`` is 999, fewer (at least 199) for very many genes.
    p is the share of moves with at least this r, or, where that is smaller, the normal tail beyond r on Fisher's scale with the moves' own standard
    deviation about 0: so it also tells 0.001 from 0.00001, which thousands of genes need. NaN where r is undefined.
    """
    n, n_outputs = measured.shape
    if n < 3:
        return np.full(n_outputs, np.nan)
    moves = moves or int(np.clip(3e9 / max(measured.size, 1), 199, 999))
    moved = moved_maps(centres_um, moves, seed, groups)
    times = np.stack([np.bincount(index, minlength=n) for index in moved]).astype(np.float32)
    found = [_p(measured[:, part], predicted[:, part], moved, times) for part in _chunks(n_outputs, n)]
    return np.concatenate(found) if found else np.zeros(0)


def _p(measured: np.ndarray, predicted: np.ndarray, moved: np.ndarray, times: np.ndarray) -> np.ndarray:
    """p of some outputs; ``times`` (moves, n) says how often each spot is read in each move."""
    both = np.isfinite(measured) & np.isfinite(predicted)
    y, x = _standard(measured, both).astype(np.float32), _standard(predicted, both).astype(np.float32)
    n = len(y)
    flat = (np.abs(y).max(axis=0) == 0) | (np.abs(x).max(axis=0) == 0) | (both.sum(axis=0) < 3)
    spread = np.sqrt(np.maximum(times @ x**2 - (times @ x) ** 2 / n, 1e-6)) * np.maximum(np.sqrt((y**2).sum(axis=0)), 1e-6)
    r = np.stack([np.einsum("ng,ng->g", y, x[index]) for index in moved]) / spread
    here = _r(*(values.sum(axis=0, dtype=np.float64) for values in (np.ones_like(y), y, x, y * y, x * x, y * x)))
    with np.errstate(invalid="ignore", divide="ignore"):
        tail = norm.sf(np.arctanh(np.clip(here, -_SCALE, _SCALE)) / np.sqrt((np.arctanh(np.clip(r, -_SCALE, _SCALE)) ** 2).mean(axis=0)))
    return np.where(flat, np.nan, np.maximum((r >= here).sum(axis=0) / (len(moved) + 1), tail))


def significant(p: np.ndarray) -> np.ndarray:
    """Which outputs stay at a false discovery rate of FDR over all of them (Benjamini and Hochberg 1995): bool (n_outputs,); an undefined p never."""
    there = np.isfinite(p)
    found = np.zeros(len(p), dtype=bool)
    if there.any():
        found[there] = false_discovery_control(p[there], method="bh") <= FDR
    return found
