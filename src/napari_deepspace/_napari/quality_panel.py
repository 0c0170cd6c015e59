"""Step 2: which spots are good enough to learn from, with the number each threshold removes."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QLabel, QSpinBox

from napari_deepspace._napari.session import Session
from napari_deepspace._napari.widgets import Collapsible, label
from napari_deepspace.settings import FilterSettings


class QualityPanel(Collapsible):
    """Two thresholds; the counts are summed once, when a section opens, so every change shows at once."""

    def __init__(self, session: Session):
        super().__init__("2  Quality")
        self._session = session
        self.min_umi, self.min_genes = QSpinBox(), QSpinBox()
        self.umi_removes, self.genes_removes = label(dim=True), label(dim=True)
        self.stay = label("", "spot filter", wrap=True)
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setColumnStretch(2, 1)
        for number, (text, tip, box, removes) in enumerate(
            (("UMI at least", "UMI", self.min_umi, self.umi_removes), ("Genes at least", "detected genes", self.min_genes, self.genes_removes))
        ):
            box.setRange(0, 1_000_000)
            box.setSingleStep(100)
            box.setMinimumWidth(96)
            box.setKeyboardTracking(True)
            grid.addWidget(label(text, tip), number, 0)
            grid.addWidget(box, number, 1)
            grid.addWidget(removes, number, 2)
            box.valueChanged.connect(self._edited)
        self.content.addLayout(grid)
        self.content.addWidget(self.stay)
        session.events.loaded.connect(self._refresh)
        session.events.filter.connect(self._refresh)
        session.events.busy.connect(self._refresh)
        self._refresh()

    def _edited(self) -> None:
        self._session.filter = FilterSettings(min_umi=self.min_umi.value(), min_genes=self.min_genes.value())

    def _refresh(self) -> None:
        settings, kept = self._session.filter, self._session.kept()
        for box, value in ((self.min_umi, settings.min_umi), (self.min_genes, settings.min_genes)):
            box.setEnabled(self._session.busy != "training")
            if box.value() != value:
                box.blockSignals(True)
                box.setValue(value)
                box.blockSignals(False)
        section = self._session.section
        if kept is None or section is None or not section.adata.n_vars:
            for widget in (self.umi_removes, self.genes_removes):
                widget.setText("")
            self.stay.setText("Open a section to see how many spots stay." if section is None else "This section has no counts to judge spots by.")
            return
        self._say(self.umi_removes, kept.by_umi)
        self._say(self.genes_removes, kept.by_genes)
        outside = f" ({kept.outside:,} lie outside the tissue)" if kept.outside else ""
        none = " Lower the thresholds." if not kept.keep.any() else " Removed spots are hollow on the slide."
        self.stay.setText(f"{int(kept.keep.sum()):,} of {len(kept.keep):,} spots stay{outside}.{none if not kept.keep.all() else ''}")

    @staticmethod
    def _say(widget: QLabel, count: int) -> None:
        widget.setText(f"removes {count:,}" if count else "removes none")
