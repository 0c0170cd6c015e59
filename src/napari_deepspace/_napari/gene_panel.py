"""Step 5: how far to trust each gene's map: one bar a gene up to what its counts allow, the simple ways as ticks, the verdict in words."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QPoint, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen, QPolygon
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QLineEdit,
    QListView,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from napari_deepspace._napari.run_view import LINE_COLOURS
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.style import Palette, palette
from napari_deepspace._napari.widgets import Collapsible, label, row
from napari_deepspace.gene_names import GeneNames
from napari_deepspace.gene_scores import BEST, WITHIN, GeneScore, Scores, in_interval
from napari_deepspace.glossary import term
from napari_deepspace.verdicts import SHOWN_WAYS, WAYS

WAY_COLOURS = {way: LINE_COLOURS[way] for way in SHOWN_WAYS}
ROW_PX = 39
ROWS = 5  #: in view at once
NO_SCORES = "Train, or open a finished run: then every predicted gene stands here with a verdict."
NO_VERDICT = "This run is older than verdicts: train again to get them."


class GenePanel(Collapsible):
    """Shows the scores of the run that is looked at; a click shows the gene on the slide."""

    table_wanted = Signal()

    def __init__(self, session: Session):
        super().__init__("5  How far to trust it")
        self._session = session
        self._shown: Scores | None = None
        self.summary = label(NO_SCORES, "verdict", wrap=True)
        self.where = label("", "split", wrap=True, dim=True)
        self.legend = _Legend()
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a gene in this list…")
        self.search.setClearButtonEnabled(True)
        self.anyway = QCheckBox("Show anyway")
        self.anyway.setToolTip(term("show anyway"))
        self.model = _Rows()
        self.delegate = _Bars()
        self.list = QListView()
        self.list.setObjectName("runs")
        self.list.setModel(self.model)
        self.list.setItemDelegate(self.delegate)
        self.list.setUniformItemSizes(True)
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.chosen = label("", "r", wrap=True)
        self.chosen.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.numbers = QPushButton("All numbers…")
        self.numbers.setToolTip("A table of every gene's scores, to be sorted by any of them.")
        for widget in (self.summary, self.where, self.legend, self.search, self.list):
            self.content.addWidget(widget)
        self.content.addLayout(row(self.anyway, 1, self.numbers))
        self.content.addWidget(self.chosen)
        self._connect()
        self._show(None)

    def _connect(self) -> None:
        events = self._session.events
        events.maps.connect(self._maps_changed)
        events.gene.connect(self._gene_changed)
        events.show_anyway.connect(self._anyway_changed)
        self.anyway.toggled.connect(lambda on: setattr(self._session, "show_anyway", on))
        self.list.clicked.connect(self._pick)
        self.list.activated.connect(self._pick)
        self.search.textChanged.connect(self.model.filter)
        self.numbers.clicked.connect(self.table_wanted.emit)

    def restyle(self, p: Palette) -> None:
        """Follow napari's theme."""
        self.delegate.palette = self.legend.palette_ = p
        self.legend.update()
        self.list.update()

    def scores(self) -> Scores | None:
        """Of the run that is looked at, where it has any."""
        maps = self._session.maps
        return maps.scores if maps is not None and maps.scores is not None and maps.scores.genes else None

    def _maps_changed(self, *_: Any) -> None:
        scores = self.scores()
        if scores is not self._shown:
            self._show(scores)

    def _show(self, scores: Scores | None) -> None:
        self._shown = scores
        self.model.set(scores.ordered() if scores is not None else [])
        self.model.filter(self.search.text())
        for widget in (self.list, self.legend, self.numbers, self.where):
            widget.setVisible(scores is not None)
        self.search.setVisible(scores is not None and len(scores.genes) > 8)
        self.anyway.setVisible(scores is not None and any(one.doubt for one in scores.genes.values()))
        self.list.setFixedHeight(min(max(len(self.model.rows), 2), ROWS) * ROW_PX + 4)
        if scores is None:
            self.summary.setText(NO_SCORES)
        else:
            synthetic = "SYNTHETIC data. " if scores.synthetic else ""
            self.summary.setText(f"{synthetic}<b>{scores.short_summary() or NO_VERDICT}</b>")
            self.summary.setToolTip(scores.summary())
            self.where.setText(f"Scored at {scores.where()}.")
        self._gene_changed()

    def _gene_changed(self, *_: Any) -> None:
        gene, scores = self._session.gene, self._shown
        known = scores is not None and gene in scores.genes
        self.chosen.setVisible(known)
        if scores is None or not known:
            return
        number = next((number for number, one in enumerate(self.model.rows) if one.name == gene), None)
        if number is not None:
            self.list.setCurrentIndex(self.model.index(number))
        one = scores.of(gene)
        glance = scores.at_a_glance(gene)
        r = f"{scores.score} {one.r:.2f}{in_interval(one.interval)} at {scores.n:,} spots." if glance else ""
        lines = [f"<b>{gene}: {one.verdict or 'no verdict'}</b>", glance and f"{glance}.", *(f"• {words}" for words in scores.against(gene)), r]
        self.chosen.setText("<br>".join(line for line in lines if line))
        self.chosen.setToolTip(term("within compartments") if WITHIN in glance else "")

    def _anyway_changed(self, on: bool) -> None:
        self.anyway.setChecked(on)
        self.delegate.anyway = on
        self.list.viewport().update()  # type: ignore[union-attr]

    def _pick(self, index: QModelIndex) -> None:
        self._session.paint = "gene"
        self._session.gene = self.model.rows[index.row()].name


class _Rows(QAbstractListModel):
    """Genes in the order of their verdicts; only rows in view are ever drawn, so that 18,000 are no more work than eight."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[GeneScore] = []
        self.rows: list[GeneScore] = []
        self._names = GeneNames(())

    def set(self, genes: list[GeneScore]) -> None:
        self.all = genes
        self._names = GeneNames([one.name for one in genes])

    def filter(self, text: str) -> None:
        wanted = {match.name for match in self._names.find(text)} if text.strip() else set()
        self.beginResetModel()
        self.rows = [one for one in self.all if one.name in wanted] if text.strip() else self.all
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return len(self.rows)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        one = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{one.name}: {one.verdict}"
        return one if role == Qt.ItemDataRole.UserRole else None


class _Bars(QStyledItemDelegate):
    """Name and verdict, and below them the bar."""

    def __init__(self) -> None:
        super().__init__()
        self.palette = palette()
        self.anyway = False

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        return QSize(200, ROW_PX)

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        one, p = index.data(Qt.ItemDataRole.UserRole), self.palette
        if painter is None or one is None:
            return
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(option.rect, QColor(p.line))
        grey = bool(one.doubt) and not self.anyway
        area = option.rect.adjusted(8, 3, -8, -3)
        line = painter.fontMetrics().height()
        top = QRect(area.left(), area.top(), area.width(), line)
        font = painter.font()
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(QColor(p.dim if grey else p.text))
        painter.drawText(top, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), one.name)
        used = painter.fontMetrics().horizontalAdvance(one.name) + 10
        font.setBold(False)
        painter.setFont(font)
        rest = top.adjusted(used, 0, 0, 0)
        words = painter.fontMetrics().elidedText(one.verdict or "no verdict", Qt.TextElideMode.ElideRight, rest.width())
        painter.drawText(rest, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), words)
        draw_bar(painter, QRect(area.left(), area.bottom() - 12, area.width(), 10), one, p, grey)
        painter.restore()


def draw_bar(painter: QPainter, area: QRect, one: GeneScore, p: Palette, grey: bool) -> None:
    """r from 0 (left) to 1 (right): an open bar up to the ceiling, a filled one up to the model's r, its interval, and a tick for each simple way."""

    def at(r: float) -> int:
        return area.left() + round(min(max(r, 0.0), 1.0) * (area.width() - 1))

    painter.fillRect(area.left(), area.center().y(), area.width(), 1, QColor(p.line))
    if math.isfinite(one.ceiling):
        painter.setPen(QColor(p.dim))
        painter.setBrush(QColor(p.background))
        painter.drawRect(area.left(), area.top(), max(at(one.ceiling) - area.left(), 1), area.height())
    if math.isfinite(one.r):
        painter.fillRect(QRect(area.left(), area.top() + 2, max(at(one.r) - area.left(), 2), area.height() - 3), QColor(p.dim if grey else p.accent))
    if all(map(math.isfinite, one.interval)):
        low, high = map(at, one.interval)
        painter.fillRect(low, area.center().y(), max(high - low, 1), 2, QColor(p.text))
        for end in (low, high):
            painter.fillRect(end, area.center().y() - 2, 1, 6, QColor(p.text))
    for way, colour in WAY_COLOURS.items():
        if math.isfinite(one.ways.get(way, math.nan)):
            draw_tick(painter, at(one.ways[way]), area, colour, p, way)


def draw_tick(painter: QPainter, x: int, area: QRect, colour: str, p: Palette, way: str) -> None:
    """A thick line through the bar with a head: above it for colour, below it for the neighbours, so that two at one place are both seen."""
    painter.setPen(QPen(QColor(p.background), 5))
    painter.drawLine(x, area.top() - 2, x, area.bottom() + 2)
    painter.setPen(QPen(QColor(colour), 3))
    painter.drawLine(x, area.top() - 2, x, area.bottom() + 2)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colour))
    up = way == SHOWN_WAYS[0]
    y, tip = (area.top() - 4, area.top() + 1) if up else (area.bottom() + 4, area.bottom() - 1)
    painter.drawPolygon(QPolygon([QPoint(x - 4, y), QPoint(x + 4, y), QPoint(x, tip)]))


class _Legend(QWidget):
    """What the bar and its ticks mean, drawn as they are drawn in the list."""

    PARTS = (
        ("bar", "model: better"),
        ("frame", BEST),
        ("grey", "model: not better"),
        ("interval", "95 % interval"),
        ("mean RGB", WAYS["mean RGB"]),
        ("interpolation", WAYS["interpolation"]),
    )

    def __init__(self) -> None:
        super().__init__()
        self.palette_ = palette()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip("Each bar goes from r 0 at the left edge to r 1 at the right. Grey: not better than every simple way.")

    def sizeHint(self) -> QSize:
        return QSize(300, -(-len(self.PARTS) // 2) * self._line() + 6)

    def _line(self) -> int:
        return max(self.fontMetrics().height() + 4, 18)

    def paintEvent(self, event: Any) -> None:
        p, painter = self.palette_, QPainter(self)
        half = self.width() // 2
        for number, (key, words) in enumerate(self.PARTS):
            x, y = (number % 2) * half + 8, (number // 2) * self._line()
            area = QRect(x, y + self._line() // 2 - 5, 26, 10)
            if key in ("bar", "grey"):
                painter.fillRect(area.adjusted(0, 2, 0, -1), QColor(p.accent if key == "bar" else p.dim))
            elif key == "interval":
                painter.fillRect(area.left(), area.center().y(), area.width(), 2, QColor(p.text))
                for end in (area.left(), area.right()):
                    painter.fillRect(end, area.center().y() - 2, 1, 6, QColor(p.text))
            elif key == "frame":
                painter.setPen(QColor(p.dim))
                painter.setBrush(QColor(p.background))
                painter.drawRect(area)
            else:
                draw_tick(painter, area.center().x(), area, WAY_COLOURS[key], p, key)
            painter.setPen(QColor(p.text))
            rect = QRect(area.right() + 8, y, self.width() - half, self._line())
            painter.drawText(rect, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), words)
        painter.end()
