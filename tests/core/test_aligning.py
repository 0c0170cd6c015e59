"""Slides laid over one another by themselves and by the command, and what moves with them."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import tifffile
from anndata import AnnData
from shapely.geometry import Polygon
from typer.testing import CliRunner

from napari_deepspace.align.automatic import align_slides, error_of
from napari_deepspace.align.frame import place_in_frame
from napari_deepspace.align.landmarks import fit
from napari_deepspace.align.outlines import move_outlines
from napari_deepspace.align.pictures import picture_of
from napari_deepspace.align.transform import AlignedSlide, Alignment, Transform, read_alignment, write_alignment
from napari_deepspace.align.warped import warped_region, warped_slide
from napari_deepspace.blocking import drain
from napari_deepspace.cli import app
from napari_deepspace.errors import AlignmentFailed, DataError
from napari_deepspace.geojson import SlideStamp
from napari_deepspace.outlines import Outline, read_outlines, write_outlines
from napari_deepspace.section import PLATFORMS, Section
from napari_deepspace.slide import Slide, open_slide


def painted(seed: int, side: int = 640) -> np.ndarray:
    """SYNTHETIC tissue: a lobed piece on glass with darker and lighter areas, uint8 (side, side, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - 0.5
    around, far = np.arctan2(y, x), np.hypot(x, y)
    edge = 0.3 + sum(rng.uniform(0.01, 0.05) * np.cos(k * around + rng.uniform(0, 6.3)) for k in (1, 2, 3, 5))
    tissue = cv2.GaussianBlur((far < edge).astype(np.float32), (0, 0), 1.5)
    fields = [cv2.GaussianBlur(rng.normal(size=(side, side)).astype(np.float32), (0, 0), s) for s in (4, 10, 25)]
    haem = 0.35 + sum(0.13 * field / field.std() for field in fields)
    haem += 0.1 * rng.normal(size=(side, side))
    density = tissue[..., None] * (np.clip(haem, 0.03, 1.2)[..., None] * (0.65, 0.70, 0.29) + 0.25 * np.array([0.07, 0.99, 0.11]))
    return np.round(240 * 10**-density).clip(0, 255).astype(np.uint8)


def write(path, rgb: np.ndarray, mpp: float | None = 4.0) -> Slide:
    scale = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, rgb, photometric="rgb", tile=(128, 128), compression="zlib", **scale)
    return open_slide(path)


def turned(rgb: np.ndarray, degrees: float, scale: float = 1.0, mirrored: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The picture turned about its middle, and the (3, 3) matrix from its (y, x, 1) px."""
    a, middle = np.radians(degrees), (np.array(rgb.shape[:2]) - 1) / 2
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([1, -1 if mirrored else 1])
    matrix[:2, 2] = middle - matrix[:2, :2] @ middle + (9, -6)
    flip = matrix[:2][::-1][:, [1, 0, 2]]
    return cv2.warpAffine(rgb, flip, rgb.shape[1::-1], flags=cv2.INTER_CUBIC, borderValue=(240, 240, 240)), matrix


@pytest.fixture(scope="module")
def fixed(tmp_path_factory) -> Slide:
    return write(tmp_path_factory.mktemp("fixed") / "he.tif", painted(1))


def test_a_neighbour_is_found_turned_mirrored_and_swollen(fixed, tmp_path):
    """Another stain, turned by 140 degrees, mirrored, 10 % larger: the mean error is small against the tissue."""
    other, matrix = turned(np.clip(painted(1).astype(int) * (0.8, 1.0, 0.9), 0, 255).astype(np.uint8), 140, 1.1, True)
    made = drain(align_slides(fixed, write(tmp_path / "ihc.tif", other), gap_um=5), progress=False)
    places = np.array([[200, 300], [420, 250], [330, 400]], dtype=float)
    error = np.linalg.norm(made.transform.apply(Transform("affine", matrix).apply(places) * 4) / 4 - places, axis=1)
    assert error.mean() < 1.5
    assert made.transform.mirrored
    assert made.agreement > 1.7 * made.chance
    assert made.local_error.median_um < 12
    assert made.local_error.patches >= 4
    assert (made.gap_um, made.moving.stamp.name) == (5, "ihc.tif")


def test_a_wrong_alignment_is_told_from_the_pictures_and_other_tissue_cannot_be(fixed, tmp_path):
    """Shifted by 60 and 200 um the patches say so; on another block, or too far off, nothing is told, least of all a small number."""
    other = write(tmp_path / "ihc.tif", np.clip(painted(1).astype(int) * (0.8, 1.0, 0.9), 0, 255).astype(np.uint8))
    for off in (60.0, 200.0):
        told = error_of(fixed, 4.0, other, 4.0, np.array([[1, 0, off], [0, 1, 0], [0, 0, 1]]))
        assert told.median_um == pytest.approx(off, abs=12)
        assert f"off by about {told.median_um:.0f} um over {told.patches} of {told.of} patches" in told.words
    for slide, off in ((other, 1100.0), (write(tmp_path / "other.tif", painted(2)), 0.0)):
        told = error_of(fixed, 4.0, slide, 4.0, np.array([[1, 0, off], [0, 1, 0], [0, 0, 1]]))
        assert told.median_um is None
        assert "cannot be told from the pictures" in told.words


def test_other_tissue_is_refused(fixed, tmp_path):
    """A piece of another block ends in "failed" with the remedy, not in an alignment."""
    with pytest.raises(AlignmentFailed, match=r"Aligning failed.*Set landmarks"):
        drain(align_slides(fixed, write(tmp_path / "other.tif", painted(2))), progress=False)


def test_what_cannot_be_aligned_by_itself_is_said(fixed, tmp_path):
    """No scale, a dark background, empty glass, and scales that cannot be right have a sentence each."""
    with pytest.raises(DataError, match=r"bare.tif does not state its scale. Give um per px \(--moving-mpp\)"):
        drain(align_slides(fixed, write(tmp_path / "bare.tif", painted(1), mpp=None)), progress=False)
    dark = write(tmp_path / "dark.tif", (255 - painted(1)) // 3)
    with pytest.raises(AlignmentFailed, match=r"dark background, as a fluorescence image has.*Set landmarks"):
        drain(align_slides(fixed, dark), progress=False)
    with pytest.raises(AlignmentFailed, match="no tissue"):
        picture_of(np.full((300, 300, 3), 238, dtype=np.uint8), 4.0)
    with pytest.raises(AlignmentFailed, match=r"times as large.*um per px"):
        drain(align_slides(fixed, open_slide(fixed.path), moving_mpp=40.0), progress=False)


def test_a_cropped_and_turned_copy_lies_within_two_px(fixed, tmp_path):
    """Two files of one glass, the copy cropped, turned, mirrored, smaller and without a scale."""
    copy, matrix = turned(painted(1), 33, 0.8, True)
    copy, matrix = copy[90:560, 120:], np.array([[1, 0, -90], [0, 1, -120], [0, 0, 1]]) @ matrix
    made = drain(align_slides(fixed, write(tmp_path / "copy.tif", copy, mpp=None), same_glass=True), progress=False)
    places = np.array([[200, 300], [420, 250], [330, 400]], dtype=float)
    there = Transform("affine", matrix).apply(places)
    assert np.linalg.norm(made.transform.apply(there * made.moving.mpp) / 4 - places, axis=1).max() < 1
    assert made.moving.mpp == pytest.approx(5, rel=0.01)
    with pytest.raises(AlignmentFailed, match="does not show the same glass"):
        drain(align_slides(fixed, write(tmp_path / "no-copy.tif", painted(3)), same_glass=True), progress=False)


def alignment(transform: Transform, fixed: Slide, moving: Slide) -> Alignment:
    sides = [AlignedSlide(SlideStamp(one.path.name, one.shape[1], one.shape[0], hash=one.fingerprint()), 4.0) for one in (fixed, moving)]
    return Alignment(transform, *sides, "landmarks")


def test_outlines_move_there_and_back(fixed):
    """An outline comes back where it was, by an affine map to the px and by a thin plate nearly; its class and note stay."""
    points = np.array([[0, 0], [0, 2500], [2500, 0], [2500, 2500], [1200, 1300]], dtype=float)
    bent = points + np.array([[30, 0], [0, 40], [-25, 0], [0, 0], [40, 40]])
    outline = Outline(Polygon([(100, 100), (300, 120), (280, 400), (90, 350)]), "Stroma", note="n")
    for kind, within in (("affine", 1e-6), ("thin_plate", 0.01)):
        one = alignment(fit(bent, points, kind), fixed, fixed)
        moved = move_outlines([outline], one)
        (back,) = move_outlines(moved, one, back=True)
        assert moved[0].geometry.hausdorff_distance(outline.geometry) > 2
        assert back.geometry.hausdorff_distance(outline.geometry) < within
        assert (back.classification, back.note, back.id) == ("Stroma", "n", outline.id)


def test_a_warped_slide_shows_each_place_where_the_plate_puts_it(fixed, tmp_path):
    """A bright mark on the moving slide is found where the thin plate takes it, at every level, and only what is asked for is read."""
    rgb, mark = painted(1), np.array([300, 250])
    rgb[mark[0] - 8 : mark[0] + 9, mark[1] - 8 : mark[1] + 9] = (255, 255, 0)
    moving = write(tmp_path / "mark.tif", rgb)
    points = np.array([[0, 0], [0, 2500], [2500, 0], [2500, 2500], [1200, 1000]], dtype=float)
    plate = fit(points + np.array([[60, 0], [0, 40], [-25, 0], [0, 0], [90, 120]]), points, "thin_plate")
    warped = warped_slide(moving, 4.0, plate, fixed.shape, 4.0)
    wanted = plate.apply(mark[None] * 4.0)[0]
    for number, level in enumerate(warped.levels):
        pixels = level[:].astype(int)
        yellow = np.argwhere(pixels[..., 2] + 100 < pixels[..., 0])
        at = (yellow.mean(axis=0) + 0.5) * 2**number - 0.5
        assert np.abs(at * warped.mpp - wanted).max() < 4 * 2**number
    part = warped.read_region(280, 240, 50, 60)
    np.testing.assert_array_equal(part, warped.levels[0][280:330, 240:300])
    apart = warped_region(moving, 4.0, plate, (1e6, 1e6), 4.0, (20, 30))
    assert apart.shape == (20, 30, 3)
    assert (apart == 255).all()


def test_the_command_aligns_draws_and_moves_outlines(fixed, tmp_path):
    """``align --same-glass``: alignment.json, a picture and the moved outlines are written, and the words say what was found."""
    copy, _ = turned(painted(1), 25)
    write(tmp_path / "copy.tif", copy).close()
    with open_slide(tmp_path / "copy.tif") as slide:
        stamp = SlideStamp("copy.tif", slide.shape[1], slide.shape[0], hash=slide.fingerprint())
    write_outlines(tmp_path / "in.geojson", [Outline(Polygon([(200, 200), (300, 200), (300, 330)]), "Stroma")], stamp)
    options = ["--same-glass", "--out", str(tmp_path / "a.json"), "--preview", str(tmp_path / "p.png")]
    options += ["--move-outlines", str(tmp_path / "in.geojson"), str(tmp_path / "out.geojson")]
    done = CliRunner().invoke(app, ["align", str(fixed.path), str(tmp_path / "copy.tif"), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "two files of one glass" in done.output
    assert read_alignment(tmp_path / "a.json").gap_um == 0
    assert (tmp_path / "p.png").stat().st_size > 10_000
    assert len(read_outlines(tmp_path / "out.geojson")) == 1


def test_the_command_takes_landmarks(fixed, tmp_path):
    """Landmarks in px give a transform with its leave-one-out error, and too few are refused."""
    rows = ["fixed_x,fixed_y,moving_x,moving_y", "10,10,20,10", "600,20,610,20", "30,550,40,550", "500,500,510,500"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    command = ["align", str(fixed.path), str(fixed.path), "--landmarks", str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "a.json"), "--json"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert json.loads(done.output)["leave_one_out_error_um"] < 1e-6
    np.testing.assert_allclose(read_alignment(tmp_path / "a.json").transform.apply(np.array([[0, 40.0]])), [[0, 0]], atol=1e-6)
    (tmp_path / "pairs.csv").write_text("\n".join(rows[:3]) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="2 landmarks; affine needs 3"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_an_alignment_places_both_sections_in_one_frame(tmp_path, fixed):
    """The fixed section lies in its own um, the moving one where the alignment lays it; a section of another slide is refused."""
    places = np.array([[100.0, 50.0], [300.0, 200.0]])  # (x, y) px
    moving = write(tmp_path / "moving.tif", painted(1)[::-1].copy())
    other = write(tmp_path / "else.tif", painted(2))
    one = Transform("affine", np.array([[0, 1, 100], [1, 0, -50], [0, 0, 1]], dtype=float))
    write_alignment(tmp_path / "alignment.json", alignment(one, fixed, moving))

    def section(slide: Slide) -> Section:
        return Section(AnnData(np.ones((2, 1)), obsm={"spatial": places.copy()}), slide, slide.path.stem, PLATFORMS["visium"], 4.0)

    both = [section(fixed), section(moving)]
    for one_section in both:
        place_in_frame(one_section, tmp_path / "alignment.json")
    np.testing.assert_allclose(both[0].adata.obsm["spatial_aligned"], places * 4)
    np.testing.assert_allclose(both[1].adata.obsm["spatial_aligned"], places[:, ::-1] * 4 + (-50, 100))
    with pytest.raises(DataError, match="else is none of them"):
        place_in_frame(section(other), tmp_path / "alignment.json")
