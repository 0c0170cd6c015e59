"""How far each gene can be predicted at all: in how many spots it is detected, and the best r its counts allow. Computed once a section."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtCore import QObject

from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.session import Loaded, Session
from napari_deepspace._napari.widgets import one_shot
from napari_deepspace.analyse.ceiling import ceiling
from napari_deepspace.target import Target

SETTLED_MS = 1200
THINNINGS = 2  #: fewer than for a score: all genes are thinned, and this is to be there before anyone has typed


@dataclass(frozen=True)
class Reach:
    """Of each gene of a section, in its order: the share of spots it is detected in, and its ceiling (None: still being computed)."""

    names: Any  #: pandas Index
    detected: np.ndarray
    ceiling: np.ndarray | None = None

    def of(self, gene: str) -> tuple[float, float]:
        """Share of spots and best possible r; NaN where it is not known."""
        if gene not in self.names:
            return math.nan, math.nan
        at = self.names.get_loc(gene)
        return float(self.detected[at]), float(self.ceiling[at]) if self.ceiling is not None else math.nan

    def words(self, gene: str) -> str:
        """For example "12 % of spots · at best r 0.41"."""
        detected, ceiling = self.of(gene)
        parts = [f"{100 * detected:.0f} % of spots"] if math.isfinite(detected) else []
        parts += [f"at best r {ceiling:.2f}"] if math.isfinite(ceiling) else []
        return " · ".join(parts)


class Reaches(QObject):
    """Computes the reach of the open section in a thread, once it and its filter stand still, and writes it into the session."""

    def __init__(self, session: Session, parent: QObject):
        super().__init__(parent)
        self._session = session
        self._worker: Any = None
        self._soon = one_shot(self, SETTLED_MS)
        self._soon.timeout.connect(self._start)
        session.events.loaded.connect(self._opened)
        for signal in (session.events.filter, session.events.outlines):
            signal.connect(self._later)

    def _opened(self, *_: Any) -> None:
        self.shut()
        self._session.reach = None
        self._soon.start()

    def _later(self, *_: Any) -> None:
        self._soon.start()

    def _start(self) -> None:
        loaded, kept = self._session.loaded, self._session.kept()
        if loaded is None or kept is None or not loaded.section.adata.n_vars or kept.keep.sum() < 2:
            return
        self.shut()
        self._worker = worker = start_job(
            partial(_compute, loaded, kept.keep.copy()),
            on_yield=lambda reach: self._show(reach, worker),
            on_return=lambda reach: self._show(reach, worker),
        )

    def _show(self, reach: Reach, worker: Any) -> None:
        if worker is self._worker:  # of this section and filter, and the dock is open
            self._session.reach = reach

    def shut(self) -> None:
        """Leave no thread behind; what it still finds is not shown."""
        self._soon.stop()
        if self._worker is not None:
            self._worker.quit()
            self._worker = None


def _compute(loaded: Loaded, keep: np.ndarray) -> Generator[Reach, None, Reach]:
    adata, rows = loaded.section.adata, np.flatnonzero(keep)
    counts = adata.X[rows]
    detected = np.bincount(counts.indices[counts.data > 0], minlength=counts.shape[1]) / len(rows)
    yield Reach(adata.var_names, detected)
    every = Target("genes", tuple(map(str, adata.var_names)), "", "log", float(np.median(loaded.totals[rows])))
    return Reach(adata.var_names, detected, ceiling(adata, rows, every, thinnings=THINNINGS))
