"""The band around a prediction: it holds the share of unseen spots that it promises, and says how far it did."""

import dataclasses

import numpy as np
import pytest

from napari_deepspace import results
from napari_deepspace.analyse.bands import NO_BAND, about_bands, band_of, bands_in, find_bands, limits
from napari_deepspace.analyse.evaluate import evaluate
from napari_deepspace.blocking import fit, predict
from napari_deepspace.learn.model import load_model
from napari_deepspace.settings import PAPER_GENES, run_settings


def settings(section, **changes):
    return run_settings({"sections": [{"path": str(section.path)}], "target": {"names": PAPER_GENES}, **changes})


def noisy(n=4000, seed=0):
    """Predictions of two outputs and measured values whose error grows with the predicted level, in five folds."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0, 4, (n, 2))
    measured = predicted + (0.1 + np.array([0.3, 0.0]) * predicted) * rng.standard_normal((n, 2))
    return measured, predicted, np.arange(n) % 5


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_band_holds_its_share_at_every_level(level):
    """Of new spots the band holds the stated share, at low and at high predicted values alike, and is wide where errors are large."""
    bands = find_bands(*noisy(), level=level)
    measured, predicted, _ = noisy(seed=1)
    low, high = limits(predicted, bands)
    held = (measured >= low) & (measured <= high)
    for part in (predicted[:, 0] < 1, predicted[:, 0] > 3):
        assert held[part, 0].mean() == pytest.approx(level, abs=0.04)
    assert held[:, 1].mean() == pytest.approx(level, abs=0.03)
    assert (high - low)[predicted[:, 0] > 3, 0].mean() > 4 * (high - low)[predicted[:, 0] < 0.5, 0].mean()
    assert bands.coverage == pytest.approx(level, abs=0.03)
    assert bands.words == f"the {100 * level:.0f} % band held {100 * bands.coverage:.0f} % of 4000 unseen spots"


def test_coverage_is_judged_by_the_other_folds():
    """Where one fold is off by more than all others, the coverage that is told falls below what is promised."""
    measured, predicted, fold = noisy()
    measured[fold == 0] += 10
    bands = find_bands(measured, predicted, fold)
    assert bands.coverage == pytest.approx(0.8, abs=0.03)


def test_few_spots_one_fold_and_unknown_values():
    """One fold, or a handful of spots, gives no band; an output without values has none beside one that has."""
    measured, predicted, fold = noisy(300)
    assert find_bands(measured, predicted, np.zeros(300)) is None
    assert find_bands(measured, predicted, np.full(300, -1)) is None
    assert find_bands(measured[:15], predicted[:15], fold[:15]) is None
    measured[:, 1] = np.nan
    bands = find_bands(measured, predicted, fold, nonnegative=True)
    low, high = limits(predicted, bands)
    assert np.isnan(high[:, 1]).all()
    assert np.isnan(bands.coverage_of[1])
    assert (low[:, 0] >= 0).all()
    assert about_bands(None, "genes")["words"] == NO_BAND
    assert "calibration is not claimed" in about_bands(None, "clusters")["words"]


def test_the_band_of_the_synthetic_section(sealed_run, phantom):
    """Out of fold the 90 % band holds 85 to 95 % of unseen spots, and of spots that were sealed away before the run too."""
    _, model, hidden = sealed_run
    assert 0.85 < model.bands.coverage < 0.95
    free = dataclasses.replace(model, seen=[dataclasses.replace(seen, sealed=()) for seen in model.seen])
    result = predict(free, phantom, progress=False)
    rows = hidden & (result.obs[results.REASON] == "").to_numpy()
    held = []
    for gene in PAPER_GENES:
        low, high = band_of(result, gene)
        measured = result[:, gene].layers[results.MEASURED].ravel()
        held.append(((measured >= low) & (measured <= high))[rows])
    assert rows.sum() > 100
    assert 0.85 < np.mean(held) < 0.95


def test_the_band_survives_the_file_and_is_told(sealed_run):
    """Model and result keep the band's few numbers per gene, nothing dense; metrics and evaluate say the sentence."""
    folder, model, _ = sealed_run
    again = load_model(folder).bands
    np.testing.assert_array_equal(again.q, model.bands.q)
    assert again.words == model.bands.words
    result = results.read_result(next((folder / "predictions").glob("*.h5ad")))
    kept = bands_in(result.uns[results.UNS])
    np.testing.assert_array_equal(kept.a, model.bands.a)
    assert kept.a.shape == (len(PAPER_GENES),)
    scores = evaluate(result)
    assert scores["band"]["words"] == model.bands.words
    assert scores["genes"]["SPARC"]["band_held"] == pytest.approx(float(model.bands.coverage_of[PAPER_GENES.index("SPARC")]))
    with pytest.raises(KeyError, match="does not predict"):
        band_of(result, "TP53")


def test_without_a_hold_out_there_is_no_band(small, tmp_path):
    """A model of whole sections has no band, and result and scores say why."""
    model = fit(small, settings(small, target={"names": ["ESR1"]}, split={"kind": "whole"}), tmp_path / "run", progress=False)
    assert model.bands is None
    assert load_model(tmp_path / "run").bands is None
    result = predict(model, small, progress=False)
    assert band_of(result, "ESR1") is None
    assert evaluate(result)["band"]["words"] == NO_BAND
