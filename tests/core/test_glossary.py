"""One glossary for the dock and the documents."""

import ast
from pathlib import Path

import pytest

from napari_deepspace.glossary import GLOSSARY, TERMS, page, term

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_code_says():
    """docs/glossary.md is the page that the code gives; `make glossary` writes it."""
    assert (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("name", sorted(TERMS))
def test_every_explanation_is_one_plain_line(name):
    """An explanation is one line that fits a tooltip, is a sentence, and needs no knowledge of code."""
    line = term(name)
    assert "\n" not in line
    assert 15 < len(line) <= 160
    assert line.endswith(".")
    assert "`" not in line


def test_every_word_is_explained_once():
    """No word stands in two chapters, also not in another case."""
    names = [name.casefold() for chapter in GLOSSARY.values() for name in chapter]
    assert len(names) == len(set(names))


def _asked() -> set[tuple[str, str]]:
    """(module, word) for each word that the dock asks the glossary for: ``term("word")`` and ``label("text", "word")``."""
    asked = set()
    for path in sorted((ROOT / "src" / "napari_deepspace" / "_napari").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            tips = [keyword.value for keyword in node.keywords if keyword.arg == "tip"]
            tips += {"term": node.args[:1], "label": node.args[1:2]}.get(node.func.id, [])
            asked |= {(path.name, tip.value) for tip in tips if isinstance(tip, ast.Constant) and isinstance(tip.value, str) and tip.value}
    return asked


def test_the_glossary_knows_every_word_of_the_dock():
    """Each label's tooltip is a word of the glossary."""
    asked = _asked()
    assert asked
    assert {(module, word) for module, word in asked if word.casefold() not in TERMS} == set()
