"""Landmarks in pairs, the transforms that are fitted to them, and the file they are kept in."""

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_deepspace.align.landmarks import fit, leave_one_out_um, read_landmarks, residuals_um
from napari_deepspace.align.transform import (
    AlignedSlide,
    Alignment,
    LocalError,
    Transform,
    read_alignment,
    spatialdata_transformation,
    write_alignment,
)
from napari_deepspace.errors import DataError
from napari_deepspace.geojson import SlideStamp

MOVING = np.array([[100, 200], [1500, 260], [300, 1900], [1800, 1700], [900, 1000], [400, 800]], dtype=float)


def turned(degrees: float, scale: float = 1.0, mirrored: bool = False, shift: tuple[float, float] = (50.0, -700.0)) -> np.ndarray:
    a = np.radians(degrees)
    turn = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([1, -1 if mirrored else 1])
    return np.vstack([np.column_stack([turn, shift]), [0, 0, 1]])


@pytest.mark.parametrize("kind", ["similarity", "affine", "thin_plate"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_fit_finds_the_transform_that_landmarks_follow(kind, mirrored):
    """Rotation, scale, shift and mirror image come out of exact landmarks, and the inverse leads back."""
    truth = Transform("affine", turned(130, 1.2, mirrored))
    found = fit(truth.apply(MOVING), MOVING, kind)
    assert found.mirrored == mirrored
    assert found.scale == pytest.approx(1.2)
    elsewhere = np.array([[700.0, 40.0], [2500.0, 1300.0]])
    np.testing.assert_allclose(found.apply(elsewhere), truth.apply(elsewhere), atol=1e-6)
    np.testing.assert_allclose(found.inverse_points(found.apply(elsewhere)), elsewhere, atol=1e-2)


def test_a_turn_to_the_left_counts_as_positive():
    """What lies to the right of the origin comes to lie above it by a turn of 90 degrees."""
    quarter = Transform("similarity", np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=float))
    np.testing.assert_allclose(quarter.apply(np.array([[0, 1]])), [[-1, 0]])
    assert quarter.rotation_deg == pytest.approx(90)


def test_a_thin_plate_has_no_residual_but_an_error_where_a_landmark_is_left_out():
    """The residual says nothing of a thin plate; the leave-one-out error shows the landmark that was set wrongly."""
    fixed = Transform("affine", turned(20)).apply(MOVING)
    fixed[4] += (0, 90)
    assert residuals_um(fixed, MOVING, fit(fixed, MOVING, "thin_plate")).max() < 1e-6
    errors = leave_one_out_um(fixed, MOVING, "thin_plate")
    assert errors[4] > 60
    assert leave_one_out_um(Transform("affine", turned(20)).apply(MOVING), MOVING, "thin_plate").max() < 1e-6


def test_an_affine_fit_to_three_landmarks_has_no_leave_one_out_error():
    """Two landmarks are too few for an affine map: the error is not known, and not zero."""
    assert np.isnan(leave_one_out_um(MOVING[:3], MOVING[:3], "affine")).all()
    assert leave_one_out_um(MOVING[:3], MOVING[:3], "similarity").max() < 1e-6


def test_a_bent_plate_is_inverted():
    """Points go to the fixed slide and back to within a hundredth of a um."""
    fixed = MOVING + np.random.default_rng(0).normal(0, 60, MOVING.shape)
    plate = fit(fixed, MOVING, "thin_plate")
    points = np.random.default_rng(1).uniform(200, 1700, (50, 2))
    np.testing.assert_allclose(plate.inverse_points(plate.apply(points)), points, atol=0.01)
    assert np.linalg.norm(plate.apply(points) - points, axis=1).max() > 30


@pytest.mark.parametrize(
    ("fixed", "kind", "words"),
    [
        (MOVING[:2], "affine", "2 landmarks; affine needs 3 or more. Set 1 more"),
        (MOVING[:1], "similarity", "1 landmark; similarity needs 3"),
        (MOVING[:3], "thin_plate", "thin-plate needs 4"),
        (np.array([[0, 0], [500, 501], [1000, 1000], [2000, 2001]], dtype=float), "affine", "on one line on the fixed slide"),
        (MOVING[[0, 1, 2, 1]], "affine", "Landmarks 2 and 4 lie in the same place"),
        (np.array([[0, 0], [np.nan, 5], [9, 1]]), "affine", "no number"),
    ],
)
def test_landmarks_that_fit_nothing_are_refused_in_words(fixed, kind, words):
    """Too few, collinear, doubled, or no numbers: the sentence says which and what to do."""
    with pytest.raises(DataError, match=words):
        fit(fixed, MOVING[: len(fixed)], kind)


def test_landmarks_are_read_in_px_or_um(tmp_path):
    """Columns in px are brought to um with the scale of each slide; columns in um are taken as they are."""
    (tmp_path / "px.csv").write_text("fixed_x,fixed_y,moving_x,moving_y\n10,20,30,40\n", encoding="utf-8")
    fixed, moving = read_landmarks(tmp_path / "px.csv", 0.5, 2.0)
    assert fixed.tolist() == [[10, 5]]
    assert moving.tolist() == [[80, 60]]
    (tmp_path / "um.csv").write_text("fixed_x_um,fixed_y_um,moving_x_um,moving_y_um\n10,20,30,40\n", encoding="utf-8")
    assert read_landmarks(tmp_path / "um.csv", 0.5, 2.0)[0].tolist() == [[20, 10]]
    (tmp_path / "bad.csv").write_text("fixed_x,fixed_y,moving_x\n1,2,3\n", encoding="utf-8")
    with pytest.raises(DataError, match="lacks the column moving_y"):
        read_landmarks(tmp_path / "bad.csv", 1, 1)


@pytest.fixture
def alignment() -> Alignment:
    plate = fit(MOVING + 3 * np.sin(MOVING), MOVING, "thin_plate")
    slides = [AlignedSlide(SlideStamp(f"{name}.tif", 4000, 3000, hash="ab"), mpp, name) for name, mpp in (("A", 0.5), ("B", 0.8))]
    return Alignment(
        plate, *slides, "landmarks", np.stack([MOVING, MOVING], axis=1), error_um=12.5, gap_um=10, local_error=LocalError(12.0, 40.5, 9, 10)
    )


def test_an_alignment_comes_back_from_its_file(tmp_path, alignment):
    """Everything is written and read again: transform, slides, landmarks, error and gap."""
    write_alignment(tmp_path / "alignment.json", alignment)
    again = read_alignment(tmp_path / "alignment.json")
    np.testing.assert_allclose(again.transform.apply(MOVING), alignment.transform.apply(MOVING))
    np.testing.assert_array_equal(again.landmarks, alignment.landmarks)
    assert (again.fixed, again.moving, again.error_um, again.gap_um) == (alignment.fixed, alignment.moving, 12.5, 10)
    assert np.isnan(again.agreement)
    assert again.local_error == alignment.local_error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "is no alignment"),
        ({"version": 9}, "of version 9"),
        ({"matrix": [[0, 0, 0]] * 3}, "is damaged .*inverted"),
        ({"matrix": "x"}, "is damaged"),
        ({"fixed": {}}, "is damaged"),
        ({"local_error": {"median_um": 3}}, "is damaged"),
        ({"kind": "spline"}, "is damaged .*spline"),
    ],
)
def test_a_damaged_alignment_is_refused_in_words(tmp_path, alignment, change, words):
    """One sentence for whatever is wrong with the file."""
    path = tmp_path / "alignment.json"
    write_alignment(path, alignment)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_alignment(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read as an alignment"):
        read_alignment(path)


def test_spatialdata_gets_the_pixels_of_the_fixed_slide(alignment):
    """The NGFF matrix takes px of the moving slide to px of the fixed one, or to um."""
    one = replace(alignment, transform=Transform("affine", turned(30, 1.1, True)))
    px = np.array([[1000.0, 250.0]])
    for global_mpp, unit in ((None, 0.5), (1.0, 1.0)):
        said = spatialdata_transformation(one, global_mpp)
        matrix = np.array(said["affine"])
        assert [axis["name"] for axis in said["input"]["axes"]] == ["y", "x"]
        np.testing.assert_allclose(px @ matrix[:, :2].T + matrix[:, 2], one.transform.apply(px * 0.8) / unit)
