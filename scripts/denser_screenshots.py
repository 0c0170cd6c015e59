"""Screenshots of denser maps on the SYNTHETIC section, and the figure of super-resolution of it and, where ../shared/data is, of her2st C3:
python scripts/denser_screenshots.py DIR."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from screenshot_tools import wait

from napari_deepspace._napari.app import open_window
from napari_deepspace.phantom import make_phantom
from napari_deepspace.runs import write_atomic

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "her2st" / "C3"


def main(output: Path) -> None:
    """Quick on the synthetic section: points between spots, a denser map, a near view, the width of the band; then the figures."""
    viewer, dock = open_window()
    viewer.window.resize(1366, 768)
    session, panel, train = dock.session, dock.denser_panel, dock.train_panel
    session.runs = Path(tempfile.mkdtemp(prefix="deepspace-runs-"))
    train.auto.setChecked(False)

    def shot(name: str, seconds: float = 1.5) -> None:
        until = time.monotonic() + seconds
        wait(lambda: time.monotonic() > until)
        dock.say("")  # where this run's folder lies is nobody's business
        viewer.screenshot(str(output / f"{name}.png"), canvas_only=False, flash=False)

    def make(where: str) -> None:
        panel.where.buttons[where].click()
        panel.make.click()
        wait(lambda: session.running is not None)
        wait(lambda: session.running is None and session.denser is not None and session.denser.at == where)
        dock.show_part(panel)

    def open_and_train(path: Path | None) -> Path:
        dock.open_section(path) if path is not None else dock.open_sample()
        wait(lambda: session.loaded is not None and not session.busy and bool(session.section.synthetic) == (path is None))
        dock.estimates.cancel()
        if path is not None:
            session.filter = session.filter.model_copy(update={"min_umi": 0, "min_genes": 0})
        train.choose_paper_genes()
        dock.start_training()
        wait(lambda: session.running is not None)
        wait(lambda: session.running is None and session.maps is not None and not session.maps.live)
        session.gene = "SPARC"
        return session.run_dir

    run_dir = open_and_train(None)
    panel.set_open(True)
    make("between-spots")
    shot("denser-between")
    panel.spacing.setValue(16)
    make("grid")
    shot("denser-grid")
    viewer.scene.camera.center, viewer.scene.camera.zoom = (1500, 1500), 2.5
    dock.denser.hover((1500.0, 1500.0))
    shot("denser-near")
    viewer.reset_view()
    panel.outline.setChecked(False)
    panel.show_what.buttons["interval"].click()
    panel.unlike.setChecked(True)
    viewer.theme = "light"
    wait(lambda: "band" in dock.canvas.extra)
    shot("denser-interval-light", 3)
    viewer.theme = "dark"
    phantom = make_phantom()
    invasive = output / "invasive.geojson"
    truth = json.loads((phantom / "truth" / "truth.json").read_text(encoding="utf-8"))
    ring = np.array(truth["outlines_yx_px"]["invasive"])[:, ::-1].tolist()
    properties = {"objectType": "annotation", "classification": {"name": "Invasive"}}
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}, "properties": properties}
    write_atomic(invasive, json.dumps({"type": "FeatureCollection", "features": [feature]}))
    figure(run_dir, phantom / "outs", output / "figure3-synthetic.png", "--library-id", session.section.library_id, "--outlines", str(invasive))
    if REAL.is_dir():
        figure(open_and_train(REAL), REAL, output / "figure3-her2st-c3.png")
    viewer.close()


def figure(run_dir: Path, section: Path, out: Path, *more: str) -> None:
    """In a process of its own, as the dock does it: torch and a window do not go together."""
    command = [sys.executable, "-m", "napari_deepspace", "figure", str(run_dir), str(section), "--gene", "SPARC", "--out", str(out), *more]
    subprocess.run(command, check=True)
    Image.open(out).convert("RGB").resize((1300, 1040), Image.Resampling.LANCZOS).quantize(256).save(out, optimize=True)  # a page, no poster


if __name__ == "__main__":
    main(Path(sys.argv[1]))
