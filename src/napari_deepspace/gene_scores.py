"""The scores of a run, gene by gene, in words and as a table: what the dock says of a map, never a bare r.

The numbers are those of ``metrics.json`` (:func:`napari_deepspace.analyse.evaluate.evaluate`). Older runs lack some: of those nothing is said.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from napari_deepspace.verdicts import BETTER, CANNOT, SHOWN_WAYS, WAYS, kind_of, no_better, worse

Interval = tuple[float, float]
NONE: Interval = (math.nan, math.nan)
BEST = "best this data allows"
WITHIN = "within compartments"
"""The ceiling in plain words."""
KINDS = ("better", "no better", "worse", "cannot")


@dataclass(frozen=True)
class GeneScore:
    """One output's scores at spots that were not trained on; NaN, and "" as verdict, where a run does not tell.

    ``r`` is Pearson's (the AUC of a cluster), ``interval`` its 95 % interval, ``ways`` r of each simple way, ``differences`` r of the model less that
    of the way with its interval, ``moran`` Moran's I measured and predicted.
    """

    name: str
    r: float = math.nan
    interval: Interval = NONE
    ways: dict[str, float] = field(default_factory=dict)
    differences: dict[str, tuple[float, Interval]] = field(default_factory=dict)
    ceiling: float = math.nan
    share: float = math.nan
    spearman: float = math.nan
    rmse: float = math.nan
    moran: tuple[float, float] = NONE
    within: float = math.nan
    detected: float = math.nan
    n: int = 0
    verdict: str = ""

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`, or "" without a verdict."""
        return kind_of(self.verdict) if self.verdict else ""

    @property
    def doubt(self) -> str:
        """The verdict, where it is not the first: such a map is greyed."""
        return self.verdict if self.kind not in ("", "better") else ""


@dataclass(frozen=True)
class Scores:
    """All outputs of one section's result; ``score`` is "r" or "AUC", ``split`` and ``panel`` are in words."""

    genes: dict[str, GeneScore]
    score: str = "r"
    n: int = 0
    split: str = ""
    panel: str = ""
    synthetic: bool = False

    def of(self, gene: str) -> GeneScore:
        """The scores of ``gene``; without any, where the run does not tell them."""
        return self.genes.get(gene) or GeneScore(gene)

    def ordered(self) -> list[GeneScore]:
        """Best verdict first, then by r; what cannot be judged last."""
        rank = {kind: number for number, kind in enumerate((*KINDS[:3], "", KINDS[3]))}
        return sorted(self.genes.values(), key=lambda one: (rank[one.kind], -one.r if math.isfinite(one.r) else 9.0))

    def summary(self) -> str:
        """How many genes have which verdict; "" where the run gives no verdicts."""
        return summary(self._verdicts(), len(self.genes), self.score)

    def short_summary(self) -> str:
        """The same in one line."""
        return short_summary(self._verdicts(), len(self.genes), self.score)

    def _verdicts(self) -> Counter[str]:
        return Counter(one.verdict for one in self.genes.values() if one.verdict)

    def where(self) -> str:
        """On which spots, and how they were kept back."""
        return f"{self.n:,} spots not trained on" + (f"; {self.split}" if self.split else "")

    def numbers(self, gene: str) -> str:
        """r of ``gene`` with all that belongs to it: interval, number of spots, split, ceiling, simple ways; "" where r is not known."""
        one = self.of(gene)
        if not math.isfinite(one.r):
            return ""
        beside = [f"{WAYS.get(name, name)} {r:.2f}" for name, r in one.ways.items() if math.isfinite(r)]
        best = [f"{BEST} {one.ceiling:.2f}"] if math.isfinite(one.ceiling) else []
        inside = [f"{WITHIN} {one.within:.2f}"] if math.isfinite(one.within) else []
        words = "; ".join([*best, *inside, *beside])
        return f"{self.score} {one.r:.2f}{in_interval(one.interval)} at {self.where()}." + (f" {words[0].upper()}{words[1:]}." if words else "")

    def against(self, gene: str) -> list[str]:
        """How the map of ``gene`` does against each simple way, by the interval: "better than colour alone (difference in r +0.10; ...)".

        Ways that the bars show come first.
        """
        return [
            f"{against_words(way, interval)} (difference in {self.score} {difference:+.2f}; 95 %: {interval[0]:+.2f} to {interval[1]:+.2f})"
            for way, (difference, interval) in sorted(self.of(gene).differences.items(), key=lambda one: one[0] not in SHOWN_WAYS)
            if way in WAYS and math.isfinite(difference) and all(map(math.isfinite, interval))
        ]

    def at_a_glance(self, gene: str) -> str:
        """Where the model, the ceiling and the simple ways of the bars stand: "r 0.94 of 0.98 (best this data allows); colour alone 0.84".

        Beside r what is left of it within compartments: r over two of them may come of telling one from the other alone.
        """
        one = self.of(gene)
        if not math.isfinite(one.r):
            return ""
        best = f" of {one.ceiling:.2f} ({BEST})" if math.isfinite(one.ceiling) else ""
        ways = [f"{WAYS[way]} {one.ways[way]:.2f}" for way in SHOWN_WAYS if math.isfinite(one.ways.get(way, math.nan))]
        inside = [f"{WITHIN} {one.within:.2f}"] if math.isfinite(one.within) else []
        return "; ".join([f"{self.score} {one.r:.2f}{best}", *inside, *ways])

    def table(self) -> pd.DataFrame:
        """One row a gene; columns are named as in the glossary, in plain words."""
        ways = [way for way in WAYS if any(way in one.ways for one in self.genes.values())]
        frame = pd.DataFrame([_row(one, ways, self.score) for one in self.ordered()])
        if len(frame):  # verdicts sort from better to what cannot be judged, not by the alphabet
            words = sorted(frame["verdict"].dropna().unique(), key=lambda words: (KINDS.index(kind_of(words)), words))
            frame["verdict"] = pd.Categorical(frame["verdict"], words, ordered=True)
        return frame


def short_summary(counts: Mapping[str, int], n: int, score: str = "r") -> str:
    """The same in one line: which simple way it is that the model does not beat is left out."""
    if not counts:
        return ""
    kinds = Counter[str]()
    for verdict, count in counts.items():
        kinds[kind_of(verdict)] += count
    words = {"no better": "no better than a simple way", "worse": "worse", "cannot": CANNOT}
    rest = [f"{kinds[kind]:,} {words[kind]}" for kind in words if kinds[kind]]
    return f"{'; '.join([_better(kinds['better'], n, score), *rest])}."


def _better(count: int, n: int, score: str) -> str:
    return f"{count:,} of {n:,} {'genes' if score == 'r' else 'outputs'} {'is' if count == 1 else 'are'} {BETTER}"


def summary(counts: Mapping[str, int], n: int, score: str = "r") -> str:
    """How many of ``n`` outputs have which verdict, in words: "9 of 24 genes are better than every simple way; 12 no better than ..."."""
    if not counts:
        return ""
    better, cannot = counts.get(BETTER, 0), counts.get(CANNOT, 0)
    others = sorted(((verdict, count) for verdict, count in counts.items() if verdict not in (BETTER, CANNOT)), key=lambda one: -one[1])
    others.sort(key=lambda one: kind_of(one[0]) == "worse")
    parts = [_better(better, n, score)]
    parts += [f"{count:,} {verdict}" for verdict, count in [*others, (CANNOT, cannot)] if count]
    return f"{'; '.join(parts)}."


def against_words(way: str, interval: Interval) -> str:
    """What the 95 % interval of (r of the model less r of ``way``) says."""
    low, high = interval
    if low > 0:
        return f"better than {WAYS[way]}"
    return worse(way) if high < 0 else no_better(way)


def in_interval(interval: Interval) -> str:
    """An interval in brackets, "" where it is not known."""
    return f" (95 %: {interval[0]:.2f} to {interval[1]:.2f})" if all(math.isfinite(x) for x in interval) else ""


def read_scores(scores: Mapping[str, Any]) -> Scores:
    """The scores of one section of ``metrics.json``; whatever is missing or None is left out."""
    genes = scores.get("genes") or {}
    name = str(scores.get("score") or "r")
    ways = [way for way in scores.get("mean") or {} if way not in ("r", "AUC")]
    ways = [*ways, *(way for way in WAYS if way not in ways)]
    return Scores(
        {gene: _gene(gene, one or {}, name, ways) for gene, one in genes.items()},
        name,
        int(scores.get("n_spots") or 0),
        str(scores.get("split") or ""),
        str(scores.get("panel") or ""),
        bool(scores.get("synthetic")),
    )


def _gene(gene: str, one: Mapping[str, Any], score: str, ways: list[str]) -> GeneScore:
    moran = one.get("moran") or {}
    differences = {way: (number(d.get("r")), read_interval(d.get("interval"))) for way, d in (one.get("difference") or {}).items() if d}
    return GeneScore(
        gene,
        r=number(one.get(score)),
        interval=read_interval(one.get("interval")),
        ways={way: number(one[way]) for way in ways if one.get(way) is not None},
        differences=differences,
        ceiling=number(one.get("ceiling")),
        share=number(one.get("share_of_ceiling")),
        spearman=number(one.get("spearman")),
        rmse=number(one.get("rmse")),
        moran=(number(moran.get("measured")), number(moran.get("predicted"))),
        within=number(one.get("within")),
        detected=number(one.get("detected")),
        n=int(one.get("n") or 0),
        verdict=str(one.get("verdict") or ""),
    )


def _row(one: GeneScore, ways: list[str], score: str) -> dict[str, Any]:
    return {
        "gene": one.name,
        "verdict": one.verdict or None,
        score: one.r,
        "from": one.interval[0],
        "to": one.interval[1],
        BEST: one.ceiling,
        f"{score} / best": one.share,
        **{WAYS[way]: one.ways.get(way, math.nan) for way in ways},
        WITHIN: one.within,
        "Spearman": one.spearman,
        "RMSE": one.rmse,
        "Moran's I measured": one.moran[0],
        "Moran's I predicted": one.moran[1],
        "Moran's I difference": one.moran[1] - one.moran[0],
        "detected": one.detected,
        "spots": one.n,
    }


def number(value: Any) -> float:
    """A number of JSON; NaN for None and whatever is no number."""
    return float(value) if isinstance(value, (int, float)) else math.nan


def read_interval(value: Any) -> Interval:
    """Lower and upper end; NaN where they are not known."""
    return (number(value[0]), number(value[1])) if isinstance(value, (list, tuple)) and len(value) == 2 else NONE
