"""The synthetic section's known truth on several seeds, through the command line. `make acceptance`."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from napari_deepspace.phantom import make_phantom
from napari_deepspace.settings import PAPER_GENES

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]


def run(*arguments):
    done = subprocess.run([sys.executable, "-m", "napari_deepspace", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def train(section, folder):
    (folder / "run.yaml").write_text(f"sections: [{{path: '{section}'}}]\ntarget: {{names: {list(PAPER_GENES)}}}\n")
    run("train", str(folder / "run.yaml"), "--out", str(folder / "run"))
    return folder / "run"


@pytest.mark.parametrize("seed", range(5))
def test_known_truth(seed, tmp_path):
    """Unseen spots, within three minutes: colour genes r >= 0.8; texture and nuclear size r >= 0.7 mean RGB there <= 0.3; hidden in chance."""
    section = make_phantom(seed=seed)
    began = time.perf_counter()
    folder = train(section, tmp_path)
    seconds = time.perf_counter() - began
    (scores,) = json.loads((folder / "metrics.json").read_text())["sections"].values()
    truth = json.loads((section / "truth" / "truth.json").read_text())["genes"]
    r = {
        kind: np.array([one["r"] for gene, one in scores["genes"].items() if truth[gene]["kind"] == kind])
        for kind in {t["kind"] for t in truth.values()}
    }
    subtle = [one["mean RGB"] for gene, one in scores["genes"].items() if truth[gene]["kind"] in {"texture", "nuclear size"}]
    words = ", ".join(f"{kind} {values.min():.2f} to {values.max():.2f}" for kind, values in sorted(r.items()))
    print(f"\nseed {seed}: {words}; mean RGB for texture and nuclear size <= {max(subtle):.2f}; n {scores['n_spots']}; {seconds:.0f} s")
    assert (r["colour"] >= 0.8).all()
    assert (r["texture"] >= 0.7).all()
    assert (r["nuclear size"] >= 0.7).all()
    assert max(subtle) <= 0.3
    assert np.abs(r["hidden"]).mean() < 0.15
    assert (np.abs(r["hidden"]) < 3 / np.sqrt(scores["n_spots"])).all()
    assert seconds < 180


def test_shuffled_genes_are_not_predicted_on_a_renamed_copy(tmp_path):
    """Shuffled counts on disk: |r| within chance, also when the section comes back under another name and is scored with its own counts."""
    section = make_phantom(seed=0, shuffle_genes=True)
    folder = train(section, tmp_path)
    copy = tmp_path / "renamed section"
    subprocess.run(["cp", "-r", str(section), str(copy)], check=True)
    run("predict", str(folder), str(copy), "--out", str(tmp_path / "out.h5ad"))
    scores = json.loads(run("evaluate", str(tmp_path / "out.h5ad"), str(copy), "--json"))
    r = np.array([one["r"] or 0 for one in scores["genes"].values()])
    print(f"\nshuffled: mean |r| {np.abs(r).mean():.3f}, largest {np.abs(r).max():.3f}, chance {scores['chance_r']:.3f}, n {scores['n_spots']}")
    assert np.abs(r).mean() < scores["chance_r"] / 2
    assert np.abs(r).max() < 1.5 * scores["chance_r"]
