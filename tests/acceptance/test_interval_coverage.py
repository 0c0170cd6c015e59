"""Intervals, p values and verdicts on many simulated maps (SYNTHETIC), and another slide's image on a real section. `make acceptance`."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm
from tests.smooth_maps import LATTICES, SMOOTHNESS, fields, lattice, noisy

from napari_deepspace import evaluate, fit, predict, read_section
from napari_deepspace.analyse.blocks import spot_blocks
from napari_deepspace.analyse.bootstrap import intervals, p_values
from napari_deepspace.analyse.metrics import pearson
from napari_deepspace.analyse.panel import Panel, judge_panel
from napari_deepspace.settings import run_settings
from napari_deepspace.verdicts import BETTER

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]
PLACES = (*LATTICES, ("hexagonal", 3000))
MAPS = 600
TWO_SE = 2 * np.sqrt(0.9 * 0.1 / MAPS)


@pytest.mark.parametrize(("kind", "n"), PLACES)
@pytest.mark.parametrize(("shape", "length", "noise"), SMOOTHNESS)
def test_coverage(kind, n, shape, length, noise):
    """The 95 % interval of r, and of the model's r less a way's, covers the truth in 90 to 98 % of maps, within chance; Fisher's does not."""
    rng = np.random.default_rng(n + int(10 * length))
    spots = lattice(kind, n)
    truth, shared, own = (fields(spots, shape, length, MAPS, rng) for _ in range(3))
    measured, kept = noisy(truth, noise, rng), np.sqrt(1 - noise)
    model, way = 0.6 * truth + 0.8 * shared, 0.4 * truth + 0.3 * shared + np.sqrt(0.75) * own
    found = intervals(measured, {"r": model, "mean RGB": way}, "r", spot_blocks(spots), resamples=500)
    truths = ((found.of["r"], 0.6 * kept), (found.difference["mean RGB"], 0.2 * kept))
    covered = [((ends[:, 0] < value) & (value < ends[:, 1])).mean() for ends, value in truths]
    fisher = (np.abs(np.arctanh(pearson(measured, model)) - np.arctanh(0.6 * kept)) < norm.ppf(0.975) / np.sqrt(len(spots) - 3)).mean()
    print(f"\n{kind} {len(spots)}, {shape} {length}, noise {noise}: r {covered[0]:.3f}, difference {covered[1]:.3f}, Fisher {fisher:.2f}")
    assert fisher < 0.9 or length < 1
    assert all(0.90 - TWO_SE <= share <= 0.98 + TWO_SE / 2 for share in covered)


@pytest.mark.parametrize(("kind", "n"), LATTICES)
@pytest.mark.parametrize(("shape", "length", "noise"), [*SMOOTHNESS, ("gaussian", 6, 0)])
def test_unrelated_maps(kind, n, shape, length, noise):
    """Of smooth maps that have nothing to do with one another about 5 % have p < 0.05, and about 0.5 % p < 0.005."""
    rng = np.random.default_rng(n + int(10 * length))
    spots = lattice(kind, n)
    measured, predicted = (fields(spots, shape, length, MAPS, rng) for _ in range(2))
    p = p_values(noisy(measured, noise, rng), predicted, spots, moves=499)
    print(f"\n{kind} {len(spots)}, {shape} {length}, noise {noise}: {(p < 0.05).mean():.3f} below 0.05, {(p < 0.005).mean():.4f} below 0.005")
    assert (p < 0.05).mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / MAPS)
    assert (p < 0.005).mean() <= 0.005 + 2 * np.sqrt(0.005 * 0.995 / MAPS)


@pytest.mark.parametrize(("kind", "n"), LATTICES[:4])
def test_shuffled_genes_in_a_hundred_runs(kind, n):
    """24 measured genes that have nothing to do with the smooth maps of model, colour and neighbours: in 95 of 100 runs none is better."""
    spots = lattice(kind, n)
    clean = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        shapes = (("gaussian", 2), ("gaussian", 3), ("exponential", 2), ("gaussian", 3))
        measured, *others = (fields(spots, *shape, 24, rng) for shape in shapes)
        measured = noisy(measured, 0.3 * (seed % 2), rng)
        shown = dict(zip(("r", "mean RGB", "interpolation"), others, strict=True))
        top, _ = judge_panel(Panel(measured, shown, "r", spots, seed=seed), {name: pearson(measured, values) for name, values in shown.items()})
        clean += BETTER not in top["verdicts"]
    print(f"\n{kind} {len(spots)}: {clean} of 100 runs without a gene called better")
    assert clean >= 95


@pytest.mark.real_data
@pytest.mark.parametrize("tested", ["C2", "C3", "C4"])
def test_another_slides_image(tested, data_dir, tmp_path):
    """Quick on two sections of patient C, then the slide of patient B under the third one's spots: at most 8 % of 250 genes are significant."""
    sections = {name: read_section(data_dir / "her2st" / name) for name in ("C2", "C3", "C4")}
    learned = [section for name, section in sections.items() if name != tested]
    paths = [{"path": str(section.path)} for section in learned]
    settings = run_settings({"sections": paths, "target": {"top": 250}, "split": {"kind": "whole"}, "model": {"kind": "quick"}})
    model = fit(learned, settings, tmp_path / "run", progress=False)
    own = evaluate(predict(model, sections[tested], progress=False))
    foreign = dataclasses.replace(sections[tested], slide=read_section(data_dir / "her2st" / "B4").slide)
    other = evaluate(predict(model, foreign, progress=False))
    for name, scores in (("its own image", own), ("B4's image", other)):
        print(f"\n{tested}, {name}: mean r {scores['mean']['r']:.3f}, {scores['significant']} of 250 significant, {scores['verdicts']}")
    assert other["significant"] <= 0.08 * 250
    assert own["significant"] > 0.3 * 250


@pytest.mark.real_data
def test_random_gene_sets_are_not_predicted(data_dir, tmp_path):
    """Twenty random sets of 100 genes, scored against control genes of like expression: C2 and C4 train, and on C3 every |r| is below 0.15."""
    sections = {name: read_section(data_dir / "her2st" / name) for name in ("C2", "C3", "C4")}
    learned = [sections["C2"], sections["C4"]]
    shared = sections["C2"].adata.var_names.intersection(sections["C4"].adata.var_names).intersection(sections["C3"].adata.var_names)
    rng = np.random.default_rng(0)
    sets = {f"random {number}": [str(gene) for gene in rng.choice(shared, 100, replace=False)] for number in range(20)}
    paths = [{"path": str(section.path)} for section in learned]
    settings = run_settings(
        {"sections": paths, "target": {"kind": "signatures", "sets": sets}, "split": {"kind": "whole"}, "model": {"kind": "quick"}}
    )
    model = fit(learned, settings, tmp_path / "run", progress=False)
    scores = evaluate(predict(model, sections["C3"], progress=False))
    r = np.array([one["r"] for one in scores["genes"].values()])
    print(f"\n20 random sets of 100 genes: r {r.min():.2f} to {r.max():.2f}, mean |r| {np.abs(r).mean():.3f}; n = {scores['n_spots']}")
    assert np.abs(r).max() < 0.15
