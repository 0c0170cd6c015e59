"""Every setting of a run, as frozen models: the same for RUN.yaml, the command line, the dock and the model's header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from napari_deepspace.errors import SettingsError

PAPER_MARKERS = ("ESR1", "ERBB2", "MKI67")
PAPER_MICROENVIRONMENT = (
    "SPARC", "IFI27", "COL10A1", "COL1A2", "COL3A1", "COL5A2", "FN1", "POSTN", "CTHRC1", "COL1A1", "THBS2",
    "PDGFRB", "COL8A1", "SULF1", "MMP14", "ISG15", "IL32", "MXRA5", "LUM", "DPYSL3", "CTSK",
)  # fmt: skip
PAPER_GENES = PAPER_MARKERS + PAPER_MICROENVIRONMENT
"""The paper's 24 genes; its "PDGFR" is no gene symbol and is read as PDGFRB."""


NORMALISATIONS = {
    "log": "log1p(counts per median depth)",
    "sctransform": "log10(SCTransform corrected counts + 1)",
    "pearson": "analytic Pearson residual",
    "stnet": "log((1 + count) / (genes + spot total))",
}
"""Ways of bringing counts to one scale, with the unit of their values."""


Orientation = Literal[
    "as it is", "turned 90", "turned 180", "turned 270", "mirrored", "mirrored, turned 90", "mirrored, turned 180", "mirrored, turned 270"
]
"""What is done to an image as it lies on the disk: mirrored left to right first, then turned counter-clockwise by degrees."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SectionSettings(_Settings):
    """Where one section lies, and what its files cannot say."""

    path: Path = Field(description="Space Ranger folder, legacy ST folder, .h5ad, SpatialData .zarr, or a table with columns x and y")
    image: Path | None = Field(None, description="full-resolution H&E; left out: looked for by its size")
    platform: Literal["auto", "visium", "st"] = Field(
        "auto", description="visium: 55 um spots, 100 um pitch; st: 100 um spots, 200 um pitch; auto: from the lattice"
    )
    mpp: float | None = Field(
        None, gt=0.01, lt=100, description="um per full-resolution px; left out: as its files or the image state, else from the lattice"
    )
    orientation: Orientation = Field("as it is", description="what is done to the image before it is laid under the spots (`info` says which fits)")
    reduced: bool = Field(False, description="go on with tissue_hires_image where no full-resolution image is at hand")
    library_id: str | None = Field(None, description="name of the section; left out: the folder's name")
    patient: str | None = Field(None, description="patient the section was cut from")
    block: str | None = Field(None, description="tissue block the section was cut from")
    outlines: Path | None = Field(
        None, description="GeoJSON as of QuPath: outlines of class Exclude or Ignore* take their tiles out, those of class Failed region are imputed"
    )
    clusters: Path | None = Field(None, description="CSV with the columns barcode and cluster; taken in place of those that came with the section")
    obs: Path | None = Field(None, description="CSV with a column barcode and numbers per spot, which join obs (fractions of cell types, say)")
    causes: Path | None = Field(
        None, description="CSV with the columns barcode and cause: why prediction and measurement disagree, as somebody filed"
    )
    aligned: Path | None = Field(
        None,
        description="CSV with the columns barcode, x, y: the spots in a frame (um) that the sections of one patient share; or an "
        "alignment.json that this section is one of (`napari-deepspace align`); left out: "
        "spatial_aligned.csv in the section's folder, where there is one",
    )
    columns: dict[str, str] = Field(
        {}, description="of a plain table: which of its columns is what, as {x: CentroidX, y: CentroidY, barcode: ROI}; '': none"
    )
    sealed: Path | None = Field(None, description="seal (`napari-deepspace seal`): its spots neither train nor are predicted until it is opened")


class FilterSettings(_Settings):
    """Which spots are good enough to learn from."""

    min_umi: int = Field(1000, ge=0, description="least total UMI count of a spot")
    min_genes: int = Field(1000, ge=0, description="least number of genes detected in a spot")
    max_mitochondrial: float = Field(1.0, ge=0, le=1, description="largest share of a spot's UMIs from mitochondrial genes; 1: no limit")
    white_percentile: float = Field(
        80, ge=0, le=100, description="white is brighter than this percentile of the tiles' mean RGB; tiles more than half white go; 100: no filter"
    )
    exclude_cluster: str | None = Field(None, description="one cluster whose spots do not train")


class ClusterSettings(_Settings):
    """Groups of spots with similar expression."""

    source: Literal["none", "file", "computed"] = Field(
        "file", description="file: sections[].clusters, Space Ranger's, or those of the section's folder; computed: PCA, neighbours, Leiden; none"
    )
    joint: bool = Field(False, description="compute them over all sections together, not section by section")
    algorithm: Literal["sknetwork", "igraph"] = Field("sknetwork", description="Leiden of scikit-network, or scanpy's by igraph (extra [leiden])")
    resolution: float = Field(1.0, gt=0, description="higher gives more clusters")
    neighbours: int = Field(15, ge=2, description="neighbours of a spot in the graph")
    components: int = Field(30, ge=2, description="principal components")
    seed: int = Field(0, ge=0, description="seed of PCA, graph and Leiden")


class GeneSettings(_Settings):
    """Genes to predict."""

    kind: Literal["genes"] = "genes"
    names: tuple[str, ...] = Field((), description="genes by name; empty: those of `file`, else the genes of highest mean expression")
    file: Path | None = Field(None, description="text file of gene names, one a line")
    top: int | None = Field(50, ge=1, description="how many genes of highest mean, when none is named; empty: all that pass min_detected")
    min_detected: float = Field(0.1, ge=0, le=1, description="least share of spots a gene must be detected in; a named gene is only warned about")


class SignatureSettings(_Settings):
    """Scores of gene sets against control genes of similar expression (as scanpy's score_genes)."""

    kind: Literal["signatures"] = "signatures"
    sets: dict[str, tuple[str, ...]] = Field({"microenvironment": PAPER_MICROENVIRONMENT}, description="gene sets by name")
    file: Path | None = Field(None, description="gene sets from a .gmt file, in place of `sets`")
    controls: int = Field(50, ge=1, description="control genes drawn for each gene of a set, from those of like mean expression")
    bins: int = Field(25, ge=1, description="number of levels of mean expression that control genes are drawn from")
    seed: int = Field(0, ge=0, description="seed of the draw of control genes")


class ObsSettings(_Settings):
    """Numbers that came with the spots: columns of obs or a matrix of obsm (fractions of cell types, say)."""

    kind: Literal["obs"] = "obs"
    columns: tuple[str, ...] = Field((), description="numeric columns of obs; sections[].obs adds columns from a CSV")
    obsm: str | None = Field(None, description="a matrix of obsm, in place of `columns`")


class ClusterTargetSettings(_Settings):
    """The cluster of a spot, by cross entropy."""

    kind: Literal["clusters"] = "clusters"
    weighted: bool = Field(False, description="count rare clusters as much as common ones")


TargetSettings = Annotated[GeneSettings | SignatureSettings | ObsSettings | ClusterTargetSettings, Field(discriminator="kind")]


class TileSettings(_Settings):
    """The image cut around a spot."""

    extra_percent: float = Field(150, ge=0, le=1000, description="size beyond the spot: 150 makes the tile 2.5 spot diameters wide")
    stain: Literal["none", "macenko"] = Field(
        "none", description="macenko: bring every slide to the stain of the first training section as it is read (extra [stain]); none"
    )


class SplitSettings(_Settings):
    """Which spots train and which are kept for the score."""

    kind: Literal["blocks", "random", "every-nth", "sections", "patients", "whole"] = Field(
        "blocks",
        description="blocks: spatial blocks with a guard band; random: random spots, as in the paper; every-nth: every n-th spot in turn, to check "
        "filling in between spots; sections: one section out, patients: one patient out, both need several sections; whole: every spot of "
        "these sections trains, the score comes from another section",
    )
    folds: int = Field(
        5, ge=2, le=20, description="number of folds of blocks and random, n of every-nth; every spot is predicted by a model that never saw it"
    )
    block_um: float | None = Field(None, gt=0, description="side of a spatial block in um; empty: five spot pitches, or twice the guard band if more")
    guard_um: float | None = Field(
        None, ge=0, description="training spots nearer than this to a test spot are left out; empty: one tile width, with a context the wider view's"
    )
    validation: float = Field(0.2, gt=0, lt=1, description="share of the training part kept for early stopping")
    seed: int = Field(0, ge=0, description="seed of the split")


class QuickSettings(_Settings):
    """Colour, stain and texture features at two scales, PCA and ridge regression: seconds, no GPU, no weights."""

    kind: Literal["quick"] = "quick"
    features: str = Field("handmade", description="handmade (colour, stain, texture), or a backbone whose frozen features are taken")
    weights: str = Field("pretrained", description="weights of that backbone: pretrained, or the path of a .safetensors or .pth file")
    um_per_px: float = Field(1.0, gt=0.1, le=10, description="um per pixel at which handmade features are computed")
    components: int = Field(64, ge=1, description="number of principal components kept")
    alphas: tuple[float, ...] = Field((10, 30, 100, 300, 1000, 3000, 10000), description="ridge penalties to choose from, within the training part")

    @field_validator("features")
    @classmethod
    def _known_features(cls, name: str) -> str:
        return name if name == "handmade" else _known_backbone(name)


AUGMENTATIONS = ("flip", "crop", "noise", "blur", "dist", "contrast", "color", "random")
"""The paper's groups of changes that a tile undergoes in training, in the order in which they are applied."""
BACKBONES = (
    "vgg16", "densenet121", "resnet18", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "convnext_tiny",
)  # fmt: skip
"""torchvision's; any model of timm is named timm/NAME."""


def _known_backbone(name: str) -> str:
    if name in BACKBONES or (name.startswith("timm/") and len(name) > len("timm/")):
        return name
    raise ValueError(f"unknown backbone; choose one of {', '.join(BACKBONES)}, or timm/NAME")


class NetworkSettings(_Settings):
    """A convolutional network, or a transformer, with a new last layer."""

    kind: Literal["network"] = "network"
    backbone: str = Field(
        "vgg16", description="network; the paper's is vgg16; any model of timm as timm/NAME", json_schema_extra={"choices": list(BACKBONES)}
    )
    weights: str = Field(
        "pretrained",
        description="start from: pretrained (ImageNet for torchvision's networks, for timm's what the hub has under the name), scratch, "
        "or the path of a .safetensors or .pth file",
    )
    train: Literal["all", "head"] = Field("all", description="train all weights or the last layer only")
    tile_px: int = Field(224, ge=32, le=512, description="pixels a side that a tile is resized to")
    context: float | None = Field(None, gt=1, le=16, description="a second, wider field of view, as a multiple of the tile's side; empty: none")
    epochs: int = Field(50, ge=1, description="passes over the training part at most")
    batch_size: int = Field(32, ge=1, description="tiles a step of the optimiser")
    micro_batch: int | None = Field(None, ge=1, description="tiles computed at once, added up to batch_size; empty: what memory allows")
    optimiser: Literal["adam", "sgd"] = Field("adam", description="adam, or sgd with momentum 0.9 (ST-Net's)")
    learning_rate: float = Field(1e-4, gt=0, description="the optimiser's learning rate")
    weight_decay: float = Field(1e-4, ge=0, description="the optimiser's weight decay")
    schedule: Literal["constant", "cosine", "plateau"] = Field(
        "constant", description="learning rate over the epochs: constant; cosine: down to 0; plateau: a tenth after two epochs without a better one"
    )
    patience: int = Field(5, ge=1, description="stop after this many epochs without a better one")
    best: Literal["loss", "r"] = Field("loss", description="the best epoch has the lowest validation loss, or the highest mean validation r")
    augment: tuple[Literal["flip", "crop", "noise", "blur", "dist", "contrast", "color", "random"], ...] = Field(
        ("flip", "crop", "color", "random"), description="changes of tiles while training: flip, crop, noise, blur, dist, contrast, color, random"
    )
    augment_with: Literal["torch", "albumentations"] = Field(
        "torch", description="torch: in batches, on the device; albumentations: tile by tile, slow (extra [albumentations])"
    )
    start_at_mean: bool = Field(False, description="the last bias starts at the mean of the training part (ST-Net's)")
    symmetries: bool = Field(False, description="predict the mean over the eight symmetries of a tile (ST-Net's)")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where the GPU gains by it, else float32")
    device: str = Field("auto", description="auto, cpu, cuda or mps")

    @field_validator("backbone")
    @classmethod
    def _known(cls, name: str) -> str:
        return _known_backbone(name)


ModelSettings = Annotated[QuickSettings | NetworkSettings, Field(discriminator="kind")]


class RunSettings(_Settings):
    """One training run: what it learns from, what it learns, how, and with which seed."""

    name: str = Field("run", description="name of the run")
    sections: tuple[SectionSettings, ...] = Field(min_length=1, description="sections to train on")
    filter: FilterSettings = FilterSettings()
    clusters: ClusterSettings = ClusterSettings()
    failed_regions: bool = Field(True, description="propose outlines of regions that may have failed (preprocess)")
    normalisation: Literal["log", "sctransform", "pearson", "stnet"] = Field(
        "log", description="scale of what is learned: log, sctransform (the paper's), pearson or stnet"
    )
    target: TargetSettings = GeneSettings()
    tile: TileSettings = TileSettings()
    split: SplitSettings = SplitSettings()
    model: ModelSettings = QuickSettings()
    neighbouring_section: bool = Field(
        True, description="blend what the image says with a copy of the neighbouring section, where sections are aligned (obsm: spatial_aligned)"
    )
    seed: int = Field(0, ge=0, description="seed of initial weights, order and augmentation")
    threads: int | None = Field(None, ge=1, description="CPU threads; empty: all, and all but one beside a window")
    checkpoint_minutes: float = Field(5, ge=0, description="minutes between checkpoints within an epoch; every epoch ends with one")
    tensorboard: bool = Field(False, description="also write curves for TensorBoard (extra [tensorboard])")

    @field_validator("target", mode="before")
    @classmethod
    def _usually_genes(cls, target: Any) -> Any:
        return {"kind": "genes", **target} if isinstance(target, dict) else target

    @property
    def gene_rule(self) -> GeneSettings:
        """Which genes count as detected, also where genes are not the target."""
        return self.target if isinstance(self.target, GeneSettings) else GeneSettings()


def settings_error(error: ValidationError, where: str) -> SettingsError:
    """One sentence for what pydantic found wrong in ``where``."""
    found = "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'value'}: {problem['msg']} (found {problem.get('input')!r})"
        for problem in error.errors()[:3]
    )
    return SettingsError(f"{where}: {found}. Compare it with the one that `napari-deepspace train --init RUN.yaml` writes.")


def load_run_settings(path: Path, overrides: tuple[str, ...] = ()) -> RunSettings:
    """Read RUN.yaml; ``overrides`` are ``key.sub=value`` strings with YAML values.

    Relative paths of sections, their files and a file of weights are taken from the folder of the YAML file.

    Raises
    ------
    SettingsError
        The file cannot be read, is no YAML mapping, or holds an unknown or wrong setting.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read ({error}). Write one with `napari-deepspace train --init RUN.yaml`.") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML ({error}). Mend the line it names.") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path} holds no settings. Write a commented file with `napari-deepspace train --init RUN.yaml`.")
    for override in overrides:
        set_value(values, override)
    place_sections(values, Path(path).resolve().parent)
    return run_settings(values, str(path))


def place_sections(values: dict[str, Any], base: Path) -> None:
    """Take the relative paths of the sections in plain ``values`` from the folder ``base``."""
    for section in values.get("sections") or []:
        for key in ("path", "image", "outlines", "clusters", "obs", "causes", "aligned", "sealed"):
            if isinstance(section, dict) and section.get(key):
                section[key] = base / str(section[key])
    model = values.get("model")
    if isinstance(model, dict) and (base / str(model.get("weights"))).is_file():  # a model of frozen features needs it again, from anywhere
        model["weights"] = str(base / str(model["weights"]))


def settings_of_section(section: Path, overrides: tuple[str, ...] = (), how: Mapping[str, Any] | None = None) -> RunSettings:
    """The usual settings for one section, which is read as ``how`` says, without a RUN.yaml; raises SettingsError as :func:`load_run_settings`."""
    values: dict[str, Any] = {"name": section.resolve().name, "sections": [{"path": section, **(how or {})}]}
    for override in overrides:
        set_value(values, override)
    return run_settings(values)


def run_settings(values: dict[str, Any], where: str = "settings") -> RunSettings:
    """Validate plain ``values``; raises SettingsError with one sentence."""
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        raise settings_error(error, where) from error


def filter_settings(overrides: tuple[str, ...]) -> FilterSettings:
    """The usual filter changed by ``overrides`` (``min_umi=500``); raises SettingsError where one does not fit."""
    values: dict[str, Any] = {}
    for override in overrides:
        set_value(values, override.removeprefix("filter."))
    try:
        return FilterSettings.model_validate(values)
    except ValidationError as error:
        raise settings_error(error, "--set") from error


def set_value(values: dict[str, Any], override: str) -> None:
    """Put one ``key.sub=value`` into nested ``values``; list items are named by their index."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SettingsError(f"--set {override}: expected key=value, for example --set model.epochs=5.")
    try:
        put_value(values, key, yaml.safe_load(text))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise SettingsError(f"--set {override}: there is no setting of that name. `train --init RUN.yaml` lists them all.") from error


def put_value(values: dict[str, Any], key: str, value: Any) -> None:
    """Put ``value`` at ``key.sub`` of nested ``values``.

    Raises KeyError, IndexError, TypeError, ValueError or AttributeError where there is no such place.
    """
    *parents, last = key.split(".")
    at: Any = values
    for part in parents:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    if isinstance(at, list):
        at[int(last)] = value
    else:
        at[last] = value


def dump_yaml(settings: RunSettings) -> str:
    """The settings as YAML, readable by :func:`load_run_settings`."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def commented_yaml(settings: RunSettings) -> str:
    """The settings as YAML with every field's description as a comment."""
    lines = ["# A run of napari-deepspace. Start it with: napari-deepspace train THIS_FILE", "# Research use only."]

    def write(model: BaseModel, indent: str, first: str | None = None) -> None:
        for number, (name, field) in enumerate(type(model).model_fields.items()):
            value = getattr(model, name)
            lead = first if first is not None and number == 0 else indent
            text = " ".join((field.description or "").split())
            if isinstance(value, BaseModel):
                lines.append(f"{lead}{name}:" + (f"  # {type(value).__doc__}" if type(value).__doc__ else ""))
                write(value, indent + "  ")
            elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
                lines.append(f"{lead}{name}:  # {text}")
                for item in value:
                    write(item, indent + "    ", indent + "  - ")
            else:
                plain = model.model_dump(mode="json", include={name})[name]
                dumped = yaml.safe_dump(plain, default_flow_style=True, width=10_000).replace("\n...", "").strip()
                lines.append(f"{lead}{name}: {dumped}" + (f"  # {text}" if text else ""))

    write(settings, "")
    return "\n".join(lines) + "\n"
