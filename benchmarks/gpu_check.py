"""GPU benchmarks as a Markdown table: ``make gpu-check``, or ``python run.py`` in a bundle that was carried to another machine.

``--device cpu`` runs the same code in small, to see that it runs; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import gc
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.events import BatchEnded, Noted
from speed import (
    augmentation_rate,
    bare_step,
    format_rates,
    load_tiles,
    our_input,
    our_network,
    our_precision,
    our_step,
    our_training,
    prediction_rates,
    settings_of,
    training_rates,
    values_for,
    wait,
)  # fmt: skip

BACKBONES = ("vgg16", "densenet121", "resnet50")
BATCH, MICRO_BATCH = 32, 4


def table(head: str, rows: list[str]) -> str:
    columns = head.count("|") - 1
    return "\n".join([head, "|" + "---|" * columns, *rows, ""])


def rates(tiles: np.ndarray, device: torch.device, batch: int, times: int, backbones: tuple[str, ...]) -> Iterator[str]:
    """Training and prediction against the bare network, precision and memory format, and augmentation alone."""
    rows = []
    for backbone in backbones:
        train = training_rates(backbone, tiles, device, batch, times, 5)
        predict = prediction_rates(backbone, tiles, device, 1, 5)
        rows.append(
            f"| {backbone} | {train['bare']:,.0f} | {train['ours']:,.0f} | {train['ours'] / train['bare']:.0%} | {predict['bare']:,.0f} | "
            f"{predict['ours']:,.0f} | {predict['ours'] / predict['bare']:.0%} |"
        )
    yield table("| network | bare step, images/s | training, images/s | share (>= 90 %) | bare forward | prediction | share (>= 95 %) |", rows)
    formats = {backbone: format_rates(backbone, tiles, device, batch, times) for backbone in backbones}
    names = list(next(iter(formats.values())))
    lines = [
        f"| {backbone} | " + " | ".join(f"{found[name]:,.0f} ({found[name] / found['float32']:.2f})" for name in names) + " |"
        for backbone, found in formats.items()
    ]
    yield table("| bare step, images/s (against float32) | " + " | ".join(names) + " |", lines)
    yield f"Augmentation alone, the paper's groups: {augmentation_rate(tiles[:batch], device, times):,.0f} tiles/s in batches of {batch}.\n"


def peak_gb(tiles: np.ndarray, device: torch.device, micro_batch: int | None) -> float:
    """Peak memory of the device over two VGG16 steps of one batch: plain, or ours with micro-batches."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    settings, values = settings_of("vgg16", len(tiles), micro_batch=micro_batch), values_for(tiles)
    network, optimiser = our_network(settings, device)
    network.train()
    for seed in range(2):
        if micro_batch is None:
            images = our_input(torch.from_numpy(tiles).to(device), network)
            bare_step(network, optimiser, images, torch.from_numpy(values).to(device), our_precision(settings, device))
        else:
            our_step(network, optimiser, tiles, values, settings, seed)
    wait(device)
    return torch.cuda.max_memory_allocated(device) / 1e9


def memory(tiles: np.ndarray, device: torch.device) -> Iterator[str]:
    """Micro-batches against the plain step, and what happens where a batch does not fit."""
    plain, ours = peak_gb(tiles[:BATCH], device, None), peak_gb(tiles[:BATCH], device, MICRO_BATCH)
    yield table(
        f"| VGG16, effective batch {BATCH} | plain step | ours, {MICRO_BATCH} tiles at a time | share (< 50 %) |",
        [f"| peak GB of the device | {plain:.2f} | {ours:.2f} | {ours / plain:.0%} |"],
    )
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((plain + ours) / 2e-9 / torch.cuda.get_device_properties(device).total_memory, device)
    some = tiles[: BATCH * 2]
    try:
        events = our_training(some, values_for(some), settings_of("vgg16", BATCH, micro_batch=BATCH, epochs=1), device)
        notes = [event.message for event in events if isinstance(event, Noted)]
        steps = sum(isinstance(event, BatchEnded) for event in events)
        yield f"With memory for less than a whole batch of {BATCH}: {steps} steps were done. Told: {' '.join(notes) or 'nothing'}\n"
    except DeepSpaceError as error:
        yield f"With memory for less than a whole batch of {BATCH}: the training ended: {error}\n"
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiles", type=Path, default=Path(__file__).resolve().parent / "tiles.jpg", help="mosaic of 224 px tiles")
    parser.add_argument("--out", type=Path, help="write the Markdown there too")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: this torch finds no CUDA device. Run it where there is one, or with --device cpu to see that it runs.")
    device = torch.device(arguments.device)
    small = device.type != "cuda"
    tiles = load_tiles(arguments.tiles, 16 if small else 512, 64 if small else 224)
    name = torch.cuda.get_device_name() if not small else f"{platform.machine()} CPU, in small: figures mean nothing"
    parts = [f"{name}; torch {torch.__version__}; {tiles.shape[1]} px tiles of the SYNTHETIC section; paper's augmentation on the device.\n"]
    print(parts[0], flush=True)
    for part in rates(tiles, device, 8 if small else BATCH, 1 if small else 20, ("resnet18",) if small else BACKBONES):
        parts.append(part)
        print(part, flush=True)
    for part in memory(tiles, device) if not small else ["Memory was not measured: it takes a GPU.\n"]:
        parts.append(part)
        print(part, flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
