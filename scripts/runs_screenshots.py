"""Screenshots of the train panel at work, the queue, the list of runs and the parameter search, on the SYNTHETIC section.

python scripts/runs_screenshots.py OUTPUT_DIR
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from screenshot_tools import wait

from napari_deepspace._napari.app import open_window
from napari_deepspace.settings import NetworkSettings, SplitSettings

NETWORK = NetworkSettings(backbone="resnet18", weights="scratch", tile_px=64, epochs=8, learning_rate=1e-3, patience=10)


def main(output: Path) -> None:
    """A network at work with two runs behind it; paused, and offered again; then all runs, compared."""
    runs = Path(tempfile.mkdtemp(prefix="deepspace-runs-"))
    viewer, dock = open_window()
    viewer.window.resize(1366, 768)
    session, panel = dock.session, dock.train_panel
    session.runs = runs
    panel.auto.setChecked(False)
    dock.training.ask = lambda text: "stop"

    def settle(seconds: float = 1.0) -> None:
        until = time.monotonic() + seconds
        wait(lambda: time.monotonic() > until)

    def shot(name: str, seconds: float = 1.0) -> None:
        settle(seconds)
        viewer.screenshot(str(output / f"{name}.png"), canvas_only=False, flash=False)

    dock.open_sample()
    wait(lambda: session.loaded is not None and not session.busy and session.colours is not None)
    dock.estimates.cancel()
    session.gene = "SPARC"
    panel.choose("network")
    panel.forms["network"].setValue(NETWORK)
    panel.forms["split"].setValue(SplitSettings(folds=2))
    dock.start_training()
    wait(lambda: len(panel.run.curves.epochs) > 3)
    panel.choose("quick")
    dock.start_training()
    panel.target.chips.set_names(["SPARC", "FN1", "COL1A1"])
    dock.start_training()
    panel.choose_paper_genes()
    wait(lambda: len(panel.run.curves.epochs) > 8)
    dock.show_part(panel.start)
    shot("runs-at-work")
    panel.runs.set_open(True)
    wait(lambda: len(panel.runs.model.runs) == 3)
    panel.runs.choose(1)
    dock.show_part(panel.run.curves)
    shot("runs-queue")

    panel.pause.click()
    wait(lambda: session.running is None and panel.offer.isVisible())
    dock.show_part(panel.start)
    shot("runs-paused")
    panel.runs.next.click()
    wait(lambda: session.running is not None)
    wait(lambda: session.running is None)
    settle(2)
    finished = [number for number, run in enumerate(panel.runs.model.runs) if run.n]
    panel.runs.choose(*finished)
    panel.runs.buttons["compare"].click()
    settle()
    dock.runs.compared.grab().save(str(output / "runs-compare.png"))
    dock.runs.compared.close()
    panel.runs.choose(finished[0])
    panel.runs.buttons["open"].click()
    wait(lambda: session.run_dir == panel.runs.model.runs[finished[0]].run_dir)
    dock.show_part(panel.runs)
    shot("runs-list")
    viewer.theme = "light"
    shot("runs-list-light")
    viewer.theme = "dark"
    panel.target.choose("signatures")
    dock.show_part(panel)
    shot("runs-target")
    panel.target.choose("genes")
    search_shots(viewer, dock, output, settle)
    viewer.close()


def search_shots(viewer, dock, output: Path, settle) -> None:
    """The dialog of the parameter search at work and, in the light theme, at its end."""
    panel, searches = dock.train_panel, dock.searches
    panel.target.chips.set_names(["SPARC", "FN1", "COL1A1"])
    panel.choose("quick")
    searches.open()
    dialog = searches.dialog
    dialog.rows["filter.white_percentile"][0].setChecked(True)
    dialog.rows["filter.white_percentile"][1].set_value(["80", "off"])
    dialog.start.click()
    wait(lambda: searches.shown.done > 2)
    settle()
    dialog.grab().save(str(output / "search-dialog.png"))
    wait(lambda: searches.child is None)
    dialog.tabs.setCurrentWidget(dialog.plots)
    viewer.theme = "light"
    settle()
    dialog.grab().save(str(output / "search-dialog-light.png"))
    viewer.theme = "dark"
    dialog.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
