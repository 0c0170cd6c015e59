"""Plain tables: what their columns may be is guessed, and asked; places without a lattice are never given a scale that nobody stated."""

import numpy as np
import pandas as pd
import pytest

from napari_deepspace.errors import DataError, TableUnclear
from napari_deepspace.project import add_section, create_project, section_settings
from napari_deepspace.read import read_section, read_settings
from napari_deepspace.read.plain import header_of


def table_of(x: np.ndarray, y: np.ndarray, names: tuple[str, str] = ("CX", "CY")) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    genes = {gene: rng.integers(1, 9, len(x)) for gene in ("DDX3X", "DDX3Y", "SPARC")}
    return pd.DataFrame({"ROI": [f"r{i}" for i in range(len(x))], names[0]: x, names[1]: y, "segment": "tumour", **genes})


@pytest.fixture
def irregular():
    rng = np.random.default_rng(0)
    return table_of(rng.uniform(0, 900, 40), rng.uniform(0, 700, 40))


@pytest.fixture
def square():
    x, y = (one.ravel() * 100.0 + 50 for one in np.meshgrid(np.arange(8), np.arange(7)))
    return table_of(x, y, ("x", "y"))


def test_columns_are_guessed_from_the_first_rows(tmp_path, irregular):
    """By name, and x and y as a pair; of a file in any format and of a folder with positions; nothing is read with a guess."""
    irregular.to_csv(tmp_path / "t.csv", index=False)
    irregular.to_parquet(tmp_path / "t.parquet")
    folder = tmp_path / "folder"
    folder.mkdir()
    irregular.to_csv(folder / "positions.tsv", sep="\t", index=False)
    for path in (tmp_path / "t.csv", tmp_path / "t.parquet", folder):
        header = header_of(path)
        assert header.names == tuple(irregular)
        assert header.guess == {"barcode": "ROI", "x": "CX", "y": "CY"}
        assert (len(header.rows), header.rows[0][0]) == (5, "r0")
        with pytest.raises(TableUnclear, match="has no columns x and y") as caught:
            read_section(path)
        assert not caught.value.needs_scale
    with pytest.raises(DataError, match="holds no table of positions"):
        header_of(tmp_path)


def test_places_without_a_lattice_need_a_scale_that_somebody_states(tmp_path, irregular):
    """No pitch is made up for them; with um per px they are what they are, and a project reads them so again."""
    irregular.to_csv(tmp_path / "t.csv", index=False)
    columns = {"x": "CX", "y": "CY", "barcode": ""}
    with pytest.raises(TableUnclear, match="size of a pixel cannot be told") as caught:
        read_section(tmp_path / "t.csv", columns=columns)
    assert caught.value.needs_scale
    section = read_section(tmp_path / "t.csv", columns=columns, mpp=0.5)
    assert section.platform.name == "places without a lattice"
    assert section.adata.obs_names[0] == "spot1"  # "": no column names the spots, though one is called ROI
    project = add_section(create_project(tmp_path / "project"), section)
    again = read_settings(section_settings(project, section.library_id))
    assert (again.columns, again.mpp, again.platform) == (columns, 0.5, section.platform)


def test_a_square_lattice_is_asked_about_until_its_pitch_is_known(tmp_path, square):
    """Legacy ST is taken and said to be asked; a scale that was given makes it a lattice of its own pitch; projects keep question and answer."""
    square.to_csv(tmp_path / "t.csv", index=False)
    project = create_project(tmp_path / "project")
    for given, platform, pitch, asked in (
        ({}, "legacy ST", 200, True),
        ({"platform": "st"}, "legacy ST", 200, False),
        ({"mpp": 2.0}, "legacy ST", 200, False),
        ({"mpp": 0.5}, "square lattice", 50, False),
    ):
        section = read_section(tmp_path / "t.csv", **given)
        assert (section.platform.name, section.platform.pitch_um, section.asks_lattice) == (platform, pytest.approx(pitch), asked)
        assert section.mpp * 100 == pytest.approx(pitch)
        again = read_settings(section_settings(add_section(project, section), section.library_id))
        assert (again.platform, again.mpp, again.asks_lattice) == (section.platform, pytest.approx(section.mpp), asked)
