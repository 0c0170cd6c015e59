"""Targets, ridge, features, networks and the files they live in."""

import numpy as np
import pytest
import torch
from anndata import AnnData
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from napari_deepspace.errors import SettingsError
from napari_deepspace.events import result_of
from napari_deepspace.learn.features import stain_density, tile_features
from napari_deepspace.learn.networks import augment, choose_device
from napari_deepspace.learn.ridge import fit_ridge
from napari_deepspace.learn.targets import change_depth, choose_genes, fit_target, seldom_detected
from napari_deepspace.preprocess.normalise import normalised
from napari_deepspace.settings import NORMALISATIONS, GeneSettings


def adata(counts, names):
    return AnnData(sparse.csr_matrix(np.asarray(counts, dtype=np.float32)), var={"name": names}).copy()


@pytest.fixture
def counts():
    means = [5, 0.05, 20, 1, *np.linspace(0.5, 4, 16)]
    a = adata(np.random.default_rng(0).poisson(means, (60, 20)), [str(number) for number in range(20)])
    a.var_names = ["ESR1", "RARE", "FN1", "KRT8", *(f"GENE{number}" for number in range(16))]
    return a


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_target_scales_its_own_training_part(counts, kind):
    """The training part spans 0..1, values come back, other spots may lie outside; only logarithms of 1 + count are kept above 0."""
    values = result_of(normalised(counts, ("ESR1", "FN1"), kind, np.arange(60) < 40))
    target = fit_target(values[:40], ("ESR1", "FN1"), kind, 25.0)
    scaled = target.scale(values)
    assert scaled[:40].min(axis=0) == pytest.approx(0)
    assert scaled[:40].max(axis=0) == pytest.approx(1)
    np.testing.assert_allclose(target.unscale(scaled), values, atol=1e-5)
    far_below = target.unscale(np.full((1, 2), -100, dtype=np.float32))
    assert (far_below == 0).all() if kind in ("log", "sctransform") else (far_below < 0).all()


def test_a_gene_that_is_constant_in_the_training_part():
    """It stays constant: nothing is divided by zero."""
    target = fit_target(np.ones((5, 1), dtype=np.float32), ("A",), "log", 10.0)
    assert target.scale(np.array([[1.0]])) == 0
    assert target.unscale(np.array([[0.0]])) == 1


def test_change_of_depth_is_exact(counts):
    """The same spot counted per another depth; on other scales than the logarithm nothing changes."""
    at = {depth: result_of(normalised(counts, ("ESR1",), "log", np.ones(60, bool), target_sum=depth)) for depth in (20.0, 5000.0)}
    np.testing.assert_allclose(change_depth(at[20.0], 20.0, 5000.0), at[5000.0], rtol=1e-4)
    target = fit_target(at[20.0], ("ESR1",), "log", 20.0)
    np.testing.assert_allclose(target.shown(target.scale(at[20.0]), 5000.0), at[5000.0], rtol=1e-3)
    other = fit_target(at[20.0], ("ESR1",), "stnet", 20.0)
    np.testing.assert_allclose(other.shown(other.scale(at[20.0]), 5000.0), at[20.0], rtol=1e-4)


def test_seldom_detected_genes_are_named(counts):
    """A gene below the least share is told with its share in the section where it is rarest; it is not dropped."""
    found = seldom_detected([counts], [np.ones(60, bool)], ("ESR1", "RARE"), 0.1)
    assert list(found) == ["RARE"]
    assert found["RARE"] == pytest.approx((counts[:, "RARE"].X.toarray() > 0).mean())


def test_choice_of_genes(counts):
    """Without names the genes of highest mean that are detected often enough; a wrong name is answered with a near one."""
    keep = [np.ones(60, bool)]
    assert choose_genes([counts], keep, GeneSettings(top=2))[0] == ("FN1", "ESR1")
    assert "RARE" not in choose_genes([counts], keep, GeneSettings(top=4, min_detected=0.3))[0]
    assert choose_genes([counts], keep, GeneSettings(names=("RARE",)))[0] == ("RARE",)
    with pytest.raises(SettingsError, match="Did you mean ESR1"):
        choose_genes([counts], keep, GeneSettings(names=("esr1",)))
    with pytest.raises(SettingsError, match="Unknown gene: NOPE"):
        choose_genes([counts], keep, GeneSettings(names=("NOPE",)))


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


def test_features_are_finite_and_blind_to_turning():
    """White, black and noisy tiles give finite features; the mean colour comes first; quarter turns change colours not at all."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    tiles[1], tiles[2] = 255, 0
    features = tile_features(tiles)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(features[:, :3], tiles.reshape(3, -1, 3).mean(axis=1) / 255, atol=1e-5)
    np.testing.assert_allclose(tile_features(np.rot90(tiles, axes=(1, 2)).copy())[:, :15], features[:, :15], atol=0.02)


def test_stains_equal_scikit_image():
    """Haematoxylin and eosin densities are scikit-image's, up to its choice of logarithm."""
    from skimage.color import rgb2hed

    image = np.random.default_rng(0).integers(20, 255, (8, 8, 3), dtype=np.uint8)
    ours = stain_density(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)[0].permute(1, 2, 0).numpy()
    theirs = rgb2hed(image)
    scale = np.log(1e-6)  # scikit-image divides optical density by the logarithm of its smallest value
    np.testing.assert_allclose(np.maximum(ours / -scale, 0), theirs, atol=1e-4)


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
