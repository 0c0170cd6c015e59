"""What outlines hold, computed in a thread for the window "Regions" by the functions of ``napari-deepspace regions``, and kept as files."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from napari_deepspace._napari import style
from napari_deepspace._napari.copying import CopyButton, put_beside, section_now
from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.outline_layers import OutlineLayers
from napari_deepspace._napari.regions_dialog import BOXES, FRONT, GENES, OBSERVERS, TABLE, RegionsDialog
from napari_deepspace._napari.session import HIDDEN, Session
from napari_deepspace._napari.training import Say
from napari_deepspace._napari.widgets import one_shot
from napari_deepspace.errors import DeepSpaceError, in_window
from napari_deepspace.recipes import Recipe, RegionsAsked, regions_recipe
from napari_deepspace.runs import write_atomic
from napari_deepspace.settings import FilterSettings, SectionSettings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from napari_deepspace.section import Section

SCREEN_DPI = 110


@dataclass(frozen=True)
class Answer:
    """What one tab shows: its table, how its figure is drawn (None: it has none), the figure as PNG, and what to say."""

    table: pd.DataFrame
    draw: Callable[[], Figure] | None = None
    png: bytes | None = None
    words: str = ""
    notes: tuple[str, ...] = ()
    borders: tuple[tuple[str, str], ...] = ()


class Regions(QObject):
    """One window; nothing of it is open, asked for or answered while somebody draws blind."""

    def __init__(
        self,
        session: Session,
        layers: OutlineLayers,
        opened: Callable[[], SectionSettings | None],
        parent: QWidget,
        say: Say,
        fail: Callable[[Exception], None],
    ):
        super().__init__(parent)
        self._session, self._layers, self._opened, self._parent, self._say, self._fail = session, layers, opened, parent, say, fail
        self._palette = style.palette()
        self.dialog: RegionsDialog | None = None
        self.answers: dict[int, Answer] = {}
        self.observer: Path | None = None
        self._worker: Any = None
        self._soon = one_shot(self, 250)
        self._soon.timeout.connect(self._ask)
        session.events.blind.connect(self._blind)
        for name in ("outlines", "maps", "filter", "loaded"):
            getattr(session.events, name).connect(self._changed)

    def open(self) -> None:
        """Show the window, of the gene that is looked at."""
        s = self._session
        if s.blind or s.section is None or not s.outlines:
            self._say(
                HIDDEN if s.blind else "Open a section first." if s.section is None else "Draw an outline first: there is none to describe.", "info"
            )
            return
        if self.dialog is None:
            self.dialog = dialog = RegionsDialog(self._parent)
            dialog.restyle(self._palette)
            dialog.changed.connect(self._soon.start)
            dialog.chosen.connect(self._go)
            dialog.observer_chosen.connect(self.set_observer)
            dialog.genes_wanted.connect(lambda: self._ask(differential=True))
            dialog.table_wanted.connect(self.save_table)
            dialog.figure_wanted.connect(self.save_figure)
            put_beside(dialog.save_figure, CopyButton(self.recipe, dialog.say, self._fail))
        if not self.dialog.genes.text():
            self.dialog.genes.setText(s.gene)
        self.dialog.show()
        self.dialog.raise_()
        self._ask()

    def set_observer(self, path: Path) -> None:
        """Compare with the outlines of this file."""
        self.observer = path
        self._ask()

    def asked(self, out: Path | None = None, plot: Path | None = None) -> RegionsAsked:
        """What the tab that is open asks for, as the command takes it."""
        assert self.dialog is not None
        s, tab, dialog = self._session, self.dialog.tabs.currentIndex(), self.dialog
        run = s.run_dir if s.maps is not None else None
        return RegionsAsked(
            genes=tuple(dialog.asked_genes() or ([s.gene] if s.gene else [])),
            by=dialog.by.value(),
            run_dir=run,
            filter=s.filter if run is None and s.filter != FilterSettings() else None,
            front=str(dialog.border.currentData() or "") if tab == FRONT else "",
            band_um=float(dialog.band_um.value()),
            denser=s.denser.folder if tab == FRONT and dialog.with_denser.isChecked() and s.denser is not None else None,
            against=self.observer if tab == OBSERVERS else None,
            differential=Path("genes.csv") if tab == GENES else None,
            out=out,
            plot=plot,
        )

    def recipe(self) -> Recipe:
        """The tab that is open as text; raises DeepSpaceError where there is nothing to describe."""
        assert self.dialog is not None
        section, files = section_now(self._session, self._opened())
        tab = self.dialog.tabs.currentIndex()
        out = Path("regions.csv") if tab in (TABLE, FRONT) else None
        return regions_recipe(section, self.asked(out, Path("regions.pdf") if tab in (BOXES, FRONT, OBSERVERS) else None), files)

    def save_table(self, out: Path) -> None:
        """Write the table of the tab that is open."""
        self._write(lambda answer: write_atomic(out, answer.table.to_csv(index=False)), out)

    def save_figure(self, out: Path) -> None:
        """Write the figure of the tab that is open: .png, .svg or .pdf."""

        def write(answer: Answer) -> None:
            from napari_deepspace.figure_parts import save

            assert answer.draw is not None
            save(answer.draw(), out)

        self._write(write, out)

    def restyle(self, palette: style.Palette) -> None:
        """Follow napari's theme."""
        self._palette = palette
        if self.dialog is not None:
            self.dialog.restyle(palette)

    def shut(self) -> None:
        """Close the window; what is computed is not waited for."""
        self._soon.stop()
        self._worker = None
        if self.dialog is not None:
            self.dialog.close()

    # -- computing ---------------------------------------------------------------------------------------------------------------------

    def _changed(self, *_: Any) -> None:
        self.answers = {}
        if self.dialog is not None and self.dialog.isVisible():
            self._soon.start()

    def _blind(self, blind: bool) -> None:
        if blind:
            self.answers = {}
            self.shut()

    def _ask(self, differential: bool = False) -> None:
        s, dialog = self._session, self.dialog
        if dialog is None or not dialog.isVisible() or s.blind or s.section is None:
            return
        dialog.with_denser.setEnabled(s.denser is not None)
        tab = dialog.tabs.currentIndex()
        dialog.show_possible(False, False)
        if (tab == GENES and not differential) or (tab == OBSERVERS and self.observer is None) or not s.outlines:
            dialog.say("")
            return
        dialog.say("Computing…", working=True)
        section = replace(s.section, outlines=list(s.outlines))
        work = partial(_answer, section, tab, self.asked(), s.filter, dialog.chosen_ids())
        self._worker = worker = start_job(
            work,
            on_return=lambda found: self._show(worker, tab, found),
            on_error=lambda error: self._failed(worker, tab, error),
        )

    def _show(self, worker: Any, tab: int, found: Answer) -> None:
        dialog = self.dialog
        if worker is not self._worker or dialog is None or self._session.blind:
            return
        self.answers[tab] = found
        dialog.say("")
        if found.borders:
            dialog.show_borders(found.borders)
        if tab == TABLE:
            dialog.show_table(found.table, found.notes)
        elif tab in (BOXES, FRONT):
            dialog.show_picture(tab, found.png)
        elif tab == OBSERVERS:
            dialog.show_observers(found.table, found.words)
        else:
            dialog.show_genes(found.table, found.words)
        dialog.show_possible(True, found.draw is not None)

    def _failed(self, worker: Any, tab: int, error: Exception) -> None:
        if worker is not self._worker or self.dialog is None:
            return
        self.answers.pop(tab, None)
        self.dialog.say(in_window(error) if isinstance(error, DeepSpaceError) else "That could not be computed: see the dock.")
        if tab in (BOXES, FRONT):
            self.dialog.show_picture(tab, None)
        if not isinstance(error, DeepSpaceError):
            self._fail(error)

    def _go(self, ids: list[str]) -> None:
        self._session.chosen_outline = ids[0]
        self._layers.go_to(*ids)

    def _write(self, write: Callable[[Answer], None], out: Path) -> None:
        assert self.dialog is not None
        answer, dialog = self.answers.get(self.dialog.tabs.currentIndex()), self.dialog
        if answer is None:
            self.dialog.say("Nothing is computed yet.")
            return

        def work() -> Generator[None, None, None]:
            yield None
            write(answer)

        start_job(work, on_return=lambda _: dialog.say(f"Saved: {out}"), on_error=self._fail)


def _answer(section: Section, tab: int, asked: RegionsAsked, usual: FilterSettings, ids: list[str]) -> Generator[None, None, Answer]:
    """What a tab shows; raises DeepSpaceError with what to do where that cannot be said."""
    yield None
    from napari_deepspace import region_command as command
    from napari_deepspace.analyse.region_tests import NULL
    from napari_deepspace.analyse.regions import regions_of

    regions = regions_of(section.outlines, asked.by)
    borders = tuple((one.outlines[0].id, one.name) for one in regions)
    if tab == OBSERVERS:
        assert asked.against is not None
        other = command.read_observer(section, asked.against)
        table = command.observers_table(section, other)
        words = f"{len(section.outlines)} outlines here against {len(other)} of {asked.against.name}. {command.data_words(section)}"
        return Answer(table, partial(command.observers_figure, section, other, table) if section.slide is not None else None, None, words)
    known = command.known_genes(section, asked.genes, asked.run_dir, usual)
    yield None
    if tab == TABLE:
        notes = (f"{NULL}; measured spots only.", "Of many tests 1 in 20 falls below 0.05 by chance.", command.data_words(section))
        return Answer(command.region_table(section, regions, known), None, None, "", notes, borders)
    if tab == GENES:
        chosen = next((one for one in regions if ids and ids[0] in {outline.id for outline in one.outlines}), regions[0])
        keep = known[0].keep if known else command.known_of(asked.run_dir, section, usual=usual).keep
        words = f"{chosen.name}: Wilcoxon rank sum of measured spots; no P, for neighbours repeat one another. {command.data_words(section)}"
        return Answer(command.differential_table(section, [chosen], keep), None, None, words)
    if tab == BOXES:
        draw = partial(command.distributions_figure, section, regions, known)
        return Answer(command.distribution_values(section, regions, known), draw, _png(draw()), "", (), borders)
    dmap = None
    if asked.denser is not None:
        from napari_deepspace.denser import open_denser

        dmap = open_denser(asked.denser)
    region = command.find_region(regions, asked.front) if asked.front else regions[0]
    table = command.front_table(section, region, known, asked.band_um, dmap)
    draw = partial(command.front_figure, section, region, known, table)
    return Answer(table, draw, _png(draw()), "", (), borders)


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=SCREEN_DPI)
    return out.getvalue()
