"""Step 7: outlines drawn on the tissue, each with its class, by hand or blind, and the list of all of them."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QLineEdit, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_deepspace._napari.actions import key_tip
from napari_deepspace._napari.drawing import Drawing
from napari_deepspace._napari.outline_layers import BRUSHES, OutlineLayers
from napari_deepspace._napari.outline_list import ClassBox, OutlineList
from napari_deepspace._napari.preferences import keep_author
from napari_deepspace._napari.propose_view import ProposeView
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.widgets import Collapsible, Segmented, Wrapped, label, row
from napari_deepspace.annotating import known_classes
from napari_deepspace.glossary import term

TOOLS = {
    "": ("Move", "The mouse moves the view."),
    "select": ("Select", "Click an outline to choose it; drag to move it, drag its corners to make it larger. Delete takes it away."),
    "vertices": ("Corners", "Choose an outline by a click, then drag its corners one by one."),
    "polygon": ("Polygon", "Click from corner to corner; a double click ends it."),
    "freehand": ("Freehand", "Draw round it with the button held down."),
    "rectangle": ("Rectangle", "Drag from corner to corner."),
    "ellipse": ("Ellipse", "Drag from corner to corner."),
    "brush": ("Brush", "Paint: a stroke that begins in an outline adds to it, elsewhere it begins a new one. Alt or Ctrl erases."),
    "eraser": ("Eraser", "Take away from an outline what the brush covers. Alt or Ctrl adds."),
}


class AnnotatePanel(Collapsible):
    """Writes tool, class and author into the session, and asks for the rest."""

    undo_requested = Signal()
    redo_requested = Signal()
    blind_requested = Signal(bool)
    restore_answered = Signal(bool)
    restore_dismissed = Signal()

    def __init__(self, session: Session):
        super().__init__("7  Outlines")
        self._session = session
        self._typed: list[str] = []  #: classes of the user's own, also those that no outline has yet
        self.of_class = ClassBox()
        self.tools = Segmented({key: title for key, (title, _) in TOOLS.items()}, {key: tip for key, (_, tip) in TOOLS.items()}, per_row=3)
        self.width_um = QSpinBox()
        self.width_um.setRange(5, 5000)
        self.width_um.setSingleStep(25)
        self.width_um.setSuffix(" um")
        self.brush = QWidget()
        self.undo, self.redo = QPushButton("Undo"), QPushButton("Redo")
        self.undo.setToolTip(f"Take the last change of outlines back.{key_tip('undo_outlines')}")
        self.redo.setToolTip(f"Make the change again that was taken back last.{key_tip('redo_outlines')}")
        self.blind = QCheckBox("Draw blind")
        self.blind.setToolTip(term("draw blind"))
        self.hidden = label("<b>Expression is hidden.</b> Draw, lock what is final, then untick <i>Draw blind</i>.", wrap=True)
        self.author = QLineEdit()
        self.author.setPlaceholderText("no name")
        self.author.setToolTip("Signs what you draw from now on; kept in Preferences.")
        self.offer = QWidget()
        self.offer.setObjectName("offer")
        self.offered = Wrapped()
        self.restore, self.dismiss = QPushButton("Discard"), QPushButton("OK")
        self.outlines = OutlineList(session)
        self.regions = QPushButton("Regions…")
        self.regions.setToolTip(term("regions"))
        self.export = QPushButton("To QuPath")
        self.export.setToolTip(term("tiles for QuPath"))
        self.propose = ProposeView()
        self._build()
        self._connect()
        self.show_offer("", False)
        self.show_steps(False, False)
        self._refresh()

    def show_offer(self, words: str, shown: bool) -> None:
        """Outlines of an earlier time, which are on the slide (``shown``) or may be put there; "" for none."""
        self.offered.setText(words)
        self._discards = shown
        self.restore.setText("Discard them" if shown else "Add them")
        self.offer.setVisible(bool(words))

    def show_steps(self, undo: bool, redo: bool) -> None:
        """Whether there is anything to undo and to redo."""
        self.undo.setEnabled(undo)
        self.redo.setEnabled(redo)

    def _build(self) -> None:
        inner = QVBoxLayout(self.brush)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addLayout(row(label("Width of the brush"), self.width_um, 1))
        offer = QVBoxLayout(self.offer)
        offer.setContentsMargins(8, 4, 8, 4)
        offer.addWidget(self.offered)
        offer.addLayout(row(self.restore, self.dismiss, 1))
        add = self.content
        add.addWidget(self.offer)
        chosen = row(label("New outlines", "outline class"))
        chosen.addWidget(self.of_class, 1)
        add.addLayout(chosen)
        add.addWidget(self.tools)
        add.addWidget(self.brush)
        add.addLayout(row(self.undo, self.redo, 1, self.blind))
        add.addWidget(self.hidden)
        add.addWidget(self.outlines)
        add.addLayout(row(self.regions, self.export, 1))
        add.addWidget(self.propose)
        signed = row(label("Author", "author"))
        signed.addWidget(self.author, 1)
        add.addLayout(signed)

    def _connect(self) -> None:
        s = self._session
        self.of_class.picked.connect(self._pick)
        self.tools.changed.connect(lambda tool: setattr(s, "tool", tool))
        self.width_um.valueChanged.connect(lambda value: setattr(s, "brush_um", float(value)))
        self.author.editingFinished.connect(self._sign)
        self.undo.clicked.connect(self.undo_requested)
        self.redo.clicked.connect(self.redo_requested)
        self.blind.clicked.connect(self.blind_requested)
        self.restore.clicked.connect(lambda: self.restore_answered.emit(not self._discards))
        self.dismiss.clicked.connect(self.restore_dismissed)
        for name in ("loaded", "busy", "outlines", "tool", "outline_class", "blind", "author", "brush_um"):
            getattr(s.events, name).connect(self._refresh)

    def _pick(self, name: str) -> None:
        self._typed.append(name)
        self._session.outline_class = name

    def _sign(self) -> None:
        name = self.author.text().strip()
        if name != self._session.author:
            self._session.author = name
            keep_author(name)

    def _refresh(self, *_: Any) -> None:
        s = self._session
        ready = s.section is not None and s.busy != "loading"
        for widget in (self.tools, self.of_class, self.blind):
            widget.setEnabled(ready)
        self.of_class.show_class(s.outline_class, known_classes(s.outlines, self._typed))
        self.tools.set_value(s.tool)
        self.brush.setVisible(s.tool in BRUSHES)
        self.width_um.setValue(round(s.brush_um))
        self.blind.setChecked(s.blind)
        self.hidden.setVisible(s.blind)
        if self.author.text() != s.author:
            self.author.setText(s.author)


def connect_drawing(panel: AnnotatePanel, drawing: Drawing, layers: OutlineLayers) -> None:
    """Let ``drawing`` do what the panel asks for."""
    panel.undo_requested.connect(drawing.undo)
    panel.redo_requested.connect(drawing.redo)
    panel.blind_requested.connect(drawing.set_blind)
    panel.restore_answered.connect(drawing.keeper.answer)
    panel.restore_dismissed.connect(drawing.keeper.dismiss)
    panel.outlines.changed.connect(lambda outline_id, fields: drawing.change(outline_id, **fields))
    panel.outlines.deleted.connect(drawing.delete)
    panel.outlines.shown.connect(layers.go_to)
    drawing.keeper.found.connect(panel.show_offer)
    drawing.stepped.connect(lambda: panel.show_steps(bool(drawing.history.past), bool(drawing.history.future)))
