"""A form from a settings model: one row a field, its description as tooltip; ``value()`` gives a validated model back."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QAbstractSpinBox, QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QGridLayout, QLabel, QLineEdit, QSpinBox, QWidget

from napari_deepspace.settings import settings_error

_LARGE = 1_000_000_000


class Form(QWidget):
    """Editable fields of a frozen pydantic model.

    ``exclude`` names fields that are edited elsewhere: they keep the value last set.
    """

    valueChanged = Signal()  # noqa: N815 - named as in Qt

    def __init__(self, value: BaseModel, exclude: Iterable[str] = ()):
        super().__init__()
        self._value = value
        self.fields: dict[str, QWidget] = {}
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, info in type(value).model_fields.items():
            if name in exclude or _is_constant(info):
                continue
            widget = _widget(info)
            widget.setToolTip(info.description or "")
            caption = QLabel(name.replace("_", " "))
            caption.setToolTip(info.description or "")
            layout.addRow(caption, widget)
            self.fields[name] = widget
            _changed(widget).connect(lambda *_: self.valueChanged.emit())
        self.setValue(value)

    def value(self) -> Any:
        """The model as edited.

        Raises
        ------
        SettingsError
            A field holds something that the model refuses.
        """
        values = self._value.model_dump() | {name: _get(widget) for name, widget in self.fields.items()}
        try:
            return type(self._value).model_validate(values)
        except ValidationError as error:
            raise settings_error(error, "Advanced settings") from error

    def setValue(self, value: BaseModel) -> None:
        """Show ``value``; emits ``valueChanged`` once."""
        self._value = value
        blocked = self.blockSignals(True)
        for name, widget in self.fields.items():
            _set(widget, getattr(value, name))
        self.blockSignals(blocked)
        self.valueChanged.emit()


def _is_constant(info: FieldInfo) -> bool:
    return get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1


def _optional(annotation: Any) -> Any:
    """The type inside ``X | None``, else None."""
    if get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation):
        return next(kind for kind in get_args(annotation) if kind is not type(None))
    return None


def _widget(info: FieldInfo) -> QWidget:
    kind = info.annotation
    if get_origin(kind) is Literal:
        return _combo_box([str(option) for option in get_args(kind)])
    if isinstance(info.json_schema_extra, dict) and isinstance(choices := info.json_schema_extra.get("choices"), list):
        box = _combo_box([str(choice) for choice in choices])
        box.setEditable(True)  # names of other kinds can be typed
        box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        return box
    if get_origin(kind) is tuple and get_origin(get_args(kind)[0]) is Literal:
        return Ticks([str(option) for option in get_args(get_args(kind)[0])])
    if kind is bool:
        return QCheckBox()
    if kind is int or kind is float:
        return _spin_box(info, integer=kind is int)
    field = QLineEdit()
    if _optional(kind) is not None:
        field.setPlaceholderText(_when_empty(info.description or ""))
    field.setProperty("list", get_origin(kind) is tuple)
    return field


def _when_empty(description: str) -> str:
    """What an empty field stands for: the description says "empty: ...", else it is found out."""
    found = re.search(r"empty: ([^;,]+)", description)
    return found[1] if found else "automatic"


def _combo_box(options: list[str]) -> QComboBox:
    box = QComboBox()
    box.addItems(options)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)  # a long name never widens the dock
    box.setMinimumContentsLength(12)
    return box


class Ticks(QWidget):
    """Some of a few names, in their own order."""

    changed = Signal()

    def __init__(self, options: list[str], columns: int = 3):
        super().__init__()
        self.boxes = {option: QCheckBox(option) for option in options}
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for number, box in enumerate(self.boxes.values()):
            layout.addWidget(box, *divmod(number, columns))
            box.toggled.connect(lambda _: self.changed.emit())

    def value(self) -> tuple[str, ...]:
        return tuple(option for option, box in self.boxes.items() if box.isChecked())

    def set_value(self, chosen: Iterable[str]) -> None:
        chosen = set(chosen)
        for option, box in self.boxes.items():
            box.setChecked(option in chosen)


class _SmallNumber(QDoubleSpinBox):
    """A learning rate, say: as exact as a parameter search found it, without a tail of zeros."""

    def textFromValue(self, value: float) -> str:
        return f"{value:.12f}".rstrip("0").rstrip(".")


def _spin_box(info: FieldInfo, *, integer: bool) -> QSpinBox | QDoubleSpinBox:
    low, high = 0.0, float(_LARGE)
    for limit in info.metadata:
        low = float(getattr(limit, "ge", getattr(limit, "gt", low)))
        high = float(getattr(limit, "le", getattr(limit, "lt", high)))
    box: QSpinBox | QDoubleSpinBox
    if integer:
        box = QSpinBox()
        box.setRange(int(low), int(high))
    else:
        small = isinstance(info.default, float) and 0 < info.default < 0.01
        box = _SmallNumber() if small else QDoubleSpinBox()
        box.setDecimals(12 if small else 2)
        box.setRange(low, high)
    box.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
    box.setMinimumWidth(90)
    return box


def _changed(widget: QWidget) -> Any:
    if isinstance(widget, Ticks):
        return widget.changed
    if isinstance(widget, QComboBox):
        return widget.currentTextChanged
    if isinstance(widget, QCheckBox):
        return widget.toggled
    return widget.editingFinished if isinstance(widget, QLineEdit) else widget.valueChanged  # type: ignore[attr-defined]


def _get(widget: QWidget) -> Any:
    if isinstance(widget, Ticks):
        return widget.value()
    if isinstance(widget, QComboBox):
        return widget.currentText().strip()
    if isinstance(widget, QCheckBox):
        return widget.isChecked()
    if isinstance(widget, QLineEdit):
        text = widget.text().strip()
        if widget.property("list"):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return text or None
    return widget.value()  # type: ignore[attr-defined]


def _set(widget: QWidget, value: Any) -> None:
    if isinstance(widget, Ticks):
        widget.set_value(value)
    elif isinstance(widget, QComboBox):
        widget.setCurrentText(str(value))
    elif isinstance(widget, QCheckBox):
        widget.setChecked(bool(value))
    elif isinstance(widget, QLineEdit):
        if isinstance(value, tuple):
            widget.setText(", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value))
        else:
            widget.setText("" if value is None else str(value))
    else:
        widget.setValue(value)  # type: ignore[attr-defined]
