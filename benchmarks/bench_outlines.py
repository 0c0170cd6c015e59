"""100,000 cells as QuPath writes them, read as points: seconds and peak memory. `make bench ARGS="-k cells"`. The cells are made up (SYNTHETIC)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

N, VERTICES = 100_000, 24
STAINS = [f"{stain} OD {what}" for stain in ("Hematoxylin", "DAB") for what in ("mean", "std dev", "max")]
MEASUREMENTS = [f"{where}: {what}" for where in ("Nucleus", "Cytoplasm", "Cell") for what in ("Area µm^2", "Circularity", *STAINS)]

READ = """
import json, sys, time
from napari_deepspace.cells import positive_cells, read_cells

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1e3

before, began, cpu = peak(), time.perf_counter(), time.process_time()
cells = read_cells(sys.argv[1])
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
print(json.dumps(dict(seconds=seconds, cpu_seconds=cpu, before=before, peak=peak(), cells=len(cells.ids), positive=int(positive_cells(cells).sum()))))
"""


def write_cells(path: Path, n: int) -> None:
    """``n`` cells with a nucleus, each line of 24 points, and 24 measurements."""
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"type":"FeatureCollection","features":[')
        for number in range(n):
            centre = rng.uniform(0, 20_000, 2)
            rings = [np.round(centre + circle * size, 2).tolist() for size in (12, 6)]
            cell, nucleus = ({"type": "Polygon", "coordinates": [[*ring, ring[0]]]} for ring in rings)
            properties = {
                "objectType": "cell",
                "classification": {"names": ["Tumor", "Positive" if number % 5 == 0 else "Negative"], "color": [250, 62, 62]},
                "measurements": dict(zip(MEASUREMENTS, rng.random(len(MEASUREMENTS)).tolist(), strict=True)),
            }
            one = {"type": "Feature", "id": f"{number:032x}", "geometry": cell, "nucleusGeometry": nucleus, "properties": properties}
            file.write(("," if number else "") + json.dumps(one, ensure_ascii=False))
        file.write("]}")


def test_cells(tmp_path: Path) -> None:
    """In a process of its own, so that its peak memory is its own."""
    path = tmp_path / "cells.geojson"
    write_cells(path, N)
    done = subprocess.run([sys.executable, "-c", READ, str(path)], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert (found["cells"], found["positive"]) == (N, N // 5)
    what = f"{N:,} cells (SYNTHETIC), {path.stat().st_size / 1e6:.0f} MB, {len(MEASUREMENTS)} measurements each"
    print(f"\n{what}: {found['seconds']:.1f} s (goal: under 5 s), {found['cpu_seconds']:.1f} s of processor time")
    print(f"  peak {found['peak']:.0f} MB ({found['before']:.0f} MB before); {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
