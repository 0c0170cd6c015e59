"""A project on disk: one folder of readable files; opening it again gives the same window.

====================  =================================================================================================
``project.json``      format, name, sections (paths and hashes), runs, view; the state before the last save is
                      ``project.json.bak``
``outlines/``         ``<library_id>.geojson``: regions drawn on a section, full-resolution px, written with the first one
``clusters/``         ``<library_id>.csv``: clusters that were computed of a section
``causes/``           ``<library_id>.csv``: why prediction and measurement disagree at spots, as somebody filed it
``transforms.json``   how sections lie over one another, written with the first transform
``neighbours/``       ``<library_id>.json``: stained slides and sections laid over a section, with landmarks and alignment
``sealed/``           ``<library_id>.json``: sealed hold-outs, see :mod:`napari_deepspace.seal`
``runs/``             one folder a run, see :mod:`napari_deepspace.runs`
====================  =================================================================================================

Counts and slides stay where they are; the project knows them by path and by content. A path is relative to the project's folder when both
lie in one study folder (at most two folders up), so that the whole can be moved, and absolute otherwise; always with forward slashes.

A :class:`Project` is never changed in place: each function returns a new one, and :func:`save_project` alone writes.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd

from napari_deepspace.causes import write_causes
from napari_deepspace.data_files import data_files, file_hash
from napari_deepspace.errors import DataError
from napari_deepspace.geojson import SlideStamp
from napari_deepspace.outlines import Outline, write_outlines
from napari_deepspace.project_format import BACKUP, PROJECT, VERSION, ProjectFile, ProjectSection, View, read_project_file
from napari_deepspace.runs import write_atomic
from napari_deepspace.section import GIVEN, PLATFORMS, Section
from napari_deepspace.settings import Orientation, SectionSettings
from napari_deepspace.slide import open_slide

OUTLINES, CLUSTERS, CAUSES, TRANSFORMS, RUNS, SEALED = "outlines", "clusters", "causes", "transforms.json", "runs", "sealed"

Kind = Literal["counts", "image"]
_STUDY_LEVELS = 2


@dataclass(frozen=True)
class MissingFile:
    """Counts or an image that the project knows and that are gone, or hold something else now."""

    library_id: str
    kind: Kind
    path: Path
    hash: str
    changed: bool = False  #: the path exists, its content is another

    def __str__(self) -> str:
        what = "slide" if self.kind == "image" else "counts"
        found = "another content than when the project was saved" if self.changed else "nothing there any more"
        return f"{self.library_id}: the {what} were looked for at {self.path}; found {found}. Choose where they lie now."


@dataclass(frozen=True)
class Project:
    """An open project: its folder, the content of its file, and which of its files are missing."""

    folder: Path
    file: ProjectFile
    missing: tuple[MissingFile, ...] = ()


def is_project(folder: Path) -> bool:
    """Whether ``folder`` holds a project."""
    return (Path(folder) / PROJECT).is_file()


def create_project(folder: Path, name: str | None = None) -> Project:
    """Make a new, empty project in ``folder`` (made if it does not exist) and write it.

    Raises
    ------
    DataError
        The folder holds a project already, or cannot be written to.
    """
    folder = _absolute(folder)
    if is_project(folder):
        raise DataError(f"{folder} holds a project already. Open it, or choose another folder for the new one.")
    project = Project(folder, ProjectFile(name=name or folder.name))
    save_project(project)
    return project


def open_project(folder: Path) -> Project:
    """Read a project; ``missing`` says which sections' files have to be asked for, see :func:`relink`.

    ``folder`` may also be the path of its ``project.json``.

    Raises
    ------
    DataError
        There is no project, it is damaged, or a newer version wrote it. The file is left as it is.
    """
    folder = _absolute(folder)
    if folder.name == PROJECT:
        folder = folder.parent
    if not is_project(folder):
        raise DataError(f"{folder} holds no {PROJECT}. Choose the folder of a project.")
    project = Project(folder, read_project_file(folder / PROJECT))
    return replace(project, missing=_find_missing(project))


def save_project(project: Project) -> None:
    """Write ``project.json`` in one step; the one it replaces becomes ``project.json.bak``.

    Raises
    ------
    DataError
        The file on disk is damaged or from a newer version (it is not overwritten), or the folder cannot be written to.
    """
    path = project.folder / PROJECT
    text = project.file.model_dump_json(indent=1) + "\n"
    try:
        if path.exists():
            read_project_file(path)
            before = path.read_bytes()
            if before == text.encode():
                return
            write_atomic(project.folder / BACKUP, before)
        write_atomic(path, text)
    except OSError as error:
        raise DataError(f"The project cannot be saved in {project.folder} ({error}). Make room, or choose a folder you may write to.") from error


def add_section(project: Project, section: Section) -> Project:
    """The project with ``section`` in it; a section of the same name and content takes the place of the earlier one.

    Raises
    ------
    DataError
        The section does not come from disk, or another section bears its name.
    """
    if section.path is None:
        raise DataError(f"{section.library_id} was not read from disk. A project can only hold sections that lie in files: write it, then read it.")
    image = section.image_path or (section.slide.path if section.slide else None)
    entry = ProjectSection(
        library_id=section.library_id,
        path=_store(project.folder, section.path),
        image=None if image is None else _store(project.folder, image),
        platform="auto" if section.asks_lattice else next((key for key, one in PLATFORMS.items() if one == section.platform), "auto"),
        patient=section.patient,
        block=section.block,
        mpp=section.mpp if section.mpp_from == GIVEN else None,
        orientation=cast(Orientation, section.orientation),
        reduced=section.reduced != 1,
        columns=section.columns,
        files={name: file_hash(path) for name, path in data_files(section.path, section.library_id)},
        image_hash=None if image is None else file_hash(image),
        slide_fingerprint=None if section.slide is None else section.slide.fingerprint(),
    )
    # Without regard to case: the names become file names, and C3 and c3 are one file on macOS and Windows.
    sections = {known.library_id.casefold(): known for known in project.file.sections}
    known = sections.get(entry.library_id.casefold())
    if known and (known.library_id, known.files or entry.files) != (entry.library_id, entry.files):
        raise DataError(
            f"The project holds another section named {known.library_id} (from {known.path}). "
            "Give the new one a name of its own (library_id), or remove the other first."
        )
    sections[entry.library_id.casefold()] = entry
    return _changed(project, sections=tuple(sections.values()))


def remove_section(project: Project, library_id: str) -> Project:
    """The project without that section; its files, outlines and runs stay on disk. Raises DataError for an unknown name."""
    gone = _entry(project, library_id)
    return _changed(project, sections=tuple(section for section in project.file.sections if section != gone))


def relink(project: Project, library_id: str, new_path: Path, kind: Kind = "image") -> Project:
    """The project with the image or counts of a section at ``new_path``, once their content is known to be the same.

    A slide may have been renamed, or saved in another format with the same pixels.

    Raises
    ------
    DataError
        The section is unknown, ``new_path`` cannot be read, or it holds another slide or other counts.
    """
    entry = _entry(project, library_id)
    new_path = _absolute(new_path)
    if not new_path.exists():
        raise DataError(f"{new_path} does not exist. Choose where the {'slide' if kind == 'image' else 'counts'} of {library_id} lie now.")
    if kind == "counts":
        if not _same_counts(entry, new_path):
            raise DataError(
                f"{new_path} does not hold the counts of {library_id}: matrix or positions differ from those the project was made with. "
                "Choose the same section's folder, or add this one as a section of its own."
            )
        entry = entry.model_copy(update={"path": _store(project.folder, new_path)})
    else:
        image_hash = file_hash(new_path)
        if image_hash != entry.image_hash and _fingerprint(new_path) != entry.slide_fingerprint:
            raise DataError(
                f"{new_path} is another slide than that of {library_id}: its pixels differ from those the project was made with. "
                "Choose the image of the same section at the same resolution."
            )
        entry = entry.model_copy(update={"image": _store(project.folder, new_path), "image_hash": image_hash})
    return _changed(project, sections=tuple(entry if section.library_id == library_id else section for section in project.file.sections))


def section_settings(project: Project, library_id: str) -> SectionSettings:
    """What :func:`napari_deepspace.read.read_settings` needs to read that section, with absolute paths. Raises DataError for an unknown name."""
    entry = _entry(project, library_id)
    values = entry.model_dump(include={"library_id", "platform", "patient", "block", "mpp", "orientation", "reduced", "columns"})
    for kind, of in (("outlines", outlines_path), ("clusters", clusters_path), ("causes", causes_path)):
        path = of(project, library_id)
        values[kind] = path if path.is_file() else None
    image = None if entry.image is None or entry.reduced else resolve(project, entry.image)
    return SectionSettings(path=resolve(project, entry.path), image=image, **values)


def add_run(project: Project, run_dir: Path) -> Project:
    """The project with one more run; make its folder with ``runs.new_run_dir(project.folder / RUNS, name)``."""
    stored = _store(project.folder, run_dir)
    return project if stored in project.file.runs else _changed(project, runs=(*project.file.runs, stored))


def run_dirs(project: Project) -> list[Path]:
    """Folders of the project's runs that are still on disk, oldest first."""
    return [path for path in (resolve(project, run) for run in project.file.runs) if path.is_dir()]


def set_view(project: Project, view: View) -> Project:
    """The project with another view."""
    return _changed(project, view=view)


def outlines_path(project: Project, library_id: str) -> Path:
    """Where the outlines of a section are kept."""
    return project.folder / OUTLINES / f"{file_stem(library_id)}.geojson"


def clusters_path(project: Project, library_id: str) -> Path:
    """Where computed clusters of a section are kept."""
    return project.folder / CLUSTERS / f"{file_stem(library_id)}.csv"


def causes_path(project: Project, library_id: str) -> Path:
    """Where the causes that were filed on a section are kept."""
    return project.folder / CAUSES / f"{file_stem(library_id)}.csv"


def file_stem(library_id: str) -> str:
    """``library_id`` without characters that a file name cannot hold; different names stay different."""
    safe = re.sub(r"[^\w.-]", "-", library_id).strip(".")
    return safe if safe == library_id else safe + "-" + hashlib.blake2b(library_id.encode(), digest_size=4).hexdigest()


def save_outlines(project: Project, library_id: str, outlines: Sequence[Outline], drawn_on: SlideStamp | None = None) -> None:
    """Keep what is drawn on a section, now; without any outline its file goes. ``drawn_on`` is the slide that the file says."""
    keep_outlines(outlines_path(project, library_id), outlines, drawn_on)


def keep_outlines(path: Path, outlines: Sequence[Outline], drawn_on: SlideStamp | None = None) -> None:
    """Write ``outlines``, atomically, and the slide they were ``drawn_on``; without any the file goes."""
    if outlines:
        write_outlines(path, outlines, drawn_on)
    else:
        path.unlink(missing_ok=True)


def save_clusters(project: Project, library_id: str, clusters: pd.Series | None) -> None:
    """Keep the clusters that were computed of a section, now; None: there are none, and their file goes."""
    path = clusters_path(project, library_id)
    if clusters is not None:
        write_atomic(path, clusters.rename("cluster").to_csv(index_label="barcode"))
    else:
        path.unlink(missing_ok=True)


def save_causes(project: Project, library_id: str, causes: pd.Series) -> None:
    """Keep the causes that were filed on a section, now; without any their file goes."""
    write_causes(causes_path(project, library_id), causes)


def neighbours_path(project: Project, library_id: str) -> Path:
    """Where slides of neighbouring sections that are laid over a section are kept."""
    return project.folder / "neighbours" / f"{file_stem(library_id)}.json"


def resolve(project: Project, stored: str) -> Path:
    """The absolute path of one that the project stores."""
    return _absolute(project.folder / stored)


def _same_counts(entry: ProjectSection, path: Path) -> bool:
    # Compared by content alone: a folder may be named by its `outs` or by the folder above.
    return set(entry.files.values()) <= {file_hash(file) for _, file in data_files(path, entry.library_id)}


def _fingerprint(image: Path) -> str:
    with open_slide(image) as slide:
        return slide.fingerprint()


def _find_missing(project: Project) -> tuple[MissingFile, ...]:
    missing = []
    for entry in project.file.sections:
        path = resolve(project, entry.path)
        counts_hash = hashlib.blake2b("".join(sorted(entry.files.values())).encode(), digest_size=16).hexdigest()
        if not path.exists() or not _same_counts(entry, path):
            missing.append(MissingFile(entry.library_id, "counts", path, counts_hash, changed=path.exists()))
        if entry.image is not None and entry.image_hash is not None:
            image = resolve(project, entry.image)
            if not image.exists() or file_hash(image) != entry.image_hash:
                missing.append(MissingFile(entry.library_id, "image", image, entry.image_hash, changed=image.exists()))
    return tuple(missing)


def _entry(project: Project, library_id: str) -> ProjectSection:
    for section in project.file.sections:
        if section.library_id == library_id:
            return section
    known = ", ".join(section.library_id for section in project.file.sections) or "none"
    raise DataError(f"The project holds no section named {library_id}. Its sections: {known}.")


def _changed(project: Project, **values: Any) -> Project:
    project = replace(project, file=project.file.model_copy(update={"format": VERSION, **values}))
    return replace(project, missing=_find_missing(project)) if "sections" in values else project


def _absolute(path: Path) -> Path:
    # Not resolve(): a path through a link is kept as the user gave it.
    return Path(os.path.abspath(Path(path).expanduser()))


def _store(folder: Path, path: Path) -> str:
    path = _absolute(path)
    if path.anchor != folder.anchor:
        return path.as_posix()
    relative = Path(os.path.relpath(path, folder))
    up = relative.parts.count("..")
    study = folder.parents[up - 1] if 0 < up <= len(folder.parents) else folder
    return (relative if up <= _STUDY_LEVELS and study != Path(folder.anchor) else path).as_posix()
