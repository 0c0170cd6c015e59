"""What a job of students does: STUDENTS.yaml, and its check before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_deepspace.errors import SettingsError
from napari_deepspace.runs import MODEL, SETTINGS
from napari_deepspace.search_settings import run_within
from napari_deepspace.settings import RunSettings, SectionSettings, load_run_settings, set_value, settings_error

Control = Literal["none", "permuted", "random", "foreign", "photographs"]
CONTROLS: dict[Control, str] = {
    "none": "the teacher's labels",
    "permuted": "control: labels permuted",
    "random": "control: random labels",
    "foreign": "control: tiles of another tissue",
    "photographs": "control: photographs",
}
"""What a job's tiles and labels are, in words."""
ELSEWHERE: tuple[Control, ...] = ("foreign", "photographs")
"""Controls whose tiles are drawn from other pictures."""

EXAMPLE = """\
# Semi-supervised learning (noisy student) with napari-deepspace. Start it with: napari-deepspace students THIS_FILE
# Research use only.
run: RUN.yaml  # the teacher: the path of a RUN.yaml (napari-deepspace train --init RUN.yaml), or its settings here
# teacher: runs/my-run  # in place of run: a finished run, which is then not trained again
unlabelled:  # pictures that tiles are drawn from, counts are never looked at: sections, image files, or folders of image files
  - path/to/another/section
  # - {path: slide.svs, mpp: 0.5}  # mpp: um per pixel, where the file does not state it
score: []  # sections to evaluate on, as in RUN.yaml; empty: the spots that the run itself holds out
rounds: 5  # students, one after another
tiles: 4000  # new tiles a round; the pool grows: the fifth student learns from 20,000
control: none  # none; permuted: labels shuffled gene by gene; random: random labels; foreign, photographs: tiles of control_slides
control_slides: []  # foreign: slides of another tissue; photographs: a folder of pictures that are no tissue
seed: 0  # seed of the tiles, and of the labels of controls
"""


class UnlabelledSettings(BaseModel):
    """One picture, or a folder of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: Path = Field(description="a section, an image file, or a folder of image files")
    image: Path | None = Field(None, description="full-resolution H&E of a section; left out: looked for by its size")
    mpp: float | None = Field(None, gt=0.01, le=10, description="um per pixel of an image; left out: as the file states it")
    outlines: Path | None = Field(None, description="GeoJSON of a section: outlines of class Exclude or Ignore* take their tiles out")


class StudentsSettings(BaseModel):
    """How many students, and which tiles they learn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    unlabelled: tuple[UnlabelledSettings, ...] = Field((), description="pictures that tiles are drawn from; their counts are never looked at")
    score: tuple[SectionSettings, ...] = Field((), description="sections to evaluate on; empty: the spots that the run itself holds out")
    rounds: int = Field(5, ge=1, le=100, description="students, one after another")
    tiles: int = Field(4000, ge=1, description="new tiles a round; they add up")
    control: Control = Field("none", description="none, permuted, random, foreign or photographs")
    control_slides: tuple[UnlabelledSettings, ...] = Field((), description="slides of another tissue, or a folder of photographs")
    seed: int = Field(0, ge=0, description="seed of the tiles, and of the labels of controls")

    @model_validator(mode="after")
    def _complete(self) -> StudentsSettings:
        if not self.drawn_from:
            key = "control_slides" if self.elsewhere else "unlabelled"
            raise ValueError(f"there is no picture to draw tiles from; give {key} at least one")
        return self

    @property
    def elsewhere(self) -> bool:
        """Whether the tiles are those of a control."""
        return self.control in ELSEWHERE

    @property
    def drawn_from(self) -> tuple[UnlabelledSettings, ...]:
        """What tiles are drawn from."""
        return self.control_slides if self.elsewhere else self.unlabelled


def load_students(path: Path, overrides: Sequence[str] = ()) -> tuple[RunSettings, StudentsSettings, Path | None]:
    """Read STUDENTS.yaml: the run of teacher and students, what the students learn from, and the finished teacher if it names one.

    ``overrides`` (``key.sub=value``) change the job where the key is one of its own, else the run. Relative paths are taken from the file's folder.

    Raises
    ------
    SettingsError
        The file, the run it names, or a setting in one of them cannot be used.
    """
    path, base = Path(path), Path(path).resolve().parent
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read ({error}). Write one with `napari-deepspace students --init STUDENTS.yaml`.") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path} holds no settings. Write a commented file with `napari-deepspace students --init STUDENTS.yaml`.")
    own = [override for override in overrides if override.partition("=")[0].split(".")[0] in StudentsSettings.model_fields]
    rest = [override for override in overrides if override not in own]
    for override in own:
        set_value(values, override)
    run, teacher = values.pop("run", None), values.pop("teacher", None)
    values.pop("threads", None)  # of a frozen students.yaml
    for key in ("unlabelled", "control_slides", "score"):
        values[key] = [_placed(one, base) for one in values.get(key) or ()]
    asked = students_settings(values, str(path))
    if teacher is None:
        return run_within(run, path, rest), asked, None
    if run is not None or rest:
        raise SettingsError(f"{path}: a finished teacher has its own settings. Take out `run:` and what --set changes of it, or `teacher:`.")
    folder = base / str(teacher)
    if not (folder / SETTINGS).is_file() or not (folder / MODEL / "model.json").is_file():
        raise SettingsError(f"{path}: {folder} holds no finished run. Give `teacher:` the folder of one, or `run:` its settings.")
    return load_run_settings(folder / SETTINGS), asked, folder


def _placed(one: Any, base: Path) -> Any:
    """An entry of a list of sections or pictures, a bare path allowed, with its paths from the folder ``base``."""
    if isinstance(one, str):
        one = {"path": one}
    if isinstance(one, dict):
        keys = ("path", "image", "outlines", "clusters", "obs", "sealed")
        one = one | {key: str(base / str(one[key])) for key in keys if one.get(key)}
    return one


def students_settings(values: dict[str, Any], where: str = "students") -> StudentsSettings:
    """Validate plain ``values``; raises SettingsError with one sentence."""
    try:
        return StudentsSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(str(settings_error(error, where)).replace("train --init RUN.yaml", "students --init STUDENTS.yaml")) from error


def students_values(run: RunSettings, asked: StudentsSettings, teacher: Path | None) -> dict[str, Any]:
    """All as plain values, of which STUDENTS.yaml is made; :func:`load_students` reads them."""
    first: dict[str, Any] = {"run": run.model_dump(mode="json")} if teacher is None else {"teacher": str(teacher)}
    return first | asked.model_dump(mode="json")
