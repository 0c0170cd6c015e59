"""Step 3: which genes, which kind of model, at what cost; Start and Stop."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QPushButton, QRadioButton, QVBoxLayout

from napari_deepspace._napari.forms import Form
from napari_deepspace._napari.run_view import RunView
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.widgets import Chips, Collapsible, GeneSearch, label, row
from napari_deepspace.errors import SettingsError
from napari_deepspace.glossary import term
from napari_deepspace.settings import (
    PAPER_GENES,
    GeneSettings,
    NetworkSettings,
    QuickSettings,
    RunSettings,
    SectionSettings,
    SplitSettings,
    TileSettings,
)

NETWORKS: dict[str, NetworkSettings] = {
    "Paper's settings: VGG16, 50 epochs": NetworkSettings(),
    "Light: ResNet18 from scratch, 10 epochs": NetworkSettings(
        backbone="resnet18", weights="scratch", tile_px=64, epochs=10, learning_rate=1e-3, patience=10
    ),
}
OWN = "As set under Advanced"


class TrainPanel(Collapsible):
    """What to train. ``settings(section)`` is the frozen request; the dock runs it and feeds ``run`` with events."""

    start_requested = Signal()
    stop_requested = Signal()
    changed = Signal()
    message = Signal(str)

    def __init__(self, session: Session):
        super().__init__("3  Train")
        self._session = session
        self.search = GeneSearch("Add a gene…", quiet=True, height=120)
        self.chips = Chips()
        self.paper, self.top = QPushButton("Paper's 24"), QPushButton("Top 50 by mean")
        self.paper.setToolTip("ESR1, ERBB2, MKI67 and 21 genes of the tumour's surroundings.")
        self.top.setToolTip("Name no gene: the 50 of highest mean expression are predicted.")
        self.genes_text = label("", "panel", wrap=True, dim=True)
        self.quick = QRadioButton("Quick – colour and texture, in seconds")
        self.network = QRadioButton("Network – learns from pixels, takes longer")
        self.quick.setChecked(True)
        self.quick.setToolTip(term("Quick"))
        self.network.setToolTip(term("network"))
        self.preset = QComboBox()
        self.preset.addItems([*NETWORKS, OWN])
        self.preset.setToolTip("Which network, from which weights, for how long. Everything can be changed under Advanced.")
        self.preset.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.preset.setMinimumContentsLength(24)
        self.forms: dict[str, Form] = {
            "quick": Form(QuickSettings()),
            "network": Form(NetworkSettings()),
            "genes": Form(GeneSettings(), exclude=("names",)),
            "tile": Form(TileSettings()),
            "split": Form(SplitSettings()),
        }
        self.device = label("Device: found out before the first training.", "device", wrap=True, dim=True)
        self.cost = label("", "cost", wrap=True)
        self.start, self.stop = QPushButton("Start"), QPushButton("Stop")
        self.start.setObjectName("main")
        self.auto = QCheckBox("Start Quick when a section opens")
        self.auto.setChecked(True)
        self.auto.setToolTip("The first map then appears by itself, half a minute after a section is opened.")
        self.run = RunView()
        self._build()
        self._connect()
        self._refresh()

    def _build(self) -> None:
        add = self.content.addWidget
        self.content.addLayout(row(label("Genes", "panel"), 1, self.paper, self.top))
        add(self.search)
        add(self.chips)
        add(self.genes_text)
        for button in (self.quick, self.network):
            add(button)
        indented = row(self.preset)
        indented.setContentsMargins(22, 0, 0, 0)
        self.content.addLayout(indented)
        advanced = Collapsible("Advanced", level=2, open_=False)
        for key, title in {"quick": "Quick", "network": "Network", "genes": "Genes, when none is named", "tile": "Tile", "split": "Split"}.items():
            part = QVBoxLayout()
            part.addWidget(label(f"<b>{title}</b>", key))
            part.addWidget(self.forms[key])
            advanced.content.addLayout(part)
        add(advanced)
        add(self.device)
        add(self.cost)
        self.content.addLayout(row(self.start, self.stop, 1))
        add(self.auto)
        add(self.run)

    def _connect(self) -> None:
        self.search.picked.connect(self.chips.add)
        self.search.unknown.connect(self._unknown_gene)
        self.paper.clicked.connect(self.choose_paper_genes)
        self.top.clicked.connect(lambda: self.chips.set_names(()))
        self.start.clicked.connect(self.start_requested.emit)
        self.stop.clicked.connect(self.stop_requested.emit)
        self.preset.activated.connect(lambda _: self._preset_chosen())
        self.quick.toggled.connect(lambda _: self._edited())
        self.chips.changed.connect(self._edited)
        for name, form in self.forms.items():
            form.valueChanged.connect(self._network_edited if name == "network" else self._edited)
        self.forms["tile"].valueChanged.connect(self._tile_edited)
        self._session.events.loaded.connect(self._section_changed)
        self._session.events.busy.connect(self._refresh)
        for signal in (self._session.events.filter, self._session.events.normalisation):
            signal.connect(self._edited)

    def settings(self, section: SectionSettings, name: str = "") -> RunSettings:
        """The run as it is asked for.

        Raises
        ------
        SettingsError
            A field under Advanced holds something that cannot be used.
        """
        quick = self.quick.isChecked()
        model = self.forms["quick" if quick else "network"].value()
        genes = self.forms["genes"].value().model_copy(update={"names": self.chips.names()})
        return RunSettings(
            name=name or ("quick" if quick else model.backbone),
            sections=(section,),
            filter=self._session.filter,
            normalisation=self._session.normalisation,
            target=genes,
            tile=self.forms["tile"].value(),
            split=self.forms["split"].value(),
            model=model,
        )

    def choose(self, kind: str, preset: str = "") -> None:
        """Choose "quick" or "network", and one of the named networks."""
        (self.quick if kind == "quick" else self.network).setChecked(True)
        if preset:
            self.preset.setCurrentText(preset)
            self._preset_chosen()

    def choose_paper_genes(self) -> None:
        """Take those of the paper's genes that this section holds, and name the others."""
        names = set(self._session.section.adata.var_names) if self._session.section else set(PAPER_GENES)
        missing = [gene for gene in PAPER_GENES if gene not in names]
        self.chips.set_names([gene for gene in PAPER_GENES if gene in names])
        if missing:
            self.message.emit(f"{len(PAPER_GENES) - len(missing)} of the paper's 24 genes are in this section; missing: {', '.join(missing)}.")

    def show_costs(self, costs: dict[str, Any]) -> None:
        """What each choice would take, from the trial."""
        words = [choice["words"] for choice in costs.get("choices", ())]
        self.say_cost("Cost on this computer<br>" + "<br>".join(f"• {word}" for word in words))
        self.show_device(str(costs.get("device", "")), str(costs.get("device_reason", "")))

    def say_cost(self, text: str) -> None:
        self.cost.setText(text)
        self.cost.setVisible(bool(text))

    def show_device(self, device: str, reason: str) -> None:
        self.device.setText(f"Device: {device.upper()}" + (f" – {reason}" if reason else ""))

    def _unknown_gene(self, text: str) -> None:
        section = self._session.section
        where = f"{section.library_id} has no gene" if section else "Open a section first; there is no gene"
        self.message.emit(f"{where} whose name holds “{text}”. Check the spelling: names are those of the section's own table.")

    def _seldom(self) -> str:
        """Which of the chosen genes are hardly there: they are predicted all the same."""
        loaded, kept = self._session.loaded, self._session.kept()
        if loaded is None or kept is None or not kept.keep.any():
            return ""
        least, names = self.forms["genes"].value().min_detected, self.chips.names()
        columns = loaded.by_gene[:, loaded.section.adata.var_names.get_indexer(list(names))]
        share = np.asarray((columns[np.flatnonzero(kept.keep)] > 0).mean(axis=0)).ravel()
        seldom = [f"{name} ({s:.0%})" for name, s in zip(names, share, strict=True) if s < least]
        return f" Seen in fewer than {least:.0%} of the spots, so there is little to learn from: {', '.join(seldom)}." if seldom else ""

    def _section_changed(self) -> None:
        section = self._session.section
        names = [] if section is None else [str(name) for name in section.adata.var_names]
        self.search.set_names(names)
        known = set(names)
        self.chips.set_names([name for name in self.chips.names() if name in known])
        self._refresh()

    def _preset_chosen(self) -> None:
        self.network.setChecked(True)
        if self.preset.currentText() in NETWORKS:
            network = NETWORKS[self.preset.currentText()]
            self.forms["network"].setValue(network)
            if network == NetworkSettings():  # the paper's own
                self._session.normalisation = "sctransform"

    def _network_edited(self) -> None:
        try:
            value = self.forms["network"].value()
        except SettingsError:
            value = None
        self.preset.setCurrentText(next((name for name, preset in NETWORKS.items() if preset == value), OWN))
        self._edited()

    def _tile_edited(self) -> None:
        with contextlib.suppress(SettingsError):
            self._session.tile = self.forms["tile"].value()

    def _edited(self) -> None:
        self._refresh()
        self.changed.emit()

    def _refresh(self) -> None:
        s = self._session
        possible = s.section is not None and s.section.slide is not None and s.section.adata.n_vars > 0
        self.start.setEnabled(possible and not s.busy)
        self.start.setText("Start Quick" if self.quick.isChecked() else "Start network")
        self.stop.setEnabled(s.busy == "training")
        chosen = len(self.chips.names())
        self.chips.setVisible(chosen > 0)
        top = self.forms["genes"].fields["top"].text().strip() or "all"  # type: ignore[attr-defined]
        self.cost.setVisible(bool(self.cost.text()))
        named = f"{chosen} genes are predicted.{self._seldom()}"
        self.genes_text.setText(named if chosen else f"None named: the {top} genes of highest mean are predicted.")
        network = self.network.isChecked()
        self.preset.setEnabled(network)
