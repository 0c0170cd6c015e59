"""Genes are found by what pathologists call them."""

from __future__ import annotations

import pytest

from napari_deepspace.gene_names import ALIASES, FORMER, SPOKEN, GeneNames, find_genes, fold

NAMES = (
    "ESR1",
    "ERBB2",
    "ERBB3",
    "PGR",
    "MKI67",
    "CD274",
    "PDCD1",
    "TP63",
    "TP53",
    "KRT5",
    "KRT6A",
    "KRT7",
    "ACTA2",
    "CD8A",
    "PDGFRB",
    "PDGFRA",
    "SPARC",
)
SAID = {
    "ER": "ESR1", "estrogen receptor": "ESR1", "PR": "PGR", "HER2": "ERBB2", "her-2/neu": "ERBB2", "Ki-67": "MKI67", "ki67": "MKI67",
    "PD-L1": "CD274", "pdl1": "CD274", "PD-1": "PDCD1", "p63": "TP63", "p40": "TP63", "p53": "TP53", "CK5": "KRT5", "CK 7": "KRT7",
    "α-SMA": "ACTA2", "SMA": "ACTA2",
    "CD8": "CD8A", "PDGFR": "PDGFRB", "osteonectin": "SPARC", "krt-7": "KRT7", "erbb2": "ERBB2",
}  # fmt: skip


@pytest.mark.parametrize(("said", "symbol"), SAID.items())
def test_a_pathologists_name_finds_the_gene_first(said, symbol):
    """Case, hyphens, blanks and Greek letters make no difference, and the reason says which gene it is."""
    first = find_genes(said, NAMES)[0]
    assert first.name == symbol
    assert first.reason in (f"{said} is {symbol}", "")
    assert bool(first.reason) == (fold(said) != fold(symbol))


def test_many_names_are_known_and_none_is_idle():
    """At least 40 names that pathologists use; none repeats its symbol or is that of another gene of the tables; each stands once."""
    symbols = {fold(symbol): symbol for symbol in (*SPOKEN, *FORMER)}
    listed = [(symbol, name) for table in (SPOKEN, FORMER) for symbol, names in table.items() for name in names.split(", ")]
    assert sum(len(names.split(", ")) for names in SPOKEN.values()) >= 40
    assert all(fold(name) and fold(name) != fold(symbol) for symbol, name in listed)
    assert not {key for key in ALIASES if key in symbols}
    assert len({(symbol, fold(name)) for symbol, name in listed}) == len(listed)


def test_the_gene_of_that_very_name_comes_before_an_antibody():
    """TTF1 is a gene of its own, TTF-1 the antibody against NKX2-1: both are offered, in the order of what was typed."""
    names = ("TTF1", "NKX2-1")
    assert [match.name for match in find_genes("TTF1", names)] == ["TTF1", "NKX2-1"]
    assert [match.name for match in find_genes("TTF-1", names)] == ["NKX2-1", "TTF1"]


def test_an_antibody_against_two_proteins_offers_both():
    """CK5/6 is KRT5 and KRT6A."""
    assert [match.name for match in GeneNames(NAMES).resolve("CK5/6")] == ["KRT5", "KRT6A"]


def test_older_and_newer_symbols_are_one_gene():
    """An older symbol finds the newer one, and the newer one finds the older in an older table."""
    assert find_genes("CTGF", ("CCN2",))[0] == ("CCN2", "CTGF is CCN2")
    assert find_genes("CCN2", ("CTGF",))[0] == ("CTGF", "CCN2 is CTGF")


def test_ensembl_ids_are_found_whatever_their_version():
    """By the table's ids, or where the names are ids themselves."""
    ids = ("ENSG00000091831", "ENSG00000141736.14")
    assert find_genes("ENSG00000141736", ("ESR1", "ERBB2"), ids)[0] == ("ERBB2", "ENSG00000141736 is ERBB2")
    assert find_genes("ensg00000091831.23", ("ESR1", "ERBB2"), ids)[0].name == "ESR1"
    assert find_genes("ENSG00000141736", ids)[0].name == ids[1]


def test_mouse_genes_are_found_by_the_same_words():
    """A mouse's symbols differ in case alone."""
    assert find_genes("HER2", ("Esr1", "Erbb2"))[0] == ("Erbb2", "HER2 is Erbb2")


def test_nothing_is_found_where_the_section_lacks_the_gene():
    """A gene that is not there is not offered, and a nonsense name finds none."""
    assert find_genes("HER2", ("ESR1",)) == []
    assert find_genes("no such gene", NAMES) == []


@pytest.mark.real_data
def test_names_are_found_in_a_real_section(data_dir):
    """her2st C3 finds the paper's genes under the names a pathologist would type."""
    from napari_deepspace.read import read_section

    adata = read_section(data_dir / "her2st" / "C3").adata
    names = GeneNames(adata.var_names, adata.var["gene_ids"])
    here = {"ER": "ESR1", "PR": "PGR", "HER2": "ERBB2", "Ki-67": "MKI67", "PDGFR": "PDGFRB", "vimentin": "VIM", "CD31": "PECAM1", "CCN2": "CTGF"}
    assert {said: names.find(said)[0].name for said in here} == here


def test_genes_that_all_sections_have():
    """Of several sections the common genes are named, and how many each loses."""
    from napari_deepspace.gene_names import shared_genes

    assert shared_genes({"A": ["x", "y", "z"], "B": ["z", "x", "w", "v"]}) == (
        ["x", "z"],
        "2 genes in all 2 sections; not in all of them: A 1, B 2.",
    )
    assert shared_genes({"A": ["x"]}) == (["x"], "")
