"""Between a project on disk and the dock: what is saved, how the same window comes back, and who is asked for a file that moved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog

from napari_deepspace import project as projects
from napari_deepspace._napari.section_panel import IMAGES, SectionPanel, ask_image_folder
from napari_deepspace._napari.session import Session
from napari_deepspace.cluster_colours import kept_colours
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.neighbours import write_neighbours
from napari_deepspace.project import MissingFile, Project, View
from napari_deepspace.project_format import PROJECT, read_project_file
from napari_deepspace.verdicts import WAYS


class Projects:
    """Opens and saves projects for one dock. ``open_section(settings, project, view)`` reads a section and shows it as ``view`` says."""

    def __init__(
        self,
        session: Session,
        panel: SectionPanel,
        viewer: Any,
        open_section: Callable[..., None],
        say: Callable[..., None],
        fail: Callable[[Exception], None],
    ):
        self._session, self._panel, self._viewer = session, panel, viewer
        self._open_section, self._say, self._fail = open_section, say, fail
        self.keep_first: Callable[[], None] = lambda: None  #: called before a project is read: what is drawn lies in it then

    def open(self, folder: Path, library_id: str | None = None) -> None:
        """Open the project in ``folder`` as it was saved, or another of its sections."""
        self.keep_first()
        try:
            project = self._found(projects.open_project(folder))
        except DeepSpaceError as error:
            self._fail(error)
            return
        if project is None:
            return
        view = project.file.view
        wanted = library_id or view.library_id or next((section.library_id for section in project.file.sections), None)
        if wanted is None:
            self._fail(DeepSpaceError(f"{folder} holds no section yet. Open one, then save the project."))
            return
        self._open_section(projects.section_settings(project, wanted), project, view if wanted == view.library_id else None)

    def switch(self, library_id: str) -> None:
        """Open another section of the open project."""
        if self._session.project is not None:
            self.open(self._session.project, library_id)

    def save(self, folder: Path) -> None:
        """Save section, run and view in ``folder``."""
        try:
            self.show(stored(folder, self._session, self._viewer))
        except DeepSpaceError as error:
            self._fail(error)
            return
        self._say(f"Saved in {folder}.")

    def of_section(self) -> Project | None:
        """The open project, if it holds the open section; raises DataError where its file is damaged or gone."""
        s = self._session
        if s.project is None or s.section is None:
            return None
        project = Project(s.project, read_project_file(s.project / PROJECT))
        return project if s.section.library_id in {section.library_id for section in project.file.sections} else None

    def keep_found(self, *_: Any) -> None:
        """Computed clusters and filed causes of a section of the open project are kept as they change, without *Save*, as outlines are."""
        s = self._session
        if s.busy == "loading":
            return
        try:
            project = self.of_section()
            if project is not None and s.section is not None:
                projects.save_clusters(project, s.section.library_id, s.own_clusters())
                projects.save_causes(project, s.section.library_id, s.causes)
        except (DeepSpaceError, OSError) as error:
            self._say(f"Clusters and causes could not be kept in {s.project} ({error}).", "warning")

    def show(self, project: Project) -> None:
        """Say in the panel which project is open."""
        self._session.project = project.folder
        self._panel.show_project(project.file.name, [section.library_id for section in project.file.sections])

    def ask(self, missing: MissingFile) -> Path | None:
        """Ask the user where a file of the project lies now."""
        if missing.kind == "image" and missing.path.suffix == ".zarr":
            return ask_image_folder(self._panel, str(missing), str(missing.path.parent))
        if missing.kind == "image":
            path, _ = QFileDialog.getOpenFileName(self._panel, str(missing), str(missing.path.parent), IMAGES)
        else:
            path = QFileDialog.getExistingDirectory(self._panel, str(missing), str(missing.path.parent))
        return Path(path) if path else None

    def _found(self, project: Project) -> Project | None:
        """The project with every missing file found again; None when the user gives one up."""
        while project.missing:
            missing = project.missing[0]
            path = self.ask(missing)
            if path is None:
                self._say(f"The project was not opened. {missing}", "warning")
                return None
            project = projects.relink(project, missing.library_id, path, missing.kind)
            projects.save_project(project)
        return project


def stored(folder: Path, session: Session, viewer: Any) -> Project:
    """Save section, run and view of the session into the project in ``folder``, which is made if there is none.

    Raises
    ------
    DataError
        The project cannot be written, is damaged, or holds another section of that name.
    """
    project = projects.open_project(folder) if projects.is_project(folder) else projects.create_project(folder)
    run = None
    if session.section is not None:
        project = projects.add_section(project, session.section)
    if session.run_dir is not None:
        project = projects.add_run(project, session.run_dir)
        run = next(name for name in project.file.runs if projects.resolve(project, name) == session.run_dir.absolute())
    camera = viewer.scene.camera
    centre = tuple(float(value) for value in camera.center[-2:])
    view = View(
        library_id=session.section.library_id if session.section else None,
        run=run,
        gene=session.gene or None,
        shown="predicted" if session.show in WAYS else session.show,
        filter=session.filter,
        normalisation=session.normalisation,
        contrast_limits=session.limits,
        scale=session.scale,
        hidden_clusters=tuple(sorted(session.hidden_clusters)),
        cluster_colours=kept_colours(session.section.adata) if session.section is not None else {},
        centre_yx_um=(centre[0], centre[1]),
        zoom=float(camera.zoom),
    )
    project = projects.set_view(project, view)
    projects.save_project(project)
    if session.section is not None:
        projects.save_outlines(project, session.section.library_id, session.outlines, session.drawn_on)
        projects.save_clusters(project, session.section.library_id, session.own_clusters())
        projects.save_causes(project, session.section.library_id, session.causes)
        write_neighbours(projects.neighbours_path(project, session.section.library_id), session.neighbours)
    return project


def apply_view(view: View, session: Session, viewer: Any) -> None:
    """Show again what was shown when the project was saved, as far as it still exists."""
    section = session.section
    if section is None:
        return
    session.filter = view.filter
    session.normalisation = view.normalisation
    if view.gene in section.adata.var_names:
        session.gene = str(view.gene)
    predicted = session.maps is not None and session.gene in session.maps.genes
    session.show = view.shown if view.shown == "measured" or predicted else "measured"
    session.scale = view.scale
    section.adata.uns.update({key: list(colours) for key, colours in view.cluster_colours.items()})
    session.recoloured += 1
    session.hidden_clusters = frozenset(view.hidden_clusters)
    session.limits = view.contrast_limits
    camera = viewer.scene.camera
    if view.centre_yx_um is not None:
        camera.center = (0.0, *view.centre_yx_um)
    if view.zoom is not None:
        camera.zoom = view.zoom


def run_of(project: Project) -> Path | None:
    """The folder of the run that was shown, if it is still there."""
    run = project.file.view.run
    folder = None if run is None else projects.resolve(project, run)
    return folder if folder is not None and folder.is_dir() else None
