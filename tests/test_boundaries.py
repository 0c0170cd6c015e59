"""Who may import whom, and what an import may load."""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "napari_deepspace"
GUI = ("napari", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "magicgui", "superqt", "vispy", "pyqtgraph")

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "events", "settings", "presets", "runs", "run_queue", "awake", "verdicts", "colour_scale", "cluster_colours"),
    ("slide_formats", "slide_readers", "slide_flat", "slide_cache", "slide"),
    ("annotating", "geojson", "outlines", "outline_history", "section", "seal", "causes"),
    (
        "align",
        "cells",
        "figure_settings",
        "gene_names",
        "gene_scores",
        "gene_sets",
        "geojson_tiles",
        "glossary",
        "project_format",
        "data_files",
        "project",
        "outline_files",
        "results",
        "tiles",
        "stain",
        "layers",
        "views",
        "orientation",
        "read",
        "preprocess",
        "info",
        "convert",
        "target",
        "neighbours",
        "neighbour_layers",
        "neighbour_fit",
        "neighbour_stack",
        "points",
        "scaling",
        "run_list",
        "run_comparison",
        "run_maps",
        "spot_facts",
        "disagreements",
        "model_view",
        "look_alikes",
    ),
    ("figure_parts",),
    ("analyse", "denser"),
    ("comparison", "denser_layers", "neighbour_measure", "painted", "proposed_outlines"),
    ("figure_material",),
    ("figure_maps", "figure_plots"),
    ("learn",),
    (
        "align_command",
        "blocking",
        "figure_sources",
        "figures",
        "geojson_command",
        "impute_command",
        "phantom",
        "predict_command",
        "preprocess_command",
        "quantify_command",
        "recipes",
        "region_command",
        "seal_command",
        "search",
        "spot_command",
        "students",
        "train_command",
    ),
    ("cli_options", "cli_print"),
    ("cli_align", "cli_figure", "cli_outlines", "cli_predict", "cli_quantify", "cli_regions", "cli_section", "cli_spot"),
    ("cli", "_napari"),
)
"""Lower parts first; a part may import from its own line and from lines above it here, and from nothing below."""

FORBIDDEN = (("learn", "read"), ("cli", "_napari"), ("analyse", "learn"))
"""(importer, imported) beyond the order: ``learn`` and ``analyse`` are handed what they work on; ``cli`` opens napari within its commands only."""


def part_of(module: str) -> str:
    """``napari_deepspace.learn.model`` -> ``learn``; the helpers of phantom, search and students belong to them."""
    name = module.removeprefix("napari_deepspace").lstrip(".").split(".")[0]
    return next((whole for whole in ("phantom", "search", "students") if name.startswith(whole)), name)


def imports_of(path: Path, module_level: bool) -> set[str]:
    """The modules that a file imports, absolute; with ``module_level`` only those imported when it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = {id(inner) for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for inner in ast.walk(node)}
    type_checking = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    typing_only = {id(inner) for node in type_checking for inner in ast.walk(node)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if module_level and id(node) in functions | typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            # `from napari_deepspace import results` names a module, `from napari_deepspace.slide import Slide` does not
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "napari_deepspace" else {str(node.module)}
    return found


FILES = sorted(SOURCE.rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(("napari_deepspace", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def test_every_module_has_its_place():
    """Each module of the package stands in the order of who may import whom, and none stands there that does not exist."""
    parts = {part_of(module_name(path)) for path in FILES} - {"", "__main__"}
    placed = {part for line in LAYERS for part in line}
    assert parts == placed


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_point_down_only(path):
    """A module imports from its own level or below, and the forbidden pairs never."""
    importer = part_of(module_name(path))
    rank = {part: number for number, line in enumerate(LAYERS) for part in line}
    own = {module for module in imports_of(path, module_level=False) if module.split(".")[0] == "napari_deepspace"}
    at_import = imports_of(path, module_level=True)
    for module in own:
        imported = part_of(module)
        if imported not in rank or importer not in rank:  # the package's own names, such as __version__
            continue
        assert rank[imported] <= rank[importer], f"{importer} imports {module}"
        if (importer, imported) == ("cli", "_napari"):
            assert module not in at_import, "cli imports _napari within its commands only"
        else:
            assert (importer, imported) not in FORBIDDEN, f"{importer} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_only_the_dock_imports_napari_and_only_learn_imports_torch(path):
    """Qt and napari are imported in ``_napari`` alone; torch at module level in ``learn`` alone, and never in the dock."""
    importer = part_of(module_name(path))
    everywhere = {module.split(".")[0] for module in imports_of(path, module_level=False)}
    at_import = {module.split(".")[0] for module in imports_of(path, module_level=True)}
    if importer != "_napari":
        assert not everywhere & set(GUI)
    if importer != "learn":
        assert not at_import & {"torch", "torchvision"}
    if importer == "_napari":
        slow = {"torch", "torchvision", "scanpy", "albumentations"}
        assert not everywhere & slow, "training and prediction run in the child process"


def run_python(code: str) -> str:
    """Run ``code`` in a process of its own; returns what it prints."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


BLOCK_GUI = f"""
    import sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in {GUI!r}:
                raise ImportError(f"{{name}} is not installed here")

    sys.meta_path.insert(0, Blocker())
"""


def test_the_core_imports_without_napari_and_qt():
    """Every module but the dock's imports in a process where napari and Qt cannot be imported, and so does every public name."""
    modules = [module_name(path) for path in FILES if part_of(module_name(path)) not in ("_napari", "__main__")]
    code = f"""
    import importlib
    for module in {modules!r}:
        importlib.import_module(module)
    import napari_deepspace
    for name in napari_deepspace.__all__:
        getattr(napari_deepspace, name)
    print(sorted(set({GUI!r}) & set(sys.modules)))
    """
    assert run_python(BLOCK_GUI + code).strip() == "[]"


def test_the_blocker_blocks():
    """The process of the test above really cannot import napari or Qt."""
    code = """
    for name in ("napari", "qtpy.QtCore"):
        try:
            __import__(name)
        except ImportError:
            print("blocked", name)
    """
    assert run_python(BLOCK_GUI + code).split("\n")[:2] == ["blocked napari", "blocked qtpy.QtCore"]


def test_importing_the_package_is_light():
    """``import napari_deepspace`` alone loads neither torch nor Qt, nor anything else that is slow."""
    code = """
    import sys
    import napari_deepspace
    heavy = {"torch", "torchvision", "scanpy", "anndata", "numpy", "pandas", "albumentations", "cv2", *GUI}
    print(sorted(heavy & set(sys.modules)))
    """.replace("GUI", repr(GUI))
    assert run_python(code).strip() == "[]"


def test_importing_the_dock_is_light():
    """The dock opens without torch, torchvision, scanpy or albumentations."""
    code = """
    import sys
    import napari_deepspace._napari.dock
    print(sorted({"torch", "torchvision", "scanpy", "albumentations"} & set(sys.modules)))
    """
    assert run_python(code).strip() == "[]"


@pytest.mark.acceptance
def test_the_core_trains_without_napari_and_qt(phantom_dir, tmp_path):
    """Reading, training Quick and a network, predicting and scoring run where napari and Qt cannot be imported."""
    code = f"""
    import dataclasses
    from napari_deepspace import evaluate, fit, predict, read_section
    from napari_deepspace.settings import run_settings

    section = read_section({str(phantom_dir)!r})
    section = dataclasses.replace(section, adata=section.adata[:150].copy())
    network = dict(kind="network", backbone="mobilenet_v3_small", weights="scratch", tile_px=32, epochs=1)
    for number, model in enumerate([dict(kind="quick"), network]):
        split = dict(kind="random", folds=2)
        settings = run_settings(dict(sections=[dict(path={str(phantom_dir)!r})], target=dict(names=["ESR1"]), model=model, split=split))
        trained = fit(section, settings, f"{tmp_path}/{{number}}", progress=False)
        print(evaluate(predict(trained, section, progress=False))["n_spots"])
    print(sorted(set({GUI!r}) & set(sys.modules)))
    """
    *scored, imported = run_python(BLOCK_GUI + code).split("\n")[:3]
    assert all(int(n) > 50 for n in scored)
    assert imported == "[]"
