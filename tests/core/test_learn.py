"""Linear maps, networks and the files they live in."""

import os
import pickle  # noqa: TID251 - to make the file that must be refused

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from napari_deepspace.errors import SettingsError, TrainingError
from napari_deepspace.learn.linear import fit_ridge
from napari_deepspace.learn.networks import augment, build_network, choose_device, starting_network
from napari_deepspace.settings import NetworkSettings


def test_ridge_equals_scikit_learn():
    """PCA and ridge give scikit-learn's predictions at the chosen penalty."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 20)), rng.normal(size=(80, 3))
    pca = PCA(7, svd_solver="full").fit(x)
    theirs = Ridge(alpha=50.0).fit(pca.transform(x), y).predict(pca.transform(x[:5]))
    ours = fit_ridge(x, y, np.arange(80), 7, [50.0]).predict(x[:5])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_ridge_chooses_a_strong_penalty_for_noise():
    """Where nothing can be learned the predictions hardly vary; where much can, they follow."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 30))
    noise = fit_ridge(x, rng.normal(size=(300, 2)), np.arange(300) // 10, 30, [1, 100, 10000]).predict(x)
    signal = fit_ridge(x, x[:, :2], np.arange(300) // 10, 30, [1, 100, 10000]).predict(x)
    assert noise.std() < 0.15
    assert signal.std() > 0.9


@pytest.mark.parametrize("backbone", ["vgg16", "densenet121", "resnet18", "mobilenet_v3_small"])
def test_backbones_get_a_new_head(backbone):
    """Every backbone takes tiles of any usual size and gives one output a gene."""
    network = build_network(backbone, 3).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_weights_from_a_file(tmp_path):
    """A file of weights fills all but the head; head-only training leaves the rest fixed."""
    source = build_network("resnet18", 1000)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        network = starting_network(NetworkSettings(backbone="resnet18", weights=str(tmp_path / name), train="head"), 4)
        assert torch.equal(network.conv1.weight, source.conv1.weight)
        assert network.fc.out_features == 4
        assert [name for name, p in network.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]


def test_weights_that_do_not_fit_or_could_run_code_are_refused(tmp_path):
    """Another backbone's weights, a missing file and a pickle that runs code each end in one sentence."""
    save_file(build_network("mobilenet_v3_small", 5).state_dict(), tmp_path / "other.safetensors")

    class Harm:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'harm'}",))

    with open(tmp_path / "harm.pth", "wb") as file:
        pickle.dump(Harm(), file)
    (tmp_path / "text.safetensors").write_text("no weights")
    for name, found in (
        ("other.safetensors", "do not fit"),
        ("none.pth", "No file"),
        ("harm.pth", "could run code|read as weights"),
        ("text.safetensors", "read as weights"),
    ):
        with pytest.raises(TrainingError, match=found):
            starting_network(NetworkSettings(backbone="resnet18", weights=str(tmp_path / name)), 4)
    assert not (tmp_path / "harm").exists()


def test_weights_that_cannot_be_downloaded_are_never_replaced_by_chance(monkeypatch, tmp_path):
    """Without ImageNet weights training stops and says what to do."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing answers there
    with pytest.raises(TrainingError, match="from scratch"):
        starting_network(NetworkSettings(backbone="resnet18"), 4)


def test_device_is_chosen_with_a_reason():
    """auto always works and says why; a device that is not there is refused."""
    device, reason = choose_device("auto")
    assert reason
    assert device.type in {"cpu", "cuda", "mps"}
    with pytest.raises(SettingsError, match="Unknown device"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="finds none"):
            choose_device("cuda")


def test_augmentation_keeps_the_tile_and_is_reproducible():
    """All eight symmetries occur, colours change little, and the same seed gives the same tiles."""
    ramp = np.zeros((64, 16, 16, 3), dtype=np.uint8)
    ramp[:, :, :, 0] = np.arange(16)[:, None] * 10 + 20
    ramp[:, :, :, 1] = np.arange(16)[None, :] * 5 + 90
    tiles = torch.from_numpy(ramp)
    one, two, other = (augment(tiles, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert abs(one.float().mean() - tiles.float().mean()) < 10
    corners = {(*(tile[0, 0, :2] > tile[8, 8, :2]).tolist(), bool(tile[0, 8, 0] != tile[8, 8, 0])) for tile in one}
    assert len(corners) == 8
