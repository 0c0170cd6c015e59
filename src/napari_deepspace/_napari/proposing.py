"""Outlines proposed in the window: the map they are made from, how much lies above the threshold, the wand. They get no class here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject
from scipy import ndimage

from napari_deepspace._napari.canvas import Canvas
from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.propose_view import ProposeView
from napari_deepspace._napari.session import HIDDEN, Session
from napari_deepspace._napari.training import Say
from napari_deepspace._napari.widgets import one_shot
from napari_deepspace.errors import DataError, DeepSpaceError, in_window
from napari_deepspace.layers import UNITS, metadata
from napari_deepspace.outlines import Outline
from napari_deepspace.proposed_outlines import ScoreMap, denser_scores, outlines_above, spot_scores, usual_level

PREVIEW, WAND = "proposal preview", "wand"
STILL_PX = 4  #: a click moves the mouse less than that


class Proposing(QObject):
    """Follows what is shown while its part of the Outlines step is open; does nothing while somebody draws blind."""

    def __init__(self, session: Session, canvas: Canvas, view: ProposeView, say: Say, fail: Callable[[Exception], None]):
        super().__init__(view)
        self._session, self._canvas, self._view, self._say, self._fail = session, canvas, view, say, fail
        self.scores: ScoreMap | None = None
        self._worker: Any = None
        self._soon, self._count_soon = one_shot(self, 0), one_shot(self, 40)
        self._soon.timeout.connect(self.refresh)
        self._count_soon.timeout.connect(self._count)
        for name in ("loaded", "maps", "gene", "show", "paint", "denser", "clusters", "blind", "filter", "normalisation"):
            getattr(session.events, name).connect(self._later)
        session.events.blind.connect(self._hide)
        session.events.tool.connect(lambda tool: view.wand.setChecked(tool == WAND))
        view.header.toggled.connect(self._later)
        view.source_chosen.connect(self.refresh)
        view.level_changed.connect(lambda _: self._count_soon.start())
        view.preview_toggled.connect(lambda _: self._show_preview())
        view.propose_requested.connect(self.propose)
        view.wand_toggled.connect(lambda on: setattr(session, "tool", WAND if on else ""))

    def sources(self) -> list[tuple[str, str]]:
        """What can be outlined now: (key, words)."""
        s = self._session
        if s.section is None or s.blind:
            return []
        found = [("denser", f"{s.gene}, denser map")] if s.denser is not None and s.denser.at == "grid" and s.gene in s.denser.outputs else []
        if s.gene:
            shows = ["predicted"] if s.maps is not None and s.gene in s.maps.genes and s.maps.kind != "clusters" else []
            shows += ["measured"] if s.gene in s.section.adata.var_names else []
            found += [(f"spots {show}", f"{s.gene} {show}, at spots") for show in shows]
        if s.clusters is not None:
            found += [(f"cluster {name}", f"cluster {name}, at spots") for name in s.clusters.cat.categories]
        return found

    def refresh(self) -> None:
        """Look at the map that is chosen, in a thread."""
        s, view = self._session, self._view
        view.show_sources(self.sources())
        key = view.source.currentData()
        self.scores = self._worker = None
        self._show_preview()
        if s.blind and s.tool == WAND:
            s.tool = ""
        if key is None or not view.header.isChecked():
            view.show_count(HIDDEN if s.blind else "Choose a gene, or a cluster, first.", False)
            return
        view.show_count("Looking…", False)
        self._worker = worker = start_job(
            self._gather(str(key)),
            on_return=lambda found: self._found(worker, *found),
            on_error=lambda error: self._nothing(worker, error),
        )

    def propose(self, at_xy: tuple[float, float] | None = None) -> None:
        """Add an outline round each piece above the threshold, or round the piece at a place (px)."""
        s, scores, level = self._session, self.scores, self._view.level.value()
        if s.blind or scores is None:
            self._say(HIDDEN if s.blind else "Open “Propose outlines” and choose a map first.", "info")
            return
        level = scores.level if scores.level is not None else level
        start_job(
            partial(_proposed, scores, level, at_xy),
            on_return=partial(self._add, s.section),
            on_error=lambda error: (
                self._say(in_window(error).replace("Give a lower --above", "Lower the threshold"), "warning")
                if isinstance(error, DeepSpaceError)
                else self._fail(error)
            ),
        )

    def click(self, event: Any) -> Iterator[None]:
        """With the wand a click outlines the piece that lies there; a drag moves the view."""
        if event.button != 1 or self._session.tool != WAND or self._session.section is None:
            return
        start, farthest, place = np.asarray(event.pos, dtype=float), 0.0, np.asarray(event.position[-2:]) / self._session.section.mpp
        yield
        while event.type == "mouse_move":
            farthest = max(farthest, float(np.abs(np.asarray(event.pos) - start).max()))
            yield
        if farthest < STILL_PX:
            self.propose((float(place[1]), float(place[0])))

    def shut(self) -> None:
        """What is looked at is not waited for."""
        self._soon.stop()
        self._count_soon.stop()
        self._worker = None

    def _hide(self, blind: bool) -> None:
        """What lies above a threshold is expression too: gone at once."""
        if blind:
            self.scores = self._worker = None
            self._show_preview()

    def _later(self, *_: Any) -> None:
        if self._view.header.isChecked() or self._session.blind:
            self._soon.start()

    def _gather(self, key: str) -> Callable[[], Generator[None, None, tuple[ScoreMap, float]]]:
        """What makes the map; the session is read now, on the main thread."""
        s, (kind, _, name) = self._session, key.partition(" ")
        assert s.section is not None
        if kind == "denser":
            assert s.denser is not None
            return partial(_looked, partial(denser_scores, s.denser, s.gene))
        if kind == "cluster":
            assert s.clusters is not None
            values = np.where(s.clusters.isna(), np.nan, (s.clusters.astype(str) == name).to_numpy(dtype=float))
            return partial(_looked, partial(spot_scores, s.section, values, f"cluster {name}", "at spots", "", 0.5))
        view = s.view("predicted" if name == "predicted" else "measured")
        kept = s.kept()
        if view is None or kept is None:
            raise DataError("There is nothing to outline yet. Open a section first.")
        values = np.where(kept.keep, view.predicted if name == "predicted" else view.measured, np.nan)
        run = s.run_dir.name if name == "predicted" and s.run_dir is not None else ""
        return partial(_looked, partial(spot_scores, s.section, values, s.gene, name, run))

    def _found(self, worker: Any, scores: ScoreMap, level: float) -> None:
        if worker is not self._worker or self._session.blind:
            return
        self.scores = scores
        self._view.show_range(*scores.range, level, scores.level is None)
        self._count()

    def _nothing(self, worker: Any, error: Exception) -> None:
        if worker is self._worker:
            self._view.show_count(in_window(error), False)
        if not isinstance(error, DeepSpaceError):
            self._fail(error)

    def _above(self) -> np.ndarray:
        assert self.scores is not None
        level = self.scores.level if self.scores.level is not None else self._view.level.value()
        with np.errstate(invalid="ignore"):
            return np.asarray(self.scores.image > level)

    def _count(self) -> None:
        """How much lies above the threshold: as fast as the slider moves, without drawing a single line."""
        scores = self.scores
        if scores is None:
            return
        pieces, number = ndimage.label(self._above())
        area = np.bincount(pieces.ravel(), minlength=number + 1)[1:] * (scores.step_px * scores.mpp) ** 2
        large = area[area >= scores.least_um2]
        words = f"{len(large)} piece{'' if len(large) == 1 else 's'}, {large.sum() / 1e6:.2f} mm²"
        small = f"; {len(area) - len(large)} below {scores.least_um2:,.0f} um² left out" if len(large) < len(area) else ""
        self._view.show_count(f"{words}{small}.", True)
        self._show_preview()

    def _show_preview(self) -> None:
        layer, section, scores = self._canvas.layer(PREVIEW), self._session.section, self.scores
        if scores is None or section is None or not self._view.preview.isChecked() or self._session.blind:
            if layer is not None:
                self._canvas.viewer.layers.remove(layer)
            return
        shown = np.where(self._above(), np.float32(1), np.float32(np.nan))
        if layer is not None and layer.data.shape == shown.shape and layer.metadata["of"] is scores:
            layer.data = shown
            return
        if layer is not None:
            self._canvas.viewer.layers.remove(layer)
        layer = Image(
            shown,
            name=f"{section.library_id} above the threshold",
            scale=(scores.step_px * section.mpp,) * 2,
            translate=tuple(at * section.mpp for at in scores.origin_yx_px),
            units=UNITS,
            colormap="yellow",
            contrast_limits=(0, 1),
            opacity=0.5,
            metadata=metadata(section, PREVIEW) | {"of": scores},
        )
        active = self._canvas.viewer.layers.selection.active
        self._canvas.viewer.add_layer(layer)
        self._canvas.viewer.layers.selection.active = active

    def _add(self, section: Any, found: list[Outline]) -> None:
        s = self._session
        if s.section is not section or s.blind:
            return
        s.outlines = (*s.outlines, *found)
        s.chosen_outline = found[0].id
        words = "outline without a class" if len(found) == 1 else "outlines without a class"
        self._say(f"{len(found)} {words}: {found[0].name}. Give it one if you see one. It cannot be tested with {found[0].gene}.", "info")


def _looked(make: Callable[[], ScoreMap]) -> Generator[None, None, tuple[ScoreMap, float]]:
    yield None
    scores = make()
    return scores, usual_level(scores)


def _proposed(scores: ScoreMap, level: float, at_xy: tuple[float, float] | None) -> Generator[None, None, list[Outline]]:
    yield None
    return outlines_above(scores, level, at_xy)
