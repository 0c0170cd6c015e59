"""Screenshots of the step "Neighbouring slides" on the SYNTHETIC section and its IHC: neighbours_screenshots.py DIR."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from screenshot_tools import wait
from shapely.geometry import Point

from napari_deepspace._napari.app import open_window
from napari_deepspace.outlines import Outline
from napari_deepspace.phantom import make_phantom_ihc

CLICKED = [(420, 700), (1050, 520), (1800, 650), (1750, 1650), (560, 1720)]  #: places on the section, um


def main(output: Path) -> None:
    """Not aligned, landmarks, laid over, checkerboard, stains, the measurement; in both themes."""
    os.environ["NAPARI_DEEPSPACE_RUNS"] = tempfile.mkdtemp(prefix="deepspace-") + "/runs"
    ihc = make_phantom_ihc()
    truth = json.loads((ihc / "truth" / "truth.json").read_text(encoding="utf-8"))
    to_slide = np.array(truth["slide_um_from_section_um"])
    viewer, dock = open_window()
    viewer.window.resize(1366, 768)
    session, panel = dock.session, dock.neighbours_panel
    dock.train_panel.auto.setChecked(False)
    session.author = "A. Pathologist"

    def rest(seconds: float = 1.5) -> None:
        until = time.monotonic() + seconds
        wait(lambda: time.monotonic() > until)
        dock.say("")

    def shot(name: str, seconds: float = 1.5) -> None:
        dock.show_part(panel)
        rest(seconds)
        viewer.screenshot(str(output / f"neighbours-{name}.png"), canvas_only=False, flash=False)

    def window(name: str, dialog) -> None:
        rest(2.0)
        dialog.grab().save(str(output / f"neighbours-{name}.png"))

    def quiet() -> None:
        wait(lambda: not panel.stop.isVisible())

    dock.open_sample()
    wait(lambda: session.loaded is not None and not session.busy and session.colours is not None)
    dock.estimates.cancel()
    session.gene = "ESR1"
    session.slide_percent = 100
    dock.annotate_panel.set_open(False)
    panel.set_open(True)
    dock.neighbours.add([ihc / "ihc.tif"])
    wait(lambda: bool(session.neighbours))
    quiet()
    dock.neighbours.change(session.chosen_neighbour, {"gap_um": truth["gap_um"], "name": "IHC ESR1"})
    shot("added")
    panel.align.click()
    wait(lambda: session.neighbours[0].transform is not None)
    quiet()
    session.spot_percent = 40
    shot("laid-over")
    dock.aligning.open()
    rng = np.random.default_rng(0)
    for place in CLICKED:
        dock.aligning.click(True, np.array(place) + rng.normal(0, 5, 2))
        dock.aligning.click(False, to_slide @ [*place, 1.0])
    dock.aligning.click(True, (1200, 1150))
    window("landmarks", dock.aligning.dialog)
    viewer.theme = "light"
    window("landmarks-light", dock.aligning.dialog)
    viewer.theme = "dark"
    dock.aligning.undo()
    dock.aligning.dialog.close()
    panel.cover.buttons["checkerboard"].click()
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0.0, 1100.0, 1100.0), 0.9
    panel.opacity.setValue(100)
    shot("checkerboard")
    viewer.theme = "light"
    shot("checkerboard-light")
    viewer.theme = "dark"
    panel.cover.buttons["whole"].click()
    panel.opacity.setValue(15)
    panel.dab.click()
    viewer.reset_view()
    shot("dab")
    dock.quantifying.open()
    wait(lambda: dock.quantifying.found is not None)
    window("measured", dock.quantifying.dialog)
    viewer.theme = "light"
    window("measured-light", dock.quantifying.dialog)
    one, shown = dock.quantifying.found.rows[0], dock.quantifying.dialog
    middles = np.random.default_rng(1).uniform(
        100, np.array(dock.neighbours.overlays.files[session.chosen_neighbour].slide.shape)[::-1] - 100, (6000, 2)
    )
    path = Path(tempfile.mkdtemp()) / "cells.geojson"
    made_up = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": place.tolist()},
            "properties": {"objectType": "cell", "classification": {"name": ("Negative", "1+", "2+", "3+")[number % 4]}},
        }
        for number, place in enumerate(middles)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": made_up}), encoding="utf-8")
    dock.quantifying.take_cells(path)
    wait(lambda: shown.way.findData("h-score") > 0 and shown.run.isEnabled())
    shown.at.buttons["outlines"].click()
    window("outlines-none", shown)
    centres = [(900, 1300), (1700, 1900), (2300, 1100)]
    names = [("Tumour nest, left", "Tumour"), ("Stroma between the nests and the duct", "Stroma"), ("", "Immune cells")]
    session.outlines = tuple(Outline(Point(place).buffer(300), kind, name=name) for place, (name, kind) in zip(centres, names, strict=True))
    shown.run.click()
    wait(lambda: shown.outlines.model() is not None and shown.run.isEnabled())
    window("measured-outlines-light", shown)
    viewer.theme = "dark"
    window("measured-outlines", shown)
    rest(0.5)
    viewer.screenshot(str(output / "neighbours-whole-window.png"), canvas_only=False, flash=False)
    shown.at.buttons["spots"].click()
    wait(shown.run.isEnabled)
    shown.way.setCurrentIndex(shown.way.findData("h-score"))
    shown.run.click()
    wait(lambda: dock.quantifying.found.way == "h-score" and shown.run.isEnabled())
    window("measured-cells", shown)
    print(f"the window: {shown.width()} x {shown.height()}")
    print(f"ESR1 measured against DAB: r = {one.r:.2f}, n = {one.n}")
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
