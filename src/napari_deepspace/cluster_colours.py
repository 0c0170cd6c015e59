"""Colours of clusters: one a name, kept where scanpy keeps them, so that figures made elsewhere wear the same. Plain arrays."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

CLUSTER_COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
    "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5",
)  # fmt: skip
"""Of clusters, in their order, where nobody chose others; scanpy's usual twenty."""
_HEX = re.compile(r"#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?")


def cluster_colour(number: int) -> str:
    """The usual colour of the cluster at this place among the names, ``#rrggbb``."""
    return CLUSTER_COLOURS[number % len(CLUSTER_COLOURS)]


def usual_colours(names: Sequence[str]) -> dict[str, str]:
    """The usual colour of each of these clusters, by name."""
    return {name: cluster_colour(number) for number, name in enumerate(names)}


def colours_key(column: str) -> str:
    """Where ``uns`` keeps the colours of the categories of the column of ``obs`` (scanpy's convention)."""
    return f"{column}_colors"


def cluster_colours(adata: AnnData, column: str, names: Sequence[str]) -> dict[str, str]:
    """``#rrggbb`` of each of ``names``, the categories of ``column`` in their order: those that came with the section or were chosen, else the usual.

    A colour that is none is passed over; nothing is written.
    """
    kept = adata.uns.get(colours_key(column), ())
    given = [_as_hex(colour) for colour in kept] if isinstance(kept, (list, tuple, np.ndarray)) else []
    return {str(name): (given[i] if i < len(given) else "") or cluster_colour(i) for i, name in enumerate(names)}


def known_as(clusters: pd.Series | None, names: Sequence[str], predicted: str) -> tuple[str, list[str]]:
    """Column and categories that clusters ``names`` are known by: those of ``clusters`` at the spots where they are the same, else ``predicted``."""
    own = [str(name) for name in clusters.cat.categories] if clusters is not None else []
    return (str(clusters.name), own) if clusters is not None and set(names) <= set(own) else (predicted, list(names))


def kept_colours(adata: AnnData) -> dict[str, tuple[str, ...]]:
    """All colours of clusters that ``uns`` holds as words, by their key, in the order of the categories: what a project keeps."""
    lists = {key: kept for key, kept in adata.uns.items() if key.endswith(colours_key("")) and isinstance(kept, (list, tuple, np.ndarray))}
    return {key: tuple(kept) for key, kept in lists.items() if all(isinstance(colour, str) for colour in kept)}


def recolour(adata: AnnData, column: str, names: Sequence[str], name: str, colour: str) -> None:
    """Keep ``colour`` (``#rrggbb``) for ``name`` in ``uns``, beside those of the other categories. Raises ValueError for what is no colour."""
    if not _HEX.fullmatch(colour):
        raise ValueError(f"{colour} is no colour. Write it as #rrggbb.")
    adata.uns[colours_key(column)] = list((cluster_colours(adata, column, names) | {name: colour[:7].lower()}).values())


def _as_hex(colour: Any) -> str:
    """``#rrggbb``; "" for what is no colour."""
    if isinstance(colour, str) and _HEX.fullmatch(colour):
        return colour[:7].lower()
    from matplotlib.colors import is_color_like, to_hex

    return to_hex(colour) if is_color_like(colour) else ""


def hex_rgba(colour: str) -> np.ndarray:
    """``#rrggbb`` as opaque float32 (4,)."""
    return np.array([*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)), 1], dtype=np.float32)


def rgba(colours: dict[str, str], hidden: Collection[str] = ()) -> np.ndarray:
    """The colours of all clusters and, last, of none: float32 (n + 1, 4); those of ``hidden`` and the last are transparent."""
    found = [hex_rgba(colour) * (name not in hidden) for name, colour in colours.items()]
    return np.array([*found, np.zeros(4)], dtype=np.float32)


def class_lut(colours: dict[str, str], hidden: Collection[str] = ()) -> np.ndarray:
    """A colour table (256, 4) in which class i of n has its colour, for values i and limits -0.5 to n - 0.5."""
    return rgba(colours, hidden)[np.arange(256) * len(colours) // 256]


def counts_of(found: np.ndarray, n: int) -> np.ndarray:
    """How many of ``found``, indices of ``n`` classes or NaN and -1 where there is none, each class has: int (n,)."""
    return np.bincount(found[np.isfinite(found) & (found >= 0)].astype(int), minlength=n)
