"""Damage that is not in a Space Ranger folder alone: other formats, pictures, links, rights, bombs. One clear error, or a load with a warning."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from PIL import Image
from section_folders import HEIGHT, WIDTH, counts_of, lattice, open_files, write_h5, write_outs
from test_read_bad_input import H5, POSITIONS, SCALES, as_mtx, cut, edit_positions
from test_read_inputs import as_h5ad, write_hd

from napari_deepspace.errors import DataError
from napari_deepspace.read import read_section

pytestmark = pytest.mark.usefixtures("own_cache")


def edit_h5ad(outs: Path, edit: Callable[[anndata.AnnData], object]) -> Path:
    path = as_h5ad(outs)
    adata = anndata.read_h5ad(path)
    edit(adata)
    adata.write_h5ad(path)
    return path


def set_spatial(adata: anndata.AnnData, value: float) -> None:
    adata.obsm["spatial"][3, 0] = value


def fractions(adata: anndata.AnnData) -> None:
    adata.X = adata.X / 7


def table_of(outs: Path, edit: Callable[[pd.DataFrame], pd.DataFrame], name: str = "t.csv") -> Path:
    table = lattice().rename(columns={"pxl_row_in_fullres": "y", "pxl_col_in_fullres": "x"}).assign(SPARC=3, ESR1=1)
    edit(table).to_csv(outs.parent / name, index=False)
    return outs.parent / name


def bomb_h5(outs: Path) -> Path:
    with h5py.File(outs / H5, "r+") as file:
        del file["matrix/data"]
        file["matrix"].create_dataset("data", shape=(10**10,), chunks=(10**6,), dtype="i4", compression="gzip")
    return outs


def bomb_h5ad(outs: Path) -> Path:
    path = as_h5ad(outs)
    with h5py.File(path, "r+") as file:
        file["obsm"].create_dataset("huge", shape=(10**6, 10**5), chunks=(1000, 1000), dtype="f8", compression="gzip")
    return path


def bomb_gz(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(b"0" * 2**20)


def bomb_mtx(outs: Path) -> None:
    folder = as_mtx(outs)
    text = gzip.decompress((folder / "matrix.mtx.gz").read_bytes()).splitlines()
    sizes = next(number for number, line in enumerate(text) if not line.startswith(b"%"))
    text[sizes] = b"5 110 99999999999"
    (folder / "matrix.mtx.gz").write_bytes(b"\n".join(text))


def bomb_zarr(outs: Path) -> Path:
    path = outs.parent / "bomb.zarr"
    group = zarr.open_group(path, mode="w")
    group.create_array("tables/table/X", shape=(10**6, 10**5), chunks=(1000, 1000), dtype="f8", fill_value=0)
    return path


def bomb_parquet(outs: Path) -> Path:
    top = write_hd(outs.parent / "HD", (16,))
    file = next(top.rglob("*.parquet"))
    pd.DataFrame({name: np.zeros(7 * 10**6, dtype=np.int8) for name in "abcdef"}).to_parquet(file, compression="zstd")
    return top


def loop(outs: Path) -> Path:
    (outs.parent / "one").symlink_to(outs.parent / "two")
    (outs.parent / "two").symlink_to(outs.parent / "one")
    return outs.parent / "one"


def pickled(outs: Path) -> Path:
    """A pickle that would call print: it must not be obeyed."""
    path = outs / "x.h5ad"
    path.write_bytes(b"\x80\x04\x95\x16\0\0\0\0\0\0\0\x8c\x08builtins\x94\x8c\x05print\x94\x93\x94.")
    return path


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def picture(outs: Path, image: Image.Image, name: str = "given.png", **options: object) -> Path:
    image.save(outs.parent / name, **options)
    return outs.parent / name


BAD: dict[str, tuple[str, Callable[[Path], Path | None]]] = {
    "h5ad cut short": ("section.h5ad", lambda outs: [cut(as_h5ad(outs)), outs.parent / "section.h5ad"][1]),
    "h5ad of text": ("x.h5ad", lambda outs: shutil.copy(outs / "spatial" / SCALES, outs.parent / "x.h5ad")),
    "h5ad that is a matrix": ("x.h5ad", lambda outs: shutil.copy(outs / H5, outs.parent / "x.h5ad")),
    "h5ad that is a pickle": ("x.h5ad", pickled),
    "h5ad without places": ("section.h5ad", lambda outs: edit_h5ad(outs, lambda adata: adata.obsm.clear())),
    "h5ad with a NaN place": ("section.h5ad", lambda outs: edit_h5ad(outs, lambda adata: set_spatial(adata, np.nan))),
    "h5ad with fractions": ("section.h5ad", lambda outs: edit_h5ad(outs, fractions)),
    "h5ad bomb": ("section.h5ad", bomb_h5ad),
    "h5 bomb": (H5, bomb_h5),
    "gzip bomb for positions": (POSITIONS, lambda outs: bomb_gz(outs / "spatial" / POSITIONS)),
    "gzip bomb for scale factors": (SCALES, lambda outs: bomb_gz(outs / "spatial" / SCALES)),
    "gzip bomb for a matrix": ("matrix.mtx.gz", lambda outs: bomb_gz(as_mtx(outs) / "matrix.mtx.gz")),
    "mtx that claims too much": ("matrix.mtx.gz", bomb_mtx),
    "zarr bomb": ("bomb.zarr", bomb_zarr),
    "parquet bomb": ("tissue_positions.parquet", bomb_parquet),
    "table without places": ("t.csv", lambda outs: table_of(outs, lambda table: table.drop(columns="x"))),
    "table with text for a count": ("t.csv", lambda outs: table_of(outs, lambda table: table.assign(SPARC=["many", *table["SPARC"][1:]]))),
    "table with fractions": ("t.csv", lambda outs: table_of(outs, lambda table: table.assign(SPARC=0.5))),
    "table with a spot twice": ("t.csv", lambda outs: table_of(outs, lambda table: pd.concat([table, table]))),
    "table of one row": ("size of a pixel", lambda outs: table_of(outs, lambda table: table.drop(columns=["array_row", "array_col"]).head(1))),
    "table without rows": ("t.csv", lambda outs: table_of(outs, lambda table: table.head(0))),
    "links that lead round": ("one", loop),
    "positions that link to themselves": ("spatial", lambda outs: link_to_itself(outs / "spatial" / POSITIONS)),
    "matrix without positions": ("tissue_positions.csv", lambda outs: shutil.rmtree(outs / "spatial")),
    "positions are a folder": ("spatial", lambda outs: [(outs / "spatial" / POSITIONS).unlink(), (outs / "spatial" / POSITIONS).mkdir()][1]),
    "positions are a pipe": ("spatial", lambda outs: [(outs / "spatial" / POSITIONS).unlink(), os.mkfifo(outs / "spatial" / POSITIONS)][1]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error(outs, case):
    """One DataError that names the file and says what to do, soon, with little memory, and no file left open."""
    named, damage = BAD[case]
    path = damage(outs) or outs
    began = time.monotonic()
    with pytest.raises(DataError) as caught:
        read_section(path)
    message = str(caught.value)
    assert named in message
    assert message.endswith(".")
    assert "\n" not in message
    assert time.monotonic() - began < 20
    assert not open_files(outs.parent)


def cut_levels(outs: Path) -> Path:
    path = outs.parent / "given.tif"
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, tile=(128, 128), photometric="rgb", subifds=1)
        file.write(pixels[::2, ::2], tile=(128, 128), photometric="rgb", subfiletype=1)
    cut(path, 0.9)
    return path


BAD_IMAGES: dict[str, Callable[[Path], Path]] = {
    "1 x 1": lambda outs: picture(outs, Image.new("RGB", (1, 1))),
    "mirrored sides": lambda outs: picture(outs, Image.new("RGB", (HEIGHT, WIDTH))),
    "cut short": lambda outs: [cut(picture(outs, Image.effect_noise((WIDTH, HEIGHT), 90).convert("RGB"), "g.jpg")), outs.parent / "g.jpg"][1],
    "a level missing": cut_levels,
    "text": lambda outs: shutil.copy(outs / "spatial" / SCALES, outs.parent / "text.png"),
    "a folder": lambda outs: outs,
    "gone": lambda outs: outs / "no.tif",
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_is_one_clear_error(outs, case):
    """A damaged, foreign or unfitting image that the user names is refused by name; nothing half-open stays."""
    path = Path(BAD_IMAGES[case](outs))
    with pytest.raises(DataError) as caught:
        read_section(outs, path)
    assert path.name in str(caught.value)
    assert str(caught.value).endswith(".")
    assert not open_files(outs.parent)


GOOD_IMAGES: dict[str, Callable[[Path], Path]] = {
    "palette PNG": lambda outs: picture(outs, Image.new("RGB", (WIDTH, HEIGHT), "pink").convert("P")),
    "CMYK JPEG": lambda outs: picture(outs, Image.new("CMYK", (WIDTH, HEIGHT)), "g.jpg"),
    "grey PNG": lambda outs: picture(outs, Image.new("L", (WIDTH, HEIGHT), 200)),
    "RGBA PNG": lambda outs: picture(outs, Image.new("RGBA", (WIDTH, HEIGHT))),
}


@pytest.mark.parametrize("case", GOOD_IMAGES)
def test_unusual_images_are_read(outs, case):
    """Palettes, CMYK, grey and RGBA become RGB."""
    with read_section(outs, GOOD_IMAGES[case](outs)).require_slide() as slide:
        assert slide.read_region(0, 0, 5, 5).shape == (5, 5, 3)


def only_zeros(outs: Path) -> None:
    barcodes = lattice().query("in_tissue == 1")["barcode"].tolist()
    write_h5(outs / H5, barcodes, counts_of(len(barcodes)) * 0)


WARNED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "barcodes without -1": (
        'without "-1"',
        lambda outs: write_h5(outs / H5, lattice().query("in_tissue == 1")["barcode"].str[:-2].tolist(), counts_of(110)),
    ),
    "positions without -1": (
        'without "-1"',
        lambda outs: edit_positions(outs, lambda table: table.assign(barcode=table["barcode"].str[:-2])),
    ),
    "negative positions": (
        "negative positions",
        lambda outs: edit_positions(outs, lambda table: table.assign(pxl_row_in_fullres=table["pxl_row_in_fullres"].astype(int) - 100)),
    ),
    "no count at all": ("holds no count at all", only_zeros),
    "scale factors of another section": (
        "another section",
        lambda outs: (outs / "spatial" / SCALES).write_text('{"spot_diameter_fullres": 89.4, "tissue_hires_scalef": 0.17}'),
    ),
    "scale factors gone": ("no scalefactors_json.json", lambda outs: (outs / "spatial" / SCALES).unlink()),
    "image gone": ("No full-resolution H&E was found", lambda outs: (outs.parent / "image.tif").unlink()),
    "all images gone": ("No full-resolution H&E", lambda outs: [file.unlink() for file in (outs.parent / "image.tif", *outs.rglob("*.png"))]),
    "hires image of 1 x 1": (
        "No full-resolution H&E",
        lambda outs: Image.new("RGB", (1, 1)).save(outs / "spatial" / "tissue_hires_image.png"),
    ),
    "folder of a matrix without it": ("lacks matrix.mtx.gz", lambda outs: (as_mtx(outs) / "matrix.mtx.gz").unlink()),
}


@pytest.mark.parametrize("case", WARNED)
def test_what_can_be_read_is_read_with_a_warning(outs, case):
    """The section opens with all its spots, and a note says what is wrong."""
    words, damage = WARNED[case]
    damage(outs)
    section = read_section(outs)
    if section.slide is not None:
        section.slide.close()
    assert section.adata.n_obs == lattice()["in_tissue"].sum()
    assert any(words in note for note in section.notes), section.notes
    assert not open_files(outs.parent)


def test_a_black_hires_image_does_no_harm(outs):
    """An all-black reduced image of the right size still tells the size of the slide."""
    Image.new("RGB", (WIDTH // 2, HEIGHT // 2)).save(outs / "spatial" / "tissue_hires_image.png")
    with read_section(outs).require_slide() as slide:
        assert slide.shape == (HEIGHT, WIDTH)


def test_a_damaged_hires_image_does_no_harm(outs):
    """A reduced image that cannot be read is passed over: the next one, or the spots, tell which slide fits."""
    cut(outs / "spatial" / "tissue_hires_image.png", 0.01)
    with read_section(outs).require_slide() as slide:
        assert slide.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("name", ["päth with spaces", "組織 1", "a'b\"c", "per%cent#1", "-dash"])
def test_any_name_of_a_folder(tmp_path, name):
    """Blanks, quotation marks and letters of any script in a path make no difference."""
    section = read_section(write_outs(tmp_path / name / "outs"))
    section.require_slide().close()
    assert section.library_id == name


def test_a_folder_that_vanishes_after_opening(outs):
    """When the folder goes away (a network drive, say), what was read stays, and opening it again is one clear error."""
    section = read_section(outs)
    shutil.rmtree(outs.parent)
    assert section.adata.X.sum() > 0
    section.require_slide().close()
    with pytest.raises(DataError, match="does not exist"):
        read_section(outs)


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
@pytest.mark.parametrize("locked", [f"spatial/{POSITIONS}", H5, f"spatial/{SCALES}", "spatial", "."])
def test_without_the_right_to_read(locked):
    """A file or folder that may not be read is named, and the remedy is its permissions; seen with the eyes of a user who is not root."""
    top = Path(tempfile.mkdtemp())
    try:
        outs = write_outs(top / "outs")
        for path in (top, *top.rglob("*")):
            path.chmod(0o755)
        read_section(outs, slide=False)  # imports what it needs with the rights it has now
        (outs / locked).chmod(0)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises(DataError, match=r"may (not )?(be )?read|may read it") as caught:
                read_section(outs, slide=False)
        finally:
            if root:
                os.seteuid(0)
        assert str(top) in str(caught.value)
    finally:
        for path in (top / "outs", top / "outs" / "spatial"):
            path.chmod(0o755)
        shutil.rmtree(top)


def test_there_are_forty_kinds_of_damage():
    """The tables of damaged inputs are what they are said to be."""
    from test_read_bad_input import BAD_LEGACY_ST, BAD_SPACE_RANGER

    assert sum(map(len, (BAD, BAD_IMAGES, GOOD_IMAGES, WARNED, BAD_LEGACY_ST, BAD_SPACE_RANGER))) > 90
