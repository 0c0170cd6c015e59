"""Screenshots of what the dock asks on opening: python scripts/inputs_window.py OUTPUT_DIR (in a display, see scripts/headless).

Everything in them is SYNTHETIC.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from screenshot_tools import wait

from napari_deepspace._napari.app import open_window
from napari_deepspace.phantom import make_phantom, make_phantom_series


def write_rois(path: Path) -> Path:
    """A table of regions that lie anywhere, with columns that nobody can know."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"ROI": [f"roi_{number:03d}" for number in range(60)]})
    table["CX"], table["CY"] = rng.uniform(0, 9000, 60).round(1), rng.uniform(0, 7000, 60).round(1)
    table["segment"] = rng.choice(["tumour", "stroma"], 60)
    for gene in ("ESR1", "ERBB2", "SPARC", "COL1A1", "FN1", "CD3E", "MS4A1", "KRT8", "KRT18"):
        table[gene] = rng.poisson(8, 60)
    table.to_csv(path, index=False)
    return path


def main(output: Path) -> None:
    """The way round of a slide, a list of sections with a scale that is doubted, and the columns of a table."""
    viewer, dock = open_window()
    viewer.window.resize(1366, 768)
    dock.train_panel.auto.setChecked(False)
    session, panel = dock.session, dock.section_panel

    def shot(name: str) -> None:
        dock.estimates.cancel()
        dock.show_part(panel)
        until = time.monotonic() + 1.5
        wait(lambda: time.monotonic() > until)
        viewer.screenshot(str(output / f"{name}.png"), canvas_only=False, flash=False)

    dock.open_section(make_phantom() / "outs", orientation="mirrored", library_id="synthetic-section")
    wait(lambda: not session.busy and not panel.orientation.isHidden())
    shot("inputs-orientation")

    series = make_phantom_series()
    for name, mpp in (("A", None), ("B", 0.6)):
        session.loaded = None
        dock.open_section(series / name / "outs", library_id=f"section-{name}", mpp=mpp)
        wait(lambda: session.loaded is not None and not session.busy)
        if name == "A":  # the first section of all is left out of this picture
            dock.sections.known = {"section-A": dock.sections.known["section-A"]}
    panel.others.setChecked(True)
    shot("inputs-sections")

    with tempfile.TemporaryDirectory() as folder:
        dock.open_section(write_rois(Path(folder) / "rois.csv"))
        wait(lambda: hasattr(dock, "columns_dialog"))
        dialog = dock.columns_dialog
        until = time.monotonic() + 1
        wait(lambda: time.monotonic() > until)
        dialog.grab().save(str(output / "inputs-columns.png"))
        dialog.reject()
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
