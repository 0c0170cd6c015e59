"""From the session to the slide: what the spots' colours are now, and what the cursor points at."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from napari_deepspace._napari.canvas import Canvas
from napari_deepspace._napari.denser import Denser
from napari_deepspace._napari.look_panel import LookPanel
from napari_deepspace._napari.session import Session
from napari_deepspace.comparison import LINE, line_layer, line_x, marked, swiped
from napari_deepspace.views import View, hover_text, next_shown, spot_notes


class Painter:
    """Paints what the session says on the canvas and tells the Look panel what it is."""

    def __init__(self, session: Session, canvas: Canvas, look_panel: LookPanel):
        self._session, self._canvas, self._look = session, canvas, look_panel
        self._painted: View | None = None  #: what the spots show now
        self._notes: Any = ()
        self._notes_of: tuple[Any, Any] = (None, None)  #: predictions and filter that the notes are of

    def paint(self) -> None:
        """Paint what the session says, now."""
        session = self._session
        both = not session.blind and session.paint == "gene" and session.maps is not None and session.gene in session.maps.genes
        beside, swipe = session.side_by_side and both, session.swipe if both and not session.side_by_side else None
        view = session.view("measured" if beside or swipe is not None else None)
        right = session.view("predicted") if beside or swipe is not None else None
        line = None
        if swipe is not None and view is not None and right is not None and session.section is not None:
            x = line_x(session.section, swipe)
            view, right, line = swiped(view, right, session.section.centres_yx[:, 1] < x), None, line_layer(session.section, x)
        self._look.show_view(view, right)
        self._canvas.set_side_by_side(beside)
        self._canvas.set_drawn(LINE, line)
        kept = session.kept()
        self._painted = right or view
        if view is not None and kept is not None:
            if session.blind:
                self._notes, self._notes_of = np.full(len(view.values), "", dtype=object), (None, None)
            elif self._notes_of[0] is not session.maps or self._notes_of[1] is not kept:  # another gene has the same ones
                self._notes, self._notes_of = spot_notes(session.maps, kept.reasons), (session.maps, kept)
            self._canvas.paint(marked(view, session.selected), self._notes, right and marked(right, session.selected))
        self._canvas.set_spot_size(session.spot_percent)
        self._canvas.set_slide_opacity(session.slide_percent)

    def hover(self, position: tuple[float, ...]) -> None:
        """Tell what is known of the spot at this place of the world (um)."""
        index, loaded = self._canvas.spot_at(position), self._session.loaded
        if index is None or loaded is None or self._painted is None:
            self._look.show_hover("")
            return
        if self._session.blind:
            self._look.show_hover(f"{loaded.section.adata.obs_names[index]}  ·  expression is hidden")
            return
        umi, labels = int(loaded.spots["umi"].to_numpy()[index]) if loaded.section.adata.n_vars else None, self._session.clusters
        own: Any = None if labels is None else labels.iat[index]
        cluster = "" if own is None or pd.isna(own) else str(own)
        barcode = str(loaded.section.adata.obs_names[index])
        self._look.show_hover(hover_text(barcode, self._painted, index, self._notes[index], umi, cluster))

    def cycle(self) -> None:
        """Show the next of measured, model, colour alone and neighbours alone, of those that there are."""
        session = self._session
        session.paint, session.side_by_side, session.swipe = "gene", False, None
        session.show = next_shown(session.show, session.showable())


def bind_viewer(viewer: Any, painter: Painter, denser: Denser) -> Callable[[], None]:
    """Follow cursor and camera while the dock is open; what is returned undoes it. Holds both weakly: the viewer outlives the dock."""
    here, there = weakref.ref(painter), weakref.ref(denser)
    leave_camera = denser.follow_camera()

    def hover(viewer: Any, event: Any) -> None:
        found = here()
        if found is not None:
            found.hover(event.position)
        map_ = there()
        if map_ is not None:
            map_.hover(event.position)

    viewer.mouse_move_callbacks.append(hover)

    def release() -> None:
        leave_camera()
        if hover in viewer.mouse_move_callbacks:
            viewer.mouse_move_callbacks.remove(hover)

    return release
