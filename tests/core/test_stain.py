"""Slides of two stains are read as if of one, by one linear map of optical density."""

import builtins
import dataclasses

import numpy as np
import pytest

from napari_deepspace import results
from napari_deepspace.blocking import fit, predict
from napari_deepspace.denser import open_denser, values
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.events import result_of
from napari_deepspace.learn.denser_write import write_denser
from napari_deepspace.learn.model import load_model
from napari_deepspace.settings import run_settings
from napari_deepspace.slide import Level, Slide
from napari_deepspace.stain import Stain, changed, find_stain, stained


def on(section, image):
    """The section on another slide."""
    shape = image.shape[:2]
    return dataclasses.replace(section, slide=Slide(section.slide.path, [Level(shape, shape, lambda i, j: image)], None, []))


@pytest.fixture(scope="module")
def redder(small):
    """The section on a slide that was stained otherwise: its optical density went through one map."""
    image = small.slide.levels[0][:]
    shift = np.array([[0.6, 0.1, 0.0], [0.1, 1.4, 0.1], [0.0, 0.15, 1.2]], dtype=np.float32)
    return on(small, changed(image, shift))


def mean_colours(section, spots):
    return np.array([section.slide.read_region(int(y) - 40, int(x) - 40, 80, 80).mean(axis=(0, 1)) for y, x in section.centres_yx[spots]])


def test_a_slide_comes_back_in_its_own_stain(small, redder):
    """Brought to the stain of the original, tiles of a slide that was stained otherwise have nearly the colours they had: three quarters of the
    difference are gone."""
    tissue, spots = np.ones(small.adata.n_obs, dtype=bool), np.arange(20, 200, 12)
    target = find_stain(small, tissue)
    back = stained(redder, find_stain(redder, tissue), target)
    true, other, now = (mean_colours(section, spots) for section in (small, redder, back))
    assert np.abs(other - true).mean() > 12
    assert np.abs(now - true).mean() < 0.25 * np.abs(other - true).mean()


def test_its_own_stain_changes_little_and_the_slide_stays_known(small):
    """Brought to its own stain a slide stays as it is, but for what neither stain explains; fingerprint and size are those of the file."""
    own = find_stain(small, np.ones(small.adata.n_obs, dtype=bool))
    same = stained(small, own, own)
    spots = np.arange(20, 200, 30)
    np.testing.assert_allclose(mean_colours(same, spots), mean_colours(small, spots), atol=6)
    assert same.slide.fingerprint() == small.slide.fingerprint()
    assert same.slide.shape == small.slide.shape
    np.testing.assert_array_equal(same.slide.levels[0][700:720, 900:930], same.slide.read_region(700, 900, 20, 30))
    assert own.matrix.shape == (3, 2)
    assert (own.matrix > 0).all(), "both stains take light in every channel"


def test_the_map_is_torchstains(small):
    """The linear map gives the very pixels of torchstain's own normalisation, but for rounding."""
    from torchstain.numpy.normalizers import NumpyMacenkoNormalizer

    y, x = small.centres_yx[100].astype(int)
    tile = small.slide.read_region(y - 100, x - 100, 200, 200)
    theirs, own = NumpyMacenkoNormalizer(), NumpyMacenkoNormalizer()
    own.fit(tile, Io=240)
    change = theirs.HERef * (theirs.maxCRef / own.maxCRef) @ np.linalg.pinv(own.HERef)
    expected, _, _ = theirs.normalize(tile, Io=240, stains=False)
    assert np.abs(changed(tile, change.astype(np.float32)).astype(int) - expected).max() <= 1


def test_a_model_sees_every_slide_in_one_stain(small, redder, tmp_path):
    """A run with tile.stain keeps its stain; the same spots on a slide of another stain are predicted nearly as on the first."""
    asked = {"sections": [{"path": str(small.path)}], "target": {"names": ["ESR1", "SPARC"]}, "tile": {"stain": "macenko"}}
    fit(small, run_settings(asked | {"split": {"kind": "whole"}}), tmp_path / "run", progress=False)
    model = load_model(tmp_path / "run")
    assert isinstance(model.stain, Stain)
    one, other = (results.values_of(predict(model, section, progress=False), results.PREDICTED) for section in (small, redder))
    both = np.isfinite(one).all(axis=1) & np.isfinite(other).all(axis=1)
    assert both.sum() > 100
    for k in range(2):
        assert np.corrcoef(one[both, k], other[both, k])[0, 1] > 0.97
    first, second = (open_denser(result_of(write_denser(model, one, tmp_path / f"{n}.zarr", "grid", 200.0))) for n, one in enumerate((small, redder)))
    both = first.on_tissue & second.on_tissue
    assert both.sum() > 30
    assert np.corrcoef(values(first, "SPARC")[both], values(second, "SPARC")[both])[0, 1] > 0.97


def test_what_cannot_be_stained_is_refused(small, monkeypatch):
    """A grey slide shows no two stains, and without torchstain the setting is refused with what to install."""
    grey = on(small, np.repeat(small.slide.levels[0][:].mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8))
    with pytest.raises(DataError, match="does not show two stains"):
        find_stain(grey, np.ones(small.adata.n_obs, dtype=bool))
    usual = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("torchstain"):
            raise ImportError(name)
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"napari-deepspace\[stain\]"):
        find_stain(small, np.ones(small.adata.n_obs, dtype=bool))
