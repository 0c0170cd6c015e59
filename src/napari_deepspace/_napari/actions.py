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

from napari_deepspace._napari.preferences import key_name, preferred_keys

if TYPE_CHECKING:
    from napari_deepspace._napari.dock import DeepSpaceDock

_open: list[weakref.ref[DeepSpaceDock]] = []  #: docks, the last opened last


def show_next_map(viewer: napari.viewer.Viewer) -> None:
    """The next of measured, model, colour alone and neighbours alone."""
    _ask(viewer, lambda dock: dock.painter.cycle())


def next_gene(viewer: napari.viewer.Viewer) -> None:
    """The next gene of the list in the Look step."""
    _ask(viewer, lambda dock: dock.look_panel.step_gene(1))


def previous_gene(viewer: napari.viewer.Viewer) -> None:
    """The gene before in the list in the Look step."""
    _ask(viewer, lambda dock: dock.look_panel.step_gene(-1))


def compare(viewer: napari.viewer.Viewer) -> None:
    """The window of measured against predicted."""
    _ask(viewer, lambda dock: dock.compare.open())


def flip(viewer: napari.viewer.Viewer) -> None:
    """Measured for predicted and back, with the same limits."""
    _ask(viewer, lambda dock: dock.compare.flip())


def swipe(viewer: napari.viewer.Viewer) -> None:
    """A line with measured to its left and predicted to its right, or none."""
    _ask(viewer, lambda dock: dock.compare.toggle_swipe())


def clear_selection(viewer: napari.viewer.Viewer) -> None:
    """No spot is selected."""
    _ask(viewer, lambda dock: dock.compare.clear())


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


def undo_outlines(viewer: napari.viewer.Viewer) -> None:
    """Outlines as they were before the last change of them."""
    _ask(viewer, lambda dock: dock.drawing.undo())


def redo_outlines(viewer: napari.viewer.Viewer) -> None:
    """The change that was undone last, again."""
    _ask(viewer, lambda dock: dock.drawing.redo())


def draw_blind(viewer: napari.viewer.Viewer) -> None:
    """Hide expression while outlines are drawn, or show it again."""
    _ask(viewer, lambda dock: dock.drawing.set_blind(not dock.session.blind))


def describe_outlines(viewer: napari.viewer.Viewer) -> None:
    """The window of what outlines hold: table, distributions, front, observers, genes."""
    _ask(viewer, lambda dock: dock.regions.open())


def blink_neighbour(viewer: napari.viewer.Viewer) -> None:
    """The neighbouring slide that is chosen is hidden, or seen again."""
    _ask(viewer, lambda dock: dock.neighbours.blink())


KEYS: dict[str, str] = {
    "show_next_map": "Shift-C",
    "next_gene": "Shift-Right",
    "previous_gene": "Shift-Left",
    "flip": "Shift-V",
    "swipe": "Shift-W",
    "clear_selection": "Escape",
    "next_stop": "Shift-N",
    "previous_stop": "Shift-P",
    "file_fold": "Shift-1",
    "file_necrosis": "Shift-2",
    "file_failed_spot": "Shift-3",
    "file_real": "Shift-4",
    "undo_outlines": "Control-Z",
    "redo_outlines": "Control-Shift-Z",
    "blink_neighbour": "Shift-B",
}
"""The usual key of each action that has one, by the function's name; ``napari.yaml`` offers each for another in Preferences."""


def keys() -> dict[str, str]:
    """Key of each action that has one, as the user prefers."""
    return preferred_keys(KEYS)[0]


def key_tip(name: str) -> str:
    """ " Shift-V on the slide." for the action that has this key, "" for one without."""
    key = keys().get(name)
    return f" {key} on the slide." if key else ""


def bind_keys(dock: DeepSpaceDock, viewer: Any) -> Callable[[], None]:
    """Make the actions reach ``dock`` by key and by palette; what is returned undoes it. A key that somebody else has bound is left to them."""
    here = weakref.ref(dock)
    _open.append(here)
    wanted, told = preferred_keys(KEYS)
    for words in told:
        dock.say(words, "warning")
    taken = {str(key) for key in viewer.keymap}
    bound = {key: globals()[name] for name, key in wanted.items() if key_name(key) not in taken}
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
