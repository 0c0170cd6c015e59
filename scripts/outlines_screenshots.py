"""Screenshots of the Outlines step on the SYNTHETIC section: outlines_screenshots.py DIR."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import shapely
from screenshot_tools import wait

from napari_deepspace._napari.app import open_window
from napari_deepspace.outlines import BLIND, MADE, Outline


def main(output: Path) -> None:
    """Outlines of several classes with a locked one and a proposed one, in both themes; the slide while drawing blind."""
    os.environ["NAPARI_DEEPSPACE_RUNS"] = tempfile.mkdtemp(prefix="deepspace-") + "/runs"  # what is drawn here is kept beside it
    viewer, dock = open_window()
    viewer.window.resize(1366, 768)
    session = dock.session
    dock.train_panel.auto.setChecked(False)
    session.author = "A. Pathologist"

    def shot(name: str) -> None:
        dock.show_part(dock.annotate_panel)
        until = time.monotonic() + 1.5
        wait(lambda: time.monotonic() > until)
        dock.say("")
        viewer.screenshot(str(output / f"outlines-{name}.png"), canvas_only=False, flash=False)

    dock.open_sample()
    wait(lambda: session.loaded is not None and not session.busy and session.colours is not None)
    dock.estimates.cancel()
    session.gene = "SPARC"
    disc = shapely.Point(2600, 2500).buffer(420)
    session.outlines = (
        Outline(disc, "invasive", "front", author="A. Pathologist", date="2026-11-26T09:00:00Z", origin=BLIND, locked=True),
        Outline(shapely.box(900, 1900, 1700, 2600), "stroma", "loose stroma", author="A. Pathologist", date="2026-11-26T09:05:00Z"),
        Outline(shapely.Point(3500, 1500).buffer(300), "", "SPARC predicted > 4.60", origin=MADE, gene="SPARC", run="quick-1"),
    )
    dock.annotate_panel.set_open(True)
    shot("step")
    viewer.theme = "light"
    shot("step-light")
    viewer.theme = "dark"
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
