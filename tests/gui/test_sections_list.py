"""The orientation is asked about, shown before it is used, and sections that were opened are listed."""

from __future__ import annotations

import numpy as np
from window_tools import painted

from napari_deepspace._napari.canvas import OTHERS, SLIDE
from napari_deepspace.layers import METADATA


def test_orientation_and_sections(opened, qtbot, phantom_dir):
    """A mirrored slide is noticed, previewed and put right; a second section joins the list, and the first can stay in view beside it."""
    dock = opened
    panel, layers = dock.section_panel, dock.canvas.viewer.layers
    qtbot.waitUntil(lambda: dock.orienting.check is not None, timeout=60_000)
    assert panel.orientation.isHidden()
    dock.reopen(orientation="mirrored", library_id="mirrored-one")
    qtbot.waitUntil(lambda: not panel.orientation.isHidden(), timeout=60_000)
    assert "fits better mirrored" in panel.orientation_words.text()
    level = -1
    before = np.asarray(dock.canvas.layer(SLIDE).data[level])
    panel.preview.click()
    np.testing.assert_array_equal(np.asarray(dock.canvas.layer(SLIDE).data[level]), before[:, ::-1])
    panel.preview.click()
    np.testing.assert_array_equal(np.asarray(dock.canvas.layer(SLIDE).data[level]), before)
    panel.use.click()
    qtbot.waitUntil(lambda: not dock.session.busy and dock.session.section.orientation == "as it is" and painted(dock), timeout=60_000)
    qtbot.waitUntil(lambda: dock.orienting.check is not None, timeout=60_000)
    assert panel.orientation.isHidden()
    assert [panel.sections.itemText(n) for n in range(panel.sections.count())] == list(dock.sections.known)
    assert panel.sections.count() == 2 and "genes in all 2 sections" in panel.genes.text()
    panel.others.setChecked(True)
    beside = [layer for layer in layers if layer.metadata.get(METADATA, {}).get("role") in OTHERS]
    assert len(beside) == 2 and all(layer.translate[-1] > 0 for layer in beside)
    panel.others.setChecked(False)
    assert not [layer for layer in layers if layer.metadata.get(METADATA, {}).get("role") in OTHERS]
    dock.sections.choose(next(iter(dock.sections.known)))
    qtbot.waitUntil(lambda: not dock.session.busy and dock.session.section.library_id == next(iter(dock.sections.known)), timeout=60_000)
