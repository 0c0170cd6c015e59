"""Run the GPU benchmarks from a bundle, with the torch of this Python and without a registry: python3 BUNDLE/run.py [--device cpu] [--out FILE.md]"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NEEDED = ("torch", "torchvision", "numpy", "scipy", "pandas", "PIL")


def main() -> int:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        versions = "torchvision has to match torch: 0.26 with torch 2.11, 0.29 with torch 2.15"
        print(
            f"error: {sys.executable} has no {', '.join(missing)}. Name a Python that has: make gpu-check PYTHON=... ({versions}).", file=sys.stderr
        )
        return 2
    files = json.loads((HERE / "wheels" / "modules.json").read_text(encoding="utf-8"))
    lacking = sorted({str(HERE / "wheels" / file) for module, file in files.items() if importlib.util.find_spec(module) is None})
    with tempfile.TemporaryDirectory() as site:
        if lacking:
            options = ["--quiet", "--no-index", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--target", site]
            if subprocess.run([sys.executable, "-m", "pip", "install", *options, *lacking], check=False).returncode:
                print(f"error: the wheels of this bundle do not fit Python {sys.version.split()[0]}. Make it for that version.", file=sys.stderr)
                return 2
        # inside the repository its own files are used, which may be newer than the bundle
        inside = (HERE.parent / "benchmarks" / "gpu_check.py").exists()
        source, check = (HERE.parent / "src", HERE.parent / "benchmarks") if inside else (HERE / "src", HERE)
        path = os.pathsep.join([str(source), site, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, str(check / "gpu_check.py"), "--tiles", str(HERE / "tiles.jpg"), *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
