"""What was done in the window, as text that does it again: a command for the shell, and Python with the public names.

A command with a here-document is for a POSIX shell (Linux, macOS, Git Bash and WSL on Windows). Paths are absolute, so that text may be pasted
anywhere; files that it writes come to lie in the folder it is pasted in.
"""

from __future__ import annotations

import csv
import io
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from napari_deepspace.figure_settings import PLAIN, FigureSettings
from napari_deepspace.runs import safe_name
from napari_deepspace.search_settings import SearchSettings, search_values
from napari_deepspace.settings import FilterSettings, RunSettings, SectionSettings, dump_yaml
from napari_deepspace.students_settings import StudentsSettings, students_values

PROGRAM = "napari-deepspace"
IMPORT = "import napari_deepspace as nd\n"


@dataclass(frozen=True)
class Recipe:
    """One action as a command and as Python; both end with a new line."""

    command: str
    python: str


@dataclass(frozen=True)
class RegionsAsked:
    """What is asked of outlines, as ``napari-deepspace regions`` takes it; ``filter`` None: the run's, or the usual one."""

    genes: tuple[str, ...]
    by: str = "outline"
    run_dir: Path | None = None
    filter: FilterSettings | None = None
    front: str = ""  #: name or id of the outline
    band_um: float = 50.0
    denser: Path | None = None
    against: Path | None = None
    differential: Path | None = None
    out: Path | None = None
    plot: Path | None = None


def open_recipe(section: SectionSettings) -> Recipe:
    """Open a section in the window; in Python, read it."""
    section = _placed(section)
    command = _shell(["open", str(section.path), *reading_options(section, READ_AS)])
    return Recipe(command, f"{IMPORT}\n{_read(section)}print(section)\n")


def preprocess_recipe(settings: RunSettings, files: Mapping[str, str] | None = None) -> Recipe:
    """Judge the spots of a section; ``files`` are texts by name that the settings name, outlines and clusters."""
    settings, name = _absolute(settings, files), f"{_stem(settings)}-quality.yaml"
    command = _here(files) + _here({name: dump_yaml(settings)}) + _shell(["preprocess", name])
    python = f"{_write(files)}{_read(settings.sections[0])}\nsettings = {call(settings)}\nresult = nd.preprocess_section(section, settings)\n"
    return Recipe(command, f"{_import(files)}\n{python}print(result.obs)\n")


def train_recipe(settings: RunSettings, files: Mapping[str, str] | None = None) -> Recipe:
    """Train as ``settings`` say."""
    settings, name = _absolute(settings, files), _stem(settings)
    command = _here(files) + _here({f"{name}.yaml": dump_yaml(settings)}) + _shell(["train", f"{name}.yaml"])
    read = "".join(_read(section, f"section_{number}") for number, section in enumerate(settings.sections, start=1))
    names = ", ".join(f"section_{number}" for number in range(1, len(settings.sections) + 1))
    python = f"{_write(files)}{read}\nsettings = {call(settings)}\nmodel = nd.fit([{names}], settings, {f'runs/{name}'!r})\n"
    return Recipe(command, f"{_import(files)}\n{python}")


def denser_recipe(run_dir: Path, section: SectionSettings, out: Path, at: str, spacing_um: float, files: Mapping[str, str] | None = None) -> Recipe:
    """Predict between the spots or at a grid."""
    section = _placed(section, files)
    spacing = ["--spacing-um", f"{spacing_um:g}"] if at == "grid" else []
    command = ["predict", _path(run_dir), _path(section.path), *reading_options(section), "--out", _path(out), "--at", at, *spacing]
    more = f", spacing_um={spacing_um:g}" if at == "grid" else ""
    python = f"dmap = nd.predict_denser({_path(run_dir)!r}, section, {_path(out)!r}, at={at!r}{more})\n"
    return Recipe(_here(files) + _shell(command), f"{_import(files)}\n{_write(files)}{_read(section)}{python}")


def quantify_recipe(
    section: SectionSettings,
    slide: Path,
    gene: str,
    way: str,
    run: Path | None,
    files: Mapping[str, str],
    cells: Path | None = None,
    per_outline: bool = False,
) -> Recipe:
    """Hold the stain of a neighbouring ``slide`` against a gene, or write it outline by outline; ``files`` hold ``alignment.json``."""
    section = _placed(section, files)
    command = ["quantify", _path(section.path), _path(slide), "--alignment", "alignment.json", "--gene", gene, "--way", way]
    command += [*reading_options(section, (*READ_AS, "outlines")), *(["--run", _path(run)] if run is not None else [])]
    command += ["--cells", _path(cells)] if cells is not None else []
    command += ["--per-outline", "--out", "stain-of-outlines.csv"] if per_outline else []
    how = "quantify_outlines" if per_outline else "quantify_spots"
    detected = f"read_cells(Path({_path(cells)!r}), stamp_of(slide))" if cells is not None else ""
    python = (
        ("from pathlib import Path\n\n" if detected else "")
        + "from napari_deepspace.align.transform import read_alignment\n"
        + ("from napari_deepspace.cells import read_cells\nfrom napari_deepspace.geojson import stamp_of\n" if detected else "")
        + f"from napari_deepspace.quantify_command import {how}\n"
        "from napari_deepspace.slide import open_slide\n\n"
        f"{_write(files)}{_read(section)}with open_slide({_path(slide)!r}) as slide:\n"
        f'    found = {how}(section, slide, read_alignment("alignment.json"){f", {detected}" if detected else ""})\n'
        f"print(found.{'table' if per_outline else f'of({way!r})'})\n"
    )
    return Recipe(_here(files) + _shell(command), f"{_import(files)}\n{python}")


def search_recipe(run: RunSettings, asked: SearchSettings, files: Mapping[str, str] | None = None) -> Recipe:
    """Search for parameters."""
    run, name = _absolute(run, files), f"{_stem(run)}-search"
    text = yaml.safe_dump(search_values(run, asked), sort_keys=False, allow_unicode=True)
    python = f"run = {call(run)}\nsearch = nd.SearchSettings(**{plain_values(asked)!r})\n"
    python += f"folder = nd.run_search(run, search, Path({f'searches/{name}'!r}))\n"
    command = _here(files) + _here({f"{name}.yaml": text}) + _shell(["search", f"{name}.yaml"])
    return Recipe(command, f"from pathlib import Path\n\n{IMPORT}\n{_write(files)}{python}")


def students_recipe(run: RunSettings, asked: StudentsSettings, files: Mapping[str, str] | None = None) -> Recipe:
    """Students of a teacher that is trained first."""
    run, name = _absolute(run, files), f"{_stem(run)}-students"
    text = yaml.safe_dump(students_values(run, asked, None), sort_keys=False, allow_unicode=True)
    python = f"run = {call(run)}\nasked = nd.StudentsSettings(**{plain_values(asked)!r})\n"
    python += f"folder = nd.run_students(run, asked, None, Path({f'students/{name}'!r}))\n"
    command = _here(files) + _here({f"{name}.yaml": text}) + _shell(["students", f"{name}.yaml"])
    return Recipe(command, f"from pathlib import Path\n\n{IMPORT}\n{_write(files)}{python}")


def figure_recipe(
    section: SectionSettings, settings: FigureSettings, out: Path, run_dir: Path | None = None, files: Mapping[str, str] | None = None
) -> Recipe:
    """Draw a figure; an ``out`` without a folder comes to lie where the text is pasted."""
    section = _placed(section, files)
    source = [_path(run_dir), _path(section.path)] if run_dir is not None else [_path(section.path)]
    reading = reading_options(section, (*READING, "clusters"))
    command = _here(files) + _shell(["figure", *source, *reading, *figure_options(settings), "--out", str(out)])
    run = f", {_path(run_dir)!r}" if run_dir is not None else ""
    python = f"settings = {call(settings)}\nnd.save_figure(section, settings, {str(out)!r}{run})\n"
    extra = "from napari_deepspace.settings import FilterSettings\n" if settings.filter is not None else ""
    return Recipe(command, f"{_import(files)}{extra}\n{_write(files)}{_read(section)}{python}")


def regions_recipe(section: SectionSettings, asked: RegionsAsked, files: Mapping[str, str] | None = None) -> Recipe:
    """Describe and test outlines, or the profile across the border of one, or two observers."""
    section = _placed(section, files)
    command = ["regions", _path(section.path), *reading_options(section, ("outlines", *READ_AS, "sealed"))]
    command += ["--run", _path(asked.run_dir)] if asked.run_dir is not None else []
    command += [word for gene in asked.genes for word in ("--gene", gene)]
    command += ["--by", asked.by] if asked.by != "outline" else []
    command += _filter_options(asked.filter) if asked.filter is not None else []
    for name, value in (("front", asked.front), ("band-um", f"{asked.band_um:g}" if asked.front else "")):
        command += [f"--{name}", value] if value else []
    for name, path in (("denser", asked.denser), ("against", asked.against)):
        command += [f"--{name}", _path(path)] if path is not None else []
    for name, path in (("differential", asked.differential), ("out", asked.out), ("plot", asked.plot)):
        command += [f"--{name}", str(path)] if path is not None else []
    run = f", Path({_path(asked.run_dir)!r})" if asked.run_dir is not None else ""
    usual = f", usual={_argument(asked.filter)}" if asked.filter is not None else ""
    python = "from pathlib import Path\n\nimport napari_deepspace as nd\nfrom napari_deepspace import region_command as rc\n"
    python += "from napari_deepspace.analyse.regions import regions_of\n"
    python += "from napari_deepspace.settings import FilterSettings\n" if asked.filter is not None else ""
    python += f"\n{_write(files)}{_read(section)}known = rc.known_genes(section, {list(asked.genes)!r}{run}{usual})\n"
    python += f"regions = regions_of(section.outlines, {asked.by!r})\n"
    if asked.against is not None:
        python += f"table = rc.observers_table(section, rc.read_observer(section, Path({_path(asked.against)!r})))\n"
    elif asked.differential is not None:
        python += "table = rc.differential_table(section, regions, known[0].keep)\n"
    elif asked.front:
        dmap = f", open_denser(Path({_path(asked.denser)!r}))" if asked.denser is not None else ""
        python += "from napari_deepspace.denser import open_denser\n" if dmap else ""
        python += f"table = rc.front_table(section, rc.find_region(regions, {asked.front!r}), known, {asked.band_um:g}{dmap})\n"
    else:
        python += "table = rc.region_table(section, regions, known)\n"
    return Recipe(_here(files) + _shell(command), f"{python}print(table)\n")


def tiles_recipe(run_dir: Path, section: SectionSettings, genes: Sequence[str], out: Path, denser: Path | None = None) -> Recipe:
    """Values as tiles for QuPath."""
    section = _placed(section)
    command = ["export-geojson", _path(run_dir), _path(section.path), *reading_options(section, (*READ_AS, "patient", "sealed"))]
    command += [word for gene in genes for word in ("--gene", gene)]
    command += ["--denser", _path(denser)] if denser is not None else []
    python = f"{_read(section)}drain(export_tiles(Path({_path(run_dir)!r}), section, {list(genes)!r}, Path({str(out)!r})"
    python += f", denser=Path({_path(denser)!r})" if denser is not None else ""
    head = "from pathlib import Path\n\nimport napari_deepspace as nd\nfrom napari_deepspace.blocking import drain\n"
    head += "from napari_deepspace.geojson_command import export_tiles\n"
    return Recipe(_shell([*command, "--out", str(out)]), f"{head}\n{python}), False)\n")


def figure_options(settings: FigureSettings) -> list[str]:
    """Options of ``napari-deepspace figure`` that ask for ``settings``; what is as usual is left out."""
    usual = FigureSettings(kind="table")
    options = ["--kind", settings.kind]
    if settings.gene:
        options += ["--gene", settings.gene]
    if settings.show:
        options += ["--show", PLAIN.get(settings.show, settings.show)]
    for name, value in (
        ("size", settings.size_mm),
        ("limits", settings.limits),
        ("region", settings.region_um),
        ("percentiles", settings.percentiles if settings.percentiles != usual.percentiles else None),
    ):
        if value is not None:
            joined = ("x" if name == "size" else ",").join(_number(number) for number in value)
            options += [f"--{name}={joined}"]  # a limit below 0 begins with a dash
    for name in ("dpi", "colours", "rows", "slide_percent", "spot_percent", "normalisation"):
        if getattr(settings, name) != getattr(usual, name):
            options += [f"--{name.replace('_', '-')}", str(getattr(settings, name))]
    options += ["--own-limits"] if not settings.shared else []
    options += ["--show-anyway"] if settings.show_anyway else []
    options += ["--log"] if settings.log else []
    options += [word for name in settings.hidden for word in ("--hide", name)]
    options += _filter_options(settings.filter) if settings.filter is not None else []
    return [*options, *(["--denser", _path(settings.denser)] if settings.denser is not None else [])]


def _filter_options(settings: FilterSettings) -> list[str]:
    changed = settings.model_dump(mode="json", exclude_defaults=True) or {"min_umi": settings.min_umi}
    words = {name: yaml.safe_dump(value, default_flow_style=True).removesuffix("..." + chr(10)).strip() for name, value in changed.items()}
    return [part for name, value in words.items() for part in ("--set", f"{name}={value}")]


# -- how values are written ----------------------------------------------------------------------------------------------------------------

READ_AS = ("image", "platform", "mpp", "orientation", "reduced", "library_id", "columns")
"""What every command that reads a section takes of it: the options of :data:`napari_deepspace.cli_options.READ_AS`."""
READING = (*READ_AS, "patient", "block", "aligned", "sealed", "outlines")


def plain_values(settings: BaseModel) -> dict[str, Any]:
    """``settings`` as plain values that give them again: what is as usual is left out, but never the kind of a part."""
    out: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if name != "kind" and value == field.get_default(call_default_factory=True):
            continue
        out[name] = plain_values(value) if isinstance(value, BaseModel) else settings.model_dump(mode="json", include={name})[name]
        if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            out[name] = [plain_values(one) for one in value]
    return out


def call(settings: RunSettings | FigureSettings) -> str:
    """A call of the class of ``settings`` that gives them again."""
    if isinstance(settings, RunSettings):
        values = {name: repr(value) for name, value in plain_values(settings).items()}
    else:
        given = {field.name: getattr(settings, field.name) for field in fields(settings) if getattr(settings, field.name) != field.default}
        values = {name: _argument(value) for name, value in ({"kind": settings.kind} | given).items()}
    return f"nd.{type(settings).__name__}({', '.join(f'{name}={value}' for name, value in values.items())})"


def _argument(value: Any) -> str:
    if isinstance(value, FilterSettings):
        return f"FilterSettings({', '.join(f'{name}={one!r}' for name, one in plain_values(value).items())})"
    if isinstance(value, tuple):
        return repr(tuple(one if isinstance(one, str) else float(one) for one in value))
    return repr(_path(value)) if isinstance(value, Path) else repr(value)


def _number(value: float) -> str:
    """Every digit, but no ".0"."""
    return repr(float(value)).removesuffix(".0")


def _path(path: Path) -> str:
    """Absolute, without following links."""
    return os.path.abspath(path)


def _placed(section: SectionSettings, files: Mapping[str, str] | None = None) -> SectionSettings:
    """``section`` with absolute paths, but for those of ``files``, which come to lie where the text is pasted."""
    names = [name for name in SectionSettings.model_fields if isinstance(getattr(section, name), Path)]
    return section.model_copy(
        update={name: Path(_path(getattr(section, name))) for name in names if str(getattr(section, name)) not in (files or {})}
    )


def _absolute(settings: RunSettings, files: Mapping[str, str] | None) -> RunSettings:
    return settings.model_copy(update={"sections": tuple(_placed(section, files) for section in settings.sections)})


def _stem(settings: RunSettings) -> str:
    return safe_name(settings.name)


def reading_options(section: SectionSettings, names: Sequence[str] = READING) -> list[str]:
    """The options of the command line that read ``section``, of those that a command has."""
    usual = SectionSettings(path=section.path)
    given = {name: getattr(section, name) for name in names if getattr(section, name) != getattr(usual, name)}
    options = []
    for name, value in given.items():
        text = _columns(value) if isinstance(value, dict) else str(value)
        options += [f"--{name.replace('_', '-')}", *([] if value is True else [text])]
    return options


def _columns(columns: Mapping[str, str]) -> str:
    """As ``--columns`` takes them; a name with a comma is quoted."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([f"{role}={column}" for role, column in columns.items()])
    return text.getvalue()


def _read(section: SectionSettings, name: str = "section") -> str:
    """Python that reads ``section``."""
    usual = SectionSettings(path=section.path)
    given = {key: getattr(section, key) for key in SectionSettings.model_fields if getattr(section, key) != getattr(usual, key)}
    more = "".join(f", {key}={(str(value) if isinstance(value, Path) else value)!r}" for key, value in given.items())
    return f"{name} = nd.read_section({str(section.path)!r}{more})\n"


def _shell(arguments: Sequence[str]) -> str:
    return f"{shlex.join([PROGRAM, *arguments])}\n"


def _here(files: Mapping[str, str] | None) -> str:
    """Here-documents that write ``files``; nothing in them is expanded."""
    text = ""
    for name, content in (files or {}).items():
        end = "EOF"
        while end in content.splitlines():
            end += "F"
        text += f"cat > {shlex.quote(name)} <<'{end}'\n{content if content.endswith(chr(10)) else content + chr(10)}{end}\n"
    return text


def _import(files: Mapping[str, str] | None) -> str:
    return f"from pathlib import Path\n\n{IMPORT}" if files else IMPORT


def _write(files: Mapping[str, str] | None) -> str:
    return "".join(f"Path({name!r}).write_text({content!r}, encoding='utf-8')\n" for name, content in (files or {}).items())
