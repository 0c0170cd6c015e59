"""Make the bundle of `make gpu-check`: python scripts/gpu_bundle.py FOLDER [PYTHON_VERSION] (a Python with this package and its registry at hand).

The bundle holds the benchmark, this package's source, tiles of the SYNTHETIC section, and the wheels that a machine with torch, torchvision, numpy,
scipy, pandas and Pillow may lack. It needs no registry there: ``python3 FOLDER/run.py``.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
EXPECTED = ("torch", "torchvision", "numpy", "scipy", "pandas", "pillow")
"""With all that they need themselves."""
COLUMNS, TILES = 32, 512
LIMIT_MB = 60

LOADED = """
import sys
sys.path.insert(0, {benchmarks!r})
import json, gpu_check
import napari_deepspace.learn.optimise, napari_deepspace.learn.model, napari_deepspace.learn.networks
files = {{name.split(".")[0]: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}}
print(json.dumps(sorted(name for name, file in files.items() if "site-packages" in file)))
"""


def needed_wheels() -> dict[str, str]:
    """Module -> distribution, for what the benchmark loads beyond what is expected on the other machine."""
    code = LOADED.format(benchmarks=str(ROOT / "benchmarks"))
    modules = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    there = {name.replace("_", "-") for name in _closure(set(EXPECTED))}
    owners = importlib.metadata.packages_distributions()
    wheels = {}
    for module in modules:
        for name in owners.get(module, [])[:1]:
            plain = name.lower().replace("_", "-")
            if plain not in there | {"setuptools", "cuda-bindings"}:
                wheels[module] = plain
    return wheels


def _closure(names: set[str]) -> set[str]:
    """Distributions with all that they require here, extras left out."""
    done: set[str] = set()
    while names - done:
        name = (names - done).pop()
        done.add(name)
        for line in importlib.metadata.requires(name) or []:
            requirement = line.split(";")
            needed = "".join(c if c.isalnum() or c in "-_." else " " for c in requirement[0]).split()[0].lower()
            if "extra" not in line:
                try:
                    importlib.metadata.version(needed)
                except importlib.metadata.PackageNotFoundError:
                    continue
                names.add(needed)
    return done


def download(wheels: dict[str, str], folder: Path, version: str) -> dict[str, str]:
    """Fetch the wheels in the versions that are installed here; module -> file."""
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in (34, 31, 28, 27, 24, 17, 12, 5)] + ["manylinux2014_x86_64", "manylinux1_x86_64"]
    options = ["--no-deps", "--only-binary=:all:", "--python-version", version, "--implementation", "cp", "--quiet", "--disable-pip-version-check"]
    for name in platforms:
        options += ["--platform", name]
    pinned = [f"{name}=={importlib.metadata.version(name)}" for name in sorted(set(wheels.values()))]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), *pinned], check=True)
    files = {path.name.split("-")[0].lower().replace("_", "-"): path.name for path in folder.glob("*.whl")}
    return {module: files[name.replace(".", "-")] for module, name in wheels.items()}


def write_tiles(path: Path) -> None:
    """A mosaic of the synthetic section's tiles, 224 px a side, as one JPEG."""
    from napari_deepspace.events import result_of
    from napari_deepspace.learn.data import section_tiles
    from napari_deepspace.phantom import make_phantom
    from napari_deepspace.preprocess.prepare import tile_side_um
    from napari_deepspace.read import read_section
    from napari_deepspace.settings import TileSettings

    section = read_section(make_phantom())
    centres = section.centres_yx[np.random.default_rng(0).permutation(len(section.centres_yx))[:TILES]]
    tiles = result_of(section_tiles(section, centres, tile_side_um(section, TileSettings()), 224))
    rows = TILES // COLUMNS
    picture = tiles.reshape(rows, COLUMNS, 224, 224, 3).swapaxes(1, 2).reshape(rows * 224, COLUMNS * 224, 3)
    Image.fromarray(picture).save(path, quality=92)


def main(folder: Path, version: str = "3.12") -> None:
    """Make the bundle anew."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "wheels").mkdir(parents=True)
    files = download(needed_wheels(), folder / "wheels", version)
    (folder / "wheels" / "modules.json").write_text(json.dumps(files, indent=1), encoding="utf-8")
    write_tiles(folder / "tiles.jpg")
    for name in ("gpu_check.py", "speed.py"):
        shutil.copy(ROOT / "benchmarks" / name, folder / name)
    shutil.copy(ROOT / "scripts" / "gpu_run.py", folder / "run.py")
    shutil.copytree(ROOT / "src" / "napari_deepspace", folder / "src" / "napari_deepspace", ignore=shutil.ignore_patterns("__pycache__", "_napari"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    print(f"{folder}: {size:.0f} MB for Python {version} on Linux x86-64. There: python3 {folder.name}/run.py")
    if size > LIMIT_MB:
        sys.exit(f"error: the bundle is larger than {LIMIT_MB} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
