"""The built-in section: a SYNTHETIC slide with counts of known truth, written as a genuine Space Ranger 2 folder.

It is the demo's sample and the test bench of this program. Nothing in it was measured.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
import platformdirs
import tifffile
from PIL import Image
from scipy import sparse

from napari_deepspace.errors import DataError
from napari_deepspace.phantom_counts import GENES, Expression, draw_expression, gene_fields, shuffle
from napari_deepspace.phantom_paint import paint
from napari_deepspace.phantom_tissue import CELL_UM, MPP, PITCH_UM, SIDE_PX, SPOT_UM, Tissue, grow_tissue

VERSION = 1
"""Raised whenever the same seed gives another section."""

MARKER = "SYNTHETIC.txt"
_MARKER_TEXT = """This section is SYNTHETIC. Its slide was painted and its counts were drawn by napari-deepspace; nothing in it was measured,
no patient stands behind it, and its gene names are borrowed: how a gene behaves here says nothing about that gene in tissue.
Research use only.

seed: {seed}
shuffled genes: {shuffled}
version: {version}
"""


def make_phantom(folder: Path | None = None, seed: int = 0, shuffle_genes: bool = False) -> Path:
    """Write the synthetic section of ``seed``, or find it already written.

    Parameters
    ----------
    folder
        Where to; left out: a folder of its own in the cache (``NAPARI_DEEPSPACE_CACHE`` or the user's cache folder).
    seed
        The same seed gives the same slide and the same counts.
    shuffle_genes
        A control: the counts of good spots change places at random, so that nothing can be predicted from the slide.

    Returns
    -------
    Path
        The section's folder: ``outs/`` (Space Ranger 2), ``image.tif`` (pyramid, 0.75 um/px), ``truth/``, ``SYNTHETIC.txt``.

    Raises
    ------
    DataError
        ``folder`` holds something else.
    """
    if folder is None:
        name = f"seed-{seed}{'-shuffled' if shuffle_genes else ''}-v{VERSION}"
        folder = cache_folder() / "phantom" / name
    folder = Path(folder)
    marker = _MARKER_TEXT.format(seed=seed, shuffled="yes" if shuffle_genes else "no", version=VERSION)
    if _is_written(folder, marker):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_section(building, seed, shuffle_genes)
        (building / MARKER).write_text(marker, encoding="utf-8")
        building.chmod(0o755)
        if _is_written(folder, marker):  # another process was faster
            return folder
        if folder.exists():
            folder.rmdir()
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def cache_folder() -> Path:
    """``NAPARI_DEEPSPACE_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("NAPARI_DEEPSPACE_CACHE") or platformdirs.user_cache_dir("napari-deepspace"))


def _is_written(folder: Path, marker: str) -> bool:
    """Whether this very section lies in ``folder``; raises DataError if something else does."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if folder.is_dir() and (folder / MARKER).is_file() and (folder / MARKER).read_text(encoding="utf-8") == marker:
        return True
    raise DataError(f"{folder} holds something other than this synthetic section. Give an empty folder, or one that does not exist.")


def _write_section(folder: Path, seed: int, shuffle_genes: bool) -> None:
    from napari_deepspace.phantom_chance import hidden_fields, shuffled_orders  # loads torch, which a section already written does without

    tissue = grow_tissue(seed)
    write_pyramid(folder / "image.tif", paint(tissue))
    image = tifffile.imread(folder / "image.tif")  # as readers see it, compressed
    fields = gene_fields(tissue, hidden_fields(tissue, image))
    expression = draw_expression(tissue, fields)
    if shuffle_genes:
        totals = np.asarray(expression.counts.sum(1)).ravel()
        expression = shuffle(expression, *shuffled_orders(tissue, image, expression.counts[:, : len(GENES)].toarray(), totals))
    barcodes = _barcodes(seed, len(tissue.in_tissue))
    inside = [barcode for barcode, used in zip(barcodes, tissue.in_tissue, strict=True) if used]
    outs = folder / "outs"
    _write_matrix(outs, expression.counts, inside, expression.genes, f"phantom-seed-{seed}")
    _write_positions(outs / "spatial", tissue, barcodes, image)
    _write_clusters(outs, inside, expression.cluster)
    _write_truth(folder / "truth", tissue, expression, inside, shuffle_genes)
    _write_fields(folder / "truth", fields)


def _barcodes(seed: int, n: int) -> list[str]:
    """n different barcodes of 16 letters."""
    codes = np.random.default_rng([seed, 4]).choice(4**16, size=2 * n)
    unique = list(dict.fromkeys(int(code) for code in codes))[:n]
    return ["".join("ACGT"[code >> 2 * i & 3] for i in range(16)) + "-1" for code in unique]


def _write_matrix(outs: Path, counts: sparse.csr_matrix, barcodes: list[str], genes: tuple[str, ...], library: str) -> None:
    """``filtered_feature_bc_matrix.h5``, genes x barcodes, barcodes sorted, as Space Ranger writes it."""
    outs.mkdir(parents=True)
    order = np.argsort(barcodes)
    by_spot = counts[order]
    by_spot.sort_indices()

    def text(values: list[str]) -> np.ndarray:
        return np.array([value.encode() for value in values])

    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "w") as file:
        file.attrs.update(filetype="matrix", version=2, chemistry_description="synthetic", software_version="napari-deepspace phantom")
        file.attrs["library_ids"] = text([library])
        file.attrs["original_gem_groups"] = np.array([1])
        matrix = file.create_group("matrix")
        packed = {"compression": "gzip", "compression_opts": 4, "track_times": False}
        matrix.create_dataset("barcodes", data=text([barcodes[i] for i in order]), **packed)
        matrix.create_dataset("data", data=by_spot.data.astype(np.int32), **packed)
        matrix.create_dataset("indices", data=by_spot.indices.astype(np.int64), **packed)
        matrix.create_dataset("indptr", data=by_spot.indptr.astype(np.int64), **packed)
        matrix.create_dataset("shape", data=np.array([len(genes), len(barcodes)], np.int32))
        features = matrix.create_group("features")
        features.create_dataset("_all_tag_keys", data=text(["genome"]))
        features.create_dataset("id", data=text([f"SYNTHETIC{i:05d}" for i in range(1, len(genes) + 1)]), **packed)
        features.create_dataset("name", data=text(list(genes)), **packed)
        features.create_dataset("feature_type", data=text(["Gene Expression"] * len(genes)), **packed)
        features.create_dataset("genome", data=text(["synthetic"] * len(genes)), **packed)


def _write_positions(spatial: Path, tissue: Tissue, barcodes: list[str], image: np.ndarray) -> None:
    spatial.mkdir()
    with (spatial / "tissue_positions.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"])
        for barcode, used, (row, column), (y, x) in zip(barcodes, tissue.in_tissue, tissue.array_rc, tissue.centres_yx, strict=True):
            rows.writerow([barcode, int(used), row, column, round(y), round(x)])
    scales = {
        "spot_diameter_fullres": SPOT_UM / MPP,
        "fiducial_diameter_fullres": 1.615 * SPOT_UM / MPP,
        "tissue_hires_scalef": 2000 / SIDE_PX,
        "tissue_lowres_scalef": 600 / SIDE_PX,
    }
    (spatial / "scalefactors_json.json").write_text(json.dumps(scales), encoding="utf-8")
    whole = Image.fromarray(image)
    for name, side in (("hires", 2000), ("lowres", 600)):
        whole = whole.resize((side, side), Image.Resampling.BOX)
        whole.save(spatial / f"tissue_{name}_image.png", compress_level=3)


def _write_clusters(outs: Path, barcodes: list[str], cluster: np.ndarray) -> None:
    """Graph-based clusters, numbered from the largest as Space Ranger does."""
    folder = outs / "analysis" / "clustering" / "graphclust"
    folder.mkdir(parents=True)
    number = {int(kind): i + 1 for i, kind in enumerate(np.argsort(-np.bincount(cluster), kind="stable"))}
    rows = sorted(f"{barcode},{number[int(kind)]}" for barcode, kind in zip(barcodes, cluster, strict=True))
    (folder / "clusters.csv").write_text("Barcode,Cluster\n" + "\n".join(rows) + "\n", encoding="utf-8")


def write_pyramid(path: Path, image: np.ndarray) -> None:
    """A tiled pyramid (SubIFDs, JPEG) of uint8 (h, w, 3) ``image`` with its resolution and a note that it is synthetic."""
    levels = [image]
    while min(levels[-1].shape[:2]) > 512:
        h, w = (side // 2 * 2 for side in levels[-1].shape[:2])
        quads = levels[-1][:h, :w].reshape(h // 2, 2, w // 2, 2, 3)
        levels.append((quads.sum((1, 3), dtype=np.uint16) // 4).astype(np.uint8))
    with tifffile.TiffWriter(path) as file:
        for i, level in enumerate(levels):
            per_cm = 1e4 / MPP / 2**i
            file.write(
                level, photometric="rgb", tile=(256, 256), compression="jpeg", compressionargs={"level": 90}, subsampling=(1, 1),
                subfiletype=int(i > 0), subifds=len(levels) - 1 if i == 0 else None, metadata=None,
                resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
                description=f"SYNTHETIC H&E of napari-deepspace, no tissue. Research use only. mpp = {MPP}" if i == 0 else None,
            )  # fmt: skip


def _write_truth(folder: Path, tissue: Tissue, expression: Expression, barcodes: list[str], shuffled: bool) -> None:
    folder.mkdir()
    ceilings = expression.ceilings
    truth = {
        "synthetic": True,
        "version": VERSION,
        "seed": tissue.seed,
        "shuffled_genes": shuffled,
        "mpp": MPP,
        "pitch_um": PITCH_UM,
        "spot_diameter_um": SPOT_UM,
        "field_cell_um": 2 * CELL_UM,
        "genes": {
            gene: {"kind": kind, "log_share": parts, "ceiling_r": round(ceilings[gene], 4), "predictable": kind != "hidden" and not shuffled}
            for gene, (kind, parts) in GENES.items()
        },
        "outlines_yx_px": {name: np.round(outline, 2).tolist() for name, outline in tissue.outlines.items()},
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
    with (folder / "expected.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["barcode", *GENES])
        rows.writerows([barcode, *(f"{share:.7f}" for share in shares)] for barcode, shares in zip(barcodes, expression.expected, strict=True))


def _write_fields(folder: Path, fields: np.ndarray) -> None:
    """The named genes' noise-free share of all transcripts on a grid of 12 um."""
    n, side, _ = fields.shape
    coarse = fields.reshape(n, side // 2, 2, side // 2, 2).mean((2, 4), dtype=np.float32)
    np.savez_compressed(folder / "fields.npz", share=coarse, genes=np.array(list(GENES)), cell_um=2 * CELL_UM)
