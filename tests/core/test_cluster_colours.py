"""Colours of clusters: kept as scanpy keeps them."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from napari_deepspace.cluster_colours import class_lut, cluster_colour, cluster_colours, counts_of, hex_rgba, kept_colours, recolour
from napari_deepspace.colour_scale import colours
from napari_deepspace.layers import HOLLOW
from napari_deepspace.views import class_view, cluster_view, make_view

NAMES = ["1", "2", "3"]
CODES = np.array([0, 1, 2, -1])
LABELS = pd.Series(pd.Categorical.from_codes(CODES, NAMES), name="leiden")
KEEP = np.array([True, True, False, True])
ZEROS = np.zeros(4, dtype=np.float32)
VIEW = make_view("G", "measured", ZEROS, ZEROS, KEEP)


def section(**uns):
    return AnnData(obs=pd.DataFrame({"leiden": LABELS.to_numpy()}, index=list("abcd")), uns=uns)


def test_colours_that_came_with_the_section_are_taken():
    """scanpy's list is read, whatever way a colour is written; what is missing or no colour gets the usual one."""
    assert list(cluster_colours(section(), "leiden", NAMES).values()) == [cluster_colour(i) for i in range(3)]
    adata = section(leiden_colors=np.array(["#FF0000", "teal"], dtype=object))
    assert cluster_colours(adata, "leiden", NAMES) == {"1": "#ff0000", "2": "#008080", "3": cluster_colour(2)}
    assert cluster_colours(section(leiden_colors=["nonsense", "#00ff00ff"]), "leiden", NAMES)["1"] == cluster_colour(0)
    assert cluster_colours(section(leiden_colors="#ff0000"), "leiden", NAMES)["1"] == cluster_colour(0)


def test_a_chosen_colour_is_kept_as_scanpy_does(tmp_path):
    """All colours of the column are written, in the order of the categories, and come back from the file."""
    import anndata

    adata = section()
    recolour(adata, "leiden", NAMES, "2", "#ABCDEF")
    adata.write_h5ad(tmp_path / "a.h5ad")
    kept = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert list(kept.uns["leiden_colors"]) == [cluster_colour(0), "#abcdef", cluster_colour(2)]
    assert cluster_colours(kept, "leiden", NAMES)["2"] == "#abcdef"
    assert kept_colours(kept) == {"leiden_colors": (cluster_colour(0), "#abcdef", cluster_colour(2))}
    assert kept_colours(section(other_colors=np.zeros((2, 3)), note="a")) == {}
    with pytest.raises(ValueError, match="no colour"):
        recolour(adata, "leiden", NAMES, "2", "red-ish")


def test_hidden_clusters_are_not_painted():
    """Neither disc nor ring of a hidden cluster stays; the caption says that it is hidden; rings of others stay."""
    chosen = {"1": "#ff0000", "2": "#00ff00", "3": "#0000ff"}
    view = cluster_view(VIEW, LABELS, KEEP, chosen, {"1"})
    assert view.face[:, 3].tolist() == [0, 1, 0, 0]
    np.testing.assert_allclose(view.face[1], hex_rgba("#00ff00"))
    assert view.border[:, 3].tolist() == pytest.approx([0, 0, HOLLOW[3], HOLLOW[3]])
    assert view.caption == "3 (leiden); hidden: 1"
    found = np.array([0, 1, 1, np.nan])
    view = class_view(VIEW, NAMES, found, KEEP, "quick", chosen, {"1"})
    assert view.face[:, 3].tolist() == [0, 1, 0, 0]
    np.testing.assert_allclose(view.border[2], hex_rgba("#00ff00"), err_msg="imputed: a ring in the class's colour")
    assert view.border[[0, 3], 3].tolist() == pytest.approx([0, HOLLOW[3]])
    assert class_view(VIEW, NAMES, found, KEEP, "quick", chosen, {"2"}).border[2, 3] == 0


def test_a_table_of_classes_paints_what_the_legend_says():
    """The denser map's table gives each class its colour, hidden ones none, and the legend counts what there is."""
    chosen = {"1": "#ff0000", "2": "#00ff00", "3": "#0000ff"}
    found = np.array([0, 1, 2, 2, np.nan])
    face = colours(found, (-0.5, 2.5), class_lut(chosen, {"2"}))
    np.testing.assert_allclose(face[[0, 2]], [hex_rgba("#ff0000"), hex_rgba("#0000ff")])
    assert face[[1, 4], 3].tolist() == [0, 0]
    assert counts_of(found, 3).tolist() == [1, 1, 2]
    assert counts_of(CODES, 4).tolist() == [1, 1, 1, 0]
