"""Rules for drawing outlines: the classes on offer, who drew and when, what the brush does, and what locks and blind drawing forbid. No Qt."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
from shapely.geometry import LineString, MultiPolygon, Point, Polygon

from napari_deepspace.errors import DataError
from napari_deepspace.outlines import BLIND, CLASSES, HAND, MADE, RGB, Outline, class_colour

Area: TypeAlias = Polygon | MultiPolygon


def colour_of(outline: Outline) -> RGB:
    """The colour that an outline is drawn in: its own, or that of its class."""
    return outline.colour or class_colour(outline.classification)


def known_classes(outlines: Iterable[Outline], more: Iterable[str] = ()) -> list[str]:
    """The classes to choose from: those that are always offered, those of ``outlines``, and ``more``."""
    return list(dict.fromkeys(name for name in (*CLASSES, *(outline.classification for outline in outlines), *more) if name))


def title_of(outline: Outline) -> str:
    """What an outline is called on screens."""
    return outline.name or outline.classification or "no class"


def about(outline: Outline) -> str:
    """How an outline came about, by whom and when."""
    made = f"from {outline.gene}" if outline.origin == MADE and outline.gene else {HAND: "by hand", BLIND: "by hand, blind"}.get(outline.origin)
    date = outline.date.replace("T", " ").replace("Z", " UTC")
    return " · ".join(words for words in (made or outline.origin, outline.author, date) if words)


def os_user() -> str:
    """The name that the computer knows the user by, "" where it knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such entry, on a cluster or on Windows
        return ""


def drawn(geometry: Area, classification: str, author: str, blind: bool) -> Outline:
    """A new outline, stamped with author and date (ISO 8601, UTC)."""
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Outline(geometry, classification, author=author, date=date, origin=BLIND if blind else HAND)


# -- what may be changed ---------------------------------------------------------------------------------------------------------------


def changed(outlines: Sequence[Outline], outline_id: str, blind: bool = False, **changes: Any) -> tuple[Outline, ...]:
    """``outlines`` with fields of one of them changed; an unknown id changes nothing.

    What was drawn blind and is unlocked or changed while expression is shown (not ``blind``) counts as drawn by hand from then on.

    Raises
    ------
    DataError
        It is locked, and not only unlocked again.
    """
    return tuple(_changed(one, blind, changes) if one.id == outline_id else one for one in outlines)


def without(outlines: Sequence[Outline], outline_id: str) -> tuple[Outline, ...]:
    """``outlines`` without one of them; raises DataError if it is locked."""
    for one in outlines:
        if one.id == outline_id and one.locked:
            raise DataError(locked_words(one))
    return tuple(one for one in outlines if one.id != outline_id)


def locked_words(outline: Outline) -> str:
    """What is said to whoever would change a locked outline."""
    return f"“{title_of(outline)}” is locked: unlock it in the list of outlines to change it."


def settled(before: Sequence[Outline], after: Sequence[Outline], blind: bool) -> tuple[tuple[Outline, ...], tuple[Outline, ...]]:
    """``after`` an edit with the mouse as the rules allow it, and the locked outlines that it would have changed: these stay as they were.

    What was drawn blind and is open to change while expression is shown counts as drawn by hand from then on.
    """
    new = {one.id: one for one in after}
    refused = tuple(one for one in before if one.locked and new.get(one.id) != one)
    kept = [one if one.locked else new.get(one.id) for one in before]  # in their order, whatever that of the shapes is
    known = {one.id for one in before}
    everything = (*kept, *(one for one in after if one.id not in known))
    return tuple(_as_seen(one, blind) for one in everything if one is not None), refused


def _changed(outline: Outline, blind: bool, changes: dict[str, Any]) -> Outline:
    if outline.locked and set(changes) != {"locked"}:
        raise DataError(locked_words(outline))
    return _as_seen(replace(outline, **changes), blind)


def _as_seen(outline: Outline, blind: bool) -> Outline:
    return replace(outline, origin=HAND) if outline.origin == BLIND and not outline.locked and not blind else outline


# -- drawing blind ---------------------------------------------------------------------------------------------------------------------


def unlocked_blind(outlines: Iterable[Outline]) -> tuple[Outline, ...]:
    """Outlines that were drawn blind and are not locked yet: expression stays hidden for their sake."""
    return tuple(one for one in outlines if one.origin == BLIND and not one.locked)


def lock_blind(outlines: Sequence[Outline]) -> tuple[Outline, ...]:
    """``outlines`` with all that were drawn blind locked."""
    return tuple(replace(one, locked=True) if one.origin == BLIND else one for one in outlines)


def give_up_blind(outlines: Sequence[Outline]) -> tuple[Outline, ...]:
    """``outlines`` where those that were drawn blind and not locked count as drawn by hand: expression was shown before they were final."""
    return tuple(_as_seen(one, blind=False) for one in outlines)


# -- the brush -------------------------------------------------------------------------------------------------------------------------


def stroke(path_xy: np.ndarray, radius_px: float) -> Area:
    """The area that a disc of ``radius_px`` covers along ``path_xy`` (m, 2)."""
    line = LineString(path_xy) if len(path_xy) > 1 else Point(path_xy[0])
    return line.simplify(radius_px / 20).buffer(radius_px, 12).simplify(radius_px / 50)


def under_brush(outlines: Sequence[Outline], area: Area, preferred: str = "") -> Outline | None:
    """The outline that a stroke beginning in ``area`` changes: the ``preferred`` (an id) if it touches it, else the topmost; never a locked one."""
    touched = [one for one in outlines if not one.locked and one.geometry.intersects(area)]
    return next((one for one in touched if one.id == preferred), touched[-1] if touched else None)


def brushed(geometry: Area, area: Area, grow: bool) -> Area | None:
    """``geometry`` with ``area`` added or taken away; None where nothing is left."""
    found = geometry.union(area) if grow else geometry.difference(area)
    if isinstance(found, (Polygon, MultiPolygon)):
        return None if found.is_empty else found
    parts = [part for part in getattr(found, "geoms", ()) if isinstance(part, Polygon) and part.area > 0]
    return MultiPolygon(parts) if parts else None
