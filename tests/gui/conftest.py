"""A real napari window with the dock in it. Needs a display: `make test` gives one (Xvfb)."""

from __future__ import annotations

import pytest
from window_tools import painted

pytest.importorskip("qtpy.QtWidgets")


@pytest.fixture
def viewer(make_napari_viewer, npe2pm, monkeypatch, tmp_path):
    """A napari window of a small laptop's size that knows this plugin, with runs kept in a temporary folder."""
    from npe2 import PluginManifest

    monkeypatch.setenv("NAPARI_DEEPSPACE_RUNS", str(tmp_path / "runs"))
    npe2pm.register(PluginManifest.from_distribution("napari-deepspace"))
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1366, 768)
    return viewer


@pytest.fixture
def dock(viewer, qtbot):
    """The dock, opened as napari opens it; the training that starts by itself is off."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-deepspace", "DeepSpaCE")
    dock.train_panel.auto.setChecked(False)
    dock.training.ask = dock.searches.ask = dock.students.ask = lambda text: "stop"  # a question in a test window would wait for ever
    dock.estimates.WAIT_MS = 10**8
    dock.estimates._timer.setInterval(10**8)  # the trial of costs has a test of its own
    yield dock
    qtbot.waitUntil(lambda: not dock.session.busy and dock.session.running is None, timeout=60_000)


@pytest.fixture
def opened(dock, phantom_dir, qtbot):
    """The dock with the synthetic section in it."""
    dock.open_section(phantom_dir / "outs")
    qtbot.waitUntil(lambda: dock.session.loaded is not None and not dock.session.busy, timeout=60_000)
    qtbot.waitUntil(lambda: painted(dock), timeout=10_000)
    return dock


@pytest.fixture
def small_run(tmp_path):
    """Makes a finished run for a section: random predictions in a genuine run folder, as a model would leave them."""
    import numpy as np
    import pandas as pd

    from napari_deepspace import results
    from napari_deepspace.analyse.evaluate import evaluate
    from napari_deepspace.run_maps import maps_of_run
    from napari_deepspace.runs import write_json
    from napari_deepspace.target import Target

    def make(section):
        run_dir = tmp_path / "runs" / "random-1"
        n, genes = section.adata.n_obs, ("ESR1", "SPARC")
        rng = np.random.default_rng(0)
        columns = {layer: rng.random((n, 2)).astype(np.float32) for layer in (results.PREDICTED, results.MEASURED)}
        spots = pd.DataFrame(
            {results.SPLIT: "test", results.SOURCE: "out-of-fold", results.FOLD: 0, results.REASON: ""}, index=section.adata.obs_names
        )
        about = {"model": "random", "split": "random", "target_sum": 5000.0, "training_sections": [section.library_id]}
        result = results.result_at_spots(section, Target("genes", genes, "2 genes", "log", 5000.0), columns, spots, about)
        results.write_result(result, run_dir / "predictions" / f"1-{section.library_id}.h5ad")
        write_json(run_dir / "metrics.json", {"sections": {section.library_id: evaluate(result)}})
        return run_dir, maps_of_run(run_dir, section)

    return make
