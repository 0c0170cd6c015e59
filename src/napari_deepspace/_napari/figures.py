"""Figures from the window: what can be drawn of what is shown, and the drawing in a thread."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from napari_deepspace._napari import style
from napari_deepspace._napari.copying import CopyButton, put_beside, section_now
from napari_deepspace._napari.figure_dialog import FigureDialog, What
from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.session import HIDDEN, Session
from napari_deepspace.errors import DeepSpaceError, in_window
from napari_deepspace.figure_settings import KINDS, FigureSettings, require_format
from napari_deepspace.recipes import Recipe, figure_recipe
from napari_deepspace.runs import SETTINGS
from napari_deepspace.settings import FilterSettings, SectionSettings, load_run_settings
from napari_deepspace.verdicts import WAYS

if TYPE_CHECKING:
    from napari_deepspace.figure_material import Material

MEASURED = ("measured", "clusters", "removed")
DENSER_WORDS = {"class": "the likeliest cluster", "interval": "width of the 90 % band", "disagreement": "disagreement between models"}


class Figures(QObject):
    """One dialog; a figure is drawn from what the window shows, so that both agree. ``viewer`` is asked for what is in view."""

    def __init__(
        self,
        session: Session,
        viewer: Any,
        opened: Callable[[], SectionSettings | None],
        parent: QWidget,
        say: Callable[..., None],
        fail: Callable[[Exception], None],
    ):
        super().__init__(parent)
        self._session, self._viewer, self._opened, self._parent = session, viewer, opened, parent
        self._say, self._fail = say, fail
        self._palette = style.palette()
        self.dialog: FigureDialog | None = None
        self.out: Path | None = None  #: the figure that was drawn last
        self._drawn: FigureSettings | None = None  #: and what it shows
        self._worker: Any = None
        self._latest: Any = None  #: the job that makes the lines
        for signal in (session.events.gene, session.events.maps, session.events.loaded, session.events.denser, session.events.clusters):
            signal.connect(self._offer)
        session.events.blind.connect(self._close)

    def open(self, what: What | None = None) -> None:
        """Show the dialog with ``what`` chosen; None: what is painted now."""
        if self._session.blind:
            self._say(HIDDEN)
            return
        if self.dialog is None:
            self.dialog = FigureDialog(self._parent)
            self.dialog.restyle(self._palette)
            self.dialog.changed.connect(self._preview)
            self.dialog.wanted.connect(self.draw)
            put_beside(self.dialog.save, CopyButton(self.recipe, self.dialog.say, self._fail))
        self.dialog.say("")
        self.dialog.offer(self.possible(), what or self._painted())
        self.dialog.show()
        self.dialog.raise_()

    def _close(self, blind: bool) -> None:
        """A preview shows expression, which is hidden while somebody draws blind."""
        if blind and self.dialog is not None:
            self.dialog.close()

    def possible(self) -> list[tuple[What, str]]:
        """What can be drawn now, with its words."""
        s, maps = self._session, self._session.maps
        if s.loaded is None:
            return []
        found: list[tuple[What, str]] = [(("map", show), f"{s.gene}: {WAYS.get(show, show)}") for show in s.showable() if s.gene]
        if s.clusters is not None:
            found.append((("map", "clusters"), "Clusters"))
        if maps is not None and maps.kind == "clusters":
            found.append((("map", "class"), "The likeliest cluster of each spot"))
        found.append((("map", "removed"), "Removed spots"))
        if maps is not None and s.gene in maps.genes and "measured" in s.showable() and "predicted" in s.showable():
            found += [((kind, ""), f"{s.gene}: {KINDS[kind]}") for kind in ("side-by-side", *(["scatter"] if maps.scores is not None else []))]
        if maps is not None and maps.scores is not None and maps.scores.genes:
            found.append((("table", ""), KINDS["table"][0].upper() + KINDS["table"][1:]))
        if maps is not None and maps.kind == "clusters" and maps.measured is not None:
            found.append((("confusion", ""), KINDS["confusion"][0].upper() + KINDS["confusion"][1:]))
        if s.denser is not None and maps is not None and s.gene in s.denser.outputs:
            shows = ["predicted", *(["class"] if s.denser.kind == "clusters" else []), *([] if maps.relative else ["interval", "disagreement"])]
            possible = {"interval": "coverage" in s.denser.about.get("band", {}), "disagreement": s.denser.n_members > 1}
            found += [(("denser", one), f"{s.gene}: denser map, {DENSER_WORDS.get(one, one)}") for one in shows if possible.get(one, True)]
            found.append((("between", ""), f"{s.gene}: {KINDS['between']}"))
        return found

    def settings(self) -> FigureSettings:
        """The figure that the dialog asks for.

        Raises
        ------
        DeepSpaceError
            Nothing can be drawn yet, or a value does not fit.
        """
        what, s, dialog = self.dialog.chosen() if self.dialog is not None else None, self._session, self.dialog
        if what is None or dialog is None:
            raise DeepSpaceError("There is nothing to draw yet. Open a section first.")
        own = what == self._painted() or what[0] in ("side-by-side", "between") or what == ("denser", "predicted")
        return FigureSettings(
            kind=what[0],  # type: ignore[arg-type]
            gene="" if what[0] in ("table", "confusion") or what[1] in ("clusters", "class", "removed") else s.gene,
            show=what[1],
            size_mm=(dialog.width_mm.value(), dialog.height_mm.value()),
            dpi=dialog.dpi.value(),
            limits=s.limits if own else None,
            shared=s.shared_limits or what[0] == "side-by-side",
            colours=s.scale.map,
            percentiles=s.scale.percentiles,
            log=s.scale.log,
            hidden=tuple(sorted(s.hidden_clusters)) if what[1] in ("clusters", "class") else (),
            region_um=self._in_view() if dialog.region.currentData() == "view" and dialog.region.isEnabled() else None,
            rows=1000 if what[0] == "table" else FigureSettings.rows,
            slide_percent=s.slide_percent,
            spot_percent=s.spot_percent,
            show_anyway=s.show_anyway,
            normalisation=s.normalisation if s.normalisation != "sctransform" or s.sctransform is not None else "log",
            filter=self._filter(),
            denser=s.denser.folder if s.denser is not None and what[0] in ("denser", "between") else None,
        )

    def material(self, settings: FigureSettings) -> Callable[[], Material]:
        """What gathers all that the figure is drawn from; the session is read now, the rest when it is called, in any thread."""
        from napari_deepspace.figures import material_of

        s, kept = self._session, self._session.kept()
        if s.section is None or kept is None:
            raise DeepSpaceError("There is nothing to draw yet. Open a section first.")
        section = replace(s.section, outlines=list(s.outlines))
        run = s.run_dir.name if s.run_dir is not None else ""
        dmap = s.denser if settings.kind in ("denser", "between") else None
        return partial(material_of, section, settings, kept, s.maps, run, s.clusters, dmap)

    def draw(self, out: Path) -> None:
        """Draw what the dialog asks for into ``out``, in a thread; the dialog and the dock say where it is."""
        try:
            require_format(out)
            settings = self.settings()
            gather = self.material(settings)
        except DeepSpaceError as error:
            self._failed(error)
            return
        assert self.dialog is not None
        self.out, self._drawn = None, settings
        self.dialog.say(f"Drawing {out.name}…", working=True)
        self._worker = start_job(partial(_drawn, gather, settings, out), on_return=self._done, on_error=self._failed)

    def recipe(self, out: Path | None = None) -> Recipe:
        """The figure that the dialog asks for as text; raises DeepSpaceError where a run that is not finished would be needed."""
        settings, s = self.settings(), self._session
        measured = settings.kind == "map" and settings.show in MEASURED
        own = s.maps is not None and settings.gene in s.maps.genes  # on the run's scale
        if s.run_dir is None and not measured:
            raise DeepSpaceError("The run is still training: copy the figure when it is done.")
        section, files = section_now(s, self._opened())
        name = f"{settings.gene}-{settings.show or settings.kind}".strip("-").replace(" ", "-")
        run_dir = s.run_dir if not measured or own or (s.maps is not None and s.run_dir is not None) else None
        return figure_recipe(
            section, settings, out or (self.out if self.out is not None and self._drawn == settings else Path(f"{name}.png")), run_dir, files
        )

    def restyle(self, palette: style.Palette) -> None:
        """Follow napari's theme."""
        self._palette = palette
        if self.dialog is not None:
            self.dialog.restyle(palette)

    def shut(self) -> None:
        """Close the dialog."""
        if self.dialog is not None:
            self.dialog.close()
        if self._worker is not None:
            self._worker.quit()

    def _filter(self) -> FilterSettings | None:
        """The filter, where it is another than the command line would take by itself."""
        s = self._session
        own = s.run_dir / SETTINGS if s.run_dir is not None else None
        usual = load_run_settings(own).filter if own is not None and own.is_file() else FilterSettings()
        return None if s.filter == usual else s.filter

    def _painted(self) -> What | None:
        s = self._session
        if s.paint != "gene":
            return "map", s.paint
        return ("side-by-side", "") if s.side_by_side else ("map", s.show)

    def _in_view(self) -> tuple[float, float, float]:
        """Centre and width of what the window shows, in um: the longer side, so that nothing in view is left out."""
        camera, size = self._viewer.scene.camera, self._viewer.canvas.size
        row, column = camera.center[-2:]
        shown = (size[0], size[1] / 2) if self._session.side_by_side else size
        return round(float(row), 1), round(float(column), 1), round(max(shown) / float(camera.zoom), 1)

    def _offer(self, *_: Any) -> None:
        if self.dialog is not None and self.dialog.isVisible():
            self.dialog.offer(self.possible())

    def _preview(self) -> None:
        """Show the lines beneath; they are made in a thread, for a first figure imports what draws."""
        assert self.dialog is not None
        try:
            settings = self.settings()
            gather = self.material(settings)
        except DeepSpaceError as error:
            self.dialog.preview([], in_window(error))
            return
        self.dialog.preview(["…"])
        self._latest = latest = start_job(
            partial(_lines, gather, settings),
            on_return=lambda lines: self._previewed(latest, lines),
            on_error=lambda error: self._previewed(latest, [], in_window(error)),
        )

    def _previewed(self, job: Any, lines: list[str], why_not: str = "") -> None:
        if self.dialog is not None and job is self._latest:
            self.dialog.preview(lines, why_not)

    def _done(self, out: Path) -> None:
        self.out = out
        if self.dialog is not None:
            self.dialog.say(f"Saved: {out}")
        self._say(f"Figure saved: {out}")

    def _failed(self, error: Exception) -> None:
        if self.dialog is not None:
            self.dialog.say(in_window(error) if isinstance(error, DeepSpaceError) else "The figure was not drawn: see the dock.")
        self._fail(error)


def _drawn(gather: Callable[[], Material], settings: FigureSettings, out: Path) -> Generator[None, None, Path]:
    yield None
    from napari_deepspace.figure_parts import save
    from napari_deepspace.figures import draw

    material = gather()
    yield None
    save(draw(material, settings), out, settings.dpi)
    return out


def _lines(gather: Callable[[], Material], settings: FigureSettings) -> Generator[None, None, list[str]]:
    yield None
    from napari_deepspace.figure_material import footer_of

    shows = {"map": settings.show, "confusion": "class", "table": "table"}
    show = shows.get(settings.kind, "class" if settings.show == "class" else "predicted")
    return footer_of(gather(), settings, show)
