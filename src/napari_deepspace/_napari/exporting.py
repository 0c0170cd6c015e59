"""To QuPath: outlines, and spots or the denser map as tiles with their values, written in a thread."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog, QInputDialog, QMenu, QPushButton, QWidget

from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.session import HIDDEN, Session
from napari_deepspace._napari.training import Say
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.events import Event
from napari_deepspace.outlines import write_outlines
from napari_deepspace.recipes import Recipe, tiles_recipe
from napari_deepspace.settings import SectionSettings


class Exporting(QObject):
    """The menu of the button "To QuPath"; the same as ``napari-deepspace export-geojson``."""

    def __init__(
        self,
        session: Session,
        button: QPushButton,
        opened: Callable[[], SectionSettings | None],
        parent: QWidget,
        say: Say,
        fail: Callable[[Exception], None],
    ):
        super().__init__(parent)
        self._session, self._opened, self._parent, self._say, self._fail = session, opened, parent, say, fail
        self._genes: tuple[str, ...] = ()
        self._worker: Any = None
        menu = QMenu(button)
        menu.addAction("Outlines…", self._ask_outlines)
        menu.addAction("Spots as tiles…", lambda: self._ask_tiles(denser=False))
        menu.addAction("Denser map as tiles…", lambda: self._ask_tiles(denser=True))
        button.setMenu(menu)

    def outlines(self, out: Path) -> None:
        """Write all outlines; the file knows its slide."""
        s = self._session
        if s.section is None or not s.outlines:
            self._say("There is no outline to export. Draw one first.", "info")
            return
        self._start(partial(_outlines, out, s.outlines, s.drawn_on), lambda _: f"{len(s.outlines)} outlines exported: {out}")

    def tiles(self, out: Path, genes: Sequence[str], denser: bool = False) -> None:
        """Write spots, or the denser map, as tiles with measured and predicted values of ``genes``."""
        s = self._session
        missing = HIDDEN if s.blind else "Tiles carry predictions: train, or open a finished run, first." if s.run_dir is None else ""
        missing = missing or ("Show a denser map first (step 6)." if denser and s.denser is None else "")
        if missing or s.section is None or s.run_dir is None:
            self._say(missing, "info")
            return
        self._genes = tuple(genes)
        section, folder = replace(s.section, outlines=list(s.outlines)), s.denser.folder if denser and s.denser is not None else None
        self._start(partial(_tiles, s.run_dir, section, genes, out, folder), lambda made: f"{made['tiles']:,} tiles exported: {out}")

    def recipe(self) -> Recipe:
        """The tiles of the gene that is looked at as text; raises DeepSpaceError without a finished run."""
        s, opened = self._session, self._opened()
        if opened is None or s.run_dir is None:
            raise DeepSpaceError("There is no finished run to export from. Train, or open one, then copy.")
        return tiles_recipe(s.run_dir, opened, self._genes or (s.gene,), Path("tiles.geojson"), s.denser.folder if s.denser is not None else None)

    def shut(self) -> None:
        """What is written is not waited for."""
        self._worker = None

    def _start(self, work: Callable[[], Generator[Any, None, Any]], words: Callable[[Any], str]) -> None:
        self._say("Exporting…", "info")
        self._worker = start_job(work, on_return=lambda made: self._say(words(made), "info"), on_error=self._fail)

    def _ask_outlines(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self._parent, "Outlines for QuPath", "outlines.geojson", "GeoJSON (*.geojson)")
        if path:
            self.outlines(Path(path))

    def _ask_tiles(self, denser: bool) -> None:
        names, yes = QInputDialog.getText(self._parent, "Tiles for QuPath", "Genes, with commas between", text=self._session.gene)
        genes = [name.strip() for name in names.split(",") if name.strip()]
        path = QFileDialog.getSaveFileName(self._parent, "Tiles for QuPath", "tiles.geojson", "GeoJSON (*.geojson)")[0] if yes and genes else ""
        if path:
            self.tiles(Path(path), genes, denser)


def _outlines(out: Path, outlines: Any, stamp: Any) -> Generator[None, None, None]:
    yield None
    write_outlines(out, outlines, stamp)


def _tiles(run_dir: Path, section: Any, genes: Sequence[str], out: Path, denser: Path | None) -> Generator[Event, None, dict[str, Any]]:
    from napari_deepspace.geojson_command import export_tiles

    return (yield from export_tiles(run_dir, section, list(genes), out, None, denser))
