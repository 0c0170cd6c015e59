"""Where outlines of sections without a project are kept: one file a section in the user's own folder, beside the runs."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from napari_deepspace.geojson import SlideStamp
from napari_deepspace.outlines import Outline, on_slide, read_outline_file
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


@dataclass(frozen=True)
class KeptOutlines:
    """Outlines of an earlier time, and the slide that they are said to be drawn on; None: the file does not say."""

    outlines: tuple[Outline, ...] = ()
    drawn_on: SlideStamp | None = None


def read_kept(path: Path, slide: SlideStamp | None) -> KeptOutlines:
    """What was drawn before on a section whose slide is ``slide`` now. Outlines of another slide are kept where they lie: see :func:`doubt`.

    Raises
    ------
    DataError
        The file is missing or damaged.
    """
    file = read_outline_file(path)
    if slide is None or file.drawn_on is None or not file.drawn_on.is_same(slide):
        return KeptOutlines(tuple(file.outlines), file.drawn_on)
    return KeptOutlines(tuple(on_slide(file, slide, path).outlines), slide)


def doubt(drawn_on: SlideStamp | None, slide: SlideStamp | None) -> str:
    """What is said of outlines that were drawn on another slide than ``slide``; "" where nothing speaks against them."""
    if drawn_on is None or slide is None or drawn_on.is_same(slide):
        return ""
    names = [f"{one.name} ({one.width:,} x {one.height:,} px)" for one in (drawn_on, slide)]
    other = f", not on {names[1]}" if names[0] != names[1] else " when it lay another way round or held other pixels"
    return f"These outlines were drawn on slide {names[0]}{other}: they may lie in the wrong place. Look at them before you trust them."


def kept_on(path: Path) -> str:
    """When a file was written, in local time."""
    return datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")


def set_aside(path: Path) -> Path:
    """Put a file that is about to be replaced beside itself, under its date, and say where it lies now."""
    date = datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y%m%d-%H%M%S")
    beside = path.with_name(f"{path.stem}-{date}{path.suffix}")
    os.replace(path, beside)
    return beside
