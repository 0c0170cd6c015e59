"""Consecutive sections as layers of spots in 3D, painted with the gene that is looked at; what was seen in 2D comes back as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Layer as NapariLayer
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from napari_deepspace._napari.canvas import Canvas, lock
from napari_deepspace._napari.neighbours import Neighbours
from napari_deepspace._napari.neighbours_panel import NeighboursPanel
from napari_deepspace._napari.session import HIDDEN, Session
from napari_deepspace._napari.training import Say
from napari_deepspace.align.stack import Layer, depths_um
from napari_deepspace.colour_scale import colours, table
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.layers import METADATA
from napari_deepspace.neighbour_fit import transform_of
from napari_deepspace.neighbour_stack import Slab, gene_values, slab_layer
from napari_deepspace.section import Section

STACK = "stack"


class StackView(QObject):
    """On from :meth:`open` to :meth:`close`."""

    def __init__(
        self,
        session: Session,
        canvas: Canvas,
        panel: NeighboursPanel,
        neighbours: Neighbours,
        parent: QWidget,
        say: Say,
        fail: Callable[[Exception], None],
    ):
        super().__init__(parent)
        self._session, self._canvas, self._panel, self._neighbours = session, canvas, panel, neighbours
        self._say, self._fail = say, fail
        self._before: dict[Any, bool] | None = None  #: which layers were visible; None: there is no stack
        panel.stack_toggled.connect(lambda on: self.open() if on else self.close())
        panel.stretch.valueChanged.connect(self._again)
        events = session.events
        for signal in (events.gene, events.neighbours, events.filter, events.outlines):
            signal.connect(self._again)
        events.loaded.connect(self.close)
        events.blind.connect(lambda blind: self.close() if blind else None)

    def slabs(self) -> list[Slab]:
        """The open section and its aligned neighbours with counts, each at its place along z: a section's thickness and the gap from the open one."""
        session, section = self._session, self._session.section
        if section is None:
            return []
        found = [Slab(section, section.centres_yx * section.mpp, 0.0)]
        for one in session.neighbours:
            opened = self._neighbours.overlays.files.get(one.id)
            if opened is None or opened.section is None or one.transform is None or not one.visible:
                continue
            places = transform_of(one.transform).apply(opened.section.centres_yx * opened.section.mpp)
            pair = (Layer(section.library_id, one.thickness_um), Layer(one.name, one.thickness_um, abs(one.gap_um)))
            found.append(Slab(opened.section, places, float(np.copysign(depths_um(pair)[1], one.gap_um))))
        return found

    def open(self) -> None:
        """Show the stack."""
        try:
            if self._session.blind:
                raise DeepSpaceError(HIDDEN)
            if len(self.slabs()) < 2:
                raise DeepSpaceError("A stack needs an aligned neighbouring section with counts. Add one with Add section…, and align it.")
        except DeepSpaceError as error:
            self._panel.show_stack(False)
            self._fail(error)
            return
        viewer = self._canvas.viewer
        if self._before is None:
            self._before = {layer: layer.visible for layer in viewer.layers}
            for layer in viewer.layers:
                layer.visible = False
        self._draw()
        viewer.dims.ndisplay = 3
        viewer.reset_view()
        viewer.scene.camera.angles = (0.0, 25.0, 60.0)
        self._panel.show_stack(True)
        self._say(
            f"{len(self.slabs())} sections, z stretched {self._panel.stretch.value():g} times. {self._session.gene} as measured in each.", "info"
        )

    def close(self, *_: Any) -> None:
        """Back to 2D, as it was before."""
        if self._before is None:
            return
        before, self._before = self._before, None
        viewer = self._canvas.viewer
        self._clear()
        viewer.dims.ndisplay = 2
        for layer in viewer.layers:
            if layer in before:
                layer.visible = before[layer]
        viewer.reset_view()
        self._canvas.activate()
        self._panel.show_stack(False)

    def _clear(self) -> None:
        viewer = self._canvas.viewer
        for layer in [layer for layer in viewer.layers if layer.metadata.get(METADATA, {}).get("role") == STACK]:
            viewer.layers.remove(layer)

    def _again(self, *_: Any) -> None:
        if self._before is not None:
            self._draw()

    def _draw(self) -> None:
        self._clear()
        gene, stretch = self._session.gene, self._panel.stretch.value()
        slabs = self.slabs()
        values = [gene_values(slab.section, gene) for slab in slabs]
        whole = np.concatenate(values)
        known = whole[np.isfinite(whole)]
        limits = (0.0, float(np.percentile(known, 99)) or 1.0) if len(known) else (0.0, 1.0)
        lut = table(self._session.scale.map)
        section: Section | None = self._session.section
        assert section is not None
        for slab, one in zip(slabs, values, strict=True):
            layer = NapariLayer.create(*slab_layer(section, slab, stretch, colours(one, limits, lut), STACK))
            lock(layer)
            self._canvas.viewer.add_layer(layer)

    def shut(self) -> None:
        """The dock was closed."""
        self.close()
