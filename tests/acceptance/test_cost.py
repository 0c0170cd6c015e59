"""The cost that is shown before Start is what a run then takes. `make acceptance`."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

CHOICES = {
    "Quick": {"kind": "quick"},
    "ResNet18 at 64 px": {
        "kind": "network",
        "backbone": "resnet18",
        "weights": "scratch",
        "tile_px": 64,
        "epochs": 3,
        "patience": 99,
        "batch_size": 32,
    },
    "VGG16 at 64 px": {"kind": "network", "backbone": "vgg16", "weights": "scratch", "tile_px": 64, "epochs": 1, "patience": 99, "batch_size": 32},
}


@pytest.mark.parametrize("choice", CHOICES)
def test_estimate_is_within_30_percent(choice, phantom_dir, tmp_path):
    """Quick, a small and a large network: estimated seconds are within 30 % of what the run took."""
    settings = {"sections": [{"path": str(phantom_dir)}], "target": {"top": 24}, "model": CHOICES[choice], "split": {"folds": 2}}
    (tmp_path / "run.yaml").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "napari_deepspace"]
    told = subprocess.run([*command, "estimate", str(tmp_path / "run.yaml"), "--json"], check=True, capture_output=True, text=True)
    costs = json.loads(told.stdout)["choices"]
    estimated = costs[0 if choice == "Quick" else 1]["seconds"]
    subprocess.run([*command, "train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run")], check=True, capture_output=True)
    finished = json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[-1])
    print(f"\n{choice}: estimated {estimated:.0f} s, took {finished['seconds']:.0f} s; paper's settings: {costs[-1]['words']}")
    assert estimated == pytest.approx(finished["seconds"], rel=0.3)
