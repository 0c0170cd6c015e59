"""RUN.yaml, the command line's --set and the commented file."""

import pytest
import yaml

from napari_deepspace.errors import SettingsError
from napari_deepspace.settings import (
    NetworkSettings,
    RunSettings,
    SectionSettings,
    commented_yaml,
    dump_yaml,
    load_run_settings,
    run_settings,
    set_value,
)


def write(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_round_trip(tmp_path):
    """What is written as YAML reads back equal, for both kinds of model."""
    for model in ({"kind": "quick"}, {"kind": "network", "backbone": "resnet18", "weights": "scratch"}):
        settings = run_settings({"sections": [{"path": str(tmp_path / "outs")}], "model": model, "target": {"names": ["ESR1"]}})
        assert load_run_settings(write(tmp_path, dump_yaml(settings))) == settings


def test_commented_file_is_complete_and_readable(tmp_path):
    """`train --init` writes every setting with its description, and the file can be run as it is."""
    settings = RunSettings(sections=(SectionSettings(path=tmp_path / "outs"),), model=NetworkSettings())
    text = commented_yaml(settings)
    assert load_run_settings(write(tmp_path, text)) == settings
    for name, field in NetworkSettings.model_fields.items():
        assert name in text
        assert field.description is None or field.description in text


def test_relative_paths_count_from_the_file(tmp_path):
    """Sections are found from any working folder."""
    settings = load_run_settings(write(tmp_path, "sections: [{path: data/outs, image: he.tif}]"))
    assert settings.sections[0].path == tmp_path / "data" / "outs"
    assert settings.sections[0].image == tmp_path / "he.tif"
    (tmp_path / "w.pth").touch()
    for kind in ("quick", "network"):
        for weights, expected in (("w.pth", str(tmp_path / "w.pth")), ("pretrained", "pretrained")):
            text = f"sections: [{{path: outs}}]\nmodel: {{kind: {kind}, weights: {weights}}}"
            assert load_run_settings(write(tmp_path, text)).model.weights == expected


def test_overrides():
    """--set reaches nested values and list items, with YAML's types."""
    values = {"sections": [{"path": "a"}]}
    for override in ("model.kind=network", "model.epochs=3", "sections.0.patient=P1", "target.names=[ESR1, FN1]"):
        set_value(values, override)
    settings = run_settings(values)
    assert isinstance(settings.model, NetworkSettings)
    assert settings.model.epochs == 3
    assert settings.sections[0].patient == "P1"
    assert settings.target.names == ("ESR1", "FN1")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sections: [{path: a}]\nmodle: {}", "modle"),
        ("sections: [{path: a}]\nmodel: {kind: network, epochs: zero}", "epochs"),
        ("sections: [{path: a}]\nsplit: {kind: blocks, folds: 1}", "folds"),
        ("sections: []", "sections"),
        ("just text", "no settings"),
        ("a: [", "not valid YAML"),
        ("", "no settings"),
    ],
)
def test_bad_files_get_one_sentence(tmp_path, text, found):
    """A wrong setting is named together with what to do."""
    with pytest.raises(SettingsError, match=found) as caught:
        load_run_settings(write(tmp_path, text))
    assert "train --init" in str(caught.value) or "Mend" in str(caught.value)


def test_bad_override():
    """A --set without a value, or for a place that does not exist, is refused."""
    for override in ("epochs", "sections.5.path=a", "name.deeper=1"):
        with pytest.raises(SettingsError, match="--set"):
            set_value({"sections": [], "name": "x"}, override)


def test_missing_file(tmp_path):
    """A missing RUN.yaml says how to make one."""
    with pytest.raises(SettingsError, match="train --init"):
        load_run_settings(tmp_path / "none.yaml")


def test_settings_are_plain_yaml(tmp_path):
    """RUN.yaml holds plain values only: any YAML reader opens it."""
    settings = RunSettings(sections=(SectionSettings(path=tmp_path),))
    assert yaml.safe_load(dump_yaml(settings))["model"]["kind"] == "quick"
