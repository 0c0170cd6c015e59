"""Where outlines of sections without a project are kept: one file a section in the user's own folder, beside the runs."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from pathlib import Path

import numpy as np

from napari_deepspace.project import OUTLINES, file_stem
from napari_deepspace.section import Section


def own_outlines_path(runs: Path, section: Section, umi: np.ndarray) -> Path:
    """Where the outlines of a section are kept without a project.

    ``runs`` is the folder of the user's own runs, ``umi`` (n_spots,) the counts of the spots: the file is found again by name and content of the
    section, wherever that lies then.
    """
    digest = hashlib.blake2b("\n".join(map(str, section.adata.obs_names)).encode(), digest_size=6)
    digest.update(np.ascontiguousarray(umi, dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(np.round(section.centres_yx), dtype="<i8").tobytes())
    return runs.parent / OUTLINES / f"{file_stem(section.library_id)}-{digest.hexdigest()}.geojson"


def kept_on(path: Path) -> str:
    """When a file was written, in local time."""
    return datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")


def set_aside(path: Path) -> Path:
    """Put a file that is about to be replaced beside itself, under its date, and say where it lies now."""
    date = datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y%m%d-%H%M%S")
    beside = path.with_name(f"{path.stem}-{date}{path.suffix}")
    os.replace(path, beside)
    return beside
