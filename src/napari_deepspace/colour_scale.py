"""Which colour stands for which value: the colour map, where it begins and ends, and whether it is spread evenly or by logarithm. Plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

ColourMap = Literal["viridis", "magma", "inferno", "cividis", "paper"]
COLOUR_MAPS: dict[ColourMap, str] = {
    "viridis": "even steps, dark blue to yellow; also for the colour-blind.",
    "magma": "even steps, black to white over purple.",
    "inferno": "even steps, black to yellow over red.",
    "cividis": "even steps, blue to yellow; made for the colour-blind.",
    "paper": "blue to red, as Seurat paints spots and as in the paper's figures (ColorBrewer's Spectral). Its steps are uneven: bands may mislead.",
}
"""Name -> what it looks like, in one line."""
DIFFERENCE = "difference"  #: the map of predicted minus measured: blue, white, red
CLEAR = np.zeros(4, dtype=np.float32)
STEPS = 256

_ANCHORS = {
    "viridis":
        "440154 470d60 48186a 482374 472d7b 453781 424086 3e4989 3b528b 375b8d 33638d 2f6b8e 2c728e 297a8e 26828e 23898e 21918c 1f988b "
        "1fa088 22a785 28ae80 32b67a 3fbc73 4ec36b 5ec962 70cf57 84d44b 98d83e addc30 c2df23 d8e219 ece51b fde725",
    "magma":
        "000004 030312 0a0822 130d34 1d1147 29115a 36106b 440f76 51127c 5d177f 6a1c81 762181 832681 902a81 9c2e7f aa337d b73779 c43c75 "
        "d0416f dc4869 e75263 ef5d5e f56b5c f9795d fc8961 fd9869 fea772 feb67c fec488 fed395 fde2a3 fcf0b2 fcfdbf",
    "inferno":
        "000004 040312 0b0724 150b37 210c4a 2f0a5b 3d0965 4a0c6b 57106e 64156e 71196e 7d1e6d 8a226a 972766 a32c61 b0315b bc3754 c73e4c "
        "d24644 db503b e45a31 eb6628 f1731d f68013 f98e09 fb9d07 fcac11 fbbc21 f9cb35 f5db4c f2ea69 f3f68a fcffa4",
    "cividis":
        "00224e 00285b 002e6a 053371 1a386f 273e6e 32436d 3b496c 434e6c 4b546c 535a6d 5a5f6e 61656f 686a71 6f7073 767676 7d7c78 848279 "
        "8c8878 938e78 9b9476 a39a74 aba072 b4a76f bcae6c c4b468 cdbb63 d5c25e dec958 e7d150 f0d846 f9e03a fee838",
    "paper":
        "5e4fa2 3387bc 66c2a5 aadca4 e6f598 fffebe fee08b fdad60 f46d43 d43d4f 9e0142",
    DIFFERENCE: "2166ab 91c4de f7f7f7 f5a682 b3172b",
}  # fmt: skip
"""Equally spaced colours of each map; between them it is linear, which is off by less than one part in forty from the published tables."""


@dataclass(frozen=True)
class ColourScale:
    """How values become colours.

    ``percentiles``: of the values, where the map begins and ends while nobody gives limits. ``log``: a colour stands for log1p of what a value lies
    above the lower limit, so that low values are told apart; the values themselves stay as they are. A difference keeps its own map and is linear.

    Raises ValueError where the percentiles do not rise from 0 to 100.
    """

    map: ColourMap = "viridis"
    percentiles: tuple[float, float] = (1.0, 99.0)
    log: bool = False

    def __post_init__(self) -> None:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"The percentiles {low:g} and {high:g} do not rise from 0 to 100.")


@lru_cache
def table(name: str) -> np.ndarray:
    """The colours of a map or of DIFFERENCE, low values first: float64 (256, 4) RGBA, read-only."""
    anchors = np.array([[int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)] for colour in _ANCHORS[name].split()])
    at, place = np.linspace(0, 1, STEPS), np.linspace(0, 1, len(anchors))
    found = np.column_stack([*(np.interp(at, place, channel) for channel in anchors.T), np.ones(STEPS)])
    found.setflags(write=False)
    return found


def limits_of(*values: np.ndarray, percentiles: tuple[float, float] = ColourScale.percentiles) -> tuple[float, float]:
    """The two percentiles of all finite ``values``; (0, 1) when there is none."""
    finite = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.zeros(0)
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(x) for x in np.percentile(finite, percentiles))
    return (low, high) if high > low else (low, low + 1.0)


def shares(values: np.ndarray, limits: tuple[float, float], log: bool = False) -> np.ndarray:
    """How far along the colour map each of ``values`` lies, 0 to 1; NaN stays NaN."""
    low, high = limits
    above = np.clip(values, low, high) - low
    return np.asarray(np.log1p(above) / np.log1p(high - low) if log else above / (high - low))


def colours(values: np.ndarray, limits: tuple[float, float], lut: np.ndarray, log: bool = False) -> np.ndarray:
    """RGBA float32 (n, 4) of ``values``; NaN is transparent. ``lut`` is (k, 4)."""
    with_clear = np.vstack([lut, CLEAR]).astype(np.float32)
    place = np.rint(shares(values, limits, log) * (len(lut) - 1))
    return np.take(with_clear, np.where(np.isfinite(place), place, len(lut)).astype(np.intp), axis=0)


def ticks(limits: tuple[float, float], log: bool = False, n: int = 3) -> tuple[float, ...]:
    """The true values at ``n`` equally spaced places of the colour bar, from its low end to its high end."""
    low, high = limits
    at = np.linspace(0, 1, n)
    above = np.expm1(at * np.log1p(high - low)) if log else at * (high - low)
    return tuple(float(low + one) for one in above)


def spread(lut: np.ndarray, limits: tuple[float, float], log: bool = False, steps: int = 1024) -> np.ndarray:
    """``lut`` (k, 4) for a viewer that spreads colours evenly over ``limits``: (steps, 4) with the logarithm in it, ``lut`` itself without."""
    return colours(np.linspace(*limits, steps), limits, lut, log) if log else lut
