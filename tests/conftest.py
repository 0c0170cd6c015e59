"""Fixtures shared by all tests: the synthetic section, a small part of it, and the real sections beside the project."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torchvision  # noqa: F401  before any window: Triton and Mesa bring an LLVM each, and the later one may crash

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items):
    """Tests on real sections are skipped only where the folder of real sections does not exist; windows share a process, other files may not."""
    for item in items:
        group = "gui" if item.path.parent.name == "gui" else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
    if not SHARED_DATA.is_dir():
        for item in items:
            if item.get_closest_marker("real_data"):
                item.add_marker(pytest.mark.skip(reason="the real sections are not beside the project"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real sections."""
    return SHARED_DATA


@pytest.fixture(scope="session")
def phantom_dir() -> Path:
    """The built-in synthetic section, made once and cached."""
    from napari_deepspace.phantom import make_phantom

    return make_phantom()


@pytest.fixture(scope="session")
def phantom(phantom_dir):
    """The synthetic section, read by the ordinary reader. Tests must not change it."""
    from napari_deepspace.read import read_section

    return read_section(phantom_dir)


@pytest.fixture(scope="session")
def small(phantom):
    """About 200 spots of the synthetic section, for what needs no accuracy."""
    return part_of(phantom, phantom.centres_yx[:, 0] < np.quantile(phantom.centres_yx[:, 0], 0.25))


def part_of(section, rows):
    """A section with some of the spots of another, on the same slide."""
    return dataclasses.replace(section, adata=section.adata[rows].copy())
