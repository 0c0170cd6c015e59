"""Expert settings of the colours in the Look step: colour map, percentiles, logarithm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox

from napari_deepspace._napari.session import Session
from napari_deepspace._napari.widgets import Collapsible, label, row
from napari_deepspace.colour_scale import COLOUR_MAPS, ColourScale, table
from napari_deepspace.glossary import term

ICON = QSize(56, 12)


class ScaleView(Collapsible):
    """Writes ``scale`` into the session. Other percentiles take the place of limits that were typed in."""

    def __init__(self, session: Session):
        super().__init__("Advanced", level=2, open_=False)
        self._session = session
        self.map = QComboBox()
        self.map.setIconSize(ICON)
        self.map.setToolTip(term("colour map"))
        for number, (name, words) in enumerate(COLOUR_MAPS.items()):
            self.map.addItem(_icon(table(name)), name, name)
            self.map.setItemData(number, f"{name}: {words}", Qt.ItemDataRole.ToolTipRole)
        self.low, self.high = _percentile_box(), _percentile_box()
        self.log = QCheckBox("Spread the colours by logarithm")
        self.log.setToolTip(term("logarithmic colours"))
        self.content.addLayout(row(label("Colour map", "colour map"), self.map, 1))
        self.content.addLayout(row(label("Percentiles", "percentiles"), self.low, label("–"), self.high, 1))
        self.content.addWidget(self.log)
        self.map.activated.connect(lambda _: self._change(map=self.map.currentData()))
        self.log.toggled.connect(lambda on: self._change(log=on))
        for box in (self.low, self.high):
            box.editingFinished.connect(self._percentiles_edited)
        session.events.scale.connect(self._refresh)
        self._refresh()

    def _change(self, **values: Any) -> None:
        self._session.scale = replace(self._session.scale, **values)

    def _percentiles_edited(self) -> None:
        found = (self.low.value(), self.high.value())
        if found == self._session.scale.percentiles:
            return
        if found[0] >= found[1]:
            self._refresh()  # nothing lies between them: as before
            return
        self._session.limits = None
        self._change(percentiles=found)

    def _refresh(self, *_: Any) -> None:
        scale: ColourScale = self._session.scale
        for widget in (self.map, self.low, self.high, self.log):
            widget.blockSignals(True)
        self.map.setCurrentIndex(self.map.findData(scale.map))
        self.low.setValue(scale.percentiles[0])
        self.high.setValue(scale.percentiles[1])
        self.log.setChecked(scale.log)
        for widget in (self.map, self.low, self.high, self.log):
            widget.blockSignals(False)


def _icon(lut: np.ndarray) -> QIcon:
    pixels = np.ascontiguousarray((lut[None] * 255).round().astype(np.uint8))
    image = QImage(pixels.tobytes(), pixels.shape[1], 1, pixels.shape[1] * 4, QImage.Format.Format_RGBA8888)
    return QIcon(QPixmap.fromImage(image.scaled(ICON)))


def _percentile_box() -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(0, 100)
    box.setDecimals(1)
    box.setToolTip(term("percentiles"))
    box.setFixedWidth(84)
    return box
