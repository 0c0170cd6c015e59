"""The dialog of students: which pictures without counts they learn from, how many, and figure 4 as it comes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFileDialog, QListWidget, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_deepspace._napari.job_dialog import JobDialog
from napari_deepspace._napari.run_view import in_words
from napari_deepspace._napari.students_figure import StudentsFigure
from napari_deepspace._napari.style import Palette
from napari_deepspace._napari.widgets import calm_wheel, label, row
from napari_deepspace.errors import SettingsError
from napari_deepspace.settings import RunSettings
from napari_deepspace.students_results import Outcome
from napari_deepspace.students_results import in_words as result_words
from napari_deepspace.students_settings import CONTROLS, ELSEWHERE, StudentsSettings, students_settings
from napari_deepspace.students_sources import IMAGES

PICTURES = {
    "foreign": "<b>Slides of another tissue</b>, which tiles are drawn from",
    "photographs": "<b>Photographs</b>, files or folders, which tiles are drawn from",
}


class StudentsDialog(JobDialog):
    """Asks and shows; what is asked for is carried out by :class:`~napari_deepspace._napari.students.Students`."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent, "students", "students", "job", "Finished rounds stay")
        self.setWindowTitle("Students (semi-supervised)")
        self.resize(760, 690)
        self._paths: dict[bool, list[Path]] = {False: [], True: []}  #: by whether the tiles are those of a control
        self.what = label("", "unlabelled")
        self.pictures = QListWidget()
        self.pictures.setFixedHeight(62)
        self.pictures.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self.add_folder, self.add_image, self.remove = QPushButton("Add folder…"), QPushButton("Add image…"), QPushButton("Remove")
        self.add_folder.setToolTip("A section (its counts are never looked at), or a folder of image files.")
        self.add_image.setToolTip("One or more slides: TIFF, SVS, JPEG or PNG.")
        self.mpp = QDoubleSpinBox()
        self.mpp.setRange(0, 10)
        self.mpp.setDecimals(4)
        self.mpp.setSingleStep(0.05)
        self.mpp.setSpecialValueText("as the file states")
        self.mpp.setToolTip("Of image files that do not state how many um a pixel is.")
        self.rounds, self.tiles = QSpinBox(), QSpinBox()
        self.rounds.setRange(1, 100)
        self.rounds.setValue(5)
        self.tiles.setRange(1, 100_000)
        self.tiles.setSingleStep(500)
        self.tiles.setValue(4000)
        self.tiles.setToolTip("Drawn anew for every student; they add up.")
        self.control = QComboBox()
        for key, words in CONTROLS.items():
            self.control.addItem(words[0].upper() + words[1:], key)
        self.control.setToolTip("A control shows what a gain is worth: labels or tiles that carry nothing should not help.")
        self.figure = StudentsFigure()
        self._build()
        self._connect()
        self.show_outcome(None)
        self._list()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.addWidget(
            label(
                "The run of the dock is the <b>teacher</b>: it labels tiles that have no counts, and students learn from those too.",
                "students",
                wrap=True,
            )
        )
        layout.addWidget(self.what)
        layout.addWidget(self.pictures)
        layout.addLayout(row(self.add_folder, self.add_image, self.remove, 1, label("um per px", "um per px"), self.mpp))
        layout.addLayout(
            row(
                label("students", "students"),
                self.rounds,
                label("new tiles a round", "tile"),
                self.tiles,
                label("labels", "control"),
                self.control,
                1,
            )
        )
        self._add_work(layout)
        layout.addWidget(self.figure)
        layout.addStretch(1)
        self._add_end(layout)
        calm_wheel(self)

    def _connect(self) -> None:
        self.add_folder.clicked.connect(self._ask_folder)
        self.add_image.clicked.connect(self._ask_images)
        self.remove.clicked.connect(self._remove)
        self.control.currentIndexChanged.connect(self._list)
        for box in (self.rounds, self.tiles):
            box.valueChanged.connect(self._refresh)
        self.pictures.itemSelectionChanged.connect(lambda: self.remove.setEnabled(bool(self.pictures.selectedItems())))

    # -- what is asked for -------------------------------------------------------------------------------------------------------------

    def add(self, *paths: Path) -> None:
        """Draw tiles from these sections, images or folders of images too."""
        listed = self._paths[self._elsewhere()]
        listed += [path for path in paths if path not in listed]
        self._list()

    def _elsewhere(self) -> bool:
        return self.control.currentData() in ELSEWHERE

    def _ask_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "A section, or a folder of images")
        if path:
            self.add(Path(path))

    def _ask_images(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Slides", "", f"Images ({' '.join('*' + ending for ending in IMAGES)})")
        self.add(*map(Path, paths))

    def _remove(self) -> None:
        gone = {self.pictures.row(item) for item in self.pictures.selectedItems()}
        here = self._elsewhere()
        self._paths[here] = [path for number, path in enumerate(self._paths[here]) if number not in gone]
        self._list()

    def _list(self, *_: Any) -> None:
        self.what.setText(PICTURES.get(str(self.control.currentData()), "<b>Unlabelled</b> sections or slides, which tiles are drawn from"))
        self.pictures.clear()
        self.pictures.addItems([str(path) for path in self._paths[self._elsewhere()]])
        self.remove.setEnabled(False)
        self._refresh()

    def asked(self) -> StudentsSettings:
        """The job as it is asked for; raises SettingsError where there is no picture."""
        mpp = self.mpp.value() or None
        pictures = {
            key: [{"path": str(path), "mpp": mpp} for path in self._paths[elsewhere]]
            for key, elsewhere in (("unlabelled", False), ("control_slides", True))
        }
        if not self._paths[self._elsewhere()]:
            raise SettingsError("There is no picture to draw tiles from yet. Add a section, a slide or a folder of images.")
        return students_settings({**pictures, "rounds": self.rounds.value(), "tiles": self.tiles.value(), "control": str(self.control.currentData())})

    def _cost(self, run: RunSettings) -> str:
        return cost_words(self.asked(), run, self._seconds)

    # -- what is shown -----------------------------------------------------------------------------------------------------------------

    def show_outcome(self, outcome: Outcome | None) -> None:
        """The rounds so far, and the verdict."""
        self.figure.show_outcome(outcome)
        self.words.setText("<br>".join(result_words(outcome)) if outcome is not None else "")
        self.words.setVisible(outcome is not None)
        self.open_folder.setEnabled(self.folder is not None)

    def restyle(self, palette: Palette) -> None:
        """Follow napari's theme."""
        super().restyle(palette)
        self.figure.restyle(palette)


def cost_words(asked: StudentsSettings, run: RunSettings, seconds: float) -> str:
    """What a job costs: the time of a run for each round; a network sees every tile of the pool in every epoch."""
    students = "1 student" if asked.rounds == 1 else f"{asked.rounds} students"
    words = f"Teacher and {students}, the last of which learns from {asked.rounds * asked.tiles:,} tiles too; "
    if math.isnan(seconds):
        return words + "how long one takes is not known yet."
    more = " A network takes longer the more tiles there are." if run.model.kind == "network" else ""
    return words + f"at least {in_words((1 + asked.rounds) * seconds)} on this computer.{more}"
