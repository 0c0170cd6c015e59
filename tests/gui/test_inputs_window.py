"""What a file cannot say is asked in the dock, once: columns of a table, the pitch of a square lattice, which of several sections."""

import anndata
import numpy as np
import pandas as pd
import pytest

from napari_deepspace.recipes import open_recipe


@pytest.fixture
def read(dock, qtbot):
    """Opens a path, waits until it is read or refused, and gives the dock."""

    def open_(path):
        dock.open_section(path)
        qtbot.waitUntil(lambda: not dock.session.busy, timeout=20_000)
        return dock

    return open_


def write_table(path, x, y, names=("x", "y")):
    counts = np.random.default_rng(0).integers(1, 9, (len(x), 2))
    pd.DataFrame({"ROI": [f"r{i}" for i in range(len(x))], names[0]: x, names[1]: y, "A": counts[:, 0], "B": counts[:, 1]}).to_csv(path, index=False)


def squares(number):
    return (one.ravel() * 100.0 + 50 for one in np.meshgrid(np.arange(number), np.arange(number)))


def test_columns_are_asked_for_and_kept(read, dock, qtbot, tmp_path):
    """Cancel leaves nothing; the answer opens the table, and settings, copied command and project hold it."""
    places = np.random.default_rng(0).uniform(0, 900, (30, 2))
    write_table(tmp_path / "t.csv", *places.T, names=("CX", "CY"))
    read(tmp_path / "t.csv")
    qtbot.waitUntil(lambda: hasattr(dock, "columns_dialog"), timeout=10_000)
    dialog = dock.columns_dialog
    assert {role: dialog.combos[role].currentText() for role in ("x", "y", "barcode", "cluster")} == {
        "x": "CX",
        "y": "CY",
        "barcode": "ROI",
        "cluster": "–",
    }
    dialog.combos["y"].setCurrentText("ROI")
    assert not dialog.open_button.isEnabled()
    assert "'r0', which is no number" in dialog.wrong.text()
    dialog.reject()
    assert dock.session.section is None
    assert "was not opened" in dock.messages[-1]
    del dock.columns_dialog
    read(tmp_path / "t.csv")
    qtbot.waitUntil(lambda: hasattr(dock, "columns_dialog"), timeout=10_000)
    dock.columns_dialog.mpp.setValue(0.5)
    dock.columns_dialog.open_button.click()
    qtbot.waitUntil(lambda: dock.session.section is not None and not dock.session.busy, timeout=20_000)
    assert dock.opened.columns == {"barcode": "ROI", "x": "CX", "y": "CY"}
    assert "--mpp 0.5 --library-id t --columns x=CX,y=CY,barcode=ROI" in open_recipe(dock.opened).command
    dock.save_project(tmp_path / "project")
    dock.open_project(tmp_path / "project")
    qtbot.waitUntil(lambda: not dock.session.busy, timeout=20_000)
    assert dock.opened.columns == {"barcode": "ROI", "x": "CX", "y": "CY"}
    assert dock.session.section.mpp == 0.5


def test_a_square_lattice_is_asked_about_once(read, qtbot, tmp_path):
    """A pitch in um becomes um per px; the question goes, and does not come back when the section is read again."""
    write_table(tmp_path / "s.csv", *squares(7))
    dock = read(tmp_path / "s.csv")
    question = dock.section_panel.lattice
    assert not question.isHidden()
    assert question.number.value() == pytest.approx(200)
    assert "Square lattice" not in dock.section_panel.notes.text()
    question.number.setValue(50)
    question.use.click()
    qtbot.waitUntil(lambda: not dock.session.busy and question.isHidden(), timeout=20_000)
    assert (dock.session.section.mpp, dock.session.section.platform.pitch_um) == (0.5, pytest.approx(50))
    read(tmp_path / "s.csv")
    question.yes.click()
    qtbot.waitUntil(lambda: not dock.session.busy and question.isHidden(), timeout=20_000)
    dock.reopen()
    qtbot.waitUntil(lambda: not dock.session.busy, timeout=20_000)
    assert question.isHidden()
    assert (dock.session.section.platform.name, dock.opened.platform) == ("legacy ST", "st")


def test_sections_of_one_file_are_listed(read, qtbot, tmp_path):
    """Both sections of an .h5ad stand in the list at once; choosing the other one reads it by its name."""
    xy = np.column_stack(list(squares(6)))
    table = anndata.AnnData(np.ones((72, 3), dtype=np.float32), obs=pd.DataFrame({"library_id": ["one"] * 36 + ["two"] * 36}))
    table.obs_names = [f"s{number}" for number in range(72)]
    table.obsm["spatial"] = np.vstack([xy, xy])
    table.uns["spatial"] = {name: {"images": {}, "scalefactors": {}, "metadata": {}} for name in ("one", "two")}
    table.write_h5ad(tmp_path / "both.h5ad")
    dock = read(tmp_path / "both.h5ad")
    listed = dock.section_panel.sections
    qtbot.waitUntil(lambda: listed.count() == 2, timeout=20_000)
    assert (listed.currentData(), listed.itemData(1)) == ("one", "two")
    assert "not opened yet" in listed.itemText(1)
    dock.sections.choose("two")
    qtbot.waitUntil(lambda: not dock.session.busy and dock.session.section.library_id == "two", timeout=20_000)
    assert dock.opened.library_id == "two"
    assert [listed.itemText(number) for number in range(listed.count())] == ["one", "two"]
    assert listed.currentData() == "two"
