"""Counts sections that are aligned: their spots in one frame, which is what a copy of the neighbouring section needs."""

from __future__ import annotations

from pathlib import Path

from napari_deepspace.align.transform import AlignedSlide, read_alignment
from napari_deepspace.errors import DataError
from napari_deepspace.geojson import stamp_of
from napari_deepspace.section import Section


def place_in_frame(section: Section, path: Path) -> None:
    """Put the spots into the frame of the alignment in ``path``, (x, y) in um of its fixed slide, as ``obsm["spatial_aligned"]``.

    The section may be either of the two. It is known by its slide, or by its name where the slide is not open. Several sections that are aligned with
    the same fixed slide share a frame.

    Raises
    ------
    DataError
        The file is damaged, or the section is none of the two.
    """
    alignment = read_alignment(path)
    stamp = stamp_of(section.slide) if section.slide is not None else None

    def is_it(one: AlignedSlide) -> bool:
        return stamp.is_same(one.stamp) if stamp is not None else section.library_id == one.library_id

    if is_it(alignment.fixed):
        places = section.centres_yx * alignment.fixed.mpp
    elif is_it(alignment.moving):
        places = alignment.transform.apply(section.centres_yx * alignment.moving.mpp)
    else:
        names = f"{alignment.moving.name} on {alignment.fixed.name}"
        raise DataError(f"{path} lays {names}, and {section.library_id} is none of them. Give the alignment of this section's slide.")
    section.adata.obsm["spatial_aligned"] = places[:, ::-1].copy()
