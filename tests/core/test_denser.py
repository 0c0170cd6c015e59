"""Denser maps (predicted): what the store says is what prediction says, a killed job goes on, and nothing half-done is taken for a map."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr
from shapely import box
from tests.conftest import part_of

from napari_deepspace import denser, fit, predict, results
from napari_deepspace.analyse.super_resolution_figure import Drawn, draw, footer
from napari_deepspace.cli import main
from napari_deepspace.cluster_colours import class_lut, usual_colours
from napari_deepspace.denser_layers import denser_colours, denser_values
from napari_deepspace.errors import DataError, ModelError, SettingsError
from napari_deepspace.events import Noted, Predicted, Progress, from_json, result_of
from napari_deepspace.figure_settings import FigureSettings
from napari_deepspace.figure_sources import denser_map
from napari_deepspace.figures import write
from napari_deepspace.learn import denser_write
from napari_deepspace.learn.denser_write import write_denser
from napari_deepspace.learn.packing import choose_packing
from napari_deepspace.outlines import EXCLUDE, Outline
from napari_deepspace.points import points_between
from napari_deepspace.section import PLATFORMS
from napari_deepspace.settings import RunSettings, SectionSettings
from napari_deepspace.views import likeliest

HALF = 2e-3
"""What float16 loses of a value of a few units."""
NETWORK = {"kind": "network", "backbone": "mobilenet_v3_small", "weights": "scratch", "tile_px": 32, "epochs": 1}


def trained(section, folder, **changes):
    changes = {"target": {"names": ["ESR1", "COL5A2", "IFI27"]}, "split": {"folds": 2, "block_um": 300}} | changes
    return fit(section, RunSettings(sections=(SectionSettings(path=section.path),), **changes), folder, progress=False)


@pytest.fixture(scope="module")
def quick(small, tmp_path_factory):
    """A finished Quick run and its model."""
    folder = tmp_path_factory.mktemp("quick")
    return folder, trained(small, folder)


@pytest.fixture(scope="module")
def grid(quick, small, tmp_path_factory):
    """A map of that model at a grid of 60 um."""
    folder = tmp_path_factory.mktemp("maps") / "grid.zarr"
    return denser.open_denser(result_of(write_denser(quick[1], small, folder, "grid", 60.0, run="a run")))


def assert_as_predicted(model, section, dmap):
    """Values of the store are those of :func:`predict` at its points, NaN in the same places."""
    told = predict(model, section, dmap.centres_yx, progress=False)
    expected = results.values_of(told, results.PREDICTED)
    for column, name in enumerate(dmap.outputs):
        np.testing.assert_allclose(denser.values(dmap, name), expected[:, column], atol=HALF * max(1, np.nanmax(np.abs(expected))))
    return told


def test_a_grid_says_what_prediction_says(quick, grid, small):
    """Every gene's map, computed from the store, is what predict gives at the same points."""
    assert (grid.at, grid.run, grid.model, grid.kind, grid.synthetic) == ("grid", "a run", "quick", "genes", True)
    assert 0.3 < grid.on_tissue.mean() <= 1
    assert_as_predicted(quick[1], small, grid)
    assert (np.isfinite(denser.values(grid, "ESR1")) == grid.on_tissue).all()


@pytest.mark.parametrize("most", [0, 100, 10_000])
def test_every_packing_says_the_same(quick, grid, small, tmp_path, monkeypatch, most):
    """Outputs, the embedding or its principal components: whatever is kept a point, the map is the same, and the error of it is told."""
    kind = {0: "components", 100: "components", 10_000: "embedding"}[most]
    monkeypatch.setattr(denser_write, "choose_packing", lambda *a: choose_packing_at(*a, most=most))
    dmap = denser.open_denser(result_of(write_denser(quick[1], small, tmp_path / "m.zarr", "grid", 60.0)))
    assert dmap.packing == kind
    assert grid.packing == "outputs"
    error = denser.values(dmap, "ESR1") - denser.values(grid, "ESR1")
    assert np.nanstd(error) < (0.1 if kind == "components" else 1e-2) * np.nanstd(denser.values(grid, "ESR1"))
    assert 0 <= dmap.relative_error < 0.1


def choose_packing_at(heads, spots, shared, most):
    from napari_deepspace.learn import packing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "FEW_OUTPUTS", 0)
        return choose_packing(heads, spots, shared, most or 64)


def test_the_command_line_predicts_at_spots_between_them_and_at_a_grid(quick, small, phantom_dir, tmp_path, capsys):
    """predict --at writes a result or a store, says that nothing was measured, and tells its events as lines of JSON."""
    run = str(quick[0])
    both = tmp_path / "both.h5ad"
    assert main(["predict", run, str(phantom_dir), "--at", "between-spots", "--out", str(both)]) == 0
    assert "not measured" in capsys.readouterr().out
    adata = results.read_result(both)
    sources = adata.obs[results.SOURCE].value_counts()
    assert sources["between"] > 500
    assert sources["out-of-fold"] + sources["imputed"] > 100
    assert adata.X is None
    assert list(adata.var_names) == ["ESR1", "COL5A2", "IFI27"]
    between = (adata.obs[results.SOURCE] == "between").to_numpy()
    assert np.isnan(results.values_of(adata, results.MEASURED)[between]).all()
    assert np.isfinite(results.values_of(adata, results.PREDICTED)[between]).all()
    out = tmp_path / "grid.zarr"
    assert main(["predict", run, str(phantom_dir), "--at", "grid", "--spacing-um", "200", "--out", str(out), "--events"]) == 0
    events = [from_json(line) for line in capsys.readouterr().out.splitlines()]
    assert isinstance(events[-1], Predicted)
    assert events[-1].points == denser.open_denser(out).on_tissue.sum() > 50
    assert any(isinstance(event, Progress) for event in events)
    assert [from_json(line) for line in (out / "events.jsonl").read_text().splitlines()][-1] == events[-1]


def test_what_a_result_does_not_fit_into_is_refused(quick, phantom_dir, tmp_path, capsys):
    """A grid as .h5ad, an unknown place or rule, a spacing that is too fine, and a folder of something else: one sentence, and nothing is touched."""
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "notes.txt").write_text("mine")
    for options, found in (
        (["--at", "grid", "--out", "a.h5ad"], "to_anndata"),
        (["--at", "spots", "--out", "a.zarr"], ".h5ad"),
        (["--at", "nowhere", "--out", "a.h5ad"], "between-spots"),
        (["--at", "between-spots", "--rule", "all", "--out", "a.h5ad"], "original"),
        (["--at", "grid", "--spacing-um", "7.9", "--out", "a.zarr"], "8"),
        (["--at", "grid", "--out", "mine.zarr"], "something else"),
    ):
        options[-1] = str(tmp_path / options[-1])
        assert main(["predict", str(quick[0]), str(phantom_dir), *options]) == 2
        assert found in capsys.readouterr().err
    assert [item.name for item in (tmp_path / "mine.zarr").iterdir()] == ["notes.txt"]
    assert not (tmp_path / "a.zarr").exists()


def test_points_between_spots_are_a_store_too(quick, small, tmp_path):
    """The points equally far from three spots, without a grid; as an AnnData they follow the contract."""
    dmap = denser.open_denser(result_of(write_denser(quick[1], small, tmp_path / "between.zarr", "between-spots")))
    assert dmap.cell is None is dmap.shape
    with pytest.raises(ValueError, match="no grid"):
        denser.to_image(dmap, denser.values(dmap, "ESR1"))
    adata = denser.to_anndata(dmap, ["IFI27"])
    results.require_result(adata, "it")
    assert adata.X is None
    assert list(adata.var_names) == results.outputs_of(adata) == ["IFI27"]
    assert adata.uns[results.UNS]["synthetic"]
    np.testing.assert_array_equal(results.values_of(adata, results.PREDICTED)[:, 0], denser.values(dmap, "IFI27"))
    assert set(adata.obs[results.SOURCE]) <= {"between", "removed"}
    np.testing.assert_array_equal(adata.obsm["spatial"], dmap.centres_yx[:, ::-1])
    adata.write_h5ad(tmp_path / "between.h5ad")
    assert results.target_of(results.read_result(tmp_path / "between.h5ad")).kind == "genes"


def test_a_square_lattice_and_the_original_rule_make_stores_of_their_points(quick, small, tmp_path):
    """On a square lattice the middles of its cells; by the original rule the points of the whole lattice, spots on tissue or not."""
    near = np.abs(small.lattice_rc_yx[:, 2:] - np.median(small.centres_yx, axis=0)).max(axis=1) < 600
    corner = replace(small, adata=small.adata[::3].copy(), lattice=small.lattice_rc_yx[near])
    every = denser.open_denser(result_of(write_denser(quick[1], corner, tmp_path / "original.zarr", "between-spots", rule="original")))
    np.testing.assert_array_equal(every.centres_yx, points_between(corner, np.zeros(corner.adata.n_obs, dtype=bool), "original").centres_yx)
    assert every.on_tissue.any()
    assert_as_predicted(quick[1], corner, every)
    side = 9
    index = np.indices((side, side)).reshape(2, -1).T
    corner = small.centres_yx[small.adata.n_obs // 2] - 4 * 200.0
    adata = small.adata[: side**2].copy()
    adata.obs["array_row"], adata.obs["array_col"] = index.T
    adata.obsm["spatial"] = (corner + index * 200.0)[:, ::-1]
    square = replace(small, adata=adata, platform=PLATFORMS["st"], lattice=None)
    cells = denser.open_denser(result_of(write_denser(quick[1], square, tmp_path / "square.zarr", "between-spots")))
    assert 0 < len(cells.centres_yx) <= (side - 1) ** 2
    middles = (cells.centres_yx - corner) / 200.0 % 1
    np.testing.assert_allclose(middles, 0.5)
    assert_as_predicted(quick[1], square, cells)


def test_an_image_of_the_grid_has_every_point_in_its_place(grid):
    """Rows and columns of the image are those of the grid, with NaN outside the tissue."""
    image = denser.to_image(grid, denser.values(grid, "ESR1"))
    assert image.shape == grid.shape
    rows, columns = np.nonzero(np.isfinite(image))
    assert len(rows) == grid.on_tissue.sum()
    where = np.array(grid.origin_yx_px) + np.column_stack([rows, columns]) * grid.step_px
    assert {tuple(place) for place in where.round(3)} == {tuple(place) for place in grid.centres_yx[grid.on_tissue].round(3)}
    assert grid.step_px * grid.mpp == pytest.approx(60)


def test_members_disagree_and_it_is_called_so(quick, grid):
    """The disagreement between models is the SD of the members' values; there is none where nothing is predicted."""
    members = denser.member_values(grid, "ESR1")
    assert members.shape == (len(quick[1].members), len(grid.centres_yx))
    np.testing.assert_allclose(denser.disagreement(grid, "ESR1"), members.std(axis=0, ddof=1), rtol=1e-5)
    with pytest.raises(KeyError):
        denser.values(grid, "NOPE")


@pytest.mark.acceptance
def test_a_networks_map_is_what_prediction_says(small, tmp_path):
    """Each member has its own embedding, the mean over the eight symmetries where they are asked for."""
    few = part_of(small, small.centres_yx[:, 0] < np.quantile(small.centres_yx[:, 0], 0.4))
    model = trained(few, tmp_path / "net", model={**NETWORK, "symmetries": True}, split={"kind": "random", "folds": 2})
    dmap = denser.open_denser(result_of(write_denser(model, few, tmp_path / "n.zarr", "grid", 200.0, tile_by_tile=True)))
    assert not dmap.whole_image
    assert_as_predicted(model, few, dmap)


@pytest.mark.acceptance
def test_a_slide_that_cannot_be_looked_at_as_a_whole_goes_tile_by_tile(small, tmp_path, monkeypatch):
    """Where the whole slide does not agree with tile by tile, the map is that of tile by tile, and the store says how far they were apart."""
    few = part_of(small, small.centres_yx[:, 0] < np.quantile(small.centres_yx[:, 0], 0.6))
    model = trained(few, tmp_path / "net", model=NETWORK, split={"kind": "random", "folds": 2})
    monkeypatch.setattr(denser_write, "LEAST_R", 1.01)
    events = list(write_denser(model, few, tmp_path / "n.zarr", "grid", 200.0))
    assert any("goes tile by tile" in event.message for event in events if isinstance(event, Noted))
    dmap = denser.open_denser(tmp_path / "n.zarr")
    assert not dmap.whole_image
    assert -1 <= zarr.open_group(tmp_path / "n.zarr", mode="r").attrs["agreement"]["r"] <= 1
    assert_as_predicted(model, few, dmap)


@pytest.mark.acceptance
def test_a_map_of_clusters_is_what_prediction_says(small, tmp_path):
    """Every cluster's probability, and the likeliest cluster."""
    model = trained(small, tmp_path / "clusters", target={"kind": "clusters"}, clusters={"source": "computed"})
    dmap = denser.open_denser(result_of(write_denser(model, small, tmp_path / "c.zarr", "grid", 120.0)))
    told = assert_as_predicted(model, small, dmap)
    expected = results.values_of(told, results.PREDICTED)
    np.testing.assert_allclose(denser.probabilities(dmap), expected, atol=5e-3)
    sure = np.sort(expected, axis=1)[:, -1] - np.sort(expected, axis=1)[:, -2] > 0.02
    found = likeliest(denser.probabilities(dmap))
    assert (found[sure] == expected[sure].argmax(axis=1)).all()
    assert np.isnan(found[~dmap.on_tissue]).all()
    np.testing.assert_array_equal(denser_values(dmap, "", "class"), found)
    shown, limits = denser_colours(dmap, found, "class", None)
    assert (limits[0] < np.nanmin(shown)) and (np.nanmax(shown) < limits[1])
    names = {tuple(colour) for colour in class_lut(usual_colours(dmap.outputs))}
    assert len(names) == len(dmap.outputs), "a colour a cluster"


@pytest.mark.acceptance
def test_copies_of_the_neighbouring_section_are_blended_as_prediction_does(phantom, tmp_path):
    """Where sections are aligned, the map is the image blended with the copy, computed when it is asked for."""
    rows = phantom.centres_yx[:, 0]
    parts = []
    for number, inside in enumerate([rows < np.quantile(rows, 0.3), rows > np.quantile(rows, 0.7)]):
        adata = phantom.adata[inside].copy()
        adata.obsm["spatial_aligned"] = adata.obsm["spatial"] - adata.obsm["spatial"].mean(axis=0)
        parts.append(replace(phantom, adata=adata, library_id=f"part{number}", patient="p"))
    model = trained(parts[0], tmp_path / "run")
    for member in model.members:
        member.blend = np.array([[0.1], [0.6], [0.3]]) * np.ones((1, len(model.target.names)))
    model.members[1].blend = None
    other = replace(parts[1], slide=Moved(parts[1].slide))
    model.seen[0] = replace(
        model.seen[0],
        aligned=parts[0].adata.obsm["spatial_aligned"].astype(np.float32),
        values=np.random.default_rng(0).uniform(0, 3, (parts[0].adata.n_obs, len(model.target.names))).astype(np.float32),
    )
    dmap = denser.open_denser(result_of(write_denser(model, other, tmp_path / "b.zarr", "grid", 150.0)))
    told = assert_as_predicted(model, other, dmap)
    assert results.BASELINES["neighbouring section"] in told.obsm


class Moved:
    """The same slide under another fingerprint, as if it were that of another section."""

    def __init__(self, slide):
        self._slide = slide

    def __getattr__(self, name):
        return getattr(self._slide, name)

    def fingerprint(self):
        return "another slide"


def test_a_killed_job_goes_on(quick, small, grid, tmp_path, monkeypatch):
    """Chunks that are on disk are not computed again; half-done it is no map; finished it says what one done at once says."""
    monkeypatch.setattr(denser_write, "CHUNK", 100)
    monkeypatch.setattr(denser, "CHUNK", 100)
    looked = []
    real = denser_write.embed
    monkeypatch.setattr(
        denser_write, "embed", lambda model, section, centres, *rest: looked.append(len(centres)) or real(model, section, centres, *rest)
    )
    folder = tmp_path / "killed.zarr"
    job = write_denser(quick[1], small, folder, "grid", 60.0, run="a run")
    while len(looked) < 4:
        next(job)
    job.close()
    with pytest.raises(ModelError, match="not finished"):
        denser.open_denser(folder)
    done = int(zarr.open_group(folder, mode="r")["done"][:].sum())
    assert done == 2
    before, looked[:] = looked.copy(), []
    result_of(write_denser(quick[1], small, folder, "grid", 60.0, run="a run"))
    assert looked[0] == before[3], "it begins with the chunk that was not finished"
    for name in grid.outputs:
        np.testing.assert_allclose(denser.values(denser.open_denser(folder), name), denser.values(grid, name), atol=HALF)
    looked[:] = []
    assert any(isinstance(event, Noted) for event in write_denser(quick[1], small, folder, "grid", 60.0))
    assert not looked
    with pytest.raises(DataError, match="another denser map"):
        result_of(write_denser(quick[1], small, folder, "grid", 90.0))


def test_damaged_stores_are_refused(grid, tmp_path):
    """No folder, a missing array, nonsense in the header and a newer format each end in one sentence."""
    with pytest.raises(ModelError, match="no denser map"):
        denser.open_denser(tmp_path)

    def damaged(change):
        folder = tmp_path / "copy.zarr"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(grid.folder, folder)
        change(folder)
        with pytest.raises(ModelError) as caught:
            denser.values(denser.open_denser(folder), "ESR1")
        return str(caught.value)

    def header(**values):
        def change(folder):
            text = json.loads((folder / "zarr.json").read_text())
            text["attributes"] |= values
            (folder / "zarr.json").write_text(json.dumps(text))

        return change

    assert "damaged" in damaged(lambda folder: shutil.rmtree(folder / "on_tissue"))
    assert "damaged" in damaged(lambda folder: (folder / "low" / "zarr.json").unlink())
    assert "damaged" in damaged(lambda folder: (folder / "zarr.json").write_text("{"))
    assert "damaged" in damaged(header(target=7))
    assert "damaged" in damaged(header(shape=[1, 1]))
    assert "newer version" in damaged(header(format=99))


def test_the_figure_shows_spots_points_and_both_and_refuses_what_is_not_there(quick, small, tmp_path):
    """Three rows of four pictures, their words say what is measured, predicted and SYNTHETIC; the run's points between spots are made where they
    are not there; another section's map, an unknown gene and a file that is no figure are refused."""
    run_dir = quick[0]
    out = tmp_path / "figure.png"
    result_of(write(small, FigureSettings(gene="ESR1", dpi=100), out, run_dir))
    assert out.stat().st_size > 50_000
    assert not list(tmp_path.glob(".*part*"))
    (folder,) = (run_dir / "denser").glob("*.zarr")
    dmap = denser.open_denser(folder)
    measured = np.arange(small.adata.n_obs, dtype=np.float32)
    drawn = Drawn(small, "ESR1", dmap.unit, measured, "spots: measured", dmap, denser.values(dmap, "ESR1"), footer=footer(dmap.about, "r", "", True))
    made = draw(drawn)
    assert len(made.axes) == 3 * 4 + 1
    words = " ".join(axes.get_title() for axes in made.axes) + made._supxlabel.get_text()
    for part in ("spots: measured", "points between", "predicted", "both", "SYNTHETIC", "not measured", "Research use only"):
        assert part in words
    with pytest.raises(SettingsError, match="does not predict NOBODY"):
        result_of(write(small, FigureSettings(gene="NOBODY"), out, run_dir))
    with pytest.raises(SettingsError, match="not of another"):
        result_of(write(replace(small, library_id="another"), FigureSettings(gene="ESR1", denser=folder), out, run_dir))
    x, y = small.adata.obsm["spatial"].mean(axis=0)
    drawn_over = replace(small, outlines=[Outline(box(x - 500, y - 500, x + 500, y + 500), EXCLUDE)])
    own = result_of(denser_map(run_dir, drawn_over))
    assert own.folder != folder
    assert own.on_tissue.sum() < dmap.on_tissue.sum()
    with pytest.raises(SettingsError, match="a figure is"):
        result_of(write(small, FigureSettings(gene="ESR1"), tmp_path / "figure.txt", run_dir))
