"""The verdict per gene, its place in files and tables, and scores within compartments. Simulated maps are SYNTHETIC."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from shapely.geometry import box
from tests.smooth_maps import LATTICES, fields, lattice, noisy

from napari_deepspace import results
from napari_deepspace.analyse.evaluate import evaluate
from napari_deepspace.analyse.judge import LEAST_BLOCKS, LEAST_SPOTS, add_verdicts, panel_table, verdict
from napari_deepspace.analyse.metrics import pearson
from napari_deepspace.analyse.panel import Panel, judge_panel
from napari_deepspace.analyse.within import OUTSIDE, compartments_of, within
from napari_deepspace.cli import main
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.outlines import Outline, write_outlines
from napari_deepspace.runs import nan_to_none
from napari_deepspace.section import PLATFORMS, Section
from napari_deepspace.target import Target
from napari_deepspace.verdicts import BETTER, CANNOT, kind_of, no_better, worse


def judged(measured, shown, spots, **more):
    return judge_panel(Panel(measured, shown, "r", spots, **more), {name: pearson(measured, values) for name, values in shown.items()})


@pytest.mark.parametrize(
    ("low_high", "significant", "detected", "expected"),
    [
        ((0.05, 0.3), True, 0.5, BETTER),
        ((0.05, 0.3), False, 0.5, no_better("mean RGB")),
        ((-0.05, 0.3), True, 0.5, no_better("mean RGB")),
        ((-0.3, -0.05), True, 0.5, worse("mean RGB")),
        ((-0.3, 0.3), True, 0.5, no_better("mean RGB")),
        ((-0.3, 0.3), True, 0.02, CANNOT),
        ((-0.08, 0.3), True, 0.03, no_better("mean RGB")),
        ((-0.3, -0.05), True, 0.04, worse("mean RGB")),
        ((-0.3, -0.05), True, 0.015, CANNOT),
        ((np.nan, np.nan), True, 0.5, CANNOT),
    ],
)
def test_the_rule(low_high, significant, detected, expected):
    """The interval against the best way, significance and how often the gene is seen decide, as the docstring of ``verdict`` says."""
    ways = {"mean RGB": 0.3, "interpolation": 0.1, "log UMI": np.nan}
    difference = {"mean RGB": np.array(low_high), "interpolation": np.array([0.1, 0.5]), "log UMI": np.full(2, np.nan)}
    assert verdict(0.4, ways, difference, significant, 500, 20, detected) == (expected, "mean RGB")


def test_a_model_must_beat_every_way():
    """Against the second-best way the interval must lie above 0 too; with too few spots or blocks, or nothing to compare with, nothing is said."""
    ways, above = {"mean RGB": 0.3, "interpolation": 0.2}, np.array([0.1, 0.2])
    assert verdict(0.4, ways, {"mean RGB": above, "interpolation": np.array([-0.1, 0.5])}, True, 500, 20, None)[0] == no_better("mean RGB")
    difference = {"mean RGB": above, "interpolation": above}
    assert verdict(0.4, ways, difference, True, LEAST_SPOTS, LEAST_BLOCKS, None)[0] == BETTER
    assert verdict(0.4, ways, difference, True, LEAST_SPOTS - 1, 20, None)[0] == CANNOT
    assert verdict(0.4, ways, difference, True, 500, LEAST_BLOCKS - 1, None)[0] == CANNOT
    assert verdict(np.nan, ways, difference, True, 500, 20, None)[0] == CANNOT
    assert verdict(0.4, {"mean RGB": np.nan}, {"mean RGB": above}, True, 500, 20, None) == (CANNOT, None)


def test_what_is_there_is_found():
    """Of genes that the model follows, that colour follows as well, and that only colour follows, each gets its verdict."""
    rng = np.random.default_rng(0)
    spots = lattice("hexagonal", 1000)
    truth = fields(spots, "exponential", 1.5, 3, rng)
    model, colour = noisy(truth, 0.3, rng), noisy(truth, 0.3, rng)
    colour[:, 0] = fields(spots, "exponential", 1.5, 1, rng)[:, 0]
    model[:, 2] = noisy(model[:, 2:], 0.95, rng)[:, 0]
    top, genes = judged(truth, {"r": model, "mean RGB": colour}, spots)
    assert [gene["verdict"] for gene in genes] == [BETTER, no_better("mean RGB"), worse("mean RGB")]
    assert top["verdicts"] == {BETTER: 1, no_better("mean RGB"): 1, worse("mean RGB"): 1}
    assert top["interval"][0] < top["interval"][1]


@pytest.mark.parametrize(("kind", "n"), LATTICES[:4])
def test_shuffled_genes_are_never_better(kind, n):
    """Smooth predictions of model, colour and neighbours that have nothing to do with the 24 measured genes: in 5 of 5 runs none is called better."""
    spots = lattice(kind, n)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        measured, *shown = (fields(spots, "gaussian", length, 24, rng) for length in (2, 3, 1.5, 3))
        top, _ = judged(noisy(measured, 0.3, rng), dict(zip(("r", "mean RGB", "interpolation"), shown, strict=True)), spots)
        assert BETTER not in top["verdicts"]


def test_within_takes_each_compartments_mean_out():
    """A map that only tells compartments apart has no r within them; spots without a compartment, or in one of two spots, are left out."""
    rng = np.random.default_rng(1)
    labels = np.array(["tumour"] * 100 + ["stroma"] * 100 + ["tiny"] * 2 + [None] * 8, dtype=object)
    level = np.where(labels == "tumour", 5.0, 0.0)[:, None]
    inner = rng.normal(size=(210, 1))
    measured, model, colour = level + inner, level + inner + rng.normal(size=(210, 1)), level + rng.normal(size=(210, 1))
    left = within(measured, labels)
    assert np.isnan(left[200:]).all()
    assert left[:100].mean() == pytest.approx(0, abs=1e-12)
    assert pearson(measured, colour)[0] > 0.7
    assert abs(pearson(left, within(colour, labels))[0]) < 0.2
    expected = np.corrcoef(np.r_[inner[:100] - inner[:100].mean(), inner[100:200] - inner[100:200].mean()][:, 0], within(model, labels)[:200, 0])[
        0, 1
    ]
    assert pearson(left, within(model, labels))[0] == pytest.approx(expected)


@pytest.fixture(scope="module")
def scored():
    """A result with counts: three genes the model follows, one it does not, one never counted; clusters by rows of spots."""
    rng = np.random.default_rng(2)
    spots = lattice("hexagonal", 500)
    n = len(spots)
    truth = np.column_stack([fields(spots, "exponential", 1.5, 4, rng), np.zeros(n)])
    counts = rng.poisson(np.exp(truth + np.array([2, 2, 1, 1, -9])))
    names = ("A", "B", "C", "D", "never")
    adata = AnnData(X=np.column_stack([counts, rng.poisson(900, n)]).astype(np.float32), var=pd.DataFrame(index=[*names, "rest"]))
    adata.X = sparse.csr_matrix(adata.X)
    adata.obs_names = [f"s{i}" for i in range(n)]
    adata.obsm["spatial"] = spots / 0.5
    adata.obs["graphclust"] = np.where(spots[:, 1] > np.median(spots[:, 1]), "2", "1")
    section = Section(adata, None, "S", PLATFORMS["visium"], 0.5, synthetic=True)
    measured = np.log1p(counts / adata.X.sum(axis=1) * 1000)
    predicted = truth + 0.5 * rng.normal(size=truth.shape)
    predicted[:, 3] = fields(spots, "exponential", 1.5, 1, rng)[:, 0]
    columns = {results.PREDICTED: predicted, results.MEASURED: np.asarray(measured), results.BASELINES["mean RGB"]: rng.normal(size=truth.shape)}
    table = pd.DataFrame({results.SPLIT: pd.Categorical(["test"] * n), results.SOURCE: "out-of-fold", results.FOLD: -1, results.REASON: ""})
    table.index = adata.obs_names
    target = Target("genes", names, "5 named genes", target_sum=1000.0)
    about = {"split": "spatial blocks", "panel": target.panel, "training_sections": np.array(["T"], dtype=object)}
    return results.result_at_spots(section, target, {k: v.astype(np.float32) for k, v in columns.items()}, table, about)


def test_scores_carry_everything(scored):
    """Of every gene and of the panel: interval, differences to the ways, ceiling, p, compartments and verdicts; all of it fit for JSON."""
    scores = evaluate(scored)
    one = json.loads(json.dumps(nan_to_none(scores), allow_nan=False))["genes"]["A"]
    assert {"r", "mean RGB", "n", "rmse", "folds", "interval", "spearman", "moran", "ceiling", "share_of_ceiling", "p", "significant"} <= set(one)
    assert {"within", "detected", "difference", "best_way", "verdict"} <= set(one)
    assert one["verdict"] == BETTER
    assert one["difference"]["mean RGB"]["r"] == pytest.approx(one["r"] - one["mean RGB"])
    assert one["share_of_ceiling"] == pytest.approx(one["r"] / one["ceiling"])
    assert one["r"] < one["ceiling"] < 1
    assert one["detected"] == pytest.approx((scored.X[:, 0] > 0).mean())
    assert scores["genes"]["D"]["verdict"] == no_better("mean RGB")
    assert scores["genes"]["never"]["verdict"] == CANNOT
    assert scores["significant"] == sum(gene["significant"] for gene in scores["genes"].values()) == 3
    assert sum(scores["verdicts"].values()) == 5
    assert scores["interval"][0] < scores["mean"]["r"] < scores["interval"][1]
    assert scores["differences"]["mean RGB"]["mean"] == pytest.approx(scores["mean"]["r"] - scores["mean"]["mean RGB"])
    assert set(scores["within"]["mean"]) == {"r", "mean RGB"}
    assert scores["within"]["compartments"] == "clusters"
    assert scores["fdr"] == 0.05
    assert set(scores["moran"]) == {"agreement", "r"}
    assert scores["blocks"]["number"] >= LEAST_BLOCKS


def test_verdicts_are_written_into_results(scored, tmp_path):
    """``var`` names the verdict of each predicted gene, and a written file keeps it; other targets have them in ``uns``."""
    adata = scored.copy()
    scores = evaluate(adata)
    add_verdicts(adata, scores)
    results.write_result(adata, tmp_path / "out.h5ad")
    again = results.read_result(tmp_path / "out.h5ad")
    assert again.var[results.VERDICT].tolist() == [*(scores["genes"][name]["verdict"] for name in results.outputs_of(adata)), ""]
    assert {kind_of(words) for words in again.var[results.VERDICT][:-1]} == {"better", "no better", "cannot"}
    other = dataclasses.replace(results.target_of(adata), kind="obs")
    adata.uns[results.UNS]["target"] = other.to_json()
    add_verdicts(adata, scores)
    assert adata.uns[results.UNS][results.VERDICTS]["A"] == BETTER


def test_the_table_and_the_command_line(scored, tmp_path, capsys):
    """``evaluate --csv`` writes one row a gene, best first, each with its split; the text shows interval, ceiling and verdict in straight columns."""
    results.write_result(scored, tmp_path / "out.h5ad")
    assert main(["evaluate", str(tmp_path / "out.h5ad"), "--csv", str(tmp_path / "table.csv")]) == 0
    table = pd.read_csv(tmp_path / "table.csv")
    assert set(table["name"]) == {"A", "B", "C", "D", "never"}
    assert table["r"].dropna().is_monotonic_decreasing
    assert {"verdict", "low", "high", "less mean RGB, low", "ceiling", "p", "within", "detected", "split", "panel", "n"} <= set(table)
    assert len(panel_table(evaluate(scored))) == 5
    printed = capsys.readouterr().out.splitlines()[1:7]
    assert printed[0].endswith("verdict")
    assert {line.rindex("  ") for line in printed} == {printed[0].rindex("  ")}


def test_compartments(scored, tmp_path):
    """Outlines by class with the rest as one more, a column of obs, or clusters; anything else is refused in words."""
    xy = scored.obsm["spatial"]
    half = box(xy[:, 0].min() - 1, xy[:, 1].min() - 1, np.median(xy[:, 0]), xy[:, 1].max() + 1)
    write_outlines(tmp_path / "a.geojson", [Outline(half, "Tumour")])
    labels = compartments_of(scored, tmp_path / "a.geojson")
    assert set(labels) == {"Tumour", OUTSIDE}
    assert (labels[xy[:, 0] < np.median(xy[:, 0]) - 1] == "Tumour").all()
    assert compartments_of(scored, "clusters").equals(scored.obs["graphclust"])
    assert evaluate(scored, compartments="graphclust")["within"]["compartments"] == "graphclust"
    with pytest.raises(SettingsError, match="is no column of obs and no GeoJSON file"):
        evaluate(scored, compartments="nothing")
    write_outlines(tmp_path / "b.geojson", [Outline(box(-9, -9, -8, -8), "Tumour")])
    with pytest.raises(DataError, match="No spot lies in an outline"):
        evaluate(scored, compartments=tmp_path / "b.geojson")
    bare = scored.copy()
    del bare.obs["graphclust"]
    assert evaluate(bare)["within"] is None
    with pytest.raises(DataError, match="No clusters came"):
        evaluate(bare, compartments="clusters")
