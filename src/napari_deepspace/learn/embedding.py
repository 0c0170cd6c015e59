"""What a model's linear maps look at, whatever kind of model it is: a member is an embedding of a point and a linear head on it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from napari_deepspace.events import Event, Progress, result_of
from napari_deepspace.learn.data import section_looks, widest_view_um
from napari_deepspace.learn.features import quick_inputs
from napari_deepspace.learn.model import TrainedModel
from napari_deepspace.learn.networks import choose_device, network_features
from napari_deepspace.section import Section
from napari_deepspace.settings import NetworkSettings
from napari_deepspace.tiles import read_order, tile_radius_px

PIECE = 64  #: tiles that are cut together; two such pieces are in memory
FROZEN_PIECE = 4096  #: points whose frozen features are in memory at once

Keep = Callable[[np.ndarray, list[np.ndarray]], None]
"""Called with rows (n,) of the points and one embedding a member, float32 (n, width)."""


def shares_embedding(model: TrainedModel) -> bool:
    """Whether all members look at the same embedding: those of Quick do, networks have each their own."""
    return not isinstance(model.settings.model, NetworkSettings)


def reference_looks(model: TrainedModel, section: Section, reference: np.ndarray | None) -> Generator[Event, None, np.ndarray | None]:
    """What Quick's features at other points are standardised by, those of the section's own tiles at ``reference`` (n, 2); None: by themselves."""
    if reference is None or isinstance(model.settings.model, NetworkSettings):
        return None
    return (yield from section_looks(section, reference, model.tile_um, model.tile_px, model.settings.model))


def embed(model: TrainedModel, section: Section, centres_yx: np.ndarray, by: np.ndarray | None, keep: Keep) -> Generator[Event, None, None]:
    """Hand the embeddings at ``centres_yx`` (n, 2), full-resolution px, to ``keep``, piece by piece; every row comes exactly once.

    With symmetries the embedding is the mean over all eight, whose head gives the mean output. ``by`` is what :func:`reference_looks` gave; without
    it Quick's features are standardised by the points' own. Tiles are in memory for two pieces only.
    """
    n, quick = len(centres_yx), model.settings.model
    if not isinstance(quick, NetworkSettings):
        size = FROZEN_PIECE if by is not None and quick.features != "handmade" else max(n, 1)
        for start in range(0, n, size):
            rows = np.arange(start, min(start + size, n))
            looks = yield from section_looks(section, centres_yx[rows], model.tile_um, model.tile_px, quick)
            keep(rows, [quick_inputs(looks, looks if by is None else by)] * len(model.members))
        return
    device, _ = choose_device("auto")
    networks = [member.network.to(device) for member in model.members if member.network is not None]
    try:
        radius = tile_radius_px(widest_view_um(model.settings, model.tile_um), section.mpp)
        order = read_order(section.require_slide(), centres_yx, radius)
        pieces = [order[start : start + PIECE] for start in range(0, n, PIECE)]

        def cut(rows: np.ndarray) -> np.ndarray:
            return np.asarray(result_of(section_looks(section, centres_yx[rows], model.tile_um, model.tile_px, quick)))

        with ThreadPoolExecutor(1) as ahead:  # the next tiles are cut while the network looks at these
            coming = ahead.submit(cut, pieces[0]) if pieces else None
            for number, rows in enumerate(pieces):
                assert coming is not None
                tiles = coming.result()
                coming = ahead.submit(cut, pieces[number + 1]) if number + 1 < len(pieces) else None
                keep(rows, [network_features(network, tiles, device, symmetries=quick.symmetries) for network in networks])
                yield Progress(f"looking at tiles of {section.library_id}", min((number + 1) * PIECE, n), n)
    finally:
        for network in networks:
            network.cpu()
