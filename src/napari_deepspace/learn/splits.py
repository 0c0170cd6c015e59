"""Which spots train, validate and test in each fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from sklearn.model_selection import KFold

from napari_deepspace.errors import TrainingError
from napari_deepspace.section import Origin, kinship
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


def make_split(
    centres_um: Sequence[np.ndarray],
    keep: Sequence[np.ndarray],
    settings: SplitSettings,
    view_um: float,
    pitch_um: float,
    *,
    edge_um: float = 0.0,
    origins: Sequence[Origin] = (),
    sealed: Sequence[np.ndarray] = (),
    lattice: Sequence[np.ndarray] = (),
) -> Split:
    """Divide the spots of all sections.

    ``centres_um`` holds one (n, 2) array per section, ``keep`` one bool (n,): spots that failed the filter are EXCLUDED in every fold,
    but have a home fold too, so that they can be predicted by a model that saw none of their neighbourhood. ``view_um`` is the side of the widest
    square that a model looks at around a spot: with a guard band of that width no pixel of a training spot's squares lies in a test spot's;
    ``edge_um`` is what whole pixels add to it. ``origins`` says where each section comes from, which leaving out sections or patients needs.
    ``sealed``, one bool (n,) per section, marks spots of a sealed hold-out: EXCLUDED in every fold, with no home, and with a guard band of the widest
    view around them, whatever the kind of split. ``lattice``, one (n, 2) per section, is (array_row, array_col) of each spot, by which every n-th
    spot is counted; without it they are counted in the order in which they are given.

    Raises
    ------
    TrainingError
        Too few spots, blocks, sections or patients for the folds asked for, or a section whose patient nobody said.
    """
    kept, shut = np.concatenate(list(keep)), _joined(sealed, centres_um)
    kept = kept & ~shut
    if kept.sum() < 10:
        raise TrainingError(f"Only {int(kept.sum())} spots pass the filter; training needs at least 10. Lower the UMI and gene thresholds.")
    rng = np.random.default_rng(settings.seed)
    barred = _near(shut, centres_um, max(view_um, settings.guard_um or 0) + edge_um)  # no model may look into what is sealed
    guard_um = view_um if settings.guard_um is None else settings.guard_um
    block_um = settings.block_um or max(5 * pitch_um, 2 * guard_um)  # around blocks no wider than the band nothing would be left to train on
    groups = _blocks(centres_um, block_um)
    if settings.kind == "whole":
        parts = np.full((len(kept), 1), TRAINING, dtype=np.int8)
        free = kept & ~barred
        if free.sum() < 5:
            raise TrainingError(_nothing_to_train_on("The run", free.sum()))
        chosen = rng.permutation(np.flatnonzero(free))[: max(1, round(settings.validation * free.sum()))]
        parts[chosen, 0] = VALIDATION
        parts[barred] = GUARD
        parts[~kept] = EXCLUDED
        return Split(parts, np.full(len(kept), -1), groups, "every spot of the training sections trains")
    folds = settings.folds
    if settings.kind == "random":
        home = _random_folds(kept, folds, settings.seed)
        words, guard_um = _random_words(settings), 0.0
    elif settings.kind == "every-nth":
        home = _every_nth(kept, folds, lattice or [np.arange(len(centres))[:, None] for centres in centres_um])
        words, guard_um = f"every {ordinal(folds)} spot left out in turn (neighbouring spots share pixels)", 0.0
    elif settings.kind == "blocks":
        home = _block_folds(groups, kept, folds, rng)
        words = f"spatial blocks of {block_um:g} um, {folds} folds, guard band {guard_um:g} um"
    else:
        fold_of, words = _left_out(settings.kind, origins)
        home, folds = np.repeat(fold_of, [len(centres) for centres in centres_um]), max(fold_of) + 1
    home = np.where(shut, -1, home)
    columns = []
    for fold in range(folds):
        test = home == fold
        guard = _near(test, centres_um, guard_um + edge_um if guard_um else 0) | barred
        columns.append(_fold_parts(fold, test, guard & ~test, kept, groups, settings.validation, settings.kind not in ("random", "every-nth"), rng))
    return Split(np.stack(columns, axis=1), home, groups, words + (f"; {int(shut.sum())} sealed spots kept out" if shut.any() else ""))


def _joined(masks: Sequence[np.ndarray], centres_um: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(masks)) if len(masks) else np.zeros(sum(map(len, centres_um)), dtype=bool)


def _random_words(settings: SplitSettings) -> str:
    """The paper's protocol by its name, another number of folds or share of validation by its shares."""
    test = 1 / settings.folds
    held = (1 - test) * settings.validation
    shares = " / ".join(f"{100 * share:.0f}" for share in (1 - test - held, held, test))
    paper = "as in the paper" if (settings.folds, settings.validation) == (5, 0.2) else "not as in the paper"
    return f"random spots, {settings.folds} folds of {shares} % ({paper}; neighbouring tiles overlap)"


def _left_out(kind: str, origins: Sequence[Origin]) -> tuple[list[int], str]:
    """The fold that each section is tested in, and the split in words."""
    if kind == "sections":
        if len(origins) < 2:
            raise TrainingError(
                "One section out (split.kind: sections) needs at least two sections, and this run has one. Add sections, or choose spatial blocks."
            )
        relations: dict[str, list[str]] = {}
        for number, own in enumerate(origins):
            relations.setdefault(kinship(own, [*origins[:number], *origins[number + 1 :]]), []).append(own.library_id)
        if len(relations) == 1:
            words = next(iter(relations))
        else:
            words = "; ".join(f"{', '.join(names)}: {relation}" for relation, names in relations.items())
        return list(range(len(origins))), f"one section out, {len(origins)} folds ({words})"
    unknown = [one.library_id for one in origins if one.patient is None]
    if unknown:
        raise TrainingError(
            f"One patient out (split.kind: patients) needs to know whose each section is; nobody said it of {', '.join(unknown)}. "
            "Give sections[].patient."
        )
    patients = list(dict.fromkeys(one.patient for one in origins))
    if len(patients) < 2:
        raise TrainingError(
            f"One patient out (split.kind: patients) needs at least two patients; all sections are of {', '.join(map(str, patients)) or 'nobody'}. "
            "Add sections of another patient, or choose one section out or spatial blocks."
        )
    return [patients.index(one.patient) for one in origins], f"one patient out, {len(patients)} folds (another patient)"


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


def _every_nth(kept: np.ndarray, folds: int, lattice: Sequence[np.ndarray]) -> np.ndarray:
    """Spots counted row by row within each section, those that are kept and the others by themselves: the fold of each, int (n,)."""
    home, first = np.zeros(len(kept), dtype=int), 0
    for places in lattice:
        rows = first + np.lexsort(places.T[::-1])
        first += len(places)
        for counted in (rows[kept[rows]], rows[~kept[rows]]):
            home[counted] = np.arange(len(counted)) % folds
    return home


def ordinal(number: int) -> str:
    """ "2nd", "5th"."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else endings.get(number % 10, 'th')}"


def _fold_parts(
    fold: int,
    test: np.ndarray,
    guard: np.ndarray,
    kept: np.ndarray,
    groups: np.ndarray,
    validation: float,
    by_block: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    parts = np.full(len(test), TRAINING, dtype=np.int8)
    parts[test] = TEST
    parts[guard] = GUARD
    parts[~kept] = EXCLUDED
    training = np.flatnonzero(parts == TRAINING)
    wanted = round(validation * len(training))
    if len(training) < 5:
        raise TrainingError(_nothing_to_train_on(f"Fold {fold + 1}", len(training)))
    if by_block:
        for group in rng.permutation(np.unique(groups[training])):
            if (parts == VALIDATION).sum() >= wanted:
                break
            parts[training[groups[training] == group]] = VALIDATION
    if (parts == TRAINING).sum() < max(5, wanted) or not by_block:  # random spots; or one block was nearly all there is
        parts[training] = TRAINING
        parts[rng.permutation(training)[: max(1, wanted)]] = VALIDATION
    return parts


def _nothing_to_train_on(what: str, count: int) -> str:
    return (
        f"{what} keeps {count} spots to train on. Lower the thresholds, the block size or the guard band, or seal a block in place of single spots."
    )


def _near(marked: np.ndarray, centres_um: Sequence[np.ndarray], guard_um: float) -> np.ndarray:
    """Spots nearer than ``guard_um`` to a marked spot of their own section, along rows and columns: squares overlap if they are so in both."""
    near = np.zeros(len(marked), dtype=bool)
    first = 0
    for centres in centres_um:
        here = slice(first, first + len(centres))
        first += len(centres)
        if guard_um > 0 and marked[here].any():
            distance, _ = cKDTree(centres[marked[here]]).query(centres, p=np.inf, distance_upper_bound=guard_um)
            near[here] = distance < guard_um
    return near
