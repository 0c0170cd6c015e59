"""A stain against expression: SYNTHETIC IHC whose truth is known, and slides of another patient, which must not be significant. `make acceptance`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import pearsonr

from napari_deepspace import fit, read_section
from napari_deepspace.align.automatic import align_slides
from napari_deepspace.align.quantify import quantify
from napari_deepspace.align.transform import AlignedSlide, Alignment, Transform
from napari_deepspace.analyse.agreement import picture_p
from napari_deepspace.blocking import drain
from napari_deepspace.geojson import stamp_of
from napari_deepspace.phantom import make_phantom, make_phantom_ihc
from napari_deepspace.phantom_tissue import disc_means
from napari_deepspace.quantify_command import gene_rows, quantify_spots
from napari_deepspace.settings import run_settings
from napari_deepspace.slide import open_slide
from napari_deepspace.spot_command import known_of

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("automatic", [False, True], ids=["known transform", "automatic alignment"])
def test_ihc_truth_is_found_again(seed, automatic, tmp_path):
    """Predicted ESR1 against the stain gives r within 0.05 of that of the true ESR1, at the same spots."""
    folder, ihc_folder = make_phantom(seed=seed), make_phantom_ihc(seed=seed)
    section = read_section(folder)
    run = tmp_path / "run"
    drain(fit([section], run_settings({"sections": [{"path": str(folder)}], "target": {"names": ["ESR1", "SPARC"]}}), run), False)
    truth = json.loads((ihc_folder / "truth" / "truth.json").read_text())
    with open_slide(ihc_folder / "ihc.tif") as ihc:
        if automatic:
            found_alignment = drain(align_slides(section.require_slide(), ihc, section.mpp, truth["mpp"]), False)
        else:
            matrix = np.vstack([truth["section_um_from_slide_um"], [0, 0, 1]])
            sides = AlignedSlide(stamp_of(section.require_slide()), section.mpp), AlignedSlide(stamp_of(ihc), truth["mpp"])
            found_alignment = Alignment(Transform("similarity", matrix), *sides, "landmarks", error_um=0.0)
        found = quantify_spots(section, ihc, found_alignment)
    known = known_of(run, section, "ESR1")
    row = gene_rows(known, found).rows[0]
    fields = np.load(folder / "truth" / "fields.npz")
    share = fields["share"][list(fields["genes"]).index("ESR1")]
    true = np.log(disc_means(share.repeat(2, 0).repeat(2, 1)[None], section.centres_yx)[:, 0])
    there = np.isfinite(known.predicted) & np.isfinite(known.measured) & np.isfinite(found.of("dab"))
    best = np.corrcoef(true[there], found.of("dab")[there])[0, 1]
    print(f"\nseed {seed}, {'automatic' if automatic else 'known transform'}: predicted {row.r:.3f}, truth {best:.3f}, n {row.n}, P {row.p:.3f}")
    assert row.name == "predicted ESR1"
    assert row.n == there.sum()
    assert abs(row.r - best) <= 0.05


@pytest.mark.real_data
@pytest.mark.parametrize(("moving", "fixed"), [("B4", "C3"), ("B4", "C2"), ("B4", "C4"), ("C3", "B4")])
def test_foreign_pictures_are_not_significant(data_dir, moving, fixed):
    """Another patient's slide laid over a section: at most 8 % of 250 genes are called significant, and more by the usual test."""
    section, other = (read_section(data_dir / "her2st" / name) for name in (fixed, moving))
    counts = section.adata.X.toarray()
    total = counts.sum(axis=1)
    values = np.log1p(counts / np.maximum(total, 1)[:, None] * np.median(total))
    usable = total > 200
    genes = values[:, np.argsort(-values[usable].mean(axis=0))[:250]]
    here, there = (one.centres_yx.mean(axis=0) * one.mpp for one in (section, other))
    slides = section.require_slide(), other.require_slide()
    share, usual = [], []
    for turn in np.radians((0, 90, 180, 270)):
        linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix = np.vstack([np.column_stack([linear, here - linear @ there]), [0, 0, 1]])
        sides = AlignedSlide(stamp_of(slides[0]), section.mpp), AlignedSlide(stamp_of(slides[1]), other.mpp)
        laid = Alignment(Transform("similarity", matrix), *sides, "landmarks", error_um=0.0)
        found = quantify(laid, slides[1], section.centres_yx, section.platform.spot_diameter_um, fixed=slides[0])
        for way in ("dab", "inverted-rgb"):
            stain = found.of(way)
            at = usable & np.isfinite(stain)
            p, moves = picture_p(genes[at], stain[at], section.centres_yx[at] * section.mpp)
            share.append((p < 0.05).mean())
            usual.append(np.mean([pearsonr(gene, stain[at]).pvalue < 0.05 for gene in genes[at].T]))
            print(
                f"\n{moving} over {fixed}, {np.degrees(turn):.0f} degrees, {way}: n {at.sum()}, {moves} moves, {share[-1]:.3f}, usual {usual[-1]:.3f}"
            )
    assert max(share) <= 0.08
    assert np.mean(usual) > 0.08
