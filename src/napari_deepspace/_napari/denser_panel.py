"""Step 6: between the spots. Which points, how far it is with them, and what is shown of a denser map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QProgressBar, QPushButton, QSlider

from napari_deepspace._napari.legend import Legend
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.widgets import Collapsible, ColourBar, Segmented, label, row
from napari_deepspace.denser import DenserMap, unlike
from napari_deepspace.denser_layers import resolution_of
from napari_deepspace.glossary import term
from napari_deepspace.points import LEAST_SPACING_UM

WHERE = {"between-spots": "Points between spots", "grid": "Denser map"}
SHOWS = {"predicted": "Predicted", "class": "Class", "interval": "Interval", "disagreement": "Disagreement"}
NOTHING = "none"


class DenserPanel(Collapsible):
    """Asks for denser maps and says which is shown; writes ``denser_show`` into the session."""

    make_requested = Signal()
    stop_requested = Signal()
    chosen = Signal(str)  #: the folder of a map that was made, "" for none
    figure_requested = Signal()

    def __init__(self, session: Session):
        super().__init__("6  Between the spots", open_=False)
        self._session = session
        self.where = Segmented(WHERE, {key: term(text) for key, text in WHERE.items()})
        self.spacing = QDoubleSpinBox()
        self.spacing.setRange(LEAST_SPACING_UM, 200)
        self.spacing.setDecimals(0)
        self.spacing.setValue(20)
        self.spacing.setSuffix(" um")
        self.spacing.setToolTip(term("spacing"))
        self.spacing.setFixedWidth(112)
        self.points = label("", "spacing", dim=True)
        self.make, self.stop = QPushButton("Predict"), QPushButton("Stop")
        self.make.setObjectName("main")
        self.make.setToolTip("Predict there with the run that is shown. A map that was stopped goes on where it was.")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.work = label("", wrap=True, dim=True)
        self.made = QComboBox()
        self.made.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.made.setMinimumContentsLength(18)
        self.show_what = Segmented(SHOWS, {key: term("likeliest cluster" if key == "class" else text) for key, text in SHOWS.items()})
        self.colours, self.legend = ColourBar(), Legend(session)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(85)
        self.outline = QCheckBox("Outline of the tile at the cursor")
        self.outline.setChecked(True)
        self.outline.setToolTip(term("tile"))
        self.unlike = QCheckBox("Mark tiles unlike the training tiles")
        self.unlike.setToolTip(term("unlike"))
        self.words = label("", "denser map", wrap=True)
        self.hover = label("", wrap=True)
        self.figure = QPushButton("Figure…")
        self.figure.setToolTip("Measured spots, points between them and both, on the H&E, as PNG, SVG or PDF.")
        self._build()
        self._connect()
        self.refresh()

    def _build(self) -> None:
        self.content.addWidget(self.where)
        self.content.addLayout(row(label("Spacing", "spacing"), self.spacing, self.points, 1))
        self.content.addLayout(row(self.make, self.stop, 1))
        self.content.addWidget(self.bar)
        self.content.addWidget(self.work)
        self.content.addLayout(row(label("Shown", "denser map"), self.made, 1))
        self.content.addWidget(self.show_what)
        self.content.addWidget(self.colours)
        self.content.addWidget(self.legend)
        self.content.addLayout(row(label("Opacity"), self.opacity))
        self.content.addWidget(self.outline)
        self.content.addWidget(self.unlike)
        self.content.addWidget(self.words)
        self.content.addWidget(self.hover)
        self.content.addLayout(row(self.figure, 1))
        self.bar.hide()
        self.set_made([], "")

    def _connect(self) -> None:
        self.where.changed.connect(self.refresh)
        self.spacing.valueChanged.connect(self.refresh)
        self.make.clicked.connect(self.make_requested.emit)
        self.stop.clicked.connect(self.stop_requested.emit)
        self.figure.clicked.connect(self.figure_requested.emit)
        self.made.activated.connect(lambda _: self.chosen.emit(str(self.made.currentData() or "")))
        self.show_what.changed.connect(lambda key: setattr(self._session, "denser_show", key))
        events = self._session.events
        for signal in (events.loaded, events.maps, events.running, events.busy, events.denser, events.blind):
            signal.connect(self.refresh)

    def set_made(self, made: list[tuple[str, str]], shown: str) -> None:
        """The maps that were made, each (words, folder), and the folder of the one that is shown."""
        self.made.clear()
        for words, folder in [(NOTHING, ""), *made]:
            self.made.addItem(words, folder)
        self.made.setCurrentIndex(max(self.made.findData(shown), 0))
        self.made.setEnabled(bool(made))

    def tell(self, words: str, share: float | None = None) -> None:
        """How far the work is; ``share`` 0 to 1 shows the bar."""
        self.work.setText(words)
        self.work.setVisible(bool(words))
        self.bar.setVisible(share is not None)
        if share is not None:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * share))

    def show_legend(self, names: Sequence[str], counts: np.ndarray) -> None:
        """The colours of classes, in place of the colour bar; ``counts`` are points."""
        self.colours.hide()
        self.legend.show_clusters(names, counts)
        self.legend.show()

    def show_bar(self, caption: str, unit: str, limits: tuple[float, float], lut: np.ndarray, relative: bool, log: bool) -> None:
        """The colour bar of the map that is shown."""
        self.legend.hide()
        self.colours.show()
        self.colours.set(f"<b>{self._session.gene}</b> – {caption}", unit, limits, lut, relative, log)
        self.colours.updateGeometry()

    def refresh(self, *_: Any) -> None:
        """What can be asked for now."""
        s, grid = self._session, self.where.value() == "grid"
        self.spacing.setEnabled(grid)
        ready = s.section is not None and s.section.slide is not None and s.maps is not None and not s.maps.live and s.run_dir is not None
        self.make.setEnabled(ready and s.running is None and not s.busy)
        self.stop.setEnabled(s.running is not None and s.running.suffix == ".zarr")
        self.points.setText(self._how_many(grid))
        if not ready:
            self.tell("Train, or open a finished run: then points between its spots can be predicted.")
        elif s.running is None and self.work.text().startswith("Train, or"):
            self.tell("")
        dmap: DenserMap | None = s.denser
        for widget in (self.show_what, self.opacity, self.outline, self.figure):
            widget.setEnabled(dmap is not None)
        absolute = dmap is not None and s.maps is not None and not s.maps.relative  # on another patient the level means nothing, nor does its band
        self.show_what.buttons["disagreement"].setEnabled(absolute and dmap is not None and dmap.n_members > 1)
        self.show_what.buttons["interval"].setEnabled(absolute and dmap is not None and "coverage" in dmap.about.get("band", {}))
        self.show_what.buttons["class"].setVisible(dmap is not None and dmap.kind == "clusters")
        if dmap is not None and dmap.kind != "clusters" and s.denser_show == "class":
            s.denser_show = "predicted"
        self.show_what.set_value(s.denser_show)
        self.unlike.setEnabled(dmap is not None and math.isfinite(dmap.unlike_beyond))
        self.words.setText("" if dmap is None else map_words(dmap))
        self.words.setVisible(dmap is not None)
        self.hover.setVisible(dmap is not None and not s.blind)
        self.colours.setVisible(dmap is not None and s.denser_show != "class" and not s.blind)
        self.legend.setVisible(dmap is not None and s.denser_show == "class")

    def _how_many(self, grid: bool) -> str:
        kept = self._session.kept()
        if kept is None or self._session.section is None:
            return ""
        platform, n = self._session.section.platform, int(kept.predictable.sum())
        area = platform.pitch_um**2 * (0.866 if platform.lattice == "hexagonal" else 1)
        count = n * area / self.spacing.value() ** 2 if grid else n * (2 if platform.lattice == "hexagonal" else 1)
        return f"about {count:,.0f} points"


def map_words(dmap: DenserMap) -> str:
    """What the map is, and what it is not."""
    n = int(dmap.on_tissue.sum())
    what = "points between spots" if dmap.at == "between-spots" else f"points {dmap.spacing_um:g} um apart"
    synthetic = "SYNTHETIC data. " if dmap.synthetic else ""
    return (
        f"{synthetic}<b>Denser map (predicted)</b>: {n:,} {what}. Each comes from a tile {dmap.tile_um:g} um wide: the map tells apart what is about "
        f"{resolution_of(dmap):.0f} um across, and no single cells.{_trust(dmap)}"
    )


def _trust(dmap: DenserMap) -> str:
    """How far the band kept its promise, and how many tiles are unlike those of the training."""
    band, notice = str(dmap.about.get("band", {}).get("words", "")), str(dmap.about.get("notice", ""))
    words = f" {notice}" if notice else f" {band[0].upper()}{band[1:]}." if band else ""
    if math.isfinite(dmap.unlike_beyond):
        words += f" {int(unlike(dmap).sum()):,} tiles are unlike the training tiles."
    return words
