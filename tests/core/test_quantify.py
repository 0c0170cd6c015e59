"""A stain at the places of a section: equal to scikit-image's, read where the transform says, and withheld where it means nothing."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
from shapely.geometry import box
from skimage.color import hed2rgb, rgb2hed

from napari_deepspace.align.quantify import densities, h_strength, quantify
from napari_deepspace.align.stack import Layer, depths_um
from napari_deepspace.align.transform import AlignedSlide, Alignment, LocalError, Transform, write_alignment
from napari_deepspace.cells import Cells
from napari_deepspace.cli import main
from napari_deepspace.errors import DataError, SettingsError
from napari_deepspace.geojson import stamp_of
from napari_deepspace.outlines import Outline
from napari_deepspace.phantom import make_phantom_ihc
from napari_deepspace.slide import open_slide

TURN = np.array([[0.0, -1.1, 620.0], [-1.1, 0.0, 600.0], [0.0, 0.0, 1.0]])  # mirrored, turned by a right angle, swollen


def write_slide(path, image, mpp=1.0):
    per_cm = 1e4 / mpp
    tifffile.imwrite(path, image, photometric="rgb", tile=(64, 64), resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", metadata=None)
    return open_slide(path)


@pytest.fixture(scope="module")
def image():
    """DAB that grows downwards, haematoxylin to the right, glass at the bottom."""
    y, x = np.mgrid[:512, :512] / 512
    stains = np.stack([0.03 + 0.05 * x, np.zeros_like(x), 0.02 + 0.12 * y], -1)
    rgb = np.round(hed2rgb(stains) * 255).astype(np.uint8)
    rgb[440:] = 244
    return rgb


@pytest.fixture(scope="module")
def slide(image, tmp_path_factory):
    with write_slide(tmp_path_factory.mktemp("ihc") / "ihc.tif", image) as opened:
        yield opened


@pytest.fixture(scope="module")
def aligned(slide):
    fixed = AlignedSlide(stamp_of(slide), 0.5)
    return Alignment(Transform("similarity", TURN), fixed, AlignedSlide(stamp_of(slide), 1.0), "landmarks", error_um=10.0)


def places_at(moving_yx):
    """Places of the fixed slide (0.5 um per px) that lie on these pixels of the moving one."""
    return (np.asarray(moving_yx, float) @ TURN[:2, :2].T + TURN[:2, 2]) / 0.5


def test_densities_are_scikit_images():
    """Haematoxylin, eosin and DAB of every kind of pixel are 6 times rgb2hed, which takes logarithms to base 1e-6."""
    tile = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    tile[0, 0], tile[0, 1] = 0, 255
    np.testing.assert_allclose(densities(tile), 6 * rgb2hed(tile), atol=1e-9)
    tile = open_slide(make_phantom_ihc() / "ihc.tif").read_region(3000, 3000, 128, 128)
    np.testing.assert_allclose(densities(tile)[..., 2].mean(), 6 * rgb2hed(tile)[..., 2].mean(), rtol=1e-9)


def test_a_disc_is_read_where_the_transform_says(slide, image, aligned):
    """Its mean DAB is that of the pixels under the disc, shrunk as the slide is; the positive share counts those above the threshold."""
    at = np.array([[100.0, 300.0], [250.0, 120.0], [380.0, 400.0]])
    found = quantify(aligned, slide, places_at(at), 55.0, positive_above=0.4)
    y, x = np.mgrid[:512, :512]
    for (row, column), values in zip(at, found.table.to_dict("records"), strict=True):
        disc = np.hypot(y - row, x - column) <= 27.5 / 1.1
        dab = 6 * rgb2hed(image)[..., 2][disc]
        assert values["dab"] == pytest.approx(dab.mean(), abs=2e-3)
        assert values["positive-share"] == pytest.approx((dab > 0.4).mean(), abs=0.03)
        r, c = int(row) - 7, int(column) - 7
        assert values["inverted-rgb"] == pytest.approx(255 - image[r : r + 14, c : c + 14].mean())
    assert found.table["dab"].is_monotonic_increasing
    assert not found.left_out


def test_outlines_are_read_as_discs_are(slide, image, aligned):
    """An outline of the fixed slide has the mean of the pixels inside it, also where it is larger than a block of pixels."""
    corners = places_at([[50, 60], [350, 460]])
    (top, left), (bottom, right) = np.sort(corners, axis=0)
    found = quantify(aligned, slide, [Outline(box(left, top, right, bottom), "Tumor")], 55.0)
    assert found.table["dab"][0] == pytest.approx(6 * rgb2hed(image)[50:351, 60:461, 2].mean(), rel=2e-3)


def test_places_without_tissue_are_left_out_and_counted(slide, aligned):
    """On glass and beside the slide there is nothing to quantify; their number is told."""
    found = quantify(aligned, slide, places_at([[200, 200], [480, 200], [2000, 200]]), 55.0)
    assert np.isfinite(found.table["dab"]).tolist() == [True, False, False]
    assert found.left_out == {"no tissue on ihc.tif": 2}
    assert "2 of 3 places left out" in found.notes[-1]


def test_tissue_is_needed_on_either_side(slide, image, aligned, tmp_path):
    """A place on glass of the section's own slide is left out with that reason."""
    blank = image.repeat(2, 0).repeat(2, 1)
    blank[:] = 244
    with write_slide(tmp_path / "he.tif", blank, 0.5) as fixed:
        with_own = Alignment(aligned.transform, AlignedSlide(stamp_of(fixed), 0.5), aligned.moving, "landmarks", error_um=10.0)
        found = quantify(with_own, slide, places_at([[200, 200]]), 55.0, fixed=fixed)
    assert found.left_out == {"no tissue on he.tif": 1}


def cells_at(centres, classes):
    names = np.array([""] * len(classes), dtype=object)
    return Cells(np.asarray(centres, float), np.array(classes, dtype=object), pd.DataFrame(index=range(len(classes))), names, names)


def test_cells_of_the_moving_slide_count_at_the_place_they_lie(slide, aligned):
    """The share of positive cells, and the H-score: 100 times the mean strength."""
    cells = cells_at([[100, 300], [105, 303], [98, 290], [110, 300], [300, 300]], ["Tumor: 3+", "Tumor: 1+", "Negative", "Tumor: 2+", "3+"])
    table = quantify(aligned, slide, places_at([[102, 300], [200, 200]]), 55.0, cells=cells).table
    assert table["cells"].tolist() == [4, 0]
    assert table["positive-cells"][0] == pytest.approx(0.75)
    assert table["h-score"][0] == pytest.approx(150)
    assert np.isnan(table["h-score"][1])
    assert np.isnan(h_strength(np.array(["Positive", "Negative"], dtype=object))).all()


def test_what_cannot_be_quantified_is_said(slide, image, aligned, tmp_path):
    """Fluorescence, a slide without its scale, an alignment of another slide or one that is off by more than a spot: one sentence each."""
    place = places_at([[200, 200]])
    with write_slide(tmp_path / "glow.tif", (255 - image) // 2) as dark:
        of_dark = Alignment(aligned.transform, aligned.fixed, AlignedSlide(stamp_of(dark), 1.0), "landmarks", error_um=10.0)
        with pytest.raises(DataError, match="fluorescence"):
            quantify(of_dark, dark, place, 55.0)
        with pytest.raises(DataError, match=r"not with this glow\.tif"):
            quantify(aligned, dark, place, 55.0)
    off = Alignment(aligned.transform, aligned.fixed, aligned.moving, "landmarks", error_um=56.0)
    with pytest.raises(DataError, match="Withheld: the alignment is off by 56 um"):
        quantify(off, slide, place, 55.0)
    with pytest.raises(DataError, match="Withheld: the alignment is off by about 60 um over 9 of 10 patches"):
        quantify(replace(aligned, error_um=np.nan, local_error=LocalError(60.0, 90.0, 9, 10)), slide, place, 55.0)
    for found, words in (
        (LocalError(20.0, 30.0, 9, 10), "off by about 20 um over 9 of 10 patches"),
        (LocalError(20.0, 80.0, 9, 10), "Where it is worst the stain of other tissue is read: a spot is 55 um wide"),
        (LocalError(None, None, 1, 10), "cannot be told from the pictures: 1 of 10 patches"),
    ):
        assert words in quantify(replace(aligned, error_um=np.nan, local_error=found), slide, place, 55.0).notes[0]
    unscaled = Alignment(aligned.transform, aligned.fixed, AlignedSlide(aligned.moving.stamp, 0.0), "landmarks", error_um=10.0)
    with pytest.raises(DataError, match="has no scale"):
        quantify(unscaled, slide, place, 55.0)
    other = Alignment(aligned.transform, aligned.fixed, AlignedSlide(aligned.moving.stamp, 0.8), "landmarks", error_um=10.0)
    with pytest.raises(DataError, match=r"1 um per px, the alignment was made with 0\.8"):
        quantify(other, slide, place, 55.0)
    with pytest.raises(SettingsError, match="optical density"):
        quantify(aligned, slide, place, 55.0, positive_above=0)
    with pytest.raises(SettingsError, match="--cells"):
        quantify(aligned, slide, place, 55.0).of("h-score")


@pytest.fixture(scope="module")
def phantom_alignment(phantom, tmp_path_factory):
    """The known transform of the synthetic IHC, as a file."""
    folder = make_phantom_ihc()
    truth = json.loads((folder / "truth" / "truth.json").read_text())
    matrix = np.vstack([truth["section_um_from_slide_um"], [0, 0, 1]])
    path = tmp_path_factory.mktemp("alignment") / "alignment.json"
    with open_slide(folder / "ihc.tif") as ihc:
        moving = AlignedSlide(stamp_of(ihc), truth["mpp"])
    fixed = AlignedSlide(stamp_of(phantom.slide), phantom.mpp, phantom.library_id)
    write_alignment(path, Alignment(Transform("similarity", matrix), fixed, moving, "landmarks", error_um=5.0, gap_um=5.0))
    return path, folder / "ihc.tif"


def test_the_command_writes_the_table_and_says_how_far_stain_and_expression_agree(phantom_dir, phantom_alignment, tmp_path, capsys):
    """Measured ESR1 goes with the stain of its protein, a hidden gene does not; n, interval, P, one patient and synthetic stand beside r."""
    alignment, ihc = phantom_alignment
    asked = ["quantify", str(phantom_dir), str(ihc), "--alignment", str(alignment), "--gene", "ESR1", "--gene", "IFI27"]
    out, plot = tmp_path / "t.csv", tmp_path / "p.svg"
    assert main([*asked, "--out", str(out), "--plot", str(plot), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    esr1, ifi27 = (one["rows"] for one in said["genes"])
    assert said["synthetic"] and said["research_use_only"]
    assert sum(said["left_out"].values()) > 20
    assert [row["name"] for row in esr1][:1] == ["measured ESR1"]
    assert esr1[0]["r"] > 0.75 and esr1[0]["p"] < 0.01 and esr1[0]["interval"][0] > 0.6 and esr1[0]["patients"] == "one patient"
    assert ifi27[0]["p"] > 0.05
    assert all(row["n"] == esr1[0]["n"] for row in esr1)
    table = pd.read_csv(out)
    assert len(table) == said["spots"]
    assert {"barcode", "dab", "positive-share", "inverted-rgb", "measured ESR1"} <= set(table)
    assert plot.is_file() and plot.with_name("p-IFI27.svg").is_file()
    assert "SYNTHETIC" in plot.read_text()


def test_the_command_refuses_in_one_sentence(phantom_dir, phantom_alignment, tmp_path, capsys):
    """Another slide than that of the alignment, an unknown way, a way without its cells."""
    alignment, ihc = phantom_alignment
    asked = ["quantify", str(phantom_dir), str(ihc), "--alignment", str(alignment)]
    for more, words in (
        (["--way", "colour"], "no way to quantify"),
        (["--way", "h-score"], "--cells"),
        (["--per-outline"], "--outlines"),
        (["--plot", "p.svg"], "--gene"),
        (["--alignment", str(tmp_path / "none.json")], "does not exist"),
    ):
        assert main([*asked, *more]) == 2
        assert words in capsys.readouterr().err
    wrong = ["quantify", str(phantom_dir), str(phantom_dir / "image.tif"), "--alignment", str(alignment)]
    assert main(wrong) == 2
    assert "not with this image.tif" in capsys.readouterr().err


def test_a_stack_lies_at_its_depths():
    """Half of each thickness and the gap between; a changed gap moves what lies below, and nothing impossible is taken."""
    np.testing.assert_allclose(depths_um([Layer("A", 5), Layer("B", 10, 20), Layer("C", 5)]), [0, 27.5, 35])
    np.testing.assert_allclose(depths_um([Layer("A", 5), Layer("B", 10), Layer("C", 5)]), [0, 7.5, 15])
    with pytest.raises(SettingsError, match="cannot be"):
        depths_um([Layer("A", 5), Layer("B", 0)])
    assert depths_um([]).size == 0
