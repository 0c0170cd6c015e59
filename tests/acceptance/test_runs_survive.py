"""Runs survive kills and full disks, and starting and stopping leaves nothing behind. `make acceptance`."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from napari_deepspace.learn.model import load_model
from napari_deepspace.learn.tensor_files import load_tensors
from napari_deepspace.runs import CHECKPOINT, read_events
from napari_deepspace.settings import dump_yaml, run_settings

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3000)]

PROGRAM = [sys.executable, "-m", "napari_deepspace", "train"]
NETWORK = {"kind": "network", "backbone": "mobilenet_v3_small", "weights": "scratch", "tile_px": 32, "epochs": 4, "batch_size": 64, "patience": 9}


def asked(section, **changes):
    """A small network on the synthetic section, two folds, a checkpoint after every step."""
    settings = {"sections": [{"path": str(section)}], "target": {"names": ["ESR1", "COL5A2"]}, "split": {"kind": "random", "folds": 2}}
    return dump_yaml(run_settings({**settings, "model": NETWORK, "threads": 1, "checkpoint_minutes": 0, **changes}))


def weights(run):
    return [value for member in load_model(run).members for value in member.network.state_dict().values()]


def test_ten_killed_runs_end_with_the_same_weights(phantom_dir, tmp_path):
    """kill -9 at ten random moments: every checkpoint that is there can be read, and every resumed run ends where the uninterrupted one does."""
    (tmp_path / "run.yaml").write_text(asked(phantom_dir))
    began = time.monotonic()
    subprocess.run([*PROGRAM, str(tmp_path / "run.yaml"), "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    took = time.monotonic() - began
    expected = weights(tmp_path / "whole")
    rng, moments, checkpoints = random.Random(0), [], 0
    for number in range(10):
        run, resumed = tmp_path / f"run{number}", False
        command = [*PROGRAM, str(tmp_path / "run.yaml"), "--out", str(run)]
        while True:
            if resumed:
                ended = subprocess.run(command, check=False, capture_output=True, text=True)
                assert ended.returncode == 0, ended.stderr
                break
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            moments.append(rng.uniform(0.2, 0.98) * took)
            time.sleep(moments[-1])
            child.send_signal(signal.SIGKILL)
            child.wait()
            if (run / "model" / "model.json").exists():
                break  # it was finished before
            for file in (run / CHECKPOINT).glob("[!.]*.safetensors"):
                assert load_tensors(file)[0]
                checkpoints += 1
            resumed = (run / "run.yaml").exists()
            command = [*PROGRAM, "--resume", str(run)] if resumed else command
            if not resumed and run.exists():
                shutil.rmtree(run)  # killed before anything was begun
        assert all(torch.equal(a, b) for a, b in zip(weights(run), expected, strict=True))
    print(f"\nkilled after {', '.join(f'{m:.1f}' for m in moments)} of {took:.1f} s; {checkpoints} checkpoint files read; ten times the same weights")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="a small disk of its own takes root")
def test_a_full_disk(phantom_dir, tmp_path):
    """A small disk is filled while the run goes on: one sentence, the last checkpoint readable; with room again the run ends as it would have."""
    (tmp_path / "run.yaml").write_text(asked(phantom_dir, model={**NETWORK, "backbone": "resnet18", "epochs": 2}))
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", str(disk)], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("no small disk can be made here")
    child = None
    try:
        run = disk / "run"
        command = [*PROGRAM, str(tmp_path / "run.yaml"), "--out", str(run)]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not (run / CHECKPOINT / "state.safetensors").exists():
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.05)
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        with contextlib.suppress(OSError), open(disk / "ballast", "wb", buffering=0) as file:  # the run writes at the same time
            file.write(b"x" * max(0, free - 20_000_000))
        _, said = child.communicate(timeout=300)
        assert child.returncode == 2, said
        (sentence,) = [line for line in said.splitlines() if line.startswith("error:")]
        assert "disk is full" in sentence
        assert load_tensors(run / CHECKPOINT / "state.safetensors")[0]
        assert not list((run / CHECKPOINT).glob(".*"))
        (disk / "ballast").unlink()
        subprocess.run([*PROGRAM, "--resume", str(run)], check=True, capture_output=True)
        subprocess.run([*PROGRAM, str(tmp_path / "run.yaml"), "--out", str(tmp_path / "whole")], check=True, capture_output=True)
        assert all(torch.equal(a, b) for a, b in zip(weights(run), weights(tmp_path / "whole"), strict=True))
        print(f"\n{sentence}\nresumed with room again: {len(list(read_events(run)))} events, the same weights")
    finally:
        if child is not None and child.poll() is None:
            child.kill()
            child.wait()
        subprocess.run(["umount", str(disk)], check=False)
