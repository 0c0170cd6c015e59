"""The dialog of figures: what, how large, which part, the lines that will stand beneath, and how the drawing goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QDialog, QDoubleSpinBox, QFileDialog, QGridLayout, QProgressBar, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_deepspace._napari.style import Palette, style_sheet
from napari_deepspace._napari.widgets import calm_wheel, label, row
from napari_deepspace.figure_settings import DPI, LEAST_MM, MOST_MM, SIZES_MM
from napari_deepspace.glossary import term

What = tuple[str, str]  #: kind of figure, and what it shows ("" where there is no choice)


class FigureDialog(QDialog):
    """Asks and shows; what is asked for is carried out by :class:`~napari_deepspace._napari.figures.Figures`."""

    changed = Signal()
    wanted = Signal(Path)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWindowTitle("Figure")
        self.setMinimumWidth(470)
        self._sized_for = ""  #: the kind that width and height are of
        self.what, self.region = QComboBox(), QComboBox()
        self.region.addItem("the whole section", "whole")
        self.region.addItem("what is in view", "view")
        self.width_mm, self.height_mm, self.dpi = _millimetres(), _millimetres(), QSpinBox()
        self.dpi.setRange(*DPI)
        self.dpi.setValue(300)
        self.dpi.setToolTip(term("dpi"))
        self.lines = label("", wrap=True)
        self.lines.setObjectName("result")
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.bar.hide()
        self.end = label("", wrap=True)
        self.save, self.leave = QPushButton("Save as…"), QPushButton("Close")
        self.save.setObjectName("main")
        self.save.setToolTip("PNG, SVG or PDF, by the end of the name.")
        self._build()
        self.what.currentIndexChanged.connect(self._what_chosen)
        self.region.currentIndexChanged.connect(lambda _: self.changed.emit())
        for box in (self.width_mm, self.height_mm, self.dpi):
            box.valueChanged.connect(lambda _: self.changed.emit())
        self.save.clicked.connect(self._ask)
        self.leave.clicked.connect(self.close)

    def _build(self) -> None:
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        size = row(self.width_mm, label("×"), self.height_mm, 1, label("dpi", "dpi"), self.dpi)
        for number, (words, part) in enumerate((("Figure", self.what), ("Part", self.region))):
            grid.addWidget(label(words, "figure"), number, 0)
            grid.addWidget(part, number, 1)
        grid.addWidget(label("Size"), 2, 0)
        grid.addLayout(size, 2, 1)
        layout = QVBoxLayout(self)
        layout.addLayout(grid)
        layout.addWidget(label("Beneath the figure", dim=True))
        layout.addWidget(self.lines)
        layout.addWidget(self.bar)
        layout.addWidget(self.end)
        layout.addStretch(1)
        layout.addLayout(row(self.save, 1, self.leave))
        for button in (self.save, self.leave):
            button.setAutoDefault(False)
        calm_wheel(self)

    def offer(self, possible: Sequence[tuple[What, str]], chosen: What | None = None) -> None:
        """The figures that can be drawn now, each with its words; ``chosen`` is kept or taken where it is possible."""
        chosen = chosen or self.chosen()
        self.what.blockSignals(True)
        self.what.clear()
        for what, words in possible:
            self.what.addItem(words, what)
        at = next((number for number, (what, _) in enumerate(possible) if what == chosen), 0)
        self.what.setCurrentIndex(at if possible else -1)
        self.what.blockSignals(False)
        self._what_chosen()

    def chosen(self) -> What | None:
        """Kind, and what it shows; None where nothing can be drawn."""
        found = self.what.currentData()
        return (str(found[0]), str(found[1])) if found is not None else None

    def preview(self, lines: Sequence[str], why_not: str = "") -> None:
        """The lines that will stand beneath, or why nothing can be drawn."""
        self.lines.setText(why_not or "<br>".join(lines))
        self.save.setEnabled(not why_not and not self.bar.isVisible())

    def say(self, words: str, working: bool = False) -> None:
        """How the drawing goes, or ended."""
        self.end.setText(words)
        self.bar.setVisible(working)
        self.save.setEnabled(not working)

    def restyle(self, palette: Palette) -> None:
        """Follow napari's theme."""
        self.setStyleSheet(style_sheet(palette))

    def _what_chosen(self, *_: int) -> None:
        what = self.chosen()
        if what is not None and what[0] != self._sized_for:  # what the user set for this kind stays
            self._sized_for = what[0]
            for box, value in zip((self.width_mm, self.height_mm), SIZES_MM[what[0]], strict=True):
                box.blockSignals(True)
                box.setValue(value)
                box.blockSignals(False)
        if what is not None:
            self.region.setEnabled(what[0] in ("map", "side-by-side", "denser", "between"))
        self.changed.emit()

    def _ask(self) -> None:
        what = self.chosen()
        name, _ = QFileDialog.getSaveFileName(self, "Figure", f"{what[1] or what[0] if what else 'figure'}.png", "Figures (*.png *.svg *.pdf)")
        if name:
            self.wanted.emit(Path(name))


def _millimetres() -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(LEAST_MM, MOST_MM)
    box.setDecimals(0)
    box.setSuffix(" mm")
    return box
