"""The list of runs in the Train panel: two lines a run, and what can be done with the ones that are chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QAbstractListModel, QItemSelectionModel, QModelIndex, QPoint, QRect, QSize, Qt, Signal
from qtpy.QtGui import QAction, QColor, QPainter
from qtpy.QtWidgets import QAbstractItemView, QListView, QMenu, QPushButton, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from napari_deepspace._napari.style import Palette, palette
from napari_deepspace._napari.widgets import Collapsible, label, row
from napari_deepspace.glossary import term
from napari_deepspace.run_list import RunInfo, score_words, state_words

ACTIONS = {
    "open": ("Open", "Show the predictions of this run; of a run that trains: what it has so far."),
    "resume": ("Continue", "Go on with a run that was paused, stopped or interrupted, from its last checkpoint."),
    "compare": ("Compare", "A table of genes by runs; choose two or more finished runs."),
    "rename": ("Rename…", "Give the run another name; its folder keeps its own."),
    "up": ("Earlier in the queue", "Train this run before the one above it."),
    "down": ("Later in the queue", "Train this run after the one below it."),
    "leave": ("Take out of the queue", "The run does not wait any more."),
    "unseal": ("Open the seal with this run…", "Score this run at the sealed spots, once; of the run you have chosen, at the very end."),
    "delete": ("Delete…", "Delete the run's folder with its model and predictions."),
}


class RunsView(Collapsible):
    """Shows runs and says what the user wants done: ``wanted(action, [RunInfo, ...])``, with an action of :data:`ACTIONS`."""

    wanted = Signal(str, list)
    unfolded = Signal()

    def __init__(self) -> None:
        super().__init__("Runs", level=2, open_=False)
        self.model = _Runs()
        self.delegate = _TwoLines()
        self.list = QListView()
        self.list.setObjectName("runs")
        self.list.setModel(self.model)
        self.list.setItemDelegate(self.delegate)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.list.setFixedHeight(196)
        self.empty = label("No run yet. Runs are kept until you delete them.", "run", wrap=True, dim=True)
        self.menu = QMenu(self)
        self.actions_: dict[str, QAction] = {}
        for key, (words, tip) in ACTIONS.items():
            action = self.menu.addAction(words)
            if action is not None:
                action.setToolTip(tip)
                action.triggered.connect(lambda _=False, key=key: self._want(key))
                self.actions_[key] = action
        self.buttons = {key: QPushButton(words) for key, words in {"open": "Open", "resume": "Continue", "compare": "Compare"}.items()}
        for key, button in self.buttons.items():
            button.setToolTip(ACTIONS[key][1])
            button.clicked.connect(lambda _=False, key=key: self._want(key))
        self.more = QPushButton("More")
        self.more.setMenu(self.menu)
        self.next = QPushButton("Start the queue")
        self.next.setToolTip(term("queue"))
        self.next.clicked.connect(lambda: self.wanted.emit("next", []))
        self.content.addWidget(self.empty)
        self.content.addWidget(self.list)
        self.content.addLayout(row(*self.buttons.values(), self.more, 1))
        self.content.addLayout(row(self.next, 1))
        self.list.doubleClicked.connect(lambda _: self._want("open"))
        self.list.customContextMenuRequested.connect(self._context)
        self.header.toggled.connect(lambda on: self.unfolded.emit() if on else None)
        selection = self.list.selectionModel()
        if selection is not None:
            selection.selectionChanged.connect(lambda *_: self._refresh())
        self.show_runs([])

    def show_runs(self, runs: Sequence[RunInfo], running: bool = False) -> None:
        """Show ``runs`` in this order; what was chosen stays so. ``running``: this window follows one of them."""
        chosen = {run.run_dir for run in self.chosen()}
        self.model.set(list(runs))
        selection = self.list.selectionModel()
        for number, run in enumerate(runs):
            if run.run_dir in chosen and selection is not None:
                selection.select(self.model.index(number), QItemSelectionModel.SelectionFlag.Select)
        waiting = sum(run.state == "queued" for run in runs)
        self.header.setText(f"Runs ({len(runs)}" + (f", {waiting} waiting)" if waiting else ")") if runs else "Runs")
        self.next.setVisible(waiting > 0 and not running)
        self.next.setText(f"Start the queue ({waiting})")
        self.list.setVisible(bool(runs))
        self.empty.setVisible(not runs)
        for button in (*self.buttons.values(), self.more):
            button.setVisible(bool(runs))
        self._refresh()

    def chosen(self) -> list[RunInfo]:
        """The runs that are marked, in the order of the list."""
        selection = self.list.selectionModel()
        rows = sorted(index.row() for index in selection.selectedIndexes()) if selection is not None else []
        return [self.model.runs[number] for number in rows if number < len(self.model.runs)]

    def choose(self, *numbers: int) -> None:
        """Mark the runs of these rows."""
        selection = self.list.selectionModel()
        if selection is not None:
            selection.clear()
            for number in numbers:
                selection.select(self.model.index(number), QItemSelectionModel.SelectionFlag.Select)

    def restyle(self, p: Palette) -> None:
        """Follow napari's theme."""
        self.delegate.palette = p
        self.list.update()

    def _want(self, key: str) -> None:
        if self.possible(key):
            self.wanted.emit(key, self.chosen())

    def possible(self, key: str) -> bool:
        """Whether ``key`` of :data:`ACTIONS` makes sense for the chosen runs."""
        runs = self.chosen()
        one = len(runs) == 1
        waiting = one and runs[0].state == "queued"
        last = max((run.place for run in self.model.runs), default=0)
        return {
            "open": one and runs[0].state in ("finished", "running"),
            "resume": one and runs[0].resumable,
            "compare": len(runs) > 1 and all(run.n for run in runs),
            "rename": one,
            "up": waiting and runs[0].place > 1,
            "down": waiting and runs[0].place < last,
            "leave": bool(runs) and all(run.state == "queued" for run in runs),
            "unseal": one and runs[0].state == "finished" and runs[0].sealed,
            "delete": bool(runs) and all(run.state != "running" for run in runs),
        }[key]

    def _refresh(self) -> None:
        for key, action in self.actions_.items():
            action.setEnabled(self.possible(key))
            if key in ("up", "down", "leave"):
                action.setVisible(self.possible(key) or any(run.state == "queued" for run in self.chosen()))
        for key, button in self.buttons.items():
            button.setEnabled(self.possible(key))
        self.more.setEnabled(bool(self.chosen()))

    def _context(self, at: QPoint) -> None:
        viewport = self.list.viewport()
        if self.chosen() and viewport is not None:
            self.menu.popup(viewport.mapToGlobal(at))


class _Runs(QAbstractListModel):
    def __init__(self) -> None:
        super().__init__()
        self.runs: list[RunInfo] = []

    def set(self, runs: list[RunInfo]) -> None:
        self.beginResetModel()
        self.runs = runs
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return len(self.runs)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        run = self.runs[index.row()]
        if role == Qt.ItemDataRole.UserRole:
            return run
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return f"{run.name}, {state_words(run)}"
        return tooltip(run) if role == Qt.ItemDataRole.ToolTipRole else None


def tooltip(run: RunInfo) -> str:
    """All that is known of a run, a line each."""
    lines = [
        run.name,
        f"{run.target} by {run.model}, trained on {', '.join(run.sections)}",
        state_words(run) + (f": {run.message}" if run.message else ""),
        score_words(run),
        f"{run.started:%d %B %Y, %H:%M}; {run.size / 1e6:,.1f} MB",
        str(run.run_dir),
    ]
    return "\n".join(line for line in lines if line)


class _TwoLines(QStyledItemDelegate):
    """Name and score above, everything else below in small print; what does not fit is cut with dots and stands in the tooltip."""

    def __init__(self) -> None:
        super().__init__()
        self.palette = palette()

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        return QSize(60, 2 * option.fontMetrics.lineSpacing() + 9)

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        run = index.data(Qt.ItemDataRole.UserRole)
        if painter is None or run is None:
            return
        p = self.palette
        painter.save()
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        if chosen:
            painter.fillRect(option.rect, QColor(p.line))
        area = option.rect.adjusted(8, 4, -6, -4)
        painter.fillRect(QRect(option.rect.left() + 1, area.top(), 3, area.height()), QColor(self._colour(run.state)))
        height = option.fontMetrics.lineSpacing()
        score = f"r {run.r:.2f} · n {run.n:,}" if run.n and math.isfinite(run.r) else ""
        word = state_words(run) if run.state == "queued" else run.state
        date = f"{run.started:%d %b %H:%M}"
        rank = run.rank.split(" runs")[0] if " of " in run.rank else ""  # "best of 14"; the tooltip says it whole
        parts = [rank, run.target, *([run.model] if run.model != run.name else []), *([run.at] if run.state != "finished" else [])]
        below = " · ".join(part for part in parts if part)
        font = option.font
        font.setBold(True)
        self._line(painter, font, area.adjusted(0, 0, 0, height - area.height()), run.name, score or word, p.text, p.text)
        font.setBold(False)
        right = f"{word} · {date}" if score else date
        self._line(painter, font, area.adjusted(0, height + 1, 0, 0), below, right, p.text if chosen else p.dim, p.text if chosen else p.dim)
        painter.restore()

    def _line(self, painter: QPainter, font: Any, area: QRect, left: str, right: str, colour: str, right_colour: str) -> None:
        """``left`` with what room ``right`` leaves it, cut with dots where it is too long."""
        painter.setFont(font)
        metrics = painter.fontMetrics()
        width = metrics.horizontalAdvance(right)
        painter.setPen(QColor(right_colour))
        painter.drawText(area, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop), right)
        painter.setPen(QColor(colour))
        room = area.adjusted(0, 0, -(width + 8), 0)
        text = metrics.elidedText(left, Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop), text)

    def _colour(self, state: str) -> str:
        p = self.palette
        return {"running": p.accent, "queued": p.accent, "failed": p.error, "interrupted": p.warning, "paused": p.warning}.get(state, p.dim)
