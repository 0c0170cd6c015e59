"""Figures: what is drawn is what the window paints, at the size asked for, and nothing stands there without its words."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image

from napari_deepspace import results
from napari_deepspace.analyse.evaluate import evaluate
from napari_deepspace.cli import main
from napari_deepspace.errors import SettingsError
from napari_deepspace.events import result_of
from napari_deepspace.figure_material import counts_at_spots
from napari_deepspace.figure_parts import broken, make_page, save, short, text_mm
from napari_deepspace.figure_settings import KINDS, FigureSettings, read_show
from napari_deepspace.figures import draw, gather, make, write
from napari_deepspace.outlines import EXCLUDE, Outline
from napari_deepspace.points import store_name
from napari_deepspace.run_maps import maps_of_run
from napari_deepspace.runs import write_json
from napari_deepspace.settings import FilterSettings
from napari_deepspace.target import Target
from napari_deepspace.views import make_view

LOOSE = FilterSettings(min_umi=0, min_genes=0, white_percentile=100)


def run_of(section, folder, target, predicted, measured, split="test"):
    """A run folder as training leaves it, with these values at the spots of ``section``."""
    rng = np.random.default_rng(1)
    columns = {results.PREDICTED: predicted, results.MEASURED: measured}
    columns[results.BASELINES["mean RGB"]] = rng.random(predicted.shape)
    spots = pd.DataFrame({results.SPLIT: split, results.SOURCE: "out-of-fold", results.FOLD: 0, results.REASON: ""}, index=section.adata.obs_names)
    about = {"model": "quick", "split": "random spots", "unit": "log", "training_sections": [section.library_id]}
    result = results.result_at_spots(section, target, {name: one.astype(np.float32) for name, one in columns.items()}, spots, about)
    results.write_result(result, folder / "predictions" / "1.h5ad")
    write_json(folder / "metrics.json", {"sections": {section.library_id: evaluate(result)}})
    return folder


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    """Genes: the first is predicted well, the second not at all."""
    rng = np.random.default_rng(0)
    measured = rng.random((small.adata.n_obs, 2)) * 3
    predicted = np.column_stack([measured[:, 0] + 0.2 * rng.random(len(measured)), rng.random(len(measured))])
    return run_of(small, tmp_path_factory.mktemp("figures") / "genes", Target("genes", ("ESR1", "SPARC"), "2 genes"), predicted, measured)


@pytest.fixture(scope="module")
def cluster_run(small, tmp_path_factory):
    """Clusters: three of four spots are named right."""
    n = small.adata.n_obs
    truth = np.arange(n) % 3
    said = np.where(np.arange(n) % 4 == 0, (truth + 1) % 3, truth)
    target = Target("clusters", ("1", "2", "tumour & <stroma> $x$"), "3 clusters")
    return run_of(small, tmp_path_factory.mktemp("figures") / "clusters", target, np.eye(3)[said] * 0.8 + 0.1, np.eye(3)[truth])


def words_of(figure) -> str:
    """All that is written on a figure."""
    parts = [text.get_text() for text in figure.texts]
    for ax in figure.axes:
        parts += [ax.get_title(), ax.get_xlabel(), ax.get_ylabel(), *(text.get_text() for text in ax.texts)]
        parts += [label.get_text() for label in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    return " ".join(parts)


def drawn(section, run_dir=None, **values):
    """The figure of these settings, every spot kept."""
    return result_of(make(section, FigureSettings(**{"filter": LOOSE, "dpi": 60, **values}), run_dir))


@pytest.mark.parametrize("show", ["measured", "predicted", "difference", "mean RGB"])
def test_a_map_has_the_colours_of_make_view(small, run, show):
    """Discs are coloured as ``make_view`` says, and the figure says what they are."""
    settings = FigureSettings(kind="map", gene="ESR1", show=show, filter=LOOSE, dpi=60)
    material = result_of(gather(small, settings, run))
    maps = maps_of_run(run, small)
    keep = np.ones(small.adata.n_obs, dtype=bool)
    score = maps.score_of("ESR1")
    wanted = make_view("ESR1", show, maps.measured_of("ESR1"), maps.of("ESR1"), keep, ways=maps.ways_of("ESR1"), doubt=score.doubt, grey=True)
    assert np.array_equal(material.views[show].face, wanted.face)
    figure = drawn(small, run, kind="map", gene="ESR1", show=show)
    discs = figure.axes[0].collections[0]
    assert np.allclose(discs.get_facecolor(), wanted.face[wanted.face[:, 3] > 0], atol=1e-6)
    assert len(discs.get_offsets()) == small.adata.n_obs
    words = words_of(figure)
    assert "SYNTHETIC" in words
    assert "Research use only." in words
    assert ("r 1.00" in words or "r 0.99" in words) == (show != "measured")
    if show == "predicted":
        assert "out-of-fold" in words
    assert "um" in words or "mm" in words


def test_every_kind_says_what_has_to_stand_beside_it(small, run, cluster_run):
    """Scores stand with interval, n, split and baselines; tables with verdicts; clusters with how often they are right and the commonest."""
    scatter = words_of(drawn(small, run, kind="scatter", gene="SPARC"))
    for part in (
        "r =",
        "95 %",
        f"n = {small.adata.n_obs}",
        "not trained on",
        "random spots",
        "colour alone",
        "measured",
        "predicted",
        "Research use only.",
    ):
        assert part in scatter
    table = words_of(drawn(small, run, kind="table"))
    for part in ("ESR1", "SPARC", "verdict", "95 % interval", "colour alone", "better than every simple way", "SYNTHETIC", "random spots"):
        assert part in table
    left, right = (ax for ax in drawn(small, run, kind="side-by-side", gene="ESR1").axes if ax.get_aspect() == 1)
    assert left.get_position().width == pytest.approx(right.get_position().width)
    assert left.get_xlim() == right.get_xlim()
    clusters = words_of(drawn(small, cluster_run, kind="confusion"))
    assert "right at 75%" in clusters
    assert "commonest: 33%" in clusters or "commonest: 34%" in clusters
    assert "tumour & <stroma> $x$" in clusters  # no formula
    classes = words_of(drawn(small, cluster_run, kind="map", show="class"))
    assert "likeliest of 3, predicted (quick)" in classes
    assert "tumour & <stroma> $x$ (" in classes
    assert "right at 75%" in classes


def test_confusion_counts_only_spots_not_trained_on(small, cluster_run):
    """Rows are measured clusters; training spots are left out."""
    maps = maps_of_run(cluster_run, small)
    counts = counts_at_spots(maps)
    assert counts.sum() == small.adata.n_obs
    assert counts.trace() == (np.arange(small.adata.n_obs) % 4 != 0).sum()
    assert (counts.sum(axis=1) == np.bincount(np.arange(small.adata.n_obs) % 3)).all()
    trained = replace(maps, split=np.where(np.arange(small.adata.n_obs) < 50, "training", "test"))
    assert counts_at_spots(trained).sum() == small.adata.n_obs - 50
    assert not counts_at_spots(replace(maps, source=np.full(small.adata.n_obs, "training"))).any()


def test_a_long_table_says_what_it_leaves_out(small, run):
    """The first rows only, and how many there are."""
    assert "The first 1 of 2" in words_of(drawn(small, run, kind="table", rows=1))
    assert "The first" not in words_of(drawn(small, run, kind="table"))


def test_a_measured_map_needs_no_run(small, tmp_path):
    """Counts alone are drawn and written at the size asked for; what needs a run says so."""
    out = tmp_path / "measured.png"
    result_of(write(small, FigureSettings(kind="map", gene="SPARC", size_mm=(100, 80), dpi=127, filter=LOOSE), out))
    assert Image.open(out).size == (500, 400)
    assert not list(tmp_path.glob(".*"))
    assert "removed" in words_of(drawn(small, kind="map", show="removed")).casefold()
    with pytest.raises(SettingsError, match="Without a run"):
        drawn(small, kind="map", gene="SPARC", show="predicted")
    with pytest.raises(SettingsError, match="has no gene NOBODY"):
        drawn(small, kind="map", gene="NOBODY")
    assert "Clusters" in words_of(drawn(small, kind="map", show="clusters"))
    bare = replace(small, adata=small.adata.copy())
    bare.adata.obs = bare.adata.obs[["in_tissue", "array_row", "array_col"]]
    with pytest.raises(SettingsError, match="has no clusters"):
        drawn(bare, kind="map", show="clusters")


def test_text_is_text_and_the_same_figure_gives_the_same_bytes(small, run, tmp_path):
    """SVG and PDF hold letters, not outlines of letters; two drawings are equal byte for byte."""
    material = result_of(gather(small, FigureSettings(kind="scatter", gene="ESR1", filter=LOOSE), run))
    for ending in (".svg", ".pdf", ".png"):
        files = [tmp_path / f"{name}{ending}" for name in "ab"]
        for file in files:
            save(draw(material, FigureSettings(kind="scatter", gene="ESR1")), file, 60)
        assert files[0].read_bytes() == files[1].read_bytes()
    svg = (tmp_path / "a.svg").read_text()
    assert re.search(r"<text[^>]*>Run genes \(quick\)\..*Research use only\.</text>", svg)
    assert b"/FontFile2" in (tmp_path / "a.pdf").read_bytes()


def test_a_region_is_drawn_to_scale(small, run):
    """Row, column and width in um are the limits of the map; a place off the slide is refused."""
    row, column = small.centres_yx.mean(axis=0) * small.mpp
    ax = drawn(small, run, kind="map", gene="ESR1", region_um=(row, column, 400)).axes[0]
    assert ax.get_xlim() == pytest.approx((column - 200, column + 200))
    assert ax.get_ylim() == pytest.approx((row + 200, row - 200))
    with pytest.raises(SettingsError, match="outside the slide"):
        drawn(small, run, kind="map", gene="ESR1", region_um=(-5000, -5000, 400))


def test_what_cannot_be_is_refused_in_a_sentence(small, run, cluster_run):
    """Unknown kinds, shows, sizes and limits, a gene that is not predicted, clusters that are not there."""
    for values, words in (
        ({"kind": "poster"}, "no figure of kind"),
        ({"kind": "map", "gene": "A", "show": "tomorrow"}, "cannot show 'tomorrow'"),
        ({"kind": "map"}, "shows one gene"),
        ({"kind": "table", "size_mm": (10, 100)}, "40 to 1200 mm"),
        ({"kind": "table", "limits": (2, 1)}, "less than the upper"),
        ({"kind": "table", "dpi": 5}, "30 to 1200"),
    ):
        with pytest.raises(SettingsError, match=words):
            FigureSettings(**values)
    with pytest.raises(SettingsError, match="genes does not predict FN1"):
        drawn(small, run, kind="scatter", gene="FN1")
    with pytest.raises(SettingsError, match="predicts no clusters"):
        drawn(small, run, kind="confusion")
    with pytest.raises(SettingsError, match="too small"):
        drawn(small, run, kind="map", gene="ESR1", show="predicted", size_mm=(40, 40))


def test_words_fit_their_lines():
    """Lines are no wider than asked for, nothing is lost, and a word that is too long is broken."""
    text = "r 0.94 at 731 spots not trained on " * 8 + "x" * 300
    lines = broken(text, 60, 7)
    assert max(text_mm(line, 7) for line in lines) <= 60
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert short("tumour") == "tumour"
    assert len(short("a cluster with a name of very many letters")) <= 28
    page = make_page((90, 90), "title", ["word " * 60])
    assert page.body.bottom > 10


def test_points_between_spots_belong_to_their_outlines(small):
    """Other outlines that exclude make another store of points; those that only mark a place do not."""
    square = Outline(shapely.box(0, 0, 100, 100), EXCLUDE)
    plain = store_name(small.library_id, "between-spots", 0, [])
    assert plain == f"{small.library_id}-between-spots.zarr"
    assert store_name(small.library_id, "between-spots", 0, [replace(square, classification="Tumour")]) == plain
    first = store_name(small.library_id, "between-spots", 0, [square])
    assert first != plain
    assert store_name(small.library_id, "between-spots", 0, [replace(square, geometry=shapely.box(0, 0, 100, 101))]) not in (plain, first)


def test_the_command_line_asks_for_figures(phantom_dir, tmp_path, capsys):
    """A measured map without a run; wrong numbers and names are one sentence."""
    out = tmp_path / "map.png"
    arguments = ["figure", str(phantom_dir), "--kind", "map", "--gene", "SPARC", "--out", str(out), "--set", "white_percentile=100"]
    assert main([*arguments, "--size", "90x80", "--dpi", "60"]) == 0
    assert "SYNTHETIC" in capsys.readouterr().out
    assert out.stat().st_size > 10_000
    for more, words in (
        (["--size", "90"], "2 numbers"),
        (["--limits", "a,b"], "--limits a,b"),
        (["--kind", "scatter"], "needs a run"),
        (["--show", "x"], "cannot show"),
        (["--set", "min_umis=3"], "min_umis"),
        (["--out", "x.gif"], "a figure is"),
    ):
        assert main([*arguments, *more]) == 2
        assert words in capsys.readouterr().err
    assert read_show("neighbours alone") == "interpolation"
    assert read_show("likeliest-class") == "class"


def test_the_documents_commands_are_understood(monkeypatch):
    """Every command of docs/figures.md asks for a figure that there is."""
    from napari_deepspace import figures

    asked = []
    monkeypatch.setattr(figures, "write", lambda section, settings, out, run_dir: iter(asked.append((settings, run_dir)) or ()))
    monkeypatch.setattr("napari_deepspace.read.read_section", lambda *_, **__: type("Read", (), {"synthetic": False}))
    text = (Path(__file__).parents[2] / "docs" / "figures.md").read_text(encoding="utf-8")
    commands = re.findall(r"^napari-deepspace (figure .*)$", text, flags=re.MULTILINE)
    assert all(main(shlex.split(command)) == 0 for command in commands)
    assert {settings.kind for settings, _ in asked} == set(KINDS)
    assert [run_dir is None for _, run_dir in asked].count(True) == 3
