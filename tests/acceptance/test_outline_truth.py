"""Outlines against the truth: proposals on the SYNTHETIC section, and a hundred simulated hands that know nothing. `make acceptance`."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from scipy.stats import ranksums
from tests.simulated_hand import blob, round_the_top_quarter
from tests.smooth_maps import fields, lattice

from napari_deepspace import denser, fit
from napari_deepspace.analyse.blocks import moved_maps, spot_blocks
from napari_deepspace.analyse.observers import area_overlap
from napari_deepspace.analyse.region_tests import LEAST_SIDE, fitting_moves, judge_regions, moved_p, refusal
from napari_deepspace.analyse.regions import Region, spots_inside
from napari_deepspace.events import result_of
from napari_deepspace.learn.denser_write import write_denser
from napari_deepspace.outlines import BLIND, MADE, Outline
from napari_deepspace.phantom import make_phantom
from napari_deepspace.phantom_tissue import CELL_UM, grow_tissue
from napari_deepspace.proposed_outlines import areas_above, propose_outlines
from napari_deepspace.read import read_section
from napari_deepspace.settings import PAPER_GENES, RunSettings, SectionSettings
from napari_deepspace.spot_command import known_of

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]
RUNS, MOST = 100, 8


@pytest.mark.parametrize("seed", range(3))
def test_proposals_find_the_invasive_front(seed, tmp_path):
    """Outlines from the denser SPARC map at the usual threshold and the painted invasive front: IoU 0.6 or more."""
    folder = make_phantom(seed=seed)
    section = read_section(folder / "outs")
    settings = RunSettings(sections=(SectionSettings(path=folder / "outs"),), target={"names": PAPER_GENES})
    model = fit(section, settings, tmp_path / "run", progress=False)
    dmap = denser.open_denser(result_of(write_denser(model, section, tmp_path / "grid.zarr", "grid", 16.0)))
    step = CELL_UM / section.mpp
    front = shapely.union_all(areas_above(grow_tissue(seed).invasive, 0.5, (step / 2, step / 2), step, 0.0))
    found = propose_outlines(dmap, "SPARC")
    dice, iou = area_overlap(front, shapely.union_all([one.geometry for one in found]))
    print(f"\nseed {seed}: {found[0].name}, {len(found)} outlines, IoU {iou:.3f}, Dice {dice:.3f}")
    assert iou >= 0.6


def test_likeliest_clusters_become_outlines(small, tmp_path):
    """Of clusters every outline holds the points where it is the likeliest; no gene may be tested in it."""
    settings = RunSettings(sections=(SectionSettings(path=small.path),), target={"kind": "clusters"}, clusters={"source": "computed"})
    model = fit(small, settings, tmp_path / "clusters", progress=False)
    dmap = denser.open_denser(result_of(write_denser(model, small, tmp_path / "c.zarr", "grid", 50.0)))
    likeliest = denser.probabilities(dmap)
    name = dmap.outputs[0]
    found = propose_outlines(dmap, name)
    whole = Region(name, tuple(found), shapely.union_all([one.geometry for one in found]))
    within, named = spots_inside(whole, dmap.centres_yx)[dmap.on_tissue], likeliest[dmap.on_tissue].argmax(axis=1) == 0
    assert (within == named).mean() > 0.9
    assert {one.name for one in found} == {f"{name}, likeliest cluster"}
    assert "many genes" in refusal(whole, "SPARC", small.adata.var_names)


def shuffled_over_spots(gene, spots, rng):
    return rng.permutation(gene)


def shuffled_over_blocks(gene, spots, rng):
    """Whole squares of the tissue change places: every spot reads the one at its place in another square, so that neighbours stay alike."""
    blocks = spot_blocks(spots).of_spot
    middles = np.stack([spots[blocks == k].mean(axis=0) for k in range(blocks.max() + 1)])
    order = rng.permutation(len(middles))
    wanted = spots - middles[blocks] + middles[order[blocks]]
    return gene[((wanted[:, None] - spots[None]) ** 2).sum(axis=2).argmin(axis=1)]


@pytest.mark.parametrize("shuffled", [shuffled_over_spots, shuffled_over_blocks])
@pytest.mark.parametrize("gene", ["SPARC", "ESR1"])
def test_hands_on_shuffled_genes(phantom, shuffled, gene):
    """Of 100 outlines drawn without a gene in mind at most 8 are significant at 0.05 for a shuffled gene."""
    known = known_of(None, phantom, gene)
    spots, values = phantom.centres_yx[known.keep], known.measured[known.keep]
    count_of(spots, lambda rng: shuffled(values, spots, rng), phantom.mpp, f"{gene}, {shuffled.__name__}")


@pytest.mark.parametrize(("shape", "length"), [("exponential", 2), ("exponential", 4), ("gaussian", 3)])
def test_hands_on_smooth_genes(shape, length):
    """The same of smooth genes that have nothing to do with the outlines."""
    spots = lattice("tissue", 500)
    count_of(spots, lambda rng: fields(spots, shape, length, 1, rng)[:, 0], 1.0, f"{shape} {length}")


def count_of(spots, draw, mpp, name):
    rng = np.random.default_rng(7)
    honest, naive = [], []
    while len(honest) < RUNS:
        shape = blob(spots, rng)
        drawn = Region("drawn", (Outline(shape, "Tumour", origin=BLIND),), shape)
        within = spots_inside(drawn, spots)
        if min(within.sum(), (~within).sum()) < LEAST_SIDE:
            continue
        gene = draw(rng)
        ((test,),) = judge_regions([drawn], ["G"], ["G"], spots, gene[:, None], mpp, moves=199, seed=len(honest))
        honest.append(test.p)
        naive.append(ranksums(gene[within], gene[~within]).pvalue)
    significant, without = (int((np.array(p) <= 0.05).sum()) for p in (honest, naive))
    print(f"\n{name}: {significant} of {RUNS} significant; {without} if spots were taken for independent")
    assert significant <= MOST


def test_drawing_round_a_shuffled_gene_needs_the_refusal(phantom):
    """Outlines round the top quarter of a shuffled gene: tiny naive P in every run, and our own P is no remedy; so they are refused."""
    known = known_of(None, phantom, "SPARC")
    spots, values = phantom.centres_yx[known.keep], known.measured[known.keep]
    rng, moved = np.random.default_rng(8), moved_maps(phantom.centres_yx[known.keep] * phantom.mpp, 199, 0, gaps=True)
    naive, honest = [], []
    for _ in range(RUNS):
        gene = rng.permutation(values)
        shape = round_the_top_quarter(spots, gene)
        made = Region("made", (Outline(shape, "", origin=MADE, gene="SPARC"),), shape)
        within = spots_inside(made, spots)
        naive.append(ranksums(gene[within], gene[~within]).pvalue)
        honest.append(moved_p(within, gene[:, None], moved[fitting_moves(within, moved)])[0])
        assert "made from SPARC" in refusal(made, "SPARC", phantom.adata.var_names)
    said = f"naive P median {np.median(naive):.0e}, largest {max(naive):.0e}; ours, largest {max(honest):.3f}"
    print(f"\nround the top quarter of shuffled SPARC: {said}")
    assert np.median(naive) < 1e-9 and max(naive) < 1e-3
    assert (np.array(honest) <= 0.05).mean() > 0.9


def test_a_gene_that_follows_the_outline_is_found():
    """Of genes 0.6 standard deviations higher inside, without any smoothness, at least 80 of 100 are significant."""
    spots, rng, found = lattice("tissue", 500), np.random.default_rng(9), 0
    moved = moved_maps(spots, 399, 0, gaps=True)
    for _ in range(RUNS):
        shape = blob(spots, rng)
        within = spots_inside(Region("drawn", (Outline(shape, "Tumour"),), shape), spots)
        gene = 0.6 * within + rng.normal(size=len(spots))
        found += bool(moved_p(within, gene[:, None], moved[fitting_moves(within, moved)])[0] <= 0.05)
    print(f"\n{found} of {RUNS} found")
    assert found >= 80
