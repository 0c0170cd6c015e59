"""Small slides in the formats of scanners, written from what is publicly known of them; synthetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

NM_PER_PX = 500


def write_scn(path: Path, image: np.ndarray, left: int, top: int, around: tuple[int, int]) -> Path:
    """A Leica SCN (BigTIFF): ``image`` and its quarter, scanned at column ``left`` and row ``top`` of a glass of ``around`` = (height, width) px."""
    quarter = image[::4, ::4]
    macro = np.full((around[0] // 16 * 16 // 8, around[1] // 16 * 16 // 8, 3), 230, dtype=np.uint8)

    def described(name: str, levels: list[np.ndarray], first: int, size: tuple[int, int], at: tuple[int, int]) -> str:
        dimensions = "".join(
            f'<dimension sizeX="{one.shape[1]}" sizeY="{one.shape[0]}" r="{number}" ifd="{first + number}"/>' for number, one in enumerate(levels)
        )
        nm = [value * NM_PER_PX for value in (size[1], size[0], at[1], at[0])]
        return (
            f'<image name="{name}"><pixels sizeX="{levels[0].shape[1]}" sizeY="{levels[0].shape[0]}">{dimensions}</pixels>'
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
