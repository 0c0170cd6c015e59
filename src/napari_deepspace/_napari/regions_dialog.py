"""The window "Regions": what outlines hold as a table, distributions, a profile across a border, two observers, and genes that differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QModelIndex, QSignalBlocker, Qt, Signal
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_deepspace._napari.picture import Picture
from napari_deepspace._napari.style import Palette, style_sheet
from napari_deepspace._napari.tables import Table
from napari_deepspace._napari.widgets import Segmented, Wrapped, calm_wheel, label, row
from napari_deepspace.glossary import TERMS, term

TABLE, BOXES, FRONT, OBSERVERS, GENES = range(5)
TABS = ("Table", "Distributions", "Across a border", "Two observers", "Genes")
COLUMNS = {
    "region": "outline",
    "class": "class",
    "area_mm2": "mm²",
    "spots": "spots",
    "gene": "gene",
    "measured_mean": "measured",
    "outside_mean": "outside",
    "predicted_mean": "predicted",
    "auroc": "AUROC",
    "p_words": "P",
    "beside": "beside it",
}
TIPS = {
    "spots": term("spot inside"),
    "measured_mean": "Mean of what was measured at spots inside.",
    "outside_mean": "Mean of what was measured at all other spots.",
    "predicted_mean": "Mean of what was predicted out of fold at spots inside. It is never tested.",
    "auroc": TERMS["auroc"],
    "p_words": TERMS["moved map"],
    "beside": "What has to stand beside P, or why there is none. A click shows all of it below.",
}
BORDER = "A spot belongs to an outline if its centre lies inside, or on the border; distances are negative inside."


class RegionsDialog(QDialog):
    """Asks and shows; :class:`~napari_deepspace._napari.regions_control.Regions` computes."""

    changed = Signal()  #: what is asked for
    chosen = Signal(list)  #: ids of the outlines of the row that was clicked
    observer_chosen = Signal(Path)
    genes_wanted = Signal()
    table_wanted = Signal(Path)
    figure_wanted = Signal(Path)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWindowTitle("Regions")
        self.resize(1020, 620)
        self.by = Segmented({"outline": "Each outline", "class": "By class"})
        self.genes = QLineEdit()
        self.genes.setPlaceholderText("genes, with commas between")
        self.genes.setToolTip("Names of genes of this section, with commas between.")
        self.tabs = QTabWidget()
        self.table, self.observers, self.differential = QTableView(), QTableView(), QTableView()
        self.remark = Wrapped(lines=2)
        self.remark.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.boxes, self.profile = Picture("Nothing is drawn yet.", whole=False), Picture("Nothing is drawn yet.", whole=False)
        self.border, self.band_um, self.with_denser = QComboBox(), QSpinBox(), QCheckBox("Denser map too")
        self.band_um.setRange(10, 500)
        self.band_um.setSingleStep(10)
        self.band_um.setValue(50)
        self.band_um.setSuffix(" um")
        self.with_denser.setToolTip("Points of the denser map (predicted) that is shown, beside the spots.")
        self.read, self.observer = QPushButton("Other observer…"), label("", wrap=True, dim=True)
        self.read.setToolTip("GeoJSON of somebody else's outlines on this slide.")
        self.look, self.of_region = QPushButton("Genes inside against outside"), label("", wrap=True, dim=True)
        self.look.setToolTip(f"{term('differential genes')} Of the outline that is chosen in the table.")
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.words, self.notes = label("", wrap=True), label("", wrap=True, dim=True)
        self.save_table, self.save_figure, self.leave = QPushButton("Save CSV…"), QPushButton("Save figure…"), QPushButton("Close")
        self._build()
        self._connect()
        self.say("")

    def asked_genes(self) -> list[str]:
        """Names as they were typed."""
        return list(dict.fromkeys(name.strip() for name in self.genes.text().replace(";", ",").split(",") if name.strip()))

    # -- what is shown -----------------------------------------------------------------------------------------------------------------

    def show_table(self, found: pd.DataFrame, notes: Sequence[str]) -> None:
        """The table of :func:`napari_deepspace.region_command.region_table`."""
        shown = found.assign(p_words=[p_words(one) for one in found.to_dict("records")], beside=[_beside(one) for one in found.to_dict("records")])
        shown = shown[[name for name in (*COLUMNS, "id") if name in shown]]
        _fill(self.table, Table(shown, _words, TIPS.get, COLUMNS))
        self.table.setColumnHidden(shown.shape[1] - 1, True)
        self.notes.setText(" ".join(notes))
        self.remark.setText("Choose a row: the slide goes there, and all that has to stand beside its P is said here.")
        selection = self.table.selectionModel()
        if selection is not None:
            selection.currentRowChanged.connect(self._row)

    def show_borders(self, names: Sequence[tuple[str, str]]) -> None:
        """The regions whose border can be looked across: (id, name)."""
        chosen = self.border.currentData()
        with QSignalBlocker(self.border):
            self.border.clear()
            for one, name in names:
                self.border.addItem(name, one)
            self.border.setCurrentIndex(max(self.border.findData(chosen), 0) if names else -1)

    def show_picture(self, tab: int, png: bytes | None, why_not: str = "") -> None:
        """A figure of distributions or of a profile, as it will be saved; None: why there is none."""
        pixmap = QPixmap()
        if png is not None:
            pixmap.loadFromData(png)
        (self.boxes if tab == BOXES else self.profile).show_picture(pixmap if png is not None else None, why_not)

    def show_observers(self, found: pd.DataFrame, words: str) -> None:
        """The table of two observers."""
        _fill(self.observers, Table(found, _words, TERMS.get, {name: name.replace("_", " ") for name in found.columns}))
        self.observer.setText(words)

    def show_genes(self, found: pd.DataFrame, words: str) -> None:
        """Genes inside against outside."""
        _fill(self.differential, Table(found, _words, lambda name: None, {name: name.replace("_", " ") for name in found.columns}))
        self.of_region.setText(words)

    def say(self, words: str, working: bool = False) -> None:
        """What is computed, or what went wrong."""
        self.words.setText(words)
        self.words.setVisible(bool(words))
        self.bar.setVisible(working)

    def show_possible(self, table: bool, figure: bool) -> None:
        """Whether what this tab shows can be saved."""
        self.save_table.setEnabled(table)
        self.save_figure.setEnabled(figure)

    def restyle(self, palette: Palette) -> None:
        """Follow napari's theme."""
        self.setStyleSheet(style_sheet(palette))

    # -- building ----------------------------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        pages: tuple[tuple[QWidget | QHBoxLayout | str, ...], ...] = (
            (self.table, self.remark),
            (self.boxes,),
            (row(label("Border of", "front profile"), self.border, label("Bands"), self.band_um, self.with_denser, 1), self.profile, BORDER),
            (row(self.read, 1), self.observer, self.observers),
            (row(self.look, 1), self.of_region, self.differential),
        )
        for title, parts in zip(TABS, pages, strict=True):
            page = QWidget()
            layout = QVBoxLayout(page)
            for part in parts:
                if isinstance(part, QWidget):
                    layout.addWidget(part, 1 if isinstance(part, (QTableView, Picture)) else 0)
                elif isinstance(part, str):
                    layout.addWidget(label(part, wrap=True, dim=True))
                else:
                    layout.addLayout(part)
            self.tabs.addTab(page, title)
        for view in (self.table, self.observers, self.differential):
            view.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
            view.setSelectionMode(QTableView.SelectionMode.SingleSelection)
            view.setSortingEnabled(True)
            view.setWordWrap(False)
        self.border.setMinimumContentsLength(16)
        layout = QVBoxLayout(self)
        top = row(self.by, label("Genes"))
        top.addWidget(self.genes, 1)
        layout.addLayout(top)
        layout.addWidget(self.tabs, 1)
        for widget in (self.bar, self.words, self.notes):
            layout.addWidget(widget)
        layout.addLayout(row(self.save_table, self.save_figure, 1, self.leave))
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(False)
        calm_wheel(self)

    def _connect(self) -> None:
        self.by.changed.connect(lambda _: self.changed.emit())
        self.genes.editingFinished.connect(self.changed)
        self.border.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.band_um.valueChanged.connect(lambda _: self.changed.emit())
        self.with_denser.toggled.connect(lambda _: self.changed.emit())
        self.tabs.currentChanged.connect(lambda _: self.changed.emit())
        self.table.clicked.connect(self._row)
        self.read.clicked.connect(self._ask_observer)
        self.look.clicked.connect(self.genes_wanted)
        self.leave.clicked.connect(self.close)
        self.save_table.clicked.connect(lambda: self._ask_save("CSV (*.csv)", ".csv", self.table_wanted))
        self.save_figure.clicked.connect(lambda: self._ask_save("Figures (*.png *.svg *.pdf)", ".pdf", self.figure_wanted))

    def chosen_ids(self) -> list[str]:
        """Ids of the outlines of the row that is chosen; of the first row where none is."""
        model, index = self.table.model(), self.table.currentIndex()
        if not isinstance(model, Table) or not len(model.rows):
            return []
        return str(model.rows["id"].iat[max(index.row(), 0)]).split(", ")

    def _row(self, index: QModelIndex, *_: Any) -> None:
        model = self.table.model()
        if isinstance(model, Table) and index.isValid():
            one = model.rows.iloc[index.row()]
            self.remark.setText(f"{one['region']}, {one['gene']}: {one['beside']}" if "gene" in model.rows else str(one["region"]))
            self.chosen.emit(self.chosen_ids())

    def _ask_observer(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Outlines of another observer", "", "GeoJSON (*.geojson *.json);;All files (*)")
        if path:
            self.observer_chosen.emit(Path(path))

    def _ask_save(self, kinds: str, ending: str, signal: Any) -> None:
        stem = TABS[self.tabs.currentIndex()].lower().replace(" ", "-")
        path, _ = QFileDialog.getSaveFileName(self, "Save", f"{stem}{ending}", kinds)
        if path:
            signal.emit(Path(path) if Path(path).suffix else Path(f"{path}{ending}"))


def p_words(found: dict[Any, Any]) -> str:
    """P, with ≤ where it is the least that could be found; a dash where there is none."""
    p = found.get("p", math.nan)
    return f"{'≤ ' if p * (1 + found['moves']) < 1.5 else ''}{p:.3f}" if math.isfinite(p) else "–"


def _beside(found: dict[Any, Any]) -> str:
    if "gene" not in found:
        return ""
    if found["why"]:
        return str(found["why"])
    more = f"; {found['caution']}" if found["caution"] else ""
    between = f"AUROC 95 %: {found['auroc_low']:.2f} to {found['auroc_high']:.2f}; " if math.isfinite(found["auroc_low"]) else ""
    n = f"n {found['measured_n']} inside, {found['outside_n']} outside"
    return f"{found['patients']}, {found['blocks']:.0f} blocks of tissue; {between}{n}{more}"


def _fill(view: QTableView, model: Table) -> None:
    """Show ``model``, columns as wide as their words, the last one what is left."""
    view.setModel(model)
    view.model_ = model  # type: ignore[attr-defined]  # Qt does not keep it
    header = view.horizontalHeader()
    if header is not None:
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        view.resizeColumnsToContents()
        for column in range(model.columnCount()):
            view.setColumnWidth(column, min(view.columnWidth(column), 190))
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(True)


def _words(value: Any, column: str) -> str:
    if isinstance(value, (float, np.floating)):
        digits = ".0%" if column.startswith("detected") else ".3f" if "mm2" in column else ".2f"
        return format(value, digits) if math.isfinite(value) else "–"
    return f"{value:,}" if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else str(value)
