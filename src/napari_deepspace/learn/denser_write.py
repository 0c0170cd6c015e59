"""Making a denser map (predicted): what the model sees at every point, chunk by chunk, in a store that a killed job goes on with."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from napari_deepspace import results
from napari_deepspace.analyse.bands import ARRAYS as BAND_ARRAYS
from napari_deepspace.denser import CHUNK, FORMAT, HEADER, require_free
from napari_deepspace.errors import DataError
from napari_deepspace.events import Event, Noted, Progress
from napari_deepspace.geojson import stamp_of
from napari_deepspace.learn.between import find_points, white_and_sealed
from napari_deepspace.learn.domain import distance
from napari_deepspace.learn.embedding import Keep, embed, reference_looks, shares_embedding
from napari_deepspace.learn.inference import about, as_trained, neighbours_of, say_notice
from napari_deepspace.learn.linear import LinearModel
from napari_deepspace.learn.model import TrainedModel
from napari_deepspace.learn.neighbouring import aligned_points
from napari_deepspace.learn.packing import FIT_SPOTS, Packing, choose_packing, keeps_outputs
from napari_deepspace.learn.whole_image import LEAST_R, agreement, can_look_whole, corrected, embed_whole, fit_correction, stride_um
from napari_deepspace.points import At, Points, Rule
from napari_deepspace.runs import nan_to_none
from napari_deepspace.section import Section

AGREEMENT_SPOTS = 300  #: spots at which the whole slide is compared with tile by tile; half of them fit the correction
AGREEMENT_BLOCK_UM = 300.0
Embed = Callable[[np.ndarray, Keep], Generator[Event, None, None]]
"""Looks at points (n, 2), full-resolution px, and hands on their embeddings, as :func:`napari_deepspace.learn.embedding.embed` does."""


def write_denser(
    model: TrainedModel,
    section: Section,
    folder: Path,
    at: At = "grid",
    spacing_um: float = 20.0,
    rule: Rule = "tissue",
    run: str = "",
    tile_by_tile: bool = False,
) -> Generator[Event, None, Path]:
    """Predict at points between the spots, or at a grid, and keep what is needed for the map of any output in ``folder`` (``NAME.zarr``).

    Chunks that ``folder`` holds already of the same model, section and points are not computed again. Memory grows neither with the points nor with
    the outputs. ``tile_by_tile`` looks at every tile by itself also where a convolutional network could look at the slide as a whole.

    Raises
    ------
    DataError
        ``folder`` holds something else, the section has no slide, or nothing lies on tissue.
    SettingsError
        The spacing is below 8 um, or an unknown rule.
    """
    folder = Path(folder)
    judged, verdict, points = yield from find_points(model, section, at, spacing_um, rule)
    white = yield from white_and_sealed(section, judged, verdict, points, model.tile_um)
    if white.all():
        raise DataError(f"{section.library_id}: every tile between the spots is white or excluded. Raise filter.white_percentile.")
    neighbours = neighbour_arrays(model, section, points.centres_yx)
    fingerprint = _fingerprint(model, section, points, white, neighbours, tile_by_tile)
    group = _claimed(folder, fingerprint)
    reference, seen_as = section.centres_yx[judged.filter.predictable], as_trained(model, section, judged.filter.predictable)
    by = yield from reference_looks(model, seen_as, reference)

    if group.attrs.get("complete"):
        yield Noted(f"{folder} is finished already and was left as it is.")
        return folder
    if group.attrs.get("begun"):
        packing, correction = _stored_packing(group, model), _stored_correction(group)
    else:
        whole = at == "grid" and not tile_by_tile and can_look_whole(model) and spacing_um < 2 * stride_um(model)
        packing, correction, agreed = yield from _looked_at_spots(model, seen_as, reference, by, spacing_um, whole)
        _begin(group, model, points, white, packing, correction, neighbours)
        said = _header(model, section, points, packing, run, bool(neighbours)) | {"agreement": agreed, "whole_image": correction is not None}
        said["about"]["notice"] = yield from say_notice(model, seen_as, reference, section)
        group.attrs.update(nan_to_none(said) | {"begun": True})

    def look(centres: np.ndarray, keep: Keep) -> Generator[Event, None, None]:
        if correction is None:
            yield from embed(model, seen_as, centres, by, keep)
        else:
            yield from embed_whole(model, seen_as, centres, spacing_um, lambda rows, found: keep(rows, corrected(found, list(correction))))

    yield from _fill(group, points, white, packing, look, model, section.library_id)
    group.attrs.update({"complete": True})
    return folder


def _fingerprint(
    model: TrainedModel, section: Section, points: Points, white: np.ndarray, neighbours: dict[str, np.ndarray], tile_by_tile: bool
) -> str:
    """Of everything that the store depends on."""
    digest = hashlib.blake2b(f"{FORMAT} {points.at} {points.spacing_um} {tile_by_tile} {model.target.to_json()}".encode(), digest_size=16)
    digest.update(section.require_slide().fingerprint().encode())
    digest.update(np.ascontiguousarray(points.centres_yx).tobytes() + np.packbits(white).tobytes())
    for name, copied in neighbours.items():  # a section that is said to be aligned, or of the patient, gets another map
        digest.update(name.encode() + np.ascontiguousarray(copied).tobytes())
    for member in model.members:
        for name, values in sorted(member.tensors().items()):
            array = values if isinstance(values, np.ndarray) else values.detach().cpu().numpy()
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _claimed(folder: Path, fingerprint: str) -> zarr.Group:
    """The store, new or with what an earlier job has done; raises DataError where the folder holds something else."""
    require_free(folder)
    if (folder / HEADER).is_file():
        group = zarr.open_group(folder, mode="a")
        if group.attrs.get("fingerprint") == fingerprint:
            return group
        raise DataError(f"{folder} holds another denser map and was left as it is. Delete it, or give another --out.")
    group = zarr.open_group(folder, mode="a")
    group.attrs.update({"format": FORMAT, "fingerprint": fingerprint, "complete": False})
    return group


def _looked_at_spots(
    model: TrainedModel, section: Section, reference: np.ndarray, by: np.ndarray | None, spacing_um: float, whole: bool
) -> Generator[Event, None, tuple[Packing, np.ndarray | None, dict[str, float] | None]]:
    """What the section's own spots decide: what is kept a point, and, if the slide may be looked at as a ``whole``, the correction for it, float32
    (members, 2, n_features), and how well that agrees with tile by tile; without a correction it goes tile by tile."""
    heads, shared = [member.head for member in model.members], shares_embedding(model)
    side = np.floor(reference / (AGREEMENT_BLOCK_UM / section.mpp)).astype(np.int64)
    block = np.unique(side, axis=0, return_inverse=True)[1].ravel()
    shuffled = np.random.default_rng(0).permutation(block.max() + 1)[block]  # neighbours stay together: blocks of the slide are looked at whole
    order = np.argsort(shuffled, kind="stable")[: AGREEMENT_SPOTS if keeps_outputs(heads, shared) else FIT_SPOTS * 5 // 4]
    tiles = yield from _collected(heads, shared, reference[order], lambda centres, keep: embed(model, section, centres, by, keep))
    packing = choose_packing(heads, tiles, shared)
    if packing.kind == "components" and packing.relative_error > 0.05:
        yield Noted(
            f"{section.library_id}: {len(packing.scale)} components stand for what the model sees; its outputs are off by "
            f"{packing.relative_error:.1%} of their spread at spots that the components were not fitted to."
        )
    if not whole:
        return packing, None, None
    some = order[:AGREEMENT_SPOTS]
    found = yield from _collected(heads, shared, reference[some], lambda centres, keep: embed_whole(model, section, centres, spacing_um, keep))
    fitted = shuffled[some] % 2 == 0
    if min(fitted.sum(), (~fitted).sum()) < 10:
        return packing, None, None
    tiles = [one[: len(some)] for one in tiles]
    correction = fit_correction([one[fitted] for one in found], [one[fitted] for one in tiles])
    agreed = agreement(heads, corrected([one[~fitted] for one in found], correction), [one[~fitted] for one in tiles])
    words = f"r {agreed.r:.3f}, mean difference {agreed.difference_sd:.2f} SD, at {agreed.n} spots"
    if not agreed.r >= LEAST_R:
        yield Noted(f"{section.library_id}: looking at the slide as a whole does not agree with tile by tile ({words}), so it goes tile by tile.")
        return packing, None, agreed.as_dict()
    yield Noted(f"{section.library_id} is looked at as a whole; outputs agree with tile by tile: {words}. --tile-by-tile is slower and exact.")
    return packing, np.stack(correction), agreed.as_dict()


def _collected(heads: list[LinearModel], shared: bool, centres: np.ndarray, look: Embed) -> Generator[Event, None, list[np.ndarray]]:
    """The embeddings at a few points, one a member, float32 (n, width)."""
    found = [np.empty((len(centres), len(head.coefficients)), dtype=np.float32) for head in (heads[:1] if shared else heads)]

    def keep(rows: np.ndarray, embeddings: list[np.ndarray]) -> None:
        for one, embedding in zip(found, embeddings, strict=False):
            one[rows] = embedding

    yield from look(centres, keep)
    return found * len(heads) if shared else found


def _stored_packing(group: zarr.Group, model: TrainedModel) -> Packing:
    """The packing of chunks that are there already: computed again it might differ in its last digits, or in signs."""
    kind = str(group.attrs["packing"])
    if kind == "outputs":
        return Packing(kind, [member.head for member in model.members], np.zeros(0), np.ones(0))
    arrays = {name: np.asarray(group[name][:]) for name in ("packing_centre", "packing_scale", "packing_axes") if name in group}  # type: ignore[index]
    return Packing(kind, [], arrays["packing_centre"], arrays["packing_scale"], arrays.get("packing_axes"))


def _stored_correction(group: zarr.Group) -> np.ndarray | None:
    return np.asarray(group["whole_correction"][:]) if "whole_correction" in group else None  # type: ignore[index]


def _begin(
    group: zarr.Group,
    model: TrainedModel,
    points: Points,
    white: np.ndarray,
    packing: Packing,
    correction: np.ndarray | None,
    neighbours: dict[str, np.ndarray],
) -> None:
    """Everything but the embedding, which is made with the right shape."""
    n, width = len(points.centres_yx), packing.heads[0].coefficients.shape[0]
    if packing.kind == "outputs":
        width = len(packing.heads) * len(model.target.names)
    arrays: dict[str, np.ndarray] = {"centres_yx": points.centres_yx, "on_tissue": ~white} | _head_arrays(model, packing)
    if points.cell is not None:
        arrays["cell"] = points.cell
    if correction is not None:
        arrays["whole_correction"] = correction
    arrays |= neighbours
    for name, values in arrays.items():
        group.create_array(name, data=np.ascontiguousarray(values), chunks=_chunks(values, name), overwrite=True)
    group.create_array("embedding", shape=(n, width), chunks=(min(CHUNK, n), width), dtype="float16", fill_value=math.nan, overwrite=True)
    group.create_array("distance", shape=(n,), chunks=(min(CHUNK, n),), dtype="float16", fill_value=math.nan, overwrite=True)
    group.create_array("done", shape=(-(-n // CHUNK),), chunks=(1,), dtype="uint8", fill_value=0, overwrite=True)


def _head_arrays(model: TrainedModel, packing: Packing) -> dict[str, np.ndarray]:
    """What belongs to each member and output: its head, its scale, and its band."""
    fitted = [member.fitted for member in model.members]
    arrays = {"low": np.stack([one.low for one in fitted]), "high": np.stack([one.high for one in fitted])}
    arrays["target_sum"] = np.array([one.target_sum for one in fitted])
    if model.bands is not None:
        arrays |= {f"band_{name}": getattr(model.bands, name) for name in BAND_ARRAYS}
    if packing.kind != "outputs":
        arrays |= {"packing_centre": packing.centre, "packing_scale": packing.scale}
        arrays |= {} if packing.axes is None else {"packing_axes": packing.axes}
        arrays["coefficients"] = np.stack([head.coefficients for head in packing.heads])
        arrays["intercept"] = np.stack([head.intercept for head in packing.heads])
    return arrays


def neighbour_arrays(model: TrainedModel, section: Section, centres_yx: np.ndarray) -> dict[str, np.ndarray]:
    """What copies of neighbouring sections are made from: the points and the measured spots in their shared frame; nothing where none is aligned."""
    place = aligned_points(section, centres_yx)
    found = neighbours_of(model, section)
    blends = [member.blend for member in model.members]
    if not found or all(blend is None for blend in blends) or not np.isfinite(place).any():
        return {}
    usable = [np.isfinite(seen.aligned).all(axis=1) & np.isfinite(seen.values).all(axis=1) for seen, _ in found]
    nothing = np.full((3, len(model.target.names)), np.nan)
    return {
        "aligned": place,
        "blend": np.stack([nothing if blend is None else blend for blend in blends]),
        "neighbours_aligned": np.concatenate([seen.aligned[rows] for (seen, _), rows in zip(found, usable, strict=True)]),
        "neighbours_values": np.concatenate([seen.values[rows] for (seen, _), rows in zip(found, usable, strict=True)]),
        "neighbours_learned": np.concatenate([learned[rows] for (_, learned), rows in zip(found, usable, strict=True)]),
        "neighbours_section": np.repeat(np.arange(len(found), dtype=np.int16), [int(rows.sum()) for rows in usable]),
    }


def _chunks(values: np.ndarray, name: str) -> tuple[int, ...]:
    """Points in chunks; what has one column an output, in chunks of outputs, so that one output is read without the others."""
    if name in ("coefficients", "blend", "neighbours_values"):
        return (*(max(size, 1) for size in values.shape[:-1]), min(64, values.shape[-1]))
    return tuple(max(1, min(CHUNK, size)) for size in values.shape)


def _header(model: TrainedModel, section: Section, points: Points, packing: Packing, run: str, blended: bool) -> dict[str, Any]:
    """What the store says of itself."""
    whole = results.describe(section, model.target, about(model, run, blended))
    band = {key: value for key, value in whole.pop("band").items() if key not in BAND_ARRAYS}
    del whole["training_spots"]  # no point is scored
    said = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in whole.items()} | {"band": band}
    grid = {"shape": points.shape, "origin_yx_px": points.origin_yx_px, "step_px": points.step_px} if points.at == "grid" else {}
    return {
        "version": said["version"],
        "research_use_only": True,
        "contents": "denser map (predicted): nothing was measured at these points",
        "library_id": section.library_id,
        "run": said["run"],
        "model": said["model"],
        "unit": said["unit"],
        "target": asdict(model.target),
        "members": len(model.members),
        "at": points.at,
        "spacing_um": points.spacing_um,
        "mpp": section.mpp,
        "slide": stamp_of(section.require_slide()).member(),
        "tile_um": model.tile_um,
        "synthetic": said["synthetic"],
        "unlike_beyond": model.domain.threshold if model.domain is not None else None,
        "packing": packing.kind,
        "relative_error": packing.relative_error if math.isfinite(packing.relative_error) else 0.0,
        "about": said,
        **grid,
    }


def _fill(
    group: zarr.Group, points: Points, white: np.ndarray, packing: Packing, look: Embed, model: TrainedModel, of: str
) -> Generator[Event, None, None]:
    """Compute the chunks that are not there yet: the embedding of each point, and how far its tile lies from the training tiles."""
    embedding: Any = group["embedding"]
    away: Any = group["distance"]
    done: Any = group["done"]
    shared = shares_embedding(model)
    n, predicted = len(white), int((~white).sum())
    for number, start in enumerate(range(0, n, CHUNK)):
        before = int((~white[:start]).sum())
        rows = np.flatnonzero(~white[start : start + CHUNK])
        if done[number]:
            continue
        kept = np.full((min(CHUNK, n - start), embedding.shape[1]), np.nan, dtype=np.float16)
        far = np.full(len(kept), np.nan, dtype=np.float16)

        def keep(at: np.ndarray, embeddings: list[np.ndarray], rows: np.ndarray = rows, kept: np.ndarray = kept, far: np.ndarray = far) -> None:
            kept[rows[at]] = packing.pack(embeddings, shared)
            if model.domain is not None:
                far[rows[at]] = distance(model.domain, embeddings[0])

        if len(rows):
            yield Progress(f"denser map of {of}", before, predicted)
            for event in look(points.centres_yx[start + rows], keep):
                if isinstance(event, Progress):
                    share = event.done / max(event.total, 1)
                    yield Progress(f"denser map of {of}", before + int(share * len(rows)), predicted)
                else:
                    yield event
        embedding[start : start + CHUNK] = kept
        away[start : start + CHUNK] = far
        done[number] = 1  # after the chunk: a job that is killed in between computes it again
    yield Progress(f"denser map of {of}", predicted, predicted)
