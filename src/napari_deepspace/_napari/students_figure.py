"""Figure 4 of the paper, live: the score of each output for teacher and students, as boxes with each output's points joined."""

from __future__ import annotations

import math

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_deepspace._napari.run_view import LINE_COLOURS, small_plot
from napari_deepspace._napari.style import Palette, palette
from napari_deepspace._napari.widgets import label
from napari_deepspace.gene_scores import BEST
from napari_deepspace.students_results import TEACHER, Outcome, best_way
from napari_deepspace.verdicts import WAYS

HEIGHT = 210
HALF = 0.24  #: half the width of a box


class StudentsFigure(QWidget):
    """Shows an :class:`~napari_deepspace.students_results.Outcome`, as far as it has come."""

    def __init__(self) -> None:
        super().__init__()
        self.title = label("", "students", wrap=True)
        self.plot = small_plot(pg.PlotWidget(), HEIGHT)
        self.plot.setAntialiasing(True)
        self.plot.getAxis("left").setWidth(42)
        self.outcome: Outcome | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.title)
        layout.addWidget(self.plot)
        self.restyle(palette())

    def show_outcome(self, outcome: Outcome | None) -> None:
        """Draw what there is; None: nothing yet."""
        self.outcome = outcome
        self._draw()

    def restyle(self, p: Palette) -> None:
        """Follow napari's theme."""
        self._palette = p
        self.plot.setBackground(p.raised)
        for side in ("left", "bottom"):
            self.plot.getAxis(side).setPen(p.dim)
            self.plot.getAxis(side).setTextPen(p.text)
        self._draw()

    def _draw(self) -> None:
        self.plot.clear()
        p, outcome = self._palette, self.outcome
        rounds = [one for one in outcome.rounds if one.r] if outcome is not None else []
        self.plot.setVisible(bool(rounds))
        if outcome is None or not rounds:
            self.title.setText("" if outcome is None else "No spot is held out: there is nothing to draw.")
            return
        at, values = np.array([one.number for one in rounds], dtype=float), np.array([list(one.r.values()) for one in rounds])
        for gene in values.T:
            pen = pg.mkPen(p.dim, width=0.7)
            self.plot.plot(at, gene, pen=pen, connect="finite", symbol="o", symbolSize=4, symbolBrush=p.accent, symbolPen=None)
        for x, row in zip(at, values, strict=True):
            self._box(float(x), row[np.isfinite(row)])
        lines = {**best_way(outcome)}
        for name, r in lines.items():
            self._line(r, LINE_COLOURS.get(name, "#888888"), Qt.PenStyle.DashLine)
        if math.isfinite(outcome.ceiling):
            self._line(outcome.ceiling, p.dim, Qt.PenStyle.DotLine)
        chosen = outcome.verdict.student if outcome.verdict is not None else 0
        names = [TEACHER if not one.number else f"{one.number}{' ★' if one.number == chosen else ''}" for one in rounds]
        self.plot.getAxis("bottom").setTicks([list(zip(at, names, strict=True))])
        self.plot.setXRange(-0.5, outcome.total + 0.5, padding=0.02)
        finite = [*values[np.isfinite(values)], *lines.values(), outcome.ceiling, 0.0]
        finite = [value for value in finite if math.isfinite(value)]
        self.plot.setYRange(min(finite), max(finite), padding=0.06)
        self._say(outcome, lines)

    def _box(self, x: float, values: np.ndarray) -> None:
        """Quartiles, median, and whiskers to the last point within 1.5 interquartile ranges (Tukey)."""
        if not len(values):
            return
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        reach = 1.5 * (high - low)
        ends = values[values >= low - reach].min(), values[values <= high + reach].max()
        left, right = x - HALF, x + HALF
        pen = pg.mkPen(self._palette.text, width=1.4)
        self.plot.plot([left, right, right, left, left], [low, low, high, high, low], pen=pen)
        for start, end in ((low, ends[0]), (high, ends[1])):
            self.plot.plot([x, x], [start, end], pen=pen)
        self.plot.plot([left, right], [middle, middle], pen=pg.mkPen(self._palette.text, width=4))

    def _line(self, y: float, colour: str, style: Qt.PenStyle) -> None:
        self.plot.addItem(pg.InfiniteLine(y, angle=0, pen=pg.mkPen(colour, width=1.5, style=style)))

    def _say(self, outcome: Outcome, lines: dict[str, float]) -> None:
        p = self._palette
        parts = [f"<span style='color:{LINE_COLOURS.get(name, '#888888')}'>▬ {WAYS.get(name, name)} {r:.2f}</span>" for name, r in lines.items()]
        if math.isfinite(outcome.ceiling):
            parts.append(f"<span style='color:{p.dim}'>⋯ {BEST} {outcome.ceiling:.2f}</span>")
        synthetic = "SYNTHETIC data. " if outcome.synthetic else ""
        self.title.setText(
            f"{synthetic}{outcome.score} of each output: {outcome.panel}, {outcome.n:,} spots not trained on, {outcome.split}. "
            f"★ chosen by validation.<br>{'  '.join(parts)}"
        )
