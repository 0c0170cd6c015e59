"""napari with the dock in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari

from napari_deepspace._napari.dock import DeepSpaceDock
from napari_deepspace.project import is_project

NAME = "DeepSpaCE"


def find_dock(viewer: Any) -> DeepSpaceDock | None:
    """The dock of a viewer, whether a menu, a reader or a script opened it."""
    return next((widget for widget in viewer.window.dock_widgets.values() if isinstance(widget, DeepSpaceDock)), None)


def add_dock(viewer: Any) -> DeepSpaceDock:
    """The viewer's dock, opened if it is not there yet."""
    dock = find_dock(viewer)
    if dock is None:
        dock = DeepSpaceDock(viewer)
        viewer.window.add_dock_widget(dock, name=NAME, area="right")
    return dock


def open_window() -> tuple[Any, DeepSpaceDock]:
    """A napari window with the dock."""
    viewer = napari.Viewer(title="napari – DeepSpaCE (research use only)")
    return viewer, add_dock(viewer)


def open_app(project: Path | None = None, section: Path | None = None, **how: Any) -> None:
    """Open napari with the dock, and a project or a section in it; returns when the window is closed.

    ``project`` may be a section's folder too: what it is decides. ``how`` are settings of a section.
    """
    _, dock = open_window()
    if section is not None:
        dock.open_section(section, **how)
    elif project is not None and is_project(project):
        dock.open_project(project)
    elif project is not None:
        dock.open_section(project, **how)
    napari.run()
