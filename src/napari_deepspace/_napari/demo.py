"""The whole way on the built-in SYNTHETIC section, before the user's eyes: the dock's own steps, one after the other."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import QTimer

from napari_deepspace._napari.app import open_window
from napari_deepspace._napari.dock import DeepSpaceDock
from napari_deepspace._napari.session import Session
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.phantom_counts import GENES
from napari_deepspace.runs import METRICS, write_json
from napari_deepspace.settings import NetworkSettings

logger = logging.getLogger(__name__)

TRAINING_LIMIT_S = 1800
NETWORK = NetworkSettings(backbone="resnet18", weights="scratch", tile_px=64, epochs=6, learning_rate=1e-3)
NETWORK_FOLDS = 2
"""Short, so that a user sees a network learn: it stays behind Quick, and the demo says so."""
VISIBLE_GENE = "SPARC"
HIDDEN_GENE = next(gene for gene, (kind, _) in GENES.items() if kind == "hidden")

Wait = tuple[Callable[[], bool], float]
"""What the next step waits for, and for how many seconds at most."""


def run_demo(output: Path | None) -> None:
    """Show the demo. Without ``output`` the window stays open at the end; with it, screenshots, predictions and scores are left there.

    Raises
    ------
    DeepSpaceError
        A step failed; the message says which.
    """
    viewer, dock = open_window()
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        viewer.window.resize(1366, 768)
        dock.session.runs = output / "runs"
    failures: list[DeepSpaceError] = []

    def ended(error: DeepSpaceError | None) -> None:
        if error is not None:
            failures.append(error)
            dock.say(str(error), "error")
        if output is not None:
            viewer.close()

    player = Player(story(viewer, dock, output), dock, ended)
    player.start()
    napari.run()
    player.stop()
    if failures:
        raise failures[0]


class Player:
    """Goes through a story: each step waits until its condition holds, while the window works as ever."""

    def __init__(self, steps: Generator[Wait, None, None], dock: DeepSpaceDock, ended: Callable[[DeepSpaceError | None], None]):
        self._steps, self._dock, self._ended = steps, dock, ended
        self._until: Wait = (lambda: True, 1.0)
        self._since = time.monotonic()
        self._timer = QTimer(dock)
        self._timer.setInterval(50)
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        self._timer.start()

    def stop(self) -> None:
        self._steps.close()

    def _tick(self) -> None:
        holds, limit = self._until
        if self._dock.status.property("level") == "error":
            self._end(DeepSpaceError(f"The demo cannot go on: {self._dock.status.text()}"))
        elif holds():
            try:
                self._until, self._since = next(self._steps), time.monotonic()
            except StopIteration:
                self._end(None)
            except DeepSpaceError as error:
                self._end(error)
        elif time.monotonic() - self._since > limit:
            self._end(DeepSpaceError(f"The demo waited {limit:.0f} s in vain after: {self._dock.status.text()}"))

    def _end(self, error: DeepSpaceError | None) -> None:
        self._timer.stop()
        self._ended(error)


def pause(seconds: float) -> Wait:
    """Time to read, and for the window to draw."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end, seconds + 60


def story(viewer: Any, dock: DeepSpaceDock, output: Path | None) -> Generator[Wait, None, None]:
    """The demo's steps; each ``yield`` waits."""
    session, train = dock.session, dock.train_panel
    reading = 1.0 if output is not None else 4.0

    def idle() -> bool:
        return not session.busy

    def shot(name: str) -> None:
        if output is not None:
            viewer.screenshot(str(output / f"{name}.png"), canvas_only=False, flash=False)

    train.auto.setChecked(False)
    dock.say("1. Loading the built-in section. It is SYNTHETIC: slide and counts were made by a program.")
    dock.open_sample()
    yield lambda: session.loaded is not None and idle(), 300
    session.gene = VISIBLE_GENE
    dock.say(f"1. Loaded: {VISIBLE_GENE} as measured, on the synthetic slide.")
    yield pause(reading)
    shot("01-loaded")

    dock.show_part(dock.quality_panel)
    session.paint = "removed"
    yield lambda: session.colours is not None, 120
    dock.say("2. Quality: spots with too few UMIs or genes, or on glass, neither train nor score. Here: fat, necrosis, failed permeabilisation.")
    yield pause(reading)
    shot("02-quality")
    session.paint = "gene"

    dock.show_part(train)
    dock.say("3. Before anything starts: what each choice costs on this computer, from a trial of a few seconds.")
    costs = pause(60)[0]
    yield lambda: "about" in train.cost.text() or costs(), 90

    runs: dict[str, Path] = {}
    dock.say("3. A network learns the paper's 24 genes in the background; the map is repainted after every epoch, at spots it does not train on.")
    yield from _train_network(dock, runs, lambda: shot("03-training"))
    yield pause(reading)
    dock.say("3. Quick learns the same genes from colour and texture, in seconds.")
    yield from _train(dock, runs, "quick")
    yield pause(reading)

    session.gene = VISIBLE_GENE
    session.show = "predicted"
    dock.say(f"4. {VISIBLE_GENE} predicted from the image, by models that never saw the spot: {_in_numbers(session, VISIBLE_GENE)}. Synthetic data.")
    yield pause(reading)
    shot("04-predicted")

    session.side_by_side = True
    session.spot_percent, session.slide_percent = 160, 60
    dock.say(f"5. {VISIBLE_GENE}: measured on the left, predicted on the right, one colour scale for both.")
    yield pause(2 * reading)
    shot("05-measured-beside-predicted")

    session.gene = HIDDEN_GENE
    dock.say(
        f"6. {HIDDEN_GENE} cannot be seen in this image, and the prediction fails as it must: {_in_numbers(session, HIDDEN_GENE)}. "
        "Synthetic genes are easy; real sections usually give r of 0.2 to 0.5."
    )
    yield pause(2 * reading)
    shot("06-hidden-gene")
    if output is not None:
        _leave(output, runs)


def _in_numbers(session: Session, gene: str) -> str:
    """r of ``gene`` with what must stand beside it, short enough for the dock's last lines."""
    scores = session.maps.scores if session.maps is not None else None
    if scores is None:
        return "not scored"
    one = scores.of(gene)
    return f"r {one.r:.2f}, colour alone {one.ways.get('mean RGB', math.nan):.2f}, at {scores.n:,} spots of held-out blocks"


def _train(dock: DeepSpaceDock, runs: dict[str, Path], kind: str, midway: Generator[Wait, None, None] | None = None) -> Generator[Wait, None, None]:
    """One training with the dock's own buttons; the steps of ``midway`` are taken while it works."""
    session, train = dock.session, dock.train_panel
    train.choose_paper_genes()
    train.choose(kind)
    dock.start_training()
    yield lambda: session.running is not None, 30
    if midway is not None:
        yield from midway
    yield lambda: session.running is None, TRAINING_LIMIT_S
    if session.maps is None or session.maps.live or session.run_dir is None:
        raise DeepSpaceError("The demo's training ended without predictions.")
    runs[session.maps.model] = session.run_dir


def _train_network(dock: DeepSpaceDock, runs: dict[str, Path], midway: Callable[[], None]) -> Generator[Wait, None, None]:
    """A short network, set as a user would under Advanced; what was set there before comes back."""
    session, train = dock.session, dock.train_panel
    before = {name: train.forms[name].value() for name in ("network", "split")}
    train.forms["network"].setValue(NETWORK)
    train.forms["split"].setValue(before["split"].model_copy(update={"folds": NETWORK_FOLDS}))

    def look() -> Generator[Wait, None, None]:
        yield lambda: len(train.run.curves.epochs) > NETWORK.epochs + 1 or session.running is None, TRAINING_LIMIT_S
        yield pause(0.5)
        midway()

    yield from _train(dock, runs, "network", look())
    for name, value in before.items():
        train.forms[name].setValue(value)


def _leave(output: Path, runs: dict[str, Path]) -> None:
    """Predictions of the last run and the scores of all."""
    scores = {model: json.loads((run / METRICS).read_text(encoding="utf-8")) for model, run in runs.items()}
    write_json(output / METRICS, {"synthetic": True, "research_use_only": True, "runs": scores})
    last = list(runs.values())[-1]
    shutil.copy2(next((last / "predictions").glob("*.h5ad")), output / "predictions.h5ad")
    print(f"Screenshots, predictions.h5ad and metrics.json are in {output}. Synthetic data; research use only.")
