"""A section as a file that scanpy, squidpy and napari-spatialdata open: .h5ad, or SpatialData .zarr."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
from anndata import AnnData

from napari_deepspace.errors import DataError
from napari_deepspace.read.spatialdata_zarr import write_spatialdata
from napari_deepspace.results import SOURCE, read_result
from napari_deepspace.section import Section

HIRES_PX, LOWRES_PX = 2000, 600
SAME_PLACE_PX = 2  #: up to which a spot of a result lies where the section has it


def convert(section: Section, out: Path, result: Path | None = None) -> Path:
    """Write counts, positions, clusters and a reduced slide of ``section`` to ``out`` (.h5ad or .zarr); returns it.

    With a ``result`` of the section, its predictions go along in their own slots (docs/results-format.md), points between spots too.

    ``uns["spatial"][library_id]`` has what squidpy expects: ``images`` (hires of at most 2000 px, lowres 600), ``scalefactors``, and ``metadata``
    (um_per_px, synthetic, platform), from which :func:`read_section` knows the section again. Written beside and renamed: never half a file.

    Raises
    ------
    DataError
        Another ending, ``out`` is there already or cannot be written, the extra [spatialdata] is missing, or the result is of another section.
    ModelError
        ``result`` holds no predictions.
    """
    if out.suffix not in (".h5ad", ".zarr"):
        raise DataError(f"{out}: the ending says what is written. Give a name that ends in .h5ad or .zarr.")
    if os.path.lexists(out):
        raise DataError(f"{out} is there already. Give another name, or remove it first.")
    adata = section.adata.copy() if result is None else _result_of(section, result)
    adata.obs["library_id"] = section.library_id
    adata.obs["library_id"] = adata.obs["library_id"].astype("category")
    stated = section.adata.uns["spatial"][section.library_id]["scalefactors"]
    factors = {key: value for key, value in stated.items() if not key.startswith(("tissue_", "regist_"))}
    factors["spot_diameter_fullres"] = section.spot_diameter_px
    images: dict[str, np.ndarray] = {}
    if section.slide is not None:
        for kind, size in (("hires", HIRES_PX), ("lowres", LOWRES_PX)):
            images[kind] = section.slide.thumbnail(size)
            factors[f"tissue_{kind}_scalef"] = images[kind].shape[0] / section.slide.shape[0]
    metadata = {"um_per_px": section.mpp, "synthetic": section.synthetic, "platform": dataclasses.asdict(section.platform)}
    adata.uns["spatial"] = {section.library_id: {"images": images, "scalefactors": factors, "metadata": metadata}}
    beside = out.with_name(f".{out.stem}.{os.getpid()}{out.suffix}")
    try:
        if out.suffix == ".h5ad":
            adata.write_h5ad(beside, compression="gzip")
        else:
            write_spatialdata(adata, images.get("hires"), factors.get("tissue_hires_scalef", 1.0), section.spot_diameter_px / 2, beside)
        os.replace(beside, out)
    except OSError as error:
        raise DataError(f"{out} cannot be written ({error}). Choose another folder, or free space there.") from error
    finally:
        shutil.rmtree(beside) if beside.is_dir() else beside.unlink(missing_ok=True)
    return out


def _result_of(section: Section, path: Path) -> AnnData:
    """The result at ``path``, once its spots are known to be those of ``section``, at the same places."""
    result = read_result(path)
    spots = np.asarray(result.obs[SOURCE] != "between")
    names = result.obs_names[spots]
    if not len(names) or not names.isin(section.adata.obs_names).all():
        raise DataError(f"{path}: its {len(names)} spots are not those of {section.library_id}. Give the section that was predicted.")
    apart = np.abs(result[names].obsm["spatial"] - section.adata[names].obsm["spatial"]).max()
    if apart > SAME_PLACE_PX:
        raise DataError(
            f"{path}: its spots lie up to {apart:.0f} px from those of {section.library_id}. "
            "Give the section that was predicted, with the same slide at the same resolution."
        )
    return result
