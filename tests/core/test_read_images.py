"""The full-resolution image is found by its size, and a wrong one is refused."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image
from section_folders import HEIGHT, WIDTH

from napari_deepspace.cli import main
from napari_deepspace.errors import DataError
from napari_deepspace.read import images, read_section

pytestmark = pytest.mark.usefixtures("own_cache")


def test_by_the_size_of_the_reduced_image(outs):
    """Of several images the one whose size fits the hires image and its scale factor is taken."""
    Image.new("RGB", (WIDTH + 50, HEIGHT + 50)).save(outs.parent / "another.png")
    Image.new("RGB", (WIDTH // 2, HEIGHT // 2)).save(outs / "small.png")
    section = read_section(outs)
    section.require_slide().close()
    assert section.image_path == outs.parent / "image.tif"


def test_own_folder_before_the_parent(outs):
    """An image in the section's own folder is taken before one in the parent."""
    shutil.copy(outs.parent / "image.tif", outs / "own.tif")
    section = read_section(outs)
    section.require_slide().close()
    assert section.image_path == outs / "own.tif"


def test_two_that_fit_are_not_guessed(outs):
    """Two images that fit equally are named and none is taken."""
    shutil.copy(outs.parent / "image.tif", outs.parent / "other.tif")
    section = read_section(outs)
    assert section.slide is None
    assert any("image.tif, other.tif" in note for note in section.notes)


def test_a_folder_full_of_tiles_is_not_looked_through(outs, monkeypatch):
    """A folder with more images than slides ever lie together holds tiles."""
    section = read_section(outs)
    section.require_slide().close()
    monkeypatch.setattr(images, "_MOST_IMAGES", 0)
    assert read_section(outs).image_path is None


def test_without_reduced_image_by_the_spots(outs):
    """Without a reduced image, the image that holds all spots is taken."""
    (outs / "spatial" / "tissue_hires_image.png").unlink()
    Image.new("RGB", (300, 300)).save(outs.parent / "thumbnail.png")
    section = read_section(outs)
    section.require_slide().close()
    assert section.image_path == outs.parent / "image.tif"


def test_none_is_no_error(outs):
    """A section without image opens, says so, and tells how to give one when it is needed; damaged images are named."""
    (outs.parent / "image.tif").unlink()
    (outs / "broken.tif").write_bytes(b"II*\0")
    section = read_section(outs)
    assert section.slide is None
    assert any("broken.tif" in note for note in section.notes)
    with pytest.raises(DataError, match="--image FILE"):
        section.require_slide()


def test_the_hires_image_is_refused(outs):
    """Space Ranger's reduced image in place of the slide is refused with both sizes."""
    hires = outs / "spatial" / "tissue_hires_image.png"
    with pytest.raises(DataError, match=r"300 x 350 px .* the size of tissue_hires_image\.png, .* about 600 x 700 px"):
        read_section(outs, hires)


def test_an_image_too_small_for_the_spots_is_refused(outs):
    """Without a reduced image, one that does not hold all spots is refused with both sizes."""
    (outs / "spatial" / "tissue_hires_image.png").unlink()
    Image.new("RGB", (300, 200)).save(outs.parent / "thumbnail.png")
    with pytest.raises(DataError, match=r"200 x 300 px .* spots lie at rows 60 to 372 and columns \d+ to 5\d\d"):
        read_section(outs, outs.parent / "thumbnail.png")


def test_the_command_line_announces_what_a_flat_image_takes(outs, caplog, capsys):
    """`info` says on stderr, before decoding, what a flat image takes; what it prints stays as it is."""
    with Image.open(outs.parent / "image.tif") as image:
        image.save(outs.parent / "flat.jpg")
    assert main(["info", str(outs), "--image", str(outs.parent / "flat.jpg"), "--json"]) == 0
    (announced,) = [record for record in caplog.records if "needs 0.2 GB of memory" in record.getMessage()]
    assert announced.getMessage().startswith("flat.jpg, 700 x 600 px JPEG: decoded once into a tiled copy")
    assert json.loads(capsys.readouterr().out)


def test_given_image_wins(outs):
    """The image that the caller names is taken; one that is missing is an error."""
    shutil.copy(outs.parent / "image.tif", outs.parent.parent / "elsewhere.tif")
    section = read_section(outs, outs.parent.parent / "elsewhere.tif")
    section.require_slide().close()
    assert section.image_path == outs.parent.parent / "elsewhere.tif"
    with pytest.raises(DataError, match=r"nowhere\.tif: there is no such image"):
        read_section(outs, outs.parent / "nowhere.tif")
