"""Screenshots of the quality panel for the documents: python scripts/quality_screenshots.py OUTPUT_DIR (in a display, see scripts/headless)."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from screenshot_tools import wait

from napari_deepspace._napari.app import open_window

B4 = Path(__file__).resolve().parents[2] / "shared" / "data" / "her2st" / "B4"


def main(output: Path) -> None:
    """Show the panel on the synthetic section and, where it lies beside the project, on her2st B4."""
    viewer, dock = open_window()
    viewer.window.resize(1366, 768)
    dock.train_panel.auto.setChecked(False)
    session, panel = dock.session, dock.quality_panel

    def shot(name: str) -> None:
        until = time.monotonic() + 1
        wait(lambda: time.monotonic() > until)
        viewer.screenshot(str(output / f"{name}.png"), canvas_only=False, flash=False)

    def removed_and_regions(name: str) -> None:
        wait(lambda: session.loaded is not None and not session.busy and session.colours is not None)
        dock.estimates.cancel()
        dock.show_part(panel)
        session.paint = "removed"
        shot(f"{name}-removed")
        panel.regions.look.click()
        wait(lambda: session.busy == "checking")
        wait(lambda: not session.busy)
        dock.estimates.cancel()
        dock.show_part(panel.outlines)
        shot(f"{name}-regions")

    dock.open_sample()
    removed_and_regions("quality-synthetic")
    technical = next(outline for outline in session.proposals if outline.failed)
    dock.outline_layers.accept(technical.id)
    dock.outline_layers.go_to(technical.id)
    shot("quality-synthetic-accepted")
    viewer.reset_view()
    panel.clusters.set_open(True)
    session.paint = "clusters"
    dock.show_part(panel.clusters)
    shot("quality-synthetic-clusters")
    panel.clusters.genes.click()
    wait(lambda: dock.gene_windows.dialog is not None)
    dock.gene_windows.dialog.grab().save(str(output / "quality-synthetic-genes.png"))
    dock.gene_windows.dialog.close()
    panel.clusters.set_open(False)
    wait(lambda: not session.busy)
    if B4.is_dir():
        session.loaded = None
        dock.open_section(B4)
        removed_and_regions("quality-her2st-b4")
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
