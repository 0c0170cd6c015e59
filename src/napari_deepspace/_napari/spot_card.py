"""The card of one spot: a small window beside napari's that says all that is known of it."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QKeySequence, QPixmap
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QScrollArea, QShortcut, QToolButton, QVBoxLayout, QWidget

from napari_deepspace._napari.style import Palette, style_sheet
from napari_deepspace._napari.widgets import label, row
from napari_deepspace.causes import CAUSES
from napari_deepspace.glossary import term
from napari_deepspace.look_alikes import HOW, MOST, NOTHING, LookAlike
from napari_deepspace.spot_facts import HOW_PREDICTED, HOW_TOP, SpotFacts, TopGene

TILE, SMALL = 160, 70  #: pixels on the screen
LOOKING = "Looking…"


class SpotCard(QWidget):
    """Shows what it is handed; whoever made it listens to its signals."""

    cause_chosen = Signal(str)
    flown_to = Signal(int)  #: number of the look-alike that was clicked
    go_requested = Signal(int)  #: 1: the next stop of the tour, -1: the one before
    closed = Signal()

    def __init__(self, parent: QWidget | None, keys: dict[str, str]):
        """``keys``: of the actions of the tour and of causes, by the action's name."""
        super().__init__(parent, Qt.WindowType.Tool)
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)  # the keys stay with the slide
        self.setToolTip(term("card of a spot"))
        self.resize(496, 646)
        self.tiles = [QLabel(), QLabel()]
        self.tile_words = label("", dim=True)
        self.tile_words.setWordWrap(True)
        self.place, self.values, self.around, self.top = (_words() for _ in range(4))
        self.causes = {cause: QPushButton(cause.capitalize()) for cause in CAUSES}
        self.alike_words = _words()
        self.alike_words.setToolTip(term("look-alikes"))
        self.alike = [QToolButton() for _ in range(MOST)]
        self.stop = label("", "tour")
        self.back, self.on = QPushButton("‹ Previous"), QPushButton("Next ›")
        self.note = label("", "research use only", dim=True)
        self._build(keys)

    def _build(self, keys: dict[str, str]) -> None:
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(10, 8, 10, 6)
        layout.setSpacing(7)
        pictures = QVBoxLayout()
        pictures.addWidget(self.tiles[0])
        pictures.addWidget(self.tiles[1])
        pictures.addWidget(self.tile_words)
        pictures.addStretch(1)
        self.tiles[0].setFixedSize(TILE, TILE)
        self.tiles[1].setVisible(False)
        self.tile_words.setFixedWidth(TILE)
        facts = QVBoxLayout()
        facts.setSpacing(8)
        facts.addWidget(self.place)
        facts.addWidget(self.values)
        facts.addStretch(1)
        first = QHBoxLayout()
        first.setSpacing(10)
        first.addLayout(pictures)
        first.addLayout(facts, 1)
        layout.addLayout(first)
        for words in (self.around, self.top, self.alike_words):
            layout.addWidget(words)
        layout.addLayout(row(*self.alike, 1))
        layout.addStretch(1)
        scroller = QScrollArea()
        scroller.setWidget(inner)
        scroller.setWidgetResizable(True)
        scroller.setFrameShape(QFrame.Shape.NoFrame)
        scroller.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 6)
        outer.addWidget(scroller, 1)
        below = QVBoxLayout()
        below.setContentsMargins(10, 0, 10, 0)
        below.addLayout(row(label("Cause", "cause"), *self.causes.values(), stretch=True))
        below.addLayout(row(self.back, self.on, self.stop, 1))
        below.addWidget(self.note)
        outer.addLayout(below)
        for cause, button in self.causes.items():
            button.setObjectName("segment")
            button.setCheckable(True)
            button.setMinimumWidth(78)
            key = keys.get(f"file_{cause.replace(' ', '_')}")
            button.setToolTip(term("cause") + (f" Key {key}; once more takes it back." if key else " Once more takes it back."))
            button.clicked.connect(lambda _=False, cause=cause: self.cause_chosen.emit(cause))
        for place, picture in enumerate(self.alike):
            picture.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
            picture.setIconSize(QSize(SMALL, SMALL))
            picture.setAutoRaise(True)
            picture.clicked.connect(lambda _=False, place=place: self.flown_to.emit(place))
        for name, button in (("previous_stop", self.back), ("next_stop", self.on)):
            button.setToolTip(term("tour") + (f" Key {keys[name]}." if name in keys else ""))
            if name in keys:
                shortcut = QShortcut(QKeySequence(keys[name].replace("-", "+")), self)  # napari's own keys do not reach another window
                shortcut.activated.connect(button.click)
        self.back.clicked.connect(lambda: self.go_requested.emit(-1))
        self.on.clicked.connect(lambda: self.go_requested.emit(1))

    def show_facts(self, facts: SpotFacts, stop: str, tour: bool) -> None:
        """All that is known at once; ``stop`` says which stop of the tour it is, ``tour`` whether there is one."""
        self.setWindowTitle(f"{facts.barcode} – {facts.library_id}")
        y, x = facts.yx_um
        lines = [f"<b>{facts.barcode}</b>", f"row {facts.array_row}, column {facts.array_col}", f"{y:,.0f} um down, {x:,.0f} um right"]
        lines += [f"{facts.umi:,} UMI" + (f", cluster {facts.cluster}" if facts.cluster else "")]
        lines += [f"<b>removed: {html.escape(facts.removed)}</b>"] if facts.removed else []
        self.place.setText("<br>".join(lines))
        self.values.setText(
            f"<b>{html.escape(facts.gene)}</b><br>measured <b>{number(facts.measured)}</b><br>predicted <b>{number(facts.predicted)}</b><br>"
            f"{facts.source}<br>{facts.unit}"
        )
        self.around.setText(_table(facts))
        self.stop.setText(stop)
        self.back.setEnabled(tour)
        self.on.setEnabled(tour)
        self.note.setText(("SYNTHETIC data. " if facts.synthetic else "") + "Research use only.")
        for cause, button in self.causes.items():
            button.setChecked(cause == facts.cause)

    def clear_pictures(self, words: str) -> None:
        """Another spot: what is not known at once is on its way, or ``words`` say why not."""
        self.tiles[0].clear()
        self.tiles[1].setVisible(False)
        self.tile_words.setText(words)
        self.top.setText(LOOKING)

    def show_looked_at(self, tiles: Sequence[np.ndarray], words: str, measured: Sequence[TopGene], predicted: Sequence[TopGene]) -> None:
        """The tile as the model sees it and its wider view, uint8 (s, s, 3), and the spot's top genes."""
        for place, tile in zip(self.tiles, tiles, strict=False):
            place.setPixmap(pixmap(tile, TILE))
            place.setVisible(True)
        self.tile_words.setText(words)
        lines = [f"<b>High here</b> &nbsp;{', '.join(map(_whole, (one.words(False) for one in measured))) or '–'}"]
        lines += [f"<b>Predicted high here</b> &nbsp;{', '.join(map(_whole, (one.words(True) for one in predicted)))}"] if predicted else []
        self.top.setText("<br>".join(lines))
        self.top.setToolTip(f"High here: {HOW_TOP}.\nPredicted high here: {HOW_PREDICTED}.")

    def show_look_alikes(self, found: Sequence[LookAlike], tiles: Sequence[np.ndarray | None], gene: str, own: str, words: str = "") -> None:
        """Look-alikes with their picture, measured value and place; ``words`` say why there are none, ``own`` is the section that is shown."""
        said = words or (f"{HOW}. {gene} measured there:" if found else f"{NOTHING}.")
        self.alike_words.setText(f"<b>Look-alikes</b> &nbsp;{html.escape(said)}")
        for place, button in enumerate(self.alike):
            button.setVisible(place < len(found))
            if place >= len(found):
                continue
            one, tile = found[place], tiles[place]
            button.setIcon(QIcon(pixmap(tile, SMALL)) if tile is not None else QIcon())
            button.setText(number(one.measured))
            elsewhere = "" if one.library_id == own else f"\n{one.library_id}: open that section to see it"
            button.setToolTip(
                f"{one.barcode}, row {one.array_row}, column {one.array_col}; {one.distance:.0%} of the distance that still counts as similar."
                + (elsewhere or " A click flies there.")
            )

    def restyle(self, palette: Palette) -> None:
        """Follow napari's theme."""
        self.setStyleSheet(style_sheet(palette))

    def closeEvent(self, event: Any) -> None:
        super().closeEvent(event)
        self.closed.emit()


def number(value: float) -> str:
    """A value with two decimals, a dash where there is none."""
    return f"{value:.2f}" if math.isfinite(value) else "–"


def pixmap(tile: np.ndarray, side: int) -> QPixmap:
    """A tile, uint8 (s, s, 3), ``side`` pixels wide."""
    tile = np.ascontiguousarray(tile)
    image = QImage(tile.tobytes(), tile.shape[1], tile.shape[0], 3 * tile.shape[1], QImage.Format.Format_RGB888).copy()
    keep, smooth = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    return QPixmap.fromImage(image).scaled(side, side, keep, smooth)


def _whole(words: str) -> str:
    """Rich text of ``words`` that no end of line comes between."""
    return html.escape(words).replace(" ", "&nbsp;")


def _words() -> QLabel:
    words = QLabel()
    words.setWordWrap(True)
    words.setAlignment(Qt.AlignmentFlag.AlignTop)
    words.setTextFormat(Qt.TextFormat.RichText)
    words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return words


def _table(facts: SpotFacts) -> str:
    """The neighbours' values, a column each, and their mean."""
    beside = facts.neighbours
    if not beside:
        return "<b>Neighbours</b> &nbsp;none"
    cell = '<td align="right" style="padding-left: 9px">{}</td>'
    rows = [
        (word, [one.measured if word == "measured" else one.predicted for one in beside], mean)
        for word, mean in (("measured", facts.neighbours_measured), ("predicted", facts.neighbours_predicted))
    ]
    lines = "".join(
        f"<tr><td>{word}</td>{''.join(cell.format(number(value)) for value in values)}{cell.format(f'<b>mean {number(mean)}</b>')}</tr>"
        for word, values, mean in rows
    )
    return f"<b>{len(beside)} neighbours</b><table cellspacing=0>{lines}</table>"
