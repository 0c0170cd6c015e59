"""Which image the positions refer to: found by its size, and refused if it cannot be the one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from napari_deepspace.errors import DataError
from napari_deepspace.read.files import Spots, owner_of, visible
from napari_deepspace.section import GIVEN, ONLY_HIRES
from napari_deepspace.slide import image_size

SUFFIXES = (".tif", ".tiff", ".btf", ".svs", ".ndpi", ".jpg", ".jpeg", ".png")
ENOUGH_PX = 40  #: a spot of fewer pixels shows a model little
DISAGREE = 0.05  #: relative difference of two pixel sizes that is pointed out
_DIAMETERS = ("spot_diameter_fullres", "fiducial_diameter_fullres")
IMAGE_FILE = "stated by the image file"
TOLERANCE = 0.01  #: relative difference of sizes that rounding of a reduced image explains
_NO_SLIDE = re.compile(r"cytassist|^CAVG\d|aligned_fiducials|detected_tissue|aligned_tissue|tissue_(hires|lowres)_image", re.IGNORECASE)
"""Images that Space Ranger writes or is given beside the H&E; CytAssist's instruments call theirs CAVG10539_2023-11-16_..."""
_MOST_IMAGES = 200  #: in one folder: more are tiles, and to look into each would take long
_IMAGE_FOLDER = re.compile(r"image|slide|scan|h&e|\bhe\b|histolog|microscop", re.IGNORECASE)


def find_image(spots: Spots) -> tuple[Path | None, list[str]]:
    """The full-resolution image beside a section, and notes for the user. None if there is none, or more than one that fits.

    Looked for in the section's folder first, then in its parent, each with the folders in it that are called after images: an image whose size is
    that of the hires (else lowres) image divided by its scale factor; without a reduced image, one that holds all spots. CytAssist's own image and
    what Space Ranger draws are passed over, and so is what bears the name of another section of the folder; its own name goes first.
    """
    notes: list[str] = []
    if spots.standing_in is not None:
        return spots.standing_in, notes
    beside = spots.image_folders or list(dict.fromkeys([spots.folder, spots.folder.parent, spots.folder.resolve().parent]))
    folders = [one for folder in beside for one in (folder, *_image_folders(folder))]
    scaled: list[str] = []
    for folder in folders:
        fitting = []
        for path in _images(folder):
            if owner_of(path.name, spots.siblings) not in (None, spots.name):
                continue
            try:
                size = image_size(path)
            except DataError as error:
                if folder == spots.folder:  # what else lies in the parent need not concern this section
                    notes.append(f"An image was passed over: {error}")
                continue
            if misfit(spots, size) is None:
                fitting.append(path)
            elif (told := _resized(spots, size)) is not None:
                scaled.append(f"{path.name} {told}")
        fitting = [path for path in fitting if owner_of(path.name, spots.siblings)] or fitting
        if len(fitting) == 1:
            if expected_size(spots) is None and folder not in (spots.folder, *spots.image_folders):
                notes.append(
                    f"Nothing states the size of the slide: {fitting[0].name} was taken, for all spots lie within it. Check that it is the one."
                )
            return fitting[0], notes
        if fitting:
            names = ", ".join(path.name for path in fitting[:4])
            return None, [*notes, f"Several images fit the positions ({names}): choose the full-resolution H&E."]
    notes += [f"An image has the right shape and another size: {one}." for one in scaled[:2]]
    packed = [path.name for folder in folders[:1] for path in visible(folder) if path.suffix == ".gz" and Path(path.stem).suffix.lower() in SUFFIXES]
    packed = [name for name in packed if not _NO_SLIDE.search(name) and owner_of(name, spots.siblings) in (None, spots.name)]
    if packed:
        notes.append(f"{packed[0]} is a packed image: unpack it (gunzip) to use it.")
    return None, [*notes, "No full-resolution H&E was found beside the counts: choose it.", *hires_question(spots)]


def _image_folders(folder: Path) -> list[Path]:
    try:
        return [item for item in visible(folder) if _IMAGE_FOLDER.search(item.name) and item.is_dir()]
    except OSError:
        return []


def _resized(spots: Spots, size: tuple[int, int]) -> str | None:
    """Both sizes and the factor, where an image is that of the positions made smaller or larger; None for any other."""
    expected = expected_size(spots)
    if expected is None or any(_same_size(path, size) for path, _ in spots.image_sizes):
        return None
    factors = [a / b for a, b in zip(size, expected, strict=True)]
    if abs(factors[0] / factors[1] - 1) > TOLERANCE or abs(factors[0] - 1) <= TOLERANCE or not 1 / 20 < factors[0] < 20:
        return None
    wanted = f"{expected[0]:.0f} x {expected[1]:.0f} px that the positions refer to"
    return f"is {size[0]} x {size[1]} px (height x width), {factors[0]:.3g} times the {wanted}"


def hires_question(spots: Spots) -> list[str]:
    """What it means to go on with the hires image alone, for the user to decide; nothing where there is none."""
    found = _hires(spots)
    drawn = spots.scalefactors.get("spot_diameter_fullres")
    if found is None or not drawn:
        return []
    px = drawn * found[1]
    little = f", fewer than {ENOUGH_PX}: a model sees little more than colour" if px < ENOUGH_PX else ""
    return [
        f"{ONLY_HIRES}{found[0].name}, in which a spot is {px:.0f} px wide{little}. Find the full-resolution slide if you can; "
        "to go on without it, take the reduced image (dock: Go on with the reduced image, command line: --reduced)."
    ]


def shrink(spots: Spots) -> float:
    """Let the positions refer to the hires image, which stands in for the slide; returns its share of full resolution.

    1 where a full-resolution image lies beside the counts. Raises DataError without a hires image.
    """
    if find_image(spots)[0] is not None:
        return 1.0
    found = _hires(spots)
    if found is None:
        raise DataError(f"{spots.folder}: there is no tissue_hires_image.png to go on with. Choose the full-resolution H&E.")
    path, share = found
    spots.adata.obsm["spatial"] = np.asarray(spots.adata.obsm["spatial"], dtype=np.float64) * share
    spots.lattice_xy_px = np.asarray(spots.lattice_xy_px, dtype=np.float64) * share
    spots.scalefactors = {
        name: value * share if name in _DIAMETERS else value / share if name.endswith("_scalef") else value
        for name, value in spots.scalefactors.items()
    }
    spots.image_sizes = [(other, factor / share) for other, factor in spots.image_sizes]
    spots.standing_in = path
    spots.mpp = spots.mpp / share if spots.mpp else None
    px = spots.scalefactors.get("spot_diameter_fullres")
    wide = f"; a spot is {px:.0f} px wide" if px else ""
    spots.notes.append(f"The reduced image {path.name} stands in for the slide{wide}: predictions see less than at full resolution.")
    return share


def pixel_size(
    given: float | None, files: tuple[float | None, str], image: float | None, lattice: tuple[float | None, str]
) -> tuple[float, str, list[str]] | None:
    """Um per px of the user, else of the section's own files, else of the image, else of the lattice; who says so; and notes where two of them
    are more than 5 % apart. None where nothing tells it. ``files`` and ``lattice`` come with their origin in words.
    """
    told = [(value, name) for value, name in ((given, GIVEN), files, (image, IMAGE_FILE), lattice) if value]
    if not told:
        return None
    (mpp, origin), *others = told
    apart = [f"{value:.3g} by {name.removeprefix('stated by ')}" for value, name in others if abs(value / mpp - 1) > DISAGREE]
    if not apart:
        return mpp, origin, []
    return mpp, origin, [f"A px is {mpp:.3g} um ({origin}), but {' and '.join(apart)}: check platform and image, or say how many um a px is."]


def _hires(spots: Spots) -> tuple[Path, float] | None:
    return next(((path, factor) for path, factor in spots.image_sizes if "hires" in path.name), None)


def _images(folder: Path) -> list[Path]:
    try:
        found = [path for path in visible(folder) if path.suffix.lower() in SUFFIXES and path.is_file()]
        return [path for path in found if not _NO_SLIDE.search(path.name)] if len(found) <= _MOST_IMAGES else []
    except OSError:  # a folder that may not be listed holds nothing for us
        return []


def check_image(spots: Spots, path: Path, size: tuple[int, int]) -> None:
    """Raise DataError, with both sizes, if an image of ``size`` = (height, width) cannot be the one the positions refer to."""
    found = misfit(spots, size)
    if found is not None:
        told = _resized(spots, size)
        if told is not None:
            raise DataError(
                f"{path} {told}: it was exported at another magnification. Choose the image that was given to Space Ranger, or export it so."
            )
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
