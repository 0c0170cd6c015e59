"""Tiles unlike those of the training, and sections that a model was not made for, are told."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from napari_deepspace import results
from napari_deepspace.blocking import predict
from napari_deepspace.learn.domain import distance, fit_domain, looked_at
from napari_deepspace.learn.model import load_model
from napari_deepspace.learn.networks import build_network
from napari_deepspace.learn.notice import colour_distance
from napari_deepspace.slide import Level, Slide

SIDE = 300  #: px of a patch, wider than a tile


def painted(section, paint):
    """The section on a slide of which ``paint`` has changed the pixels."""
    image = np.array(section.slide.levels[0][:])
    paint(image)
    shape = image.shape[:2]
    return dataclasses.replace(section, slide=Slide(Path("painted"), [Level(shape, shape, lambda i, j: image)], None, []))


def foreign(kind, tissue, rng):
    """What lies on a slide that is no tissue of it, uint8 (SIDE, SIDE, 3)."""
    if kind == "green":
        return np.full_like(tissue, (40, 160, 60))
    if kind == "pen":
        return cv2.line(tissue.copy(), (0, 40), (SIDE, SIDE - 40), (30, 40, 160), 90)
    steps = np.fft.fftfreq(SIDE)
    rough = np.fft.fft2(rng.standard_normal((3, SIDE, SIDE))) / (np.hypot(steps[:, None], steps) + 1 / SIDE)
    photograph = np.moveaxis(np.real(np.fft.ifft2(rough)), 0, -1)
    return np.clip(128 + 50 * photograph / photograph.std(axis=(0, 1)), 0, 255).astype(np.uint8)


def test_foreign_patches_are_unlike_and_tissue_is_not(sealed_run, phantom):
    """A blank green field, a pen's stroke and a photograph are marked; of tissue tiles that the run never saw fewer than 5 % are."""
    _, model, hidden = sealed_run
    model = dataclasses.replace(model, seen=[dataclasses.replace(seen, sealed=()) for seen in model.seen])
    rng, kinds = np.random.default_rng(0), ("green", "pen", "photograph")
    inner = (np.abs(phantom.centres_yx - phantom.slide.shape[0] / 2).max(axis=1) < 1100) & (phantom.adata.obs_names != "")
    chosen = rng.choice(np.flatnonzero(inner), 9, replace=False)

    def paint(image):
        for number, spot in enumerate(chosen):
            y, x = (phantom.centres_yx[spot] - SIDE / 2).astype(int)
            patch = image[y : y + SIDE, x : x + SIDE]
            patch[:] = foreign(kinds[number % 3], patch, rng)

    result = predict(model, painted(phantom, paint), progress=False)
    unlike, far = result.obs[results.UNLIKE].to_numpy(), result.obs[results.DISTANCE].to_numpy()
    there = np.isfinite(far)
    assert unlike[chosen].all(), dict(zip(chosen, far[chosen], strict=True))
    away = np.abs(phantom.centres_yx[:, None] - phantom.centres_yx[chosen]).max(axis=2).min(axis=1) > SIDE
    assert unlike[hidden & away & there].mean() < 0.05
    assert unlike[away & there].mean() < 0.05
    assert not unlike[~there].any()


def test_the_run_tells_each_spot(sealed_run):
    """About 1 in 100 training tiles, each judged without its neighbourhood, lies beyond the threshold; the model's file keeps the domain."""
    folder, model, _ = sealed_run
    result = results.read_result(next((folder / "predictions").glob("*.h5ad")))
    learned = (result.obs[results.SPLIT] == "test").to_numpy()
    assert 0 < result.obs[results.UNLIKE][learned].mean() < 0.03
    assert result.obs[results.DISTANCE].dtype == np.float32
    again = load_model(folder).domain
    np.testing.assert_array_equal(again.axes, model.domain.axes)
    assert again.threshold == pytest.approx(model.domain.threshold)
    assert result.uns[results.UNS]["unlike_beyond"] == pytest.approx(model.domain.threshold)


def test_distance_is_about_one_at_home_and_grows_away():
    """Tiles like those of the training lie at about 1, in numbers and in batches alike; what the axes do not span counts too."""
    rng = np.random.default_rng(0)
    inputs = (rng.standard_normal((600, 40)) * np.r_[np.full(10, 5), np.full(30, 0.5)]).astype(np.float32)
    domain, mine = fit_domain(inputs, np.arange(600) // 20)
    new = (rng.standard_normal((300, 40)) * np.r_[np.full(10, 5), np.full(30, 0.5)]).astype(np.float32)
    assert np.median(distance(domain, new)) == pytest.approx(1, abs=0.1)
    assert domain.unlike(distance(domain, new)).mean() < 0.04
    np.testing.assert_allclose(distance(domain, new[7:9]), distance(domain, new)[7:9], rtol=1e-5)
    assert domain.unlike(distance(domain, new + np.eye(40, dtype=np.float32)[20] * 20)).all()
    assert domain.unlike(distance(domain, new + np.eye(40, dtype=np.float32)[0] * 80)).all()
    assert np.median(mine) == pytest.approx(1, abs=0.1)
    assert fit_domain(inputs[:30], np.zeros(30)) is None


def test_networks_look_before_their_last_layer():
    """What a network's distance judges times its last layer is what it says."""
    network = build_network("resnet18", 3).eval()
    tiles = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
    looks = looked_at(network, tiles, torch.device("cpu"), np.array([1, 4]))
    from napari_deepspace.learn.model import network_outputs

    with torch.inference_mode():
        np.testing.assert_allclose(
            network.head(torch.from_numpy(looks)).numpy(), network_outputs(network, tiles[[1, 4]], torch.device("cpu")), atol=1e-4
        )


def test_symmetries_are_looked_at_as_they_are_predicted():
    """Where a network predicts the mean over the eight symmetries, its domain is of their mean: turns change nothing."""
    network = build_network("resnet18", 3).eval()
    tiles = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    seen, turned = (looked_at(network, one, torch.device("cpu"), symmetries=True) for one in (tiles, tiles.transpose(0, 2, 1, 3).copy()))
    np.testing.assert_allclose(seen, turned, atol=1e-4)


def test_a_section_of_another_kind_is_noticed(sealed_run, phantom):
    """Another patient, other colours and other pixels are said in one sentence; the section itself needs none."""
    _, model, _ = sealed_run
    part = dataclasses.replace(phantom, adata=phantom.adata[:60].copy())
    assert predict(model, part, progress=False).uns[results.UNS]["notice"] == ""

    def darken(image):
        image[:] = (image * 0.6).astype(np.uint8)

    other = painted(part, darken)
    other.adata.X = other.adata.X * 2  # other counts: not the training section
    other = dataclasses.replace(other, patient="B", library_id="other", mpp=phantom.mpp * 2)
    seen = [dataclasses.replace(one, patient="A") for one in model.seen]
    said = predict(dataclasses.replace(model, seen=seen), other, progress=False).uns[results.UNS]["notice"]
    assert "another patient" in said
    assert "colours" in said
    assert "1.5 um wide, the training slides' 0.75" in said


def test_colours_are_compared_in_spreads():
    """The unit is what tiles differ by within a section and sections among each other."""
    trained = [np.array([[0.6] * 3, [0.03] * 3]), np.array([[0.68] * 3, [0.03] * 3])]
    assert colour_distance(np.array([[0.64, 0.64, 0.74], [0, 0, 0]]), trained) == pytest.approx(0.1 / 0.05)
