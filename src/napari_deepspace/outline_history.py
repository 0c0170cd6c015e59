"""Undo and redo of outlines. A state is the tuple of all outlines; outlines are frozen, so that a state costs little more than its changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

State = tuple[Any, ...]  #: of outlines, or of pairs of landmarks
STEPS = 500  #: that can be undone


@dataclass(frozen=True)
class History:
    """What the outlines are ``now``, were before (the last one last), and would be again (the next one first)."""

    now: State = ()
    past: tuple[State, ...] = ()
    future: tuple[State, ...] = ()
    key: str = ""  #: of the step that led to ``now``


def push(history: History, state: State, key: str = "") -> History:
    """One step more, after which nothing can be redone; a state that equals the present one is none.

    Steps one after the other with the same ``key`` (those of one drag of the mouse) are one step; "" never joins.
    """
    if state == history.now:
        return history
    if key and key == history.key:
        return History(state, history.past, (), key)
    return History(state, (*history.past, history.now)[-STEPS:], (), key)


def undo(history: History) -> History:
    """One step back, or the same history at its beginning."""
    if not history.past:
        return history
    return History(history.past[-1], history.past[:-1], (history.now, *history.future))


def redo(history: History) -> History:
    """One step on again, or the same history at its end."""
    if not history.future:
        return history
    return History(history.future[0], (*history.past, history.now), history.future[1:])
