"""A large stained slide laid over a section: memory and repaint. `make bench ARGS="-k neighbours"`, or python benchmarks/bench_neighbours.py."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import psutil
import tifffile
from qtpy.QtWidgets import QApplication

SIDE = 20_000
TILE = 512


def write_slide(path: Path, side: int = SIDE) -> None:
    """A tiled pyramid of brown dots on pale tissue, JPEG as scanners write it; never whole in memory."""
    rng = np.random.default_rng(0)
    dots = rng.random((TILE // 8, TILE // 8)) < 0.15
    tile = np.full((TILE, TILE, 3), (225, 215, 225), dtype=np.uint8)
    tile[np.kron(dots, np.ones((8, 8), dtype=bool))] = (120, 75, 40)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        down = 1
        while side // down >= 1024:
            size = side // down
            n = -(-size // TILE)
            options = (
                {"subfiletype": 1} if down > 1 else {"subifds": int(np.log2(side / 1024)), "resolution": (4e4, 4e4), "resolutionunit": "CENTIMETER"}
            )
            tiles = (tile for _ in range(n * n))
            file.write(tiles, shape=(size, size, 3), dtype=np.uint8, tile=(TILE, TILE), photometric="rgb", compression="jpeg", **options)
            down *= 2


class Peak:
    """The most memory this process held above what it held before, MiB."""

    def __enter__(self) -> Peak:
        self._process, self._end = psutil.Process(), threading.Event()
        self._before = self._most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._end.wait(0.005):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def mib(self) -> float:
        return (self._most - self._before) / 2**20


def measure(viewer, dock, path: Path) -> dict[str, float]:
    """Lay the slide over the open section, look at it whole and near, and move the opacity slider."""
    from napari_deepspace.neighbour_fit import Fit, fitted

    session = dock.session

    def draw() -> None:
        viewer.window._qt_viewer.canvas._scene_canvas.native.update()
        QApplication.processEvents()

    with Peak() as peak:
        dock.neighbours.add([path])
        end = time.monotonic() + 120
        while not session.neighbours and time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.01)
        one = session.neighbours[0]
        values = {"kind": "affine", "matrix": [[0.43, 0.02, 10.0], [-0.02, 0.43, 60.0], [0, 0, 1]], "control_points": {"moving": [], "fixed": []}}
        dock.neighbours.put(fitted(one, Fit(values, 10.0, ""), "landmarks"))
        draw()
        for zoom in (2.0, 4.0):
            viewer.scene.camera.center, viewer.scene.camera.zoom = (0.0, 1100.0, 1100.0), zoom
            draw()
        dock.neighbours.set_cut(cover="checkerboard")
        dock.neighbours.set_cut(cover="whole")
        dock.neighbours.change(one.id, {"dab": True})
        draw()
        viewer.reset_view()
        draw()
    time.sleep(1.0)
    draw()
    bare = []
    for _ in range(10):
        began = time.perf_counter()
        draw()
        bare.append(1000 * (time.perf_counter() - began))
    times, spent = [], time.process_time()
    for percent in range(20, 90, 5):
        began = time.perf_counter()
        dock.neighbours_panel.opacity.setValue(percent)
        draw()
        times.append(1000 * (time.perf_counter() - began))
    spent = 1000 * (time.process_time() - spent) / len(times)
    began = time.perf_counter()
    dock.neighbours.set_cut(cover="swipe")
    for share in (300, 400, 500, 600, 700):
        dock.neighbours_panel.line.setValue(share)
        draw()
    swipe = 1000 * (time.perf_counter() - began) / 5
    return {
        "peak_mib": peak.mib,
        "whole_mib": SIDE * SIDE * 3 / 2**20,
        "nothing_changed_ms": float(np.median(bare)),
        "opacity_ms": float(np.median(times)),
        "opacity_worst_ms": max(times),
        "opacity_cpu_ms": spent,
        "swipe_ms": swipe,
    }


def test_neighbours_overlay(make_napari_viewer, tmp_path, phantom_dir, monkeypatch):
    """20,000 x 20,000 px: never read whole; the opacity slider repaints in under 100 ms."""
    monkeypatch.setenv("NAPARI_DEEPSPACE_RUNS", str(tmp_path / "runs"))
    viewer = make_napari_viewer(show=True)
    figures = run(viewer, tmp_path)
    assert figures["peak_mib"] < figures["whole_mib"] / 2
    assert figures["opacity_ms"] < 100


def run(viewer, folder: Path) -> dict[str, float]:
    """Make the slide and measure; prints a line."""
    from napari_deepspace._napari.dock import DeepSpaceDock

    write_slide(folder / "ihc.tif")
    viewer.window.resize(1366, 768)
    dock = DeepSpaceDock(viewer)
    viewer.window.add_dock_widget(dock, name="DeepSpaCE", area="right")
    dock.train_panel.auto.setChecked(False)
    dock.open_sample()
    while dock.session.loaded is None or dock.session.busy:
        QApplication.processEvents()
        time.sleep(0.01)
    figures = measure(viewer, dock, folder / "ihc.tif")
    print("neighbours: " + ", ".join(f"{name} {value:,.1f}" for name, value in figures.items()))
    dock.shut()
    return figures


if __name__ == "__main__":
    import tempfile

    import napari

    with tempfile.TemporaryDirectory() as folder:
        shown = napari.Viewer(show=True)
        run(shown, Path(folder))
        shown.close()
