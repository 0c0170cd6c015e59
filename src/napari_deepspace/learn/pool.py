"""Labelled tiles that train beside measured spots: read from the disk when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CHUNK = 1024  #: rows of labels that are in memory at once


class Stacked:
    """Arrays of like rows, one after another, without a copy of them: ``stacked[rows]`` reads some rows, int (n,), in their order."""

    def __init__(self, parts: Sequence[Any]):
        self.parts = tuple(parts)
        self._first = np.concatenate([[0], np.cumsum([len(part) for part in self.parts])])

    def __len__(self) -> int:
        return int(self._first[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.parts[0].shape[1:])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        like = self.parts[0]
        out = np.empty((len(rows), *like.shape[1:]), dtype=like.dtype)
        of = np.searchsorted(self._first, rows, side="right") - 1
        for number, part in enumerate(self.parts):
            here = of == number
            if here.any():
                out[here] = part[rows[here] - self._first[number]]
        return out


@dataclass(frozen=True)
class Pool:
    """Tiles with labels, see :mod:`napari_deepspace.learn.students`.

    ``inputs`` (n, ...) are what the model looks at: uint8 tiles, or Quick's inputs. ``values`` hold a fold's labels each, float32 (n, n_outputs) on
    the scale that the fold's own member learns, and ``twins`` those by twins of Quick's members, which have not seen the fold's validation part.
    Inputs and labels stay on the disk. ``usable`` bool (n_folds, n) leaves out tiles that share pixels with a test spot of the fold.
    """

    inputs: Stacked
    values: tuple[Stacked, ...]
    twins: tuple[Stacked, ...]
    usable: np.ndarray
    words: str  #: what the tiles are, and whose labels they bear

    def of_fold(self, fold: int, twin: bool) -> tuple[np.ndarray, np.ndarray]:
        """The inputs and labels that a fold learns from, each (n_usable, ...), in memory; of Quick alone, whose inputs are small."""
        rows = np.flatnonzero(self.usable[fold])
        return self.inputs[rows], (self.twins if twin else self.values)[fold][rows]

    def fingerprint(self) -> bytes:
        """Of the labels, which depend on the tiles."""
        digest = hashlib.sha256(self.usable.tobytes())
        for labels in (*self.values, *self.twins):
            for part in labels.parts:
                for some in range(0, len(part), CHUNK):
                    digest.update(part[some : some + CHUNK].tobytes())
        return digest.digest()
