"""Kinds of slides beyond the 8-bit RGB TIFF: 16 bits, colour planes, OpenSlide's formats, OME-Zarr."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_deepspace.errors import DataError
from napari_deepspace.slide import image_size, open_slide
from napari_deepspace.slide_readers import with_openslide


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_DEEPSPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "slides"


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 400, 3)).astype(np.uint8)
    image[0, 0] = 255
    return image


@pytest.mark.parametrize("tile", [(128, 128), None])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("planar", [False, True])
def test_tiff_of_any_depth_and_order(tmp_path, pixels, tile, bits, planar):
    """8, 12 and 16 bits, interleaved or in planes, tiled or not, give the same 8-bit RGB."""
    image = pixels if bits == 8 else pixels.astype(np.uint16) << (bits - 8)
    order = {"planarconfig": "separate"} if planar else {}
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, np.moveaxis(image, -1, 0) if planar else image, photometric="rgb", tile=tile, metadata=None, **order)
    with open_slide(path) as slide:
        assert slide.shape == image_size(path) == (300, 400)
        np.testing.assert_array_equal(slide.read_region(0, 0, 300, 400), pixels)


def test_grey_png_of_16_bits(tmp_path, pixels):
    """A grey PNG of 16 bits is read as grey RGB."""
    grey = pixels[..., 0].astype(np.uint16) << 8
    Image.fromarray(grey).save(tmp_path / "grey.png")
    with open_slide(tmp_path / "grey.png") as slide:
        np.testing.assert_array_equal(slide.levels[0][:], np.repeat(pixels[..., :1], 3, axis=2))


@pytest.mark.parametrize(("axes", "depth"), [("tczyx", np.uint8), ("cyx", np.uint16), ("yxc", np.uint8)])
def test_ome_zarr(tmp_path, pixels, axes, depth):
    """An OME-Zarr image is read piece by piece, whatever the order of its axes, with its levels and um per px."""
    group = zarr.open_group(tmp_path / "slide.zarr", mode="w", zarr_format=2)
    for number in range(2):
        image = pixels[:: 2**number, :: 2**number].astype(depth) << (8 if depth == np.uint16 else 0)
        image = np.moveaxis(image, -1, 0) if axes.index("c") < axes.index("y") else image
        group.create_array(str(number), data=image[None, :, None] if axes[0] == "t" else image)
    units = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in axes]
    levels = [{"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": [0.5 * 2**n] * len(axes)}]} for n in range(2)]
    group.attrs["multiscales"] = [{"axes": units, "datasets": levels}]
    with open_slide(tmp_path / "slide.zarr") as slide:
        assert [level.shape for level in slide.levels] == [(300, 400, 3), (150, 200, 3)]
        assert slide.mpp == pytest.approx(0.5)
        np.testing.assert_array_equal(slide.read_region(20, 30, 100, 200), pixels[20:120, 30:230])
    assert image_size(tmp_path / "slide.zarr") == (300, 400)


def test_a_zarr_that_is_no_image_is_refused(tmp_path):
    """A Zarr group without an image is refused in one sentence."""
    zarr.open_group(tmp_path / "table.zarr", mode="w").attrs["kind"] = "table"
    with pytest.raises(DataError, match="no OME-Zarr image"):
        open_slide(tmp_path / "table.zarr")


@pytest.mark.real_data
def test_openslide_reads_what_tifffile_reads(data_dir):
    """OpenSlide gives the size, the um per px and, but for rounding of the JPEG decoder, the pixels that the TIFF reader gives."""
    path = data_dir / "slides" / "small_HE.svs"
    levels, mpp, file = with_openslide(path)
    with file, open_slide(path) as slide:
        assert levels[0].shape == slide.shape
        assert mpp == pytest.approx(slide.mpp)
        difference = levels[0].read(1, 1).astype(int) - slide.read_region(512, 512, 512, 512)
        assert np.abs(difference).mean() < 2


def test_cancelling_leaves_nothing(tmp_path, pixels, cache):
    """What the progress callback raises ends the making of a tiled copy, and leaves no file behind."""
    Image.fromarray(pixels.repeat(4, axis=0)).save(tmp_path / "flat.png")
    told = []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_slide(tmp_path / "flat.png", stop)
    assert told and not list(cache.iterdir())
    open_slide(tmp_path / "flat.png", lambda done, total: told.append((done, total))).close()
    assert told[-1][0] == told[-1][1]
