"""The window "Landmarks": the section and a neighbouring slide side by side, pairs of places clicked on both, and how well they fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from napari.qt import QtViewer
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

from napari_deepspace._napari.canvas import lock
from napari_deepspace._napari.widgets import Segmented, Wrapped, label, row
from napari_deepspace.glossary import term
from napari_deepspace.layers import LayerTuple
from napari_deepspace.neighbour_layers import LANDMARKS, landmarks_layer
from napari_deepspace.neighbours import KINDS, Pair, near_landmark
from napari_deepspace.section import Section

GRASP_PX = 10  #: how near to a landmark the mouse takes hold of it
STILL_PX = 4  #: a press that moves no farther is a click
HINT = "Click a place here and the same place there. Drag a landmark to move it; drag the slide, or turn the wheel, to move the view."


class View(QWidget):
    """One slide with its landmarks; places are told in the slide's own um."""

    clicked = Signal(object)  #: (row, column), um
    moved = Signal(object, object, bool)  #: Near, (row, column), um, and whether the drag is over

    def __init__(self, title: str, fixed: bool, theme: str):
        super().__init__()
        self._fixed = fixed
        self.model = ViewerModel()
        self.model.theme = theme
        self.viewer = QtViewer(self.model)
        self.pairs: tuple[Pair, ...] = ()
        self.points: Any = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(label(title))
        layout.addWidget(self.viewer, 1)
        self.model.mouse_drag_callbacks.append(self._drag)

    def show_slide(self, slide: LayerTuple, section: Section) -> None:
        """Show this slide, in place of what was shown; its landmarks lie on it."""
        self.model.layers.clear()
        self.model.add_layer(Layer.create(*slide))
        self.points = self.model.add_layer(Layer.create(*landmarks_layer(section, LANDMARKS, "landmarks", slide[1].get("affine"))))
        lock(self.points)
        self.show_pairs(self.pairs, -1)

    def place(self, affine: np.ndarray) -> None:
        """Turn slide and landmarks by ``affine`` (3, 3), from the slide's own um to the world of the view."""
        for layer in self.model.layers:
            layer.affine = affine

    def show_pairs(self, pairs: Sequence[Pair], chosen: int) -> None:
        """Draw the landmarks of this side; the chosen pair in another colour."""
        self.pairs = tuple(pairs)
        sides = [(number, pair.fixed_yx_um if self._fixed else pair.moving_yx_um) for number, pair in enumerate(pairs)]
        found = [(number, side) for number, side in sides if side is not None]
        self.points.data = np.array([side for _, side in found], dtype=float).reshape(-1, 2)
        self.points.features = {"number": np.array([number + 1 for number, _ in found], dtype=int)}
        if found:
            self.points.face_color = ["#00f0ff" if number == chosen else "#ffe14d" for number, _ in found]

    def world(self, yx_um: Sequence[float]) -> np.ndarray:
        """A place of the slide in the world of the view."""
        return np.asarray(self.points.data_to_world(yx_um))[-2:]

    def _drag(self, model: Any, event: Any) -> Iterator[None]:
        if event.button != 1 or self.points is None:
            return
        begin, still = np.asarray(event.pos, dtype=float), True
        place = self._place(event)
        scale = float(np.hypot(*(self.world(place + np.array([0.0, 1.0])) - self.world(place)))) or 1.0
        near = near_landmark(self.pairs, place, self._fixed, GRASP_PX / float(model.scene.camera.zoom) / scale)
        event.handled = near is not None
        yield
        while event.type == "mouse_move":
            still = still and float(np.hypot(*(np.asarray(event.pos) - begin))) <= STILL_PX
            if near is not None:
                event.handled = True
                if not still:
                    self.moved.emit(near, self._place(event), False)
            yield
        if near is not None and not still:
            self.moved.emit(near, self._place(event), True)
        elif near is None and still:
            self.clicked.emit(place)

    def _place(self, event: Any) -> np.ndarray:
        return np.asarray(self.points.world_to_data(event.position))[-2:]

    def shut(self) -> None:
        """Give the canvas back."""
        self.model.layers.clear()
        self.model.mouse_drag_callbacks.clear()
        self.viewer.close()
        self.viewer.deleteLater()


class LandmarksDialog(QDialog):
    """Shows pairs and what is known of their fit; asks for changes."""

    clicked = Signal(bool, object)  #: on the section (True) or the neighbour; (row, column), um
    moved = Signal(object, object, bool)
    deleted = Signal(int)
    undo_requested = Signal()
    redo_requested = Signal()
    kind_changed = Signal(str)

    def __init__(self, section: Section, name: str, theme: str, parent: QWidget):
        super().__init__(parent)
        self.setWindowTitle(f"Landmarks: {section.library_id} and {name}")
        self.resize(1040, 660)
        self.fixed, self.moving = View(f"{section.library_id} (H&E)", True, theme), View(name, False, theme)
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels(["Pair", "Residual, um", "Left out, um"])
        for column, word in enumerate(("landmark", "residual", "left out")):
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
        self._linking = False
        self._build()
        self._connect()

    def _build(self) -> None:
        views = QSplitter(Qt.Orientation.Horizontal)
        views.addWidget(self.fixed)
        views.addWidget(self.moving)
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
            camera = one.model.scene.camera.events
            for signal in (camera.center, camera.zoom):
                signal.connect(lambda _=None, one=one, other=other: self._follow(one, other))

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
                    view.model.scene.camera.center = (0.0, *view.world(side))

    def _follow(self, one: View, other: View) -> None:
        if self._linking or not (self.link.isEnabled() and self.link.isChecked()):
            return
        self._linking = True
        other.model.scene.camera.zoom = one.model.scene.camera.zoom
        other.model.scene.camera.center = one.model.scene.camera.center
        self._linking = False

    def shut(self) -> None:
        """Give both canvases back."""
        for view in (self.fixed, self.moving):
            view.shut()


def _um(values: np.ndarray | None, at: int) -> str:
    return "–" if values is None or at >= len(values) or not np.isfinite(values[at]) else f"{values[at]:.1f}"
