"""A slide is read lazily, whatever format it has, and a bad one is refused in one sentence."""

from __future__ import annotations

import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image

from napari_deepspace import slide as slide_module
from napari_deepspace import slide_cache, slide_flat
from napari_deepspace.errors import DataError
from napari_deepspace.slide import image_size, open_slide


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_DEEPSPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "slides"


def picture(height=700, width=900, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 50 + 1, width // 50 + 1, 3))
    smooth = coarse.repeat(50, axis=0).repeat(50, axis=1)[:height, :width]
    return np.clip(smooth + rng.integers(-20, 20, smooth.shape), 0, 255).astype(np.uint8)


def write_tiled(path: Path, image: np.ndarray, levels: int = 0, **options) -> Path:
    options = {"tile": (128, 128), "photometric": "rgb", "compression": "zlib", "metadata": None} | options
    with tifffile.TiffWriter(path, bigtiff=options.pop("bigtiff", False), ome=options.pop("ome", None)) as file:
        file.write(image, subifds=levels, **options)
        for number in range(1, levels + 1):
            file.write(image[:: 2**number, :: 2**number], subfiletype=1, **options)
    return path


def count_decoded(monkeypatch) -> list[int]:
    """A list that grows by one entry for each file tile that is decoded from now on."""
    decoded: list[int] = []
    as_rgb = slide_module._as_rgb

    def counted(*arguments):
        decoded.append(1)
        return as_rgb(*arguments)

    monkeypatch.setattr(slide_module, "_as_rgb", counted)
    return decoded


def open_files(folder: Path) -> list[str]:
    return [file.path for file in psutil.Process().open_files() if file.path.startswith(str(folder))]


@pytest.mark.parametrize("options", [{}, {"compression": "lzw"}, {"compression": None}, {"bigtiff": True}, {"compression": "zstd"}])
def test_tiled_pyramid_is_read_where_it_lies(tmp_path, cache, options):
    """A tiled pyramidal TIFF, classic or BigTIFF, gives its pixels, its levels and its um per px, and no copy of it is made."""
    image = picture()
    path = write_tiled(tmp_path / "slide.tif", image, levels=2, resolution=(1e4 / 0.5, 1e4 / 0.5), resolutionunit="CENTIMETER", **options)
    with open_slide(path) as slide:
        assert slide.shape == image.shape[:2] == image_size(path)
        assert [level.shape for level in slide.levels] == [(700, 900, 3), (350, 450, 3), (175, 225, 3)]
        assert slide.mpp == pytest.approx(0.5)
        np.testing.assert_array_equal(slide.read_region(100, 250, 300, 400), image[100:400, 250:650])
        np.testing.assert_array_equal(slide.read_region(10, 20, 100, 30, level=1), image[::2, ::2][10:110, 20:50])
        np.testing.assert_array_equal(np.asarray(slide.levels[0]), image)
    assert not cache.exists()


def test_opening_decodes_nothing(tmp_path, monkeypatch):
    """Opening a tiled slide decodes no pixel; reading a region decodes only the file tiles it touches, once."""
    path = write_tiled(tmp_path / "slide.tif", picture(), levels=2)
    decoded = count_decoded(monkeypatch)
    with open_slide(path) as slide:
        assert not decoded
        slide.read_region(130, 130, 50, 200)
        assert len(decoded) == 2
        slide.read_region(128, 128, 128, 256)
        assert len(decoded) == 2


def test_cache_is_bounded(tmp_path, monkeypatch):
    """Decoded file tiles beyond the cache's size are dropped, the least recently used first."""
    monkeypatch.setattr(slide_module, "CACHE_BYTES", 3 * 128 * 128 * 3)
    decoded = count_decoded(monkeypatch)
    with open_slide(write_tiled(tmp_path / "slide.tif", picture())) as slide:
        for column in (0, 1, 2, 0, 3, 0):  # the fourth tile drops tile 1, not 0
            slide.read_region(0, column * 128, 10, 10)
        assert len(decoded) == 4
        slide.read_region(0, 128, 10, 10)
        assert len(decoded) == 5


def test_regions_must_lie_inside(tmp_path):
    """A region that reaches beyond the image is an error of the caller, not a smaller region."""
    with open_slide(write_tiled(tmp_path / "slide.tif", picture())) as slide:
        for region in ((-1, 0, 10, 10), (0, -1, 10, 10), (695, 0, 10, 10), (0, 895, 10, 10)):
            with pytest.raises(ValueError, match="outside"):
                slide.read_region(*region)


def test_threads_read_the_same(tmp_path):
    """Several threads may read one slide at once."""
    image = picture(1500, 1500)
    with open_slide(write_tiled(tmp_path / "slide.tif", image)) as slide, ThreadPoolExecutor(8) as pool:
        corners = [(y, x) for y in range(0, 1400, 90) for x in range(0, 1400, 90)]
        regions = pool.map(lambda corner: slide.read_region(*corner, 100, 100), corners)
        for (y, x), region in zip(corners, regions, strict=True):
            np.testing.assert_array_equal(region, image[y : y + 100, x : x + 100])


def test_dask_levels_are_the_levels(tmp_path):
    """The levels for napari hold the same pixels, in blocks of whole file tiles."""
    image = picture(2100, 1300)
    with open_slide(write_tiled(tmp_path / "slide.tif", image, levels=1)) as slide:
        full, half = slide.dask_levels()
        assert full.chunksize == (1024, 1024, 3)
        np.testing.assert_array_equal(full[1000:1100, 900:1200].compute(), image[1000:1100, 900:1200])
        np.testing.assert_array_equal(half.compute(), image[::2, ::2])


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_flat_image_is_decoded_once(tmp_path, cache, monkeypatch, caplog, suffix):
    """JPEG, PNG and TIFF without tiles are decoded once into a lossless tiled pyramid; the memory it takes is said beforehand."""
    image = picture(1600, 2300)
    path = tmp_path / f"flat.{suffix}"
    Image.fromarray(image).save(path)
    with Image.open(path) as flat:
        expected = np.asarray(flat)
    with caplog.at_level(logging.INFO), open_slide(path) as slide:
        np.testing.assert_array_equal(np.asarray(slide.levels[0]), expected)
        assert [level.shape[:2] for level in slide.levels] == [(1600, 2300), (800, 1150), (400, 575)]
        averaged = expected[:1600, :2300].reshape(800, 2, 1150, 2, 3).mean(axis=(1, 3))
        assert np.abs(np.asarray(slide.levels[1]) - averaged).max() <= 0.5
        assert slide.path == path
        assert image_size(path) == slide.shape
    assert "GB of memory" in caplog.messages[0]
    (cached,) = cache.iterdir()
    monkeypatch.setattr(slide_cache, "flat_other", None)
    monkeypatch.setattr(slide_cache, "flat_tiff", None)
    before = cached.stat().st_mtime_ns
    open_slide(path).close()
    assert cached.stat().st_mtime_ns == before


def test_changed_or_damaged_copies_are_made_anew(tmp_path, cache):
    """A flat image that changed is decoded again, and so is one whose copy in the cache was cut short."""
    path = tmp_path / "flat.png"
    for seed in (1, 2):
        Image.fromarray(picture(seed=seed)).save(path)
        with open_slide(path) as slide:
            np.testing.assert_array_equal(np.asarray(slide.levels[0]), picture(seed=seed))
    assert len(list(cache.iterdir())) == 2
    for cached in cache.iterdir():
        cached.write_bytes(cached.read_bytes()[:-1000])
    with open_slide(path) as slide:
        np.testing.assert_array_equal(np.asarray(slide.levels[0]), picture(seed=2))


def test_large_slide_without_levels_gets_an_overview(tmp_path, cache, monkeypatch):
    """A large tiled slide without reduced levels is read once for an overview; its full resolution stays where it lies."""
    monkeypatch.setattr(slide_module, "OVERVIEW_ABOVE_PX", 512)
    image = picture(1203, 1607)
    path = write_tiled(tmp_path / "slide.tif", image)
    with open_slide(path) as slide:
        assert [level.shape[:2] for level in slide.levels] == [(1203, 1607), (150, 200)]
        expected = image[:1200, :1600].reshape(150, 8, 200, 8, 3).mean(axis=(1, 3))
        assert np.abs(np.asarray(slide.levels[1]) - expected).max() <= 1
    decoded = count_decoded(monkeypatch)
    with open_slide(path) as slide:
        assert not decoded
        slide.fingerprint()
    assert len(decoded) == 1


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_other_colours_become_rgb(tmp_path, mode):
    """Grey, palette, CMYK and transparent images are read as RGB."""
    image = Image.fromarray(picture()).convert(mode)
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    image.save(path)
    with Image.open(path) as again, open_slide(path) as slide:
        np.testing.assert_array_equal(np.asarray(slide.levels[0]), np.asarray(again.convert("RGB")))


@pytest.mark.parametrize("tile", [(128, 128), None])
def test_grey_and_transparent_tiffs_become_rgb(tmp_path, tile):
    """Grey TIFFs, black or white at zero, and RGBA TIFFs are read as RGB, tiled or not."""
    image = picture()
    for name, pixels, photometric, expected in (
        ("grey.tif", image[..., 0], "minisblack", image[..., [0, 0, 0]]),
        ("inverted.tif", image[..., 0], "miniswhite", 255 - image[..., [0, 0, 0]]),
        ("rgba.tif", np.dstack([image, image[..., :1]]), "rgb", image),
    ):
        tifffile.imwrite(tmp_path / name, pixels, photometric=photometric, tile=tile, extrasamples=["unassalpha"] if "rgba" in name else None)
        with open_slide(tmp_path / name) as slide:
            np.testing.assert_array_equal(np.asarray(slide.levels[0]), expected)


def test_um_per_px(tmp_path):
    """Um per px come from resolution tags or OME metadata, and only if they can be those of a slide; a copy in the cache keeps them."""
    image = picture(200, 300)
    ome = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
    made = {
        "tag.tif": {"resolution": (25400 / 0.3, 25400 / 0.3), "resolutionunit": "INCH"},
        "flat.tif": {"resolution": (25400 / 0.3, 25400 / 0.3), "resolutionunit": "INCH", "tile": None},
        "screen.tif": {"resolution": (72, 72), "resolutionunit": "INCH"},
        "none.tif": {},
        "ome.ome.tif": {"ome": True, "metadata": ome},
    }
    found = {}
    for name, options in made.items():
        with open_slide(write_tiled(tmp_path / name, image, **options)) as slide:
            found[name] = slide.mpp
    Image.fromarray(image).save(tmp_path / "a.png", dpi=(25400 / 0.5, 25400 / 0.5))
    with open_slide(tmp_path / "a.png") as slide:
        found["a.png"] = slide.mpp
    assert found.pop("screen.tif") is None
    assert found.pop("none.tif") is None
    assert found == pytest.approx({"tag.tif": 0.3, "flat.tif": 0.3, "ome.ome.tif": 0.25, "a.png": 0.5}, rel=1e-3)


def test_thumbnail(tmp_path):
    """A thumbnail shows the whole slide, area-averaged, and is never enlarged."""
    image = picture(700, 900)
    with open_slide(write_tiled(tmp_path / "slide.tif", image, levels=1)) as slide:
        small = slide.thumbnail(90)
        assert small.shape == (70, 90, 3)
        assert np.abs(small.astype(float).mean(axis=(0, 1)) - image.mean(axis=(0, 1))).max() < 2
        assert slide.thumbnail(5000).shape == image.shape


def test_fingerprint_depends_on_pixels_alone(tmp_path):
    """A slide is known again under another name and in another folder; another slide of the same size is not taken for it."""
    path = write_tiled(tmp_path / "slide.tif", picture(), levels=1)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(path, tmp_path / "elsewhere" / "renamed.tif")
    other = write_tiled(tmp_path / "other.tif", picture(seed=1), levels=1)
    with open_slide(path) as one, open_slide(moved) as two, open_slide(other) as three:
        assert one.fingerprint() == two.fingerprint() != three.fingerprint()
        assert len(one.fingerprint()) == 32


def test_closing_leaves_no_file_open(tmp_path):
    """After close() no file of the slide is open, nor after an opening that failed."""
    good = tmp_path / "flat.tif"
    tifffile.imwrite(good, picture(), photometric="rgb")
    with open_slide(good) as slide:
        slide.thumbnail(100)
        assert open_files(tmp_path)
    assert not open_files(tmp_path)
    bad = tmp_path / "five.tif"
    tifffile.imwrite(bad, np.dstack([picture(), picture()[..., :2]]), photometric="minisblack", planarconfig="contig", tile=(128, 128))
    with pytest.raises(DataError):
        open_slide(bad)
    assert not open_files(tmp_path)


def truncated(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def bad_images(folder: Path) -> dict[str, Path]:
    image = picture()
    paths = {name: folder / name for name in ("missing.tif", "text.jpg", "text.tif", "cut.jpg", "cut.png", "cut.tif", "five.tif")}
    paths["text.jpg"].write_text("no image")
    paths["text.tif"].write_text("II is how a TIFF begins, but this is none")
    for name in ("cut.jpg", "cut.png"):
        Image.fromarray(image).save(paths[name])
        truncated(paths[name], 0.6)
    truncated(write_tiled(paths["cut.tif"], image, levels=1), 0.7)
    tifffile.imwrite(paths["five.tif"], np.dstack([image, image[..., :2]]), photometric="minisblack", planarconfig="contig", tile=(128, 128))
    paths |= {"empty.tif": folder / "empty.tif", "folder": folder}
    paths["empty.tif"].touch()
    return paths


@pytest.mark.parametrize(
    "name",
    ["missing.tif", "text.jpg", "text.tif", "cut.jpg", "cut.png", "cut.tif", "five.tif", "empty.tif", "folder"],
)
def test_bad_image_is_one_clear_error(tmp_path, cache, name):
    """A missing, foreign, damaged or unsuitable image ends in one DataError that names the file; nothing stays open or half-written."""
    path = bad_images(tmp_path)[name]
    with pytest.raises(DataError) as caught:
        open_slide(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).endswith(".")
    assert not open_files(tmp_path)
    assert not cache.exists() or not list(cache.iterdir())


def test_damaged_file_tile_is_a_data_error(tmp_path):
    """A slide that is damaged somewhere opens, and reading there says where."""
    path = write_tiled(tmp_path / "slide.tif", picture())
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.dataoffsets[9]
    content = bytearray(path.read_bytes())
    content[offset : offset + 200] = b"\xff" * 200
    path.write_bytes(content)
    with open_slide(path) as slide:
        slide.read_region(0, 0, 128, 128)
        with pytest.raises(DataError, match=r"row 128, column 128 .* damaged"):
            slide.read_region(128, 128, 10, 10)


def test_size_of_flat_images_is_bounded(tmp_path, monkeypatch):
    """An image beyond the stated bound is refused before it is decoded, with what to do; PIL's own limit stays as it was."""
    limit = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "flat.png"
    Image.fromarray(picture()).save(path)
    monkeypatch.setattr(slide_flat, "MAX_FLAT_PX", 700 * 900 - 1)
    with pytest.raises(DataError, match=r"900 x 700 px cannot be decoded at once .*tiled pyramidal TIFF"):
        open_slide(path)
    monkeypatch.setattr(slide_flat, "MAX_FLAT_PX", 700 * 900)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    open_slide(path).close()
    assert Image.MAX_IMAGE_PIXELS == 1000
    assert limit != 1000


class TestRealSlides:
    """Slides from the wild."""

    pytestmark = pytest.mark.real_data

    def test_svs(self, data_dir):
        """An Aperio SVS gives its scan, not its label, and its um per px."""
        path = data_dir / "slides" / "small_HE.svs"
        with open_slide(path) as slide:
            assert slide.shape == (2967, 2220)
            assert slide.mpp == pytest.approx(0.499)
            np.testing.assert_array_equal(np.asarray(slide.levels[0]), tifffile.imread(path, series=0))

    def test_pyramid(self, data_dir):
        """The levels of a pyramidal TIFF are found."""
        path = data_dir / "slides" / "small_HE_levels.tiff"
        with open_slide(path) as slide, tifffile.TiffFile(path) as file:
            assert [level.shape[:2] for level in slide.levels] == [(250, 300), (125, 150), (62, 75), (31, 37)]
            for mine, theirs in zip(slide.levels, file.series[0].levels, strict=True):
                np.testing.assert_array_equal(np.asarray(mine), theirs.asarray())


def test_nothing_but_the_wanted_bytes_is_read_once_a_slide_is_open(phantom_dir, monkeypatch):
    """The file is moved once a file tile and nowhere else: another move, unguarded, would spoil what a second thread reads at that moment."""
    with open_slide(phantom_dir / "image.tif") as slide:
        handle, moves = slide._files[-1].filehandle, []
        seek = type(handle).seek
        monkeypatch.setattr(type(handle), "seek", lambda self, *where: moves.append(where) or seek(self, *where))
        for level in range(len(slide.levels)):
            slide.read_region(0, 0, 1, 1, level)
        assert len(moves) == len(slide.levels)
