"""Three consecutive sections of one synthetic block, and the reading of any section's alignment."""

import numpy as np
import pandas as pd
import pytest
from section_folders import lattice, write_outs, write_st

from napari_deepspace.errors import DataError
from napari_deepspace.learn.neighbouring import aligned_points
from napari_deepspace.phantom import MIDDLE, SECTIONS
from napari_deepspace.phantom_block import cut_of
from napari_deepspace.phantom_tissue import MPP, disc_means, grow_tissue
from napari_deepspace.read import read_section, read_settings
from napari_deepspace.settings import SectionSettings

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def tissues():
    return {name: grow_tissue(0, name == MIDDLE, cut_of(0, name)) for name in SECTIONS}


@pytest.mark.parametrize("seed", range(3))
def test_every_slide_is_turned_and_shifted(seed):
    """The way from a slide to the block's frame keeps distances, and differs from section to section by tens of degrees and hundreds of um."""
    cuts = [cut_of(seed, name) for name in SECTIONS]
    for cut in cuts:
        turn = cut.matrix[:, :2] / MPP
        np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1)
        assert 8 <= abs(np.degrees(cut.angle)) <= 35
        assert 120 <= np.hypot(*cut.shift_px) * MPP <= 220
    assert len({round(cut.angle, 6) for cut in cuts}) == 3


def test_neighbours_resemble_each_other(tissues):
    """At the same place of the block a field correlates about 0.9 with that of the next section, and less with that of the one after."""
    a, b, c = (tissues[name] for name in SECTIONS)

    def at(tissue, frame_um):
        points = np.linalg.solve(tissue.cut.matrix[:, :2], (frame_um - tissue.cut.matrix[:, 2]).T).T[:, ::-1]
        return disc_means(np.stack([tissue.eosin, tissue.size, tissue.spacing]), points)

    frame = b.cut.to_frame_um(b.centres_yx[b.in_tissue & b.scored])
    r = [[np.corrcoef(x, y)[0, 1] for x, y in zip(at(b, frame).T, at(other, frame).T, strict=True)] for other in (a, c)]
    assert np.min(r) > 0.75 and np.max(r) < 0.97
    far = [np.corrcoef(x, y)[0, 1] for x, y in zip(at(a, frame).T, at(c, frame).T, strict=True)]
    assert np.mean(far) < np.mean(r) - 0.1


def test_only_the_middle_one_failed_somewhere(tissues):
    """Its failed region lies on tissue that its neighbours measured; the tissue of all three lies whole on its slide."""
    assert [bool(tissues[name].failed.any()) for name in SECTIONS] == [False, True, False]
    assert sum((tissues[MIDDLE].alive < 0.37) & tissues[MIDDLE].in_tissue) >= 60
    for tissue in tissues.values():
        assert not tissue.tissue[[0, -1]].any() and not tissue.tissue[:, [0, -1]].any()


def aligned_csv(folder, matrix, header="barcode,x,y", rows=slice(None)):
    """The spots of the small lattice in another frame."""
    table = lattice()[rows]
    places = table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].round() @ matrix[:, :2].T + matrix[:, 2]
    lines = [f"{barcode},{x},{y}" for barcode, (x, y) in zip(table["barcode"], places.to_numpy(), strict=True)]
    path = folder / "spatial_aligned.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_a_known_transform_is_recovered(outs):
    """spatial_aligned.csv beside outs/ is found by itself; any point of the slide goes where the known transform puts it."""
    matrix = cut_of(1, "C").matrix
    aligned_csv(outs.parent, matrix)
    section = read_section(outs, slide=False)
    points = np.array([[100.0, 200.0], [333.3, 50.5]])
    np.testing.assert_allclose(aligned_points(section, points), points[:, ::-1] @ matrix[:, :2].T + matrix[:, 2], atol=1e-3)


def test_an_alignment_may_be_named_and_leave_spots_out(outs, tmp_path):
    """sections[].aligned names a file anywhere, whatever the case of its header; spots that it leaves out are NaN."""
    path = aligned_csv(tmp_path, cut_of(0, "A").matrix, "Barcode,X,Y", slice(0, 100))
    section = read_settings(SectionSettings(path=outs, aligned=path))
    known = np.isfinite(section.adata.obsm["spatial_aligned"]).all(axis=1)
    assert 0 < known.sum() < section.adata.n_obs


def test_an_alignment_stands_in_place_of_registered_coordinates(tmp_path):
    """A legacy ST section takes it too, in place of its warped coordinates."""
    folder = write_st(tmp_path / "st")
    names = read_section(folder, slide=False).adata.obs_names
    pd.DataFrame({"barcode": names, "x": 1.0, "y": np.arange(len(names))}).to_csv(folder / "spatial_aligned.csv", index=False)
    np.testing.assert_array_equal(read_section(folder, slide=False).adata.obsm["spatial_aligned"][:, 1], np.arange(len(names)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("barcode,x\nA,1\n", "no column y"),
        ("barcode,x,y\nA,1,here\n", "not a number"),
        ("barcode,x,y\nnobody-1,1,2\n", "none of its barcodes"),
        ("barcode,x,y\nA,1,2\nA,1,3\n", "twice"),
    ],
)
def test_a_wrong_alignment_is_refused(outs, tmp_path, text, words):
    """One sentence says what is wrong with the file."""
    (tmp_path / "aligned.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read_section(outs, aligned=tmp_path / "aligned.csv", slide=False)


def test_a_synthetic_section_says_its_patient(tmp_path):
    """SYNTHETIC.txt names patient and block; what the caller says comes first."""
    outs = write_outs(tmp_path / "A" / "outs")
    (tmp_path / "A" / "SYNTHETIC.txt").write_text("SYNTHETIC.\n\nseed: 3\npatient: synthetic-3\nblock: 1\n")
    section = read_section(outs, slide=False)
    assert section.synthetic and (section.patient, section.block) == ("synthetic-3", "1")
    assert read_section(outs, slide=False, patient="P").patient == "P"
