"""The public names of the package."""

import re
from pathlib import Path

import pytest

import napari_deepspace

PUBLIC = [
    "DeepSpaceError",
    "FigureSettings",
    "RunSettings",
    "SearchSettings",
    "Section",
    "SectionSettings",
    "Slide",
    "StudentsSettings",
    "TrainedModel",
    "__version__",
    "evaluate",
    "fit",
    "load_model",
    "make_phantom",
    "open_slide",
    "predict",
    "predict_denser",
    "preprocess_section",
    "read_section",
    "run_search",
    "run_students",
    "save_figure",
]


def test_the_public_names_are_these():
    """``__all__`` is this list: a name is added or taken away on purpose only."""
    assert sorted(napari_deepspace.__all__) == sorted(PUBLIC)
    assert dir(napari_deepspace) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_says_what_it_is(name):
    """Each public name can be imported and has a docstring."""
    value = getattr(napari_deepspace, name)
    assert value.__doc__
    assert name == "__version__" or value.__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    """A name that does not exist raises AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'fti'"):
        napari_deepspace.fti  # noqa: B018


def test_the_documents_list_the_public_names():
    """docs/architecture.md lists every public name."""
    text = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`([A-Za-z_]+)`", text.split("## Public names")[1].split("\n## ")[0]))
    assert set(PUBLIC) <= listed
