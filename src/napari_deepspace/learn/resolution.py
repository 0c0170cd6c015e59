"""How sharp an edge a model draws: the 10 to 90 % width of its response to a straight edge between two tissues, in um.

A map may be asked for at points as near to one another as one likes, and stays as blurred as the tile is wide. Edges are put together from the
section's own tiles: one half of the image is the tile around a spot that is predicted high, the other that around one predicted low, both continued
by their mirror images. The model looks at tiles whose centres step across the edge; what it says, brought to 0..1, is averaged over several edges.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from napari_deepspace.events import Event
from napari_deepspace.learn.data import section_looks, widest_view_um
from napari_deepspace.learn.features import quick_inputs
from napari_deepspace.learn.model import TrainedModel, network_outputs
from napari_deepspace.section import Section
from napari_deepspace.slide import Level, Slide
from napari_deepspace.tiles import cut_tiles, tile_radius_px

KINDS = 4  #: differences between tissues: principal axes of what is predicted
PAIRS = 3  #: edges of each
STEPS = 33  #: tiles across an edge
REACH = 1.0  #: how far the steps go to each side, as a share of the widest view
CLEAR = 0.5  #: an output responds if it changes by this share of the most that any does; an edge counts for it by this share of its own most


def resolution(
    model: TrainedModel, section: Section, predicted: np.ndarray, reference: np.ndarray | None, device: torch.device
) -> Generator[Event, None, float | None]:
    """10 to 90 % width in um, the median over the outputs that respond; None where none does.

    ``predicted`` (n_spots, n_outputs) are values at the section's spots, NaN where there are none; ``reference`` are Quick's looks at the section's
    tissue, not standardised.
    """
    pairs = edge_pairs(predicted)
    if not pairs:
        return None
    view_um = widest_view_um(model.settings, model.tile_um)
    offsets_um = np.linspace(-REACH, REACH, STEPS) * view_um
    responses = []
    for high, low in pairs:
        edge, middle = edge_section(section, section.centres_yx[[low, high]], view_um)
        centres = middle + np.stack([np.zeros(STEPS), offsets_um / section.mpp], axis=1)
        looks = yield from section_looks(edge, centres, model.tile_um, model.tile_px, model.settings.model)
        responses.append(_response(model, looks, reference, device))
    widths = edge_widths(np.stack(responses), offsets_um)
    return float(np.median(widths[np.isfinite(widths)])) if np.isfinite(widths).any() else None


def edge_pairs(predicted: np.ndarray) -> list[tuple[int, int]]:
    """Spots (high, low) that differ most along each of the main ways in which predictions differ."""
    rows = np.flatnonzero(np.isfinite(predicted).all(axis=1))
    if len(rows) < 4 * PAIRS:
        return []
    values = predicted[rows].astype(np.float64)
    spread = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)
    along, lengths, _ = np.linalg.svd(values, full_matrices=False)
    pairs = []
    for axis in range(min(KINDS, int((lengths > 1e-6).sum()))):
        order = rows[np.argsort(along[:, axis])]
        tenth = max(PAIRS, len(order) // 10)  # the outermost spots are often the oddest: spread over the outermost tenth
        ends = np.linspace(0, tenth - 1, PAIRS).astype(int)
        pairs += [(int(order[-1 - end]), int(order[end])) for end in ends]
    return pairs


def edge_section(section: Section, centres_yx: np.ndarray, view_um: float) -> tuple[Section, np.ndarray]:
    """A section on an image with a straight vertical edge: to its left the tissue around the first of two centres, to its right around the second.

    Returns it and the middle of the edge (row, column), in px of the full resolution.
    """
    radius = tile_radius_px(view_um, section.mpp)
    tiles = cut_tiles(section.require_slide(), centres_yx, radius)
    width = int(np.ceil((1 + REACH) * 2 * radius)) + 2  # of each half: as far as the outermost tile reaches, and more
    left = np.pad(tiles[0], ((radius, radius), (width - 2 * radius, 0), (0, 0)), mode="symmetric")
    right = np.pad(tiles[1], ((radius, radius), (0, width - 2 * radius), (0, 0)), mode="symmetric")
    image = np.concatenate([left, right], axis=1)
    shape = (image.shape[0], image.shape[1])
    slide = Slide(Path("edge"), [Level(shape, shape, lambda i, j: image)], section.mpp, [])
    return replace(section, slide=slide, library_id=f"edges of {section.library_id}"), np.array([shape[0] / 2, width], dtype=np.float64)


def _response(model: TrainedModel, looks: np.ndarray, reference: np.ndarray | None, device: torch.device) -> np.ndarray:
    """What the model says, (STEPS, n_outputs): the mean of Quick's members, or a network's first."""
    network = model.members[0].network
    if network is None:
        inputs = quick_inputs(looks, looks if reference is None else reference)
        return np.asarray(np.mean([member.linear.predict(inputs) for member in model.members if member.linear is not None], axis=0))
    outputs = network_outputs(network.to(device), looks, device)
    network.cpu()
    return outputs


def edge_widths(responses: np.ndarray, offsets_um: np.ndarray) -> np.ndarray:
    """10 to 90 % width in um of each output, (n_outputs,), NaN where one does not respond.

    ``responses`` (n_edges, n_steps, n_outputs), scaled, at ``offsets_um`` (n_steps,) across the edges. The ends of an edge are the means of the
    outermost quarter of the steps to each side, whose views lie on one side alone.
    """
    ends = max(1, len(offsets_um) // 4)
    low, high = responses[:, :ends].mean(axis=1), responses[:, -ends:].mean(axis=1)
    change = high - low
    most = np.abs(change).max(axis=0)
    widths = np.full(responses.shape[2], np.nan)
    for output in np.flatnonzero((most > 1e-6) & (most >= CLEAR * most.max())):
        edges = np.abs(change[:, output]) >= CLEAR * most[output]
        curve = ((responses[edges, :, output] - low[edges, output, None]) / change[edges, output, None]).mean(axis=0)
        widths[output] = _width(curve, offsets_um)
    return widths


def _width(curve: np.ndarray, offsets_um: np.ndarray) -> float:
    """10 to 90 % width of a curve that rises from 0 to 1."""
    rising = (np.maximum.accumulate(curve) + np.minimum.accumulate(curve[::-1])[::-1]) / 2
    rising = rising + np.arange(len(rising)) * 1e-9
    return float(np.interp(0.9, rising, offsets_um) - np.interp(0.1, rising, offsets_um))
