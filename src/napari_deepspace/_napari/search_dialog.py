"""The dialog of the parameter search: what varies, how many trials that makes, and the trials as they come."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHeaderView,
    QPushButton,
    QSpinBox,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_deepspace._napari.forms import Ticks
from napari_deepspace._napari.job_dialog import JobDialog
from napari_deepspace._napari.picture import Picture
from napari_deepspace._napari.run_view import in_words
from napari_deepspace._napari.runs_dialogs import FrameModel
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


class SearchDialog(JobDialog):
    """Asks and shows; what is asked for is carried out by :class:`~napari_deepspace._napari.searches.Searches`."""

    use_requested = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent, "parameter search", "search", "search", "What is finished stays")
        self.setWindowTitle("Parameter search")
        self.resize(820, 700)
        self.rows: dict[str, tuple[QCheckBox, Ticks, Choice]] = {}
        self.choices = QWidget()
        self.method = Segmented(METHODS, TIPS)
        self.trials = QSpinBox()
        self.trials.setRange(0, 10_000)
        self.trials.setSpecialValueText("all")
        self.trials.setToolTip("How many trials at most; all: every combination of the grid.")
        self.table, self.plots = QTableView(), Picture("The plots come with the first finished trial.")
        self.tabs = QTabWidget()
        self.tabs.addTab(self.table, "Trials")
        self.tabs.addTab(self.plots, "Plots")
        self.use = QPushButton("Use the best settings")
        self.use.setToolTip("Puts model, tile, filter and normalisation of the best trial into the dock. Target and split stay as they are.")
        if importlib.util.find_spec("optuna") is None:
            self.method.buttons["optuna"].setEnabled(False)
            self.method.buttons["optuna"].setToolTip('Not installed: pip install "napari-deepspace[search]", then open napari again.')
        self._build()
        self.use.clicked.connect(self.use_requested.emit)
        self.method.changed.connect(self._method_chosen)
        self.trials.valueChanged.connect(self._refresh)
        self.show_trials([])

    def _build(self) -> None:
        self._grid = QGridLayout(self.choices)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.addWidget(label("<b>What varies</b>: each trial is a run of its own, with all else as the dock says now.", "parameter search"))
        layout.addWidget(self.choices)
        layout.addLayout(row(self.method, label("trials", "trial"), self.trials, 1))
        self._add_work(layout)
        layout.addWidget(self.tabs, 1)
        self._add_end(layout, self.use)
        header = self.table.horizontalHeader()
        if header is not None:
            header.setStretchLastSection(True)
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)

    # -- what is asked for -------------------------------------------------------------------------------------------------------------

    def offer(self, run: RunSettings | None, seconds: float, why_not: str = "") -> None:
        """Offer what applies to ``run``, which takes about ``seconds`` (NaN: unknown); ``why_not`` says why no search can start now."""
        offered = choices(run) if run is not None else ()
        if offered != tuple(choice for _, _, choice in self.rows.values()):
            self._offer(offered)
        super().offer(run, seconds, why_not)

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

    def _cost(self, run: RunSettings) -> str:
        return cost_words(number_of_trials(self.asked(run)), self._seconds)

    # -- what is shown -----------------------------------------------------------------------------------------------------------------

    def show_trials(self, trials: Sequence[Trial]) -> None:
        """The trials so far, what came out, and the plots."""
        model = FrameModel(trials_in_words(trials))
        self.table.setModel(model)
        self.model = model  # the one before has to live until then
        self.table.scrollToBottom()
        self.words.setText("<br>".join(result_words(summary(trials))))
        self.words.setVisible(bool(trials))
        self.plots.show_picture(QPixmap(str(self.folder / PLOTS[0])) if self.folder is not None else None)
        self.use.setEnabled(self.folder is not None and (self.folder / BEST).exists())
        self.open_folder.setEnabled(self.folder is not None)


def cost_words(number: int, seconds: float) -> str:
    """What ``number`` trials cost where one run takes about ``seconds``."""
    trials = "1 trial" if number == 1 else f"{number:,} trials"
    if not math.isfinite(seconds):
        return f"{trials}; how long one takes is not known yet."
    return f"{trials}, about {in_words(number * seconds)} on this computer if each takes as long as the present settings ({in_words(seconds)})."
