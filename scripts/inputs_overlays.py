"""A contact sheet of the real sections beside the project: the spots on the slide, or on the reduced image where there is no slide."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import wrap

import matplotlib as mpl
import numpy as np
from PIL import Image

from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.orientation import check_image
from napari_deepspace.read import read_section
from napari_deepspace.read.files import first_existing
from napari_deepspace.read.spaceranger import find_outs

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.collections import EllipseCollection

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SECTIONS = {
    "her2st/B4": "", "her2st/C2": "", "her2st/C3": "", "her2st/C4": "",
    "her2st_as_visium/C3/outs": "her2st/C3/image.jpg", "her2st_as_visium/C4/outs": "her2st/C4/image.jpg",
    "visium_v2_cytassist_mouse": "", "visium_v1_ratlung_nocounts": "", "visium_v2_cytassist_mousebrain_nocounts": "",
    "visium_small_v1_and_hd/visium": "",
    "visium_small_v1_and_hd/visium_hd/binned_outputs/square_008um": "", "visium_small_v1_and_hd/visium_hd/binned_outputs/square_016um": "",
    "visium_tiny_multi/10xVisium/section1": "", "visium_tiny_multi/10xVisium/section2": "", "visium_tiny_multi/binned_outputs/square_002um": "",
}  # fmt: skip
SIDE_PX = 900


def overview(section, folder: Path) -> tuple[np.ndarray, float, str]:
    """A small image, its share of full resolution, and what it is."""
    if section.slide is not None:
        image = section.slide.thumbnail(SIDE_PX)
        return image, image.shape[0] / section.slide.shape[0], "slide"
    spatial = (find_outs(folder) or folder) / "spatial"
    found = first_existing(*(spatial / f"tissue_{kind}_image.png" for kind in ("hires", "lowres")))
    factors = section.adata.uns["spatial"][section.library_id]["scalefactors"]
    if found is None:
        return np.full((SIDE_PX, SIDE_PX, 3), 255, dtype=np.uint8), SIDE_PX / section.centres_yx.max(), "no image"
    image, share = np.asarray(Image.open(found).convert("RGB")), factors[found.stem.removesuffix("_image") + "_scalef"]
    return image, share, f"no slide: {found.name}"


def draw(axes, name: str) -> None:
    """One section, or why it cannot be opened."""
    axes.set_axis_off()
    try:
        section = read_section(DATA / name, DATA / SECTIONS[name] if SECTIONS[name] else None)
    except DeepSpaceError as error:
        words = "\n".join(wrap(str(error).replace(str(DATA), "…"), 60))
        axes.text(0.5, 0.5, words, ha="center", va="center", fontsize=6, transform=axes.transAxes)
        axes.set_title("\n".join(wrap(name, 48)), fontsize=7)
        return
    image, share, kind = overview(section, DATA / name)
    axes.imshow(image)
    tissue = section.adata.obs["in_tissue"].to_numpy(dtype=bool)
    places, size = section.centres_yx[tissue][:, ::-1] * share, section.spot_diameter_px * share
    look = {"facecolors": "none", "edgecolors": "#0050ff", "linewidths": 0.4}
    axes.add_collection(EllipseCollection(size, size, 0, units="xy", offsets=places, transOffset=axes.transData, **look))
    flat = image.std() < 2
    said = "" if flat or not len(places) else f"\n{check_image(section, image, share).words[:60]}"
    converted = "CONVERTED, " if "as_visium" in name else ""
    size_words = f"{converted}{section.adata.n_obs:,} x {section.adata.n_vars:,}, {kind}{' (black)' if flat else ''}{said}"
    axes.set_title("\n".join([*wrap(name, 48), size_words]), fontsize=7)


def main(folder: Path) -> None:
    figure, grid = plt.subplots(4, 4, figsize=(14, 15.5))
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.95, 0.06, 0.22)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, SECTIONS, strict=False):
        draw(axes, name)
    figure.savefig(folder / "inputs.png", dpi=100)


if __name__ == "__main__":
    if DATA.is_dir():
        main(Path(sys.argv[1]))
