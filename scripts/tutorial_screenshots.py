"""Screenshots of docs/tutorial.md, step by step on the SYNTHETIC section: tutorial_screenshots.py DIR."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from qtpy.QtWidgets import QApplication
from screenshot_tools import wait

from napari_deepspace._napari.app import open_window

GENE = "SPARC"


def main(output: Path) -> None:
    """Open, look at the filter, train Quick, look, trust, compare, inspect, and draw a figure, as the tutorial tells it."""
    viewer, dock = open_window()
    viewer.window.resize(1366, 768)
    main_window = viewer.window._qt_window
    main_window.move(0, 0)
    session, train = dock.session, dock.train_panel
    session.runs = Path(tempfile.mkdtemp(prefix="deepspace-runs-"))
    train.auto.setChecked(False)

    def shot(name: str, part: object = None, seconds: float = 1.5) -> None:
        """The window with what stands before it; ``part`` of the dock is scrolled into view first."""
        if part is not None:
            dock.show_part(part)
        until = time.monotonic() + seconds
        wait(lambda: time.monotonic() > until)
        dock.say("")  # where this run's folder lies is nobody's business
        QApplication.processEvents()
        place = main_window.frameGeometry()
        picture = QApplication.primaryScreen().grabWindow(0, place.x(), place.y(), place.width(), place.height())
        picture.save(str(output / f"tutorial-{name}.png"))

    dock.open_sample()
    wait(lambda: session.loaded is not None and not session.busy and session.colours is not None)
    dock.estimates.cancel()
    shot("1-open", dock.section_panel)
    session.paint = "removed"
    shot("2-quality", dock.quality_panel)
    session.paint = "gene"
    train.choose_paper_genes()
    dock.start_training()
    wait(lambda: session.running is not None)
    wait(lambda: session.running is None and session.maps is not None and not session.maps.live)
    shot("3-trained", train.run)
    session.gene = GENE
    session.show = "predicted"
    shot("4-look", dock.look_panel)
    shot("5-trust", dock.gene_panel)
    dock.show_part(dock.look_panel.beside)
    dock.compare.open()
    found = session.comparison()
    below = found.measured - found.predicted
    session.selected = found.spots[below > np.quantile(below, 0.9)]
    shot("6-compare")
    dock.compare.dialog.close()
    session.selected = None
    dock.inspector.go(1)
    wait(lambda: bool(dock.inspector.alike.shown.found), 300)
    shot("7-card", dock.look_panel.tour, 3)
    dock.inspector.unpin()
    viewer.reset_view()
    dock.figures.open(("side-by-side", ""))
    dock.figures.dialog.move(main_window.x() + 420, main_window.y() + 180)
    wait(lambda: bool(dock.figures.dialog.lines.text()), 60)
    shot("8-figure", dock.look_panel.beside)
    dock.figures.dialog.dpi.setValue(150)
    dock.figures.draw(output / "tutorial-9-print.png")
    wait(lambda: dock.figures.out is not None, 120)
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
