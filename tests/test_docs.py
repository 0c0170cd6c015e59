"""The documents say what the program does."""

import re
from pathlib import Path

import pytest

from napari_deepspace import results
from napari_deepspace.causes import CAUSE
from napari_deepspace.cli import app
from napari_deepspace.section import SEALED

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page):
    """Links and images that are not on the web point to files of the repository."""
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_the_readme_lists_the_commands():
    """The README lists exactly the commands that the command line has; `open` is the one without a name."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## Command line")[1].split("## ")[0]
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(re.findall(r"^napari-deepspace ([a-z][a-z-]*)", text, flags=re.MULTILINE)) == commands - {"open"}


def test_the_contract_for_results_names_every_slot():
    """docs/results-format.md lists every layer and column that results have, and no other."""
    text = (ROOT / "docs" / "results-format.md").read_text(encoding="utf-8")
    layers = {results.PREDICTED, results.MEASURED, results.FILLED, *results.BASELINES.values()}
    spots = (results.SPLIT, results.SOURCE, results.FOLD, results.REASON, results.HOLE, results.UNLIKE, results.DISTANCE)
    spots += (results.CLUSTER, results.TARGET, results.VERDICT, SEALED, CAUSE)
    keys = {*layers, *spots}
    assert set(re.findall(r"`(deepspace_\w+)`", text)) == keys
    for source in results.SOURCES:
        assert f"`{source}`" in text


def test_every_make_target_is_explained():
    """`make help` and CONTRIBUTING.md know every target that a developer calls."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[0].split()) - {"system"}
    assert set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE)) == targets
    assert targets - {"help", "clean"} <= set(re.findall(r"`make ([a-z-]+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))


def test_messages_in_the_document_are_those_of_the_program():
    """Every message that docs/inputs.md explains is said somewhere by the reader, word for word, and every bin and limit is the code's."""
    from napari_deepspace.read.files import BOMB_BYTES, BOMB_RATIO, MOST_CELLS
    from napari_deepspace.read.plain import SUFFIXES

    text = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
    parts = [re.sub(r"…", "", part).strip() for part in re.findall(r"^\| (?:note: )?\*(.+?)\* \|", text, flags=re.MULTILINE)]
    files = [file for pattern in ("read/*.py", "slide*.py") for file in (ROOT / "src/napari_deepspace").glob(pattern)]
    code = " ".join(file.read_text(encoding="utf-8") for file in files)
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # one sentence over several lines
    assert len(parts) > 20
    assert [part for part in parts if part not in code] == []
    assert f"{BOMB_RATIO} times its size and more than {BOMB_BYTES >> 20}\nMiB" in text
    assert f"{MOST_CELLS:,} values" in text
    assert all(f"`{suffix}`" in text for suffix in SUFFIXES if ".gz" not in suffix)
