"""Screenshots of the Outlines step on the SYNTHETIC section, the whole way: outlines_screenshots.py DIR."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import shapely
import shapely.affinity
from screenshot_tools import wait

from napari_deepspace._napari.app import open_window
from napari_deepspace._napari.regions_dialog import BOXES, FRONT, OBSERVERS, TABLE
from napari_deepspace.outlines import BLIND, HAND, Outline, write_outlines

AUTHOR = "A. Pathologist"


def main(output: Path) -> None:
    """Drawing blind, the list, a proposal with its threshold, and the window of regions tab by tab."""
    folder = Path(tempfile.mkdtemp(prefix="deepspace-"))
    os.environ["NAPARI_DEEPSPACE_RUNS"] = str(folder / "runs")  # what is drawn here is kept beside it
    viewer, dock = open_window()
    viewer.window.resize(1366, 768)
    session, panel = dock.session, dock.annotate_panel
    dock.train_panel.auto.setChecked(False)
    session.author = AUTHOR

    def settle(seconds: float = 1.2) -> None:
        until = time.monotonic() + seconds
        wait(lambda: time.monotonic() > until)

    def shot(name: str) -> None:
        dock.show_part(panel)
        settle()
        dock.say("")
        viewer.screenshot(str(output / f"outlines-{name}.png"), canvas_only=False, flash=False)

    dock.open_sample()
    wait(lambda: session.loaded is not None and not session.busy and session.colours is not None)
    dock.estimates.cancel()
    dock.train_panel.choose("quick")
    dock.start_training()
    wait(lambda: session.running is None and session.maps is not None and not session.busy)
    session.gene = "SPARC"
    panel.set_open(True)
    session.blind = True
    front = Outline(shapely.Point(2600, 2500).buffer(420), "Invasive", "front", author=AUTHOR, date="2026-11-26T09:00:00Z", origin=BLIND)
    stroma = Outline(shapely.box(900, 1900, 1700, 2600), "Stroma", "loose stroma", author=AUTHOR, date="2026-11-26T09:05:00Z", origin=HAND)
    session.outlines, session.chosen_outline = (front, stroma), front.id
    shot("blind")
    session.outlines = (replace(front, locked=True), stroma)
    session.blind = False
    panel.propose.set_open(True)
    wait(lambda: dock.proposing.scores is not None)
    panel.propose.preview.setChecked(True)
    settle()
    dock.show_part(panel.propose)
    settle()
    dock.say("")
    viewer.screenshot(str(output / "outlines-propose.png"), canvas_only=False, flash=False)
    panel.propose.propose.click()
    wait(lambda: len(session.outlines) > 2)
    panel.propose.preview.setChecked(False)
    panel.propose.set_open(False)
    shot("step")
    viewer.theme = "light"
    shot("step-light")
    viewer.theme = "dark"
    moved = shapely.affinity.translate(front.geometry, 70, -40)
    write_outlines(folder / "second observer.geojson", [replace(front, geometry=moved), stroma], session.drawn_on)
    dock.regions.open()
    dock.regions.observer = folder / "second observer.geojson"
    for tab, name in ((TABLE, "table"), (BOXES, "distributions"), (FRONT, "front"), (OBSERVERS, "observers")):
        dock.regions.answers.pop(tab, None)
        dock.regions.dialog.tabs.setCurrentIndex(tab)
        dock.regions.dialog.by.buttons["outline" if tab == TABLE else "class"].click()
        wait(lambda tab=tab: tab in dock.regions.answers, 120)
        if tab == TABLE:
            dock.regions.dialog.table.setCurrentIndex(dock.regions.dialog.table.model().index(2, 0))
        settle(0.5)
        dock.regions.dialog.grab().save(str(output / f"outlines-{name}.png"))
    dock.regions.dialog.close()
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
