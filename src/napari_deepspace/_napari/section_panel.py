"""Step 1: which section is open, and how to open another."""

from __future__ import annotations

import re
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QGridLayout,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_deepspace._napari.lattice_question import LatticeQuestion
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.widgets import Collapsible, label, row
from napari_deepspace.section import ASKS_LATTICE, GIVEN, ONLY_HIRES, PLATFORMS, Section
from napari_deepspace.slide_readers import is_image_zarr

IMAGES = "Images (*.tif *.tiff *.svs *.ndpi *.mrxs *.scn *.bif *.btf *.jpg *.jpeg *.png);;All files (*)"
TABLES = (".h5ad", ".h5", ".csv", ".tsv", ".txt", ".gz", ".parquet")
"""Endings of files that are a section, not a slide."""
DOUBT = re.compile(r"\bcheck\b|may be (those )?of another|is the table damaged|holds no count at all", re.IGNORECASE)
"""In a note that says something may be wrong, not only how the files were read."""


def is_image(path: Path) -> bool:
    """Whether what was dropped beside an open section is a slide for it, rather than another section."""
    return is_image_zarr(path) or (path.is_file() and path.suffix.lower() not in TABLES)


def ask_image_folder(parent: QWidget, title: str = "Choose the folder of an OME-Zarr image", where: str = "") -> Path | None:
    """Let the user choose a folder in place of a file."""
    path = QFileDialog.getExistingDirectory(parent, title, where)
    return Path(path) if path else None


class SectionPanel(Collapsible):
    """Opens folders, the built-in section and projects; says what the open section holds."""

    folder_chosen = Signal(Path)
    image_chosen = Signal(Path)
    sample_chosen = Signal()
    platform_chosen = Signal(str)
    project_opened = Signal(Path)
    project_saved = Signal(Path)
    section_chosen = Signal(str)
    mpp_chosen = Signal(float)  #: 0: automatic
    reduced_chosen = Signal()

    def __init__(self, session: Session):
        super().__init__("1  Section")
        self._session = session
        self.drop = label("Drop a Space Ranger or legacy ST folder, an .h5ad file or a table here, or", "section", wrap=True)
        self.drop.setObjectName("drop")
        self.open_button = QPushButton("Open folder…")
        self.open_button.setObjectName("main")
        self.open_button.setToolTip("A Space Ranger `outs` folder, or a legacy ST folder; the full-resolution image is found by its size.")
        self.file_button = QPushButton("Open file…")
        self.file_button.setToolTip("An .h5ad file with spatial coordinates, or a table (csv, tsv, parquet) with columns x, y and one a gene.")
        self.sample_button = QPushButton("Try the built-in synthetic section")
        self.sample_button.setToolTip("A small made-up slide with made-up counts, to see how everything works. Nothing in it was measured.")
        self.badge = QLabel("SYNTHETIC")
        self.badge.setObjectName("badge")
        self.badge.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.badge.setToolTip("Made by a program: nothing in this section was measured.")
        self.facts = QWidget()
        grid = QGridLayout(self.facts)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        self.values: dict[str, QLabel] = {}
        for number, (name, tip) in enumerate({"Name": "section", "Spots": "spot", "Image": "slide", "Scale": "um per px"}.items()):
            self.values[name] = label("", tip, wrap=True)
            grid.addWidget(label(name, tip, dim=True), number, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(self.values[name], number, 1, 1, 1 if name == "Image" else 2)
        self.image_button, menu = QPushButton("Image…"), QMenu(self)
        menu.addAction("A file…", self._ask_image)
        menu.addAction("A folder (OME-Zarr)…", self._ask_image_folder)
        self.image_button.setMenu(menu)
        grid.addWidget(self.image_button, 2, 2, Qt.AlignmentFlag.AlignTop)
        self.image_button.setToolTip("Choose the full-resolution H&E yourself: when none was found, or to take another.")
        self.doubts, self.notes = label("", wrap=True), label("", wrap=True, dim=True)
        self.doubts.setObjectName("doubt")
        self.reduced_button = QPushButton("Go on with the reduced image")
        self.reduced_button.setToolTip("Take tissue_hires_image.png in place of the slide: predictions see less than at full resolution.")
        self.orientation = QWidget()
        self.orientation_words = label("", wrap=True)
        self.preview, self.use, self.keep = QPushButton("Preview"), QPushButton("Use"), QPushButton("Keep")
        self.preview.setCheckable(True)
        self.preview.setToolTip("Lay the slide under the spots the way that fits better, for a look; nothing is changed.")
        self.use.setToolTip("Work with the slide this way round. The file stays as it is.")
        self.keep.setToolTip("Leave the slide as it lies.")
        self.lattice = LatticeQuestion()
        self.sections = QComboBox()
        self.sections.setToolTip("The sections opened in this window, and those in the open file: choose the one that all steps act on.")
        self.others = QCheckBox("Keep the others in view, side by side")
        self.genes = label("", wrap=True, dim=True)
        self.mpp = QDoubleSpinBox()
        self.mpp.setRange(0, 100)
        self.mpp.setDecimals(4)
        self.mpp.setSpecialValueText("automatic")
        self.mpp.setToolTip("Micrometres per pixel, where you know better than image and lattice; 0: automatic.")
        self.platform = QComboBox()
        self.platform.addItem("automatic", "auto")
        for key, platform in PLATFORMS.items():
            self.platform.addItem(f"{platform.name} ({platform.spot_diameter_um:g} um spots)", key)
        self.save_button, self.project_button = QPushButton("Save…"), QPushButton("Open…")
        self.project_button.setToolTip("Open a project folder: sections, runs and view as they were saved.")
        self.save_button.setToolTip("Keep sections, runs and view in one folder; opening it again gives the same window.")
        self.in_project = QComboBox()
        self.in_project.setToolTip("The project's sections: choose one to open it.")
        self._build()
        self._connect()
        self._refresh()

    def _build(self) -> None:
        self.content.addWidget(self.drop)
        self.content.addWidget(self.open_button)
        self.content.addLayout(row(self.file_button, self.sample_button))
        self.content.addLayout(row(self.badge, 1))
        self.content.addWidget(self.facts)
        self.content.addWidget(self.doubts)
        self.content.addWidget(self.notes)
        self.content.addWidget(self.reduced_button)
        asked = QVBoxLayout(self.orientation)
        asked.setContentsMargins(0, 0, 0, 0)
        asked.addWidget(self.orientation_words)
        asked.addLayout(row(self.preview, self.use, self.keep, 1))
        self.orientation.setVisible(False)
        self.content.addWidget(self.orientation)
        self.content.addWidget(self.lattice)
        self.list = QWidget()
        listed = QVBoxLayout(self.list)
        listed.setContentsMargins(0, 0, 0, 0)
        listed.addWidget(label("Sections", "section", dim=True))
        for widget in (self.sections, self.others, self.genes):
            listed.addWidget(widget)
        self.list.setVisible(False)
        self.content.addWidget(self.list)
        self.content.addLayout(row(label("Project", "project", dim=True), self.project_button, self.save_button, 1))
        self.content.addWidget(self.in_project)
        advanced = Collapsible("Advanced", level=2, open_=False)
        advanced.content.addLayout(row(label("Platform", "platform"), self.platform, stretch=True))
        advanced.content.addLayout(row(label("um per px", "um per px"), self.mpp, stretch=True))
        self.content.addWidget(advanced)

    def _connect(self) -> None:
        self.open_button.clicked.connect(self._ask_folder)
        self.file_button.clicked.connect(self._ask_file)
        self.sample_button.clicked.connect(self.sample_chosen.emit)
        self.project_button.clicked.connect(self._ask_project)
        self.save_button.clicked.connect(self._ask_save)
        self.platform.activated.connect(lambda _: self.platform_chosen.emit(self.platform.currentData()))
        self.lattice.is_st.connect(self.platform_chosen.emit)
        self.lattice.has_mpp.connect(self.mpp_chosen.emit)
        self.reduced_button.clicked.connect(self.reduced_chosen.emit)
        self.mpp.editingFinished.connect(self._give_mpp)
        self.in_project.activated.connect(lambda _: self.section_chosen.emit(self.in_project.currentText()))
        self._session.events.loaded.connect(self._refresh)
        self._session.events.busy.connect(self._refresh)

    def show_project(self, name: str, sections: list[str]) -> None:
        """Offer the project's sections, where there are several, and say in which project one works."""
        self.save_button.setText("Save")
        self.save_button.setToolTip(f"Save sections, runs and view in the project {name}.")
        self.in_project.clear()
        self.in_project.addItems(sections)
        if self._session.section is not None:
            self.in_project.setCurrentText(self._session.section.library_id)
        self.in_project.setVisible(len(sections) > 1)

    def ask_orientation(self, words: str, better: str | None) -> None:
        """Say what is wrong with the way the slide lies, and offer the way that fits better; "" says nothing."""
        self.orientation_words.setText(words)
        self.orientation.setVisible(bool(words))
        for button in (self.preview, self.use):
            button.setVisible(better is not None)

    def show_sections(self, names: list[str], current: str, genes: str, in_file: list[str]) -> None:
        """List the sections that were opened, those that the open file or folder holds beside them, and what of the genes of the former is common."""
        self.sections.clear()
        for name in names:
            self.sections.addItem(name, name)
        for name in in_file:
            self.sections.addItem(f"{name}  (not opened yet)", name)
        self.sections.setCurrentIndex(names.index(current))
        self.genes.setText(genes)
        self.list.setVisible(self.sections.count() > 1)
        self.others.setVisible(len(names) > 1)
        self.genes.setVisible(len(names) > 1 and bool(genes))

    def _give_mpp(self) -> None:
        section = self._session.section
        given = section.mpp if section is not None and section.mpp_from == GIVEN else 0.0
        if section is not None and abs(self.mpp.value() - given) > 1e-4:
            self.mpp_chosen.emit(self.mpp.value())

    def _refresh(self) -> None:
        section = self._session.section
        idle = not self._session.busy
        buttons = (self.open_button, self.file_button, self.sample_button, self.project_button)
        for button in (*buttons, self.platform, self.in_project, self.sections, self.lattice, self.mpp, self.use):
            button.setEnabled(idle)
        for button in (self.image_button, self.save_button):
            button.setEnabled(idle and section is not None)
        self.in_project.setVisible(self.in_project.count() > 1)
        if idle and section is not None:  # one that was not opened after all is not named as the one that is
            self.in_project.setCurrentText(section.library_id)
        self.badge.setVisible(section is not None and section.synthetic)
        self.drop.setVisible(section is None)
        self.facts.setVisible(section is not None)
        for name, text in (_facts(section) if section else {}).items():
            self.values[name].setText(text)
        notes = [] if section is None else section.notes
        self.reduced_button.setVisible(section is not None and section.slide is None and any(note.startswith(ONLY_HIRES) for note in notes))
        if section is not None and not self.mpp.hasFocus():
            self.mpp.setValue(section.mpp if section.mpp_from == GIVEN else 0.0)
        self.lattice.ask(section)
        doubts = [note for note in notes if DOUBT.search(note)]
        others = [note for note in notes if note not in doubts and not note.startswith(ASKS_LATTICE)]
        for widget, shown in ((self.doubts, doubts), (self.notes, others)):
            widget.setText("\n".join(shown))
            widget.setVisible(bool(shown))

    def _ask_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a section: a Space Ranger or ST folder")
        if path:
            self.folder_chosen.emit(Path(path))

    def _ask_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a section: an .h5ad file or a table", "", f"Sections (*{' *'.join(TABLES)});;All files (*)")
        if path:
            self.folder_chosen.emit(Path(path))

    def _ask_image(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose the full-resolution H&E", "", IMAGES)
        if path:
            self.image_chosen.emit(Path(path))

    def _ask_image_folder(self) -> None:
        path = ask_image_folder(self)
        if path is not None:
            self.image_chosen.emit(path)

    def _ask_project(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a project folder")
        if path:
            self.project_opened.emit(Path(path))

    def _ask_save(self) -> None:
        if self._session.project is not None:
            self.project_saved.emit(self._session.project)
            return
        path = QFileDialog.getExistingDirectory(self, "Choose an empty folder for the project")
        if path:
            self.project_saved.emit(Path(path))


def _facts(section: Section) -> dict[str, str]:
    slide = section.slide
    n_spots, n_genes = section.adata.shape
    image = "none found: choose it with Image…"
    if slide is not None:
        image = f"{_breakable((section.image_path or slide.path).name)}, {slide.shape[1]:,} × {slide.shape[0]:,} px"
    return {
        "Name": _breakable(section.library_id),
        "Spots": f"{n_spots:,} spots × {n_genes:,} genes" if n_genes else f"{n_spots:,} spots, no counts",
        "Image": image,
        "Scale": f"{section.mpp:.3g} um per px ({section.mpp_from}) · {section.platform.name}, spots of {section.platform.spot_diameter_um:.4g} um",
    }


def _breakable(name: str) -> str:
    """``name`` with places where a line may end."""
    return "".join(letter + "\u200b" if letter in "_-." else letter for letter in name)
