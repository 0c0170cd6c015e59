"""Clusters and the genes that tell them apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from scipy.stats import false_discovery_control, mannwhitneyu

from napari_deepspace.errors import DataError
from napari_deepspace.events import result_of
from napari_deepspace.preprocess.clusters import COLUMNS, differential_genes, find_clusters, given_clusters
from napari_deepspace.settings import ClusterSettings

COMPUTED = ClusterSettings(source="computed", neighbours=10, components=10, resolution=0.5)


def groups(seed, sizes=(60, 40, 30), n_genes=120):
    """Counts of spots of several kinds, each with ten genes of its own; and the kind of each spot."""
    rng = np.random.default_rng(seed)
    kind = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    mean = np.tile(np.random.default_rng(0).lognormal(1.5, 0.6, n_genes), (len(kind), 1))
    for number in range(len(sizes)):
        mean[kind == number, 10 * number : 10 * number + 10] *= 6
    adata = AnnData(sparse.csr_matrix(rng.poisson(mean).astype(np.float32)))
    adata.var_names = [f"GENE{number}" for number in range(n_genes)]
    adata.obs_names = [f"spot{number}" for number in range(len(kind))]
    return adata, kind


def agree(labels, kind):
    """Whether labels and kinds divide the spots alike."""
    return (pd.crosstab(labels.astype(str), kind) > 0).to_numpy().sum() == len(set(kind))


def test_computed_clusters_find_the_kinds():
    """PCA, neighbours and Leiden divide spots as they were made; clusters are numbered from the largest; removed spots have none."""
    adata, kind = groups(1)
    keep = np.ones(130, dtype=bool)
    keep[::13] = False
    (labels,) = result_of(find_clusters([adata], [keep], COMPUTED, ["C3"]))
    assert labels[~keep].isna().all()
    assert labels.cat.categories.tolist() == ["1", "2", "3"]
    assert agree(labels[keep], kind[keep])
    sizes = labels.value_counts()
    assert sizes["1"] >= sizes["2"] >= sizes["3"]


def test_the_same_settings_give_the_same_clusters():
    """A training finds the cluster again that the window showed."""
    adata, _ = groups(2)
    keep = [np.ones(130, dtype=bool)]
    first, again = (result_of(find_clusters([adata], keep, COMPUTED, ["C3"]))[0] for _ in range(2))
    pd.testing.assert_series_equal(first, again)


def test_joint_clusters_mean_the_same_in_every_section():
    """Computed together, one name stands for one kind in all sections, over the genes that all of them hold."""
    (one, kind_one), (two, kind_two) = groups(3), groups(4, sizes=(20, 50, 40))
    two = two[:, ::-1][:, :110].copy()
    keep = [np.ones(130, dtype=bool), np.ones(110, dtype=bool)]
    joint = result_of(find_clusters([one, two], keep, COMPUTED.model_copy(update={"joint": True}), ["C3", "C4"]))
    assert agree(pd.concat(joint, ignore_index=True), np.concatenate([kind_one, kind_two]))
    for labels, adata in zip(joint, (one, two), strict=True):
        assert labels.index.equals(adata.obs_names)


def test_given_clusters():
    """Space Ranger's are taken before any other; where none came, computing them is the remedy."""
    adata, _ = groups(5)
    with pytest.raises(DataError, match="C3: no clusters came with this section"):
        result_of(find_clusters([adata], [np.ones(130, dtype=bool)], ClusterSettings(), ["C3"]))
    adata.obs["cluster"] = pd.Categorical(["a"] * 130)
    adata.obs["graphclust"] = pd.Categorical(["1"] * 130)
    assert given_clusters(adata).name == "graphclust"


def test_too_few_spots():
    """Fewer spots than neighbours need is said in one sentence."""
    adata, _ = groups(6)
    with pytest.raises(DataError, match="15 spots are too few"):
        result_of(find_clusters([adata], [np.arange(130) < 15], COMPUTED, ["C3"]))


def test_differential_genes_are_a_rank_sum_test_with_benjamini_hochberg():
    """p values are those of scipy's rank sum test on log-normalised counts, adjusted within each cluster by Benjamini and Hochberg."""
    adata, kind = groups(7)
    labels = pd.Series(kind.astype(str), index=adata.obs_names, dtype="category")
    keep = np.ones(130, dtype=bool)
    keep[5] = False
    table = differential_genes(adata, labels, keep)
    assert list(table.columns) == list(COLUMNS)
    for cluster in ("0", "1", "2"):
        one = table[table["cluster"] == cluster].set_index("gene")
        assert set(one.index[:10]) == {f"GENE{10 * int(cluster) + k}" for k in range(10)}
        counts = adata.X.toarray()[keep]
        total = counts.sum(axis=1, keepdims=True)
        values = np.log1p(counts / total * np.median(total))
        inside = kind[keep] == int(cluster)
        p = [mannwhitneyu(values[inside, g], values[~inside, g], use_continuity=False, method="asymptotic").pvalue for g in range(120)]
        # scanpy's variance leaves out the correction for ties
        np.testing.assert_allclose(one["p"][adata.var_names[:40]], p[:40], rtol=0.1, atol=1e-6)
        np.testing.assert_allclose(one["p_adjusted"], false_discovery_control(one["p"], method="bh"), rtol=1e-6)
        np.testing.assert_allclose(one["detected_in"][adata.var_names], (counts[inside] > 0).mean(axis=0), rtol=1e-6)


def test_differential_genes_need_two_clusters():
    """One cluster, or clusters of a spot or two, cannot be compared."""
    adata, _ = groups(8)
    labels = pd.Series(["1"] * 128 + ["2"] * 2, index=adata.obs_names, dtype="category")
    with pytest.raises(DataError, match="at least two clusters"):
        differential_genes(adata, labels, np.ones(130, dtype=bool))
