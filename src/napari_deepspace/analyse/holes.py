"""Holes: adjoining spots without a usable measurement, and the test that must be passed before a prediction fills them.

What a prediction is worth in a hole cannot be told there, for nothing was measured. It is told in *dummy holes*: the hole's own shape, turned and
shifted at random, laid where spots were measured and were predicted out of fold. A hole whose shape fits nowhere has no score, and is not filled.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from anndata import AnnData
from scipy.spatial import cKDTree

from napari_deepspace import results
from napari_deepspace.analyse.baselines import NEIGHBOURS, interpolate
from napari_deepspace.analyse.metrics import auc, in_chunks, pearson
from napari_deepspace.preprocess.failed_regions import MIN_SPOTS, REACH, components
from napari_deepspace.verdicts import WAYS

DUMMIES = 20  #: dummy holes a hole is tested in, at most
LEAST_DUMMIES = 3  #: fewer are no test
LEAST_SHARE = 0.8  #: of a dummy hole's spots, measured and predicted out of fold
TRIES = 2000
MANY_UNLIKE = 0.1  #: share of a hole's tiles beyond which the test is said not to speak for them
GENES_TOLD = 50_000  #: outputs of all holes together that the table tells of one by one
OVERLAP = 0.5  #: share of its spots that a dummy hole may have in common with another
BESIDE = 0.6  #: every spot nearer than this many pitches to where the shape wants one is taken

SINGLE_SPOTS = {"random": "random spots", "every ": "every-nth"}
"""Splits that leave out single spots, by how their words begin."""
INTERPOLATION, COPY = "interpolation", "neighbouring section"


def judge_holes(adata: AnnData, seed: int = 0) -> list[dict[str, Any]]:
    """Find the holes of a result at spots, test them in dummy holes, and take the prediction out of those that have no test.

    Changes ``adata``: ``obs["deepspace_hole"]`` (number of the hole, 0: none), ``obs["imputed"]`` (bool), and the table that is returned in
    ``uns["deepspace"]["holes"]`` as JSON. Where a hole is not filled its predictions are NaN, and ``obs["deepspace_reason"]`` says why.

    Each row of the table is fit for JSON: ``hole``, ``spots``, ``dummy_holes``, ``n`` (spots scored in a dummy hole, on average), the score (``r``,
    or ``AUC`` of clusters: the mean over outputs and dummy holes), ``interval`` (where 95 % of single dummy holes lie), the simple ways by their
    names (``interpolation`` from measured spots outside the dummy hole only; ``neighbouring section`` where there is one), ``filled``, ``unlike``
    (share of the hole's tiles that are unlike those of the training, where the model knows), ``words``, ``note`` (the words in short), and ``genes``
    with the same for each output; the last is left out of smaller holes where there is too much of it.
    """
    source = adata.obs[results.SOURCE].astype(str).to_numpy()
    predicted = results.values_of(adata, results.PREDICTED)
    assert predicted is not None
    measured = results.values_of(adata, results.MEASURED)
    hole_of = np.zeros(adata.n_obs, dtype=np.int64)
    table: list[dict[str, Any]] = []
    lost = (source == "imputed") & ~_left_out(adata)
    if adata.n_vars and adata.X is not None and lost.sum() >= MIN_SPOTS:
        centres_um = np.asarray(adata.obsm["spatial"], dtype=np.float64) * float(adata.uns[results.UNS]["mpp"])
        pitch_um = _pitch(centres_um)
        rng = np.random.default_rng(seed)
        for rows in sorted(components(centres_um, lost, REACH * pitch_um), key=len, reverse=True):
            if len(rows) < MIN_SPOTS:  # a spot between its neighbours is what the folds test
                break
            hole_of[rows] = len(table) + 1
            dummies = [] if measured is None else dummy_holes(centres_um, rows, _scored(adata, measured, predicted), pitch_um, rng)
            table.append({"hole": len(table) + 1, "spots": len(rows)} | _tested(adata, measured, predicted, centres_um, dummies))
            table[-1] |= _warned(adata, rows, table[-1])
            if len(table) * len(results.outputs_of(adata)) > GENES_TOLD:
                table[-1].pop("genes", None)
            if not table[-1]["filled"]:
                _take_out(adata, rows, table[-1]["words"])
    adata.obs[results.HOLE] = hole_of
    source = adata.obs[results.SOURCE].astype(str).to_numpy()
    adata.obs[results.IMPUTED] = (source == "imputed") & np.isfinite(predicted).any(axis=1)
    adata.uns[results.UNS][results.HOLES] = json.dumps(table)
    return table


def fill(adata: AnnData) -> None:
    """Add what is measured where it was measured, and imputed where not, under ``deepspace_filled``: a layer for genes, else a table of ``obsm``.

    Float32; ``obs["imputed"]`` says which; NaN at spots that have neither. Both are on the scale of ``deepspace_predicted``.
    """
    predicted, measured = (results.values_of(adata, slot) for slot in (results.PREDICTED, results.MEASURED))
    assert predicted is not None
    imputed = adata.obs[results.IMPUTED].to_numpy(dtype=bool)
    values = np.where(_usable(adata)[:, None], np.nan if measured is None else measured, np.nan)
    values = np.where(imputed[:, None], predicted, values).astype(np.float32)
    if results.PREDICTED in adata.layers:
        layer = np.full(adata.shape, np.nan, dtype=np.float32)
        index = adata.var_names.get_indexer(results.outputs_of(adata))
        layer[:, index[index >= 0]] = values[:, index >= 0]
        adata.layers[results.FILLED] = layer
    else:
        table = adata.obsm[results.PREDICTED].copy()
        table.iloc[:, :] = values
        adata.obsm[results.FILLED] = table


def dummy_holes(centres_um: np.ndarray, hole: np.ndarray, scored: np.ndarray, pitch_um: float, rng: np.random.Generator) -> list[np.ndarray]:
    """At most DUMMIES places where the shape of ``hole`` (rows) fits on ``scored`` spots (bool, n): the rows of each, those not scored included.

    The shape is turned and turned over only as the spots' lattice maps onto itself, so that a dummy hole holds every spot inside its shape.
    """
    shape, tree = centres_um[hole] - centres_um[hole[0]], cKDTree(centres_um)
    anchors = np.flatnonzero(scored)
    if len(anchors) < LEAST_SHARE * len(hole):
        return []
    fold, axis = _lattice(centres_um, pitch_um)
    over = np.array([[np.cos(2 * axis), np.sin(2 * axis)], [np.sin(2 * axis), -np.cos(2 * axis)]])  # the mirror image along an axis of the lattice
    found: list[np.ndarray] = []
    for anchor, turn, turned_over in zip(rng.choice(anchors, TRIES), rng.integers(0, fold, TRIES), rng.integers(0, 2, TRIES), strict=True):
        cos, sin = np.cos(2 * np.pi / fold * turn), np.sin(2 * np.pi / fold * turn)
        wanted = centres_um[anchor] + (shape @ over if turned_over else shape) @ np.array([[cos, -sin], [sin, cos]])
        rows = np.unique(np.concatenate(tree.query_ball_point(wanted, BESIDE * pitch_um))).astype(np.int64)
        if scored[rows].sum() >= LEAST_SHARE * len(hole) and not any(len(np.intersect1d(rows, other)) > OVERLAP * len(hole) for other in found):
            found.append(rows)
        if len(found) == DUMMIES:
            break
    return found


def _lattice(centres_um: np.ndarray, pitch_um: float) -> tuple[int, float]:
    """How the spots lie: 6 turns of a hexagonal lattice or 4 of a square one map it onto itself; and the direction of one of its rows, in radians."""
    pairs = cKDTree(centres_um).query_pairs(1.2 * pitch_um, output_type="ndarray")
    step = centres_um[pairs[:, 1]] - centres_um[pairs[:, 0]]
    angle = np.arctan2(step[:, 1], step[:, 0])
    mean = {fold: np.exp(1j * fold * angle).mean() for fold in (6, 4)}
    fold = max(mean, key=lambda one: abs(mean[one]))
    return fold, float(np.angle(mean[fold]) / fold)


def _left_out(adata: AnnData) -> np.ndarray:
    """Spots that only a cluster's being left out removes, bool (n_spots,): they were measured well, and that they are predicted is what was asked."""
    reason = adata.obs[results.REASON].astype(str)
    return np.asarray(reason.str.startswith("cluster ") & ~reason.str.contains("; ", regex=False))


def _usable(adata: AnnData) -> np.ndarray:
    """Spots that passed the filter: bool (n_spots,)."""
    source = adata.obs[results.SOURCE].astype(str).to_numpy()
    return np.asarray((adata.obs[results.REASON].astype(str).to_numpy() == "") & ~np.isin(source, ("imputed", "removed")))


def _scored(adata: AnnData, measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Spots that were measured and predicted out of fold: bool (n_spots,)."""
    test = adata.obs[results.SPLIT].astype(str).to_numpy() == "test"
    return np.asarray(test & _usable(adata) & np.isfinite(measured).any(axis=1) & np.isfinite(predicted).any(axis=1))


def _pitch(centres_um: np.ndarray) -> float:
    return float(np.median(cKDTree(centres_um).query(centres_um, k=2)[0][:, 1]))


def _nearest(centres_um: np.ndarray, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The rows of ``known`` (bool, n) that interpolation at rows ``wanted`` goes by: the values of all spots would be copied for each dummy hole."""
    rows = np.flatnonzero(known)
    return rows[np.unique(cKDTree(centres_um[rows]).query(centres_um[wanted], k=min(NEIGHBOURS, len(rows)))[1])]


def _tested(adata: AnnData, measured: np.ndarray | None, predicted: np.ndarray, centres_um: np.ndarray, dummies: list[np.ndarray]) -> dict[str, Any]:
    """What the dummy holes say, as :func:`judge_holes` tells it."""
    if measured is None or len(dummies) < LEAST_DUMMIES:
        why = _unfilled(adata, measured, predicted, len(dummies))
        return {"dummy_holes": len(dummies), "filled": False} | dict.fromkeys(("words", "note"), why)
    target = results.target_of(adata)
    copies = results.values_of(adata, results.BASELINES[COPY])
    usable, scored = _usable(adata) & np.isfinite(measured).any(axis=1), _scored(adata, measured, predicted)
    number = auc if target.kind == "clusters" else pearson
    by_way: dict[str, list[np.ndarray]] = {}
    for rows in dummies:
        known, inside = usable.copy(), rows[scored[rows]]
        known[rows] = False
        shown = {target.score: predicted[inside]}
        if known.any():
            near = _nearest(centres_um, known, inside)
            shown[INTERPOLATION] = interpolate(centres_um[near], measured[near], centres_um[inside])
        if copies is not None and np.isfinite(copies[inside]).any():
            shown[COPY] = copies[inside]
        for way, values in shown.items():
            by_way.setdefault(way, []).append(in_chunks(number, measured[inside], values))
    scores = {way: np.stack(found) for way, found in by_way.items()}
    if target.kind != "clusters":  # as everywhere, an undefined r counts as 0
        scores = {way: np.nan_to_num(found) for way, found in scores.items()}
    mean = _of_columns(np.nanmean)
    one: dict[str, Any] = {"dummy_holes": len(dummies), "n": float(np.mean([scored[rows].sum() for rows in dummies]))}
    one |= {way: float(mean(mean(found).reshape(-1, 1))[0]) for way, found in scores.items()}
    over_outputs = mean(scores[target.score].T)
    one |= {"interval": _interval(over_outputs), "filled": True}
    one["genes"] = {
        name: {way: float(mean(found[:, [k]])[0]) for way, found in scores.items()} | {"interval": _interval(scores[target.score][:, k])}
        for k, name in enumerate(target.names)
    }
    seen = bool((adata.obs[results.FOLD].to_numpy() >= 0).any())
    note = [f"dummy holes {one[target.score]:.2f}", *(f"{WAYS[way]} {one[way]:.2f}" for way in (INTERPOLATION, COPY) if way in one)]
    return one | {"note": ", ".join(note), "words": score_words(one, target.score, str(adata.uns[results.UNS].get("split", "")) if seen else "")}


def _warned(adata: AnnData, rows: np.ndarray, one: dict[str, Any]) -> dict[str, Any]:
    """What to add where the tiles of a filled hole look unlike those that the model, and so its test, knows."""
    if results.UNLIKE not in adata.obs or not one["filled"]:
        return {}
    share = float(adata.obs[results.UNLIKE].to_numpy(dtype=bool)[rows].mean())
    if share <= MANY_UNLIKE:
        return {"unlike": share}
    warning = f"but {share:.0%} of its tiles are unlike those of the training"
    return {"unlike": share, "words": f"{one['words']}; {warning}: the few counts may be the truth", "note": f"{one['note']}; {warning}"}


def score_words(one: dict[str, Any], score: str, split: str = "") -> str:
    """The test of a hole in words: "in 20 dummy holes: r 0.24 (single ones 0.10 to 0.41); neighbours alone 0.12"."""
    low, high = one["interval"]
    words = [f"in {one['dummy_holes']} dummy holes: {score} {one[score]:.2f} (single ones {low:.2f} to {high:.2f})"]
    words += [f"{WAYS[way]} {one[way]:.2f}" for way in (INTERPOLATION, COPY) if way in one]
    if kind := next((kind for begin, kind in SINGLE_SPOTS.items() if split.startswith(begin)), ""):
        words.append(f"too high, for spots beside those predicted were trained on ({kind})")
    return "; ".join(words)


def _unfilled(adata: AnnData, measured: np.ndarray | None, predicted: np.ndarray, dummies: int) -> str:
    if measured is None or not _scored(adata, measured, predicted).any():
        return "not filled: no spot of this section is measured and predicted out of fold"
    if not dummies:
        return "not filled: no dummy hole of its size fits"
    return f"not filled: {dummies} dummy hole{'s' * (dummies > 1)} of its size found room, and {LEAST_DUMMIES} are needed"


def _take_out(adata: AnnData, rows: np.ndarray, why: str) -> None:
    """No prediction at ``rows``."""
    if results.PREDICTED in adata.layers:
        adata.layers[results.PREDICTED][rows] = np.nan
    elif isinstance(adata.obsm[results.PREDICTED], np.ndarray):
        adata.obsm[results.PREDICTED][rows] = np.nan
    else:
        adata.obsm[results.PREDICTED].iloc[rows] = np.nan
    if results.CLUSTER in adata.obs:
        adata.obs.iloc[rows, adata.obs.columns.get_loc(results.CLUSTER)] = np.nan
    source, reason = adata.obs[results.SOURCE].copy(), adata.obs[results.REASON].astype(object).copy()
    source.iloc[rows] = "removed"
    reason.iloc[rows] = [f"{before}; {why}" if before else why for before in reason.iloc[rows]]
    adata.obs[results.SOURCE], adata.obs[results.REASON] = source, reason


def _of_columns(number: Callable[..., Any]) -> Callable[[np.ndarray], np.ndarray]:
    """``number`` of every column's finite values; NaN for a column without any."""
    return lambda values: np.array([number(column) if np.isfinite(column).any() else np.nan for column in values.T])


def _interval(values: np.ndarray) -> list[float]:
    """Where 95 % of the dummy holes lie."""
    finite = values[np.isfinite(values)]
    return [float(x) for x in np.percentile(finite, [2.5, 97.5])] if len(finite) else [float("nan"), float("nan")]
