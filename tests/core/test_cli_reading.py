"""Every command that reads a section takes the same options for it, and copied commands give them again."""

import inspect
import shlex
from pathlib import Path

import pytest

from napari_deepspace import recipes
from napari_deepspace.cli import app, main
from napari_deepspace.cli_options import READ_AS
from napari_deepspace.figure_settings import FigureSettings
from napari_deepspace.settings import SectionSettings, settings_of_section

READ = {
    "image": Path("/a slide.tif"),
    "platform": "st",
    "mpp": 0.5,
    "orientation": "mirrored, turned 90",
    "reduced": True,
    "library_id": "one",
    "columns": {"x": "X, in px", "y": 'Y "centroid"=0'},
}


def test_commands_that_read_a_section_take_the_same_options():
    """Whoever has a section as argument can be told how to read it; the names are those of sections[] and of copied commands."""
    reading = [one.callback for one in app.registered_commands if {"section", "project", "source"} & set(inspect.signature(one.callback).parameters)]
    assert len(reading) == 16
    assert not [one.__name__ for one in reading if not set(READ_AS) <= set(inspect.signature(one).parameters)]
    assert tuple(READ_AS) == recipes.READ_AS
    assert set(READ_AS) <= set(SectionSettings.model_fields)


def test_a_copied_command_reads_the_section_as_the_window_did(monkeypatch):
    """All that says how a section is read comes through the command line as it was, whatever its columns are called."""
    seen = []
    monkeypatch.setattr("napari_deepspace.read.read_section", lambda path, **how: seen.append((path, how)) or 1 / 0)
    section = SectionSettings(path=Path("/a table.csv"), **READ)
    recipe = recipes.figure_recipe(section, FigureSettings(kind="map", gene="SPARC"), Path("f.png"))
    with pytest.raises(ZeroDivisionError):
        main(shlex.split(recipe.command)[1:])
    path, how = seen.pop()
    assert path == section.path
    assert {name: how[name] for name in READ} == READ
    assert settings_of_section(section.path, (), READ).sections == (section,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--columns", "CX"], "write role=column"),
        (["--orientation", "upside down"], "choose one of as it is"),
        (["--platform", "hd"], "choose auto, visium or st"),
        (["--mpp", "0"], "Invalid value for '--mpp'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(tmp_path, capsys, options, words):
    """No traceback: exit code 2 and what to write instead."""
    assert main(["seal", str(tmp_path), "--out", str(tmp_path / "seal.json"), *options]) == 2
    assert words in capsys.readouterr().err
