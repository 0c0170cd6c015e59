"""What is predicted: genes, gene-set scores, clusters, or numbers that came with the spots."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QListWidget, QListWidgetItem, QPushButton, QVBoxLayout, QWidget

from napari_deepspace._napari.forms import Form
from napari_deepspace._napari.gene_search import GeneSearch
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.widgets import Chips, label, row
from napari_deepspace.errors import SettingsError
from napari_deepspace.glossary import term
from napari_deepspace.section import Section
from napari_deepspace.settings import (
    PAPER_GENES,
    PAPER_MICROENVIRONMENT,
    ClusterTargetSettings,
    GeneSettings,
    ObsSettings,
    SignatureSettings,
    TargetSettings,
)

KINDS = {"genes": "Genes", "signatures": "Signatures (gene sets)", "clusters": "Clusters", "obs": "Numbers of the spots"}
TIPS = {"genes": "genes", "signatures": "signature", "clusters": "cluster", "obs": "numbers of the spots"}
_LATTICE = ("in_tissue", "array_row", "array_col")
_MATRIX = "matrix "  #: before the name of a matrix of obsm


class TargetView(QWidget):
    """A choice of four kinds, and below it what belongs to the chosen one; ``value()`` is the target as it is asked for."""

    changed = Signal()
    message = Signal(str)

    def __init__(self, session: Session):
        super().__init__()
        self._session = session
        self.kind = QComboBox()
        for kind, title in KINDS.items():
            self.kind.addItem(title, kind)
        self.search = GeneSearch("Add a gene…", quiet=True, height=120)
        self.chips = Chips()
        self.paper, self.top = QPushButton("Paper's 24"), QPushButton("Top 50 by mean")
        self.paper.setToolTip("ESR1, ERBB2, MKI67 and 21 genes of the tumour's surroundings.")
        self.top.setToolTip("Name no gene: the 50 of highest mean expression are predicted.")
        self.genes_text = label("", "panel", wrap=True, dim=True)
        self.paper_sets, self.gmt = QPushButton("Paper's 21 genes"), QPushButton("Gene sets (.gmt)…")
        self.paper_sets.setToolTip("One score of the 21 genes of the tumour's surroundings.")
        self.gmt.setToolTip("A text file with a gene set a line: name, description, genes, with tabs between them.")
        self.sets_text = label("", "signature", wrap=True, dim=True)
        self.clusters_text = label("", "cluster", wrap=True, dim=True)
        self.numbers = QListWidget()
        self.numbers.setFixedHeight(104)
        self.numbers_text = label("", "numbers of the spots", wrap=True, dim=True)
        self.forms: dict[str, Form] = {
            "genes": Form(GeneSettings(), exclude=("names", "file")),
            "signatures": Form(SignatureSettings(), exclude=("sets", "file")),
            "clusters": Form(ClusterTargetSettings()),
        }
        """Shown under Advanced, the one of the chosen kind."""
        self._signatures = SignatureSettings()
        self._parts: dict[str, QWidget] = {}
        self._build()
        self._connect()
        self.refresh()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(row(label("Predict", "target"), self.kind, stretch=True))
        contents: dict[str, tuple[Any, ...]] = {
            "genes": (row(self.paper, self.top, 1), self.search, self.chips, self.genes_text),
            "signatures": (row(self.paper_sets, self.gmt, 1), self.sets_text),
            "clusters": (self.clusters_text,),
            "obs": (self.numbers, self.numbers_text),
        }
        for kind, widgets in contents.items():
            part = self._parts[kind] = QWidget()
            inner = QVBoxLayout(part)
            inner.setContentsMargins(0, 0, 0, 0)
            inner.setSpacing(6)
            for widget in widgets:
                if isinstance(widget, QWidget):
                    inner.addWidget(widget)
                else:
                    inner.addLayout(widget)
            layout.addWidget(part)

    def _connect(self) -> None:
        self.kind.currentIndexChanged.connect(self._edited)
        self.search.picked.connect(self.chips.add)
        self.search.unknown.connect(self._unknown_gene)
        self.paper.clicked.connect(self.choose_paper_genes)
        self.top.clicked.connect(lambda: self.chips.set_names(()))
        self.chips.changed.connect(self._edited)
        self.paper_sets.clicked.connect(lambda: self._set_signatures(SignatureSettings()))
        self.gmt.clicked.connect(self._ask_gmt)
        self.numbers.itemChanged.connect(self._ticked)
        for form in self.forms.values():
            form.valueChanged.connect(self._edited)
        self._session.events.loaded.connect(self._section_changed)
        self._session.events.clusters.connect(self.refresh)
        self._session.events.filter.connect(self.refresh)
        self._session.events.reach.connect(self._reach_known)

    def chosen(self) -> str:
        """The chosen kind, one of :data:`KINDS`."""
        return str(self.kind.currentData())

    def choose(self, kind: str) -> None:
        """Choose a kind, one of :data:`KINDS`."""
        self.kind.setCurrentIndex(self.kind.findData(kind))

    def value(self) -> TargetSettings:
        """The target as it is asked for.

        Raises
        ------
        SettingsError
            A field under Advanced cannot be used, or there is nothing of the chosen kind to predict.
        """
        kind = self.chosen()
        if kind == "signatures":
            return self.forms[kind].value().model_copy(update={"sets": self._signatures.sets, "file": self._signatures.file})
        if kind == "clusters":
            if self._session.clusters is None:
                raise SettingsError("There are no clusters to predict. Compute them under Quality, Clusters, or choose another target.")
            return self.forms[kind].value()
        if kind == "obs":
            ticked = self._ticked_names()
            if not ticked:
                raise SettingsError("No number of the spots is chosen. Tick one, or choose another target.")
            matrix = next((name.removeprefix(_MATRIX) for name in ticked if name.startswith(_MATRIX)), None)
            return ObsSettings(obsm=matrix) if matrix else ObsSettings(columns=tuple(ticked))
        return self.forms["genes"].value().model_copy(update={"names": self.chips.names()})

    def choose_paper_genes(self) -> None:
        """Take those of the paper's genes that this section holds, and name the others."""
        names = set(self._session.section.adata.var_names) if self._session.section else set(PAPER_GENES)
        missing = [gene for gene in PAPER_GENES if gene not in names]
        self.chips.set_names([gene for gene in PAPER_GENES if gene in names])
        if missing:
            self.message.emit(f"{len(PAPER_GENES) - len(missing)} of the paper's 24 genes are in this section; missing: {', '.join(missing)}.")

    def refresh(self, *_: Any) -> None:
        """Show what belongs to the chosen kind, and what will be predicted."""
        kind = self.chosen()
        self.kind.setToolTip(term(TIPS[kind]))
        for name, part in self._parts.items():
            part.setVisible(name == kind)
        chosen = len(self.chips.names())
        self.chips.setVisible(chosen > 0)
        top = self.forms["genes"].fields["top"].text().strip() or "all"  # type: ignore[attr-defined]
        named = f"{chosen} genes are predicted.{self._seldom()}"
        self.genes_text.setText(named if chosen else f"None named: the {top} genes of highest mean are predicted.")
        self.sets_text.setText(self._sets_words())
        clusters = self._session.clusters
        self.clusters_text.setText(
            "No clusters yet: compute them under Quality, Clusters."
            if clusters is None
            else f"The cluster of each spot, one of {len(clusters.cat.categories)}, by its probability."
        )
        ticked = len(self._ticked_names())
        self.numbers_text.setText(
            f"{ticked} of {self.numbers.count()} are predicted."
            if self.numbers.count()
            else "The spots of this section carry no numbers beside their counts: give some as a CSV (sections[].obs in RUN.yaml)."
        )
        self.numbers.setVisible(self.numbers.count() > 0)

    def _edited(self, *_: Any) -> None:
        self.refresh()
        self.changed.emit()

    def _section_changed(self) -> None:
        section = self._session.section
        names = [] if section is None else [str(name) for name in section.adata.var_names]
        self.search.set_names(names, () if section is None else section.adata.var.get("gene_ids", ()))
        known = set(names)
        self.numbers.blockSignals(True)
        self.numbers.clear()
        for name in numbers_of(section) if section is not None else ():
            item = QListWidgetItem(name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked)
            self.numbers.addItem(item)
        self.numbers.blockSignals(False)
        self.chips.set_names([name for name in self.chips.names() if name in known])

    def _ticked_names(self) -> list[str]:
        items = (self.numbers.item(number) for number in range(self.numbers.count()))
        return [item.text() for item in items if item is not None and item.checkState() == Qt.CheckState.Checked]

    def _ticked(self, item: QListWidgetItem) -> None:
        """A matrix is predicted alone: ticking it takes the other ticks away, and the other way round."""
        if item.checkState() == Qt.CheckState.Checked:
            self.numbers.blockSignals(True)
            for number in range(self.numbers.count()):
                other = self.numbers.item(number)
                if other is not None and other is not item and (item.text().startswith(_MATRIX) or other.text().startswith(_MATRIX)):
                    other.setCheckState(Qt.CheckState.Unchecked)
            self.numbers.blockSignals(False)
        self._edited()

    def _set_signatures(self, settings: SignatureSettings) -> None:
        self._signatures = settings
        self._edited()

    def _ask_gmt(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Gene sets", "", "Gene sets (*.gmt);;All files (*)")
        if path:
            self._set_signatures(SignatureSettings(file=Path(path)))

    def _sets_words(self) -> str:
        if self._signatures.file is not None:
            return f"The gene sets of {self._signatures.file.name} are predicted, one score each."
        names = set(self._session.section.adata.var_names) if self._session.section else set(PAPER_MICROENVIRONMENT)
        sets = [f"{name} ({sum(gene in names for gene in genes)} of {len(genes)} genes are here)" for name, genes in self._signatures.sets.items()]
        return f"One score each: {', '.join(sets)}, against control genes of like expression."

    def _unknown_gene(self, text: str) -> None:
        section = self._session.section
        where = f"{section.library_id} has no gene" if section else "Open a section first; there is no gene"
        self.message.emit(f"{where} whose name holds “{text}”. Check the spelling: names are those of the section's own table.")

    def _seldom(self) -> str:
        """Which of the chosen genes are hardly there: they are predicted all the same."""
        loaded, kept = self._session.loaded, self._session.kept()
        if loaded is None or kept is None or not kept.keep.any():
            return ""
        try:
            least, names = self.forms["genes"].value().min_detected, self.chips.names()
        except SettingsError:  # of another field; told at Start
            return ""
        columns = loaded.by_gene[:, loaded.section.adata.var_names.get_indexer(list(names))]
        share = np.asarray((columns[np.flatnonzero(kept.keep)] > 0).mean(axis=0)).ravel()
        reach = self._session.reach
        best = {name: reach.of(name)[1] if reach is not None else math.nan for name in names}
        words = {name: f", at best r {r:.2f}" if math.isfinite(r) else "" for name, r in best.items()}
        seldom = [f"{name} ({s:.0%}{words[name]})" for name, s in zip(names, share, strict=True) if s < least]
        return f" Seen in fewer than {least:.0%} of the spots, so there is little to learn from: {', '.join(seldom)}." if seldom else ""

    def _reach_known(self, reach: Any) -> None:
        self.search.set_remark(reach.words if reach is not None else lambda name: "")
        self.refresh()


def numbers_of(section: Section) -> list[str]:
    """Numeric columns of obs but those of the lattice, then the matrices of obsm but the positions, as "matrix NAME"."""
    obs = section.adata.obs
    columns = [str(name) for name in obs.columns if pd.api.types.is_numeric_dtype(obs[name]) and not pd.api.types.is_bool_dtype(obs[name])]
    return [name for name in columns if name not in _LATTICE] + [f"{_MATRIX}{name}" for name in section.adata.obsm if name != "spatial"]
