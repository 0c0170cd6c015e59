"""Outlines in the quality panel: those that take tiles out, and proposed regions of few counts, each to be accepted or rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_deepspace._napari.session import Session
from napari_deepspace._napari.steps import Step
from napari_deepspace._napari.widgets import label, row
from napari_deepspace.glossary import term
from napari_deepspace.outlines import EXCLUDE, Outline


class OutlinesView(QWidget):
    """Draw or import outlines whose tiles take no part."""

    drawing = Signal(bool)
    imported = Signal(Path)

    def __init__(self, session: Session):
        super().__init__()
        self._session = session
        self.step = Step("excluded", "Exclude", "exclude outline")
        self.draw, self.take = QPushButton("Draw"), QPushButton("Import…")
        self.draw.setCheckable(True)
        self.draw.setToolTip("Draw round a fold, pen or bubble with the mouse; click again when you are done.")
        self.take.setToolTip("GeoJSON of QuPath: outlines of class Exclude or Ignore* take tiles out, those of class Failed region are imputed.")
        for number, button in enumerate((self.draw, self.take), start=2):
            self.step.top.insertWidget(number, button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.step)
        self.draw.clicked.connect(self.drawing.emit)
        for signal in (session.events.tool, session.events.outline_class):
            signal.connect(lambda *_: self.draw.setChecked(session.tool == "freehand" and session.outline_class == EXCLUDE))
        self.take.clicked.connect(self._ask)
        for name in ("loaded", "outlines", "busy"):
            getattr(session.events, name).connect(self._refresh)

    def _ask(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import outlines", "", "GeoJSON (*.geojson *.json);;All files (*)")
        if path:
            self.imported.emit(Path(path))

    def _refresh(self, *_: Any) -> None:
        kept = self._session.kept()
        if kept is not None:
            self.step.say(int(kept.removed["excluded"].sum()))
        for button in (self.draw, self.take):
            button.setEnabled(self._session.loaded is not None)


class RegionsView(QWidget):
    """Regions of few counts with their verdict: shown, accepted or rejected one by one."""

    wanted = Signal()
    stopped = Signal()
    accepted = Signal(str)
    rejected = Signal(str)
    shown = Signal(str)

    def __init__(self, session: Session):
        super().__init__()
        self._session = session
        self.step = Step("failed", "Failed regions", "failed region")
        self.look, self.stop = QPushButton("Look for them"), QPushButton("Stop")
        self.look.setToolTip(term("low region"))
        self.step.top.insertWidget(2, self.look)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.doing = label("", wrap=True, dim=True)
        self.list = QVBoxLayout()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.step)
        layout.addLayout(row(self.bar, self.stop))
        layout.addWidget(self.doing)
        layout.addLayout(self.list)
        self.look.clicked.connect(self.wanted.emit)
        self.stop.clicked.connect(self.stopped.emit)
        for name in ("loaded", "outlines", "proposals", "busy"):
            getattr(session.events, name).connect(self._refresh)
        self.end("")

    def progress(self, words: str, share: float | None) -> None:
        """How far the look for regions or clusters is; None: nobody knows."""
        self.bar.setVisible(True)
        self.stop.setVisible(True)
        self.bar.setRange(0, 0 if share is None else 1000)
        self.bar.setValue(0 if share is None else round(1000 * share))
        self.doing.setText(words)
        self.doing.setVisible(True)

    def end(self, words: str) -> None:
        """The look is over."""
        self.bar.setVisible(False)
        self.stop.setVisible(False)
        self.doing.setText(words)
        self.doing.setVisible(bool(words))

    def _refresh(self, *_: Any) -> None:
        s, kept = self._session, self._session.kept()
        if kept is not None:
            self.step.say(int(kept.removed["failed"].sum()))
        self.look.setEnabled(not s.busy and s.section is not None and s.section.slide is not None)
        while self.list.count():
            item = self.list.takeAt(0)
            widget = item.widget() if item is not None else None
            if widget is not None:
                widget.hide()  # at once: the layout counts it until it is deleted
                widget.deleteLater()
        accepted = [outline for outline in s.outlines if outline.failed]
        for outline in (*accepted, *s.proposals):
            self.list.addWidget(self._card(outline, outline in accepted))

    def _card(self, outline: Outline, accepted: bool) -> QWidget:
        card = QWidget()
        notes = outline.notes
        numbers = f"{notes['spots']} spots, median {notes['median UMI']} UMI: " if "median UMI" in notes else ""
        state = "<b>accepted, will be imputed</b>. " if accepted else ""
        words = label(f"{state}{numbers}{notes.get('verdict', outline.name)}", "failed region" if outline.failed else "low region", wrap=True)
        show, yes, no = QPushButton("Show"), QPushButton("Accept"), QPushButton("Undo" if accepted else "Reject")
        yes.setToolTip("The assay failed here: these spots are never trained on, and are imputed.")
        no.setToolTip("Leave these spots to the thresholds.")
        for button, signal in ((show, self.shown), (yes, self.accepted), (no, self.rejected)):
            button.clicked.connect(lambda _=False, signal=signal: signal.emit(outline.id))
            button.setEnabled(signal is self.shown or not self._session.busy)
        yes.setVisible(not accepted)
        layout = QVBoxLayout(card)
        layout.setContentsMargins(18, 0, 0, 4)
        layout.setSpacing(2)
        layout.addWidget(words)
        layout.addLayout(row(show, yes, no, 1))
        return card
