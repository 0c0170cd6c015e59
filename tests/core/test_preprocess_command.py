"""`napari-deepspace preprocess` judges, proposes, clusters and normalises, and leaves readable files."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pytest

from napari_deepspace.cli import main
from napari_deepspace.events import Failed, Preprocessed, result_of
from napari_deepspace.outlines import FAILED, UNCLEAR, read_outlines
from napari_deepspace.preprocess.normalise import normalised
from napari_deepspace.preprocess_command import CORRECTED, KEEP, NORMALISED, REASON, UNS, read_spots
from napari_deepspace.runs import read_events
from napari_deepspace.settings import NORMALISATIONS


@pytest.fixture(scope="module")
def folder(phantom_dir, tmp_path_factory):
    """The synthetic section as the command leaves it, with the paper's normalisation."""
    out = tmp_path_factory.mktemp("preprocessed") / "out"
    assert main(["preprocess", str(phantom_dir), "--out", str(out), "--set", "normalisation=sctransform"]) == 0
    return out


def only(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


def test_every_removed_spot_keeps_its_reason(folder, phantom):
    """The table of spots and the .h5ad hold what was judged of every spot, and why it was removed; the counts stay as they were."""
    spots = read_spots(only(folder, "*.spots.csv"))
    adata = ad.read_h5ad(only(folder, "*.h5ad"))
    assert list(spots.index) == list(adata.obs_names) == list(phantom.adata.obs_names)
    assert (adata.X != phantom.adata.X).nnz == 0
    np.testing.assert_array_equal(spots[KEEP], spots[REASON] == "")
    np.testing.assert_array_equal(adata.obs[REASON].astype(str), spots[REASON])
    np.testing.assert_array_equal(adata.obs["total_counts"], np.asarray(phantom.adata.X.sum(axis=1)).ravel())
    reasons = set(spots[REASON].str.split("; ").explode())
    assert {"", "UMI < 1000", "genes < 1000", "white tile"} <= reasons
    assert spots["graphclust"].nunique() == 5


def test_normalised_counts_are_those_that_a_training_learns(folder, phantom):
    """The layer holds the values that a training on the kept spots would take, and the corrected counts beside them."""
    adata = ad.read_h5ad(only(folder, "*.h5ad"))
    keep = adata.obs[KEEP].to_numpy(dtype=bool)
    genes = list(adata.var_names[:30])
    expected = result_of(normalised(phantom.adata, genes, "sctransform", keep))
    np.testing.assert_allclose(adata[:, genes].layers[NORMALISED].toarray()[keep], expected[keep], atol=1e-6)
    np.testing.assert_allclose(np.log10(1 + adata.layers[CORRECTED].toarray()), adata.layers[NORMALISED].toarray(), atol=1e-6)
    assert adata.var["highly_variable"].sum() == min(3000, adata.var["sct_theta"].notna().sum())
    assert adata.var["deepspace_detected_enough"].mean() > 0.9
    assert adata.uns[UNS]["unit"] == NORMALISATIONS["sctransform"]
    assert adata.uns[UNS]["synthetic"]


def test_proposed_regions_are_outlines_with_a_verdict(folder, phantom):
    """QuPath's GeoJSON; the technical region has the class that a training imputes, the others one that does nothing."""
    outlines = read_outlines(only(folder, "*.regions.geojson"))
    assert sorted(outline.classification for outline in outlines) == sorted([FAILED, UNCLEAR])
    for outline in outlines:
        assert outline.notes["verdict"].endswith("probably technical" if outline.failed else "cannot tell")


def test_regions_go_back_in_as_outlines(folder, phantom_dir, tmp_path):
    """Given to a further call, the accepted region's spots are 'failed region', and it is not proposed again."""
    regions = only(folder, "*.regions.geojson")
    arguments = ["preprocess", str(phantom_dir), "--no-table", "--set", f"sections.0.outlines={regions}", "--set", "clusters.source=none"]
    assert main([*arguments, "--out", str(tmp_path / "again")]) == 0
    spots = read_spots(only(tmp_path / "again", "*.spots.csv"))
    assert spots[REASON].str.contains("failed region").sum() > 40
    assert [outline.failed for outline in read_outlines(only(tmp_path / "again", "*.regions.geojson"))] == [False]
    assert not list((tmp_path / "again").glob("*.h5ad"))
    assert not list((tmp_path / "again").glob("*.differential_genes.csv"))


def test_differential_genes_of_each_cluster(folder):
    """A table per cluster, sorted by score."""
    import pandas as pd

    table = pd.read_csv(only(folder, "*.differential_genes.csv"))
    assert table["cluster"].nunique() >= 3
    assert (table["p_adjusted"] >= table["p"] - 1e-12).all()


def test_what_is_printed_and_what_events_say(phantom_dir, tmp_path, capsys):
    """In words how many spots stay, what each step removes and the verdicts; with --events, JSON lines that end with the files."""
    assert main(["preprocess", str(phantom_dir), "--no-table", "--out", str(tmp_path / "a"), "--set", "clusters.source=none"]) == 0
    text = capsys.readouterr().out
    for words in ("of 877 spots stay", "UMI < 1000", "white tile", "probably technical", "cannot tell"):
        assert words in text
    fast = ["--set", "clusters.source=none", "--set", "failed_regions=false", "--set", "filter.white_percentile=100"]
    assert main(["preprocess", str(phantom_dir), "--no-table", "--events", "--out", str(tmp_path / "b"), *fast]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["event"] == "Preprocessed"
    (end,) = [event for event in read_events(tmp_path / "b") if isinstance(event, Preprocessed)]
    assert all((tmp_path / "b" / name).exists() for files in end.files.values() for name in files.values())


def test_several_sections_of_a_run_yaml(phantom_dir, tmp_path):
    """RUN.yaml may name several sections; each gets its files."""
    path = tmp_path / "run.yaml"
    sections = "".join(f"  - {{path: '{phantom_dir}', library_id: '{name}'}}\n" for name in ("one", "two"))
    path.write_text(f"sections:\n{sections}failed_regions: false\nclusters: {{source: none}}\nnormalisation: stnet\ntarget: {{names: [ESR1]}}\n")
    assert main(["preprocess", str(path), "--out", str(tmp_path / "out")]) == 0
    for name in ("1-one", "2-two"):
        adata = ad.read_h5ad(tmp_path / "out" / f"{name}.h5ad")
        counts, total = adata[:, "ESR1"].X.toarray().ravel(), adata.obs["total_counts"].to_numpy()
        np.testing.assert_allclose(adata[:, "ESR1"].layers[NORMALISED].ravel(), np.log((1 + counts) / (adata.n_vars + total)), rtol=1e-5)


def test_a_section_without_counts(data_dir, tmp_path, capsys):
    """One sentence, exit code 2, and nothing half-done."""
    if not data_dir.is_dir():
        pytest.skip("the real sections are not beside the project")
    out = tmp_path / "out"
    assert main(["preprocess", str(data_dir / "visium_v1_ratlung_nocounts"), "--out", str(out)]) == 2
    assert "no count matrix" in capsys.readouterr().err
    assert [type(event) for event in read_events(out)][-1] is Failed
    assert not list(out.glob("*.csv"))
