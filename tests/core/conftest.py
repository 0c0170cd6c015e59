"""Fixtures of the tests that read small section folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from section_folders import write_outs


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """One cache for all tests of a file, so that each real slide is decoded once; use it with ``usefixtures``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_DEEPSPACE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def outs(tmp_path) -> Path:
    """A small Space Ranger folder."""
    return write_outs(tmp_path / "sample one" / "outs")
