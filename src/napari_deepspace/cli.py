"""The command line: everything the dock does. ``error: ...`` and exit code 2 for what the user can mend, a traceback and 1 for a bug."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_deepspace import __version__, cli_outlines, cli_predict, cli_regions, cli_section, cli_spot
from napari_deepspace.cli_align import align
from napari_deepspace.cli_figure import figure
from napari_deepspace.cli_options import Block, Json, Patient, reads_section
from napari_deepspace.cli_print import print_preprocessed, print_run, print_scores, print_values
from napari_deepspace.cli_quantify import quantify
from napari_deepspace.errors import DataError, DeepSpaceError, RunPaused, SettingsError

if TYPE_CHECKING:
    from napari_deepspace.run_list import RunInfo

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    help="Predict spatial gene expression from H&E slides (the method of DeepSpaCE). Without a command: open napari. Research use only.",
)
app.command()(cli_section.info)
app.command()(cli_section.convert)
app.command()(cli_predict.predict)
app.command()(cli_predict.impute)
app.command()(cli_predict.evaluate)
app.command()(figure)
app.command()(align)
app.command()(cli_spot.spot)
app.command()(cli_spot.disagreements)
app.command("import-geojson")(cli_outlines.import_geojson)
app.command("export-geojson")(cli_outlines.export_geojson)
app.command()(cli_regions.regions)
app.command()(quantify)
app.command("propose-outlines")(cli_regions.propose_outlines)


@app.command("open")
@reads_section
def open_window(
    project: Annotated[Path | None, typer.Argument(help="project folder, or a section to open")] = None,
    **how: Any,
) -> None:
    """Open napari with the DeepSpaCE dock; `napari-deepspace [PROJECT]` does the same."""
    from napari_deepspace._napari.app import open_app

    open_app(project, **how)


@app.command()
def demo(
    output: Annotated[Path | None, typer.Option(help="folder for screenshots, predictions and scores; napari closes at the end")] = None,
) -> None:
    """Show the whole way on the built-in SYNTHETIC section."""
    from napari_deepspace._napari.demo import run_demo

    run_demo(output)


@app.command()
def phantom(
    folder: Annotated[Path | None, typer.Argument(help="where to; left out: the cache")] = None,
    seed: Annotated[int, typer.Option(help="the same seed gives the same section")] = 0,
    series: Annotated[bool, typer.Option("--series", help="three consecutive sections A, B, C of one block, with known transforms")] = False,
    ihc: Annotated[bool, typer.Option("--ihc", help="the IHC (ESR1) of the section beside it, turned on its slide by a known transform")] = False,
) -> None:
    """Write the built-in SYNTHETIC section, three consecutive ones, or the IHC beside it; nothing in them was measured."""
    from napari_deepspace.phantom import make_phantom, make_phantom_ihc, make_phantom_series

    if ihc and series:
        raise SettingsError("--series and --ihc write different things. Give one of them.")
    if ihc:
        print(make_phantom_ihc(folder, seed))
        return
    print(make_phantom_series(folder, seed) if series else make_phantom(folder, seed))


@app.command()
@reads_section
def preprocess(
    source: Annotated[Path, typer.Argument(metavar="RUN.yaml|SECTION", help="settings, or a section to judge by the usual ones")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="change one setting: key.sub=value; may be repeated")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the results; left out: preprocessed/NAME-DATE here")] = None,
    table: Annotated[bool, typer.Option("--table/--no-table", help="write the counts with their normalisation (.h5ad) too")] = True,
    events: Annotated[bool, typer.Option("--events", help="print events as JSON lines")] = False,
    background: Annotated[bool, typer.Option("--background", help="run at low priority and leave a core free")] = False,
    **how: Any,
) -> None:
    """Judge spots and say why each one is removed, propose failed regions, find clusters, and normalise."""
    from napari_deepspace.settings import load_run_settings, settings_of_section
    from napari_deepspace.train_command import run_preprocessing

    changes = tuple(overrides or ())
    is_settings = source.suffix in (".yaml", ".yml")
    settings = load_run_settings(source, changes) if is_settings else settings_of_section(source, changes, how)
    folder = run_preprocessing(settings, out, Path("preprocessed"), table, events, background)
    if not events:
        print_preprocessed(folder)
        print(f"folder: {folder}")


@app.command()
def train(
    run_yaml: Annotated[Path, typer.Argument(metavar="RUN.yaml|RUN_DIR")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="change one setting: key.sub=value; may be repeated")] = None,
    events: Annotated[bool, typer.Option("--events", help="print events as JSON lines")] = False,
    out: Annotated[Path | None, typer.Option(help="run folder; left out: runs/NAME-DATE beside RUN.yaml")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in RUN_DIR from its checkpoint")] = False,
    init: Annotated[bool, typer.Option("--init", help="write a commented RUN.yaml and stop")] = False,
    preset: Annotated[str | None, typer.Option(help="Quick, DeepSpaCE (paper) or ST-Net, laid over RUN.yaml; --set comes after it")] = None,
    background: Annotated[
        bool, typer.Option("--background", help="run at low priority and leave a core free, so that a window beside it stays smooth")
    ] = False,
) -> None:
    """Train as RUN.yaml says; leaves a run folder with model, predictions and scores. Or go on with a run: train --resume RUN_DIR."""
    if init:
        _init(run_yaml, preset)
        return
    from napari_deepspace.presets import with_preset
    from napari_deepspace.settings import load_run_settings
    from napari_deepspace.train_command import resume_training, run_training

    changes = tuple(overrides or ())
    if resume:
        run_dir = resume_training(run_yaml, changes, events, background)
    else:
        settings = with_preset(load_run_settings(run_yaml), preset, changes) if preset else load_run_settings(run_yaml, changes)
        run_dir = run_training(settings, out, run_yaml.resolve().parent / "runs", events, background)
    if not events:
        metrics = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
        for scores in metrics["sections"].values():
            print_scores(scores)
        print(f"run folder: {run_dir}")


@app.command()
def search(
    search_yaml: Annotated[Path, typer.Argument(metavar="SEARCH.yaml")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="change one setting of every trial: key.sub=value; may be repeated")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the search; left out: searches/NAME-DATE beside SEARCH.yaml")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the search in --out, which was stopped or killed")] = False,
    events: Annotated[bool, typer.Option("--events", help="print events as JSON lines")] = False,
    init: Annotated[bool, typer.Option("--init", help="write a commented SEARCH.yaml and stop")] = False,
    background: Annotated[bool, typer.Option("--background", help="run at low priority and leave a core free")] = False,
) -> None:
    """Try many settings, each in a run of its own, and choose by the validation parts; leaves a table, plots and the best settings."""
    from napari_deepspace.search import run_search, write_example
    from napari_deepspace.search_results import BEST, in_words, read_trials, score_name, summary, table
    from napari_deepspace.search_settings import load_search

    if init:
        write_example(search_yaml)
        print(f"{search_yaml}: edit run and space, then: napari-deepspace search {search_yaml}")
        return
    settings, trials = load_search(search_yaml, tuple(overrides or ()))
    folder = run_search(settings, trials, out, search_yaml.resolve().parent / "searches", resume, events, background)
    if not events:
        done = read_trials(folder)
        by_score = table(done).drop(columns="split").sort_values(f"validation_{score_name(done)}", ascending=False)
        print(by_score.to_string(index=False, na_rep="-"))
        for line in in_words(summary(done)):
            print(line)
        print(f"Its settings: {folder / BEST}. Research use only.")


@app.command()
def runs(
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="a folder of runs, or a project; left out: the window's own")] = None,
    as_json: Json = False,
) -> None:
    """List runs: name, what they predict, model, score, how it stands with them, date."""
    from napari_deepspace.run_list import list_runs, own_runs_folder

    folder = folder or own_runs_folder()
    folder = folder / "runs" if (folder / "runs").is_dir() else folder
    found = list_runs(folder)
    if not found:
        raise DataError(f"{folder} holds no runs. Give a folder with run folders in it, or a project.")
    if as_json:
        print_values({"folder": str(folder), "runs": [_run_values(run) for run in found]}, True)
        return
    for run in found:
        print_run(run)


@app.command("students")
def students_(
    paths: Annotated[list[Path], typer.Argument(metavar="STUDENTS.yaml", help="settings; with --plot the folders of finished jobs")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="change one setting of the job or its run: key.sub=value")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the job; left out: students/NAME-DATE beside STUDENTS.yaml")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the job in --out, which was stopped or killed")] = False,
    events: Annotated[bool, typer.Option("--events", help="print events as JSON lines")] = False,
    init: Annotated[bool, typer.Option("--init", help="write a commented STUDENTS.yaml and stop")] = False,
    background: Annotated[bool, typer.Option("--background", help="run at low priority and leave a core free")] = False,
    plot: Annotated[Path | None, typer.Option(help="draw the jobs in the folders given, a panel each, into this file (.png, .svg, .pdf)")] = None,
) -> None:
    """Semi-supervised learning: a teacher labels tiles without counts, students learn from them too; says whether that helps."""
    from napari_deepspace.students import plot_jobs, run_students, write_example
    from napari_deepspace.students_results import in_words, read_outcome
    from napari_deepspace.students_settings import load_students

    if plot is not None:
        plot_jobs(paths, plot)
        print(f"figure: {plot}")
        return
    if len(paths) > 1:
        raise SettingsError("One STUDENTS.yaml at a time; several folders are for --plot.")
    if init:
        write_example(paths[0])
        print(f"{paths[0]}: edit run and unlabelled, then: napari-deepspace students {paths[0]}")
        return
    run, asked, teacher = load_students(paths[0], tuple(overrides or ()))
    folder = run_students(run, asked, teacher, out, paths[0].resolve().parent / "students", resume, events, background)
    if not events:
        outcome = read_outcome(folder)
        for line in in_words(outcome) if outcome is not None else ():
            print(line)
        print(f"folder: {folder}")


@app.command()
def estimate(
    run_yaml: Annotated[Path, typer.Argument(metavar="RUN.yaml")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="change one setting: key.sub=value")] = None,
    background: Annotated[bool, typer.Option("--background", help="run at low priority and leave a core free")] = False,
    as_json: Json = False,
) -> None:
    """Try each kind of model for a few seconds and say what the run would cost on this computer."""
    from napari_deepspace.train_command import lower_priority, with_a_core_free

    if background:
        lower_priority()  # before torch is imported
    from napari_deepspace.learn.cost import estimate as estimate_cost
    from napari_deepspace.read import read_settings
    from napari_deepspace.settings import load_run_settings

    settings = load_run_settings(run_yaml, tuple(overrides or ()))
    if background:
        settings = with_a_core_free(settings)
    costs = estimate_cost([read_settings(section) for section in settings.sections], settings)
    if as_json:
        print_values(costs, True)
        return
    for choice in costs["choices"]:
        print(choice["words"])
    print(f"device: {costs['device']} ({costs['device_reason']})")


@app.command()
@reads_section
def seal(
    section: Path,
    out: Annotated[Path, typer.Option(help="the seal, .json")],
    share: Annotated[float, typer.Option(help="share of the spots that is sealed, at random or as a block")] = 0.2,
    block: Annotated[bool, typer.Option("--block", help="one square block in place of single spots, which would each cost a guard band")] = False,
    whole: Annotated[bool, typer.Option("--whole", help="the whole section")] = False,
    seed: Annotated[int, typer.Option(help="seed of the choice")] = 0,
    runs: Annotated[
        list[Path] | None, typer.Option(help="folder of runs that may know the section; may be repeated; left out: the window's own")
    ] = None,
    as_json: Json = False,
    **how: Any,
) -> None:
    """Put spots of a section away before its first run: no run learns from them or predicts them until `unseal`, once."""
    from napari_deepspace.read import read_section
    from napari_deepspace.run_list import own_runs_folder
    from napari_deepspace.seal_command import seal_section

    if block and whole:
        raise SettingsError("--block and --whole exclude each other. Give one of them, or neither for single spots.")
    what: Any = "whole" if whole else "block" if block else "spots"
    made = seal_section(read_section(section, slide=False, **how), out, what, share, seed, runs or [own_runs_folder()])
    if as_json:
        print_values({"seal": str(out), "words": made.words, "what": made.what, "spots": len(made.spots)}, True)
        return
    print(f"{out}: {made.library_id}, {made.what}: {made.words}.")
    print("Leave the section out of every run." if whole else f"Name it in every RUN.yaml as sections[].sealed: {out}")


@app.command()
@reads_section
def unseal(
    run_dir: Path,
    section: Path,
    sealed: Annotated[Path, typer.Option("--seal", help="the seal that `napari-deepspace seal` wrote")],
    patient: Patient = None,
    block: Block = None,
    as_json: Json = False,
    **how: Any,
) -> None:
    """Open a seal, once: score one run at the sealed spots, and write date, run and scores into the seal."""
    from napari_deepspace.blocking import drain
    from napari_deepspace.read import read_section
    from napari_deepspace.seal_command import unseal as open_seal

    opened = read_section(section, patient=patient, block=block, **how)
    scores = drain(open_seal(run_dir, opened, sealed), sys.stderr.isatty() and not as_json)
    if as_json:
        print_values(scores, True)
    else:
        print_scores(scores)
        print(f"{sealed}: opened now, by {run_dir.resolve().name}. It cannot be opened again.")


def _run_values(run: RunInfo) -> dict[str, Any]:
    values = dataclasses.asdict(run)
    return values | {"run_dir": str(run.run_dir), "started": run.started.isoformat()}


def _init(path: Path, preset: str | None = None) -> None:
    from napari_deepspace.presets import with_preset
    from napari_deepspace.runs import write_atomic
    from napari_deepspace.settings import RunSettings, SectionSettings, commented_yaml

    if path.exists():
        raise SettingsError(f"{path} exists already and was left as it is. Give another name, or delete it first.")
    settings = RunSettings(sections=(SectionSettings(path=Path("path/to/outs")),))
    write_atomic(path, commented_yaml(with_preset(settings, preset) if preset else settings))
    print(f"{path}: edit sections.path, then: napari-deepspace train {path}")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    if arguments == ["--version"]:
        print(__version__)
        return 0
    if not arguments or (arguments[0] not in commands and not arguments[0].startswith("-")):
        arguments = ["open", *arguments]  # `napari-deepspace [PROJECT]`
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for name in ("slide_flat", "slide_cache"):  # what takes long and much memory is announced
        logging.getLogger(f"napari_deepspace.{name}").setLevel(logging.INFO)
    try:
        code = app(arguments, prog_name="napari-deepspace", standalone_mode=False)
        return int(code or 0)
    except RunPaused as paused:
        print(paused)
        return 0
    except DeepSpaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except typer.Exit as end:
        return end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        return 130
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # a usage error of the command line itself
            print(f"error: {error.format_message()} Try `napari-deepspace --help`.", file=sys.stderr)
            return 2
        raise
