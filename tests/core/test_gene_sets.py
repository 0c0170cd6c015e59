"""Favourites and gene sets."""

import pytest

from napari_deepspace.errors import DataError
from napari_deepspace.gene_names import GeneNames
from napari_deepspace.gene_sets import OwnGenes, genes_here, keep_own_genes, own_genes_file, read_gene_sets, read_own_genes, toggled


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def test_a_text_file_is_one_set(tmp_path):
    """One gene a line; empty lines, remarks, repetitions and a mark at the beginning that Windows writes make no difference."""
    path = written(tmp_path, "stroma.txt", "\ufeff# mine\nSPARC\r\n\n FN1 \nSPARC\n")
    assert read_gene_sets(path) == {"stroma": ("SPARC", "FN1")}


def test_a_gmt_file_holds_many_sets(tmp_path):
    """Name, description (which may be empty), genes; trailing tabs make no gene."""
    path = written(tmp_path, "hallmark.GMT", "EMT\thttps://example.org\tVIM\tFN1\t\nER\t\tESR1\n")
    assert read_gene_sets(path) == {"EMT": ("VIM", "FN1"), "ER": ("ESR1",)}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.gmt", "EMT\tno genes\n", "line 1: found 2 parts"),
        ("a.txt", "ESR1, FN1\n", "line 1: found more than one word"),
        ("a.txt", "# nothing\n", "holds no gene"),
        ("a.txt", b"\x89PNG\xff\xfe\x00", "is no text"),
    ],
)
def test_what_is_no_set_is_refused_in_one_sentence(tmp_path, name, content, words):
    """The error says what was found and what is needed."""
    with pytest.raises(DataError, match=words) as told:
        read_gene_sets(written(tmp_path, name, content))
    assert "one gene a line" in str(told.value) or "separated by tabs" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_gene_sets(tmp_path / "gone.gmt")


def test_own_genes_are_kept(tmp_path, monkeypatch):
    """Favourites and sets come back in their order, from the user's own folder; nothing kept is no error, and a damaged file is left as it is."""
    monkeypatch.setenv("NAPARI_DEEPSPACE_RUNS", str(tmp_path / "runs"))
    assert read_own_genes() == OwnGenes()
    own = toggled(toggled(OwnGenes(sets={"Mülleimer": ("VIM", "FN1")}), "SPARC"), "ESR1")
    assert own.favourites == ("SPARC", "ESR1")
    keep_own_genes(own)
    assert own_genes_file().parent == tmp_path / "runs"
    assert read_own_genes() == own
    assert toggled(own, "SPARC").favourites == ("ESR1",)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["genes.json"]
    own_genes_file().write_text('{"favourites": [1]')
    with pytest.raises(DataError, match="damaged"):
        read_own_genes()
    assert own_genes_file().read_text() == '{"favourites": [1]'


def test_a_set_finds_its_genes_in_the_section():
    """By their own names, by older ones and by what pathologists say; what the section lacks is left out."""
    names = GeneNames(["FN1", "ERBB2", "CCN2"])
    assert genes_here(["HER2", "CTGF", "TP53", "FN1", "ERBB2"], names) == ["ERBB2", "CCN2", "FN1"]
