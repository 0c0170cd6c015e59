"""Names of genes: symbols where the files have them, Ensembl ids without their version, each name once."""

from __future__ import annotations

import re

import anndata.utils
import numpy as np
import pandas as pd

_VERSIONED = re.compile(r"(ENS[A-Z]*G\d{6,})\.\d+(?:_PAR_[XY])?")
_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{6,}")
_OF_GENOME = re.compile(r"(\w+?)_+(?=ENS[A-Z]*G\d{6,})")  # GRCh38_ENSG..., mm10___ENSMUSG...
_NO_NAME = ("", "nan", "na", "n/a", "none", "null", ".", "-")


def gene_table(names: np.ndarray, ids: np.ndarray, notes: list[str], genomes: np.ndarray | None = None) -> pd.DataFrame:
    """``var``: names made unique as scanpy does (MATR3, MATR3-1), with ``gene_ids`` and, where there are several, ``genome``.

    Versions of Ensembl ids (ENSG00000113140.11) are dropped, so that tables of other releases share their genes; a gene without a name is called
    by its id, and prefixes that name a genome (GRCh38_ENSG..., GRCh38_SPARC) go into ``genome``. What was done is added to ``notes``.
    """
    ids, names, genomes = _without_genome(ids, names, genomes)
    ids = np.array([_unversioned(str(one)) for one in ids], dtype=object)
    named = pd.Index([_unversioned(str(name)) if str(name).strip().casefold() not in _NO_NAME else one for name, one in zip(names, ids, strict=True)])
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


def _without_genome(ids: np.ndarray, names: np.ndarray, genomes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Ids and names without the genome that a reference of several writes before them; a name that would be another's keeps it."""
    found = [_OF_GENOME.match(str(one)) for one in ids]
    if found and all(found):
        stated = np.array([one[1] for one in found if one], dtype=object)
        ids = np.array([str(one)[match.end() :] for one, match in zip(ids, found, strict=True) if match], dtype=object)
    elif genomes is not None and all(genome and str(name).startswith(f"{genome}_") for name, genome in zip(names, genomes, strict=True)):
        stated = genomes
    else:
        return ids, names, genomes
    bare = pd.Series([str(name).removeprefix(genome).lstrip("_") for name, genome in zip(names, stated, strict=True)])
    of_both = bare.groupby(bare).transform(lambda same: len(set(stated[same.index])) > 1).to_numpy(dtype=bool)
    return ids, np.where(of_both, names, bare), genomes if genomes is not None else stated


def _unversioned(name: str) -> str:
    found = _VERSIONED.fullmatch(name)
    return found[1] if found else name
