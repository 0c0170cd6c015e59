"""Which image the positions refer to: found by its size, and refused if it cannot be the one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import Spots
from napari_deepspace.slide import image_size

SUFFIXES = (".tif", ".tiff", ".btf", ".svs", ".ndpi", ".jpg", ".jpeg", ".png")
TOLERANCE = 0.01  #: relative difference of sizes that rounding of a reduced image explains


def find_image(spots: Spots) -> tuple[Path | None, list[str]]:
    """The full-resolution image beside a section, and notes for the user. None if there is none, or more than one that fits.

    Looked for in the section's folder first, then in its parent: an image whose size is that of the hires (else lowres) image divided by its
    scale factor; without a reduced image, one that holds all spots.
    """
    notes: list[str] = []
    for folder in spots.image_folders or [spots.folder, spots.folder.parent]:
        fitting = []
        for path in _images(folder):
            try:
                if misfit(spots, image_size(path)) is None:
                    fitting.append(path)
            except DataError as error:
                if folder == spots.folder:  # what else lies in the parent need not concern this section
                    notes.append(f"An image was passed over: {error}")
        if len(fitting) == 1:
            return fitting[0], notes
        if fitting:
            names = ", ".join(path.name for path in fitting[:4])
            return None, [*notes, f"Several images fit the positions ({names}): choose the full-resolution H&E."]
    return None, [*notes, "No full-resolution H&E was found beside the counts: choose it."]


def _images(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file())
    except OSError:  # a folder that may not be listed holds nothing for us
        return []


def check_image(spots: Spots, path: Path, size: tuple[int, int]) -> None:
    """Raise DataError, with both sizes, if an image of ``size`` = (height, width) cannot be the one the positions refer to."""
    found = misfit(spots, size)
    if found is not None:
        raise DataError(f"{path}: {found}. Choose the full-resolution H&E that was given to Space Ranger (or to the ST pipeline).")


def expected_size(spots: Spots) -> tuple[float, float] | None:
    """(height, width) of the full-resolution image, from the size of a reduced one; None without one that can be read."""
    if spots.full_size is not None:
        return spots.full_size
    for path, factor in spots.image_sizes:
        try:
            height, width = image_size(path)
        except DataError:
            continue
        return height / factor, width / factor
    return None


def misfit(spots: Spots, size: tuple[int, int]) -> str | None:
    """Why an image of ``size`` = (height, width) cannot be the one the positions refer to, in words; None if it can."""
    tissue = np.asarray(spots.adata.obs["in_tissue"], dtype=bool)
    xy = np.asarray(spots.adata.obsm["spatial"])
    xy = xy[tissue] if tissue.any() else xy
    found = f"the image is {size[0]} x {size[1]} px (height x width)"
    expected = expected_size(spots)
    if expected is not None and any(abs(a / b - 1) > TOLERANCE for a, b in zip(size, expected, strict=True)):
        reduced = [path.name for path, _ in spots.image_sizes if _same_size(path, size)]
        hint = f", the size of {reduced[0]}" if reduced else ""
        return f"{found}{hint}, but the positions refer to one of about {expected[0]:.0f} x {expected[1]:.0f} px"
    if (xy < 0).any() or (xy > np.array(size[::-1])).any():
        low, high = xy.min(axis=0), xy.max(axis=0)
        return f"{found}, but spots lie at rows {low[1]:.0f} to {high[1]:.0f} and columns {low[0]:.0f} to {high[0]:.0f}"
    return None


def _same_size(path: Path, size: tuple[int, int]) -> bool:
    try:
        return image_size(path) == size
    except DataError:
        return False
