"""Fixtures of the tests that read small section folders."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
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


@pytest.fixture(scope="session")
def sealed_run(phantom, tmp_path_factory):
    """Quick on the paper's genes of the synthetic section, of which a quarter, a strip at the right, was put away: folder, model, these spots."""
    from napari_deepspace.blocking import fit
    from napari_deepspace.settings import PAPER_GENES, run_settings

    hidden = phantom.centres_yx[:, 1] > np.quantile(phantom.centres_yx[:, 1], 0.75)
    section = dataclasses.replace(phantom, adata=phantom.adata.copy())
    section.adata.obs["deepspace_sealed"] = hidden
    folder = tmp_path_factory.mktemp("sealed")
    asked = run_settings({"sections": [{"path": str(phantom.path)}], "target": {"names": PAPER_GENES}})
    return folder, fit(section, asked, folder, progress=False), hidden
