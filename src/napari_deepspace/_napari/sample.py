"""The built-in section as napari sample data."""

from __future__ import annotations

from napari_deepspace.layers import LayerTuple


def phantom_layers() -> list[LayerTuple]:
    """Slide and spots of the SYNTHETIC section; the dock's own button also loads its counts."""
    from napari_deepspace.layers import section_layers
    from napari_deepspace.phantom import make_phantom
    from napari_deepspace.read import read_section

    return section_layers(read_section(make_phantom() / "outs"))
