"""Why prediction and measurement disagree at a spot, as somebody filed it: a column of ``obs`` that goes with the section into every result."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from anndata import AnnData

from napari_deepspace.errors import DataError
from napari_deepspace.runs import write_atomic

CAUSE = "deepspace_cause"
"""Column of ``obs``, one of :data:`CAUSES` or missing."""
CAUSES = ("fold", "necrosis", "failed spot", "real")
"""What a disagreement can come from: tissue folded over, dead tissue, a spot whose assay failed, or a true difference that the model does not see."""


def causes_of(adata: AnnData) -> pd.Series:
    """What was filed at spots of ``adata``: a cause by barcode, only spots that have one."""
    if CAUSE not in adata.obs:
        return pd.Series(dtype=object, name=CAUSE)
    filed = adata.obs[CAUSE].astype(object)
    return filed[filed.isin(CAUSES)].rename(CAUSE)


def filed(causes: pd.Series, barcode: str, cause: str) -> pd.Series:
    """``causes`` with ``cause`` at the spot ``barcode``; the same cause again takes it back. ``causes`` is not changed."""
    if cause not in CAUSES:
        raise ValueError(f"{cause!r} is no cause: {', '.join(CAUSES)}")
    rest = causes[causes.index != barcode]
    return rest if causes.get(barcode) == cause else pd.concat([rest, pd.Series({barcode: cause}, dtype=object, name=CAUSE)])


def set_causes(adata: AnnData, causes: pd.Series) -> None:
    """Write ``causes`` into ``adata.obs``; the column goes where none is left."""
    if len(causes):
        adata.obs[CAUSE] = pd.Categorical(causes.reindex(adata.obs_names), categories=list(CAUSES))
    elif CAUSE in adata.obs:
        del adata.obs[CAUSE]


def write_causes(path: Path, causes: pd.Series) -> None:
    """Keep ``causes`` as CSV with the columns barcode and cause, in one step; without any, the file goes."""
    if len(causes):
        write_atomic(path, causes.rename("cause").to_csv(index_label="barcode"))
    else:
        Path(path).unlink(missing_ok=True)


def read_causes(path: Path) -> pd.Series:
    """Causes by barcode from a CSV with the columns barcode and cause.

    Raises
    ------
    DataError
        The file cannot be read, lacks a column, or names a cause that there is not.
    """
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table of causes ({error}). Give a CSV with the columns barcode and cause.") from error
    if not {"barcode", "cause"} <= set(table.columns):
        raise DataError(
            f"{path} has the columns {', '.join(map(str, table.columns[:6]))}; barcode and cause are needed. Name them so in its first row."
        )
    unknown = sorted(set(table["cause"].dropna()) - set(CAUSES))
    if unknown:
        raise DataError(f"{path} names the cause {unknown[0]}, which there is not. Causes are {', '.join(CAUSES)}.")
    found = table.dropna().drop_duplicates("barcode", keep="last").set_index("barcode")["cause"].rename(CAUSE)
    found.index.name = None
    return found.astype(object)
