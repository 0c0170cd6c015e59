"""The window "Which column is what?": asks what the columns of a plain table are, where their names do not say it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from math import isfinite
from typing import Any

from qtpy.QtCore import QStringListModel, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QGridLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.widgets import label, row
from napari_deepspace.errors import TableUnclear
from napari_deepspace.read.plain import ROLES, Header, header_of
from napari_deepspace.settings import SectionSettings

NAMES = {
    "x": ("x, px from the left", "Place of the spot in pixels of the full-resolution slide."),
    "y": ("y, px from the top", "Place of the spot in pixels of the full-resolution slide."),
    "barcode": ("Name of the spot", "Barcode, ROI or cell: a name of its own for every row."),
    "in_tissue": ("In tissue", "1 for spots on tissue, 0 for others; none: all are."),
    "cluster": ("Cluster", "Groups that came with the table."),
    "array_row": ("Row of the lattice", "Whole numbers; none: taken from the places."),
    "array_col": ("Column of the lattice", "Whole numbers; none: taken from the places."),
    "diameter": ("Spot diameter", "Width of a spot in pixels of the slide."),
}
NUMBERS = ("x", "y", "in_tissue", "array_row", "array_col", "diameter")
NONE = "–"
SHOWN_COLUMNS, SHOWN_ROWS = 30, 4


class ColumnsDialog(QDialog):
    """Asks for the column of every role of :data:`napari_deepspace.read.plain.ROLES`, and for um per px.

    ``given`` is what was answered before; ``needs_scale`` says that the columns are known, but um per px is not.
    """

    def __init__(self, header: Header, given: dict[str, str], mpp: float | None, needs_scale: bool, parent: QWidget | None):
        super().__init__(parent)
        self._header, self._needs_scale = header, needs_scale
        self.setWindowTitle("Which column is what?")
        self.resize(660, 500)
        why = "how many um a px of the slide is cannot be told from it. Say it below." if needs_scale else ""
        heading = label(f"{header.path.name}: {why or 'its header does not say where a spot lies. Say which columns do.'}", wrap=True)
        model = QStringListModel([NONE, *header.names], self)  # one for all: a table may have 20,000 genes
        grid = QGridLayout()
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(2, 1)
        self.combos: dict[str, QComboBox] = {}
        self.values = {role: label("", dim=True) for role in ROLES}
        for line, (role, (name, tip)) in enumerate(NAMES.items()):
            combo = self.combos[role] = QComboBox()
            combo.setModel(model)
            combo.setMaxVisibleItems(20)
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(20)
            combo.setToolTip(tip)
            combo.setCurrentText((header.guess | given).get(role) or NONE)
            combo.currentIndexChanged.connect(self._refresh)
            named = label(name)
            named.setToolTip(tip)
            for column, widget in enumerate((named, combo, self.values[role])):
                grid.addWidget(widget, line, column)
        self.mpp = QDoubleSpinBox()
        self.mpp.setRange(0, 100)
        self.mpp.setDecimals(4)
        self.mpp.setSpecialValueText("automatic")
        self.mpp.setValue(mpp or 0)
        self.mpp.valueChanged.connect(self._refresh)
        self.mpp.setToolTip("Micrometres per pixel of the slide. Automatic: as the image states, or from the lattice of the spots.")
        grid.addWidget(label("um per px", "um per px"), len(NAMES), 0)
        grid.addWidget(self.mpp, len(NAMES), 1)
        grid.addWidget(label("needed where spots make no lattice", dim=True), len(NAMES), 2)
        self.wrong = label("", wrap=True)
        self.open_button, cancel = QPushButton("Open"), QPushButton("Cancel")
        self.open_button.setObjectName("main")
        self.open_button.setDefault(True)
        self.open_button.clicked.connect(self.accept)
        cancel.clicked.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(heading)
        layout.addLayout(grid)
        layout.addWidget(
            label(
                "The first rows. Columns that are not named above are genes where they hold numbers, and notes where they hold text.",
                wrap=True,
                dim=True,
            )
        )
        layout.addWidget(_first_rows(header))
        layout.addWidget(self.wrong)
        layout.addLayout(row(1, cancel, self.open_button))
        self._refresh()

    def columns(self) -> dict[str, str]:
        """Role -> column, where it differs from what the header says by itself; "" for none."""
        chosen = {role: self._chosen(role) for role in self.combos}
        return {role: name for role, name in chosen.items() if name or role in self._header.guess}

    def _chosen(self, role: str) -> str:
        combo = self.combos[role]
        return combo.currentText() if combo.currentIndex() > 0 else ""

    def _refresh(self, *_: Any) -> None:
        taken: dict[str, str] = {}
        wrong = ""
        for role, (name, _tip) in NAMES.items():
            column = self._chosen(role)
            cells = [cells[self._header.names.index(column)] for cells in self._header.rows] if column else []
            self.values[role].setText(", ".join(cells[:3])[:48])
            no_number = next((cell for cell in cells if not _is_number(cell)), None) if role in NUMBERS else None
            if not wrong and column in taken and column:
                wrong = f"{column} cannot be both {taken[column]} and {name}."
            elif not wrong and no_number is not None:
                wrong = f"{name}: {column} holds {no_number!r}, which is no number."
            taken[column] = name
        missing = [name for name in ("x", "y") if not self._chosen(name)]
        if missing:
            wrong = f"Choose the column of {' and '.join(missing)}."
        elif not wrong and self._needs_scale and self.mpp.value() < 0.01:
            wrong = "Say how many um a px is."
        self.wrong.setText(wrong)
        self.open_button.setEnabled(not wrong)


def ask_columns(settings: SectionSettings | None, dock: Any, again: Callable[[SectionSettings], None], error: Exception) -> None:
    """Ask what a table's columns are that could not be read as ``settings`` say, and read it ``again`` with the answer; any other error is shown.

    ``dock`` says and fails, and is what the window lies over. What was open stays.
    """
    if settings is None or not isinstance(error, TableUnclear):
        dock.fail(error)
        return

    def show(header: Header) -> None:
        dialog = ColumnsDialog(header, settings.columns, settings.mpp, error.needs_scale, dock)
        dialog.accepted.connect(lambda: again(settings.model_copy(update={"columns": dialog.columns(), "mpp": dialog.mpp.value() or None})))
        dialog.rejected.connect(lambda: dock.say(f"{header.path.name} was not opened."))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dock.say(f"{header.path.name}: {'how many um is a px' if error.needs_scale else 'which column is what'}?")
        dock.columns_dialog = dialog
        dialog.open()

    start_job(partial(_header, error), on_return=show, on_error=dock.fail)


def _header(error: TableUnclear) -> Generator[None, None, Header]:
    yield None
    return header_of(error.path)


def _first_rows(header: Header) -> QTableWidget:
    shown = header.names[:SHOWN_COLUMNS]
    table = QTableWidget(min(len(header.rows), SHOWN_ROWS), len(shown))
    table.setHorizontalHeaderLabels(list(shown))
    for line, cells in enumerate(header.rows[:SHOWN_ROWS]):
        for column, cell in enumerate(cells[:SHOWN_COLUMNS]):
            table.setItem(line, column, QTableWidgetItem(cell))
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    head, side = table.horizontalHeader(), table.verticalHeader()
    assert head is not None and side is not None
    head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    side.hide()
    side.setDefaultSectionSize(22)
    table.setFixedHeight(22 * (SHOWN_ROWS + 1) + 26)
    return table


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text.replace(",", ".")))
    except ValueError:
        return False
