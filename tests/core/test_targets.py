"""What is predicted: genes, signatures, numbers and clusters, and the scaling of a training part."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from anndata import AnnData
from scipy import sparse

from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.events import result_of
from napari_deepspace.learn.linear import fit_logistic
from napari_deepspace.learn.targets import fit_target
from napari_deepspace.preprocess.normalise import normalised, spot_totals
from napari_deepspace.scaling import change_depth
from napari_deepspace.settings import NORMALISATIONS, GeneSettings, run_settings
from napari_deepspace.target import Target, choose_genes, choose_target, measured, read_gmt, seldom_detected, signature_scores

ALL = np.ones(60, dtype=bool)


@pytest.fixture
def counts():
    means = [5, 0.05, 20, 1, *np.linspace(0.5, 4, 16)]
    drawn = np.random.default_rng(0).poisson(means, (60, 20)).astype(np.float32)
    a = AnnData(sparse.csr_matrix(drawn), obs=pd.DataFrame(index=[f"spot{i}" for i in range(60)]))
    a.var_names = ["ESR1", "RARE", "FN1", "KRT8", *(f"GENE{number}" for number in range(16))]
    return a


def genes(*names, normalisation="log", depth=25.0):
    return Target("genes", names, "named", normalisation, depth)


def chosen(adata, target, clusters=None, **settings):
    """The target that settings ask for on one section."""
    return choose_target([adata], [ALL], run_settings({"sections": [{"path": "x"}], "target": target, **settings}), [clusters], ["x"])


def back(fitted, scaled):
    return fitted.shown(scaled, fitted.target_sum)


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_target_scales_its_own_training_part(counts, kind):
    """The training part spans 0..1, values come back, other spots may lie outside; only logarithms of 1 + count are kept above 0."""
    values = result_of(normalised(counts, ("ESR1", "FN1"), kind, np.arange(60) < 40))
    fitted = fit_target(genes("ESR1", "FN1", normalisation=kind), values[:40], 25.0)
    scaled = fitted.scale(values)
    assert scaled[:40].min(axis=0) == pytest.approx(0)
    assert scaled[:40].max(axis=0) == pytest.approx(1)
    np.testing.assert_allclose(back(fitted, scaled), values, atol=1e-5)
    far_below = back(fitted, np.full((1, 2), -100, dtype=np.float32))
    assert (far_below == 0).all() if kind in ("log", "sctransform") else (far_below < 0).all()


def test_a_gene_that_is_constant_in_the_training_part():
    """It stays constant: nothing is divided by zero."""
    fitted = fit_target(genes("A"), np.ones((5, 1), dtype=np.float32), 10.0)
    assert fitted.scale(np.array([[1.0]])) == 0
    assert back(fitted, np.array([[0.0]])) == pytest.approx(1)


def test_change_of_depth_is_exact(counts):
    """The same spot counted per another depth; on other scales than the logarithm nothing changes."""
    at = {depth: result_of(normalised(counts, ("ESR1",), "log", ALL, target_sum=depth)) for depth in (20.0, 5000.0)}
    np.testing.assert_allclose(change_depth(at[20.0], 20.0, 5000.0), at[5000.0], rtol=1e-4)
    fitted = fit_target(genes("ESR1"), at[20.0], 20.0)
    np.testing.assert_allclose(fitted.shown(fitted.scale(at[20.0]), 5000.0), at[5000.0], rtol=1e-3)
    other = fit_target(genes("ESR1", normalisation="stnet"), at[20.0], 20.0)
    np.testing.assert_allclose(other.shown(other.scale(at[20.0]), 5000.0), at[20.0], rtol=1e-4)


def test_seldom_detected_genes_are_named(counts):
    """A gene below the least share is told with its share in the section where it is rarest; it is not dropped."""
    found = seldom_detected([counts], [ALL], ("ESR1", "RARE"), 0.1)
    assert list(found) == ["RARE"]
    assert found["RARE"] == pytest.approx((counts[:, "RARE"].X.toarray() > 0).mean())


def test_choice_of_genes(counts, tmp_path):
    """Without names the genes of highest mean that are detected often enough, or all of them; a wrong name is answered with a near one."""
    assert choose_genes([counts], [ALL], GeneSettings(top=2))[0] == ("FN1", "ESR1")
    assert "RARE" not in choose_genes([counts], [ALL], GeneSettings(top=4, min_detected=0.3))[0]
    all_that_pass, words = choose_genes([counts], [ALL], GeneSettings(top=None))
    assert set(all_that_pass) == set(counts.var_names) - {"RARE"}
    assert "all 19 genes" in words
    assert choose_genes([counts], [ALL], GeneSettings(names=("RARE",)))[0] == ("RARE",)
    (tmp_path / "genes.txt").write_text("# mine\nESR1\n\nKRT8\n")
    assert choose_genes([counts], [ALL], GeneSettings(file=tmp_path / "genes.txt"))[0] == ("ESR1", "KRT8")
    with pytest.raises(SettingsError, match="cannot be read as a list of genes"):
        choose_genes([counts], [ALL], GeneSettings(file=tmp_path / "none.txt"))
    with pytest.raises(SettingsError, match="Did you mean ESR1"):
        choose_genes([counts], [ALL], GeneSettings(names=("esr1",)))
    with pytest.raises(SettingsError, match="Unknown gene: NOPE"):
        choose_genes([counts], [ALL], GeneSettings(names=("NOPE",)))


def test_a_gene_may_be_named_as_pathologists_do(counts):
    """A name that means one gene is taken as that gene, and the panel says so; one that may mean two is answered with both."""
    genes, words = choose_genes([counts], [ALL], GeneSettings(names=("ER", "fibronectin", "ESR1")))
    assert genes == ("ESR1", "FN1")
    assert "ER is ESR1" in words
    assert "fibronectin is FN1" in words
    two = counts[:, :2].copy()
    two.var_names = ["KRT8", "KRT18"]
    with pytest.raises(SettingsError, match=r"Did you mean KRT8 \(CK8/18 is KRT8\), KRT18"):
        choose_genes([two], [ALL], GeneSettings(names=("CK8/18",)))


def test_signatures_equal_scanpys_where_nothing_is_drawn():
    """With as many control genes as there are, our scores are those of scanpy's score_genes, at every spot."""
    import scanpy as sc

    rng = np.random.default_rng(1)
    drawn = rng.poisson(rng.gamma(1.0, 2.0, 200), (60, 200)).astype(np.float32)
    a = AnnData(sparse.csr_matrix(drawn), var=pd.DataFrame(index=[f"G{i}" for i in range(200)]))
    names = ["G3", "G50", "G120", "G121"]
    target = chosen(a, {"kind": "signatures", "sets": {"mine": [*names, "NOT THERE"]}, "controls": 1000, "bins": 10})
    assert target.names == ("mine",)
    assert "1 genes of the sets are not there" in target.panel
    ours = signature_scores(a, target)[:, 0]
    sc.pp.normalize_total(a, target_sum=target.target_sum)
    sc.pp.log1p(a)
    sc.tl.score_genes(a, names, ctrl_size=1000, n_bins=10, ctrl_as_ref=False)
    np.testing.assert_allclose(ours, a.obs["score"], atol=1e-5)
    assert target.target_sum == np.median(spot_totals(sparse.csr_matrix(drawn)))


def test_signatures_draw_the_same_controls_again(counts, tmp_path):
    """The draw of control genes is that of the seed; none of them is of the set; sets come from a .gmt file too."""
    (tmp_path / "sets.gmt").write_text("one\tnote\tESR1\tFN1\ntwo\tnote\tGENE3\n")
    asked = {"kind": "signatures", "file": str(tmp_path / "sets.gmt"), "controls": 3, "bins": 3}
    first, again, other = (chosen(counts, {**asked, "seed": seed}) for seed in (0, 0, 1))
    assert first.names == ("one", "two")
    assert first.sets == again.sets
    assert first.sets != other.sets
    assert not set(first.sets["one"]["controls"]) & {"ESR1", "FN1"}
    assert Target.from_json(first.to_json()) == first
    with pytest.raises(SettingsError, match="None of the genes"):
        chosen(counts, {"kind": "signatures", "sets": {"far": ["XYZ"]}})
    (tmp_path / "empty.gmt").write_text("one\n")
    with pytest.raises(SettingsError, match="holds no gene set"):
        read_gmt(tmp_path / "empty.gmt")


def test_numbers_of_the_spots(counts):
    """Columns of obs and matrices of obsm are taken as they are; what is no number, or not there, is said."""
    counts.obs["tumour"], counts.obs["name"] = np.linspace(0, 1, 60), "a"
    counts.obsm["fractions"] = pd.DataFrame({"B cell": np.arange(60.0), "T cell": 1.0}, index=counts.obs_names)
    target = chosen(counts, {"kind": "obs", "columns": ["tumour"]})
    np.testing.assert_allclose(result_of(measured(target, counts, ALL, of="x"))[:, 0], counts.obs["tumour"], rtol=1e-6)
    target = chosen(counts, {"kind": "obs", "obsm": "fractions"})
    assert target.names == ("B cell", "T cell")
    fitted = fit_target(target, result_of(measured(target, counts, ALL, of="x")), 1.0)
    np.testing.assert_allclose(back(fitted, np.array([[1.0, 0.0]])), [[59, 1]])
    for asked, words in (({"columns": ["name"]}, "holds no numbers"), ({"columns": ["no"]}, "no column 'no'"), ({"obsm": "no"}, "has no obsm")):
        with pytest.raises(DataError, match=words):
            chosen(counts, {"kind": "obs", **asked})
    with pytest.raises(SettingsError, match="Numeric ones: tumour"):
        chosen(counts, {"kind": "obs"})


def test_clusters_are_learned_by_cross_entropy(counts):
    """The loss is torch's cross entropy, weighted if asked for; outputs are shown as probabilities; spots without a cluster have no value."""
    labels = pd.Series(["10", "2", np.nan, *["2"] * 57], index=counts.obs_names).astype("category")
    target = chosen(counts, {"kind": "clusters", "weighted": True}, labels)
    assert target.names == ("2", "10")
    values = result_of(measured(target, counts, ALL, clusters=labels, of="x"))
    assert values[:2].tolist() == [[0, 1], [1, 0]]
    assert np.isnan(values[2]).all()
    known = values[np.isfinite(values).all(axis=1)]
    fitted = fit_target(target, known, 1.0)
    outputs = torch.randn(len(known), 2)
    expected = F.cross_entropy(outputs, torch.tensor(known.argmax(axis=1)), weight=torch.tensor([59 / (2 * 58), 59 / 2]), reduction="sum")
    assert fitted.loss(torch.device("cpu"))(outputs, torch.from_numpy(known)) == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(fitted.shown(outputs.numpy(), 1.0), torch.softmax(outputs, 1), atol=1e-6)
    with pytest.raises(DataError, match="no clusters to predict"):
        chosen(counts, {"kind": "clusters"}, None)
    with pytest.raises(DataError, match="Only one cluster"):
        chosen(counts, {"kind": "clusters"}, pd.Series(["1"] * 60, index=counts.obs_names))


def test_clusters_of_several_sections_need_common_names(counts):
    """Computed section by section they have unrelated names, and are refused."""
    labels = pd.Series(["1", "2"] * 30, index=counts.obs_names)
    asked = run_settings({"sections": [{"path": "x"}], "target": {"kind": "clusters"}, "clusters": {"source": "computed"}})
    with pytest.raises(SettingsError, match="joint: true"):
        choose_target([counts, counts], [ALL, ALL], asked, [labels, labels], ["x", "y"])


def test_quick_tells_clusters_apart_by_logistic_regression():
    """Its log odds equal scikit-learn's at the chosen penalty, also for two clusters; a cluster that is not there gets next to no probability."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    for n_clusters in (2, 3):
        labels = rng.integers(n_clusters, size=150)
        features = rng.normal(size=(150, 5)) + 2 * np.eye(5)[labels]
        values = np.eye(n_clusters + 1, dtype=np.float32)[labels]
        model = fit_logistic(features, values, np.arange(150), 5, (1.0,))
        outputs = fit_target(Target("clusters", tuple("abcd")[: n_clusters + 1], ""), values, 1.0).shown(model.predict(features), 1.0)
        expected = LogisticRegression(C=1.0, max_iter=500).fit(features, labels).predict_proba(features)
        np.testing.assert_allclose(outputs[:, :n_clusters], expected, atol=2e-3)
        assert outputs[:, n_clusters].max() < 1e-3
