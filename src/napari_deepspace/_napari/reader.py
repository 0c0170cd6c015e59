"""A Space Ranger folder dropped on napari's canvas opens in the dock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def get_reader(path: str | list[str]) -> Callable[[Any], list[tuple[None]]] | None:
    """A reader for a Space Ranger folder; None at once for anything else (napari offers every folder)."""
    if not isinstance(path, str):
        return None
    folder = Path(path)
    if not any(next(iter(base.glob("spatial/tissue_positions*")), None) for base in (folder, folder / "outs")):
        return None
    return open_in_dock


def open_in_dock(path: Any) -> list[tuple[None]]:
    """Open the dock and read the folder there, in a thread: napari's main thread stays free and no layer is returned."""
    import napari

    from napari_deepspace._napari.app import add_dock

    viewer = napari.current_viewer()
    if viewer is not None:
        add_dock(viewer).open_section(Path(path))
    return [(None,)]
