"""Events survive JSON, and a run can be followed while it is written."""

import math
import threading

import pytest

from napari_deepspace.events import (
    EVENTS,
    BatchEnded,
    EpochEnded,
    Failed,
    Finished,
    Paused,
    Predicted,
    Preprocessed,
    Resumed,
    Started,
    Stopped,
    TrialEnded,
    from_json,
    result_of,
    to_json,
)  # fmt: skip
from napari_deepspace.runs import EventLog, follow, new_run_dir, read_events, write_atomic


def test_round_trip():
    """Every field comes back, NaN and tuples included."""
    started = Started("run", "quick", ("ESR1", "FN1"), 10, 5, 0, "cpu")
    assert from_json(to_json(started)) == started
    epoch = from_json(to_json(EpochEnded(0, 1, 2, 0.5, 0.4, float("nan"), True, 1.0)))
    assert isinstance(epoch, EpochEnded)
    assert math.isnan(epoch.validation_r)
    names = {"Started", "Progress", "Noted", "BaselinesScored", "BatchEnded", "EpochEnded", "FoldEnded"}
    assert set(EVENTS) == names | {"Finished", "Preprocessed", "Predicted", "TrialEnded", "StudentEnded", "Paused", "Resumed", "Stopped", "Failed"}
    for event in (Paused(1, 3, 12), Resumed(1, 3, 12, 4711)):
        assert from_json(to_json(event)) == event
    trial = TrialEnded(3, 40, {"tile.extra_percent": 150, "model.augment": ["flip"]}, "finished", 0.3, 2, 0.4, 3, 12.5)
    assert from_json(to_json(trial)) == trial
    files = Preprocessed(1.5, {"C3": {"regions": "1-C3.regions.geojson"}})
    assert from_json(to_json(files)) == files
    assert from_json(to_json(Predicted("map.zarr", 5000, 12.5))) == Predicted("map.zarr", 5000, 12.5)


def test_a_generator_of_events_can_be_run_through():
    """What it returns comes back, and its errors pass."""

    def job():
        yield Started("run", "quick", (), 0, 0, 0, "cpu")
        return 7

    assert result_of(job()) == 7


def test_newer_fields_are_ignored_and_foreign_lines_refused():
    """Runs of a newer version stay readable; what is no event is refused."""
    assert from_json('{"event": "Stopped", "reason": "x", "new": 1}') == Stopped("x")
    for line in ("[]", '{"event": "Nonsense"}', "{"):
        with pytest.raises(ValueError, match=r"event|Expecting"):
            from_json(line)


def test_unfinished_line_is_left_for_later(tmp_path):
    """A line that is still being written is not read."""
    log = EventLog(tmp_path)
    log.write(BatchEnded(0, 1, 1, 2, 0.5))
    log._file.write('{"event": "Bat')
    log._file.flush()
    assert list(read_events(tmp_path)) == [BatchEnded(0, 1, 1, 2, 0.5)]
    log.close()


def test_follow_sees_events_as_they_come(tmp_path):
    """The follower yields events in order, None in between, and ends with the run."""
    log = EventLog(tmp_path)
    wanted = [BatchEnded(0, 1, step, 3, 0.1) for step in range(3)] + [Finished(0.5, 10, 1.0)]

    def write():
        for event in wanted:
            log.write(event)

    writer = threading.Timer(0.2, write)
    writer.start()
    seen = list(follow(tmp_path, alive=lambda: True, poll_s=0.02))
    writer.join()
    log.close()
    assert [event for event in seen if event is not None] == wanted
    assert None in seen


def test_follow_ends_when_the_process_has_died(tmp_path):
    """What a dying process wrote last is still read."""
    log = EventLog(tmp_path)
    log.write(Failed("gone"))
    log.close()
    assert list(follow(tmp_path, alive=lambda: False)) == [Failed("gone")]
    assert list(follow(tmp_path / "nothing", alive=lambda: False)) == []


def test_run_folders_never_collide(tmp_path):
    """Two runs started in the same second get folders of their own; odd names are made safe."""
    first, second = new_run_dir(tmp_path, "my run/1"), new_run_dir(tmp_path, "my run/1")
    assert first != second
    assert first.parent == second.parent == tmp_path


def test_write_atomic_leaves_the_old_file_when_it_fails(tmp_path):
    """A failed write keeps what was there and leaves nothing beside it."""
    path = tmp_path / "file.txt"
    write_atomic(path, "old")
    with pytest.raises(TypeError):
        write_atomic(path, 5)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
