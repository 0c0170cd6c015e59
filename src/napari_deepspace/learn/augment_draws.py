"""What chance decides for each tile: which changes of the paper's groups it undergoes, and how strong they are. No pixel is touched here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_deepspace.settings import AUGMENTATIONS

P = 0.5  #: of every change that is not always made
CROP_AREA, CROP_RATIO = (0.5, 1.0), (3 / 4, 4 / 3)
SHARED_NOISE_SD, CHANNEL_NOISE_VARIANCE = (2.55, 12.75), (10.0, 50.0)  #: grey levels, grey levels squared
BLUR_SIZES = (3, 5, 7)
OPTICAL = (-0.05, 0.05)
GRID_CELLS, GRID_STEP = 5, (0.7, 1.3)
PIECEWISE_POINTS, PIECEWISE_SCALE = 4, (0.03, 0.05)  #: points a side; standard deviation as a share of the tile's side
SHIFT, SCALE, DEGREES = (-0.0625, 0.0625), (0.9, 1.1), (-45.0, 45.0)
CONTRAST, GAMMA, BRIGHTNESS = (0.8, 1.2), (0.8, 1.2), (-51.0, 51.0)
HUE, SATURATION, VALUE, RGB_SHIFT = (-20.0, 20.0), (-30.0, 30.0), (-20.0, 20.0), (-20.0, 20.0)  #: hue of 180, the others of 255

NOISES = ("shared", "channels")
BLURS = ("motion", "median", "box")
DISTORTIONS = ("optical", "grid", "piecewise", "shift_scale_rotate")
ONE_OF = ("noise", "blur", "dist")
NOISE_TABLE = 1 << 21  #: normal numbers that noise is taken from, beginning anywhere

Values = dict[str, np.ndarray]


def draw(n: int, groups: Sequence[str], seed: int, side: int) -> dict[str, Values]:
    """What n tiles of ``side`` px undergo: for each step, in the order of application, its parameters as arrays of n rows.

    Steps are the groups; ``random`` gives three, ``random.noise``, ``random.blur`` and ``random.dist``. Where one of several changes is
    made, ``kind`` is its index (in NOISES, BLURS, DISTORTIONS), -1 for none. A group's draws depend on ``seed``, n and side alone, not on
    the other groups.

    ============ ==========================================================================================================
    flip         ``symmetry`` 0..7 = 4 transposed (first) + 2 upside down + 1 mirrored
    crop         ``box`` (n, 4) = row, column, height, width in px; the whole tile where no crop was drawn
    noise        ``kind``, ``sd`` in grey levels, ``start`` in the table of normal numbers
    blur         ``kind``, ``size`` in px, ``kernel`` (n, 7, 7) of a motion
    dist         ``kind``, ``k``, ``steps`` (n, 2, 6), ``jitter`` (n, 2, 4, 4) and ``shift`` (n, 2) as shares of the side, ``scale``, ``degrees``;
                 axes of 2 are (row, column)
    contrast     ``factor``, ``gamma``, ``added`` in grey levels; 1, 1, 0 where not drawn
    color        ``hsv`` (n, 3) added, ``channels`` (n, 3) = which one comes where, ``rgb`` (n, 3) added; 0, identity, 0 where not drawn
    ============ ==========================================================================================================

    Raises
    ------
    ValueError
        A group is unknown.
    """
    if unknown := set(groups) - set(AUGMENTATIONS):
        raise ValueError(f"unknown groups of augmentation: {sorted(unknown)}")
    steps: dict[str, Values] = {}
    for number, group in enumerate(AUGMENTATIONS):
        if group not in groups:
            continue
        rng = np.random.default_rng((seed, number))
        if group == "random":
            chosen = rng.integers(3, size=n)
            for index, name in enumerate(ONE_OF):
                values = _DRAWS[name](rng, n, side)
                steps[f"random.{name}"] = {**values, "kind": np.where(chosen == index, values["kind"], -1)}
        else:
            steps[group] = _DRAWS[group](rng, n, side)
    return steps


def _drawn(rng: np.random.Generator, n: int, limits: tuple[float, float], otherwise: float, columns: int = 1) -> np.ndarray:
    """Uniform numbers in half of the rows, ``otherwise`` in the rest: (n,) or (n, columns)."""
    numbers = np.where(rng.random((n, 1)) < P, rng.uniform(*limits, (n, columns)), otherwise)
    return numbers[:, 0] if columns == 1 else numbers


def _flip(rng: np.random.Generator, n: int, side: int) -> Values:
    """A quarter turn (0 to 3 times) in half of the tiles, then a flip (rows, columns or both) in half, then a transposition in half."""
    turns = np.where(rng.random(n) < P, rng.integers(4, size=n), 0)
    flips = np.where(rng.random(n) < P, rng.integers(1, 4, size=n), 0)
    transposed, down, mirrored = turns % 2 == 1, np.isin(turns, (1, 2)), np.isin(turns, (2, 3))
    down, mirrored = down ^ (flips & 2 > 0), mirrored ^ (flips & 1 > 0)
    again = rng.random(n) < P
    transposed, down, mirrored = transposed ^ again, np.where(again, mirrored, down), np.where(again, down, mirrored)
    return {"symmetry": 4 * transposed + 2 * down + 1 * mirrored}


def _crop(rng: np.random.Generator, n: int, side: int) -> Values:
    """The first of ten boxes of random area and ratio that fits into the tile, anywhere in it; the whole tile if none does."""
    area = rng.uniform(*CROP_AREA, (n, 10)) * side**2
    ratio = np.exp(rng.uniform(np.log(CROP_RATIO[0]), np.log(CROP_RATIO[1]), (n, 10)))
    size = np.rint(np.sqrt(np.stack([area / ratio, area * ratio], axis=-1))).astype(int)
    fits = (size <= side).all(axis=-1) & (size > 0).all(axis=-1)
    whole = (fits.sum(axis=1) == 0) | (rng.random(n) >= P)
    size = np.where(whole[:, None], side, size[np.arange(n), fits.argmax(axis=1)])
    return {"box": np.concatenate([np.floor(rng.random((n, 2)) * (side - size + 1)).astype(int), size], axis=1)}


def _noise(rng: np.random.Generator, n: int, side: int) -> Values:
    kind = rng.integers(len(NOISES), size=n)
    sd = np.where(kind == 0, rng.uniform(*SHARED_NOISE_SD, n), np.sqrt(rng.uniform(*CHANNEL_NOISE_VARIANCE, n)))
    return {"kind": kind, "sd": sd.astype(np.float32), "start": rng.integers(NOISE_TABLE - 3 * side**2, size=n)}


def _blur(rng: np.random.Generator, n: int, side: int) -> Values:
    kind, size = rng.integers(len(BLURS), size=n), rng.choice(BLUR_SIZES, n)
    return {"kind": kind, "size": size, "kernel": _motion_kernels(rng, size)}


def _motion_kernels(rng: np.random.Generator, size: np.ndarray) -> np.ndarray:
    """Lines of random direction, length (half to all of ``size``) and place in the middle of 7 x 7 px, sum 1: float32 (n, 7, 7)."""
    n, half = len(size), size // 2
    angle, uneven, shift = rng.uniform(0, 2 * np.pi, n), rng.uniform(-1, 1, n), rng.uniform(-0.5, 0.5, (2, n)) * half
    begin, end = -half * (1 - np.maximum(uneven, 0)), half * (1 + np.minimum(uneven, 0))
    along = begin + (end - begin) * np.minimum(np.arange(max(BLUR_SIZES))[:, None] / (size - 1), 1)  # as many px as the size, the last one again
    rows, columns = np.sin(angle) * along + shift[0], np.cos(angle) * along + shift[1]
    rows, columns = (np.clip(np.rint(at), -half, half).astype(int) + 3 for at in (rows, columns))
    kernel = np.zeros((n, 7, 7), dtype=np.float32)
    kernel[np.arange(n), rows, columns] = 1
    return kernel / kernel.sum(axis=(1, 2), keepdims=True)


def _dist(rng: np.random.Generator, n: int, side: int) -> Values:
    return {
        "kind": rng.integers(len(DISTORTIONS), size=n),
        "k": rng.uniform(*OPTICAL, n),
        "steps": rng.uniform(*GRID_STEP, (n, 2, GRID_CELLS + 1)),
        "jitter": rng.normal(size=(n, 2, PIECEWISE_POINTS, PIECEWISE_POINTS)) * rng.uniform(*PIECEWISE_SCALE, (n, 1, 1, 1)),
        "shift": rng.uniform(*SHIFT, (n, 2)),
        "scale": rng.uniform(*SCALE, n),
        "degrees": rng.uniform(*DEGREES, n),
    }


def _contrast(rng: np.random.Generator, n: int, side: int) -> Values:
    return {"factor": _drawn(rng, n, CONTRAST, 1), "gamma": _drawn(rng, n, GAMMA, 1), "added": _drawn(rng, n, BRIGHTNESS, 0)}


def _color(rng: np.random.Generator, n: int, side: int) -> Values:
    low, high = np.transpose([HUE, SATURATION, VALUE])
    hsv = np.where(rng.random((n, 1)) < P, rng.uniform(low, high, (n, 3)), 0)
    shuffled = rng.permuted(np.tile(np.arange(3), (n, 1)), axis=1)
    channels = np.where(rng.random((n, 1)) < P, shuffled, np.arange(3))
    return {"hsv": np.rint(hsv), "channels": channels, "rgb": np.rint(_drawn(rng, n, RGB_SHIFT, 0, 3))}


_DRAWS = {"flip": _flip, "crop": _crop, "noise": _noise, "blur": _blur, "dist": _dist, "contrast": _contrast, "color": _color}
