"""Reading a section from whatever folder it lies in. All quirks of file layouts end here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from napari_deepspace.align.frame import place_in_frame
from napari_deepspace.causes import read_causes, set_causes
from napari_deepspace.errors import DataError, SettingsError, TableUnclear
from napari_deepspace.geojson import stamp_of
from napari_deepspace.orientation import AS_IS, turned_slide
from napari_deepspace.outlines import on_slide, read_outline_file
from napari_deepspace.read.files import Spots, find_file, first_existing, reading
from napari_deepspace.read.folders import read_spots
from napari_deepspace.read.given import add_aligned, add_given_clusters, add_numbers
from napari_deepspace.read.images import check_image, find_image, pixel_size, shrink
from napari_deepspace.read.positions import off_lattice
from napari_deepspace.seal import read_seal, sealed_spots, with_seal
from napari_deepspace.section import ASKS_LATTICE, PLATFORMS, Platform, Section, lattice_step_px, require_platform, swap_xy
from napari_deepspace.settings import Orientation, SectionSettings
from napari_deepspace.slide import Progress, Slide, image_size, open_slide

ALIGNED = "spatial_aligned.csv"
"""Found by itself in a section's folder."""
OFF_LATTICE = 0.35
"""Steps that positions may lie off their rows and columns and still tell the scale: real lattices come to 0.15 at most, places at random to 0.6."""
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
    columns: Mapping[str, str] | None = None,
    slide: bool = True,
    progress: Progress | None = None,
) -> Section:
    """Read one section: a Space Ranger folder (`outs/`, its parent, loose files, Visium HD), a legacy ST folder, ``.h5ad``, SpatialData, or a table.

    What opens, and what each message means, is told in docs/inputs.md. Nothing that is read can run code, and what would unpack to more than
    200 times its size is refused.

    Parameters
    ----------
    image
        Full-resolution H&E; left out, it is looked for beside the counts by its size.
    platform
        "visium", "st", or "auto": from the lattice of the spots.
    mpp
        Um per full-resolution px; left out: as the section's files state, else the image, else from the lattice's pitch.
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
        ``obsm["spatial_aligned"]``; or an ``alignment.json`` that the section's slide is one of; left out:
        ``spatial_aligned.csv`` in the section's folder, where there is one.
    sealed
        A seal (:mod:`napari_deepspace.seal`), whose spots ``obs["deepspace_sealed"]`` marks.
    columns
        Of a plain table: which of its columns is what, as {"x": "CentroidX"}; see :data:`napari_deepspace.read.plain.ROLES`.
    slide
        False leaves the image alone: it is neither looked for nor opened.
    progress
        Called with words and a share while a flat image is copied, see :func:`napari_deepspace.slide.open_slide`; what it raises ends the reading.

    Raises
    ------
    TableUnclear
        It has to be said which column of a table is what, or how many um a px is.
    DataError
        The folder or one of its files cannot be read, the image cannot be the one the positions refer to, the seal is of another section, or the
        outlines were drawn on another slide. Nothing stays open.
    SettingsError
        An unknown platform, or um per px that no slide has.
    """
    require_platform(platform)
    if mpp is not None and not 0.01 <= mpp <= 100:
        raise SettingsError(f"{mpp:g} um per px is no scale of a slide: give a number between 0.01 and 100.")
    path = Path(path).expanduser()
    drawn = read_outline_file(Path(outlines)) if outlines is not None else None
    seal = read_seal(Path(sealed)) if sealed is not None else None
    spots = read_spots(path, library_id, columns, mpp)
    if seal is not None:
        sealed_spots(seal, spots.adata, library_id or spots.name)  # refused before the slide is open
    if clusters is not None:
        add_given_clusters(spots.adata, Path(clusters))
    if obs is not None:
        add_numbers(spots.adata, Path(obs))
    if causes is not None:
        set_causes(spots.adata, read_causes(Path(causes)))
    by_slide = aligned is not None and Path(aligned).suffix == ".json"
    found = Path(aligned) if aligned is not None else _own_frame(spots)
    if found is not None and not by_slide:
        add_aligned(spots.adata, found)
    origin = _synthetic_origin(spots)
    share = shrink(spots) if slide and reduced and image is None else 1.0
    assay, lattice_mpp = _scale(spots, platform, mpp or spots.mpp)
    _look_at(spots)
    name = library_id or spots.name
    image_path = Path(image).expanduser() if image is not None else None
    opened = None
    if slide:
        opened, image_path = _open_image(spots, image_path, orientation, progress)
    stated = opened.mpp if opened is not None and share == 1 else None
    size = pixel_size(mpp, (spots.mpp, spots.mpp_from), stated, lattice_mpp)
    if size is None:
        if opened is not None:
            opened.close()
        words = (
            f"{spots.table or spots.folder}: the size of a pixel cannot be told, for its {len(spots.lattice_rc)} positions make no lattice and no "
            "scale factor states a spot diameter. Take the table of all positions, or say it (um per px: --mpp NUMBER)."
        )
        raise DataError(words) if spots.table is None else TableUnclear(words, spots.table, needs_scale=True)
    mpp, mpp_from, more = size
    spots.notes.extend(more)
    if spots.irregular_px is not None and spots.platform is None and platform == "auto":
        assay = _without_lattice(spots, mpp)
    spots.adata.uns["spatial"] = {name: _scverse(spots, assay, mpp)}
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
        platform=assay,
        mpp=mpp,
        patient=patient or origin.get("patient"),
        block=block or origin.get("block"),
        path=spots.path or path,
        image_path=image_path,
        synthetic=bool(origin),
        outlines=drawn.outlines if drawn is not None else [],
        notes=spots.notes,
        mpp_from=mpp_from,
        orientation=orientation if opened is not None else AS_IS,
        reduced=share,
        columns=dict(columns or {}),
        lattice=np.column_stack([spots.lattice_rc, swap_xy(spots.lattice_xy_px)]).astype(np.float64),
    )
    if by_slide and found is not None:
        try:
            place_in_frame(section, found)
        except DataError:
            if opened is not None:
                opened.close()
            raise
    return with_seal(section, seal) if seal is not None else section


def read_settings(settings: SectionSettings, progress: Progress | None = None) -> Section:
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
        columns=settings.columns or None,
        progress=progress,
    )


def _own_frame(spots: Spots) -> Path | None:
    """``spatial_aligned.csv`` in the folder of the files or in that around an ``outs/``; of several sections in one folder that of its prefix."""
    if spots.prefix is not None:
        return find_file(spots.folder, ALIGNED, prefix=spots.prefix)
    around = [spots.folder.parent] if spots.folder.name == "outs" else []
    return first_existing(*(folder / ALIGNED for folder in (spots.folder, *around)))


def _synthetic_origin(spots: Spots) -> dict[str, str]:
    """What ``SYNTHETIC.txt`` says of a section made by a program, patient and block among it; empty for any other section."""
    note = first_existing(*(folder / "SYNTHETIC.txt" for folder in (spots.folder, spots.folder.parent)))
    if note is None:
        return {"synthetic": "yes"} if spots.synthetic else {}
    with reading(note, "the note of a synthetic section"):
        said = dict(line.split(": ", 1) for line in note.read_text(encoding="utf-8").splitlines() if ": " in line)
    return {"synthetic": "yes"} | said


def _scale(spots: Spots, platform: str, stated: float | None) -> tuple[Platform, tuple[float | None, str]]:
    """Platform, and um per px with its origin in words: from the lattice's pitch, else from the scale factors' spot diameter, else None.

    A square lattice of which nobody says what it is (platform "auto") is that of legacy ST, unless um per px is ``stated``: then its pitch is known.
    """
    square = spots.square_expected or bool((spots.lattice_rc.sum(axis=1) % 2).any())  # Visium: row + column is always even
    lattice = "square" if square else "hexagonal"
    own = spots.platform if platform == "auto" else None
    kind = platform if platform != "auto" else ("st" if square else "visium")
    assay = own or PLATFORMS[kind]
    step_px = lattice_step_px(spots.lattice_rc, spots.lattice_xy_px, lattice if own is None else own.lattice)
    diameter_px = spots.scalefactors.get("spot_diameter_fullres")
    off = off_lattice(spots.lattice_rc, spots.lattice_xy_px) if spots.irregular_px is None else np.zeros(1)
    tells = float(np.percentile(off, 95)) <= OFF_LATTICE
    if (off > 2 * OFF_LATTICE).any():
        spots.notes.append(
            f"{int((off > 2 * OFF_LATTICE).sum())} of {len(off)} positions do not lie where their rows and columns say (off by up to {off.max():.1f} "
            f"steps of the lattice){'' if tells else ', so that the lattice tells no scale'}: is the table damaged, or of several sections?"
        )
    if spots.irregular_px is not None and own is None:
        if platform == "auto":
            return assay, (None, "")
        step_px = float("nan")
    elif own is None and platform == "auto" and square and not spots.square_expected:
        if stated and abs(step_px * stated / assay.pitch_um - 1) > 0.1:
            return _square(spots, step_px * stated, stated * (diameter_px or 0)), (None, "")
        if not stated:
            spots.notes.append(
                f"{ASKS_LATTICE}read as legacy ST (100 um spots, 200 um pitch). Is that so? If not, say what the pitch is, or how many um a px is."
            )
    elif assay.lattice != lattice and own is None:
        spots.notes.append(f"The lattice of the spots is {lattice}, unlike that of {assay.name}: check the platform.")
    from_pitch = assay.pitch_um / step_px if tells and np.isfinite(step_px) and step_px > 0 else None
    if own is None and not square and from_pitch and diameter_px and abs(diameter_px * from_pitch / _DRAWN_UM[kind] - 1) > 0.25:
        spots.notes.append(
            f"The scale factors give a spot {diameter_px:.1f} px, the lattice about {_DRAWN_UM[kind] / from_pitch:.1f}: "
            "they may be those of another section. The lattice is used; check the image."
        )
    if from_pitch:
        return assay, (from_pitch, "the lattice of the spots")
    if not diameter_px or own is not None:
        return assay, (None, "")
    spots.notes.append("The positions make no lattice: the scale factors' spot diameter stands in for its pitch.")
    return assay, (_DRAWN_UM[kind] / diameter_px, "the spot diameter of the scale factors")


def _square(spots: Spots, pitch_um: float, diameter_um: float) -> Platform:
    """A square lattice whose pitch is known; spots of half the pitch, as on legacy ST, where nothing states their diameter."""
    told = "" if diameter_um else " (half the pitch, for nothing states their size)"
    made = Platform("square lattice", diameter_um or pitch_um / 2, pitch_um, "square")
    spots.notes.append(f"Square lattice of {pitch_um:.0f} um, spots of {made.spot_diameter_um:.0f} um{told}.")
    return made


def _without_lattice(spots: Spots, mpp: float) -> Platform:
    """Places that lie anywhere, as those of GeoMx do."""
    diameter, pitch = spots.irregular_px or (float("nan"), float("nan"))
    guessed = "" if "spot_diameter_fullres" in spots.scalefactors else ", which was guessed from their distance"
    spots.notes.append(
        f"The places lie on no lattice: rows and columns are those of squares of {pitch * mpp:.0f} um laid over them, "
        f"and a spot is {diameter * mpp:.0f} um wide{guessed}."
    )
    return Platform("places without a lattice", diameter * mpp, pitch * mpp, "square")


def _look_at(spots: Spots) -> None:
    """Note spots at places where no image can be, and a matrix in which nothing was counted."""
    if spots.adata.n_vars and not spots.adata.X.data.any():
        spots.notes.append(
            f"The matrix of {spots.adata.n_obs} spots x {spots.adata.n_vars} genes holds no count at all: take another one to learn from."
        )
    tissue = np.asarray(spots.adata.obs["in_tissue"], dtype=bool)
    outside = int((np.asarray(spots.adata.obsm["spatial"])[tissue] < 0).any(axis=1).sum())
    if outside:
        spots.notes.append(f"{outside} spots lie at negative positions, outside of any image: the table may be of another image or another section.")


def _scverse(spots: Spots, platform: Platform, mpp: float) -> dict[str, object]:
    """``uns["spatial"][library_id]`` in scverse's shape. The reduced images are left out: they would be copied into every result."""
    factors = {"spot_diameter_fullres": platform.spot_diameter_um / mpp} | spots.scalefactors
    return {"images": {}, "scalefactors": factors, "metadata": {}}


def _open_image(spots: Spots, given: Path | None, orientation: Orientation, progress: Progress | None) -> tuple[Slide | None, Path | None]:
    path = given
    if path is None:
        path, notes = find_image(spots)
        spots.notes.extend(notes)
    else:
        size = image_size(path)
        check_image(spots, path, size[::-1] if orientation.endswith(("90", "270")) else size)
    return (turned_slide(open_slide(path, progress), orientation) if path else None), path
