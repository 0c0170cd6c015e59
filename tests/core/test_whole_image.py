"""The slide as a whole: the same places, the same windows, and honest words about what differs from tile by tile."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from napari_deepspace.events import result_of
from napari_deepspace.learn.embedding import embed
from napari_deepspace.learn.linear import LinearModel
from napari_deepspace.learn.networks import Network, starting_network
from napari_deepspace.learn.whole_image import agreement, can_look_whole, corrected, embed_whole, fit_correction
from napari_deepspace.settings import NetworkSettings


def model_of(network, **settings):
    """As much of a model as looking needs."""
    settings = NetworkSettings(weights="scratch", **settings)
    return SimpleNamespace(
        settings=SimpleNamespace(model=settings), tile_um=137.5, tile_px=settings.tile_px, members=[SimpleNamespace(network=network)]
    )


def looked(look, n, width):
    found = np.full((n, width), np.nan, dtype=np.float32)

    def keep(rows, embeddings):
        assert np.isnan(found[rows]).all(), "every point comes once"
        found[rows] = embeddings[0]

    result_of(look(keep))
    return found


@pytest.mark.parametrize(("symmetries", "spacing_um"), [(False, 20.0), pytest.param(True, 8.0, marks=pytest.mark.acceptance)])
def test_windows_lie_where_tiles_lie(phantom, symmetries, spacing_um):
    """A network that averages colours without padding sees the same from the slide as a whole as tile by tile, between lattice points too."""
    trunk = nn.Sequential(nn.AvgPool2d(32), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = model_of(Network(trunk, nn.Linear(3, 2), (0.5,) * 3, (0.1,) * 3), backbone="resnet18", tile_px=224, symmetries=symmetries)
    spots = phantom.centres_yx[np.argsort(np.abs(phantom.centres_yx - 2300).max(axis=1))[:40]]
    centres = spots + np.random.default_rng(0).uniform(-20, 20, spots.shape)
    tiles = looked(lambda keep: embed(model, phantom, centres, None, keep), 40, 3)
    whole = looked(lambda keep: embed_whole(model, phantom, centres, spacing_um, keep), 40, 3)
    assert np.abs(whole - tiles).mean() < 0.05 * tiles.std(axis=0).min()
    moved = looked(lambda keep: embed_whole(model, phantom, centres + 12, spacing_um, keep), 40, 3)
    assert np.abs(moved - tiles).mean() > 2.5 * np.abs(whole - tiles).mean(), "a shift of a few um would be seen"
    assert all(np.corrcoef(whole[:, channel], tiles[:, channel])[0, 1] > 0.999 for channel in range(3))


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v3_small", "densenet121", "efficientnet_b0", "convnext_tiny"])
def test_pooling_is_the_networks_own(backbone):
    """On an image of one tile, with a margin that is cut off, the window is pooled as the network pools its feature map."""
    from napari_deepspace.learn import whole_image

    torch.manual_seed(0)
    settings = NetworkSettings(backbone=backbone, weights="scratch", tile_px=64)
    network = starting_network(settings, 2).eval()
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8))
    from napari_deepspace.learn.networks import to_input

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        margin = slice(None)
        patch.setattr(whole_image, "_middle", lambda cells: cells[:, :, margin, margin])
        window = whole_image._windows(network, settings, image)
        torch.testing.assert_close(window[0, 0], network.features(to_input(image, network))[0], rtol=1e-4, atol=1e-5)


def test_transformers_and_contexts_go_tile_by_tile():
    """Only networks of convolutions whose tiles are whole cells can look at the slide as a whole."""
    for settings, expected in (
        ({"backbone": "resnet18"}, True),
        ({"backbone": "vgg16"}, True),
        ({"backbone": "vgg16", "tile_px": 64}, False),
        ({"backbone": "resnet18", "tile_px": 100}, False),
        ({"backbone": "resnet18", "context": 3.0}, False),
        ({"backbone": "timm/vit_tiny_patch16_224"}, False),
    ):
        assert can_look_whole(model_of(None, **settings)) is expected, settings


def test_what_is_the_same_everywhere_is_taken_out():
    """A shift and a scale of every feature vanish; the rest is told as r and in SDs."""
    rng = np.random.default_rng(0)
    tiles = rng.normal(size=(100, 5)).astype(np.float32)
    head = LinearModel(rng.normal(size=(5, 3)).astype(np.float32), np.zeros(3, dtype=np.float32))
    whole = tiles * 0.5 + 3
    same = agreement([head], corrected([whole], fit_correction([whole], [tiles])), [tiles])
    assert (same.r, same.difference_sd, same.n) == (pytest.approx(1), pytest.approx(0, abs=1e-4), 100)
    noise = whole + rng.normal(size=tiles.shape).astype(np.float32)
    assert agreement([head], corrected([noise], fit_correction([noise], [tiles])), [tiles]).r < 0.8
