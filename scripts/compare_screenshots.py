"""Screenshots of measured against predicted on the SYNTHETIC section and, where ../shared/data is, on her2st C3: compare_screenshots.py DIR."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from screenshot_tools import wait

from napari_deepspace._napari.app import open_window

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "her2st" / "C3"


def main(output: Path) -> None:
    """Quick on each section; the spots that are predicted too low in the scatter and on the slide, and the swipe."""
    viewer, dock = open_window()
    viewer.window.resize(1366, 768)
    session, panel = dock.session, dock.train_panel
    session.runs = Path(tempfile.mkdtemp(prefix="deepspace-runs-"))
    panel.auto.setChecked(False)

    def pause() -> None:
        until = time.monotonic() + 1
        wait(lambda: time.monotonic() > until)

    def shot(name: str) -> None:
        pause()
        dock.say("")  # where this run's folder lies is nobody's business
        viewer.screenshot(str(output / f"{name}.png"), canvas_only=False, flash=False)

    def grab(name: str) -> None:
        pause()
        dock.compare.dialog.grab().save(str(output / f"{name}.png"))

    def train() -> None:
        wait(lambda: session.loaded is not None and not session.busy and session.colours is not None)
        dock.estimates.cancel()
        panel.choose_paper_genes()
        dock.start_training()
        wait(lambda: session.running is not None)
        wait(lambda: session.running is None and session.maps is not None and not session.maps.live)
        session.gene = "SPARC"
        dock.show_part(dock.look_panel.beside)
        dock.compare.open()
        found = session.comparison()
        below = found.measured - found.predicted
        session.selected = found.spots[below > np.quantile(below, 0.9)]

    dock.open_sample()
    train()
    grab("compare-scatter")
    shot("compare-slide")
    session.selected = None
    dock.compare.toggle_swipe()
    shot("compare-swipe")
    if REAL.is_dir():
        dock.open_section(REAL)
        wait(lambda: session.section is not None and not session.section.synthetic and not session.busy)
        session.filter = session.filter.model_copy(update={"min_umi": 0, "min_genes": 0})
        train()
        grab("compare-her2st-c3")
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
