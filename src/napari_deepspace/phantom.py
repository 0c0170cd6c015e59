"""The built-in section: a SYNTHETIC slide with counts of known truth, written as a genuine Space Ranger 2 folder.

It is the demo's sample and the test bench of this program. Nothing in it was measured.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from napari_deepspace.errors import DataError
from napari_deepspace.slide_cache import cache_dir

VERSION = 3
"""Raised whenever the same seed gives another section."""

MARKER = "SYNTHETIC.txt"
SECTIONS, MIDDLE = ("A", "B", "C"), "B"
"""Of a series; the middle one has the region where permeabilisation failed."""
_MARKER_TEXT = """This section is SYNTHETIC. Its slide was painted and its counts were drawn by napari-deepspace; nothing in it was measured,
no patient stands behind it, and its gene names are borrowed: how a gene behaves here says nothing about that gene in tissue.
Research use only.

seed: {seed}
shuffled genes: {shuffled}
version: {version}{more}
"""


def make_phantom(folder: Path | None = None, seed: int = 0, shuffle_genes: bool = False, failed_region: bool = True) -> Path:
    """Write the synthetic section of ``seed``, or find it already written. Writing takes about 20 s of one core and 2 GB of memory.

    It is written by a child process, so that the caller, napari perhaps, is neither held up nor loads what painting a slide needs.

    Parameters
    ----------
    folder
        Where to; left out: a folder of its own in the cache (``NAPARI_DEEPSPACE_CACHE`` or the user's cache folder).
    seed
        The same seed gives the same slide and the same counts.
    shuffle_genes
        A control: the counts of the spots that pass the filter change places, so that nothing can be predicted from the slide.
    failed_region
        False makes the section without the region where permeabilisation failed.

    Returns
    -------
    Path
        The section's folder: ``outs/`` (Space Ranger 2), ``image.tif`` (pyramid, 0.75 um/px), ``truth/``, ``SYNTHETIC.txt``.

    Raises
    ------
    DataError
        ``folder`` holds something else or cannot be written.
    """
    if folder is None:
        kind = ("-shuffled" if shuffle_genes else "") + ("" if failed_region else "-without-failure")
        folder = cache_dir() / "phantom" / f"seed-{seed}{kind}-v{VERSION}"
    more = "" if failed_region else "\nwithout a failed region"
    marker = _MARKER_TEXT.format(seed=seed, shuffled="yes" if shuffle_genes else "no", version=VERSION, more=more)
    return _make(Path(folder), seed, [*["shuffled"] * shuffle_genes, *["without-failure"] * (not failed_region)], marker)


def make_phantom_series(folder: Path | None = None, seed: int = 0) -> Path:
    """Write three consecutive synthetic sections of one block, or find them already written. About a minute of one core.

    What the tissue is drifts from section to section, so that neighbours resemble each other; nuclei and counts are drawn anew in each. Every slide
    is turned by 8 to 35 degrees and shifted by 120 to 220 um: ``spatial_aligned.csv`` has the spots in the block's frame (um), ``truth/truth.json``
    the matrix from (x, y, 1) in px of the slide to it. The middle one has the region where permeabilisation failed.

    Returns
    -------
    Path
        The folder of the sections ``A``, ``B`` and ``C``, each as :func:`make_phantom` writes it.

    Raises
    ------
    DataError
        ``folder`` holds something else or cannot be written.
    """
    folder = cache_dir() / "phantom" / f"seed-{seed}-series-v{VERSION}" if folder is None else Path(folder)
    for name in SECTIONS:
        more = f"\npatient: synthetic-{seed}\nblock: 1\nsection: {name}" + ("" if name == MIDDLE else "\nwithout a failed region")
        marker = _MARKER_TEXT.format(seed=seed, shuffled="no", version=VERSION, more=more)
        _make(folder / name, seed, [*["without-failure"] * (name != MIDDLE), name], marker)
    return folder


def make_phantom_ihc(
    folder: Path | None = None,
    seed: int = 0,
    *,
    turn_deg: float | None = None,
    mirror: bool | None = None,
    scale: float | None = None,
    gap_um: float = 5.0,
) -> Path:
    """Write the immunohistochemistry of the section next to that of :func:`make_phantom`, or find it already written. About 15 s of one core.

    Haematoxylin, and DAB in proportion to the true ESR1 of that section, in and between cells. The tissue drifts over ``gap_um`` as consecutive
    sections do; nuclei are drawn anew. How it lies on its slide is known: turned by ``turn_deg``, mirrored, and swollen by ``scale``; what is left
    out is drawn by the seed (15 to 180 degrees, 0.8 to 1.2).

    Returns
    -------
    Path
        A folder with ``ihc.tif`` (pyramid, 0.5 um/px), ``truth/truth.json`` (``section_um_from_slide_um``: (2, 3), from (y, x, 1) in um of this
        slide to (y, x) in um of the section's slide), ``truth/fields.npz`` (in the section's frame) and ``SYNTHETIC.txt``.

    Raises
    ------
    DataError
        ``folder`` holds something else or cannot be written.
    """
    import json
    from dataclasses import asdict

    from napari_deepspace.phantom_ihc import laid_by

    laid = laid_by(seed, turn_deg, mirror, scale, gap_um)
    if folder is None:
        way = f"{laid.turn_deg:g}-{laid.scale:g}-{laid.gap_um:g}{'-mirrored' if laid.mirror else ''}"
        folder = cache_dir() / "phantom" / f"seed-{seed}-ihc-{way}-v{VERSION}"
    told = json.dumps(asdict(laid))
    marker = _MARKER_TEXT.format(seed=seed, shuffled="no", version=VERSION, more=f"\nimmunohistochemistry: {told}")
    return _make(Path(folder), seed, ["ihc", told], marker)


def _make(folder: Path, seed: int, options: list[str], marker: str) -> Path:
    """Have a child process write the section of ``seed`` and ``options`` into ``folder``, unless it lies there."""
    if _is_written(folder, marker):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        _write_in_child(building, seed, options)
        (building / MARKER).write_text(marker, encoding="utf-8")
        building.chmod(0o755)  # mkdtemp keeps others out
        if _is_written(folder, marker):  # another process was faster
            return folder
        if folder.exists():
            folder.rmdir()
        building.rename(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _is_written(folder: Path, marker: str) -> bool:
    """Whether this very section lies in ``folder``; raises DataError if something else does."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if folder.is_dir() and (folder / MARKER).is_file() and (folder / MARKER).read_text(encoding="utf-8") == marker:
        return True
    raise DataError(f"{folder} holds something other than this synthetic section. Give an empty folder, or one that does not exist.")


def _write_in_child(folder: Path, seed: int, options: list[str]) -> None:
    """One thread: sums are then taken in the same order on every machine."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "napari_deepspace.phantom_write", str(folder), str(seed), *options]
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        raise OSError(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"writing the synthetic section ended with exit code {done.returncode}:\n{done.stderr}")


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(f"{folder} cannot be written ({error}). Free space there, or set NAPARI_DEEPSPACE_CACHE to another folder.")
