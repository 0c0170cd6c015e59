"""The SYNTHETIC neighbour with immunohistochemistry: its stain follows the true ESR1, and how it lies on its slide is known."""

import json

import numpy as np
import pytest
import tifffile
from skimage.color import rgb2hed

from napari_deepspace.errors import DataError
from napari_deepspace.phantom import MARKER, make_phantom, make_phantom_ihc
from napari_deepspace.phantom_ihc import Laid, laid_by, warped
from napari_deepspace.phantom_paint import GLASS
from napari_deepspace.phantom_tissue import CELL_UM, MPP, SIDE_PX, disc_means
from napari_deepspace.slide import open_slide


@pytest.fixture(scope="module")
def ihc():
    return make_phantom_ihc()


def test_it_says_what_it_is_and_how_it_lies(ihc):
    """SYNTHETIC.txt, a tiled pyramid of 0.5 um per px, and two transforms that undo one another."""
    assert "SYNTHETIC" in (ihc / MARKER).read_text()
    truth = json.loads((ihc / "truth" / "truth.json").read_text())
    assert truth["synthetic"] and truth["protein"] == "ESR1"
    with open_slide(ihc / "ihc.tif") as slide:
        assert slide.mpp == pytest.approx(truth["mpp"]) == 0.5
        assert len(slide.levels) >= 4
    there, back = (np.vstack([truth[name], [0, 0, 1]]) for name in ("slide_um_from_section_um", "section_um_from_slide_um"))
    np.testing.assert_allclose(there @ back, np.eye(3), atol=1e-9)
    assert np.sqrt(abs(np.linalg.det(there[:2, :2]))) == pytest.approx(truth["scale"])


def test_its_dab_follows_the_true_esr1_of_the_section_beside(ihc, phantom_dir, phantom):
    """Read where the transform says, by scikit-image, DAB goes with what the H&E section's counts were drawn from; haematoxylin much less."""
    truth = json.loads((ihc / "truth" / "truth.json").read_text())
    to_slide = np.array(truth["slide_um_from_section_um"])
    fields = np.load(phantom_dir / "truth" / "fields.npz")
    esr1 = np.asarray(fields["share"][list(fields["genes"]).index("ESR1")])
    centres = phantom.centres_yx[::3]
    true = disc_means(np.repeat(np.repeat(esr1, 2, 0), 2, 1)[None], centres)[:, 0]
    image = tifffile.imread(ihc / "ihc.tif", level=2)
    step = truth["mpp"] * 4
    at = np.round((np.column_stack([centres * MPP, np.ones(len(centres))]) @ to_slide.T) / step).astype(int)
    stains = np.array([rgb2hed(image[y - 13 : y + 14, x - 13 : x + 14]).mean((0, 1)) for y, x in at])
    own = np.load(ihc / "truth" / "fields.npz")
    assert own["cell_um"] == 2 * CELL_UM
    painted = disc_means(np.repeat(np.repeat(own["dab"], 2, 0), 2, 1)[None], centres)[:, 0]
    assert np.corrcoef(stains[:, 2], painted)[0, 1] > 0.97
    assert np.corrcoef(stains[:, 2], true)[0, 1] > 0.8
    turned_wrong = np.array([rgb2hed(image[y - 13 : y + 14, x - 13 : x + 14])[..., 2].mean() for y, x in at[:, ::-1]])
    assert np.corrcoef(turned_wrong, true)[0, 1] < 0.5


def test_a_picture_is_laid_where_its_transform_says():
    """A dark square of the section lands where :class:`Laid` says, turned, mirrored and swollen; around it is glass."""
    image = np.full((SIDE_PX, SIDE_PX, 3), 240, np.uint8)
    image[1400:1441, 3000:3041] = 0
    laid = Laid(70.0, True, 1.15, (20.0, -30.0))
    slide = warped(image, laid)
    middle = np.argwhere(slide[..., 0] < 120).mean(0) + 0.5
    expected = laid.slide_from_section @ np.array([1420.5 * MPP, 3020.5 * MPP, 1.0])
    np.testing.assert_allclose(middle * 0.5, expected, atol=0.5)
    assert slide.shape[0] == laid.side_px
    np.testing.assert_allclose(slide[0, 0], GLASS, atol=1)


def test_the_seed_says_how_it_lies():
    """The same seed lies the same way; others lie otherwise, within the limits told."""
    assert laid_by(3) == laid_by(3)
    many = [laid_by(seed) for seed in range(30)]
    assert len({laid.turn_deg for laid in many}) == 30
    assert all(15 <= abs(laid.turn_deg) <= 180 and 0.8 <= laid.scale <= 1.2 for laid in many)
    assert {laid.mirror for laid in many} == {True, False}
    asked = laid_by(3, turn_deg=10, mirror=True, scale=0.9)
    assert (asked.turn_deg, asked.mirror, asked.scale, asked.shift_um) == (10, True, 0.9, laid_by(3).shift_um)


def test_it_is_not_mistaken_for_the_section(ihc):
    """Its folder holds no section, and no section is written over it."""
    with pytest.raises(DataError, match="holds something other"):
        make_phantom(ihc)
