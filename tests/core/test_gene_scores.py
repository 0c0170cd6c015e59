"""What is said of a run's scores, in words and as a table."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_deepspace.gene_scores import BEST, KINDS, read_scores
from napari_deepspace.verdicts import BETTER, CANNOT, kind_of, no_better, worse


def gene(r, verdict, **more):
    """One gene's entry of metrics.json."""
    against = {"mean RGB": (0.2, 0.1), "interpolation": (0.3, 0.1)}
    return {
        "r": r, "n": 174, "rmse": 0.5, "interval": [r - 0.1, r + 0.1], "spearman": r, "moran": {"measured": 0.4, "predicted": 0.6},
        "ceiling": 0.7, "share_of_ceiling": r / 0.7, "detected": 0.5, "verdict": verdict,
        **{way: value for way, (value, _) in against.items()},
        "difference": {way: {"r": r - value, "interval": [r - value - half, r - value + half]} for way, (value, half) in against.items()},
    } | more  # fmt: skip


RUN = {
    "score": "r", "mean": {"r": 0.3, "mean RGB": 0.2, "interpolation": 0.3}, "n_spots": 174, "split": "spatial blocks", "panel": "4 named genes",
    "synthetic": False,
    "genes": {
        "A": gene(0.25, no_better("mean RGB")), "B": gene(0.55, BETTER), "C": gene(0.01, worse("interpolation")),
        "D": gene(0.1, CANNOT, ceiling=None),
    },
}  # fmt: skip


def test_the_summary_counts_the_verdicts_in_words():
    """How many of how many genes are better than every simple way, and what becomes of the others."""
    expected = "1 of 4 genes is better than every simple way; 1 no better than colour alone; 1 worse than neighbours alone; 1 cannot be judged here."
    assert read_scores(RUN).summary() == expected
    short = "1 of 4 genes is better than every simple way; 1 no better than a simple way; 1 worse; 1 cannot be judged here."
    assert read_scores(RUN).short_summary() == short


def test_genes_stand_in_the_order_of_their_verdicts():
    """Better first, then no better, worse, and what cannot be judged."""
    assert [one.name for one in read_scores(RUN).ordered()] == ["B", "A", "C", "D"]


def test_r_never_stands_alone():
    """r comes with its interval, number of spots, split, ceiling and the simple ways in plain words."""
    words = read_scores(RUN).numbers("B")
    parts = ("r 0.55 (95 %: 0.45 to 0.65)", "174 spots not trained on", "spatial blocks", f"{BEST.capitalize()} 0.70", "colour alone 0.20")
    for part in (*parts, "neighbours alone 0.30"):
        assert part in words


def test_one_line_says_where_the_gene_stands():
    """The model's r, the most that the data allow, and the simple ways that the bars show."""
    assert read_scores(RUN).at_a_glance("B") == f"r 0.55 of 0.70 ({BEST}); colour alone 0.20; neighbours alone 0.30"


def test_r_within_compartments_stands_beside_r():
    """A gene of two clouds, high over the section and nothing inside either, does not pass for more than that."""
    clouds = read_scores(RUN | {"genes": {"A": gene(0.8, BETTER) | {"within": 0.05}}})
    assert clouds.at_a_glance("A").startswith(f"r 0.80 of 0.70 ({BEST}); within compartments 0.05; colour alone")
    assert "within compartments 0.05" in clouds.numbers("A")
    assert clouds.table()["within compartments"].tolist() == [0.05]


def test_each_simple_way_is_compared_by_the_interval_of_the_difference():
    """An interval above 0 is better, one below it worse, and one that holds it no better."""
    found = {name: [words.split(" (")[0] for words in read_scores(RUN).against(name)] for name in "BAC"}
    assert found["B"] == ["better than colour alone", "better than neighbours alone"]
    assert found["A"] == ["no better than colour alone", "no better than neighbours alone"]
    assert found["C"] == ["worse than colour alone", "worse than neighbours alone"]


def test_an_older_run_says_less_and_breaks_nothing():
    """Without verdicts, intervals and ceilings nothing is said of them; None counts as unknown."""
    genes = {"A": {"r": 0.3, "mean RGB": 0.1}, "B": {"r": None, "interval": None, "moran": None}}
    scores = read_scores({"mean": {"r": 0.3}, "n_spots": 9, "genes": genes})
    assert scores.summary() == ""
    assert scores.numbers("A") == "r 0.30 at 9 spots not trained on. Colour alone 0.10."
    assert scores.numbers("B") == ""
    assert scores.of("A").doubt == scores.of("nowhere").doubt == ""
    assert len(scores.table()) == 2
    assert read_scores({}).genes == {}


def test_the_table_has_all_numbers():
    """One row a gene with verdict, r, interval, ceiling, r by ceiling, every simple way, Spearman, Moran's I, detection and spots."""
    table = read_scores(RUN).table()
    assert list(table["gene"]) == ["B", "A", "C", "D"]
    wanted = {
        "verdict",
        "r",
        "from",
        "to",
        BEST,
        "r / best",
        "colour alone",
        "neighbours alone",
        "Spearman",
        "Moran's I measured",
        "detected",
        "spots",
    }
    assert wanted <= set(table.columns)
    assert table.loc[0, "r / best"] == pytest.approx(0.55 / 0.7)
    assert math.isnan(table.loc[3, BEST])
    assert np.isfinite(table["colour alone"]).all()


def test_the_table_sorts_by_verdict_and_by_the_agreement_of_smoothness():
    """Verdicts sort from better to what cannot be judged, not by the alphabet; Moran's I predicted less measured has a column of its own."""
    table = read_scores(RUN).table()
    np.testing.assert_allclose(table["Moran's I difference"], table["Moran's I predicted"] - table["Moran's I measured"])
    kinds = [kind_of(verdict) for verdict in table.sort_values("verdict")["verdict"]]
    assert kinds == sorted(kinds, key=KINDS.index)
    assert len(set(kinds)) == 4
