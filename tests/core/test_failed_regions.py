"""A region of few counts is called technical only if its tiles look like tissue that measured well elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from shapely.geometry import Point, Polygon

from napari_deepspace.preprocess.failed_regions import MIN_SPOTS, low_regions

PITCH, GUARD = 10.0, 14.0


@pytest.fixture
def lattice():
    """A square lattice of 20 x 20 spots whose look varies slowly from place to place, and a patch of it."""
    rows, columns = np.mgrid[:20, :20]
    centres = np.stack([rows.ravel(), columns.ravel()], axis=1) * PITCH
    rng = np.random.default_rng(0)
    waves = [np.sin(centres @ rng.normal(0, 0.03, 2) + rng.uniform(0, 6)) for _ in range(12)]
    looks = np.stack([*waves, *rng.normal(0, 0.3, (8, 400))], axis=1)
    patch = np.hypot(*(centres - [70, 120]).T) < 32
    return centres, looks, patch


def judge(centres, looks, low, tissue=None):
    umi = np.where(low, 300, 5000)
    return low_regions(centres, umi, low, np.ones(len(low), dtype=bool) if tissue is None else tissue, looks, PITCH, GUARD)


def test_ordinary_looking_tissue_with_few_counts_is_technical(lattice):
    """Nothing but the counts sets the region apart: probably technical; the outline follows its spots."""
    centres, looks, patch = lattice
    (region,) = judge(centres, looks, patch)
    assert region.verdict == "technical"
    assert region.unlike <= 1
    assert set(region.spots) == set(np.flatnonzero(patch))
    assert region.median_umi == 300
    covered = np.array([region.outline.covers(Point(x, y)) for y, x in centres])
    np.testing.assert_array_equal(covered, patch)
    assert region.outline.area == pytest.approx(patch.sum() * PITCH**2, rel=0.2)


def test_tissue_of_its_own_look_cannot_be_told(lattice):
    """The region looks unlike anything that measured well, as fat does: few counts may be the truth."""
    centres, looks, patch = lattice
    looks[patch] += 3
    (region,) = judge(centres, looks, patch)
    assert region.verdict == "cannot tell"
    assert region.unlike > 1


def test_a_look_that_is_low_elsewhere_too_cannot_be_told(lattice):
    """Two regions share a look that hardly ever measured well: the look goes with few counts."""
    centres, looks, patch = lattice
    other = np.hypot(*(centres - [150, 40]).T) < 32
    rare = np.flatnonzero(~patch & ~other)[::40]
    kind = np.concatenate([np.flatnonzero(patch | other), rare])
    looks[kind] = 3 + np.random.default_rng(1).normal(0, 0.3, (len(kind), looks.shape[1]))
    assert {region.verdict for region in judge(centres, looks, patch | other)} == {"cannot tell"}


def test_scattered_low_spots_are_no_region(lattice):
    """Fewer adjoining spots than a spot and its neighbours are chance, and so is none at all."""
    centres, looks, patch = lattice
    few = np.zeros(400, dtype=bool)
    few[np.flatnonzero(patch)[: MIN_SPOTS - 1]] = True
    few[[0, 399, 380]] = True
    assert judge(centres, looks, few) == []
    assert judge(centres, looks, np.zeros(400, dtype=bool)) == []


def test_spots_outside_the_tissue_are_no_region(lattice):
    """Empty spots beside the tissue are not low."""
    centres, looks, patch = lattice
    assert judge(centres, looks, patch, tissue=~patch) == []


def test_without_well_measured_tissue_nothing_is_said(lattice):
    """Where hardly a spot measured well there is nothing to compare with: cannot tell, and no error."""
    centres, looks, _ = lattice
    everywhere = np.ones(400, dtype=bool)
    assert [region.verdict for region in judge(centres, looks, everywhere)] == ["cannot tell"]
    everywhere[:20] = False
    assert [region.verdict for region in judge(centres, looks, everywhere)] == ["cannot tell"]


def looked_at(section, **thresholds):
    from napari_deepspace.events import result_of
    from napari_deepspace.preprocess_command import regions_of
    from napari_deepspace.settings import RunSettings

    settings = RunSettings(sections=[{"path": section.path}], filter=thresholds)
    return result_of(regions_of(section, settings))


def iou(region, outline_yx):
    truth = Polygon(np.asarray(outline_yx)[:, ::-1])
    return region.outline.intersection(truth).area / region.outline.union(truth).area


def test_the_phantoms_failed_region_is_found(phantom, phantom_dir):
    """It alone is called technical, with IoU >= 0.8 against the truth; necrosis is not, nor fat, which is mostly white tiles."""
    truth = json.loads((phantom_dir / "truth" / "truth.json").read_text())["outlines_yx_px"]
    regions = looked_at(phantom)
    technical = [region for region in regions if region.verdict == "technical"]
    assert len(technical) == 1
    assert iou(technical[0], truth["failed"]) >= 0.8
    for kind in ("fat", "necrosis"):
        assert not technical[0].outline.intersects(Polygon(np.asarray(truth[kind])[:, ::-1])), kind
    assert [region.verdict for region in regions if iou(region, truth["necrosis"]) > 0.5] == ["cannot tell"]


def test_fat_is_not_called_technical_without_the_white_filter(phantom, phantom_dir):
    """Where white tiles stay, the fat is a low region of its own, and cannot be told."""
    truth = json.loads((phantom_dir / "truth" / "truth.json").read_text())["outlines_yx_px"]
    regions = looked_at(phantom, white_percentile=100)
    assert sorted(region.verdict for region in regions) == ["cannot tell", "cannot tell", "technical"]
    assert [region.verdict for region in regions if iou(region, truth["fat"]) > 0.5] == ["cannot tell"]


@pytest.mark.acceptance
def test_a_phantom_without_a_failed_region_gets_none():
    """Fat and necrosis are low there too, and are not called technical."""
    from napari_deepspace.phantom import make_phantom
    from napari_deepspace.read import read_section

    regions = looked_at(read_section(make_phantom(failed_region=False)))
    assert regions
    assert {region.verdict for region in regions} == {"cannot tell"}


@pytest.mark.real_data
def test_fat_of_a_real_section_is_not_called_technical(data_dir):
    """her2st B4: most spots fail the paper's filter, most of them one kind of tissue; no technical region, least of all in its fat."""
    from napari_deepspace.read import read_section

    section = read_section(data_dir / "her2st" / "B4", library_id="B4")
    regions = looked_at(section)
    fat = np.flatnonzero((section.adata.obs["cluster"].astype(str) == "0").to_numpy())
    assert np.isin(fat, np.concatenate([region.spots for region in regions])).mean() > 0.8, "the fat is a low region, but for its white tiles"
    assert [region.verdict for region in regions if np.isin(region.spots, fat).any()] == ["cannot tell"]


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["C2", "C3", "C4"])
def test_good_real_sections_get_no_region(data_dir, name):
    """Sections that measured well everywhere have scattered low spots only."""
    from napari_deepspace.read import read_section

    assert looked_at(read_section(data_dir / "her2st" / name)) == []
