"""Copied commands and copied Python do again what was done: they are run here, in a shell and by exec."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_figures import LOOSE, run  # noqa: F401 - a fixture

import napari_deepspace as nd
from napari_deepspace import recipes
from napari_deepspace.events import result_of
from napari_deepspace.figure_settings import KINDS, FigureSettings
from napari_deepspace.figures import write
from napari_deepspace.presets import PRESETS, with_preset
from napari_deepspace.read import read_settings
from napari_deepspace.search_settings import load_search, search_settings
from napari_deepspace.settings import RunSettings, SectionSettings, load_run_settings, run_settings
from napari_deepspace.students_settings import load_students, students_settings

NASTY = 'it\'s a "folder" with $HOME `id` and ü'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to paste in, with the program on the path under its name."""
    program = tmp_path / "bin" / recipes.PROGRAM
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m napari_deepspace "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    pasted = tmp_path / "pasted here"
    pasted.mkdir()
    monkeypatch.chdir(pasted)
    return pasted


def only_files(command: str, folder: Path) -> list[str]:
    """Paste ``command`` into a shell where the program only says with which words it was called."""
    program = folder.parent / "bin" / recipes.PROGRAM
    program.write_text('#!/bin/sh\nfor word in "$@"; do printf \'%s\\n\' "$word"; done\n')
    done = subprocess.run(["bash", "-e"], input=command, capture_output=True, text=True, cwd=folder, check=True)
    return done.stdout.splitlines()


class Stand:
    """The package, with some public names replaced."""

    def __init__(self, given: dict):
        self.given = given

    def __getattr__(self, name: str):
        assert name in nd.__all__, f"{name} is not public"
        return self.given[name] if name in self.given else getattr(nd, name)


def ran(python: str, **given) -> dict:
    """What copied Python leaves behind; ``given`` stand in place of public names that would take long."""
    names = {"nd": Stand(given)}
    exec(compile(python.replace("import napari_deepspace as nd\n", "") if given else python, "copied", "exec"), names)
    return names


def settings_of(path: Path, **values) -> RunSettings:
    return run_settings({"name": "a run", "sections": [{"path": str(path), "library_id": NASTY, "patient": "P 1"}], **values})


ASKED = [
    {},
    {"target": {"names": ["ESR1", "FN1"]}, "filter": {"min_umi": 5, "exclude_cluster": "2"}, "normalisation": "pearson", "seed": 3},
    {"target": {"kind": "signatures", "sets": {"a b": ["ESR1"]}}, "split": {"kind": "random", "folds": 3}, "model": {"kind": "network", "epochs": 2}},
    {"target": {"kind": "clusters", "weighted": True}, "clusters": {"resolution": 0.5}, "tile": {"extra_percent": 33.3}, "threads": 1},
]


@pytest.mark.parametrize("values", ASKED)
def test_a_copied_training_asks_for_the_same_run(folder, phantom_dir, values):
    """RUN.yaml from the here-document, and the settings that Python makes, equal the run that was asked for."""
    asked = settings_of(phantom_dir, **values)
    recipe = recipes.train_recipe(asked)
    assert only_files(recipe.command, folder) == ["train", "a-run.yaml"]
    assert load_run_settings(folder / "a-run.yaml") == asked
    names = ran(recipe.python, read_section=lambda *_, **more: more, fit=lambda sections, settings, out: (sections, settings, out))
    assert names["settings"] == asked
    assert names["model"][0] == [{"library_id": NASTY, "patient": "P 1"}]


def test_every_preset_comes_back(folder, phantom_dir):
    """Networks with all their settings survive Python and the shell."""
    for name in PRESETS:
        asked = with_preset(settings_of(phantom_dir), name)
        assert ran(f"settings = {recipes.call(asked)}")["settings"] == asked


def test_outlines_and_clusters_travel_in_the_text(folder, phantom_dir):
    """Files that a run names are written where the text is pasted, whatever they hold, by both texts."""
    files = {"it's-outlines.geojson": '{"type": "FeatureCollection", "features": []}\n', "c.csv": "barcode,cluster\nEOF\nA,$HOME `id` \\n\n"}
    asked = settings_of(phantom_dir)
    section = asked.sections[0].model_copy(update={"outlines": Path("it's-outlines.geojson"), "clusters": Path("c.csv")})
    recipe = recipes.train_recipe(asked.model_copy(update={"sections": (section,)}), files)
    only_files(recipe.command, folder)
    for name, text in files.items():
        assert (folder / name).read_text() == text
        (folder / name).unlink()
    assert load_run_settings(folder / "a-run.yaml").sections[0].clusters == folder / "c.csv"
    ran(recipe.python, read_section=lambda *_, **more: more, fit=lambda *_: None)
    for name, text in files.items():
        assert (folder / name).read_text() == text


def test_a_copied_search_and_copied_students_ask_for_the_same(folder, phantom_dir):
    """SEARCH.yaml and STUDENTS.yaml, and what Python hands over, equal what was asked for."""
    run_ = settings_of(phantom_dir)
    search = search_settings({"space": {"tile.extra_percent": [0, 50.0], "model.components": {"low": 8, "high": 64, "steps": 3}}, "trials": 3}, run_)
    recipe = recipes.search_recipe(run_, search)
    assert only_files(recipe.command, folder) == ["search", "a-run-search.yaml"]
    assert load_search(folder / "a-run-search.yaml") == (run_, search)
    assert ran(recipe.python, run_search=lambda *what: what)["folder"][:2] == (run_, search)
    asked = students_settings({"unlabelled": [{"path": str(phantom_dir / NASTY), "mpp": 0.5}], "rounds": 2, "control": "permuted"})
    recipe = recipes.students_recipe(run_, asked)
    assert only_files(recipe.command, folder) == ["students", "a-run-students.yaml"]
    assert load_students(folder / "a-run-students.yaml") == (run_, asked, None)
    assert ran(recipe.python, run_students=lambda *what: what)["folder"][:2] == (run_, asked)


def test_a_copied_denser_map_names_run_section_and_place(folder, phantom_dir):
    """Words with spaces and quotes reach the program as they are."""
    section = SectionSettings(path=phantom_dir / NASTY, library_id=NASTY, patient="P 1")
    out = folder / "o'ut.zarr"
    recipe = recipes.denser_recipe(folder / NASTY, section, out, "grid", 16)
    words = ["predict", str(folder / NASTY), str(phantom_dir / NASTY), "--library-id", NASTY, "--patient", "P 1", "--out", str(out)]
    assert only_files(recipe.command, folder) == [*words, "--at", "grid", "--spacing-um", "16"]
    names = ran(recipe.python, read_section=lambda *read, **more: (read, more), predict_denser=lambda *what, **more: (what, more))
    read = (str(phantom_dir / NASTY),), {"library_id": NASTY, "patient": "P 1"}
    assert names["dmap"] == ((str(folder / NASTY), read, str(out)), {"at": "grid", "spacing_um": 16})


def test_options_and_python_give_every_figure_again(folder, monkeypatch, phantom_dir):
    """All kinds and options of a figure reach ``figures.write`` through the command line as they were, and come back from Python."""
    from napari_deepspace import figures
    from napari_deepspace.cli import main

    seen = []
    monkeypatch.setattr(figures, "write", lambda section, settings, out, run_dir: iter(seen.append((settings, out, run_dir)) or ()))
    monkeypatch.setattr("napari_deepspace.read.read_section", lambda *_, **__: type("Read", (), {"synthetic": True}))
    more = {
        "size_mm": (180, 120.5), "dpi": 72, "limits": (-1.5, 1.5), "shared": False, "colours": "magma",
        "percentiles": (2.5, 98), "log": True, "hidden": ("tumour", "1"),
        "region_um": (1500, 2200.25, 600), "rows": 7,
        "slide_percent": 40, "spot_percent": 120, "show_anyway": True, "normalisation": "pearson", "filter": LOOSE, "denser": folder / NASTY,
    }  # fmt: skip
    for kind in KINDS:
        show = {"map": "interpolation", "denser": "interval"}.get(kind, "")
        for given in ({}, more):
            asked = FigureSettings(kind=kind, gene="HLA-A", show=show, **given)
            recipe = recipes.figure_recipe(SectionSettings(path=phantom_dir), asked, folder / "f.png", folder / "run")
            words = only_files(recipe.command, folder)
            assert main(words) == 0
            assert seen.pop() == (asked, folder / "f.png", folder / "run")
            saved = []
            ran(recipe.python, read_section=lambda *_, **__: None, save_figure=lambda *what, kept=saved: kept.extend(what))
            assert saved[1:] == [asked, str(folder / "f.png"), str(folder / "run")]


def test_a_copied_figure_is_the_same_picture(folder, run, small, phantom_dir):  # noqa: F811
    """The command in a shell, the Python by exec, and the figure that was drawn: equal byte for byte."""
    settings = FigureSettings(kind="map", gene="SPARC", size_mm=(70, 70), dpi=72, filter=LOOSE, normalisation="pearson", colours="cividis")
    section = SectionSettings(path=phantom_dir, library_id="it's one")
    result_of(write(read_settings(section), settings, folder / "drawn.png"))
    by_command = recipes.figure_recipe(section, settings, folder / "by command.png")
    subprocess.run(["bash", "-e"], input=by_command.command, cwd=folder, check=True, text=True, capture_output=True)
    ran(recipes.figure_recipe(section, settings, folder / "by python.png").python)
    drawn = (folder / "drawn.png").read_bytes()
    assert (folder / "by command.png").read_bytes() == drawn
    assert (folder / "by python.png").read_bytes() == drawn


def test_a_copied_preprocessing_and_a_copied_section_are_read(folder, phantom_dir):
    """Python reads the section and judges its spots; the commands name the files."""
    asked = settings_of(phantom_dir, filter={"min_umi": 1, "min_genes": 1, "white_percentile": 100}, clusters={"source": "none"})
    recipe = recipes.preprocess_recipe(asked)
    assert only_files(recipe.command, folder) == ["preprocess", "a-run-quality.yaml"]
    assert yaml.safe_load((folder / "a-run-quality.yaml").read_text())["filter"]["min_umi"] == 1
    names = ran(recipe.python)
    assert names["result"].obs["deepspace_keep"].sum() > 800
    recipe = recipes.open_recipe(SectionSettings(path=phantom_dir, image=phantom_dir / "image.tif", platform="visium"))
    assert only_files(recipe.command, folder) == ["open", str(phantom_dir), "--image", str(phantom_dir / "image.tif"), "--platform", "visium"]
    assert ran(recipe.python)["section"].adata.n_obs > 800


@pytest.mark.acceptance
def test_a_copied_training_trains(folder, phantom_dir):
    """Quick on one gene, pasted into a shell and run by exec: the same predictions."""
    asked = settings_of(phantom_dir, target={"names": ["ESR1"]}, split={"kind": "random", "folds": 2})
    recipe = recipes.train_recipe(asked)
    subprocess.run(["bash", "-e"], input=recipe.command, cwd=folder, check=True, text=True, capture_output=True)
    (by_command,) = (folder / "runs").iterdir()
    shutil.move(by_command, folder / "by command")
    ran(recipe.python)
    scores = [
        nd.evaluate(next((one / "predictions").glob("*.h5ad")))["genes"]["ESR1"]["r"] for one in (folder / "by command", folder / "runs" / "a-run")
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert scores[0] > 0.8
