"""Clusters of spots by their expression, and the genes that tell them apart. Imports scanpy, which takes seconds: not for the window's process."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData

from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.events import Event, Progress
from napari_deepspace.settings import ClusterSettings

GIVEN = ("given_cluster", "graphclust", "cluster")
"""Columns of ``obs`` in which readers leave clusters: those the user named a file of, Space Ranger's, those of a legacy ST folder."""
COMPUTED = "leiden"
VARIABLE_GENES = 2000
COLUMNS = ("cluster", "gene", "log2_fold_change", "p", "p_adjusted", "detected_in", "detected_elsewhere", "score")


def given_clusters(adata: AnnData) -> pd.Series | None:
    """The clusters that came with a section, the first kind of GIVEN that is there."""
    name = next((name for name in GIVEN if name in adata.obs), None)
    return None if name is None else adata.obs[name]


def find_clusters(
    adatas: Sequence[AnnData], keep: Sequence[np.ndarray], settings: ClusterSettings, names: Sequence[str]
) -> Generator[Event, None, list[pd.Series]]:
    """The clusters of every section as ``settings`` ask for, one categorical Series a section, NaN for spots without one.

    ``keep`` (bool, n_spots a section) are the spots that computed clusters are made of; ``names`` name the sections in progress and errors.

    Raises
    ------
    DataError
        Clusters that should have come with a section are not there.
    SettingsError
        No clusters are asked for.
    """
    if settings.source == "none":
        raise SettingsError("Clusters are needed, but clusters.source is none. Set it to file or computed.")
    if settings.source == "file":
        given = [given_clusters(adata) for adata in adatas]
        lacking = [name for name, one in zip(names, given, strict=True) if one is None]
        if lacking:
            raise DataError(f"{lacking[0]}: no clusters came with this section. Compute them (clusters.source: computed).")
        return [one for one in given if one is not None]
    kept = [adata[mask].copy() for adata, mask in zip(adatas, keep, strict=True)]
    groups = [list(range(len(kept)))] if settings.joint else [[number] for number in range(len(kept))]
    labels = [pd.Series(np.nan, index=adata.obs_names, dtype=object) for adata in adatas]
    for done, group in enumerate(groups):
        yield Progress("computing clusters", done, len(groups))
        together = anndata.concat([kept[number] for number in group], join="inner", keys=[str(number) for number in group], label="section")
        found = _leiden(together, settings, " + ".join(names[number] for number in group))
        for number in group:
            labels[number].loc[kept[number].obs_names] = found[(together.obs["section"] == str(number)).to_numpy()]
    yield Progress("computing clusters", len(groups), len(groups))
    return [_categorical(series) for series in labels]


def _leiden(adata: AnnData, settings: ClusterSettings, name: str) -> np.ndarray:
    """Cluster names "1", "2", ... from the largest: log-normalisation, PCA, neighbours, Leiden."""
    import scanpy as sc

    if adata.n_obs < 2 * settings.neighbours:
        raise DataError(
            f"{name}: {adata.n_obs} spots are too few to compute clusters with {settings.neighbours} neighbours. "
            "Lower the thresholds or clusters.neighbours."
        )
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=min(VARIABLE_GENES, adata.n_vars))
    components = min(settings.components, adata.n_obs - 1, int(adata.var["highly_variable"].sum()) - 1)
    sc.pp.pca(adata, n_comps=components, random_state=settings.seed)
    sc.pp.neighbors(adata, n_neighbors=settings.neighbours, random_state=settings.seed)
    if settings.algorithm == "igraph":
        labels = _igraph(adata, settings)
    else:
        from sknetwork.clustering import Leiden

        leiden = Leiden(resolution=settings.resolution, random_state=settings.seed)
        labels = np.asarray(leiden.fit_predict(adata.obsp["connectivities"]))
    _, number = np.unique(labels, return_inverse=True)
    rank = np.empty(number.max() + 1, dtype=int)
    rank[np.argsort(-np.bincount(number), kind="stable")] = np.arange(number.max() + 1)
    return np.asarray((rank[number] + 1).astype(str).astype(object))


def _igraph(adata: AnnData, settings: ClusterSettings) -> np.ndarray:
    import scanpy as sc

    try:
        sc.tl.leiden(
            adata, resolution=settings.resolution, random_state=settings.seed, flavor="igraph", n_iterations=2, directed=False, key_added=COMPUTED
        )
    except ImportError as error:
        raise SettingsError(
            'clusters.algorithm: igraph is not installed. Install it with: pip install "napari-deepspace[leiden]" (igraph is GPL), or take sknetwork.'
        ) from error
    return np.asarray(adata.obs[COMPUTED].astype(str))


def _categorical(labels: pd.Series) -> pd.Series:
    names = sorted(labels.dropna().unique(), key=int)
    return labels.astype(pd.CategoricalDtype(names))


def differential_genes(adata: AnnData, labels: pd.Series, keep: np.ndarray) -> pd.DataFrame:
    """Genes higher or lower in each cluster than in all other kept spots: Wilcoxon rank sum on log-normalised counts, Benjamini-Hochberg.

    Columns as in COLUMNS, one row a cluster and gene, the highest score of each cluster first; ``detected_*`` are shares of spots. Clusters of
    fewer than three spots are left out. Spots of one section are neighbours, not independent samples: p values are smaller than they should be.

    Raises
    ------
    DataError
        Fewer than two clusters of at least three spots.
    """
    import scanpy as sc

    wanted = keep & labels.notna().to_numpy()
    sizes = labels[wanted].value_counts()
    large = [name for name in labels.cat.categories if sizes.get(name, 0) >= 3]
    if len(large) < 2:
        raise DataError("Differential genes need at least two clusters of three spots or more. Compute finer clusters (clusters.resolution).")
    some = adata[wanted & labels.isin(large).to_numpy()].copy()
    some.obs["deepspace_group"] = labels[some.obs_names].astype(str).astype("category")
    sc.pp.normalize_total(some)
    sc.pp.log1p(some)
    sc.tl.rank_genes_groups(some, "deepspace_group", method="wilcoxon", corr_method="benjamini-hochberg", pts=True)
    table = sc.get.rank_genes_groups_df(some, group=[str(name) for name in large])
    renamed = {"group": "cluster", "names": "gene", "logfoldchanges": "log2_fold_change", "pvals": "p", "pvals_adj": "p_adjusted"}
    renamed |= {"pct_nz_group": "detected_in", "pct_nz_reference": "detected_elsewhere", "scores": "score"}
    return table.rename(columns=renamed)[list(COLUMNS)].astype({"cluster": str})
