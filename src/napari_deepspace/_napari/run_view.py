"""How a run goes: progress, remaining time, live curves, and the score it ends with."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QProgressBar, QSizePolicy, QVBoxLayout, QWidget

from napari_deepspace._napari.style import Palette, palette
from napari_deepspace._napari.widgets import label
from napari_deepspace.events import BaselinesScored, BatchEnded, EpochEnded, Event, Finished, FoldEnded, Progress, Resumed, Started
from napari_deepspace.gene_scores import BEST, in_interval, number, read_interval, summary
from napari_deepspace.verdicts import WAYS

OUTPUTS = {"genes": "genes", "signatures": "signatures", "clusters": "clusters", "obs": "columns"}
LINE_COLOURS = {
    "mean RGB": "#e08a2e", "interpolation": "#2fa37c", "brightness": "#b8a13a", "nuclear density": "#a06bc4", "log UMI": "#c4618c",
    "neighbouring section": "#4f9bb5", "majority class": "#8a8a8a",
}  # fmt: skip
"""Of the simple ways, in the live plot and as ticks of the gene panel."""
_HOLES = 2  # that are told of
LABELLED = 3
"""Simple ways that are named in the live plot: the best ones; all have a line."""


class RunView(QWidget):
    """Fed with a run's events, one at a time, through :meth:`show_event`."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(10)
        self.doing = label("", wrap=True)
        self.curves = Curves()
        self.result = label("", "r", wrap=True)
        self.result.setObjectName("result")
        self.result.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.bar, self.doing, self.curves, self.result):
            layout.addWidget(widget)
        self.reset()

    def reset(self) -> None:
        """As before any run."""
        self._started: Started | None = None
        self._clock = _Clock()
        for widget in (self.bar, self.doing, self.curves, self.result):
            widget.setVisible(False)
        self.curves.clear()
        self.bar.setRange(0, 1000)
        self.bar.setValue(0)

    def begin(self, words: str) -> None:
        """A run was asked for; its first event is on its way."""
        self.reset()
        self.bar.setVisible(True)
        self.doing.setVisible(True)
        self.bar.setRange(0, 0)
        self.doing.setText(words)

    def show_event(self, event: Event) -> None:
        """Take in one event of the run."""
        if isinstance(event, Started):
            self._started = event
            self.curves.begin(event)
            self.curves.setVisible(True)
        elif isinstance(event, Progress):
            share = event.done / event.total if event.total else None
            self._show_share(share, f"{event.stage}: {event.done:,} of {event.total:,}", event.stage)
        elif isinstance(event, BaselinesScored):
            self.curves.set_baselines(event.mean_r, getattr(event, "ceiling", math.nan))
        elif isinstance(event, Resumed):
            self.curves.resume(event)
            self._clock = _Clock()
            self._network(event.fold, event.epoch - 1, event.epoch)
        elif isinstance(event, BatchEnded):
            self._network(event.fold, event.epoch - 1 + event.step / max(event.steps, 1), event.epoch)
        elif isinstance(event, EpochEnded):
            self.curves.add_epoch(event)
            self._network(event.fold, event.epoch, event.epoch)
        elif isinstance(event, FoldEnded):
            self.curves.add_fold(event)
            self._show_share((event.fold + 1) / event.folds, f"fold {event.fold + 1} of {event.folds} done", stage="folds")

    def replay(self, events: Sequence[Event], rank: str = "") -> None:
        """Show a run that is over, from its events; ``rank`` says how it stands among the runs of now."""
        self.begin("")
        for event in events:
            self.show_event(event)
        last = events[-1] if events else None
        if isinstance(last, Finished):
            self.finish(score_words(last.scores, last, rank))
        else:
            self.end("")

    def say(self, words: str) -> None:
        """Something is being done that takes a moment."""
        self.bar.setRange(0, 0)
        self.doing.setText(words)

    def finish(self, words: str) -> None:
        """The run is complete: show its score, never alone."""
        self.bar.setVisible(False)
        self.doing.setVisible(False)
        self.result.setText(words)
        self.result.setVisible(True)

    def end(self, words: str) -> None:
        """The run ended without a result."""
        self.bar.setVisible(False)
        self.doing.setText(words)
        self.doing.setVisible(bool(words))

    def _network(self, fold: int, epochs_done: float, epoch: int) -> None:
        if self._started is None:
            return
        folds, epochs = max(self._started.folds, 1), max(self._started.epochs, 1)
        words = f"fold {fold + 1} of {folds}, epoch {epoch} of at most {epochs}"
        self._show_share((fold + min(epochs_done / epochs, 1)) / folds, words, stage="folds")

    def _show_share(self, share: float | None, words: str, stage: str) -> None:
        if share is None:
            self.bar.setRange(0, 0)
            self.doing.setText(words)
            return
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(1000 * share))
        left = self._clock.left(stage, share)
        self.doing.setText(words + (f" · {left} left" if left else ""))


class _Clock:
    """Remaining time of a stage, from what it took so far."""

    def __init__(self) -> None:
        self._stage, self._began, self._from = "", 0.0, 0.0

    def left(self, stage: str, share: float) -> str:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began, self._from = stage, now, share
            return ""
        gone = share - self._from
        if gone < 0.02 or now - self._began < 1:
            return ""
        return "about " + in_words((1 - share) * (now - self._began) / gone)


def in_words(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def score_words(scores: dict[str, Any], finished: Finished, rank: str = "") -> str:
    """Mean r with panel, number of spots, split, baselines and the number of runs beside it; ``rank`` is that of now, if the run ended earlier."""
    if not scores.get("mean"):
        return f"Trained on every spot ({scores.get('split', '')}): score it on another section."
    mean = dict(scores["mean"])
    name, what = (
        scores.get("score", "r"),
        {"genes": "genes", "signatures": "signatures", "clusters": "clusters"}.get(scores.get("target", ""), "columns"),
    )
    r = mean.pop(name, float("nan"))
    rank = rank or str(scores.get("rank") or "")
    among = f"<b>{rank.capitalize()}.</b> " if rank else ""
    beside = "; ".join(f"{WAYS.get(name, name)} {value:.2f}" for name, value in mean.items() if value is not None)
    genes = scores.get("genes", {})
    verdicts = summary(scores.get("verdicts") or {}, len(genes), name)
    synthetic = "SYNTHETIC data. " if scores.get("synthetic") else ""
    ceiling, interval = number(scores.get("ceiling")), read_interval(scores.get("interval"))
    best = f" {BEST.capitalize()}: {ceiling:.2f}." if math.isfinite(ceiling) else ""
    return (
        f"{synthetic}<b>mean {name} {r:.2f}</b>{in_interval(interval)} over {len(genes):,} {what}, {scores['n_spots']:,} spots not trained on, "
        f"{scores['split']}; beside it: {beside}.{best}<br>{hole_words(scores)}{among}{verdicts} "
        f"Panel: {scores['panel']}. Took {in_words(finished.seconds)}."
    )


def hole_words(scores: dict[str, Any]) -> str:
    """What the tests of the largest holes say; "" where there is none."""
    holes = scores.get("holes") or []
    lines = [f"Hole of {one['spots']} spots: {one['words']}.<br>" for one in holes[:_HOLES]]
    return "".join(lines) + (f"And {len(holes) - _HOLES} smaller holes.<br>" if len(holes) > _HOLES else "")


class Curves(QWidget):
    """Loss above, score below; the lines of the simple ways stand before the first epoch ends."""

    def __init__(self) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self.loss_title, self.score_title = label("", "loss"), label("", "r", wrap=True)
        self.loss, self.score = (small_plot(pg.PlotWidget(), height) for height in (92, 120))
        for plot in (self.loss, self.score):
            plot.getAxis("left").setWidth(38)
        for widget in (self.loss_title, self.loss, self.score_title, self.score):
            layout.addWidget(widget)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._epochs = 0
        self.epochs: list[EpochEnded] = []  #: those drawn
        self.folds: list[FoldEnded] = []
        self._baselines: dict[str, float] = {}
        self._ceiling = math.nan
        self._lines: list[Any] = []
        self.restyle(palette())

    def clear(self) -> None:
        self.epochs, self.folds, self._baselines, self._ceiling = [], [], {}, math.nan
        for plot in (self.loss, self.score):
            plot.clear()
        self._lines = []

    def begin(self, started: Started) -> None:
        """Empty axes for a run of ``started.epochs`` epochs a fold; Quick has folds only."""
        self._epochs = started.epochs
        network = started.epochs > 0
        self.loss.setVisible(network)
        self.loss_title.setVisible(network)
        total = started.epochs * started.folds if network else started.folds
        for plot in (self.loss, self.score):
            plot.setXRange(0.5, max(total, 2) + 0.5, padding=0.02)
        self.score.setLabel("bottom", "epochs, all folds" if network else "fold")
        self._titles()

    def set_baselines(self, mean_r: dict[str, float], ceiling: float = math.nan) -> None:
        """Draw a horizontal line for each simple way, and a dotted one at the best that the data allow: where waiting is pointless."""
        for line in self._lines:
            self.score.removeItem(line)
        self._lines = []
        self._baselines = {name: r for name, r in sorted(mean_r.items(), key=lambda item: -item[1]) if r is not None and math.isfinite(r)}
        self._ceiling = ceiling
        pens = [(r, LINE_COLOURS.get(name, "#888888"), Qt.PenStyle.DashLine) for name, r in self._baselines.items()]
        if math.isfinite(ceiling):
            pens.append((ceiling, "#888888", Qt.PenStyle.DotLine))
        for r, colour, dashes in pens:
            line = pg.InfiniteLine(r, angle=0, pen=pg.mkPen(colour, width=1.5, style=dashes))
            self.score.addItem(line)
            self._lines.append(line)
        self._titles()
        self._fit()

    def add_epoch(self, event: EpochEnded) -> None:
        self.epochs.append(event)
        self._draw()

    def add_fold(self, event: FoldEnded) -> None:
        self.folds.append(event)
        self._draw()

    def resume(self, event: Resumed) -> None:
        """Take away what was told of the point at which the run goes on, and of later ones: it is told again."""
        self.epochs = [one for one in self.epochs if (one.fold, one.epoch) < (event.fold, event.epoch)]
        self.folds = [one for one in self.folds if one.fold < event.fold]
        self._draw()

    def restyle(self, p: Palette) -> None:
        """Follow napari's theme."""
        self._palette = p
        for plot in (self.loss, self.score):
            plot.setBackground(p.raised)
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(p.dim)
                axis.setTextPen(p.text)
        self._titles()
        self._draw()

    def _draw(self) -> None:
        p = self._palette
        for plot in (self.loss, self.score):
            for item in plot.listDataItems():
                plot.removeItem(item)
        points = self._points()
        if points:
            x, train, held, r = (list(column) for column in zip(*points, strict=True))
            self.loss.plot(x, train, pen=pg.mkPen(p.dim, width=1.5), connect="finite")
            self.loss.plot(x, held, pen=pg.mkPen(p.accent, width=2), connect="finite")
            self.score.plot(x, r, pen=pg.mkPen(p.accent, width=2), connect="finite", symbol="o", symbolSize=4, symbolBrush=p.accent, symbolPen=None)
        if self.folds:
            ends = [(one.fold + 1) * (self._epochs or 1) for one in self.folds]
            self.score.plot(ends, [one.r for one in self.folds], pen=None, symbol="d", symbolSize=9, symbolBrush=p.text, symbolPen=None)
        self._fit()

    def _points(self) -> list[tuple[float, float, float, float]]:
        """Epoch, losses and score of each epoch, with a gap between folds."""
        points: list[tuple[float, float, float, float]] = []
        for event in self.epochs:
            if points and event.epoch == 1:
                points.append((event.fold * self._epochs + 0.5, math.nan, math.nan, math.nan))
            points.append((event.fold * self._epochs + event.epoch, event.train_loss, event.validation_loss, event.validation_r))
        return points

    def _fit(self) -> None:
        values = [one.validation_r for one in self.epochs] + [one.r for one in self.folds] + [*self._baselines.values(), self._ceiling, 0.0]
        finite = [value for value in values if math.isfinite(value)]
        self.score.setYRange(min(finite), max([*finite, 0.1]), padding=0.08)

    def _titles(self) -> None:
        p = self._palette
        self.loss_title.setText(f"Loss: <span style='color:{p.dim}'>■ training</span>  <span style='color:{p.accent}'>■ validation</span>")
        named = list(self._baselines.items())[:LABELLED]
        parts = [f"<span style='color:{LINE_COLOURS.get(name, '#888888')}'>▬ {WAYS.get(name, name)} {r:.2f}</span>" for name, r in named]
        parts += [f"<span style='color:{p.dim}'>⋯ {BEST} {self._ceiling:.2f}</span>"] if math.isfinite(self._ceiling) else []
        lines = "  ".join(parts)
        curve = f"  <span style='color:{p.accent}'>● validation</span>" if self._epochs else ""
        self.score_title.setText(f"Mean r:{curve}  ◆ held-out fold<br>{lines or '&nbsp;'}")


def small_plot(plot: pg.PlotWidget, height: int) -> pg.PlotWidget:
    """A plot to look at: of fixed height, without menu, zoom or wheel."""
    plot.setFixedHeight(height)
    plot.setMouseEnabled(x=False, y=False)
    plot.setMenuEnabled(False)
    plot.hideButtons()
    plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    plot.wheelEvent = lambda event: event.ignore()  # the wheel scrolls the dock
    return plot
