"""Step 8: slides of neighbouring sections, laid over this one: which there are, how they are aligned, how they are seen, what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_deepspace._napari.actions import key_tip
from napari_deepspace._napari.section_panel import IMAGES
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.widgets import Collapsible, Segmented, label, row
from napari_deepspace.glossary import term
from napari_deepspace.neighbour_layers import COVERS
from napari_deepspace.neighbours import Neighbour

BLENDINGS = {"translucent": "Laid over", "multiplicative": "Darker", "minimum": "Darkest", "additive": "Lighter"}
_ID = Qt.ItemDataRole.UserRole


class NeighboursPanel(Collapsible):
    """Asks for everything; the window's :class:`Neighbours` does it. Writes ``chosen_neighbour`` into the session."""

    added = Signal(list)  #: paths of images, or of folders with counts
    removed = Signal(str)
    changed = Signal(str, dict)  #: id, fields
    align_requested = Signal()
    stop_requested = Signal()
    landmarks_requested = Signal()
    quantify_requested = Signal()
    opacity_moved = Signal(float)  #: 0 to 1, while the slider moves
    cover_changed = Signal(str)
    line_moved = Signal(float)  #: 0 to 1 of the slide's width
    square_changed = Signal(float)  #: um
    blinking = Signal(bool)
    outlines_in_requested = Signal()
    outlines_out_requested = Signal()
    stack_toggled = Signal(bool)

    def __init__(self, session: Session):
        super().__init__("8  Neighbouring slides", open_=False)
        self._session = session
        self._working = False
        self.add, self.add_counts, self.remove = QPushButton("Add slides…"), QPushButton("Add section…"), QPushButton("Remove")
        self.add.setToolTip("IHC or any other stain of a neighbouring section, one image or several. They are read piece by piece.")
        self.add_counts.setToolTip("A neighbouring section with counts: its Space Ranger or legacy ST folder.")
        self.remove.setToolTip("Take the chosen slide out of the list; its file stays.")
        self.list = QListWidget()
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setFixedHeight(76)
        self.empty = label("A slide of the section before or behind, IHC for one, can be laid over this one and measured at its spots.", wrap=True)
        self.details = QWidget()
        self.mpp = _number(0.0, 100.0, 4, "", "not known")
        self.mpp.setToolTip(f"{term('um per px')} Here: of the neighbouring slide. Its file says it, or you do.")
        self.gap = _number(-1000.0, 1000.0, 1, " um")
        self.gap.setToolTip(term("gap"))
        self.state = label("", "alignment", wrap=True)
        self.align, self.landmarks, self.stop = QPushButton("Align by itself"), QPushButton("Landmarks…"), QPushButton("Stop")
        self.align.setObjectName("main")
        self.align.setToolTip(term("automatic alignment"))
        self.landmarks.setToolTip(term("landmark"))
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.work = label("", wrap=True, dim=True)
        self.overlay = QWidget()
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.cover = Segmented({str(key): words for key, words in COVERS.items()}, {"checkerboard": term("checkerboard")})
        self.line = QSlider(Qt.Orientation.Horizontal)
        self.line.setRange(0, 1000)
        self.line.setValue(500)
        self.line.setToolTip("Left of the line the section, right of it the neighbouring slide.")
        self.square = _number(20.0, 5000.0, 0, " um")
        self.square.setValue(500)
        self.blink = QPushButton("Blink")
        self.blink.setCheckable(True)
        self.blink.setToolTip(term("blink") + key_tip("blink_neighbour"))
        self.blending = QComboBox()
        for key, words in BLENDINGS.items():
            self.blending.addItem(words, key)
        self.blending.setToolTip("How the colours of both slides come together.")
        self.dab, self.haematoxylin = QCheckBox("DAB"), QCheckBox("Haematoxylin")
        self.dab.setToolTip(term("DAB"))
        self.haematoxylin.setToolTip(term("stain channel"))
        self.quantify = QPushButton("Measure the stain…")
        self.quantify.setToolTip(term("quantify a stain"))
        self.advanced = Collapsible("Advanced", level=2, open_=False)
        self.thickness = _number(0.5, 200.0, 1, " um")
        self.thickness.setToolTip(term("thickness"))
        self.same_glass = QCheckBox("Another file of the same glass")
        self.same_glass.setToolTip(term("two files of one glass"))
        self.outlines_in, self.outlines_out = QPushButton("Outlines here…"), QPushButton("Outlines there…")
        self.outlines_in.setToolTip("Take outlines drawn on the neighbouring file (GeoJSON, its own pixels) and lay them on this section.")
        self.outlines_out.setToolTip("Write this section's outlines in the neighbouring file's own pixels (GeoJSON), for QuPath.")
        self.stack = QPushButton("Stack in 3D")
        self.stack.setCheckable(True)
        self.stack.setToolTip(term("stack"))
        self.stretch = _number(1.0, 200.0, 0, " times")
        self.stretch.setValue(20)
        self.stretch.setToolTip("Sections are thin and wide: the stack is stretched along z, so that they can be told apart.")
        self._build()
        self._connect()
        self.tell("")
        self.refresh()

    def chosen(self) -> Neighbour | None:
        """The slide that is looked at."""
        return next((one for one in self._session.neighbours if one.id == self._session.chosen_neighbour), None)

    def tell(self, words: str, share: float | None = None, working: bool = False) -> None:
        """How far the work is; ``share`` 0 to 1 shows the bar, negative a bar without an end."""
        self._working = working
        self.work.setText(words)
        self.work.setVisible(bool(words))
        self.bar.setVisible(share is not None)
        if share is not None:
            self.bar.setRange(0, 0 if share < 0 else 1000)
            self.bar.setValue(round(1000 * max(share, 0)))
        self.refresh()

    def show_stack(self, on: bool) -> None:
        """Whether the stack is on."""
        self.stack.setChecked(on)
        self.stack.setText("Back to 2D" if on else "Stack in 3D")

    def _build(self) -> None:
        add = self.content
        add.addLayout(row(self.add, self.add_counts, self.remove, 1))
        add.addWidget(self.empty)
        add.addWidget(self.list)
        add.addWidget(self.details)
        inner = QVBoxLayout(self.details)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addLayout(row(label("um per px", "um per px"), self.mpp, 1))
        inner.addLayout(row(label("Gap between the sections", "gap"), self.gap, 1))
        inner.addWidget(self.state)
        inner.addLayout(row(self.align, self.landmarks, self.stop, 1))
        add.addWidget(self.bar)
        add.addWidget(self.work)
        add.addWidget(self.overlay)
        seen = QVBoxLayout(self.overlay)
        seen.setContentsMargins(0, 0, 0, 0)
        seen.addLayout(row(label("Opacity"), self.opacity))
        seen.addWidget(self.cover)
        self.line_row, self.square_row = QWidget(), QWidget()
        for holder, words, widget in ((self.line_row, "Line", self.line), (self.square_row, "Side of a square", self.square)):
            line = row(label(words), widget)
            if widget is self.square:
                line.addStretch(1)
            holder.setLayout(line)
            seen.addWidget(holder)
        seen.addLayout(row(self.blink, self.blending, 1))
        seen.addLayout(row(label("Stain", "stain channel"), self.dab, self.haematoxylin, 1))
        add.addLayout(row(self.quantify, 1))
        add.addWidget(self.advanced)
        self.advanced.content.addLayout(row(label("Thickness of a section", "thickness"), self.thickness, 1))
        self.advanced.content.addWidget(self.same_glass)
        self.advanced.content.addLayout(row(self.outlines_in, self.outlines_out, 1))
        self.advanced.content.addLayout(row(self.stack, label("stretched"), self.stretch, 1))

    def _connect(self) -> None:
        self.add.clicked.connect(self._ask_images)
        self.add_counts.clicked.connect(self._ask_folder)
        self.remove.clicked.connect(lambda: self.removed.emit(self._session.chosen_neighbour))
        self.list.currentItemChanged.connect(self._choose)
        self.list.itemChanged.connect(lambda item: self.changed.emit(item.data(_ID), {"visible": item.checkState() == Qt.CheckState.Checked}))
        self.mpp.editingFinished.connect(lambda: self._edit(mpp=self.mpp.value() or None))
        self.gap.editingFinished.connect(lambda: self._edit(gap_um=self.gap.value()))
        self.thickness.editingFinished.connect(lambda: self._edit(thickness_um=self.thickness.value()))
        self.align.clicked.connect(self.align_requested)
        self.landmarks.clicked.connect(self.landmarks_requested)
        self.stop.clicked.connect(self.stop_requested)
        self.opacity.valueChanged.connect(lambda value: self.opacity_moved.emit(value / 100))
        self.blending.activated.connect(lambda _: self._edit(blending=self.blending.currentData()))
        self.same_glass.clicked.connect(lambda on: self._edit(same_glass=on))
        self.dab.clicked.connect(lambda on: self._edit(dab=on))
        self.haematoxylin.clicked.connect(lambda on: self._edit(haematoxylin=on))
        self.cover.changed.connect(self._cover)
        self.line.valueChanged.connect(lambda value: self.line_moved.emit(value / 1000))
        self.square.valueChanged.connect(self.square_changed)
        self.blink.toggled.connect(self.blinking)
        self.quantify.clicked.connect(self.quantify_requested)
        self.outlines_in.clicked.connect(self.outlines_in_requested)
        self.outlines_out.clicked.connect(self.outlines_out_requested)
        self.stack.clicked.connect(self.stack_toggled)
        events = self._session.events
        for signal in (events.loaded, events.busy, events.neighbours, events.chosen_neighbour, events.blind, events.gene, events.maps):
            signal.connect(self.refresh)

    def _ask_images(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Add slides of neighbouring sections", "", IMAGES)
        if paths:
            self.added.emit([Path(path) for path in paths])

    def _ask_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Add a neighbouring section with counts")
        if path:
            self.added.emit([Path(path)])

    def _choose(self, item: QListWidgetItem | None, _: Any = None) -> None:
        self._session.chosen_neighbour = "" if item is None else str(item.data(_ID))

    def _cover(self, key: str) -> None:
        self.cover_changed.emit(key)
        self.refresh()

    def _edit(self, **fields: Any) -> None:
        one = self.chosen()
        if one is not None and any(getattr(one, name) != value for name, value in fields.items()):
            self.changed.emit(one.id, fields)

    def refresh(self, *_: Any) -> None:
        """What there is, and what can be asked for now."""
        s, one = self._session, self.chosen()
        self._fill()
        ready, aligned = s.section is not None and s.busy != "loading", one is not None and one.transform is not None
        free = not self._working
        for widget in (self.add, self.add_counts):
            widget.setEnabled(ready and free)
        self.remove.setEnabled(one is not None and free)
        self.empty.setVisible(not s.neighbours)
        for part in (self.list, self.quantify, self.overlay, self.details, self.advanced):
            part.setVisible(bool(s.neighbours))
        for part in (self.details, self.overlay, self.advanced):
            part.setEnabled(one is not None)
        known = one is not None and one.mpp is not None
        self.align.setEnabled((known or (one is not None and one.same_glass)) and free and s.section is not None and s.section.slide is not None)
        self.landmarks.setEnabled(known and free)
        self.stop.setVisible(self._working)
        self.cover.setEnabled(aligned)
        self.line_row.setVisible(self.cover.value() == "swipe")
        self.square_row.setVisible(self.cover.value() == "checkerboard")
        self.quantify.setEnabled(aligned and free and not s.blind)
        for widget in (self.outlines_in, self.outlines_out):
            widget.setEnabled(aligned)
        self.stack.setEnabled(any(other.counts for other in s.neighbours) and not s.blind and free)
        if one is None:
            return
        with QSignalBlocker(self.mpp), QSignalBlocker(self.gap), QSignalBlocker(self.opacity), QSignalBlocker(self.thickness):
            self.mpp.setValue(one.mpp or 0.0)
            self.gap.setValue(one.gap_um)
            self.thickness.setValue(one.thickness_um)
            self.opacity.setValue(round(one.opacity * 100))
        self.blending.setCurrentIndex(self.blending.findData(one.blending))
        self.same_glass.setChecked(one.same_glass)
        self.dab.setChecked(one.dab)
        self.haematoxylin.setChecked(one.haematoxylin)
        self.state.setText(state_words(one, s.blind))
        self.state.setToolTip(term("alignment" if one.local_error is None else "local error"))

    def _fill(self) -> None:
        """The list as the session has it; without telling anybody."""
        s = self._session
        with QSignalBlocker(self.list):
            if [one.id for one in s.neighbours] != [self.list.item(i).data(_ID) for i in range(self.list.count())]:  # type: ignore[union-attr]
                self.list.clear()
                for one in s.neighbours:
                    item = QListWidgetItem()
                    item.setData(_ID, one.id)
                    item.setToolTip(one.path.name)
                    self.list.addItem(item)
            for number, one in enumerate(s.neighbours):
                line = self.list.item(number)
                assert line is not None
                line.setText(f"{one.name} – {short_state(one)}")
                line.setCheckState(Qt.CheckState.Checked if one.visible else Qt.CheckState.Unchecked)
                if one.id == s.chosen_neighbour and self.list.currentRow() != number:
                    self.list.setCurrentRow(number)


def short_state(one: Neighbour) -> str:
    """In a word or two, how far it is aligned."""
    if one.mpp is None:
        return "um per px not known"
    if one.transform is None:
        return "not aligned"
    if one.error_um is not None:
        return f"aligned, ± {one.error_um:.0f} um"
    local = one.local_error
    return "aligned" if local is None else "aligned, error not known" if local.median_um is None else f"aligned, about ± {local.median_um:.0f} um"


def state_words(one: Neighbour, blind: bool = False) -> str:
    """What is known of its alignment, and what comes next."""
    if one.mpp is None:
        return (
            "Its file does not say how many um a pixel is wide. Enter it above; the scanner's magnification tells (20x: about 0.5, 40x: about 0.25)."
        )
    if one.transform is None:
        words = "Not aligned yet: shown beside the section, at its right."
    else:
        how = {"automatic": "Aligned by itself", "landmarks": "Aligned by landmarks", "": "Aligned"}[one.how]
        unknown = "how far it is off is not known" if one.local_error is None else one.local_error.words
        error = unknown if one.error_um is None else f"off by about {one.error_um:.0f} um"
        words = f"{how}: {error}."
    note = f" {one.note}" if one.note else ""
    hidden = " Expression is hidden while you draw blind, so that nothing is measured." if blind else ""
    return f"{words}{note}{hidden}"


def _number(low: float, high: float, decimals: int, suffix: str, special: str = "") -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setDecimals(decimals)
    box.setSuffix(suffix)
    box.setSpecialValueText(special)
    box.setMinimumWidth(118)
    box.setKeyboardTracking(False)
    return box
