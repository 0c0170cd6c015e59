"""The dock: builds the session, the panels and what works for them, and connects them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import napari.viewer
from napari.utils.notifications import notification_manager, show_error, show_warning
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QFrame, QLineEdit, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_deepspace._napari import style
from napari_deepspace._napari.actions import bind_keys
from napari_deepspace._napari.aligning import Aligning
from napari_deepspace._napari.annotate_panel import AnnotatePanel
from napari_deepspace._napari.canvas import Canvas, bind_drag
from napari_deepspace._napari.checks import Checks
from napari_deepspace._napari.closing import Closing
from napari_deepspace._napari.columns_dialog import ask_columns
from napari_deepspace._napari.compare import Compare
from napari_deepspace._napari.denser import Denser
from napari_deepspace._napari.denser_panel import DenserPanel
from napari_deepspace._napari.dock_buttons import add_buttons
from napari_deepspace._napari.drawing import Drawing
from napari_deepspace._napari.dropping import Dropping
from napari_deepspace._napari.estimates import Estimates
from napari_deepspace._napari.exporting import Exporting
from napari_deepspace._napari.figures import Figures
from napari_deepspace._napari.gene_panel import GenePanel
from napari_deepspace._napari.gene_windows import GeneWindows
from napari_deepspace._napari.inspecting import Inspector
from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.loading import Opened, open_section
from napari_deepspace._napari.loading_bar import LoadingBar
from napari_deepspace._napari.look_panel import LookPanel
from napari_deepspace._napari.neighbours import Neighbours
from napari_deepspace._napari.neighbours_panel import NeighboursPanel
from napari_deepspace._napari.orienting import Orienting
from napari_deepspace._napari.outline_layers import OutlineLayers
from napari_deepspace._napari.painting import Painter, bind_viewer
from napari_deepspace._napari.panel_wiring import connect_panels
from napari_deepspace._napari.preferences import preferred_look
from napari_deepspace._napari.project_view import Projects, apply_view, run_of
from napari_deepspace._napari.proposing import Proposing
from napari_deepspace._napari.quality_panel import QualityPanel
from napari_deepspace._napari.quantifying import Quantifying
from napari_deepspace._napari.reach import Reaches
from napari_deepspace._napari.regions_control import Regions
from napari_deepspace._napari.runs_control import Runs
from napari_deepspace._napari.seals import Seals, seal_folders
from napari_deepspace._napari.searches import Searches
from napari_deepspace._napari.section_panel import SectionPanel
from napari_deepspace._napari.sections import Sections
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.stack_view import StackView
from napari_deepspace._napari.students import Students
from napari_deepspace._napari.train_panel import TrainPanel
from napari_deepspace._napari.training import Training
from napari_deepspace._napari.widgets import Wrapped, calm_wheel, label, one_shot, restyle
from napari_deepspace.causes import causes_of, set_causes
from napari_deepspace.errors import DeepSpaceError, in_window
from napari_deepspace.outlines import Outline
from napari_deepspace.preprocess.clusters import given_clusters
from napari_deepspace.project import Project, View
from napari_deepspace.settings import RunSettings, SectionSettings

logger = logging.getLogger(__name__)

RESEARCH = "Research use only."
Drawn = tuple[tuple[Outline, ...], Any, Any]  #: outlines, clusters and causes of a section that is only read again
WIDTH = 372


class DeepSpaceDock(QWidget):
    """From a Space Ranger folder to predicted maps, from top to bottom: Section, Quality, Train, Look, trust, denser, Outlines, neighbours."""

    def __init__(self, viewer: napari.viewer.Viewer):
        super().__init__()
        self.setObjectName("DeepSpaCE")
        self.session = Session(**preferred_look())
        self.canvas = Canvas(viewer)
        self.loading = LoadingBar(self.session, self.say)
        self.section_panel = SectionPanel(self.session)
        self.quality_panel = QualityPanel(self.session)
        self.train_panel = TrainPanel(self.session)
        self.look_panel = LookPanel(self.session)
        self.gene_panel = GenePanel(self.session)
        self.denser_panel = DenserPanel(self.session)
        self.annotate_panel = AnnotatePanel(self.session)
        self.neighbours_panel = NeighboursPanel(self.session)
        steps = (self.section_panel, self.quality_panel, self.train_panel, self.look_panel, self.gene_panel, self.denser_panel)
        self.panels = (*steps, self.annotate_panel, self.neighbours_panel)
        self.painter = Painter(self.session, self.canvas, self.look_panel)
        self.inspector = Inspector(self.session, self.painter, self.canvas, self, lambda: self.opened, self.say, self.fail)
        self.reaches = Reaches(self.session, self)
        self.denser = Denser(self.session, self.canvas, self.denser_panel, lambda: self.opened, self._paint_later, self.say, self.fail)
        self.training = Training(self.session, self.train_panel, self.say, self.fail)
        self.checks = Checks(self.session, self.quality_panel, self.run_settings, self.say, self.fail)
        self.outline_layers = OutlineLayers(self.session, self.canvas, self.say)
        self.estimates = Estimates(self.session, self.train_panel, lambda: self.opened)
        self.searches = Searches(self.session, self.train_panel, self.run_settings, self.estimates.seconds, self.say, self.fail)
        self.students = Students(self.session, self.train_panel, self.run_settings, self.estimates.seconds, self.say, self.fail)
        self.projects = Projects(self.session, self.section_panel, viewer, self._open, self.say, self.fail)
        self.drawing = Drawing(self.session, self.canvas, self.outline_layers, self.projects, self, self.say, self.fail)
        self.seals = Seals(self.session, self.train_panel, lambda: self.opened, self.reopen, self.say, self.fail)
        self.figures = Figures(self.session, viewer, lambda: self.opened, self, self.say, self.fail)
        self.regions = Regions(self.session, self.outline_layers, lambda: self.opened, self, self.say, self.fail)
        self.proposing = Proposing(self.session, self.canvas, self.annotate_panel.propose, self.say, self.fail)
        self.exporting = Exporting(self.session, self.annotate_panel.export, lambda: self.opened, self, self.say, self.fail)
        self.orienting = Orienting(self.session, self.canvas, self.section_panel, self.reopen, self.fail)
        self.sections = Sections(self.session, self.canvas, self.section_panel, lambda: self.opened, self._open)
        self.runs = Runs(self.session, self.train_panel, self.training, self._open, self.say, self.fail)
        self.runs.unseal = self.seals.open
        self.compare = Compare(self.session, self.canvas, self, self.say)
        self.neighbours = Neighbours(self.session, self.canvas, self.neighbours_panel, self.projects, self, self.say, self.fail)
        self.aligning = Aligning(self.session, self.neighbours_panel, self.neighbours, self, self.say, self.fail)
        self.quantifying = Quantifying(self.session, self.neighbours_panel, self.neighbours, lambda: self.opened, self, self.say, self.fail)
        self.stack = StackView(self.session, self.canvas, self.neighbours_panel, self.neighbours, self, self.say, self.fail)
        self.opened: SectionSettings | None = None  #: how the open section was read
        self.messages: list[str] = []
        self._fresh = False  #: a section was just opened
        self._viewer = viewer
        self._paint_soon = one_shot(self, 0)
        self._wanted: QWidget = self
        self._scroll_soon = one_shot(self, 60)
        self.dropping = Dropping(self)
        self.gene_windows = GeneWindows(self.session, self.gene_panel, self.checks, self)
        self._closing = Closing(self)
        self._build()
        self._connect()
        self.say("Open a section to begin.")
        self._look_for_runs()

    # -- what a user can do, and a script too ------------------------------------------------------------------------------------------

    def open_section(self, path: Path, image: Path | None = None, platform: str = "auto", **more: Any) -> None:
        """Open a section in a thread; the slide and the spots appear when it is read. ``more`` are further settings of it."""
        self._open(SectionSettings.model_validate({"path": path, "image": image, "platform": platform, **more}))

    def open_sample(self) -> None:
        """Open the built-in synthetic section."""
        self._open(None)

    def reopen(self, **changes: Any) -> None:
        """Read the open section again with another image or platform."""
        if self.opened is not None:
            self._open(self.opened.model_copy(update=changes), drawn=(self.session.outlines, self.session.clusters, self.session.causes))

    def open_project(self, folder: Path, library_id: str | None = None) -> None:
        """Open a project as it was saved, or another of its sections; a file that moved is asked for."""
        self.projects.open(folder, library_id)

    def save_project(self, folder: Path) -> None:
        """Save section, run and view; the folder becomes a project if it is none."""
        self.projects.save(folder)

    def start_training(self) -> None:
        """Train with what the panel says."""
        try:
            settings = self.run_settings()
        except DeepSpaceError as error:
            self.fail(error)
            return
        self.estimates.cancel()
        self.training.start(settings)

    def run_settings(self) -> RunSettings:
        """The run that the panels ask for; raises SettingsError where a field holds something that cannot be used."""
        if self.opened is None:
            raise DeepSpaceError("There is nothing to train on yet. Open a section first.")
        return self.train_panel.settings(self.opened)

    def import_outlines(self, path: Path) -> None:
        """Add the outlines of a GeoJSON file to those of the section, once they are read."""
        self.drawing.read(path)

    def stop_training(self) -> None:
        """Stop the run, the parameter search, the students or the denser map; its process is gone within two seconds."""
        self.training.stop()
        self.searches.stop()
        self.students.stop()
        self.denser.making.stop()

    def show_part(self, widget: QWidget) -> None:
        """Scroll so that ``widget`` is in view, its top first, once the layout has settled."""
        self._wanted = widget
        self._scroll_soon.start()

    def say(self, text: str, level: str = "info") -> None:
        """Show a message in the dock until the next one; ``level`` is info, warning or error."""
        self.messages.append(text)
        self.status.setText(text)
        self.status.setProperty("level", level)
        restyle(self.status)
        self.status.setToolTip("\n\n".join(self.messages[-12:]))
        if level == "warning":
            show_warning(text)
        elif level == "error":
            show_error(text)

    def fail(self, error: Exception) -> None:
        """Show an error: a sentence for what the user can mend, a traceback in napari's own window for a bug of ours."""
        if isinstance(error, DeepSpaceError):
            self.say(in_window(error), "error")
            return
        self.say(f"A fault of this program: {type(error).__name__}: {error}. Please report it.", "error")
        notification_manager.receive_error(type(error), error, error.__traceback__)

    def paint(self) -> None:
        """Paint what the session says, now."""
        self.painter.paint()

    # -- building and wiring -----------------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.setSpacing(4)
        for panel in self.panels:
            layout.addWidget(panel)
        add_buttons(self)
        layout.addStretch(1)
        self.scroller = QScrollArea()
        self.scroller.setWidget(content)
        self.scroller.setWidgetResizable(True)
        self.scroller.setFrameShape(QFrame.Shape.NoFrame)
        self.scroller.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.status = Wrapped()
        self.status.setObjectName("status")
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.research = label(RESEARCH, "research use only", dim=True)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(2, 2, 2, 4)
        outer.setSpacing(3)
        outer.addWidget(self.scroller, 1)
        outer.addWidget(self.loading)
        outer.addWidget(self.status)
        outer.addWidget(self.research)
        self.setMinimumWidth(WIDTH)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        calm_wheel(content)
        for field in content.findChildren(QLineEdit):
            field.setAcceptDrops(False)  # a folder dropped there is meant for the dock
        self._restyle()

    def _connect(self) -> None:
        connect_panels(self)
        self.training.done.connect(self._trained)
        self.session.events.maps.connect(self._maps_changed)
        for signal in (self.session.events.gene, self.session.events.show):
            signal.connect(self._forget_limits)
        for signal in (self.session.events.clusters, self.session.events.causes):
            signal.connect(self.projects.keep_found)
        self.session.events.connect(self._paint_later)  # whatever changed
        self._paint_soon.timeout.connect(self.paint)
        self._scroll_soon.timeout.connect(self._scroll_to_wanted)
        for jobs in (self.training, self.searches, self.students):
            self._closing.about_to.connect(jobs.leave)
            self._closing.not_after_all.connect(jobs.follow_running)
        self._closing.about_to.connect(self._end_denser)
        self._viewer.events.theme.connect(self._restyle)
        drags = [bind_drag(self._viewer, drag) for drag in (self.compare.drag, self.inspector.click, self.proposing.click)]
        self._release = (bind_viewer(self._viewer, self.painter, self.denser), *drags, bind_keys(self, self._viewer))
        self.destroyed.connect(partial(_gone, self._owners(), self._release))

    def of_viewer(self, viewer: Any) -> bool:
        """Whether this dock stands in the window of ``viewer``, or of a proxy of it."""
        return getattr(viewer, "__wrapped__", viewer) is getattr(self._viewer, "__wrapped__", self._viewer)

    def _owners(self) -> tuple[Any, ...]:
        jobs = (self.training, self.searches, self.students, self.estimates, self.checks, self.orienting, self.sections)
        asked = (self.regions, self.proposing, self.exporting)
        beside = (self.aligning, self.quantifying, self.stack, self.neighbours)
        own = (self.loading, self.runs, self.seals, self.reaches, self.denser, self.inspector, self.compare, self.figures, self.drawing)
        return (*jobs, *asked, *own, *beside)

    def _look_for_runs(self) -> None:
        """Follow the run that works without this window, if one does; offer one that was cut short."""
        if self.training.follow_running():
            self.say("A run is training: it is followed from its beginning.")
        elif self.searches.follow_running():
            self.say("A parameter search is at work: it is followed.")
        elif self.students.follow_running():
            self.say("Students are at work: they are followed.")
        self.runs.refresh()

    def _end_denser(self) -> None:
        """The window is about to close: the map that is being made ends, and goes on from there another time."""
        if self.denser.child is not None:
            self.denser_panel.tell("Stopped. What is done stays: Predict goes on from there.")
        self.denser.shut()

    def _scroll_to_wanted(self) -> None:
        content, bar = self.scroller.widget(), self.scroller.verticalScrollBar()
        if content is not None and bar is not None:
            bar.setValue(self._wanted.mapTo(content, self._wanted.rect().topLeft()).y() - 4)

    def _paint_later(self, *_: Any) -> None:
        self._paint_soon.start()

    def _restyle(self, event: Any = None) -> None:
        palette = style.palette(self._viewer.theme)
        self.setStyleSheet(style.style_sheet(palette))
        panels = (self.train_panel.run.curves, self.train_panel.runs, self.quality_panel, self.gene_panel)
        windows = (self.searches, self.students, self.inspector, self.compare, self.figures, self.regions, self.quantifying)
        for part in (*panels, *windows):
            part.restyle(palette)

    def _open(
        self,
        settings: SectionSettings | None,
        project: Project | None = None,
        view: View | None = None,
        drawn: Drawn | None = None,
        run_dir: Path | None = None,
    ) -> None:
        if self.session.busy:
            self.fail(DeepSpaceError(f"The dock is busy ({self.session.busy}). Wait for it, or press Stop, then open the section again."))
            return
        self.estimates.cancel()
        self.session.busy = "loading"
        if project is not None and view is not None:
            run_dir = run_of(project)
        worker = start_job(
            partial(open_section, settings, run_dir, seal_folders(self.session, None if project is None else project.folder)),
            on_yield=self.loading.tell,
            on_stop=self.loading.stopped,
            on_return=partial(self._opened, project=project, view=view, run_dir=run_dir, drawn=drawn),
            on_error=partial(ask_columns, settings, self, partial(self._open, project=project, view=view, drawn=drawn, run_dir=run_dir)),
            on_finish=self._loaded,
        )
        self.loading.follow(worker)

    def _opened(self, opened: Opened, project: Project | None, view: View | None, run_dir: Path | None, drawn: Drawn | None = None) -> None:
        section, session = opened.loaded.section, self.session
        self.canvas.show_section(section, opened.layers)
        session.maps = None
        session.run_dir = None
        session.side_by_side = False
        session.paint = "gene"
        session.outlines = session.proposals = ()
        session.clusters = session.sctransform = None
        session.filter = session.filter.model_copy(update={"exclude_cluster": None})
        self.opened = opened.settings.model_copy(update={"outlines": None, "clusters": None, "causes": None})  # the session holds them from now on
        session.loaded = opened.loaded
        self.seals.show(opened.settings.sealed)
        found = drawn or (tuple(section.outlines), given_clusters(section.adata), causes_of(section.adata))
        session.outlines, session.clusters, session.causes = found
        if drawn is None:
            session.drawn_on = opened.drawn_on
        set_causes(section.adata, session.causes)
        if session.running is None:
            self.train_panel.run.reset()
        if section.synthetic and not self.train_panel.chips.names():
            self.train_panel.choose_paper_genes()
        chosen = self.train_panel.chips.names()
        if session.gene not in section.adata.var_names:
            session.gene = chosen[0] if chosen else _busiest_gene(opened.loaded.by_gene, section.adata.var_names)
        self._fresh = project is None and run_dir is None
        if project is not None:
            self.projects.show(project)
        if opened.maps is not None:
            self.training.painting = False
            session.run_dir = run_dir
            session.maps = opened.maps
        if view is not None:
            apply_view(view, session, self._viewer)
        synthetic = "SYNTHETIC section, nothing in it was measured. " if section.synthetic else ""
        missing = "" if section.slide is not None else " No image was found: choose it with Image…"
        self.say(f"{synthetic}{section.library_id}: {section.adata.n_obs:,} spots.{missing}", "warning" if missing else "info")

    def _loaded(self) -> None:
        """The loading job is over, well or not."""
        self.session.busy = ""
        kept = self.session.kept()
        free = self.session.running is None and self.train_panel.start.isEnabled() and kept is not None and kept.keep.any()
        if self._fresh and free and self.train_panel.auto.isChecked():
            self.train_panel.choose("quick")
            self.start_training()
        self._fresh = False

    def _trained(self) -> None:
        if not self.train_panel.run.visibleRegion().isEmpty():  # who works elsewhere in the dock is left there
            self.show_part(self.train_panel.run.result)
        if self.session.project is not None and self.session.section is not None:
            self.save_project(self.session.project)

    def _maps_changed(self) -> None:
        maps = self.session.maps
        if maps is None:
            if self.session.show != "measured":
                self.session.show = "measured"
            self.session.side_by_side = False
            return
        if self.session.gene not in maps.genes:
            self.session.gene = maps.scores.ordered()[0].name if maps.scores is not None and maps.scores.genes else maps.genes[0]
        if self.session.show == "measured" or self.session.show not in self.session.showable():
            self.session.show = "predicted"
        if not maps.live:
            self.session.show_anyway = False

    def _forget_limits(self) -> None:
        self.session.limits = None

    def shut(self) -> None:
        """Leave no process and no callback behind, but a run that shall go on."""
        self.training.leave()
        self.searches.leave()
        self.students.leave()
        _gone(self._owners(), self._release)

    def event(self, event: Any) -> bool:
        """Closing the dock takes this widget out of it, without destroying it."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.shut()
        return super().event(event)


def _busiest_gene(by_gene: Any, names: Any) -> str:
    return str(names[int(by_gene.sum(axis=0).argmax())]) if len(names) else ""


def _gone(owners: tuple[Any, ...], releases: tuple[Callable[[], None], ...], *_: Any) -> None:
    """The dock was closed: no process, no key and no callback stays behind."""
    for owner in owners:
        owner.shut()
    for release in releases:
        release()
