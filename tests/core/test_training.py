"""Training and prediction on the synthetic section: out of fold or marked, the same through every door."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import sparse

from napari_deepspace import results
from napari_deepspace.analyse.evaluate import evaluate, require_scored
from napari_deepspace.blocking import fit, predict
from napari_deepspace.errors import ModelError, TrainingError
from napari_deepspace.events import BaselinesScored, EpochEnded, Finished, FoldEnded, Started
from napari_deepspace.learn.model import load_model
from napari_deepspace.runs import read_events
from napari_deepspace.settings import PAPER_GENES, run_settings

GENES = ("ESR1", "COL5A2", "IFI27")  # seen as colour, seen as nuclear size, hidden


def settings(section, **changes):
    return run_settings({"sections": [{"path": str(section.path)}], "genes": {"names": GENES}, **changes})


@pytest.fixture(scope="module")
def quick_run(phantom, tmp_path_factory):
    """Quick on the paper's 24 genes of the whole synthetic section, spatial blocks."""
    folder = tmp_path_factory.mktemp("quick")
    model = fit(phantom, settings(phantom, genes={"names": PAPER_GENES}), folder, progress=False)
    return folder, model


@pytest.fixture(scope="module")
def network_run(small, tmp_path_factory):
    """A small network for two epochs and two folds on a part of the section."""
    folder = tmp_path_factory.mktemp("network")
    network = {"kind": "network", "backbone": "mobilenet_v3_small", "weights": "scratch", "tile_px": 32, "epochs": 2, "batch_size": 32}
    return folder, fit(small, settings(small, model=network, split={"kind": "blocks", "folds": 2, "block_um": 300}), folder, progress=False)


def kinds(phantom):
    truth = json.loads((phantom.path / "truth" / "truth.json").read_text())
    return {gene: about["kind"] for gene, about in truth["genes"].items()}


def test_known_truth_is_recovered_and_hidden_genes_are_not(quick_run, phantom):
    """Colour genes r >= 0.8, texture and nuclear size r >= 0.7 where mean RGB reaches 0.3 at most, hidden genes within chance."""
    folder, _ = quick_run
    scores = json.loads((folder / "metrics.json").read_text())["sections"][phantom.library_id]
    kind = kinds(phantom)
    by_kind = {name: [scores["genes"][gene] for gene in PAPER_GENES if kind[gene] == name] for name in set(kind.values())}
    assert all(one["r"] >= 0.8 for one in by_kind["colour"])
    for one in by_kind["texture"] + by_kind["nuclear size"]:
        assert one["r"] >= 0.7
        assert one["mean RGB"] <= 0.3
    hidden = np.array([one["r"] for one in by_kind["hidden"]])
    assert np.abs(hidden).mean() < 0.15
    assert (np.abs(hidden) < scores["chance_r"]).all()
    assert scores["synthetic"]
    assert "spatial blocks" in scores["split"]


def test_run_folder_is_complete_and_events_tell_it_in_order(quick_run):
    """A run leaves settings, events, model, predictions and scores; what an event announces is on disk."""
    folder, _ = quick_run
    events = list(read_events(folder))
    assert isinstance(events[0], Started)
    assert [type(event) for event in events if isinstance(event, (BaselinesScored, FoldEnded, Finished))] == [
        BaselinesScored,
        *[FoldEnded] * 5,
        Finished,
    ]
    assert all((folder / event.map_file).exists() for event in events if isinstance(event, FoldEnded))
    assert all((folder / name).exists() for name in events[-1].predictions)
    assert (folder / "run.yaml").exists()


def test_result_follows_the_contract(quick_run, phantom):
    """X, obs and var of the user stay; predictions, measurements, split and source are beside them; nothing reads as measured."""
    folder, _ = quick_run
    adata = results.read_result(next((folder / "predictions").glob("*.h5ad")))
    assert (adata.X != phantom.adata.X).nnz == 0
    assert set(phantom.adata.obs) <= set(adata.obs)
    target = adata.var[results.TARGET].to_numpy()
    assert sorted(adata.var_names[target]) == sorted(PAPER_GENES)
    predicted = np.asarray(adata.layers[results.PREDICTED])
    assert np.isfinite(predicted[:, target]).all()
    assert np.isnan(predicted[:, ~target]).all()
    assert set(adata.obs[results.SPLIT]) == {"test", "excluded"}
    assert set(adata.obs[results.SOURCE]) == {"out-of-fold", "imputed"}
    about = adata.uns[results.UNS]
    assert about["research_use_only"]
    assert about["synthetic"]
    assert "not measured" in about["contents"]
    assert about["unit"] == "log1p(counts per median depth)"


def test_scanpy_reads_the_result(quick_run):
    """scanpy finds measured and predicted values of a gene by the layer's name."""
    import scanpy as sc

    folder, _ = quick_run
    adata = sc.read_h5ad(next((folder / "predictions").glob("*.h5ad")))
    frame = sc.get.obs_df(adata, ["ESR1"], layer=results.PREDICTED)
    np.testing.assert_array_equal(frame["ESR1"].to_numpy(), adata[:, "ESR1"].layers[results.PREDICTED].ravel())


def test_saved_model_predicts_the_same(quick_run, phantom):
    """The model read from disk gives every spot the out-of-fold prediction that the run wrote."""
    folder, _ = quick_run
    again = predict(load_model(folder), phantom, progress=False)
    written = results.read_result(next((folder / "predictions").glob("*.h5ad")))
    target = written.var[results.TARGET].to_numpy()
    np.testing.assert_allclose(again.layers[results.PREDICTED][:, target], written.layers[results.PREDICTED][:, target], atol=1e-3)
    assert evaluate(again)["mean"]["r"] == pytest.approx(evaluate(written)["mean"]["r"], abs=1e-3)


def renamed(section):
    """The same section under other names: barcodes, library and order of genes changed."""
    adata = section.adata[:, ::-1].copy()
    adata.obs_names = [f"spot-{number}" for number in range(adata.n_obs)]
    return dataclasses.replace(section, adata=adata, library_id="another name")


def test_a_renamed_training_section_is_known_again(quick_run, phantom):
    """Under another name each spot still gets the member that never saw it, and the score stays what it was."""
    _, model = quick_run
    again = predict(model, renamed(phantom), progress=False)
    assert (again.obs[results.FOLD] >= 0).all()
    assert evaluate(again)["mean"]["r"] == pytest.approx(evaluate(predict(model, phantom, progress=False))["mean"]["r"], abs=1e-3)


def test_training_spots_are_marked_and_never_scored(small, tmp_path):
    """Where nothing was held out every prediction is marked as training, and evaluate refuses, whatever the section is called."""
    model = fit(small, settings(small, split={"kind": "whole"}), tmp_path, progress=False)
    for section in (small, renamed(small)):
        adata = predict(model, section, progress=False)
        kept = adata.obs[results.SPLIT] != "excluded"
        assert set(adata.obs[results.SOURCE][kept]) == {"training"}
        with pytest.raises(ModelError, match="used for training"):
            require_scored(evaluate(adata))


def test_a_subset_of_genes_does_not_hide_training_spots(small, tmp_path):
    """With other counts the same glass still gives a training spot away."""
    model = fit(small, settings(small, split={"kind": "whole"}), tmp_path, progress=False)
    fewer = dataclasses.replace(renamed(small), adata=renamed(small).adata[:, :900].copy())
    kept = (adata := predict(model, fewer, progress=False)).obs[results.SPLIT] != "excluded"
    assert set(adata.obs[results.SOURCE][kept]) <= {"training"}


def test_shuffled_counts_stay_within_chance(phantom, tmp_path):
    """Counts shuffled among spots cannot be predicted: mean |r| within chance, also when scored on a renamed copy of the section."""
    rows = np.random.default_rng(0).permutation(phantom.adata.n_obs)
    adata = phantom.adata.copy()
    adata.X = sparse.csr_matrix(phantom.adata.X[rows])
    shuffled = dataclasses.replace(phantom, adata=adata)
    model = fit(shuffled, settings(phantom, genes={"names": PAPER_GENES}), tmp_path, progress=False)
    for section in (shuffled, renamed(shuffled)):
        scores = evaluate(predict(model, section, progress=False))
        r = np.array([one["r"] for one in scores["genes"].values()])
        assert np.abs(r).mean() < scores["chance_r"]
        assert abs(scores["mean"]["r"]) < scores["chance_r"] / 2


def test_network_trains_and_predicts_out_of_fold(network_run, small):
    """A network run reports every epoch, repaints its map, and its saved model predicts what the run wrote."""
    folder, _ = network_run
    epochs = [event for event in read_events(folder) if isinstance(event, EpochEnded)]
    assert [(event.fold, event.epoch) for event in epochs] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    first, last = (np.load(folder / epochs[number].map_file) for number in (0, -1))
    assert first.shape == (small.adata.n_obs, len(GENES))
    assert np.isnan(first).any()  # the second fold's spots are not predicted yet, and not painted
    assert np.isfinite(last).all()
    again = predict(load_model(folder), small, progress=False)
    written = results.read_result(next((folder / "predictions").glob("*.h5ad")))
    columns = written.var_names.get_indexer(list(GENES))
    np.testing.assert_allclose(again.layers[results.PREDICTED][:, columns], written.layers[results.PREDICTED][:, columns], atol=1e-3)


def test_the_same_seed_gives_the_same_network(network_run, small, tmp_path):
    """Randomness comes from the seed alone."""
    _, model = network_run
    again = fit(small, model.settings, tmp_path, progress=False)
    for one, two in zip(model.members, again.members, strict=True):
        for a, b in zip(one.network.state_dict().values(), two.network.state_dict().values(), strict=True):
            assert (a == b).all()


def test_points_between_spots_are_their_own_file(quick_run, phantom):
    """Predictions between spots have no X, so that they cannot be mistaken for measured data."""
    _, model = quick_run
    centres = phantom.centres_yx[:20] + phantom.pitch_px / 2
    adata = predict(model, phantom, centres, progress=False)
    assert adata.X is None
    assert set(adata.obs[results.SOURCE]) == {"between"}
    np.testing.assert_allclose(adata.obsm["spatial"], centres[:, ::-1])
    with pytest.raises(ModelError, match="no measured values"):
        evaluate(adata)


def test_no_spot_left_after_filtering(small, tmp_path):
    """Thresholds that drop every spot are answered with the section's own medians."""
    with pytest.raises(TrainingError, match=r"no spot is left after filtering \(UMI >= 10000000.*median spot has"):
        fit(small, settings(small, filter={"min_umi": 10_000_000}), tmp_path, progress=False)


def test_damaged_models_are_refused(quick_run, tmp_path):
    """A folder without a model, a truncated file and a newer format each end in one sentence."""
    folder, _ = quick_run
    with pytest.raises(ModelError, match="No trained model"):
        load_model(tmp_path)
    (tmp_path / "model").mkdir()
    header = json.loads((folder / "model" / "model.json").read_text())
    (tmp_path / "model" / "weights.safetensors").write_bytes((folder / "model" / "weights.safetensors").read_bytes()[:1000])
    (tmp_path / "model" / "model.json").write_text(json.dumps(header))
    with pytest.raises(ModelError, match="damaged"):
        load_model(tmp_path)
    (tmp_path / "model" / "model.json").write_text(json.dumps({**header, "format": 99}))
    with pytest.raises(ModelError, match="newer version"):
        load_model(tmp_path)
