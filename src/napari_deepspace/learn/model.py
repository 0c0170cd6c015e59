"""A trained model: one member a fold, and the memory of which spots each member has seen.

On disk a folder of ``model.json`` and ``weights.safetensors``; no pickle, so that a model from elsewhere cannot run code.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_deepspace import __version__
from napari_deepspace.analyse.bands import ARRAYS, NUMBERS, Bands, bands_from
from napari_deepspace.errors import ModelError, SettingsError
from napari_deepspace.learn.domain import ARRAYS as DOMAIN_ARRAYS
from napari_deepspace.learn.domain import NUMBERS as DOMAIN_NUMBERS
from napari_deepspace.learn.domain import Domain, domain_from
from napari_deepspace.learn.linear import LinearModel
from napari_deepspace.learn.networks import build_network, features_of
from napari_deepspace.learn.pool import Stacked
from napari_deepspace.learn.targets import FittedTarget
from napari_deepspace.learn.tensor_files import load_tensors, save_tensors
from napari_deepspace.runs import MODEL, best_run, write_json
from napari_deepspace.section import Origin
from napari_deepspace.settings import NetworkSettings, RunSettings, run_settings
from napari_deepspace.stain import Stain
from napari_deepspace.target import Target

FORMAT = 4  #: raised with Quick's features, the parts of a target, and what stands beside a prediction
HEADER, WEIGHTS = "model.json", "weights.safetensors"
SEEN = ("library_id", "slide", "mpp", "barcodes", "patient", "block", "seal", "sealed")
"""What the header says of each section."""


@dataclass(frozen=True)
class SeenSpots:
    """The spots of one training section, so that they are known again under any name.

    ``fingerprints`` uint64 (n,), ``centres_yx`` float32 (n, 2) in full-resolution px, ``home`` int16 (n,) fold each was tested in (-1: none),
    ``parts`` int8 (n, n_folds), see :mod:`~napari_deepspace.learn.splits`. Where the section is aligned with others,
    ``aligned`` float32 (n, 2) (x, y) in their frame and ``values`` float32 (n, n_outputs),
    measured, so that they can be copied; else both have no rows. ``colours`` float32 (2, 3): mean and SD of its tiles' mean R, G and B in 0..1.
    ``sealed`` int (n_sealed,) are rows of a sealed hold-out, and ``seal`` is its id.
    """

    library_id: str
    slide: str  #: the slide's fingerprint
    mpp: float
    barcodes: tuple[str, ...]
    fingerprints: np.ndarray
    centres_yx: np.ndarray
    home: np.ndarray
    parts: np.ndarray
    aligned: np.ndarray
    values: np.ndarray
    colours: np.ndarray
    patient: str | None = None
    block: str | None = None
    seal: str = ""
    sealed: tuple[int, ...] = ()

    @property
    def origin(self) -> Origin:
        return Origin(self.library_id, self.patient, self.block)


SEEN_ARRAYS = ("fingerprints", "centres_yx", "home", "parts", "aligned", "values", "colours")


@dataclass
class Member:
    """What one fold has learned."""

    fitted: FittedTarget
    ways: dict[str, np.ndarray]  #: the simple ways of the same training part, on scaled values, see :func:`napari_deepspace.learn.simple.fit_ways`
    blend: np.ndarray | None = None  #: float (3, n_outputs), see :func:`napari_deepspace.learn.neighbouring.fit_blend`
    linear: LinearModel | None = None  #: Quick's
    twin: LinearModel | None = None  #: Quick's fit without the validation part, on which it is scored; it labels tiles for students' own twins
    network: nn.Module | None = None

    @property
    def head(self) -> LinearModel:
        """The linear map from an embedding (:mod:`napari_deepspace.learn.embedding`) to scaled outputs."""
        if self.linear is not None:
            return self.linear
        assert self.network is not None
        layer: Any = self.network.head
        return LinearModel(layer.weight.detach().cpu().float().numpy().T.copy(), layer.bias.detach().cpu().float().numpy().copy())

    def tensors(self) -> dict[str, np.ndarray | torch.Tensor]:
        """Its arrays by name."""
        fitted = self.fitted
        arrays: dict[str, np.ndarray | torch.Tensor] = {"low": fitted.low, "high": fitted.high, "weights": fitted.weights}
        arrays |= {f"ways/{name}": coefficients.astype(np.float32) for name, coefficients in self.ways.items()}
        if self.blend is not None:
            arrays["blend"] = self.blend.astype(np.float32)
        arrays["target_sum"] = np.array([fitted.target_sum])
        if self.linear is not None:
            arrays |= {"linear/coefficients": self.linear.coefficients, "linear/intercept": self.linear.intercept}
        if self.twin is not None:
            arrays |= {"twin/coefficients": self.twin.coefficients, "twin/intercept": self.twin.intercept}
        if self.network is not None:
            arrays |= {f"network/{key}": value for key, value in self.network.state_dict().items()}
        return arrays

    @staticmethod
    def from_tensors(tensors: dict[str, torch.Tensor], target: Target, settings: RunSettings) -> Member:
        """The member that :meth:`tensors` came from; raises KeyError or RuntimeError where they do not fit."""
        arrays = {name: tensors[name].numpy() for name in ("low", "high", "weights")}
        fitted = FittedTarget(target, float(tensors["target_sum"][0]), arrays["low"], arrays["high"], arrays["weights"])
        ways = {key.removeprefix("ways/"): value.numpy() for key, value in tensors.items() if key.startswith("ways/")}
        member = Member(fitted, ways, tensors["blend"].numpy() if "blend" in tensors else None)
        if isinstance(settings.model, NetworkSettings):
            network = build_network(settings.model, len(target.names))
            network.load_state_dict({key.removeprefix("network/"): value for key, value in tensors.items() if key.startswith("network/")})
            member.network = network.eval()
        else:
            member.linear = LinearModel(tensors["linear/coefficients"].numpy(), tensors["linear/intercept"].numpy())
            if "twin/intercept" in tensors:  # missing in models of before there were students
                member.twin = LinearModel(tensors["twin/coefficients"].numpy(), tensors["twin/intercept"].numpy())
        return member


@dataclass
class TrainedModel:
    """Everything prediction needs. Shown values are counted per ``target.target_sum``; ``tile_px`` is the side tiles are resized to."""

    settings: RunSettings
    target: Target
    split: str
    tile_um: float
    tile_px: int
    members: list[Member]
    seen: list[SeenSpots]
    scores: dict[str, Any] = field(default_factory=dict)
    synthetic: bool = False
    bands: Bands | None = None  #: of the predictions; None where nothing was held out
    domain: Domain | None = None  #: of the training tiles; None where they were too few
    stain: Stain | None = None  #: that slides are brought to before it looks at them
    resolution_um: float | None = None  #: 10 to 90 % width of the edge it draws; None where no output told two tissues apart
    version: str = __version__

    @property
    def kind(self) -> str:
        """ "quick", or the backbone's name."""
        return self.settings.model.backbone if isinstance(self.settings.model, NetworkSettings) else "quick"

    def save(self, run_dir: Path) -> None:
        """Write ``run_dir/model/``: the arrays first, the header that makes it a model last."""
        folder = Path(run_dir) / MODEL
        folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, np.ndarray | torch.Tensor] = {}
        for number, member in enumerate(self.members):
            tensors |= {f"{number}/{key}": value for key, value in member.tensors().items()}
        for number, seen in enumerate(self.seen):
            tensors |= {f"seen{number}/{key}": getattr(seen, key) for key in SEEN_ARRAYS}
        tensors |= {} if self.bands is None else {f"band/{key}": getattr(self.bands, key) for key in ARRAYS}
        tensors |= {} if self.domain is None else {f"domain/{key}": getattr(self.domain, key) for key in DOMAIN_ARRAYS}
        tensors |= {} if self.stain is None else {"stain/matrix": self.stain.matrix, "stain/most": self.stain.most}
        save_tensors(folder / WEIGHTS, tensors, {})
        header = {
            "format": FORMAT,
            "version": self.version,
            "research_use_only": True,
            "synthetic": self.synthetic,
            "settings": self.settings.model_dump(mode="json"),
            "target": asdict(self.target),
            "split": self.split,
            "members": len(self.members),
            "tile_um": self.tile_um,
            "tile_px": self.tile_px,
            "seen": [{key: getattr(seen, key) for key in SEEN} for seen in self.seen],
            "scores": self.scores,
            "band": None if self.bands is None else {key: getattr(self.bands, key) for key in NUMBERS},
            "domain": None if self.domain is None else {key: getattr(self.domain, key) for key in DOMAIN_NUMBERS},
            "resolution_um": self.resolution_um,
        }
        write_json(folder / HEADER, header)


def load_model(path: Path) -> TrainedModel:
    """Read a model from a run's folder, from its ``model`` folder, or from a job of students, which names its best run.

    Raises
    ------
    ModelError
        There is no complete model, it is damaged, or another version wrote it.
    """
    path = best_run(Path(path))
    folder = path / MODEL if (path / MODEL).is_dir() else path
    if not (folder / HEADER).is_file():
        raise ModelError(f"No trained model in {path} ({HEADER} is missing). Give the folder of a finished run.")
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        if header.get("format", FORMAT + 1) > FORMAT:
            raise ModelError(f"The model in {path} was written by a newer version ({header.get('version')}). Update napari-deepspace.")
        if header["format"] < FORMAT:
            raise ModelError(f"The model in {path} was written by an older version ({header['version']}). Train it again.")
        return _rebuild(header, load_tensors(folder / WEIGHTS)[0])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, SettingsError) as error:
        raise ModelError(f"The model in {path} is damaged ({type(error).__name__}: {error}). Train again, or copy the run folder anew.") from error


def _rebuild(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> TrainedModel:
    settings = run_settings(header["settings"], HEADER)
    target = Target.from_json(json.dumps(header["target"]))
    members = []
    for number in range(int(header["members"])):
        mine = {key.removeprefix(f"{number}/"): value for key, value in tensors.items() if key.startswith(f"{number}/")}
        members.append(Member.from_tensors(mine, target, settings))
    seen = [_seen(values, n, tensors) for n, values in enumerate(header["seen"])]
    return TrainedModel(
        settings=settings,
        target=target,
        split=header["split"],
        tile_um=float(header["tile_um"]),
        tile_px=int(header["tile_px"]),
        members=members,
        seen=seen,
        scores=header.get("scores", {}),
        synthetic=bool(header.get("synthetic", False)),
        bands=None if header["band"] is None else bands_from({key: tensors[f"band/{key}"].numpy() for key in ARRAYS}, header["band"]),
        domain=None if header["domain"] is None else domain_from({key: tensors[f"domain/{key}"].numpy() for key in DOMAIN_ARRAYS}, header["domain"]),
        stain=Stain(tensors["stain/matrix"].numpy(), tensors["stain/most"].numpy()) if "stain/matrix" in tensors else None,
        resolution_um=header["resolution_um"],
        version=str(header["version"]),
    )


def _seen(values: dict[str, Any], number: int, tensors: dict[str, torch.Tensor]) -> SeenSpots:
    arrays = {key: tensors[f"seen{number}/{key}"].numpy() for key in SEEN_ARRAYS}
    return SeenSpots(
        library_id=values["library_id"],
        slide=values["slide"],
        mpp=float(values["mpp"]),
        barcodes=tuple(values["barcodes"]),
        patient=values.get("patient"),  # these four are missing in models that were written before there were seals
        block=values.get("block"),
        seal=values.get("seal", ""),
        sealed=tuple(values.get("sealed", ())),
        **arrays,
    )


def network_outputs(
    network: nn.Module, tiles: np.ndarray | Stacked, device: torch.device, rows: np.ndarray | None = None, symmetries: bool = False, batch: int = 32
) -> np.ndarray:
    """Scaled outputs float32 (n, n_outputs) of uint8 ``tiles`` (n, ...), or of some ``rows`` of them; or their mean over the eight symmetries."""
    head: Any = network.head
    with torch.inference_mode():
        return torch.cat([head(features).float().cpu() for features in features_of(network, tiles, device, rows, symmetries, batch)]).numpy()
