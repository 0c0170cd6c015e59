"""Training and prediction on the synthetic section: out of fold or marked, the same through every door."""

import dataclasses
import json

import anndata
import numpy as np
import pytest
import torch
from scipy import sparse
from shapely.geometry import box

from napari_deepspace import results
from napari_deepspace.analyse.evaluate import evaluate, require_scored
from napari_deepspace.blocking import fit, predict
from napari_deepspace.errors import DataError, ModelError, SettingsError, TrainingError
from napari_deepspace.events import BaselinesScored, EpochEnded, Finished, FoldEnded, Noted, Progress, Started, result_of
from napari_deepspace.learn.data import gather, values_fitted_on
from napari_deepspace.learn.domain import distance, looked_at
from napari_deepspace.learn.model import load_model
from napari_deepspace.learn.splits import TEST, TRAINING, VALIDATION
from napari_deepspace.outlines import FAILED, Outline
from napari_deepspace.runs import read_events
from napari_deepspace.settings import NORMALISATIONS, PAPER_GENES, run_settings

GENES = ("ESR1", "COL5A2", "IFI27")  # seen as colour, seen as nuclear size, hidden


def settings(section, **changes):
    return run_settings({"sections": [{"path": str(section.path)}], "target": {"names": GENES}, **changes})


@pytest.fixture(scope="module")
def quick_run(phantom, tmp_path_factory):
    """Quick on the paper's 24 genes of the whole synthetic section, spatial blocks."""
    folder = tmp_path_factory.mktemp("quick")
    model = fit(phantom, settings(phantom, target={"names": PAPER_GENES}), folder, progress=False)
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
    assert isinstance(next(event for event in events if not isinstance(event, Progress)), Started)
    assert [type(event) for event in events if isinstance(event, (BaselinesScored, FoldEnded, Finished))] == [
        BaselinesScored,
        *[FoldEnded] * 5,
        Finished,
    ]
    assert all((folder / event.map_file).exists() for event in events if isinstance(event, (BaselinesScored, FoldEnded)))
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
    removed = (adata.obs[results.SOURCE] == "removed").to_numpy()
    assert np.isfinite(predicted[~removed][:, target]).all()
    assert np.isnan(predicted[:, ~target]).all()
    assert np.isnan(predicted[removed]).all(), "glass is not predicted"
    assert adata.obs[results.REASON][removed].str.contains("white tile").all()
    assert 0 < removed.sum() < 0.15 * adata.n_obs
    assert set(adata.obs[results.SPLIT]) == {"test", "excluded"}
    assert set(adata.obs[results.SOURCE]) == {"out-of-fold", "imputed", "removed"}
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


def test_a_network_knows_its_domain(network_run, small):
    """A network too marks tiles that are unlike those its first member learned from, and few others."""
    folder, _ = network_run
    model = load_model(folder)
    result = results.read_result(next((folder / "predictions").glob("*.h5ad")))
    assert np.isfinite(result.obs[results.DISTANCE]).sum() > 100
    assert result.obs[results.UNLIKE].mean() < 0.1
    green = np.full((2, 32, 32, 3), (40, 160, 60), dtype=np.uint8)
    assert model.domain.unlike(distance(model.domain, looked_at(model.members[0].network, green, torch.device("cpu")))).all()


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


@pytest.mark.acceptance
def test_shuffled_counts_stay_within_chance(phantom, tmp_path):
    """Counts shuffled among spots cannot be predicted: mean |r| within chance, also when scored on a renamed copy of the section."""
    rows = np.random.default_rng(0).permutation(phantom.adata.n_obs)
    adata = phantom.adata.copy()
    adata.X = sparse.csr_matrix(phantom.adata.X[rows])
    shuffled = dataclasses.replace(phantom, adata=adata)
    model = fit(shuffled, settings(phantom, target={"names": PAPER_GENES}), tmp_path, progress=False)
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
    folds = [event for event in read_events(folder) if isinstance(event, FoldEnded)]
    first, last = (np.load(folder / event.map_file) for event in folds)
    assert all(event.map_file for event in epochs), "also while a fold is trained; a newer map takes the place of an older one"
    assert first.shape == (small.adata.n_obs, len(GENES))
    assert np.isnan(first).any()  # the second fold's spots are not predicted yet, and not painted
    again = predict(load_model(folder), small, progress=False)
    written = results.read_result(next((folder / "predictions").glob("*.h5ad")))
    np.testing.assert_array_equal(np.isfinite(last).all(axis=1), written.obs[results.SOURCE] != "removed")
    columns = written.var_names.get_indexer(list(GENES))
    np.testing.assert_allclose(again.layers[results.PREDICTED][:, columns], written.layers[results.PREDICTED][:, columns], atol=1e-3)


@pytest.mark.acceptance
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
    white = (adata.obs[results.SOURCE] == "removed").to_numpy()
    assert set(adata.obs[results.SOURCE][~white]) == {"between"}
    assert np.isfinite(adata.layers[results.PREDICTED][~white]).all()
    assert np.isnan(adata.layers[results.PREDICTED][white]).all()
    assert not white.all()
    np.testing.assert_allclose(adata.obsm["spatial"], centres[:, ::-1])
    with pytest.raises(ModelError, match="no measured values"):
        evaluate(adata)


def test_no_spot_left_after_filtering(small, tmp_path):
    """Thresholds that drop every spot are answered with the section's own medians."""
    with pytest.raises(TrainingError, match=r"no spot is left after filtering \(UMI < 10000000 alone removes.*median spot has"):
        fit(small, settings(small, filter={"min_umi": 10_000_000}), tmp_path, progress=False)


def test_damaged_models_are_refused(quick_run, tmp_path):
    """A folder without a model, a truncated file, and another version's format each end in one sentence."""
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
    (tmp_path / "model" / "model.json").write_text(json.dumps({**header, "format": 1}))
    with pytest.raises(ModelError, match="Train it again"):
        load_model(tmp_path)


@pytest.mark.parametrize("kind", ["sctransform", "pearson", "stnet"])
def test_other_scales_train_and_are_scored_on_their_own_scale(small, tmp_path, kind):
    """A run learns, shows and scores values of the scale that was asked for, and says so; the saved model does the same on the section again."""
    asked = settings(small, normalisation=kind, split={"kind": "blocks", "folds": 2, "block_um": 300})
    model = fit(small, asked, tmp_path, progress=False)
    written = results.read_result(next((tmp_path / "predictions").glob("*.h5ad")))
    again = predict(load_model(tmp_path), small, progress=False)
    target = written.var[results.TARGET].to_numpy()
    for layer in (results.PREDICTED, results.MEASURED):
        np.testing.assert_allclose(again.layers[layer][:, target], written.layers[layer][:, target], atol=2e-3)
    scores = evaluate(written)
    assert scores["normalisation"] == written.uns[results.UNS]["unit"] == NORMALISATIONS[kind]
    assert scores["mean"]["r"] == pytest.approx(evaluate(again, small)["mean"]["r"], abs=2e-3)
    assert scores["genes"]["ESR1"]["r"] > 0.5
    assert model.members[0].fitted.target.normalisation == kind


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_nothing_is_fitted_on_test_spots(small, kind):
    """Counts of a fold's test spots can be changed at will: the targets of its training part, scale and min-max, stay what they were."""
    asked = settings(small, normalisation=kind, filter={"white_percentile": 100}, split={"kind": "random", "folds": 2})
    learned_values = []
    for shuffled in (False, True):
        data = result_of(gather([small], asked))
        learned = np.isin(data.split.parts[:, 0], (TRAINING, VALIDATION))
        if shuffled:
            counts = small.adata.X.toarray()
            tested = np.flatnonzero(data.split.parts[:, 0] == TEST)
            counts[tested] = counts[np.roll(tested, 7)] * 3
            changed = small.adata.copy()
            changed.X = sparse.csr_matrix(counts)
            data.sections = [dataclasses.replace(small, adata=changed)]
        values = result_of(values_fitted_on(data, learned, float(np.median(data.totals[learned]))))
        learned_values.append(values[learned])
    np.testing.assert_array_equal(*learned_values)


def test_outlines_keep_spots_from_training_and_prediction(small, tmp_path):
    """Spots under an exclude outline are neither trained on nor predicted; those of a failed region never train, and are
    predicted only where dummy holes have tested it."""
    y, x = np.quantile(small.centres_yx, 0.3, axis=0)
    bottom, right = small.centres_yx.max(axis=0) + 50
    excluded, failed = Outline(box(0, 0, x, bottom), "Ignore*"), Outline(box(x + 120, 0, right, y), FAILED)
    section = dataclasses.replace(small, outlines=[excluded, failed])
    fit(section, settings(small, split={"kind": "random", "folds": 2}), tmp_path, progress=False)
    adata = results.read_result(next((tmp_path / "predictions").glob("*.h5ad")))
    reason = adata.obs[results.REASON].astype(str)
    gone, imputed = reason.str.contains("exclude outline").to_numpy(), reason.str.contains("failed region").to_numpy()
    assert gone.sum() > 20
    assert imputed.sum() > 20
    predicted = adata[:, "ESR1"].layers[results.PREDICTED].ravel()
    assert np.isnan(predicted[gone]).all()
    assert (adata.obs[results.SOURCE][gone] == "removed").all()
    tissue = imputed & ~reason.str.contains("white").to_numpy()
    filled = {0: True} | {hole["hole"]: hole["filled"] for hole in results.holes_of(adata)}
    np.testing.assert_array_equal(np.isfinite(predicted[tissue]), adata.obs[results.HOLE][tissue].map(filled))
    assert (adata.obs[results.SPLIT][gone | imputed] == "excluded").all()


def test_one_cluster_can_be_left_out(small, tmp_path):
    """Its spots do not train and are imputed; a section without clusters says so."""
    asked = settings(small, filter={"exclude_cluster": "1"}, split={"kind": "random", "folds": 2})
    fit(small, asked, tmp_path, progress=False)
    adata = results.read_result(next((tmp_path / "predictions").glob("*.h5ad")))
    left_out = adata.obs[results.REASON].astype(str).str.contains("cluster 1").to_numpy()
    in_tissue = (adata.obs["graphclust"].astype(str) == "1").to_numpy() & adata.obs["in_tissue"].to_numpy(dtype=bool)
    np.testing.assert_array_equal(left_out, in_tissue)
    alone = (adata.obs[results.REASON].astype(str) == "cluster 1").to_numpy()
    assert alone.sum() > 20
    assert np.isfinite(adata[alone, "ESR1"].layers[results.PREDICTED]).all(), "what is left out is no hole"
    with pytest.raises(SettingsError, match=r"no cluster '9' to leave out.*found 1, 2, 3, 4"):
        fit(small, settings(small, filter={"exclude_cluster": "9"}), tmp_path / "none", progress=False)
    without = small.adata.copy()
    del without.obs["graphclust"]
    with pytest.raises(DataError, match="no clusters came with this section"):
        fit(dataclasses.replace(small, adata=without), asked, tmp_path / "none", progress=False)


def test_a_named_gene_that_is_hardly_there_is_warned_about(small, tmp_path):
    """It is predicted as asked for; the warning names it and its share of spots."""
    adata = small.adata.copy()
    counts = adata.X.tolil()
    rare = adata.var_names.get_loc("IFI27")
    counts[:, rare] = 0
    counts[[10, 60], rare] = 3
    adata.X = counts.tocsr()
    section = dataclasses.replace(small, adata=adata)
    model = fit(section, settings(small, split={"kind": "random", "folds": 2}), tmp_path, progress=False)
    assert "IFI27" in model.target.names
    (note,) = [event.message for event in read_events(tmp_path) if isinstance(event, Noted)]
    assert "IFI27 (1%)" in note
    assert "ESR1" not in note


def test_spots_beside_the_tissue_change_nothing(small, tmp_path):
    """A raw matrix brings spots on glass along: they are not predicted, and the others get the very predictions that they get without them."""
    asked = settings(small, split={"kind": "random", "folds": 2})
    model = fit(small, asked, tmp_path, progress=False)
    alone = predict(model, small, progress=False)
    outside = small.adata[:30].copy()
    outside.obs_names = [f"outside-{name}" for name in outside.obs_names]
    outside.obs["in_tissue"] = False
    outside.obsm["spatial"] = np.random.default_rng(0).uniform(20, 200, (30, 2))
    outside.X = sparse.csr_matrix(np.ones(outside.shape, dtype=np.float32))
    raw = dataclasses.replace(small, adata=anndata.concat([small.adata, outside], merge="same", uns_merge="same"))
    both = predict(model, raw, progress=False)
    assert (both.obs[results.SOURCE][-30:] == "removed").all()
    assert np.isnan(both.layers[results.PREDICTED][-30:]).all()
    target = alone.var[results.TARGET].to_numpy()
    np.testing.assert_allclose(both.layers[results.PREDICTED][:-30, target], alone.layers[results.PREDICTED][:, target], atol=1e-5)


def test_a_result_is_scored_alike_with_and_without_its_counts(quick_run, phantom):
    """Predicted without counts and scored with them afterwards: the filter of the run decides which spots count, and glass is not among them."""
    _, model = quick_run
    bare = dataclasses.replace(phantom, adata=phantom.adata[:, :0].copy(), slide=phantom.slide)
    with_counts, without = evaluate(predict(model, phantom, progress=False)), evaluate(predict(model, bare, progress=False), phantom)
    assert without["n_spots"] == with_counts["n_spots"]
    assert without["mean"]["r"] == pytest.approx(with_counts["mean"]["r"], abs=1e-3)


def test_clusters_signatures_and_numbers_are_targets_too(small, tmp_path):
    """Each through the same door: trained by Quick, predicted out of fold, scored by its own number, predicted on a section without counts too."""
    adata = small.adata.copy()
    adata.obs["colour"] = np.asarray(adata[:, "ESR1"].X.toarray()).ravel() / np.maximum(adata.X.sum(axis=1).A1, 1)
    section = dataclasses.replace(small, adata=adata)
    bare = dataclasses.replace(small, adata=adata[:, :0].copy())
    for target, score, names in (
        ({"kind": "clusters"}, "AUC", 3),
        ({"kind": "signatures"}, "r", 1),
        ({"kind": "obs", "columns": ["colour"]}, "r", 1),
    ):
        folder = tmp_path / target["kind"]
        model = fit(section, settings(small, target=target, split={"kind": "random", "folds": 2}), folder, progress=False)
        scores = json.loads((folder / "metrics.json").read_text())["sections"][small.library_id]
        assert scores["score"] == score
        assert scores["mean"][score] > (0.8 if score == "AUC" else 0.3)
        assert len(scores["genes"]) >= names
        again, elsewhere = predict(load_model(folder), section, progress=False), predict(model, bare, progress=False)
        written = results.read_result(next((folder / "predictions").glob("*.h5ad")))
        values = results.values_of(written, results.PREDICTED)
        np.testing.assert_allclose(results.values_of(again, results.PREDICTED), values, atol=1e-4)
        known = np.isfinite(values).all(axis=1)
        assert known.sum() > 50
        assert elsewhere.obsm[results.PREDICTED].shape == values.shape
        assert require_scored(evaluate(predict(model, section, progress=False)))["mean"][score] == pytest.approx(scores["mean"][score], abs=1e-3)
        if score == "AUC":
            np.testing.assert_allclose(values[known].sum(axis=1), 1, rtol=1e-5)
            assert (written.obs[results.CLUSTER][known] == np.array(results.outputs_of(written))[values[known].argmax(axis=1)]).all()
            assert scores["classification"]["accuracy"] > scores["classification"]["majority class"]


def test_one_section_out_has_no_neighbours_to_copy(phantom, tmp_path):
    """Two parts of the SYNTHETIC section stand for two sections: each is predicted by a model of the other; interpolation is absent, not invented."""
    y = phantom.centres_yx[:, 0]
    low, high = np.quantile(y, [0.2, 0.8])
    parts = [
        dataclasses.replace(phantom, adata=phantom.adata[rows].copy(), library_id=name, patient="P", block=block)
        for name, rows, block in (("top", y < low, "a"), ("bottom", y > high, "b"))
    ]
    asked = run_settings({"sections": [{"path": "top"}, {"path": "bottom"}], "target": {"names": GENES}, "split": {"kind": "sections"}})
    model = fit(parts, asked, tmp_path / "run", progress=False)
    (baselines,) = (event for event in read_events(tmp_path / "run") if isinstance(event, BaselinesScored))
    assert "interpolation" not in baselines.mean_r
    assert np.isfinite(baselines.mean_r["mean RGB"])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for number, name in enumerate(("top", "bottom")):
        scores = metrics["sections"][name]
        assert scores["split"] == "one section out, 2 folds (another block of the same patient)"
        assert "interpolation" not in scores["mean"]
        assert scores["genes"]["ESR1"]["r"] > 0.3
        assert scores["rank"] == "the only run on this section"
        assert (model.seen[number].home == number).all()
    assert metrics["runs_on_section"] == 1
    assert load_model(tmp_path / "run").seen[0].origin == parts[0].origin
    other = dataclasses.replace(phantom, adata=phantom.adata[(y > low) & (y < np.quantile(y, 0.35))].copy(), library_id="middle")
    for patient, block, words in ((None, None, "patient unknown"), ("Q", None, "another patient"), ("P", "a", "same patient and block")):
        result = predict(model, dataclasses.replace(other, patient=patient, block=block), progress=False)
        assert evaluate(result)["split"].startswith("another section than those trained on (top, bottom): ")
        assert evaluate(result)["split"].endswith(words)
    assert evaluate(predict(model, other, progress=False), patient="Q")["split"].endswith("another patient")
