"""What each cluster's colour is: swatch, name, how many, and whether it is painted. One widget for clusters, classes and the denser map."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QCheckBox, QColorDialog, QGridLayout, QToolButton, QWidget

from napari_deepspace._napari.session import Session
from napari_deepspace.glossary import term

COLUMNS = 2
LONGEST = 14  #: letters of a name that fit a column


class Legend(QWidget):
    """A click on a swatch asks for another colour, a box that is not ticked hides the cluster on the slide; the session holds both."""

    def __init__(self, session: Session):
        super().__init__()
        self._session = session
        self.ask: Callable[[str, str], str | None] = self._ask  #: (name, colour) -> another colour, None for none
        self.rows: dict[str, tuple[SwatchButton, QCheckBox]] = {}
        self._counts: tuple[int, ...] = ()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(4)
        self._grid.setVerticalSpacing(1)
        for column in range(COLUMNS):
            self._grid.setColumnStretch(2 * column + 1, 1)
        session.events.hidden_clusters.connect(self._refresh)
        session.events.recoloured.connect(self._refresh)

    def show_clusters(self, names: Iterable[str], counts: Iterable[int]) -> None:
        """The clusters of these names, with how many spots or points each has."""
        names = [str(name) for name in names]
        if names != list(self.rows):
            self._rebuild(names)
        self._counts = tuple(int(count) for count in counts)
        self._refresh()

    def _rebuild(self, names: list[str]) -> None:
        for widgets in self.rows.values():
            for widget in widgets:
                self._grid.removeWidget(widget)
                widget.hide()
                widget.deleteLater()
        self.rows = {}
        for number, name in enumerate(names):
            swatch, box = SwatchButton(), QCheckBox()
            swatch.clicked.connect(lambda _=False, name=name: self._recolour(name))
            box.toggled.connect(lambda on, name=name: self._toggle(name, on))
            line, column = divmod(number, COLUMNS)
            self._grid.addWidget(swatch, line, 2 * column)
            self._grid.addWidget(box, line, 2 * column + 1)
            self.rows[name] = (swatch, box)

    def _refresh(self, *_: Any) -> None:
        colours = self._session.cluster_colours(list(self.rows))
        for (name, (swatch, box)), count in zip(self.rows.items(), self._counts, strict=True):
            swatch.set_colour(colours[name])
            short = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
            box.setText(f"{short} ({count:,})")
            swatch.setToolTip(f"{name}: click for another colour.")
            box.setToolTip(f"{name}. {term('hidden cluster')}")
            box.blockSignals(True)
            box.setChecked(name not in self._session.hidden_clusters)
            box.blockSignals(False)

    def _toggle(self, name: str, on: bool) -> None:
        hidden = self._session.hidden_clusters
        self._session.hidden_clusters = hidden - {name} if on else hidden | {name}

    def _recolour(self, name: str) -> None:
        colour = self.ask(name, self.rows[name][0].colour)
        if colour is not None:
            self._session.recolour(name, colour, list(self.rows))

    def _ask(self, name: str, colour: str) -> str | None:
        chosen = QColorDialog.getColor(QColor(colour), self, f"Colour of cluster {name}")
        return str(chosen.name()) if chosen.isValid() else None


class SwatchButton(QToolButton):
    """A small square of one colour that can be clicked."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = "#000000"
        self.setFixedSize(16, 16)

    def set_colour(self, colour: str) -> None:
        self.colour = colour
        self.update()

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setBrush(QColor(self.colour))
        painter.setPen(QColor(128, 128, 128) if not self.hasFocus() else self.palette().color(self.foregroundRole()))
        painter.drawRect(self.rect().adjusted(1, 1, -2, -2))
        painter.end()
