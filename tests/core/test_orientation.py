"""An image that lies the wrong way round, or is another section's, is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_deepspace.errors import SettingsError
from napari_deepspace.orientation import ORIENTATIONS, check_image, check_orientation, inverse, orientation_named, then, turned, turned_slide
from napari_deepspace.read import read_section

OVERVIEW = 512


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_turned_slide_is_read_piece_by_piece(phantom, orientation):
    """Any region of a turned slide has the pixels that turning the whole image would give, and turning it back gives the image."""
    slide = phantom.require_slide()
    other = turned_slide(slide, orientation)
    level = len(slide.levels) - 1
    whole = turned(slide.levels[level][:], orientation)
    assert other.levels[level].shape == whole.shape
    np.testing.assert_array_equal(other.read_region(30, 50, 100, 70, level), whole[30:130, 50:120])
    back = turned_slide(other, inverse(orientation))
    np.testing.assert_array_equal(back.levels[level][:], slide.levels[level][:])
    assert then(orientation, inverse(orientation)) == "as it is"


def recovered(section) -> list[str]:
    """What the check says further has to be done to the slide in each of the eight orientations."""
    overview = section.require_slide().thumbnail(OVERVIEW)
    share = overview.shape[0] / section.slide.shape[0]
    return [check_image(section, turned(overview, one), share).better or "as it is" for one in ORIENTATIONS]


def test_the_right_way_is_named_on_the_synthetic_section(phantom):
    """Eight of eight: whichever way the slide was turned, the check names what turns it back."""
    assert recovered(phantom) == [inverse(one) for one in ORIENTATIONS]
    assert check_orientation(phantom).words == ""


@pytest.mark.acceptance
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["C2", "C3", "C4", "B4"])
def test_the_right_way_is_named_on_real_sections(data_dir, name):
    """Eight of eight on real sections too, and of another section's image it is said that none fits."""
    section = read_section(data_dir / "her2st" / name)
    assert recovered(section) == [inverse(one) for one in ORIENTATIONS]
    for other in {"C2", "C3", "C4", "B4"} - {name}:
        swapped = check_orientation(replace(section, slide=read_section(data_dir / "her2st" / other).slide))
        assert not swapped.fitting and swapped.better is None
        assert "swapped" in swapped.words


def test_an_image_without_the_tissue_fits_nowhere(phantom):
    """An image of other tissue fits in none of the eight orientations, and no way is offered."""
    overview = np.full((600, 600, 3), 240, dtype=np.uint8)
    overview[20:260, 300:580] = np.random.default_rng(0).integers(90, 200, (240, 280, 3))
    check = check_image(phantom, overview, 600 / phantom.slide.shape[0])
    assert not check.fitting and check.better is None and "none of its eight" in check.words


@pytest.mark.parametrize("margin", [0, 2])
def test_tissue_everywhere_tells_nothing(phantom, margin):
    """Where tissue lies all around the spots as well, and no table says where there is none, nothing is called wrong, and info can say why."""
    centres = phantom.centres_yx
    low, high = np.quantile(centres, [0.25, 0.75], axis=0)
    middle = ((centres >= low) & (centres <= high)).all(axis=1)
    inner = replace(phantom, adata=phantom.adata[middle, :0].copy(), lattice=None)
    low, high = low - margin * phantom.pitch_px, high + margin * phantom.pitch_px
    slide = phantom.require_slide()
    overview = slide.thumbnail(OVERVIEW)
    share = overview.shape[0] / slide.shape[0]
    (top, left), (bottom, right) = (low * share).astype(int), (high * share).astype(int)
    inner.adata.obsm["spatial"] = (inner.centres_yx - low)[:, ::-1]
    check = check_image(inner, overview[top:bottom, left:right], share)
    assert (check.told, check.better, check.words) == (False, None, "")
    assert "all around" in check.untold


def test_a_slide_that_fits_only_elsewhere_is_doubted(phantom):
    """An image whose tissue lies some pitches beside the spots is another's, though most spots lie on tissue; the same image in place is not."""
    slide = phantom.require_slide()
    overview = slide.thumbnail(OVERVIEW)
    share = overview.shape[0] / slide.shape[0]
    bare = replace(phantom, adata=phantom.adata[:, :0].copy())
    shift = round(3 * phantom.pitch_px * share)
    assert check_image(bare, overview, share).words == ""
    beside = np.roll(overview, (shift, -shift), axis=(0, 1))
    check = check_image(bare, beside, share)
    assert check.elsewhere and not check.fitting and "none of its eight" in check.words


def test_a_dark_image_is_read_by_what_shines(phantom):
    """Fluorescence, bright on black in one channel, is told the right way round as H&E is."""
    overview = phantom.require_slide().thumbnail(OVERVIEW)
    dark = np.zeros_like(overview)
    dark[..., 2] = (255 - overview[..., 1].astype(int)) // 2
    share = overview.shape[0] / phantom.slide.shape[0]
    assert check_image(phantom, dark, share).words == ""
    assert check_image(phantom, turned(dark, "mirrored"), share).better == "mirrored"


def test_few_spots_tell_nothing(phantom):
    """With a handful of spots no way is called wrong or right."""
    check = check_orientation(replace(phantom, adata=phantom.adata[:12].copy(), lattice=None, slide=turned_slide(phantom.slide, "mirrored")))
    assert (check.told, check.better, check.words) == (False, None, "")


def test_reading_with_an_orientation(phantom_dir, phantom):
    """A section can be read with its image turned; an unknown orientation is refused."""
    section = read_section(phantom_dir, orientation="mirrored")
    assert section.orientation == "mirrored"
    level = len(section.slide.levels) - 1
    np.testing.assert_array_equal(section.slide.levels[level][:], phantom.slide.levels[level][:][:, ::-1])
    section.slide.close()
    with pytest.raises(SettingsError, match="orientation 'left' is unknown"):
        orientation_named("left")
