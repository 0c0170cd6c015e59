"""Runs that are paused, killed, or run into a full disk go on and end with the very same weights."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import part_of

from napari_deepspace.blocking import fit
from napari_deepspace.cli import main
from napari_deepspace.errors import DataError, ModelError, RunPaused, TrainingError
from napari_deepspace.events import BatchEnded, EpochEnded, Finished, Paused, Resumed, Started
from napari_deepspace.learn import training
from napari_deepspace.learn.model import load_model
from napari_deepspace.learn.tensor_files import load_tensors, save_tensors
from napari_deepspace.runs import CHECKPOINT, PAUSE, can_resume, claim, read_events, request_pause, running_pid
from napari_deepspace.settings import dump_yaml, load_run_settings, run_settings

NETWORK = {"kind": "network", "backbone": "mobilenet_v3_small", "weights": "scratch", "tile_px": 32, "epochs": 3, "batch_size": 8}
STEPS = 3  #: of an epoch


@pytest.fixture(scope="module")
def few(small):
    """Some sixty spots."""
    return part_of(small, np.arange(small.adata.n_obs) < 75)


def settings(section, **changes):
    """A small network with dropout and batch normalisation, two folds, three epochs."""
    asked = {"sections": [{"path": str(section.path)}], "target": {"names": ["ESR1", "COL5A2"]}, "split": {"kind": "random", "folds": 2}}
    return run_settings({**asked, "model": NETWORK, "threads": 1, **changes})


@pytest.fixture(scope="module")
def uninterrupted(few, tmp_path_factory):
    return fit(few, settings(few), tmp_path_factory.mktemp("whole"), progress=False)


def same_weights(one, two):
    """Whether every member of two models has the very same weights and statistics."""
    pairs = [(a.network.state_dict(), b.network.state_dict()) for a, b in zip(one.members, two.members, strict=True)]
    return all(torch.equal(a[name], b[name]) for a, b in pairs for name in a)


def run_until(section, asked, folder, moment):
    """Train in ``folder`` until ``moment(event)`` says that it is time to pause; the events."""
    told = []
    job = training.fit([section], asked, folder)
    with pytest.raises(RunPaused, match="--resume"):
        for event in job:
            told.append(event)
            if moment(event):
                request_pause(folder)
    return told


@pytest.mark.parametrize("moment", [(0, 1, 1), (0, 2, STEPS), (1, 3, 2)], ids=["first step", "end of an epoch", "second fold"])
def test_a_paused_run_ends_with_the_very_same_weights(few, tmp_path, uninterrupted, moment):
    """Wherever it was paused, the run that goes on ends bit for bit where the uninterrupted one does."""
    told = run_until(few, settings(few), tmp_path, lambda event: isinstance(event, BatchEnded) and (event.fold, event.epoch, event.step) == moment)
    assert {event.steps for event in told if isinstance(event, BatchEnded)} == {STEPS}
    assert told[-1] == Paused(*moment)
    assert can_resume(tmp_path) is False, "this very process still works on it"
    (tmp_path / "process.json").unlink()
    assert can_resume(tmp_path)
    kept = load_run_settings(tmp_path / "run.yaml")
    assert (kept.threads, kept.model.micro_batch) == (1, 8), "the run keeps what its weights depend on"
    went_on = list(training.fit([few], kept, tmp_path))
    assert Resumed(*moment, os.getpid()) in went_on
    assert not any(isinstance(event, Started) for event in went_on)
    assert isinstance(went_on[-1], Finished)
    assert same_weights(load_model(tmp_path), uninterrupted)
    assert not (tmp_path / CHECKPOINT).exists(), "what a finished run could go on from is dropped"


def test_a_pause_asked_for_while_the_process_begins_counts(few, tmp_path):
    """A request to a process that has claimed the run holds; one that an earlier process left is forgotten."""
    request_pause(tmp_path)
    claim(tmp_path)
    assert not (tmp_path / PAUSE).exists()
    request_pause(tmp_path)
    with pytest.raises(RunPaused):
        fit(few, settings(few), tmp_path, progress=False)


@pytest.mark.acceptance  # CI has the one that is paused
def test_a_killed_run_ends_with_the_very_same_weights(few, phantom, tmp_path):
    """SIGKILL at any moment: the run is found interrupted, `train --resume` goes on, and what it ends with is the same."""
    asked = settings(few, checkpoint_minutes=0, model={**NETWORK, "batch_size": 64})
    (tmp_path / "run.yaml").write_text(dump_yaml(asked))
    run, program = tmp_path / "run", [sys.executable, "-m", "napari_deepspace", "train"]
    child = subprocess.Popen([*program, str(tmp_path / "run.yaml"), "--out", str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while child.poll() is None and not any(isinstance(event, EpochEnded) for event in read_events(run)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert child.poll() is None, child.stderr.read().decode()
    assert running_pid(run) == child.pid
    with pytest.raises(DataError, match="works on the run"):
        from napari_deepspace.train_command import resume_training

        resume_training(run, (), False, False)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stderr.close()
    assert running_pid(run) is None
    assert main(["train", "--resume", str(run)]) == 0
    whole = fit(phantom, asked, tmp_path / "whole", progress=False)
    assert same_weights(load_model(run), whole)
    assert main(["train", "--resume", str(run)]) == 2, "a finished run is not begun again"


def test_a_full_disk_ends_in_one_sentence_and_the_checkpoint_stays(few, tmp_path, uninterrupted):
    """The last checkpoint is intact, nothing half-written stays, and with room again the run goes on to the same end."""
    checkpoint = tmp_path / CHECKPOINT

    def fill(event):
        if isinstance(event, EpochEnded) and event.epoch == 1:
            (checkpoint / ".state.safetensors.part").symlink_to("/dev/full")
        return False

    with pytest.raises(TrainingError, match=r"disk is full.*intact.*resume"):
        for event in training.fit([few], settings(few), tmp_path):
            fill(event)
    assert not list(checkpoint.glob(".*"))
    state, header = load_tensors(checkpoint / "state.safetensors")
    assert header["epoch"] == 2
    assert state
    assert same_weights(fit(few, settings(few), tmp_path, progress=False), uninterrupted)


def test_a_run_does_not_go_on_with_other_data_or_settings(few, small, tmp_path):
    """It says so; what may change is the learning rate, epochs and patience."""
    run_until(few, settings(few), tmp_path, lambda event: isinstance(event, BatchEnded))
    for section, changes in ((few, {"seed": 3}), (few, {"model": {**NETWORK, "batch_size": 12}}), (part_of(small, slice(0, 60)), {})):
        with pytest.raises(TrainingError, match="other data or with other settings"):
            fit(section, settings(section, **changes), tmp_path, progress=False)
    model = fit(few, settings(few, model={**NETWORK, "epochs": 1, "learning_rate": 1e-5}), tmp_path, progress=False)
    assert model.settings.model.epochs == 1


def test_schedules_are_resumed_too(few, tmp_path):
    """A plateau's lowered rate and SGD's momentum survive the pause."""
    asked = settings(few, model={**NETWORK, "schedule": "plateau", "optimiser": "sgd", "learning_rate": 1e-3, "best": "r", "patience": 9})
    whole = fit(few, asked, tmp_path / "whole", progress=False)
    run_until(few, asked, tmp_path / "run", lambda event: isinstance(event, EpochEnded) and event.epoch == 2)
    assert same_weights(fit(few, asked, tmp_path / "run", progress=False), whole)


def test_a_loss_that_is_no_number_stops_and_keeps_the_best_epoch(few, tmp_path):
    """One sentence says which epoch is kept and what to lower."""
    with pytest.raises(TrainingError, match=r"loss became (nan|inf).*Lower the learning rate"):
        fit(few, settings(few, model={**NETWORK, "optimiser": "sgd", "learning_rate": 1e30}), tmp_path, progress=False)


def test_curves_for_tensorboard_are_those_of_the_events(few, tmp_path):
    """TensorBoard reads back each epoch's losses and scores, and the simple ways."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told = list(training.fit([few], settings(few, tensorboard=True), tmp_path))
    curves = EventAccumulator(str(tmp_path / "tensorboard"))
    curves.Reload()
    epochs = [event.validation_loss for event in told if isinstance(event, EpochEnded) and event.fold == 0]
    read = curves.Scalars("loss/validation/fold 1")
    assert [scalar.step for scalar in read] == [1, 2, 3]
    np.testing.assert_allclose([scalar.value for scalar in read], epochs, rtol=1e-6)
    assert "baseline/mean RGB" in curves.Tags()["scalars"]


def test_checkpoints_are_safetensors_and_damage_is_told(tmp_path):
    """Any program that knows the format reads them; a damaged file is a ModelError."""
    from safetensors.torch import load_file

    tensors = {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.tensor(3),
        "c": torch.ones(2, dtype=torch.bfloat16),
        "d": np.zeros((0, 4), np.float32),
    }
    save_tensors(tmp_path / "x.safetensors", tensors, {"epoch": 2})
    read = load_file(tmp_path / "x.safetensors")
    assert {name: (value.shape, value.dtype) for name, value in read.items()} == {
        name: (torch.as_tensor(value).shape, torch.as_tensor(value).dtype) for name, value in tensors.items()
    }
    assert torch.equal(read["a"], tensors["a"])
    assert load_tensors(tmp_path / "x.safetensors")[1] == {"epoch": 2}
    data = (tmp_path / "x.safetensors").read_bytes()
    Path(tmp_path / "cut.safetensors").write_bytes(data[: len(data) - 9])
    with pytest.raises(ModelError, match="cannot be read"):
        load_tensors(tmp_path / "cut.safetensors")
    assert json.dumps(load_tensors(tmp_path / "x.safetensors")[1])
