"""Linear maps, networks and the files they live in."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from napari_deepspace.errors import SettingsError
from napari_deepspace.learn.linear import fit_ridge
from napari_deepspace.learn.networks import choose_device


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
