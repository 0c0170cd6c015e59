"""The names that pathologists and older tables use for genes, and what they are called in a section's own table.

A gene is known by its symbol of the HUGO Gene Nomenclature Committee (HGNC). Upper and lower case, hyphens, blanks, dots and slashes make no
difference, and a Greek letter is its Latin one, so that "PD-L1", "pdl1" and "Pd L1" are one name. Searching 33,000 names takes milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


def shared_genes(names: Mapping[str, Sequence[str]]) -> tuple[list[str], str]:
    """Genes that all sections have, in the order of the first, and in words what each section loses; ``names`` are its genes by library id."""
    if not names:
        return [], ""
    first, *rest = names.values()
    common = set(first).intersection(*rest)
    if len(names) < 2:
        return list(first), ""
    lost = ", ".join(f"{name} {count:,}" for name, genes in names.items() if (count := len(set(genes) - common)))
    more = f"; not in all of them: {lost}" if lost else ""
    return [gene for gene in first if gene in common], f"{len(common):,} genes in all {len(names)} sections{more}."


SPOKEN: dict[str, str] = {
    # breast, hormones, growth
    "ESR1": "ER, ERα, estrogen receptor, oestrogen receptor", "ESR2": "ERβ", "PGR": "PR, progesterone receptor",
    "ERBB2": "HER2, HER2/neu, c-erbB-2", "AR": "androgen receptor", "MKI67": "Ki-67, MIB-1", "EGFR": "HER1, EGF receptor, ErbB1",
    "ERBB3": "HER3", "ERBB4": "HER4", "MET": "c-MET, HGFR", "KIT": "c-KIT, CD117", "MYC": "c-MYC", "MYCN": "N-MYC",
    "SCGB2A2": "mammaglobin", "PIP": "GCDFP-15", "VEGFA": "VEGF", "KDR": "VEGFR2", "FLT1": "VEGFR1",
    "TOP2A": "topoisomerase II alpha", "CCND1": "cyclin D1", "CCNE1": "cyclin E, cyclin E1", "CCNB1": "cyclin B1",
    "FOLR1": "FRα, folate receptor alpha", "TACSTD2": "TROP-2", "CA9": "CA-IX", "SLC2A1": "GLUT-1",
    "HIF1A": "HIF-1α", "AURKA": "Aurora A, Aurora kinase A", "BIRC5": "survivin", "MYBL2": "B-MYB",
    # suppressors, repair
    "TP53": "p53", "TP63": "p63, p40", "TP73": "p73", "CDKN2A": "p16, p16INK4a, p14ARF", "CDKN1A": "p21, WAF1, CIP1", "CDKN1B": "p27, KIP1",
    "RB1": "RB, retinoblastoma protein", "PTEN": "MMAC1", "MLH1": "hMLH1", "MSH2": "hMSH2", "MSH6": "hMSH6", "PMS2": "hPMS2",
    "SMARCB1": "INI-1, BAF47", "SMARCA4": "BRG1",
    # epithelium, adhesion
    "KRT5": "CK5, cytokeratin 5, CK5/6", "KRT6A": "CK6, CK5/6", "KRT7": "CK7, cytokeratin 7", "KRT8": "CK8, cytokeratin 8, CK8/18",
    "KRT10": "CK10", "KRT14": "CK14, cytokeratin 14", "KRT15": "CK15", "KRT16": "CK16", "KRT17": "CK17, cytokeratin 17",
    "KRT18": "CK18, cytokeratin 18, CK8/18", "KRT19": "CK19, cytokeratin 19, CYFRA 21-1", "KRT20": "CK20, cytokeratin 20",
    "CDH1": "E-cadherin, uvomorulin", "CDH2": "N-cadherin", "CDH3": "P-cadherin", "CTNNB1": "β-catenin",
    "EPCAM": "Ber-EP4, MOC-31, CD326",
    "CLDN4": "claudin 4", "CLDN18": "claudin 18, claudin 18.2", "MUC1": "EMA, CA15-3, epithelial membrane antigen", "MUC16": "CA-125",
    "CEACAM5": "CEA, carcinoembryonic antigen, CD66e", "VIL1": "villin",
    # organs
    "NKX2-1": "TTF-1, TITF1", "NAPSA": "napsin A, napsin", "KLK3": "PSA, prostate-specific antigen", "FOLH1": "PSMA",
    "AMACR": "P504S, racemase", "CPS1": "HepPar-1", "ARG1": "arginase 1",
    "GPC3": "glypican 3", "AFP": "alpha-fetoprotein", "MSLN": "mesothelin", "CALB2": "calretinin", "TG": "thyroglobulin", "INS": "insulin",
    "GCG": "glucagon", "SST": "somatostatin", "ALB": "albumin", "UPK2": "uroplakin II",
    # melanoma, nerve, neuroendocrine
    "S100B": "S100", "MLANA": "Melan-A, MART-1", "PMEL": "HMB-45, gp100, PMEL17", "TYR": "tyrosinase",
    "CHGA": "chromogranin, chromogranin A", "SYP": "synaptophysin", "NCAM1": "CD56, NCAM", "ENO2": "NSE", "RBFOX3": "NeuN",
    # connective tissue, muscle, vessels
    "VIM": "vimentin", "ACTA2": "SMA, α-SMA, ASMA, smooth muscle actin", "DES": "desmin", "MYOG": "myogenin", "CNN1": "calponin",
    "CALD1": "caldesmon", "MYH11": "SMMHC, smooth muscle myosin", "PECAM1": "CD31", "VWF": "von Willebrand factor, factor VIII related antigen",
    "PDPN": "podoplanin, D2-40", "ENG": "CD105, endoglin", "COL1A1": "collagen I, collagen 1, type I collagen", "COL3A1": "collagen III",
    "COL4A1": "collagen IV", "FN1": "fibronectin", "SPARC": "osteonectin", "SPP1": "osteopontin", "POSTN": "periostin", "DCN": "decorin",
    "TNC": "tenascin C", "FAP": "fibroblast activation protein", "TGFB1": "TGF-β, TGF-β1", "ANO1": "DOG-1", "ELN": "elastin",
    # blood and immune system
    "PTPRC": "CD45, LCA, leukocyte common antigen", "CD3E": "CD3, CD3 epsilon", "CD8A": "CD8", "CD8B": "CD8 beta",
    "MS4A1": "CD20, L26", "CD79A": "CD79 alpha", "SDC1": "CD138, syndecan 1", "MZB1": "pERp1", "TNFRSF8": "CD30, Ki-1", "MME": "CD10, CALLA",
    "FCER2": "CD23", "CR2": "CD21", "IL2RA": "CD25", "IL3RA": "CD123", "FCGR3A": "CD16", "ITGAM": "CD11b", "ITGAX": "CD11c", "ITGAE": "CD103",
    "CD68": "KP1", "MRC1": "CD206, mannose receptor", "PROM1": "CD133", "CD207": "langerin", "TPSAB1": "tryptase, mast cell tryptase",
    "MPO": "myeloperoxidase", "GZMB": "granzyme B", "PRF1": "perforin", "KLRB1": "CD161", "B3GAT1": "CD57",
    "CD274": "PD-L1, B7-H1", "PDCD1": "PD-1, CD279", "PDCD1LG2": "PD-L2, CD273", "CTLA4": "CD152", "LAG3": "CD223",
    "HAVCR2": "TIM-3", "IDO1": "IDO", "CD276": "B7-H3", "VTCN1": "B7-H4", "CD40LG": "CD40L, CD154", "CXCR4": "CD184",
    "IRF4": "MUM-1", "CXCL13": "BLC, BCA-1", "HLA-A": "MHC class I, HLA-I", "HLA-DRA": "HLA-DR, MHC class II", "IGKC": "kappa light chain",
    "IFNG": "interferon gamma, IFN-γ", "LYZ": "lysozyme", "CALR": "calreticulin",
}  # fmt: skip
"""HGNC symbol -> what pathologists call its protein or the antibody against it, separated by commas."""

FORMER: dict[str, str] = {
    "PDGFRB": "PDGFR, PDGFR1, CD140B", "CXCL8": "IL8", "CCN1": "CYR61", "CCN2": "CTGF", "CCN4": "WISP1", "SELENOP": "SEPP1",
    "VSIR": "C10orf54, VISTA", "NECTIN4": "PVRL4", "NECTIN2": "PVRL2", "STING1": "TMEM173", "CGAS": "MB21D1", "H2AX": "H2AFX", "H2AZ1": "H2AFZ",
    "H4C3": "HIST1H4C", "PCLAF": "KIAA0101", "KMT2C": "MLL3", "KMT2A": "MLL", "NSD2": "WHSC1", "MRE11": "MRE11A", "PRKN": "PARK2",
    "TENT5C": "FAM46C", "SEPTIN7": "SEPT7", "SEPTIN9": "SEPT9", "MARCHF1": "MARCH1", "ADGRG1": "GPR56", "ADGRE5": "CD97",
    "ACKR1": "DARC, Duffy antigen", "ACKR3": "CXCR7", "RACK1": "GNB2L1", "ATP5F1A": "ATP5A1", "ATP5F1B": "ATP5B", "SLC25A6": "ANT3",
    "WARS1": "WARS", "GARS1": "GARS", "JCHAIN": "IGJ", "CAVIN1": "PTRF", "EPCAM": "TACSTD1, TROP1", "COL18A1": "endostatin", "MYDGF": "C19orf10",
    "PLPP3": "PPAP2B", "RIPOR2": "FAM65B", "SHLD2": "FAM35A", "PWWP3A": "MUM1", "NSG1": "D4S234E", "DIPK2A": "C3orf58", "MACROH2A1": "H2AFY",
    "CEMIP": "KIAA1199", "TMEM131L": "KIAA0922",
}  # fmt: skip
"""HGNC symbol -> names it had before, which older tables still use, separated by commas."""

_GREEK = str.maketrans({"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "κ": "kappa"})
_NO_LETTER = re.compile(r"[^0-9a-z]+")
_ENSEMBL = re.compile(r"ens[a-z]*g\d{6,}")


def fold(name: str) -> str:
    """``name`` without what makes no difference: case, hyphens, blanks, dots, slashes; Greek letters are Latin."""
    return _NO_LETTER.sub("", name.casefold().translate(_GREEK))


def _listed(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(symbol, name) for symbol, names in table.items() for name in names.split(", ")]


def _by_key(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for symbol, name in pairs:
        known = found.get(fold(name), ())
        found[fold(name)] = known if symbol in known else (*known, symbol)
    return found


ALIASES = _by_key([*_listed(SPOKEN), *_listed(FORMER)])
"""Folded name -> the symbols it stands for; usually one."""


class Match(NamedTuple):
    """A gene of the section; ``reason`` says why it is offered ("HER2 is ERBB2"), "" where its own name holds what was typed."""

    name: str
    reason: str = ""


class GeneNames:
    """The names of one section, made ready to be searched: ``names`` as they are, with their Ensembl ids where the table has them."""

    def __init__(self, names: Sequence[str], gene_ids: Sequence[str] = ()):
        self.names = [str(name) for name in names]
        self.folded = [name.casefold() for name in self.names]
        self._keys: dict[str, str] = {}
        for name, folded in zip(self.names, self.folded, strict=True):
            self._keys.setdefault(_NO_LETTER.sub("", folded), name)
        ids = [str(one) for one in gene_ids] if len(gene_ids) else self.names
        self._ids = {one.casefold().partition(".")[0]: name for one, name in zip(ids, self.names, strict=True)}

    def resolve(self, text: str) -> list[Match]:
        """The genes that ``text`` names: by its own name, by a name pathologists or older tables use, or by its Ensembl id. Often one or none.

        A gene of that very name comes first. One that differs by a hyphen comes last: TTF-1 is the antibody against NKX2-1, TTF1 another gene.
        """
        text = text.strip()
        key, found = fold(text), {}
        own = self._keys.get(key)
        if own is not None and own.casefold() == text.casefold():
            found[own] = ""
        elif own is None and _ENSEMBL.match(text.casefold()):
            by_id = self._ids.get(text.casefold().partition(".")[0])
            if by_id is not None:
                return [Match(by_id, f"{text} is {by_id}" if by_id.partition(".")[0].casefold() != text.partition(".")[0].casefold() else "")]
        for symbol in (*ALIASES.get(key, ()), *([_SYMBOLS[key]] if key in _SYMBOLS else ())):
            here = self._here(symbol)
            if here is not None and here != own:
                found.setdefault(here, f"{text} is {here}")
        if own is not None:
            found.setdefault(own, "")
        return [Match(name, reason) for name, reason in found.items()]

    def find(self, text: str) -> list[Match]:
        """The genes that ``text`` may mean, likeliest first: those of :meth:`resolve`, other names that begin so, hold it, or are said so."""
        wanted = text.strip().casefold()
        if not wanted:
            return [Match(name) for name in self.names]
        found = {match.name: match for match in self.resolve(text)}
        holding = [number for number, folded in enumerate(self.folded) if wanted in folded]
        begin = {number for number in holding if self.folded[number].startswith(wanted)}
        if len(wanted) == 1:  # thousands of names hold it
            holding = [number for number in holding if number in begin]
        holding.sort(key=lambda number: number not in begin)
        for number in holding:
            found.setdefault(self.names[number], Match(self.names[number]))
        if len(fold(text)) >= 3:
            for symbol, said, key in _SAID:
                here = self._here(symbol) if fold(text) in key else None
                if here is not None:
                    found.setdefault(here, Match(here, f"{said} is {here}"))
        return list(found.values())

    def _here(self, symbol: str) -> str | None:
        """``symbol`` as this section's table calls it, by an older name where the table is older; None where it lacks the gene."""
        return next((name for key in (fold(symbol), *_OLDER.get(symbol, ())) if (name := self._keys.get(key)) is not None), None)


_SAID = [(symbol, said, fold(said)) for symbol, said in (*_listed(SPOKEN), *_listed(FORMER))]
_SYMBOLS = {fold(symbol): symbol for symbol in (*SPOKEN, *FORMER)}
_OLDER = {symbol: tuple(fold(said) for said in names.split(", ")) for symbol, names in FORMER.items()}


def find_genes(text: str, names: Sequence[str], gene_ids: Sequence[str] = ()) -> list[Match]:
    """The genes among ``names`` that ``text`` may mean, likeliest first, each with the reason. To search often, keep a :class:`GeneNames`."""
    return GeneNames(names, gene_ids).find(text)
