"""Small widgets that the panels share. They know nothing of sections, runs or napari's viewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QImage, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QAbstractSpinBox,
    QButtonGroup,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QListView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_deepspace.colour_scale import ticks
from napari_deepspace.glossary import term


class Wrapped(QLabel):
    """A label that breaks its lines and is always as high as they need: Qt's own loses lines inside nested layouts."""

    def __init__(self, text: str = "", lines: int = 0):
        super().__init__(text)
        self._lines = lines  #: room kept for at least so many
        self.setWordWrap(True)

    def setText(self, text: str | None) -> None:
        super().setText(text)
        self._fit()

    def minimumSizeHint(self) -> QSize:
        return QSize(40, max(super().minimumSizeHint().height(), 0))  # a long word never widens the dock

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: Any) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self) -> None:
        before = self.minimumHeight()
        self.setMinimumHeight(0)  # Qt counts it in, so that the label would never become lower
        height = max(self.heightForWidth(self.width()), self._lines * self.fontMetrics().lineSpacing(), 0)
        self.setMinimumHeight(before)
        if height != before:
            self.setFixedHeight(height)


def label(text: str = "", tip: str = "", *, wrap: bool = False, dim: bool = False) -> QLabel:
    """A label whose tooltip is the glossary's line for ``tip``."""
    widget = Wrapped(text) if wrap else QLabel(text)
    if tip:
        widget.setToolTip(term(tip))
    if dim:
        widget.setProperty("dim", True)
    return widget


def row(*widgets: QWidget | int, stretch: bool = False) -> QHBoxLayout:
    """A horizontal line of widgets; an int is a stretch of that weight."""
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(6)
    for widget in widgets:
        if isinstance(widget, int):
            layout.addStretch(widget)
        else:
            layout.addWidget(widget)
    if stretch:
        layout.addStretch(1)
    return layout


def restyle(widget: QWidget) -> None:
    """Apply the style sheet anew, after a property that it looks at has changed."""
    own = widget.style()
    if own is not None:
        own.unpolish(widget)
        own.polish(widget)


def one_shot(parent: QObject, milliseconds: int) -> QTimer:
    """A timer that fires once, that long after the last ``start()``."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    return timer


class Collapsible(QWidget):
    """A titled part that folds away. ``level`` 1 is a step of the dock, 2 is "Advanced" inside one."""

    def __init__(self, title: str, *, level: int = 1, open_: bool = True):
        super().__init__()
        self.header = QToolButton()
        self.header.setText(title)
        self.header.setObjectName("stepHeader" if level == 1 else "advancedHeader")
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.header.setCheckable(True)
        self.header.setChecked(open_)
        self.header.setSizePolicy(QSizePolicy.Policy.Expanding if level == 1 else QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.body = QWidget()
        self.content = QVBoxLayout(self.body)
        self.content.setContentsMargins(*((4, 4, 4, 8) if level == 1 else (12, 0, 0, 4)))
        self.content.setSpacing(6)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.header)
        layout.addWidget(self.body)
        self.header.toggled.connect(self._fold)
        self._fold(open_)

    def _fold(self, open_: bool) -> None:
        self.header.setArrowType(Qt.ArrowType.DownArrow if open_ else Qt.ArrowType.RightArrow)
        self.body.setVisible(open_)

    def set_open(self, open_: bool) -> None:
        self.header.setChecked(open_)


class Segmented(QWidget):
    """Buttons of which exactly one is down, ``per_row`` in a line."""

    changed = Signal(str)

    def __init__(self, options: dict[str, str], tips: dict[str, str] | None = None, per_row: int = 8):
        super().__init__()
        self.buttons: dict[str, QPushButton] = {}
        self._group = QButtonGroup(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        for number, (key, text) in enumerate(options.items()):
            if number % per_row == 0:
                line = row()
                line.setSpacing(1)
                layout.addLayout(line)
            button = QPushButton(text)
            button.setCheckable(True)
            button.setObjectName("segment")
            button.setToolTip((tips or {}).get(key, ""))
            button.clicked.connect(lambda _=False, key=key: self.changed.emit(key))
            self._group.addButton(button)
            self.buttons[key] = button
            line.addWidget(button, 1)
        next(iter(self.buttons.values())).setChecked(True)

    def value(self) -> str:
        return next(key for key, button in self.buttons.items() if button.isChecked())

    def set_value(self, key: str) -> None:
        """That button is down; none of them for another key."""
        if key in self.buttons:
            self.buttons[key].setChecked(True)
            return
        self._group.setExclusive(False)
        for button in self.buttons.values():
            button.setChecked(False)
        self._group.setExclusive(True)


class Chips(QListWidget):
    """Chosen names as small tiles; a click removes one."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("chips")
        self.setFlow(QListView.Flow.LeftToRight)
        self.setWrapping(True)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setSpacing(2)
        self.setFixedHeight(82)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setToolTip("Click a gene to take it out again.")
        self.itemClicked.connect(self._remove)

    def names(self) -> tuple[str, ...]:
        items = (self.item(i) for i in range(self.count()))
        return tuple(str(item.data(Qt.ItemDataRole.UserRole)) for item in items if item is not None)

    def set_names(self, names: Sequence[str]) -> None:
        self.clear()
        for name in dict.fromkeys(names):
            item = QListWidgetItem(f"{name}  ×")
            item.setData(Qt.ItemDataRole.UserRole, name)
            self.addItem(item)
        self.changed.emit()

    def add(self, name: str) -> None:
        if name not in self.names():
            self.set_names([*self.names(), name])
            self.scrollToBottom()

    def _remove(self, item: QListWidgetItem) -> None:
        self.takeItem(self.row(item))
        self.changed.emit()


class ColourBar(QWidget):
    """A horizontal colour bar with its limits below and, above, what it shows, where that comes from and its unit."""

    def __init__(self) -> None:
        super().__init__()
        self.title, self.unit = label("", wrap=True), label("", wrap=True, dim=True)
        self.low, self.middle, self.high = label(), label(), label()
        self.bar = _Gradient()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.title)
        layout.addWidget(self.bar)
        layout.addLayout(row(self.low, 1, self.middle, 1, self.high))
        layout.addWidget(self.unit)

    def set(self, title: str, unit: str, limits: tuple[float, float], lut: np.ndarray, relative: bool = False, log: bool = False) -> None:
        """``relative``: the ends are named low and high, since their values mean nothing; ``log``: the colours are spread by logarithm."""
        self.title.setText(title)
        self.unit.setText(f"{unit}; colours by logarithm" if log else unit)
        ends = ("low", "", "high") if relative else tuple(f"{value:.2f}" for value in ticks(limits, log))
        for widget, words in zip((self.low, self.middle, self.high), ends, strict=True):
            widget.setText(words)
        self.bar.set(lut)


class _Gradient(QFrame):
    def __init__(self) -> None:
        super().__init__()
        self._image: QImage | None = None
        self.setFixedHeight(14)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set(self, lut: np.ndarray) -> None:
        pixels = np.ascontiguousarray((lut[None, :, :] * 255).round().astype(np.uint8))
        self._image = QImage(pixels.tobytes(), pixels.shape[1], 1, pixels.shape[1] * 4, QImage.Format.Format_RGBA8888).copy()
        self.update()

    def paintEvent(self, event: Any) -> None:
        if self._image is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(self.rect(), self._image)
        painter.setPen(QColor(128, 128, 128))
        painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        painter.end()

    def sizeHint(self) -> QSize:
        return QSize(120, 14)


class _CalmWheel(QObject):
    """Turning the wheel scrolls the dock and never changes a value by accident."""

    def eventFilter(self, watched: Any, event: Any) -> bool:
        if event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()
            return True
        return False


def calm_wheel(root: QWidget) -> None:
    """Make every value widget under ``root`` ignore the wheel until it has the focus."""
    guard = _CalmWheel(root)
    for kind in (QAbstractSpinBox, QComboBox, QSlider):
        for widget in root.findChildren(kind):
            widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            widget.installEventFilter(guard)
