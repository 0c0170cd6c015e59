"""her2st C2 + C4 -> C3 on the command line, from RUN.yaml: the table of docs/results.md.

Usage: python benchmarks/her2st.py [quick|network[:key=value,...] ...], for example quick:normalisation=sctransform
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
C3 = HERE.parents[1] / "shared" / "data" / "her2st" / "C3"


def command(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "napari_deepspace", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def main(names: list[str]) -> None:
    if not C3.is_dir():
        print("her2st: the real sections are not beside the project; nothing measured")
        return
    print("| model | mean r, 24 genes | mean RGB | ERBB2 | SPARC | FN1 | n | training, s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            kind, _, changes = name.partition(":")
            options = [word for change in changes.split(",") if change for word in ("--set", change)]
            began = time.perf_counter()
            command("train", str(HERE / "runs" / f"her2st_{kind}.yaml"), "--out", f"{folder}/run", *options)
            seconds = time.perf_counter() - began
            command("predict", f"{folder}/run", str(C3), "--patient", "C", "--out", f"{folder}/c3.h5ad")
            scores = json.loads(command("evaluate", f"{folder}/c3.h5ad", "--json"))
        mean, genes = scores["mean"], scores["genes"]
        three = " | ".join(f"{genes[gene]['r']:.2f}" for gene in ("ERBB2", "SPARC", "FN1"))
        print(
            f"| {name} ({scores['model']}) | {mean['r']:.3f} | {mean['mean RGB']:.3f} | {three} | {scores['n_spots']} | {seconds:.0f} |", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:] or ["quick", "network"])
