"""Measuring the stain of a neighbouring slide in the window: in a thread, refused where it would say nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_deepspace._napari.copying import CopyButton, section_now
from napari_deepspace._napari.neighbours import Neighbours
from napari_deepspace._napari.neighbours_panel import NeighboursPanel
from napari_deepspace._napari.quantify_dialog import QuantifyDialog
from napari_deepspace._napari.session import HIDDEN, Session
from napari_deepspace._napari.style import Palette, palette
from napari_deepspace._napari.training import Say
from napari_deepspace.align.quantify import CELL_WAYS, WAYS, Quantities, h_strength, require_fit
from napari_deepspace.analyse.agreement import NULL, Agreement
from napari_deepspace.cells import Cells, read_cells
from napari_deepspace.comparison import Comparison, chosen, comparable
from napari_deepspace.errors import DeepSpaceError, in_window
from napari_deepspace.geojson import stamp_of
from napari_deepspace.neighbour_measure import alignment_of, alignment_text, measure_outlines, measure_stain, rows_beside
from napari_deepspace.neighbours import Neighbour
from napari_deepspace.recipes import Recipe, quantify_recipe
from napari_deepspace.runs import write_atomic
from napari_deepspace.section import Section
from napari_deepspace.settings import SectionSettings
from napari_deepspace.slide import Slide


@dataclass(frozen=True)
class Found:
    """What a measurement brought: the stain, the way that is shown, the gene's maps it was held against (the first one shown), the rows beside."""

    stain: Quantities
    way: str
    gene: str
    unit: str
    of: str
    values: np.ndarray  #: of the first row
    rows: list[Agreement]


class Quantifying(QObject):
    """Owns the window "Measure the stain"."""

    def __init__(
        self,
        session: Session,
        panel: NeighboursPanel,
        neighbours: Neighbours,
        opened: Callable[[], SectionSettings | None],
        parent: QWidget,
        say: Say,
        fail: Callable[[Exception], None],
    ):
        super().__init__(parent)
        self._session, self._neighbours, self._parent, self._say, self._fail = session, neighbours, parent, say, fail
        self._opened = opened
        self.dialog: QuantifyDialog | None = None
        self.found: Found | None = None
        self._palette = palette()
        self._stained: tuple[Any, Quantities] | None = None  #: of which slide, alignment and cells, and what was measured
        self._outlined: pd.DataFrame | None = None  #: what the window shows of outlines
        self._cells: tuple[Path, Path, Cells] | None = None  #: of which slide, from which file
        panel.quantify_requested.connect(self.open)
        neighbours.stopped.connect(lambda: self._refused(DeepSpaceError("Stopped. Press Measure to begin again.")))
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
        self.dialog.at.changed.connect(self._again)
        self.dialog.cells_chosen.connect(self.take_cells)
        self.dialog.save_requested.connect(self._ask_save)
        if self._cells_of(one) is not None:
            self._show_cells()
        self.dialog.put_below(CopyButton(self.recipe, lambda text: self._say(text, "info"), self._fail))
        self.dialog.show()
        self.measure(str(self.dialog.way.currentData()), self.dialog.of.value())

    def measure(self, way: str, of: str) -> None:
        """Hold the stain, quantified one ``way`` (of WAYS), against the gene, "measured" or "predicted"; what is known is not measured again."""
        session, one = self._session, self._neighbours.one()
        section, opened = session.section, None if one is None else self._neighbours.overlays.files.get(one.id)
        dialog = self.dialog
        if dialog is None or one is None or opened is None or section is None:
            return
        try:
            if session.blind:
                raise DeepSpaceError(HIDDEN)
            notes = require_fit(alignment_of(one, section, opened.slide), section.slide, opened.slide, section.platform.spot_diameter_um)
            if dialog.in_outlines and not session.outlines:
                raise DeepSpaceError("There is no outline yet. Draw one in step 7, or open some.")
            maps = {} if dialog.in_outlines else self._maps(of)
        except DeepSpaceError as error:
            dialog.refuse(in_window(error))
            return
        cells = self._cells_of(one)
        key = self._key(one)
        known = self._stained[1] if self._stained is not None and self._stained[0] == key else None
        if dialog.in_outlines:
            work: Any = partial(measure_outlines, one, section, opened.slide, session.outlines, cells)
            done: Any = partial(self._measured_outlines, one, notes)
        else:
            work = partial(_measure, one, section, opened.slide, way, known, session.gene, session.measured()[1], maps, self._inside(section), cells)
            done = partial(self._measured, key, one)
        if self._neighbours.start(work, done, "Measuring the stain…", failed=self._refused):
            dialog.run.setEnabled(False)
            dialog.heading.setText("Measuring…")

    # -- cells and the table -----------------------------------------------------------------------------------------------------------------

    def take_cells(self, path: Path) -> None:
        """Read cells that QuPath detected on the slide, in a thread, and measure again with them."""
        one = self._neighbours.one()
        opened = None if one is None else self._neighbours.overlays.files.get(one.id)
        if one is not None and opened is not None:
            self._neighbours.start(partial(_cells_from, path, opened.slide), partial(self._taken, one.path, path), "Reading cells…")

    def _taken(self, slide: Path, path: Path, cells: Cells) -> None:
        self._cells = slide, path, cells
        if self.dialog is not None:
            self._show_cells()
            self.measure(str(self.dialog.way.currentData()), self.dialog.of.value())

    def _show_cells(self) -> None:
        if self.dialog is not None and self._cells is not None:
            cells = self._cells[2]
            graded = np.isfinite(h_strength(cells.classes)).any()
            self.dialog.show_cells(f"{len(cells.classes):,} cells", CELL_WAYS if graded else CELL_WAYS[:1])

    def _cells_of(self, one: Neighbour) -> Cells | None:
        return self._cells[2] if self._cells is not None and self._cells[0] == one.path else None

    def _cells_file(self, one: Neighbour) -> Path | None:
        return self._cells[1] if self._cells is not None and self._cells[0] == one.path else None

    def _key(self, one: Neighbour) -> Any:
        """What a measurement holds for."""
        return one.path, one.mpp, one.transform, self._cells_file(one)

    def save(self, out: Path) -> None:
        """Write what the window shows as a table: a row a spot, with the gene, or a row an outline. Raises OSError where that cannot be."""
        from napari_deepspace.quantify_command import spot_table  # it draws as well, with matplotlib

        section, found = self._session.section, self.found
        if self.dialog is not None and self.dialog.in_outlines:
            table = self._outlined
        else:
            table = None if section is None or found is None else spot_table(section, found.stain)
            if table is not None and found is not None:
                table[f"{found.of} {found.gene}"] = found.values
        if table is not None:
            write_atomic(out, table.to_csv(index=False))
            self._say(f"{len(table):,} rows written: {out}.", "info")

    def _ask_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self._parent, "Save the stain as a table", "stain.csv", "CSV (*.csv)")
        if path:
            try:
                self.save(Path(path))
            except OSError as error:
                self._fail(DeepSpaceError(f"{path} cannot be written ({error}). Choose another folder."))

    def _refused(self, error: Exception) -> None:
        if self.dialog is not None:
            self.dialog.run.setEnabled(True)
            self.dialog.refuse(in_window(error))
        if not isinstance(error, DeepSpaceError):
            self._fail(error)

    def _maps(self, of: str) -> dict[str, tuple[np.ndarray, str]]:
        """The gene at the spots that stay, (n_spots,), NaN elsewhere, and which spots these are, by name; ``of`` first."""
        session, kept = self._session, self._session.kept()
        assert kept is not None
        measured = np.where(kept.keep, session.measured()[0], np.nan)
        found = {"measured": (measured, "measured spots")} if np.isfinite(measured).any() else {}
        predicted = None if session.maps is None else session.maps.of(session.gene)
        if predicted is not None and session.maps is not None:
            found["predicted"] = np.where(comparable(session.maps, kept.keep), predicted, np.nan), "spots not trained on"
        if of not in found:
            raise DeepSpaceError(f"{session.gene or 'The gene'} is not {of} here. Choose another gene under Look, or train it.")
        return {of: found.pop(of)} | found

    def recipe(self) -> Recipe:
        """What is asked for, as text."""
        session, one = self._session, self._neighbours.one()
        section, opened = session.section, None if one is None else self._neighbours.overlays.files.get(one.id)
        if one is None or opened is None or section is None or self.dialog is None:
            raise DeepSpaceError("There is nothing to copy yet. Choose a neighbouring slide first.")
        settings, files = section_now(session, self._opened())
        texts = files | {"alignment.json": alignment_text(alignment_of(one, section, opened.slide))}
        run = session.run_dir if self.dialog.of.value() == "predicted" else None
        way, cells = str(self.dialog.way.currentData()), self._cells_file(one)
        return quantify_recipe(settings, one.path, session.gene, way, run, texts, cells, self.dialog.in_outlines)

    def _inside(self, section: Section) -> list[tuple[str, np.ndarray]]:
        """The chosen outline and which spots lie in it."""
        session = self._session
        outline = next((one for one in session.outlines if one.id == session.chosen_outline), None)
        if outline is None:
            return []
        yx = section.centres_yx
        return [(outline.name or outline.classification or "outline", shapely.intersects_xy(outline.geometry, yx[:, 1], yx[:, 0]))]

    def _measured(self, key: Any, asked: Neighbour, found: Found) -> None:
        self._stained, self.found = (key, found.stain), found
        dialog, section = self.dialog, self._session.section
        if dialog is None or section is None or self._session.blind:
            return
        dialog.run.setEnabled(True)
        stain, values = found.stain.of(found.way), found.values
        at = np.flatnonzero(np.isfinite(stain) & np.isfinite(values))
        points = Comparison(found.gene, at, values[at], stain[at], found.unit, relative="stain")
        how = "out-of-fold" if found.of == "predicted" else found.unit
        dialog.show_found(
            heading_of(found, bool(section.synthetic)),
            points,
            (f"{found.gene} {found.of}, {how}", WAYS[found.way]),
            found.rows,
            words_of(found, asked),
        )
        dialog.select(self._session.selected)

    def _measured_outlines(self, asked: Neighbour, notes: list[str], found: pd.DataFrame) -> None:
        self._outlined = found
        dialog, section = self.dialog, self._session.section
        if dialog is None or section is None or self._session.blind:
            return
        dialog.run.setEnabled(True)
        if not dialog.in_outlines:  # turned to the spots meanwhile
            self._again()
            return
        out = int((found["dab"].isna()).sum())
        made_up = "SYNTHETIC data. " if section.synthetic else ""
        left = f"{out:,} of them without: less than half of it is tissue on either slide. " if out else ""
        apart = f"The sections are {abs(asked.gap_um):g} um apart."
        dialog.show_outlines(
            f"<b>{made_up}The stain in {len(found):,} outline{'s' * (len(found) != 1)}</b>",
            found,
            f"{left}{' '.join(notes)} {apart} Research use only.",
        )

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
        if one is None or (self._stained is not None and self._stained[0][:3] != self._key(one)[:3]):
            self._stained = self.found = self._outlined = None
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
    made_up = "SYNTHETIC data. " if synthetic else ""
    return f"<b>{made_up}{escape(found.gene)} {found.of} against the stain</b><br>{escape(found.rows[0].words)}"


def words_of(found: Found, one: Neighbour) -> str:
    """What was left out, what P is, and what no number here can say."""
    left = ", ".join(f"{n:,} spots: {why}" for why, n in found.stain.left_out.items())
    apart = f"The sections are {abs(one.gap_um):g} um apart."
    return " ".join(
        [*found.stain.notes, apart, f"Left out: {left}." if left else "", f"{NULL}. Drag a rectangle to select spots. Research use only."]
    )


def _cells_from(path: Path, slide: Slide) -> Generator[str, None, Cells]:
    yield "Reading cells…"
    return read_cells(path, stamp_of(slide))


def _measure(
    one: Neighbour,
    section: Section,
    slide: Slide,
    way: str,
    known: Quantities | None,
    gene: str,
    unit: str,
    maps: dict[str, tuple[np.ndarray, str]],
    inside: list[tuple[str, np.ndarray]],
    cells: Cells | None = None,
) -> Generator[tuple[str, float], None, Found]:
    stain = known if known is not None else (yield from measure_stain(one, section, slide, cells))
    yield "Moving maps…", -1.0
    of = next(iter(maps))
    named = {f"{gene} {name}": values for name, values in maps.items()}
    return Found(stain, way, gene, unit, of, maps[of][0], rows_beside(stain, way, named, section, inside))
