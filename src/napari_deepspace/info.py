"""What a section holds, in words."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd

from napari_deepspace.orientation import agreement, check_orientation, then
from napari_deepspace.preprocess.filters import filter_spots, spot_table
from napari_deepspace.read.several import sections_in
from napari_deepspace.section import Section
from napari_deepspace.settings import FilterSettings, Orientation


def describe(section: Section) -> dict[str, Any]:
    """Facts about a section, fit for JSON: sizes, scale, medians, what the usual filter of counts keeps, notes of the reader."""
    adata, platform = section.adata, section.platform
    several = sections_in(section.path) if section.path is not None else []
    facts: dict[str, Any] = {
        "library_id": section.library_id,
        **({"sections_in_file": several} if len(several) > 1 else {}),
        "synthetic": section.synthetic,
        "platform": f"{platform.name}: {platform.spot_diameter_um:g} um spots, {platform.pitch_um:g} um pitch, {platform.lattice}",
        "spots": adata.n_obs,
        "genes": adata.n_vars,
        "image": str(section.image_path) if section.image_path else None,
        "image_px": list(section.slide.shape) if section.slide else None,
        "levels": len(section.slide.levels) if section.slide else 0,
        "um_per_px": round(section.mpp, 4),
        "um_per_px_from": section.mpp_from,
        "orientation": section.orientation,
        "spot_diameter_px": round(section.spot_diameter_px, 1),
        "patient": section.patient,
        "block": section.block,
    }
    if adata.n_vars:
        verdict = filter_spots(spot_table(adata), FilterSettings())
        facts |= {
            "median_umi": float(verdict.spots["umi"].median()),
            "median_genes": float(verdict.spots["n_genes"].median()),
            "spots_kept": int(verdict.keep.sum()),
            "spots_dropped": {str(reason): int(n) for reason, n in pd.Series(verdict.reasons[~verdict.keep]).value_counts().items()},
        }
    clusters = [name for name in ("given_cluster", "graphclust", "cluster") if name in adata.obs]
    if section.slide is not None:
        check = check_orientation(section)
        facts["orientation_check"] = check.words or (
            f"the image lies as it should: {agreement(check.fits[0])}" if check.told else "not checked: there are too few spots"
        )
        if check.better is not None:
            facts["orientation_that_fits"] = then(cast(Orientation, section.orientation), check.better)
    facts |= {
        "in_tissue": int(adata.obs["in_tissue"].sum()),
        "clusters": {name: int(adata.obs[name].nunique()) for name in clusters},
        "embeddings": sorted(str(name) for name in adata.obsm if name != "spatial"),
        "missing": missing(section),
        "notes": list(section.notes),
    }
    return facts


def missing(section: Section) -> list[str]:
    """What the section lacks, each with what cannot be done without it."""
    lacks = {
        "count matrix: no genes to paint, train on or compare with (filtered_feature_bc_matrix.h5)": section.adata.n_vars == 0,
        "full-resolution H&E: no slide to look at or predict from (--image FILE)": section.slide is None,
        "clusters: `napari-deepspace preprocess` computes them": section.adata.n_vars > 0
        and not {"given_cluster", "graphclust", "cluster"} & set(section.adata.obs),
    }
    return [what for what, is_missing in lacks.items() if is_missing]
