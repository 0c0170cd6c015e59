"""Which spots train, validate and test in each fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from sklearn.model_selection import KFold

from napari_deepspace.errors import TrainingError
from napari_deepspace.settings import SplitSettings

TRAINING, VALIDATION, TEST, GUARD, EXCLUDED = range(5)
PART_NAMES = ("training", "validation", "test", "guard", "excluded")


@dataclass(frozen=True)
class Split:
    """The parts of every spot of all sections, one after another.

    ``parts`` int8 (n_spots, n_folds) holds TRAINING .. EXCLUDED; ``home`` int (n_spots,) is the fold a spot is tested in (-1: none);
    ``groups`` int (n_spots,) are neighbourhoods that belong together when the training part is divided again.
    """

    parts: np.ndarray
    home: np.ndarray
    groups: np.ndarray
    words: str

    @property
    def n_folds(self) -> int:
        return self.parts.shape[1]


def make_split(centres_um: Sequence[np.ndarray], keep: Sequence[np.ndarray], settings: SplitSettings, view_um: float, pitch_um: float) -> Split:
    """Divide the spots of all sections.

    ``centres_um`` holds one (n, 2) array per section, ``keep`` one bool (n,): spots that failed the filter are EXCLUDED in every fold,
    but have a home fold too, so that they can be predicted by a model that saw none of their neighbourhood. ``view_um`` is the side of the widest
    square that a model looks at around a spot: with a guard band of that width no pixel of a training spot's squares lies in a test spot's.

    Raises
    ------
    TrainingError
        Too few spots or blocks for the folds asked for.
    """
    kept = np.concatenate(list(keep))
    if kept.sum() < 10:
        raise TrainingError(f"Only {int(kept.sum())} spots pass the filter; training needs at least 10. Lower the UMI and gene thresholds.")
    rng = np.random.default_rng(settings.seed)
    guard_um = view_um if settings.guard_um is None else settings.guard_um
    block_um = settings.block_um or max(5 * pitch_um, 2 * guard_um)  # around blocks no wider than the band nothing would be left to train on
    groups = _blocks(centres_um, block_um)
    if settings.kind == "whole":
        parts = np.full((len(kept), 1), TRAINING, dtype=np.int8)
        chosen = rng.permutation(np.flatnonzero(kept))[: max(1, round(settings.validation * kept.sum()))]
        parts[chosen, 0] = VALIDATION
        parts[~kept] = EXCLUDED
        return Split(parts, np.full(len(kept), -1), groups, "every spot of the training sections trains")
    if settings.kind == "random":
        home = _random_folds(kept, settings.folds, settings.seed)
        words = f"random spots, {settings.folds} folds (as in the paper; neighbouring tiles overlap)"
        guard_um = 0.0
    else:
        home = _block_folds(groups, kept, settings.folds, rng)
        words = f"spatial blocks of {block_um:g} um, {settings.folds} folds, guard band {guard_um:g} um"
    columns = [
        _fold_parts(fold, home, kept, groups, centres_um, guard_um, settings.validation, settings.kind == "blocks", rng)
        for fold in range(settings.folds)
    ]
    return Split(np.stack(columns, axis=1), home, groups, words)


def _blocks(centres_um: Sequence[np.ndarray], block_um: float) -> np.ndarray:
    """A number per spot for the square block it lies in, counted through all sections."""
    groups, first = [], 0
    for centres in centres_um:
        cell = np.floor((centres - centres.min(axis=0)) / block_um).astype(int)
        _, number = np.unique(cell, axis=0, return_inverse=True)
        groups.append(first + number.ravel())
        first += int(number.max()) + 1
    return np.concatenate(groups)


def _block_folds(groups: np.ndarray, kept: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Blocks in random order, each to the fold with the fewest spots so far."""
    sizes = np.bincount(groups, weights=kept)
    if (sizes > 0).sum() < folds:
        raise TrainingError(
            f"The section has {(sizes > 0).sum()} spatial blocks for {folds} folds. Make the blocks smaller (split.block_um), ask for fewer folds, "
            "or train on whole sections and score another (split.kind: whole)."
        )
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = np.zeros(folds)
    fold_of = np.zeros(len(sizes), dtype=int)
    for block in order:
        fold_of[block] = int(np.argmin(filled))
        filled[fold_of[block]] += sizes[block]
    return fold_of[groups]


def _random_folds(kept: np.ndarray, folds: int, seed: int) -> np.ndarray:
    home = np.zeros(len(kept), dtype=int)
    for rows in (np.flatnonzero(kept), np.flatnonzero(~kept)):
        if len(rows) >= folds:
            for fold, (_, test) in enumerate(KFold(folds, shuffle=True, random_state=seed).split(rows)):
                home[rows[test]] = fold
    return home


def _fold_parts(
    fold: int,
    home: np.ndarray,
    kept: np.ndarray,
    groups: np.ndarray,
    centres_um: Sequence[np.ndarray],
    guard_um: float,
    validation: float,
    by_block: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    parts = np.full(len(home), TRAINING, dtype=np.int8)
    parts[home == fold] = TEST
    parts[_near_test(home == fold, centres_um, guard_um) & (home != fold)] = GUARD
    parts[~kept] = EXCLUDED
    training = np.flatnonzero(parts == TRAINING)
    wanted = round(validation * len(training))
    if len(training) < 5:
        raise TrainingError(f"Fold {fold + 1} keeps {len(training)} spots to train on. Lower the thresholds, the block size or the guard band.")
    if by_block:
        for group in rng.permutation(np.unique(groups[training])):
            if (parts == VALIDATION).sum() >= wanted:
                break
            parts[training[groups[training] == group]] = VALIDATION
    if (parts == TRAINING).sum() < max(5, wanted) or not by_block:  # random spots; or one block was nearly all there is
        parts[training] = TRAINING
        parts[rng.permutation(training)[: max(1, wanted)]] = VALIDATION
    return parts


def _near_test(test: np.ndarray, centres_um: Sequence[np.ndarray], guard_um: float) -> np.ndarray:
    """Spots nearer than ``guard_um`` to a test spot of their own section, along rows or columns: squares overlap if they are so in both."""
    near = np.zeros(len(test), dtype=bool)
    first = 0
    for centres in centres_um:
        here = slice(first, first + len(centres))
        first += len(centres)
        if guard_um > 0 and test[here].any():
            distance, _ = cKDTree(centres[test[here]]).query(centres, p=np.inf, distance_upper_bound=guard_um)
            near[here] = distance < guard_um
    return near
