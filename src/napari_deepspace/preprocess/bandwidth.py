"""Sheather and Jones' bandwidth of a kernel density, digit for digit as R's ``bw.SJ(x, method = "ste")`` finds it.

R's root finder stops at a tolerance of one per cent of the largest bandwidth, so that its path decides the answer: scipy's ``brentq`` takes
another. Formulas: Sheather and Jones, J. R. Statist. Soc. B 53:683 (1991); root finder: Brent's zeroin after Forsythe, Malcolm and Moler (1977).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

BINS = 1000
_FARTHEST = 1000.0  # squared distances beyond this add nothing
_EPS = float(np.finfo(float).eps)


def sheather_jones(x: np.ndarray) -> float:
    """Bandwidth for ``x`` (n,), in the units of ``x``.

    Raises
    ------
    ValueError
        Fewer than two different values.
    """
    x = np.asarray(x, dtype=np.float64)
    n = len(x)
    spread = float(np.ptp(x)) if n else 0.0
    if n < 2 or spread == 0:
        raise ValueError("a bandwidth needs at least two different values")
    width = 1.01 * spread / BINS
    pairs = _pairs_by_distance(x, width)
    quartiles = np.quantile(x, [0.25, 0.75])
    scale = min(float(np.std(x, ddof=1)), float(quartiles[1] - quartiles[0]) / 1.349)
    if scale <= 0:  # half of all values are equal
        scale = float(np.std(x, ddof=1))
    a, b = 1.24 * scale * n ** (-1 / 7), 1.23 * scale * n ** (-1 / 9)
    alpha = 1.357 * (_phi4(pairs, width, n, a) / -_phi6(pairs, width, n, b)) ** (1 / 7)

    def excess(h: float) -> float:
        return float((1 / (2 * math.sqrt(math.pi) * n * _phi4(pairs, width, n, alpha * h ** (5 / 7)))) ** 0.2 - h)

    high = 1.144 * scale * n ** (-0.2)
    low = 0.1 * high
    for attempt in range(1, 100):
        if excess(low) * excess(high) <= 0:
            break
        if attempt % 2:
            high *= 1.2
        else:
            low /= 1.2
    else:
        raise ValueError("no bandwidth fits these values")
    return zeroin(excess, low, high, 0.1 * low)


def _pairs_by_distance(x: np.ndarray, width: float) -> np.ndarray:
    """Number of unordered pairs of values whose bins are k apart, float64 (BINS,), k from 0."""
    bins = np.trunc(x / width).astype(np.int64)  # towards zero: the bin around zero is twice as wide
    counts = np.bincount(bins - bins.min()).astype(np.float64)
    both_ways = np.correlate(counts, counts, mode="full")[len(counts) - 1 :]
    pairs = np.zeros(BINS)
    pairs[: min(BINS, len(both_ways))] = both_ways[:BINS]
    pairs[0] = (counts * (counts - 1) / 2).sum()
    return pairs


def _squared(pairs: np.ndarray, width: float, h: float) -> tuple[np.ndarray, np.ndarray]:
    squared = (np.arange(len(pairs)) * width / h) ** 2
    near = squared < _FARTHEST
    return squared[near], pairs[near]


def _phi4(pairs: np.ndarray, width: float, n: int, h: float) -> float:
    d, c = _squared(pairs, width, h)
    total = float((c * np.exp(-d / 2) * (d * d - 6 * d + 3)).sum())
    return (2 * total + 3 * n) / (n * (n - 1) * h**5 * math.sqrt(2 * math.pi))


def _phi6(pairs: np.ndarray, width: float, n: int, h: float) -> float:
    d, c = _squared(pairs, width, h)
    total = float((c * np.exp(-d / 2) * (d * d * d - 15 * d * d + 45 * d - 15)).sum())
    return (2 * total - 15 * n) / (n * (n - 1) * h**7 * math.sqrt(2 * math.pi))


def zeroin(f: Callable[[float], float], low: float, high: float, tol: float) -> float:
    """A root of ``f`` in [low, high] by Brent's method, stopped at ``tol``; the two ends must differ in sign."""
    a, b = low, high
    fa, fb = f(a), f(b)
    if fa == 0:
        return a
    if fb == 0:
        return b
    c, fc = a, fa
    for _ in range(1000):
        previous = b - a
        if abs(fc) < abs(fb):
            a, b, c = b, c, b
            fa, fb, fc = fb, fc, fb
        allowed = 2 * _EPS * abs(b) + tol / 2
        middle = (c - b) / 2
        if abs(middle) <= allowed or fb == 0:
            return b
        step = middle
        if abs(previous) >= allowed and abs(fa) > abs(fb):
            p, q = _interpolated(a, b, c, fa, fb, fc)
            if p < 0.75 * (c - b) * q - abs(allowed * q) / 2 and p < abs(previous * q / 2):
                step = p / q
        if abs(step) < allowed:
            step = allowed if step > 0 else -allowed
        a, fa = b, fb
        b += step
        fb = f(b)
        if (fb > 0) == (fc > 0):
            c, fc = a, fa
    return b


def _interpolated(a: float, b: float, c: float, fa: float, fb: float, fc: float) -> tuple[float, float]:
    """Numerator and denominator of the next step: linear with two points, inverse quadratic with three."""
    if a == c:
        t = fb / fa
        p, q = (c - b) * t, 1 - t
    else:
        q, t1, t2 = fa / fc, fb / fc, fb / fa
        p = t2 * ((c - b) * q * (q - t1) - (b - a) * (t1 - 1))
        q = (q - 1) * (t1 - 1) * (t2 - 1)
    return (p, -q) if p > 0 else (-p, q)
