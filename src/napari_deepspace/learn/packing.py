"""How little has to be kept a point so that every output can be computed from it later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_deepspace.learn.linear import LinearModel

MOST_WIDE = 640  #: numbers a point up to which the embedding is kept as it is
FEW_OUTPUTS = 640  #: outputs of all members up to which they are kept themselves
COMPONENTS = 512  #: principal components that are kept of a wider one
FIT_SPOTS = 2000  #: spots that components are fitted to at most
HALF_MAX = 60_000.0  #: float16 ends a little beyond


@dataclass(frozen=True)
class Packing:
    """What is kept a point, float16 (width,), and the linear maps from there to scaled outputs.

    ``kind``: "outputs" keeps the outputs of all members, which loses nothing and is the least where there are few of them; "embedding" keeps what
    the heads look at; "components" its principal components, fitted to the section's own spots. What is kept is centred by ``centre`` and divided by
    ``scale``, (width of the embedding,) or (components,), so that float16 holds it well. ``heads`` are those of the members on what is kept.
    ``relative_error`` is that of scaled outputs at spots that the components were not fitted to.
    """

    kind: str
    heads: list[LinearModel]
    centre: np.ndarray
    scale: np.ndarray
    axes: np.ndarray | None = None  #: (components, width of the embedding)
    relative_error: float = float("nan")

    def pack(self, embeddings: Sequence[np.ndarray], shared: bool) -> np.ndarray:
        """One embedding a member, float32 (n, width), to what is kept: float16 (n, kept)."""
        if self.kind == "outputs":
            found = np.concatenate([head.predict(one) for head, one in zip(self.heads, embeddings, strict=True)], axis=1)
        else:
            found = joined(embeddings, shared) - self.centre
            found = (found if self.axes is None else found @ self.axes.T) / self.scale
        return np.clip(found, -HALF_MAX, HALF_MAX).astype(np.float16)

    def unpack(self, kept: np.ndarray) -> list[np.ndarray]:
        """Scaled outputs of each member, float32 (n, n_outputs)."""
        if self.kind == "outputs":
            return [np.asarray(part, dtype=np.float32) for part in np.split(kept, len(self.heads), axis=1)]
        return [head.predict(kept.astype(np.float32)) for head in self.heads]


def joined(embeddings: Sequence[np.ndarray], shared: bool) -> np.ndarray:
    """The embeddings of all members side by side, or the one that they share."""
    return embeddings[0] if shared else np.concatenate(embeddings, axis=1)


def keeps_outputs(heads: Sequence[LinearModel], shared: bool) -> bool:
    """Whether the outputs themselves are the least to keep."""
    widths = [len(head.coefficients) for head in heads]
    return heads[0].coefficients.shape[1] * len(heads) <= min(widths[0] if shared else sum(widths), FEW_OUTPUTS)


def choose_packing(heads: Sequence[LinearModel], spots: Sequence[np.ndarray], shared: bool, most: int = MOST_WIDE) -> Packing:
    """The packing for a model's ``heads``; ``spots`` are the embeddings of some of the section's own spots, one a member, float32 (n, width).

    Every fifth spot is left out of the components and says how large their error is.
    """
    widths = [len(head.coefficients) for head in heads]
    width = widths[0] if shared else sum(widths)
    if keeps_outputs(heads, shared):
        packing = Packing("outputs", list(heads), np.zeros(0), np.ones(0))
        return _with_error(packing, heads, spots, shared)
    both = joined(spots, shared)
    held = np.arange(len(both)) % 5 == 4
    kept = both[~held] if width > most and held.any() else both
    centre = kept.mean(axis=0)
    starts = [0] * len(heads) if shared else np.cumsum([0, *widths[:-1]]).tolist()
    if width <= most:
        scale = _scale(kept.std(axis=0))
        return _with_error(
            Packing("embedding", _heads(heads, starts, centre, scale, None, width), centre, scale), heads, [one[held] for one in spots], shared
        )
    axes, spread = _components((kept - centre)[:FIT_SPOTS], most=min(COMPONENTS, most))
    scale = _scale(spread)
    packing = Packing("components", _heads(heads, starts, centre, scale, axes, width), centre, scale, axes)
    return _with_error(packing, heads, [one[held] for one in spots], shared)


def _components(centred: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal axes (components, width) and their SD; by the products of spots, for an embedding is wider than there are spots."""
    variance, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    order = np.argsort(-variance)[:most]
    order = order[variance[order] > variance.max() * 1e-10]
    size = np.sqrt(variance[order])
    axes = (vectors[:, order].T.astype(np.float32) @ centred) / size[:, None].astype(np.float32)
    return axes.astype(np.float32), (size / np.sqrt(len(centred))).astype(np.float32)


def _scale(spread: np.ndarray) -> np.ndarray:
    """By what columns are divided: their SD, but never by next to nothing."""
    return np.maximum(spread, max(float(spread.max(initial=0)) * 1e-3, 1e-12)).astype(np.float32)


def _heads(
    heads: Sequence[LinearModel], starts: Sequence[int], centre: np.ndarray, scale: np.ndarray, axes: np.ndarray | None, width: int
) -> list[LinearModel]:
    """The members' linear maps on what is kept in place of the embeddings side by side, in which theirs begin at ``starts``."""
    out = []
    for head, start in zip(heads, starts, strict=True):
        whole = np.zeros((width, head.coefficients.shape[1]), dtype=np.float32)
        whole[start : start + len(head.coefficients)] = head.coefficients
        kept = whole if axes is None else axes @ whole
        out.append(LinearModel((kept * scale[:, None]).astype(np.float32), (head.intercept + centre @ whole).astype(np.float32)))
    return out


def _with_error(packing: Packing, heads: Sequence[LinearModel], spots: Sequence[np.ndarray], shared: bool) -> Packing:
    """``packing`` with the error of its outputs at ``spots``, relative to how much they vary there."""
    if not len(spots[0]):
        return packing
    true = np.stack([head.predict(one) for head, one in zip(heads, spots, strict=True)])
    found = np.stack(packing.unpack(packing.pack(spots, shared)))
    spread = np.sqrt(((true - true.mean(axis=1, keepdims=True)) ** 2).mean())
    error = float(np.sqrt(((found - true) ** 2).mean()) / max(float(spread), 1e-12))
    return Packing(packing.kind, packing.heads, packing.centre, packing.scale, packing.axes, error)
