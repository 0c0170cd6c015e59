"""One plain verdict per output, from the paired intervals; and the panel as a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_deepspace import results
from napari_deepspace.analyse.ceiling import LEAST_SEEN
from napari_deepspace.verdicts import BETTER, CANNOT, no_better, worse

LEAST_SPOTS = 30
LEAST_BLOCKS = 6
SELDOM = 0.1  #: a gene counted in a smaller share of the spots is seldom detected
WIDE = 0.1  #: an interval that reaches beyond -WIDE and WIDE allows a clear win and a clear loss


def verdict(
    score: float, ways: dict[str, float], difference: dict[str, np.ndarray], significant: bool, n_spots: int, n_blocks: int, detected: float | None
) -> tuple[str, str | None]:
    """The verdict on one output, and the best simple way (None where no way can be scored).

    ``ways`` are the scores of the simple ways, NaN where undefined, and ``difference`` the 95 % intervals of the model's score less theirs.

    - *cannot be judged here*: fewer than LEAST_SPOTS spots or LEAST_BLOCKS blocks, the model's score is undefined, no way can be scored, or the
      interval against the best way is undefined. Also a gene detected in fewer than LEAST_SEEN spots: resamples of a handful of molecules vary too
      little, and the interval is falsely narrow. Also a gene detected in under SELDOM of the spots if its interval against the best way reaches from
      below -WIDE to above WIDE, so that a clear win and a clear loss are both possible. A common gene with such an interval is *no better*: that
      nothing was shown is then the model's or the section's, not owed to a few molecules.
    - *better than every simple way*: the lower end is above 0 against every way that can be scored, and the map goes with the measured one beyond
      chance (p of moved maps, false discovery rate 0.05 over the panel).
    - *worse than X*: X is the best way, and the upper end against it is below 0.
    - *no better than X* otherwise: X is the best way.
    """
    known = {name: value for name, value in ways.items() if np.isfinite(value)}
    if not known:
        return CANNOT, None
    best = max(known, key=lambda name: known[name])
    low, high = difference[best]
    too_few = n_spots < LEAST_SPOTS or (detected is not None and detected * n_spots < LEAST_SEEN)
    if too_few or n_blocks < LEAST_BLOCKS or not np.isfinite([score, low, high]).all():
        return CANNOT, best
    if significant and all(difference[name][0] > 0 for name in known):
        return BETTER, best
    if high < 0:
        return worse(best), best
    if detected is not None and detected < SELDOM and low < -WIDE and high > WIDE:
        return CANNOT, best
    return no_better(best), best


def add_verdicts(adata: AnnData, scores: dict[str, Any]) -> None:
    """Write each output's verdict into a result: ``var["deepspace_verdict"]`` (text, empty for genes that were not predicted); for what is no gene
    ``uns["deepspace"]["verdicts"]``, a dict of texts. Nothing is written where no spot was scored.
    """
    found = {name: one["verdict"] for name, one in scores["genes"].items() if "verdict" in one}
    if not found:
        return
    if results.target_of(adata).kind == "genes":
        adata.var[results.VERDICT] = pd.Series([found.get(str(name), "") for name in adata.var_names], index=adata.var_names, dtype=object)
    else:
        adata.uns[results.UNS][results.VERDICTS] = found


def panel_table(scores: dict[str, Any]) -> pd.DataFrame:
    """The outputs of :func:`evaluate` as a table, one row each, best score first, flat column names, beginning with what every score must carry."""
    rows = []
    ways = [name for name in scores.get("mean", {}) if name != scores["score"]]
    for name, one in scores["genes"].items():
        row: dict[str, Any] = {"name": name, "verdict": one["verdict"], scores["score"]: one[scores["score"]]}
        row |= {"low": one["interval"][0], "high": one["interval"][1], "n": one["n"], "best_way": one["best_way"]}
        for way in ways:
            about = one["difference"].get(way, {"r": None, "interval": [None, None]})
            row |= {way: one.get(way), f"less {way}": about["r"], f"less {way}, low": about["interval"][0], f"less {way}, high": about["interval"][1]}
        row |= {key: one[key] for key in ("ceiling", "share_of_ceiling", "spearman", "rmse", "p", "significant", "within", "detected")}
        row |= {f"moran_{which}": value for which, value in one["moran"].items()}
        rows.append(row | {key: scores[key] for key in ("split", "panel", "normalisation", "library_id", "synthetic", "research_use_only")})
    table = pd.DataFrame(rows)
    return table.sort_values(scores["score"], ascending=False, na_position="last", ignore_index=True) if rows else table
