"""Small slides in the formats of scanners, written from what is publicly known of them; synthetic."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

import cv2
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


def write_mirax(path: Path, image: np.ndarray, left: int, top: int, around: tuple[int, int], side: int = 128) -> Path:
    """A MIRAX slide of two levels (.mrxs with its folder): ``image`` at image ``left``, ``top`` of a grid of ``around`` = (rows, columns) images.

    Each image is a PNG of ``side`` px; places without one were not scanned.
    """
    glass = np.full((around[0] * side, around[1] * side, 3), 255, dtype=np.uint8)
    glass[top * side :, left * side :][: image.shape[0], : image.shape[1]] = image
    reduced = cv2.resize(glass, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    rows, columns = range(top, top + image.shape[0] // side), range(left, left + image.shape[1] // side)
    scanned = {(row, column) for row in rows for column in columns}
    places = [scanned, {(row // 2 * 2, column // 2 * 2) for row, column in scanned}]
    slide_id = "0123456789ABCDEF0123456789ABCDEF"
    data = b"01.02" + slide_id.encode() + b"000" + bytes(256)
    levels = []
    for number, (pixels, wanted) in enumerate(zip((glass, reduced), places, strict=True)):
        items = []
        for row, column in sorted(wanted):
            y, x = (row >> number) * side, (column >> number) * side
            png = cv2.imencode(".png", pixels[y : y + side, x : x + side, ::-1])[1].tobytes()
            items.append((row * around[1] + column, len(data), len(png), 0))
            data += png
        levels.append(items)

    index = b"01.02" + slide_id.encode()
    table = len(index) + 8
    where = table + 4 * len(levels)
    records, pointers = b"", []
    for items in levels:  # an empty page that points at the page with all items
        pointers.append(where + len(records))
        records += struct.pack("<ii", 0, where + len(records) + 8) + struct.pack("<ii", len(items), 0)
        records += b"".join(struct.pack("<iiii", *item) for item in items)
    index += struct.pack("<ii", table, table) + struct.pack(f"<{len(levels)}i", *pointers) + records

    said: dict[str, dict[str, object]] = {
        "GENERAL": {
            "SLIDE_VERSION": "01.02", "SLIDE_ID": slide_id, "IMAGENUMBER_X": around[1], "IMAGENUMBER_Y": around[0], "OBJECTIVE_MAGNIFICATION": 20,
            "CameraImageDivisionsPerSide": 1,
        },
        "HIERARCHICAL": {
            "INDEXFILE": "Index.dat", "HIER_COUNT": 1, "NONHIER_COUNT": 0, "HIER_0_NAME": "Slide zoom level", "HIER_0_COUNT": len(levels),
            **{f"HIER_0_VAL_{number}_SECTION": f"LEVEL_{number}" for number in range(len(levels))},
        },
        "DATAFILE": {"FILE_COUNT": 1, "FILE_0": "Data0000.dat"},
    }  # fmt: skip
    for number in range(len(levels)):
        um = NM_PER_PX / 1000 * 2**number
        said[f"LEVEL_{number}"] = {
            "OVERLAP_X": 0, "OVERLAP_Y": 0, "MICROMETER_PER_PIXEL_X": um, "MICROMETER_PER_PIXEL_Y": um, "IMAGE_FORMAT": "PNG",
            "IMAGE_FILL_COLOR_BGR": 16777215, "DIGITIZER_WIDTH": side, "DIGITIZER_HEIGHT": side, "IMAGE_CONCAT_FACTOR": int(number > 0),
        }  # fmt: skip
    folder = path.with_suffix("")
    folder.mkdir()
    lines = [f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()) for name, values in said.items()]
    (folder / "Slidedat.ini").write_text("\n".join(lines))
    (folder / "Index.dat").write_bytes(index)
    (folder / "Data0000.dat").write_bytes(data)
    path.write_bytes(b"\xff\xd8\xff\xd9")  # a picture for other programs
    return path
