"""One spot looked at in the window: a click pins its card, the tour flies from one large difference to the next, and causes are filed."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QWidget

from napari_deepspace._napari import style
from napari_deepspace._napari.actions import keys
from napari_deepspace._napari.alike_search import AlikeSearch, Shown, same
from napari_deepspace._napari.canvas import Canvas
from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.painting import Painter
from napari_deepspace._napari.session import HIDDEN, Session
from napari_deepspace._napari.spot_card import LOOKING, SpotCard
from napari_deepspace._napari.training import Say
from napari_deepspace._napari.widgets import one_shot
from napari_deepspace.disagreements import Stop
from napari_deepspace.errors import DeepSpaceError, in_window
from napari_deepspace.model_view import ModelView, view_of_run
from napari_deepspace.preprocess.prepare import tile_side_um
from napari_deepspace.settings import SectionSettings
from napari_deepspace.spot_command import disagreements, tiles_of, with_measured
from napari_deepspace.spot_facts import Known, TopGene, facts_of, gene_shares, top_measured, top_predicted
from napari_deepspace.tiles import tile_radius_px

STILL_PX = 4  #: a mouse that moved less between press and release has clicked

Looked = tuple[list[np.ndarray], str, list[TopGene], list[TopGene]]


class Inspector:
    """Pins spots for one dock. ``opened`` says how the section was read; ``painter`` what is painted."""

    def __init__(
        self,
        session: Session,
        painter: Painter,
        canvas: Canvas,
        parent: QWidget,
        opened: Callable[[], SectionSettings | None],
        say: Say,
        fail: Callable[[Exception], None],
    ):
        self._session, self._painter, self._opened, self._say, self._fail = session, painter, opened, say, fail
        self._canvas = canvas
        self._parent = weakref.ref(parent)
        self._palette: style.Palette | None = None
        self.card: SpotCard | None = None
        self.pinned: int | None = None  #: row of the spot of the card
        self.alike = AlikeSearch(session, opened, self._show_look_alikes, fail)
        self._gene_looked = ""
        self._stops: list[Stop] = []
        self._stops_of: tuple[Any, ...] = ()
        self._shares: tuple[Any, Any, np.ndarray] | None = None
        self._soon = one_shot(parent, 0)
        self._soon.timeout.connect(self.refresh)
        for name in ("gene", "maps", "clusters", "filter", "outlines", "colours", "normalisation", "causes"):
            getattr(session.events, name).connect(self._refresh_later)
        session.events.loaded.connect(self.unpin)
        session.events.blind.connect(self.unpin)
        session.events.run_dir.connect(self._other_run)
        self._look_soon = one_shot(parent, 0)  # a section that comes with another run is there by then
        self._look_soon.timeout.connect(self._look)

    def pin(self, index: int) -> None:
        """Show the card of the spot in that row of the section."""
        if self._session.section is None or self._session.blind:
            return
        self.pinned, self._gene_looked = index, self._session.gene
        self._canvas.mark(index)
        if self.card is None:
            self._make_card()
        self.refresh()
        assert self.card is not None
        self.card.show()
        self._look()

    def clicked(self, position: tuple[float, ...]) -> None:
        """Pin the spot at this place of the world (um), if there is one."""
        index = self._canvas.spot_at(position)
        if index is not None:
            self.pin(index)

    def click(self, event: Any) -> Iterator[None]:
        """Pin a spot by a click. Drags, other tools and held keys are left to others."""
        active = self._canvas.viewer.layers.selection.active
        if event.button != 1 or event.modifiers or (active is not None and active.mode != "pan_zoom"):
            return
        start, farthest = np.asarray(event.pos, dtype=float), 0.0
        yield
        while event.type == "mouse_move":
            farthest = max(farthest, _away(event, start))
            yield
        if not self._session.tool and max(farthest, _away(event, start)) < STILL_PX:  # outlines are drawn by clicks too
            self.clicked(event.position)

    def unpin(self, *_: Any) -> None:
        """No spot is looked at any more."""
        self.pinned, self._stops, self._stops_of = None, [], ()
        self._canvas.mark(None)
        if self.card is not None and self.card.isVisible():
            self.card.close()

    def _refresh_later(self, *_: Any) -> None:
        self._soon.start()

    def refresh(self) -> None:
        """Say again what is known at once of the pinned spot."""
        if self.card is None or self.pinned is None or self._session.section is None:
            return
        known, tour = self.known(), "difference" in self._session.showable()
        stop = next((one.words for one in self._tour(known) if one.index == self.pinned), "") if self._stops and tour else ""
        self.card.show_facts(facts_of(known, self.pinned), stop, tour)
        if known.gene != self._gene_looked:
            self._look_alikes()

    def known(self) -> Known:
        """What is painted of the gene, with all that belongs to it."""
        session = self._session
        loaded, kept = session.loaded, session.kept()
        assert loaded is not None and kept is not None
        view = session.view()
        nothing = np.full(loaded.section.adata.n_obs, np.nan, dtype=np.float32)
        return Known(
            section=loaded.section,
            gene=session.gene,
            unit=view.unit if view is not None else "",
            measured=view.measured if view is not None else nothing,
            predicted=view.predicted if view is not None else nothing,
            umi=loaded.spots["umi"].to_numpy(),
            reasons=kept.reasons,
            keep=kept.keep,
            clusters=session.clusters,
            maps=session.maps,
        )

    # -- the tour ----------------------------------------------------------------------------------------------------------------------

    def go(self, step: int) -> None:
        """Fly to the next (1) or the previous (-1) of the largest differences of the gene, and pin it."""
        if self._session.section is None or self._session.blind:
            self._say(HIDDEN if self._session.blind else "Open a section first.", "info")
            return
        try:
            stops = self._tour(self.known())
        except DeepSpaceError as error:
            self._say(in_window(error), "warning")
            return
        if not stops:
            self._say(f"There is no spot where {self._session.gene} is both measured and predicted out of fold.", "info")
            return
        at = next((number for number, stop in enumerate(stops) if stop.index == self.pinned), None)
        stop = stops[(at + step) % len(stops) if at is not None else (0 if step > 0 else -1)]
        self._canvas.fly_to(stop.yx_um)
        self.pin(stop.index)
        self._say(f"{self._session.gene}, {stop.words}.", "info")

    def file(self, cause: str) -> None:
        """File a cause at the pinned spot; the same one again takes it back."""
        section = self._session.section
        if section is None or self.pinned is None:
            self._say("Click a spot first: a cause is filed at the spot of the card.", "info")
            return
        barcode = str(section.adata.obs_names[self.pinned])
        self._session.file_cause(barcode, cause)
        filed = self._session.causes.get(barcode)
        self._say(f"{barcode}: filed as {filed}." if filed else f"{barcode}: the cause was taken back.", "info")

    def _tour(self, known: Known) -> list[Stop]:
        """The stops of what is shown now; raises DataError where there is nothing to compare."""
        key = (self._session.loaded, self._session.maps, self._session.gene, self._session.kept())
        if not same(self._stops_of, key):
            self._stops, self._stops_of = disagreements(known), key
        return self._stops

    # -- what takes a moment -----------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Cut the tile and rank the genes in a thread, then the look-alikes."""
        if self.card is None or self.pinned is None:
            return
        index, known, kept = self.pinned, self.known(), self._session.kept()
        self.card.clear_pictures(LOOKING)
        shares = self._shares[2] if self._shares is not None and same(self._shares[:2], (known.section, kept)) else None
        view = partial(_model_view, self._session.run_dir, known, self._session.tile)

        def show(found: tuple[Looked, np.ndarray]) -> None:
            self._shares = (known.section, kept, found[1])
            if self.card is not None and self.pinned == index and self._session.section is known.section:
                self.card.show_looked_at(*found[0])

        start_job(partial(_looked, known, index, self._session.run_dir, view, shares), on_return=show, on_error=self._fail)
        self._look_alikes()

    def _look_alikes(self) -> None:
        session = self._session
        if session.section is not None and self.pinned is not None:
            self._gene_looked = session.gene
            self.alike.look(session.run_dir, session.section, str(session.section.adata.obs_names[self.pinned]), session.gene)

    def _show_look_alikes(self, alike: Shown) -> None:
        if self.card is not None and self._session.section is not None:
            found = with_measured(alike.found, self.known())
            self.card.show_look_alikes(found, alike.tiles, self._gene_looked, self._session.section.library_id, alike.words)

    # -- the card ----------------------------------------------------------------------------------------------------------------------

    def _make_card(self) -> None:
        parent = self._parent()
        window = parent.window() if parent is not None else None
        self.card = SpotCard(window, keys())
        if window is not None:
            self.card.move(window.mapToGlobal(QPoint(10, 92)))  # over napari's own controls, below what is said on the slide
        if self._palette is not None:
            self.card.restyle(self._palette)
        self.card.cause_chosen.connect(self.file)
        self.card.flown_to.connect(self._fly)
        self.card.go_requested.connect(self.go)
        self.card.closed.connect(self._closed)

    def _fly(self, number: int) -> None:
        one, section = self.alike.shown.found[number], self._session.section
        if section is not None and one.library_id == section.library_id:
            self._canvas.fly_to(one.yx_um)
        else:
            self._say(f"{one.barcode} lies on {one.library_id}: open that section to see it.", "info")

    def _closed(self) -> None:
        self.pinned = None
        self._canvas.mark(None)

    def _other_run(self, *_: Any) -> None:
        self._look_soon.start()

    def restyle(self, palette: style.Palette) -> None:
        """Follow napari's theme."""
        self._palette = palette
        if self.card is not None:
            self.card.restyle(palette)

    def shut(self) -> None:
        """Leave no window and no process behind."""
        self.alike.shut()
        card, self.card = self.card, None
        self.pinned = None
        if card is not None:
            card.blockSignals(True)
            card.close()
            card.deleteLater()


def _model_view(run_dir: Path | None, known: Known, tile: Any) -> tuple[ModelView, str]:
    """How the run's model sees the spot; without one how a model with these settings would, in the slide's own pixels."""
    view = view_of_run(run_dir) if run_dir is not None else None
    if view is not None:
        return view, f"As the model sees it: {view.words}" + (f"; below its wider view, {view.context:g} times" if view.context else "")
    side = tile_side_um(known.section, tile)
    view = ModelView(side, 2 * tile_radius_px(side, known.section.mpp))
    return view, f"As a model would see it: {view.words}"


def _looked(
    known: Known, index: int, run_dir: Path | None, view: Callable[[], tuple[ModelView, str]], shares: np.ndarray | None
) -> Generator[None, None, tuple[Looked, np.ndarray]]:
    yield None
    tiles: list[np.ndarray] = []
    words = "No image: choose it with Image…"
    if known.section.slide is not None:
        seen_as, words = view()
        tiles = tiles_of(seen_as, run_dir, known, index)
    yield None
    counted = bool(known.section.adata.n_vars)
    if shares is None:
        shares = gene_shares(known.section, known.keep) if counted else np.zeros(0)
    measured = top_measured(known.section, index, shares) if counted else []
    return (tiles, words, measured, top_predicted(known.maps, index)), shares


def _away(event: Any, start: np.ndarray) -> float:
    return float(np.abs(np.asarray(event.pos, dtype=float) - start).max())
