"""The dialog of the parameter search: what varies, how many trials that makes, and the trials as they come."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSize, Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QGridLayout,
    QHeaderView,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_deepspace._napari.forms import Ticks
from napari_deepspace._napari.run_view import in_words
from napari_deepspace._napari.runs_dialogs import FrameModel
from napari_deepspace._napari.style import Palette, style_sheet
from napari_deepspace._napari.widgets import Segmented, calm_wheel, label, row
from napari_deepspace.errors import SettingsError
from napari_deepspace.glossary import term
from napari_deepspace.search_choices import Choice, choices, space_of, trials_in_words
from napari_deepspace.search_results import BEST, PLOTS, Trial, summary
from napari_deepspace.search_results import in_words as result_words
from napari_deepspace.search_settings import SearchSettings, number_of_trials, search_settings
from napari_deepspace.settings import RunSettings

METHODS = {"grid": "Grid: every combination", "optuna": "Optuna: each from those before"}
TIPS = {
    "grid": "Every combination of the ticked values, or as many of them as you say.",
    "optuna": "Each trial is tried where the trials before it point to; of learning rate and weight decay anything between the ticked ends.",
}


class SearchDialog(QDialog):
    """Asks and shows; what is asked for is carried out by :class:`~napari_deepspace._napari.searches.Searches`."""

    start_requested, stop_requested, resume_requested, use_requested = Signal(), Signal(), Signal(), Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWindowTitle("Parameter search")
        self.resize(820, 700)
        self.folder: Path | None = None  #: of the search that is shown
        self.rows: dict[str, tuple[QCheckBox, Ticks, Choice]] = {}
        self._run: RunSettings | None = None
        self._seconds = math.nan
        self._why_not = ""
        self.choices = QWidget()
        self.method = Segmented(METHODS, TIPS)
        self.trials = QSpinBox()
        self.trials.setRange(0, 10_000)
        self.trials.setSpecialValueText("all")
        self.trials.setToolTip("How many trials at most; all: every combination of the grid.")
        self.count = label("", "cost", wrap=True)
        self.start, self.stop, self.resume = QPushButton("Start search"), QPushButton("Stop"), QPushButton("Resume")
        self.start.setObjectName("main")
        self.stop.setToolTip("Ends the search now. What is finished stays; Resume goes on with it later, after napari was closed too.")
        self.resume.setToolTip("Goes on with the search shown below, which was stopped or cut short.")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(10)
        self.doing = label("", "progress", wrap=True)
        self.table, self.plots = QTableView(), _Picture()
        self.tabs = QTabWidget()
        self.tabs.addTab(self.table, "Trials")
        self.tabs.addTab(self.plots, "Plots")
        self.words = label("", "parameter search", wrap=True)
        self.words.setObjectName("result")
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.use, self.open_folder, self.leave = QPushButton("Use the best settings"), QPushButton("Open folder"), QPushButton("Close")
        self.use.setToolTip("Puts model, tile, filter and normalisation of the best trial into the dock. Target and split stay as they are.")
        self.leave.setToolTip("A search at work goes on; the button under Advanced opens this window again.")
        if importlib.util.find_spec("optuna") is None:
            self.method.buttons["optuna"].setEnabled(False)
            self.method.buttons["optuna"].setToolTip('Not installed: pip install "napari-deepspace[search]", then open napari again.')
        self._build()
        self._connect()
        self.show_work("", None)
        self.show_trials([])

    def _build(self) -> None:
        self._grid = QGridLayout(self.choices)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.addWidget(label("<b>What varies</b>: each trial is a run of its own, with all else as the dock says now.", "parameter search"))
        layout.addWidget(self.choices)
        layout.addLayout(row(self.method, label("trials", "trial"), self.trials, 1))
        layout.addWidget(self.count)
        layout.addLayout(row(self.start, self.stop, self.resume, 1))
        layout.addWidget(self.bar)
        layout.addWidget(self.doing)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.words)
        layout.addLayout(row(self.use, self.open_folder, 1, label("Research use only.", "research use only", dim=True), self.leave))
        header = self.table.horizontalHeader()
        if header is not None:
            header.setStretchLastSection(True)
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(False)  # Enter in a field starts nothing

    def _connect(self) -> None:
        for button, signal in (
            (self.start, self.start_requested), (self.stop, self.stop_requested),
            (self.resume, self.resume_requested), (self.use, self.use_requested),
        ):  # fmt: skip
            button.clicked.connect(lambda _=False, signal=signal: signal.emit())
        self.leave.clicked.connect(self.close)
        self.open_folder.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.folder))))
        self.method.changed.connect(self._method_chosen)
        self.trials.valueChanged.connect(self._refresh)

    # -- what is asked for -------------------------------------------------------------------------------------------------------------

    def offer(self, run: RunSettings | None, seconds: float, why_not: str = "") -> None:
        """Offer what applies to ``run``, which takes about ``seconds`` (NaN: unknown); ``why_not`` says why no search can start now."""
        offered = choices(run) if run is not None else ()
        if offered != tuple(choice for _, _, choice in self.rows.values()):
            self._offer(offered)
        self._run, self._seconds, self._why_not = run, seconds, why_not
        self._refresh()

    def _offer(self, offered: Sequence[Choice]) -> None:
        on = {key for key, (box, _, _) in self.rows.items() if box.isChecked()} or {choice.key for choice in offered[:1]}
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        self.rows = {}
        for number, choice in enumerate(offered):
            box, ticks = QCheckBox(choice.name), Ticks([choice.words(value) for value in choice.values], columns=6 if len(choice.values) < 7 else 4)
            box.setToolTip(term({"filter.white_percentile": "white tile"}.get(choice.key, choice.name)))
            ticks.set_value(choice.words(value) for value in choice.usual)
            box.toggled.connect(ticks.setEnabled)
            box.setChecked(choice.key in on)
            ticks.setEnabled(box.isChecked())
            box.toggled.connect(lambda _: self._refresh())
            ticks.changed.connect(self._refresh)
            self._grid.addWidget(box, number, 0, Qt.AlignmentFlag.AlignTop)
            self._grid.addWidget(ticks, number, 1)
            self.rows[choice.key] = box, ticks, choice
        calm_wheel(self)

    def _method_chosen(self, key: str) -> None:
        self.trials.setMinimum(1 if key == "optuna" else 0)
        self.trials.setValue(20 if key == "optuna" else 0)
        self._refresh()

    def asked(self, run: RunSettings) -> SearchSettings:
        """The search as it is asked for; raises SettingsError where nothing varies."""
        ticked = {}
        for key, (box, ticks, choice) in self.rows.items():
            chosen = ticks.value() if box.isChecked() else ()
            ticked[key] = [value for value in choice.values if choice.words(value) in chosen]
        method = self.method.value()
        space = space_of([choice for _, _, choice in self.rows.values()], ticked, method)
        if not space:
            raise SettingsError("Nothing varies yet. Tick a setting and the values that shall be tried.")
        return search_settings({"space": space, "method": method, "trials": self.trials.value() or None}, run)

    def _refresh(self, *_: Any) -> None:
        """How many trials, at what cost, and whether they can start."""
        words, possible = self._why_not or "Open a section first.", False
        if self._run is not None and not self._why_not:
            try:
                number = number_of_trials(self.asked(self._run))
            except SettingsError as error:
                words = str(error)
            else:
                words, possible = cost_words(number, self._seconds), True
        self.count.setText(words)
        self.start.setEnabled(possible)

    # -- what is shown -----------------------------------------------------------------------------------------------------------------

    def show_work(self, words: str, share: float | None, working: bool = False, resumable: bool = False) -> None:
        """How the search goes: ``share`` from 0 to 1, or None while unknown."""
        self.doing.setText(words)
        self.doing.setVisible(bool(words))
        self.bar.setVisible(working)
        self.bar.setRange(0, 0 if share is None else 1000)
        self.bar.setValue(round(1000 * (share or 0)))
        self.stop.setEnabled(working)
        self.resume.setEnabled(resumable and not working)

    def show_trials(self, trials: Sequence[Trial]) -> None:
        """The trials so far, what came out, and the plots."""
        model = FrameModel(trials_in_words(trials))
        self.table.setModel(model)
        self.model = model  # the one before has to live until then
        self.table.scrollToBottom()
        self.words.setText("<br>".join(result_words(summary(trials))))
        self.words.setVisible(bool(trials))
        self.plots.show_file(self.folder / PLOTS[0] if self.folder is not None else None)
        self.use.setEnabled(self.folder is not None and (self.folder / BEST).exists())
        self.open_folder.setEnabled(self.folder is not None)

    def restyle(self, palette: Palette) -> None:
        """Follow napari's theme."""
        self.setStyleSheet(style_sheet(palette))


def cost_words(number: int, seconds: float) -> str:
    """What ``number`` trials cost where one run takes about ``seconds``."""
    trials = "1 trial" if number == 1 else f"{number:,} trials"
    if not math.isfinite(seconds):
        return f"{trials}; how long one takes is not known yet."
    return f"{trials}, about {in_words(number * seconds)} on this computer if each takes as long as the present settings ({in_words(seconds)})."


class _Picture(QScrollArea):
    """A picture as large as its place allows."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = label()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._pixmap = QPixmap()
        self.setWidget(self.picture)
        self.setWidgetResizable(True)

    def show_file(self, path: Path | None) -> None:
        self._pixmap = QPixmap(str(path)) if path is not None else QPixmap()
        self._fit()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        if self._pixmap.isNull():
            self.picture.setText("The plots come with the first finished trial.")
            return
        room = (self.maximumViewportSize() - QSize(8, 8)).boundedTo(self._pixmap.size())
        self.picture.setPixmap(self._pixmap.scaled(room, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation))
