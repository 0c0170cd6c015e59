"""The only place that touches the viewer's layers: adding, locking, painting, and placing two maps side by side."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Layer, Points
from scipy.spatial import cKDTree

from napari_deepspace.layers import METADATA, RING, Bins, LayerTuple, bins_of, places_layer, ring_layer, slide_layer
from napari_deepspace.section import Section
from napari_deepspace.slide import Slide
from napari_deepspace.views import View

SLIDE, SPOTS, SLIDE_2, SPOTS_2, PINNED = "slide", "spots", "slide, right", "spots, right", "pinned"
OTHERS = ("slide of another section", "spots of another section")
GAP_UM = 500.0  #: between sections side by side
THICK = 0.22  #: width of the ring of a selected spot, as a share of its diameter
PITCHES_SEEN = 16.0  #: how many distances between spots a view of one spot is wide, at most


class Canvas:
    """The layers of one section in a viewer. A layer is known by its metadata, whatever it is called."""

    def __init__(self, viewer: Any):
        self.viewer = viewer
        self.section: Section | None = None
        self._bins: Bins | None = None  #: where spots are painted as an image
        self._tree: cKDTree | None = None
        self._barcodes = np.zeros(0, dtype=object)
        self.extra = ""  #: a line of the caption beside what is said of the spots

    def show_section(self, section: Section, tuples: list[LayerTuple]) -> None:
        """Replace what was shown by ``section``. All layers are made before the first is added, so that a failure leaves nothing half-done."""
        layers = [Layer.create(*layer) for layer in tuples]
        self.clear()
        self.section = section
        self._bins = bins_of(section)
        self._tree = cKDTree(section.centres_yx)
        self._barcodes = section.adata.obs_names.to_numpy(dtype=object)
        for layer in layers:
            self._add(layer)
        self.viewer.canvas.overlays.scale_bar.visible = True
        self.viewer.reset_view()
        self.activate()

    def clear(self) -> None:
        """Take every layer of the dock out of the viewer."""
        self.viewer.canvas.grid.enabled = False
        self.viewer.canvas.overlays.text.visible = False
        for layer in [layer for layer in self.viewer.layers if METADATA in layer.metadata]:
            self.viewer.layers.remove(layer)
        self.section = self._tree = None

    def layer(self, role: str) -> Any:
        """The layer of that role, or None (the user may have removed it)."""
        return next((layer for layer in self.viewer.layers if layer.metadata.get(METADATA, {}).get("role") == role), None)

    def paint(self, view: View, notes: np.ndarray, right: View | None = None) -> None:
        """Colour the spots by ``view`` and, where two maps stand side by side, the right ones by ``right``."""
        for role, one in ((SPOTS, view), (SPOTS_2, right)):
            layer = self.layer(role)
            if layer is None or one is None:
                continue
            if self._bins is not None:
                layer.data = self._bins.image(one.face, one.border)
                continue
            if len(layer.data) != len(one.face):
                continue
            rings_change = not np.array_equal(layer.border_color, one.border)
            if rings_change:
                layer.border_color[:] = one.border  # in place: the colours' upload takes it along
            width = RING if one.rings is None else np.where(one.rings, THICK, RING)
            if not np.array_equal(layer.border_width, np.broadcast_to(width, len(one.face))):
                rings_change = True
                with layer.events.border_width.blocker():
                    layer.border_width = width
            if not np.array_equal(layer.face_color, one.face):
                with layer.events.face_color.blocker():  # one upload instead of two
                    layer.face_color = one.face
            elif rings_change:
                layer.events.border_color()
            layer.refresh(thumbnail=True, data_displayed=False, highlight=False, extent=False)  # which the blocked event would have done
            layer.features = self._features(view, notes)
        self._caption(view, right)

    def show_slide(self, slide: Slide) -> None:
        """Lay another image, or the same one turned, under the spots; for a look, until the section is shown again."""
        layer = self.layer(SLIDE)
        if layer is None or self.section is None:
            return
        at, opacity = self.viewer.layers.index(layer), layer.opacity
        new = Layer.create(*slide_layer(replace(self.section, slide=slide)))
        new.opacity = opacity
        self.viewer.layers.remove(layer)
        self._add(new)
        self.viewer.layers.move(len(self.viewer.layers) - 1, at)
        self.activate()

    def show_others(self, sections: Sequence[Section]) -> None:
        """Keep slide and spots of ``sections`` in view, in a row to the right of the current one; an empty list takes them away."""
        for layer in [layer for layer in self.viewer.layers if layer.metadata.get(METADATA, {}).get("role") in OTHERS]:
            self.viewer.layers.remove(layer)
        if self.section is None:
            return
        right = _width_um(self.section)
        for section in sections:
            right += GAP_UM
            for make, role in ((slide_layer, OTHERS[0]), (places_layer, OTHERS[1])):
                if role != OTHERS[0] or section.slide is not None:
                    data, kwargs, kind = make(section, role)
                    self._add(Layer.create(data, kwargs | {"translate": (0.0, right)}, kind))
            right += _width_um(section)
        self.activate()
        if sections:
            self.viewer.reset_view()

    def set_spot_size(self, percent: int) -> None:
        """Draw spots at ``percent`` of their true diameter."""
        for role in (SPOTS, SPOTS_2):
            layer = self.layer(role)
            if isinstance(layer, Points) and self.section is not None:
                size = self.section.spot_diameter_px * percent / 100
                if not np.allclose(layer.size, size):  # setting it sends every spot to the graphics card again
                    layer.size = size

    def set_slide_opacity(self, percent: int) -> None:
        """Fade the slide, so that the colours of the spots stand out."""
        for role in (SLIDE, SLIDE_2):
            layer = self.layer(role)
            if layer is not None:
                layer.opacity = percent / 100

    def set_drawn(self, role: str, tuple_: LayerTuple | None) -> None:
        """Show what was drawn with the mouse as the layer of that role; None takes it away."""
        layer = self.layer(role)
        if tuple_ is None:
            if layer is not None:
                self.viewer.layers.remove(layer)
        elif layer is None:
            self._add(Layer.create(*tuple_))
            self.activate()
        elif not np.array_equal(layer.data, tuple_[0]):
            layer.data = tuple_[0]

    def set_side_by_side(self, on: bool) -> None:
        """Two cells with linked cameras: slide and spots twice. The second slide shares the first one's pixels."""
        if self.section is None or (self.layer(SPOTS_2) is not None) == on:
            return
        self.mark(None)
        if on:
            for make, role in ((slide_layer, SLIDE_2), (places_layer, SPOTS_2)):
                if role == SLIDE_2 and self.layer(SLIDE) is None:
                    continue
                data, kwargs, kind = make(self.section, role)
                self._add(Layer.create(data, kwargs | {"name": f"{kwargs['name']}, right"}, kind))
            self._to_front()
        else:
            for role in (SLIDE_2, SPOTS_2):
                layer = self.layer(role)
                if layer is not None:
                    self.viewer.layers.remove(layer)
        grid = self.viewer.canvas.grid
        grid.stride = 2 if self.layer(SLIDE) is not None else 1
        grid.shape = (1, 2)
        grid.spacing = 6
        grid.enabled = on
        self.viewer.reset_view()
        self.activate()

    def fly_to(self, yx_um: tuple[float, float]) -> None:
        """Put a place in the middle of the view, near enough to see the tissue there; who is nearer stays so."""
        if self.section is None:
            return
        camera = self.viewer.scene.camera
        camera.center = (0.0, *yx_um)
        camera.zoom = max(float(camera.zoom), min(self.viewer.canvas.size) / (PITCHES_SEEN * self.section.platform.pitch_um))

    def mark(self, index: int | None) -> None:
        """Ring the spot in that row; None: none. Not where two maps stand side by side: each layer more would be a map more."""
        layer = self.layer(PINNED)
        if self.section is None or index is None or self.layer(SPOTS_2) is not None:
            if layer is not None:
                self.viewer.layers.remove(layer)
            return
        centre = self.section.centres_yx[[index]]
        if layer is not None:
            layer.data = centre
            return
        self._add(Layer.create(*ring_layer(self.section, centre, PINNED)))
        self.activate()

    def spot_at(self, position: tuple[float, ...]) -> int | None:
        """The spot under a world position (um), or None."""
        if self.section is None or self._tree is None or len(position) < 2:
            return None
        yx = np.asarray(position[-2:]) / self.section.mpp
        distance, index = self._tree.query(yx)
        return int(index) if distance <= self.section.spot_diameter_px / 2 else None

    def _caption(self, view: View, right: View | None) -> None:
        """What the colours are, on the canvas itself: it goes with every screenshot."""
        assert self.section is not None
        text = f"{view.title or view.gene}: {view.caption}" if right is None else f"{view.gene}\nleft: {view.caption}\nright: {right.caption}"
        painted = right or view
        more = (painted.doubt, painted.unit if painted.relative and not painted.title else "", self.extra)
        text += "".join(f"\n{line}" for line in more if line)
        synthetic = "SYNTHETIC data. " if self.section.synthetic else ""
        overlay = self.viewer.canvas.overlays.text
        overlay.text = f"{text}\n{synthetic}Research use only."
        overlay.position = "top_left"
        overlay.font_size = 9
        overlay.box = True
        overlay.visible = True

    def _add(self, layer: Layer) -> None:
        if isinstance(layer, Points):
            lock(layer)
        self.viewer.add_layer(layer)

    def add_below_spots(self, layer: Layer) -> Any:
        """Add a layer above the slide and below the spots, which stay the active layer; returns it."""
        spots = self.layer(SPOTS)
        self.viewer.add_layer(layer)
        if spots is not None:
            self.viewer.layers.move(self.viewer.layers.index(layer), self.viewer.layers.index(spots))
        self.activate()
        return layer

    def _to_front(self) -> None:
        """The grid fills its cells in the order of the layer list: ours come first."""
        for index, role in enumerate(role for role in (SLIDE, SPOTS, SLIDE_2, SPOTS_2) if self.layer(role) is not None):
            self.viewer.layers.move(self.viewer.layers.index(self.layer(role)), index)

    def activate(self) -> None:
        """The spots are the active layer: napari's status bar then names the spot under the cursor."""
        layer = self.layer(SPOTS)
        if layer is not None:
            self.viewer.layers.selection.active = layer

    def _features(self, view: View, notes: np.ndarray) -> pd.DataFrame:
        assert self.section is not None
        return pd.DataFrame(
            {
                "barcode": self._barcodes,
                f"{view.gene} measured": view.measured,
                f"{view.gene} predicted": view.predicted,
                "spot": pd.Series(notes, dtype=object),
            }
        )


def _width_um(section: Section) -> float:
    """How far right slide and spots of a section reach."""
    slide = section.slide.shape[1] if section.slide is not None else 0
    return max(float(section.centres_yx[:, 1].max(initial=0)), slide) * section.mpp


def bind_drag(viewer: Any, drag: Callable[[Any], Iterator[None]]) -> Callable[[], None]:
    """Let ``drag``, a method, take part in every drag on the slide; what is returned undoes it. Held weakly: the viewer outlives the dock."""
    here = weakref.WeakMethod(drag)

    def follow(viewer: Any, event: Any) -> Iterator[None]:
        found = here()
        if found is not None:
            yield from found(event)

    viewer.mouse_drag_callbacks.append(follow)

    def release() -> None:
        if follow in viewer.mouse_drag_callbacks:
            viewer.mouse_drag_callbacks.remove(follow)

    return release


def lock(layer: Points) -> None:
    """Let no key and no drag change the spots: no mode but moving the camera, nothing that stays selected, no deleting of the layer.

    napari's Delete key removes selected points in every mode; with an empty selection it has nothing to remove.
    """
    layer.locked = True

    def forbid() -> None:
        layer.editable = False

    forbid()
    layer.events.editable.connect(forbid)  # napari's own controls set it again when the layer is added or 3D is toggled

    def unselect() -> None:
        if layer.selected_data:
            layer.selected_data.clear()

    layer.selected_data.events.items_changed.connect(unselect)
