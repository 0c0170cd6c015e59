"""Screenshots of the gene panel on the SYNTHETIC section and, where ../shared/data is, on her2st C3: python scripts/trust_screenshots.py DIR."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from screenshot_tools import wait

from napari_deepspace._napari.app import open_window

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "her2st" / "C3"


def main(output: Path) -> None:
    """Quick on each section; the panel in both themes, the picker, a doubtful map, and all numbers."""
    viewer, dock = open_window()
    viewer.window.resize(1366, 768)
    session, panel = dock.session, dock.train_panel
    session.runs = Path(tempfile.mkdtemp(prefix="deepspace-runs-"))
    panel.auto.setChecked(False)

    def shot(name: str, seconds: float = 1.0) -> None:
        until = time.monotonic() + seconds
        wait(lambda: time.monotonic() > until)
        dock.say("")  # where this run's folder lies is nobody's business
        viewer.screenshot(str(output / f"{name}.png"), canvas_only=False, flash=False)

    def train() -> None:
        wait(lambda: session.loaded is not None and not session.busy and session.reach is not None and session.reach.ceiling is not None)
        dock.estimates.cancel()
        panel.choose_paper_genes()
        dock.start_training()
        wait(lambda: session.running is not None)
        wait(lambda: session.running is None and session.maps is not None and not session.maps.live)
        session.gene = "SPARC"

    dock.open_sample()
    train()
    session.gene = dock.gene_panel.model.rows[-1].name
    dock.show_part(dock.look_panel)
    shot("trust-grey")
    session.gene = "SPARC"
    dock.show_part(dock.gene_panel)
    shot("trust-panel")
    viewer.theme = "light"
    shot("trust-panel-light")
    viewer.theme = "dark"
    panel.target.chips.set_names(())
    panel.search.field.setText("HER2")
    dock.show_part(panel)
    shot("trust-picker")
    panel.search.field.clear()
    if REAL.is_dir():
        dock.open_section(REAL)
        wait(lambda: session.section is not None and not session.section.synthetic and not session.busy)
        session.filter = session.filter.model_copy(update={"min_umi": 0, "min_genes": 0})
        train()
        dock.show_part(dock.gene_panel)
        shot("trust-her2st-c3")
        dock.gene_panel.numbers.click()
        until = time.monotonic() + 1
        wait(lambda: time.monotonic() > until)
        dock.gene_windows.dialog.grab().save(str(output / "trust-her2st-c3-table.png"))
        dock.gene_windows.dialog.close()
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
