"""The simple ways: what they look at, how they are fitted, and the copy of the neighbouring section."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_deepspace.analyse.copies import blended, copied
from napari_deepspace.events import BaselinesScored, result_of
from napari_deepspace.learn.neighbouring import aligned_points, fit_blend
from napari_deepspace.learn.simple import COLUMNS, fit_ways, nuclei, predict_ways, simple_looks, simple_table
from napari_deepspace.learn.training import fit
from napari_deepspace.read import read_section
from napari_deepspace.results import BASELINES, UNS, read_result
from napari_deepspace.settings import RunSettings, SectionSettings
from napari_deepspace.target import Target
from napari_deepspace.tiles import cut_tiles, tile_radius_px


def test_nuclei_are_counted_one_by_one():
    """Each blue disc on a pink ground is one nucleus; pink alone has none."""
    rng = np.random.default_rng(0)
    image = np.full((200, 200, 3), (0.92, 0.72, 0.82), dtype=np.float32)
    rows, columns = np.mgrid[:200, :200]
    centres = [(y, x) for y in range(15, 190, 20) for x in range(15, 190, 20)]
    for y, x in np.array(centres) + rng.integers(-3, 4, (len(centres), 2)):
        image[(rows - y) ** 2 + (columns - x) ** 2 <= 9] = (0.3, 0.2, 0.55)
    assert nuclei(image, 1.0).sum() == len(centres)
    assert nuclei(np.full((100, 100, 3), (0.92, 0.72, 0.82), dtype=np.float32), 1.0).sum() == 0


def test_mean_colour_is_that_of_the_tile(phantom):
    """The mean colour that the slide pass finds is that of the tile cut out at full resolution, within a thousandth."""
    centres = phantom.centres_yx[100:140]
    looks = result_of(simple_looks(phantom, centres, 137.5))
    tiles = cut_tiles(phantom.require_slide(), centres, tile_radius_px(137.5, phantom.mpp), 224)
    np.testing.assert_allclose(looks[:, :3], tiles.mean(axis=(1, 2)) / 255, atol=2e-3)
    np.testing.assert_allclose(looks[:, 3], looks[:, :3].mean(axis=1))
    assert 50 < looks[:, 4].mean() < 20_000  # nuclei per mm2


def test_each_way_sees_its_own_columns_only():
    """Values made of one column are predicted by the way that sees it, and by no other; where counts are unknown the depth says nothing."""
    rng = np.random.default_rng(1)
    table = rng.standard_normal((300, 6))
    values = table[:, [4, 5]].astype(np.float32)
    ways = fit_ways(Target("genes", ("nuclei", "depth"), ""), table, values, np.arange(300) // 10)
    unknown = table.copy()
    unknown[0, 5] = np.nan
    found = predict_ways(ways, unknown)
    assert set(found) == set(COLUMNS)
    r = {name: [np.corrcoef(values[1:, k], outputs[1:, k])[0, 1] for k in range(2)] for name, outputs in found.items()}
    assert r["nuclear density"][0] > 0.999
    assert r["log UMI"][1] > 0.999
    assert max(abs(r["mean RGB"][0]), abs(r["brightness"][1])) < 0.3
    assert np.isnan(found["log UMI"][0]).all()
    assert np.isfinite(found["mean RGB"]).all()


def test_tables_are_standardised_by_the_section():
    """Every column has mean 0 and SD 1 over the section's own spots; without counts the depth is not known."""
    looks, totals = np.random.default_rng(2).uniform(1, 5, (200, 5)), np.random.default_rng(3).integers(100, 9000, 200)
    table = simple_table(looks, totals)
    np.testing.assert_allclose(table.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(table.std(axis=0), 1, atol=1e-9)
    assert np.isnan(simple_table(looks, None)[:, 5]).all()


def test_a_copy_is_the_mean_of_its_neighbours_sections():
    """The copy of two sections is the mean of what each has at the place; a spot without a place gets none."""
    places = np.stack(np.meshgrid(np.arange(10.0), np.arange(10.0)), -1).reshape(-1, 2)
    one, two = np.full((100, 1), 2.0), np.full((100, 1), 4.0)
    wanted = np.array([[3.2, 4.1], [np.nan, np.nan]])
    np.testing.assert_allclose(copied([(places, one), (places + 0.3, two)], wanted), [[3.0], [np.nan]])
    assert np.isnan(copied([], wanted)).all()


def test_points_are_placed_as_the_spots_around_them(phantom):
    """Points between spots go where a smooth, turned and slightly bent frame puts them."""
    section, rng = phantom, np.random.default_rng(4)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]]) * 0.25

    def frame(centres_yx):
        return centres_yx[:, ::-1] @ turn + 3 * np.sin(centres_yx / 900)

    adata = section.adata.copy()
    adata.obsm["spatial_aligned"] = frame(section.centres_yx)
    inside = section.centres_yx[rng.integers(0, adata.n_obs, 50)] + rng.uniform(-20, 20, (50, 2))
    moved = replace(section, adata=adata)
    np.testing.assert_allclose(aligned_points(moved, inside), frame(inside), atol=1.0)
    assert np.isnan(aligned_points(section, inside)).all()


def test_the_blend_trusts_what_is_right():
    """An output that only the copy knows follows the copy, one that only the image knows the image; without a copy the image stands."""
    rng = np.random.default_rng(5)
    truth = rng.standard_normal((400, 2))
    image = np.column_stack([rng.standard_normal(400), truth[:, 1]]) + 0.3 * rng.standard_normal((400, 2))
    copy = np.column_stack([truth[:, 0], rng.standard_normal(400)]) + 0.3 * rng.standard_normal((400, 2))
    blend = fit_blend(image, copy, truth, np.arange(400) // 20)
    both = blended(blend, image, copy)
    assert [np.corrcoef(truth[:, k], both[:, k])[0, 1] > 0.9 for k in range(2)] == [True, True]
    np.testing.assert_allclose(blended(blend, image, np.full_like(copy, np.nan)), image.astype(np.float32))
    assert fit_blend(image[:5], copy[:5], truth[:5], np.arange(5)) is None


@pytest.mark.acceptance
@pytest.mark.real_data
def test_neighbouring_sections_are_copied_and_blended(data_dir, tmp_path):
    """C2 and C4 train and C3 is predicted: its copy comes from their registered spots, is a baseline of the result, and makes the prediction better.

    Without the copy the model looks at the image alone. Predicted again, a training section is never copied from itself.
    """
    from napari_deepspace.learn.inference import predict
    from napari_deepspace.learn.model import load_model

    sections = [read_section(data_dir / "her2st" / name) for name in ("C2", "C4")]
    settings = RunSettings(
        sections=tuple(SectionSettings(path=data_dir / "her2st" / name) for name in ("C2", "C4")), split={"kind": "whole"}, target={"top": 20}
    )  # fmt: skip
    model = result_of(fit(sections, settings, tmp_path / "run"))
    c3 = read_section(data_dir / "her2st" / "C3")
    result = result_of(predict(load_model(tmp_path / "run"), c3))
    copy, slot = result.obsm[BASELINES["neighbouring section"]], result.obs["deepspace_split"] == "test"
    spot = int(np.flatnonzero(slot)[5])
    place = c3.adata.obsm["spatial_aligned"][spot]
    by_hand = []
    for seen in model.seen:
        known = np.isin(seen.parts[:, 0], (0, 1)) & np.isfinite(seen.aligned).all(axis=1)
        distance, index = cKDTree(seen.aligned[known]).query(place, 6)
        by_hand.append(np.average(seen.values[known][index], axis=0, weights=1 / distance))
    np.testing.assert_allclose(copy[spot], np.mean(by_hand, axis=0), rtol=1e-4)
    assert "neighbouring" in result.uns[UNS]["looks_at"]
    assert set(BASELINES.values()) - set(result.obsm) == {BASELINES["interpolation"]}

    again = result_of(predict(model, sections[0]))
    others = model.seen[1]
    place = sections[0].adata.obsm["spatial_aligned"]
    spot = int(np.flatnonzero(np.isfinite(place).all(axis=1) & np.isfinite(again.obsm[BASELINES["mean RGB"]]).all(axis=1))[3])
    known = np.isin(others.parts[:, 0], (0, 1)) & np.isfinite(others.aligned).all(axis=1)
    distance, index = cKDTree(others.aligned[known]).query(place[spot], 6)
    np.testing.assert_allclose(
        again.obsm[BASELINES["neighbouring section"]][spot], np.average(others.values[known][index], axis=0, weights=1 / distance), rtol=1e-4
    )

    alone = result_of(fit(sections, settings.model_copy(update={"neighbouring_section": False}), tmp_path / "alone"))
    assert all(member.blend is None for member in alone.members)
    assert result_of(predict(alone, c3)).uns[UNS]["looks_at"] == "the H&E image"


def test_every_way_is_scored_before_the_model(phantom, tmp_path):
    """The simple ways that a single section allows are told before the first fold ends, and are in the result at spots the model is scored on."""
    settings = RunSettings(sections=(SectionSettings(path=phantom.path),), target={"top": 5}, split={"folds": 2})
    events = list(fit([phantom], settings, tmp_path / "run"))
    kinds = [type(event).__name__ for event in events]
    scored = next(event for event in events if isinstance(event, BaselinesScored))
    assert kinds.index("BaselinesScored") < kinds.index("FoldEnded")
    assert set(scored.mean_r) == {"mean RGB", "brightness", "nuclear density", "log UMI", "interpolation"}
    result = read_result(tmp_path / "run" / events[-1].predictions[0])
    test = (result.obs["deepspace_split"] == "test").to_numpy()
    for name in scored.mean_r:
        assert np.isfinite(result.obsm[BASELINES[name]][test]).all(), name
