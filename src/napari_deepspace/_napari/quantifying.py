"""Measuring the stain of a neighbouring slide in the window: in a thread, refused where it would say nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import shapely
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from napari_deepspace._napari.neighbours import Neighbours
from napari_deepspace._napari.neighbours_panel import NeighboursPanel
from napari_deepspace._napari.quantify_dialog import QuantifyDialog
from napari_deepspace._napari.session import HIDDEN, Session
from napari_deepspace._napari.style import Palette, palette
from napari_deepspace._napari.training import Say
from napari_deepspace.align.transform import Transform
from napari_deepspace.comparison import Comparison, chosen, comparable
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.neighbour_fit import transform_of
from napari_deepspace.neighbour_measure import WAYS, Agreement, Stained, Way, agreement, measure_stain, withheld_words
from napari_deepspace.neighbours import Neighbour
from napari_deepspace.section import Section
from napari_deepspace.slide import Slide


@dataclass(frozen=True)
class Found:
    """What a measurement brought: the stain, the gene's values it was held against, and the rows of the table."""

    stained: Stained
    gene: str
    unit: str
    of: str
    values: np.ndarray
    rows: tuple[Agreement, ...]


class Quantifying(QObject):
    """Owns the window "Measure the stain"."""

    def __init__(
        self, session: Session, panel: NeighboursPanel, neighbours: Neighbours, parent: QWidget, say: Say, fail: Callable[[Exception], None]
    ):
        super().__init__(parent)
        self._session, self._neighbours, self._parent, self._say, self._fail = session, neighbours, parent, say, fail
        self.dialog: QuantifyDialog | None = None
        self.found: Found | None = None
        self._palette = palette()
        self._stained: tuple[Any, Stained] | None = None  #: of which slide and alignment, and what was measured
        panel.quantify_requested.connect(self.open)
        events = session.events
        for signal in (events.loaded, events.neighbours, events.chosen_neighbour):
            signal.connect(self._gone)
        events.blind.connect(lambda blind: self.shut() if blind else None)
        events.gene.connect(self._again)
        events.selected.connect(self._selected)

    def open(self) -> None:
        """Show the window, and measure."""
        one = self._neighbours.one()
        if one is None:
            return
        if self._session.blind:
            self._say(HIDDEN, "info")
            return
        self.shut()
        self.dialog = QuantifyDialog(one.name, self._parent)
        self.dialog.scatter.restyle(self._palette)
        self.dialog.asked.connect(self.measure)
        self.dialog.scatter.brushed.connect(self._brushed)
        predicted = self._session.maps is not None
        self.dialog.of.buttons["predicted"].setEnabled(predicted)
        self.dialog.of.set_value("predicted" if predicted and self._session.show == "predicted" else "measured")
        self.dialog.of.changed.connect(self._again)
        self.dialog.show()
        self.measure(str(self.dialog.way.currentData()), self.dialog.of.value())

    def measure(self, way: Any, of: str) -> None:
        """Measure the stain one ``way`` (of WAYS) and hold it against the gene, "measured" or "predicted"."""
        session, one = self._session, self._neighbours.one()
        section, opened = session.section, None if one is None else self._neighbours.overlays.files.get(one.id)
        dialog = self.dialog
        if dialog is None or one is None or opened is None or section is None or one.transform is None or one.mpp is None:
            return
        why = HIDDEN if session.blind else withheld_words(one.error_um, section)
        if why:
            dialog.refuse(why)
            return
        try:
            values, unit = self._values(of)
            transform = transform_of(one.transform)
        except DeepSpaceError as error:
            dialog.refuse(str(error))
            return
        key = (one.path, one.mpp, one.transform, way)
        known = self._stained[1] if self._stained is not None and self._stained[0] == key else None
        inside = self._inside(section)
        dark = None if session.colours is None else 255 - session.colours.mean_rgb.mean(axis=1)
        work = partial(_measure, section, opened.slide, one.mpp, transform, way, known, (session.gene, unit, of), values, dark, inside)
        dialog.run.setEnabled(False)
        dialog.heading.setText("Measuring…")
        self._neighbours.start(work, partial(self._measured, key, one), "Measuring the stain…")

    def _values(self, of: str) -> tuple[np.ndarray, str]:
        """The gene at the spots that stay, (n_spots,), NaN elsewhere, and its unit."""
        session, kept = self._session, self._session.kept()
        assert kept is not None
        measured, unit = session.measured()
        if of == "measured":
            if not np.isfinite(measured).any():
                raise DeepSpaceError(f"{session.gene or 'The gene'} is not measured here. Choose another under Look.")
            return np.where(kept.keep, measured, np.nan), unit
        predicted = None if session.maps is None else session.maps.of(session.gene)
        if predicted is None or session.maps is None:
            raise DeepSpaceError(f"{session.gene or 'The gene'} is not predicted. Train it, or choose another under Look.")
        return np.where(comparable(session.maps, kept.keep), predicted, np.nan), unit

    def _inside(self, section: Section) -> tuple[str, np.ndarray] | None:
        """The chosen outline and which spots lie in it."""
        session = self._session
        outline = next((one for one in session.outlines if one.id == session.chosen_outline), None)
        if outline is None:
            return None
        yx = section.centres_yx
        return outline.name or outline.classification or "outline", shapely.intersects_xy(outline.geometry, yx[:, 1], yx[:, 0])

    def _measured(self, key: Any, asked: Neighbour, found: Found) -> None:
        self._stained, self.found = (key, found.stained), found
        dialog, section = self.dialog, self._session.section
        if dialog is None or section is None or self._session.blind:
            return
        dialog.run.setEnabled(True)
        at = np.flatnonzero(np.isfinite(found.stained.values) & np.isfinite(found.values))
        points = Comparison(found.gene, at, found.values[at], found.stained.values[at], found.unit, relative="stain")
        how = "out-of-fold" if found.of == "predicted" else found.unit
        axes = (f"{found.gene} {found.of}, {how}", WAYS[found.stained.way])
        dialog.show_found(heading_of(found, bool(section.synthetic)), points, axes, found.rows, words_of(found, asked))
        dialog.select(self._session.selected)

    def _again(self, *_: Any) -> None:
        """Another gene, or the other map: the stain is known already."""
        if self.dialog is not None and self.dialog.isVisible() and self.dialog.run.isEnabled():
            self.measure(str(self.dialog.way.currentData()), self.dialog.of.value())

    def _brushed(self, inside: np.ndarray) -> None:
        if self.dialog is not None and self.dialog.scatter.found is not None:
            self._session.selected = chosen(self.dialog.scatter.found.spots[inside])

    def _selected(self, selected: Any) -> None:
        if self.dialog is not None:
            self.dialog.select(selected)

    def _gone(self, *_: Any) -> None:
        """Another section or slide, or another alignment: what was measured does not hold any more."""
        one = self._neighbours.one()
        if one is None or (self._stained is not None and self._stained[0][:3] != (one.path, one.mpp, one.transform)):
            self._stained = self.found = None
            self.shut()

    def restyle(self, p: Palette) -> None:
        """Follow napari's theme."""
        self._palette = p
        if self.dialog is not None:
            self.dialog.scatter.restyle(p)

    def shut(self) -> None:
        """No window stays behind."""
        dialog, self.dialog = self.dialog, None
        if dialog is not None:
            dialog.close()
            dialog.deleteLater()


def heading_of(found: Found, synthetic: bool) -> str:
    """The first row in words, never a bare r."""
    one = found.rows[0]
    made_up = "SYNTHETIC data. " if synthetic else ""
    r = f"r = {one.r:.2f} (95 % interval {one.interval[0]:.2f} to {one.interval[1]:.2f}, {one.blocks} blocks; n = {one.n:,} spots)"
    return f"<b>{made_up}{found.gene} {found.of} against the stain</b><br>{r}"


def words_of(found: Found, one: Neighbour) -> str:
    """What was left out, what P is, and what no number here can say."""
    left = f"Left out: {found.stained.without:,} spots without tissue on the neighbouring slide, {found.stained.outside:,} beyond its edge."
    known = f"about {one.error_um:.0f} um" if one.error_um is not None else "nobody knows how far: set four landmarks to know"
    off = f" The alignment is off by {known}; the sections are {abs(one.gap_um):g} um apart."
    return f"{left}{off} P: against the map moved as a whole, one section of one patient. Drag a rectangle to select spots. Research use only."


def _measure(
    section: Section,
    slide: Slide,
    mpp: float,
    transform: Transform,
    way: Way,
    known: Stained | None,
    about: tuple[str, str, str],
    values: np.ndarray,
    dark: np.ndarray | None,
    inside: tuple[str, np.ndarray] | None,
) -> Generator[tuple[str, float], None, Found]:
    stained = known if known is not None else (yield from measure_stain(section, slide, mpp, transform, way))
    yield "Moving maps…", -1.0
    gene, unit, of = about
    there = np.isfinite(stained.values)
    rows = [agreement(f"Stain, {gene} {of}", stained.values, values, section)]
    if dark is not None and len(dark) == len(values):
        rows.append(agreement(f"H&E darkness, {gene} {of}", np.where(there, dark, np.nan), values, section))
        rows.append(agreement("Stain, H&E darkness", stained.values, dark, section))
    if inside is not None:
        try:
            rows.append(agreement(f"Inside {inside[0]} only", np.where(inside[1], stained.values, np.nan), values, section))
        except DeepSpaceError:
            rows.append(
                replace(
                    rows[0],
                    what=f"Inside {inside[0]}: too few spots",
                    n=int((inside[1] & there).sum()),
                    r=np.nan,
                    p=np.nan,
                    spearman=np.nan,
                    interval=(np.nan, np.nan),
                )
            )
    return Found(stained, gene, unit, of, values, tuple(rows))
