"""Denser maps (predicted): what the store says is what prediction says, a killed job goes on, and nothing half-done is taken for a map."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr

from napari_deepspace import denser, fit, predict, results
from napari_deepspace.cli import main
from napari_deepspace.errors import DataError, ModelError, SettingsError
from napari_deepspace.events import Noted, Predicted, Progress, from_json, result_of
from napari_deepspace.learn import denser_write
from napari_deepspace.learn.denser_write import write_denser
from napari_deepspace.learn.model import load_model
from napari_deepspace.learn.packing import choose_packing
from napari_deepspace.settings import RunSettings, SectionSettings

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
    assert main(["predict", run, str(phantom_dir), "--at", "grid", "--spacing-um", "100", "--out", str(out), "--events"]) == 0
    events = [from_json(line) for line in capsys.readouterr().out.splitlines()]
    assert isinstance(events[-1], Predicted)
    assert events[-1].points == denser.open_denser(out).on_tissue.sum() > 100
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
