"""Copy as command, copy as Python: a small button beside an action puts on the clipboard what does the same again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QBoxLayout, QLayout, QMenu, QToolButton, QWidget

from napari_deepspace._napari.session import Session
from napari_deepspace.cluster_colours import usual_colours
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.glossary import term
from napari_deepspace.outlines import geojson_of
from napari_deepspace.recipes import Recipe
from napari_deepspace.runs import safe_name
from napari_deepspace.settings import SectionSettings


class CopyButton(QToolButton):
    """``recipe`` makes the text when it is asked for; it may raise DeepSpaceError, which ``fail`` tells."""

    def __init__(self, recipe: Callable[[], Recipe], say: Callable[[str], None], fail: Callable[[Exception], None]):
        super().__init__()
        self._recipe, self._say, self._fail = recipe, say, fail
        self.setObjectName("copy")
        self.setText("Copy as")
        self.setToolTip(term("copy as"))
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        self.as_command = menu.addAction("Copy as command", self.copy_command)
        self.as_python = menu.addAction("Copy as Python", self.copy_python)
        self.setMenu(menu)

    def copy_command(self) -> None:
        """Put the command on the clipboard."""
        self._copy("command", "shell")

    def copy_python(self) -> None:
        """Put the Python text on the clipboard."""
        self._copy("python", "Python")

    def _copy(self, name: str, where: str) -> None:
        try:
            text = getattr(self._recipe(), name)
        except DeepSpaceError as error:
            self._fail(error)
            return
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(text)
            n = text.count("\n")
            self._say(f"Copied {n} line{'s' * (n != 1)}: paste {'them' if n != 1 else 'it'} into {'a ' if where == 'shell' else ''}{where}.")


def put_beside(widget: QWidget, new: QWidget) -> None:
    """Place ``new`` at the right of ``widget``, in the row that holds it, or in a row of their own."""
    parent = widget.parentWidget()
    found = _row_of(parent.layout(), widget) if parent is not None else None
    if found is None:
        return
    layout, at = found
    if layout.direction() == QBoxLayout.Direction.LeftToRight:
        layout.insertWidget(at + 1, new)
        return
    layout.removeWidget(widget)
    both = QBoxLayout(QBoxLayout.Direction.LeftToRight)
    both.setSpacing(6)
    both.addWidget(widget, 1)
    both.addWidget(new)
    layout.insertLayout(at, both)


def _row_of(layout: QLayout | None, widget: QWidget) -> tuple[QBoxLayout, int] | None:
    """The box layout that holds ``widget`` itself, and its place there."""
    for at in range(layout.count() if layout is not None else 0):
        item = layout.itemAt(at)  # type: ignore[union-attr]
        if item is not None and item.widget() is widget and isinstance(layout, QBoxLayout):
            return layout, at
        found = _row_of(item.layout(), widget) if item is not None and item.layout() is not None else None
        if found is not None:
            return found
    return None


def section_now(session: Session, opened: SectionSettings | None) -> tuple[SectionSettings, dict[str, str]]:
    """How the open section is read again with what is drawn on it now, and the texts of the files that say what is drawn, by name.

    Raises
    ------
    DeepSpaceError
        No section is open.
    """
    if opened is None or session.section is None:
        raise DeepSpaceError("There is nothing to copy yet. Open a section first.")
    name, files, drawn = safe_name(session.section.library_id), {}, {}
    if session.outlines:
        drawn["outlines"] = Path(f"{name}-outlines.geojson")
        files[str(drawn["outlines"])] = geojson_of(session.outlines, session.drawn_on)
    names = [] if session.clusters is None else [str(one) for one in session.clusters.cat.categories]
    colours = session.cluster_colours(names)
    chosen = bool(session.recoloured) and colours != usual_colours(names)
    own = session.clusters if chosen else session.own_clusters()
    if own is not None:
        drawn["clusters"] = Path(f"{name}-clusters.csv")
        table = own.rename("cluster").to_frame()
        if chosen:
            table["colour"] = own.astype(str).map(colours)
        files[str(drawn["clusters"])] = table.to_csv(index_label="barcode", lineterminator="\n")
    return opened.model_copy(update=drawn), files
