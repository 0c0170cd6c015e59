"""The command line: names, exit codes and JSON are a contract for Nextflow and Snakemake."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from napari_deepspace.cli import main
from napari_deepspace.events import Finished, Started, Stopped, from_json
from napari_deepspace.runs import read_events


@pytest.fixture(scope="module")
def run_yaml(phantom_dir, tmp_path_factory):
    """A Quick run on three genes of the synthetic section."""
    path = tmp_path_factory.mktemp("cli") / "run.yaml"
    path.write_text(f"sections: [{{path: '{phantom_dir}'}}]\ntarget: {{names: [ESR1, COL5A2, IFI27]}}\n")
    return path


@pytest.fixture(scope="module")
def run_dir(run_yaml):
    """A finished run, made by the command line."""
    out = run_yaml.parent / "run"
    assert main(["train", str(run_yaml), "--out", str(out)]) == 0
    return out


def test_info(phantom_dir, capsys):
    """info says in words and in JSON what a section holds."""
    assert main(["info", str(phantom_dir), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["synthetic"]
    assert facts["spots"] > 600
    assert facts["spots_kept"] < facts["spots"]
    assert main(["info", str(phantom_dir)]) == 0
    assert "um_per_px" in capsys.readouterr().out


def test_train_predict_evaluate(run_dir, phantom_dir, tmp_path, capsys):
    """The whole way on the command line, scored beside the baselines."""
    out = tmp_path / "out.h5ad"
    assert main(["predict", str(run_dir), str(phantom_dir), "--out", str(out)]) == 0
    assert "not measured" in capsys.readouterr().out
    assert main(["evaluate", str(out), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["genes"]["ESR1"]["r"] > 0.8
    assert {"mean RGB", "n", "rmse"} <= set(scores["genes"]["ESR1"])
    assert scores["split"].startswith("spatial blocks")
    assert main(["evaluate", str(out), str(phantom_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mean"]["r"] == pytest.approx(scores["mean"]["r"], abs=1e-3)
    assert main(["evaluate", str(out)]) == 0
    text = capsys.readouterr().out
    assert "SYNTHETIC" in text
    assert "colour alone" in text
    assert "Research use only" in text


def test_a_finished_run_is_never_overwritten(run_dir, run_yaml, capsys):
    """Training into a folder that holds a run is refused, and the run stays."""
    before = (run_dir / "model" / "model.json").read_bytes()
    assert main(["train", str(run_yaml), "--out", str(run_dir)]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (run_dir / "model" / "model.json").read_bytes() == before


def test_init_writes_a_commented_file_once(tmp_path, capsys):
    """train --init writes RUN.yaml and never over an existing one."""
    path = tmp_path / "run.yaml"
    assert main(["train", "--init", str(path)]) == 0
    assert "# " in path.read_text()
    assert main(["train", "--init", str(path)]) == 2


def test_errors_are_one_sentence_with_exit_code_2(run_yaml, run_dir, phantom_dir, tmp_path, capsys):
    """Wrong folders, genes, settings and files: `error: ...` on stderr, exit code 2, no traceback."""
    for arguments, found in (
        (["info", str(tmp_path)], "is no section"),
        (["train", str(run_yaml), "--set", "target.names=[NOPE]", "--out", str(tmp_path / "a")], "Unknown gene: NOPE"),
        (["train", str(run_yaml), "--set", "filter.min_umi=99999999", "--out", str(tmp_path / "b")], "no spot is left"),
        (["train", str(run_yaml), "--set", "model.kind=magic"], "model"),
        (["train", str(tmp_path / "none.yaml")], "cannot be read"),
        (["predict", str(tmp_path), str(phantom_dir), "--out", str(tmp_path / "o.h5ad")], "No trained model"),
        (["predict", str(run_dir), str(phantom_dir), "--out", str(tmp_path / "o.csv")], ".h5ad"),
        (["evaluate", str(phantom_dir / "outs" / "filtered_feature_bc_matrix.h5")], "read as .h5ad"),
        (["predict"], "Missing"),
        (["train", "--nonsense"], "nonsense"),
    ):
        assert main(arguments) == 2, arguments
        error = capsys.readouterr().err
        assert error.splitlines()[-1].startswith("error: "), error
        assert found in error
        assert "Traceback" not in error
    assert not (tmp_path / "o.h5ad").exists()


def test_events_are_json_lines(run_yaml, tmp_path, capsys):
    """--events prints every event as one line of JSON; the run folder keeps the same."""
    assert main(["train", str(run_yaml), "--set", "target.names=[ESR1]", "--events", "--out", str(tmp_path / "run")]) == 0
    events = [from_json(line) for line in capsys.readouterr().out.splitlines()]
    assert isinstance(events[-1], Finished)
    assert any(isinstance(event, Started) for event in events)
    assert [type(event) for event in read_events(tmp_path / "run")] == [type(event) for event in events]


def test_terminated_run_says_so(run_yaml, tmp_path):
    """SIGTERM ends a run, and its folder says that it was stopped."""
    out = tmp_path / "run"
    settings = ["--set", "model.kind=network", "--set", "model.weights=scratch", "--set", "model.backbone=vgg16"]
    process = subprocess.Popen([sys.executable, "-m", "napari_deepspace", "train", str(run_yaml), *settings, "--out", str(out)])
    deadline = time.monotonic() + 60
    while not any(isinstance(event, Started) for event in read_events(out)) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    assert isinstance(list(read_events(out))[-1], Stopped)
