"""Curves for TensorBoard, beside the events."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

from napari_deepspace.errors import SettingsError
from napari_deepspace.events import BaselinesScored, EpochEnded, Event, Finished

T = TypeVar("T")
FOLDER = "tensorboard"


def with_curves(events: Generator[Event, None, T], run_dir: Path) -> Generator[Event, None, T]:
    """The same events; losses and scores of every epoch, a curve a fold, are also written to ``run_dir/tensorboard``.

    Raises
    ------
    SettingsError
        TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SettingsError('tensorboard: true needs TensorBoard. Install it with: pip install "napari-deepspace[tensorboard]".') from error
    with SummaryWriter(str(run_dir / FOLDER)) as writer:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                return end.value
            for name, value, step in _scalars(event):
                writer.add_scalar(name, value, step)
            yield event


def _scalars(event: Event) -> list[tuple[str, float, int]]:
    if isinstance(event, EpochEnded):
        values = {"loss/training": event.train_loss, "loss/validation": event.validation_loss, "score/validation": event.validation_r}
        return [(f"{name}/fold {event.fold + 1}", value, event.epoch) for name, value in values.items()]
    if isinstance(event, BaselinesScored):
        return [(f"baseline/{name}", value, 0) for name, value in event.mean_r.items()]
    return [("score/held-out", event.mean_r, 0)] if isinstance(event, Finished) else []
