"""Semi-supervised learning as of the paper (noisy student): tiles without counts get labels from a teacher, and a student learns from both.

Nothing here trains: a student is :func:`napari_deepspace.learn.training.fit` with a :class:`~napari_deepspace.learn.pool.Pool`. What keeps it honest:
the labels of a fold come from that fold's own members, which never saw the fold's test spots, and tiles that share a pixel with one of these spots,
or with a sealed one, are left out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from napari_deepspace.errors import DataError, ModelError
from napari_deepspace.events import Event, Progress
from napari_deepspace.learn.data import edge_um, section_looks, section_tiles, widest_view_um
from napari_deepspace.learn.features import quick_inputs
from napari_deepspace.learn.inference import as_trained
from napari_deepspace.learn.linear import LinearModel
from napari_deepspace.learn.model import TrainedModel, load_model, network_outputs
from napari_deepspace.learn.networks import choose_device
from napari_deepspace.learn.pool import Pool, Stacked
from napari_deepspace.preprocess.prepare import Prepared, prepare_section, white_points
from napari_deepspace.section import Section
from napari_deepspace.settings import NetworkSettings

CHUNK = 256  #: tiles that are in memory at once
TRIES = 20  #: draws of points, of which white ones are dropped, before a source counts as empty


@dataclass(frozen=True)
class Source:
    """A picture that tiles are drawn from, looked over once: ``spots_yx`` (n, 2) with tissue, and ``reference``, Quick's features there.

    Glass is told from tissue on ``section``; the model looks at ``seen``, the same in the stain that it was trained on.
    """

    section: Section
    seen: Section
    prepared: Prepared
    spots_yx: np.ndarray
    reference: np.ndarray | None


@dataclass(frozen=True)
class Drawn:
    """The tiles of one round: ``inputs`` (n, ...) on disk, and in ``places``, float64 (n, 3), each one's source and centre (row, column)."""

    inputs: np.ndarray
    places: np.ndarray


def look_over(sections: Sequence[Section], model: TrainedModel, white_filter: bool = True) -> Generator[Event, None, list[Source]]:
    """The ``sections`` as sources of tiles for students of ``model``; spots on glass or in exclude outlines are left out, counts are not looked at.

    ``white_filter`` False is for photographs, which have no glass, and no stain to change.

    Raises
    ------
    DataError
        None of them has a spot on tissue, or the tissue shows no two stains that a model of one stain needs.
    """
    sources, settings = [], model.settings
    changes = {"exclude_cluster": None} | ({} if white_filter else {"white_percentile": 100.0})
    for section in sections:
        section.require_slide()
        prepared = yield from prepare_section(section, settings.filter.model_copy(update=changes), model.tile_um)
        spots = section.centres_yx[prepared.filter.predictable]
        if not len(spots):
            continue
        seen = as_trained(model, section, prepared.filter.predictable) if white_filter else section
        reference = None
        if not isinstance(settings.model, NetworkSettings):
            reference = yield from section_looks(seen, spots, model.tile_um, model.tile_px, settings.model)
        sources.append(Source(section, seen, prepared, spots, reference))
    if not sources:
        raise DataError(f"No tissue was found in {', '.join(one.library_id for one in sections)}. Give other unlabelled sections or slides.")
    return sources


def draw_tiles(sources: Sequence[Source], model: TrainedModel, count: int, seed: tuple[int, ...], path: Path) -> Generator[Event, None, Drawn]:
    """Draw ``count`` tiles anywhere on the tissue of the sources, and keep what ``model`` looks at in ``path`` (.npy) and their places beside it.

    A point is a random spot of any source, moved by up to half a pitch along rows and columns; those with a white tile are dropped. The result
    depends on sources and ``seed`` alone. If ``path`` is there already, it is taken.

    Raises
    ------
    DataError
        Every point that was drawn lies on glass.
    """
    beside = path.with_name(f"{path.stem}-places.npy")
    if not (path.exists() and beside.exists()):
        places = yield from _places(sources, model, count, np.random.default_rng(seed))
        yield from _write_inputs(sources, model, places, path)
        _save(beside, places)
    return Drawn(np.load(path, mmap_mode="r", allow_pickle=False), np.load(beside, allow_pickle=False))


def _places(sources: Sequence[Source], model: TrainedModel, count: int, rng: np.random.Generator) -> Generator[Event, None, np.ndarray]:
    numbers = np.repeat(np.arange(len(sources)), [len(source.spots_yx) for source in sources])
    spots = np.concatenate([source.spots_yx for source in sources])
    found: list[np.ndarray] = []
    for _ in range(TRIES):
        missing = count - sum(map(len, found))
        if missing <= 0:
            break
        chosen = rng.integers(len(spots), size=missing)
        pitch = np.array([source.section.pitch_px for source in sources])[numbers[chosen], None]
        centres = spots[chosen] + rng.uniform(-0.5, 0.5, (missing, 2)) * pitch
        good = np.zeros(missing, dtype=bool)
        for number in np.unique(numbers[chosen]):
            here = np.flatnonzero(numbers[chosen] == number)
            good[here] = yield from _good(sources[number], centres[here], model)
        found.append(np.column_stack([numbers[chosen], centres])[good])
    places = np.concatenate(found)
    if len(places) < count:
        raise DataError(f"Only {len(places)} of {count} points drawn lie on tissue. Give more unlabelled sections or slides, or fewer tiles.")
    blocks = places[:, 1] // 2048  # neighbours one after another, so that the slide is read once
    return np.asarray(places[np.lexsort((places[:, 2], blocks, places[:, 0]))])


def _good(source: Source, centres: np.ndarray, model: TrainedModel) -> Generator[Event, None, np.ndarray]:
    """Which points (n, 2) have a tile on tissue of the slide, and none of a sealed spot's pixels: bool (n,)."""
    section = source.section
    inside = ((centres >= 0) & (centres < np.array(section.require_slide().shape))).all(axis=1)
    good = inside & ~_shares_pixels(centres, section.centres_yx[section.sealed], section, model)
    if good.any():
        good[good] = ~(yield from white_points(section, source.prepared, centres[good], model.tile_um))
    return good


def _shares_pixels(centres: np.ndarray, spots: np.ndarray, section: Section, model: TrainedModel) -> np.ndarray:
    """Which squares around ``centres`` (n, 2) overlap that of one of the ``spots`` (m, 2) on the same slide, by the widest view: bool (n,)."""
    if not len(spots) or not len(centres):
        return np.zeros(len(centres), dtype=bool)
    side = widest_view_um(model.settings, model.tile_um) + edge_um(section, model.settings, model.tile_um)
    return np.asarray(cKDTree(spots).query(centres, p=np.inf)[0] < side / section.mpp)


def _write_inputs(sources: Sequence[Source], model: TrainedModel, places: np.ndarray, path: Path) -> Generator[Event, None, None]:
    """Tiles chunk by chunk, or Quick's inputs, each slide's standardised by its own tiles on tissue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings, part = model.settings.model, path.with_name(f".{path.name}.part")
    network = isinstance(settings, NetworkSettings)
    out: np.ndarray | None = None
    for number, source in enumerate(sources):
        rows = np.flatnonzero(places[:, 0] == number)
        for some in np.array_split(rows, -(-len(rows) // CHUNK)) if network and len(rows) else [rows] if len(rows) else []:
            if isinstance(settings, NetworkSettings):
                inputs = yield from section_tiles(source.seen, places[some, 1:], model.tile_um, model.tile_px, settings.context)
            else:
                looks = yield from section_looks(source.seen, places[some, 1:], model.tile_um, model.tile_px, settings)
                assert source.reference is not None
                inputs = quick_inputs(looks, source.reference)
            if out is None:
                out = np.lib.format.open_memmap(part, mode="w+", dtype=inputs.dtype, shape=(len(places), *inputs.shape[1:]))
            out[some] = inputs
            yield Progress("cutting unlabelled tiles", int(some[-1]) + 1, len(places))
    if out is not None:
        out.flush()  # type: ignore[attr-defined]
    del out
    os.replace(part, path)


def _save(path: Path, values: np.ndarray) -> None:
    part = path.with_name(f".{path.name}.part")
    with open(part, "wb") as file:
        np.save(file, values, allow_pickle=False)
    os.replace(part, path)


def label_tiles(drawn: Drawn, members: Sequence[Path], control: str, seed: tuple[int, ...], folder: Path) -> Generator[Event, None, None]:
    """Label the tiles for every fold, and keep the labels in a new ``folder``: ``values-F.npy`` and, of Quick, ``twins-F.npy`` of fold F, float32
    (n, n_outputs).

    ``members`` name for each fold the run whose member of that fold gives the labels. Numbers are brought to 0..1 by their range over the tiles,
    output by output; clusters are the likeliest one. ``control`` "permuted" shuffles the labels of each output (clusters: of the tiles), "random"
    draws them evenly from 0..1 (clusters: any).

    Raises
    ------
    ModelError
        A Quick model of an older version cannot label.
    """
    models = {run_dir: load_model(run_dir) for run_dir in dict.fromkeys(members)}
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for fold, run_dir in enumerate(members):
        yield Progress("labelling tiles", fold, len(members))
        model = models[run_dir]
        member, clusters = model.members[fold], model.target.kind == "clusters"
        if member.network is not None:
            _save(part / f"values-{fold}.npy", _label(_network_outputs(model, fold, drawn.inputs), clusters, control, rng))
            continue
        if member.linear is None or member.twin is None:
            raise ModelError(f"The Quick model in {run_dir} is of an older version and cannot be a teacher. Train it again.")
        order = int(rng.integers(2**63))  # the same luck for both
        for fit, name in ((member.linear, "values"), (member.twin, "twins")):
            _save(part / f"{name}-{fold}.npy", _label(_linear_outputs(fit, drawn.inputs), clusters, control, np.random.default_rng(order)))
    os.replace(part, folder)


def _network_outputs(model: TrainedModel, fold: int, inputs: np.ndarray) -> np.ndarray:
    network = model.members[fold].network
    assert network is not None and isinstance(model.settings.model, NetworkSettings)
    device, _ = choose_device(model.settings.model.device)
    outputs = network_outputs(network.to(device), inputs, device, symmetries=model.settings.model.symmetries)
    network.cpu()
    return outputs


def _linear_outputs(fit: LinearModel, inputs: np.ndarray) -> np.ndarray:
    return fit.predict(np.asarray(inputs))


def _label(outputs: np.ndarray, clusters: bool, control: str, rng: np.random.Generator) -> np.ndarray:
    """Labels float32 (n, n_outputs) from scaled outputs."""
    n, k = outputs.shape
    if clusters:
        likeliest = rng.integers(k, size=n) if control == "random" else outputs.argmax(axis=1)
        return np.eye(k, dtype=np.float32)[rng.permutation(likeliest) if control == "permuted" else likeliest]
    if control == "random":
        return rng.random((n, k), dtype=np.float32)
    low, high = outputs.min(axis=0), outputs.max(axis=0)
    labels = ((outputs - low) / np.where(high > low, high - low, 1)).astype(np.float32)
    return rng.permuted(labels, axis=0) if control == "permuted" else labels


def usable_tiles(drawn: Drawn, sources: Sequence[Source], model: TrainedModel) -> np.ndarray:
    """Which tiles a fold may learn from: those that share no pixel with a test spot of the fold, or with a sealed spot: bool (n_folds, n)."""
    usable = np.ones((len(model.members), len(drawn.places)), dtype=bool)
    for number, source in enumerate(sources):
        rows = np.flatnonzero(drawn.places[:, 0] == number)
        for seen in model.seen:
            if seen.slide != source.section.require_slide().fingerprint():
                continue
            for fold in range(len(usable)):
                barred = np.union1d(np.flatnonzero(seen.home == fold), np.array(seen.sealed, dtype=np.int64))
                usable[fold, rows] &= ~_shares_pixels(drawn.places[rows, 1:], seen.centres_yx[barred], source.section, model)
    return usable


def gather_pool(rounds: Sequence[tuple[Drawn, Path, np.ndarray]], words: str) -> Pool:
    """The pool of all rounds so far: of each the tiles, the folder of :func:`label_tiles`, and what :func:`usable_tiles` says."""
    usable = np.concatenate([one for _, _, one in rounds], axis=1)
    values, twins = (_labels([folder for _, folder, _ in rounds], name, len(usable)) for name in ("values", "twins"))
    return Pool(Stacked([drawn.inputs for drawn, _, _ in rounds]), values, twins, usable, words)


def _labels(folders: Sequence[Path], name: str, folds: int) -> tuple[Stacked, ...]:
    """The labels of each fold, on the disk; () where there are none."""
    if not (folders[0] / f"{name}-0.npy").exists():
        return ()
    return tuple(Stacked([np.load(folder / f"{name}-{fold}.npy", mmap_mode="r", allow_pickle=False) for folder in folders]) for fold in range(folds))
