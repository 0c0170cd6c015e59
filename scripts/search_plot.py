"""The plot of docs/search.md: Quick on the SYNTHETIC section by tile size and white threshold: python scripts/search_plot.py OUTPUT.png"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import yaml

from napari_deepspace.cli import main as command
from napari_deepspace.phantom import make_phantom

SEARCH = {
    "space": {
        "tile.extra_percent": [0, 50, 100, 150, 200],
        "filter.white_percentile": [50, 60, 70, 80, 90, 100],
        "model.components": [16, 64],
    },
    "method": "optuna",
    "trials": 30,
}


def main(output: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = {"name": "synthetic", "sections": [{"path": str(make_phantom())}], "target": {"top": 24}}
        (folder / "search.yaml").write_text(yaml.safe_dump({"run": run, **SEARCH}, sort_keys=False), encoding="utf-8")
        if command(["search", str(folder / "search.yaml"), "--out", str(folder / "search")]) == 0:
            shutil.copy(folder / "search" / "search.png", output)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
