"""One spot looked at: its facts, the tour of disagreements, causes, and measured tiles that look alike."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from napari_deepspace.causes import CAUSE, causes_of, filed, read_causes, set_causes, write_causes
from napari_deepspace.cli import main
from napari_deepspace.disagreements import APART_PITCHES, find_stops
from napari_deepspace.errors import DataError
from napari_deepspace.layers import Maps
from napari_deepspace.look_alikes import (
    Axes,
    LookAlike,
    Looks,
    find_look_alikes,
    keep_arrays,
    kept_look_alikes,
    looks_path,
    read_looks,
    usual_distance,
)
from napari_deepspace.model_view import seen, view_of_run
from napari_deepspace.spot_command import with_measured
from napari_deepspace.spot_facts import Known, facts_of, gene_shares, neighbours_of, top_measured, top_predicted
from napari_deepspace.tiles import cut_tiles, tile_radius_px


def known(section, **changes) -> Known:
    n = section.adata.n_obs
    values = np.arange(n, dtype=np.float32)
    counts = np.asarray(section.adata.X.sum(axis=1)).ravel()
    return dataclasses.replace(
        Known(section, "SPARC", "log", values, values + 1, counts, np.full(n, "", dtype=object), np.ones(n, dtype=bool)), **changes
    )


def maps_of(section, source="out-of-fold", genes=("SPARC", "ESR1")) -> Maps:
    n = section.adata.n_obs
    predicted = np.random.default_rng(0).normal(size=(n, len(genes))).astype(np.float32)
    return Maps(section.library_id, genes, predicted, np.full(n, source, dtype=object), np.full(n, "test", dtype=object))


def test_neighbours_are_the_spots_beside_it(small):
    """Six on Visium's lattice, all one pitch away; a brute-force search by distance finds the same ones."""
    centres, found = small.centres_yx, [neighbours_of(small, index) for index in range(small.adata.n_obs)]
    for index in range(0, small.adata.n_obs, 17):
        away = np.hypot(*(centres - centres[index]).T)
        assert set(found[index]) == set(np.flatnonzero((away > 0) & (away < 1.3 * small.pitch_px)))
    assert max(map(len, found)) == 6
    square = dataclasses.replace(small, platform=dataclasses.replace(small.platform, lattice="square"))
    assert len(neighbours_of(square, 60)) == 0  # rows and columns of Visium are never one step apart


def test_facts_of_a_spot(small):
    """Values, the mean around it, and where they come from in words; a gap stays a gap."""
    index = next(i for i in range(small.adata.n_obs) if len(neighbours_of(small, i)) == 6)
    beside = neighbours_of(small, index)
    measured = np.arange(small.adata.n_obs, dtype=np.float32)
    measured[beside[0]] = np.nan
    labels = pd.Series(pd.Categorical(["tumour"] * small.adata.n_obs), index=small.adata.obs_names)
    facts = facts_of(known(small, measured=measured, clusters=labels, maps=maps_of(small)), index)
    assert (facts.measured, facts.predicted, facts.cluster) == (index, index + 1, "tumour")
    assert facts.neighbours_measured == pytest.approx(beside[1:].mean())
    assert [one.barcode for one in facts.neighbours] == list(small.adata.obs_names[beside])
    assert facts.yx_um == pytest.approx(small.centres_yx[index] * small.mpp)
    assert facts.source.startswith("out-of-fold") and facts.synthetic and not facts.cause


@pytest.mark.parametrize(
    ("source", "words"), [("training", "training spot: not scored"), ("imputed", "imputed"), ("removed", "no prediction"), ("not yet", "training")]
)
def test_where_a_value_comes_from_is_said(small, source, words):
    """Each source in plain words."""
    assert words in facts_of(known(small, maps=maps_of(small, source)), 3).source


def test_no_prediction_is_said(small):
    """Without a run, and for a gene that the run does not predict."""
    assert "no run" in facts_of(known(small), 3).source
    assert "does not predict XIST" in facts_of(known(small, gene="XIST", maps=maps_of(small)), 3).source


def test_top_genes_are_those_above_what_the_depth_gives(small):
    """A gene planted at one spot comes first; one that is merely common, or of two counts only, does not."""
    adata = small.adata.copy()
    row = adata.X[5].toarray().ravel()
    shares = gene_shares(small, np.ones(small.adata.n_obs, dtype=bool))
    assert shares.sum() == pytest.approx(1)
    rare, commonest = int(np.flatnonzero(shares > 0)[shares[shares > 0].argmin()]), int(shares.argmax())
    row[rare], row[commonest] = 40, round(row.sum() * shares[commonest])
    matrix = adata.X.tolil()
    matrix[5] = row
    adata.X = matrix.tocsr().astype(np.float32)
    found = top_measured(dataclasses.replace(small, adata=adata), 5, shares)
    assert found[0].gene == adata.var_names[rare] and found[0].value == 40 and found[0].beside < 5
    assert adata.var_names[commonest] not in {one.gene for one in found}
    assert all(one.value >= 3 for one in found)


def test_top_predicted_are_high_for_the_section(small):
    """In SD above the section's mean, not by level: a gene that is high everywhere is not high here."""
    maps = maps_of(small)
    maps.predicted[:, 0] += 100
    maps.predicted[7] = (101, 9)
    first = top_predicted(maps, 7)[0]
    assert first.gene == "ESR1" and first.beside > 5
    maps.predicted[8] = np.nan
    assert top_predicted(maps, 8) == []


def test_stops_are_the_largest_differences_each_another_place(phantom):
    """Largest first, out of fold only, none within three pitches of one before it."""
    n = phantom.adata.n_obs
    measured = np.zeros(n)
    predicted = np.random.default_rng(1).normal(size=n)
    source = np.where(np.arange(n) % 5, "out-of-fold", "training")
    predicted[0], predicted[1] = 50, np.nan
    stops = find_stops(phantom, measured, predicted, source)
    sizes = [abs(stop.difference) for stop in stops]
    assert sizes == sorted(sizes, reverse=True) and len(stops) == 20 and stops[2].words.startswith("stop 3 of 20: measured 0.0, predicted ")
    assert all(source[stop.index] == "out-of-fold" for stop in stops)
    centres = phantom.centres_yx[[stop.index for stop in stops]]
    away = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1)) / phantom.pitch_px
    assert away[~np.eye(len(stops), dtype=bool)].min() > APART_PITCHES
    allowed = np.flatnonzero((source == "out-of-fold") & np.isfinite(predicted))
    assert stops[0].index == allowed[np.abs(predicted[allowed]).argmax()]


def test_a_cause_is_filed_and_taken_back(small, tmp_path):
    """The same cause again takes it back, another one replaces it; a file keeps them, and without any it goes."""
    adata, first, second = small.adata.copy(), small.adata.obs_names[3], small.adata.obs_names[9]
    causes = filed(filed(causes_of(adata), first, "fold"), second, "real")
    causes = filed(causes, second, "necrosis")
    set_causes(adata, causes)
    assert adata.obs[CAUSE].dropna().to_dict() == {first: "fold", second: "necrosis"}
    write_causes(tmp_path / "c.csv", causes_of(adata))
    assert read_causes(tmp_path / "c.csv").to_dict() == {first: "fold", second: "necrosis"}
    nothing = filed(filed(causes, first, "fold"), second, "necrosis")
    set_causes(adata, nothing)
    write_causes(tmp_path / "c.csv", nothing)
    assert CAUSE not in adata.obs and not (tmp_path / "c.csv").exists()
    with pytest.raises(ValueError, match="no cause"):
        filed(causes, first, "boredom")


@pytest.mark.parametrize("text", ["spot,cause\na,fold\n", "barcode,cause\na,boredom\n"])
def test_a_bad_file_of_causes_is_refused(tmp_path, text):
    """With what was found and what is needed."""
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(DataError, match="cause"):
        read_causes(tmp_path / "c.csv")


def looks(n=30, **changes) -> Looks:
    """Spots on a line 100 um apart, in a space of two axes in which spot i lies at (i, 0)."""
    at = np.arange(n)
    values = {
        "library_id": "A",
        "slide": "slide-a",
        "image": "a.tif",
        "mpp": 1.0,
        "barcodes": np.array([f"s{i}" for i in at]),
        "array_rc": np.column_stack([at, at]),
        "centres_yx": np.column_stack([at * 100.0, np.zeros(n)]),
        "fingerprints": np.arange(1, n + 1, dtype=np.uint64),
        "learned": np.ones(n, dtype=bool),
        "fold": np.full(n, -1),
        "unlike": np.zeros(n, dtype=bool),
        "coordinates": np.column_stack([at, 0 * at]).astype(np.float16),
        "stain": np.zeros((0, 3)),
    }
    return Looks(**values | changes)


AXES = Axes(np.zeros(2, np.float32), np.eye(2, dtype=np.float32), threshold=4.0, view_um=150.0, sections=np.array(["A"]))


def test_look_alikes_are_near_learned_and_share_no_pixels():
    """Nearest first; not itself, not the tiles that overlap it, not spots that were held out, and none beyond the threshold."""
    learned = np.ones(30, dtype=bool)
    learned[13] = False
    found = find_look_alikes(looks(), 10, AXES, [looks(learned=learned)])
    assert [one.barcode for one in found] == ["s8", "s12", "s7", "s6", "s14"]  # 9 and 11 share pixels, 13 was held out
    assert found[0].yx_um == (800.0, 0.0) and found[0].distance == pytest.approx(0.5)


def test_a_copy_of_the_spot_is_no_look_alike():
    """Under another name and on another slide it is known by its counts."""
    copy = looks(library_id="B", slide="slide-b")
    found = find_look_alikes(looks(), 10, AXES, [copy])
    assert [one.barcode for one in found] == ["s9", "s11", "s8", "s12", "s7"]


def test_nothing_similar_was_measured():
    """Where the nearest lies beyond the threshold, where the model calls the tile unlike, and where there is no tile."""
    far = looks(coordinates=np.full((30, 2), 90, dtype=np.float16))
    assert find_look_alikes(far, 10, AXES, [looks()]) == []
    assert find_look_alikes(looks(unlike=np.ones(30, dtype=bool)), 10, AXES, [looks()]) == []
    assert find_look_alikes(looks(coordinates=np.full((30, 2), np.nan, dtype=np.float16)), 10, AXES, [looks()]) == []


def test_the_usual_distance_is_that_of_training_tiles_apart_from_one_another():
    """Every spot of the line has its nearest allowed one two steps away."""
    assert usual_distance([looks()], 150.0) == pytest.approx(2.0)


def test_what_is_kept_comes_back(tmp_path):
    """Arrays and words, without pickle."""
    keep_arrays(looks_path(tmp_path, "A", 0), looks())
    back = read_looks(tmp_path, "A", 0)
    assert back is not None and back.library_id == "A" and back.mpp == 1.0
    np.testing.assert_array_equal(back.coordinates, looks().coordinates)
    assert kept_look_alikes(tmp_path, "A", "s3", "SPARC") is None  # the axes are not there yet


@pytest.fixture(scope="module")
def looked_at(sealed_run, phantom):
    """A run of Quick on the synthetic section, and the spot of its first stop."""
    folder, _, hidden = sealed_run
    return folder, str(phantom.adata.obs_names[np.flatnonzero(~hidden)[40]])


def test_the_command_tells_a_spot_with_its_look_alikes(looked_at, phantom, capsys, tmp_path):
    """The same numbers as the run's own result; look-alikes are training spots of other places; the second time nothing is computed."""
    folder, barcode = looked_at
    arguments = ["spot", str(folder), str(phantom.path), barcode, "--gene", "SPARC", "--json"]
    assert main([*arguments, "--tiles", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["barcode"] == barcode and told["gene"] == "SPARC" and told["synthetic"]
    made = {path: path.stat().st_mtime_ns for path in (folder / "look_alikes").rglob("*.npz")}
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert {path: path.stat().st_mtime_ns for path in (folder / "look_alikes").rglob("*.npz")} == made and made
    view = view_of_run(folder)
    for alike in told["look_alikes"]:
        away = np.abs(np.array(alike["yx_um"]) - told["yx_um"]).max()
        assert away > view.tile_um and alike["measured"] is not None and alike["distance"] <= 1
    assert len(list(tmp_path.glob("look-alike-*.png"))) == len(told["look_alikes"]) and (tmp_path / "tile.png").is_file()


def test_the_tile_is_what_the_model_gets(looked_at, phantom):
    """Cut at the run's width in um and resized to its pixels, as training cuts it."""
    folder, barcode = looked_at
    view, centre = view_of_run(folder), phantom.centres_yx[phantom.adata.obs_names.get_loc(barcode)]
    tile = seen(view, phantom.slide, phantom.mpp, centre)[0]
    np.testing.assert_array_equal(tile, cut_tiles(phantom.slide, centre[None], tile_radius_px(view.tile_um, phantom.mpp), view.tile_px)[0])


def test_the_command_lists_disagreements_with_causes(looked_at, phantom, capsys, tmp_path):
    """In order, and with what was filed."""
    folder, _ = looked_at
    arguments = ["disagreements", str(folder), str(phantom.path), "--gene", "SPARC"]
    assert main([*arguments, "--json"]) == 0
    stops = json.loads(capsys.readouterr().out)["stops"]
    sizes = [abs(stop["difference"]) for stop in stops]
    assert sizes == sorted(sizes, reverse=True) and len(stops) > 5
    write_causes(tmp_path / "causes.csv", pd.Series({stops[1]["barcode"]: "necrosis"}))
    assert main([*arguments, "--causes", str(tmp_path / "causes.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "SYNTHETIC" in lines[0] and lines[2].endswith("necrosis") and "stop 2 of" in lines[2]


def test_an_unknown_spot_or_gene_is_told(looked_at, phantom, capsys):
    """Exit code 2 and one sentence."""
    folder, barcode = looked_at
    assert main(["spot", str(folder), str(phantom.path), "NOBODY-1", "--no-look-alikes"]) == 2
    assert "has no spot NOBODY-1" in capsys.readouterr().err
    assert main(["spot", str(folder), str(phantom.path), barcode, "--gene", "NOGENE", "--no-look-alikes"]) == 2
    assert "NOGENE is neither" in capsys.readouterr().err


def test_causes_go_with_the_section_into_results(phantom_dir, small, tmp_path):
    """Read by the settings of a run, and still there in a result that was written and read again."""
    from napari_deepspace import results
    from napari_deepspace.read import read_settings
    from napari_deepspace.settings import SectionSettings
    from napari_deepspace.target import Target

    barcode = str(small.adata.obs_names[4])
    write_causes(tmp_path / "causes.csv", pd.Series({barcode: "necrosis"}))
    section = read_settings(SectionSettings(path=phantom_dir, causes=tmp_path / "causes.csv"))
    assert causes_of(section.adata).to_dict() == {barcode: "necrosis"}
    part = dataclasses.replace(small, adata=small.adata.copy())
    set_causes(part.adata, causes_of(section.adata))
    n = part.adata.n_obs
    spots = pd.DataFrame({results.SPLIT: "test", results.SOURCE: "out-of-fold", results.FOLD: 0, results.REASON: ""}, index=part.adata.obs_names)
    columns = {results.PREDICTED: np.zeros((n, 1), dtype=np.float32)}
    result = results.result_at_spots(part, Target("genes", ("SPARC",), "1 gene", "log", 5000.0), columns, spots, {})
    results.write_result(result, tmp_path / "result.h5ad")
    assert results.read_result(tmp_path / "result.h5ad").obs[CAUSE].dropna().to_dict() == {barcode: "necrosis"}


def test_a_gene_that_the_run_does_not_predict_is_measured_at_look_alikes(small):
    """On the open section alone; what the run measured stays as it is."""
    first, second = (str(name) for name in small.adata.obs_names[[3, 8]])
    place = {"array_row": 0, "array_col": 0, "yx_um": (0.0, 0.0), "yx_px": (0.0, 0.0), "mpp": 1.0, "image": "", "distance": 0.5}
    found = [
        LookAlike(small.library_id, first, **place),
        LookAlike("other", first, **place),
        LookAlike(small.library_id, second, **place, measured=9.0),
    ]
    told = with_measured(found, known(small))
    assert told[0].measured == 3.0 and np.isnan(told[1].measured) and told[2].measured == 9.0
