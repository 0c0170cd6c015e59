"""Opening a section whose image has to be copied first: what is done is said, and can be stopped."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog
from tests.core.scanner_files import write_ome_zarr
from window_tools import drop_on

from napari_deepspace.slide import open_slide


@pytest.fixture
def flat(phantom_dir, tmp_path, monkeypatch):
    """The synthetic slide as a JPEG, and a cache folder of its own."""
    with open_slide(phantom_dir / "image.tif") as slide:
        Image.fromarray(slide.levels[0][:]).save(tmp_path / "flat.jpg", quality=85)
    monkeypatch.setenv("NAPARI_DEEPSPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "flat.jpg"


def test_stop_in_the_middle_leaves_everything_as_it_was(opened, flat, tmp_path, qtbot):
    """While a JPEG is copied the dock says so with the memory it takes and per cent; Stop ends it, and another try goes through."""
    dock, before, settings = opened, opened.session.loaded, opened.opened
    layers = list(dock._viewer.layers)
    dock.reopen(image=flat)
    qtbot.waitUntil(lambda: dock.loading.isVisible() and dock.loading.bar.value() > 10, timeout=30_000)
    assert "flat.jpg, 4,608 x 4,608 px JPEG: decoded once into a tiled copy; needs 0.2 GB of memory" in dock.messages
    assert not dock.section_panel.open_button.isEnabled()
    QTest.mouseClick(dock.loading.stop, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not dock.session.busy, timeout=2_000)
    assert dock.messages[-1].startswith("Stopped") and dock.status.property("level") == "info"
    assert dock.session.loaded is before and dock.opened is settings and list(dock._viewer.layers) == layers
    assert not dock.loading.isVisible() and dock.section_panel.open_button.isEnabled()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    dock.reopen(image=flat)
    qtbot.waitUntil(lambda: not dock.session.busy, timeout=60_000)
    assert dock.session.section.slide.path == flat
    assert sum("decoded once" in message for message in dock.messages) == 2


def test_an_ome_zarr_folder_is_an_image(opened, phantom_dir, tmp_path, qtbot, monkeypatch):
    """Dropped while a section is open, or chosen with Image…, it becomes the slide of that section; a SpatialData store stays a section."""
    dock = opened
    with open_slide(phantom_dir / "image.tif") as slide:
        levels = [slide.levels[0][:], slide.levels[1][:], slide.levels[2][:]]
    image = write_ome_zarr(tmp_path / "he.zarr", levels, "cyx", np.uint8, mpp=slide.mpp)
    name = dock.session.section.library_id
    drop_on(dock, image)
    qtbot.waitUntil(lambda: not dock.session.busy, timeout=60_000)
    assert (dock.session.section.slide.path, dock.session.section.library_id) == (image, name)
    (tmp_path / "store.zarr" / "shapes").mkdir(parents=True)
    (tmp_path / "store.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {"spatialdata_attrs": {}}}')
    drop_on(dock, tmp_path / "store.zarr")
    qtbot.waitUntil(lambda: not dock.session.busy, timeout=60_000)
    assert "Reading store.zarr…" in dock.messages, "it is opened as a section"
    assert dock.session.section.slide.path == image
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(image))
    dock.section_panel.image_chosen.disconnect()
    with qtbot.waitSignal(dock.section_panel.image_chosen) as chosen:
        next(action for action in dock.section_panel.image_button.menu().actions() if "folder" in action.text()).trigger()
    assert chosen.args == [image]
