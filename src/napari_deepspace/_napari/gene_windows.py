"""Windows with tables of genes: the scores of all of them, and those that tell clusters apart. A click there shows the gene on the slide."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QDialog, QWidget

from napari_deepspace._napari.checks import Checks
from napari_deepspace._napari.clusters_view import GenesDialog
from napari_deepspace._napari.gene_panel import GenePanel
from napari_deepspace._napari.gene_table import GeneTableDialog
from napari_deepspace._napari.session import Session


class GeneWindows(QObject):
    """Opens the tables that the panels ask for, over the window of ``parent``."""

    def __init__(self, session: Session, gene_panel: GenePanel, checks: Checks, parent: QWidget):
        super().__init__(parent)
        self._session, self._gene_panel, self._parent = session, gene_panel, parent
        self.dialog: QDialog | None = None  #: the one opened last
        gene_panel.table_wanted.connect(self.show_scores)
        checks.genes_found.connect(self.show_markers)

    def show_scores(self) -> None:
        """The scores of every gene of the run."""
        scores, section = self._gene_panel.scores(), self._session.section
        if scores is None or section is None:
            return
        dialog = GeneTableDialog(scores, f"{section.library_id}: scores of every gene", self._parent, self._session.gene)
        self._session.events.gene.connect(dialog.show_gene)
        dialog.finished.connect(lambda _: self._session.events.gene.disconnect(dialog.show_gene, missing_ok=True))
        self._show(dialog)

    def show_markers(self, table: Any) -> None:
        """The genes that tell the clusters apart."""
        section = self._session.section
        if section is not None:
            title = f"{section.library_id}: genes that tell the clusters apart"
            self._show(GenesDialog(table, title, bool(section.synthetic), self._parent))

    def _show(self, dialog: GeneTableDialog | GenesDialog) -> None:
        dialog.picked.connect(self._show_gene)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.show()
        self.dialog = dialog

    def _show_gene(self, gene: str) -> None:
        self._session.paint = "gene"
        self._session.gene = gene
