"""Semi-supervised learning: what students learn from, what they are chosen and judged by, and that a killed job goes on to the same end."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.spatial import cKDTree

from napari_deepspace.cli import main
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.events import Finished, Noted, StudentEnded, result_of
from napari_deepspace.learn.data import section_looks
from napari_deepspace.learn.features import quick_inputs
from napari_deepspace.learn.inference import as_trained
from napari_deepspace.learn.model import load_model
from napari_deepspace.learn.optimise import FoldData
from napari_deepspace.learn.pool import Pool, Stacked
from napari_deepspace.learn.students import Drawn, _label, draw_tiles, gather_pool, look_over, usable_tiles
from napari_deepspace.learn.training import _with_pool
from napari_deepspace.runs import read_events
from napari_deepspace.settings import FilterSettings, run_settings
from napari_deepspace.stain import find_stain
from napari_deepspace.students import students
from napari_deepspace.students_results import Round, Scored, chosen, in_words, judge, plot, read_outcome
from napari_deepspace.students_settings import load_students, students_settings
from napari_deepspace.students_sources import read_sources

GENES = ["ESR1", "COL5A2"]
TILES = 40
NETWORK = {
    "kind": "network", "backbone": "mobilenet_v3_small", "weights": "scratch", "tile_px": 32, "epochs": 1, "device": "cpu", "augment": ["flip"],
}  # fmt: skip


def settings_for(folder, **changes):
    quick = {"target": {"names": GENES}, "split": {"folds": 2}, "model": {"kind": "quick", "um_per_px": 4}, "threads": 1}
    more = {"name": "small", "sections": [{"path": str(folder)}], "filter": {"white_percentile": 100}}
    return run_settings({**quick, **more, **changes})


def asked_for(folder, **changes):
    return students_settings({"unlabelled": [{"path": str(folder)}], "rounds": 2, "tiles": TILES, **changes})


def run(section, settings, asked, folder, **more):
    """The events of a whole job, and what came out."""
    job, events = students([section], settings, asked, folder, **more), []
    while True:
        try:
            events.append(next(job))
        except StopIteration as end:
            return events, end.value


@pytest.fixture(scope="module")
def job(small, phantom_dir, tmp_path_factory):
    """A finished job of two students of Quick: folder, events, outcome."""
    folder = tmp_path_factory.mktemp("students") / "quick"
    return folder, *run(small, settings_for(phantom_dir), asked_for(phantom_dir), folder)


def labels_of(folder, number):
    """Labels of both folds by name, each (n_folds, n_tiles, n_outputs)."""
    place = folder / "pool" / f"labels-{number}"
    names = {path.stem.partition("-")[0] for path in place.iterdir()}
    return {name: np.stack([np.load(place / f"{name}-{fold}.npy") for fold in range(2)]) for name in names}


def to_unit(outputs):
    return (outputs - outputs.min(axis=0)) / (outputs.max(axis=0) - outputs.min(axis=0))


def test_every_round_is_a_run_and_the_pool_accumulates(job):
    """Teacher and students are ordinary run folders; the second student learns from the tiles of both rounds, which differ."""
    folder, events, outcome = job
    assert [one.run_dir for one in outcome.rounds] == ["teacher", "student-1", "student-2"]
    assert [one.pool for one in outcome.rounds] == [0, TILES, 2 * TILES]
    assert [event.number for event in events if isinstance(event, StudentEnded)] == [0, 1, 2]
    assert isinstance(events[-1], Finished)
    places = [np.load(folder / "pool" / f"round-{k}-places.npy") for k in (1, 2)]
    assert not np.isin(places[0][:, 1], places[1][:, 1]).any()
    for one in outcome.rounds:
        assert load_model(folder / one.run_dir).target.names == tuple(GENES)
        assert (folder / one.run_dir / "metrics.json").exists()
    told = [event.message for event in read_events(folder / "student-2") if isinstance(event, Noted)]
    assert any("unlabelled tiles train" in message and "measured spots only" in message for message in told)


def test_labels_of_a_fold_come_from_its_own_best_member(job):
    """Labels are the outputs of that member of each fold which is best on the fold's own validation part, brought to 0..1 gene by gene."""
    folder, _, outcome = job
    for number in (1, 2):
        inputs, labels = np.load(folder / "pool" / f"round-{number}.npy"), labels_of(folder, number)
        for fold in range(2):
            best = max(outcome.rounds[:number], key=lambda one, fold=fold: one.validation[fold])
            member = load_model(folder / best.run_dir).members[fold]
            np.testing.assert_allclose(labels["values"][fold], to_unit(member.linear.predict(inputs)), atol=1e-5)
            np.testing.assert_allclose(labels["twins"][fold], to_unit(member.twin.predict(inputs)), atol=1e-5)
            assert not np.allclose(labels["twins"][fold], labels["values"][fold], atol=1e-3), "a twin has not seen the validation part"


def test_labels_stay_on_the_disk(job):
    """Only the rows that are asked for are read: 18,000 genes of 20,000 tiles and five folds are 7 GB."""
    folder, _, _ = job
    model, parts = load_model(folder / "teacher"), []
    for number in (1, 2):
        places, tiles = (np.load(folder / "pool" / f"round-{number}{ending}.npy") for ending in ("-places", ""))
        usable = np.ones((len(model.members), TILES), dtype=bool)
        parts.append((Drawn(tiles, places), folder / "pool" / f"labels-{number}", usable))
    pool = gather_pool(parts, "")
    for name, labels in (("values", pool.values), ("twins", pool.twins)):
        for fold in range(2):
            assert all(isinstance(part, np.memmap) for part in labels[fold].parts)
            expected = [labels_of(folder, number)[name][fold] for number in (1, 2)]
            np.testing.assert_array_equal(labels[fold][np.arange(2 * TILES)], np.concatenate(expected))


def test_tiles_are_looked_at_in_the_stain_of_the_teacher(job, small, phantom_dir, tmp_path):
    """A teacher of one stain labels, and students learn from, tiles in that stain; glass is told from tissue on the slide as it is."""
    folder, _, _ = job
    model = load_model(folder / "teacher")
    own = find_stain(small, np.ones(small.adata.n_obs, dtype=bool))
    model.stain = dataclasses.replace(own, most=own.most * np.float32(0.5))
    (source,) = result_of(look_over(result_of(read_sources(asked_for(phantom_dir).unlabelled, small, model.tile_um, False)), model))
    drawn = result_of(draw_tiles([source], model, 20, (0,), tmp_path / "tiles.npy"))
    seen = as_trained(model, source.section, source.prepared.filter.predictable)
    places, reference, raw = (
        result_of(section_looks(section, centres, model.tile_um, model.tile_px, model.settings.model))
        for section, centres in ((seen, drawn.places[:, 1:]), (seen, source.spots_yx), (source.section, drawn.places[:, 1:]))
    )
    np.testing.assert_array_equal(drawn.inputs, quick_inputs(places, reference))
    assert not np.allclose(places, raw)


def test_a_pool_trains_and_never_validates():
    """Pool tiles stand behind the spots, in training only, and only those that a fold may use."""
    n, pool_n = 6, 4
    tiles = np.arange(n)[:, None]
    part = FoldData(1, tiles, np.zeros((n, 2), np.float32), np.arange(n) < 4, np.arange(n) >= 4, None)
    usable = np.array([[True] * pool_n, [True, False, True, True]])
    labels = np.ones((pool_n, 2), np.float32)
    pool = Pool(Stacked([np.arange(100, 102)[:, None], np.arange(102, 104)[:, None]]), (Stacked([labels * 5]), Stacked([labels])), (), usable, "")
    both = _with_pool(part, pool)
    assert len(both.tiles) == len(both.values) == n + pool_n
    assert np.flatnonzero(both.validation).tolist() == [4, 5]
    assert np.flatnonzero(both.training).tolist() == [0, 1, 2, 3, 6, 8, 9]
    assert both.tiles[np.array([9, 0, 7])].ravel().tolist() == [103, 0, 101]
    assert (both.values[np.arange(n, n + pool_n)] == 1).all()
    assert _with_pool(part, None) is part


def test_students_validate_and_test_on_the_teachers_spots(job):
    """Parts, and so the measured spots that validate, are the same in every round; the scaling of the target too."""
    folder, _, outcome = job
    models = [load_model(folder / one.run_dir) for one in outcome.rounds]
    for model in models[1:]:
        np.testing.assert_array_equal(model.seen[0].parts, models[0].seen[0].parts)
        for mine, teachers in zip(model.members, models[0].members, strict=True):
            np.testing.assert_array_equal(mine.fitted.high, teachers.fitted.high)


def test_no_tile_shares_a_pixel_with_a_test_spot_of_its_fold(job, small, phantom_dir):
    """Unlabelled tiles of a slide that is trained on are left out of each fold whose test spots they would show."""
    folder, _, _ = job
    model = load_model(folder / "teacher")
    sources = result_of(look_over(result_of(read_sources(asked_for(phantom_dir).unlabelled, small, model.tile_um, False)), model))
    places = np.load(folder / "pool" / "round-1-places.npy")
    usable = usable_tiles(Drawn(np.load(folder / "pool" / "round-1.npy"), places), sources, model)
    assert 0 < usable.sum() < usable.size
    for fold in range(2):
        spots = model.seen[0].centres_yx[model.seen[0].home == fold]
        apart = cKDTree(spots).query(places[usable[fold], 1:], p=np.inf)[0] * small.mpp
        assert apart.min() >= model.tile_um


def test_the_verdict_and_what_it_rests_on_stand_in_every_file(job):
    """students.json names the run that is kept, which predict takes the folder for; table, figure and words say SYNTHETIC, n and the split."""
    folder, events, outcome = job
    stored = json.loads((folder / "students.json").read_text())
    assert stored["best"] == outcome.best
    assert read_outcome(folder) == outcome
    assert load_model(folder).settings.name == load_model(folder / outcome.best).settings.name
    words = " ".join(in_words(outcome))
    for part in (
        "SYNTHETIC",
        "teacher",
        "95 %",
        f"{outcome.n} spots not trained on",
        "spatial blocks",
        "2 named genes",
        "Kept:",
        "by the validation parts",
    ):
        assert part in words
    table = pd.read_csv(folder / "students.csv")
    assert len(table) == 3 * len(GENES)
    assert {"n", "split", "panel", "synthetic", "labels"} <= set(table)
    assert (folder / "students.png").stat().st_size > 10_000
    assert "<svg" in (folder / "students.svg").read_text()[:1000]
    assert [event.verdict for event in events if isinstance(event, StudentEnded)][-1] == outcome.verdict.words


def scored(noise, seed=0, n=300, genes=8):
    rng = np.random.default_rng(seed)
    centres = np.stack(np.meshgrid(np.arange(20), np.arange(15)), axis=-1).reshape(-1, 2)[:n] * 100.0
    measured = rng.normal(size=(n, genes))
    predicted = measured + noise * np.random.default_rng(seed + 1).normal(size=(n, genes))
    return Scored(tuple("abcdefgh"[:genes]), "r", measured, predicted, {}, centres, np.zeros(n, dtype=int))


def test_a_student_is_better_only_if_the_whole_interval_says_so():
    """Clearly less noise is better, clearly more is worse, another luck of the same noise is no better; few spots cannot be judged."""
    assert judge(3, scored(1.0), scored(3.0)).kind == "better"
    assert judge(3, scored(3.0), scored(1.0)).kind == "worse"
    same = judge(3, dataclasses.replace(scored(2.0), predicted=scored(2.0).predicted + 1e-3 * scored(1.0, 5).predicted), scored(2.0))
    assert same.kind == "no better"
    assert same.words.startswith("students: no better than the teacher (best student ")
    assert judge(3, scored(1.0, n=20), scored(3.0, n=20)).kind == "cannot"


def test_the_student_is_chosen_by_validation_not_by_test():
    """The highest mean validation score is chosen, whatever the test spots say."""
    rounds = [Round(0, "teacher", (0.9,)), Round(1, "student-1", (0.5, 0.3), {"a": 0.1}), Round(2, "student-2", (0.3, 0.3), {"a": 0.9})]
    assert chosen(rounds).number == 1
    assert chosen(rounds, teacher_too=True).number == 0
    assert chosen(rounds[:1]) is None


def test_controls_change_the_labels_and_nothing_else():
    """Permuted labels are the same numbers, shuffled gene by gene; random ones are even over 0..1; clusters stay one of their kinds."""
    outputs, rng = np.random.default_rng(0).normal(size=(500, 3)), np.random.default_rng
    plain, permuted, random = (_label(outputs, False, control, rng(1)) for control in ("none", "permuted", "random"))
    assert (plain.min(axis=0) == 0).all()
    assert (plain.max(axis=0) == 1).all()
    np.testing.assert_array_equal(np.sort(plain, axis=0), np.sort(permuted, axis=0))
    assert abs(np.corrcoef(plain[:, 0], permuted[:, 0])[0, 1]) < 0.15
    assert abs(np.corrcoef(permuted[:, 0], permuted[:, 1])[0, 1]) < 0.15
    assert abs(random.mean() - 0.5) < 0.05
    own = _label(outputs, True, "none", rng(1))
    np.testing.assert_array_equal(own.argmax(axis=1), outputs.argmax(axis=1))
    for control in ("permuted", "random"):
        labels = _label(outputs, True, control, rng(1))
        assert (labels.sum(axis=1) == 1).all()
        assert (labels.argmax(axis=1) == outputs.argmax(axis=1)).mean() < 0.5
    np.testing.assert_array_equal(_label(outputs, True, "permuted", rng(1)).sum(axis=0), own.sum(axis=0))


def pictures_of(**picture):
    return students_settings({"unlabelled": [picture]}).unlabelled


def test_tiles_are_drawn_on_tissue_of_every_picture(job, small, tmp_path):
    """Slides give tiles where they are not white, in proportion to their tissue; photographs have no glass, however small they are."""
    folder, _, _ = job
    model = load_model(folder / "teacher")
    model.settings = model.settings.model_copy(update={"filter": FilterSettings()})
    rng, place = np.random.default_rng(0), tmp_path / "slides"
    place.mkdir()
    for name, share in (("half", 0.5), ("quarter", 0.25)):
        image = np.full((1200, 1600, 3), 245, dtype=np.uint8)
        image[:, : int(1600 * share)] = rng.integers(60, 200, (1200, int(1600 * share), 3))
        cv2.imwrite(str(place / f"{name}.png"), image)
    slides = result_of(read_sources(pictures_of(path=str(place), mpp=1.0), small, model.tile_um, False))
    drawn = result_of(draw_tiles(result_of(look_over(slides, model)), model, 300, (0,), tmp_path / "tiles.npy"))
    half, quarter = (drawn.places[drawn.places[:, 0] == number] for number in (0, 1))
    assert half[:, 2].max() < 870
    assert quarter[:, 2].max() < 470
    assert 1.4 < len(half) / len(quarter) < 2.8
    assert np.isfinite(drawn.inputs).all()
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "small.png"), rng.integers(0, 255, (60, 90, 3)).astype(np.uint8))
    small_ones = result_of(read_sources(pictures_of(path=str(photos)), small, model.tile_um, True))
    places = result_of(draw_tiles(result_of(look_over(small_ones, model, False)), model, 20, (0,), tmp_path / "photos.npy")).places
    assert ((places[:, 1:] >= 0) & (places[:, 1:] < (60, 90))).all()


@pytest.mark.acceptance  # half a minute on two cores
@pytest.mark.parametrize("control", ["foreign", "photographs"])
def test_controls_draw_from_elsewhere(job, small, phantom_dir, tmp_path, control):
    """Foreign tissue and photographs are drawn from control_slides, the teacher labels them, and the words say that it is a control."""
    folder, _, outcome = job
    place = tmp_path / "elsewhere"
    place.mkdir()
    cv2.imwrite(str(place / "noise.png"), np.random.default_rng(0).integers(0, 255, (300, 400, 3)).astype(np.uint8))
    elsewhere = {"path": str(place)} | ({"mpp": 1.0} if control == "foreign" else {})
    asked = asked_for(phantom_dir, control=control, control_slides=[elsewhere], rounds=1)
    _, found = run(small, settings_for(phantom_dir), asked, tmp_path / "job", teacher=folder / "teacher")
    assert found.rounds[0].r == outcome.rounds[0].r
    assert found.rounds[1].r != outcome.rounds[1].r
    assert "Control: " in " ".join(in_words(found))


@pytest.mark.acceptance  # a minute on two cores
def test_a_killed_process_leaves_a_job_that_goes_on(small, phantom_dir, tmp_path):
    """kill -9 while a network student trains: --resume ends with the scores of a job that was not killed."""
    values = {"run": settings_for(phantom_dir, model=NETWORK).model_dump(mode="json"), "unlabelled": [str(phantom_dir)], "rounds": 1, "tiles": 30}
    path = tmp_path / "students.yaml"
    path.write_text(yaml.safe_dump(values))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(["students", str(path), "--out", str(whole)]) == 0
    command = [sys.executable, "-m", "napari_deepspace", "students", str(path), "--out", str(killed)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(killed.glob("student-1/checkpoint/*.safetensors")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_outcome(killed).done == 0
    assert main(["students", str(path), "--out", str(killed)]) == 2, "a job that is there is not begun anew"
    assert main(["students", str(path), "--out", str(killed), "--resume"]) == 0
    assert [one.r for one in read_outcome(killed).rounds] == [one.r for one in read_outcome(whole).rounds]


@pytest.mark.parametrize("reached", [pytest.param("tiles", marks=pytest.mark.acceptance), "student"])
def test_a_job_that_was_cut_goes_on_to_the_same_end(job, small, phantom_dir, tmp_path, reached):
    """Cut while tiles are cut, or within a student, a job ends with the very scores of one that was not; a finished teacher is taken as it is."""
    folder, _, outcome = job
    more = {"teacher": folder / "teacher"}
    settings, asked, mine = settings_for(phantom_dir), asked_for(phantom_dir, rounds=1), tmp_path / "job"
    cut = students([small], settings, asked, mine, **more)
    if reached == "tiles":
        next(event for event in cut if getattr(event, "stage", "") == "cutting unlabelled tiles")
    else:
        next(event for event in cut if (mine / "student-1" / "checkpoint").exists())
    cut.close()
    before = (folder / "teacher" / "metrics.json").stat().st_mtime_ns
    _, again = run(small, settings, asked, mine, **more)
    assert (folder / "teacher" / "metrics.json").stat().st_mtime_ns == before
    assert [one.r for one in again.rounds] == [one.r for one in outcome.rounds[:2]]
    assert again.rounds[1].validation == outcome.rounds[1].validation
    assert load_model(mine).settings.name.startswith("small"), "the job's folder leads to the run that is kept, wherever that lies"


def test_a_finished_job_repeats_nothing_and_may_be_made_longer(job, small, phantom_dir):
    """Going on with a finished job trains nothing, other settings are refused; rounds may be raised."""
    folder, _, outcome = job
    settings = settings_for(phantom_dir)
    events, again = run(small, settings, asked_for(phantom_dir), folder)
    assert again == outcome
    assert not any(isinstance(event, StudentEnded) for event in events)
    with pytest.raises(DataError, match="other settings \\(tiles\\)"):
        run(small, settings, asked_for(phantom_dir, tiles=5), folder)
    with pytest.raises(DataError, match="run\\.seed"):
        run(small, settings.model_copy(update={"seed": 1}), asked_for(phantom_dir), folder)


def test_networks_learn_from_tiles_on_disk_and_score_on_another_section(phantom, small, phantom_dir, tmp_path):
    """A network's pool holds its tiles as bytes on disk; with split "whole" the section under score is what the verdict is about."""
    settings = settings_for(phantom_dir, model=NETWORK, split={"kind": "whole"})
    asked = asked_for(phantom_dir, rounds=1, tiles=30)
    other = dataclasses.replace(phantom, adata=phantom.adata[phantom.centres_yx[:, 0] > np.quantile(phantom.centres_yx[:, 0], 0.9)].copy())
    other.library_id = "other"
    events, outcome = run(small, settings, asked, tmp_path / "job", scored=[other])
    tiles = np.load(tmp_path / "job" / "pool" / "round-1.npy", mmap_mode="r")
    assert tiles.shape == (30, 32, 32, 3)
    assert tiles.dtype == np.uint8
    assert outcome.n > 50
    assert len(outcome.rounds[1].r) == 2
    assert any("its counts are not used, its picture is" in event.message for event in events if isinstance(event, Noted))
    assert [path.name for path in (tmp_path / "job" / "scored" / "student-1").glob("*.h5ad")] == ["1-other.h5ad"]


@pytest.mark.acceptance  # minutes: logistic regression at every penalty
def test_clusters_have_students_too(small, phantom_dir, tmp_path):
    """Labels of clusters are the teacher's likeliest ones; the score is AUC."""
    settings = settings_for(phantom_dir, target={"kind": "clusters"}, clusters={"source": "computed", "resolution": 0.3})
    _, outcome = run(small, settings, asked_for(phantom_dir, rounds=1), tmp_path / "job")
    assert outcome.score == "AUC"
    assert (labels_of(tmp_path / "job", 1)["values"].sum(axis=-1) == 1).all()
    assert "Mean AUC" in " ".join(in_words(outcome))


def test_the_command_line_writes_an_example_and_runs_it(phantom_dir, tmp_path, capsys):
    """--init writes a file that loads; --set changes the job or its run; --plot draws jobs side by side."""
    path = tmp_path / "students.yaml"
    assert main(["students", str(path), "--init"]) == 0
    values = yaml.safe_load(path.read_text())
    values |= {"run": {"sections": [{"path": str(phantom_dir)}], "model": {"kind": "quick"}}, "unlabelled": [str(phantom_dir)]}
    path.write_text(yaml.safe_dump(values))
    run_, asked, teacher = load_students(path, ["rounds=2", "model.um_per_px=3", "seed=4"])
    assert (asked.rounds, asked.seed, run_.model.um_per_px, run_.seed, teacher) == (2, 4, 3, 0, None)
    assert asked.unlabelled[0].path == Path(phantom_dir)
    assert main(["students", str(path), "--init"]) == 2
    assert main(["students", str(tmp_path), "--plot", str(tmp_path / "figure.png")]) == 2
    assert "holds no students" in capsys.readouterr().err


def test_figure_four_of_several_jobs_has_a_panel_each(job, tmp_path, capsys):
    """Jobs are drawn side by side, as .png, .svg or .pdf."""
    folder, _, _ = job
    for ending in ("png", "svg", "pdf"):
        assert main(["students", str(folder), str(folder), "--plot", str(tmp_path / f"figure.{ending}")]) == 0
        assert (tmp_path / f"figure.{ending}").stat().st_size > 5000
    assert main(["students", str(folder), "--plot", str(tmp_path / "figure.gif")]) == 2
    assert ".png, .svg or .pdf" in capsys.readouterr().err


def test_a_figure_is_written_beside_and_renamed(job, tmp_path):
    """Whoever has the old file open never sees half of the new one."""
    _, _, outcome = job
    figure, old = tmp_path / "figure.svg", tmp_path / "old.svg"
    old.write_text("old")
    os.link(old, figure)
    plot([outcome], [figure])
    assert old.read_text() == "old"
    assert "<svg" in figure.read_text()[:1000]
    assert sorted(tmp_path.iterdir()) == [figure, old]


def test_what_is_wrong_is_said_in_a_sentence(small, phantom_dir, tmp_path):
    """No picture, no scale, no tissue, a folder of neither, two ways to name the teacher: each is refused with what is needed."""
    with pytest.raises(SettingsError, match="give unlabelled at least one"):
        students_settings({})
    with pytest.raises(SettingsError, match="give control_slides at least one"):
        asked_for(phantom_dir, control="foreign")
    path = tmp_path / "students.yaml"
    for values, words in (
        ({"unlabelled": ["a"]}, "names no run"),
        ({"unlabelled": ["a"], "teacher": "nowhere"}, "holds no finished run"),
        ({"unlabelled": ["a"], "teacher": "nowhere", "run": "RUN.yaml"}, "Take out `run:`"),
        ({"unlabelled": ["a"], "round": 3}, "students --init STUDENTS.yaml"),
    ):
        path.write_text(yaml.safe_dump(values))
        with pytest.raises(SettingsError, match=words):
            load_students(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "missing", "does not exist"),
        (lambda folder: folder, "neither a section nor an image"),
        (lambda folder: cv2.imwrite(str(folder / "a.png"), np.zeros((200, 200, 3), np.uint8)) and folder, "does not state how many um"),
    ],
)
def test_pictures_that_cannot_be_used_are_refused(job, small, phantom_dir, tmp_path, make, words):
    """A path that is not there, a folder without images, and an image without a scale are named; the teacher stays."""
    folder, _, _ = job
    place = tmp_path / "place"
    place.mkdir()
    asked = asked_for(make(place), rounds=1)
    with pytest.raises(DataError, match=words):
        run(small, settings_for(phantom_dir), asked, tmp_path / "job", teacher=folder / "teacher")
    assert read_outcome(tmp_path / "job").rounds[0].r
