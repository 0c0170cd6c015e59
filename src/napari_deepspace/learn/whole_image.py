"""Looking at the slide as a whole: the convolutions of a network run once over large blocks, and overlapping tiles share the work.

What a tile's last layer would see is then pooled over the tile's window of the feature map. It differs a little from the tile by itself, whose
borders are padded with zeros; a shift and a scale per feature, fitted at the section's own spots, take out what is the same everywhere, and what is
left is told (:class:`Agreement`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from napari_deepspace.analyse.metrics import mean_r, pearson
from napari_deepspace.events import Event, Progress
from napari_deepspace.learn.backbones import HEADS
from napari_deepspace.learn.embedding import Keep
from napari_deepspace.learn.features import resampled
from napari_deepspace.learn.linear import LinearModel
from napari_deepspace.learn.model import TrainedModel
from napari_deepspace.learn.networks import choose_device, to_input, turned
from napari_deepspace.section import Section
from napari_deepspace.settings import NetworkSettings
from napari_deepspace.tiles import tile_radius_px

STRIDE = 32  #: pixels of the network's input a cell of its feature map, in all of these backbones
BLOCK = 16  #: cells a side of a block; memory is that of one block
MARGIN = 2  #: cells around it that are computed and dropped, for zeros lie beyond
LEAST_R = 0.9  #: agreement below which tiles are looked at one by one


@dataclass(frozen=True)
class Agreement:
    """How well outputs of the whole slide agree with those tile by tile, at ``n`` spots: mean over outputs and members.

    ``r`` Pearson's; ``difference_sd`` the mean absolute difference in SDs of the outputs tile by tile.
    """

    r: float
    difference_sd: float
    n: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def can_look_whole(model: TrainedModel) -> bool:
    """Whether the network is a convolutional one whose windows are whole cells of its feature map: no transformer, no context, no frozen features."""
    settings = model.settings.model
    if not isinstance(settings, NetworkSettings) or settings.backbone not in HEADS or settings.context is not None:
        return False
    return settings.tile_px == 224 if settings.backbone == "vgg16" else settings.tile_px % STRIDE == 0


def stride_um(model: TrainedModel) -> float:
    """How far apart the cells of the feature map are on the tissue."""
    return STRIDE * model.tile_um / model.tile_px


def embed_whole(model: TrainedModel, section: Section, centres_yx: np.ndarray, spacing_um: float, keep: Keep) -> Generator[Event, None, None]:
    """As :func:`napari_deepspace.learn.embedding.embed` for networks of :func:`can_look_whole`, from the slide as a whole.

    Embeddings lie on a lattice, the stride of the feature map or a half or a quarter of it, whichever is not much coarser than ``spacing_um``; points
    in between are interpolated.
    """
    settings: Any = model.settings.model
    slide, device = section.require_slide(), choose_device("auto")[0]
    step = 2 * tile_radius_px(model.tile_um, section.mpp) / model.tile_px  # full-resolution px a pixel of the network
    finer = next((k for k in (1, 2) if stride_um(model) / k <= 1.25 * spacing_um), 4)
    corners = np.asarray(centres_yx, dtype=np.float64) / step - model.tile_px / 2  # of tiles, in pixels of the network
    block = np.floor(corners / (BLOCK * STRIDE)).astype(np.int64)
    networks = [member.network.to(device).eval() for member in model.members if member.network is not None]
    done = 0
    try:
        for which in np.unique(block, axis=0):
            rows = np.flatnonzero((block == which).all(axis=1))
            first = np.floor(corners[rows].min(axis=0) / STRIDE).astype(np.int64)
            cells = np.floor(corners[rows].max(axis=0) / STRIDE).astype(np.int64) + 2 - first  # one beyond, to interpolate
            begin = (first - MARGIN) * STRIDE
            end = begin + (cells - 1 + 2 * MARGIN + 1) * STRIDE + model.tile_px  # a stride more, for lattices in between
            image = np.rint(255 * resampled(slide.levels, step, begin, end)).astype(np.uint8)
            within = (corners[rows] - first * STRIDE) * finer / STRIDE
            found = []
            for network in networks:
                lattice = _lattice(network, settings, torch.from_numpy(image), cells, finer, device)
                found.append(_between(lattice, within))
            keep(rows, found)
            done += len(rows)
            yield Progress(f"looking at {section.library_id} as a whole", done, len(centres_yx))
    finally:
        for network in networks:
            network.cpu()


def _lattice(network: Any, settings: NetworkSettings, image: torch.Tensor, cells: np.ndarray, finer: int, device: torch.device) -> np.ndarray:
    """Embeddings of the windows that begin at every cell, and ``finer`` times as densely: float32 (finer * rows, finer * columns, n_features)."""
    height, width = ((int(size) - 1 + 2 * MARGIN) * STRIDE + settings.tile_px for size in cells)
    out = np.empty((finer * int(cells[0]), finer * int(cells[1]), network.head.in_features), dtype=np.float32)
    views = range(8) if settings.symmetries else range(1)
    with torch.inference_mode():
        for down in range(finer):
            for right in range(finer):
                top, left = down * STRIDE // finer, right * STRIDE // finer
                part = image[None, top : top + height, left : left + width].to(device)
                found = torch.stack([_turned_back(_windows(network, settings, turned(part, k)), k).float() for k in views])
                out[down::finer, right::finer] = found.mean(dim=0).cpu().numpy()
    return out


def _windows(network: Any, settings: NetworkSettings, image: torch.Tensor) -> torch.Tensor:
    """What the last layer sees of every window of uint8 ``image`` (1, h, w, 3): (rows, columns, n_features), without the margin."""
    trunk, side = network.trunk, settings.tile_px // STRIDE
    cells = _middle(_body(trunk, settings.backbone)(to_input(image, network)))
    shape = (cells.shape[2] - side + 1, cells.shape[3] - side + 1)
    if settings.backbone == "vgg16":
        return trunk.classifier(F.unfold(cells, side)[0].T).reshape(*shape, -1)
    pooled = F.avg_pool2d(cells, side, 1)[0].flatten(1).T
    if settings.backbone == "convnext_tiny":
        return trunk.classifier(pooled[:, :, None, None]).reshape(*shape, -1)
    return (trunk.classifier(pooled) if hasattr(trunk, "classifier") else pooled).reshape(*shape, -1)


def _middle(cells: torch.Tensor) -> torch.Tensor:
    """A feature map (n, c, rows, columns) without the margin."""
    return cells[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]


def _body(trunk: Any, backbone: str) -> nn.Module:
    """The convolutions of a trunk: (n, 3, h, w) to its feature map."""
    if backbone.startswith("resnet"):
        return nn.Sequential(*list(trunk.children())[:-2])
    return nn.Sequential(trunk.features, nn.ReLU()) if backbone.startswith("densenet") else trunk.features


def _turned_back(windows: torch.Tensor, k: int) -> torch.Tensor:
    """(rows, columns, n_features) of an image that :func:`turned` turned, as of the image before."""
    return torch.rot90(torch.flip(windows, (0,)) if k >= 4 else windows, -(k % 4), (0, 1))


def _between(lattice: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of (rows, columns, n_features) at ``at`` (n, 2): float32 (n, n_features)."""
    low = np.minimum(np.floor(at).astype(np.int64), np.array(lattice.shape[:2]) - 2)
    (i, j), (v, u) = low.T, (at - low).astype(np.float32).T[:, :, None]
    upper = (1 - u) * lattice[i, j] + u * lattice[i, j + 1]
    return np.asarray((1 - v) * upper + v * ((1 - u) * lattice[i + 1, j] + u * lattice[i + 1, j + 1]))


def fit_correction(whole: Sequence[np.ndarray], tiles: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each member scale and shift of every feature, float32 (2, n_features), that give embeddings of the whole slide the mean and SD of those
    tile by tile at the same spots, each (n, n_features)."""
    out = []
    for one, other in zip(whole, tiles, strict=True):
        spread = one.std(axis=0)
        scale = np.where(spread > 1e-6, other.std(axis=0) / np.maximum(spread, 1e-6), 1.0)
        out.append(np.stack([scale, other.mean(axis=0) - scale * one.mean(axis=0)]).astype(np.float32))
    return out


def corrected(embeddings: Sequence[np.ndarray], correction: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Embeddings of the whole slide as those tile by tile, see :func:`fit_correction`."""
    return [one * scale + shift for one, (scale, shift) in zip(embeddings, correction, strict=True)]


def agreement(heads: Sequence[LinearModel], whole: Sequence[np.ndarray], tiles: Sequence[np.ndarray]) -> Agreement:
    """Compare outputs of (corrected) embeddings of the whole slide with those tile by tile, at spots that the correction was not fitted to."""
    r, difference = [], []
    for head, one, other in zip(heads, whole, tiles, strict=True):
        found, true = head.predict(one), head.predict(other)
        r.append(mean_r(pearson(true, found)))
        difference.append((np.abs(found - true) / np.maximum(true.std(axis=0), 1e-9)).mean())
    return Agreement(float(np.mean(r)), float(np.mean(difference)), len(tiles[0]))
