"""What Space Ranger computed of a section: clusters, principal components, UMAP; and cluster names in general."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import first_existing, numbers, read_table

_CLUSTERS = ("gene_expression_graphclust", "graphclust")
_EMBEDDINGS = {"X_pca": "pca", "X_umap": "umap", "X_tsne": "tsne"}


def add_analysis(adata: AnnData, analysis: Path) -> None:
    """Clusters as ``obs["graphclust"]``; PCA, UMAP and t-SNE as ``obsm["X_pca"]`` and so on, float32, NaN for spots that the files leave out."""
    path = first_existing(*(analysis / "clustering" / name / "clusters.csv" for name in _CLUSTERS))
    if path is not None:
        table = _by_barcode(path, "Space Ranger's table of clusters")
        if "Cluster" not in table:
            raise DataError(f"{path} has no columns Barcode and Cluster. Take the file as Space Ranger wrote it, or remove it.")
        adata.obs["graphclust"] = cluster_labels(table["Cluster"].reindex(adata.obs_names))
    for slot, name in _EMBEDDINGS.items():
        found = _projection(analysis / name)
        if found is None:
            continue
        table = _by_barcode(found, "Space Ranger's table of coordinates")
        values = numbers(table.reset_index(), [str(column) for column in table.columns], found)
        adata.obsm[slot] = pd.DataFrame(values, index=table.index).reindex(adata.obs_names).to_numpy(dtype=np.float32)


def _projection(folder: Path) -> Path | None:
    """projection.csv of the most components, of gene expression where there is a choice."""
    found = sorted(folder.glob("*_components/projection.csv"), key=_preference) if folder.is_dir() else []
    return found[-1] if found else None


def _preference(path: Path) -> tuple[bool, int]:
    words = path.parent.name.split("_")
    return "antibody" not in words, next((int(word) for word in words if word.isdigit()), 0)


def _by_barcode(path: Path, needed: str) -> pd.DataFrame:
    table = read_table(path, needed, ",")
    if "Barcode" not in table:
        raise DataError(f"{path} has no columns Barcode and Cluster. Take the file as Space Ranger wrote it, or remove it.")
    return table.drop_duplicates("Barcode").set_index("Barcode")


def cluster_labels(labels: pd.Series) -> pd.Series:
    """Cluster names as a categorical, numbers in their numerical order."""
    names = sorted(labels.dropna().unique(), key=lambda name: (not str(name).isdigit(), int(name) if str(name).isdigit() else 0, str(name)))
    return labels.astype(pd.CategoricalDtype(names))
