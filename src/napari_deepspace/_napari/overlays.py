"""Neighbouring slides on the canvas: their layers follow ``session.neighbours``, and what is seen of them follows the cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Layer
from napari.utils.colormaps import Colormap

from napari_deepspace._napari.canvas import Canvas
from napari_deepspace._napari.session import Session
from napari_deepspace.align.warped import warped_slide
from napari_deepspace.neighbour_fit import transform_of
from napari_deepspace.neighbour_layers import ROLE, STAINS, Cut, overlay_layer, role_of, stain_colours, stain_layer
from napari_deepspace.neighbours import Neighbour
from napari_deepspace.section import Section
from napari_deepspace.slide import Level, Slide

APART = 1.04  #: how far right of the section a slide that is not aligned begins, as a share of the width of what lies left of it


@dataclass(frozen=True)
class Opened:
    """A neighbour whose file is open: its slide, and its section where it has counts."""

    slide: Slide
    section: Section | None = None


class Overlays:
    """Makes and removes the layers of neighbours. ``files`` are the open ones by id."""

    def __init__(self, session: Session, canvas: Canvas):
        self._session, self._canvas = session, canvas
        self.files: dict[str, Opened] = {}
        self.cut = Cut()
        self._made: dict[str, Any] = {}  #: what a neighbour's layers were made of, by role

    def sync(self) -> None:
        """Let the layers be what the session says."""
        section = self._session.section
        wanted = [one for one in self._session.neighbours if one.id in self.files and one.mpp is not None] if section is not None else []
        roles = {role_of(one.id): one for one in wanted}
        roles |= {role_of(one.id, stain): one for one in wanted for stain in STAINS if getattr(one, stain)}
        for layer in self._layers():
            if layer.metadata["napari_deepspace"]["role"] not in roles:
                self._canvas.viewer.layers.remove(layer)
        self._made = {role: of for role, of in self._made.items() if role in roles}
        for role, one in roles.items():
            self._show(role, one)

    def refresh(self) -> None:
        """The cut has changed: read what is seen anew."""
        for layer in self._layers():
            if layer.rgb:
                layer.refresh(thumbnail=False, extent=False, highlight=False)

    def set_opacity(self, neighbour_id: str, opacity: float) -> None:
        """Fade one slide, 0 to 1; of one that is not aligned nothing shines through."""
        one = next((one for one in self._session.neighbours if one.id == neighbour_id), None)
        layer = self._canvas.layer(role_of(neighbour_id))
        opacity = opacity if one is not None and one.transform is not None else 1.0
        if layer is not None and layer.opacity != opacity:
            layer.opacity = opacity

    def blink(self) -> None:
        """The chosen neighbour is hidden, or seen again."""
        layer = self._canvas.layer(role_of(self._session.chosen_neighbour))
        if layer is not None:
            layer.visible = not layer.visible

    def forget(self) -> None:
        """Another section: no layer stays, and no file stays open."""
        for layer in self._layers():
            self._canvas.viewer.layers.remove(layer)
        for opened in self.files.values():
            opened.slide.close()
        self.files, self._made = {}, {}

    def place(self, one: Neighbour) -> tuple[list[Level], float, np.ndarray]:
        """Levels, um per px and (3, 3) from their um to those of the section: aligned, or beside the section."""
        slide = self.files[one.id].slide
        assert one.mpp is not None
        if one.transform is None:
            return slide.levels, one.mpp, self._beside(one)
        transform, section = transform_of(one.transform), self._session.section
        assert section is not None
        if transform.kind != "thin_plate":
            return slide.levels, one.mpp, transform.napari_affine()
        shape = section.slide.shape if section.slide is not None else tuple(np.ceil(section.centres_yx.max(axis=0) + section.pitch_px).astype(int))
        warped = warped_slide(slide, one.mpp, transform, shape, section.mpp)  # no layer's affine bends: read through the plate, piece by piece
        assert warped.mpp is not None
        return warped.levels, warped.mpp, np.eye(3)

    def turned(self, one: Neighbour) -> np.ndarray | None:
        """The (3, 3) that turns a neighbour as it lies on the section, of a thin plate the part without bending; None while it is not aligned."""
        return None if one.transform is None else transform_of(one.transform).napari_affine()

    def _beside(self, one: Neighbour) -> np.ndarray:
        section = self._session.section
        assert section is not None
        across = section.slide.shape[1] if section.slide is not None else float(section.centres_yx[:, 1].max())
        right = across * section.mpp
        for other in self._session.neighbours:
            if other.id == one.id:
                break
            if other.transform is None and other.id in self.files and other.mpp is not None:
                right = right * APART + self.files[other.id].slide.shape[1] * other.mpp
        found = np.eye(3)
        found[1, 2] = right * APART
        return found

    def _layers(self) -> list[Any]:
        of = "napari_deepspace"
        return [layer for layer in self._canvas.viewer.layers if str(layer.metadata.get(of, {}).get("role", "")).startswith(f"{ROLE}:")]

    def _show(self, role: str, one: Neighbour) -> None:
        section = self._session.section
        assert section is not None and one.mpp is not None
        stain = role.split(":")[2] if role.count(":") == 2 else ""
        of = (section, one.mpp, one.transform, self._beside(one).tolist() if one.transform is None else None)
        layer = self._canvas.layer(role)
        if layer is None or self._made.get(role) != of:
            if layer is not None:
                self._canvas.viewer.layers.remove(layer)
            levels, mpp, affine = self.place(one)
            if stain:
                look = {"colormap": Colormap(stain_colours(stain), name=stain)}  # type: ignore[arg-type]
                made = stain_layer(section, levels, mpp, affine, stain, role, f"{one.name} {stain}", **look)  # type: ignore[arg-type]
            else:
                made = overlay_layer(section, levels, mpp, affine, self.cut, role, one.name)
            layer = self._canvas.add_below_spots(Layer.create(*made))
            self._made[role] = of
        if not stain:
            self.set_opacity(one.id, one.opacity)
        if not stain and layer.blending != one.blending:
            layer.blending = one.blending
        if layer.visible != one.visible:
            layer.visible = one.visible
