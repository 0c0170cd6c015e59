"""Training and prediction on the CPU beside the bare network, and memory with micro-batches. `make bench ARGS="-k training"`.

Goals: training and prediction at 95 % of the bare network's rate; peak memory of VGG16 at an effective batch of 32 under half of the plain step's.
The calls take turns and the median counts, so that a busy computer disturbs them alike. Needs about 6 GB and ten minutes on two cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.speed import augmentation_rate, prediction_rates, training_rates

from napari_deepspace.events import result_of
from napari_deepspace.learn.data import section_tiles

HERE = Path(__file__).resolve().parent
CPU = torch.device("cpu")
BATCH, MICRO_BATCH = 32, 4


@pytest.fixture(scope="module")
def tiles(phantom) -> np.ndarray:
    """64 tiles of the SYNTHETIC section in memory, 224 px a side."""
    return result_of(section_tiles(phantom, phantom.centres_yx[::10][:64], 137.5, 224))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("backbone", "batch"), [("vgg16", 8), ("densenet121", 8), ("resnet18", 32)])
def test_training_against_the_bare_step(tiles, backbone, batch):
    """Training with the paper's augmentation from tiles in memory, against the bare step fed with float images."""
    rates = training_rates(backbone, tiles, CPU, batch, 1, 5)
    print(f"\n{backbone}, batch {batch}: bare step {rates['bare']:.2f} images/s, training {rates['ours']:.2f}: {rates['ours'] / rates['bare']:.1%}")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backbone", ["vgg16", "densenet121", "resnet18"])
def test_prediction_against_the_bare_forward(tiles, backbone):
    """Prediction of tiles in memory, against the bare forward."""
    rates = prediction_rates(backbone, tiles[:32], CPU, 1, 5)
    print(f"\n{backbone}: bare forward {rates['bare']:.2f} images/s, prediction {rates['ours']:.2f}: {rates['ours'] / rates['bare']:.1%}")


def test_augmentation_alone(tiles):
    """The paper's groups in batches of 32, a core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        print(f"\naugmentation alone: {augmentation_rate(tiles[:32], CPU, 3):.0f} tiles/s on one core")
    finally:
        torch.set_num_threads(threads)


PEAK = """
import json, sys
sys.path.insert(0, {here!r})
import numpy as np, torch
from speed import bare_step, our_input, our_network, our_precision, our_step, settings_of, values_for

tiles = np.random.default_rng(0).integers(0, 256, ({batch}, 224, 224, 3), dtype=np.uint8)
device, settings, values = torch.device("cpu"), settings_of("vgg16", {batch}, micro_batch={micro_batch}), values_for(tiles)
network, optimiser = our_network(settings, device)
network.train()
for seed in range(2):
    if {micro_batch} is None:
        images = our_input(torch.from_numpy(tiles), network)
        bare_step(network, optimiser, images, torch.from_numpy(values), our_precision(settings, device))
    else:
        our_step(network, optimiser, tiles, values, settings, seed)
print(json.dumps(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1e6))
"""


def peak_gb(micro_batch: int | None) -> float:
    """Peak memory of a process of its own over two VGG16 steps, GB; by itself, for what a process had when it forked counts otherwise."""
    code = PEAK.format(here=str(HERE), batch=BATCH, micro_batch=micro_batch)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ)
    return float(json.loads(done.stdout))


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_of_micro_batches():
    """VGG16 at an effective batch of 32: micro-batches against the plain step, each in a process of its own."""
    plain, ours = peak_gb(None), peak_gb(MICRO_BATCH)
    print(f"\nVGG16, effective batch {BATCH}: plain step {plain:.2f} GB, {MICRO_BATCH} tiles at a time {ours:.2f} GB: {ours / plain:.0%}")
