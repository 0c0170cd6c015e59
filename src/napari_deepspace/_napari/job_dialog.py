"""What the dialogs of the parameter search and of students share: cost, Start, Stop and Resume, how far the job is, what came out, its folder."""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QDialog, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_deepspace._napari.long_jobs import AbstractQObject
from napari_deepspace._napari.style import Palette, style_sheet
from napari_deepspace._napari.widgets import label, row
from napari_deepspace.errors import SettingsError
from napari_deepspace.settings import RunSettings


class JobDialog(QDialog, metaclass=AbstractQObject):
    """Asks and shows; what is asked for is carried out by an :class:`~napari_deepspace._napari.asked_jobs.AskedJob`.

    ``kind`` is a word of the glossary, ``job`` and ``jobs`` are what the buttons call it, and ``stays`` says what a stop leaves.
    """

    start_requested, stop_requested, resume_requested = Signal(), Signal(), Signal()

    def __init__(self, parent: QWidget | None, kind: str, jobs: str, job: str, stays: str):
        super().__init__(parent)
        self.folder: Path | None = None  #: of the job that is shown
        self._run: RunSettings | None = None
        self._seconds, self._why_not = math.nan, ""
        self.count = label("", "cost", wrap=True)
        self.start, self.stop, self.resume = QPushButton(f"Start {jobs}"), QPushButton("Stop"), QPushButton("Resume")
        self.start.setObjectName("main")
        self.stop.setToolTip(f"Ends the {job} now. {stays}; Resume goes on with it later, after napari was closed too.")
        self.resume.setToolTip(f"Goes on with the {job} shown below, which was stopped or cut short.")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(10)
        self.doing = label("", "progress", wrap=True)
        self.words = label("", kind, wrap=True)
        self.words.setObjectName("result")
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.open_folder, self.leave = QPushButton("Open folder"), QPushButton("Close")
        self.leave.setToolTip(f"A {job} at work goes on; the button under Advanced opens this window again.")
        for button, signal in ((self.start, self.start_requested), (self.stop, self.stop_requested), (self.resume, self.resume_requested)):
            button.clicked.connect(lambda _=False, signal=signal: signal.emit())
        self.leave.clicked.connect(self.close)
        self.open_folder.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.folder))))
        self.show_work("", None)

    def _add_work(self, layout: QVBoxLayout) -> None:
        layout.addWidget(self.count)
        layout.addLayout(row(self.start, self.stop, self.resume, 1))
        layout.addWidget(self.bar)
        layout.addWidget(self.doing)

    def _add_end(self, layout: QVBoxLayout, *buttons: QPushButton) -> None:
        layout.addWidget(self.words)
        layout.addLayout(row(*buttons, self.open_folder, 1, label("Research use only.", "research use only", dim=True), self.leave))
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(False)  # Enter in a field starts nothing

    def offer(self, run: RunSettings | None, seconds: float, why_not: str = "") -> None:
        """Offer the job for ``run``, which takes about ``seconds`` (NaN: unknown); ``why_not`` says why none can start now."""
        self._run, self._seconds, self._why_not = run, seconds, why_not
        self._refresh()

    @abstractmethod
    def _cost(self, run: RunSettings) -> str:
        """What the job costs as it is asked for; raises SettingsError where it cannot start."""

    def _refresh(self, *_: Any) -> None:
        words, possible = self._why_not or "Open a section first.", False
        if self._run is not None and not self._why_not:
            try:
                words, possible = self._cost(self._run), True
            except SettingsError as error:
                words = str(error)
        self.count.setText(words)
        self.start.setEnabled(possible)

    def show_work(self, words: str, share: float | None, working: bool = False, resumable: bool = False) -> None:
        """How the job goes: ``share`` from 0 to 1, or None while unknown."""
        self.doing.setText(words)
        self.doing.setVisible(bool(words))
        self.bar.setVisible(working)
        self.bar.setRange(0, 0 if share is None else 1000)
        self.bar.setValue(round(1000 * (share or 0)))
        self.stop.setEnabled(working)
        self.resume.setEnabled(resumable and not working)

    def restyle(self, palette: Palette) -> None:
        """Follow napari's theme."""
        self.setStyleSheet(style_sheet(palette))
