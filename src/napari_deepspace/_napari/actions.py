"""What a key or napari's command palette asks of the dock: a function an action, called with the viewer, and the key of each.

``napari.yaml`` lists the same functions as commands. Keys are bound while a dock is open and leave with it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import napari.viewer
from napari.utils.notifications import show_info
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut

if TYPE_CHECKING:
    from napari_deepspace._napari.dock import DeepSpaceDock

_open: list[weakref.ref[DeepSpaceDock]] = []  #: docks, the last opened last


def show_next_map(viewer: napari.viewer.Viewer) -> None:
    """The next of measured, model, colour alone and neighbours alone."""
    _ask(viewer, lambda dock: dock.painter.cycle())


def next_stop(viewer: napari.viewer.Viewer) -> None:
    """The next of the places where predicted and measured differ most."""
    _ask(viewer, lambda dock: dock.inspector.go(1))


def previous_stop(viewer: napari.viewer.Viewer) -> None:
    """The one before."""
    _ask(viewer, lambda dock: dock.inspector.go(-1))


def file_fold(viewer: napari.viewer.Viewer) -> None:
    """The spot of the card differs because the tissue is folded there; the same again takes it back."""
    _ask(viewer, lambda dock: dock.inspector.file("fold"))


def file_necrosis(viewer: napari.viewer.Viewer) -> None:
    """... because it is dead tissue."""
    _ask(viewer, lambda dock: dock.inspector.file("necrosis"))


def file_failed_spot(viewer: napari.viewer.Viewer) -> None:
    """... because the assay failed there."""
    _ask(viewer, lambda dock: dock.inspector.file("failed spot"))


def file_real(viewer: napari.viewer.Viewer) -> None:
    """... because it is so, and the model does not see it."""
    _ask(viewer, lambda dock: dock.inspector.file("real"))


KEYS: dict[str, str] = {
    "show_next_map": "Shift-C",
    "next_stop": "Shift-N",
    "previous_stop": "Shift-P",
    "file_fold": "Shift-1",
    "file_necrosis": "Shift-2",
    "file_failed_spot": "Shift-3",
    "file_real": "Shift-4",
}
"""Key of each action that has one, by the function's name."""


def bind_keys(dock: DeepSpaceDock, viewer: Any) -> Callable[[], None]:
    """Make the actions reach ``dock`` by key and by palette; what is returned undoes it. A key that somebody else has bound is left to them."""
    here = weakref.ref(dock)
    _open.append(here)
    bound = {key: globals()[name] for name, key in KEYS.items() if key not in {str(taken) for taken in viewer.keymap}}
    shortcuts: list[QShortcut] = []
    for key, action in bound.items():
        if key[-1].isdigit():  # napari drops Shift from such keys, for it makes another character of them on most keyboards; Qt knows both
            shortcuts.append(QShortcut(QKeySequence(key.replace("-", "+")), dock))
            shortcuts[-1].activated.connect(partial(_press, here, action))
        else:
            viewer.bind_key(key, action)

    def release() -> None:
        if here in _open:
            _open.remove(here)
        for shortcut in shortcuts:
            with suppress(RuntimeError):  # it was destroyed with the dock
                shortcut.setEnabled(False)
        for key, action in bound.items():
            if action in viewer.keymap.values():
                viewer.bind_key(key, None)

    return release


def _press(here: weakref.ref[DeepSpaceDock], action: Callable[[Any], None]) -> None:
    dock = here()
    if dock is not None:
        action(dock.canvas.viewer)


def _ask(viewer: Any, act: Callable[[DeepSpaceDock], None]) -> None:
    """Let the dock of that window act; say how to open one where there is none."""
    for reference in reversed(_open):
        dock = reference()
        if dock is not None and dock.of_viewer(viewer):
            act(dock)
            return
    show_info("Open the DeepSpaCE dock first (Plugins > DeepSpaCE).")
