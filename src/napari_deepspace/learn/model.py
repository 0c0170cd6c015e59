"""A trained model: one member a fold, and the memory of which spots each member has seen.

On disk a folder of ``model.json`` and ``weights.safetensors``; no pickle, so that a model from elsewhere cannot run code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import nn

from napari_deepspace import __version__
from napari_deepspace.errors import ModelError, SettingsError
from napari_deepspace.learn.networks import build_network, to_input
from napari_deepspace.learn.ridge import RidgeModel
from napari_deepspace.learn.targets import GeneTarget
from napari_deepspace.runs import MODEL, write_json
from napari_deepspace.settings import NetworkSettings, RunSettings, run_settings

FORMAT = 1
HEADER, WEIGHTS = "model.json", "weights.safetensors"


@dataclass(frozen=True)
class SeenSpots:
    """The spots of one training section, so that they are known again under any name.

    ``fingerprints`` uint64 (n,), ``centres_yx`` float32 (n, 2) in full-resolution px, ``home`` int16 (n,) fold each was tested in (-1: none),
    ``parts`` int8 (n, n_folds), see :mod:`~napari_deepspace.learn.splits`.
    """

    library_id: str
    slide: str  #: the slide's fingerprint
    mpp: float
    barcodes: tuple[str, ...]
    fingerprints: np.ndarray
    centres_yx: np.ndarray
    home: np.ndarray
    parts: np.ndarray


@dataclass
class Member:
    """What one fold has learned."""

    target: GeneTarget
    rgb: np.ndarray  #: float (4, n_genes): the mean-RGB baseline of the same training part, on scaled values
    ridge: RidgeModel | None = None
    network: nn.Module | None = None


@dataclass
class TrainedModel:
    """Everything prediction needs. ``target_sum`` is the depth that shown values are counted per; ``tile_px`` the side tiles are resized to."""

    settings: RunSettings
    genes: tuple[str, ...]
    panel: str
    split: str
    target_sum: float
    tile_um: float
    tile_px: int
    members: list[Member]
    seen: list[SeenSpots]
    scores: dict[str, Any] = field(default_factory=dict)
    synthetic: bool = False
    version: str = __version__

    @property
    def kind(self) -> str:
        """ "quick", or the backbone's name."""
        return self.settings.model.backbone if isinstance(self.settings.model, NetworkSettings) else "quick"

    def save(self, run_dir: Path) -> None:
        """Write ``run_dir/model/``: the arrays first, the header that makes it a model last."""
        folder = Path(run_dir) / MODEL
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, np.ndarray] = {}
        for number, member in enumerate(self.members):
            arrays |= {f"{number}/{key}": value for key, value in _member_arrays(member).items()}
        for number, seen in enumerate(self.seen):
            arrays |= {f"seen{number}/{key}": getattr(seen, key) for key in ("fingerprints", "centres_yx", "home", "parts")}
        beside = folder / f".{WEIGHTS}.part"
        save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, beside)
        beside.replace(folder / WEIGHTS)
        header = {
            "format": FORMAT,
            "version": self.version,
            "research_use_only": True,
            "synthetic": self.synthetic,
            "settings": self.settings.model_dump(mode="json"),
            "genes": list(self.genes),
            "panel": self.panel,
            "split": self.split,
            "target_sum": self.target_sum,
            "tile_um": self.tile_um,
            "tile_px": self.tile_px,
            "member_target_sums": [member.target.target_sum for member in self.members],
            "seen": [{"library_id": s.library_id, "slide": s.slide, "mpp": s.mpp, "barcodes": list(s.barcodes)} for s in self.seen],
            "scores": self.scores,
        }
        write_json(folder / HEADER, header)


def _member_arrays(member: Member) -> dict[str, np.ndarray]:
    arrays = {"low": member.target.low, "high": member.target.high, "rgb": member.rgb}
    if member.ridge is not None:
        arrays |= {"ridge/coefficients": member.ridge.coefficients, "ridge/intercept": member.ridge.intercept}
    if member.network is not None:
        arrays |= {f"network/{key}": value.detach().cpu().numpy() for key, value in member.network.state_dict().items()}
    return arrays


def load_model(path: Path) -> TrainedModel:
    """Read a model from a run's folder, or from its ``model`` folder.

    Raises
    ------
    ModelError
        There is no complete model, it is damaged, or a newer version wrote it.
    """
    folder = Path(path) / MODEL if (Path(path) / MODEL).is_dir() else Path(path)
    if not (folder / HEADER).is_file():
        raise ModelError(f"No trained model in {path} ({HEADER} is missing). Give the folder of a finished run.")
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        if header.get("format", FORMAT + 1) > FORMAT:
            raise ModelError(f"The model in {path} was written by a newer version ({header.get('version')}). Update napari-deepspace.")
        arrays = load_file(folder / WEIGHTS)
        return _rebuild(header, arrays)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, SafetensorError, SettingsError) as error:
        raise ModelError(f"The model in {path} is damaged ({type(error).__name__}: {error}). Train again, or copy the run folder anew.") from error


def _rebuild(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> TrainedModel:
    settings = run_settings(header["settings"], HEADER)
    genes = tuple(header["genes"])
    members = []
    for number, target_sum in enumerate(header["member_target_sums"]):
        mine = {key.removeprefix(f"{number}/"): value for key, value in arrays.items() if key.startswith(f"{number}/")}
        member = Member(GeneTarget(genes, settings.normalisation, float(target_sum), mine["low"], mine["high"]), mine["rgb"])
        if isinstance(settings.model, NetworkSettings):
            network = build_network(settings.model, len(genes))
            network.load_state_dict(
                {key.removeprefix("network/"): torch.from_numpy(value) for key, value in mine.items() if key.startswith("network/")}
            )
            member.network = network.eval()
        else:
            member.ridge = RidgeModel(mine["ridge/coefficients"], mine["ridge/intercept"])
        members.append(member)
    seen = [
        SeenSpots(
            s["library_id"],
            s["slide"],
            float(s["mpp"]),
            tuple(s["barcodes"]),
            *(arrays[f"seen{n}/{key}"] for key in ("fingerprints", "centres_yx", "home", "parts")),
        )
        for n, s in enumerate(header["seen"])
    ]
    return TrainedModel(
        settings=settings,
        genes=genes,
        panel=header["panel"],
        split=header["split"],
        target_sum=float(header["target_sum"]),
        tile_um=float(header["tile_um"]),
        tile_px=int(header["tile_px"]),
        members=members,
        seen=seen,
        scores=header.get("scores", {}),
        synthetic=bool(header.get("synthetic", False)),
        version=str(header["version"]),
    )


def network_outputs(network: nn.Module, tiles: np.ndarray, device: torch.device, batch: int = 32) -> np.ndarray:
    """Scaled outputs float32 (n, n_genes) of uint8 ``tiles`` (n, s, s, 3)."""
    network.eval()
    with torch.inference_mode():
        outputs = [network(to_input(torch.from_numpy(tiles[i : i + batch]).to(device), network)).float().cpu() for i in range(0, len(tiles), batch)]
    return torch.cat(outputs).numpy()
