"""Buttons that stand beside many actions of the dock: Figure… and Copy as…. The panels know nothing of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton

from napari_deepspace._napari.copying import CopyButton, put_beside, section_now
from napari_deepspace._napari.figure_dialog import What
from napari_deepspace._napari.widgets import row
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.glossary import term
from napari_deepspace.points import store_name
from napari_deepspace.recipes import Recipe, denser_recipe, open_recipe, preprocess_recipe, train_recipe
from napari_deepspace.runs import DENSER
from napari_deepspace.settings import RunSettings

if TYPE_CHECKING:
    from napari_deepspace._napari.dock import DeepSpaceDock


def add_buttons(dock: DeepSpaceDock) -> None:
    """Put them where something can be drawn or done again."""
    look = _figure(dock, None)
    dock.look_panel.content.addLayout(row(look, 1))
    put_beside(dock.gene_panel.numbers, _figure(dock, ("table", "")))
    dock.denser_panel.figure_requested.connect(lambda: dock.figures.open(("between", "")))
    recipes: dict[QPushButton, Callable[[DeepSpaceDock], Recipe]] = {
        dock.section_panel.open_button: _open,
        dock.train_panel.stop: lambda dock: train_recipe(*_run(dock)),
        dock.denser_panel.stop: _denser,
    }
    for button, recipe in recipes.items():
        put_beside(button, _copy(dock, recipe))
    put_beside(dock.annotate_panel.export, _copy(dock, lambda dock: dock.exporting.recipe()))
    put_beside(dock.quality_panel.stay, _copy(dock, lambda dock: preprocess_recipe(*_run(dock))))


def _copy(dock: DeepSpaceDock, recipe: Callable[[DeepSpaceDock], Recipe]) -> CopyButton:
    return CopyButton(lambda: recipe(dock), dock.say, dock.fail)


def _figure(dock: DeepSpaceDock, what: What | None) -> QPushButton:
    button = QPushButton("Figure…")
    button.setToolTip(term("figure"))
    button.clicked.connect(lambda: dock.figures.open(what))
    return button


def _open(dock: DeepSpaceDock) -> Recipe:
    return open_recipe(section_now(dock.session, dock.opened)[0].model_copy(update={"outlines": None, "clusters": None}))


def _run(dock: DeepSpaceDock) -> tuple[RunSettings, dict[str, str]]:
    """The run that the panels ask for, with what is drawn on the section."""
    settings = dock.run_settings()
    section, files = section_now(dock.session, dock.opened)
    return settings.model_copy(update={"sections": (section,)}), files


def _denser(dock: DeepSpaceDock) -> Recipe:
    section, files = section_now(dock.session, dock.opened)
    session, at, spacing = dock.session, dock.denser_panel.where.value(), dock.denser_panel.spacing.value()
    if session.run_dir is None or session.section is None:
        raise DeepSpaceError("There is no finished run to predict with. Train, or open one, then copy.")
    out: Path = session.run_dir / DENSER / store_name(session.section.library_id, at, spacing, session.outlines)
    return denser_recipe(session.run_dir, section, out, at, spacing, files)
