"""Sections and holes imputed on the synthetic block and section, against their known truth, through the command line. `make acceptance`."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from skimage.measure import points_in_poly

from napari_deepspace import results
from napari_deepspace.analyse.metrics import pearson
from napari_deepspace.learn.neighbouring import aligned_points
from napari_deepspace.phantom import MIDDLE, SECTIONS, make_phantom, make_phantom_series
from napari_deepspace.read import read_section
from napari_deepspace.settings import PAPER_GENES

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]
VISIBLE = ("colour", "nuclear size", "texture")


def run(*arguments):
    done = subprocess.run([sys.executable, "-m", "napari_deepspace", *map(str, arguments)], check=True, capture_output=True, text=True)
    return done.stdout


def train(sections, folder):
    names = ", ".join(f"{{path: '{section}'}}" for section in sections)
    (folder / "run.yaml").write_text(f"sections: [{names}]\ntarget: {{names: {list(PAPER_GENES)}}}\n")
    run("train", folder / "run.yaml", "--out", folder / "run")
    return folder / "run"


def truth_of(section, result):
    """Noise-free logarithm of each output at the spots of ``result`` (n, n_outputs), the outputs' kinds, and outlines by name."""
    truth = json.loads((section / "truth" / "truth.json").read_text())
    names = results.outputs_of(result)
    with (section / "truth" / "expected.csv").open() as file:
        rows = {row["barcode"]: [float(row[name]) for name in names] for row in csv.DictReader(file)}
    return (
        np.log([rows[barcode] for barcode in result.obs_names]),
        np.array([truth["genes"][name]["kind"] for name in names]),
        truth["outlines_yx_px"],
    )


def within(result, outline):
    return points_in_poly(np.asarray(result.obsm["spatial"])[:, ::-1], np.array(outline))


def by_kind(r, kinds):
    return {kind: float(np.nan_to_num(r[kinds == kind]).mean()) for kind in (*VISIBLE, "hidden")}


@pytest.mark.parametrize("seed", range(3))
def test_the_failed_region_is_imputed_as_well_as_its_dummy_holes_say(seed, tmp_path):
    """r >= 0.8 with the truth for what the slide shows; on drawn counts the dummy holes say r of the failed region within 0.1."""
    section, whole = make_phantom(seed=seed), make_phantom(seed=seed, failed_region=False)
    folder = train([section], tmp_path)
    result = results.read_result(next((folder / "predictions").glob("*.h5ad")))
    expected, kinds, outlines = truth_of(section, result)
    predicted, failed = results.values_of(result, results.PREDICTED), within(result, outlines["failed"])
    number = int(np.bincount(result.obs[results.HOLE][failed]).argmax())
    (hole,) = (one for one in results.holes_of(result) if one["hole"] == number)
    rows = (result.obs[results.HOLE] == number).to_numpy() & failed
    drawn = read_section(whole, slide=False).adata[result.obs_names]
    counts = drawn[:, results.outputs_of(result)].X.toarray() / np.asarray(drawn.X.sum(axis=1))
    measured = np.log1p(counts * float(result.uns[results.UNS]["target_sum"]))
    visible = kinds != "hidden"
    r = by_kind(pearson(expected[rows], predicted[rows]), kinds)
    on_counts = float(pearson(measured[rows], predicted[rows])[visible].mean())
    genes = [hole["genes"][name] for name, shown in zip(results.outputs_of(result), visible, strict=True) if shown]
    said, alone = (float(np.mean([one[way] for one in genes])) for way in ("r", "interpolation"))
    words = ", ".join(f"{kind} {value:.2f}" for kind, value in r.items())
    print(f"\nseed {seed}, {rows.sum()} spots: truth {words}; on counts {on_counts:.2f}, dummy holes {said:.2f}, neighbours alone {alone:.2f}")
    assert min(r[kind] for kind in VISIBLE) >= 0.8
    assert abs(said - on_counts) <= 0.1


@pytest.mark.parametrize("seed", range(3))
def test_the_middle_section_is_imputed_from_its_neighbours(seed, tmp_path):
    """B from A and C, with its counts and without: r >= 0.8 with the truth for what the slide shows, hidden genes at chance."""
    block = make_phantom_series(seed=seed)
    for name in SECTIONS:
        one = read_section(block / name)
        matrix = np.array(json.loads((block / name / "truth" / "truth.json").read_text())["px_xy_to_frame_um"])
        centres = one.centres_yx[::7] + 3.0
        np.testing.assert_allclose(aligned_points(one, centres), centres[:, ::-1] @ matrix[:, :2].T + matrix[:, 2], atol=one.mpp)
        assert (one.patient, one.block) == (f"synthetic-{seed}", "1")
    folder = train([block / name for name in SECTIONS if name != MIDDLE], tmp_path)
    bare = tmp_path / "bare"
    shutil.copytree(block / MIDDLE, bare)
    (bare / "outs" / "filtered_feature_bc_matrix.h5").unlink()
    for section in (block / MIDDLE, bare):
        said = run("impute", folder, section, "--out", tmp_path / "out.h5ad")
        result = results.read_result(tmp_path / "out.h5ad")
        expected, kinds, outlines = truth_of(block / MIDDLE, result)
        predicted, copy = (results.values_of(result, slot) for slot in (results.PREDICTED, results.BASELINES["neighbouring section"]))
        solid = ~within(result, outlines["fat"]) & ~within(result, outlines["necrosis"]) & np.isfinite(predicted).all(axis=1)
        for where, rows in (("tissue", solid), ("failed region", solid & within(result, outlines["failed"]))):
            r, copied = (by_kind(pearson(expected[rows], values[rows]), kinds) for values in (predicted, copy))
            words = ", ".join(f"{kind} {r[kind]:.2f} (copy {copied[kind]:.2f})" for kind in r)
            print(f"\nseed {seed}, {section.name}, {where}, {rows.sum()} spots: {words}")
            assert min(r[kind] for kind in VISIBLE) >= 0.8
        assert abs(r["hidden"]) < 3 / np.sqrt(rows.sum())
        print(said)
