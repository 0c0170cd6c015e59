"""How fast the next gene is on the screen, beside the usual way of napari plugins, and how fast a name is found. `make bench ARGS="-k looking"`.

"Usual" sets a column of ``features`` and colours the points by its name. Both ways end when the viewer has drawn; times are medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import zarr
from anndata import AnnData
from qtpy.QtWidgets import QApplication
from scipy import sparse

from napari_deepspace.layers import Maps, slide_layer, spots_layer

GENES = 24
MAP_SIDE = 2000
POINTS = 500_000  #: the usual way is tried with so many points in place of the map's four million


def median_ms(act: Callable[[int], object], times: int = 9) -> float:
    """Of ``times`` calls, after one that nobody counts."""
    found = []
    for number in range(times + 1):
        began = time.perf_counter()
        act(number)
        found.append(1000 * (time.perf_counter() - began))
    return float(np.median(found[1:]))


def drawn(viewer) -> None:
    """Draw what has changed, now."""
    QApplication.processEvents()
    viewer.window._qt_viewer.canvas._scene_canvas.native.update()
    QApplication.processEvents()


def many_spots(phantom, n: int):
    """The synthetic section with ``n`` spots on a square lattice over its slide."""
    side = int(np.ceil(np.sqrt(n)))
    rng = np.random.default_rng(0)
    adata = AnnData(sparse.random(n, 2000, density=0.1, format="csr", dtype=np.float32, random_state=0))
    adata.X.data = np.ceil(adata.X.data * 9)
    adata.var_names = [f"G{number}" for number in range(2000)]
    adata.obs_names = [f"S{number}" for number in range(n)]
    adata.obs = adata.obs.assign(in_tissue=True, array_row=np.arange(n) // side, array_col=np.arange(n) % side)
    adata.obsm["spatial"] = np.column_stack([np.arange(n) % side, np.arange(n) // side]) * (4500 / side) + rng.uniform(0, 2, (n, 2))
    return replace(phantom, adata=adata, lattice=None)


@pytest.mark.parametrize("n", [5_000, 50_000])
def test_looking_at_the_next_gene(make_napari_viewer, phantom, n):
    """Core and repaint: from the choice of a gene to its colours on the slide, measured and predicted in turn."""
    from napari_deepspace._napari.canvas import SPOTS, Canvas
    from napari_deepspace._napari.look_panel import LookPanel
    from napari_deepspace._napari.painting import Painter
    from napari_deepspace._napari.session import Loaded, Session
    from napari_deepspace.settings import FilterSettings

    viewer, session, section = make_napari_viewer(show=True), Session(), many_spots(phantom, n)
    canvas, panel = Canvas(viewer), LookPanel(session)
    painter = Painter(session, canvas, panel)
    canvas.show_section(section, [slide_layer(section), spots_layer(section)])
    session.filter = FilterSettings(min_umi=0, min_genes=0)
    session.loaded = Loaded.of(section)
    genes = tuple(section.adata.var_names[:GENES])
    values = np.random.default_rng(1).gamma(2, 1, (n, GENES)).astype(np.float32)
    session.maps = Maps(section.library_id, genes, values, np.full(n, "out-of-fold"), np.full(n, "test"))
    ways = {}
    for show in ("measured", "predicted"):

        def ours(number: int, show: str = show) -> None:
            session.show = show
            session.gene = genes[number % GENES]
            painter.paint()

        ways[show] = (median_ms(ours), median_ms(lambda number, ours=ours: (ours(number), drawn(viewer))))
    layer = canvas.layer(SPOTS)

    def usual(number: int) -> None:
        layer.features = layer.features.assign(**{genes[number % GENES]: values[:, number % GENES]})
        layer.face_color = genes[number % GENES]
        layer.face_contrast_limits = (0.0, 6.0)

    layer.face_colormap = "viridis"
    ways["usual"] = (median_ms(usual), median_ms(lambda number: (usual(number), drawn(viewer))))
    print(f"\n{n:,} spots, next gene, ms (with the draw in software OpenGL):")
    for name, (bare, whole_way) in ways.items():
        print(f"  {name:<10} {bare:7.1f} ({whole_way:7.1f})   usual / this: {ways['usual'][0] / bare:.1f} ({ways['usual'][1] / whole_way:.1f})")


def large_store(folder, phantom):
    """A denser map of 2,000 x 2,000 points: a small one of Quick, its points and embeddings repeated."""
    from napari_deepspace import fit
    from napari_deepspace.denser import CHUNK
    from napari_deepspace.events import result_of
    from napari_deepspace.learn.denser_write import write_denser
    from napari_deepspace.settings import RunSettings, SectionSettings

    settings = RunSettings(sections=(SectionSettings(path=phantom.path),), target={"names": ["ESR1", "SPARC", "COL5A2", "IFI27"]})
    model = fit(phantom, settings, folder / "run", progress=False)
    result_of(write_denser(model, phantom, folder / "map.zarr", "grid", 100.0))
    group = zarr.open_group(folder / "map.zarr", mode="a")
    stored = group["embedding"][:]
    stored = stored[np.isfinite(stored).all(axis=1)]
    n = MAP_SIDE**2
    cell = np.indices((MAP_SIDE, MAP_SIDE), dtype=np.int32).reshape(2, -1).T
    step = min(phantom.require_slide().shape[:2]) / MAP_SIDE
    for name, array in (
        ("cell", cell),
        ("centres_yx", cell * step),
        ("on_tissue", np.ones(n, dtype=bool)),
        ("embedding", stored[np.random.default_rng(0).integers(len(stored), size=n)]),
        ("distance", np.zeros(n, dtype=np.float16)),
        ("done", np.ones(-(-n // CHUNK), dtype=np.uint8)),
    ):
        group.create_array(name, data=array, chunks=(min(CHUNK, len(array)), *array.shape[1:]), overwrite=True)
    group.attrs.update({"shape": [MAP_SIDE, MAP_SIDE], "step_px": step, "origin_yx_px": [0.0, 0.0]})
    return folder / "map.zarr", settings.target.names


@pytest.mark.timeout(1800)
def test_looking_at_the_next_gene_of_a_map(make_napari_viewer, phantom, tmp_path):
    """Core (a gene's values from the store) and repaint of 2,000 x 2,000 points."""
    from napari.layers import Image
    from napari.utils.colormaps import Colormap

    from napari_deepspace.colour_scale import table
    from napari_deepspace.denser import open_denser, to_image, values
    from napari_deepspace.denser_layers import denser_layer

    folder, genes = large_store(tmp_path, phantom)
    dmap, viewer = open_denser(folder), make_napari_viewer(show=True)
    lut = table("viridis")
    found = values(dmap, genes[0])
    data, kwargs, _ = denser_layer(dmap, phantom, found)
    layer = viewer.add_layer(Image(data, **kwargs))

    def core(number: int) -> np.ndarray:
        return to_image(dmap, values(dmap, genes[number % len(genes)]))

    def repaint(number: int) -> None:
        layer.data = images[number % len(genes)]
        layer.colormap = Colormap(lut, name=str(number))
        layer.contrast_limits_range = layer.contrast_limits = (0.0, 3.0 + number)

    images = [core(number) for number in range(len(genes))]
    read, painted = median_ms(core, 5), median_ms(repaint)
    with_draw = median_ms(lambda number: (repaint(number), drawn(viewer)))
    rng = np.random.default_rng(0)
    points = viewer.add_points(rng.uniform(0, 4000, (POINTS, 2)), size=2)
    columns = rng.gamma(2, 1, (POINTS, len(genes))).astype(np.float32)

    def usual(number: int) -> None:
        points.features = points.features.assign(**{genes[number % len(genes)]: columns[:, number % len(genes)]})
        points.face_color = genes[number % len(genes)]
        points.face_contrast_limits = (0.0, 6.0)

    points.face_colormap = "viridis"
    other = median_ms(usual, 3)
    print(f"\nmap of {MAP_SIDE:,} x {MAP_SIDE:,} points, next gene: values from the store {read:.0f} ms (in a thread), repaint {painted:.1f} ms")
    print(f"  repaint with the draw in software OpenGL {with_draw:.0f} ms; usual way with only {POINTS:,} points {other:.0f} ms")
    print(f"  usual ({POINTS:,} points) / this (all {MAP_SIDE**2:,}): {other / (read + painted):.1f}; repaint alone {other / painted:.0f}")


def test_looking_for_a_gene(qtbot):
    """33,000 names, filtered as the dock's search does with every letter."""
    from napari_deepspace._napari.gene_search import GeneSearch

    rng = np.random.default_rng(0)
    letters = np.array(list("ABCDEFGHIKLMNOPRSTUVXYZ"))
    names = ["".join(rng.choice(letters, 3)) + str(number % 97) + letters[number % 23] for number in range(32_990)]
    names = [*dict.fromkeys(names), "ERBB2", "ERBB3", "ESR1", "MKI67", "CD274"]
    search = GeneSearch("…")
    qtbot.addWidget(search)
    search.set_names(names, [f"ENSG{number:011d}" for number in range(len(names))])
    search.show()
    found = []
    for text in ("E", "ER", "ERB", "ERBB", "ERBB2", "her2", "Ki-67", "PD-L1", "ENSG00000012", "zz", "A1", "K9", ""):
        found.append(median_ms(lambda _, text=text: (search.field.setText(text), QApplication.processEvents(), search.field.clear()), 5))
    print(f"\n{len(names):,} names: a filter and a clear take {np.median(found):.1f} ms (median), the slowest text {max(found):.1f} ms (goal: 16 ms)")
