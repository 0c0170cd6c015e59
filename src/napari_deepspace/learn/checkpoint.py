"""What an unfinished run goes on from: the folder ``checkpoint/`` of a run.

=============================  ================================================================================
``run.json``                   the fingerprint of settings and data: another run cannot go on from here
``fold1.safetensors``          the member of a finished fold and its predictions
``state.safetensors``          the fold that is being trained: weights, the optimiser's moments, and where it stands
``fold2-epoch7.safetensors``   the weights of that fold's best epoch so far
=============================  ================================================================================

A state is one file that is renamed into place, so that it is whole or not there. It names the file of the best epoch that belongs to it; files of
best epochs are removed only when no state names them any more. Randomness comes from (seed, fold, epoch, step) alone, so no state of a generator is
kept: on a CPU a resumed run ends with the very weights of one that was never interrupted, given the same number of threads.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_deepspace.errors import TrainingError
from napari_deepspace.learn.tensor_files import load_tensors, save_tensors
from napari_deepspace.runs import CHECKPOINT, PAUSE, write_json

RUN, STATE = "run.json", "state.safetensors"


@dataclass
class Position:
    """Where the training of a fold stands: ``step`` steps of ``epoch`` (from 1) are done."""

    fold: int
    epoch: int = 1
    step: int = 0
    total: float = 0.0  #: sum of the losses of this epoch's tiles
    best: float | None = None  #: score of the best epoch, higher is better
    best_epoch: int = 0
    waited: int = 0  #: epochs since the best
    lowered: int = 0  #: how often the learning rate was lowered
    micro_batch: int = 0


class Checkpoints:
    """The checkpoint folder of one run. ``minutes`` go by at least between two states within an epoch."""

    def __init__(self, run_dir: Path, minutes: float):
        self.run_dir, self.folder, self.minutes = Path(run_dir), Path(run_dir) / CHECKPOINT, minutes
        self._written = time.monotonic()

    def begin(self, fingerprint: str) -> Position | None:
        """Claim the folder for the run of this ``fingerprint``; where the run stands, or None if it starts now.

        Raises
        ------
        TrainingError
            The folder belongs to a run on other data or with other settings.
        """
        known = self.folder / RUN
        if not known.exists():
            write_json(known, {"fingerprint": fingerprint})
            return None
        if json.loads(known.read_text(encoding="utf-8")).get("fingerprint") != fingerprint:
            raise TrainingError(
                f"The run in {self.run_dir} was begun on other data or with other settings, and cannot go on with these. "
                "Bring them back as they were, or start a new run."
            )
        done = 0
        while self._member(done).exists():
            done += 1
        state = self.state(done)
        return Position(done) if state is None else state[0]

    def due(self) -> bool:
        """Whether it is time for a state within an epoch."""
        return time.monotonic() - self._written > 60 * self.minutes

    def pause_asked(self) -> bool:
        return (self.run_dir / PAUSE).exists()

    def pause_done(self) -> None:
        (self.run_dir / PAUSE).unlink(missing_ok=True)

    def write_state(self, at: Position, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Write where a fold stands; raises TrainingError where the disk does not take it, and the state before is intact."""
        tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
        for number, values in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{number}/{name}": value for name, value in values.items() if isinstance(value, torch.Tensor)}
        save_tensors(self.folder / STATE, tensors, asdict(at))
        self._written = time.monotonic()
        for old in self.folder.glob(f"fold{at.fold + 1}-epoch*.safetensors"):
            if old != self._best(at):
                old.unlink(missing_ok=True)

    def state(self, fold: int) -> tuple[Position, dict[str, torch.Tensor]] | None:
        """Where ``fold`` stands and its tensors, or None if it was not begun."""
        if not (self.folder / STATE).exists():
            return None
        tensors, header = load_tensors(self.folder / STATE)
        at = Position(**header)
        return (at, tensors) if at.fold == fold else None

    def write_best(self, at: Position, network: nn.Module) -> None:
        """Keep the weights of ``at.best_epoch``."""
        save_tensors(self._best(at), network.state_dict(), {})

    def load_best(self, at: Position, network: nn.Module) -> None:
        """Put the weights of the best epoch into ``network``."""
        network.load_state_dict(load_tensors(self._best(at))[0])

    def write_member(self, fold: int, tensors: dict[str, np.ndarray | torch.Tensor]) -> None:
        """Keep what a finished fold leaves; its state is needed no more."""
        save_tensors(self._member(fold), tensors, {})
        (self.folder / STATE).unlink(missing_ok=True)
        for old in self.folder.glob(f"fold{fold + 1}-epoch*.safetensors"):
            old.unlink(missing_ok=True)

    def member(self, fold: int) -> dict[str, torch.Tensor] | None:
        """What a finished fold left, or None if it is not finished."""
        return load_tensors(self._member(fold))[0] if self._member(fold).exists() else None

    def end(self) -> None:
        """The run is finished: what it could go on from goes, the optimiser's part with it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _member(self, fold: int) -> Path:
        return self.folder / f"fold{fold + 1}.safetensors"

    def _best(self, at: Position) -> Path:
        return self.folder / f"fold{at.fold + 1}-epoch{at.best_epoch}.safetensors"


def restore(network: nn.Module, optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put a state's tensors back where they were."""
    network.load_state_dict({name.removeprefix("network/"): value for name, value in tensors.items() if name.startswith("network/")})
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser/"):
            _, number, key = name.split("/")
            state.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
