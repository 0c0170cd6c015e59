"""Names of genes: symbols where the files have them, Ensembl ids without their version, each name once."""

from __future__ import annotations

import re

import anndata.utils
import numpy as np
import pandas as pd

_VERSIONED = re.compile(r"(ENS[A-Z]*G\d{6,})\.\d+(?:_PAR_[XY])?")
_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{6,}")


def gene_table(names: np.ndarray, ids: np.ndarray, notes: list[str], genomes: np.ndarray | None = None) -> pd.DataFrame:
    """``var``: names made unique as scanpy does (MATR3, MATR3-1), with ``gene_ids`` and, where there are several, ``genome``.

    Versions of Ensembl ids (ENSG00000113140.11) are dropped, so that tables of other releases share their genes; a gene without a name is called
    by its id. What was done is added to ``notes``.
    """
    ids = np.array([_unversioned(str(one)) for one in ids], dtype=object)
    named = pd.Index([_unversioned(str(name)) if str(name).strip() not in ("", "nan") else one for name, one in zip(names, ids, strict=True)])
    if len(named) and sum(bool(_ENSEMBL.fullmatch(name)) for name in named) > len(named) / 2:
        notes.append("Genes are named by Ensembl ids, for the file has no symbols: gene lists must name ids, and mitochondrial genes are not known.")
    doubled = int(named.duplicated().sum())
    if doubled:
        notes.append(f"{doubled} gene names occur more than once and were made unique with a number (-1, -2, ...).")
        named = anndata.utils.make_index_unique(named)
    table = pd.DataFrame({"gene_ids": ids.astype(str)}, index=named)
    if genomes is not None and len(set(genomes)) > 1:
        table["genome"] = pd.Categorical(genomes.astype(str))
        counted = ", ".join(f"{count} of {name}" for name, count in table["genome"].value_counts().items())
        notes.append(f"The matrix holds genes of several genomes: {counted}.")
    return table


def _unversioned(name: str) -> str:
    found = _VERSIONED.fullmatch(name)
    return found[1] if found else name
