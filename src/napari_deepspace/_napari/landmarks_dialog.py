"""The window "Landmarks": the section and a neighbouring slide side by side, pairs of places clicked on both, and how well they fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QDialog,
    QHeaderView,
    QPushButton,
    QSplitter,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_deepspace._napari.slide_view import SlideView
from napari_deepspace._napari.widgets import Segmented, Wrapped, label, row
from napari_deepspace.glossary import term
from napari_deepspace.neighbours import KINDS, Pair
from napari_deepspace.section import Section
from napari_deepspace.slide import Slide

HINT = "Click a place here and the same place there. Drag a landmark to move it; drag the slide, or turn the wheel, to move the view."


class LandmarksDialog(QDialog):
    """Shows pairs and what is known of their fit; asks for changes."""

    clicked = Signal(bool, object)  #: on the section (True) or the neighbour; (row, column), um
    moved = Signal(object, object, bool)
    deleted = Signal(int)
    undo_requested = Signal()
    redo_requested = Signal()
    kind_changed = Signal(str)

    def __init__(self, section: Section, slide: Slide, mpp: float, name: str, parent: QWidget):
        super().__init__(parent)
        self.setWindowTitle(f"Landmarks: {section.library_id} and {name}")
        self.resize(1040, 660)
        self.fixed, self.moving = SlideView(section.require_slide(), section.mpp, True), SlideView(slide, mpp, False)
        self._titles = f"{section.library_id} (H&E)", name
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels(["Pair", "Residual, um", "Left out, um"])
        for column, word in enumerate(("landmark", "residual", "leave-one-out error")):
            item = self.table.horizontalHeaderItem(column)
            if item is not None:
                item.setToolTip(term(word))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        head, side = self.table.horizontalHeader(), self.table.verticalHeader()
        assert head is not None and side is not None
        head.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        side.hide()
        side.setDefaultSectionSize(22)
        self.kind = Segmented({str(key): words for key, words in KINDS.items()}, {str(key): term(words) for key, words in KINDS.items()})
        self.link = QCheckBox("Move both views together")
        self.link.setToolTip("As soon as there is an alignment: both views show the same place.")
        self.link.setChecked(True)
        self.undo, self.redo, self.delete = QPushButton("Undo"), QPushButton("Redo"), QPushButton("Delete pair")
        self.close_button = QPushButton("Close")
        self.words = Wrapped(lines=3)
        self._fresh = True
        self._build()
        self._connect()

    def _build(self) -> None:
        views = QSplitter(Qt.Orientation.Horizontal)
        for view, title in zip((self.fixed, self.moving), self._titles, strict=True):
            holder = QWidget()
            inside = QVBoxLayout(holder)
            inside.setContentsMargins(0, 0, 0, 0)
            inside.addWidget(label(f"<b>{escape(title)}</b>"))
            inside.addWidget(view, 1)
            views.addWidget(holder)
        views.setChildrenCollapsible(False)
        views.setSizes([520, 520])
        layout = QVBoxLayout(self)
        layout.addWidget(views, 1)
        layout.addWidget(label(HINT, wrap=True, dim=True))
        below, at_left, at_right = QWidget(), QWidget(), QWidget()
        columns = row()
        below.setLayout(columns)
        below.setFixedHeight(176)
        left, right = QVBoxLayout(at_left), QVBoxLayout(at_right)
        left.setContentsMargins(0, 0, 0, 0)
        right.setContentsMargins(0, 0, 0, 0)
        left.addWidget(self.table)
        right.addWidget(self.kind)
        right.addWidget(self.words, 1)
        right.addLayout(row(self.link, 1))
        right.addLayout(row(self.undo, self.redo, self.delete, 1, self.close_button))
        columns.addWidget(at_left, 1)
        columns.addWidget(at_right, 1)
        layout.addWidget(below)
        for button in (self.undo, self.redo, self.delete, self.close_button):
            button.setAutoDefault(False)

    def _connect(self) -> None:
        for view, fixed in ((self.fixed, True), (self.moving, False)):
            view.clicked.connect(lambda place, fixed=fixed: self.clicked.emit(fixed, place))
            view.moved.connect(self.moved)
        self.kind.changed.connect(self.kind_changed)
        self.undo.clicked.connect(self.undo_requested)
        self.redo.clicked.connect(self.redo_requested)
        self.delete.clicked.connect(lambda: self.deleted.emit(self.table.currentRow()))
        self.close_button.clicked.connect(self.close)
        self.table.currentCellChanged.connect(lambda *_: self._chosen())
        keys: dict[str, Callable[[], None]] = {"Ctrl+Z": self.undo.click, "Ctrl+Shift+Z": self.redo.click, "Delete": self.delete.click}
        for key, act in keys.items():
            QShortcut(QKeySequence(key), self).activated.connect(act)
        for one, other in ((self.fixed, self.moving), (self.moving, self.fixed)):
            one.travelled.connect(lambda one=one, other=other: self._follow(one, other))

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        if self._fresh:
            self._fresh = False
            for view in (self.fixed, self.moving):
                view.fit()
            self._follow(self.fixed, self.moving)

    def show_pairs(self, pairs: Sequence[Pair], residuals: np.ndarray | None, left_out: np.ndarray | None) -> None:
        """The table and the landmarks; ``residuals`` and ``left_out`` are of the complete pairs, um, or None."""
        chosen = min(self.table.currentRow(), len(pairs) - 1)
        with QSignalBlocker(self.table):
            self.table.setRowCount(len(pairs))
            at = 0
            for number, pair in enumerate(pairs):
                texts = [str(number + 1), "–", "–"]
                if pair.complete:
                    texts[1:] = [_um(residuals, at), _um(left_out, at)]
                    at += 1
                else:
                    texts[1] = "click the other slide"
                for column, text in enumerate(texts):
                    item = QTableWidgetItem(text)
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter if column else Qt.AlignmentFlag.AlignCenter)
                    self.table.setItem(number, column, item)
            if chosen >= 0:
                self.table.selectRow(chosen)
        for view in (self.fixed, self.moving):
            view.show_pairs(pairs, chosen)
        self.delete.setEnabled(chosen >= 0)

    def _chosen(self) -> None:
        """The chosen pair stands out, and comes into view where it is not."""
        number = self.table.currentRow()
        for view in (self.fixed, self.moving):
            view.show_pairs(view.pairs, number)
        self.delete.setEnabled(number >= 0)
        if 0 <= number < len(self.fixed.pairs):
            pair = self.fixed.pairs[number]
            for view, side in ((self.fixed, pair.fixed_yx_um), (self.moving, pair.moving_yx_um)):
                if side is not None:
                    view.look_at(view.world(side))

    def _follow(self, one: SlideView, other: SlideView) -> None:
        if self.link.isEnabled() and self.link.isChecked():
            other.look_at(one.centre_yx, one.zoom)

    def place(self, affine: np.ndarray | None) -> None:
        """Turn the neighbour as it lies on the section; None: it is not aligned, and each view goes its own way."""
        before = self.link.isEnabled()
        self.link.setEnabled(affine is not None)
        self.moving.place(np.eye(3) if affine is None else affine)
        if affine is not None:
            self._follow(self.fixed, self.moving)
        elif before:
            self.moving.fit()

    def shut(self) -> None:
        """Give both canvases back."""
        for view in (self.fixed, self.moving):
            view.shut()


def _um(values: np.ndarray | None, at: int) -> str:
    return "–" if values is None or at >= len(values) or not np.isfinite(values[at]) else f"{values[at]:.1f}"
