"""The simple ways that a model must beat, and the four phrases that say whether it does; everywhere the same words.

Names of ways are the field's (mean RGB, interpolation); ``WAYS`` gives what a pathologist reads in their place.
"""

from __future__ import annotations

WAYS = {
    "mean RGB": "colour alone",
    "brightness": "brightness alone",
    "nuclear density": "nuclear density alone",
    "log UMI": "sequencing depth alone",
    "interpolation": "neighbours alone",
    "neighbouring section": "the neighbouring section copied",
    "majority class": "the commonest cluster",
}
"""Each simple way in plain words."""
SHOWN_WAYS = ("mean RGB", "interpolation")
"""Those that stand on the slide and as ticks on a gene's bar."""

BETTER = "better than every simple way"
CANNOT = "cannot be judged here"
_NO_BETTER, _WORSE = "no better than ", "worse than "


def no_better(way: str) -> str:
    """The verdict on a model that the simple ``way`` equals."""
    return _NO_BETTER + WAYS[way]


def worse(way: str) -> str:
    """The verdict on a model that the simple ``way`` beats."""
    return _WORSE + WAYS[way]


def kind_of(verdict: str) -> str:
    """One of ``better``, ``no better``, ``worse``, ``cannot``: what colours and counts go by."""
    if verdict == BETTER:
        return "better"
    if verdict.startswith(_NO_BETTER):
        return "no better"
    return "worse" if verdict.startswith(_WORSE) else "cannot"
