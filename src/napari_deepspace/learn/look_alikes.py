"""What a model makes of the tiles of whole sections, kept beside its run so that look-alikes are found without it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.utils.extmath import randomized_svd

from napari_deepspace.errors import DataError
from napari_deepspace.events import Event
from napari_deepspace.learn.data import widest_view_um
from napari_deepspace.learn.domain import distance
from napari_deepspace.learn.embedding import embed, shares_embedding
from napari_deepspace.learn.inference import as_trained, matches, recognise
from napari_deepspace.learn.model import TrainedModel
from napari_deepspace.learn.splits import TRAINING, VALIDATION
from napari_deepspace.look_alikes import AXES, Axes, Looks, axes_path, keep_arrays, looks_path, read_axes, read_looks, usual_distance
from napari_deepspace.preprocess.prepare import prepare_section
from napari_deepspace.section import Section, spot_fingerprints
from napari_deepspace.stain import find_stain

FITTED_TO = 3000  #: training tiles that the axes are fitted to, at most


def member_of(model: TrainedModel, section: Section, index: int) -> int:
    """The member that sees the spot in row ``index`` without having learned from it; 0 where there is none, or all see the same."""
    return 0 if shares_embedding(model) else max(int(recognise(section, model)[0][index]), 0)


def keep_looks(
    model: TrainedModel, section: Section, read_training: Callable[[], list[Section]], run_dir: Path, member: int
) -> Generator[Event, None, None]:
    """Keep how ``member`` sees ``section`` and, the first time, the sections it was trained on, which ``read_training`` reads.

    What is there already is not made again. Memory is that of one embedding of every tile.

    Raises
    ------
    DataError
        A section has no slide, or its tissue shows no two stains that a model of one stain needs.
    """
    axes = read_axes(run_dir, member)
    if axes is None:
        seen = []
        for one in read_training():
            seen.append((yield from _see(model, one, member)))
        learned = np.concatenate([embedding[looks.learned] for looks, embedding in seen])
        mean, directions = _principal(learned)
        kept = [_along(looks, embedding, mean, directions) for looks, embedding in seen]
        view_um = widest_view_um(model.settings, model.tile_um)
        for looks in kept:
            keep_arrays(looks_path(run_dir, looks.library_id, member), looks)
        axes = Axes(mean, directions, usual_distance(kept, view_um), view_um, np.array([looks.library_id for looks in kept]))
        keep_arrays(axes_path(run_dir, member), axes)  # last: it says that the training sections are there
    kept_of = read_looks(run_dir, section.library_id, member)
    if kept_of is not None and kept_of.slide != section.require_slide().fingerprint():
        raise DataError(f"The run knows another section named {section.library_id}. Give this one a name of its own (--library-id).")
    if kept_of is None:
        looks, embedding = yield from _see(model, section, member)
        keep_arrays(looks_path(run_dir, section.library_id, member), _along(looks, embedding, axes.mean, axes.axes))


def _see(model: TrainedModel, section: Section, member: int) -> Generator[Event, None, tuple[Looks, np.ndarray]]:
    """A section's spots, and what ``member`` makes of their tiles: float32 (n, p), NaN where there is none."""
    judged = yield from prepare_section(section, model.settings.filter.model_copy(update={"exclude_cluster": None}), model.tile_um)
    tissue = judged.filter.predictable
    rows, n = np.flatnonzero(tissue), section.adata.n_obs
    stain = np.zeros((0, 3), dtype=np.float32)
    if model.stain is not None:
        own = find_stain(section, tissue)
        stain = np.column_stack([own.matrix, np.append(own.most, 0)]).astype(np.float32)
    alone = replace(model, members=[model.members[member]])
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    far = np.full(n, np.nan, dtype=np.float32)

    def keep(which: np.ndarray, embeddings: list[np.ndarray]) -> None:
        parts.append((rows[which], embeddings[0]))
        if model.domain is not None and member == 0:  # the domain is that of the first member
            far[rows[which]] = distance(model.domain, embeddings[0])

    yield from embed(alone, as_trained(model, section, tissue), section.centres_yx[rows], None, keep)
    embedding = np.full((n, parts[0][1].shape[1] if parts else 1), np.nan, dtype=np.float32)
    for which, values in parts:
        embedding[which] = values
    learned = np.zeros(n, dtype=bool)
    for seen, match in zip(model.seen, matches(section, model), strict=True):
        known = match >= 0
        part = seen.parts if shares_embedding(model) else seen.parts[:, [member]]
        learned[known] |= np.isin(part[match[known]], (TRAINING, VALIDATION)).any(axis=1)
    looks = Looks(
        library_id=section.library_id,
        slide=section.require_slide().fingerprint(),
        image=str(section.require_slide().path),
        mpp=section.mpp,
        barcodes=section.adata.obs_names.to_numpy(dtype=str),
        centres_yx=section.centres_yx,
        array_rc=section.adata.obs[["array_row", "array_col"]].to_numpy(dtype=np.int64),
        fingerprints=spot_fingerprints(section.adata) if section.adata.n_vars else np.zeros(n, dtype=np.uint64),
        learned=learned & tissue,
        fold=np.full(n, -1) if shares_embedding(model) else recognise(section, model)[0],
        unlike=model.domain.unlike(far) if model.domain is not None else np.zeros(n, dtype=bool),
        coordinates=np.zeros((n, 0), dtype=np.float16),
        stain=stain,
    )
    return looks, embedding


def _principal(learned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (p,) and principal axes (k, p) of training tiles (n, p), scaled so that a tile lies 1 from the mean in the mean square."""
    sample = learned[:: 1 + len(learned) // FITTED_TO]
    mean = sample.mean(axis=0)
    away = sample - mean
    count = max(1, min(AXES, len(sample) - 1, sample.shape[1]))
    _, _, axes = randomized_svd(away, count, random_state=0)
    size = float(np.sqrt((away**2).sum(axis=1).mean())) or 1.0
    return mean, (axes / size).astype(np.float32)


def _along(looks: Looks, embedding: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> Looks:
    return replace(looks, coordinates=((embedding - mean) @ axes.T).astype(np.float16))
