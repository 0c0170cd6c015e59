"""How sharp an edge a model draws, measured on put-together edges and held against true fronts of the synthetic tissue."""

import numpy as np
import pytest
from scipy import ndimage

from napari_deepspace import results
from napari_deepspace.blocking import predict
from napari_deepspace.learn.model import load_model
from napari_deepspace.learn.resolution import edge_pairs, edge_section, edge_widths
from napari_deepspace.phantom_tissue import CELL_PX, CELL_UM, grow_tissue
from napari_deepspace.settings import PAPER_GENES

OFFSETS = np.arange(-150, 151, 12.0)  #: um across a front


def straight_fronts(field, solid, number):
    """Centres in px, (number, n_offsets, 2), of points on lines across the border of ``field`` > 0 that meet no other border and no hole."""
    inside = field > 0
    away = (ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)) * CELL_UM
    slope = np.stack(np.gradient(ndimage.gaussian_filter(away, 3)))
    slope /= np.hypot(*slope) + 1e-9
    at = np.argwhere(np.abs(away) <= CELL_UM)
    lines = at[:, None] + OFFSETS[:, None] / CELL_UM * slope[:, at[:, 0], at[:, 1]].T[:, None]
    lines = lines[((lines > 30) & (lines < len(field) - 30)).all(axis=(1, 2))]
    along = ndimage.map_coordinates(away, lines.transpose(2, 0, 1), order=1)
    room = ndimage.binary_erosion(solid, iterations=int(70 / CELL_UM)).astype(float)
    straight = (np.abs(along - OFFSETS) < 15 + 0.15 * np.abs(OFFSETS)).all(axis=1)
    lines = lines[straight & (ndimage.map_coordinates(room, lines.transpose(2, 0, 1), order=0) > 0.5).all(axis=1)]
    chosen = np.random.default_rng(0).choice(len(lines), number, replace=False)
    return (lines[chosen] + 0.5) * CELL_PX


def test_it_is_the_width_of_a_true_front(sealed_run, phantom):
    """The stated width agrees within a quarter with the 10 to 90 % width of predicted SPARC across the invasive front of the painted slide, and of
    predicted ESR1 across the border of tumour nests, whose own width adds to it."""
    _, model, _ = sealed_run
    assert 40 < model.resolution_um < 0.8 * model.tile_um
    tissue = grow_tissue(0)
    lines = [straight_fronts(field, tissue.solid, 20) for field in (tissue.front, tissue.nest)]
    found = predict(model, phantom, np.concatenate(lines).reshape(-1, 2), progress=False)
    for gene, part in (("SPARC", slice(0, 20)), ("ESR1", slice(20, 40))):
        values = np.asarray(found[:, gene].layers[results.PREDICTED]).reshape(40, len(OFFSETS))[part]
        whole = np.isfinite(values).all(axis=1)
        assert whole.sum() > 15
        width = edge_widths(values[whole].mean(axis=0)[None, :, None], OFFSETS)[0]
        assert width == pytest.approx(model.resolution_um, rel=0.25), gene


def test_it_is_stored_and_told(sealed_run):
    """The model's file and every result say it."""
    folder, model, _ = sealed_run
    assert load_model(folder).resolution_um == pytest.approx(model.resolution_um)
    result = results.read_result(next((folder / "predictions").glob("*.h5ad")))
    assert result.uns[results.UNS]["resolution_um"] == pytest.approx(model.resolution_um)


def test_widths_of_known_curves():
    """A straight rise over 100 um is 80 um from 10 to 90 %, whichever way it goes; an output that hardly responds has no width."""
    offsets = np.linspace(-200, 200, 81)
    rise = np.clip((offsets + 50) / 100, 0, 1)
    responses = np.stack([rise, 1 - rise, 0.1 * rise], axis=1)[None]
    widths = edge_widths(np.concatenate([responses, 0.01 * responses]), offsets)
    np.testing.assert_allclose(widths[:2], 80, atol=1)
    assert np.isnan(widths[2])


def test_edges_are_straight_and_wide_enough(phantom):
    """Left of the edge lies one tile and its mirror image, right of it the other; the outermost view ends within."""
    centres = phantom.centres_yx[[300, 500]]
    section, middle = edge_section(phantom, centres, 137.5)
    image, radius = section.slide.levels[0][:], int(np.ceil(137.5 / 2 / phantom.mpp))
    y, x = middle.astype(int)
    for side, centre in ((slice(x - 2 * radius, x), centres[0]), (slice(x, x + 2 * radius), centres[1])):
        top, left = (np.rint(centre) - radius).astype(int)
        true = phantom.slide.read_region(top, left, 2 * radius, 2 * radius)
        np.testing.assert_array_equal(image[y - radius : y + radius, side], true)
    assert x >= 4 * radius
    assert image.shape[1] - x >= 4 * radius


def test_pairs_are_those_that_differ_most():
    """Each edge joins a spot of high with one of low prediction along a main difference; spots without a prediction take no part."""
    rng = np.random.default_rng(0)
    level = rng.standard_normal(200)
    predicted = level[:, None] * np.ones(len(PAPER_GENES)) + 0.01 * rng.standard_normal((200, len(PAPER_GENES)))
    predicted[:20] = np.nan
    pairs = edge_pairs(predicted)
    assert min(min(pair) for pair in pairs) >= 20
    assert abs(level[pairs[0][0]] - level[pairs[0][1]]) > 3
    assert edge_pairs(predicted[:25]) == []
