"""Context: a second, wider field of view beside the tile."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from napari_deepspace import results
from napari_deepspace.blocking import fit, predict
from napari_deepspace.events import result_of
from napari_deepspace.learn.augment import augmented
from napari_deepspace.learn.data import gather, section_tiles, widest_view_um
from napari_deepspace.learn.model import load_model
from napari_deepspace.learn.networks import build_network, to_input
from napari_deepspace.learn.splits import TEST, TRAINING, VALIDATION
from napari_deepspace.settings import NetworkSettings, run_settings
from napari_deepspace.tiles import coarsest_level, cut_tiles, tile_radius_px

TINY = {"kind": "network", "backbone": "timm/test_resnet", "weights": "scratch", "tile_px": 32}


def test_both_views_have_one_centre(small):
    """The first view is the tile without context; the second, from a reduced level of the slide, shows what full resolution does, 4 times as wide."""
    centres = small.centres_yx[:40]
    plain = result_of(section_tiles(small, centres, 137.5, 32))
    both = result_of(section_tiles(small, centres, 137.5, 32, 4.0))
    assert both.shape == (40, 2, 32, 32, 3)
    np.testing.assert_array_equal(both[:, 0], plain)
    radius = tile_radius_px(4 * 137.5, small.mpp)
    assert coarsest_level(small.slide, radius, 32) == 4  # 734 px of the slide are 46 px of its fifth level
    exact = cut_tiles(small.slide, centres, radius, 32).astype(float)
    assert np.abs(both[:, 1] - exact).mean() < 5
    assert np.abs(both[:, 1] - np.roll(exact, 2, axis=2)).mean() > 2 * np.abs(both[:, 1] - exact).mean()


def learned(context, tiles, values):
    """r on tiles that were not trained on, after a few epochs of a tiny network."""
    torch.manual_seed(0)
    network = build_network(NetworkSettings(**TINY, context=context), 1)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    tiles = tiles if context else tiles[:, 0]
    train = len(tiles) // 2
    network.train()
    for _, start in itertools.product(range(6), range(0, train, 32)):
        batch = slice(start, start + 32)
        loss = (network(to_input(tiles[batch], network))[:, 0] - values[batch]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.inference_mode():
        found = network.eval()(to_input(tiles[train:], network))[:, 0]
    return float(np.corrcoef(found, values[train:])[0, 1])


def test_what_only_the_wider_view_shows_is_learned_with_context_alone():
    """A target that depends on the texture of the wider view is learned with a context, and stays at chance without."""
    generator = torch.Generator().manual_seed(0)
    tiles = torch.randint(0, 256, (192, 2, 32, 32, 3), dtype=torch.uint8, generator=generator)
    values = torch.rand(192, generator=generator)
    tiles[:, 1] = (128 + (tiles[:, 1].float() - 128) * (0.2 + 0.8 * values.view(-1, 1, 1, 1))).to(torch.uint8)  # contrast
    assert learned(4, tiles, values) > 0.8
    assert abs(learned(None, tiles, values)) < 3 / np.sqrt(96)


def test_views_are_changed_alike():
    """Augmentation does to the wider view what it does to the tile."""
    tile = torch.randint(0, 256, (9, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    both = augmented(torch.stack([tile, tile], dim=1), NetworkSettings(), 5)
    assert torch.equal(both[:, 0], both[:, 1])
    assert torch.equal(both[:, 0], augmented(tile, NetworkSettings(), 5))
    assert not torch.equal(both[:, 0], tile)


@pytest.mark.parametrize("context", [None, 2.0])
def test_no_training_pixel_lies_in_a_test_spots_wider_view(phantom, context):
    """The guard band is as wide as the widest view: squares of training and test spots never overlap, along the diagonal neither."""
    asked = run_settings({"sections": [{"path": str(phantom.path)}], "model": {**TINY, "context": context}, "filter": {"white_percentile": 100}})
    data = result_of(gather([phantom], asked))
    wide = widest_view_um(asked, data.tile_um)
    assert wide == data.tile_um * (context or 1)
    centres = data.centres_um[0]
    for fold in range(data.split.n_folds):
        part = data.split.parts[:, fold]
        train, test = centres[np.isin(part, (TRAINING, VALIDATION))], centres[part == TEST]
        assert len(train) > 0.2 * len(centres)
        apart = np.abs(train[:, None] - test[None]).max(axis=2)
        assert apart.min() >= wide


@pytest.mark.acceptance
def test_a_run_with_context_predicts_what_it_wrote(small, tmp_path):
    """A network with a context trains, is saved, and its saved model predicts at the spots and between them."""
    network = {**TINY, "context": 3, "epochs": 1}
    values = {"sections": [{"path": str(small.path)}], "target": {"names": ["ESR1"]}, "model": network, "split": {"kind": "random", "folds": 2}}
    fit(small, run_settings(values), tmp_path, progress=False)
    model = load_model(tmp_path)
    written = results.read_result(next((tmp_path / "predictions").glob("*.h5ad")))
    again = predict(model, dataclasses.replace(small), progress=False)
    target = written.var[results.TARGET].to_numpy()
    np.testing.assert_allclose(again.layers[results.PREDICTED][:, target], written.layers[results.PREDICTED][:, target], atol=1e-3)
    between = predict(model, small, small.centres_yx[:5] + small.pitch_px / 2, progress=False)
    assert np.isfinite(between.layers[results.PREDICTED]).any()
