"""Two fits of many genes at once: Poisson regression on depth, and the dispersion of a negative binomial given the means.

Counts are genes x spots. Each gene leaves the iteration at its own step and keeps the value it had there, as if it had been fitted alone.
"""

from __future__ import annotations

import numpy as np

POISSON_STEPS, POISSON_TOLERANCE = 98, 1e-9
THETA_STEPS = 9  # R's limit of 10 counts one more; most genes have not converged by then and keep what they have
THETA_TOLERANCE = float(np.finfo(float).eps) ** 0.25
_LOGS_AT_ONCE = 8
_NO_SPREAD = 1e-20  # mean squared relative error of counts that equal their means but for rounding


def poisson_regression(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maximum likelihood of mean = exp(intercept + slope * x), by Newton's steps from the mean count.

    ``y`` (n_genes, n_spots) with at least one count a gene, ``x`` (n_spots,). Returns intercept and slope (n_genes,) after the last step, and
    the means (n_genes, n_spots) before it, which differ by less than 1e-9 and are what sctransform hands to the dispersion.
    """
    centre = x.mean()
    centred = x - centre  # the steps are the same, the sums lose fewer digits
    design = np.stack([np.ones_like(centred), centred, centred * centred], axis=1)
    sums = y @ design[:, :2]
    level, slope = np.log(sums[:, 0] / len(x)), np.zeros(len(y))  # level is the intercept at the mean of x
    means = np.empty_like(y)
    active = np.arange(len(y))
    for _ in range(POISSON_STEPS):
        mean = np.exp(level[active, None] + slope[active, None] * centred)
        s0, s1, s2 = (mean @ design).T
        r0, r1 = (sums[active] - np.stack([s0, s1], axis=1)).T
        determinant = s0 * s2 - s1 * s1
        with np.errstate(invalid="ignore", divide="ignore"):
            d_level, d_slope = (s2 * r0 - s1 * r1) / determinant, (s0 * r1 - s1 * r0) / determinant
        level[active] += d_level
        slope[active] += d_slope
        ended = ~(np.abs(d_level - d_slope * centre) + np.abs(d_slope) > POISSON_TOLERANCE)  # a step that is no number ends it too
        means[active[ended]] = mean[ended]
        active = active[~ended]
        if not len(active):
            break
    else:
        means[active] = mean[~ended]
    return level - slope * centre, slope, means


def fit_theta(y: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Dispersion theta (n_genes,) of the negative binomial with ``mean``, for whole counts ``y``, both (n_genes, n_spots).

    The variance is mean + mean**2 / theta. Maximum likelihood by at most THETA_STEPS Newton's steps from the method of moments; 0 where the
    last step is negative, not finite where counts equal their means. The sums of digamma functions are finite sums over counts.
    """
    n_spots = y.shape[1]
    steps = _CountSteps(y)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        spread = np.square(y / mean - 1).sum(axis=1)
        theta = np.where(spread > _NO_SPREAD * n_spots, n_spots / spread, np.inf)
        active = np.flatnonzero(np.isfinite(theta))
        for _ in range(THETA_STEPS):
            if not len(active):
                break
            t = np.abs(theta[active])
            everyone = len(active) == len(y)
            counts, means = (y, mean) if everyone else (y[active], mean[active])
            total = means + t[:, None]
            inverse = 1 / total
            ratio = (counts + t[:, None]) * inverse
            digamma, trigamma = steps.sums(t, active)
            score = digamma + n_spots * (np.log(t) + 1) - _log_sum(total) - ratio.sum(axis=1)
            information = trigamma - n_spots / t + 2 * inverse.sum(axis=1) - np.einsum("ij,ij->i", ratio, inverse)
            change = score / information
            theta[active] = t + change
            active = active[~(np.abs(change) <= THETA_TOLERANCE)]
            active = active[np.isfinite(theta[active])]
        return np.where(theta < 0, 0.0, theta)


class _CountSteps:
    """How many spots have more than k counts, for each gene and k: psi(t + y) - psi(t) summed over spots is the sum of that number / (t + k)."""

    def __init__(self, y: np.ndarray):
        highest = y.max(axis=1).astype(np.int64)
        self._starts = np.concatenate([[0], np.cumsum(highest + 1)])
        gene, spot = np.nonzero(y)
        count = np.bincount(self._starts[gene] + y[gene, spot].astype(np.int64), minlength=self._starts[-1])
        up_to = np.cumsum(count)
        self._gene = np.repeat(np.arange(len(y)), highest + 1)
        self._k = np.arange(self._starts[-1]) - self._starts[self._gene]
        self._more = (up_to[self._starts[self._gene + 1] - 1] - up_to).astype(np.float64)

    def sums(self, t: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum of more / (t + k), and of more / (t + k)**2, for ``genes`` with their ``t``."""
        if len(genes) * 2 < len(self._starts):
            lengths = np.diff(self._starts)[genes]
            ends = np.cumsum(lengths)
            at = np.arange(ends[-1]) + np.repeat(self._starts[genes] - (ends - lengths), lengths)
            k, more, starts, each = self._k[at], self._more[at], ends - lengths, np.repeat(t, lengths)
        else:
            whole = np.ones(len(self._starts) - 1)
            whole[genes] = t
            k, more, starts, each = self._k, self._more, self._starts[:-1], whole[self._gene]
        inverse = 1 / (each + k)
        first = more * inverse
        found = np.add.reduceat(first, starts), np.add.reduceat(first * inverse, starts)
        return (found[0], found[1]) if len(found[0]) == len(genes) else (found[0][genes], found[1][genes])


def _log_sum(values: np.ndarray) -> np.ndarray:
    """Sum of logarithms along rows; products of several values, within the range of double precision, share one logarithm."""
    whole = values.shape[1] // _LOGS_AT_ONCE * _LOGS_AT_ONCE
    products = values[:, :whole].reshape(len(values), -1, _LOGS_AT_ONCE).prod(axis=2)
    return np.asarray(np.log(products).sum(axis=1) + np.log(values[:, whole:]).sum(axis=1))
