"""Small slides in the formats of scanners, written from what is publicly known of them; synthetic."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import tifffile
import zarr

NM_PER_PX = 500


def write_scn(path: Path, image: np.ndarray, left: int, top: int, around: tuple[int, int], depths: int = 1) -> Path:
    """A Leica SCN (BigTIFF): ``image`` and its quarter, scanned at column ``left`` and row ``top`` of a glass of ``around`` = (height, width) px."""
    quarter = image[::4, ::4]
    macro = np.full((around[0] // 16 * 16 // 8, around[1] // 16 * 16 // 8, 3), 230, dtype=np.uint8)

    def described(name: str, levels: list[np.ndarray], first: int, size: tuple[int, int], at: tuple[int, int]) -> str:
        dimensions = "".join(
            f'<dimension sizeX="{one.shape[1]}" sizeY="{one.shape[0]}" r="{number}" ifd="{first + number}"/>' for number, one in enumerate(levels)
        )
        nm = [value * NM_PER_PX for value in (size[1], size[0], at[1], at[0])]
        return (
            f'<image name="{name}" sizeZ="{depths}"><pixels sizeX="{levels[0].shape[1]}" sizeY="{levels[0].shape[0]}">{dimensions}</pixels>'
            f'<view sizeX="{nm[0]}" sizeY="{nm[1]}" offsetX="{nm[2]}" offsetY="{nm[3]}"/>'
            "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>"
            "<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image>"
        )

    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection name="slide" sizeX="{around[1] * NM_PER_PX}" sizeY="{around[0] * NM_PER_PX}">'
        + described("macro", [macro], 0, around, (0, 0))
        + described("scan", [image, quarter], 1, image.shape[:2], (top, left))
        + "</collection></scn>"
    )
    per_cm = 1e7 / NM_PER_PX
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for number, pixels in enumerate((macro, image, quarter)):
            resolution = per_cm / (1, 1, 4)[number]
            file.write(
                pixels, tile=(64, 64), photometric="rgb", compression="zlib", metadata=None, resolution=(resolution, resolution),
                resolutionunit="CENTIMETER", description=None if number else xml,
            )  # fmt: skip
    return path


def write_ome_zarr(path: Path, levels: list[np.ndarray], axes: str, depth: type, mpp: float, zarr_format: Literal[2, 3] = 2) -> Path:
    """An OME-Zarr image of 8 or 16 bits: version 0.4 in Zarr 2, 0.5 in Zarr 3. ``levels`` are uint8 (h, w, 3), each half the one before."""
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    for number, level in enumerate(levels):
        image = level.astype(depth) << (8 if depth == np.uint16 else 0)
        image = np.moveaxis(image, -1, 0) if axes.index("c") < axes.index("y") else image
        group.create_array(str(number), data=image[None, :, None] if axes[0] == "t" else image)
    units = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in axes]
    scales = [{"type": "scale", "scale": [mpp * 2**number] * len(axes)} for number in range(len(levels))]
    datasets = [{"path": str(number), "coordinateTransformations": [scale]} for number, scale in enumerate(scales)]
    said = {"multiscales": [{"axes": units, "datasets": datasets}]}
    group.attrs.update(said if zarr_format == 2 else {"ome": {"version": "0.5", **said}})
    return path
