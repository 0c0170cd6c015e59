"""What is found out about a section beside its counts: white tiles and SCTransform's scale in threads, regions and clusters in a child process."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QObject, Signal

from napari_deepspace._napari.jobs import Child, follow_run, start_job
from napari_deepspace._napari.quality_panel import QualityPanel
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.training import Say, with_what_is_shown
from napari_deepspace._napari.widgets import one_shot
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.events import Preprocessed, Progress
from napari_deepspace.outlines import read_outlines
from napari_deepspace.preprocess.clusters import COMPUTED
from napari_deepspace.preprocess.normalise import Normaliser, fit_normaliser
from napari_deepspace.preprocess.prepare import tile_side_um
from napari_deepspace.preprocess.white_tiles import TileColours, tile_colours
from napari_deepspace.runs import LOG, SETTINGS, write_atomic
from napari_deepspace.section import Section
from napari_deepspace.settings import ClusterSettings, RunSettings, dump_yaml
from napari_deepspace.tiles import tile_radius_px

logger = logging.getLogger(__name__)

Heard = Callable[[Any], None]


class Checks(QObject):
    """Keeps ``session.colours`` and ``session.sctransform`` up to date; finds low regions, clusters and differential genes when asked to."""

    genes_found = Signal(object)  #: a table of differential genes

    def __init__(self, session: Session, panel: QualityPanel, settings: Callable[[], RunSettings], say: Say, fail: Callable[[Exception], None]):
        super().__init__(panel)
        self._session, self._panel, self._settings, self._say, self._fail = session, panel, settings, say, fail
        self.child: Child | None = None
        self._workers: dict[str, Any] = {}  #: at most one thread a kind of work; what an older one still says is not heard
        self._folder = Path(tempfile.mkdtemp(prefix="deepspace-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._tiles_soon, self._scale_soon = one_shot(self, 150), one_shot(self, 600)
        self._tiles_soon.timeout.connect(self._look_at_tiles)
        self._scale_soon.timeout.connect(self._fit_scale)
        events = session.events
        for signal in (events.loaded, events.tile):
            signal.connect(self._tiles_changed)
        for signal in (events.loaded, events.normalisation, events.filter, events.colours, events.outlines, events.clusters):
            signal.connect(self._scale_changed)
        panel.regions.wanted.connect(self.find_regions)
        panel.regions.stopped.connect(self.stop)
        panel.clusters.compute_wanted.connect(self.compute_clusters)
        panel.clusters.genes_wanted.connect(self.find_genes)

    # -- in threads --------------------------------------------------------------------------------------------------------------------

    def _tiles_changed(self, *_: Any) -> None:
        self._quit("tiles")
        self._session.colours = None
        self._tiles_soon.start()

    def _look_at_tiles(self) -> None:
        section, tile = self._session.section, self._session.tile
        if section is None or section.slide is None or not section.adata.n_vars:
            return
        radius = tile_radius_px(tile_side_um(section, tile), section.mpp)

        def done(colours: TileColours) -> None:
            self._session.colours = colours

        self._panel.say_tiles(0, 1)
        self._start(
            "tiles",
            partial(tile_colours, section.slide, section.centres_yx, radius, section.library_id),
            lambda step: self._panel.say_tiles(step.done, step.total),
            done,
            self._fail,
        )

    def _scale_changed(self, *_: Any) -> None:
        self._quit("scale")
        if self._session.normalisation == "sctransform":
            self._scale_soon.start()
        else:
            self._scale_soon.stop()
            self._panel.say_scale("")

    def _fit_scale(self) -> None:
        section, kept = self._session.section, self._session.kept()
        if section is None or kept is None or not section.adata.n_vars:
            return
        counts = section.adata.X[np.flatnonzero(kept.keep)]
        threads = max(1, (os.cpu_count() or 2) - 1)  # one core is the window's

        def done(scale: Normaliser) -> None:
            self._session.sctransform = scale
            self._panel.say_scale("")

        def failed(error: Exception) -> None:
            self._session.sctransform = None
            self._panel.say_scale(f"Shown as a logarithm: {error}" if isinstance(error, DeepSpaceError) else "")
            if not isinstance(error, DeepSpaceError):
                self._fail(error)

        self._start(
            "scale",
            partial(fit_normaliser, counts, "sctransform", threads=threads, of=section.library_id),
            lambda step: self._panel.say_scale(f"{step.stage}: {step.done / step.total:.0%}"),
            done,
            failed,
        )

    def _start(self, kind: str, work: Callable[[], Any], on_yield: Heard, on_return: Heard, on_error: Heard) -> None:
        """Work in a thread; what it says is heard until another of its kind takes its place, or the dock closes."""
        self._quit(kind)
        own: list[Any] = []

        def heard(slot: Heard) -> Heard:
            return lambda value: slot(value) if own and self._workers.get(kind) is own[0] else None

        own.append(start_job(work, on_yield=heard(on_yield), on_return=heard(on_return), on_error=heard(on_error)))
        self._workers[kind] = own[0]

    def _quit(self, kind: str) -> None:
        worker = self._workers.pop(kind, None)
        if worker is not None:
            worker.quit()

    def shut(self) -> None:
        """Leave no thread and no process behind."""
        for timer in (self._tiles_soon, self._scale_soon):
            with contextlib.suppress(RuntimeError):  # at the very end Qt has taken it away already
                timer.stop()
                timer.blockSignals(True)  # what still changes starts nothing any more
        for kind in list(self._workers):
            self._quit(kind)
        if self.child is not None:
            self.child.stop_and_wait()

    # -- in a child process ------------------------------------------------------------------------------------------------------------

    def find_regions(self) -> None:
        """Look for low regions; they become ``session.proposals``."""
        self._find({"failed_regions": True, "clusters": ClusterSettings(source="none")}, self._show_regions)

    def compute_clusters(self) -> None:
        """Compute clusters of the spots that stay; they become ``session.clusters``."""
        self._find({"failed_regions": False, "clusters": ClusterSettings(source="computed")}, self._show_clusters)

    def find_genes(self) -> None:
        """Find the genes that tell the clusters apart; ``genes_found`` hands on the table."""
        self._find({"failed_regions": False, "clusters": ClusterSettings(source="file")}, self._show_genes)

    def stop(self) -> None:
        """End the child process, if one works."""
        if self.child is not None:
            self.child.stop()

    def _find(self, changes: dict[str, Any], show: Callable[[dict[str, Path]], None]) -> None:
        section = self._session.section
        if self._session.busy or section is None:
            return
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            settings = self._settings().model_copy(update=changes)
        except DeepSpaceError as error:
            self._fail(error)
            return
        without_cluster = settings.filter.model_copy(update={"exclude_cluster": None})
        settings = with_what_is_shown(settings.model_copy(update={"filter": without_cluster}), self._session, folder)
        write_atomic(folder / SETTINGS, dump_yaml(settings))
        self._session.busy = "checking"
        self._panel.regions.progress("Starting…", None)
        arguments = ["preprocess", str(folder / SETTINGS), "--out", str(folder), "--no-table", "--background"]
        self.child = child = Child(arguments, folder / LOG)
        start_job(
            partial(_follow, child, folder),
            on_yield=self._event,
            on_return=lambda files: self._found(section, files, show),
            on_error=self._fail,
            on_stop=child.stop,
            on_finish=self._finished,
        )

    def _event(self, event: Progress | None) -> None:
        if event is not None:
            self._panel.regions.progress(f"{event.stage}: {event.done:,} of {event.total:,}", event.done / event.total if event.total else None)

    def _found(self, section: Section, files: dict[str, Path] | None, show: Callable[[dict[str, Path]], None]) -> None:
        if files is None:
            self._say("Stopped.", "info")
        elif section is self._session.section:
            show(files)

    def _finished(self) -> None:
        self.child = None
        self._panel.regions.end("")
        self._session.busy = ""

    def _show_regions(self, files: dict[str, Path]) -> None:
        regions = read_outlines(files["regions"]) if "regions" in files else []
        self._session.proposals = tuple(regions)
        self._session.paint = "removed"
        technical = sum(outline.failed for outline in regions)
        if not regions:
            self._say("No region of few UMIs was found.", "info")
            return
        found = "1 region of few UMIs" if len(regions) == 1 else f"{len(regions)} regions of few UMIs"
        self._say(f"{found}, {technical or 'none'} of them probably technical. Nothing changes until you accept one.", "info")

    def _show_clusters(self, files: dict[str, Path]) -> None:
        table = pd.read_csv(files["spots"], index_col="barcode", dtype={COMPUTED: str}, usecols=["barcode", COMPUTED])
        labels = table[COMPUTED].reindex(self._session.section.adata.obs_names) if self._session.section is not None else table[COMPUTED]
        names = sorted(labels.dropna().unique(), key=int)
        self._session.filter = self._session.filter.model_copy(update={"exclude_cluster": None})  # another one has that name now
        self._session.clusters = labels.astype(pd.CategoricalDtype(names))
        self._session.paint = "clusters"
        self._say(f"{len(names)} clusters.", "info")

    def _show_genes(self, files: dict[str, Path]) -> None:
        if "differential_genes" not in files:
            self._say("There are no two clusters to compare among the spots that stay.", "warning")
            return
        self.genes_found.emit(pd.read_csv(files["differential_genes"], dtype={"cluster": str}))


def _follow(child: Child, folder: Path) -> Generator[Progress | None, None, dict[str, Path] | None]:
    """Progress of the child; what it returns are its files by kind, None if it was stopped."""
    events = follow_run(child, folder)
    while True:
        try:
            item = next(events)
        except StopIteration as end:
            last = end.value
            break
        yield item[0] if item is not None and isinstance(item[0], Progress) else None
    if not isinstance(last, Preprocessed):
        return None
    return {kind: folder / name for files in last.files.values() for kind, name in files.items()}
