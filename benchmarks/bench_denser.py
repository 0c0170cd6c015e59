"""Denser maps beside the bare network: rate, cost of a grid, memory, and how fast the gene changes. `make bench ARGS="-k denser"`.

Goals: points one by one at 95 % of the bare forward's rate; a grid of about 20 um at a fifth of the cost a point of tile by tile; memory that grows
neither with points nor with genes. Ratios hold within one run; the calls take turns and the median counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.speed import our_input, our_network, settings_of, side_by_side

from napari_deepspace.events import result_of
from napari_deepspace.learn.data import section_tiles
from napari_deepspace.learn.embedding import embed
from napari_deepspace.learn.whole_image import embed_whole
from napari_deepspace.points import grid_points

CPU = torch.device("cpu")


def model_of(backbone: str) -> Any:
    """As much of a model as looking at points needs, with weights from scratch."""
    settings = settings_of(backbone, 32)
    network, _ = our_network(settings, CPU)
    return SimpleNamespace(settings=SimpleNamespace(model=settings), tile_um=137.5, tile_px=224, members=[SimpleNamespace(network=network.eval())])


def nothing(rows: np.ndarray, embeddings: list[np.ndarray]) -> None:
    """Embeddings are computed and dropped."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("backbone", "points"), [("mobilenet_v3_small", 256), ("resnet18", 256)])
def test_denser_points_against_the_bare_forward(phantom, backbone, points):
    """Points of the SYNTHETIC section, tiles cut on the way, against the bare forward of as many float images in memory."""
    model = model_of(backbone)
    centres = grid_points(phantom, 57.0).centres_yx
    centres = centres[np.argsort(np.abs(centres - centres.mean(axis=0)).max(axis=1))[:points]]
    network = model.members[0].network
    images = our_input(torch.from_numpy(result_of(section_tiles(phantom, centres, 137.5, 224))), network)

    def bare() -> None:
        with torch.inference_mode():
            for start in range(0, points, 32):
                network(images[start : start + 32])

    seconds = side_by_side({"bare": bare, "ours": lambda: result_of(embed(model, phantom, centres, None, nothing))}, CPU, 1, 5)
    rates = {name: points / found for name, found in seconds.items()}
    print(f"\n{backbone}, {points} points: bare {rates['bare']:.1f}/s, ours {rates['ours']:.1f}/s: {rates['ours'] / rates['bare']:.1%}")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "resnet18"])
@pytest.mark.parametrize("spacing_um", [16.0, 20.0])
def test_denser_grid_as_a_whole_against_tile_by_tile(phantom, backbone, spacing_um):
    """Cost a point of a patch of the grid, the slide looked at as a whole, against single tiles."""
    model = model_of(backbone)
    grid = grid_points(phantom, spacing_um).centres_yx
    patch = grid[(np.abs(grid - grid.mean(axis=0)) < 700).all(axis=1)]
    few = patch[:: max(1, len(patch) // 64)][:64]
    calls = {
        "tiles": lambda: result_of(embed(model, phantom, few, None, nothing)),
        "whole": lambda: result_of(embed_whole(model, phantom, patch, spacing_um, nothing)),
    }
    seconds = side_by_side(calls, CPU, 1, 3)
    tiles, whole = 1000 * seconds["tiles"] / len(few), 1000 * seconds["whole"] / len(patch)
    print(f"\n{backbone}, {spacing_um:g} um: tile by tile {tiles:.2f} ms a point, as a whole {whole:.2f}: 1/{tiles / whole:.1f}")


STORE = """
import json, sys, time
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from napari_deepspace import denser
from napari_deepspace.events import result_of
from napari_deepspace.learn import denser_write
from napari_deepspace.learn.linear import LinearModel
from napari_deepspace.learn.model import Member, TrainedModel
from napari_deepspace.learn.targets import FittedTarget
from napari_deepspace.phantom import make_phantom
from napari_deepspace.read import read_section
from napari_deepspace.settings import RunSettings, SectionSettings
from napari_deepspace.target import Target

spacing, n_outputs, folder = float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
section = read_section(make_phantom())
target = Target("genes", tuple(f"G{i}" for i in range(n_outputs)), "", "log", 5000.0)
settings = RunSettings(sections=(SectionSettings(path=section.path),))
from napari_deepspace.learn.data import section_features
from napari_deepspace.preprocess.prepare import tile_side_um
width = 2 * result_of(section_features(section, section.centres_yx[:2], 137.5, 138)).shape[1]
rng = np.random.default_rng(0)
def member():
    zeros, ones = np.zeros(n_outputs, np.float32), np.ones(n_outputs, np.float32)
    linear = LinearModel(rng.normal(size=(width, n_outputs)).astype(np.float32) / 50, zeros + 0.5)
    return Member(FittedTarget(target, 5000.0, zeros, ones, ones), {}, None, linear)
model = TrainedModel(settings, target, "", 137.5, 138, [member() for _ in range(5)], [])
def nothing_to_notice(*_):
    return ""
    yield
denser_write.about = lambda model, run, with_copy: {
    "model": "quick", "run": "bench", "unit": "", "looks_at": "the H&E image", "band": {}, "training_spots": None
}
denser_write.say_notice = nothing_to_notice
began = time.perf_counter()
result_of(denser_write.write_denser(model, section, folder, "grid", spacing))
made = time.perf_counter() - began
status = Path("/proc/self/status").read_text()  # ru_maxrss would begin with the parent's
peak = int(status.partition("VmHWM:")[2].split()[0]) / 1e3
dmap = denser.open_denser(folder)
times = []
for name in dmap.outputs[:6]:
    began = time.perf_counter()
    denser.values(dmap, name)
    times.append(time.perf_counter() - began)
size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
print(json.dumps({"points": len(dmap.centres_yx), "outputs": n_outputs, "peak_mb": peak, "made_s": made, "first_ms": 1000 * times[0],
                  "switch_ms": 1000 * float(np.median(times[1:])), "disk_mb": size, "packing": dmap.packing}))
"""


def store(spacing_um: float, n_outputs: int, folder: Path) -> dict[str, Any]:
    """A store of Quick made in a process of its own: peak memory in MB, seconds, size, and time a gene."""
    done = subprocess.run(
        [sys.executable, "-c", STORE, str(spacing_um), str(n_outputs), str(folder)], check=True, capture_output=True, text=True, env=os.environ
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(3600)
def test_denser_memory_and_gene_switch(tmp_path):
    """Peak memory of making a map does not grow with the points or the genes; the next gene comes from the store in milliseconds."""
    began = time.perf_counter()
    for number, (spacing_um, n_outputs) in enumerate(((57.0, 24), (57.0, 5000), (18.0, 24), (18.0, 5000))):
        found = store(spacing_um, n_outputs, tmp_path / f"{number}.zarr")
        print(
            f"\n{found['points']} points, {n_outputs} genes ({found['packing']}): peak {found['peak_mb']:.0f} MB, {found['disk_mb']:.1f} MB on disk, "
            f"made in {found['made_s']:.0f} s, next gene {found['switch_ms']:.1f} ms (the first {found['first_ms']:.0f} ms)"
        )
    print(f"all in {time.perf_counter() - began:.0f} s")
