"""Drawing on the tissue without a window: undo, locks, blind drawing, the brush, and the file that outlines are kept in."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from shapely import affinity
from shapely.geometry import MultiPolygon, Point, box

from napari_deepspace.annotating import (
    CLASSES,
    about,
    brushed,
    changed,
    class_colour,
    colour_of,
    drawn,
    give_up_blind,
    lock_blind,
    settled,
    stroke,
    under_brush,
    unlocked_blind,
    without,
)
from napari_deepspace.errors import DataError
from napari_deepspace.layers import outline_colours
from napari_deepspace.outline_files import own_outlines_path, set_aside
from napari_deepspace.outline_history import STEPS, History, push, redo, undo
from napari_deepspace.outlines import BLIND, HAND, MADE, Outline, read_outlines
from napari_deepspace.project import keep_outlines

SQUARE = box(0, 0, 100, 100)


def edit(rng: random.Random, outlines: tuple[Outline, ...]) -> tuple[Outline, ...]:
    """One edit of any kind that the window knows."""
    kind = rng.choice(["draw", "brush", "move", "class", "name", "note", "colour", "lock", "delete"])
    if kind == "draw" or not outlines:
        x, y = rng.uniform(0, 5000), rng.uniform(0, 5000)
        return (*outlines, drawn(Point(x, y).buffer(rng.uniform(20, 300)), rng.choice(list(CLASSES)), "somebody", rng.random() < 0.5))
    one = rng.choice(outlines)
    if one.locked:
        return changed(outlines, one.id, locked=False)
    if kind == "delete":
        return without(outlines, one.id)
    changes = {
        "brush": lambda: {"geometry": brushed(one.geometry, one.geometry.centroid.buffer(rng.uniform(10, 90)), rng.random() < 0.5) or SQUARE},
        "move": lambda: {"geometry": affinity.translate(one.geometry, rng.uniform(-50, 50), rng.uniform(-50, 50))},
        "class": lambda: {"classification": rng.choice([*CLASSES, "Nerve"])},
        "name": lambda: {"name": f"name {rng.random()}"},
        "note": lambda: {"note": f"note {rng.random()}"},
        "colour": lambda: {"colour": (rng.randrange(256), 0, 0)},
        "lock": lambda: {"locked": True},
    }[kind]()
    return changed(outlines, one.id, blind=rng.random() < 0.5, **changes)


@pytest.mark.parametrize("seed", range(5))
def test_undo_of_fifty_mixed_edits_gives_each_state_back_exactly(seed):
    """Backwards every state is there again, geometry and all fields; forwards too; and an edit after an undo ends what could be redone."""
    rng = random.Random(seed)
    states: list[tuple[Outline, ...]] = [(drawn(SQUARE, "Stroma", "somebody", False),)]
    history = History(states[0])
    while len(states) <= 50:
        after = edit(rng, states[-1])
        if after != states[-1]:
            states.append(after)
            history = push(history, after)
    for state in reversed(states[:-1]):
        history = undo(history)
        assert history.now == state
        assert [one.geometry.wkb for one in history.now] == [one.geometry.wkb for one in state]
    assert undo(history) is history
    for state in states[1:]:
        history = redo(history)
        assert history.now == state
    assert redo(history) is history
    history = push(undo(history), (Outline(SQUARE, "Nerve"),))
    assert redo(history) is history


def test_one_drag_is_one_step_and_nothing_is_none():
    """States of one key join; the same state again is no step; another key, or none, begins a new one; an undone drag is not gone on with."""
    first, *moved = (replace(Outline(SQUARE, "Stroma", id="a"), geometry=affinity.translate(SQUARE, x)) for x in range(5))
    history = History((first,))
    for one in moved[:3]:
        history = push(history, (one,), "drag 1")
    assert push(history, (replace(moved[2]),), "drag 2") is history
    history = push(history, (moved[3],), "drag 2")
    assert undo(history).now == (moved[2],)
    assert undo(undo(history)).now == (first,)
    again = push(undo(undo(history)), (moved[1],), "drag 1")
    assert undo(again).now == (first,)
    long = History()
    for number in range(STEPS + 20):
        long = push(long, (replace(first, name=str(number)),))
    assert len(long.past) == STEPS


def test_a_new_outline_says_who_when_and_how():
    """Author as given, the time of insertion in UTC, by hand or blind; a made one that is changed stays made."""
    outline = drawn(SQUARE, "Immune", "Dr. Somebody", False)
    assert (outline.author, outline.origin, drawn(SQUARE, "Immune", "", True).origin) == ("Dr. Somebody", HAND, BLIND)
    assert outline.date.endswith("Z")
    assert abs(datetime.fromisoformat(outline.date) - datetime.now(UTC)) < timedelta(seconds=5)
    assert about(outline).startswith("by hand · Dr. Somebody · 2")
    made = replace(outline, origin=MADE, gene="ERBB2")
    (after,) = changed((made,), made.id, geometry=box(0, 0, 50, 50), classification="Invasive")
    assert after.origin == MADE
    assert about(after).startswith("from ERBB2")


def test_a_locked_outline_cannot_be_changed_or_deleted():
    """Neither from the list, which says why, nor with the mouse: there it stays as it was, and the others change."""
    locked, free = replace(drawn(SQUARE, "Stroma", "", False), locked=True, name="Nest 3"), drawn(box(200, 0, 300, 100), "Immune", "", False)
    both = (locked, free)
    edits = (lambda: changed(both, locked.id, note="no"), lambda: changed(both, locked.id, locked=False, note="no"), lambda: without(both, locked.id))
    for act in edits:
        with pytest.raises(DataError, match="“Nest 3” is locked: unlock it"):
            act()
    moved = replace(free, geometry=affinity.translate(free.geometry, 10))
    assert settled(both, (replace(locked, geometry=box(0, 0, 9, 9)), moved), False) == ((locked, moved), (locked,))
    assert settled(both, (moved,), False) == ((locked, moved), (locked,))
    assert settled(both, (moved, locked), False) == ((locked, moved), ()), "the order of the list stays"
    assert settled(both, (locked, moved), False) == ((locked, moved), ())
    unlocked = changed(both, locked.id, locked=False)
    assert not unlocked[0].locked
    assert without(unlocked, locked.id) == (free,)


def test_blind_counts_only_while_nothing_was_seen():
    """Open to change while expression shows, by list or mouse, it is by hand; while it is hidden, or locked, it stays blind."""
    blind = drawn(SQUARE, "Stroma", "", True)
    moved = replace(blind, geometry=box(0, 0, 50, 50))
    assert settled((blind,), (moved,), False)[0][0].origin == HAND
    assert settled((blind,), (moved,), True)[0][0].origin == BLIND
    assert changed((blind,), blind.id, classification="Immune")[0].origin == HAND
    assert changed((blind,), blind.id, True, classification="Immune")[0].origin == BLIND
    assert changed((blind,), blind.id, note="seen", name="A", locked=True)[0].origin == BLIND
    locked = replace(drawn(SQUARE, "Stroma", "", True), locked=True)
    assert changed((locked,), locked.id, locked=False)[0].origin == HAND
    assert changed((locked,), locked.id, True, locked=False)[0].origin == BLIND
    assert unlocked_blind((blind, locked)) == (blind,)
    assert [one.locked for one in lock_blind((blind, locked))] == [True, True]
    assert [one.origin for one in give_up_blind((blind, locked))] == [HAND, BLIND]


def test_the_brush_grows_and_shrinks():
    """A stroke is what a disc covers; it adds, cuts holes, makes parts, and takes the whole away; locked outlines are never under it."""
    line = stroke(np.array([[0.0, 0.0], [100.0, 0.0]]), 10)
    assert line.area == pytest.approx(100 * 20 + np.pi * 100, rel=0.02)
    assert brushed(SQUARE, box(90, 0, 150, 100), True).area == pytest.approx(15000)
    assert len(brushed(SQUARE, Point(50, 50).buffer(10), False).interiors) == 1
    assert isinstance(brushed(SQUARE, box(40, -10, 60, 110), False), MultiPolygon)
    assert brushed(SQUARE, box(-10, -10, 110, 110), False) is None
    below, above = Outline(SQUARE, "Stroma"), Outline(box(50, 0, 200, 100), "Immune")
    disc = Point(75, 50).buffer(5)
    assert under_brush((below, above), disc) is above
    assert under_brush((below, above), disc, below.id) is below
    assert under_brush((below, replace(above, locked=True)), disc) is below
    assert under_brush((below, above), Point(500, 500).buffer(5), below.id) is None


def test_each_class_has_its_colour_and_an_outline_may_have_its_own():
    """Classes of the user have a colour too, the same each time; a locked outline is fainter within."""
    assert len(set(CLASSES.values())) == len(CLASSES)
    assert class_colour("Nerve") == class_colour("Nerve") != class_colour("Invasive")
    own = Outline(SQUARE, "Nerve", colour=(1, 2, 3), locked=True)
    assert colour_of(own) == (1, 2, 3)
    edge, face = outline_colours([own, Outline(SQUARE, "Immune")])
    np.testing.assert_allclose(edge[:, :3] * 255, [(1, 2, 3), CLASSES["Immune"]])
    assert face[0, 3] < face[1, 3] < 1


def test_outlines_without_a_project_have_a_file_of_their_section(small, tmp_path):
    """The same section finds it wherever it lies, another of its name does not; no outlines, no file; a replaced one is put aside."""
    umi = np.arange(small.adata.n_obs)
    path = own_outlines_path(tmp_path / "runs", small, umi)
    assert path.parent == tmp_path / "outlines"
    assert path == own_outlines_path(tmp_path / "runs", replace(small, path=tmp_path / "elsewhere"), umi.astype(float))
    assert path != own_outlines_path(tmp_path / "runs", small, umi + 1)
    keep_outlines(path, (Outline(SQUARE, "Stroma", id="one"),))
    assert [one.id for one in read_outlines(path)] == ["one"]
    aside = set_aside(path)
    assert not path.exists()
    assert [one.id for one in read_outlines(aside)] == ["one"]
    keep_outlines(aside, ())
    assert not aside.exists()
