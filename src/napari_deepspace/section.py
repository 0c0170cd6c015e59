"""A section: counts at spots, and the slide beneath them.

This is the only place where x/y and row/column change places: files and ``obsm["spatial"]`` are (x = column, y = row),
everything that touches pixels or napari is ``_yx`` = (row, column). Lengths end in ``_px`` (full-resolution pixels) or ``_um``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from anndata import AnnData

from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.outlines import Outline
from napari_deepspace.slide import Slide

SEALED = "deepspace_sealed"
"""Column of ``obs``, bool: spots of a sealed hold-out. Missing where the section has none."""


GIVEN = "given by you"
"""``mpp_from`` of a pixel size that the user gave."""


ONLY_HIRES = "At hand is only "
"""How the note begins that asks whether to go on with the hires image."""


ASKS_LATTICE = "Square lattice: "
"""How the note begins that asks of which platform a square lattice is."""


@dataclass(frozen=True)
class Platform:
    """Spot geometry of an assay."""

    name: str
    spot_diameter_um: float
    pitch_um: float
    lattice: str  #: "hexagonal" or "square"


@dataclass(frozen=True)
class Origin:
    """Where a section comes from; None: nobody said."""

    library_id: str
    patient: str | None = None
    block: str | None = None


PLATFORMS = {
    "visium": Platform("Visium", 55.0, 100.0, "hexagonal"),
    "st": Platform("legacy ST", 100.0, 200.0, "square"),
}


def require_platform(name: str) -> None:
    """Raise SettingsError for what is neither "auto" nor a key of :data:`PLATFORMS`."""
    if name not in ("auto", *PLATFORMS):
        raise SettingsError(f"platform {name!r} is unknown: choose auto, {' or '.join(PLATFORMS)}.")


@dataclass
class Section:
    """One capture area: spots x genes counts, their positions, and the slide.

    ``adata.X`` holds raw counts (CSR, float32), spots x genes; ``adata.obs`` has ``in_tissue``, ``array_row``, ``array_col``;
    ``adata.obsm["spatial"]`` is (x, y) in full-resolution px. ``adata.n_vars`` is 0 where no matrix exists.
    """

    adata: AnnData
    slide: Slide | None
    library_id: str
    platform: Platform
    mpp: float  #: um per full-resolution pixel
    patient: str | None = None
    block: str | None = None
    path: Path | None = None
    image_path: Path | None = None
    synthetic: bool = False
    outlines: list[Outline] = field(default_factory=list)  #: regions drawn on it, see :mod:`napari_deepspace.outlines`
    notes: list[str] = field(default_factory=list)  #: what the reader assumed or left out, in plain sentences
    lattice: np.ndarray | None = None  #: float64 (n, 4): array_row, array_col, row and column in px of every position, also outside the tissue
    mpp_from: str = ""  #: who says how large a pixel is, in words
    orientation: str = "as it is"  #: what was done to the image, of :data:`napari_deepspace.orientation.ORIENTATIONS`
    reduced: float = 1.0  #: of full resolution, where a reduced image stands in for the slide; all px are px of that image
    columns: dict[str, str] = field(default_factory=dict)  #: of a plain table: which of its columns is what, as somebody said
    seal: str = ""  #: id of the sealed hold-out whose spots ``obs`` marks
    seal_opened: str = ""  #: when and by which run it was opened, in words

    @property
    def origin(self) -> Origin:
        return Origin(self.library_id, self.patient, self.block)

    @property
    def sealed(self) -> np.ndarray:
        """Spots of a sealed hold-out, bool (n_spots,)."""
        obs = self.adata.obs
        return np.asarray(obs[SEALED], dtype=bool) if SEALED in obs else np.zeros(len(obs), dtype=bool)

    @property
    def centres_yx(self) -> np.ndarray:
        """Spot centres, float64 (n_spots, 2), (row, column) in full-resolution px."""
        return np.asarray(self.adata.obsm["spatial"], dtype=np.float64)[:, ::-1].copy()

    @property
    def lattice_rc_yx(self) -> np.ndarray:
        """Every position of the lattice, float64 (n, 4): array_row, array_col, row and column in px; the spots alone where nothing else is known."""
        if self.lattice is not None:
            return self.lattice
        return np.column_stack([self.adata.obs[["array_row", "array_col"]].to_numpy(dtype=np.float64), self.centres_yx])

    @property
    def spot_diameter_px(self) -> float:
        return self.platform.spot_diameter_um / self.mpp

    @property
    def pitch_px(self) -> float:
        return self.platform.pitch_um / self.mpp

    @property
    def asks_lattice(self) -> bool:
        """Whether a square lattice was taken for that of legacy ST, and nobody said so."""
        return any(note.startswith(ASKS_LATTICE) for note in self.notes)

    def require_slide(self) -> Slide:
        """The slide, or a DataError that says how to give one."""
        if self.slide is None:
            raise DataError(
                f"{self.library_id}: no full-resolution H&E image was found beside the counts. "
                "Predicting needs the image the positions refer to: choose it (dock: Image ..., command line: --image FILE)."
            )
        return self.slide

    def require_counts(self) -> AnnData:
        """The counts, or a DataError that says which file is missing."""
        if self.adata.n_vars == 0:
            raise DataError(
                f"{self.library_id}: this folder holds positions but no count matrix. "
                "Training needs filtered_feature_bc_matrix.h5 (or the folder of that name) beside `spatial/`."
            )
        return self.adata


def swap_xy(points: np.ndarray) -> np.ndarray:
    """(n, 2) points from (x, y) to (row, column) or back."""
    return np.ascontiguousarray(np.asarray(points)[:, ::-1])


def lattice_step_px(array_rc: np.ndarray, xy_px: np.ndarray, lattice: str) -> float:
    """Pitch in px from a least-squares fit of positions to lattice indices.

    ``array_rc`` (n, 2) is (array_row, array_col), ``xy_px`` (n, 2) is (x, y). On Visium's hexagonal lattice two columns are one pitch and one
    row is sqrt(3)/2 of it; on a square lattice each index is one pitch. Returns NaN for fewer than three spots or spots on one line.
    """
    if len(array_rc) < 3:
        return float("nan")
    index = np.asarray(array_rc, dtype=float)
    scaled = index * (np.array([np.sqrt(3) / 2, 0.5]) if lattice == "hexagonal" else np.ones(2))
    centred = scaled - scaled.mean(0)
    if np.linalg.matrix_rank(centred) < 2:
        return float("nan")
    fit, *_ = np.linalg.lstsq(centred, xy_px - np.mean(xy_px, axis=0), rcond=None)
    return float(np.sqrt(abs(np.linalg.det(fit))))


def kinship(own: Origin, trained: Sequence[Origin]) -> str:
    """How a section is related to those that a model was trained on, in words: the nearest relation counts."""
    same = [one for one in trained if own.patient is not None and one.patient == own.patient]
    if any(own.block is not None and one.block == own.block for one in same):
        return "a neighbouring section of the same patient and block"
    if any(own.block is None or one.block is None for one in same):
        return "a neighbouring section of the same patient"
    if same:
        return "another block of the same patient"
    return "patient unknown" if own.patient is None or any(one.patient is None for one in trained) else "another patient"


def section_fingerprint(adata: AnnData) -> str:
    """Of the counts of all spots together, whatever the section, its spots and its genes are called and in whatever order they are."""
    return hashlib.blake2b(np.sort(spot_fingerprints(adata)).tobytes(), digest_size=16).hexdigest() if adata.n_vars else ""


def spot_fingerprints(adata: AnnData) -> np.ndarray:
    """A 64-bit number per spot that depends on its counts alone: uint64 (n_spots,).

    Sum over genes of hash(gene) x count, modulo 2**64: independent of the names of spots and sections and of the order of genes,
    so that a training spot is known again when its section comes back under another name. Spots without counts give 0.
    """
    counts = adata.X.tocsr()
    names = adata.var_names.astype(str)
    keys = np.array([int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") for name in names], dtype=np.uint64)
    terms = keys[counts.indices] * counts.data.astype(np.int64).astype(np.uint64)
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(terms, dtype=np.uint64)])  # a plain 0 would make all of it float
    return sums[counts.indptr[1:]] - sums[counts.indptr[:-1]]
