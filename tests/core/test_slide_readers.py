"""Kinds of slides beyond the 8-bit RGB TIFF: 16 bits, colour planes, OpenSlide's formats, OME-Zarr."""

from __future__ import annotations

import shutil
import tracemalloc

import cv2
import numpy as np
import openslide
import pytest
import tifffile
import zarr
from PIL import Image
from scanner_files import write_mirax, write_ome_zarr, write_scn

from napari_deepspace import slide_cache, slide_flat
from napari_deepspace.errors import DataError
from napari_deepspace.read.spatialdata_zarr import is_spatialdata
from napari_deepspace.slide import image_size, open_slide
from napari_deepspace.slide_readers import is_image_zarr, with_openslide


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


PACKED = [{}, {"compression": "zlib", "predictor": True}, {"compression": "lzw"}, {"compression": "zstd"}, {"byteorder": ">"}]


@pytest.mark.parametrize("options", PACKED, ids=str)
@pytest.mark.parametrize("kind", ["rgb", "planar", "rgba planar", "12 bits", "16 bits planar", "white is zero"])
def test_tiff_in_strips(tmp_path, pixels, kind, options):
    """Strips of a height that divides nothing give the pixels of the whole image, however they are packed."""
    path = tmp_path / "slide.tif"
    bits = int(kind[:2]) if kind[0].isdigit() else 8
    image = pixels if bits == 8 else pixels.astype(np.uint16) << (bits - 8)
    image = image[..., [0, 1, 2, 0]] if "rgba" in kind else image[..., 0] if "zero" in kind else image
    order = {"planarconfig": "separate"} if "planar" in kind else {}
    file_order = {"byteorder": options["byteorder"]} if "byteorder" in options else {}
    with tifffile.TiffWriter(path, **file_order) as file:
        file.write(
            np.moveaxis(image, -1, 0) if order else image,
            photometric="miniswhite" if "zero" in kind else "rgb",
            extrasamples=["unassalpha"] if "rgba" in kind else None,
            rowsperstrip=37,
            metadata=None,
            **order,
            **{name: value for name, value in options.items() if name != "byteorder"},
        )
    with open_slide(path) as slide:
        whole = 255 - pixels[..., [0, 0, 0]] if "zero" in kind else pixels
        np.testing.assert_array_equal(slide.read_region(0, 0, 300, 400), whole)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("layout", [{"tile": (128, 128)}, {"rowsperstrip": 37, "compression": "lzw"}, {}], ids=str)
def test_colours_in_a_page_each(tmp_path, pixels, layout, bits):
    """An OME-TIFF with one page a colour, as raw2ometiff writes it, is read as RGB, with its levels where they are tiled."""
    planes = np.moveaxis(pixels if bits == 8 else pixels.astype(np.uint16) << 8, -1, 0)
    path = tmp_path / "slide.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(planes, photometric="minisblack", subifds=1, metadata={"axes": "CYX", "PhysicalSizeX": 0.3}, **layout)
        file.write(planes[:, ::2, ::2], photometric="minisblack", subfiletype=1, **layout)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.levels[0][:], pixels)
        assert slide.shape == image_size(path) == (300, 400) and slide.mpp == pytest.approx(0.3)
        if "tile" in layout:
            np.testing.assert_array_equal(slide.levels[1][:], pixels[::2, ::2])
    path.write_bytes(path.read_bytes()[:-60_000])
    with pytest.raises(DataError, match=r"slide\.ome\.tif"):
        open_slide(path)


@pytest.mark.parametrize("marked", [True, False])
def test_levels_that_are_pages_of_their_own(tmp_path, pixels, cache, marked):
    """Levels are found among the pages too, with or without their mark, and with a picture of the label before them."""
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(pixels[:50, :37], photometric="rgb", metadata=None)
        for number in range(3):
            level = pixels[:: 2**number, :: 2**number]
            file.write(level, tile=(64, 64), photometric="rgb", metadata=None, subfiletype=1 if number and marked else 0)
    with open_slide(path) as slide:
        assert [level.shape for level in slide.levels] == [(300, 400, 3), (150, 200, 3), (75, 100, 3)]
        for number, level in enumerate(slide.levels):
            np.testing.assert_array_equal(level[:], pixels[:: 2**number, :: 2**number])
    assert not cache.exists()


def test_strips_are_never_decoded_all_at_once(tmp_path, monkeypatch):
    """A TIFF in strips is copied in a fraction of its own size; its halvings are those of the whole image."""
    monkeypatch.setattr(slide_cache, "BUFFER_BYTES", 1024**2)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5_003, 1_101, 3)).astype(np.uint8)
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, image, photometric="rgb", rowsperstrip=64, compression="zlib", compressionargs={"level": 1})
    tracemalloc.start()
    with open_slide(path) as slide:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        for level in slide.levels:
            np.testing.assert_array_equal(level[:], image)
            height, width = image.shape[0] // 2, image.shape[1] // 2
            image = cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
        assert len(slide.levels) == 4
    assert peak < 0.6 * 5_003 * 1_101 * 3


def test_a_strip_that_is_left_out_is_background(tmp_path, pixels):
    """A strip without bytes is white, and a file whose strips are cut off is refused with its name."""
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=100, compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        tags = file.pages.first.tags
        tags["StripByteCounts"].overwrite([0, *tags["StripByteCounts"].value[1:]])
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_region(0, 0, 100, 400), 255)
        np.testing.assert_array_equal(slide.read_region(100, 0, 200, 400), pixels[100:])
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match=r"slide\.tif: it is cut short"):
        open_slide(path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_too_little_memory_is_said_before_decoding(tmp_path, pixels, cache, monkeypatch, suffix):
    """An image that needs more memory than is free is refused, with both figures and what to do."""
    Image.fromarray(pixels).save(tmp_path / f"flat.{suffix}")
    monkeypatch.setattr(slide_flat, "free_memory", lambda: 100_000_000)
    with pytest.raises(DataError, match=r"400 x 300 px needs 0\.2 GB of memory, of which 0\.1 GB are free\. Save it as .*vips"):
        open_slide(tmp_path / f"flat.{suffix}")
    assert not list(cache.glob("*"))


def test_grey_png_of_16_bits(tmp_path, pixels):
    """A grey PNG of 16 bits is read as grey RGB."""
    grey = pixels[..., 0].astype(np.uint16) << 8
    Image.fromarray(grey).save(tmp_path / "grey.png")
    with open_slide(tmp_path / "grey.png") as slide:
        np.testing.assert_array_equal(slide.levels[0][:], np.repeat(pixels[..., :1], 3, axis=2))


@pytest.mark.parametrize(("axes", "depth"), [("tczyx", np.uint8), ("cyx", np.uint16), ("yxc", np.uint8)])
def test_ome_zarr(tmp_path, pixels, axes, depth):
    """An OME-Zarr image is read piece by piece, whatever the order of its axes, with its levels and um per px."""
    write_ome_zarr(tmp_path / "slide.zarr", [pixels[:: 2**number, :: 2**number] for number in range(2)], axes, depth, mpp=0.5)
    assert is_image_zarr(tmp_path / "slide.zarr")
    with open_slide(tmp_path / "slide.zarr") as slide:
        assert [level.shape for level in slide.levels] == [(300, 400, 3), (150, 200, 3)]
        assert slide.mpp == pytest.approx(0.5)
        np.testing.assert_array_equal(slide.read_region(20, 30, 100, 200), pixels[20:120, 30:230])
    assert image_size(tmp_path / "slide.zarr") == (300, 400)


def test_ome_zarr_of_bioformats2raw(tmp_path, pixels):
    """Of the series that bioformats2raw writes the first is taken."""
    path = tmp_path / "slide.zarr"
    zarr.open_group(path, mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    write_ome_zarr(path / "0", [pixels], "tczyx", np.uint8, mpp=0.5)
    assert is_image_zarr(path)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.levels[0][:], pixels)
        assert slide.mpp == pytest.approx(0.5)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_spatialdata_is_a_section_and_its_picture_an_image(tmp_path, pixels, zarr_format):
    """A SpatialData store is not taken for an image, and the refusal names the images in it, which are taken."""
    store = tmp_path / "section.zarr"
    zarr.open_group(store, mode="w", zarr_format=zarr_format).attrs["spatialdata_attrs"] = {"version": "0.2"}
    for part in ("tables", "shapes", "images"):
        zarr.open_group(store / part, mode="w", zarr_format=zarr_format)
    picture = write_ome_zarr(store / "images" / "he", [pixels], "cyx", np.uint8, mpp=0.5, zarr_format=zarr_format)
    assert is_spatialdata(store) and not is_image_zarr(store)
    assert is_image_zarr(picture) and not is_spatialdata(picture)
    with pytest.raises(DataError, match=r"is a SpatialData store, not an image\. .* one image in images/ \(found: he\)\.$"):
        open_slide(store)
    assert image_size(picture) == (300, 400)


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


@pytest.mark.parametrize("corner", [(299, 701), (300, 700), (0, 0)])
def test_only_the_scanned_part_of_a_glass_is_taken(tmp_path, corner):
    """Where OpenSlide states bounds, rows and columns count from their corner, at every level; what it gives is what the TIFF reader gives."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (20, 25, 3)).astype(np.uint8), (1000, 800), interpolation=cv2.INTER_CUBIC)
    image[::2, ::2] ^= 1  # so that no pixel may be another one
    scn = write_scn(tmp_path / "slide.scn", image, corner[1], corner[0], around=(1600, 2000))
    other = shutil.copy(scn, tmp_path / "slide.bif")  # an ending that sends it to OpenSlide, which looks at what is in the file
    with openslide.OpenSlide(scn) as raw:
        assert raw.dimensions == (2000, 1600) and raw.properties["openslide.bounds-x"] == str(corner[1])
    with open_slide(other) as slide, open_slide(scn) as by_tiff:
        assert slide.shape == image_size(other) == by_tiff.shape == image_size(scn) == (800, 1000)
        assert [level.shape for level in slide.levels] == [level.shape for level in by_tiff.levels] == [(800, 1000, 3), (200, 250, 3)]
        assert slide.mpp == by_tiff.mpp == pytest.approx(0.5)
        np.testing.assert_array_equal(slide.levels[0][:], image)
        np.testing.assert_array_equal(slide.read_region(500, 490, 100, 60), image[500:600, 490:550])
        np.testing.assert_array_equal(by_tiff.levels[0][:], image)
        whole_px = all(value % 4 == 0 for value in corner)  # else the level is drawn a fraction of its px away
        quarter, expected = slide.levels[1][:].astype(int), image[::4, ::4].astype(int)
        assert np.abs(quarter - expected)[2:-2, 2:-2].max() <= (0 if whole_px else 6)
        assert np.abs(np.roll(quarter, 1, axis=1) - expected)[2:-2, 2:-2].max() > 12


@pytest.mark.parametrize(("left", "top"), [(3, 2), (2, 3), (0, 0)])
def test_mirax(tmp_path, left, top):
    """Of a MIRAX slide the scanned part is the image, to the pixel, at both levels; a damaged one is named."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (10, 15, 3)).astype(np.uint8), (384, 256), interpolation=cv2.INTER_CUBIC)
    path = write_mirax(tmp_path / "slide.mrxs", image, left, top, around=(6, 8))
    with open_slide(path) as slide:
        assert slide.shape == image_size(path) == (256, 384)
        assert slide.mpp == pytest.approx(0.5)
        np.testing.assert_array_equal(slide.levels[0][:], image)
        np.testing.assert_array_equal(slide.read_region(100, 200, 50, 150), image[100:150, 200:350])
        np.testing.assert_array_equal(slide.levels[1][:], cv2.resize(image, (192, 128), interpolation=cv2.INTER_AREA))
    (tmp_path / "slide" / "Index.dat").write_bytes(b"01.02")
    with pytest.raises(DataError, match=r"slide\.mrxs: OpenSlide cannot read it"):
        open_slide(path)


def test_what_the_tiff_reader_refuses_openslide_may_read(tmp_path, pixels):
    """A scanner's TIFF that is not understood here is left to OpenSlide; another TIFF stays refused, in the words of the TIFF reader."""
    scn = write_scn(tmp_path / "slide.scn", pixels, 100, 60, around=(800, 800), depths=2)
    with open_slide(scn) as slide:
        np.testing.assert_array_equal(slide.levels[0][:], pixels)
    assert image_size(scn) == (300, 400)
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([pixels, pixels]), tile=(64, 64), photometric="rgb")
    for opening in (open_slide, image_size):
        with pytest.raises(DataError, match="not one image in colours"):
            opening(tmp_path / "stack.tif")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("at", [0.0, 0.6])
def test_cancelling_leaves_nothing(tmp_path, pixels, cache, suffix, at):
    """What the progress callback raises ends the making of a tiled copy, while decoding and while writing, and leaves no file behind."""
    path = tmp_path / f"flat.{suffix}"
    Image.fromarray(pixels.repeat(8, axis=0)).save(path)
    told = []

    def stop(doing: str, share: float) -> None:
        told.append((doing, share))
        if share >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_slide(path, stop)
    assert told[-1][1] < 1 and not list(cache.glob("*")) and not list(cache.glob(".*"))
    told.clear()
    open_slide(path, lambda doing, share: told.append((doing, share))).close()
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[-1] == 1
    assert all("400 x 2,400 px" in doing and "GB of memory" in doing for doing, _ in told)
