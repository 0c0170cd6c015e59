"""The outlines of the section as a list, and all that is known of the one that is chosen, to be changed there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QColorDialog, QComboBox, QLineEdit, QListWidget, QListWidgetItem, QPushButton, QVBoxLayout, QWidget

from napari_deepspace._napari.session import Session
from napari_deepspace._napari.widgets import label, row
from napari_deepspace.annotating import about, colour_of, known_classes
from napari_deepspace.glossary import term
from napari_deepspace.outlines import RGB, Outline, class_colour

_ID = Qt.ItemDataRole.UserRole


class ClassBox(QComboBox):
    """A class to choose, each with its colour, or one of the user's own to type."""

    picked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.setToolTip(f"{term('outline class')} Type a name for a class of your own.")
        self.textActivated.connect(self._pick)
        field = self.lineEdit()
        if field is not None:
            field.editingFinished.connect(lambda: self._pick(self.currentText()))
        self._shown = ""

    def show_class(self, name: str, offered: Iterable[str]) -> None:
        """Show ``name`` among the ``offered``, without picking it."""
        self._shown = name
        self.blockSignals(True)
        names = list(dict.fromkeys([*offered, *([name] if name else [])]))
        if names != [self.itemText(i) for i in range(self.count())]:
            self.clear()
            for one in names:
                self.addItem(swatch(class_colour(one)), one)
        self.setCurrentIndex(self.findText(name))
        self.setEditText(name)
        self.blockSignals(False)

    def _pick(self, text: str) -> None:
        text = text.strip()
        if not text:
            self.setEditText(self._shown)
        elif text != self._shown:
            self._shown = text
            self.picked.emit(text)


class OutlineList(QWidget):
    """Writes ``chosen_outline`` into the session; asks for changes of the chosen outline, which the window may refuse."""

    changed = Signal(str, dict)  #: id, fields
    deleted = Signal(str)
    shown = Signal(str)  #: to be brought into view

    def __init__(self, session: Session):
        super().__init__()
        self._session = session
        self.ask_colour: Callable[[RGB], RGB | None] = self._ask_colour
        self.count = label("", "outline", wrap=True)
        self.list = QListWidget()
        self.list.setIconSize(QSize(12, 12))
        self.list.setUniformItemSizes(True)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.details = QWidget()
        self.name, self.note = QLineEdit(), QLineEdit()
        self.name.setPlaceholderText("none")
        self.note.setPlaceholderText("none")
        self.of_class = ClassBox()
        self.about = label("", "origin of an outline", wrap=True, dim=True)
        self.colour, self.lock, self.go, self.delete = QPushButton("Colour…"), QPushButton("Lock"), QPushButton("Show"), QPushButton("Delete")
        self.lock.setToolTip(term("locked outline"))
        self.go.setToolTip("Bring it into view.")
        self.colour.setToolTip("A colour of its own, in place of that of its class.")
        self._build()
        self.list.currentItemChanged.connect(self._choose)
        self.list.itemDoubleClicked.connect(lambda item: self.shown.emit(str(item.data(_ID))))
        self.name.editingFinished.connect(lambda: self._edit(name=self.name.text().strip()))
        self.note.editingFinished.connect(lambda: self._edit(note=self.note.text().strip()))
        self.of_class.picked.connect(lambda name: self._edit(classification=name))
        self.colour.clicked.connect(self._recolour)
        self.lock.clicked.connect(lambda: self._edit(locked=not (one := self.chosen()) or not one.locked))
        self.go.clicked.connect(lambda: self.shown.emit(session.chosen_outline))
        self.delete.clicked.connect(lambda: self.deleted.emit(session.chosen_outline))
        for name in ("outlines", "chosen_outline", "loaded", "blind"):
            getattr(session.events, name).connect(self.refresh)
        self.refresh()

    def chosen(self) -> Outline | None:
        """The outline that is looked at."""
        return next((one for one in self._session.outlines if one.id == self._session.chosen_outline), None)

    def refresh(self, *_: Any) -> None:
        """The list and the chosen outline as they are now."""
        outlines = self._session.outlines
        locked = sum(one.locked for one in outlines)
        words = f"{len(outlines):,} outline{'' if len(outlines) == 1 else 's'}" + (f", {locked:,} locked" if locked else "")
        self.count.setText(words if outlines else "No outlines yet. Choose a class and a tool, and draw on the slide.")
        self.list.blockSignals(True)
        self.list.clear()
        for one in outlines:
            item = QListWidgetItem(swatch(colour_of(one)), line_of(one))
            item.setData(_ID, one.id)
            item.setToolTip("\n".join(words for words in (about(one), one.note) if words))
            self.list.addItem(item)
            if one.id == self._session.chosen_outline:
                self.list.setCurrentItem(item)
        self.list.blockSignals(False)
        self.list.setVisible(bool(outlines))
        self.list.setFixedHeight(min(max(len(outlines), 2), 6) * max(self.list.sizeHintForRow(0), 16) + 6)
        self._refresh_details()

    def _refresh_details(self) -> None:
        one = self.chosen()
        self.details.setVisible(one is not None)
        if one is None:
            return
        for field, text in ((self.name, one.name), (self.note, one.note)):
            if field.text() != text:
                field.setText(text)
        self.of_class.show_class(one.classification, known_classes(self._session.outlines))
        self.about.setText(about(one))
        self.lock.setText("Unlock" if one.locked else "Lock")
        for widget in (self.name, self.note, self.of_class, self.colour, self.delete):
            widget.setEnabled(not one.locked)

    def _build(self) -> None:
        inner = QVBoxLayout(self.details)
        inner.setContentsMargins(0, 2, 0, 0)
        inner.setSpacing(3)
        fields: dict[str, QWidget] = {"Name": self.name, "Class": self.of_class, "Note": self.note}
        for title, field in fields.items():
            words = label(title)
            words.setFixedWidth(44)
            line = row(words)
            line.addWidget(field, 1)
            inner.addLayout(line)
        inner.addWidget(self.about)
        inner.addLayout(row(self.lock, self.go, self.colour, self.delete, 1))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.count, self.list, self.details):
            layout.addWidget(widget)

    def _choose(self, item: QListWidgetItem | None, _: Any = None) -> None:
        self._session.chosen_outline = str(item.data(_ID)) if item is not None else ""

    def _edit(self, **fields: Any) -> None:
        one = self.chosen()
        if one is not None and any(getattr(one, key) != value for key, value in fields.items()):
            self.changed.emit(one.id, fields)
            self.refresh()  # refused: what was typed goes

    def _recolour(self) -> None:
        one = self.chosen()
        colour = self.ask_colour(colour_of(one)) if one is not None else None
        if colour is not None:
            self._edit(colour=colour)

    def _ask_colour(self, colour: RGB) -> RGB | None:
        found = QColorDialog.getColor(QColor(*colour), self, "Colour of the outline")
        return (found.red(), found.green(), found.blue()) if found.isValid() else None


def line_of(outline: Outline) -> str:
    """One outline in the list: name, class, and what is special about it."""
    named = " – ".join(words for words in (outline.name, outline.classification or "no class") if words)
    marks = [*(["locked"] if outline.locked else []), *([outline.origin] if outline.origin != "hand" else []), *(["note"] if outline.note else [])]
    return " · ".join([named, *marks])


def swatch(colour: RGB) -> QIcon:
    """A small square of one colour."""
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(*colour))
    painter = QPainter(pixmap)
    painter.setPen(QColor(128, 128, 128))
    painter.drawRect(0, 0, 11, 11)
    painter.end()
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # Qt's own would be tinted: another colour than on the slide
    return icon
