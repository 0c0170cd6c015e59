"""napari's manifest."""

import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from npe2 import PluginManifest

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "src" / "napari_deepspace" / "napari.yaml"


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


def test_the_manifest_is_found_through_the_distribution(manifest):
    """napari finds the manifest by the distribution's entry point, under the distribution's name."""
    found = PluginManifest.from_distribution("napari-deepspace")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert found.name == manifest.name == project["name"] == distribution("napari-deepspace").metadata["Name"]
    assert found.contributions == manifest.contributions
    assert "Framework :: napari" in project["classifiers"]


def test_every_command_leads_to_something_callable(manifest):
    """Each command's python_name can be imported, and is used by a contribution."""
    manifest.validate_imports()
    commands = {command.id for command in manifest.contributions.commands or []}
    assert commands
    for command in manifest.contributions.commands or []:
        assert command.id.startswith("napari-deepspace.")
        assert callable(command.python_name and _load(command.python_name))


def test_widget_reader_and_sample_are_offered(manifest):
    """The dock, the folder reader and the synthetic section are offered, each through a command of the manifest."""
    offered = manifest.contributions
    commands = {command.id for command in offered.commands or []}
    for kind in (offered.widgets, offered.readers, offered.sample_data):
        assert kind
        assert {contribution.command for contribution in kind} <= commands
    assert "synthetic" in offered.sample_data[0].display_name.lower()
    assert offered.widgets[0].display_name == manifest.display_name == "DeepSpaCE"


def test_each_key_can_be_changed_in_the_preferences(manifest):
    """The keys of the dock's actions, the colour maps and the size of spots are settings of napari, with the values that the dock has by itself."""
    from napari_deepspace._napari.actions import KEYS
    from napari_deepspace._napari.session import Session
    from napari_deepspace.colour_scale import COLOUR_MAPS

    offered = {chapter: one.properties for chapter, one in manifest.contributions.configurations.items()}
    assert {name: one.default for name, one in offered["keys"].items()} == KEYS
    commands = {command.id for command in manifest.contributions.commands or []}
    assert {f"napari-deepspace.{name}" for name in KEYS} <= commands
    assert offered["look"]["colour_map"].enum == list(COLOUR_MAPS)
    assert offered["look"]["colour_map"].default == Session().scale.map
    assert offered["look"]["spot_size"].default == Session().spot_percent


def _load(python_name: str) -> object:
    from importlib import import_module

    module, name = python_name.split(":")
    return getattr(import_module(module), name)
