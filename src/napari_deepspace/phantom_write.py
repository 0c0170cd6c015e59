"""Writing the phantom's files, in a process of its own:

``python -m napari_deepspace.phantom_write FOLDER SEED [shuffled] [without-failure] [A|B|C]``, or ``FOLDER SEED ihc LAID`` (JSON)."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import tifffile
from PIL import Image
from scipy import sparse

from napari_deepspace.phantom import SECTIONS, VERSION
from napari_deepspace.phantom_block import cut_of
from napari_deepspace.phantom_chance import hidden_fields, tile_looks
from napari_deepspace.phantom_counts import GENES, Expression, draw_expression, gene_fields, shuffle
from napari_deepspace.phantom_ihc import MPP_IHC, Laid, ihc_tissue, paint_ihc, share_of, warped
from napari_deepspace.phantom_paint import paint
from napari_deepspace.phantom_tissue import CELL_UM, GRID, MPP, PITCH_UM, SIDE_PX, SPOT_UM, Tissue, grow_tissue


def write_section(folder: Path, seed: int, shuffle_genes: bool, failed_region: bool, of_series: str | None = None) -> None:
    """Grow, paint and draw the section of ``seed`` into the empty ``folder``; ``of_series`` names one of the sections of its block."""
    tissue = grow_tissue(seed, failed_region, None if of_series is None else cut_of(seed, of_series))
    write_pyramid(folder / "image.tif", paint(tissue))
    image = tifffile.imread(folder / "image.tif")  # as readers see it, compressed
    fields = gene_fields(tissue, hidden_fields(tissue, tile_looks(tissue, image)))
    expression = draw_expression(tissue, fields)
    if shuffle_genes:
        expression = shuffle(expression, shuffled_order(tissue))
    barcodes = _barcodes(seed, len(tissue.in_tissue))
    inside = [barcode for barcode, used in zip(barcodes, tissue.in_tissue, strict=True) if used]
    outs = folder / "outs"
    _write_matrix(outs, expression.counts, inside, expression.genes, f"phantom-seed-{seed}")
    _write_positions(outs / "spatial", tissue, barcodes, image)
    _write_clusters(outs, inside, expression.cluster)
    _write_truth(folder / "truth", tissue, expression, inside, shuffle_genes)
    _write_fields(folder / "truth", fields)
    if tissue.cut is not None:
        _write_aligned(folder / "spatial_aligned.csv", barcodes, tissue.cut.to_frame_um(tissue.centres_yx))


def write_ihc(folder: Path, seed: int, laid: Laid) -> None:
    """Paint the IHC of the section next to that of ``seed`` into the empty ``folder``, as ``laid`` on its slide."""
    tissue = ihc_tissue(seed, laid.gap_um)
    image, dab = paint_ihc(tissue)
    write_pyramid(folder / "ihc.tif", warped(image, laid), MPP_IHC, "IHC (haematoxylin, DAB)")
    (folder / "truth").mkdir()
    truth = {"synthetic": True, "version": VERSION, "seed": seed, "protein": "ESR1", "mpp": MPP_IHC, "field_cell_um": 2 * CELL_UM, **laid.truth()}
    (folder / "truth" / "truth.json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
    coarse = [field.reshape(GRID // 2, 2, GRID // 2, 2).mean((1, 3), dtype=np.float32) for field in (share_of(tissue), dab)]
    np.savez_compressed(folder / "truth" / "fields.npz", share=coarse[0], dab=coarse[1], cell_um=2 * CELL_UM)


def shuffled_order(tissue: Tissue) -> np.ndarray:
    """A random order of the spots in tissue, (n_in_tissue,); spots that fail the filter keep their place, so that the filter drops the same ones."""
    order = np.arange(int(tissue.in_tissue.sum()))
    scored = np.flatnonzero(tissue.scored[tissue.in_tissue])
    order[scored] = tissue.rng(3).permutation(scored)
    return order


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


def write_pyramid(path: Path, image: np.ndarray, mpp: float = MPP, what: str = "H&E") -> None:
    """A tiled pyramid (SubIFDs, JPEG) of uint8 (h, w, 3) ``image`` with its resolution (um per px) and a note that it is synthetic."""
    levels = [image]
    while min(levels[-1].shape[:2]) > 512:
        h, w = (side // 2 * 2 for side in levels[-1].shape[:2])
        quads = levels[-1][:h, :w].reshape(h // 2, 2, w // 2, 2, 3)
        levels.append((quads.sum((1, 3), dtype=np.uint16) // 4).astype(np.uint8))
    with tifffile.TiffWriter(path) as file:
        for i, level in enumerate(levels):
            per_cm = 1e4 / mpp / 2**i
            file.write(
                level, photometric="rgb", tile=(256, 256), compression="jpeg", compressionargs={"level": 90}, subsampling=(1, 1),
                subfiletype=int(i > 0), subifds=len(levels) - 1 if i == 0 else None, metadata=None,
                resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
                description=f"SYNTHETIC {what} of napari-deepspace, no tissue. Research use only. mpp = {mpp}" if i == 0 else None,
            )  # fmt: skip


def _write_aligned(path: Path, barcodes: list[str], frame_um: np.ndarray) -> None:
    rows = [f"{barcode},{x:.2f},{y:.2f}" for barcode, (x, y) in zip(barcodes, frame_um, strict=True)]
    path.write_text("barcode,x,y\n" + "\n".join(rows) + "\n", encoding="utf-8")


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
    if tissue.cut is not None:
        truth |= {"section": tissue.cut.name, "px_xy_to_frame_um": tissue.cut.matrix.tolist()}
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


def main(arguments: list[str]) -> int:
    """Exit code 2 with one line where the disk is at fault."""
    folder, seed, *options = arguments
    try:
        if options[:1] == ["ihc"]:
            write_ihc(Path(folder), int(seed), Laid(**json.loads(options[1])))
            return 0
        of_series = next((name for name in SECTIONS if name in options), None)
        write_section(Path(folder), int(seed), "shuffled" in options, "without-failure" not in options, of_series)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
