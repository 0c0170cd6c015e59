"""Predictions go along when a section is converted, and keep their slots and their labels."""

from __future__ import annotations

import dataclasses

import anndata
import numpy as np
import pandas as pd
import pytest
from section_folders import write_outs

from napari_deepspace import results
from napari_deepspace.convert import convert
from napari_deepspace.errors import DataError, ModelError
from napari_deepspace.read import read_section
from napari_deepspace.target import Target

pytestmark = pytest.mark.usefixtures("own_cache")
TARGET = Target("genes", ("SPARC", "CD3"), "2 genes", "log", 5000.0)


@pytest.fixture
def source(tmp_path):
    return read_section(write_outs(tmp_path / "outs"))


@pytest.fixture
def result(source):
    """Out-of-fold predictions, the first four spots imputed."""
    n = source.adata.n_obs
    kind = pd.Categorical(np.where(np.arange(n) < 4, "imputed", "out-of-fold"), results.SOURCES)
    spots = pd.DataFrame({results.SPLIT: pd.Categorical(["test"] * n, results.SPLITS), results.SOURCE: kind, results.FOLD: 0, results.REASON: ""})
    spots.index = source.adata.obs_names
    values = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    return results.result_at_spots(source, TARGET, {results.PREDICTED: values}, spots, {"model": "quick", "synthetic": True})


def points_of(result):
    """The same with six points between the spots, without X."""
    xy = result.obsm["spatial"][:6] + 10
    values = np.zeros((6, 2), dtype=np.float32)
    return results.with_points(
        result,
        results.points_anndata(TARGET, list(TARGET.names), values, results.table_of_points(np.zeros(6, bool)), xy[:, ::-1], result.uns["deepspace"]),
    )


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
def test_predictions_go_along(tmp_path, source, result, between, ending):
    """What is written has the picture that squidpy paints beneath, the predictions in their own layer, and which of them are imputed."""
    if ending == "zarr":
        spatialdata = pytest.importorskip("spatialdata")
    made = points_of(result) if between else result
    results.write_result(made, tmp_path / "result.h5ad")
    out = convert(source, tmp_path / f"out.{ending}", tmp_path / "result.h5ad")
    if ending == "h5ad":
        adata = anndata.read_h5ad(out)
        about = adata.uns["spatial"][source.library_id]
        assert about["images"]["hires"].shape == (600, 700, 3)
        assert about["scalefactors"]["tissue_hires_scalef"] == 1
    else:
        data = spatialdata.read_zarr(out)
        adata = data["table"]
        assert list(data.images) == [f"{source.library_id}_hires_image"]
        assert len(data.shapes[source.library_id]) == made.n_obs
    np.testing.assert_array_equal(adata.layers[results.PREDICTED], made.layers[results.PREDICTED])
    assert (
        adata.obs[results.SOURCE].astype(str).value_counts().to_dict()
        == made.obs[results.SOURCE].astype(str).value_counts().loc[lambda n: n > 0].to_dict()
    )
    assert "predicted from" in adata.uns["deepspace"]["contents"]
    assert bool(adata.uns["deepspace"]["synthetic"])
    if between:
        with pytest.raises(DataError, match="holds no raw counts"):  # predictions are never taken for counts
            read_section(out)
    else:
        assert (read_section(out).adata.X != source.adata.X).nnz == 0


def test_the_result_of_another_section_is_refused(tmp_path, source, result):
    """Other barcodes, other places, and a file without predictions are refused, and nothing is written."""
    results.write_result(result, tmp_path / "result.h5ad")
    other = dataclasses.replace(source, adata=source.adata[5:].copy())
    with pytest.raises(DataError, match="spots are not those of"):
        convert(other, tmp_path / "out.h5ad", tmp_path / "result.h5ad")
    moved = dataclasses.replace(source, adata=source.adata.copy())
    moved.adata.obsm["spatial"] = moved.adata.obsm["spatial"] * 0.5
    with pytest.raises(DataError, match="its spots lie up to"):
        convert(moved, tmp_path / "out.h5ad", tmp_path / "result.h5ad")
    with pytest.raises(ModelError, match="holds no predictions"):
        convert(source, tmp_path / "out.h5ad", convert(source, tmp_path / "plain.h5ad"))
    assert not (tmp_path / "out.h5ad").exists()
