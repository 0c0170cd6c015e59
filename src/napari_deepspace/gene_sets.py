"""A user's own genes: favourites and gene sets, read from files that others use too and kept in the user's own folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_deepspace.errors import DataError
from napari_deepspace.gene_names import GeneNames
from napari_deepspace.run_list import own_runs_folder
from napari_deepspace.runs import write_json

FILE = "genes.json"
LARGEST = 20_000_000  #: bytes; collections of thousands of sets have less

GeneSets = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class OwnGenes:
    """Favourites in the order in which they were added, and gene sets by name."""

    favourites: tuple[str, ...] = ()
    sets: GeneSets = field(default_factory=dict)


def read_gene_sets(path: Path) -> GeneSets:
    """The sets of a file: a ``.gmt`` holds one a line (name, description, genes, separated by tabs), any other text file is one set, a gene a line.

    Empty lines and lines that begin with ``#`` are passed over; a set of a text file has the file's name.

    Raises
    ------
    DataError
        The file cannot be read, is no text, or a line is not as it should be.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path} is larger than any gene set. Choose a .gmt file, or a text file with one gene a line.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Choose a .gmt file, or a text file with one gene a line.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text. Choose a .gmt file, or a text file with one gene a line.") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    sets = _gmt(path, lines) if path.suffix.casefold() == ".gmt" else _plain(path, lines)
    if not any(sets.values()):
        raise DataError(f"{path} holds no gene. Write one gene a line, or in a .gmt file name, description and genes, separated by tabs.")
    return sets


def _gmt(path: Path, lines: list[tuple[int, str]]) -> GeneSets:
    sets: GeneSets = {}
    for number, line in lines:
        name, *rest = (part.strip() for part in line.split("\t"))
        genes = tuple(dict.fromkeys(gene for gene in rest[1:] if gene))
        if not name or not genes:
            raise DataError(f"{path}, line {number}: found {len(rest) + 1} parts. A set needs a name, a description and genes, separated by tabs.")
        sets[name] = genes
    return sets


def _plain(path: Path, lines: list[tuple[int, str]]) -> GeneSets:
    for number, line in lines:
        if "\t" in line or "," in line or ";" in line:
            raise DataError(f"{path}, line {number}: found more than one word ({line[:40]}). Write one gene a line, or name the file .gmt.")
    return {path.stem: tuple(dict.fromkeys(line for _, line in lines))}


def own_genes_file() -> Path:
    """Where the user's own genes are kept: beside the runs that belong to no project."""
    return own_runs_folder() / FILE


def read_own_genes(path: Path | None = None) -> OwnGenes:
    """The user's own genes; none where nothing was kept yet. Raises DataError where the file is damaged; it is left as it is."""
    path = path or own_genes_file()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        favourites, sets = values["favourites"], values["sets"]
        if not all(isinstance(gene, str) for genes in (favourites, *sets.values()) for gene in genes):
            raise ValueError("genes are words")
        return OwnGenes(tuple(favourites), {str(name): tuple(genes) for name, genes in sets.items()})
    except FileNotFoundError:
        return OwnGenes()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error}). Mend it, or delete it to begin with no favourites.") from error


def keep_own_genes(own: OwnGenes, path: Path | None = None) -> None:
    """Write the user's own genes in one step. Raises DataError where the folder cannot be written to."""
    path = path or own_genes_file()
    try:
        write_json(path, {"favourites": list(own.favourites), "sets": {name: list(genes) for name, genes in own.sets.items()}})
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error}). Make room, or let NAPARI_DEEPSPACE_RUNS name a folder you may write to.") from error


def toggled(own: OwnGenes, gene: str) -> OwnGenes:
    """With ``gene`` among the favourites where it was not, without it where it was."""
    kept = tuple(name for name in own.favourites if name != gene)
    return replace(own, favourites=kept if len(kept) < len(own.favourites) else (*kept, gene))


def genes_here(genes: Sequence[str], names: GeneNames) -> list[str]:
    """Those of ``genes`` that a section has, as it calls them, in their order and each once; older names and Ensembl ids are understood."""
    matches = (next(iter(names.resolve(gene)), None) for gene in genes)
    return list(dict.fromkeys(match.name for match in matches if match is not None))
