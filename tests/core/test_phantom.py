"""The built-in synthetic section: what is written, and what is known to be true of it."""

import csv
import json

import numpy as np
import pytest
import scanpy as sc
import tifffile
from skimage.measure import points_in_poly
from sklearn.linear_model import LinearRegression

from napari_deepspace.errors import DataError
from napari_deepspace.phantom import MARKER, make_phantom
from napari_deepspace.phantom_chance import chance_relation
from napari_deepspace.phantom_counts import GENES, draw_expression, gene_fields, shuffle
from napari_deepspace.phantom_paint import fibre_texture
from napari_deepspace.phantom_tissue import GRID, MPP, N_HIDDEN, band_field, disc_means, enlarge, grow_tissue
from napari_deepspace.read import read_section
from napari_deepspace.settings import PAPER_GENES


@pytest.fixture(scope="module")
def truth(phantom_dir):
    return json.loads((phantom_dir / "truth" / "truth.json").read_text())


@pytest.fixture(scope="module")
def positions(phantom_dir):
    with (phantom_dir / "outs" / "spatial" / "tissue_positions.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def counts(phantom_dir):
    return sc.read_10x_h5(phantom_dir / "outs" / "filtered_feature_bc_matrix.h5")


@pytest.fixture(scope="module")
def spots(positions, counts):
    """Centres (n, 2) (row, column) px of the matrix's barcodes, in its order."""
    where = {row["barcode"]: (float(row["pxl_row_in_fullres"]), float(row["pxl_col_in_fullres"])) for row in positions}
    return np.array([where[barcode] for barcode in counts.obs_names])


@pytest.fixture(scope="module")
def passes(counts):
    """The paper's filter."""
    return (counts.X.sum(1).A1 >= 1000) & ((counts.X > 0).sum(1).A1 >= 1000)


@pytest.fixture(scope="module")
def slide(phantom_dir):
    return tifffile.imread(phantom_dir / "image.tif")


def test_it_says_that_it_is_synthetic(phantom_dir, truth):
    """A reader finds SYNTHETIC.txt beside outs/; truth and slide say it too."""
    assert "SYNTHETIC" in (phantom_dir / MARKER).read_text()
    assert truth["synthetic"] is True
    with tifffile.TiffFile(phantom_dir / "image.tif") as file:
        assert "SYNTHETIC" in file.pages[0].tags["ImageDescription"].value
    assert read_section(phantom_dir / "outs").synthetic


def test_the_slide_is_a_tiled_pyramid_of_known_resolution(phantom_dir):
    """At least 4000 px a side, tiles, levels of half the side each, um per px in the tags."""
    with tifffile.TiffFile(phantom_dir / "image.tif") as file:
        (series,) = file.series
        sides = [level.shape[0] for level in series.levels]
        page = file.pages[0]
        assert sides[0] >= 4000
        assert [side * 2 for side in sides[1:]] == sides[:-1]
        assert sides[-1] <= 512
        assert page.is_tiled
        pixels, centimetres = page.tags["XResolution"].value
        assert 1e4 * centimetres / pixels == pytest.approx(MPP)


def test_the_lattice_is_visiums(positions):
    """Spots 100 um apart on a hexagonal lattice, rows sqrt(3)/2 of that; off-tissue spots are listed too."""
    index = np.array([(int(row["array_row"]), int(row["array_col"])) for row in positions])
    centres = np.array([(float(row["pxl_row_in_fullres"]), float(row["pxl_col_in_fullres"])) for row in positions]) * MPP
    assert (index.sum(1) % 2 == 0).all()
    expected = index * np.array([100 * np.sqrt(3) / 2, 50])
    assert np.abs((centres - centres[0]) - (expected - expected[0])).max() < 2 * MPP  # positions are whole pixels
    in_tissue = np.array([int(row["in_tissue"]) for row in positions])
    assert 750 <= in_tissue.sum() <= 950
    assert (in_tissue == 0).sum() > 100
    assert len({row["barcode"] for row in positions}) == len(positions)


def test_it_is_a_space_ranger_folder(phantom_dir, counts, positions):
    """The ordinary readers take it: scanpy the matrix, ours the section with clusters and its slide."""
    section = read_section(phantom_dir / "outs")
    assert set(counts.obs_names) == {row["barcode"] for row in positions if row["in_tissue"] == "1"}
    assert section.adata.shape == counts.shape
    assert section.mpp == pytest.approx(MPP, rel=1e-3)
    assert section.slide is not None
    clusters = (phantom_dir / "outs" / "analysis" / "clustering" / "graphclust" / "clusters.csv").read_text().splitlines()
    assert clusters[0] == "Barcode,Cluster"
    assert len(clusters) == 1 + counts.n_obs
    assert {int(line.split(",")[1]) for line in clusters[1:]} in ({1, 2, 3, 4}, {1, 2, 3, 4, 5})


def test_the_papers_genes_are_there(counts):
    """The 24 named genes, about 1500 more, some of them mitochondrial."""
    assert set(GENES) == set(PAPER_GENES) <= set(counts.var_names)
    assert counts.n_vars >= 1500
    assert counts.var_names.str.startswith("MT-").sum() >= 10


def test_the_papers_filter_takes_the_bad_regions(truth, counts, spots, passes):
    """Spots inside fat, necrosis and the failed region fall under 1000 UMI; nearly all others pass with thousands."""
    bad = np.zeros(len(spots), bool)
    for name in ("fat", "necrosis", "failed"):
        inside = points_in_poly(spots, np.array(truth["outlines_yx_px"][name]))
        assert inside.sum() >= 10
        bad |= inside
    total = counts.X.sum(1).A1
    assert np.median(total[bad]) < 1000
    assert passes[~bad].mean() > 0.97
    assert passes[bad].mean() < 0.2
    assert 6000 < np.median(total[passes]) < 10_000
    assert passes.sum() > 650


def test_failed_permeabilisation_looks_like_other_tissue(truth, slide, spots, passes):
    """The failed region is as coloured as the rest: no image tells it; fat is nearly white."""
    tiles = {
        name: [tile_mean(slide, at) for at in spots[points_in_poly(spots, np.array(truth["outlines_yx_px"][name]))]] for name in ("failed", "fat")
    }
    rest = np.array([tile_mean(slide, at) for at in spots[passes][::5]])
    assert (np.abs(np.mean(tiles["failed"], 0) - rest.mean(0)) < rest.std(0)).all()
    assert np.median(tiles["fat"], 0).min() > 215


def test_the_invasive_region_touches_no_spot(truth, positions, counts, slide, spots, passes, phantom_dir):
    """It lies between three spots, under none, holds SPARC-high tissue by the true field, and has the colour of other such tissue."""
    outline = np.array(truth["outlines_yx_px"]["invasive"])
    centres = np.array([(float(row["pxl_row_in_fullres"]), float(row["pxl_col_in_fullres"])) for row in positions])
    gaps = np.linalg.norm(outline[:, None] - centres[None], axis=-1) * MPP
    assert gaps.min() > 27.5
    middle = outline.mean(0)
    nearest = np.sort(np.linalg.norm(centres - middle, axis=1))[:3] * MPP
    assert nearest == pytest.approx(np.full(3, 100 / np.sqrt(3)), abs=1.5)
    fields = np.load(phantom_dir / "truth" / "fields.npz")
    sparc = fields["share"][list(fields["genes"]).index("SPARC")]
    row, column = (middle * MPP / fields["cell_um"]).astype(int)
    expected = expected_shares(phantom_dir, counts.obs_names, "SPARC")
    near = np.linalg.norm(spots - middle, axis=1) * MPP < 70
    assert sparc[row, column] > 2 * expected[near].max()
    high = spots[passes & (expected > np.quantile(expected, 0.9))]
    low = spots[passes & (expected <= np.median(expected))][::4]
    inside = tile_mean(slide, middle, 20)
    to_high, to_low = (np.linalg.norm(inside - np.mean([tile_mean(slide, at, 20) for at in where], 0)) for where in (high, low))
    assert to_high < to_low


def test_mean_colour_does_not_give_texture_genes_away(truth, counts, slide, spots, passes):
    """Mean RGB of a tile, across spatial halves, predicts colour genes and none that are only texture, size of nuclei or hidden."""
    colours = np.array([tile_mean(slide, at) for at in spots[passes]])
    values = np.log1p(counts.X[passes].toarray() / counts.X[passes].sum(1).A1[:, None] * 8000)
    scores = {}
    for gene in GENES:
        y = values[:, counts.var_names.get_loc(gene)]
        predicted = np.empty_like(y)
        part = (np.floor(spots[passes] * MPP / 500).sum(1) % 2).astype(bool)  # a chequerboard of blocks
        for test in (part, ~part):
            predicted[test] = LinearRegression().fit(colours[~test], y[~test]).predict(colours[test])
        scores.setdefault(truth["genes"][gene]["kind"], []).append(np.corrcoef(predicted, y)[0, 1])
    assert np.mean(scores["colour"]) > 0.5
    assert max(scores["texture"] + scores["nuclear size"]) <= 0.3
    assert np.abs(scores["hidden"]).max() < 0.15


def test_each_gene_has_a_high_ceiling(truth):
    """Noise leaves r of 0.9 and more to a model that knew everything; four kinds, SPARC among the visible ones."""
    genes = truth["genes"]
    assert min(gene["ceiling_r"] for gene in genes.values()) > 0.9
    assert {gene["kind"] for gene in genes.values()} == {"colour", "texture", "nuclear size", "hidden"}
    assert sum(gene["kind"] == "hidden" for gene in genes.values()) == N_HIDDEN
    assert genes["SPARC"]["predictable"] and not genes["IFI27"]["predictable"]


def test_texture_follows_the_tissue_at_constant_mean():
    """Fibres have mean zero and the same contrast everywhere; where they are wide apart the texture changes more slowly."""
    tissue = grow_tissue(3)
    fibres = fibre_texture(np.random.default_rng(0), tissue)
    cell = fibres.shape[0] // GRID
    wide, narrow = (tissue.solid & (sign * tissue.spacing > 1) for sign in (1, -1))
    steps = np.pad(np.diff(fibres, axis=0), ((0, 1), (0, 0))) ** 2
    power, speed = (f.reshape(GRID, cell, GRID, cell).mean((1, 3)) for f in (fibres**2, steps))
    assert abs(fibres.mean()) < 0.01
    assert power[wide].mean() == pytest.approx(power[narrow].mean(), rel=0.15)
    assert speed[wide].mean() < 0.6 * speed[narrow].mean()


def test_the_same_seed_gives_the_same_section():
    """Tissue and counts repeat bit by bit; another seed gives others."""
    first, again, other = (grow_tissue(seed) for seed in (1, 1, 2))
    hidden = np.stack([band_field(np.random.default_rng(i), (GRID, GRID), 6.0, 300, 500) for i in range(N_HIDDEN)])
    drawn = [draw_expression(tissue, gene_fields(tissue, hidden)).counts for tissue in (first, again, other)]
    np.testing.assert_array_equal(first.tumour, again.tumour)
    np.testing.assert_array_equal(drawn[0].toarray(), drawn[1].toarray())
    assert drawn[0].shape != drawn[2].shape or (drawn[0] != drawn[2]).nnz > 0


def test_shuffled_counts_keep_each_genes_values():
    """Each gene has the same counts as before at other spots, and goes with its own expectation."""
    tissue = grow_tissue(1)
    fields = gene_fields(tissue, np.zeros((N_HIDDEN, GRID, GRID), np.float32))
    before = draw_expression(tissue, fields)
    rng = np.random.default_rng(0)
    after = shuffle(before, rng.permutation(len(before.expected)))
    np.testing.assert_array_equal(np.sort(after.counts.toarray(), 0), np.sort(before.counts.toarray(), 0))
    gene = list(GENES).index("SPARC")
    assert np.corrcoef(after.measured[:, gene], before.measured[:, gene])[0, 1] < 0.2
    assert np.corrcoef(after.counts[:, [gene]].toarray()[:, 0], after.expected[:, gene])[0, 1] > 0.8


def test_chance_is_told_from_relation():
    """What follows from the features is found, out of fold; independent noise is not."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 3000, (500, 2))
    looks = rng.standard_normal((500, 20))
    values = np.stack([looks[:, 0] + 0.5 * rng.standard_normal(500), rng.standard_normal(500)], 1)
    related, chance = chance_relation(values, looks, centres, rng, (100,))
    assert related > 0.7
    assert chance < 0.2


def test_spots_measure_the_mean_of_a_disc():
    """The expression of a spot is the mean over 55 um, neither the centre's value nor the tile's."""
    column = np.tile((np.arange(GRID) + 0.5) * 6.0, (GRID, 1))
    centres = np.array([[2000.0, 1000.0], [3000.0, 3500.0]])
    ramp, bowl = disc_means(np.stack([column, (column - 1500.0) ** 2]), centres).T
    np.testing.assert_allclose(ramp, centres[:, 1] * MPP, atol=0.01)
    spread = bowl - (centres[:, 1] * MPP - 1500) ** 2
    np.testing.assert_allclose(spread, 27.5**2 / 4, rtol=0.15)


def test_enlarging_keeps_places():
    """A cell's centre stays where it is when a grid becomes pixels."""
    cells = np.arange(6.0)[:, None] * np.ones(6)
    pixels = enlarge(cells, 4)
    assert pixels.shape == (24, 24)
    assert (pixels[9, 0] + pixels[10, 0]) / 2 == pytest.approx(2.0)


def test_a_section_already_written_is_found(phantom_dir):
    """The second call writes nothing."""
    before = (phantom_dir / "image.tif").stat().st_mtime_ns
    assert make_phantom() == phantom_dir
    assert (phantom_dir / "image.tif").stat().st_mtime_ns == before


def test_nothing_else_is_overwritten(tmp_path, phantom_dir):
    """A folder with other content is refused in one sentence, and so is the section of another seed."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="holds something other"):
        make_phantom(tmp_path)
    with pytest.raises(DataError, match="holds something other"):
        make_phantom(phantom_dir, seed=1)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    """No folder can be made under a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        make_phantom(tmp_path / "file" / "section")


def expected_shares(phantom_dir, barcodes, gene):
    """The true share of all transcripts, in the order of ``barcodes``."""
    with (phantom_dir / "truth" / "expected.csv").open() as file:
        share = {row["barcode"]: float(row[gene]) for row in csv.DictReader(file)}
    return np.array([share[barcode] for barcode in barcodes])


def tile_mean(slide, centre, half_um=68.75):
    """Mean RGB of the tile round a centre (row, column)."""
    y, x = np.round(centre).astype(int)
    half = round(half_um / MPP)
    return slide[y - half : y + half, x - half : x + half].reshape(-1, 3).mean(0)
