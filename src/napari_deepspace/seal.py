"""A sealed hold-out: spots put away before the first run, and looked at once, at the end.

Whoever trains often and keeps the best run has chosen it by the spots that score it; its score is too high. Spots that no run has seen, and that are
scored once, are free of that. A seal is one small JSON file: which spots, since when, and whether, when and by which run it was opened.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from anndata import AnnData

from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.runs import nan_to_none, write_json
from napari_deepspace.section import SEALED, Section, section_fingerprint, spot_fingerprints

FORMAT = 1
What = Literal["spots", "block", "whole"]


@dataclass(frozen=True)
class Seal:
    """What a seal's file holds. ``barcodes`` and ``spots`` (fingerprints of counts, hexadecimal) are of the sealed spots, in the same order."""

    id: str
    library_id: str
    section: str  #: fingerprint of all its spots' counts
    made: str  #: date and time, ISO 8601
    what: str  #: in words
    barcodes: tuple[str, ...]
    spots: tuple[str, ...]
    opened: dict[str, Any] | None = None  #: ``date``, ``run``, ``run_dir``, ``scores``

    @property
    def opened_words(self) -> str:
        """When and by which run it was opened; "" while it is not."""
        return f"opened on {str(self.opened.get('date'))[:10]} by {self.opened.get('run')}" if self.opened else ""

    @property
    def words(self) -> str:
        """How many spots, since when, and whether it was opened."""
        return f"{len(self.spots):,} spots, since {self.made[:10]}, {self.opened_words or 'not opened'}"


def make_seal(section: Section, what: What = "spots", share: float = 0.2, seed: int = 0) -> Seal:
    """Choose the spots to seal among those with counts in tissue: a ``share`` of them at random, a square block of that many, or all.

    Raises
    ------
    SettingsError
        ``share`` is not between 0 and 1.
    DataError
        The section has no counts, or too few spots.
    """
    adata = section.require_counts()
    prints = spot_fingerprints(adata)
    tissue = np.asarray(adata.obs["in_tissue"], dtype=bool) if "in_tissue" in adata.obs else np.ones(adata.n_obs, dtype=bool)
    able = np.flatnonzero((prints != 0) & tissue)
    if what != "whole" and not 0 < share < 1:
        raise SettingsError(
            f"A share of {share:g} cannot be sealed. Give one between 0 and 1, 0.2 for a fifth of the spots, or seal the whole section."
        )
    if len(able) < 10:
        raise DataError(f"{section.library_id} has {len(able)} spots with counts in tissue; sealing needs at least 10.")
    count, rng = max(1, round(share * len(able))), np.random.default_rng(seed)
    if what == "whole":
        chosen, words = able, "the whole section"
    elif what == "block":
        centres = section.centres_yx[able]
        away = np.abs(centres - centres[rng.integers(len(able))]).max(axis=1)
        chosen, words = able[np.argsort(away, kind="stable")[:count]], f"a square block of {share:.0%} of the spots (seed {seed})"
    else:
        chosen, words = rng.choice(able, count, replace=False), f"{share:.0%} of the spots at random (seed {seed})"
    chosen = np.sort(chosen)
    return Seal(
        id=uuid.uuid4().hex,
        library_id=section.library_id,
        section=section_fingerprint(adata),
        made=datetime.now().astimezone().isoformat(timespec="seconds"),
        what=words,
        barcodes=tuple(map(str, adata.obs_names[chosen])),
        spots=tuple(f"{value:016x}" for value in prints[chosen].tolist()),
    )


def write_seal(seal: Seal, path: Path) -> None:
    """Write a new seal, in one step.

    Raises
    ------
    DataError
        There is a file of that name: a seal is never overwritten.
    """
    if Path(path).exists():
        raise DataError(f"{path} exists already and was left as it is: a seal is never made anew. Use it, or give another name.")
    write_json(Path(path), {"format": FORMAT, **vars(seal)})


def read_seal(path: Path) -> Seal:
    """Read a seal.

    Raises
    ------
    DataError
        There is none, it is damaged, or a newer version wrote it.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        if values.pop("format") > FORMAT:
            raise DataError(f"{path} was written by a newer version. Update napari-deepspace.")
        return Seal(**values | {"barcodes": tuple(values["barcodes"]), "spots": tuple(values["spots"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no seal that can be read ({type(error).__name__}: {error}). Make one with `napari-deepspace seal`.") from error


def sealed_spots(seal: Seal, adata: AnnData, where: str) -> np.ndarray:
    """Which spots of a section are sealed, bool (n_spots,): known by their counts, whatever they are called now.

    Raises
    ------
    DataError
        Some of the sealed spots are not there: the seal is of another section.
    """
    prints = np.array([int(text, 16) for text in seal.spots], dtype=np.uint64)
    hidden = np.isin(spot_fingerprints(adata), prints) if adata.n_vars else np.zeros(0, dtype=bool)
    if hidden.sum() < len(set(seal.spots)):
        raise DataError(
            f"{where} lacks {len(set(seal.spots)) - int(hidden.sum())} of the {len(seal.spots)} sealed spots: the seal is of another section "
            f"({seal.library_id}). Give the seal of this one."
        )
    return hidden


def find_seal(folders: Sequence[Path], section: Section) -> tuple[Path, Seal] | None:
    """The seal of ``section`` in the first of ``folders`` that holds one, known by the section's counts and not by a name."""
    paths = [path for folder in folders for path in sorted(Path(folder).glob("*.json"))]
    whole = section_fingerprint(section.adata) if paths else ""
    for path in paths:
        with contextlib.suppress(DataError):  # not a seal
            seal = read_seal(path)
            if whole and seal.section == whole:
                return path, seal
    return None


def with_seal(section: Section, seal: Seal) -> Section:
    """``section`` with its sealed spots marked; raises what :func:`sealed_spots` raises."""
    section.adata.obs[SEALED] = sealed_spots(seal, section.adata, section.library_id)
    return replace(section, seal=seal.id, seal_opened=seal.opened_words)


def record_opening(seal: Seal, path: Path, run_dir: Path, scores: dict[str, Any]) -> Seal:
    """Write down that the seal was opened now, by which run and with which scores; the seal as it is now."""
    date = datetime.now().astimezone().isoformat(timespec="seconds")
    run_dir = Path(run_dir).resolve()
    opened = replace(seal, opened={"date": date, "run": run_dir.name, "run_dir": str(run_dir), "scores": nan_to_none(scores)})
    write_json(Path(path), {"format": FORMAT, **vars(opened)})
    return opened
