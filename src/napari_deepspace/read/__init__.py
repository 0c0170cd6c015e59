"""Reading a section from whatever folder it lies in. All quirks of file layouts end here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from napari_deepspace.causes import read_causes, set_causes
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.geojson import stamp_of
from napari_deepspace.orientation import AS_IS, turned_slide
from napari_deepspace.outlines import on_slide, read_outline_file
from napari_deepspace.read.files import Spots, first_existing, reading
from napari_deepspace.read.images import check_image, find_image, pixel_size, shrink
from napari_deepspace.read.legacy_st import is_legacy_st, read_legacy_st
from napari_deepspace.read.spaceranger import add_aligned, add_given_clusters, add_numbers, find_outs, read_spaceranger
from napari_deepspace.seal import read_seal, sealed_spots, with_seal
from napari_deepspace.section import PLATFORMS, Platform, Section, lattice_step_px, swap_xy
from napari_deepspace.settings import Orientation, SectionSettings
from napari_deepspace.slide import Slide, image_size, open_slide

ALIGNED = "spatial_aligned.csv"
"""Found by itself in a section's folder."""
_DRAWN_UM = {"visium": 65.0, "st": 100.0}
"""What ``spot_diameter_fullres`` measures: Space Ranger writes 65 um for its 55 um spots."""


def read_section(
    path: str | Path,
    image: str | Path | None = None,
    *,
    platform: str = "auto",
    mpp: float | None = None,
    orientation: Orientation = AS_IS,
    reduced: bool = False,
    library_id: str | None = None,
    patient: str | None = None,
    block: str | None = None,
    outlines: str | Path | None = None,
    clusters: str | Path | None = None,
    obs: str | Path | None = None,
    causes: str | Path | None = None,
    aligned: str | Path | None = None,
    sealed: str | Path | None = None,
    slide: bool = True,
) -> Section:
    """Read one section: a Space Ranger folder (`outs/`, its parent, or loose files with `spatial/`) or a legacy ST folder.

    Parameters
    ----------
    image
        Full-resolution H&E; left out, it is looked for beside the counts by its size.
    platform
        "visium", "st", or "auto": from the lattice of the spots.
    mpp
        Um per full-resolution px; left out: as the image states, else from the lattice's pitch.
    orientation
        What is done to the image before it is laid under the spots (:func:`napari_deepspace.orientation.check_orientation` says which fits).
    reduced
        Where no full-resolution image is at hand, take tissue_hires_image in its place: every px is then one of that image.
    library_id, patient, block
        Name of the section (left out: the folder's), patient and tissue block.
    outlines
        GeoJSON of regions drawn on the section, see :mod:`napari_deepspace.outlines`.
    clusters
        CSV with the columns barcode and cluster, which come as ``obs["given_cluster"]``.
    obs
        CSV with a column barcode and numbers per spot, which come as columns of ``obs``.
    causes
        CSV with the columns barcode and cause, filed in the window, which come as ``obs["deepspace_cause"]``.
    aligned
        CSV with the columns barcode, x, y: the spots in a frame (um) that the sections of one patient share, which come as
        ``obsm["spatial_aligned"]``; left out: ``spatial_aligned.csv`` in the section's folder, where there is one.
    sealed
        A seal (:mod:`napari_deepspace.seal`), whose spots ``obs["deepspace_sealed"]`` marks.
    slide
        False leaves the image alone: it is neither looked for nor opened.

    Raises
    ------
    DataError
        The folder or one of its files cannot be read, the image cannot be the one the positions refer to, the seal is of another section, or the
        outlines were drawn on another slide. Nothing stays open.
    SettingsError
        An unknown platform.
    """
    if platform not in ("auto", *PLATFORMS):
        raise SettingsError(f"platform {platform!r} is unknown: choose auto, {' or '.join(PLATFORMS)}.")
    path = Path(path)
    drawn = read_outline_file(Path(outlines)) if outlines is not None else None
    seal = read_seal(Path(sealed)) if sealed is not None else None
    spots = _read_spots(path)
    if seal is not None:
        sealed_spots(seal, spots.adata, library_id or spots.name)  # refused before the slide is open
    if clusters is not None:
        add_given_clusters(spots.adata, Path(clusters))
    if obs is not None:
        add_numbers(spots.adata, Path(obs))
    if causes is not None:
        set_causes(spots.adata, read_causes(Path(causes)))
    found = Path(aligned) if aligned is not None else first_existing(*(folder / ALIGNED for folder in _own_folders(spots)))
    if found is not None:
        add_aligned(spots.adata, found)
    origin = _synthetic_origin(spots)
    share = shrink(spots) if slide and reduced and image is None else 1.0
    kind, lattice_mpp = _scale(spots, platform)
    name = library_id or spots.name
    image_path = Path(image) if image is not None else None
    opened = None
    if slide:
        opened, image_path = _open_image(spots, image_path, orientation)
    stated = opened.mpp if opened is not None and share == 1 else None
    mpp, mpp_from, more = pixel_size(mpp, stated, lattice_mpp)
    spots.notes.extend(more)
    spots.adata.uns["spatial"] = {name: _scverse(spots, PLATFORMS[kind], mpp)}
    if drawn is not None and drawn.drawn_on is not None and opened is not None:
        try:
            drawn = on_slide(drawn, stamp_of(opened), Path(outlines or ""))
        except DataError:
            opened.close()
            raise
    section = Section(
        adata=spots.adata,
        slide=opened,
        library_id=name,
        platform=PLATFORMS[kind],
        mpp=mpp,
        patient=patient or origin.get("patient"),
        block=block or origin.get("block"),
        path=path,
        image_path=image_path,
        synthetic=bool(origin),
        outlines=drawn.outlines if drawn is not None else [],
        notes=spots.notes,
        mpp_from=mpp_from,
        orientation=orientation if opened is not None else AS_IS,
        reduced=share,
        lattice=np.column_stack([spots.lattice_rc, swap_xy(spots.lattice_xy_px)]).astype(np.float64),
    )
    return with_seal(section, seal) if seal is not None else section


def read_settings(settings: SectionSettings) -> Section:
    """Read the section that ``settings`` names; errors as for :func:`read_section`."""
    return read_section(
        settings.path,
        settings.image,
        platform=settings.platform,
        mpp=settings.mpp,
        orientation=settings.orientation,
        reduced=settings.reduced,
        library_id=settings.library_id,
        patient=settings.patient,
        block=settings.block,
        outlines=settings.outlines,
        clusters=settings.clusters,
        obs=settings.obs,
        causes=settings.causes,
        aligned=settings.aligned,
        sealed=settings.sealed,
    )


def _own_folders(spots: Spots) -> list[Path]:
    """The folder of the files, and that of the section around an ``outs/``."""
    return [spots.folder, spots.folder.parent] if spots.folder.name == "outs" else [spots.folder]


def _synthetic_origin(spots: Spots) -> dict[str, str]:
    """What ``SYNTHETIC.txt`` says of a section made by a program, patient and block among it; empty for any other section."""
    note = first_existing(*(folder / "SYNTHETIC.txt" for folder in (spots.folder, spots.folder.parent)))
    if note is None:
        return {}
    with reading(note, "the note of a synthetic section"):
        said = dict(line.split(": ", 1) for line in note.read_text(encoding="utf-8").splitlines() if ": " in line)
    return {"synthetic": "yes"} | said


def _read_spots(path: Path) -> Spots:
    needed = "A section is a Space Ranger folder (outs/ with spatial/) or a legacy ST folder (counts.tsv.gz with spots.tsv)."
    if not os.path.lexists(path):
        raise DataError(f"{path} does not exist. {needed}")
    if not os.path.isdir(path):
        raise DataError(f"{path} is no folder. {needed}")
    folder = Path(os.path.abspath(path))  # a name also for "."
    try:
        outs = find_outs(folder)
        if outs is None and not is_legacy_st(folder):
            found = ", ".join(sorted(item.name for item in folder.iterdir())[:6]) or "nothing"
            raise DataError(f"{path} is no section: found {found}. {needed}")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Check that it is there and that you may read it.") from error
    return read_spaceranger(outs) if outs is not None else read_legacy_st(folder)


def _scale(spots: Spots, platform: str) -> tuple[str, float]:
    """Platform and um per px: from the lattice's pitch, else from the scale factors' spot diameter."""
    square = spots.square_expected or bool((spots.lattice_rc.sum(axis=1) % 2).any())  # Visium: row + column is always even
    lattice = "square" if square else "hexagonal"
    kind = platform if platform != "auto" else ("st" if square else "visium")
    if platform == "auto" and square and not spots.square_expected:
        spots.notes.append(
            "Square lattice: read as legacy ST (100 um spots, 200 um pitch). Is that so? If not, choose the platform, or say how many um a px is."
        )
    elif PLATFORMS[kind].lattice != lattice:
        spots.notes.append(f"The lattice of the spots is {lattice}, unlike that of {PLATFORMS[kind].name}: check the platform.")
    step_px = lattice_step_px(spots.lattice_rc, spots.lattice_xy_px, lattice)
    if np.isfinite(step_px) and step_px > 0:
        return kind, PLATFORMS[kind].pitch_um / step_px
    diameter_px = spots.scalefactors.get("spot_diameter_fullres")
    if not diameter_px:
        raise DataError(
            f"{spots.folder}: the size of a pixel cannot be told, for its {len(spots.lattice_rc)} positions make no lattice and no scale factor "
            "states a spot diameter. Take the table of all positions."
        )
    spots.notes.append("The positions make no lattice: um per px is taken from the scale factors' spot diameter.")
    return kind, _DRAWN_UM[kind] / diameter_px


def _scverse(spots: Spots, platform: Platform, mpp: float) -> dict[str, object]:
    """``uns["spatial"][library_id]`` in scverse's shape. The reduced images are left out: they would be copied into every result."""
    factors = {"spot_diameter_fullres": platform.spot_diameter_um / mpp} | spots.scalefactors
    return {"images": {}, "scalefactors": factors, "metadata": {}}


def _open_image(spots: Spots, given: Path | None, orientation: Orientation) -> tuple[Slide | None, Path | None]:
    path = given
    if path is None:
        path, notes = find_image(spots)
        spots.notes.extend(notes)
    else:
        size = image_size(path)
        check_image(spots, path, size[::-1] if orientation.endswith(("90", "270")) else size)
    return (turned_slide(open_slide(path), orientation) if path else None), path
