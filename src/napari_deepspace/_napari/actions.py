"""What a key or napari's command palette asks of the dock: a function an action, called with the viewer, and the key of each.

``napari.yaml`` lists the same functions as commands. Keys are bound while a dock is open and leave with it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import napari.viewer
from napari.utils.notifications import show_info

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


KEYS: dict[str, str] = {
    "show_next_map": "Shift-C",
    "next_gene": "Shift-Right",
    "previous_gene": "Shift-Left",
    "flip": "Shift-V",
    "swipe": "Shift-W",
    "clear_selection": "Escape",
}
"""The usual key of each action that has one, by the function's name; ``napari.yaml`` offers each for another in Preferences."""


def keys() -> dict[str, str]:
    """Key of each action that has one, as the user prefers."""
    return preferred_keys(KEYS)[0]


def bind_keys(dock: DeepSpaceDock, viewer: Any) -> Callable[[], None]:
    """Make the actions reach ``dock`` by key and by palette; what is returned undoes it. A key that somebody else has bound is left to them."""
    here = weakref.ref(dock)
    _open.append(here)
    wanted, told = preferred_keys(KEYS)
    for words in told:
        dock.say(words, "warning")
    taken = {str(key) for key in viewer.keymap}
    bound = {key: globals()[name] for name, key in wanted.items() if key_name(key) not in taken}
    for key, action in bound.items():
        viewer.bind_key(key, action)

    def release() -> None:
        if here in _open:
            _open.remove(here)
        for key, action in bound.items():
            if action in viewer.keymap.values():
                viewer.bind_key(key, None)

    return release


def _ask(viewer: Any, act: Callable[[DeepSpaceDock], None]) -> None:
    """Let the dock of that window act; say how to open one where there is none."""
    for reference in reversed(_open):
        dock = reference()
        if dock is not None and dock.of_viewer(viewer):
            act(dock)
            return
    show_info("Open the DeepSpaCE dock first (Plugins > DeepSpaCE).")
