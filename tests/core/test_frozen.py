"""Quick on the frozen features of a backbone."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_deepspace import results
from napari_deepspace.analyse.evaluate import evaluate
from napari_deepspace.blocking import fit, predict
from napari_deepspace.errors import TrainingError
from napari_deepspace.events import Progress, result_of
from napari_deepspace.learn.data import section_looks, section_tiles, tile_side_px
from napari_deepspace.learn.model import load_model
from napari_deepspace.learn.networks import build_network, to_input
from napari_deepspace.settings import QuickSettings, run_settings


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a tiny network, as a user's file."""
    torch.manual_seed(3)
    network = build_network("timm/test_resnet", 1)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(network.trunk.state_dict(), path)
    return path, network


def settings(section, path, **quick):
    model = {"kind": "quick", "features": "timm/test_resnet", "weights": str(path), **quick}
    return run_settings({"sections": [{"path": str(section.path)}], "target": {"names": ["ESR1", "COL5A2"]}, "model": model})


def test_frozen_features_are_those_before_the_last_layer(small, weights):
    """The mean colour comes first, then what the backbone computes in evaluation mode, at its own tile size; the same every time."""
    path, network = weights
    asked = settings(small, path)
    centres = small.centres_yx[:45]
    side = tile_side_px(asked, 137.5)
    assert side == 160
    one = result_of(section_looks(small, centres, 137.5, side, asked.model))
    two = result_of(section_looks(small, centres, 137.5, side, asked.model))
    np.testing.assert_array_equal(one, two)
    assert one.dtype == np.float32
    assert one.shape == (45, 3 + network.head.in_features)
    tiles = result_of(section_tiles(small, centres, 137.5, side))
    np.testing.assert_allclose(one[:, :3], tiles.mean(axis=(1, 2)) / 255, atol=1e-6)
    with torch.inference_mode():
        expected = network.eval().features(to_input(torch.from_numpy(tiles), network))
    np.testing.assert_allclose(one[:, 3:], expected, atol=1e-4)


def test_progress_is_told_and_missing_weights_stop(small, weights):
    """Every batch is reported; weights that cannot be had end in the sentence that says what to do."""
    path, _ = weights
    events = list(section_looks(small, small.centres_yx[:70], 137.5, 64, settings(small, path).model))
    assert [event.done for event in events if isinstance(event, Progress)] == [32, 64, 70]
    with pytest.raises(TrainingError, match="No file of weights"):
        list(section_looks(small, small.centres_yx[:3], 137.5, 64, QuickSettings(features="resnet18", weights="nowhere.pth")))


def test_quick_learns_from_frozen_features(small, weights, tmp_path):
    """On frozen features, even of an untrained backbone, Quick predicts a gene that seen as colour beyond chance; its saved model does the same."""
    path, _ = weights
    fit(small, settings(small, path, components=256), tmp_path, progress=False)
    written = results.read_result(next((tmp_path / "predictions").glob("*.h5ad")))
    scores = evaluate(written)
    assert scores["genes"]["ESR1"]["r"] > scores["chance_r"]
    again = predict(load_model(tmp_path), small, progress=False)
    target = written.var[results.TARGET].to_numpy()
    np.testing.assert_allclose(again.layers[results.PREDICTED][:, target], written.layers[results.PREDICTED][:, target], atol=1e-3)
