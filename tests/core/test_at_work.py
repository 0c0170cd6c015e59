"""A folder that another process works on is left alone: its events end with what that process writes, not with the refusal."""

import json
import subprocess
import sys

import psutil
import pytest
import yaml

from napari_deepspace.cli import main
from napari_deepspace.events import Progress
from napari_deepspace.runs import EventLog, read_events


@pytest.fixture
def other():
    """A process that lives."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("students", {"unlabelled": ["."]}),
        ("search", {"space": {"tile.extra_percent": [0, 50]}}),
    ],
)
def test_a_second_process_on_the_same_folder_writes_nothing_there(command, more, other, phantom_dir, tmp_path, capsys):
    """`--resume` beside a job at work is refused before its events are touched: a Failed there would be taken as the job's end."""
    asked, folder = tmp_path / "asked.yaml", tmp_path / "job"
    asked.write_text(yaml.safe_dump({"run": {"sections": [{"path": str(phantom_dir)}]}, **more}))
    folder.mkdir()
    (folder / f"{command}.yaml").write_text("{}")
    (folder / "process.json").write_text(json.dumps({"pid": other.pid, "created": psutil.Process(other.pid).create_time()}))
    log = EventLog(folder)
    log.write(Progress("rounds", 1, 3))
    log.close()
    assert main([command, str(asked), "--out", str(folder), "--resume"]) == 2
    assert f"Process {other.pid} works on the {command}" in capsys.readouterr().err
    assert list(read_events(folder)) == [Progress("rounds", 1, 3)]
