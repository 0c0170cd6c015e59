"""A section or a project dropped on napari's canvas opens in the dock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_deepspace.project import is_project


def get_reader(path: str | list[str]) -> Callable[[Any], list[tuple[None]]] | None:
    """A reader for Space Ranger's folders, an .h5ad file or our project; None at once for anything else (napari offers every folder)."""
    if not isinstance(path, str):
        return None
    return open_in_dock if opens(Path(path)) else None


def opens(path: Path) -> bool:
    """Whether ``path`` is ours, by names alone: nothing is read."""
    if path.suffix == ".h5ad":
        return path.is_file()
    loose = ("*tissue_positions*.csv*", "*tissue_positions*.parquet")
    several = ("*/spatial/tissue_positions*", "*/outs/spatial/tissue_positions*")
    patterns = ("*spatial/*tissue_positions*", "binned_outputs/square_*/spatial", *loose, *several)
    return is_project(path) or any(next(iter(base.glob(pattern)), None) for base in (path, path / "outs") for pattern in patterns)


def open_in_dock(path: Any) -> list[tuple[None]]:
    """Open the dock and read the path there, in a thread: napari's main thread stays free and no layer is returned."""
    import napari

    from napari_deepspace._napari.app import add_dock

    viewer = napari.current_viewer()
    if viewer is not None:
        dock = add_dock(viewer)
        dock.open_project(Path(path)) if is_project(Path(path)) else dock.open_section(Path(path))
    return [(None,)]
