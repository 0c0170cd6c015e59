"""Failed regions on several synthetic sections, and simulated ones on real sections. `make acceptance`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from shapely.geometry import Polygon

from napari_deepspace.events import result_of
from napari_deepspace.phantom import make_phantom
from napari_deepspace.preprocess.failed_regions import low_regions
from napari_deepspace.preprocess.prepare import prepare_section, tile_side_um
from napari_deepspace.preprocess_command import regions_of
from napari_deepspace.read import read_section
from napari_deepspace.settings import RunSettings

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]


def regions(section):
    return result_of(regions_of(section, RunSettings(sections=[{"path": section.path}])))


@pytest.mark.parametrize("seed", range(5))
def test_the_failed_region_of_each_seed(seed):
    """Found with IoU >= 0.8 and the only technical one; no technical region touches fat or necrosis."""
    folder = make_phantom(seed=seed)
    truth = {
        name: Polygon(np.asarray(outline)[:, ::-1])
        for name, outline in json.loads((folder / "truth" / "truth.json").read_text())["outlines_yx_px"].items()
    }
    found = regions(read_section(folder))
    (technical,) = [region for region in found if region.verdict == "technical"]
    iou = technical.outline.intersection(truth["failed"]).area / technical.outline.union(truth["failed"]).area
    others = [round(region.unlike, 2) for region in found if region is not technical]
    print(f"\nseed {seed}: IoU {iou:.3f}; unlike: technical {technical.unlike:.2f}, others {others}")
    assert iou >= 0.8
    assert not technical.outline.intersects(truth["fat"])
    assert not technical.outline.intersects(truth["necrosis"])


@pytest.mark.parametrize("seed", range(3))
def test_no_technical_region_without_a_failure(seed):
    """Fat and necrosis alone give none."""
    found = regions(read_section(make_phantom(seed=seed, failed_region=False)))
    print(f"\nseed {seed}, no failure: {[(len(r.spots), r.verdict, round(r.unlike, 2)) for r in found]}")
    assert all(region.verdict == "cannot tell" for region in found)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["C2", "C3", "C4"])
def test_simulated_failures_on_real_tissue(name, data_dir):
    """Discs of 20 spots whose counts are taken away, at 40 places: most are called technical. Clusters that look their own way are not all."""
    from napari_deepspace.learn.data import section_features, tile_side_px

    section = read_section(data_dir / "her2st" / name)
    settings = RunSettings(sections=[{"path": section.path}])
    tile_um = tile_side_um(section, settings.tile)
    verdict = result_of(prepare_section(section, settings.filter, tile_um)).filter
    looks = result_of(section_features(section, section.centres_yx, tile_um, tile_side_px(settings, tile_um)))
    umi, tissue = verdict.spots["umi"].to_numpy(), verdict.predictable
    low = verdict.removed["umi"] | verdict.removed["genes"]

    def judged(extra, seed_spot):
        found = low_regions(section.centres_yx, umi, low | extra, tissue, looks, section.pitch_px, tile_um / section.mpp)
        return [region.verdict for region in found if seed_spot is None or seed_spot in region.spots]

    well = np.flatnonzero(~low & tissue)
    called = []
    for spot in np.random.default_rng(0).choice(well, 40, replace=False):
        distance = np.hypot(*(section.centres_yx[well] - section.centres_yx[spot]).T)
        failed = np.isin(np.arange(len(umi)), well[np.argsort(distance)[:20]])
        called += judged(failed, spot)
    share = np.mean([verdict == "technical" for verdict in called])
    clusters = section.adata.obs["cluster"]
    by_cluster = {name: judged((clusters == name).to_numpy(), None) for name in clusters.cat.categories}
    print(f"\n{name}: {share:.0%} of 40 simulated failures called technical; whole clusters taken away: {by_cluster}")
    assert share >= 0.6
