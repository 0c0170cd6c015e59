"""A sealed hold-out: made before the first run, kept from every run, opened once. On a part of the SYNTHETIC section."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_deepspace import results
from napari_deepspace.analyse.evaluate import evaluate
from napari_deepspace.blocking import fit, predict
from napari_deepspace.cli import main
from napari_deepspace.denser import open_denser, values
from napari_deepspace.errors import DataError, ModelError, SettingsError, TrainingError
from napari_deepspace.events import BaselinesScored, Noted, result_of
from napari_deepspace.learn.between import predict_between
from napari_deepspace.learn.data import gather
from napari_deepspace.learn.denser_write import write_denser
from napari_deepspace.learn.model import load_model
from napari_deepspace.learn.splits import EXCLUDED, TRAINING, VALIDATION
from napari_deepspace.read import read_section, read_settings
from napari_deepspace.runs import nan_to_none, read_events
from napari_deepspace.seal import make_seal, read_seal, record_opening, sealed_spots, with_seal, write_seal
from napari_deepspace.seal_command import runs_that_know, seal_section, unseal
from napari_deepspace.settings import dump_yaml, load_run_settings, run_settings

GENES = ["ESR1", "COL5A2"]


def settings_for(path, seal=None, **changes):
    section = {"path": str(path), "library_id": "part", "sealed": None if seal is None else str(seal)}
    return run_settings({"sections": [section], "target": {"names": GENES}, "split": {"folds": 2, "block_um": 300}, **changes})


@pytest.fixture(scope="module")
def folder(phantom_dir):
    """The synthetic section's own folder."""
    return phantom_dir / "outs"


def bare(small):
    """A copy of the part that may be marked."""
    return dataclasses.replace(small, adata=small.adata.copy())


@pytest.fixture(scope="module")
def sealed_run(small, tmp_path_factory):
    """A block of a tenth of the part, sealed, and Quick trained on the rest."""
    runs = tmp_path_factory.mktemp("sealed") / "runs"
    path = runs.parent / "seal.json"
    seal = seal_section(small, path, "block", 0.1, 3, [runs])
    section = with_seal(bare(small), seal)
    run_dir = runs / "quick-1"
    model = fit(section, settings_for(small.path, path), run_dir, progress=False)
    return seal, path, section, run_dir, model


@pytest.mark.parametrize(
    ("what", "share", "words"), [("spots", 0.2, "20% of"), ("block", 0.1, "a square block"), ("whole", 0.2, "the whole section")]
)
def test_a_seal_says_which_spots_since_when_and_that_it_is_closed(folder, tmp_path, what, share, words):
    """A share of the spots, a square block of that many, or the whole section; written and read back the same."""
    section = read_section(folder, slide=False)
    seal = make_seal(section, what, share, seed=1)
    write_seal(seal, tmp_path / "seal.json")
    assert read_seal(tmp_path / "seal.json") == seal
    able = np.asarray(section.adata.obs["in_tissue"], dtype=bool)
    assert len(seal.spots) == (able.sum() if what == "whole" else round(share * able.sum()))
    assert seal.what.startswith(words)
    assert seal.opened is None
    assert "not opened" in seal.words
    hidden = sealed_spots(seal, section.adata, "part")
    assert list(section.adata.obs_names[hidden]) == list(seal.barcodes)
    if what == "block":
        centres = section.centres_yx
        inside = (np.ptp(centres[hidden], axis=0) / section.pitch_px).prod()
        assert hidden.sum() > 0.7 * inside, "a block is compact"


def test_a_seal_is_known_under_any_name_and_only_in_its_own_section(folder, small, tmp_path):
    """Sealed spots are known by their counts: renamed they are found again, and a section that lacks them is refused."""
    section = read_section(folder, slide=False)
    seal = make_seal(section, "spots", 0.2)
    renamed = section.adata[::-1].copy()
    renamed.obs_names = [f"spot {number}" for number in range(renamed.n_obs)]
    assert (sealed_spots(seal, renamed, "part")[::-1] == sealed_spots(seal, section.adata, "part")).all()
    with pytest.raises(DataError, match="another section"):
        sealed_spots(seal, small.adata, "small")
    write_seal(seal, tmp_path / "seal.json")
    with pytest.raises(DataError, match="never made anew"):
        write_seal(seal, tmp_path / "seal.json")
    (tmp_path / "broken.json").write_text("{")
    for name in ("broken.json", "missing.json"):
        with pytest.raises(DataError, match="no seal that can be read"):
            read_section(folder, sealed=tmp_path / name, slide=False)
    with pytest.raises(SettingsError, match="between 0 and 1"):
        make_seal(section, "block", 1.5)


def test_a_run_never_learns_from_sealed_spots_nor_predicts_them(sealed_run):
    """They are in no fold, have no home, and no value in the result; what a run says of them is that they are sealed."""
    seal, _, section, run_dir, model = sealed_run
    hidden = section.sealed
    assert 0 < hidden.sum() == len(seal.spots)
    (seen,) = model.seen
    assert (seen.parts[hidden] == EXCLUDED).all()
    assert (seen.home[hidden] == -1).all()
    adata = results.read_result(next((run_dir / "predictions").glob("*.h5ad")))
    assert (adata.obs[results.SOURCE][hidden] == "removed").all()
    assert adata.obs[results.REASON][hidden].str.contains("sealed").all()
    for slot in (results.PREDICTED, results.MEASURED, *results.BASELINES.values()):
        values = results.values_of(adata, slot)
        assert values is None or np.isnan(values[hidden]).all()
    assert not np.isin(seen.fingerprints[hidden], adata.uns[results.UNS]["training_spots"]).any()
    assert evaluate(adata)["n_spots"] == (~hidden & (adata.obs[results.SPLIT] == "test").to_numpy()).sum()
    assert f"{hidden.sum()} sealed spots kept out" in evaluate(adata)["split"]


def test_what_a_run_learns_does_not_depend_on_sealed_counts(sealed_run, small, tmp_path):
    """With other counts in the sealed spots the choice of genes, the scale, the baselines and every prediction are the same to the last bit."""
    seal, path, _, _, _ = sealed_run
    told = []
    for name in ("as they are", "scrambled"):
        settings = settings_for(small.path, path, target={"top": 5})
        section = with_seal(bare(small), seal)
        if name == "scrambled":
            counts = section.adata.X.toarray()
            counts[section.sealed] = np.random.default_rng(0).permuted(counts[section.sealed], axis=1) * 7
            section.adata.X = type(section.adata.X)(counts)
        model = fit(section, settings, tmp_path / name, progress=False)
        result = results.read_result(next((tmp_path / name / "predictions").glob("*.h5ad")))
        slots = [results.values_of(result, slot) for slot in (results.PREDICTED, results.MEASURED, results.BASELINES["interpolation"])]
        told.append((model.target, slots, [(event.mean_r, event.n) for event in read_events(tmp_path / name) if isinstance(event, BaselinesScored)]))
    assert told[0][0] == told[1][0]
    for one, other in zip(told[0][1], told[1][1], strict=True):
        np.testing.assert_array_equal(one, other)
    assert told[0][2] == told[1][2]


def test_a_model_remembers_its_seal(sealed_run, small):
    """Read back from disk and given the section without its seal, it still does not predict the sealed spots."""
    seal, _, section, run_dir, _ = sealed_run
    adata = predict(load_model(run_dir), bare(small), progress=False)
    assert (adata.obs[results.SOURCE][section.sealed] == "removed").all()
    assert np.isnan(results.values_of(adata, results.PREDICTED)[section.sealed]).all()
    assert load_model(run_dir).seen[0].seal == seal.id


def test_nothing_is_predicted_around_sealed_spots(sealed_run, small, tmp_path):
    """Within a pitch of a sealed spot a grid holds no value and no point lies between spots, also where nobody speaks of the seal any more."""
    seal, _, _, _, model = sealed_run
    sealed = cKDTree(small.centres_yx[sealed_spots(seal, small.adata, "small")])
    dmap = open_denser(result_of(write_denser(model, bare(small), tmp_path / "grid.zarr", "grid", 100.0)))
    near = sealed.query(dmap.centres_yx)[0] < small.pitch_px
    assert near.sum() > 10
    assert np.isnan(values(dmap, "ESR1")[near]).all()
    assert np.isfinite(values(dmap, "ESR1")[~near]).any()
    between = result_of(predict_between(model, bare(small)))
    between = between[between.obs[results.SOURCE] == "between"]
    assert len(between) > 50
    assert (sealed.query(between.obsm["spatial"][:, ::-1])[0] >= small.pitch_px).all()


def test_models_written_before_there_were_seals_are_read(sealed_run, tmp_path):
    """The header's new fields may be missing."""
    shutil.copytree(sealed_run[3] / "model", tmp_path / "model")
    header = json.loads((tmp_path / "model" / "model.json").read_text())
    for seen in header["seen"]:
        for key in ("patient", "block", "seal", "sealed"):
            del seen[key]
    (tmp_path / "model" / "model.json").write_text(json.dumps(header))
    (seen,) = load_model(tmp_path).seen
    assert (seen.patient, seen.block, seen.seal, seen.sealed) == (None, None, "", ())


def test_a_section_that_a_run_knows_cannot_be_sealed(sealed_run, tmp_path):
    """A run is recognised by its section's path, also before it has begun, and by its spots' counts where the section has moved."""
    _, _, section, run_dir, _ = sealed_run
    moved = tmp_path / "moved" / "outs"
    shutil.copytree(section.path, moved)
    assert runs_that_know(read_section(moved, slide=False), run_dir.parent) == [run_dir]
    waiting = tmp_path / "runs" / "waits"
    waiting.mkdir(parents=True)
    (waiting / "run.yaml").write_text(dump_yaml(settings_for(moved, name="waits")))
    with pytest.raises(DataError, match="waits was trained on it, or will be"):
        seal_section(read_section(moved, slide=False), tmp_path / "late.json", "spots", 0.2, 0, [tmp_path / "runs"])
    assert not (tmp_path / "late.json").exists()


def test_a_seal_is_opened_once(sealed_run, small, tmp_path, capsys):
    """By a run that kept it: scored at the sealed spots alone, beside the simple ways, with date, run and scores in the seal; then never again."""
    seal, path, section, run_dir, _ = sealed_run
    own = tmp_path / "seal.json"
    shutil.copy(path, own)
    scores = result_of(unseal(run_dir, bare(small), own))
    assert scores["n_spots"] <= len(seal.spots)
    assert scores["n_spots"] > 0.7 * len(seal.spots)
    assert scores["genes"]["ESR1"]["r"] > 0.5, "ESR1 shows as colour in the SYNTHETIC section"
    assert {"mean RGB", "interpolation"} <= set(scores["mean"])
    assert scores["split"] == f"sealed hold-out, {seal.what}, opened once"
    opened = read_seal(own).opened
    assert (opened["run"], opened["scores"]) == (run_dir.name, nan_to_none(scores))
    assert main(["unseal", str(run_dir), str(section.path), "--seal", str(own)]) == 2
    assert f"was opened on {opened['date'][:10]} by {run_dir.name} already" in capsys.readouterr().err


def test_a_run_without_the_seal_cannot_open_it(sealed_run, small, tmp_path):
    """It may have learned from the sealed spots; the seal stays closed."""
    own = tmp_path / "seal.json"
    shutil.copy(sealed_run[1], own)
    fit(small, settings_for(small.path, split={"kind": "whole"}), tmp_path / "open", progress=False)
    with pytest.raises(ModelError, match="without this seal"):
        result_of(unseal(tmp_path / "open", bare(small), own))
    assert read_seal(own).opened is None


def test_an_opened_seal_is_told_by_later_runs(sealed_run, small, tmp_path):
    """A training that names it says when and by which run it was opened."""
    seal, path, _, run_dir, _ = sealed_run
    own = tmp_path / "seal.json"
    shutil.copy(path, own)
    opened = record_opening(seal, own, run_dir, {"n_spots": 1})
    assert read_seal(own) == opened
    fit(with_seal(bare(small), opened), settings_for(small.path, own, target={"names": ["ESR1"]}), tmp_path / "later", progress=False)
    notes = [event.message for event in read_events(tmp_path / "later") if isinstance(event, Noted)]
    assert any(f"by {run_dir.name}" in note and "no longer" in note for note in notes)


def test_a_section_that_is_sealed_whole_trains_nothing(folder, tmp_path):
    """It is refused, with the way out."""
    write_seal(make_seal(read_section(folder, slide=False), "whole"), tmp_path / "seal.json")
    settings = settings_for(folder, tmp_path / "seal.json")
    with pytest.raises(TrainingError, match="Leave the section out of this run"):
        result_of(gather([read_settings(settings.sections[0])], settings))


def test_the_same_section_twice_is_refused(phantom, folder):
    """Left out under one name it would be learned from under the other."""
    with pytest.raises(TrainingError, match="hold the same spots"):
        result_of(gather([phantom, phantom], settings_for(folder)))


def test_sealing_on_the_command_line(folder, tmp_path, capsys):
    """`seal` writes the file, says what was sealed and how to name it; a relative path in RUN.yaml is taken from there."""
    out = tmp_path / "seal.json"
    assert main(["seal", str(folder), "--out", str(out), "--share", "0.1", "--block", "--runs", str(tmp_path)]) == 0
    assert "sections[].sealed" in capsys.readouterr().out
    assert main(["seal", str(folder), "--out", str(out), "--runs", str(tmp_path)]) == 2
    assert "never made anew" in capsys.readouterr().err
    assert main(["seal", str(folder), "--out", str(out), "--block", "--whole"]) == 2
    (tmp_path / "run.yaml").write_text(f"sections:\n  - path: {folder}\n    sealed: seal.json\n")
    assert load_run_settings(tmp_path / "run.yaml").sections[0].sealed == out


def test_learned_spots_keep_their_distance_from_sealed_ones(sealed_run):
    """No tile of a spot that trained or validated reaches into a sealed spot's tile."""
    _, _, section, _, model = sealed_run
    (seen,) = model.seen
    learned = np.isin(seen.parts, (TRAINING, VALIDATION)).any(axis=1)
    away = np.abs(section.centres_yx[learned][:, None] - section.centres_yx[section.sealed][None]).max(axis=2) * section.mpp
    assert away.min() >= model.tile_um
