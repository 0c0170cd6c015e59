"""Which genes the list of the Look step offers, and the star that makes a gene a favourite."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QComboBox, QFileDialog, QMenu, QToolButton, QWidget

from napari_deepspace._napari.widgets import row
from napari_deepspace.errors import DataError
from napari_deepspace.gene_names import GeneNames
from napari_deepspace.gene_sets import OwnGenes, genes_here, keep_own_genes, read_gene_sets, read_own_genes, toggled
from napari_deepspace.glossary import term

ALL, PREDICTED, FAVOURITES = "All genes", "Predicted", "Favourites"
LONGEST = 20  #: letters of a set's name that fit the box
FILES = "Gene sets (*.gmt *.txt *.csv *.tsv);;All files (*)"


class GeneChooser(QWidget):
    """``genes`` says which genes are offered now, None for all; ``changed`` tells that they are others."""

    changed = Signal()
    message = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._names, self._gene = GeneNames(()), ""
        self._predicted: list[str] = []
        self.own = OwnGenes()
        self.box = QComboBox()
        self.box.setMinimumContentsLength(12)
        self.box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.star = QToolButton()
        self.star.setCheckable(True)
        self.star.setText("☆")
        self.star.setObjectName("star")
        self.star.setToolTip(term("favourites"))
        self.more = QToolButton()
        self.more.setText("Sets…")
        self.more.setObjectName("more")
        self.more.setToolTip(term("gene set"))
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.more)
        self.read, self.forget = QAction("Read gene sets…", menu), QAction("Forget this set", menu)
        menu.addActions([self.read, self.forget])
        self.more.setMenu(menu)
        self.setLayout(row(self.box, self.more, self.star))
        self.box.activated.connect(lambda _: self._chosen())
        self.star.clicked.connect(lambda _: self._change(lambda own: toggled(own, self._gene)))
        self.read.triggered.connect(lambda _=False: self.ask())
        self.forget.triggered.connect(lambda _=False: self._forget())
        with contextlib.suppress(DataError):  # said when something shall be kept
            self.own = read_own_genes()
        self._fill()

    def genes(self) -> list[str] | None:
        """What is offered, in its order; None: every gene."""
        kind, name = self.box.currentData()
        if kind == ALL:
            return None
        if kind == PREDICTED:
            return self._predicted
        return genes_here(self.own.favourites if kind == FAVOURITES else self.own.sets[name], self._names)

    def set_names(self, names: GeneNames, predicted: Sequence[str]) -> None:
        """The genes of a section, and those that are predicted, best first."""
        self._names, self._predicted = names, list(predicted)
        self._fill()

    def show_gene(self, gene: str) -> None:
        """The star is that of ``gene``."""
        self._gene = gene
        on = gene in self.own.favourites
        self.star.setEnabled(bool(gene))
        self.star.setChecked(on)
        self.star.setText("★" if on else "☆")

    def read_sets(self, path: Path) -> None:
        """Add the sets of a file and offer the first of them."""
        try:
            found = read_gene_sets(path)
        except DataError as error:
            self.message.emit(str(error))
            return
        self._change(lambda own: OwnGenes(own.favourites, own.sets | found))
        self.choose(next(iter(found)))

    def choose(self, name: str) -> None:
        """Offer one of ALL, PREDICTED, FAVOURITES, or the set of that name."""
        at = next((i for i in range(self.box.count()) if self.box.itemData(i)[1] == name), 0)
        self.box.setCurrentIndex(at)
        self._chosen()

    def ask(self) -> None:
        """Ask for a file of gene sets."""
        path, _ = QFileDialog.getOpenFileName(self, "Read gene sets", "", FILES)
        if path:
            self.read_sets(Path(path))

    def _forget(self) -> None:
        name = self.box.currentData()[1]
        self._change(lambda own: OwnGenes(own.favourites, {one: genes for one, genes in own.sets.items() if one != name}))

    def _change(self, change: Callable[[OwnGenes], OwnGenes]) -> None:
        """Read what is kept, change it, keep it: another window may have added something meanwhile."""
        try:
            self.own = change(read_own_genes())
            keep_own_genes(self.own)
        except DataError as error:
            self.message.emit(str(error))
        self._fill()
        self.changed.emit()

    def _chosen(self) -> None:
        self.forget.setEnabled(self.box.currentData()[0] == "set")
        self.changed.emit()

    def _fill(self) -> None:
        """Kinds with how many genes of the section they are, and sets with how many they hold; which are here is asked when one is chosen."""
        chosen = self.box.currentData()
        kinds = [(ALL, len(self._names.names)), (PREDICTED, len(self._predicted)), (FAVOURITES, len(genes_here(self.own.favourites, self._names)))]
        self.box.clear()
        for kind, count in kinds:
            self.box.addItem(f"{kind} ({count:,})", (kind, kind))
        for name, genes in self.own.sets.items():
            short = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
            self.box.addItem(f"{short} ({len(genes):,})", ("set", name))
            self.box.setItemData(self.box.count() - 1, name, Qt.ItemDataRole.ToolTipRole)
        at = next((i for i in range(self.box.count()) if self.box.itemData(i) == chosen), 0)
        self.box.setCurrentIndex(at)
        self.forget.setEnabled(self.box.currentData()[0] == "set")
        self.show_gene(self._gene)
