"""Small synthetic sections on disk, in every layout that is read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import psutil
import tifffile
from PIL import Image
from scipy import sparse
from scipy.io import mmwrite

PITCH_PX = 40
GENES = ["SPARC", "MATR3", "MATR3", "ESR1", "CD3"]
HEIGHT, WIDTH = 600, 700


def lattice() -> pd.DataFrame:
    """A small hexagonal lattice; the spots of its first column are not in tissue."""
    rows = [
        (f"{'ACGT'[row % 4]}{'ACGT'[column % 4]}{row:02d}{column:02d}-1", int(column > 1), row, column)
        for row in range(10)
        for column in range(row % 2, 24, 2)
    ]
    table = pd.DataFrame(rows, columns=["barcode", "in_tissue", "array_row", "array_col"])
    table["pxl_row_in_fullres"] = 60 + table["array_row"] * PITCH_PX * np.sqrt(3) / 2
    table["pxl_col_in_fullres"] = 80 + table["array_col"] * PITCH_PX / 2
    return table


def counts_of(n_spots: int) -> np.ndarray:
    counts = np.random.default_rng(0).poisson(1.5, (n_spots, len(GENES)))
    counts[:, 0] += 1
    return counts


def write_h5(path: Path, barcodes: list[str], counts: np.ndarray, types: list[str] | None = None) -> None:
    matrix = sparse.csr_matrix(counts)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, dtype="S")
        group["data"], group["indices"], group["indptr"] = matrix.data, matrix.indices, matrix.indptr
        group["shape"] = np.array(matrix.shape[::-1])
        features = group.create_group("features")
        features["name"] = np.array(GENES, dtype="S")
        features["id"] = np.array([f"ENSG{number}" for number in range(len(GENES))], dtype="S")
        features["feature_type"] = np.array(types or ["Gene Expression"] * len(GENES), dtype="S")


def write_mtx(folder: Path, barcodes: list[str], counts: np.ndarray, packed: bool = True, named_gz: bool = True) -> None:
    folder.mkdir()
    mmwrite(folder / "m.mtx", sparse.coo_matrix(counts.T), field="integer")
    texts = {
        "matrix.mtx": (folder / "m.mtx").read_bytes(),
        "barcodes.tsv": "".join(f"{barcode}\n" for barcode in barcodes).encode(),
        "features.tsv": "".join(f"ENSG{number}\t{name}\tGene Expression\n" for number, name in enumerate(GENES)).encode(),
    }
    (folder / "m.mtx").unlink()
    for name, text in texts.items():
        (folder / (name + ".gz" * named_gz)).write_bytes(gzip.compress(text) if packed else text)


def write_outs(outs: Path, version: int = 2, matrix: str = "h5") -> Path:
    """A small Space Ranger folder of version 1 or 2 with its slide beside it; synthetic."""
    table = lattice()
    (outs / "spatial").mkdir(parents=True)
    name = "tissue_positions.csv" if version == 2 else "tissue_positions_list.csv"
    table.round(0).astype({"pxl_row_in_fullres": int, "pxl_col_in_fullres": int}).to_csv(outs / "spatial" / name, index=False, header=version == 2)
    scales = {"spot_diameter_fullres": 26.0, "tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1, "fiducial_diameter_fullres": 42.0}
    (outs / "spatial" / "scalefactors_json.json").write_text(json.dumps(scales))
    image = Image.fromarray(np.random.default_rng(1).integers(100, 250, (HEIGHT, WIDTH, 3)).astype(np.uint8))
    image.resize((WIDTH // 2, HEIGHT // 2)).save(outs / "spatial" / "tissue_hires_image.png")
    tifffile.imwrite(outs.parent / "image.tif", np.asarray(image), photometric="rgb", tile=(128, 128))
    barcodes = table.loc[table["in_tissue"] == 1, "barcode"].tolist()
    if matrix == "h5":
        write_h5(outs / "filtered_feature_bc_matrix.h5", barcodes, counts_of(len(barcodes)))
    elif matrix == "mtx":
        write_mtx(outs / "filtered_feature_bc_matrix", barcodes, counts_of(len(barcodes)))
    clusters = outs / "analysis" / "clustering" / ("gene_expression_graphclust" if version == 2 else "graphclust")
    clusters.mkdir(parents=True)
    pd.DataFrame({"Barcode": barcodes[1:], "Cluster": [number % 11 + 1 for number in range(len(barcodes) - 1)]}).to_csv(
        clusters / "clusters.csv", index=False
    )
    return outs


def write_st(folder: Path) -> Path:
    """A small legacy ST folder; synthetic."""
    folder.mkdir()
    spots = pd.DataFrame([(x, y) for x in range(3, 9) for y in range(2, 8)], columns=["x", "y"])
    spots["pixel_x"], spots["pixel_y"], spots["selected"] = spots["x"] * 60.25, spots["y"] * 60.25, 1
    spots.to_csv(folder / "spots.tsv", sep="\t", index=False)
    names = [f"{x}x{y}" for x, y in zip(spots["x"], spots["y"], strict=True)][1:]
    names.append("99x99")
    counts = pd.DataFrame(counts_of(len(names)), index=names, columns=["SPARC", "MATR3", "ESR1", "CD3", "LUM"])
    counts.to_csv(folder / "counts.tsv.gz", sep="\t")
    clusters = spots[5:].assign(label=3, warped_x=lambda t: t["pixel_x"] + 10, warped_y=lambda t: t["pixel_y"] - 5)
    clusters.to_csv(folder / "cluster_annotation.tsv.gz", sep="\t")
    Image.fromarray(np.full((600, 650, 3), 200, dtype=np.uint8)).save(folder / "image.jpg")
    return folder


def open_files(folder: Path) -> list[str]:
    return [file.path for file in psutil.Process().open_files() if file.path.startswith(str(folder))]
