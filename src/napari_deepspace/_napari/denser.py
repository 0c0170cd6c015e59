"""The denser map in the window: opened from the run's folder, painted with the gene that is looked at, and what cursor and camera say of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer
from napari.utils.colormaps import Colormap
from qtpy.QtCore import QObject
from scipy.spatial import cKDTree

from napari_deepspace._napari.canvas import SPOTS, Canvas, lock
from napari_deepspace._napari.denser_making import DenserMaking, maps_folder
from napari_deepspace._napari.denser_panel import DenserPanel
from napari_deepspace._napari.jobs import Child, start_job
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.training import Say
from napari_deepspace._napari.widgets import one_shot
from napari_deepspace.cluster_colours import class_lut, counts_of
from napari_deepspace.colour_scale import colours, spread, table
from napari_deepspace.denser import DenserMap, band_around, open_denser, section_of, unlike
from napari_deepspace.denser_layers import (
    BETWEEN,
    DENSER,
    TILE,
    TOO_NEAR,
    UNLIKE,
    DenserShow,
    between_layer,
    denser_caption,
    denser_colours,
    denser_layer,
    denser_values,
    resolution_of,
    tile_layer,
    too_near,
    unlike_layer,
)
from napari_deepspace.runs import safe_name
from napari_deepspace.settings import SectionSettings

ROLES = (BETWEEN, DENSER, TILE, UNLIKE)


class Denser(QObject):
    """One denser map at a time is shown; ``making`` makes them."""

    def __init__(
        self,
        session: Session,
        canvas: Canvas,
        panel: DenserPanel,
        opened: Callable[[], SectionSettings | None],
        repaint: Callable[[], None],
        say: Say,
        fail: Callable[[Exception], None],
    ):
        super().__init__(panel)
        self._session, self._canvas, self._panel = session, canvas, panel
        self._repaint, self._say, self._fail = repaint, say, fail
        self.making = DenserMaking(session, panel, opened, say, fail)
        self.making.made.connect(self.choose)
        self.making.done.connect(self._list)
        self._reader: Any = None
        self._found: np.ndarray | None = None  #: what is shown, (n,)
        self._relative = False  #: values say high and low on this slide only, so that no band goes with them
        self._tree: cKDTree | None = None
        self._soon = one_shot(self, 0)
        self._soon.timeout.connect(self._compute)
        panel.chosen.connect(self.choose)
        panel.opacity.valueChanged.connect(self._set_opacity)
        panel.outline.toggled.connect(self._outline_toggled)
        panel.unlike.toggled.connect(self._mark_unlike)
        events = session.events
        for signal in (
            events.gene,
            events.show,
            events.paint,
            events.denser_show,
            events.limits,
            events.show_anyway,
            events.shared_limits,
            events.scale,
            events.hidden_clusters,
            events.recoloured,
            events.blind,
        ):
            signal.connect(self._later)
        for signal in (events.maps, events.loaded):
            signal.connect(self._run_changed)

    # -- which maps there are ----------------------------------------------------------------------------------------------------------

    @property
    def child(self) -> Child | None:
        """The process that makes a map."""
        return self.making.child

    def made(self) -> list[tuple[str, str]]:
        """Maps of the open section by the run that is looked at: (words, folder)."""
        folder, section = maps_folder(self._session), self._session.section
        if folder is None or section is None:
            return []
        name = safe_name(section.library_id)
        paths = [path for path in sorted(folder.glob(f"{name}-*.zarr")) if section_of(path) == section.library_id]
        return [(path.stem.removeprefix(f"{name}-").replace("-", " "), str(path)) for path in paths]

    def _run_changed(self, *_: Any) -> None:
        dmap, folder = self._session.denser, maps_folder(self._session)
        section = self._session.section
        other = section is None or dmap is None or folder != dmap.folder.parent or section.library_id != dmap.library_id
        if dmap is not None and (other or self._canvas.layer(SPOTS) is None):
            self.close()
        elif dmap is not None:
            self._later()
        self._list()

    def _list(self) -> None:
        self._panel.set_made(self.made(), str(self._session.denser.folder) if self._session.denser is not None else "")

    def choose(self, folder: str) -> None:
        """Show the map in ``folder``, or none."""
        if not folder:
            self.close()
            self._list()
            return
        start_job(partial(_open, Path(folder)), on_return=self._show, on_error=self._fail)

    def _show(self, opened: tuple[DenserMap, cKDTree]) -> None:
        dmap, tree = opened
        section = self._session.section
        if (
            section is None or maps_folder(self._session) != dmap.folder.parent or dmap.library_id != section.library_id
        ):  # another was chosen meanwhile
            return
        self.close()
        self._tree = tree
        self._session.denser = dmap
        self._list()
        self._later()

    def close(self) -> None:
        """Take the map that is shown off the slide."""
        for role in ROLES:
            layer = self._canvas.layer(role)
            if layer is not None:
                self._canvas.viewer.layers.remove(layer)
        self._found = self._tree = None
        self._session.denser = None
        self._zoomed()

    # -- painting ----------------------------------------------------------------------------------------------------------------------

    def _later(self, *_: Any) -> None:
        if self._session.denser is not None:
            self._soon.start()

    def _compute(self) -> None:
        dmap, gene, show = self._session.denser, self._session.gene, self._session.denser_show
        if dmap is None:
            return
        self._found = self._reader = None  # of another gene: neither the cursor nor a read that still works may tell of it
        if gene not in dmap.outputs or self._session.blind:
            for role in (BETWEEN, DENSER):
                layer = self._canvas.layer(role)
                if layer is not None:
                    layer.visible = False
            if not self._session.blind:
                self._say(f"{gene} is not predicted by this run: the denser map shows nothing of it.", "info")
            return
        self._reader = reader = start_job(
            partial(_read, dmap, gene, show),
            on_return=lambda found: self._paint(found, dmap, gene, show, reader),
            on_error=self._fail,
        )

    def _paint(self, found: np.ndarray, dmap: DenserMap, gene: str, show: DenserShow, reader: Any) -> None:
        session, section = self._session, self._session.section
        if reader is not self._reader or session.denser is not dmap or section is None or session.blind:
            return
        view = session.view("predicted")
        if view is None:
            return
        painted, limits = denser_colours(dmap, found, show, view, session.scale.percentiles)
        lut = view.lut if view.lut is not None and show == "predicted" else table(session.scale.map)
        lut = class_lut(session.cluster_colours(dmap.outputs), session.hidden_clusters) if show == "class" else lut
        log = session.scale.log and show != "class"
        self._found, self._relative = painted, view.relative
        role = DENSER if dmap.at == "grid" else BETWEEN
        layer = self._canvas.layer(role)
        if dmap.at == "grid":
            data, kwargs, kind = denser_layer(dmap, section, painted)
            if layer is None:
                layer = self._canvas.add_below_spots(Layer.create(data, kwargs, kind))
            layer.data = data
            layer.colormap = Colormap(spread(lut, limits, log), name=f"{gene} {show}")
            layer.contrast_limits_range = layer.contrast_limits = limits
        else:
            face = colours(painted, limits, lut, log)
            if layer is None:
                layer = self._canvas.add_below_spots(Layer.create(*between_layer(dmap, section, face)))
                lock(layer)
            layer.face_color = face
        layer.visible = self._goes_with_spots(show)
        self._set_opacity(self._panel.opacity.value())
        self._mark_unlike(self._panel.unlike.isChecked())
        unit = f"SD of {view.unit}" if show == "disagreement" else view.unit
        if show == "class":
            self._panel.show_legend(dmap.outputs, counts_of(found, len(dmap.outputs)))
        else:
            self._panel.show_bar(denser_caption(dmap, show).partition(";")[0], unit, limits, lut, view.relative and show == "predicted", log)
        self._zoomed()

    def _goes_with_spots(self, show: DenserShow) -> bool:
        """Whether the map may be painted with what the spots show: never two scales in one picture."""
        s = self._session
        return s.paint in ("clusters", "classes") if show == "class" else s.paint == "gene" and s.show not in ("difference", "interval")

    def _set_opacity(self, percent: int) -> None:
        for role in (BETWEEN, DENSER):
            layer = self._canvas.layer(role)
            if layer is not None:
                layer.opacity = percent / 100

    # -- the cursor and the camera -----------------------------------------------------------------------------------------------------

    def hover(self, position: tuple[float, ...]) -> None:
        """Put the outline of a tile around this place of the world (um), and say what is predicted there."""
        dmap, section = self._session.denser, self._session.section
        if dmap is None or section is None or self._tree is None or self._found is None or len(position) < 2:
            return
        place = np.asarray(position[-2:], dtype=float)
        distance, at = self._tree.query(place / section.mpp)
        near = distance * section.mpp <= dmap.spacing_um and np.isfinite(self._found[at])
        self._panel.hover.setText(f"{self._words(dmap, int(at))} here, from the tile in the outline." if near else "No point here.")
        self._move_outline(dmap, place, bool(near))

    def _words(self, dmap: DenserMap, at: int) -> str:
        """What is shown of one point."""
        assert self._found is not None
        value, show = float(self._found[at]), self._session.denser_show
        if show == "class":
            return f"Cluster {dmap.outputs[int(value)]} predicted"
        what = {"predicted": "predicted", "interval": "width of the 90 % band", "disagreement": "disagreement between models"}[show]
        ends = band_around(dmap, self._session.gene, self._found[[at]]) if show == "predicted" and not self._relative else None
        between = f" (90 % band: {ends[0][0]:.2f} to {ends[1][0]:.2f})" if ends is not None else ""
        return f"{self._session.gene} {what} {value:.2f}{between}"

    def _move_outline(self, dmap: DenserMap, place_um: np.ndarray, near: bool) -> None:
        layer = self._canvas.layer(TILE)
        if layer is None and near and self._panel.outline.isChecked() and self._session.section is not None:
            layer = Layer.create(*tile_layer(self._session.section, dmap.tile_um))
            self._canvas.viewer.add_layer(layer)
            layer.editable = False
            self._canvas.activate()
        if layer is not None:
            layer.visible = near and self._panel.outline.isChecked()
            if layer.visible:
                layer.translate = place_um

    def _outline_toggled(self, on: bool) -> None:
        layer = self._canvas.layer(TILE)
        if layer is not None and not on:
            layer.visible = False

    def _mark_unlike(self, on: bool) -> None:
        dmap, section, layer = self._session.denser, self._session.section, self._canvas.layer(UNLIKE)
        if on and layer is None and dmap is not None and section is not None:
            layer = self._canvas.add_below_spots(Layer.create(*unlike_layer(dmap, section)))
            lock(layer)
        elif not on and layer is not None:
            self._canvas.viewer.layers.remove(layer)

    def _zoomed(self, *_: Any) -> None:
        """What the caption says of the map, and that the view is too near where it is."""
        dmap, viewer = self._session.denser, self._canvas.viewer
        words = ""
        if dmap is not None:
            words = denser_caption(dmap, self._session.denser_show)
            words += f"\n{TOO_NEAR}" if too_near(resolution_of(dmap), float(viewer.scene.camera.zoom), viewer.canvas.size) else ""
        if words != self._canvas.extra:
            self._canvas.extra = words
            self._repaint()

    def follow_camera(self) -> Callable[[], None]:
        """Watch how near the view is; what is returned undoes it."""
        zoom = self._canvas.viewer.scene.camera.events.zoom
        zoom.connect(self._zoomed)
        return lambda: zoom.disconnect(self._zoomed)

    def shut(self) -> None:
        """Leave no process behind."""
        self._soon.stop()
        self._reader = None
        self.making.shut()


def _open(folder: Path) -> Generator[None, None, tuple[DenserMap, cKDTree]]:
    """The map and a tree of its points; what else the window asks of it at once is read here too, not on the main thread."""
    yield None
    dmap = open_denser(folder)
    unlike(dmap)
    return dmap, cKDTree(dmap.centres_yx)


def _read(dmap: DenserMap, gene: str, show: DenserShow) -> Generator[None, None, np.ndarray]:
    yield None
    return denser_values(dmap, gene, show)
