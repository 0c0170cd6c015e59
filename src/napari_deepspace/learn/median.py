"""The median of 7 x 7 px as a network of minima and maxima over whole arrays: exact, and twice as fast as cv2's of this size.

Each column of seven is sorted once. Neighbouring outputs share six columns, so their 42 values are merged once for every two outputs and only
the eight that can still be the median are kept; the seventh column decides. The idea of shared, separable sorting is that of Adams,
"Fast median filters using separable sorting networks", ACM Trans. Graph. 40(4), 2021; merging is Batcher's odd-even merge (1968).
"""

from __future__ import annotations

import threading
from functools import lru_cache

import cv2
import numpy as np

SIZE = 7
STRIP = 112  #: rows at a time at most: what is alive then fits into a core's cache

Wire = tuple[int, int, int]
"""(register or node, rows further down, columns further right)"""


class _Network:
    """Comparators written down as they are asked for. Nodes 0 and 1 are the even and the odd columns of the image."""

    def __init__(self) -> None:
        self.nodes: list[tuple[np.ufunc, Wire, Wire] | None] = [None, None]

    def compared(self, a: Wire, b: Wire) -> list[Wire]:
        self.nodes += [(np.minimum, a, b), (np.maximum, a, b)]
        return [(len(self.nodes) - 2, 0, 0), (len(self.nodes) - 1, 0, 0)]

    def merged(self, a: list[Wire], b: list[Wire]) -> list[Wire]:
        """Two sorted lists to one."""
        if not a or not b:
            return a + b
        if len(a) == len(b) == 1:
            return self.compared(a[0], b[0])
        first, *evens = self.merged(a[::2], b[::2])
        odds = self.merged(a[1::2], b[1::2])
        pairs = [wire for odd, even in zip(odds, evens, strict=False) for wire in self.compared(odd, even)]
        shared = min(len(odds), len(evens))
        return [first, *pairs, *odds[shared:], *evens[shared:]]

    def sorted(self, wires: list[Wire]) -> list[Wire]:
        half = len(wires) // 2
        return self.merged(self.sorted(wires[:half]), self.sorted(wires[half:])) if half else wires


def _right(wires: list[Wire], columns: int) -> list[Wire]:
    return [(node, row, column + columns) for node, row, column in wires]


@lru_cache(maxsize=1)
def _program() -> tuple[list[tuple[np.ufunc, Wire, Wire, int]], int, tuple[int, int]]:
    """(steps with register numbers in place of nodes, number of registers, registers of the even and odd outputs)."""
    network = _Network()
    even, odd = (network.sorted([(plane, row, 0) for row in range(SIZE)]) for plane in (0, 1))
    two = network.merged(odd, _right(even, 1))
    four = network.merged(two, _right(two, 1))
    six = network.merged(four, _right(two, 2))[17:25]  # below lie at most 17 + 7 of 49 values, above as many
    outputs = [network.merged(six, last)[7][0] for last in (even, _right(odd, 3))]

    needed = set(outputs)
    last_use: dict[int, int] = {}
    for number in range(len(network.nodes) - 1, 1, -1):
        if number in needed and (node := network.nodes[number]):
            for source, _, _ in node[1:]:
                needed.add(source)
                last_use.setdefault(source, number)
    register, count = {0: 0, 1: 1}, 2
    free: list[int] = []
    steps: list[tuple[np.ufunc, Wire, Wire, int]] = []
    for number in sorted(needed - {0, 1}):
        ufunc, a, b = network.nodes[number]  # type: ignore[misc]
        if not free:
            free.append(count)
            count += 1
        register[number] = free.pop()  # never one of its own sources, which may be read further on
        steps.append((ufunc, (register[a[0]], *a[1:]), (register[b[0]], *b[1:]), register[number]))
        free += [register[source] for source in {a[0], b[0]} if last_use[source] == number and source > 1 and source not in outputs]
    return steps, count, (register[outputs[0]], register[outputs[1]])


@lru_cache(maxsize=4)
def _workspace(rows: int, row: int, channels: int, thread: int) -> tuple[np.ndarray, list[tuple], tuple[int, int]]:
    """Registers for strips of ``rows`` rows of ``row`` bytes, the steps on views of them, and the output's registers; of one thread only."""
    steps, count, outputs = _program()
    length = rows * row
    registers = np.zeros((count, length + 6 * row), dtype=np.uint8)

    def view(wire: Wire) -> np.ndarray:
        start = wire[1] * row + wire[2] * channels
        return registers[wire[0], start : start + length]

    return registers, [(ufunc, view(a), view(b), registers[out, :length]) for ufunc, a, b, out in steps], outputs


def median7(image: np.ndarray) -> np.ndarray:
    """Each px of uint8 (h, w, channels) replaced by the median of the 7 x 7 around it, channel by channel; outside, the border goes on."""
    height, width, channels = image.shape
    half = (width + 1) // 2 + 3
    strips = -(-height // STRIP)
    strip = -(-height // strips)
    padded = cv2.copyMakeBorder(image, 3, 3 + strips * strip - height, 3, 2 * half - width - 3, cv2.BORDER_REPLICATE)
    pixel = f"V{channels}"  # one number a pixel: numpy then copies every other pixel ten times as fast
    planes = [np.ascontiguousarray(padded.view(pixel)[:, parity::2, 0]).view(np.uint8) for parity in (0, 1)]
    row = half * channels
    registers, ready, outputs = _workspace(strip, row, channels, threading.get_ident())
    median = np.empty((height, 2 * half, channels), dtype=np.uint8)
    for top in range(0, height, strip):
        for plane in (0, 1):
            registers[plane] = planes[plane][top : top + strip + 6].ravel()
        for ufunc, a, b, out in ready:
            ufunc(a, b, out=out)
        rows = min(strip, height - top)
        for parity, output in enumerate(outputs):
            median.view(pixel)[top : top + rows, parity::2, 0] = registers[output, : rows * row].view(pixel).reshape(rows, half)
    return median[:, :width]
