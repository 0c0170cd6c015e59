"""A section is filled: measured where it was measured, imputed where not, the neighbouring section beside it."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from napari_deepspace import impute_command, results
from napari_deepspace.align.landmarks import fit
from napari_deepspace.align.transform import AlignedSlide, Alignment, write_alignment
from napari_deepspace.cli import main
from napari_deepspace.geojson import SlideStamp, stamp_of
from napari_deepspace.learn.model import load_model
from napari_deepspace.read import read_section
from napari_deepspace.section import kinship
from napari_deepspace.views import make_view

pytestmark = [pytest.mark.usefixtures("own_cache"), pytest.mark.real_data]


@pytest.fixture(scope="module")
def run_dir(data_dir, tmp_path_factory, own_cache):
    """Quick on the legacy ST section C4, ten genes."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.yaml").write_text(f"sections: [{{path: '{data_dir}/her2st/C4'}}]\ntarget: {{top: 10}}\nfilter: {{min_umi: 500, min_genes: 500}}\n")
    assert main(["train", str(folder / "run.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def c3(data_dir, tmp_path_factory):
    """C3 CONVERTED to a Space Ranger folder, with its registered spots as spatial_aligned.csv."""
    folder = tmp_path_factory.mktemp("section") / "C3"
    shutil.copytree(data_dir / "her2st_as_visium" / "C3" / "outs", folder / "outs")
    legacy = read_section(data_dir / "her2st" / "C3", slide=False).adata
    aligned = pd.DataFrame(legacy.obsm["spatial_aligned"], columns=["x", "y"]).assign(barcode=legacy.obs_names + "-1").dropna()
    aligned.to_csv(folder / "spatial_aligned.csv", index=False)
    return folder


def imputed(run_dir, folder, data_dir, tmp_path, capsys, *more):
    arguments = ["impute", str(run_dir), str(folder), "--out", str(tmp_path / "out.h5ad"), "--platform", "st"]
    assert main([*arguments, "--image", str(data_dir / "her2st" / "C3" / "image.jpg"), *more]) == 0
    return results.read_result(tmp_path / "out.h5ad"), capsys.readouterr().out


def test_a_section_with_counts_keeps_what_was_measured(run_dir, c3, data_dir, tmp_path, capsys):
    """Spots that passed the filter have their measurement, others a prediction or nothing; the copy of the neighbour is beside it."""
    result, said = imputed(run_dir, c3, data_dir, tmp_path, capsys)
    filled, measured, predicted = (results.values_of(result, slot) for slot in (results.FILLED, results.MEASURED, results.PREDICTED))
    stay = (result.obs[results.REASON].astype(str) == "").to_numpy()
    rings = result.obs[results.IMPUTED].to_numpy()
    np.testing.assert_array_equal(filled[stay], measured[stay])
    np.testing.assert_array_equal(filled[rings], predicted[rings])
    assert np.isnan(filled[~stay & ~rings]).all()
    assert not (stay & rings).any()
    assert results.BASELINES["neighbouring section"] in result.obsm
    assert f"{stay.sum()} spots measured, {rings.sum()} imputed" in said
    assert "tested in training: C4" in said
    for hole in results.holes_of(result):
        assert hole["filled"] == bool(rings[result.obs[results.HOLE] == hole["hole"]].any())
        assert hole["words"] in said


def test_an_alignment_places_the_section_as_its_table_of_aligned_spots_does(run_dir, c3, data_dir, tmp_path, capsys):
    """``--alignment`` of the section's slide on the frame that the run's section lies in: the same copy, and the command says that it is there."""
    by_table, said = imputed(run_dir, c3, data_dir, tmp_path, capsys)
    section = read_section(data_dir / "her2st" / "C3")
    frame, known = section.adata.obsm["spatial_aligned"], np.isfinite(section.adata.obsm["spatial_aligned"]).all(axis=1)
    transform = fit(frame[known][:, ::-1], section.centres_yx[known] * section.mpp, "thin_plate")
    alignment = Alignment(
        transform, AlignedSlide(SlideStamp("frame", 1, 1, hash="0"), 1.0), AlignedSlide(stamp_of(section.slide), section.mpp), "given"
    )
    write_alignment(tmp_path / "alignment.json", alignment)
    result, also_said = imputed(run_dir, c3, data_dir, tmp_path, capsys, "--alignment", str(tmp_path / "alignment.json"))
    copies = [one.obsm[results.BASELINES["neighbouring section"]] for one in (by_table, result)]
    both = np.isfinite(copies[0]).all(axis=1) & np.isfinite(copies[1]).all(axis=1)
    assert both.sum() > 150
    np.testing.assert_allclose(copies[1][both], copies[0][both], atol=0.02)
    assert "The neighbouring section, copied, stands beside it at" in said and "copied, stands beside it at" in also_said
    del result.obsm[results.BASELINES["neighbouring section"]]
    assert "Train with sections[].aligned of the same file" in impute_command.copy_words(result, tmp_path / "alignment.json")


def test_a_section_without_counts_is_imputed_whole(run_dir, c3, data_dir, tmp_path, capsys):
    """No count matrix: everything with a tile is imputed, painted as rings, and the caption says that nothing was measured."""
    folder = tmp_path / "C3"
    shutil.copytree(c3, folder)
    (folder / "outs" / "filtered_feature_bc_matrix.h5").unlink()
    result, said = imputed(run_dir, folder, data_dir, tmp_path, capsys)
    predicted, rings = results.values_of(result, results.PREDICTED), result.obs[results.IMPUTED].to_numpy()
    assert rings.sum() > 100
    np.testing.assert_array_equal(rings, np.isfinite(predicted).all(axis=1))
    np.testing.assert_array_equal(results.values_of(result, results.FILLED), predicted)
    assert results.values_of(result, results.MEASURED) is None
    assert np.isfinite(result.obsm[results.BASELINES["neighbouring section"]]).any()
    assert "0 spots measured" in said
    nothing = np.full(len(rings), np.nan, dtype=np.float32)
    view = make_view("gene", "predicted", nothing, predicted[:, 0], np.zeros(len(rings), dtype=bool))
    assert (view.face[:, 3] == 0).all() and (view.border[rings][:, 3] == 1).all()
    assert "rings, nothing was measured here" in view.caption


def test_a_section_is_known_by_its_slide_or_counts_and_not_by_its_name(run_dir, data_dir, phantom):
    """A namesake of the training section is still told how it is related to it; the training section under another name is not."""
    model = load_model(run_dir)
    (trained,) = (seen.library_id for seen in model.seen)
    namesake = dataclasses.replace(phantom, library_id=trained)
    assert impute_command.tested_words(model, namesake).endswith(f"This section is {kinship(namesake.origin, [seen.origin for seen in model.seen])}")
    own = dataclasses.replace(read_section(data_dir / "her2st" / trained), library_id="other name")
    assert "This section is" not in impute_command.tested_words(model, own)


def test_the_result_has_its_name(run_dir, c3, capsys):
    """A name without .h5ad is refused before anything is computed."""
    assert main(["impute", str(run_dir), str(c3), "--out", "out.csv"]) == 2
    assert ".h5ad" in capsys.readouterr().err
