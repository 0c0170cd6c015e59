"""Which spots are good enough to learn from."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_deepspace.settings import FilterSettings


def filter_spots(adata: AnnData, settings: FilterSettings) -> pd.DataFrame:
    """Judge every spot by its raw counts in ``adata.X`` (spots x genes).

    Returns
    -------
    DataFrame
        One row a spot, index ``obs_names``: ``umi`` (total count), ``n_genes`` (genes with a count), ``in_tissue``, ``keep``, and ``reason``
        in words, empty for a spot that is kept: "UMI < 1000; genes < 1000".
    """
    counts = sparse.csr_matrix(adata.X) if adata.n_vars else sparse.csr_matrix(adata.shape, dtype=np.float32)
    umi = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel().astype(np.int64)
    n_genes = np.asarray((counts > 0).sum(axis=1)).ravel().astype(np.int64)
    in_tissue = np.asarray(adata.obs["in_tissue"], dtype=bool) if "in_tissue" in adata.obs else np.ones(adata.n_obs, dtype=bool)
    failed = {
        "not in tissue": ~in_tissue,
        f"UMI < {settings.min_umi}": umi < settings.min_umi,
        f"genes < {settings.min_genes}": n_genes < settings.min_genes,
    }
    reasons = ["; ".join(word for word, bad in zip(failed, row, strict=True) if bad) for row in np.column_stack(list(failed.values()))]
    table = {"umi": umi, "n_genes": n_genes, "in_tissue": in_tissue, "keep": ~np.any(list(failed.values()), axis=0), "reason": reasons}
    return pd.DataFrame(table, index=adata.obs_names)
