"""Step 3: what is predicted, by which kind of model, at what cost; Start, Pause and Stop; the run that works, and all runs."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QPushButton, QRadioButton, QVBoxLayout, QWidget

from napari_deepspace._napari.forms import Form
from napari_deepspace._napari.run_view import RunView
from napari_deepspace._napari.runs_view import RunsView
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.target_view import TargetView
from napari_deepspace._napari.widgets import Collapsible, label, row
from napari_deepspace.errors import SettingsError
from napari_deepspace.glossary import term
from napari_deepspace.run_list import RunInfo, state_words
from napari_deepspace.settings import NetworkSettings, QuickSettings, RunSettings, SectionSettings, SplitSettings, TileSettings

NETWORKS: dict[str, NetworkSettings] = {
    "Paper's settings: VGG16, 50 epochs": NetworkSettings(),
    "Light: ResNet18 from scratch, 10 epochs": NetworkSettings(
        backbone="resnet18", weights="scratch", tile_px=64, epochs=10, learning_rate=1e-3, patience=10
    ),
}
OWN = "As set under Advanced"
ADVANCED = {
    "quick": "Quick", "network": "Network", "genes": "Genes, when none is named", "signatures": "Signatures", "clusters": "Clusters",
    "tile": "Tile", "split": "Split",
}  # fmt: skip


class TrainPanel(Collapsible):
    """What to train. ``settings(section)`` is the frozen request; the dock runs it and feeds ``run`` with events."""

    start_requested = Signal()
    pause_requested = Signal()
    stop_requested = Signal()
    search_requested = Signal()
    students_requested = Signal()
    resume_offered = Signal(Path)
    offer_declined = Signal(Path)
    changed = Signal()
    costs_shown = Signal()
    message = Signal(str)

    def __init__(self, session: Session):
        super().__init__("3  Train")
        self._session = session
        self.target = TargetView(session)
        self.search, self.chips, self.paper = self.target.search, self.target.chips, self.target.paper
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
            **self.target.forms,
            "tile": Form(TileSettings()),
            "split": Form(SplitSettings()),
        }
        self.seal, self.sealed = QPushButton("Seal a hold-out…"), label("", "sealed hold-out", wrap=True)
        self.seal.setToolTip(term("sealed hold-out"))
        self.device = label("Device: found out before the first training.", "device", wrap=True, dim=True)
        self.cost = label("", "cost", wrap=True)
        self.start, self.pause, self.stop = QPushButton("Start"), QPushButton("Pause"), QPushButton("Stop")
        self.start.setObjectName("main")
        for button, tip in ((self.start, "Start"), (self.pause, "Pause"), (self.stop, "Stop")):
            button.setToolTip(term(tip))
        self.pausable = False  #: the run that works is a network's
        self.searching = False  #: what works is a parameter search
        self.search_button = QPushButton("Parameter search…")
        self.search_button.setToolTip(term("parameter search"))
        self.studying = False  #: what works is a job of students
        self.students_button = QPushButton("Students (semi-supervised)…")
        self.students_button.setToolTip(term("students"))
        self.search_why = label("", "parameter search", wrap=True, dim=True)
        self.offer = QWidget()
        self.offer.setObjectName("offer")
        self.offer_text = label("", "resume", wrap=True)
        self.offer_yes, self.offer_no = QPushButton("Resume"), QPushButton("Not now")
        self._offered: Path | None = None
        self.auto = QCheckBox("Start Quick when a section opens")
        self.auto.setChecked(True)
        self.auto.setToolTip("The first map then appears by itself, half a minute after a section is opened.")
        self.run = RunView()
        self.runs = RunsView()
        self._build()
        self._connect()
        self._refresh()

    def _build(self) -> None:
        add = self.content.addWidget
        add(self.target)
        for button in (self.quick, self.network):
            add(button)
        indented = row(self.preset)
        indented.setContentsMargins(22, 0, 0, 0)
        self.content.addLayout(indented)
        advanced = Collapsible("Advanced", level=2, open_=False)
        self._advanced: dict[str, QWidget] = {}
        for key, title in ADVANCED.items():
            part = self._advanced[key] = QWidget()
            layout = QVBoxLayout(part)
            layout.setContentsMargins(0, 0, 0, 0)
            layout.addWidget(label(f"<b>{title}</b>", {"clusters": "cluster", "signatures": "signature"}.get(key, key)))
            layout.addWidget(self.forms[key])
            advanced.content.addWidget(part)
        advanced.content.addLayout(row(self.seal, 1))
        advanced.content.addWidget(self.sealed)
        advanced.content.addLayout(row(self.search_button, 1))
        advanced.content.addLayout(row(self.students_button, 1))
        advanced.content.addWidget(self.search_why)
        add(advanced)
        add(self.device)
        add(self.cost)
        self.content.addLayout(row(self.start, self.pause, self.stop, 1))
        add(self.auto)
        offer = QVBoxLayout(self.offer)
        offer.setContentsMargins(7, 5, 7, 5)
        offer.addWidget(self.offer_text)
        offer.addLayout(row(self.offer_yes, self.offer_no, 1))
        add(self.offer)
        add(self.run)
        add(self.runs)
        self.show_offer(None)
        self.show_seal("")

    def _connect(self) -> None:
        self.target.changed.connect(self._edited)
        self.target.message.connect(self.message.emit)
        self.start.clicked.connect(self.start_requested.emit)
        self.pause.clicked.connect(self.pause_requested.emit)
        self.stop.clicked.connect(self.stop_requested.emit)
        self.search_button.clicked.connect(self.search_requested.emit)
        self.students_button.clicked.connect(self.students_requested.emit)
        self.preset.activated.connect(lambda _: self._preset_chosen())
        self.quick.toggled.connect(lambda _: self._edited())
        self.offer_yes.clicked.connect(lambda: self._answer(self.resume_offered))
        self.offer_no.clicked.connect(lambda: self._answer(self.offer_declined))
        for name in ("quick", "network", "tile", "split"):
            self.forms[name].valueChanged.connect(self._network_edited if name == "network" else self._edited)
        self.forms["tile"].valueChanged.connect(self._tile_edited)
        for signal in (self._session.events.loaded, self._session.events.busy, self._session.events.running):
            signal.connect(self._refresh)
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
        return RunSettings(
            name=name or ("quick" if quick else model.backbone),
            sections=(section,),
            filter=self._session.filter,
            normalisation=self._session.normalisation,
            target=self.target.value(),
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
        self.target.choose("genes")
        self.target.choose_paper_genes()

    def set_pausable(self, on: bool) -> None:
        """Whether the run that works can be paused."""
        self.pausable = on
        self._refresh()

    def set_searching(self, on: bool) -> None:
        """Whether a parameter search works."""
        self.searching = on
        self._refresh()

    def set_studying(self, on: bool) -> None:
        """Whether a job of students works."""
        self.studying = on
        self._refresh()

    def take_over(self, settings: RunSettings) -> None:
        """Show model, tile, filter and normalisation of ``settings``; target, split and the cluster left out stay as they are."""
        kind = settings.model.kind
        (self.quick if kind == "quick" else self.network).setChecked(True)
        self.forms[kind].setValue(settings.model)
        self.forms["tile"].setValue(settings.tile)
        self._session.filter = settings.filter.model_copy(update={"exclude_cluster": self._session.filter.exclude_cluster})
        self._session.normalisation = settings.normalisation

    def show_offer(self, run: RunInfo | None) -> None:
        """Offer to go on with a run that was paused or cut short."""
        self._offered = run.run_dir if run is not None else None
        self.offer.setVisible(run is not None)
        if run is not None:
            was = "was" if run.state == "interrupted" else "is"
            self.offer_text.setText(f"<b>{run.name}</b> ({run.target}, {', '.join(run.sections)}) {was} {state_words(run)}.")

    def show_seal(self, words: str) -> None:
        """How the open section is sealed; "": it is not, and may be."""
        self.sealed.setText(f"Sealed: {words}" if words else "")
        self.sealed.setVisible(bool(words))
        self.seal.setVisible(not words)

    def show_costs(self, costs: dict[str, Any]) -> None:
        """What each choice would take, from the trial."""
        words = [choice["words"] for choice in costs.get("choices", ())]
        self.say_cost("Cost on this computer<br>" + "<br>".join(f"• {word}" for word in words))
        self.show_device(str(costs.get("device", "")), str(costs.get("device_reason", "")))
        self.costs_shown.emit()

    def say_cost(self, text: str) -> None:
        self.cost.setText(text)
        self.cost.setVisible(bool(text))

    def show_device(self, device: str, reason: str) -> None:
        self.device.setText(f"Device: {device.upper()}" + (f" – {reason}" if reason else ""))

    def _answer(self, signal: Any) -> None:
        if self._offered is not None:
            run_dir = self._offered
            self.show_offer(None)
            signal.emit(run_dir)

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
        working = s.running is not None
        if not working:
            self.pausable = False
        self.start.setEnabled(possible and s.busy != "loading")
        self.start.setText("Add to queue" if working else "Start Quick" if self.quick.isChecked() else "Start network")
        self.seal.setEnabled(possible and not working and not s.busy)
        self.pause.setEnabled(working and self.pausable)
        self.stop.setEnabled(working)
        self.cost.setVisible(bool(self.cost.text()))
        why_not = "Open a section with counts and an image first." if not possible else "One job at a time: a run is training." if working else ""
        self.search_button.setEnabled(self.searching or not why_not)
        self.students_button.setEnabled(self.studying or not why_not)
        self.search_why.setText("A search is at work." if self.searching else "Students are at work." if self.studying else why_not)
        self.search_why.setVisible(bool(self.search_why.text()))
        network = self.network.isChecked()
        self.preset.setEnabled(network)
        for kind in self.target.forms:
            self._advanced[kind].setVisible(kind == self.target.chosen())
