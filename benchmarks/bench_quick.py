"""Quick on a full-size Visium section: seconds and peak memory of its features, their growth with the spots, and of a whole training.

`make bench ARGS="-k quick"`. The counts and the lattice are real, the slide under them is made up (SYNTHETIC): the section has no image of its own.
Each figure is of a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "visium_v2_cytassist_mouse"
SPOTS = (750, 1500, 2898)
MPP, FILE_TILE = 0.5, 512
PEAK = """next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1e3"""

SECTION = """
import json, sys, tempfile, time
import numpy as np, psutil
from napari_deepspace.read import read_section
from napari_deepspace.slide import open_slide

section = read_section({data!r}, slide=False)
section.adata.obsm["spatial"] = section.adata.obsm["spatial"] * (section.mpp / {mpp})
section.mpp = {mpp}
section.slide = open_slide({slide!r})
loaded = psutil.Process().memory_info().rss / 1e6
"""

FEATURES = """
from napari_deepspace.events import result_of
from napari_deepspace.learn.data import section_features

centres = section.centres_yx
centres = centres[np.lexsort(centres.T)][:{spots}]  # neighbours, at the lattice's own density
result_of(section_features(section, centres[:1], 137.5, 138))
began = time.perf_counter()
if {one_by_one}:
    for number in range(len(centres)):
        result_of(section_features(section, centres[number : number + 1], 137.5, 138))
else:
    result_of(section_features(section, centres, 137.5, 138))
"""

FIT = """
from napari_deepspace import fit
from napari_deepspace.settings import RunSettings

settings = RunSettings(sections=[{{"path": {data!r}}}], model={{"kind": "quick"}}, filter={{"white_percentile": 100}}, threads=2)
began = time.perf_counter()
model = fit(section, settings, tempfile.mkdtemp(), progress=False)
"""

END = """
print(json.dumps(dict(seconds=time.perf_counter() - began, peak_mb={peak}, loaded_mb=loaded)))
"""


def measured(code: str, slide: Path, **values: object) -> dict[str, float]:
    code = (SECTION + code + END).format(data=str(DATA), slide=str(slide), mpp=MPP, peak=PEAK, **values)
    return json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiled JPEG TIFF of blobs of all sizes, 21,000 x 15,000 px, no two file tiles alike."""
    rng, shape = np.random.default_rng(0), (21504, 15360)
    noise = sum(cv2.GaussianBlur(rng.normal(size=(2048, 2048, 3)), (0, 0), sigma) * sigma * 50 for sigma in (2, 5, 15))
    texture = np.clip(noise + np.array([200, 140, 180]), 0, 255).astype(np.uint8)

    def tiles() -> Iterator[np.ndarray]:
        for _ in range(shape[0] // FILE_TILE * (shape[1] // FILE_TILE)):
            y, x = rng.integers(0, 2048 - FILE_TILE, 2)
            yield texture[y : y + FILE_TILE, x : x + FILE_TILE]

    path = tmp_path_factory.mktemp("slide") / "synthetic.tif"
    tifffile.imwrite(path, tiles(), shape=(*shape, 3), dtype=np.uint8, tile=(FILE_TILE, FILE_TILE), compression="jpeg", photometric="rgb")
    return path


@pytest.mark.skipif(not DATA.exists(), reason="the real sections are not beside the project")
def test_quick(slide: Path) -> None:
    """Features once over the slide, their growth, the same feature by feature and tile by tile, and a whole training."""
    print(f"\nQuick on {DATA.name} over a SYNTHETIC slide at {MPP} um/px, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    found = {}
    for spots in SPOTS:
        one = found[spots] = measured(FEATURES, slide, spots=spots, one_by_one=False)
        print(
            f"  features of {spots:5} spots: {one['seconds']:6.1f} s, {one['seconds'] / spots * 1e3:.1f} ms a spot, "
            f"peak {one['peak_mb']:.0f} MB ({one['loaded_mb']:.0f} MB with the counts alone)"
        )
    most, least = found[SPOTS[-1]], found[SPOTS[0]]
    print(
        f"  from {SPOTS[0]} to {SPOTS[-1]} spots ({SPOTS[-1] / SPOTS[0]:.1f} times): {most['seconds'] / least['seconds']:.1f} times the time, "
        f"{most['peak_mb'] / least['peak_mb']:.2f} times the peak memory"
    )
    alone = measured(FEATURES, slide, spots=100, one_by_one=True)
    ratio = alone["seconds"] / 100 / (most["seconds"] / SPOTS[-1])
    print(f"  each tile filtered by itself: {alone['seconds'] * 10:.1f} ms a spot; by itself / once over the slide: {ratio:.1f}")
    whole = measured(FIT, slide)
    print(f"  whole training of {SPOTS[-1]} spots: {whole['seconds']:.0f} s (goal: under 60 s on two cores), peak {whole['peak_mb']:.0f} MB")
