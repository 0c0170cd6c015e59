"""The list of runs: what it says of each, how fast, and what renaming, deleting, comparing and queueing leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from napari_deepspace import results
from napari_deepspace.analyse.evaluate import evaluate
from napari_deepspace.awake import kept_awake, on_mains
from napari_deepspace.cli import main
from napari_deepspace.errors import DataError
from napari_deepspace.events import BaselinesScored, BatchEnded, EpochEnded, Failed, Finished, Paused, Resumed, Started, Stopped
from napari_deepspace.run_comparison import compare_runs, scored_spots
from napari_deepspace.run_list import delete_run, list_runs, rank_among, rename_run, run_info, score_words, state_words
from napari_deepspace.run_queue import add_to_queue, leave_queue, move_in_queue, queued_runs, take_next
from napari_deepspace.runs import EventLog, claim, new_run_dir, write_atomic, write_json
from napari_deepspace.settings import dump_yaml, run_settings
from napari_deepspace.target import Target

STARTED = Started("run", "vgg16", ("ESR1",), 100, 5, 50, "cpu")
EPOCH = EpochEnded(1, 7, 50, 1.0, 1.0, 0.1, True, 2.0)


def make_run(folder, name="run", events=(), stamp="20260102-030405", **changes):
    """A run's folder with its settings and ``events``."""
    run_dir = folder / f"{name}-{stamp}"
    settings = {"name": name, "sections": [{"path": "/data/C3/outs"}], "model": {"kind": "network"}, **changes}
    write_atomic(run_dir / "run.yaml", dump_yaml(run_settings(settings)))
    if events:
        log = EventLog(run_dir)
        for event in events:
            log.write(event)
        log.close()
    return run_dir


def score(run_dir, section, *, split="random", spots=slice(None), seed=0):
    """A finished run with random predictions for ``section``."""
    genes, rng = ("ESR1", "SPARC"), np.random.default_rng(seed)
    columns = {layer: rng.random((section.adata.n_obs, 2)).astype(np.float32) for layer in (results.PREDICTED, results.MEASURED)}
    table = pd.DataFrame({results.SPLIT: "guard", results.SOURCE: "out-of-fold", results.FOLD: 0, results.REASON: ""}, section.adata.obs_names)
    table.iloc[spots, 0] = "test"
    about = {"model": "vgg16", "split": split, "panel": "2 genes", "target_sum": 5000.0, "unit": "log", "training_sections": [section.library_id]}
    result = results.result_at_spots(section, Target("genes", genes, "2 genes", "log", 5000.0), columns, table, about)
    results.write_result(result, run_dir / "predictions" / f"1-{section.library_id}.h5ad")
    scores = evaluate(result)
    metrics = {"synthetic": True, "mean_r": scores["mean"]["r"], "n_spots": scores["n_spots"], "sections": {section.library_id: scores}}
    write_json(run_dir / "metrics.json", metrics)
    write_json(run_dir / "model" / "model.json", {})
    return scores


@pytest.mark.parametrize(
    ("events", "state", "words"),
    [
        ((STARTED, EPOCH), "interrupted", "interrupted at fold 2, epoch 7"),
        ((STARTED, EPOCH, BatchEnded(1, 8, 3, 9, 0.1), Paused(1, 8, 3)), "paused", "paused at fold 2, epoch 8"),
        ((STARTED, Paused(1, 8, 3), Resumed(1, 8, 3)), "interrupted", "interrupted at fold 2, epoch 8"),
        ((STARTED, EPOCH, Stopped()), "stopped", "stopped at fold 2, epoch 7"),
        ((STARTED, Failed("No memory.")), "failed", "failed"),
        ((), "interrupted", "interrupted"),
    ],
)
def test_the_state_of_a_run_is_told_from_its_last_events(tmp_path, events, state, words):
    """How a run that is not finished ended, and where: the last word that its process said decides."""
    run = run_info(make_run(tmp_path, events=events))
    assert (run.state, state_words(run)) == (state, words)
    assert run.resumable == bool(events)
    assert run.message == ("No memory." if state == "failed" else "")


def test_a_run_says_what_it_learned_and_how_it_scored(tmp_path, small):
    """Name, sections, target, model, date, size, and mean r with n, split and baselines."""
    run_dir = make_run(
        tmp_path, "mine", (STARTED, BaselinesScored({"mean RGB": 0.12}, 50), Finished(0.3, 50, 1.0)), target={"names": ["ESR1", "SPARC"]}
    )
    scores = score(run_dir, small)
    (run,) = list_runs(tmp_path)
    assert (run.name, run.sections, run.target, run.model, run.state) == ("mine", ("C3",), "2 genes", "vgg16", "finished")
    assert run.started.isoformat() == "2026-01-02T03:04:05"
    assert (run.r, run.n) == (pytest.approx(scores["mean"]["r"]), small.adata.n_obs)
    assert (
        score_words(run)
        == f"SYNTHETIC data. mean r {run.r:.2f} at {run.n:,} spots not trained on, random; colour alone 0.12; the only run on this section"
    )
    assert run.size == sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({}, "top 50 genes"),
        ({"names": ["ESR1"]}, "gene ESR1"),
        ({"kind": "clusters"}, "clusters"),
        ({"kind": "signatures", "sets": {"immune": ["IL32"]}}, "signature immune"),
        ({"kind": "obs", "columns": ["T cells", "B cells"]}, "2 numbers"),
    ],
)
def test_the_target_is_told_in_words(tmp_path, target, words):
    """Every kind of target has a few words."""
    assert run_info(make_run(tmp_path, target=target)).target == words


def test_a_living_process_makes_a_run_a_running_one(tmp_path):
    """A run is running while the process that claimed it lives, and cannot be deleted then."""
    run_dir = make_run(tmp_path, events=(STARTED, EPOCH))
    claim(run_dir)
    assert run_info(run_dir).state == "running"
    with pytest.raises(DataError, match="still running"):
        delete_run(run_dir)
    assert run_dir.is_dir()
    write_json(run_dir / "process.json", {"pid": os.getpid(), "created": 1.0})  # the number was given to another process since
    assert run_info(run_dir).state == "interrupted"


def test_a_run_can_be_renamed(tmp_path):
    """The new name is shown; folder and settings stay, because projects and checkpoints refer to them."""
    run_dir = make_run(tmp_path, "old")
    before = (run_dir / "run.yaml").read_text()
    rename_run(run_dir, "  with  C2 ")
    assert run_info(run_dir).name == "with C2"
    assert (run_dir / "run.yaml").read_text() == before
    with pytest.raises(DataError, match="needs a name"):
        rename_run(run_dir, " ")


def test_deleting_takes_a_run_and_nothing_else(tmp_path):
    """What a link leads to stays, and so does every other run."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "counts.h5").write_text("counts")
    run_dir, other = make_run(tmp_path / "runs", "one"), make_run(tmp_path / "runs", "two")
    (run_dir / "data").symlink_to(tmp_path / "precious")
    delete_run(run_dir)
    assert [run.run_dir for run in list_runs(tmp_path / "runs")] == [other]
    assert (tmp_path / "precious" / "counts.h5").exists()


def test_what_is_no_run_is_not_deleted(tmp_path):
    """A folder without a run, one that holds other runs, and a link to a run are left as they are, with a sentence."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "run.yaml").write_text("colour: red\n")
    run_dir = make_run(tmp_path)
    inner = make_run(run_dir / "runs", "inner")
    (tmp_path / "link").symlink_to(inner)
    for path, words in ((tmp_path / "folder", "holds no run"), (tmp_path / "gone", "holds no run"), (tmp_path / "link", "holds no run")):
        with pytest.raises(DataError, match=words):
            delete_run(path)
    with pytest.raises(DataError, match="more than one run"):
        delete_run(run_dir)
    assert inner.is_dir()
    assert (tmp_path / "folder" / "run.yaml").exists()


def test_runs_wait_in_their_order(tmp_path):
    """First in, first out; a run can be moved; it leaves the queue when it is taken, and only once."""
    one, two, three = (make_run(tmp_path, name) for name in ("one", "two", "three"))
    done = make_run(tmp_path, "done", (STARTED, Stopped()))
    for run_dir in (one, two, three):
        add_to_queue(run_dir)
    assert queued_runs(tmp_path) == [one, two, three]
    move_in_queue(three, -1)
    move_in_queue(one, -5)
    move_in_queue(done, -1)
    assert queued_runs(tmp_path) == [one, three, two]
    assert [(run.name, run.state, run.place) for run in list_runs(tmp_path)][:3] == [
        ("one", "queued", 1),
        ("three", "queued", 2),
        ("two", "queued", 3),
    ]
    delete_run(three)
    paused = make_run(tmp_path, "paused", (STARTED, Paused(1, 8, 3)))
    add_to_queue(paused)
    assert queued_runs(tmp_path) == [one, two, paused]
    leave_queue(two)
    assert [take_next(tmp_path) for _ in range(3)] == [one, paused, None]
    assert [run_info(run_dir).state for run_dir in (one, paused)] == ["interrupted", "paused"]


def test_the_comparison_has_genes_by_runs_and_is_honest(tmp_path, small):
    """r of every gene in every run below n, split and panel; the note says when the runs were not scored on the same spots."""
    runs = [make_run(tmp_path, name) for name in ("a", "b", "c")]
    scores = [score(runs[0], small), score(runs[1], small, seed=1), score(runs[2], small, spots=slice(0, 50), split="spatial blocks", seed=2)]
    table = compare_runs(runs[:2])
    assert list(table.columns) == ["a", "b"]
    assert list(table.index[: table.attrs["about"]]) == ["section", "n", "split", "panel", "normalisation", "mean r"]
    assert table.loc["ESR1", "b"] == pytest.approx(scores[1]["genes"]["ESR1"]["r"])
    assert "can be compared" in table.attrs["note"]
    assert scored_spots(runs[2], small.library_id) == set(small.adata.obs_names[:50])
    note = compare_runs(runs).attrs["note"]
    assert "different spots, of which 50 are shared" in note
    assert "different splits" in note
    with pytest.raises(DataError, match="holds no scores"):
        compare_runs([runs[0], make_run(tmp_path, "d")])


def test_two_runs_of_one_name_keep_their_columns(tmp_path, small):
    """Equal names are told apart by a number."""
    runs = [make_run(tmp_path, "a", stamp=f"2026010{day}-000000") for day in (1, 2)]
    for run_dir in runs:
        score(run_dir, small)
    assert list(compare_runs(runs).columns) == ["a", "a (2)"]


def test_the_command_line_lists_runs(tmp_path, capsys):
    """`napari-deepspace runs FOLDER`, of runs or of a project, as text and as JSON."""
    make_run(tmp_path / "project" / "runs", "mine", (STARTED, EPOCH))
    assert main(["runs", str(tmp_path / "project")]) == 0
    assert "interrupted at fold 2, epoch 7" in capsys.readouterr().out
    assert main(["runs", str(tmp_path / "project" / "runs"), "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["name"], run["state"], run["r"]) == ("mine", "interrupted", None)
    assert main(["runs", str(tmp_path / "nowhere")]) == 2
    assert "holds no runs" in capsys.readouterr().err


def test_a_run_without_a_way_to_stay_awake_works_all_the_same():
    """Where the system cannot be asked, the body runs as ever and no thread stays behind."""
    code = "import threading; from napari_deepspace.awake import kept_awake\nwith kept_awake(): pass\nprint(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("1", "")


def test_the_computer_is_kept_awake_on_mains_only(monkeypatch):
    """The request is held while the plug is in, let go when it is pulled, and at the end of the run."""
    import contextlib
    import threading

    import wakepy

    held, plug = threading.Event(), threading.Event()
    plug.set()

    @contextlib.contextmanager
    def running(on_fail):
        held.set()
        try:
            yield type("Mode", (), {"active": True})
        finally:
            held.clear()

    monkeypatch.setattr(wakepy.keep, "running", running)
    monkeypatch.setattr("napari_deepspace.awake.on_mains", plug.is_set)
    monkeypatch.setattr("napari_deepspace.awake.LOOK_S", 0.01)
    with kept_awake():
        assert held.wait(10)
        plug.clear()
        for _ in range(1000):
            if not held.is_set():
                break
            threading.Event().wait(0.01)
        assert not held.is_set()
        plug.set()
        assert held.wait(10)
    assert not held.is_set()


def test_a_computer_without_battery_is_on_mains(monkeypatch):
    """No battery: on mains; a battery that is not being charged: not."""
    monkeypatch.setattr("psutil.sensors_battery", lambda: None, raising=False)
    assert on_mains()
    monkeypatch.setattr("psutil.sensors_battery", lambda: type("Battery", (), {"power_plugged": False}), raising=False)
    assert not on_mains()


def test_a_new_run_folder_says_when_it_was_asked_for(tmp_path):
    """The date is read from the folder's name as new_run_dir makes it, whatever dashes the run's name has."""
    run_dir = new_run_dir(tmp_path, "a-b-20201111")
    write_atomic(run_dir / "run.yaml", dump_yaml(run_settings({"sections": [{"path": "x"}]})))
    assert run_info(run_dir).started.strftime("%Y%m%d-%H%M%S") == run_dir.name.removeprefix("a-b-20201111-")


def test_beside_a_score_stands_how_many_runs_there_are_on_the_section(tmp_path, small):
    """The best of three says so, the others too; a run on another section, and one that is not finished, do not count; a moved section does."""
    for number in range(3):
        moved = {"sections": [{"path": f"/moved/{number}"}]} if number == 2 else {}
        run_dir = make_run(tmp_path, f"run{number}", (STARTED,), **moved)
        score(run_dir, small, seed=number)
        metrics = json.loads((run_dir / "metrics.json").read_text())
        write_json(run_dir / "metrics.json", metrics | {"section_fingerprints": ["the counts"]})
    score(make_run(tmp_path, "other", (STARTED,), sections=[{"path": "/data/D1"}]), small, seed=5)
    make_run(tmp_path, "cut", (STARTED, EPOCH))
    runs = {run.name: run for run in list_runs(tmp_path)}
    best = max(("run0", "run1", "run2"), key=lambda name: runs[name].r)
    for name in ("run0", "run1", "run2"):
        assert runs[name].rank == f"{'best' if name == best else 'one'} of 3 runs on this section"
        assert score_words(runs[name]).endswith(runs[name].rank)
    assert runs["other"].rank == "the only run on this section"
    assert runs["cut"].rank == ""


def test_a_run_that_ends_counts_those_before_it(tmp_path, small):
    """As metrics.json keeps it: the finished ones and itself; best only if none of the same kind of score is better."""
    score(make_run(tmp_path, "first", (STARTED,)), small)
    run_dir = make_run(tmp_path, "second", (STARTED,))
    before = run_info(tmp_path / "first-20260102-030405").r
    assert rank_among(run_dir, before + 0.1, "r", []) == (2, "best of 2 runs on this section")
    assert rank_among(run_dir, before - 0.1, "r", []) == (2, "one of 2 runs on this section")
    assert rank_among(run_dir, float("nan"), "r", []) == (2, "one of 2 runs on this section")
    assert rank_among(make_run(tmp_path / "empty", "alone"), 0.1, "r", []) == (1, "the only run on this section")
