"""What stands in ``project.json``: its models, its version, and how a file that cannot be read is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from napari_deepspace.colour_scale import ColourScale
from napari_deepspace.errors import DataError
from napari_deepspace.settings import FilterSettings, Orientation

PROJECT, BACKUP = "project.json", "project.json.bak"
FORMAT = (1, 4)
"""Major and minor number of the format: new optional fields raise the minor, anything that changes a meaning raises the major."""

VERSION = f"{FORMAT[0]}.{FORMAT[1]}"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProjectSection(_Model):
    """One section: where its files lie, what they hold, and what they cannot say."""

    library_id: str = Field(min_length=1)
    path: str
    image: str | None = None
    platform: str
    patient: str | None = None
    block: str | None = None
    mpp: FiniteFloat | None = None  #: um per px that the user gave
    orientation: Orientation = "as it is"
    reduced: bool = False  #: a reduced image stands in for the slide
    columns: dict[str, str] = {}  #: of a plain table: which of its columns is what, as somebody said
    files: dict[str, str] = {}  #: matrix and positions files, name -> hash of the content
    image_hash: str | None = None  #: of the image file
    slide_fingerprint: str | None = None  #: of the pixels: the same after the slide was saved in another format


class View(_Model):
    """What the window shows."""

    library_id: str | None = None
    run: str | None = None
    gene: str | None = None
    shown: Literal["measured", "predicted", "difference", "interval"] = "measured"
    filter: FilterSettings = FilterSettings()
    normalisation: Literal["log", "sctransform", "pearson", "stnet"] = "log"
    contrast_limits: tuple[FiniteFloat, FiniteFloat] | None = None
    scale: ColourScale = ColourScale()
    hidden_clusters: tuple[str, ...] = ()  #: names of clusters that are not painted
    cluster_colours: dict[str, tuple[str, ...]] = {}  #: key of the section's ``uns`` -> colours of clusters that it holds
    colormap: str | None = None  #: of format 1.1, which never set it
    centre_yx_um: tuple[FiniteFloat, FiniteFloat] | None = None
    zoom: FiniteFloat | None = Field(None, gt=0)


class ProjectFile(_Model):
    """The content of ``project.json``."""

    format: str = VERSION
    name: str
    sections: tuple[ProjectSection, ...] = ()
    runs: tuple[str, ...] = ()
    view: View = View()


def read_project_file(path: Path) -> ProjectFile:
    """Read ``project.json``.

    Raises
    ------
    DataError
        The file is damaged, is no project, or a newer version wrote it. It is left as it is.
    """
    mend = f"It was not changed. Put right what is named here, or rename {BACKUP} beside it (the state before the last save) to {PROJECT}."
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: not JSON, or not UTF-8
        raise DataError(f"{path} is damaged ({error}). {mend}") from error
    _check_format(values, path)
    try:
        file = ProjectFile.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise DataError(f"{path} is damaged ({where}: {problem['msg']}). {mend}") from error
    names = [section.library_id for section in file.sections]
    if len(set(names)) < len(names):
        raise DataError(f"{path} is damaged (two sections of one name). {mend}")
    return file


def _check_format(values: Any, path: Path) -> None:
    found = re.fullmatch(r"(\d+)\.(\d+)", str(values.get("format"))) if isinstance(values, dict) else None
    if found is None:
        raise DataError(f"{path} does not say that it is a project (no format number). It was not changed. Choose the folder of a project.")
    if (int(found[1]), int(found[2])) > FORMAT:
        raise DataError(
            f"{path} was written by a newer version (format {found[0]}; this one reads up to {VERSION}). "
            "It was not changed. Update napari-deepspace to open it."
        )
