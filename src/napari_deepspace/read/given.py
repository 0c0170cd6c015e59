"""Tables that the user names beside a section: clusters, numbers per spot, places in a common frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_deepspace.cluster_colours import colours_key
from napari_deepspace.errors import DataError
from napari_deepspace.read.analysis import cluster_labels
from napari_deepspace.read.files import numbers, read_table

CLUSTER_COLUMNS = ("cluster", "leiden", "given_cluster", "graphclust")
"""Headers, in any case of letters, under which a file may keep its clusters; the last three are those of ``napari-deepspace preprocess``."""


def add_given_clusters(adata: AnnData, path: Path) -> None:
    """Clusters from a file that the user names, as ``obs["given_cluster"]``: any CSV with the columns barcode and one of CLUSTER_COLUMNS.

    A column ``colour`` (#rrggbb) gives each cluster the colour of its first spot, kept where scanpy keeps them.
    """
    table = read_table(path, "a table of clusters", ",")
    names = {str(column).strip().casefold(): column for column in table.columns}
    column = next((names[name] for name in CLUSTER_COLUMNS if name in names), None)
    if "barcode" not in names or column is None:
        raise DataError(f"{path} has no columns barcode and cluster (found {', '.join(map(str, table.columns[:6]))}). Name them so in its first row.")
    labels = table.drop_duplicates(names["barcode"]).set_index(names["barcode"])[column].reindex(adata.obs_names)
    if labels.isna().all():
        raise DataError(f"{path}: none of its barcodes is a spot of this section. Take the clusters of this section.")
    adata.obs["given_cluster"] = found = cluster_labels(labels)
    if "colour" in names:
        colours = table[names["colour"]].fillna("").groupby(table[column].astype(str)).first()
        adata.uns[colours_key("given_cluster")] = [str(colours.get(str(name), "")) for name in found.cat.categories]


def add_numbers(adata: AnnData, path: Path) -> None:
    """Numbers per spot from a file that the user names, as columns of ``obs``: any CSV with a column barcode.

    A column that ``obs`` has already, or that holds no numbers, is an error: nothing that was measured is overwritten.
    """
    table = read_table(path, "a table of numbers", ",")
    barcode = next((column for column in table.columns if str(column).strip().casefold() == "barcode"), None)
    if barcode is None:
        raise DataError(f"{path} has no column barcode (found {', '.join(map(str, table.columns[:6]))}). Name it so in its first row.")
    table = table.drop_duplicates(barcode).set_index(barcode).reindex(adata.obs_names)
    for name in table.columns:
        if name in adata.obs:
            raise DataError(f"{path}: its column {name} is in the section already. Give it another name.")
        try:
            adata.obs[str(name)] = pd.to_numeric(table[name])
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}: the column {name} holds something that is no number ({error}). Take it out, or give clusters as clusters."
            ) from error
    if table.isna().all(axis=None):
        raise DataError(f"{path}: none of its barcodes is a spot of this section. Take the numbers of this section.")


def add_aligned(adata: AnnData, path: Path) -> None:
    """Places in the frame that the sections of a patient share, as ``obsm["spatial_aligned"]``, (x, y) in um, NaN for spots that the file leaves out.

    Any CSV with the columns barcode, x and y. It stands in place of an alignment that came with the section.
    """
    table = read_table(path, "a table of aligned spots", ",")
    table = table.rename(columns={column: str(column).strip().casefold() for column in table.columns})
    missing = [name for name in ("barcode", "x", "y") if name not in table]
    if missing:
        raise DataError(f"{path} has no column {missing[0]} (found {', '.join(map(str, table.columns[:6]))}). Name the columns barcode, x and y.")
    places = pd.DataFrame(numbers(table, ["x", "y"], path), index=table["barcode"].astype(str))
    if places.index.has_duplicates:
        raise DataError(f"{path} names barcode {places.index[places.index.duplicated()][0]} twice. Take the alignment of one section.")
    aligned = places.reindex(adata.obs_names).to_numpy()
    if np.isnan(aligned).all():
        raise DataError(f"{path}: none of its barcodes is a spot of this section. Take the alignment of this section.")
    adata.obsm["spatial_aligned"] = aligned
