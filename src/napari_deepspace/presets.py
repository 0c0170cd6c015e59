"""Presets: settings that belong together, by name, laid over those of a run.

What a preset does not name stays as it was: sections, filter and, but for ST-Net, the genes. Where the sources leave something open or this program
differs, it says so here:

* **DeepSpaCE (paper)** (Monjo et al. 2022). The paper names no batch size; its program used 128. Here 32 fits a computer without a large GPU.
* **ST-Net** (He et al. 2020). Its windows of 224 px are about 150 um on its slides, 1.5 spot diameters of legacy ST. It trained all 50 epochs, so
  patience does not end a run early; the best epoch by validation loss is kept. The loss is SmoothL1, as everywhere here. It left one patient out:
  give all sections with their patients and ``split.kind: patients``.
"""

from __future__ import annotations

from typing import Any

from napari_deepspace.errors import SettingsError
from napari_deepspace.settings import RunSettings, run_settings, set_value

PRESETS: dict[str, dict[str, Any]] = {
    "Quick": {"normalisation": "log", "model": {"kind": "quick"}},
    "DeepSpaCE (paper)": {
        "normalisation": "sctransform",
        "tile": {"extra_percent": 150},
        "split": {"kind": "random", "folds": 5, "validation": 0.2},
        "model": {
            "kind": "network", "backbone": "vgg16", "weights": "pretrained", "train": "all", "tile_px": 224, "epochs": 50, "batch_size": 32,
            "optimiser": "adam", "learning_rate": 1e-4, "weight_decay": 1e-4, "schedule": "constant", "patience": 5, "best": "loss",
            "augment": ["flip", "crop", "color", "random"],
        },
    },
    "ST-Net": {
        "normalisation": "stnet",
        "target": {"kind": "genes", "names": [], "file": None, "top": 250, "min_detected": 0},
        "tile": {"extra_percent": 50},
        "model": {
            "kind": "network", "backbone": "densenet121", "weights": "pretrained", "train": "all", "tile_px": 224, "epochs": 50, "batch_size": 32,
            "optimiser": "sgd", "learning_rate": 1e-6, "weight_decay": 0, "schedule": "constant", "patience": 50, "best": "loss",
            "augment": ["flip"], "start_at_mean": True, "symmetries": True,
        },
    },
}  # fmt: skip
"""Nested overrides of :class:`~napari_deepspace.settings.RunSettings`."""


def with_preset(settings: RunSettings, name: str, overrides: tuple[str, ...] = ()) -> RunSettings:
    """``settings`` with a preset laid over them, and ``overrides`` (``key.sub=value``) over that.

    ``name`` in any case of letters, or its beginning. A part that has a kind (target, model) is replaced as a whole: fields that the preset does not
    name take their usual values.

    Raises
    ------
    SettingsError
        There is no such preset, or an override does not fit.
    """
    found = [preset for preset in PRESETS if preset.casefold().startswith(name.casefold())]
    if len(found) != 1:
        raise SettingsError(f"There is no preset {name!r}. Choose one of: {', '.join(PRESETS)}.")
    values = settings.model_dump(mode="json")
    for key, part in PRESETS[found[0]].items():
        values[key] = {**values[key], **part} if isinstance(part, dict) and key not in ("target", "model") else part
    values = run_settings(values, f"preset {found[0]}").model_dump(mode="json")  # complete, so that an override finds what it names
    for override in overrides:
        set_value(values, override)
    return run_settings(values, f"preset {found[0]}")
