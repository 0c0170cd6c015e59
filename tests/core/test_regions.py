"""What an outline can say: spots, values, tests against the libraries of the field, observers, refusals, profiles, proposals, commands."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import shapely
from scipy.stats import ranksums
from shapely.geometry import Point, Polygon, box
from sklearn.metrics import f1_score, jaccard_score, roc_auc_score
from tests.simulated_hand import blob, round_the_top_quarter
from tests.smooth_maps import fields, lattice

from napari_deepspace import denser
from napari_deepspace.analyse.blocks import moved_maps, spot_blocks
from napari_deepspace.analyse.front import blocks_at, profile, signed_distance_um
from napari_deepspace.analyse.front_figure import draw_front
from napari_deepspace.analyse.observers import area_overlap, compare_observers, spot_overlap
from napari_deepspace.analyse.region_tests import LEAST_BLOCKS, SEEN, caution, fitting_moves, judge_regions, moved_p, refusal
from napari_deepspace.analyse.regions import (
    Region,
    area_mm2,
    auroc,
    distribution,
    genes_inside,
    regions_of,
    spots_inside,
    spots_on_border,
)
from napari_deepspace.cli import main
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.events import result_of
from napari_deepspace.geojson import SlideStamp, stamp_of
from napari_deepspace.learn.denser_write import write_denser
from napari_deepspace.outlines import BLIND, HAND, MADE, Outline, read_outline_file, read_outlines, write_outlines
from napari_deepspace.proposed_outlines import areas_above, best_threshold, outlines_above, propose_outlines, spot_scores, usual_level
from napari_deepspace.recipes import RegionsAsked, regions_recipe
from napari_deepspace.region_command import front_table, known_genes, region_table
from napari_deepspace.settings import FilterSettings, SectionSettings


def region(geometry, origin=BLIND, gene="", name="it"):
    return Region(name, (Outline(geometry, "Tumour", name, origin=origin, gene=gene),), geometry)


@pytest.fixture(scope="module")
def half(phantom):
    """The left half of the synthetic section, drawn blind."""
    (top, left), (bottom, _) = phantom.centres_yx.min(axis=0), phantom.centres_yx.max(axis=0)
    return region(box(left - 50, top - 50, np.median(phantom.centres_yx[:, 1]), bottom + 50), name="left half")


def test_a_spot_belongs_where_its_centre_lies():
    """Centres decide; discs that the border cuts are counted beside, from within and from without; areas are in mm2."""
    square = region(box(0, 0, 100, 100))
    centres_yx = np.array([[50, 50], [50, 95], [50, 105], [50, 100], [50, 111], [130, 50]], dtype=float)
    assert spots_inside(square, centres_yx).tolist() == [True, True, False, True, False, False]
    assert spots_on_border(square, centres_yx, 20).tolist() == [False, True, True, True, False, False]
    assert area_mm2(square, 2.0) == pytest.approx(0.04)
    holed = region(box(0, 0, 100, 100) - box(40, 40, 60, 60))
    assert spots_inside(holed, centres_yx).tolist() == [False, True, False, True, False, False]


def test_a_class_counts_what_overlaps_once():
    """By class: the union; without a class an outline counts under its name. A wrong --by, or nothing to describe, is told."""
    outlines = [Outline(box(0, 0, 2, 2), "Tumour"), Outline(box(1, 0, 3, 2), "Tumour"), Outline(box(9, 9, 10, 10), "", "odd")]
    found = regions_of(outlines, "class")
    assert [(one.name, one.geometry.area) for one in found] == [("Tumour", 6.0), ("odd", 1.0)]
    assert len(regions_of(outlines)) == 3
    with pytest.raises(SettingsError, match="outline or by class"):
        regions_of(outlines, "gene")
    with pytest.raises(DataError, match="no outline"):
        regions_of([])


def test_distributions_and_auroc_are_those_of_numpy_and_sklearn():
    """Mean and quartiles without NaN; AUROC with ties as scikit-learn's."""
    rng = np.random.default_rng(0)
    values, within = rng.poisson(3, 200).astype(float), rng.random(200) < 0.3
    values[:5] = np.nan
    there = np.isfinite(values)
    found = distribution(values)
    assert (found["n"], found["mean"]) == (195, pytest.approx(np.nanmean(values)))
    assert [found[name] for name in ("q1", "median", "q3")] == pytest.approx(np.nanquantile(values, (0.25, 0.5, 0.75)).tolist())
    assert auroc(within, values) == pytest.approx(roc_auc_score(within[there], values[there]))
    assert np.isnan(auroc(np.zeros(200, dtype=bool), values)) and distribution(values[:5])["n"] == 0


def test_differential_genes_are_scanpys(phantom, half):
    """Scores and fold changes equal scanpy's Wilcoxon on the same spots; P values that take spots for independent are not given."""
    keep = np.asarray(phantom.adata.X.sum(axis=1)).ravel() >= 1000
    within = spots_inside(half, phantom.centres_yx)
    some = phantom.adata[:, :60]
    table = genes_inside(some, within, keep)
    own = some[keep].copy()
    own.obs["side"] = pd.Categorical(np.where(within[keep], "in", "out"))
    sc.pp.normalize_total(own)
    sc.pp.log1p(own)
    sc.tl.rank_genes_groups(own, "side", groups=["in"], reference="rest", method="wilcoxon")
    expected = sc.get.rank_genes_groups_df(own, "in").set_index("names")
    np.testing.assert_allclose(table["score"], expected.loc[table["gene"], "scores"], rtol=1e-5)
    np.testing.assert_allclose(table["log2_fold_change"], expected.loc[table["gene"], "logfoldchanges"], rtol=1e-5)
    assert len(table) == 60 and not {"p", "p_adjusted"} & set(table)
    with pytest.raises(DataError, match="differential genes need 3"):
        genes_inside(some, np.zeros_like(within), keep)


def test_observers_overlap_as_sklearn_counts():
    """Spots' Dice and IoU are scikit-learn's f1 and jaccard; areas are shapely's; a class that one lacks stands there with 0."""
    rng = np.random.default_rng(1)
    one, other = rng.random(300) < 0.4, rng.random(300) < 0.5
    assert spot_overlap(one, other) == pytest.approx((f1_score(one, other), jaccard_score(one, other)))
    assert area_overlap(box(0, 0, 2, 1), box(1, 0, 3, 1)) == pytest.approx((0.5, 1 / 3))
    assert np.isnan(spot_overlap(one & False, one & False)).all()
    spots = rng.uniform(0, 100, (200, 2))
    mine = [Outline(box(0, 0, 60, 100), "Tumour"), Outline(box(60, 0, 100, 100), "Stroma")]
    table = compare_observers(mine, [Outline(box(0, 0, 50, 100), "Tumour")], spots, 10.0).set_index("class")
    assert table.loc["Tumour", ["dice", "iou", "area_one_mm2"]].tolist() == pytest.approx([10 / 11, 5 / 6, 0.6])
    x = spots[:, 1]
    assert table.loc["Tumour", ["spots_both", "spots_only_one", "spots_only_other"]].tolist() == [(x <= 50).sum(), ((x > 50) & (x <= 60)).sum(), 0]
    assert table.loc["Stroma", ["iou", "spots_dice"]].tolist() == [0, 0]


KNOWN = ("SPARC", "ESR1")


@pytest.mark.parametrize(
    ("origin", "made_of", "gene", "refused"),
    [
        (MADE, "SPARC", "SPARC", "was made from SPARC"),
        (MADE, "sparc", "SPARC", "was made from SPARC"),
        (MADE, "SPARC", "ESR1", ""),
        (MADE, "cluster 3", "ESR1", "many genes"),
        (MADE, "", "ESR1", "many genes"),
        (HAND, "SPARC", "SPARC", ""),
        (BLIND, "", "SPARC", ""),
    ],
)
def test_who_may_be_tested(origin, made_of, gene, refused):
    """An outline made from a gene refuses it, one made from many genes refuses all; drawn ones refuse none."""
    found = refusal(region(box(0, 0, 1, 1), origin, made_of), gene, KNOWN)
    assert (refused in found) if refused else found == ""


def test_what_stands_beside_p():
    """Blind outlines carry nothing, seen ones a warning, made ones what they were made from; one bad part is enough for a class."""
    shape = box(0, 0, 1, 1)
    assert caution(region(shape, BLIND)) == ""
    assert caution(region(shape, HAND)) == SEEN
    assert "made from SPARC" in caution(region(shape, MADE, "SPARC"))
    both = Region("Tumour", (Outline(shape, "Tumour", origin=BLIND), Outline(shape, "Tumour", origin=MADE, gene="SPARC")), shape)
    assert refusal(both, "SPARC", KNOWN) and "made from SPARC" in caution(both)


def test_p_is_given_or_said_why_not():
    """A gene that follows the outline has a small P with its blocks; few spots, few blocks, a flat or missing gene and a refused one have none."""
    spots = lattice("tissue", 500) / 0.5
    rng = np.random.default_rng(2)
    inner = region(Point(*spots.mean(axis=0)[::-1]).buffer(1000))
    gene = spots_inside(inner, spots) + rng.normal(size=len(spots))
    measured = np.column_stack([gene, np.ones(len(spots)), np.full(len(spots), np.nan)])
    (tests,) = judge_regions([inner], ["A", "flat", "none"], ["A", "flat", "none"], spots, measured, 0.5, moves=199)
    assert tests[0].p == 1 / (1 + tests[0].moves) <= 0.01 and (tests[0].why, tests[0].patients) == ("", "one patient")
    assert 0.5 < tests[0].interval[0] < tests[0].auroc < tests[0].interval[1] <= 1
    assert tests[0].blocks >= LEAST_BLOCKS and tests[0].inside + tests[0].outside == len(spots)
    assert [np.isnan(one.p) for one in tests[1:]] == [True, True]
    assert "same at every spot" in tests[1].why and "was not measured" in tests[2].why
    small = region(Point(*spots[0][::-1]).buffer(1))
    made = region(inner.geometry, MADE, "A")
    few = judge_regions([small, made], ["A"], ["A"], spots, measured[:, :1], 0.5, moves=19)
    assert "1 measured spots inside" in few[0][0].why and "was made from A" in few[1][0].why
    assert np.isnan(few[1][0].p) and few[1][0].auroc > 0.5
    near = np.argsort(((spots - spots.mean(axis=0)) ** 2).sum(axis=1))[:30]
    left = region(box(0, 0, np.median(spots[near, 1]), 1e5))
    assert "separate pieces of tissue" in judge_regions([left], ["A"], ["A"], spots[near], measured[near, :1], 0.5)[0][0].why


def test_p_of_a_gene_does_not_depend_on_its_company():
    """Genes tested together, with gaps or without, get the P that each gets alone; and P is the rank one: a monotone scale changes nothing."""
    spots = lattice("square", 180)
    rng = np.random.default_rng(3)
    values = fields(spots, "exponential", 2, 3, rng)
    within = spots[:, 0] < 500
    moved = moved_maps(spots, 199, 0, gaps=True)
    moved = moved[fitting_moves(within, moved)]
    together = moved_p(within, values, moved)
    assert together.tolist() == [moved_p(within, values[:, [k]], moved)[0] for k in range(3)]
    np.testing.assert_array_equal(together, moved_p(within, np.exp(values), moved))
    np.testing.assert_array_equal(together, moved_p(~within, values, moved))
    gaps = values.copy()
    gaps[:9, 1] = np.nan
    (found,) = judge_regions([region(box(-1, -1, 1e5, 499))], ["a", "b", "c"], "abc", spots, gaps, 1.0, moves=199)
    assert [found[0].p, found[2].p] == [together[0], together[2]]
    assert found[1].inside + found[1].outside == len(spots) - 9


def test_a_hand_that_knows_nothing_finds_nothing():
    """Blobs on smooth genes that have nothing to do with them: P below 0.05 seldom, though the naive P is small half of the time; round the top
    quarter of a shuffled gene the naive P is tiny, which is why that is refused."""
    spots, rng = lattice("tissue", 500), np.random.default_rng(4)
    genes = fields(spots, "exponential", 4, 40, rng)
    moved = moved_maps(spots, 199, 0, gaps=True)
    honest, naive = [], []
    for gene in genes.T:
        within = spots_inside(region(blob(spots, rng)), spots)
        honest.append(moved_p(within, gene[:, None], moved[fitting_moves(within, moved)])[0])
        naive.append(ranksums(gene[within], gene[~within]).pvalue)
    assert np.mean(np.array(honest) <= 0.05) <= 0.15
    assert np.mean(np.array(naive) <= 0.05) >= 0.5
    shuffled = rng.permutation(genes[:, 0])
    drawn = spots_inside(region(round_the_top_quarter(spots, shuffled)), spots)
    assert ranksums(shuffled[drawn], shuffled[~drawn]).pvalue < 1e-10


def test_signed_distance_is_shapelys():
    """Negative inside, positive outside and in holes, 0 on the border, as shapely measures it, in um."""
    shape = Polygon([(0, 0), (100, 0), (130, 80), (0, 100)]) - box(30, 30, 60, 60)
    points_yx = np.random.default_rng(5).uniform(-60, 180, (200, 2))
    found = signed_distance_um(shape, points_yx, 0.5)
    for (y, x), distance in zip(points_yx, found, strict=True):
        expected = Point(x, y).distance(shape.boundary) * 0.5
        assert distance == pytest.approx(-expected if shape.contains(Point(x, y)) else expected)
    assert signed_distance_um(shape, np.array([[0.0, 50.0], [45.0, 45.0]]), 0.5).tolist() == [0.0, 7.5]


def test_a_profile_is_the_mean_of_its_bands():
    """Bands with 0 as an edge; means and numbers as pandas groups them; no interval from fewer than four blocks; dense points add no blocks."""
    spots, rng = lattice("hexagonal", 500), np.random.default_rng(6)
    distance = spots[:, 1] - 1000
    values = 3.0 + (distance < 0) + rng.normal(0, 0.3, len(spots))
    values[::50] = np.nan
    blocks = spot_blocks(spots)
    table = profile(distance, values, blocks.of_spot, 100)
    expected = pd.Series(values).groupby(np.floor(distance / 100) * 100).agg(["mean", "count"]).loc[-500:400]
    assert table["from_um"].tolist() == list(range(-500, 500, 100))
    np.testing.assert_allclose(table["mean"], expected["mean"])
    assert table["n"].tolist() == expected["count"].tolist()
    held = (table["low"] <= 3 + (table["to_um"] <= 0)) & (table["high"] >= 3 + (table["to_um"] <= 0))
    assert held.mean() >= 0.8 and (table["high"] - table["low"]).max() < 1
    alone = profile(distance, values, np.zeros(len(spots), dtype=int), 100)
    assert alone["low"].isna().all() and alone["mean"].notna().all()
    dense = np.repeat(spots, 20, axis=0) + rng.normal(0, 1, (20 * len(spots), 2))
    many = profile(np.repeat(distance, 20), np.repeat(values, 20), blocks_at(dense, spots, blocks), 100)
    np.testing.assert_allclose(many[["mean", "low", "high"]], table[["mean", "low", "high"]], rtol=1e-6)
    for width in (5, 600):
        with pytest.raises(SettingsError, match="--band-um"):
            profile(distance, values, blocks.of_spot, width)


def test_areas_above_a_threshold():
    """A disc on a grid becomes a polygon of its area in its place; holes and pieces below the least area go, larger ones stay; the edge is closed."""
    y, x = np.mgrid[:100, :120] * 1.0
    image = 3 - np.hypot(y - 50, x - 40) / 15  # 2 at 15 steps from the middle
    image[48:53, 38:43] = 0
    image[90:93, 100:103] = 5
    image[:, 118:] = 5
    image[:5] = np.nan
    pieces = areas_above(image.astype(np.float32), 2.0, (1000.0, 500.0), 4.0, 60 * 16.0)
    assert len(pieces) == 2 and all(piece.is_valid for piece in pieces)
    disc, strip = pieces
    assert strip.bounds[1] > 1000 + 4 * 4
    assert disc.area == pytest.approx(np.pi * 60**2, rel=0.02) and not disc.interiors
    assert (disc.centroid.x, disc.centroid.y) == pytest.approx((500 + 40 * 4, 1000 + 50 * 4), abs=2)
    assert len(areas_above(image.astype(np.float32), 2.0, (0.0, 0.0), 4.0, 16.0)) == 3
    assert len(areas_above(image.astype(np.float32), 2.0, (0.0, 0.0), 4.0, 5 * 16.0)[0].interiors) == 1
    assert areas_above(image, 9.0, (0.0, 0.0), 4.0, 0.0) == [] == areas_above(image * np.nan, 1.0, (0.0, 0.0), 4.0, 0.0)


@pytest.fixture(scope="module")
def dmap(sealed_run, small, tmp_path_factory):
    """A grid of 50 um on a part of the synthetic section."""
    folder = tmp_path_factory.mktemp("maps") / "grid.zarr"
    return denser.open_denser(result_of(write_denser(sealed_run[1], small, folder, "grid", 50.0, run="a run")))


def test_proposals_know_what_they_are_made_of(dmap):
    """Each says gene, run, threshold and that it was made, has no class, and holds only points above; points between spots have no contour."""
    level = best_threshold(dmap, "SPARC")
    found = propose_outlines(dmap, "SPARC")
    assert {(one.name, one.classification, one.origin, one.gene, one.run) for one in found} == {
        (f"SPARC predicted > {level:.2f}", "", MADE, "SPARC", "a run")
    }
    values = denser.values(dmap, "SPARC")
    within = spots_inside(regions_of(found, "class")[0], dmap.centres_yx)
    high = values > level
    assert within.any() and jaccard_score(high[dmap.on_tissue], within[dmap.on_tissue]) > 0.7
    assert sum(one.geometry.area for one in propose_outlines(dmap, "SPARC", level - 0.3)) > sum(one.geometry.area for one in found)
    with pytest.raises(DataError, match="lower --above"):
        propose_outlines(dmap, "SPARC", 99)
    with pytest.raises(SettingsError, match="does not predict NOTHING"):
        propose_outlines(dmap, "NOTHING")
    with pytest.raises(DataError, match="--at grid"):
        propose_outlines(replace(dmap, cell=None), "SPARC")


def test_proposals_from_spots(phantom):
    """From spots a line lies where their values cross the threshold; the wand takes one piece; a cluster has no threshold; a lone spot no outline."""
    x = phantom.centres_yx[:, 1]
    scores = spot_scores(phantom, x.astype(float), "X", "measured")
    level = float(np.median(x))
    (right,) = outlines_above(scores, level)
    assert (right.name, right.classification, right.origin, right.gene) == (f"X measured > {level:.2f}", "", MADE, "X")
    within = spots_inside(region(right.geometry), phantom.centres_yx)
    assert ((x > level) != within)[np.abs(x - level) > 2].sum() == 0
    assert outlines_above(scores, level, (x.max(), float(phantom.centres_yx[x.argmax(), 0])))[0].geometry.equals(right.geometry)
    with pytest.raises(DataError, match="not at this place"):
        outlines_above(scores, level, (x.min(), 0.0))
    half = spot_scores(phantom, (x > level).astype(float), "cluster 1", "at spots", level=0.5)
    assert (usual_level(half), outlines_above(half, 0.5)[0].name) == (0.5, "cluster 1, at spots")
    assert refusal(region(right.geometry, MADE, "cluster 1"), "SPARC", phantom.adata.var_names)
    with pytest.raises(DataError, match="Only 1 spots"):
        spot_scores(phantom, np.where(np.arange(len(x)) == 0, 1.0, np.nan), "X", "measured")


def test_what_was_copied_does_the_same(phantom_dir, half, tmp_path, capsys, monkeypatch):
    """The command and the Python text of the window give the table that the function gives."""
    drawn = tmp_path / "drawn.geojson"
    write_outlines(drawn, half.outlines)
    section = SectionSettings(path=phantom_dir / "outs", outlines=drawn)
    found = regions_recipe(section, RegionsAsked(("SPARC",), filter=FilterSettings(min_umi=500), out=tmp_path / "t.csv"))
    assert main(shlex.split(found.command)[1:]) == 0
    capsys.readouterr()
    got: dict = {}
    exec(found.python, got)
    numbers = got["table"].select_dtypes("number")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv")[numbers.columns], numbers, check_dtype=False, rtol=1e-6)
    assert numbers["p"].notna().all()
    front = regions_recipe(section, RegionsAsked(("SPARC",), front="left half", band_um=100)).command
    assert "--front 'left half' --band-um 100" in front


def test_the_table_and_the_front_of_a_run(phantom, sealed_run, half):
    """Measured values are of spots the filter kept, predicted ones out of fold; sealed spots are in neither."""
    folder, _, hidden = sealed_run
    known = known_genes(phantom, ["SPARC", "ESR1"], folder)
    table = region_table(phantom, [half], known).set_index("gene")
    within = spots_inside(half, phantom.centres_yx)
    for one in known:
        row = table.loc[one.gene]
        usable = np.isfinite(one.measured)
        assert row["measured_n"] == (within & usable).sum() > row["predicted_n"] - 1
        assert row["measured_mean"] == pytest.approx(one.measured[within & usable].mean(), rel=1e-5)
        assert row["auroc"] == pytest.approx(roc_auc_score(within[usable], one.measured[usable]))
        assert 0 < row["p"] <= 1 and row["patients"] == "one patient" and row["caution"] == ""
        assert not np.isfinite(one.measured[hidden]).any() or not one.keep[hidden].any()
    front = front_table(phantom, half, known, 100)
    assert set(front["source"]) == {"measured", "predicted, out of fold"}
    assert front.groupby(["gene", "source"])["n"].sum().min() > 100
    with pytest.raises(SettingsError, match="6 genes at most"):
        draw_front(pd.concat([front.assign(gene=str(n)) for n in range(7)]), "", [])


def test_the_commands(phantom, phantom_dir, sealed_run, half, dmap, tmp_path, capsys):
    """regions, its front and propose-outlines write their files and say what belongs beside them."""
    drawn, table, figure = tmp_path / "drawn.geojson", tmp_path / "t.csv", tmp_path / "front.pdf"
    write_outlines(drawn, half.outlines)
    base = ["regions", str(phantom_dir), "--outlines", str(drawn), "--gene", "SPARC"]
    assert main([*base, "--out", str(table), "--against", str(drawn)]) == 0
    said = capsys.readouterr().out
    for words in ("SYNTHETIC", "one patient", "blocks", "cut by the border", "Dice 1.00", "Research use only"):
        assert words in said
    assert pd.read_csv(table)["measured_n"][0] > 100
    assert main([*base, "--run", str(sealed_run[0]), "--front", "left half", "--band-um", "100", "--plot", str(figure), "--json"]) == 0
    bands = json.loads(capsys.readouterr().out)["bands"]
    assert len(bands) == 20 and figure.read_bytes().startswith(b"%PDF")
    boxes, both = tmp_path / "boxes.svg", tmp_path / "both.png"
    assert main([*base, "--run", str(sealed_run[0]), "--plot", str(boxes)]) == 0
    for words in ("left half", "measured, inside", "predicted, out of fold, outside", "boxes are no test", "SYNTHETIC"):
        assert words in boxes.read_text(encoding="utf-8"), words
    assert main([*base, "--against", str(drawn), "--plot", str(both)]) == 0
    assert both.read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    proposed = tmp_path / "sparc.geojson"
    assert main(["propose-outlines", str(dmap.folder), "--gene", "SPARC", "--out", str(proposed)]) == 0
    assert "cannot be tested with SPARC" in capsys.readouterr().out
    assert {one.classification for one in read_outlines(proposed)} == {""}
    assert read_outline_file(proposed).drawn_on == stamp_of(phantom.slide), "the file knows the slide that the model looked at"
    assert main(["regions", str(phantom_dir), "--outlines", str(proposed), "--gene", "SPARC", "--gene", "ESR1"]) == 0
    said = capsys.readouterr().out
    assert "not tested" in said and "made from SPARC" in said, "what a file says of its origin counts"


def test_mistakes_in_the_commands(phantom_dir, half, dmap, tmp_path, capsys):
    """An outline, gene, figure or class that is not there is one sentence and exit code 2."""
    drawn, proposed = tmp_path / "drawn.geojson", tmp_path / "sparc.geojson"
    write_outlines(drawn, half.outlines)
    foreign = tmp_path / "foreign.geojson"
    write_outlines(foreign, half.outlines, SlideStamp("another.tif", 100, 100))
    base = ["regions", str(phantom_dir), "--outlines", str(drawn), "--gene", "SPARC"]
    wrong = (
        [*base, "--against", str(foreign)],
        [*base, "--front", "nowhere"],
        [*base, "--plot", "x.pdf", "--front", "left half", "--against", str(drawn)],
        [*base, "--by", "gene"],
        [*base, "--gene", "NOTHING"],
        ["propose-outlines", str(dmap.folder), "--gene", "SPARC", "--out", str(tmp_path / "x.txt")],
        ["propose-outlines", str(dmap.folder), "--gene", "SPARC", "--out", str(proposed), "--class", "Tumour"],
    )
    for arguments in wrong:
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
    assert not proposed.exists()


def test_no_command_gives_a_proposal_a_class():
    """propose-outlines has no option that could name a class."""
    from napari_deepspace.cli import app

    (command,) = [one.callback for one in app.registered_commands if one.name == "propose-outlines"]
    assert set(command.__annotations__) - {"return"} == {"denser", "gene", "out", "above", "least_um2", "as_json"}


def test_shapely_is_what_areas_are_measured_by():
    """The union of a class, its area and overlap come from one library."""
    a, b = Point(0, 0).buffer(10), Point(5, 0).buffer(10)
    dice, iou = area_overlap(a, b)
    assert iou == pytest.approx(a.intersection(b).area / shapely.union_all([a, b]).area)
    assert dice == pytest.approx(2 * iou / (1 + iou))
