"""Parameter search: what is tried, what is chosen by, and that a killed search goes on as if nothing had happened."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml

from napari_deepspace.cli import main
from napari_deepspace.errors import DataError, SettingsError, TrainingError
from napari_deepspace.events import EpochEnded, Finished, FoldEnded, TrialEnded
from napari_deepspace.runs import read_events
from napari_deepspace.search import search
from napari_deepspace.search_choices import choices, space_of, trials_in_words
from napari_deepspace.search_results import Trial, best_trial, held_out_r, in_words, plot, read_trials, summary, table, write_trials
from napari_deepspace.search_settings import EXAMPLE, SearchSettings, load_search, number_of_trials, propose, search_settings, with_overrides
from napari_deepspace.settings import load_run_settings, run_settings

QUICK = {"target": {"names": ["ESR1", "COL5A2"]}, "split": {"folds": 2}, "model": {"kind": "quick", "um_per_px": 2}, "threads": 1}
GRID = {"space": {"tile.extra_percent": [0, 50], "model.components": [4, 16]}}


def settings_for(folder, **changes):
    return run_settings({"sections": [{"path": str(folder)}], **QUICK, **changes})


def run(section, settings, trials, folder):
    """The events of a whole search, and its table."""
    job, events = search([section], settings, trials, folder), []
    while True:
        try:
            events.append(next(job))
        except StopIteration as end:
            return events, end.value


@pytest.fixture(scope="module")
def grid(small, phantom_dir, tmp_path_factory):
    """A finished search of 2 x 2 trials: folder, settings, events, table."""
    folder, settings = tmp_path_factory.mktemp("search") / "grid", settings_for(phantom_dir)
    return folder, settings, *run(small, settings, search_settings(GRID, settings), folder)


def test_every_combination_of_a_grid_is_a_run_of_its_own(grid):
    """2 x 2 values give four run folders with the settings changed so, and a table with a row each."""
    folder, _, events, frame = grid
    assert frame["state"].tolist() == ["finished"] * 4
    assert list(zip(frame["tile.extra_percent"], frame["model.components"], strict=True)) == [(0, 4), (0, 16), (50, 4), (50, 16)]
    for row in frame.itertuples():
        made = load_run_settings(folder / f"trial-{row.trial:04d}" / "run.yaml")
        assert (made.tile.extra_percent, made.model.components) == (row[4], row[5])
    written = pd.read_csv(folder / "trials.csv")
    pd.testing.assert_frame_equal(written.drop(columns="message"), frame.drop(columns="message"))
    assert [event.number for event in events if isinstance(event, TrialEnded)] == [1, 2, 3, 4]


def test_the_score_is_the_mean_over_folds_on_the_validation_part(grid):
    """Each trial's score comes from the validation parts its own events tell of, and never from test parts."""
    folder, _, _, frame = grid
    for number, score in zip(frame["trial"], frame["validation_r"], strict=True):
        folds = [event for event in read_events(folder / f"trial-{number:04d}") if isinstance(event, FoldEnded)]
        assert score == pytest.approx(np.mean([fold.validation_r for fold in folds]))
        assert score != pytest.approx(np.mean([fold.r for fold in folds]), abs=1e-6)


def test_the_best_is_ready_to_train_and_alone_keeps_its_weights(grid):
    """best.yaml holds the settings of the best trial; other trials keep predictions and scores, not weights."""
    folder, _, events, frame = grid
    best = frame.loc[frame["validation_r"].idxmax()]
    made = load_run_settings(folder / "best.yaml")
    assert (made.tile.extra_percent, made.model.components) == (best["tile.extra_percent"], best["model.components"])
    kept = [path.parent.parent.name for path in folder.glob("trial-*/model/weights.safetensors")]
    assert kept == [f"trial-{best['trial']:04d}"]
    assert len(list(folder.glob("trial-*/predictions/*.h5ad"))) == 4
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.scores["best"] == best["trial"]


def test_every_trial_has_the_same_guard_band(grid):
    """Where tile size is searched, the guard band is as wide as the widest tile for all, so that no size trains on more spots."""
    _, _, _, frame = grid
    assert frame["split"].nunique() == 1
    assert "guard band 82.5 um" in frame["split"][0]  # 55 um and half as much again


def test_no_score_stands_without_how_many_it_was_chosen_from(grid):
    """The words, the file of the best settings and the plot's title say "best of 4 trials" and that the data is synthetic."""
    folder, _, _, _ = grid
    for text in ("\n".join(in_words(summary(read_trials(folder)))), (folder / "best.yaml").read_text()):
        assert "Best of 4 trials" in text
        assert "SYNTHETIC" in text
    assert (folder / "search.png").stat().st_size > 10_000
    assert "<svg" in (folder / "search.svg").read_text()[:1000]


def test_a_finished_search_repeats_nothing(grid, small, tmp_path):
    """Going on with a finished search trains nothing; with more trials it trains only those; other settings are refused."""
    folder, settings, _, frame = grid
    before = {path: path.stat().st_mtime_ns for path in folder.glob("trial-*/metrics.json")}
    events, again = run(small, settings, search_settings(GRID, settings), folder)
    pd.testing.assert_frame_equal(again, frame)
    assert not any(isinstance(event, TrialEnded) for event in events)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("trial-*/metrics.json")} == before
    other = search_settings({"space": {"model.components": [4, 16]}}, settings)
    with pytest.raises(DataError, match="other settings"):
        run(small, settings, other, folder)
    with pytest.raises(DataError, match="run\\.seed"):
        run(small, settings.model_copy(update={"seed": 1}), search_settings(GRID, settings), folder)


def test_a_trial_that_fails_is_written_down_and_the_search_goes_on(small, phantom_dir, tmp_path):
    """The sentence stands in the table beside the other trials; a search of failures alone ends in one sentence."""
    settings = settings_for(phantom_dir)
    _, frame = run(small, settings, search_settings({"space": {"filter.min_umi": [10_000_000, 1000]}}, settings), tmp_path / "a")
    assert frame["state"].tolist() == ["failed", "finished"]
    assert "no spot is left" in frame["message"][0]
    with pytest.raises(TrainingError, match="None of the 1 trials"):
        run(small, settings, search_settings({"space": {"filter.min_umi": [10_000_000]}}, settings), tmp_path / "b")


def test_a_trial_whose_process_dies_again_and_again_is_given_up(small, phantom_dir, tmp_path):
    """A trial that was begun twice and never ended is failed, not begun a third time; being stopped does not count."""
    settings = settings_for(phantom_dir)
    trials = search_settings({"space": {"model.components": [4, 16]}}, settings)
    for _ in range(3):
        job = search([small], settings, trials, tmp_path)
        while not (tmp_path / "trial-0001" / "run.yaml").exists():
            next(job)
        job.close()  # a stop
        (tmp_path / "trial-0001" / "run.yaml").unlink()
    assert read_trials(tmp_path)[0].starts == 0
    write_trials(tmp_path, [dataclasses.replace(read_trials(tmp_path)[0], starts=2)])  # what two processes leave that died
    _, frame = run(small, settings, trials, tmp_path)
    assert frame["state"].tolist() == ["failed", "finished"]
    assert "ended without a word 2 times" in frame["message"][0]


def test_networks_are_chosen_by_the_best_epochs_validation_r(small, phantom_dir, tmp_path):
    """A network's score is the validation r of the epoch whose weights it keeps, the mean over folds."""
    network = {"kind": "network", "backbone": "mobilenet_v3_small", "weights": "scratch", "tile_px": 32, "epochs": 2}
    settings = settings_for(phantom_dir, model=network)
    _, frame = run(small, settings, search_settings({"space": {"model.learning_rate": [1e-4]}}, settings), tmp_path)
    kept = {event.fold: event.validation_r for event in read_events(tmp_path / "trial-0001") if isinstance(event, EpochEnded) and event.best}
    assert frame["validation_r"][0] == pytest.approx(np.mean(list(kept.values())))


def test_the_score_of_choosing_comes_from_parts_that_had_no_say():
    """In each fold the trial of the best validation r is taken, and that fold's test part scores it."""
    first = Trial(1, {"a": 1}, "finished", 0.5, (0.6, 0.4), (0.1, 0.2), 10)
    second = Trial(2, {"a": 2}, "finished", 0.45, (0.3, 0.6), (0.9, 0.4), 10)
    assert held_out_r([first, second, Trial(3, {"a": 3}, "failed")]) == pytest.approx((0.1 + 0.4) / 2)
    assert best_trial([first, second]) is first
    whole = dataclasses.replace(first, r=(float("nan"),), validation_r=(0.6,))
    assert "another section" in in_words(summary([whole]))[1]


def test_scores_of_clusters_are_called_by_their_name():
    """Words, table and the window's table say AUC where the trials learned clusters, and r elsewhere."""
    trial = Trial(1, {"tile.extra_percent": 50.0}, "finished", 0.8, (0.8,), (0.7,), 10, score_name="AUC")
    words = " ".join(in_words(summary([trial])))
    assert "mean validation AUC 0.800" in words
    assert "gives AUC 0.700" in words
    assert "validation_AUC" in table([trial])
    shown = trials_in_words([trial, Trial(2, {"tile.extra_percent": 0.0}, "failed", message="no")])
    assert shown.columns.tolist() == ["validation AUC", "tile size", "state", "spots", "note"]
    assert shown.index.tolist() == ["1 ★", "2"]
    assert "validation r" in trials_in_words([dataclasses.replace(trial, score_name="r")])


def test_what_is_offered_applies_to_the_model():
    """Quick varies tile size and white threshold; a network all of the paper's search, its own values among the usual ones, one file of weights
    no other backbone; everything offered is valid in a search."""
    quick = settings_for("somewhere")
    assert [choice.key for choice in choices(quick)] == ["tile.extra_percent", "filter.white_percentile"]
    network = settings_for("somewhere", model={"kind": "network", "learning_rate": 0.002})
    offered = choices(network)
    assert len(offered) == 6
    assert 0.002 in next(choice for choice in offered if choice.key == "model.learning_rate").values
    for method, trials in (("grid", None), ("optuna", 3)):
        space = space_of(offered, {choice.key: choice.values for choice in offered}, method)
        search_settings({"space": space, "method": method, "trials": trials}, network)
    own = settings_for("somewhere", model={"kind": "network", "weights": "mine.safetensors"})
    assert "model.backbone" not in [choice.key for choice in choices(own)]


def test_the_same_settings_are_not_trained_twice(small, phantom_dir, tmp_path):
    """Where Optuna comes upon settings again, the earlier result stands, and "best of" counts it once."""
    settings = settings_for(phantom_dir)
    trials = search_settings({"method": "optuna", "trials": 4, "space": {"model.components": [4, 16]}}, settings)
    events, frame = run(small, settings, trials, tmp_path)
    assert len(list(tmp_path.glob("trial-*"))) == frame["model.components"].nunique() <= 2
    assert frame["message"].str.contains("same settings").sum() == 4 - frame["model.components"].nunique()
    assert events[-1].scores["trials"] == frame["model.components"].nunique()
    assert frame.groupby("model.components")["validation_r"].nunique().tolist() == [1] * frame["model.components"].nunique()


def test_optuna_goes_where_the_scores_are_high():
    """With a score that is highest at 1e-4, later trials lie nearer to it than the first ones; the same seed gives the same trials."""
    trials = SearchSettings(method="optuna", trials=40, space={"model.learning_rate": {"low": 1e-6, "high": 1.0, "log": True}, "a": [["x"], []]})
    results, again = [], []
    for number in range(1, 41):
        changes = propose(trials, number, results)
        assert changes["a"] in ([], ["x"])
        results.append((changes, -abs(np.log10(changes["model.learning_rate"]) + 4)))
    for number in range(1, 6):
        again.append((propose(trials, number, again), results[number - 1][1]))
    assert again == results[:5]
    assert np.mean([score for _, score in results[30:]]) > np.mean([score for _, score in results[:10]]) + 0.5


def test_a_part_of_a_grid_is_a_part_without_repetition():
    """Fewer trials than combinations take different ones, in an order that a longer search begins with too."""
    space = {"a": [1, 2, 3], "b": {"low": 1e-4, "high": 1e-2, "log": True, "steps": 3}, "c": {"low": 1, "high": 3, "steps": 3}}
    some, more = (SearchSettings(space=space, trials=trials) for trials in (5, 100))
    assert (number_of_trials(some), number_of_trials(more)) == (5, 27)
    drawn = [propose(more, number, []) for number in range(1, 28)]
    assert len({json.dumps(changes) for changes in drawn}) == 27
    assert [propose(some, number, []) for number in range(1, 6)] == drawn[:5]
    assert {changes["b"] for changes in drawn} == {1e-4, 1e-3, 1e-2}
    assert {changes["c"] for changes in drawn} == {1, 2, 3}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"space": {"tile.extra_percnt": [0]}}, "extra_percnt"),
        ({"space": {"tile.extra_percent": [0, -5]}}, "-5"),
        ({"space": {"tile.extra_percent": {"low": 0, "high": 2000, "steps": 2}}}, "2000"),
        ({"space": {"tile.extra_percent.more": [0]}}, "no setting of this run"),
        ({"space": {"tile.extra_percent": []}}, "no value"),
        ({"space": {}}, "space"),
        ({"space": {"tile.extra_percent": {"low": 5, "high": 1, "steps": 2}}}, "low must be less"),
        ({"space": {"tile.extra_percent": {"low": 0, "high": 200}}}, "steps"),
        ({"space": {"tile.extra_percent": [0]}, "method": "optuna"}, "number of trials"),
        ({"space": {"tile.extra_percent": [0]}, "method": "magic"}, "method"),
        ({"space": {"seed": [0, 1]}}, "cannot be searched"),
        ({"space": {"split.seed": [0, 1]}}, "cannot be searched"),
        ({"space": {"target.names": [["ESR1"], ["FN1"]]}}, "cannot be searched"),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_sentence(values, found):
    """Unknown settings, values out of range and settings that would change what the score means are refused before anything is trained."""
    settings = settings_for("somewhere")
    with pytest.raises(SettingsError) as caught:
        search_settings(values, settings)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_example_can_be_read(phantom_dir, tmp_path, capsys):
    """search --init writes the paper's search once; with a RUN.yaml of a network beside it, it is valid as it stands."""
    path = tmp_path / "search.yaml"
    assert main(["search", "--init", str(path)]) == 0
    assert main(["search", "--init", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
    (tmp_path / "RUN.yaml").write_text("sections: [{path: outs}]\nmodel: {kind: network}\n")
    settings, trials = load_search(path, ("model.epochs=3",))
    assert settings.model.epochs == 3
    assert settings.sections[0].path == tmp_path / "outs"
    assert trials.space["tile.extra_percent"] == [0, 50, 100, 150, 200]
    changes = propose(trials, 1, [])
    assert with_overrides(settings, changes).model.backbone == changes["model.backbone"]
    assert path.read_text() == EXAMPLE


@pytest.mark.acceptance  # half a minute and more
def test_a_search_killed_in_the_middle_goes_on_with_the_same_trials(small, phantom_dir, tmp_path, capsys):
    """kill -9 while a trial trains; --resume begins that trial again, repeats none that was done, and ends where an unbroken search ends."""
    values = {"run": {"sections": [{"path": str(phantom_dir)}], **QUICK}, "method": "optuna", "trials": 4, "seed": 3}
    values["space"] = {"tile.extra_percent": {"low": 0.0, "high": 100.0}, "model.components": {"low": 2, "high": 32}}
    path, folder = tmp_path / "search.yaml", tmp_path / "killed"
    path.write_text(yaml.safe_dump(values))
    process = subprocess.Popen([sys.executable, "-m", "napari_deepspace", "search", str(path), "--out", str(folder)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(read_trials(folder)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    cut = read_trials(folder)
    assert cut[-1].state == "begun"
    done = {trial.number: (folder / f"trial-{trial.number:04d}" / "metrics.json").stat().st_mtime_ns for trial in cut[:-1]}
    assert main(["search", str(path), "--out", str(folder)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(["search", str(path), "--out", str(folder), "--resume"]) == 0
    assert "Best of 4 trials" in capsys.readouterr().out
    assert {number: (folder / f"trial-{number:04d}" / "metrics.json").stat().st_mtime_ns for number in done} == done
    assert main(["search", str(path), "--out", str(tmp_path / "whole"), "--events"]) == 0
    unbroken = table(read_trials(tmp_path / "whole"))
    resumed = table(read_trials(folder))
    pd.testing.assert_frame_equal(resumed.drop(columns="seconds"), unbroken.drop(columns="seconds"))


def test_a_search_that_does_not_exist_is_not_resumed(phantom_dir, tmp_path, capsys):
    """--resume without a search in --out is one sentence."""
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump({"run": {"sections": [{"path": str(phantom_dir)}]}, **GRID}))
    assert main(["search", str(path), "--resume", "--out", str(tmp_path / "none")]) == 2
    assert "no search to resume" in capsys.readouterr().err


def test_the_plot_takes_values_of_every_kind(tmp_path):
    """Numbers, names, lists and none of them get a panel each, with one trial or many."""
    trials = [
        Trial(number, {"a": number / 7, "b": ["flip"][: number % 2], "c": "vgg16", "d": None}, "finished", 0.1, (0.1,), (0.1,), 9)
        for number in range(1, 13)
    ]
    plot(trials, tmp_path)
    plot(trials[:1], tmp_path)
    assert (tmp_path / "search.png").exists()
