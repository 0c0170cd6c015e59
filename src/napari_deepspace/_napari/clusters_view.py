"""Clusters in the quality panel: their legend, the one that is left out, and the table of genes that tell them apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QDialog, QHeaderView, QLineEdit, QPushButton, QTableView, QVBoxLayout, QWidget

from napari_deepspace._napari.legend import Legend
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.steps import Step
from napari_deepspace._napari.tables import Table
from napari_deepspace._napari.widgets import Collapsible, label, row
from napari_deepspace.cluster_colours import counts_of
from napari_deepspace.glossary import term

TITLES = {
    "cluster": "cluster",
    "gene": "gene",
    "log2_fold_change": "log2 change",
    "p": "p",
    "p_adjusted": "adjusted p",
    "detected_in": "in cluster",
    "detected_elsewhere": "elsewhere",
    "score": "score",
}


TIPS = {
    "log2_fold_change": "Logarithm to base 2 of how many times higher the mean is in the cluster than in all other spots.",
    "p_adjusted": "p after Benjamini and Hochberg, within the cluster.",
    "detected_in": "Share of the cluster's spots in which the gene was counted.",
    "detected_elsewhere": "Share of all other spots in which the gene was counted.",
    "score": "Of the rank sum test: the higher, the more the gene stands out.",
}
SOURCES = {
    "graphclust": "Space Ranger's (graphclust)",
    "cluster": "those of the section's folder",
    "leiden": "computed here (Leiden)",
    "given_cluster": "those of a file",
}


class ClustersView(Collapsible):
    """Writes the cluster to leave out into the filter; asks for clusters and for differential genes."""

    compute_wanted = Signal()
    genes_wanted = Signal()

    def __init__(self, session: Session):
        super().__init__("Clusters", level=2, open_=False)
        self._session = session
        self.step = Step("cluster", "Leave out", "cluster")
        self.leave_out = QComboBox()
        self.leave_out.setToolTip("The spots of one cluster that shall not train; they are predicted all the same.")
        self.leave_out.setMinimumContentsLength(6)
        self.step.top.insertWidget(2, self.leave_out)
        self.compute, self.genes = QPushButton("Compute clusters"), QPushButton("Differential genes…")
        self.compute.setToolTip("From the spots that stay: principal components, neighbours, Leiden.")
        self.genes.setToolTip(term("differential genes"))
        self.source = label("", "cluster", wrap=True, dim=True)
        self.legend = Legend(session)
        self.content.addWidget(self.source)
        self.content.addWidget(self.legend)
        self.content.addWidget(self.step)
        self.content.addLayout(row(self.compute, self.genes, 1))
        self.compute.clicked.connect(self.compute_wanted.emit)
        self.genes.clicked.connect(self.genes_wanted.emit)
        self.leave_out.activated.connect(lambda _: self._choose())
        for name in ("loaded", "clusters", "filter", "busy"):
            getattr(session.events, name).connect(self._refresh)
        session.events.clusters.connect(self._fill)
        session.events.loaded.connect(self._fill)
        self._fill()

    def _choose(self) -> None:
        s = self._session
        s.filter = s.filter.model_copy(update={"exclude_cluster": self.leave_out.currentData()})

    def _fill(self, *_: Any) -> None:
        """Other clusters: a new legend and new names to choose from."""
        labels = self._session.clusters
        self.leave_out.clear()
        self.leave_out.addItem("none", None)
        if labels is not None:
            names = [str(name) for name in labels.cat.categories]
            self.legend.show_clusters(names, counts_of(labels.cat.codes.to_numpy(), len(names)))
            for name in names:
                self.leave_out.addItem(name, name)
        self.legend.setVisible(labels is not None)
        self._refresh()

    def _refresh(self, *_: Any) -> None:
        s = self._session
        kept = s.kept()
        has = s.clusters is not None
        named = "None came with this section." if s.clusters is None else f"{len(s.clusters.cat.categories)}: {SOURCES[str(s.clusters.name)]}"
        self.source.setText(named)
        self.leave_out.setCurrentIndex(max(0, self.leave_out.findData(s.filter.exclude_cluster)))
        self.leave_out.setEnabled(has)
        if kept is not None:
            self.step.say(int(kept.removed["cluster"].sum()))
        self.step.setVisible(has)
        self.genes.setEnabled(has and not s.busy)
        self.compute.setEnabled(not s.busy and s.section is not None)


class GenesDialog(QDialog):
    """Differential genes of the clusters as a sortable table; a double click shows the gene on the slide."""

    picked = Signal(str)

    def __init__(self, frame: pd.DataFrame, title: str, synthetic: bool, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWindowTitle(title)
        self.resize(760, 520)
        self.model = Table(frame, _words, TIPS.get, TITLES)
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setSortingEnabled(True)
        self.table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        header = self.table.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
            header.setSortIndicator(list(frame.columns).index("score"), Qt.SortOrder.DescendingOrder)
        self.cluster, self.search = QComboBox(), QLineEdit()
        self.cluster.addItem("all clusters", None)
        for name in dict.fromkeys(frame["cluster"]):
            self.cluster.addItem(f"cluster {name}", name)
        self.search.setPlaceholderText("Search a gene…")
        words = "Spots of one section are neighbours, not independent samples: p is smaller than it should be. Research use only."
        note = label(f"SYNTHETIC data. {words}" if synthetic else words, wrap=True, dim=True)
        layout = QVBoxLayout(self)
        layout.addLayout(row(self.cluster, self.search))
        layout.addWidget(self.table)
        layout.addWidget(note)
        self.cluster.currentIndexChanged.connect(self._filter)
        self.search.textChanged.connect(self._filter)
        self.table.doubleClicked.connect(lambda index: self.picked.emit(str(self.model.rows["gene"].iat[index.row()])))

    def _filter(self, *_: Any) -> None:
        """Rows of one cluster, or of all, whose gene's name holds the text."""
        rows, cluster, text = self.model.whole, self.cluster.currentData(), self.search.text().strip()
        if cluster is not None:
            rows = rows[rows["cluster"] == cluster]
        self.model.show(rows[rows["gene"].str.contains(text, case=False, regex=False)] if text else rows)


def _words(value: Any, column: str) -> str:
    if isinstance(value, (float, np.floating)):
        if column.startswith("detected"):
            return f"{value:.0%}"
        return f"{value:.2e}" if column.startswith("p") and value < 0.001 else f"{value:.3f}"
    return str(value)
